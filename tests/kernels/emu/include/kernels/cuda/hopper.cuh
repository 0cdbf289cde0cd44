/* hopper - what kernels/cuda/hopper.cuh does in PTX, on the host; see emu.h. Same names, same order. */
#ifndef MSGL_KERNELS_CUDA_HOPPER_CUH
#define MSGL_KERNELS_CUDA_HOPPER_CUH

#include <cuda.h>
#include <stdint.h>

static inline uint32_t smem_addr(const void *ptr)
{
    return emu_shared_address(ptr);
}

static inline void pdl_wait()
{
    emu_pdl_wait();
}
static inline void pdl_launch()
{
}

static inline uint32_t cluster_rank()
{
    return emu_cluster_rank();
}
static inline uint32_t cluster_size()
{
    return emu_cluster_size();
}
static inline void cluster_sync()
{
    emu_cluster_meet();
}
template <typename T> static inline T *cluster_map(T *here, uint32_t rank)
{
    return (T *)emu_cluster_map(here, rank);
}

static inline void consumers_sync(uint32_t threads)
{
    emu_block_meet(1, threads);
}
static inline void barrier_init(uint32_t bar, uint32_t arrivals)
{
    emu_mbarrier_init(bar, arrivals);
}
static inline void barrier_init_fence()
{
}
static inline void barrier_expect(uint32_t bar, uint32_t bytes)
{
    emu_mbarrier_arrive(bar, bytes);
}
static inline void barrier_arrive(uint32_t bar)
{
    emu_mbarrier_arrive(bar, 0);
}
static inline void barrier_wait(uint32_t bar, uint32_t parity)
{
    emu_mbarrier_wait(bar, parity);
}
static inline void barrier_init(uint64_t *bar, uint32_t arrivals)
{
    barrier_init(smem_addr(bar), arrivals);
}
static inline void barrier_expect(uint64_t *bar, uint32_t bytes)
{
    barrier_expect(smem_addr(bar), bytes);
}
static inline void barrier_arrive(uint64_t *bar)
{
    barrier_arrive(smem_addr(bar));
}
static inline void barrier_wait(uint64_t *bar, uint32_t parity)
{
    barrier_wait(smem_addr(bar), parity);
}
static inline void proxy_fence()
{
}

static inline uint64_t policy_evict_first()
{
    return 1;
}
static inline void bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *bar, uint64_t)
{
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16 || bytes % 16 || bytes == 0)
        emu_die("a bulk copy of %u bytes from %p to %p", bytes, from, to);
    emu_copy_later(smem_addr(bar), bytes, [=]() { memcpy(to, from, bytes); });
}

/* Where byte `at` of a box lies: bits 4 to 6 of the address, exclusive or bits 7 to 9. */
static inline uint32_t emu_swizzle(uint32_t at)
{
    return at ^ (at >> 7 & 7) << 4;
}

static inline void tensor_load(uint32_t dst, const CUtensorMap *map, uint32_t bar,
                               const int (&c)[5])
{
    const CUtensorMap m = *map;
    uint32_t rows = m.box[1] * m.box[2] * m.box[3] * m.box[4], row_bytes = m.box[0] * 2;
    uint64_t first[5];
    for (int i = 0; i < 5; i++)
        first[i] = (uint64_t)(int64_t)c[i];
    if (dst % 128 != 0 || row_bytes != 128)
        emu_die("a tensor copy to shared address %#x, rows of %u bytes", dst, row_bytes);
    emu_copy_later(bar, rows * row_bytes, [=]() {
        for (uint32_t r = 0; r < rows; r++) {
            uint64_t left = r, offset = first[0] * 2;
            /* out of bounds: zeros; of the innermost dimension 8 elements are in or out */
            bool inside = true;
            for (int i = 1; i < 5; i++) {
                uint64_t at = first[i] + left % m.box[i];
                left /= m.box[i];
                inside = inside && at < m.dims[i];
                offset += at * m.strides[i];
            }
            for (uint32_t i = 0; i < row_bytes; i += 16) {
                char *to = (char *)emu_shared_pointer(emu_swizzle(dst + r * row_bytes + i));
                if (inside && first[0] + i / 2 + 8 <= m.dims[0])
                    memcpy(to, m.base + offset + i, 16);
                else
                    memset(to, 0, 16);
            }
        }
    });
}
static inline void tensor_load_5d(uint32_t dst, const CUtensorMap *map, uint32_t bar, int c0,
                                  int c1, int c2, int c3, int c4)
{
    tensor_load(dst, map, bar, {c0, c1, c2, c3, c4});
}
static inline void tensor_load_3d(uint32_t dst, const CUtensorMap *map, uint32_t bar, int c0,
                                  int c1, int c2)
{
    tensor_load(dst, map, bar, {c0, c1, c2, 0, 0});
}
static inline void tensor_load_2d(uint32_t dst, const CUtensorMap *map, uint32_t bar, int c0,
                                  int c1)
{
    tensor_load(dst, map, bar, {c0, c1, 0, 0, 0});
}
static inline void tensor_load_4d(uint32_t dst, const CUtensorMap *map, uint32_t bar, int c0,
                                  int c1, int c2, int c3, uint64_t)
{
    tensor_load(dst, map, bar, {c0, c1, c2, c3, 0});
}
static inline void tensor_prefetch(const CUtensorMap *)
{
}

/* Two bf16 of a register, the low one first. */
static inline float emu_half(uint32_t pair, uint32_t high)
{
    return __uint_as_float(high ? pair & 0xffff0000u : pair << 16);
}

/* ldmatrix: matrix i's row r lies at the address that lane 8 i + r brings; lane l gets of each matrix
 * the elements 2 (l % 4), + 1 of row l / 4, transposed: row 2 (l % 4), + 1 of column l / 4. */
struct emu_matrices {
    uint32_t addr, *r;
    bool transposed;
};
static inline void emu_matrices_all(void **args, uint32_t lanes)
{
    if (lanes != 0xffffffffu)
        emu_die("ldmatrix by lanes %#x", lanes);
    for (uint32_t l = 0; l < 32; l++)
        for (uint32_t i = 0; i < 4; i++) {
            struct emu_matrices *to = (struct emu_matrices *)args[l];
            uint16_t pair[2];
            for (uint32_t j = 0; j < 2; j++) {
                uint32_t row = to->transposed ? l % 4 * 2 + j : l / 4;
                uint32_t col = to->transposed ? l / 4 : l % 4 * 2 + j;
                uint32_t addr = ((struct emu_matrices *)args[i * 8 + row])->addr;
                if (addr % 16 != 0)
                    emu_die("ldmatrix from shared address %#x", addr);
                memcpy(&pair[j], (char *)emu_shared_pointer(addr) + col * 2, 2);
            }
            to->r[i] = pair[0] | (uint32_t)pair[1] << 16;
        }
}
static inline void load_matrices(uint32_t (&r)[4], uint32_t addr)
{
    struct emu_matrices matrices = {addr, r, false};
    emu_warp_meet(0xffffffffu, &matrices, emu_matrices_all);
}
static inline void load_matrices_t(uint32_t (&r)[4], uint32_t addr)
{
    struct emu_matrices matrices = {addr, r, true};
    emu_warp_meet(0xffffffffu, &matrices, emu_matrices_all);
}

/* m16n8k16, g = lane / 4, t = lane % 4:
 *     a0..a3: rows g, g + 8, g, g + 8; columns 2 t, + 1, for a2 and a3 8 further
 *     b0, b1: rows (k) 2 t, + 1, for b1 8 further; column g
 *     c0..c3: row g, columns 2 t, + 1; then row g + 8 */
struct emu_mma {
    float *c;
    uint32_t a[4], b[2];
};
static inline void emu_mma_all(void **args, uint32_t lanes)
{
    float a[16][16], b[16][8];
    if (lanes != 0xffffffffu)
        emu_die("mma by lanes %#x", lanes);
    for (uint32_t l = 0; l < 32; l++)
        for (uint32_t j = 0; j < 2; j++) {
            const struct emu_mma *in = (const struct emu_mma *)args[l];
            for (uint32_t i = 0; i < 4; i++)
                a[l / 4 + i % 2 * 8][l % 4 * 2 + j + i / 2 * 8] = emu_half(in->a[i], j);
            for (uint32_t i = 0; i < 2; i++)
                b[l % 4 * 2 + j + i * 8][l / 4] = emu_half(in->b[i], j);
        }
    for (uint32_t row = 0; row < 16; row++) {
        float sum[8] = {};
        for (uint32_t k = 0; k < 16; k++)
            for (uint32_t col = 0; col < 8; col++)
                sum[col] += a[row][k] * b[k][col];
        for (uint32_t col = 0; col < 8; col++)
            ((struct emu_mma *)args[row % 8 * 4 + col / 2])->c[row / 8 * 2 + col % 2] += sum[col];
    }
}
static inline void mma_16816(float *c, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                             uint32_t b0, uint32_t b1)
{
    struct emu_mma mma = {c, {a0, a1, a2, a3}, {b0, b1}};
    emu_warp_meet(0xffffffffu, &mma, emu_mma_all);
}
static inline void mma_16816(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    mma_16816(c, a[0], a[1], a[2], a[3], b0, b1);
}

static inline void shared_zero16(uint32_t addr)
{
    memset(emu_shared_pointer(addr), 0, 16);
}
template <int COUNT> static inline void registers_release()
{
}
template <int COUNT> static inline void registers_take()
{
}
static inline float exp2_fast(float x)
{
    return exp2f(x);
}

#endif
