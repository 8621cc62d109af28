/* MaxPool and AveragePool over windows: X [N, L, C] or [N, H, W, C] (see window.h), all channels of a tap at once.
 *
 * ints: the window's, ceil_mode; AveragePool: count_include_pad. MaxPool never sees padding; an average is
 * (+0 + x[0] + x[1] + ...) / taps, the taps inside X or, with count_include_pad, inside X and its padding. Where no tap is
 * inside, a maximum is -FLT_MAX and an average 0. */
#include "../kernels/float_exact.h"

#include <float.h>
#include <string.h>

#include "window.h"

enum { CEIL_MODE = RNNRT_WINDOW_INTS, COUNT_INCLUDE_PAD };
enum { CODE_MAX = 55, CODE_AVERAGE = 56 };

static int is_average(const rnnrt_call *call) { return call->node->op->code == CODE_AVERAGE; }

static rnnrt_status check(const rnnrt_call *call) {
    const uint32_t ints = RNNRT_WINDOW_INTS + (is_average(call) ? 2u : 1u);
    const rnnrt_status status = rnnrt_check_counts(call, ints, ints, 0);
    if (status != RNNRT_OK) { return status; }
    return rnnrt_window_is(call->node) ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_window g;
    const rnnrt_status status = rnnrt_window_of(call, &g);
    if (status != RNNRT_OK) { return status; }
    const int ceil = call->node->i[CEIL_MODE] != 0;
    return rnnrt_window_output(call, rnnrt_axis_positions(&g.h, ceil), rnnrt_axis_positions(&g.w, ceil), g.channels);
}

/* Taps of a position that lie inside X or its padding. */
static uint32_t taps_with_padding(const rnnrt_axis *axis, uint32_t position) {
    const int64_t start = (int64_t)position * axis->stride;
    const int64_t left = (int64_t)axis->size + axis->pad_begin + axis->pad_end - start;
    const int64_t inside = left > 0 ? (left + axis->dilation - 1) / axis->dilation : 0;
    return inside < axis->kernel ? (uint32_t)inside : axis->kernel;
}

/* One output position: x [H][W][C] -> y [C]. */
static void position(const rnnrt_call *call, const rnnrt_window *g, const float *x, uint32_t top, uint32_t left,
                     float *y) {
    const rnnrt_binary f = is_average(call) ? RNNRT_ADD : RNNRT_MAX;
    const size_t c = g->channels;
    uint32_t h0, h1, w0, w1;
    rnnrt_axis_taps(&g->h, top, &h0, &h1);
    rnnrt_axis_taps(&g->w, left, &w0, &w1);
    int started = 0; /* y holds the first tap or, for an average, 0 */
    if (is_average(call) || h0 == h1 || w0 == w1) {
        for (size_t i = 0; i < c; i++) { y[i] = is_average(call) ? 0.0f : -FLT_MAX; }
        started = 1;
    }
    for (uint32_t a = h0; a < h1; a++) {
        const size_t row = (size_t)top * g->h.stride + (size_t)a * g->h.dilation - g->h.pad_begin;
        for (uint32_t b = w0; b < w1; b++) {
            const size_t column = (size_t)left * g->w.stride + (size_t)b * g->w.dilation - g->w.pad_begin;
            const float *tap = x + (row * g->w.size + column) * c;
            if (started) {
                call->k->binary(f, y, 1, tap, 1, y, c);
            } else {
                memcpy(y, tap, c * sizeof(float));
                started = 1;
            }
        }
    }
    if (is_average(call)) {
        const int padding = call->node->i[COUNT_INCLUDE_PAD] != 0;
        const uint64_t high = padding ? taps_with_padding(&g->h, top) : h1 - h0;
        const uint64_t wide = padding ? taps_with_padding(&g->w, left) : w1 - w0;
        const float taps = high * wide > 0 ? (float)(high * wide) : 1.0f;
        call->k->binary(RNNRT_DIV, y, 1, &taps, 0, y, c);
    }
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *out = call->out[0];
    rnnrt_window g;
    (void)rnnrt_window_of(call, &g); /* shape() has seen it succeed */
    if (out->elements == 0) { return; }
    const int ceil = call->node->i[CEIL_MODE] != 0;
    const uint32_t height = (uint32_t)rnnrt_axis_positions(&g.h, ceil);
    const uint32_t width = (uint32_t)rnnrt_axis_positions(&g.w, ceil);
    const float *x = (const float *)call->in[0]->data;
    float *y = (float *)out->data;
    for (uint32_t i = 0; i < g.batch; i++, x += (size_t)g.h.size * g.w.size * g.channels) {
        for (uint32_t top = 0; top < height; top++) {
            for (uint32_t left = 0; left < width; left++, y += g.channels) { position(call, &g, x, top, left, y); }
        }
    }
}

/* In the order of the fields: code, flags, inputs, outputs, name, attributes, functions. */
const rnnrt_op rnnrt_op_max_pool = {CODE_MAX, 0,     1,     1,    1,  1, "MaxPool", RNNRT_WINDOW_NAMES " ceil_mode",
                                    "",       check, shape, NULL, run};
const rnnrt_op rnnrt_op_average_pool = {
    CODE_AVERAGE, 0,     1,     1,    1,  1, "AveragePool", RNNRT_WINDOW_NAMES " ceil_mode count_include_pad",
    "",           check, shape, NULL, run};
