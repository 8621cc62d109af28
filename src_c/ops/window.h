/* What Conv, ConvTranspose, MaxPool and AveragePool share: windows over one or two spatial axes.
 *
 * The channels come last: X [N, L, C] or [N, H, W, C] (the converter puts the Transposes of ONNX's [N, C, ...] where they
 * cost least). A window is then a few runs of neighbouring floats, often a single one. One axis is treated as H = 1.
 * The first attributes of each of these operators are RNNRT_WINDOW_NAMES. */
#ifndef RNNRT_WINDOW_H
#define RNNRT_WINDOW_H

#include "op.h"

#define RNNRT_WINDOW_NAMES                                                                                             \
    "kernel_h kernel_w stride_h stride_w dilation_h dilation_w pad_top pad_left pad_bottom pad_right"
#define RNNRT_WINDOW_INTS 10u
#define RNNRT_WINDOW_MAX (1 << 24) /* the largest of these attributes */
#define RNNRT_WINDOW_ROWS 32u      /* windows multiplied at once: amortizes reading a weight, bounds the scratch */

/* One spatial axis. */
typedef struct rnnrt_axis {
    uint32_t size; /* of X */
    uint32_t kernel, stride, dilation, pad_begin, pad_end;
} rnnrt_axis;

typedef struct rnnrt_window {
    uint32_t batch, channels;
    rnnrt_axis h, w;
} rnnrt_window;

/* Are the first RNNRT_WINDOW_INTS attributes possible? */
int rnnrt_window_is(const rnnrt_node *node);
/* The window of the attributes over x; RNNRT_ERR_SHAPE where x is none of the shapes above. */
rnnrt_status rnnrt_window_of(const rnnrt_call *call, rnnrt_window *window);
/* Positions along an axis. ceil: a last window may hang over the end, if it does not start beyond X and its first pad. */
uint64_t rnnrt_axis_positions(const rnnrt_axis *axis, int ceil);
/* The taps [*first, *end) of the window at this position that lie inside X. */
void rnnrt_axis_taps(const rnnrt_axis *axis, uint32_t position, uint32_t *first, uint32_t *end);
/* Output [N, (H,) W, channels] with the rank of X. */
rnnrt_status rnnrt_window_output(const rnnrt_call *call, uint64_t height, uint64_t width, uint32_t channels);

/* Input i is left out or a PLAIN f32 constant [n]. */
int rnnrt_bias_is(const rnnrt_call *call, uint32_t i, uint32_t n);
/* Its data, NULL where it is left out. */
const float *rnnrt_bias_of(const rnnrt_call *call, uint32_t i);

#endif
