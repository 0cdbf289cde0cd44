/* config - the router's options. */
#ifndef MSGL_ROUTER_CONFIG_H
#define MSGL_ROUTER_CONFIG_H

#include "common/config.h"

/* What is done about a field of a body that the API does not have. */
enum unknown_fields { UNKNOWN_REFUSED, UNKNOWN_IGNORED };

struct router_config {
    struct config_list models;       /* folders or ORG/NAME */
    struct config_list served_names; /* pairwise with models */
    const char *host;
    uint64_t port;
    const char *admin_host;
    uint64_t admin_port;   /* 0 = off */
    const char *admin_key; /* NULL: the API's keys */
    bool no_ui;
    const char *worker_endpoint;
    const char *wire_key_file;
    const char *wire_allow_file;
    bool wire_plain;
    uint32_t policy; /* enum route_kind */
    double decode_weight;
    uint64_t queue_max;
    uint64_t queue_wait_s;
    uint64_t streams_max;
    uint64_t choices_max;
    uint64_t connections_max;
    uint64_t idle_timeout_s;
    uint64_t request_timeout_s;
    uint64_t failover_wait_s;
    uint64_t worker_dead_ms;
    uint64_t drain_settle_s, drain_timeout_s;
    uint64_t body_max_mib;
    uint64_t stream_buffer_kib;
    uint64_t stream_gather_ms;
    uint64_t inline_bytes;
    uint64_t text_threads;
    const char *tls_cert_file, *tls_key_file;
    const char *api_key, *api_key_file;
    uint32_t tool_format;    /* TOOL_FORMATS */
    uint32_t reasoning;      /* auto, off */
    uint32_t unknown_fields; /* enum unknown_fields */
    const char *cors_origin; /* NULL: no CORS headers */
    bool print_api;
    uint32_t log_level; /* enum log_level */
};

extern const struct config_spec router_config_spec;

#endif
