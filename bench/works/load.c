#include "bench/works/load.h"

#include "bench/works/pyrandom.h"
#include "common/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYSTEM_WORDS   1500u
#define QUESTION_WORDS 120u
#define REPLY_WORDS    150u
#define OWN_WORDS      500u

static const char *const words[] = {
    "the",   "of",     "and",   "to",    "in",     "is",    "that",  "it",     "was",  "for",
    "on",    "are",    "as",    "with",  "his",    "they",  "at",    "be",     "this", "from",
    "have",  "or",     "by",    "one",   "had",    "not",   "but",   "what",   "all",  "were",
    "when",  "we",     "there", "can",   "an",     "your",  "which", "their",  "said", "if",
    "do",    "will",   "each",  "about", "how",    "up",    "out",   "them",   "then", "she",
    "many",  "some",   "so",    "these", "would",  "other", "into",  "has",    "more", "her",
    "two",   "like",   "him",   "see",   "time",   "could", "no",    "make",   "than", "first",
    "been",  "its",    "who",   "now",   "people", "my",    "made",  "over",   "did",  "down",
    "only",  "way",    "find",  "use",   "may",    "water", "long",  "little", "very", "after",
    "words", "called", "just",  "where", "most",   "know",
};

static void add_words(struct buf *out, struct pyrandom *random, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *word = words[pyrandom_int(random, 0, ARRAY_LEN(words) - 1)];
        buf_printf(out, "%s%s", i ? " " : "", word);
    }
}

static void add_message(struct buf *out, const char *role, struct pyrandom *random, uint32_t count)
{
    buf_printf(out, "%s{\"role\":\"%s\",\"content\":\"", out->len ? "," : "", role);
    add_words(out, random, count);
    buf_printf(out, "\"}");
}

static void finish_body(struct load_call *call, const char *model, const struct buf *messages)
{
    buf_printf(&call->body,
               "{\"model\":\"%s\",\"messages\":[%.*s],\"max_tokens\":%d,\"temperature\":0.6,"
               "\"ignore_eos\":true,\"stream\":true}",
               model, (int)messages->len, messages->data, LOAD_TOKENS_OUT);
}

static void make_chat(struct load *load, const struct buf *system, const char *model, uint64_t seed)
{
    for (uint32_t i = 0; i < load->sessions; i++) {
        struct pyrandom random;
        struct buf messages = {0};
        pyrandom_seed(&random, seed * 1000 + i);
        buf_append(&messages, system->data, system->len);
        for (uint32_t turn = 0; turn < load->turns; turn++) {
            struct load_call *call = &load->calls[i * load->turns + turn];
            call->session = i;
            add_message(&messages, "user", &random, QUESTION_WORDS);
            finish_body(call, model, &messages);
            add_message(&messages, "assistant", &random, REPLY_WORDS);
        }
        buf_release(&messages);
    }
}

static void make_open(struct load *load, const struct buf *system, const char *model, uint64_t seed,
                      double rate, double seconds)
{
    struct pyrandom random;
    double at = 0;
    uint32_t cap = (uint32_t)(rate * seconds * 2) + 100;
    pyrandom_seed(&random, seed * 77);
    load->calls = mem_array(cap, sizeof(*load->calls));
    while (at < seconds && load->call_count < cap) {
        struct load_call *call = &load->calls[load->call_count++];
        struct buf messages = {0};
        at += -log(1.0 - pyrandom_unit(&random)) / rate;
        call->arrival_s = at;
        buf_append(&messages, system->data, system->len);
        add_message(&messages, "user", &random, OWN_WORDS);
        finish_body(call, model, &messages);
        buf_release(&messages);
    }
}

enum status load_init(struct load *load, const char *work, const char *model, uint64_t seed,
                      struct err *err)
{
    struct pyrandom random;
    struct buf system = {0};
    double rate = 0, seconds = 0;
    unsigned sessions = 0, turns = 0;
    *load = (struct load){0};
    pyrandom_seed(&random, seed);
    add_message(&system, "system", &random, SYSTEM_WORDS);
    if (sscanf(work, "chat:%u:%u", &sessions, &turns) == 2 && sessions >= 1 && sessions <= 4096 &&
        turns >= 1 && turns <= 100) {
        load->sessions = sessions;
        load->turns = turns;
        load->call_count = sessions * turns;
        load->calls = mem_array(load->call_count, sizeof(*load->calls));
        make_chat(load, &system, model, seed);
    } else if (sscanf(work, "open:%lf:%lf", &rate, &seconds) == 2 && rate > 0 && seconds > 0 &&
               rate * seconds <= 1e6) {
        make_open(load, &system, model, seed, rate, seconds);
    }
    buf_release(&system);
    if (load->call_count == 0)
        return err_set(err, STATUS_INVALID,
                       "%s is neither chat:SESSIONS:TURNS nor open:RATE:SECONDS", work);
    return STATUS_OK;
}

void load_release(struct load *load)
{
    for (uint32_t i = 0; i < load->call_count; i++)
        buf_release(&load->calls[i].body);
    mem_free(load->calls);
    *load = (struct load){0};
}
