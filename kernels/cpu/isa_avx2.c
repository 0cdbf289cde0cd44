#include "kernels/cpu/isa.h"

#include <math.h>
#include <string.h>

#ifdef __x86_64__
/* Everything below is compiled for AVX2 and FMA; isa_pick() keeps it off older CPUs. */
#ifndef __clang__ /* which is told by the build */
#pragma GCC target("avx2,fma")
#endif

#include "kernels/cpu/attn_body.h"
#include "kernels/cpu/elem_body.h"
#include "kernels/cpu/matmul_body.h"

const struct isa isa_avx2 = {
    .name = "avx2",
    .pack = body_pack,
    .matmul = body_matmul,
    .attend = body_attend,
    .norm = body_norm,
    .silu_mul = body_silu_mul,
    .widen = body_widen,
    .rotate = body_rotate,
    .top = body_top,
    .exp_row = body_exp_row,
};
#endif
