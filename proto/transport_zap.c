/* The ZAP handler: without one, ZeroMQ accepts every CURVE client that knows the server's key. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/transport_socket.h"

#define ZAP_ENDPOINT    "inproc://zeromq.zap.01"
#define ALLOW_BYTES_MAX (1u << 20)
#define KEY_BYTES       32
#define KEY_TEXT        40

struct zap {
    void *socket;
    pthread_t thread;
    char *allow_file; /* or NULL */
    char *allow_key;  /* or NULL */
};

/* The file holds the key as a line of its own; blank lines and lines from '#' on are skipped. */
static bool in_file(const char *allow_file, const char *z85)
{
    struct buf text = {0};
    struct err err;
    bool found = false;

    if (file_read(allow_file, ALLOW_BYTES_MAX, &text, &err) != STATUS_OK)
        LOG_WARN("transport", "allow_list_unreadable", "error=\"%s\"", err.text);
    for (const char *line = text.len ? text.data : ""; *line && !found;) {
        size_t len = strcspn(line, "\r\n");
        found = len >= KEY_TEXT && memcmp(line, z85, KEY_TEXT) == 0 &&
                strspn(line + KEY_TEXT, " \t") == len - KEY_TEXT;
        line += len + strspn(line + len, "\r\n");
    }
    buf_release(&text);
    return found;
}

static bool allowed(const struct zap *zap, const unsigned char key[KEY_BYTES])
{
    char z85[KEY_TEXT + 1];

    if (!zmq_z85_encode(z85, key, KEY_BYTES))
        return false;
    return (zap->allow_key && strcmp(zap->allow_key, z85) == 0) ||
           (zap->allow_file && in_file(zap->allow_file, z85));
}

/* A request is: version, id, domain, address, identity, mechanism, credentials. */
enum { PART_VERSION, PART_ID, PART_ADDRESS = 3, PART_MECHANISM = 5, PART_KEY = 6, PART_COUNT = 7 };

static int receive_parts(void *socket, zmq_msg_t parts[PART_COUNT])
{
    int count = 0, more = 1;
    while (more) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, socket, 0) < 0) {
            zmq_msg_close(&part);
            return -1;
        }
        more = zmq_msg_more(&part);
        if (count < PART_COUNT)
            zmq_msg_move(&parts[count], &part);
        count++;
        zmq_msg_close(&part);
    }
    return count;
}

/* No is 300, "not now": the client tries again, so a key that is added to the list lets its worker
 * in. After a 400 libzmq's client would be silent for ever. */
static void answer(void *socket, zmq_msg_t *id, bool ok)
{
    zmq_send(socket, "1.0", 3, ZMQ_SNDMORE);
    zmq_msg_send(id, socket, ZMQ_SNDMORE);
    zmq_send(socket, ok ? "200" : "300", 3, ZMQ_SNDMORE);
    zmq_send(socket, ok ? "OK" : "no", 2, ZMQ_SNDMORE);
    zmq_send(socket, "worker", 6, ZMQ_SNDMORE);
    zmq_send(socket, "", 0, 0);
}

static void *zap_main(void *arg)
{
    struct zap *zap = arg;
    uint64_t refused = 0;

    for (int count = 0; count >= 0;) {
        zmq_msg_t parts[PART_COUNT];
        for (int i = 0; i < PART_COUNT; i++)
            zmq_msg_init(&parts[i]);
        count = receive_parts(zap->socket, parts); /* -1 when the context ends */
        if (count > PART_ID) {
            bool ok = count == PART_COUNT && zmq_msg_size(&parts[PART_MECHANISM]) == 5 &&
                      memcmp(zmq_msg_data(&parts[PART_MECHANISM]), "CURVE", 5) == 0 &&
                      zmq_msg_size(&parts[PART_KEY]) == KEY_BYTES &&
                      allowed(zap, zmq_msg_data(&parts[PART_KEY]));
            refused += !ok;
            if (!ok && (refused & (refused - 1)) == 0) /* 1, 2, 4, 8 … */
                LOG_WARN("transport", "key_refused", "count=%llu address=%.*s",
                         (unsigned long long)refused, (int)zmq_msg_size(&parts[PART_ADDRESS]),
                         (char *)zmq_msg_data(&parts[PART_ADDRESS]));
            answer(zap->socket, &parts[PART_ID], ok);
        }
        for (int i = 0; i < PART_COUNT; i++)
            zmq_msg_close(&parts[i]);
    }
    zmq_close(zap->socket);
    return NULL;
}

static void zap_free(struct zap *zap)
{
    mem_free(zap->allow_file);
    mem_free(zap->allow_key);
    mem_free(zap);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

enum status zap_start(struct transport_context *context, const struct transport_security *security,
                      struct err *err)
{
    struct zap *zap = NULL;
    enum status status = STATUS_OK;
    int linger = 0;

    if (!security->allow_file && !security->allow_key)
        return err_set(err, STATUS_INVALID, "CURVE needs a file with the workers' public keys");
    if (security->allow_file && !file_exists(security->allow_file))
        return err_set(err, STATUS_NOT_FOUND, "there is no allow-list %s", security->allow_file);
    pthread_mutex_lock(&context->lock);
    if (context->zap) {
        if (!same_text(context->zap->allow_file, security->allow_file) ||
            !same_text(context->zap->allow_key, security->allow_key))
            status = err_set(err, STATUS_CONFLICT, "one process has one allow-list");
        goto out;
    }
    zap = mem_zalloc(sizeof(*zap));
    if (security->allow_file)
        zap->allow_file = mem_strdup(security->allow_file);
    if (security->allow_key)
        zap->allow_key = mem_strdup(security->allow_key);
    zap->socket = zmq_socket(context->zmq, ZMQ_REP);
    if (zap->socket)
        zmq_setsockopt(zap->socket, ZMQ_LINGER, &linger, sizeof(linger));
    if (!zap->socket || zmq_bind(zap->socket, ZAP_ENDPOINT) != 0 ||
        pthread_create(&zap->thread, NULL, zap_main, zap) != 0) {
        status = err_set(err, STATUS_INTERNAL, "the authenticator does not start: %s",
                         zmq_strerror(errno));
        if (zap->socket)
            zmq_close(zap->socket);
        zap_free(zap);
        goto out;
    }
    context->zap = zap;
out:
    pthread_mutex_unlock(&context->lock);
    return status;
}

/* The context has been shut down, which ends the thread's receive. */
void zap_stop(struct zap *zap)
{
    if (zap) {
        pthread_join(zap->thread, NULL);
        zap_free(zap);
    }
}
