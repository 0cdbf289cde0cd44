/* The "decoder" of a tokenizer.json to steps. */
#include <string.h>

#include "common/mem.h"
#include "router/text/pretoken.h"
#include "router/text/token_decoder.h"
#include "router/text/tokenizer_part.h"

#define STRIP_MAX 64

struct loader {
    struct token_decoder *decoder;
    bool fused; /* a Fuse or ByteLevel was read: there is one text from here on */
    struct err *err;
};

static enum status next_step(struct loader *loader, enum token_decoder_kind kind,
                             struct token_decoder_step **out)
{
    if (loader->decoder->count == TOKEN_DECODER_STEPS_MAX)
        return err_set(loader->err, STATUS_UNSUPPORTED, "the decoder has more than %d steps",
                       TOKEN_DECODER_STEPS_MAX);
    *out = &loader->decoder->steps[loader->decoder->count++];
    memset(*out, 0, sizeof(**out));
    (*out)->kind = kind;
    (*out)->fused = loader->fused;
    return STATUS_OK;
}

/* Refuses what would have to wait for the end of the text. */
static enum status refuse_fused(const struct loader *loader, const char *type)
{
    return loader->fused ? err_set(loader->err, STATUS_UNSUPPORTED,
                                   "the decoder has a %s behind Fuse or ByteLevel, which is not "
                                   "supported",
                                   type)
                         : STATUS_OK;
}

static enum status load_replace(struct loader *loader, const json_t *json)
{
    struct token_decoder_step *step = NULL;
    const char *text = NULL, *pattern = NULL;
    bool literal = false;
    TRY(json_get_string(json, "content", &text, loader->err));
    TRY(part_pattern(json, "the decoder Replace", &pattern, &literal, loader->err));
    if (!literal)
        TRY(refuse_fused(loader, "Replace by regex"));
    if (!text || !*pattern)
        return err_set(loader->err, STATUS_UNSUPPORTED,
                       "the decoder Replace without a pattern or content is not supported");
    TRY(next_step(loader, DECODER_REPLACE, &step));
    step->text = mem_strdup(text);
    if (!literal)
        return regex_compile(pattern, false, &step->regex, loader->err);
    step->pattern = mem_strdup(pattern);
    return STATUS_OK;
}

static enum status load_byte_fallback(struct loader *loader, const json_t *json)
{
    struct token_decoder_step *step = NULL;
    (void)json;
    TRY(refuse_fused(loader, "ByteFallback"));
    return next_step(loader, DECODER_BYTE_FALLBACK, &step);
}

static enum status load_byte_level(struct loader *loader, const json_t *json)
{
    struct token_decoder_step *step = NULL;
    (void)json;
    TRY(refuse_fused(loader, "ByteLevel"));
    TRY(next_step(loader, DECODER_BYTE_LEVEL, &step));
    loader->fused = true;
    return STATUS_OK;
}

static enum status load_fuse(struct loader *loader, const json_t *json)
{
    struct token_decoder_step *step = NULL;
    (void)json;
    if (loader->fused)
        return STATUS_OK; /* there is one text already */
    TRY(next_step(loader, DECODER_FUSE, &step));
    loader->fused = true;
    return STATUS_OK;
}

static enum status load_strip(struct loader *loader, const json_t *json)
{
    struct token_decoder_step *step = NULL;
    int64_t start = 0, stop = 0;
    TRY(next_step(loader, DECODER_STRIP, &step));
    TRY(part_char(json, "the decoder Strip", "content", &step->cp, loader->err));
    TRY(json_get_int(json, "start", 0, STRIP_MAX, &start, loader->err));
    TRY(json_get_int(json, "stop", 0, STRIP_MAX, &stop, loader->err));
    step->start = (size_t)start;
    step->stop = (size_t)stop;
    return STATUS_OK;
}

static enum status load_metaspace(struct loader *loader, const json_t *json)
{
    struct token_decoder_step *step = NULL;
    enum pretoken_prepend prepend;
    TRY(next_step(loader, DECODER_METASPACE, &step));
    TRY(part_char(json, "the decoder Metaspace", "replacement", &step->cp, loader->err));
    TRY(pretoken_load_prepend(json, &prepend, loader->err));
    step->first = prepend != PRETOKEN_NEVER;
    return STATUS_OK;
}

static enum status load_bpe(struct loader *loader, const json_t *json)
{
    struct token_decoder_step *step = NULL;
    const char *suffix = NULL;
    TRY(refuse_fused(loader, "BPEDecoder"));
    TRY(json_get_string(json, "suffix", &suffix, loader->err));
    if (!suffix || !*suffix)
        return err_set(loader->err, STATUS_UNSUPPORTED,
                       "the decoder BPEDecoder without a suffix is not supported");
    TRY(next_step(loader, DECODER_BPE, &step));
    step->pattern = mem_strdup(suffix);
    return STATUS_OK;
}

static enum status load_wordpiece(struct loader *loader, const json_t *json)
{
    struct token_decoder_step *step = NULL;
    const char *prefix = NULL;
    TRY(refuse_fused(loader, "WordPiece"));
    TRY(json_get_string(json, "prefix", &prefix, loader->err));
    TRY(next_step(loader, DECODER_WORDPIECE, &step));
    step->pattern = mem_strdup(prefix ? prefix : "");
    return json_get_bool(json, "cleanup", &step->cleanup, loader->err);
}

static enum status load_step(struct loader *loader, const json_t *json, int depth)
{
    static const struct {
        const char *type;
        enum status (*load)(struct loader *loader, const json_t *json);
    } known[] = {
        {"ByteLevel", load_byte_level},
        {"Replace", load_replace},
        {"ByteFallback", load_byte_fallback},
        {"Fuse", load_fuse},
        {"Strip", load_strip},
        {"Metaspace", load_metaspace},
        {"BPEDecoder", load_bpe},
        {"WordPiece", load_wordpiece},
    };
    const json_t *steps;
    const char *type;
    TRY(part_type(json, "a decoder", &type, loader->err));
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(type, known[i].type) == 0)
            return known[i].load(loader, json);
    }
    if (strcmp(type, "Sequence") != 0)
        return part_unsupported("decoder", type,
                                "Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, "
                                "Metaspace, BPEDecoder and WordPiece",
                                loader->err);
    TRY(part_steps(json, "decoder", "decoders", depth, &steps, loader->err));
    for (size_t i = 0; i < json_array_size(steps); i++)
        TRY(load_step(loader, json_array_get(steps, i), depth + 1));
    return STATUS_OK;
}

enum status token_decoder_load(const json_t *json, struct token_decoder *decoder, struct err *err)
{
    struct loader loader = {.decoder = decoder, .err = err};
    struct token_decoder_step *step = NULL;
    if (!json || json_is_null(json))
        return next_step(&loader, DECODER_SPACES, &step);
    TRY(load_step(&loader, json, 0));
    decoder->plain = decoder->count == 1 && decoder->steps[0].kind == DECODER_BYTE_LEVEL;
    return STATUS_OK;
}
