/* LayerNormalization over the dimensions [axis, ndim): (x - mean) / sqrt(variance + epsilon) * scale + bias. */
#include "../kernels/float_exact.h"

#include "registry.h"

static rnnrt_status check(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_check_counts(call, 1, 1, 1);
    if (status != RNNRT_OK) return status;
    return call->node->f[0] >= 0.0f ? RNNRT_OK : RNNRT_ERR_FORMAT; /* NaN is refused too */
}

static const rnnrt_tensor *bias_of(const rnnrt_call *call) { return call->node->inputs > 2 ? call->in[2] : NULL; }

/* Scale and bias have exactly the normalized dimensions. */
static int is_tail(const rnnrt_tensor *t, const rnnrt_tensor *x, uint32_t axis) {
    if (t->ndim != x->ndim - axis) return 0;
    for (uint32_t d = 0; d < t->ndim; d++)
        if (t->dims[d] != x->dims[axis + d]) return 0;
    return 1;
}

static rnnrt_status shape(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0], *bias = bias_of(call);
    for (uint32_t i = 0; i < (bias ? 3u : 2u); i++) {
        rnnrt_status status = rnnrt_shape_input(call, i, 0);
        if (status != RNNRT_OK) return status;
    }
    uint32_t axis = rnnrt_shape_axis(call->node->i[0], x->ndim);
    if (axis >= x->ndim || !is_tail(call->in[1], x, axis) || (bias && !is_tail(bias, x, axis))) return RNNRT_ERR_SHAPE;
    return rnnrt_shape_same(call->out[0], x);
}

/* One row: then the output may share memory with X, and with Scale or B when there is only one row. */
static size_t scratch(const rnnrt_call *call) {
    const rnnrt_tensor *scale = call->in[1];
    return (size_t)rnnrt_shape_count(scale, 0, scale->ndim) * sizeof(float);
}

static void run(const rnnrt_call *call) {
    const rnnrt_kernels *k = call->k;
    const rnnrt_tensor *in = call->in[0], *bias = bias_of(call);
    uint32_t axis = rnnrt_shape_axis(call->node->i[0], in->ndim);
    uint32_t outer = rnnrt_shape_count(in, 0, axis), n = rnnrt_shape_count(in, axis, in->ndim);
    if (n == 0) return;
    float *row = call->scratch;
    float count = (float)n, epsilon = call->node->f[0];
    for (uint32_t o = 0; o < outer; o++) {
        const float *x = (const float *)in->data + (size_t)o * n;
        float *y = (float *)call->out[0]->data + (size_t)o * n;
        float mean = k->sum(x, n);
        k->binary(RNNRT_DIV, &mean, 1, &count, 1, &mean, 1);
        float deviation = k->sum_sq_diff(x, mean, n);
        k->binary(RNNRT_DIV, &deviation, 1, &count, 1, &deviation, 1);
        k->binary(RNNRT_ADD, &deviation, 1, &epsilon, 1, &deviation, 1);
        k->unary(RNNRT_SQRT, 0.0f, 0.0f, &deviation, &deviation, 1);
        k->binary(RNNRT_SUB, x, 1, &mean, 0, row, n);
        k->binary(RNNRT_DIV, row, 1, &deviation, 0, row, n);
        k->binary(RNNRT_MUL, row, 1, call->in[1]->data, 1, bias ? row : y, n);
        if (bias) k->binary(RNNRT_ADD, row, 1, bias->data, 1, y, n);
    }
}

const rnnrt_op rnnrt_op_layer_normalization = {
    .code = 51,
    .flags = RNNRT_OP_IN_PLACE,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .name = "LayerNormalization",
    .ints = "axis",
    .floats = "epsilon",
    .check = check,
    .shape = shape,
    .scratch = scratch,
    .run = run,
};
