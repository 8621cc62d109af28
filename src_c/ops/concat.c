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

/* One operand: its runs of n elements go n_all apart; outer of them. */
static void spread(const uint32_t *x, uint32_t outer, size_t n, uint32_t *y, size_t n_all) {
    if (n == 1) { /* interleaving: a call of memcpy costs more than the copy */
        for (uint32_t o = 0; o < outer; o++) y[o * n_all] = x[o];
        return;
    }
    for (uint32_t o = 0; o < outer; o++) memcpy(y + o * n_all, x + o * n, n * sizeof *x);
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *out = call->out[0];
    uint32_t axis = rnnrt_shape_axis(call->node->i[0], out->ndim), outer = rnnrt_shape_count(out, 0, axis);
    size_t n_all = rnnrt_shape_count(out, axis, out->ndim);
    uint32_t *y = out->data;
    for (uint32_t i = 0; i < call->node->inputs; i++) {
        const rnnrt_tensor *x = call->in[i];
        size_t n = rnnrt_shape_count(x, axis, x->ndim);
        if (n == 0 || outer == 0) continue;
        spread(x->data, outer, n, y, n_all);
        y += n;
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
