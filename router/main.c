#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "router/api/params_table.h"
#include "router/router.h"

/* glibc raises the size from which memory is mapped, and so given back, to that of the largest piece
 * freed so far: the tables that double as the index grows end up in a heap full of their old places. */
#define MAPPED_BYTES (256 << 10)

int main(int argc, char **argv)
{
    struct router_config config = {0};
    enum config_action action = CONFIG_ACTION_RUN;
    struct err err;
    int code = 0;
    signal(SIGPIPE, SIG_IGN);
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
    mallopt(M_TRIM_THRESHOLD, MAPPED_BYTES);
    if (config_parse(&router_config_spec, argc, argv, &config, &action, &err) != STATUS_OK) {
        fprintf(stderr, "msgl-router: %s\n", err.text);
        config_release(&router_config_spec, &config);
        return EXIT_REFUSED;
    }
    if (action == CONFIG_ACTION_EXIT) {
        config_release(&router_config_spec, &config);
        return 0;
    }
    if (config.print_api) {
        struct buf table = {0};
        params_markdown(&table);
        fwrite(table.data, 1, table.len, stdout);
        buf_release(&table);
        config_release(&router_config_spec, &config);
        return 0;
    }
    log_init("router", (enum log_level)config.log_level);
    struct router *router = mem_zalloc(sizeof(*router));
    enum status status = router_init(router, &config, &err);
    if (status == STATUS_OK) {
        router_run(router);
    } else {
        fprintf(stderr, "msgl-router: %s\n", err.text);
        code = status_exit(status);
    }
    router_release(router);
    mem_free(router);
    config_release(&router_config_spec, &config);
    return code;
}
