/* ArgMax along one axis: I32, the first (or last) place of the largest element. One after the other
 * is compared with the largest so far, which NaN never exceeds and, standing first, never loses to. */
#include "../kernels/float_exact.h"

#include "registry.h"

enum { I_AXIS, I_KEEPDIMS, I_SELECT_LAST_INDEX };

static rnnrt_status check(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_check_counts(call, 3, 3, 0);
    if (status != RNNRT_OK) return status;
    for (uint32_t i = I_KEEPDIMS; i <= I_SELECT_LAST_INDEX; i++)
        if (call->node->i[i] != 0 && call->node->i[i] != 1) return RNNRT_ERR_FORMAT;
    return RNNRT_OK;
}

static rnnrt_status shape(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    uint32_t dims[RNNRT_MAX_RANK], ndim = 0;
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status != RNNRT_OK) return status;
    uint32_t axis = rnnrt_shape_axis(call->node->i[I_AXIS], x->ndim);
    if (axis >= x->ndim) return RNNRT_ERR_SHAPE;
    for (uint32_t d = 0; d < x->ndim; d++) {
        if (d != axis)
            dims[ndim++] = x->dims[d];
        else if (call->node->i[I_KEEPDIMS])
            dims[ndim++] = 1;
    }
    status = rnnrt_shape_set(call->out[0], dims, ndim);
    if (status != RNNRT_OK) return status;
    call->out[0]->dtype = RNNRT_I32;
    return x->dims[axis] || call->out[0]->elements == 0 ? RNNRT_OK : RNNRT_ERR_SHAPE; /* the largest of nothing */
}

/* Does element a take the place of b, the largest so far? */
static int takes_over(const rnnrt_tensor *x, size_t a, size_t b, int last) {
    if (x->dtype == RNNRT_I32) {
        int32_t p = ((const int32_t *)x->data)[a], q = ((const int32_t *)x->data)[b];
        return last ? p >= q : p > q;
    }
    float p = ((const float *)x->data)[a], q = ((const float *)x->data)[b];
    return last ? p >= q : p > q;
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    uint32_t axis = rnnrt_shape_axis(call->node->i[I_AXIS], x->ndim), n = x->dims[axis];
    uint32_t outer = rnnrt_shape_count(x, 0, axis), inner = rnnrt_shape_count(x, axis + 1, x->ndim);
    int last = call->node->i[I_SELECT_LAST_INDEX];
    int32_t *y = call->out[0]->data;
    for (uint32_t o = 0; o < outer; o++) {
        for (uint32_t i = 0; i < inner; i++) {
            size_t start = (size_t)o * n * inner + i;
            uint32_t best = 0;
            for (uint32_t j = 1; j < n; j++)
                if (takes_over(x, start + (size_t)j * inner, start + (size_t)best * inner, last)) best = j;
            *y++ = (int32_t)best;
        }
    }
}

const rnnrt_op rnnrt_op_arg_max = {
    .code = 72,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "ArgMax",
    .ints = "axis keepdims select_last_index",
    .floats = "",
    .check = check,
    .shape = shape,
    .run = run,
};
