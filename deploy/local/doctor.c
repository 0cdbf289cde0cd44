/* doctor - msgl doctor: what this machine has and lacks, in plain sentences. */
#include "deploy/local/doctor.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/config.h"
#include "common/file.h"
#include "common/hub.h"
#include "common/mem.h"
#include "deploy/local/commands.h"

struct doctor_config {
    const char *model;
};

static const struct option doctor_options[] = {
    OPTION_STRING(struct doctor_config, model, "model", NULL, NULL,
                  "model folder or ORG/NAME to look at"),
};
static const struct config_spec doctor_spec = {"msgl doctor", "what this machine has and lacks",
                                               doctor_options, ARRAY_LEN(doctor_options)};

static void finding(const char *mark, const char *format, va_list args)
{
    printf("%s ", mark);
    vprintf(format, args);
    putchar('\n');
}

void doctor_good(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    finding("ok  ", format, args);
    va_end(args);
}

void doctor_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    finding("note", format, args);
    va_end(args);
}

void doctor_bad(struct doctor *doctor, const char *format, ...)
{
    va_list args;
    doctor->problems++;
    va_start(args, format);
    finding("BAD ", format, args);
    va_end(args);
}

static void check_cpu(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__x86_64__)
    __builtin_cpu_init();
    const char *best = __builtin_cpu_supports("avx512bf16") ? "AVX-512 with bf16"
                       : __builtin_cpu_supports("avx512f")  ? "AVX-512"
                       : __builtin_cpu_supports("avx2")     ? "AVX2"
                                                            : NULL;
    if (best)
        doctor_good("The CPU has %ld cores and %s.", cores, best);
    else
        doctor_note("The CPU has %ld cores but no AVX2: answers will be slow.", cores);
#else
    doctor_note("The CPU has %ld cores of a kind without hand-tuned code: answers may be slow.",
                cores);
#endif
}

static uint64_t number_in_file(const char *path, const char *key)
{
    char line[256];
    uint64_t value = 0;
    FILE *file = fopen(path, "r");

    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtoull(line + strlen(key), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

uint64_t doctor_memory_free(void)
{
    uint64_t bytes = number_in_file("/proc/meminfo", "MemAvailable:") * 1024;
    uint64_t limit = number_in_file("/sys/fs/cgroup/memory.max", ""); /* 0 when it says "max" */
    uint64_t used = number_in_file("/sys/fs/cgroup/memory.current", "");

    return limit ? MIN(bytes, limit > used ? limit - used : 0) : bytes;
}

static void check_memory_and_disk(struct doctor *doctor)
{
    uint64_t mib = doctor_memory_free() >> 20;
    char *home = config_home();
    struct statvfs fs;
    struct err err = {0};

    if (mib >= 1024)
        doctor_good("%.1f GiB of memory are free.", (double)mib / 1024);
    else
        doctor_bad(doctor,
                   "Only %llu MiB of memory are free; the smallest model wants about 1 GiB.",
                   (unsigned long long)mib);
    if (dir_create(home, &err) != STATUS_OK || access(home, W_OK) != 0)
        doctor_bad(doctor, "%s cannot be written; set MSGL_HOME to a folder of your own.", home);
    else if (statvfs(home, &fs) == 0)
        doctor_good("%.1f GiB of disk are free in %s.",
                    (double)fs.f_bavail * (double)fs.f_frsize / 0x1p30, home);
    mem_free(home);
}

/* Starting with --version loads every shared library that the program needs. */
static void check_program(struct doctor *doctor, const char *name)
{
    char self[4096], line[256] = "";
    struct buf command = {0};
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;
    FILE *out;

    self[len > 0 ? len : 0] = 0;
    slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    buf_printf(&command, "%s/%s", self, name);
    if (!file_exists(command.data)) {
        doctor_bad(doctor, "%s is missing: it belongs beside msgl in %s.", name, self);
        buf_release(&command);
        return;
    }
    buf_clear(&command);
    if (strchr(self, '\'')) {
        doctor_note("%s was not tried: the path of its folder has a quote in it.", name);
        buf_release(&command);
        return;
    }
    buf_printf(&command, "'%s/%s' --version 2>&1", self, name);
    out = popen(command.data, "r");
    if (out && fgets(line, sizeof(line), out))
        line[strcspn(line, "\n")] = 0;
    if (out && pclose(out) == 0)
        doctor_good("%s starts (%s).", name, line);
    else
        doctor_bad(doctor, "%s does not start: %s", name, line[0] ? line : "it says nothing");
    buf_release(&command);
}

int command_doctor(int argc, char **argv)
{
    struct doctor_config config = {0};
    struct doctor doctor = {0};
    struct hub_opts cache_only = {.offline = true}; /* looking must not download gigabytes */
    struct err err = {0};
    char *path = NULL;
    int exit_status;

    if (!command_parse(&doctor_spec, argc, argv, &config, &exit_status))
        return exit_status;
    check_cpu();
    check_memory_and_disk(&doctor);
    check_program(&doctor, "msgl-router");
    check_program(&doctor, "msgl-worker");
    doctor_gpu(&doctor);
    if (!config.model)
        doctor_note("No model was looked at; name one with --model.");
    else if (hub_resolve(config.model, HUB_WANT_ALL, &cache_only, &path, &err) != STATUS_OK)
        doctor_bad(&doctor, "%s.", err.text);
    else
        doctor_model(&doctor, path);
    if (doctor.problems)
        printf("%u problem%s.\n", doctor.problems, doctor.problems > 1 ? "s" : "");
    else
        printf("All is well.\n");
    mem_free(path);
    config_release(&doctor_spec, &config);
    return doctor.problems ? 1 : 0;
}
