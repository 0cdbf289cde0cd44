/* config - one table of options drives the command line, the environment, a config file, --help,
 * --print-config and docs/CONFIG.md.
 *
 * A program declares a plain struct and a table whose rows point into it by offset:
 *
 *     static const struct option options[] = {
 *         OPTION_UINT(struct worker_config, page_size, "page-size", 16, 1, 1024, "tokens a page"),
 *         ...
 *     };
 *
 * Order of precedence: command line, environment, file (--config FILE, lines of `name = value`),
 * default. Strings are owned by the config struct's arena-like list and freed by config_release().
 */
#ifndef MSGL_COMMON_CONFIG_H
#define MSGL_COMMON_CONFIG_H

#include "common/buf.h"
#include "common/status.h"

enum option_type {
    OPTION_TYPE_BOOL,   /* bool;        --x, --no-x, x = true|false */
    OPTION_TYPE_UINT,   /* uint64_t */
    OPTION_TYPE_FLOAT,  /* double */
    OPTION_TYPE_STRING, /* const char *, NULL when not given and without default */
    OPTION_TYPE_CHOICE, /* uint32_t, index into `choices` ("a|b|c") */
    OPTION_TYPE_LIST,   /* struct config_list: repeatable strings */
};

#define CONFIG_LIST_MAX 64
struct config_list {
    const char *items[CONFIG_LIST_MAX];
    size_t count;
};

struct option {
    const char *name; /* "page-size" */
    enum option_type type;
    size_t offset;            /* of the field in the program's config struct */
    const char *default_text; /* parsed like user input; NULL = zero / none */
    double min, max;          /* UINT and FLOAT; both 0 = no bound */
    const char *choices;      /* CHOICE only */
    const char *env;          /* environment variable that sets it, or NULL */
    const char *help;         /* one line, with the unit */
};

#define OPTION_BOOL(s, f, n, d, e, h)                                                              \
    {                                                                                              \
        n, OPTION_TYPE_BOOL, offsetof(s, f), d, 0, 0, NULL, e, h                                   \
    }
#define OPTION_UINT(s, f, n, d, lo, hi, h)                                                         \
    {                                                                                              \
        n, OPTION_TYPE_UINT, offsetof(s, f), d, lo, hi, NULL, NULL, h                              \
    }
#define OPTION_FLOAT(s, f, n, d, lo, hi, h)                                                        \
    {                                                                                              \
        n, OPTION_TYPE_FLOAT, offsetof(s, f), d, lo, hi, NULL, NULL, h                             \
    }
#define OPTION_STRING(s, f, n, d, e, h)                                                            \
    {                                                                                              \
        n, OPTION_TYPE_STRING, offsetof(s, f), d, 0, 0, NULL, e, h                                 \
    }
#define OPTION_CHOICE(s, f, n, d, c, h)                                                            \
    {                                                                                              \
        n, OPTION_TYPE_CHOICE, offsetof(s, f), d, 0, 0, c, NULL, h                                 \
    }
#define OPTION_LIST(s, f, n, h)                                                                    \
    {                                                                                              \
        n, OPTION_TYPE_LIST, offsetof(s, f), NULL, 0, 0, NULL, NULL, h                             \
    }

/* What a program is, for --help and docs. */
struct config_spec {
    const char *program; /* "msgl-router" */
    const char *purpose; /* one line */
    const struct option *options;
    size_t option_count;
};

enum config_action { CONFIG_ACTION_RUN, CONFIG_ACTION_EXIT }; /* EXIT: --help or such was printed */

/* Fills *config (zeroed by the caller). Unknown options and values out of range are INVALID with a
 * sentence that names the option and what is allowed. Loop thread, at start. */
enum status MUST_USE config_parse(const struct config_spec *spec, int argc, char **argv,
                                  void *config, enum config_action *action, struct err *err);
void config_release(const struct config_spec *spec, void *config);

void config_help(const struct config_spec *spec, struct buf *out);
void config_markdown(const struct config_spec *spec,
                     struct buf *out); /* a section of docs/CONFIG.md */
void config_print(const struct config_spec *spec, const void *config, struct buf *out);

/* The folder of what msgl keeps on this machine: MSGL_HOME or ~/.cache/msgl; on the heap. */
char *config_home(void);

#endif
