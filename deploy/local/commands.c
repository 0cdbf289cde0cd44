#include "deploy/local/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/mem.h"

void command_complain(const char *name, const struct err *err)
{
    fprintf(stderr, "%s: %s\n", name, err->text);
}

bool command_parse(const struct config_spec *spec, int argc, char **argv, void *config,
                   int *exit_status)
{
    enum config_action action;
    struct err err = {0};

    *exit_status = 0;
    if (config_parse(spec, argc, argv, config, &action, &err) != STATUS_OK) {
        command_complain(spec->program, &err);
        *exit_status = 2;
    } else if (action == CONFIG_ACTION_RUN) {
        return true;
    }
    config_release(spec, config);
    return false;
}
