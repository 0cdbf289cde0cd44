/* attn - what the attention kernels for Hopper and their launcher share. */
#ifndef MSGL_KERNELS_CUDA_ATTN_CUH
#define MSGL_KERNELS_CUDA_ATTN_CUH

#include "kernels/cuda/cuda_util.cuh"

extern "C" {
#include "kernels/attn_plan.h"
}

#define ATTN_DECODE_WARPS 7 /* a block at most, one block a multiprocessor */
#define ATTN_KEY_TILE     128

struct attn_decode_args {
    struct kv_view kv;
    const struct attn_plan *plan; /* device */
    const bf16 *qkv;
    bf16 *out;
    uint32_t qkv_stride, group; /* group: q heads of a kv head */
    float scale;                /* of the softmax, times log2(e) */
    float *part_o;              /* [parts][q_heads][head_dim] */
    float2 *part_ml;            /* [parts][q_heads]: largest score (scaled, base 2), sum */
    uint32_t *counters;         /* [decode tokens][kv_heads], zero between launches */
};

struct attn_prefill_args {
    struct kv_view kv;
    const struct attn_plan *plan; /* device */
    bf16 *out;
    uint32_t q_heads, group, window;
    float scale;   /* as above */
    float *part_o; /* wide tiles: as above */
    float2 *part_ml;
    uint32_t *ticket; /* of the tiles; zero between launches */
};

/* kv_map: boxes of a whole unit (K and V of 16 keys); half_map: of 16 keys x 64 elements; q_map: of
 * 64 elements x heads x tokens, 128 tokens of a head or as many tokens of a group's heads as give 128
 * rows. All swizzled by 128 bytes. attn_wide: the plan's wide tiles, before attn_decode. */
void attn_decode(struct device *device, struct stream *stream, const struct attn_decode_args *args,
                 const CUtensorMap *kv_map, uint32_t warps);
void attn_prefill(struct device *device, struct stream *stream,
                  const struct attn_prefill_args *args, const CUtensorMap *half_map,
                  const CUtensorMap *q_map, uint32_t tiles);
void attn_wide(struct device *device, struct stream *stream, const struct attn_prefill_args *args,
               const CUtensorMap *half_map, const CUtensorMap *q_map);

cudaError_t attn_scratch_init(struct device *device);
void attn_scratch_release(struct device *device);

/* Attention by plain loads, one block a token and kv head: any GPU, any page size. */
void attn_generic(struct device *device, struct stream *stream, const struct kv_view *kv,
                  const struct attn_args *args);

#endif
