/* Add, Sub, Mul, Div, Pow, Min, Max: two inputs under numpy broadcasting. */
#include "../kernels/float_exact.h"

#include "power.h"
#include "registry.h"
#include "walk.h"

#define CODE_ADD 20u /* ... CODE_MAX 26, as in the rows below */
#define CODE_POW 24u

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_check_counts(call, 0, 0, 0); }

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_shape_input(call, 0, 0);
    if (status == RNNRT_OK) status = rnnrt_shape_input(call, 1, 0);
    return status == RNNRT_OK ? rnnrt_shape_broadcast(call->out[0], call->in[0], call->in[1]) : status;
}

/* How t moves while the output's dimensions [ndim] are walked: 0 where it is broadcast. */
static void broadcast_steps(ptrdiff_t *steps, const rnnrt_tensor *t, uint32_t ndim) {
    ptrdiff_t own[RNNRT_MAX_RANK];
    uint32_t lead = ndim - t->ndim;
    rnnrt_walk_steps(own, t->dims, t->ndim);
    for (uint32_t d = 0; d < ndim; d++) steps[d] = d < lead || t->dims[d - lead] == 1 ? 0 : own[d - lead];
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
    ptrdiff_t a_steps[RNNRT_MAX_RANK], b_steps[RNNRT_MAX_RANK];
    if (rnnrt_shape_count(out, 0, out->ndim) == 0) return;
    broadcast_steps(a_steps, call->in[0], out->ndim);
    broadcast_steps(b_steps, call->in[1], out->ndim);
    rnnrt_walk w;
    rnnrt_walk_start(&w, out->ndim, out->dims, a_steps, b_steps);
    do {
        compute(call, a + w.a, (size_t)w.a_step, b + w.b, (size_t)w.b_step, y, w.n);
        y += w.n;
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
