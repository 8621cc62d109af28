/* RNN: ONNX's equations in default form, f = Tanh.
 *
 *   H_t = f(X_t W^T + Wb + H_{t-1} R^T + Rb) */
#include "../kernels/float_exact.h"

#include "recurrent.h"

static void step(const rnnrt_direction *d, const rnnrt_rows *rows) {
    rnnrt_recurrent_product(d, rows);
    for (uint32_t b = 0; b < rows->n; b++) {
        const float *p = rows->p + (size_t)b * d->padded, *r = d->product + (size_t)b * d->padded;
        float *x = rnnrt_gate(d, 0), *y = rows->y + b * rows->ldy;
        if (!rnnrt_row_active(rows, b)) { continue; }
        rnnrt_gate_sum(d, p, 1, r, 1, x);
        rnnrt_gate_activate(d, 0, x);
        rnnrt_flush(d, x, y);
    }
}

static const rnnrt_recurrent_kind kind = {1, 1, 0, 0, {RNNRT_TANH}, step, NULL};

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_recurrent_check(&kind, call); }
static rnnrt_status shape(const rnnrt_call *call) { return rnnrt_recurrent_shape(&kind, call); }
static size_t scratch(const rnnrt_call *call) { return rnnrt_recurrent_scratch(&kind, call); }
static void run(const rnnrt_call *call) { rnnrt_recurrent_run(&kind, call); }

const rnnrt_op rnnrt_op_rnn = {
    .code = 1,
    .min_in = 3,
    .max_in = RNNRT_RECURRENT_INPUTS,
    .min_out = 1,
    .max_out = RNNRT_RECURRENT_OUTPUTS,
    .name = "RNN",
    .ints = RNNRT_RECURRENT_INTS,
    .floats = RNNRT_RECURRENT_FLOATS,
    .check = check,
    .shape = shape,
    .scratch = scratch,
    .run = run,
};
