/* editor - one line (or a paste of many) from a terminal: editing, history in a file, Ctrl-C.
 *
 * A paste arrives between marks of the terminal (bracketed paste), so its line ends are text and do
 * not send it: they stand in the line as ^J until Return. One editor a process: libedit's own rule. */
#ifndef MSGL_DEPLOY_LOCAL_EDITOR_H
#define MSGL_DEPLOY_LOCAL_EDITOR_H

#include <signal.h>
#include <stdbool.h>

struct editor;

/* `name` for error messages, `history_path` may be NULL. NULL when there is no terminal to edit on. */
struct editor *editor_open(const char *name, const char *prompt, const char *history_path);
void editor_close(struct editor *editor); /* saves the history; NULL is fine */

enum editor_end { EDITOR_LINE, EDITOR_INTERRUPT, EDITOR_END };
/* *line is on the heap for EDITOR_LINE. `interrupted` is set by the caller's SIGINT handler. */
enum editor_end editor_read(struct editor *editor, volatile sig_atomic_t *interrupted, char **line);

#endif
