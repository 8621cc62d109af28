/* Conv, 1-d: X [N, C, L], W packed [M, (C/group) * kernel] with columns in the order [c][k], Y [N, M, Lout].
 *
 * ints: kernel stride dilation pad_begin pad_end group activation (rnnrt_unary or -1). floats: alpha beta.
 * A position's window is gathered into a row; rows are multiplied like a Gemm's. Hence every output position has
 * its own activation scale (s8), and the bits of a position do not depend on what is computed together with it. */
#include "../kernels/float_exact.h"

#include <string.h>

#include "activation.h"
#include "op.h"

enum { IN_X, IN_W, IN_BIAS };
enum { KERNEL, STRIDE, DILATION, PAD_BEGIN, PAD_END, GROUP, ACTIVATION, INTS };

#define MAX_ROWS 32u            /* positions gathered at once */
#define MAX_GATHERED (1u << 17) /* floats gathered at once (512 KiB), unless one row alone is longer */
#define ALIGNED(bytes) (((size_t)(bytes) + 63u) / 64u * 64u)

typedef struct geometry {
    uint32_t channels, length; /* of one group's input: [channels][length] */
    uint32_t kernel, stride, dilation, pad;
    uint32_t group, group_rows; /* M = group * group_rows */
    uint32_t out_length;
    uint32_t rows; /* positions at once */
} geometry;

static rnnrt_activation activation_of(const rnnrt_node *node) {
    return (rnnrt_activation){node->i[ACTIVATION], node->f[0], node->f[1]};
}

static rnnrt_status check(const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    if (node->ints != INTS || node->floats != 2 || node->refs[IN_X] == RNNRT_NONE ||
        node->refs[node->inputs] == RNNRT_NONE) {
        return RNNRT_ERR_FORMAT;
    }
    const int32_t *i = node->i;
    if (i[KERNEL] < 1 || i[STRIDE] < 1 || i[DILATION] < 1 || i[PAD_BEGIN] < 0 || i[PAD_END] < 0 || i[GROUP] < 1 ||
        !rnnrt_activation_is(activation_of(node), -1, RNNRT_UNARIES)) {
        return RNNRT_ERR_FORMAT;
    }
    const rnnrt_tensor *w = call->in[IN_W];
    if (!w || !rnnrt_matrix_is(w, w->dims[0], 0) || w->dims[1] % (uint32_t)i[KERNEL] != 0 ||
        w->dims[0] % (uint32_t)i[GROUP] != 0) {
        return RNNRT_ERR_FORMAT;
    }
    if (node->inputs > IN_BIAS && node->refs[IN_BIAS] != RNNRT_NONE) {
        const rnnrt_tensor *bias = call->in[IN_BIAS];
        if (!bias || bias->dtype != RNNRT_F32 || bias->layout != RNNRT_PLAIN || bias->ndim != 1 ||
            bias->dims[0] != w->dims[0]) {
            return RNNRT_ERR_FORMAT;
        }
    }
    return RNNRT_OK;
}

/* Lout. No overflow: length < 2^32, pads < 2^31; dilation * (kernel - 1) < 2^62. */
static uint64_t out_length(const int32_t *i, uint32_t length) {
    const uint64_t padded = (uint64_t)length + (uint32_t)i[PAD_BEGIN] + (uint32_t)i[PAD_END];
    const uint64_t window = (uint64_t)i[DILATION] * (uint64_t)(i[KERNEL] - 1) + 1u;
    return padded < window ? 0 : (padded - window) / (uint64_t)i[STRIDE] + 1u;
}

static rnnrt_status shape(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[IN_X], *w = call->in[IN_W];
    const int32_t *i = call->node->i;
    if (x->dtype != RNNRT_F32 || x->layout != RNNRT_PLAIN || x->ndim != 3 ||
        x->dims[1] != (uint64_t)w->dims[1] / (uint32_t)i[KERNEL] * (uint32_t)i[GROUP]) {
        return RNNRT_ERR_SHAPE;
    }
    const uint64_t length = out_length(i, x->dims[2]);
    if (length > INT32_MAX) { return RNNRT_ERR_OVERFLOW; }
    const uint32_t dims[3] = {x->dims[0], w->dims[0], (uint32_t)length};
    return rnnrt_shape_set(call->out[0], dims, 3);
}

static geometry geometry_of(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[IN_X], *w = call->in[IN_W];
    const int32_t *i = call->node->i;
    geometry g;
    g.kernel = (uint32_t)i[KERNEL];
    g.stride = (uint32_t)i[STRIDE];
    g.dilation = (uint32_t)i[DILATION];
    g.pad = (uint32_t)i[PAD_BEGIN];
    g.group = (uint32_t)i[GROUP];
    g.channels = w->dims[1] / g.kernel;
    g.length = x->dims[2];
    g.group_rows = w->dims[0] / g.group;
    g.out_length = (uint32_t)out_length(i, g.length);
    g.rows = MAX_GATHERED / w->dims[1]; /* cols <= RNNRT_MAX_COLS = MAX_GATHERED: at least 1 */
    g.rows = g.rows < MAX_ROWS ? g.rows : MAX_ROWS;
    g.rows = g.rows < g.out_length ? g.rows : g.out_length;
    return g;
}

/* Floats between two positions' products: the rows of all blocks that a group can touch. A group may start inside a
 * block, so it touches at most one block more than its rows fill. */
static size_t product_stride(const geometry *g) {
    return RNNRT_PAD((size_t)g->group_rows, RNNRT_BLOCK) + (g->group > 1 ? RNNRT_BLOCK : 0u);
}

static size_t scratch(const rnnrt_call *call) {
    const rnnrt_tensor *w = call->in[IN_W];
    const geometry g = geometry_of(call);
    return ALIGNED(4u * (size_t)g.rows * w->dims[1]) + ALIGNED(4u * g.rows * product_stride(&g)) +
           rnnrt_matmul_scratch(w, g.rows);
}

/* row [channels][kernel] = the window of output position `at` of x [channels][length], zeros outside. */
static void gather(const geometry *g, const float *x, uint32_t at, float *row) {
    const int64_t start = (int64_t)at * g->stride - g->pad; /* of tap 0; |start| < 2^63: at < 2^31, stride < 2^31 */
    int64_t first = start < 0 ? (-start + g->dilation - 1) / g->dilation : 0;
    int64_t end = start < g->length ? ((int64_t)g->length - start + g->dilation - 1) / g->dilation : 0;
    end = end < g->kernel ? end : g->kernel; /* taps [first, end) lie inside x */
    first = first < end ? first : end;
    for (uint32_t c = 0; c < g->channels; c++, row += g->kernel) {
        const float *line = x + (size_t)c * g->length;
        int64_t tap = 0;
        for (; tap < first; tap++) { row[tap] = 0; }
        if (g->dilation == 1 && end - first >= 8) {
            memcpy(row + first, line + (start + first), (size_t)(end - first) * sizeof(float));
            tap = end;
        }
        for (; tap < end; tap++) { row[tap] = line[start + tap * g->dilation]; }
        for (; tap < g->kernel; tap++) { row[tap] = 0; }
    }
}

/* One group of one sequence: x [channels][length] -> y [group_rows][out_length], W's rows from row0 on. */
static void convolve(const rnnrt_call *call, const geometry *g, const rnnrt_matrix *w, uint32_t row0, const float *x,
                     float *y) {
    const rnnrt_tensor *bias = call->node->inputs > IN_BIAS ? call->in[IN_BIAS] : NULL;
    const uint32_t block0 = row0 / RNNRT_BLOCK;
    const uint32_t block1 = RNNRT_PAD(row0 + g->group_rows, RNNRT_BLOCK) / RNNRT_BLOCK;
    const size_t ldp = product_stride(g);
    float *rows = (float *)call->scratch; /* [g->rows][w->cols] */
    float *products = (float *)(void *)((uint8_t *)call->scratch + ALIGNED(4u * (size_t)g->rows * w->cols));
    void *rest = (uint8_t *)products + ALIGNED(4u * g->rows * ldp); /* products: [g->rows][ldp] */
    for (uint32_t at = 0; at < g->out_length; at += g->rows) {
        const uint32_t n = g->out_length - at < g->rows ? g->out_length - at : g->rows;
        for (uint32_t i = 0; i < n; i++) { gather(g, x, at + i, rows + (size_t)i * w->cols); }
        rnnrt_matmul(call->k, call->team, w, block0, block1, bias ? (const float *)bias->data : NULL, rows, w->cols, n,
                     products, ldp, rest);
        const float *wanted = products + row0 % RNNRT_BLOCK;
        for (uint32_t m = 0; m < g->group_rows; m++) {
            for (uint32_t i = 0; i < n; i++) { y[(size_t)m * g->out_length + at + i] = wanted[i * ldp + m]; }
        }
    }
}

static void run(const rnnrt_call *call) {
    const geometry g = geometry_of(call);
    const rnnrt_matrix w = rnnrt_matrix_of(call->in[IN_W]);
    const rnnrt_activation act = activation_of(call->node);
    const uint32_t batch = call->in[IN_X]->dims[0];
    const size_t group_in = (size_t)g.channels * g.length, group_out = (size_t)g.group_rows * g.out_length;
    const float *x = (const float *)call->in[IN_X]->data;
    float *y = (float *)call->out[0]->data;
    if (batch == 0 || g.out_length == 0) { return; }
    for (size_t i = 0; i < (size_t)batch * g.group; i++) {
        convolve(call, &g, &w, (uint32_t)(i % g.group) * g.group_rows, x + i * group_in, y + i * group_out);
    }
    if (act.f >= 0) { rnnrt_activate(call->k, act, y, y, (size_t)batch * g.group * group_out); }
}

const rnnrt_op rnnrt_op_conv = {
    .code = 12,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .name = "Conv",
    .ints = "kernel stride dilation pad_begin pad_end group activation",
    .floats = "alpha beta",
    .check = check,
    .shape = shape,
    .scratch = scratch,
    .run = run,
};
