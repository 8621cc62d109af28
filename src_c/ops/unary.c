/* Activations and other functions of one input, elementwise. The two floats are a and b of k->unary. */
#include "../kernels/float_exact.h"

#include "registry.h"

#define CODE_RELU 30u
#define IN_PLACE RNNRT_OP_IN_PLACE

static rnnrt_status check(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_check_counts(call, 0, 0, 2);
    if (status != RNNRT_OK) return status;
    for (uint32_t i = 0; i < 2; i++)
        if (call->node->f[i] != call->node->f[i]) /* NaN */
            return RNNRT_ERR_FORMAT;
    return RNNRT_OK;
}

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_shape_input(call, 0, 0);
    return status == RNNRT_OK ? rnnrt_shape_same(call->out[0], call->in[0]) : status;
}

static void run(const rnnrt_call *call) {
    static const rnnrt_unary kinds[] = {
        /* by code, in the order of the rows below */
        RNNRT_RELU,         RNNRT_LEAKY_RELU, RNNRT_SIGMOID,  RNNRT_TANH,     RNNRT_CLIP,
        RNNRT_EXP,          RNNRT_LOG,        RNNRT_SQRT,     RNNRT_ABS,      RNNRT_NEG,
        RNNRT_HARD_SIGMOID, RNNRT_ELU,        RNNRT_SOFTSIGN, RNNRT_SOFTPLUS, RNNRT_THRESHOLDED_RELU,
        RNNRT_FLOOR,        RNNRT_CEIL,       RNNRT_ROUND,    RNNRT_SIGN,     RNNRT_ERF};
    const rnnrt_tensor *x = call->in[0];
    uint32_t n = rnnrt_shape_count(x, 0, x->ndim);
    if (n)
        call->k->unary(kinds[call->node->op->code - CODE_RELU], call->node->f[0], call->node->f[1], x->data,
                       call->out[0]->data, n);
}

/* In the order of the fields: code, flags, inputs, outputs, name, attributes, functions. */
const rnnrt_op rnnrt_op_relu = {30, IN_PLACE, 1, 1, 1, 1, "Relu", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_leaky_relu = {31, IN_PLACE, 1, 1, 1, 1, "LeakyRelu", "", "alpha b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_sigmoid = {32, IN_PLACE, 1, 1, 1, 1, "Sigmoid", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_tanh = {33, IN_PLACE, 1, 1, 1, 1, "Tanh", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_clip = {34, IN_PLACE, 1, 1, 1, 1, "Clip", "", "min max", check, shape, NULL, run};
const rnnrt_op rnnrt_op_exp = {35, IN_PLACE, 1, 1, 1, 1, "Exp", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_log = {36, IN_PLACE, 1, 1, 1, 1, "Log", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_sqrt = {37, IN_PLACE, 1, 1, 1, 1, "Sqrt", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_abs = {38, IN_PLACE, 1, 1, 1, 1, "Abs", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_neg = {39, IN_PLACE, 1, 1, 1, 1, "Neg", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_hard_sigmoid = {40, IN_PLACE,     1,     1,     1,    1,  "HardSigmoid",
                                        "", "alpha beta", check, shape, NULL, run};
const rnnrt_op rnnrt_op_elu = {41, IN_PLACE, 1, 1, 1, 1, "Elu", "", "alpha b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_softsign = {42, IN_PLACE, 1, 1, 1, 1, "Softsign", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_softplus = {43, IN_PLACE, 1, 1, 1, 1, "Softplus", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_thresholded_relu = {44, IN_PLACE,  1,     1,     1,    1,  "ThresholdedRelu",
                                            "", "alpha b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_floor = {45, IN_PLACE, 1, 1, 1, 1, "Floor", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_ceil = {46, IN_PLACE, 1, 1, 1, 1, "Ceil", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_round = {47, IN_PLACE, 1, 1, 1, 1, "Round", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_sign = {48, IN_PLACE, 1, 1, 1, 1, "Sign", "", "a b", check, shape, NULL, run};
const rnnrt_op rnnrt_op_erf = {49, IN_PLACE, 1, 1, 1, 1, "Erf", "", "a b", check, shape, NULL, run};
