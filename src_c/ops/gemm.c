/* Gemm: Y [..., N] = act(X [..., K] W^T + bias), W a packed constant [N, K].
 *
 * ints: activation (rnnrt_unary or -1). floats: alpha beta of the activation. */
#include "../kernels/float_exact.h"

#include "activation.h"
#include "op.h"

enum { IN_X, IN_W, IN_BIAS };

/* Rows of X multiplied at once: more than enough to amortize reading a weight, and it bounds the scratch. */
#define MAX_ROWS 32u

static const rnnrt_tensor *bias_of(const rnnrt_call *call) {
    return call->node->inputs > IN_BIAS ? call->in[IN_BIAS] : NULL;
}

static rnnrt_activation activation_of(const rnnrt_node *node) {
    return (rnnrt_activation){node->i[0], node->f[0], node->f[1]};
}

static rnnrt_status check(const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    if (node->ints != 1 || node->floats != 2 || node->refs[IN_X] == RNNRT_NONE ||
        node->refs[node->inputs] == RNNRT_NONE) {
        return RNNRT_ERR_FORMAT;
    }
    if (!rnnrt_activation_is(activation_of(node), -1, RNNRT_UNARIES)) { return RNNRT_ERR_FORMAT; }
    const rnnrt_tensor *w = call->in[IN_W];
    if (!w || !rnnrt_matrix_is(w, w->dims[0], 0)) { return RNNRT_ERR_FORMAT; }
    if (node->inputs > IN_BIAS && node->refs[IN_BIAS] != RNNRT_NONE) {
        const rnnrt_tensor *bias = call->in[IN_BIAS];
        if (!bias || bias->dtype != RNNRT_F32 || bias->layout != RNNRT_PLAIN || bias->ndim != 1 ||
            bias->dims[0] != w->dims[0]) {
            return RNNRT_ERR_FORMAT;
        }
    }
    return RNNRT_OK;
}

static rnnrt_status shape(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[IN_X], *w = call->in[IN_W];
    if (x->dtype != RNNRT_F32 || x->layout != RNNRT_PLAIN || x->ndim == 0 || x->dims[x->ndim - 1u] != w->dims[1]) {
        return RNNRT_ERR_SHAPE;
    }
    uint32_t dims[RNNRT_MAX_RANK] = {0};
    for (uint32_t i = 0; i + 1u < x->ndim; i++) { dims[i] = x->dims[i]; }
    dims[x->ndim - 1u] = w->dims[0];
    return rnnrt_shape_set(call->out[0], dims, x->ndim);
}

static uint32_t rows_of(const rnnrt_tensor *x) { return rnnrt_shape_count(x, 0, x->ndim - 1u); }

static size_t scratch(const rnnrt_call *call) {
    const uint32_t rows = rows_of(call->in[IN_X]);
    return rnnrt_matmul_scratch(call->in[IN_W], rows < MAX_ROWS ? rows : MAX_ROWS);
}

static void run(const rnnrt_call *call) {
    const rnnrt_matrix w = rnnrt_matrix_of(call->in[IN_W]);
    const rnnrt_tensor *bias = bias_of(call);
    const rnnrt_activation act = activation_of(call->node);
    const uint32_t rows = rows_of(call->in[IN_X]), blocks = RNNRT_PAD(w.rows, RNNRT_BLOCK) / RNNRT_BLOCK;
    const float *x = (const float *)call->in[IN_X]->data; /* [rows][cols] */
    float *y = (float *)call->out[0]->data;               /* [rows][w.rows] */
    for (uint32_t done = 0; done < rows; done += MAX_ROWS) {
        const uint32_t n = rows - done < MAX_ROWS ? rows - done : MAX_ROWS;
        float *part = y + (size_t)done * w.rows;
        rnnrt_matmul(call->k, call->team, &w, 0, blocks, bias ? (const float *)bias->data : NULL,
                     x + (size_t)done * w.cols, w.cols, n, part, w.rows, call->scratch);
        if (act.f >= 0) { rnnrt_activate(call->k, act, part, part, (size_t)n * w.rows); }
    }
}

const rnnrt_op rnnrt_op_gemm = {
    .code = 10,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .name = "Gemm",
    .ints = "activation",
    .floats = "alpha beta",
    .check = check,
    .shape = shape,
    .scratch = scratch,
    .run = run,
};
