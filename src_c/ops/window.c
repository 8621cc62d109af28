/* Windows over spatial axes: attributes, sizes, taps. See window.h. */
#include "window.h"

enum { KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, DILATION_H, DILATION_W, PAD_TOP, PAD_LEFT, PAD_BOTTOM, PAD_RIGHT };

int rnnrt_window_is(const rnnrt_node *node) {
    if (node->ints < RNNRT_WINDOW_INTS) { return 0; }
    for (uint32_t k = 0; k < RNNRT_WINDOW_INTS; k++) {
        if (node->i[k] < (k < PAD_TOP ? 1 : 0) || node->i[k] > RNNRT_WINDOW_MAX) { return 0; }
    }
    return 1;
}

static rnnrt_axis axis_of(const int32_t *i, uint32_t which, uint32_t size) {
    const rnnrt_axis axis = {size,
                             (uint32_t)i[KERNEL_H + which],
                             (uint32_t)i[STRIDE_H + which],
                             (uint32_t)i[DILATION_H + which],
                             (uint32_t)i[PAD_TOP + which],
                             (uint32_t)i[PAD_BOTTOM + which]};
    return axis;
}

rnnrt_status rnnrt_window_of(const rnnrt_call *call, rnnrt_window *window) {
    const rnnrt_tensor *x = call->in[0];
    const rnnrt_status status = rnnrt_shape_input(call, 0, 0);
    if (status != RNNRT_OK) { return status; }
    if (x->ndim != 3 && x->ndim != 4) { return RNNRT_ERR_SHAPE; }
    const int32_t *i = call->node->i;
    window->batch = x->dims[0];
    window->channels = x->dims[x->ndim - 1u];
    window->h = axis_of(i, 0, x->ndim == 4 ? x->dims[1] : 1u);
    window->w = axis_of(i, 1, x->dims[x->ndim - 2u]);
    const rnnrt_axis *h = &window->h;
    const int flat = h->kernel == 1 && h->stride == 1 && h->pad_begin == 0 && h->pad_end == 0;
    return x->ndim == 4 || flat ? RNNRT_OK : RNNRT_ERR_SHAPE;
}

/* No overflow: size < 2^32, pads <= 2^24, dilation * kernel <= 2^48. */
uint64_t rnnrt_axis_positions(const rnnrt_axis *axis, int ceil) {
    const uint64_t padded = (uint64_t)axis->size + axis->pad_begin + axis->pad_end;
    const uint64_t span = (uint64_t)axis->dilation * (axis->kernel - 1u) + 1u;
    if (padded < span) { return 0; }
    const uint64_t whole = (padded - span) / axis->stride + 1u;
    const int hangs = ceil && (padded - span) % axis->stride != 0;
    return hangs && whole * axis->stride < (uint64_t)axis->size + axis->pad_begin ? whole + 1u : whole;
}

void rnnrt_axis_taps(const rnnrt_axis *axis, uint32_t position, uint32_t *first, uint32_t *end) {
    const int64_t start = (int64_t)position * axis->stride - axis->pad_begin; /* of tap 0; below 2^32 * 2^24 */
    const int64_t dilation = axis->dilation, kernel = axis->kernel, size = axis->size;
    const int64_t before = start < 0 ? (-start + dilation - 1) / dilation : 0;
    int64_t inside = start < size ? (size - start + dilation - 1) / dilation : 0;
    inside = inside < kernel ? inside : kernel;
    *end = (uint32_t)inside;
    *first = (uint32_t)(before < inside ? before : inside);
}

rnnrt_status rnnrt_window_output(const rnnrt_call *call, uint64_t height, uint64_t width, uint32_t channels) {
    const rnnrt_tensor *x = call->in[0];
    if (height > INT32_MAX || width > INT32_MAX) { return RNNRT_ERR_OVERFLOW; }
    const uint32_t flat[3] = {x->dims[0], (uint32_t)width, channels};
    const uint32_t high[4] = {x->dims[0], (uint32_t)height, (uint32_t)width, channels};
    return x->ndim == 3 ? rnnrt_shape_set(call->out[0], flat, 3) : rnnrt_shape_set(call->out[0], high, 4);
}

int rnnrt_bias_is(const rnnrt_call *call, uint32_t i, uint32_t n) {
    if (i >= call->node->inputs || call->node->refs[i] == RNNRT_NONE) { return 1; }
    const rnnrt_tensor *bias = call->in[i];
    return bias && bias->dtype == RNNRT_F32 && bias->layout == RNNRT_PLAIN && bias->ndim == 1 && bias->dims[0] == n;
}

const float *rnnrt_bias_of(const rnnrt_call *call, uint32_t i) {
    return i < call->node->inputs && call->in[i] ? (const float *)call->in[i]->data : NULL;
}
