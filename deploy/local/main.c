/* msgl - the front door for people: one program, a few subcommands. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "deploy/local/commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"serve", command_serve, "a router and workers on this machine, supervised"},
    {"chat", command_chat, "talk to a server in the terminal"},
    {"doctor", command_doctor, "what this machine has and lacks, in sentences"},
    {"bench", command_bench, "put load on a server; prints times and tokens/s"},
    {"keys", command_keys, "make the keys of a cluster's wire"},
    {"fetch", command_fetch, "download a model by name"},
    {"tokenize", command_tokenize, "text to token ids and back"},
    {"prompt", command_prompt, "what a chat request becomes"},
};

static void help(FILE *out)
{
    fputs("msgl - serves language models\n\n", out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  msgl %-9s %s\n", commands[i].name, commands[i].what);
    fputs("\n`msgl COMMAND --help` lists a command's options.\n", out);
}

int main(int argc, char **argv)
{
    int status = 2;

    if (argc < 2) {
        help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("msgl %s\n", MSGL_VERSION);
        return 0;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            status = commands[i].run(argc - 1, argv + 1);
            curl_global_cleanup();
            return status;
        }
    }
    fprintf(stderr, "msgl: there is no command '%s' (see msgl --help)\n", argv[1]);
    curl_global_cleanup();
    return status;
}
