/* log - one line an event on standard error: time level module event key=value…
 *
 *     LOG_INFO("fleet", "worker_joined", "worker=%s pages=%u", id, pages);
 *
 * The level comes from log_set_level() (option --log-level). Any thread; a line is one write(2).
 * Never log prompt text, generated text, or keys.
 */
#ifndef MSGL_COMMON_LOG_H
#define MSGL_COMMON_LOG_H

#include "common/base.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* The log sink is one of the few mutable statics of the tree. `process` ("router", "worker 2") is
 * copied and starts every line. */
void log_init(const char *process, enum log_level level);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *module, const char *event, const char *format, ...)
    PRINTF_LIKE(4, 5);

#define LOG_AT(level, ...) (log_enabled(level) ? log_write(level, __VA_ARGS__) : (void)0)
#define LOG_DEBUG(...)     LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define LOG_INFO(...)      LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_WARN(...)      LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define LOG_ERROR(...)     LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
