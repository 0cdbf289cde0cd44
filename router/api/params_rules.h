/* params_rules - parsers of the parameters that are more than one number or bool. `value` is
 * body[name], never null. What is wrong is refused with the name. */
#ifndef MSGL_ROUTER_API_PARAMS_RULES_H
#define MSGL_ROUTER_API_PARAMS_RULES_H

#include "router/api/params.h"

#define PARAM_RULE(rule)                                                                           \
    enum status rule(const json_t *body, const char *name, const json_t *value,                    \
                     struct arena *arena, struct params *out, struct api_error *error)

PARAM_RULE(rule_max_tokens);
PARAM_RULE(rule_temperature);
PARAM_RULE(rule_top_p);
PARAM_RULE(rule_top_k);
PARAM_RULE(rule_min_p);
PARAM_RULE(rule_seed);
PARAM_RULE(rule_repetition_penalty);
PARAM_RULE(rule_logit_bias);
PARAM_RULE(rule_logprobs_chat);
PARAM_RULE(rule_logprobs_count);
PARAM_RULE(rule_stop);
PARAM_RULE(rule_stop_token_ids);
PARAM_RULE(rule_stream_options);
PARAM_RULE(rule_add_special);
PARAM_RULE(rule_cache_salt);
PARAM_RULE(rule_sampling_params);
PARAM_RULE(rule_response_format);
PARAM_RULE(rule_schema);
PARAM_RULE(rule_tools);
PARAM_RULE(rule_tool_choice);
PARAM_RULE(rule_regex);
PARAM_RULE(rule_choice);
PARAM_RULE(rule_structured_outputs);
PARAM_RULE(rule_generation_prompt);
PARAM_RULE(rule_truncate);
PARAM_RULE(rule_truncation_side);
PARAM_RULE(rule_prompt_logprobs);
PARAM_RULE(rule_logprob_start);
PARAM_RULE(rule_bad_words);
PARAM_RULE(rule_allowed_ids);

#endif
