/* Every operator of this library; registry.c lists them. */
#ifndef RNNRT_REGISTRY_H
#define RNNRT_REGISTRY_H

#include "op.h"

extern const rnnrt_op rnnrt_op_rnn;
extern const rnnrt_op rnnrt_op_gru;
extern const rnnrt_op rnnrt_op_lstm;

extern const rnnrt_op rnnrt_op_gemm;
extern const rnnrt_op rnnrt_op_matmul;
extern const rnnrt_op rnnrt_op_conv;
extern const rnnrt_op rnnrt_op_conv_transpose;

extern const rnnrt_op rnnrt_op_add;
extern const rnnrt_op rnnrt_op_sub;
extern const rnnrt_op rnnrt_op_mul;
extern const rnnrt_op rnnrt_op_div;
extern const rnnrt_op rnnrt_op_pow;
extern const rnnrt_op rnnrt_op_min;
extern const rnnrt_op rnnrt_op_max;

extern const rnnrt_op rnnrt_op_relu;
extern const rnnrt_op rnnrt_op_leaky_relu;
extern const rnnrt_op rnnrt_op_sigmoid;
extern const rnnrt_op rnnrt_op_tanh;
extern const rnnrt_op rnnrt_op_clip;
extern const rnnrt_op rnnrt_op_exp;
extern const rnnrt_op rnnrt_op_log;
extern const rnnrt_op rnnrt_op_sqrt;
extern const rnnrt_op rnnrt_op_abs;
extern const rnnrt_op rnnrt_op_neg;
extern const rnnrt_op rnnrt_op_floor;
extern const rnnrt_op rnnrt_op_ceil;
extern const rnnrt_op rnnrt_op_round;
extern const rnnrt_op rnnrt_op_sign;
extern const rnnrt_op rnnrt_op_erf;

extern const rnnrt_op rnnrt_op_hard_sigmoid;
extern const rnnrt_op rnnrt_op_elu;
extern const rnnrt_op rnnrt_op_softsign;
extern const rnnrt_op rnnrt_op_softplus;
extern const rnnrt_op rnnrt_op_thresholded_relu;

extern const rnnrt_op rnnrt_op_softmax;
extern const rnnrt_op rnnrt_op_layer_normalization;
extern const rnnrt_op rnnrt_op_reduce_mean;
extern const rnnrt_op rnnrt_op_reduce_max;
extern const rnnrt_op rnnrt_op_reduce_sum;
extern const rnnrt_op rnnrt_op_max_pool;
extern const rnnrt_op rnnrt_op_average_pool;

extern const rnnrt_op rnnrt_op_reshape;
extern const rnnrt_op rnnrt_op_squeeze;
extern const rnnrt_op rnnrt_op_unsqueeze;

extern const rnnrt_op rnnrt_op_transpose;
extern const rnnrt_op rnnrt_op_slice;
extern const rnnrt_op rnnrt_op_concat;
extern const rnnrt_op rnnrt_op_gather;
extern const rnnrt_op rnnrt_op_pad;
extern const rnnrt_op rnnrt_op_expand;

extern const rnnrt_op rnnrt_op_where;
extern const rnnrt_op rnnrt_op_cast;
extern const rnnrt_op rnnrt_op_arg_max;
extern const rnnrt_op rnnrt_op_equal;
extern const rnnrt_op rnnrt_op_less;
extern const rnnrt_op rnnrt_op_less_or_equal;
extern const rnnrt_op rnnrt_op_sin;
extern const rnnrt_op rnnrt_op_cos;
extern const rnnrt_op rnnrt_op_atan;

#endif
