/* PROTOCOL.md is normative: its examples decode and encode back to the same bytes, and its tables
 * are those of codec_fields.c. Runs in the repository's root. */
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "proto/codec.h"
#include "proto/codec_fields.h"

#define DOC "proto/PROTOCOL.md"

static struct buf read_doc(void)
{
    struct buf doc = {0};
    struct err err;
    ck_assert_msg(file_read(DOC, 1 << 20, &doc, &err) == STATUS_OK, "%s", err.text);
    return doc;
}

static enum frame_type type_named(const char *name, size_t len)
{
    for (int t = 1; t < 64; t++)
        if (field_table_of((uint64_t)t) && strlen(frame_name((enum frame_type)t)) == len &&
            memcmp(frame_name((enum frame_type)t), name, len) == 0)
            return (enum frame_type)t;
    return (enum frame_type)0;
}

/* Bytes of a block of hex digits that ends at "```". */
static struct buf unhex(const char *text)
{
    struct buf bytes = {0};
    while (*text != '`') {
        if (isxdigit((unsigned char)*text)) {
            char pair[3] = {text[0], text[1], 0};
            ck_assert(isxdigit((unsigned char)text[1]));
            buf_char(&bytes, (char)strtol(pair, NULL, 16));
            text++;
        }
        text++;
    }
    return bytes;
}

START_TEST(examples_decode_and_encode_back)
{
    struct buf doc = read_doc();
    unsigned examples[64] = {0};

    for (const char *at = doc.data; (at = strstr(at, "```hex ")); at++) {
        const char *name = at + strlen("```hex "), *eol = strchr(name, '\n');
        enum frame_type type = type_named(name, (size_t)(eol - name));
        struct buf bytes = unhex(eol), again = {0};
        struct arena arena;
        struct frame frame;
        struct err err;

        arena_init(&arena);
        ck_assert_msg(type != 0, "no frame is called %.20s", name);
        ck_assert_msg(frame_decode(bytes.data, bytes.len, &arena, &frame, &err) == STATUS_OK, "%s",
                      err.text);
        ck_assert_int_eq(frame.type, type);
        frame_encode(&frame, &again);
        ck_assert_uint_eq(again.len, bytes.len);
        ck_assert_mem_eq(again.data, bytes.data, bytes.len);
        examples[type]++;
        buf_release(&again);
        buf_release(&bytes);
        arena_release(&arena);
    }
    for (uint64_t t = 1; t < 64; t++)
        if (field_table_of(t))
            ck_assert_msg(examples[t] > 0, "no example of %s", frame_name((enum frame_type)t));
    buf_release(&doc);
}
END_TEST

static const char *const kind_names[] = {
    [FIELD_U32] = "u32",    [FIELD_U64] = "u64",       [FIELD_I32] = "i32",
    [FIELD_F32] = "f32",    [FIELD_BOOL] = "bool",     [FIELD_STR] = "str",
    [FIELD_BIN] = "bin",    [FIELD_TOKENS] = "tokens", [FIELD_HASHES] = "hashes",
    [FIELD_ARRAY] = "maps",
};

/* "1..256", "1..", "" as far as it is made of integers; other words are left to the reader. */
static void check_range(const struct field *field, const char *text)
{
    char range[64];
    bool bounded =
        field->kind != FIELD_BOOL && field->kind != FIELD_F32 && field->kind != FIELD_I32;
    uint64_t top = field->kind == FIELD_U64 ? UINT64_MAX : UINT32_MAX;

    if (!bounded)
        return;
    if (field->max != top)
        snprintf(range, sizeof(range), "%llu..%llu", (unsigned long long)field->min,
                 (unsigned long long)field->max);
    else
        snprintf(range, sizeof(range), field->min ? "%llu.." : "", (unsigned long long)field->min);
    ck_assert_msg(strcmp(range, text) == 0, "key %s: range is \"%s\", page says \"%s\"", field->key,
                  range, text);
}

/* Cuts one table row into its cells, trimmed. */
static unsigned cut_row(char *row, char *cells[8])
{
    unsigned count = 0;
    for (char *cell = row + 1, *bar; count < 8 && (bar = strchr(cell, '|')); cell = bar + 1) {
        char *end = bar;
        while (*cell == ' ')
            cell++;
        while (end > cell && end[-1] == ' ')
            end--;
        *end = 0;
        cells[count++] = cell > end ? end : cell;
    }
    return count;
}

static void check_row(const struct field_table *table, uint32_t idx, char *row, const char *where)
{
    char *cells[8];
    const struct field *field;

    ck_assert_msg(idx < table->count, "%s: too many rows", where);
    field = &table->fields[idx];
    ck_assert_msg(cut_row(row, cells) == 5, "%s: five cells: %s", where, row);
    ck_assert_msg(strcmp(cells[0], field->key) == 0, "%s: row %u is %s, code says %s", where, idx,
                  cells[0], field->key);
    ck_assert_msg(strcmp(cells[1], kind_names[field->kind]) == 0, "%s: type of %s", where,
                  field->key);
    ck_assert_msg((strcmp(cells[2], "yes") == 0) == field->required, "%s: need of %s", where,
                  field->key);
    check_range(field, cells[3]);
}

START_TEST(tables_are_those_of_the_code)
{
    struct buf doc = read_doc();
    const struct field_table *table = NULL;
    const char *where = "";
    uint32_t idx = 0, tables = 0;

    for (char *line = doc.data, *eol; (eol = strchr(line, '\n')); line = eol + 1) {
        *eol = 0;
        if (table && (strncmp(line, "### ", 4) == 0 || strncmp(line, "Each ", 5) == 0)) {
            ck_assert_msg(idx == table->count, "%s: the page has %u rows of %u", where, idx,
                          table->count);
        }
        if (strncmp(line, "### ", 4) == 0) {
            enum frame_type type = type_named(line + 4, strlen(line + 4));
            ck_assert_msg(type != 0, "heading %s", line);
            table = field_table_of(type);
            where = line + 4;
        } else if (table && strncmp(line, "Each ", 5) == 0) {
            table = table->fields[table->count - 1].item;
            where = line;
            ck_assert_ptr_nonnull(table);
        } else if (table && strncmp(line, "| key |", 7) == 0) {
            idx = 0;
            tables++;
        } else if (table && line[0] == '|' && strncmp(line, "|--", 3) != 0 &&
                   strncmp(line, "| z | status", 12) != 0 && !isdigit((unsigned char)line[2])) {
            check_row(table, idx++, line, where);
        }
    }
    ck_assert_uint_eq(tables, 13); /* eleven frames, an item, a run */
    buf_release(&doc);
}
END_TEST

START_TEST(statuses_are_those_of_the_code)
{
    struct buf doc = read_doc();
    const char *start = strstr(doc.data, "| z | status |");

    ck_assert_ptr_nonnull(start);
    for (int status = 1; status < STATUS_COUNT; status++) {
        char cell[64];
        snprintf(cell, sizeof(cell), "| %d | %s |", status, status_name((enum status)status));
        ck_assert_msg(strstr(start, cell) != NULL, "the page lacks %s", cell);
    }
    buf_release(&doc);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("protocol_md");
    TCase *tc = tcase_create("protocol_md");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tc, examples_decode_and_encode_back);
    tcase_add_test(tc, tables_are_those_of_the_code);
    tcase_add_test(tc, statuses_are_those_of_the_code);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
