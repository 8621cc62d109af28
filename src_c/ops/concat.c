/* Concat along one axis. */
#include "registry.h"

#include <string.h>

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_check_counts(call, 1, 1, 0); }

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status != RNNRT_OK) return status;
    const rnnrt_tensor *first = call->in[0];
    uint32_t dims[RNNRT_MAX_RANK], axis = rnnrt_shape_axis(call->node->i[0], first->ndim);
    uint64_t sum = 0; /* at most 255 * 2^32 */
    if (axis >= first->ndim) return RNNRT_ERR_SHAPE;
    for (uint32_t d = 0; d < first->ndim; d++) dims[d] = first->dims[d];
    for (uint32_t i = 0; i < call->node->inputs; i++) {
        status = rnnrt_shape_input(call, i, 1);
        if (status != RNNRT_OK) return status;
        const rnnrt_tensor *x = call->in[i];
        if (x->dtype != first->dtype || x->ndim != first->ndim) return RNNRT_ERR_SHAPE;
        for (uint32_t d = 0; d < x->ndim; d++)
            if (d != axis && x->dims[d] != dims[d]) return RNNRT_ERR_SHAPE;
        sum += x->dims[axis];
    }
    if (sum > 0xFFFFFFFFu) return RNNRT_ERR_OVERFLOW;
    dims[axis] = (uint32_t)sum;
    status = rnnrt_shape_set(call->out[0], dims, first->ndim);
    if (status == RNNRT_OK) call->out[0]->dtype = first->dtype;
    return status;
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *out = call->out[0];
    uint32_t axis = rnnrt_shape_axis(call->node->i[0], out->ndim), outer = rnnrt_shape_count(out, 0, axis);
    char *y = out->data;
    for (uint32_t o = 0; o < outer; o++) {
        for (uint32_t i = 0; i < call->node->inputs; i++) {
            const rnnrt_tensor *x = call->in[i];
            size_t bytes = (size_t)rnnrt_shape_count(x, axis, x->ndim) * sizeof(float);
            if (bytes == 0) continue;
            memcpy(y, (const char *)x->data + (size_t)o * bytes, bytes);
            y += bytes;
        }
    }
}

const rnnrt_op rnnrt_op_concat = {
    .code = 66,
    .min_in = 1,
    .max_in = 255,
    .min_out = 1,
    .max_out = 1,
    .name = "Concat",
    .ints = "axis",
    .floats = "",
    .check = check,
    .shape = shape,
    .run = run,
};
