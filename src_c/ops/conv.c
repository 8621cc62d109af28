/* Conv: X [N, L, C] or [N, H, W, C] (see window.h), Y [N, (OH,) OW, M].
 *
 * W is a packed matrix [M, kernel_h * kernel_w * C/group], columns in the order [kernel_h][kernel_w][c]; depthwise: see
 * conv_depthwise.c. ints: the window's, group, symmetry, activation (rnnrt_unary or -1). floats: alpha beta.
 * symmetry 1: taps k and kernel_w - k have the same weight (-1: opposite weights; 0: nothing is known), so that they are
 * added (subtracted) first and only taps 0 ... kernel_w / 2 have columns. So are the rows of a Fourier transform. A tap
 * without a partner counts once: 0, and for an even kernel kernel_w / 2, whose weight is 0 where symmetry is -1.
 *
 * A window that is one run of floats is multiplied where it lies; X is copied only to put zeros around it. Other windows
 * are gathered into rows. Each position has its own activation scale (s8), and its bits do not depend on what is computed
 * together with it. */
#include "conv.h"

#include "../kernels/float_exact.h"

#include <string.h>

#include "activation.h"

#define MAX_GATHERED (1u << 17) /* floats gathered at once (512 KiB), unless one row alone is longer */
#define ALIGNED(bytes) (((size_t)(bytes) + 63u) / 64u * 64u)

/* How one call is computed. */
typedef struct layout {
    rnnrt_window g;
    uint32_t group, group_rows, group_channels; /* M = group * group_rows, C = group * group_channels */
    int32_t symmetry;
    uint32_t cols;
    uint32_t padded_h, padded_w; /* X with its zeros */
    uint32_t height, width;      /* of Y */
    int in_place;                /* every window is one run of floats in the padded X */
    int direct;                  /* products go where they belong in Y */
    uint32_t rows;               /* windows at once */
    size_t step;                 /* floats between two neighbouring windows */
    size_t product_stride;       /* floats between two windows' products, when not direct */
} layout;

static rnnrt_activation activation_of(const rnnrt_node *node) {
    return (rnnrt_activation){node->i[RNNRT_CONV_ACTIVATION], node->f[0], node->f[1]};
}

/* Columns of a packed W for this many channels of a group. */
static uint64_t columns(const rnnrt_node *node, uint32_t channels) {
    const uint64_t kernel_w = (uint32_t)node->i[1];
    const uint64_t stored = node->i[RNNRT_CONV_SYMMETRY] ? kernel_w / 2u + 1u : kernel_w;
    return (uint64_t)(uint32_t)node->i[0] * stored * channels; /* 2^24 * 2^24 * channels: checked by division below */
}

static int weights_fit(const rnnrt_node *node, const rnnrt_tensor *w) {
    const uint32_t group = (uint32_t)node->i[RNNRT_CONV_GROUP];
    if (!w || w->ndim != 2) { return 0; }
    if (rnnrt_conv_is_depthwise(w)) {
        return w->dtype == RNNRT_F32 && w->dims[1] == group && w->dims[0] == columns(node, 1) &&
               node->i[RNNRT_CONV_SYMMETRY] == 0;
    }
    return rnnrt_matrix_is(w, w->dims[0], 0) && w->dims[0] % group == 0 && w->dims[1] % columns(node, 1) == 0;
}

static rnnrt_status check(const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    const rnnrt_status status = rnnrt_check_counts(call, RNNRT_CONV_INTS, RNNRT_CONV_INTS, 2);
    if (status != RNNRT_OK) { return status; }
    const int32_t *i = node->i, symmetry = i[RNNRT_CONV_SYMMETRY];
    if (!rnnrt_window_is(node) || i[RNNRT_CONV_GROUP] < 1 || symmetry < -1 || symmetry > 1 ||
        !rnnrt_activation_is(activation_of(node), -1, RNNRT_UNARIES)) {
        return RNNRT_ERR_FORMAT;
    }
    if (symmetry != 0 && (i[0] != 1 || i[5] != 1 || i[RNNRT_CONV_GROUP] != 1)) { return RNNRT_ERR_FORMAT; }
    const rnnrt_tensor *w = call->in[RNNRT_CONV_W];
    if (!weights_fit(node, w)) { return RNNRT_ERR_FORMAT; }
    const uint32_t outputs = rnnrt_conv_is_depthwise(w) ? w->dims[1] : w->dims[0];
    return rnnrt_bias_is(call, RNNRT_CONV_BIAS, outputs) ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_window g;
    const rnnrt_status status = rnnrt_window_of(call, &g);
    if (status != RNNRT_OK) { return status; }
    const rnnrt_tensor *w = call->in[RNNRT_CONV_W];
    const uint32_t group = (uint32_t)call->node->i[RNNRT_CONV_GROUP];
    const int depthwise = rnnrt_conv_is_depthwise(w);
    if (depthwise ? g.channels != group : g.channels % group != 0) { return RNNRT_ERR_SHAPE; }
    if (!depthwise && w->dims[1] != columns(call->node, g.channels / group)) { return RNNRT_ERR_SHAPE; }
    /* the padded X fits: sizes below 2^32 + 2^25, the product of two below 2^66 only if checked one by one */
    const uint64_t padded_h = (uint64_t)g.h.size + g.h.pad_begin + g.h.pad_end;
    const uint64_t padded_w = (uint64_t)g.w.size + g.w.pad_begin + g.w.pad_end;
    const uint64_t limit = (uint64_t)INT32_MAX / 4u;
    if (padded_h > limit || padded_w > limit || g.channels > limit || padded_h * padded_w > limit ||
        padded_h * padded_w * g.channels > limit) {
        return RNNRT_ERR_OVERFLOW;
    }
    return rnnrt_window_output(call, rnnrt_axis_positions(&g.h, 0), rnnrt_axis_positions(&g.w, 0),
                               depthwise ? w->dims[1] : w->dims[0]);
}

static int is_padded(const layout *l) { return l->padded_h != l->g.h.size || l->padded_w != l->g.w.size; }

/* Where the windows of all sequences are equally far apart, they are those of one long sequence. */
static void join_batch(layout *l) {
    const size_t in = (size_t)l->g.h.size * l->g.w.size * l->g.channels;
    if (!l->in_place || is_padded(l) || l->height != 1 || (l->width != 1 && l->step * l->width != in)) { return; }
    l->step = l->width == 1 ? in : l->step;
    l->width *= l->g.batch; /* elements of Y < 2^29 */
    l->g.batch = 1;
}

/* Only for a packed W. A group may start inside a block of rows, so it touches at most one block more than it fills. */
static layout layout_of(const rnnrt_call *call) {
    const rnnrt_tensor *w = call->in[RNNRT_CONV_W];
    layout l;
    (void)rnnrt_window_of(call, &l.g); /* shape() has seen it succeed */
    l.group = (uint32_t)call->node->i[RNNRT_CONV_GROUP];
    l.group_rows = w->dims[0] / l.group;
    l.group_channels = l.g.channels / l.group;
    l.symmetry = call->node->i[RNNRT_CONV_SYMMETRY];
    l.cols = w->dims[1];
    l.padded_h = l.g.h.size + l.g.h.pad_begin + l.g.h.pad_end;
    l.padded_w = l.g.w.size + l.g.w.pad_begin + l.g.w.pad_end;
    l.height = (uint32_t)rnnrt_axis_positions(&l.g.h, 0);
    l.width = (uint32_t)rnnrt_axis_positions(&l.g.w, 0);
    const int rows_join = l.g.h.kernel == 1 || (l.g.w.kernel == l.padded_w && l.g.h.dilation == 1);
    l.in_place = l.group == 1 && l.symmetry == 0 && rows_join && (l.g.w.dilation == 1 || l.g.w.kernel == 1);
    l.direct = l.group_rows % RNNRT_BLOCK == 0 || l.group == 1;
    l.step = (size_t)l.g.w.stride * l.g.channels;
    join_batch(&l);
    l.rows = MAX_GATHERED / l.cols; /* cols <= RNNRT_MAX_COLS = MAX_GATHERED: at least 1 */
    l.rows = l.rows < RNNRT_WINDOW_ROWS ? l.rows : RNNRT_WINDOW_ROWS;
    l.rows = l.rows < l.width ? l.rows : l.width;
    l.product_stride = RNNRT_PAD((size_t)l.group_rows, RNNRT_BLOCK) + RNNRT_BLOCK;
    return l;
}

/* The parts of the scratch, in this order. */
static size_t padded_bytes(const layout *l) {
    return is_padded(l) ? ALIGNED(4u * (size_t)l->padded_h * l->padded_w * l->g.channels) : 0;
}
static size_t gathered_bytes(const layout *l) { return l->in_place ? 0 : ALIGNED(4u * (size_t)l->rows * l->cols); }
static size_t product_bytes(const layout *l) { return l->direct ? 0 : ALIGNED(4u * l->rows * l->product_stride); }

static size_t scratch(const rnnrt_call *call) {
    if (rnnrt_conv_is_depthwise(call->in[RNNRT_CONV_W])) { return 0; }
    const layout l = layout_of(call);
    return padded_bytes(&l) + gathered_bytes(&l) + product_bytes(&l) +
           rnnrt_matmul_scratch(call->in[RNNRT_CONV_W], l.rows);
}

/* to [padded_h][padded_w][C] = x [H][W][C] with zeros around it. */
static void put_zeros_around(const layout *l, const float *x, float *to) {
    const size_t c = l->g.channels, line = l->padded_w * c, inner = l->g.w.size * c;
    const size_t left = l->g.w.pad_begin * c, right = l->g.w.pad_end * c;
    memset(to, 0, l->g.h.pad_begin * line * sizeof(float));
    to += l->g.h.pad_begin * line;
    for (uint32_t h = 0; h < l->g.h.size; h++, to += line, x += inner) {
        memset(to, 0, left * sizeof(float));
        memcpy(to + left, x, inner * sizeof(float));
        memset(to + left + inner, 0, right * sizeof(float));
    }
    memset(to, 0, l->g.h.pad_end * line * sizeof(float));
}

/* row [kernel_w / 2 + 1][C] = x[k] + x[kernel_w - k] (or -), x [kernel_w][C]. */
static void fold(const layout *l, const float *x, float *row) {
    const size_t c = l->g.channels, half = l->g.w.kernel / 2u, odd = l->g.w.kernel % 2u;
    memcpy(row, x, c * sizeof(float));
    if (c == 1) {
        const float *b = x + l->g.w.kernel, sign = l->symmetry > 0 ? 1.0f : -1.0f;
        for (size_t k = 1; k < half + odd; k++) { row[k] = x[k] + sign * b[-(ptrdiff_t)k]; /* +-1 times is exact */ }
    }
    for (size_t k = 1; k < half + odd && c > 1; k++) {
        const float *a = x + k * c, *b = x + (l->g.w.kernel - k) * c;
        float *y = row + k * c;
        if (l->symmetry > 0) {
            for (size_t i = 0; i < c; i++) { y[i] = a[i] + b[i]; }
        } else {
            for (size_t i = 0; i < c; i++) { y[i] = a[i] - b[i]; }
        }
    }
    if (!odd) { memcpy(row + half * c, x + half * c, c * sizeof(float)); }
}

/* row [cols] = the window of a group, x at its first float in the padded X. */
static void gather(const layout *l, const float *x, float *row) {
    if (l->symmetry != 0) {
        fold(l, x, row);
        return;
    }
    const size_t c = l->g.channels, run = l->group_channels;
    const int joined = l->group == 1 && l->g.w.dilation == 1;
    for (uint32_t a = 0; a < l->g.h.kernel; a++) {
        const float *line = x + (size_t)a * l->g.h.dilation * l->padded_w * c;
        if (joined) {
            memcpy(row, line, l->g.w.kernel * c * sizeof(float));
            row += l->g.w.kernel * c;
            continue;
        }
        for (uint32_t b = 0; b < l->g.w.kernel; b++, row += run) {
            memcpy(row, line + (size_t)b * l->g.w.dilation * c, run * sizeof(float));
        }
    }
}

/* n windows of one group, the first at x in the padded X: to y [n][M], from the group's first row on. */
static void multiply(const rnnrt_call *call, const layout *l, uint32_t row0, const float *x, uint32_t n, float *y,
                     uint8_t *space) {
    const rnnrt_matrix w = rnnrt_matrix_of(call->in[RNNRT_CONV_W]);
    const uint32_t block0 = row0 / RNNRT_BLOCK, block1 = RNNRT_PAD(row0 + l->group_rows, RNNRT_BLOCK) / RNNRT_BLOCK;
    float *gathered = (float *)(void *)space; /* [rows][cols] */
    float *products = (float *)(void *)(space + gathered_bytes(l));
    void *rest = space + gathered_bytes(l) + product_bytes(l);
    if (!l->in_place) {
        for (uint32_t i = 0; i < n; i++) { gather(l, x + i * l->step, gathered + (size_t)i * l->cols); }
    }
    rnnrt_matmul(call->k, call->team, &w, block0, block1, rnnrt_bias_of(call, RNNRT_CONV_BIAS),
                 l->in_place ? x : gathered, l->in_place ? l->step : l->cols, n, l->direct ? y : products,
                 l->direct ? w.rows : l->product_stride, rest);
    for (uint32_t i = 0; !l->direct && i < n; i++) {
        memcpy(y + (size_t)i * w.rows, products + i * l->product_stride + row0 % RNNRT_BLOCK,
               l->group_rows * sizeof(float));
    }
}

/* One sequence: padded X -> y [height][width][M]. */
static void convolve(const rnnrt_call *call, const layout *l, const float *x, float *y, uint8_t *space) {
    const size_t outputs = call->in[RNNRT_CONV_W]->dims[0], c = l->g.channels;
    for (uint32_t top = 0; top < l->height; top++) {
        const float *line = x + (size_t)top * l->g.h.stride * l->padded_w * c;
        for (uint32_t left = 0; left < l->width; left += l->rows) {
            const uint32_t n = l->width - left < l->rows ? l->width - left : l->rows;
            const float *window = line + left * l->step;
            for (uint32_t group = 0; group < l->group; group++) {
                const uint32_t row0 = group * l->group_rows;
                multiply(call, l, row0, window + group * l->group_channels, n, y + row0, space);
            }
            y += n * outputs;
        }
    }
}

static void run(const rnnrt_call *call) {
    const rnnrt_activation act = activation_of(call->node);
    const rnnrt_tensor *out = call->out[0];
    if (out->elements == 0) { return; }
    if (rnnrt_conv_is_depthwise(call->in[RNNRT_CONV_W])) {
        rnnrt_window g;
        (void)rnnrt_window_of(call, &g);
        rnnrt_conv_depthwise(call, &g);
    } else {
        const layout l = layout_of(call);
        const size_t in = (size_t)l.g.h.size * l.g.w.size * l.g.channels,
                     made = out->elements / l.g.batch; /* batch is not 0: Y is not empty */
        const float *x = (const float *)call->in[RNNRT_CONV_X]->data;
        float *y = (float *)out->data, *padded = (float *)call->scratch;
        for (uint32_t i = 0; i < l.g.batch; i++, x += in, y += made) {
            if (is_padded(&l)) { put_zeros_around(&l, x, padded); }
            convolve(call, &l, is_padded(&l) ? padded : x, y, (uint8_t *)call->scratch + padded_bytes(&l));
        }
    }
    if (act.f >= 0) { rnnrt_activate(call->k, act, (const float *)out->data, (float *)out->data, out->elements); }
}

const rnnrt_op rnnrt_op_conv = {
    .code = 12,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .name = "Conv",
    .ints = RNNRT_WINDOW_NAMES " group symmetry activation",
    .floats = "alpha beta",
    .check = check,
    .shape = shape,
    .scratch = scratch,
    .run = run,
};
