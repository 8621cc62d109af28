/* LSTM: ONNX's equations, defaults f = Sigmoid, g = h = Tanh. (.) is elementwise.
 *
 *   i_t = f(X_t Wi^T + Wbi + H_{t-1} Ri^T + Rbi + Pi (.) C_{t-1})
 *   f_t = f(X_t Wf^T + Wbf + H_{t-1} Rf^T + Rbf + Pf (.) C_{t-1}), 1 - i_t with input_forget
 *   c_t = g(X_t Wc^T + Wbc + H_{t-1} Rc^T + Rbc)
 *   C_t = f_t (.) C_{t-1} + i_t (.) c_t
 *   o_t = f(X_t Wo^T + Wbo + H_{t-1} Ro^T + Rbo + Po (.) C_t)
 *   H_t = o_t (.) h(C_t) */
#include "../kernels/float_exact.h"

#include "recurrent.h"

enum { INPUT, OUTPUT, FORGET, CELL, GATES }; /* i o f c, also P's order */

/* x [Hp] = one gate of p + r */
static void gate(const rnnrt_direction *d, uint32_t g, const float *p, const float *r, float *x) {
    rnnrt_gate_sum(d, p + g * RNNRT_BLOCK, GATES, r + g * RNNRT_BLOCK, GATES, x);
}

/* x += Px (.) c */
static void peep(const rnnrt_direction *d, uint32_t g, const float *c, float *x) {
    if (d->peephole) {
        const float *weight = d->peephole + (size_t)g * d->padded;
        float *product = rnnrt_gate(d, GATES);
        d->k->binary(RNNRT_MUL, weight, 1, c, 1, product, d->hidden);
        d->k->binary(RNNRT_ADD, x, 1, product, 1, x, d->hidden);
    }
}

/* One row, any activations, clip, peepholes. p, r: [Hp/16][i o f c][16]. Clip bounds what goes into f and g, not C_t on
 * its way into h: so does onnxruntime. */
static void cell(const rnnrt_direction *d, const float *p, const float *r, const float *c_in, float *c_out, float *y) {
    const uint32_t hidden = d->hidden;
    const float one = 1.0f;
    float *i = rnnrt_gate(d, INPUT), *o = rnnrt_gate(d, OUTPUT), *f = rnnrt_gate(d, FORGET), *g = rnnrt_gate(d, CELL);
    gate(d, INPUT, p, r, i);
    peep(d, INPUT, c_in, i);
    rnnrt_gate_activate(d, 0, i);
    if (d->input_forget) {
        d->k->binary(RNNRT_SUB, &one, 0, i, 1, f, hidden);
    } else {
        gate(d, FORGET, p, r, f);
        peep(d, FORGET, c_in, f);
        rnnrt_gate_activate(d, 0, f);
    }
    gate(d, CELL, p, r, g);
    rnnrt_gate_activate(d, 1, g);
    d->k->binary(RNNRT_MUL, f, 1, c_in, 1, f, hidden);
    d->k->binary(RNNRT_MUL, i, 1, g, 1, i, hidden);
    rnnrt_add_flushed(d, f, i, c_out);
    gate(d, OUTPUT, p, r, o);
    peep(d, OUTPUT, c_out, o);
    rnnrt_gate_activate(d, 0, o);
    rnnrt_activate(d->k, d->act[2], c_out, g, hidden);
    d->k->binary(RNNRT_MUL, o, 1, g, 1, y, hidden);
}

static void step(const rnnrt_direction *d, const rnnrt_rows *rows) {
    const size_t ld = (size_t)GATES * d->padded;
    rnnrt_recurrent_product(d, rows);
    for (uint32_t b = 0; b < rows->n; b++) {
        const float *p = rows->p + b * ld, *r = d->product + b * ld, *c = rows->c + b * rows->ldc;
        float *c_out = rows->c_out + b * rows->ldc_out, *y = rows->y + b * rows->ldy;
        if (!rnnrt_row_active(rows, b)) { continue; }
        if (d->default_cell) {
            d->k->lstm_cell(d->hidden, p, r, c, c_out, y);
        } else {
            cell(d, p, r, c, c_out, y);
        }
    }
}

static rnnrt_step_kernels fused(const rnnrt_call *call) { return (rnnrt_step_kernels){call->k->lstm_step, NULL}; }

static const rnnrt_recurrent_kind kind = {GATES, 3, 1, 0, {RNNRT_SIGMOID, RNNRT_TANH, RNNRT_TANH}, step, fused};

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_recurrent_check(&kind, call); }
static rnnrt_status shape(const rnnrt_call *call) { return rnnrt_recurrent_shape(&kind, call); }
static size_t scratch(const rnnrt_call *call) { return rnnrt_recurrent_scratch(&kind, call); }
static void run(const rnnrt_call *call) { rnnrt_recurrent_run(&kind, call); }

const rnnrt_op rnnrt_op_lstm = {
    .code = 3,
    .flags = RNNRT_OP_KEEPS,
    .min_in = 3,
    .max_in = RNNRT_RECURRENT_INPUTS,
    .min_out = 1,
    .max_out = RNNRT_RECURRENT_OUTPUTS,
    .name = "LSTM",
    .ints = RNNRT_RECURRENT_INTS,
    .floats = RNNRT_RECURRENT_FLOATS,
    .check = check,
    .shape = shape,
    .scratch = scratch,
    .run = run,
};
