/* ConvTranspose: X [N, L, C] or [N, H, W, C] (see window.h), Y [N, (OH,) OW, M].
 *
 * W is a packed matrix, rows in the order [group][kernel_h][kernel_w][M/group], columns [C/group]. Every position of X is
 * multiplied like a Gemm's row; its products are added to Y where its taps fall. ints: the window's, output_padding_h,
 * output_padding_w, group, activation (rnnrt_unary or -1). floats: alpha beta.
 * Each output is +0, plus the products that fall on it by ascending position of X, plus the bias. */
#include "../kernels/float_exact.h"

#include <string.h>

#include "activation.h"
#include "window.h"

enum { OUTPUT_PADDING_H = RNNRT_WINDOW_INTS, OUTPUT_PADDING_W, GROUP, ACTIVATION, INTS };
enum { IN_X, IN_W, IN_BIAS };

#define ALIGNED(bytes) (((size_t)(bytes) + 63u) / 64u * 64u)

typedef struct layout {
    rnnrt_window g;
    uint32_t group, group_rows, group_channels; /* rows of W, channels of X */
    uint32_t outputs;                           /* M */
    uint32_t height, width;                     /* of Y */
    uint32_t rows;                              /* positions of X at once */
    size_t product_stride;                      /* floats between two positions' products */
} layout;

static rnnrt_activation activation_of(const rnnrt_node *node) {
    return (rnnrt_activation){node->i[ACTIVATION], node->f[0], node->f[1]};
}

/* kernel_h * kernel_w <= 2^48 */
static uint64_t taps_of(const rnnrt_node *node) { return (uint64_t)(uint32_t)node->i[0] * (uint32_t)node->i[1]; }

static rnnrt_status check(const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    const rnnrt_status status = rnnrt_check_counts(call, INTS, INTS, 2);
    if (status != RNNRT_OK) { return status; }
    const int32_t *i = node->i;
    if (!rnnrt_window_is(node) || i[GROUP] < 1 || !rnnrt_activation_is(activation_of(node), -1, RNNRT_UNARIES)) {
        return RNNRT_ERR_FORMAT;
    }
    for (uint32_t k = OUTPUT_PADDING_H; k <= OUTPUT_PADDING_W; k++) {
        if (i[k] < 0 || i[k] > RNNRT_WINDOW_MAX) { return RNNRT_ERR_FORMAT; }
    }
    const rnnrt_tensor *w = call->in[IN_W];
    if (!w || !rnnrt_matrix_is(w, w->dims[0], 0) || w->dims[0] % taps_of(node) != 0 ||
        w->dims[0] / taps_of(node) % (uint32_t)i[GROUP] != 0) {
        return RNNRT_ERR_FORMAT;
    }
    return rnnrt_bias_is(call, IN_BIAS, (uint32_t)(w->dims[0] / taps_of(node))) ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

/* Y along an axis; -1 where that is negative. Below 2^29 * 2^24 + 2^48 + 2^24. */
static int64_t out_size(const rnnrt_axis *axis, int32_t output_padding) {
    if (axis->size == 0) { return 0; }
    const int64_t size = (int64_t)(axis->size - 1u) * axis->stride + output_padding +
                         (int64_t)(axis->kernel - 1u) * axis->dilation + 1 - axis->pad_begin - axis->pad_end;
    return size < 0 ? -1 : size;
}

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_window g;
    const rnnrt_status status = rnnrt_window_of(call, &g);
    if (status != RNNRT_OK) { return status; }
    const rnnrt_tensor *w = call->in[IN_W];
    if (g.channels != (uint64_t)w->dims[1] * (uint32_t)call->node->i[GROUP]) { return RNNRT_ERR_SHAPE; }
    if (call->in[IN_X]->ndim == 3 && call->node->i[OUTPUT_PADDING_H] != 0) { return RNNRT_ERR_SHAPE; }
    const int64_t height = out_size(&g.h, call->node->i[OUTPUT_PADDING_H]);
    const int64_t width = out_size(&g.w, call->node->i[OUTPUT_PADDING_W]);
    if (height < 0 || width < 0) { return RNNRT_ERR_SHAPE; }
    return rnnrt_window_output(call, (uint64_t)height, (uint64_t)width, (uint32_t)(w->dims[0] / taps_of(call->node)));
}

/* A group's rows may start inside a block, so they touch at most one block more than they fill. */
static layout layout_of(const rnnrt_call *call) {
    const rnnrt_tensor *w = call->in[IN_W];
    layout l;
    (void)rnnrt_window_of(call, &l.g); /* shape() has seen it succeed */
    l.group = (uint32_t)call->node->i[GROUP];
    l.group_rows = w->dims[0] / l.group;
    l.group_channels = w->dims[1];
    l.outputs = (uint32_t)(w->dims[0] / taps_of(call->node));
    l.height = (uint32_t)out_size(&l.g.h, call->node->i[OUTPUT_PADDING_H]);
    l.width = (uint32_t)out_size(&l.g.w, call->node->i[OUTPUT_PADDING_W]);
    l.rows = l.g.w.size < RNNRT_WINDOW_ROWS ? l.g.w.size : RNNRT_WINDOW_ROWS;
    l.product_stride = RNNRT_PAD((size_t)l.group_rows, RNNRT_BLOCK) + RNNRT_BLOCK;
    return l;
}

static size_t product_bytes(const layout *l) { return ALIGNED(4u * l->rows * l->product_stride); }

static size_t scratch(const rnnrt_call *call) {
    const layout l = layout_of(call);
    return product_bytes(&l) + rnnrt_matmul_scratch(call->in[IN_W], l.rows);
}

/* The taps [*first, *end) of X's position that fall into Y, and the place of tap 0 in Y. */
static int64_t fall(const rnnrt_axis *axis, uint32_t position, uint32_t out, uint32_t *first, uint32_t *end) {
    const int64_t start = (int64_t)position * axis->stride - axis->pad_begin, dilation = axis->dilation;
    const int64_t before = start < 0 ? (-start + dilation - 1) / dilation : 0;
    int64_t inside = start < (int64_t)out ? ((int64_t)out - start + dilation - 1) / dilation : 0;
    inside = inside < axis->kernel ? inside : axis->kernel;
    *end = (uint32_t)inside;
    *first = (uint32_t)(before < inside ? before : inside);
    return start;
}

/* y [height][width][M] += the products [kernel_h][kernel_w][M/group] of the position (h, w) of X. */
static void add_products(const rnnrt_call *call, const layout *l, uint32_t h, uint32_t w, const float *products,
                         float *y) {
    const rnnrt_kernels *k = call->k;
    const size_t run = l->outputs / l->group;
    uint32_t h0, h1, w0, w1;
    const int64_t top = fall(&l->g.h, h, l->height, &h0, &h1), left = fall(&l->g.w, w, l->width, &w0, &w1);
    const int joined = l->group == 1 && l->g.w.dilation == 1; /* all taps of a line are neighbours in Y */
    for (uint32_t a = h0; a < h1 && w0 < w1; a++) {
        const size_t line = (size_t)(top + (int64_t)a * l->g.h.dilation) * l->width;
        for (uint32_t b = w0; b < w1; b += joined ? w1 - w0 : 1u) {
            const float *from = products + ((size_t)a * l->g.w.kernel + b) * run;
            float *to = y + (line + (size_t)(left + (int64_t)b * l->g.w.dilation)) * l->outputs;
            k->binary(RNNRT_ADD, to, 1, from, 1, to, joined ? (w1 - w0) * run : run);
        }
    }
}

/* One sequence: x [H][W][C] -> y [height][width][M], without the bias. */
static void transpose(const rnnrt_call *call, const layout *l, const float *x, float *y) {
    const rnnrt_matrix w = rnnrt_matrix_of(call->in[IN_W]);
    float *products = (float *)call->scratch; /* [rows][product_stride] */
    void *rest = (uint8_t *)call->scratch + product_bytes(l);
    memset(y, 0, (size_t)l->height * l->width * l->outputs * sizeof(float));
    for (uint32_t h = 0; h < l->g.h.size; h++) {
        for (uint32_t at = 0; at < l->g.w.size; at += l->rows) {
            const uint32_t n = l->g.w.size - at < l->rows ? l->g.w.size - at : l->rows;
            const float *from = x + ((size_t)h * l->g.w.size + at) * l->g.channels;
            for (uint32_t group = 0; group < l->group; group++) {
                const uint32_t row0 = group * l->group_rows, block0 = row0 / RNNRT_BLOCK;
                rnnrt_matmul(
                    call->k, call->team, &w, block0, RNNRT_PAD(row0 + l->group_rows, RNNRT_BLOCK) / RNNRT_BLOCK, NULL,
                    from + (size_t)group * l->group_channels, l->g.channels, n, products, l->product_stride, rest);
                const float *wanted = products + row0 % RNNRT_BLOCK;
                float *to = y + (size_t)group * (l->outputs / l->group);
                for (uint32_t i = 0; i < n; i++) {
                    add_products(call, l, h, at + i, wanted + i * l->product_stride, to);
                }
            }
        }
    }
}

static void run(const rnnrt_call *call) {
    const rnnrt_activation act = activation_of(call->node);
    const rnnrt_tensor *out = call->out[0];
    if (out->elements == 0) { return; }
    const layout l = layout_of(call);
    const size_t in = (size_t)l.g.h.size * l.g.w.size * l.g.channels, made = out->elements / l.g.batch;
    const float *x = (const float *)call->in[IN_X]->data, *bias = rnnrt_bias_of(call, IN_BIAS);
    float *y = (float *)out->data;
    for (uint32_t i = 0; i < l.g.batch; i++) { transpose(call, &l, x + i * in, y + i * made); }
    for (size_t i = 0; bias && i < out->elements; i += l.outputs) {
        call->k->binary(RNNRT_ADD, y + i, 1, bias, 1, y + i, l.outputs);
    }
    if (act.f >= 0) { rnnrt_activate(call->k, act, y, y, out->elements); }
}

const rnnrt_op rnnrt_op_conv_transpose = {
    .code = 13,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .name = "ConvTranspose",
    .ints = RNNRT_WINDOW_NAMES " output_padding_h output_padding_w group activation",
    .floats = "alpha beta",
    .check = check,
    .shape = shape,
    .scratch = scratch,
    .run = run,
};
