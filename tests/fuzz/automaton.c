/* A grammar as it comes off the wire, walked by the bytes behind it, and the masks that the engine
 * makes of it. Input: u16 length of the automaton, the automaton, bytes to walk. */
#include "common/automaton.h"
#include "tests/fuzz/input.h"
#include "worker/engine/grammars.h"

#define VOCAB 70
#define SLOTS 2

/* The worker's table, made once: every fourth byte, some longer tokens, special ones. */
static struct grammars *grammars(void)
{
    static struct grammars *made;
    struct buf text = {0};
    if (made)
        return made;
    buf_str(&text, "{\"model\": {\"type\": \"BPE\", \"vocab\": {");
    for (int i = 0; i < 64; i++)
        buf_printf(&text, "\"<0x%02X>\": %d, ", i * 4 + 2, i);
    buf_str(
        &text,
        "\"{\\\"\": 64, \"true\": 65, \"tr\": 66, \"}]\": 67}, \"merges\": []}, \"added_tokens\": "
        "[{\"id\": 68, \"content\": \"<end>\", \"special\": true}]}");
    scratch_write("tokenizer.json", (struct str){text.data, text.len});
    buf_release(&text);
    made = grammars_new(scratch_folder(), SLOTS, VOCAB);
    return made;
}

static void walk(struct str block, struct str bytes)
{
    struct automaton automaton;
    struct automaton_at at;
    struct err err = {.text = ""};
    uint32_t count = 0, sum = 0;
    const uint32_t *ids = automaton_tokens(block, &count);
    for (uint32_t i = 0; ids && i < count; i++)
        sum += ids[i];
    CHECK(!ids || count > 0 || sum > 0);
    if (automaton_open(&automaton, block, &err) != STATUS_OK) {
        CHECK(err.text[0]);
        return;
    }
    automaton_begin(&automaton, &at);
    for (size_t i = 0; i < bytes.len && automaton_step(&automaton, &at, (uint8_t)bytes.data[i]);
         i++) {
        CHECK(at.state < automaton.states && at.depth <= AUTOMATON_DEPTH_MAX);
        (void)automaton_may_end(&automaton, &at);
    }
}

static bool bit(const uint32_t *mask, uint32_t token)
{
    return mask[token / 32] >> token % 32 & 1;
}

/* Follows the mask: the token that each byte names, when it may come. */
static void sample(struct str block, struct str bytes)
{
    static const uint32_t stops[] = {68, 4000000000u};
    struct grammars *g = grammars();
    uint32_t id, mask[DIV_CEIL(VOCAB, 32)];
    if (grammars_add(g, block, &id, NULL) != STATUS_OK)
        return;
    grammars_setup(g, 1, id, stops, 0, stops, ARRAY_LEN(stops));
    for (size_t i = 0; i < MIN(bytes.len, (size_t)64); i++) {
        bool any = false;
        grammars_mask(g, 1, mask);
        for (uint32_t w = 0; w < ARRAY_LEN(mask); w++)
            any |= mask[w] != 0;
        CHECK(any);
        uint32_t token = (uint8_t)bytes.data[i] % VOCAB;
        if (bit(mask, token) || i % 7 == 6)
            grammars_advance(g, 1, token);
    }
    grammars_setup(g, 1, 0, stops, 0, stops, 0);
    grammars_drop(g, id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    size_t low = input_byte(&in), block_len = low | (size_t)input_byte(&in) << 8;
    struct str block = input_take(&in, block_len), bytes = input_rest(&in);
    char *copy = mem_strndup(block.data, block.len); /* aligned */

    walk((struct str){copy, block.len}, bytes);
    sample((struct str){copy, block.len}, bytes);
    mem_free(copy);
    return 0;
}
