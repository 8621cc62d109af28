/* Pad: before and after every dimension, with a constant, by reflection (without the border) or with the border. */
#include "../kernels/float_exact.h"

#include "registry.h"

#include <string.h>

enum { MODE_CONSTANT = 0, MODE_REFLECT = 1, MODE_EDGE = 2 };

#define OUTSIDE 0xFFFFFFFFu

static rnnrt_status check(const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    rnnrt_status status = rnnrt_check_counts(call, 1, 1 + 2 * RNNRT_MAX_RANK, 1);
    if (status != RNNRT_OK || node->ints % 2 == 0 || node->i[0] < MODE_CONSTANT || node->i[0] > MODE_EDGE)
        return RNNRT_ERR_FORMAT;
    for (uint32_t i = 1; i < node->ints; i++)
        if (node->i[i] < 0) return RNNRT_ERR_FORMAT;
    return RNNRT_OK;
}

static rnnrt_status shape(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    const int32_t *pads = call->node->i + 1;
    int32_t mode = call->node->i[0];
    uint32_t dims[RNNRT_MAX_RANK];
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status != RNNRT_OK) return status;
    if (call->node->ints != 1 + 2u * x->ndim) return RNNRT_ERR_SHAPE;
    if (x->dtype == RNNRT_I32 && !(call->node->f[0] == 0.0f)) /* integers are padded with 0 only */
        return RNNRT_ERR_FORMAT;
    for (uint32_t d = 0; d < x->ndim; d++) {
        uint32_t before = (uint32_t)pads[d], after = (uint32_t)pads[x->ndim + d],
                 most = before > after ? before : after;
        if ((mode == MODE_REFLECT && most && most >= x->dims[d]) || (mode == MODE_EDGE && most && !x->dims[d]))
            return RNNRT_ERR_SHAPE;
        if (x->dims[d] > 0x7FFFFFFFu - before || x->dims[d] + before > 0xFFFFFFFFu - after) return RNNRT_ERR_OVERFLOW;
        dims[d] = before + x->dims[d] + after;
    }
    status = rnnrt_shape_set(call->out[0], dims, x->ndim);
    if (status == RNNRT_OK) call->out[0]->dtype = x->dtype;
    return status;
}

/* Where along a dimension of n elements padded output index o comes from. */
static uint32_t source(int32_t mode, uint32_t o, uint32_t before, uint32_t n) {
    if (o >= before && o - before < n) return o - before;
    if (mode == MODE_CONSTANT) return OUTSIDE;
    if (mode == MODE_EDGE) return o < before ? 0 : n - 1;
    return o < before ? before - o : 2 * (n - 1) - (o - before); /* shape(): pads < n < 2^29 */
}

static void fill(uint32_t *y, const void *value, size_t n) {
    for (size_t i = 0; i < n; i++) memcpy(y + i, value, sizeof *y);
}

/* Dimensions [0, last] are walked, the unpadded ones after them move as one run. */
static uint32_t last_padded(const rnnrt_call *call) {
    uint32_t ndim = call->in[0]->ndim, last = ndim - 1;
    const int32_t *pads = call->node->i + 1;
    while (last > 0 && pads[last] == 0 && pads[ndim + last] == 0) last--;
    return last;
}

/* One line along dimension d: x [n, inner] (NULL: all padding) to y [before + n + after, inner]. */
static void pad_line(const rnnrt_call *call, uint32_t d, size_t inner, const void *value, const uint32_t *x,
                     uint32_t *y) {
    uint32_t before = (uint32_t)call->node->i[1 + d], n = call->in[0]->dims[d], padded = call->out[0]->dims[d];
    if (!x) {
        fill(y, value, padded * inner);
        return;
    }
    for (uint32_t o = 0; o < padded; o++) {
        uint32_t from = source(call->node->i[0], o, before, n);
        uint32_t run = o == before && n ? n : 1; /* the middle in one piece */
        if (from == OUTSIDE)
            fill(y + o * inner, value, inner);
        else if (run == 1 && inner == 1)
            y[o] = x[from];
        else
            memcpy(y + o * inner, x + from * inner, run * inner * sizeof *y);
        o += run - 1;
    }
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *in = call->in[0], *out = call->out[0];
    static const int32_t zero = 0;
    const void *value = in->dtype == RNNRT_I32 ? (const void *)&zero : (const void *)call->node->f;
    const int32_t *pads = call->node->i + 1;
    if (rnnrt_shape_count(out, 0, out->ndim) == 0) return;
    if (in->ndim == 0) {
        memcpy(out->data, in->data, sizeof(uint32_t));
        return;
    }
    uint32_t last = last_padded(call), lines = rnnrt_shape_count(out, 0, last);
    size_t inner = rnnrt_shape_count(in, last + 1, in->ndim), length = in->dims[last] * inner;
    uint32_t *y = out->data;
    for (uint32_t line = 0; line < lines; line++) {
        size_t at = 0, step = length;
        int outside = 0;
        uint32_t rest = line;
        for (uint32_t d = last; d-- > 0;) {
            uint32_t from = source(call->node->i[0], rest % out->dims[d], (uint32_t)pads[d], in->dims[d]);
            rest /= out->dims[d];
            outside |= from == OUTSIDE;
            at += outside ? 0 : from * step;
            step *= in->dims[d];
        }
        pad_line(call, last, inner, value, outside ? NULL : (const uint32_t *)in->data + at, y);
        y += out->dims[last] * inner;
    }
}

const rnnrt_op rnnrt_op_pad = {
    .code = 68,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "Pad",
    .ints = "mode pads...",
    .floats = "value",
    .check = check,
    .shape = shape,
    .run = run,
};
