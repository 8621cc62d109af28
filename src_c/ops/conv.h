/* Conv's attributes, and the two ways it is computed: conv.c (matrix products), conv_depthwise.c. */
#ifndef RNNRT_CONV_H
#define RNNRT_CONV_H

#include "window.h"

enum { RNNRT_CONV_GROUP = RNNRT_WINDOW_INTS, RNNRT_CONV_SYMMETRY, RNNRT_CONV_ACTIVATION, RNNRT_CONV_INTS };
enum { RNNRT_CONV_X, RNNRT_CONV_W, RNNRT_CONV_BIAS };

/* One filter a channel: W is PLAIN f32 [kernel_h * kernel_w, C]. */
int rnnrt_conv_is_depthwise(const rnnrt_tensor *w);
void rnnrt_conv_depthwise(const rnnrt_call *call, const rnnrt_window *window);

#endif
