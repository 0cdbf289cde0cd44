/* gemm - the products of kernels/cuda/gemm.cuh by plain loops: cuBLASLt is not what is tested. Plans
 * are kept and looked up as there; their bytes are made of the key, so that a wrong one is seen; and
 * a product that adds is garbage while it is being measured. */
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/gemm_plans.cuh"

#include <string.h>

#include <vector>

static void product(void *y, const bf16 *x, const bf16 *w, uint32_t n, uint32_t k, uint32_t m,
                    enum gemm_kind kind)
{
    std::vector<float> wide(k);
    for (uint32_t col = 0; col < n; col++) {
        for (uint32_t i = 0; i < k; i++)
            wide[i] = to_f32(w[(size_t)col * k + i]);
        for (uint32_t row = 0; row < m; row++) {
            const bf16 *from = x + (size_t)row * k;
            float sums[8] = {}, sum = 0;
            for (uint32_t i = 0; i < k; i += 8) /* k % 8 == 0 */
                for (uint32_t j = 0; j < 8; j++)
                    sums[j] += to_f32(from[i + j]) * wide[i + j];
            for (uint32_t j = 0; j < 8; j++)
                sum += sums[j];
            size_t at = (size_t)row * n + col;
            if (kind == GEMM_F32)
                ((float *)y)[at] = sum;
            else
                ((bf16 *)y)[at] = bf16(kind == GEMM_ADD ? sum + to_f32(((bf16 *)y)[at]) : sum);
        }
    }
}

/* True: this call measures. */
static bool plan(struct device *device, const struct gemm_key *key)
{
    struct gemm_plan *kept = gemm_plans_slot(device->plans, key);
    cublasLtMatmulAlgo_t algo;
    for (uint32_t i = 0; i < 8; i++)
        algo.data[i] = (key->n * UINT64_C(0x9e3779b97f4a7c15) ^ key->k) * (2 * i + 1) + key->bucket;
    if (kept->key.n != 0 && memcmp(&kept->algo, &algo, sizeof(algo)) != 0)
        emu_die("another product's plan");
    if (kept->key.n != 0)
        return false;
    gemm_plans_keep(device->plans, key, &algo, device->opts.tune);
    return device->opts.tune;
}

bool gemm(struct device *device, struct stream *stream, void *y, const void *x,
          const struct weight *w, uint32_t m, enum gemm_kind kind)
{
    const struct weight weight = *w;
    if (w->k % 8 != 0 || w->n % 8 != 0 || (uintptr_t)x % 16 != 0 || (uintptr_t)y % 16 != 0)
        return false;
    const struct gemm_key key = {w->n, w->k, m, (uint32_t)kind};
    int turns = plan(device, &key) ? 2 : 1;
    emu_submit(stream->cuda, [=]() {
        for (int i = 0; i < turns; i++)
            product(y, (const bf16 *)x, (const bf16 *)weight.data, weight.n, weight.k, m, kind);
    });
    return true;
}
