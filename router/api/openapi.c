#include "router/api/openapi.h"

#include <string.h>

#include "router/api/params_table.h"

static const struct endpoint {
    const char *path, *method, *summary;
    enum param_place place; /* of its body; 0: it has none */
    bool guarded;
} endpoints[] = {
    {"/v1/chat/completions", "POST", "chat, streaming or whole", PLACE_CHAT, true},
    {"/v1/completions", "POST", "a plain prompt", PLACE_COMPLETIONS, true},
    {"/generate", "POST", "the native call of SGLang (text, input_ids) and mini-sglang (prompt)",
     PLACE_GENERATE, true},
    {"/tokenize", "POST", "text or messages to token ids", PLACE_TOKENIZE, true},
    {"/detokenize", "POST", "token ids to text", PLACE_DETOKENIZE, true},
    {"/v1/models", "GET", "the models that are served", 0, true},
    {"/v1/models/{id}", "GET", "one of them", 0, true},
    {"/health", "GET", "200 while the process lives", 0, false},
    {"/ready", "GET", "200 while a worker serves, else 503", 0, false},
    {"/version", "GET", "the program's version", 0, false},
    {"/openapi.json", "GET", "this document", 0, false},
};

static void put_error_response(const char *status, struct buf *out)
{
    buf_printf(
        out,
        ",\"%s\":{\"description\":\"an error\",\"content\":{\"application/json\":{\"schema\":"
        "{\"$ref\":\"#/components/schemas/Error\"}}}}",
        status);
}

static void put_responses(const struct endpoint *row, struct buf *out)
{
    static const char *const of_calls[] = {"400", "404", "413", "429", "500", "503"};
    buf_str(out, "\"responses\":{\"200\":{\"description\":\"the answer\",\"content\":{"
                 "\"application/json\":{\"schema\":{}}");
    if (row->place & (PLACE_CHAT | PLACE_COMPLETIONS | PLACE_GENERATE))
        buf_str(out, ",\"text/event-stream\":{\"schema\":{}}");
    buf_str(out, "}}");
    if (row->guarded)
        put_error_response("401", out);
    for (size_t i = 0; i < ARRAY_LEN(of_calls) && row->place; i++)
        put_error_response(of_calls[i], out);
    if (strchr(row->path, '{'))
        put_error_response("404", out);
    if (strcmp(row->path, "/ready") == 0)
        buf_str(out, ",\"503\":{\"description\":\"no worker serves\",\"content\":{"
                     "\"application/json\":{\"schema\":{}}}}");
    buf_char(out, '}');
}

static void put_endpoint(const struct endpoint *row, struct buf *out)
{
    buf_printf(out, "\"%s\":{\"%s\":{\"summary\":\"%s\",", row->path,
               row->method[0] == 'P' ? "post" : "get", row->summary);
    if (strchr(row->path, '{'))
        buf_str(out, "\"parameters\":[{\"name\":\"id\",\"in\":\"path\",\"required\":true,"
                     "\"schema\":{\"type\":\"string\",\"minLength\":1}}],");
    if (row->place) {
        buf_str(out, "\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{"
                     "\"schema\":");
        params_schema(row->place, out);
        buf_str(out, "}}},");
    }
    if (row->guarded)
        buf_str(out, "\"security\":[{},{\"key\":[]}],");
    put_responses(row, out);
    buf_str(out, "}}");
}

void openapi_document(struct buf *out)
{
    buf_str(out, "{\"openapi\":\"3.0.3\",\"info\":{\"title\":\"msgl\",\"version\":\"" MSGL_VERSION
                 "\"},\"paths\":{");
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        buf_str(out, i > 0 ? "," : "");
        put_endpoint(&endpoints[i], out);
    }
    buf_str(
        out,
        "},\"components\":{\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":"
        "\"bearer\"}},\"schemas\":{\"Error\":{\"type\":\"object\",\"required\":[\"error\"],"
        "\"properties\":{\"error\":{\"type\":\"object\",\"required\":[\"message\",\"type\"],"
        "\"properties\":{\"message\":{\"type\":\"string\"},\"type\":{\"type\":\"string\"},"
        "\"param\":{\"type\":\"string\",\"nullable\":true},\"code\":{\"nullable\":true}}}}}}}}");
}

const char *openapi_method(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
        if (strcmp(endpoints[i].path, path) == 0)
            return endpoints[i].method;
    return "GET";
}

bool openapi_guarded(struct str path)
{
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
        if (str_is(path, endpoints[i].path))
            return endpoints[i].guarded;
    return path.len >= 3 && memcmp(path.data, "/v1", 3) == 0;
}
