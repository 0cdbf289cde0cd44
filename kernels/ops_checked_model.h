/* ops_checked_model - the part of ops_checked.h for ranks and for the ops that only some architectures
 * need. Included by ops_checked.h alone.
 */
static void CHECKED(all_reduce)(struct device *device, struct stream *stream, void *act,
                                size_t count)
{
    IMPL.all_reduce(device, stream, act, count);
}

static void CHECKED(all_gather)(struct device *device, struct stream *stream, float *out,
                                const float *in, uint32_t rows, uint32_t cols)
{
    IMPL.all_gather(device, stream, out, in, rows, cols);
}

static UNUSED void CHECKED(scale)(struct device *device, struct stream *stream, void *x, float by,
                                  size_t count)
{
    ops_need("scale", ops_check_rows(x, x, count > 0, 1));
    IMPL.scale(device, stream, x, by, count);
}

static UNUSED void CHECKED(norm_part)(struct device *device, struct stream *stream, void *x,
                                      const float *w, uint32_t rows, uint32_t stride, uint32_t dim,
                                      float eps)
{
    ops_need("norm_part", dim <= stride ? ops_check_norm(x, x, w, rows, dim, eps)
                                        : "the part is wider than the row");
    IMPL.norm_part(device, stream, x, w, rows, stride, dim, eps);
}

static UNUSED void CHECKED(qk_sums)(struct device *device, struct stream *stream, float *sums,
                                    const struct wide_norm_args *args)
{
    ops_need("qk_sums", ops_check_wide_norm(sums, args));
    IMPL.qk_sums(device, stream, sums, args);
}

static UNUSED void CHECKED(qk_norm_by_sums)(struct device *device, struct stream *stream,
                                            const float *sums, uint32_t parts,
                                            const struct wide_norm_args *args)
{
    ops_need("qk_norm_by_sums", parts > 0 ? ops_check_wide_norm(sums, args) : "there are no sums");
    IMPL.qk_norm_by_sums(device, stream, sums, parts, args);
}

static UNUSED void CHECKED(route)(struct device *device, struct stream *stream, uint32_t *ids,
                                  float *weights, const float *logits,
                                  const struct expert_args *args)
{
    ops_need("route", ops_check_route(ids, weights, logits, args));
    IMPL.route(device, stream, ids, weights, logits, args);
}

static UNUSED void CHECKED(experts_gate_up)(struct device *device, struct stream *stream, void *y,
                                            const void *x, const struct weight *w,
                                            const struct expert_args *args)
{
    ops_need("experts_gate_up", ops_check_experts(y, x, w, args, 2));
    IMPL.experts_gate_up(device, stream, y, x, w, args);
}

static UNUSED void CHECKED(experts_down)(struct device *device, struct stream *stream, void *y,
                                         const void *a, const struct weight *w,
                                         const struct expert_args *args)
{
    ops_need("experts_down", ops_check_experts(y, a, w, args, 1));
    IMPL.experts_down(device, stream, y, a, w, args);
}

static UNUSED void CHECKED(add_gated)(struct device *device, struct stream *stream, void *x,
                                      const void *y, const float *gate, uint32_t rows, uint32_t dim)
{
    ops_need("add_gated",
             (x && y && gate && x != y) || rows == 0 || dim == 0 ? NULL : "an array is NULL");
    IMPL.add_gated(device, stream, x, y, gate, rows, dim);
}
