/* GRU: ONNX's equations, defaults f = Sigmoid, g = Tanh. (.) is elementwise.
 *
 *   z_t = f(X_t Wz^T + Wbz + H_{t-1} Rz^T + Rbz)
 *   r_t = f(X_t Wr^T + Wbr + H_{t-1} Rr^T + Rbr)
 *   h_t = g(X_t Wh^T + Wbh + (r_t (.) H_{t-1}) Rh^T + Rbh)     linear_before_reset = 0
 *   h_t = g(X_t Wh^T + Wbh + r_t (.) (H_{t-1} Rh^T + Rbh))     linear_before_reset = 1
 *   H_t = (1 - z_t) (.) h_t + z_t (.) H_{t-1} */
#include "../kernels/float_exact.h"

#include <string.h>

#include "recurrent.h"

enum { GATES = 3 };
enum { Z = 0, R = RNNRT_BLOCK, N = 2 * RNNRT_BLOCK }; /* where a gate's first 16 values are in a block */

/* 1 - z_t from z's sum, [H], in place; with a sigmoid that is f of the negative sum, which loses nothing near z = 1. */
static void share_of_new(const rnnrt_direction *d, float *z) {
    const float one = 1.0f, minus_one = -1.0f;
    if (d->default_cell) { d->k->binary(RNNRT_MUL, z, 1, &minus_one, 0, z, d->hidden); }
    rnnrt_gate_activate(d, 0, z);
    if (!d->default_cell) { d->k->binary(RNNRT_SUB, &one, 0, z, 1, z, d->hidden); }
}

/* H_t = H_{t-1} + (1 - z_t) (.) (h_t - H_{t-1}), [H] each; n, which is h_t, is overwritten. */
static void update(const rnnrt_direction *d, const float *share, float *n, const float *h, float *y) {
    d->k->binary(RNNRT_SUB, n, 1, h, 1, n, d->hidden);
    d->k->binary(RNNRT_MUL, share, 1, n, 1, n, d->hidden);
    rnnrt_add_flushed(d, h, n, y);
}

/* One row, any activations and clip, linear_before_reset = 1. p, q: [Hp/16][z r h][16]. */
static void cell(const rnnrt_direction *d, const float *p, const float *q, const float *h, float *y) {
    float *z = rnnrt_gate(d, 0), *r = rnnrt_gate(d, 1), *n = rnnrt_gate(d, 2), *qn = rnnrt_gate(d, 3);
    rnnrt_gate_sum(d, p + Z, GATES, q + Z, GATES, z);
    share_of_new(d, z);
    rnnrt_gate_sum(d, p + R, GATES, q + R, GATES, r);
    rnnrt_gate_activate(d, 0, r);
    rnnrt_gate_copy(d, p + N, GATES, n);
    rnnrt_gate_copy(d, q + N, GATES, qn);
    d->k->binary(RNNRT_MUL, r, 1, qn, 1, r, d->hidden);
    d->k->binary(RNNRT_ADD, n, 1, r, 1, n, d->hidden);
    rnnrt_gate_activate(d, 1, n);
    update(d, z, n, h, y);
}

static void step_after_product(const rnnrt_direction *d, const rnnrt_rows *rows) {
    const size_t ld = (size_t)GATES * d->padded;
    rnnrt_recurrent_product(d, rows);
    for (uint32_t b = 0; b < rows->n; b++) {
        const float *p = rows->p + b * ld, *q = d->product + b * ld, *h = rows->h + b * rows->ldh;
        float *y = rows->y + b * rows->ldy;
        if (!rnnrt_row_active(rows, b)) { continue; }
        if (d->default_cell) {
            d->k->gru_cell(d->hidden, p, q, h, y);
        } else {
            cell(d, p, q, h, y);
        }
    }
}

/* linear_before_reset = 0: the product of h's gate can only start when r is known. A row of d->product, [3*Hp]:
 *   first   z and r products in blocks [Hp/16][z r][16]      (2 Hp)
 *   then    1 - z in [0, Hp), r (.) H in [Hp, 2 Hp), and the product of h's gate in [2 Hp, 3 Hp) */
static void step_before_product(const rnnrt_direction *d, const rnnrt_rows *rows) {
    const uint32_t blocks = d->padded / RNNRT_BLOCK, middle = d->block + 2 * blocks, end = middle + blocks;
    const size_t ld = (size_t)GATES * d->padded;
    float *z_rows = d->product, *rh_rows = z_rows + d->padded, *q_rows = rh_rows + d->padded;
    float *z = rnnrt_gate(d, 0), *r = rnnrt_gate(d, 1), *n = rnnrt_gate(d, 2);
    rnnrt_matmul(d->k, d->team, &d->r, d->block, middle, NULL, rows->h, rows->ldh, rows->n, d->product, ld, d->for_r);
    for (uint32_t b = 0; b < rows->n; b++) {
        const float *p = rows->p + b * ld, *q = d->product + b * ld;
        rnnrt_gate_sum(d, p + Z, GATES, q + Z, 2, z);
        rnnrt_gate_sum(d, p + R, GATES, q + R, 2, r);
        share_of_new(d, z);
        rnnrt_gate_activate(d, 0, r);
        memcpy(z_rows + b * ld, z, d->hidden * sizeof(float));
        d->k->binary(RNNRT_MUL, r, 1, rows->h + b * rows->ldh, 1, rh_rows + b * ld, d->hidden);
    }
    rnnrt_matmul(d->k, d->team, &d->r, middle, end, NULL, rh_rows, ld, rows->n, q_rows, ld, d->for_r);
    for (uint32_t b = 0; b < rows->n; b++) {
        if (rnnrt_row_active(rows, b)) {
            rnnrt_gate_sum(d, rows->p + b * ld + N, GATES, q_rows + b * ld, 1, n);
            rnnrt_gate_activate(d, 1, n);
            update(d, z_rows + b * ld, n, rows->h + b * rows->ldh, rows->y + b * rows->ldy);
        }
    }
}

static void step(const rnnrt_direction *d, const rnnrt_rows *rows) {
    if (d->linear_before_reset) {
        step_after_product(d, rows);
    } else {
        step_before_product(d, rows);
    }
}

static rnnrt_step_kernels fused(const rnnrt_call *call) {
    if (call->node->i[RNNRT_I_LINEAR_BEFORE_RESET]) { return (rnnrt_step_kernels){call->k->gru_step, NULL}; }
    return (rnnrt_step_kernels){call->k->gru_reset, call->k->gru_renew};
}

static const rnnrt_recurrent_kind kind = {GATES, 2, 0, 1, {RNNRT_SIGMOID, RNNRT_TANH}, step, fused};

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_recurrent_check(&kind, call); }
static rnnrt_status shape(const rnnrt_call *call) { return rnnrt_recurrent_shape(&kind, call); }
static size_t scratch(const rnnrt_call *call) { return rnnrt_recurrent_scratch(&kind, call); }
static void run(const rnnrt_call *call) { rnnrt_recurrent_run(&kind, call); }

const rnnrt_op rnnrt_op_gru = {
    .code = 2,
    .flags = RNNRT_OP_KEEPS,
    .min_in = 3,
    .max_in = RNNRT_RECURRENT_INPUTS,
    .min_out = 1,
    .max_out = RNNRT_RECURRENT_OUTPUTS,
    .name = "GRU",
    .ints = RNNRT_RECURRENT_INTS,
    .floats = RNNRT_RECURRENT_FLOATS,
    .check = check,
    .shape = shape,
    .scratch = scratch,
    .run = run,
};
