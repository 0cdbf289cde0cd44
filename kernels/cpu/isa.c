#include "kernels/cpu/isa.h"

const struct isa *isa_pick(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &isa_avx2;
#endif
    return &isa_generic;
}
