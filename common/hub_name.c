/* hub_name - what is a folder, what a name on the hub, and what clients call either. */
#include <string.h>
#include <sys/stat.h>

#include "common/hub_impl.h"
#include "common/mem.h"

bool hub_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool hub_is_name(const char *text, size_t len)
{
    if (len == 0 || len > 96 || text[0] == '.' || text[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", text[i]))
            return false;
    return true;
}

/* ORG/NAME: two names with one slash between them. */
bool hub_is_model_name(const char *model)
{
    const char *slash = strchr(model, '/');
    return slash && hub_is_name(model, (size_t)(slash - model)) &&
           hub_is_name(slash + 1, strlen(slash + 1));
}

char *hub_served_name(const char *model)
{
    size_t len = strlen(model), begin;
    if (!hub_is_folder(model) && hub_is_model_name(model))
        return mem_strdup(model);
    while (len > 1 && model[len - 1] == '/')
        len--;
    for (begin = len; begin > 0 && model[begin - 1] != '/';)
        begin--;
    return mem_strndup(model + begin, len - begin);
}
