#include "router/web/ui.h"

#include <string.h>

static const struct {
    const char *name, *value;
} headers[] = {
    {"content-security-policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
     "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
     "require-trusted-types-for 'script'; trusted-types 'none'"},
    {"x-content-type-options", "nosniff"},
    {"x-frame-options", "DENY"},
    {"referrer-policy", "no-referrer"},
    {"cross-origin-opener-policy", "same-origin"},
    {"cross-origin-resource-policy", "same-origin"},
    {"permissions-policy", "camera=(), microphone=(), geolocation=()"},
    {"cache-control", "no-cache"},
};

#define PORT_FILE(text, tag)                                                                       \
    {                                                                                              \
        "port.js", "text/javascript; charset=utf-8", tag, (const unsigned char *)(text),           \
            sizeof(text) - 1                                                                       \
    }
static const struct ui_file of_api_port = PORT_FILE("export const cluster = false;\n", "\"api\"");
static const struct ui_file of_admin_port =
    PORT_FILE("export const cluster = true;\n", "\"admin\"");

const struct ui_file *ui_find(struct str path, bool admin)
{
    static const char folder[] = "/ui/";
    size_t skip = sizeof(folder) - 1;
    struct str name;
    if (str_is(path, "/"))
        name = STR("index.html");
    else if (path.len > skip && memcmp(path.data, folder, skip) == 0)
        name = (struct str){path.data + skip, path.len - skip};
    else
        return NULL;
    if (str_is(name, "port.js"))
        return admin ? &of_admin_port : &of_api_port;
    for (size_t i = 0; i < ui_file_count; i++)
        if (str_is(name, ui_files[i].name))
            return &ui_files[i];
    return NULL;
}

/* A list of quoted tags, some weak (W/"…"), or *. Quotes do not occur inside of tags. */
bool ui_matches(struct str if_none_match, const char *etag)
{
    size_t len = strlen(etag);
    if (str_is(if_none_match, "*"))
        return true;
    return if_none_match.len >= len &&
           memmem(if_none_match.data, if_none_match.len, etag, len) != NULL;
}

bool ui_request(struct http_exchange *exchange, bool admin)
{
    struct str method = http_method(exchange);
    const struct ui_file *file = ui_find(http_path(exchange), admin);
    if (!file || !(str_is(method, "GET") || str_is(method, "HEAD")))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        http_add_header(exchange, headers[i].name, str_from(headers[i].value));
    http_add_header(exchange, "etag", str_from(file->etag));
    bool known = ui_matches(http_header(exchange, "if-none-match"), file->etag);
    struct str body = {(const char *)file->data, file->len};
    http_reply(exchange, known ? 304 : 200, file->type, known ? STR("") : body);
    return true;
}
