/* ops_args - arguments of ops that have many; ops.h explains the ops. */
#ifndef MSGL_KERNELS_OPS_ARGS_H
#define MSGL_KERNELS_OPS_ARGS_H

#include "common/base.h"

struct norm {
    const float *w; /* [dim] */
    float eps;
};

struct qkv_args {
    void *qkv; /* act [tokens][(q_heads + 2 * kv_heads) * head_dim]; q is rotated in place */
    const uint32_t *positions;    /* [tokens] */
    const uint32_t *token_slots;  /* [tokens]: whose page table; SLOT_NONE: a padding token, k and v
                                     are stored nowhere */
    const float *q_norm, *k_norm; /* [head_dim] or NULL (Qwen3) */
    float norm_eps;
    const float *cos_sin; /* [context][head_dim]: head_dim/2 cosines, then sines; NeoX halves */
    uint32_t tokens, q_heads;
};

struct wide_norm_args {
    void *qkv; /* act [rows][stride]: q_dim of q, k_dim of k, then v; changed in place */
    const float *q_norm, *k_norm; /* [q_dim], [k_dim] */
    float eps;
    uint32_t rows, stride, q_dim, k_dim;
    uint32_t q_width, k_width; /* over all ranks, what a sum is divided by */
    bool k_counts;             /* false: another rank holds the same k and counts it */
};

struct expert_args {
    const uint32_t *ids;  /* device [rows][top], as route() leaves it; not for route() itself */
    const float *weights; /* device [rows][top] */
    uint32_t rows, top, experts;
    bool renormalize;
};

/* As struct step_setup; offsets count words of the array that comes with it. */
struct slot_setup {
    uint32_t slot, prompt_count;
    uint32_t history_first, history_count;    /* token ids: the prompt, then what was generated */
    uint32_t stop_first, stop_count;          /* token ids */
    uint32_t bias_first, bias_count;          /* pairs of words: id, bits of an f32 */
    uint32_t grammar, text_first, text_count; /* the engine's own; ops look away */
};

struct logprob_args {
    const float *logits;     /* [count][vocab] */
    const uint32_t *targets; /* device [count]: whose log probability */
    const uint32_t *tops;    /* device [count]: alternatives wanted + 1; 0 = leave the row */
    float *logprobs;         /* device [count] */
    uint32_t *ranks;   /* device [count]: the target's place among all, from 1; order as top_ids */
    uint32_t *top_ids; /* device [count][SAMPLING_TOP_MAX], likeliest first, ties by id */
    float *top_logprobs; /* device, as top_ids */
    uint32_t vocab, count;
};

#endif
