/* Softmax along one axis: e^(x - max) / sum. */
#include "../kernels/float_exact.h"

#include "registry.h"

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_check_counts(call, 1, 1, 0); }

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_shape_input(call, 0, 0);
    if (status != RNNRT_OK) return status;
    if (rnnrt_shape_axis(call->node->i[0], call->in[0]->ndim) >= call->in[0]->ndim) return RNNRT_ERR_SHAPE;
    return rnnrt_shape_same(call->out[0], call->in[0]);
}

/* One column, unless the columns are contiguous anyway. */
static size_t scratch(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    uint32_t axis = rnnrt_shape_axis(call->node->i[0], x->ndim);
    return rnnrt_shape_count(x, axis + 1, x->ndim) == 1 ? 0 : (size_t)x->dims[axis] * sizeof(float);
}

/* x, y: [n], the same array or apart; n >= 1. */
static void softmax(const rnnrt_kernels *k, const float *x, float *y, uint32_t n) {
    float max = k->max(x, n);
    k->binary(RNNRT_SUB, x, 1, &max, 0, y, n);
    k->unary(RNNRT_EXP, 0.0f, 0.0f, y, y, n);
    float sum = k->sum(y, n);
    k->binary(RNNRT_DIV, y, 1, &sum, 0, y, n);
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *in = call->in[0];
    uint32_t axis = rnnrt_shape_axis(call->node->i[0], in->ndim), n = in->dims[axis];
    uint32_t outer = rnnrt_shape_count(in, 0, axis), inner = rnnrt_shape_count(in, axis + 1, in->ndim);
    if (n == 0) return;
    for (uint32_t o = 0; o < outer; o++) {
        const float *x = (const float *)in->data + (size_t)o * n * inner;
        float *y = (float *)call->out[0]->data + (size_t)o * n * inner;
        if (inner == 1) {
            softmax(call->k, x, y, n);
            continue;
        }
        float *column = call->scratch;
        for (uint32_t i = 0; i < inner; i++) {
            for (uint32_t j = 0; j < n; j++) column[j] = x[(size_t)j * inner + i];
            softmax(call->k, column, column, n);
            for (uint32_t j = 0; j < n; j++) y[(size_t)j * inner + i] = column[j];
        }
    }
}

const rnnrt_op rnnrt_op_softmax = {
    .code = 50,
    .flags = RNNRT_OP_IN_PLACE,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "Softmax",
    .ints = "axis",
    .floats = "",
    .check = check,
    .shape = shape,
    .scratch = scratch,
    .run = run,
};
