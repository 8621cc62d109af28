/* Add, Sub, Mul, Div, Pow, Min, Max: two inputs under numpy broadcasting, F32 or (but for Pow) I32.
 * Integers wrap around; division is towards zero, by zero gives 0. */
#include "../kernels/float_exact.h"

#include "power.h"
#include "registry.h"
#include "walk.h"

#define CODE_ADD 20u /* ... CODE_MAX 26, as in the rows below */
#define CODE_POW 24u

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_check_counts(call, 0, 0, 0); }

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_shape_pair(call, 0, 1, call->out[0]);
    if (status == RNNRT_OK && call->out[0]->dtype == RNNRT_I32 && call->node->op->code == CODE_POW)
        return RNNRT_ERR_FORMAT;
    return status;
}

static int32_t integer(uint32_t code, int32_t a, int32_t b) {
    switch (code - CODE_ADD) {
    case 0: return (int32_t)((uint32_t)a + (uint32_t)b);
    case 1: return (int32_t)((uint32_t)a - (uint32_t)b);
    case 2: return (int32_t)((uint32_t)a * (uint32_t)b);
    case 3: return b == 0 ? 0 : b == -1 ? (int32_t)(0u - (uint32_t)a) : a / b;
    case 5: return a < b ? a : b;
    default: return a > b ? a : b;
    }
}

static void compute_integers(uint32_t code, const int32_t *a, const int32_t *b, int32_t *y, const rnnrt_walk *w) {
    for (uint32_t i = 0; i < w->n; i++)
        y[i] = integer(code, a[w->a + (ptrdiff_t)i * w->a_step], b[w->b + (ptrdiff_t)i * w->b_step]);
}

static void compute(const rnnrt_call *call, const float *a, size_t a_step, const float *b, size_t b_step, float *y,
                    size_t n) {
    static const rnnrt_binary kinds[] = {RNNRT_ADD, RNNRT_SUB, RNNRT_MUL, RNNRT_DIV, RNNRT_MUL, RNNRT_MIN, RNNRT_MAX};
    uint32_t code = call->node->op->code;
    if (code != CODE_POW)
        call->k->binary(kinds[code - CODE_ADD], a, a_step, b, b_step, y, n);
    else if (b_step == 0 && *b == 2.0f)
        call->k->binary(RNNRT_MUL, a, a_step, a, a_step, y, n); /* the same bits, at vector speed */
    else
        rnnrt_power(a, a_step, b, b_step, y, n);
}

/* The innermost dimension that is not 1 has step 0 or 1 in either operand, since all dimensions after it are 1.
 * In place: an operand with as many elements as the output moves with it, element by element. */
static void run(const rnnrt_call *call) {
    const rnnrt_tensor *out = call->out[0];
    const float *a = call->in[0]->data, *b = call->in[1]->data;
    float *y = out->data;
    int32_t *integers = out->data;
    ptrdiff_t a_steps[RNNRT_MAX_RANK], b_steps[RNNRT_MAX_RANK];
    if (rnnrt_shape_count(out, 0, out->ndim) == 0) return;
    rnnrt_walk_broadcast(a_steps, call->in[0], out->ndim);
    rnnrt_walk_broadcast(b_steps, call->in[1], out->ndim);
    rnnrt_walk w;
    rnnrt_walk_start(&w, out->ndim, out->dims, a_steps, b_steps);
    do {
        if (out->dtype == RNNRT_I32) {
            compute_integers(call->node->op->code, call->in[0]->data, call->in[1]->data, integers, &w);
            integers += w.n;
        } else {
            compute(call, a + w.a, (size_t)w.a_step, b + w.b, (size_t)w.b_step, y, w.n);
            y += w.n;
        }
    } while (rnnrt_walk_next(&w));
}

/* In the order of the fields: code, flags, inputs, outputs, name, attributes, functions. */
const rnnrt_op rnnrt_op_add = {20, RNNRT_OP_IN_PLACE, 2, 2, 1, 1, "Add", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_sub = {21, RNNRT_OP_IN_PLACE, 2, 2, 1, 1, "Sub", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_mul = {22, RNNRT_OP_IN_PLACE, 2, 2, 1, 1, "Mul", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_div = {23, RNNRT_OP_IN_PLACE, 2, 2, 1, 1, "Div", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_pow = {24, RNNRT_OP_IN_PLACE, 2, 2, 1, 1, "Pow", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_min = {25, RNNRT_OP_IN_PLACE, 2, 2, 1, 1, "Min", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_max = {26, RNNRT_OP_IN_PLACE, 2, 2, 1, 1, "Max", "", "", check, shape, NULL, run};
