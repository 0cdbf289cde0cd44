#include "router/config.h"

#include "router/api/tools.h"
#include "router/route.h"

#define R struct router_config

static const struct option options[] = {
    OPTION_LIST(R, models, "model", "model folder or ORG/NAME on the hub; repeat for more"),
    OPTION_LIST(
        R, served_names, "served-model-name",
        "name that clients use, one for each --model; default: the folder's name, or ORG/NAME"),
    OPTION_STRING(R, host, "host", "127.0.0.1", NULL, "address of the OpenAI API"),
    OPTION_UINT(R, port, "port", "8000", 0, 65535, "port of the OpenAI API, 0 = any free one"),
    OPTION_STRING(R, admin_host, "admin-host", "127.0.0.1", NULL, "address of metrics and probes"),
    OPTION_UINT(R, admin_port, "admin-port", "9000", 0, 65535,
                "port of metrics and probes, 0 = off"),
    OPTION_STRING(R, admin_key, "admin-key", NULL, "MSGL_ADMIN_KEY",
                  "bearer key that /cluster asks for on the admin port; default: those of the API"),
    OPTION_BOOL(R, no_ui, "no-ui", "false", NULL,
                "no page to chat and to watch the cluster at / of both ports"),
    OPTION_STRING(R, worker_endpoint, "worker-endpoint", "tcp://127.0.0.1:8100", NULL,
                  "where workers connect (bound here)"),
    OPTION_STRING(R, wire_key_file, "wire-key-file", NULL, NULL,
                  "file with the router's CURVE public and secret key, one a line"),
    OPTION_STRING(R, wire_allow_file, "wire-allow-file", NULL, NULL,
                  "file with the public keys of workers, one a line"),
    OPTION_BOOL(R, wire_plain, "wire-plain", "false", NULL,
                "allow workers without keys beyond loopback"),
    OPTION_CHOICE(R, policy, "policy", "prefix", ROUTE_POLICIES, "how a worker is chosen"),
    OPTION_FLOAT(R, decode_weight, "decode-weight", "32", 0, 1e6,
                 "prefill tokens that one req on a worker costs a newcomer"),
    OPTION_UINT(
        R, queue_max, "queue-max", "1024", 0, 1000000,
        "streams that wait for a free slot; more get 429, from the key that has most of them"),
    OPTION_UINT(R, queue_wait_s, "queue-wait-s", "120", 1, 86400,
                "longest wait for a free slot, seconds"),
    OPTION_UINT(R, streams_max, "streams-max", "8192", 1, 1000000,
                "streams at once, waiting ones included; more get 429"),
    OPTION_UINT(R, choices_max, "choices-max", "32", 1, 1024, "choices of one call (n x prompts)"),
    OPTION_UINT(R, connections_max, "connections-max", "10000", 1, 1000000, "HTTP connections"),
    OPTION_UINT(R, idle_timeout_s, "idle-timeout-s", "120", 1, 86400,
                "for a request to arrive, and for an idle connection, seconds"),
    OPTION_UINT(R, request_timeout_s, "request-timeout-s", "3600", 1, 864000,
                "longest life of one call, seconds"),
    OPTION_UINT(R, failover_wait_s, "failover-wait-s", "6", 0, 3600,
                "wait for a worker when a stream lost its own and there is no other, seconds"),
    OPTION_UINT(R, worker_dead_ms, "worker-dead-ms", "2000", 500, 600000,
                "a worker that is silent, or makes no step, for so long is dead, ms"),
    OPTION_UINT(R, drain_settle_s, "drain-settle", "0", 0, 3600,
                "seconds after SIGTERM in which /ready fails but calls are still taken: until the "
                "load balancer has noticed"),
    OPTION_UINT(R, drain_timeout_s, "drain-timeout", "30", 0, 86400,
                "seconds that calls get to end after that"),
    OPTION_UINT(R, body_max_mib, "body-max-mib", "16", 1, 1024, "largest request body, MiB"),
    OPTION_UINT(R, stream_gather_ms, "stream-gather-ms", "0", 0, 1000,
                "ms that a stream's tokens may wait for more of them, to go out as one event; 0 = "
                "each at once"),
    OPTION_UINT(R, stream_buffer_kib, "stream-buffer-kib", "1024", 16, 1048576,
                "unsent bytes of one response; a slower reader is cut off, KiB"),
    OPTION_UINT(R, inline_bytes, "inline-bytes", "4096", 0, 1048576,
                "bodies up to this size are read and tokenized on the loop, others on a thread"),
    OPTION_UINT(R, text_threads, "text-threads", "2", 1, 64, "threads for long prompts"),
    OPTION_STRING(R, tls_cert_file, "tls-cert-file", NULL, NULL,
                  "PEM certificate chain: the API speaks TLS; read again when it changes"),
    OPTION_STRING(R, tls_key_file, "tls-key-file", NULL, NULL, "PEM key of the certificate"),
    OPTION_STRING(R, api_key, "api-key", NULL, "MSGL_API_KEY", "bearer key that /v1 asks for"),
    OPTION_STRING(R, api_key_file, "api-key-file", NULL, "MSGL_API_KEY_FILE",
                  "file of keys with names, limits and spaces (docs/SECURITY.md); read again when "
                  "it changes"),
    OPTION_CHOICE(R, tool_format, "tool-format", "auto", TOOL_FORMATS,
                  "how models write calls of tools; auto: as their chat template shows"),
    OPTION_CHOICE(R, reasoning, "reasoning", "auto", "auto|off",
                  "what stands between <think> marks comes as reasoning_content, or stays text"),
    OPTION_CHOICE(R, unknown_fields, "unknown-fields", "refuse", "refuse|ignore",
                  "a field that the API does not have is a 400 that names it, or is passed over"),
    OPTION_STRING(R, cors_origin, "cors-origin", NULL, NULL,
                  "origin whose pages may call the API from a browser, or *"),
    OPTION_BOOL(R, print_api, "print-api", "false", NULL,
                "print the table of the API's parameters and leave"),
    OPTION_CHOICE(R, log_level, "log-level", "info", "debug|info|warn|error", "least to be logged"),
};

const struct config_spec router_config_spec = {
    .program = "msgl-router",
    .purpose = "serves the OpenAI API and sends each prompt to the worker that knows most of it",
    .options = options,
    .option_count = ARRAY_LEN(options),
};
