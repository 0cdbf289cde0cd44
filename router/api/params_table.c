#include "router/api/params_table.h"

#include <stddef.h>

#include "router/api/params_rules.h"

/* Places, in short. */
#define C   PLACE_CHAT
#define P   PLACE_COMPLETIONS
#define G   PLACE_GENERATE
#define S   PLACE_SAMPLING
#define T   PLACE_TOKENIZE
#define D   PLACE_DETOKENIZE
#define CP  (C | P)
#define CPS (C | P | S)
#define CPG (C | P | G)

#define AT(member) offsetof(struct params, member)
/* Rows, not blocks: */
/* clang-format off */
#define BOOL_(name, places, member, fallback, text)                                                \
    {name, places, PARAM_BOOL, "\"type\":\"boolean\"", fallback, text, .offset = AT(member)}
#define U32_(name, places, member, least, most, fallback, text)                                    \
    {name, places, PARAM_U32, INTEGER, fallback, text, .offset = AT(member), .min = least, .max = most}
#define F32_(name, places, member, least, most, fallback, text)                                    \
    {name, places, PARAM_F32, NUMBER, fallback, text, .offset = AT(member), .min = least, .max = most}
#define RULE_(name, places, rule, type, fallback, text)                                            \
    {name, places, PARAM_CUSTOM, type, fallback, text, .parse = rule}
#define RANGE_(name, places, rule, type, least, most, fallback, text)                              \
    {name, places, PARAM_CUSTOM, type, fallback, text, .min = least, .max = most, .parse = rule}
#define ELSE_(name, places, type, fallback, text)                                                  \
    {name, places, PARAM_ELSEWHERE, type, fallback, text, .offset = 0}
#define NOTED_(name, places, text)                                                                 \
    {name, places, PARAM_NOTED, "", "", text, .offset = 0}
#define REFUSED_(name, places, value, text)                                                        \
    {name, places, PARAM_REFUSED, "", "", text, .harmless = value}
/* clang-format on */

#define INTEGER    "\"type\":\"integer\""
#define NUMBER     "\"type\":\"number\""
#define BOOLEAN    "\"type\":\"boolean\""
#define STRING     "\"type\":\"string\""
#define OBJECT     "\"type\":\"object\""
#define ARRAY      "\"type\":\"array\""
#define IDS        "\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0}"
#define STRINGS    "\"type\":\"array\",\"items\":{\"type\":\"string\"}"
#define SIDES      "\"type\":\"string\",\"enum\":[\"left\",\"right\"]"
#define OBJECTS    "\"type\":\"array\",\"items\":{\"type\":\"object\"}"
#define TOKENS_MAX ((double)PROTO_PROMPT_TOKENS_MAX)
#define TEXTS                                                                                      \
    "\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":"     \
    "\"string\"}}]"
#define STOP_SCHEMA                                                                                \
    "\"anyOf\":[{\"type\":\"string\",\"minLength\":1},{\"type\":\"array\",\"maxItems\":16,"        \
    "\"items\":{\"type\":\"string\",\"minLength\":1}}]"
#define PROMPT_SCHEMA                                                                              \
    "\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":"     \
    "\"integer\",\"minimum\":0}},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":"          \
    "\"string\"}},{\"type\":\"array\",\"minItems\":1,\"items\":{" IDS ",\"minItems\":1}}]"

const struct param params_table[] = {
    /* what is asked */
    ELSE_("model", CP | G | T | D, STRING, "the only one", "a served name; anything else is a 404"),
    ELSE_("messages", C, OBJECTS, "required",
          "roles system, developer, user, assistant, tool; content a string or text parts"),
    ELSE_("prompt", P, PROMPT_SCHEMA, "required", "a string, token ids, or a list of either"),
    ELSE_("prompt", G | T, STRING, "",
          "a text; in generate the answer comes as lines of text, in "
          "tokenize messages may stand in its place"),
    ELSE_("messages", T, OBJECTS, "", "tokenize what a chat would send to the model"),
    ELSE_("tokens", D, IDS, "required", "ids to turn into text"),
    ELSE_("text", G, TEXTS, "", "a text or a list of texts"),
    ELSE_("input_ids", G, PROMPT_SCHEMA, "", "token ids in place of text, or a list of such lists"),
    RULE_("sampling_params", G, rule_sampling_params, OBJECT, "",
          "see the rows of sampling_params"),
    BOOL_("echo", P, echo, "false",
          "the prompt stands before the answer, with logprobs also its own"),
    RULE_("add_generation_prompt", C | T, rule_generation_prompt, BOOLEAN, "true",
          "goes to the chat template"),
    BOOL_("continue_final_message", C | T, continue_final, "false",
          "the answer goes on where the last message ends"),
    ELSE_("chat_template_kwargs", C | T, OBJECT, "", "variables of the chat template"),
    RULE_("add_special_tokens", CP | T, rule_add_special, BOOLEAN,
          "true (completions), false (chat)", "BOS and such around the prompt"),
    RANGE_("truncate_prompt_tokens", CP, rule_truncate, INTEGER, -1, TOKENS_MAX, "off",
           "keep so many of the prompt's tokens, at least 1; -1: as many as the context holds"),
    RULE_("truncation_side", CP, rule_truncation_side, SIDES, "left",
          "the end that is cut off: left keeps the last tokens, right the first"),
    ELSE_("documents", C, OBJECTS, "", "go to the chat template; refused where it reads none"),
    ELSE_("reasoning_effort", C, "", "",
          "goes to the chat template, with enable_thinking and thinking: false for none; refused "
          "where it reads none of them"),
    /* how much */
    U32_("n", CPS, n, 1, 1024, "1",
         "choices; they share the prompt's pages and differ in their draw; --choices-max bounds n "
         "x prompts"),
    RANGE_("max_tokens", CP | G, rule_max_tokens, INTEGER, 0, TOKENS_MAX,
           "the rest of the context (chat), 16", "tokens to generate; 0 only with echo"),
    RANGE_("max_completion_tokens", CP, rule_max_tokens, INTEGER, 0, TOKENS_MAX, "",
           "as max_tokens"),
    RANGE_("max_new_tokens", S, rule_max_tokens, INTEGER, 0, TOKENS_MAX, "128", "as max_tokens"),
    U32_("min_tokens", CP, tokens_min, 0, TOKENS_MAX, "0",
         "no end token and no stop string before so many tokens"),
    U32_("min_new_tokens", S, tokens_min, 0, TOKENS_MAX, "0", "as min_tokens"),
    /* how it is drawn */
    RANGE_("temperature", CPS | G, rule_temperature, NUMBER, 0, 100, "the model's", "0 is greedy"),
    RANGE_("top_p", CPS | G, rule_top_p, NUMBER, 0, 1, "the model's",
           "above 0: the likeliest with this mass"),
    RANGE_("top_k", CPS | G, rule_top_k, INTEGER, -1, UINT32_MAX, "the model's",
           "the k likeliest; 0 and -1 are off"),
    RANGE_("min_p", CPS, rule_min_p, NUMBER, 0, 1, "the model's",
           "below 1: at least this share of the likeliest"),
    RULE_("seed", CP, rule_seed, INTEGER, "drawn by the router",
          "the draw depends only on the seed, the choice and the position"),
    RULE_("sampling_seed", S, rule_seed, INTEGER, "drawn by the router", "as seed"),
    F32_("presence_penalty", CPS, sampling.presence_penalty, -2, 2, "0",
         "off each token that was generated"),
    F32_("frequency_penalty", CPS, sampling.frequency_penalty, -2, 2, "0",
         "off a token for each time it was generated"),
    RANGE_("repetition_penalty", CPS, rule_repetition_penalty, NUMBER, 0, 1000, "the model's, or 1",
           "above 0: divides what prompt and answer hold"),
    RULE_("logit_bias", CPS, rule_logit_bias, OBJECT, "",
          "token id to a number from -100 to 100, at most 1024"),
    /* where it ends */
    RULE_("stop", CPS, rule_stop, STOP_SCHEMA, "",
          "a string or up to 16; the text before the first one is the answer, also across tokens"),
    RULE_("stop_token_ids", CPS, rule_stop_token_ids, IDS, "",
          "ids that end the answer, at most 32"),
    BOOL_("ignore_eos", CPS | G, ignore_eos, "false",
          "the model's end tokens do not end the answer"),
    BOOL_("include_stop_str_in_output", CP, include_stop, "false", "the stop belongs to the text"),
    BOOL_("no_stop_trim", CPS, include_stop, "false", "as include_stop_str_in_output"),
    RULE_("bad_words", CP, rule_bad_words, STRINGS, "",
          "strings that the answer never holds, however they are cut into tokens"),
    RULE_("allowed_token_ids", CP, rule_allowed_ids, IDS, "",
          "no other tokens are drawn; an end token only if it is one of them"),
    /* what comes back */
    BOOL_("stream", CP | G, stream, "false", "server-sent events, the last one data: [DONE]"),
    RULE_("stream_options", CP, rule_stream_options, OBJECT, "",
          "include_usage, continuous_usage_stats; only with stream"),
    RANGE_("prompt_logprobs", CP, rule_prompt_logprobs, INTEGER, 0, SAMPLING_TOP_MAX, "",
           "log probabilities of the prompt's tokens, with so many alternatives; not with stream"),
    RULE_("logprobs", C, rule_logprobs_chat, BOOLEAN, "false",
          "log probabilities of the answer's tokens"),
    U32_("top_logprobs", C, top_logprobs, 0, SAMPLING_TOP_MAX, "0", "alternatives; needs logprobs"),
    RANGE_("logprobs", P, rule_logprobs_count, INTEGER, 0, SAMPLING_TOP_MAX, "",
           "log probabilities, with so many alternatives"),
    BOOL_("return_logprob", G, want_logprobs, "false", "log probabilities of the answer's tokens"),
    U32_("top_logprobs_num", G, top_logprobs, 0, SAMPLING_TOP_MAX, "0", "alternatives"),
    RANGE_("logprob_start_len", G, rule_logprob_start, INTEGER, -1, TOKENS_MAX, "-1",
           "with return_logprob: the prompt's log probabilities too, from this token on; -1: none"),
    BOOL_("return_text_in_logprobs", G, logprob_texts, "false",
          "the tokens' texts in the log probabilities"),
    REFUSED_("image_data", G, HARMLESS_EMPTY, "only text"),
    BOOL_("return_token_strs", T, token_texts, "false", "the tokens' texts beside their ids"),
    BOOL_("return_tokens_as_token_ids", CP, tokens_as_ids, "false",
          "logprobs name tokens token_id:N"),
    BOOL_("return_token_ids", CP, return_ids, "false",
          "prompt_token_ids and token_ids beside the text"),
    BOOL_("skip_special_tokens", CPS, skip_special, "true", "leave special tokens out of the text"),
    /* where it runs */
    {"priority", CPG, PARAM_I32, INTEGER, "0",
     "higher first, as SGLang has it; in vLLM lower ones go first", .offset = AT(priority),
     .min = INT32_MIN, .max = INT32_MAX},
    RULE_("cache_salt", CPG, rule_cache_salt, STRING, "",
          "prompts with different salts never share cached pages"),
    /* tools and structure */
    RULE_("tools", C | T, rule_tools, OBJECTS, "",
          "functions that the model may call; they go to the chat template"),
    RULE_("tool_choice", C, rule_tool_choice, "", "auto",
          "auto, none, required, a function by name, or allowed_tools; required and by name bind "
          "the answer"),
    BOOL_("parallel_tool_calls", C, parallel_calls, "true", "more than one call in an answer"),
    BOOL_("separate_reasoning", C, separate_reasoning, "true",
          "what the model thinks comes as reasoning_content, not as text"),
    BOOL_("include_reasoning", C, include_reasoning, "true",
          "false: what the model thinks is left out"),
    RULE_("response_format", CP, rule_response_format, OBJECT, "text",
          "of type text, json_object, or json_schema: the answer is valid JSON"),
    RULE_("structured_outputs", CP, rule_structured_outputs, OBJECT, "",
          "json, regex, choice or json_object: what the answer looks like; others refused by name"),
    RULE_("guided_json", CP, rule_schema, "", "", "a JSON schema that the answer takes"),
    RULE_("guided_regex", CP, rule_regex, STRING, "",
          "an expression that the whole answer matches"),
    RULE_("guided_choice", CP, rule_choice, ARRAY, "", "strings, of which the answer is one"),
    RULE_("regex", CPS, rule_regex, STRING, "", "as guided_regex"),
    RULE_("json_schema", P | S, rule_schema, "", "", "as guided_json"),
    REFUSED_("guided_grammar", CP, HARMLESS_NONE, "schemas, expressions and choices are"),
    REFUSED_("ebnf", CPS, HARMLESS_NONE, "schemas, expressions and choices are"),
    /* names and tags */
    NOTED_("user", CP, "a tag of the caller's"),
    NOTED_("metadata", CP, "tags for stored answers; nothing is stored here"),
    NOTED_("safety_identifier", CP, "a tag of the caller's"),
    NOTED_("prompt_cache_key", CP, "a hint: routing finds cached prefixes by itself"),
    NOTED_("prompt_cache_retention", CP, "a hint: pages stay as long as there is room"),
    NOTED_("request_id", CP, "X-Request-Id names a call"),
    NOTED_("session_id", CPG, "a hint: routing finds a conversation by its prefix"),
    NOTED_("conversation_id", G, "as session_id"),
    NOTED_("routing_key", G, "as session_id"),
    NOTED_("prompt_cache_options", CP, "a hint, as prompt_cache_retention"),
    NOTED_("custom_labels", CPG, "a tag of the caller's"),
    NOTED_("guided_decoding_backend", CP,
           "names another server's library; there is one compiler here"),
    NOTED_("log_metrics", G, "metrics count every call"),
    NOTED_("no_logs", G, "what prompts and answers say is never logged"),
    NOTED_("received_time", G, "measured here"),
    NOTED_("external_trace_header", G, "the traceparent header carries it"),
    NOTED_("rid", CP | G, "X-Request-Id names a call"),
    REFUSED_("store", C, HARMLESS_FALSE, "nothing is stored here"),
    REFUSED_("moderation", CP, HARMLESS_NONE, "nothing is moderated here"),
    REFUSED_("service_tier", CP, HARMLESS_TIER, "there is one tier; see priority"),
    /* what a text engine of this kind does not do, or not yet */
    REFUSED_("best_of", CP, HARMLESS_ONE, "ask for n and choose"),
    REFUSED_("suffix", P, HARMLESS_EMPTY, "put fill-in-the-middle tokens into the prompt"),
    REFUSED_("use_beam_search", CP, HARMLESS_FALSE, ""),
    REFUSED_("length_penalty", CP, HARMLESS_ONE, ""),
    REFUSED_("early_stopping", CP, HARMLESS_FALSE, ""),
    REFUSED_("spaces_between_special_tokens", CPS, HARMLESS_TRUE, ""),
    REFUSED_("logits_processors", CP, HARMLESS_EMPTY, ""),
    REFUSED_("logprob_token_ids", CP, HARMLESS_EMPTY,
             "top_logprobs and logprobs name the likeliest"),
    REFUSED_("token_ids_logprob", G, HARMLESS_EMPTY, "top_logprobs_num names the likeliest"),
    REFUSED_("echo", C, HARMLESS_FALSE, "completions has it"),
    REFUSED_("stop_regex", CPS, HARMLESS_EMPTY, "see stop"),
    REFUSED_("stream_interval", CPS, HARMLESS_ONE,
             "--stream-gather-ms of the server gathers events"),
    REFUSED_("stream_reasoning", C, HARMLESS_TRUE, "see include_reasoning"),
    REFUSED_("thinking_token_budget", CP, HARMLESS_MINUS, "see reasoning_effort"),
    REFUSED_("max_thinking_tokens", G, HARMLESS_MINUS, ""),
    REFUSED_("require_reasoning", G, HARMLESS_FALSE, ""),
    REFUSED_("reasoning", C, HARMLESS_EMPTY, "see reasoning_effort"),
    REFUSED_("repetition_detection", CP, HARMLESS_NONE, ""),
    REFUSED_("watermarking", CP, HARMLESS_FALSE, ""),
    REFUSED_("structural_tag", CPS, HARMLESS_EMPTY, ""),
    REFUSED_("guided_whitespace_pattern", CP, HARMLESS_NONE,
             "space between JSON's parts is bounded"),
    REFUSED_("custom_logit_processor", CPG, HARMLESS_EMPTY, ""),
    REFUSED_("custom_params", CPS, HARMLESS_EMPTY, ""),
    REFUSED_("vllm_xargs", CP, HARMLESS_EMPTY, ""),
    REFUSED_("task", C, HARMLESS_NONE, ""),
    REFUSED_("background", G, HARMLESS_FALSE, ""),
    REFUSED_("session_params", CPG, HARMLESS_EMPTY, "prefixes are found by themselves"),
    REFUSED_("extra_key", CPG, HARMLESS_EMPTY, "see cache_salt"),
    REFUSED_("ngram_corpus_id", CP, HARMLESS_EMPTY, ""),
    /* other answers than text and its tokens */
    REFUSED_("return_prompt_text", C, HARMLESS_FALSE, "see return_token_ids"),
    REFUSED_("return_prompt_token_ids", C | G, HARMLESS_FALSE, "see return_token_ids"),
    REFUSED_("return_token_offsets", CP, HARMLESS_FALSE, ""),
    REFUSED_("return_meta_info", C, HARMLESS_FALSE, ""),
    REFUSED_("return_cached_tokens_details", CP, HARMLESS_FALSE, "usage has cached_tokens"),
    REFUSED_("return_routed_experts", CPG, HARMLESS_FALSE, ""),
    REFUSED_("routed_experts_start_len", CPG, HARMLESS_ZERO, ""),
    REFUSED_("routed_experts_prompt_start", CP, HARMLESS_ZERO, ""),
    REFUSED_("return_indexer_topk", G, HARMLESS_FALSE, ""),
    REFUSED_("return_entropy", G, HARMLESS_FALSE, ""),
    REFUSED_("return_bytes", G, HARMLESS_FALSE, ""),
    REFUSED_("return_sampling_mask", G, HARMLESS_FALSE, ""),
    REFUSED_("return_flat_raw_top_logprobs", G, HARMLESS_FALSE, ""),
    REFUSED_("return_flat_raw_top_logprobs_b64", G, HARMLESS_FALSE, ""),
    REFUSED_("return_hidden_states", CPG, HARMLESS_FALSE, ""),
    /* other inputs than text and its tokens */
    REFUSED_("prompt_embeds", P, HARMLESS_EMPTY, "only text and token ids"),
    REFUSED_("input_embeds", G, HARMLESS_EMPTY, "only text and token ids"),
    REFUSED_("input_ids", C, HARMLESS_EMPTY, "completions takes token ids as its prompt"),
    REFUSED_("positional_embed_overrides", G, HARMLESS_NONE, ""),
    REFUSED_("video_data", G, HARMLESS_EMPTY, "only text"),
    REFUSED_("audio_data", G, HARMLESS_EMPTY, "only text"),
    REFUSED_("modalities", G, HARMLESS_EMPTY, "only text"),
    REFUSED_("mm_hashes", G, HARMLESS_EMPTY, "only text"),
    REFUSED_("mm_content_hashes", G, HARMLESS_EMPTY, "only text"),
    REFUSED_("video_config", G, HARMLESS_EMPTY, "only text"),
    REFUSED_("use_audio_in_video", C | G, HARMLESS_FALSE, "only text"),
    REFUSED_("images_config", CPG, HARMLESS_EMPTY, "only text"),
    REFUSED_("max_dynamic_patch", C | G, HARMLESS_NONE, "only text"),
    REFUSED_("min_dynamic_patch", C | G, HARMLESS_NONE, "only text"),
    REFUSED_("image_max_dynamic_patch", G, HARMLESS_NONE, "only text"),
    REFUSED_("video_max_dynamic_patch", G, HARMLESS_NONE, "only text"),
    REFUSED_("multi_item_delimiter_indices", G, HARMLESS_EMPTY, ""),
    REFUSED_("need_wait_for_mm_inputs", G, HARMLESS_FALSE, "only text"),
    REFUSED_("num_items_assigned", G, HARMLESS_EMPTY, "only text"),
    REFUSED_("encoder_urls", G, HARMLESS_EMPTY, "only text"),
    REFUSED_("media_io_kwargs", CP, HARMLESS_EMPTY, "only text"),
    REFUSED_("mm_processor_kwargs", CP | T, HARMLESS_EMPTY, "only text"),
    REFUSED_("return_mm_kwargs", CP, HARMLESS_TRUE, "only text"),
    /* other servers' insides */
    REFUSED_("kv_transfer_params", CP, HARMLESS_NONE, ""),
    REFUSED_("ec_transfer_params", CP, HARMLESS_NONE, ""),
    REFUSED_("bootstrap_host", CPG, HARMLESS_NONE, ""),
    REFUSED_("bootstrap_port", CPG, HARMLESS_NONE, ""),
    REFUSED_("bootstrap_room", CPG, HARMLESS_NONE, ""),
    REFUSED_("bootstrap_pair_key", G, HARMLESS_NONE, ""),
    REFUSED_("decode_tp_size", G, HARMLESS_NONE, ""),
    REFUSED_("routed_dp_rank", CPG, HARMLESS_NONE, "routing goes by prefix and load"),
    REFUSED_("data_parallel_rank", CPG, HARMLESS_NONE, "routing goes by prefix and load"),
    REFUSED_("disagg_prefill_dp_rank", CPG, HARMLESS_NONE, ""),
    REFUSED_("kv_router_hint", G, HARMLESS_NONE, ""),
    REFUSED_("http_worker_ipc", G, HARMLESS_NONE, ""),
    REFUSED_("lora_path", CPG, HARMLESS_EMPTY, ""),
    REFUSED_("lora_id", G, HARMLESS_NONE, ""),
    REFUSED_("functions", C, HARMLESS_EMPTY, "see tools"),
    REFUSED_("function_call", C, HARMLESS_CHOICE, "see tool_choice"),
    REFUSED_("modalities", C, HARMLESS_MODES, "only text"),
    REFUSED_("audio", C, HARMLESS_NONE, ""),
    REFUSED_("prediction", C, HARMLESS_NONE, ""),
    REFUSED_("web_search_options", C, HARMLESS_NONE, ""),
    REFUSED_("verbosity", C, HARMLESS_MEDIUM, "ask for it in words"),
    REFUSED_("chat_template", C | T, HARMLESS_NONE, "the model folder's is used"),
};

const size_t params_table_count = ARRAY_LEN(params_table);
