#include "deploy/local/editor.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/file.h"
#include "common/mem.h"

#define HISTORY_LINES 1000
#define PASTE_MAX     (1u << 20)

struct editor {
    EditLine *line;
    History *history;
    char *history_path, *prompt;
};

static char *prompt_text(EditLine *line)
{
    struct editor *editor = NULL;
    el_get(line, EL_CLIENTDATA, &editor);
    return editor->prompt;
}

/* The terminal has said that a paste begins: everything up to its end mark goes into the line. */
static unsigned char take_paste(EditLine *line, int key)
{
    static const char end[] = "\033[201~";
    struct buf text = {0};
    char c;
    while (text.len < PASTE_MAX && el_getc(line, &c) == 1) {
        buf_char(&text, c == '\r' ? '\n' : c);
        size_t len = sizeof(end) - 1;
        if (text.len >= len && memcmp(text.data + text.len - len, end, len) == 0) {
            text.len -= len;
            break;
        }
    }
    buf_char(&text, '\0');
    unsigned char result = el_insertstr(line, text.data) == 0 ? CC_REFRESH : CC_ERROR;
    buf_release(&text);
    return result;
}

struct editor *editor_open(const char *name, const char *prompt, const char *history_path)
{
    HistEvent event;
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8"); /* what is typed is UTF-8, also where no locale is set */
    struct editor *editor = mem_zalloc(sizeof(*editor));
    editor->prompt = mem_strdup(prompt);
    editor->history_path = history_path ? mem_strdup(history_path) : NULL;
    editor->line = el_init(name, stdin, stdout, stderr);
    editor->history = history_init();
    if (!editor->line || !editor->history) {
        editor_close(editor);
        return NULL;
    }
    history(editor->history, &event, H_SETSIZE, HISTORY_LINES);
    history(editor->history, &event, H_SETUNIQUE, 1);
    el_set(editor->line, EL_CLIENTDATA, editor);
    el_set(editor->line, EL_PROMPT_ESC, prompt_text, '\1');
    el_set(editor->line, EL_EDITOR, "emacs");
    el_set(editor->line, EL_HIST, history, editor->history);
    el_set(editor->line, EL_SIGNAL, 0);
    el_set(editor->line, EL_ADDFN, "paste", "insert a paste", take_paste);
    el_set(editor->line, EL_BIND, "\033[200~", "paste", NULL);
    el_source(editor->line, NULL);
    if (history_path && file_exists(history_path))
        history(editor->history, &event, H_LOAD, history_path);
    return editor;
}

static void save_history(struct editor *editor)
{
    HistEvent event;
    if (editor->history_path)
        history(editor->history, &event, H_SAVE, editor->history_path);
}

void editor_close(struct editor *editor)
{
    if (!editor)
        return;
    if (editor->history)
        history_end(editor->history);
    if (editor->line)
        el_end(editor->line);
    mem_free(editor->history_path);
    mem_free(editor->prompt);
    mem_free(editor);
}

/* Pastes are marked only while a line is read: other programs' output must not be. */
static void mark_pastes(bool on)
{
    fputs(on ? "\033[?2004h" : "\033[?2004l", stdout);
    fflush(stdout);
}

enum editor_end editor_read(struct editor *editor, volatile sig_atomic_t *interrupted, char **line)
{
    HistEvent event;
    int count = 0;
    *interrupted = 0;
    errno = 0;
    mark_pastes(true);
    const char *got = el_gets(editor->line, &count);
    bool broken = (!got || count <= 0) && (*interrupted || (count < 0 && errno == EINTR));
    mark_pastes(false);
    if (broken) {
        el_reset(editor->line);
        putchar('\n');
        return EDITOR_INTERRUPT;
    }
    if (!got || count <= 0) {
        putchar('\n');
        return EDITOR_END;
    }
    *line = mem_strndup(got, (size_t)count);
    if (strspn(*line, " \t\r\n") < strlen(*line)) {
        history(editor->history, &event, H_ENTER, *line);
        save_history(editor); /* at once: a closed window is a signal, not an end */
    }
    return EDITOR_LINE;
}
