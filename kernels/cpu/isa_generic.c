#include "kernels/cpu/isa.h"

#include <math.h>
#include <string.h>

/* The same source for whatever the compiler's target is. */

#include "kernels/cpu/attn_body.h"
#include "kernels/cpu/elem_body.h"
#include "kernels/cpu/matmul_body.h"

const struct isa isa_generic = {
    .name = "generic",
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
