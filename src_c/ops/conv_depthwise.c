/* Depthwise Conv: every channel has a filter of its own. All channels of a tap are multiplied at once.
 *
 * Each output is +0 + w[0] * x[0] + w[1] * x[1] + ... + bias over the taps that lie inside X, in ascending order. A sum
 * that starts from +0 is never -0, so a tap on padding (w * 0, for finite w) would change no bit: where a sequence is cut
 * into chunks it may be data instead. */
#include "../kernels/float_exact.h"

#include <string.h>

#include "conv.h"

#define TILE 256u /* products at once: 1 KiB of stack */

int rnnrt_conv_is_depthwise(const rnnrt_tensor *w) { return w->layout == RNNRT_PLAIN; }

/* y [channels] += w [channels] * x [channels]. The kernels multiply and add apart, so that no compiler can fuse them. */
static void add_tap(const rnnrt_kernels *k, const float *w, const float *x, float *y, uint32_t channels) {
    float product[TILE];
    for (uint32_t c = 0; c < channels; c += TILE) {
        const uint32_t n = channels - c < TILE ? channels - c : TILE;
        k->binary(RNNRT_MUL, w + c, 1, x + c, 1, product, n);
        k->binary(RNNRT_ADD, y + c, 1, product, 1, y + c, n);
    }
}

/* One output position: x [H][W][C], w [kernel_h * kernel_w][C] -> y [C]. */
static void position(const rnnrt_call *call, const rnnrt_window *g, const float *x, const float *w, uint32_t top,
                     uint32_t left, float *y) {
    const uint32_t c = g->channels;
    uint32_t h0, h1, w0, w1;
    rnnrt_axis_taps(&g->h, top, &h0, &h1);
    rnnrt_axis_taps(&g->w, left, &w0, &w1);
    memset(y, 0, c * sizeof(float));
    for (uint32_t a = h0; a < h1; a++) {
        const size_t row = (size_t)top * g->h.stride + (size_t)a * g->h.dilation - g->h.pad_begin;
        for (uint32_t b = w0; b < w1; b++) {
            const size_t column = (size_t)left * g->w.stride + (size_t)b * g->w.dilation - g->w.pad_begin;
            add_tap(call->k, w + ((size_t)a * g->w.kernel + b) * c, x + (row * g->w.size + column) * c, y, c);
        }
    }
    const float *bias = rnnrt_bias_of(call, RNNRT_CONV_BIAS);
    if (bias) { call->k->binary(RNNRT_ADD, y, 1, bias, 1, y, c); }
}

void rnnrt_conv_depthwise(const rnnrt_call *call, const rnnrt_window *g) {
    const uint32_t height = (uint32_t)rnnrt_axis_positions(&g->h, 0);
    const uint32_t width = (uint32_t)rnnrt_axis_positions(&g->w, 0);
    const float *x = (const float *)call->in[RNNRT_CONV_X]->data;
    const float *w = (const float *)call->in[RNNRT_CONV_W]->data;
    float *y = (float *)call->out[0]->data;
    for (uint32_t i = 0; i < g->batch; i++, x += (size_t)g->h.size * g->w.size * g->channels) {
        for (uint32_t top = 0; top < height; top++) {
            for (uint32_t left = 0; left < width; left++, y += g->channels) { position(call, g, x, w, top, left, y); }
        }
    }
}
