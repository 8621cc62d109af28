/* Gather along one axis. Constant indices are checked; data indices are clamped, since run() cannot fail. */
#include "registry.h"

#include <string.h>

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_check_counts(call, 1, 1, 0); }

static int in_range(const rnnrt_tensor *indices, uint32_t n) {
    const int32_t *index = indices->data;
    uint32_t count = rnnrt_shape_count(indices, 0, indices->ndim);
    for (uint32_t i = 0; i < count; i++)
        if (rnnrt_shape_axis(index[i], n) >= n) /* indices wrap as axes do */
            return 0;
    return 1;
}

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status == RNNRT_OK) status = rnnrt_shape_input(call, 1, 1);
    if (status != RNNRT_OK) return status;
    const rnnrt_tensor *x = call->in[0], *indices = call->in[1];
    if (indices->dtype != RNNRT_I32) return RNNRT_ERR_FORMAT;
    uint32_t dims[RNNRT_MAX_RANK], ndim = 0, axis = rnnrt_shape_axis(call->node->i[0], x->ndim);
    if (axis >= x->ndim || x->ndim - 1u + indices->ndim > RNNRT_MAX_RANK) return RNNRT_ERR_SHAPE;
    if (indices->is_const && indices->data && !in_range(indices, x->dims[axis])) return RNNRT_ERR_SHAPE;
    for (uint32_t d = 0; d < axis; d++) dims[ndim++] = x->dims[d];
    for (uint32_t d = 0; d < indices->ndim; d++) dims[ndim++] = indices->dims[d];
    for (uint32_t d = axis + 1; d < x->ndim; d++) dims[ndim++] = x->dims[d];
    status = rnnrt_shape_set(call->out[0], dims, ndim);
    if (status != RNNRT_OK) return status;
    call->out[0]->dtype = x->dtype;
    return x->dims[axis] || call->out[0]->elements == 0 ? RNNRT_OK : RNNRT_ERR_SHAPE; /* nothing to clamp to */
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *in = call->in[0], *indices = call->in[1], *out = call->out[0];
    uint32_t axis = rnnrt_shape_axis(call->node->i[0], in->ndim), n = in->dims[axis];
    uint32_t outer = rnnrt_shape_count(in, 0, axis), count = rnnrt_shape_count(indices, 0, indices->ndim);
    size_t inner = rnnrt_shape_count(in, axis + 1, in->ndim);
    const int32_t *index = indices->data;
    uint32_t *y = out->data;
    if (rnnrt_shape_count(out, 0, out->ndim) == 0) return;
    for (uint32_t o = 0; o < outer; o++) {
        const uint32_t *x = (const uint32_t *)in->data + (size_t)o * n * inner;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t at = rnnrt_shape_axis(index[i], n);
            if (at >= n) at = index[i] < 0 ? 0 : n - 1;
            memcpy(y, x + at * inner, inner * sizeof *y);
            y += inner;
        }
    }
}

const rnnrt_op rnnrt_op_gather = {
    .code = 67,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .name = "Gather",
    .ints = "axis",
    .floats = "",
    .check = check,
    .shape = shape,
    .run = run,
};
