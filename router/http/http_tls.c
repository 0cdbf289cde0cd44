/* TLS by h2o's own means (OpenSSL): HTTP/1.1 over TLS 1.2 and later; no ALPN, so no HTTP/2. */
#include "router/http/http_impl.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include "common/log.h"

static enum status say(struct err *err, const char *what, const char *path)
{
    char reason[160];
    ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
    ERR_clear_error();
    return err_set(err, STATUS_INVALID, "%s %s: %s", what, path, reason);
}

static enum status load(const struct http_opts *opts, SSL_CTX **out, struct err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    enum status status = STATUS_OK;

    CHECK(ctx);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (SSL_CTX_use_certificate_chain_file(ctx, opts->tls_cert_file) != 1)
        status = say(err, "no certificate in", opts->tls_cert_file);
    else if (SSL_CTX_use_PrivateKey_file(ctx, opts->tls_key_file, SSL_FILETYPE_PEM) != 1)
        status = say(err, "no key for the certificate in", opts->tls_key_file);
    if (status == STATUS_OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return status;
}

static uint64_t stamp_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return 0;
    return (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec +
           (uint64_t)st.st_ino;
}

static uint64_t stamps(const struct http_opts *opts)
{
    return stamp_of(opts->tls_cert_file) * 3 + stamp_of(opts->tls_key_file);
}

enum status http_tls_start(struct http_server *server, struct err *err)
{
    SSL_CTX *ctx = NULL;

    server->tls_stamp = stamps(&server->opts);
    TRY(load(&server->opts, &ctx, err));
    server->accept.ssl_ctx = ctx;
    return STATUS_OK;
}

void http_server_refresh(struct http_server *server)
{
    SSL_CTX *ctx = NULL;
    struct err err = {.text = ""};
    uint64_t stamp;

    http_tls_sweep(server);
    if (!server->accept.ssl_ctx || (stamp = stamps(&server->opts)) == server->tls_stamp)
        return;
    if (load(&server->opts, &ctx, &err) != STATUS_OK) { /* half of it is written: next time */
        LOG_WARN("http", "certificate_kept", "error=\"%s\"", err.text);
        return;
    }
    server->tls_stamp = stamp;
    SSL_CTX_free(server->accept.ssl_ctx); /* connections hold their own reference */
    server->accept.ssl_ctx = ctx;
    LOG_INFO("http", "certificate_read_again", "file=%s", server->opts.tls_cert_file);
}

/* After a read error libuv refuses writes at once, h2o 2.2.5 does not look at that, and waits for
 * ever for its last write (close_notify) to end. Closing again, it sees that write and lets go. A
 * handle stops being writable in no other way, and h2o has closed by then. */
void http_tls_sweep(struct http_server *server)
{
    if (!server->accept.ssl_ctx)
        return;
    LIST_EACH_SAFE(node, next, &server->conns) {
        struct http_conn *conn = LIST_ITEM(node, struct http_conn, node);
        uv_stream_t *stream = (uv_stream_t *)&conn->tcp;
        if (stream->data && !uv_is_closing((uv_handle_t *)stream) && !uv_is_writable(stream))
            h2o_socket_close(stream->data);
    }
}

void http_tls_stop(struct http_server *server)
{
    if (server->accept.ssl_ctx)
        SSL_CTX_free(server->accept.ssl_ctx);
    server->accept.ssl_ctx = NULL;
}
