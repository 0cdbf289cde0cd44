#include "common/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 1024

/* The log sink: set once at start, read by every thread. */
static struct {
    char process[48];
    _Atomic int level;
} sink = {.process = "msgl", .level = LOG_LEVEL_INFO};

static const char level_letters[] = "DIWE";

void log_init(const char *process, enum log_level level)
{
    snprintf(sink.process, sizeof(sink.process), "%s", process);
    atomic_store(&sink.level, (int)level);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&sink.level, memory_order_relaxed);
}

void log_write(enum log_level level, const char *module, const char *event, const char *format, ...)
{
    char line[LINE_BYTES_MAX];
    struct timespec now;
    struct tm tm;
    va_list args;
    int len;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    len = snprintf(line, sizeof(line), "%02d:%02d:%02d.%03ld %c %s %s.%s ", tm.tm_hour, tm.tm_min,
                   tm.tm_sec, now.tv_nsec / 1000000, level_letters[level], sink.process, module,
                   event);
    va_start(args, format);
    len += vsnprintf(line + len, sizeof(line) - (size_t)len, format, args);
    va_end(args);
    if (len > LINE_BYTES_MAX - 2)
        len = LINE_BYTES_MAX - 2;
    for (int i = 0; i < len; i++) /* one event, one line, no terminal escapes */
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)len) < 0)
        return; /* nowhere left to say so */
}
