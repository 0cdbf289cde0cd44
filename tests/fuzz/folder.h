/* folder - a model folder for targets that need one around what they feed: small, byte-level, with a
 * chat template that knows tools, in scratch_folder(). */
#ifndef MSGL_TESTS_FUZZ_FOLDER_H
#define MSGL_TESTS_FUZZ_FOLDER_H

#include "common/byte_alphabet.h"
#include "common/log.h"
#include "common/utf8.h"
#include "tests/fuzz/input.h"

#define FOLDER_VOCAB 260 /* 256 bytes (id = byte), <end>, <think>, </think>, <tool_call> */
#define FOLDER_END   256

#define FOLDER_TEMPLATE                                                                            \
    "{%- if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<tool_call>{% endif "  \
    "%}"                                                                                           \
    "{%- for message in messages %}<|{{ message.role }}|>"                                         \
    "{%- if message.content is string %}{{ message.content | trim }}{% endif %}"                   \
    "{%- for call in message.tool_calls or [] %}{{ call.function.name }}"                          \
    "{{ call.function.arguments | tojson }}{% endfor %}<end>{% endfor %}"                          \
    "{%- if add_generation_prompt %}<|assistant|>{% if enable_thinking %}<think>{% endif %}{% "    \
    "endif %}"

#define FOLDER_CONFIG                                                                              \
    "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 64, \"num_hidden_layers\": 1, "  \
    "\"num_attention_heads\": 1, \"intermediate_size\": 64, \"vocab_size\": 260, "                 \
    "\"max_position_embeddings\": 512, \"eos_token_id\": 256}"

static inline void folder_write_tokenizer(void)
{
    struct buf text = {0};
    buf_str(&text, "{\"added_tokens\": [");
    static const char *const added[] = {"<end>", "<think>", "</think>", "<tool_call>"};
    for (uint32_t i = 0; i < ARRAY_LEN(added); i++)
        buf_printf(&text,
                   "%s{\"id\": %u, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, "
                   "\"rstrip\": false, \"normalized\": false, \"special\": %s}",
                   i ? ", " : "", FOLDER_END + i, added[i], i == 0 ? "true" : "false");
    buf_str(&text, "], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
                   "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, "
                   "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\", "
                   "\"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}, "
                   "\"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {");
    for (uint32_t byte = 0; byte < 256; byte++) {
        char letter[8] = "";
        utf8_encode(byte_alphabet_char((unsigned char)byte), letter);
        buf_str(&text, byte ? ", " : "");
        buf_json_string(&text, letter, strlen(letter));
        buf_printf(&text, ": %u", byte);
    }
    buf_str(&text, "}}}");
    scratch_write("tokenizer.json", (struct str){text.data, text.len});
    buf_release(&text);
}

static inline void folder_write_small(void)
{
    scratch_write("config.json", STR(FOLDER_CONFIG));
    scratch_write("chat_template.jinja", STR(FOLDER_TEMPLATE));
    scratch_write("generation_config.json",
                  STR("{\"temperature\": 0.5, \"top_k\": 20, \"eos_token_id\": [256]}"));
}

static inline void folder_write(void)
{
    log_init("fuzz", LOG_LEVEL_ERROR);
    folder_write_tokenizer();
    folder_write_small();
}

#endif
