/* The one table of operators: adding one is one file, one line in registry.h and one line here, by ascending code.
 * A code is written in files: it is never used again for something else. */
#include "registry.h"

static const rnnrt_op *const table[] = {
    &rnnrt_op_rnn,
    &rnnrt_op_gru,
    &rnnrt_op_lstm,
    &rnnrt_op_gemm,
    &rnnrt_op_matmul,
    &rnnrt_op_conv,
    &rnnrt_op_conv_transpose,
    &rnnrt_op_add,
    &rnnrt_op_sub,
    &rnnrt_op_mul,
    &rnnrt_op_div,
    &rnnrt_op_pow,
    &rnnrt_op_min,
    &rnnrt_op_max,
    &rnnrt_op_relu,
    &rnnrt_op_leaky_relu,
    &rnnrt_op_sigmoid,
    &rnnrt_op_tanh,
    &rnnrt_op_clip,
    &rnnrt_op_exp,
    &rnnrt_op_log,
    &rnnrt_op_sqrt,
    &rnnrt_op_abs,
    &rnnrt_op_neg,
    &rnnrt_op_hard_sigmoid,
    &rnnrt_op_elu,
    &rnnrt_op_softsign,
    &rnnrt_op_softplus,
    &rnnrt_op_thresholded_relu,
    &rnnrt_op_floor,
    &rnnrt_op_ceil,
    &rnnrt_op_round,
    &rnnrt_op_sign,
    &rnnrt_op_erf,
    &rnnrt_op_softmax,
    &rnnrt_op_layer_normalization,
    &rnnrt_op_reduce_mean,
    &rnnrt_op_reduce_max,
    &rnnrt_op_reduce_sum,
    &rnnrt_op_max_pool,
    &rnnrt_op_average_pool,
    &rnnrt_op_reshape,
    &rnnrt_op_squeeze,
    &rnnrt_op_unsqueeze,
    &rnnrt_op_transpose,
    &rnnrt_op_slice,
    &rnnrt_op_concat,
    &rnnrt_op_gather,
    &rnnrt_op_pad,
    &rnnrt_op_expand,
    &rnnrt_op_where,
    &rnnrt_op_cast,
    &rnnrt_op_arg_max,
    &rnnrt_op_equal,
    &rnnrt_op_less,
    &rnnrt_op_less_or_equal,
    &rnnrt_op_sin,
    &rnnrt_op_cos,
    &rnnrt_op_atan,
};

#define OPERATORS ((uint32_t)(sizeof table / sizeof table[0]))

const rnnrt_op *rnnrt_op_at(uint32_t i) { return i < OPERATORS ? table[i] : NULL; }

const rnnrt_op *rnnrt_op_find(uint32_t code) {
    for (uint32_t i = 0; i < OPERATORS; i++)
        if (table[i]->code == code) return table[i];
    return NULL;
}
