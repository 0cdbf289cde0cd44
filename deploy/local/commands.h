/* commands - the subcommands of msgl. Each takes its own words (argv[0] is its name) and returns the
 * process's exit status: 0 done, 1 failed, 2 wrong usage. */
#ifndef MSGL_DEPLOY_LOCAL_COMMANDS_H
#define MSGL_DEPLOY_LOCAL_COMMANDS_H

#include "common/config.h"

int command_serve(int argc, char **argv);    /* router and workers on this machine, supervised */
int command_chat(int argc, char **argv);     /* talk to a server */
int command_bench(int argc, char **argv);    /* load a server, print times and tokens/s */
int command_doctor(int argc, char **argv);   /* what this machine has, in sentences */
int command_keys(int argc, char **argv);     /* the keys of a cluster */
int command_fetch(int argc, char **argv);    /* download a model */
int command_tokenize(int argc, char **argv); /* text to ids and back */
int command_prompt(int argc, char **argv);   /* a chat request to its prompt */

/* "msgl NAME: text" on standard error. */
void command_complain(const char *name, const struct err *err);

/* Parses the words of one subcommand. True: go on. False: return *exit_status at once. */
bool command_parse(const struct config_spec *spec, int argc, char **argv, void *config,
                   int *exit_status);

/* hub_resolve() with a progress bar on standard error when that is a terminal. */
enum status MUST_USE command_model_path(const char *model, bool weights, char **path,
                                        struct err *err);

#endif
