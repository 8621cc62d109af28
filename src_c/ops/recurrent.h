/* What RNN, GRU and LSTM share: attributes, shapes, directions, layouts, sequence lengths, initial and final states,
 * scratch. An operator adds its kind (how many gates, ...) and one function: a time step of one direction.
 *
 * Letters: T time steps, B batch, I input size, H hidden_size, Hp = H rounded up to 16, D directions, G gates.
 * Inputs: X [T, B, I], W packed [D*G*Hp, I], R packed [D*G*Hp, H], BW [D*G*Hp], BR [D*G*Hp] (GRU with
 * linear_before_reset), sequence_lens i32 [B], initial_h [D, B, H], LSTM: initial_c [D, B, H], P [D*3*Hp] (i o f).
 * Outputs: Y [T, D, B, H], Y_h [D, B, H], LSTM: Y_c [D, B, H]. With layout 1, B comes first in every one of these.
 * Rows of W, R, BW, BR: [dir][unit/16][gate][unit%16]; GRU with linear_before_reset = 0, R: z and r so, then h. */
#ifndef RNNRT_RECURRENT_H
#define RNNRT_RECURRENT_H

#include "activation.h"
#include "op.h"

enum rnnrt_recurrent_input {
    RNNRT_IN_X,
    RNNRT_IN_W,
    RNNRT_IN_R,
    RNNRT_IN_BW,
    RNNRT_IN_BR,
    RNNRT_IN_LENS,
    RNNRT_IN_H,
    RNNRT_IN_C,
    RNNRT_IN_P,
    RNNRT_RECURRENT_INPUTS
};
enum rnnrt_recurrent_output { RNNRT_OUT_Y, RNNRT_OUT_H, RNNRT_OUT_C, RNNRT_RECURRENT_OUTPUTS };
enum rnnrt_recurrent_int {
    RNNRT_I_HIDDEN_SIZE,
    RNNRT_I_DIRECTION, /* 0 forward, 1 reverse, 2 bidirectional */
    RNNRT_I_LAYOUT,
    RNNRT_I_LINEAR_BEFORE_RESET,
    RNNRT_I_INPUT_FORGET,
    RNNRT_I_CLIP_SET,
    RNNRT_I_ACTIVATIONS /* per direction: RNN f; GRU f g; LSTM f g h */
};
#define RNNRT_RECURRENT_INTS "hidden_size direction layout linear_before_reset input_forget clip_set activations..."
#define RNNRT_RECURRENT_FLOATS "clip alpha_beta..."
#define RNNRT_RECURRENT_ROWS                                                                                           \
    32u /* streams at once: enough to amortize reading the weights, and it bounds the scratch */
#define RNNRT_MAX_GATES 4u
#define RNNRT_MAX_ACTIVATIONS 3u

/* One direction of a node: what a step needs beside its rows. */
typedef struct rnnrt_direction {
    const rnnrt_kernels *k;
    const rnnrt_team *team;
    rnnrt_matrix w, r;
    const float *bw, *br; /* indexed by rows of W and R, or NULL */
    uint32_t hidden, padded;
    uint32_t block; /* first 16-row block of this direction, in W and in R */
    uint32_t gates;
    int default_cell; /* default activations, no clip, no P, no input_forget: the kernels' cells apply */
    int linear_before_reset, input_forget, clip_set;
    float clip;
    rnnrt_activation act[RNNRT_MAX_ACTIVATIONS];
    const float *peephole; /* [3][padded]: i o f, or NULL */
    float *product;        /* [rows][gates * padded]: the recurrent part */
    float *gates_of_row;   /* [RNNRT_MAX_GATES + 1][padded]: one row's gates, and one more for a product */
    void *for_w, *for_r;   /* scratch of products with W and with R */
} rnnrt_direction;

/* The rows (streams) of one time step. y and h, c and c_out may be the same memory. */
typedef struct rnnrt_rows {
    uint32_t n;
    uint32_t t;          /* time index */
    int backward;        /* the order of a fused step's blocks, see rnnrt_recurrent_step */
    const int32_t *lens; /* [n] or NULL */
    const float *x;      /* [n] rows of X, ldx apart: a fused step that starts from x; NULL: p holds its part */
    size_t ldx;
    const float *p;     /* [n][gates * padded]: the input's part */
    const float *h, *c; /* state before: rows of H, ldh and ldc apart; c: LSTM only */
    size_t ldh, ldc;
    float *y, *c_out; /* state after */
    size_t ldy, ldc_out;
    rnnrt_ahead *ahead; /* what a fused step projects ahead, or NULL */
} rnnrt_rows;

typedef void (*rnnrt_step_kernel)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1);

/* What makes a step: the whole by `first`, or what its last product waits for by `first` and the rest by `last`. */
typedef struct rnnrt_step_kernels {
    rnnrt_step_kernel first, last; /* last: or NULL */
} rnnrt_step_kernels;

typedef struct rnnrt_recurrent_kind {
    uint8_t gates, activations;
    uint8_t has_cell;                        /* LSTM: cell state and peepholes */
    uint8_t has_reset;                       /* GRU: linear_before_reset */
    int32_t defaults[RNNRT_MAX_ACTIVATIONS]; /* rnnrt_unary */
    void (*step)(const rnnrt_direction *d, const rnnrt_rows *rows);
    rnnrt_step_kernels (*fused)(const rnnrt_call *call); /* the kernels for a default cell; NULL: there are none */
} rnnrt_recurrent_kind;

rnnrt_status rnnrt_recurrent_check(const rnnrt_recurrent_kind *kind, const rnnrt_call *call);
rnnrt_status rnnrt_recurrent_shape(const rnnrt_recurrent_kind *kind, const rnnrt_call *call);
size_t rnnrt_recurrent_scratch(const rnnrt_recurrent_kind *kind, const rnnrt_call *call);
void rnnrt_recurrent_run(const rnnrt_recurrent_kind *kind, const rnnrt_call *call);

/* Does row b take part in this time step? Where not, its state stays. A row of length 0 ends with a state of zeros (the
 * specification is silent, onnxruntime does so); without sequence_lens, T = 0 keeps the initial state. A length below 0
 * counts as 0, one beyond T as T. */
static inline int rnnrt_row_active(const rnnrt_rows *rows, uint32_t b) {
    return !rows->lens || (int64_t)rows->t < rows->lens[b];
}

/* Room for gate i of one row, [padded]. */
static inline float *rnnrt_gate(const rnnrt_direction *d, uint32_t i) {
    return d->gates_of_row + (size_t)i * d->padded;
}

/* A whole step of rows that all take part. Scratch: d->for_w, d->for_r, d->product. */
void rnnrt_recurrent_fused(const rnnrt_direction *d, rnnrt_step_kernels kernels, const rnnrt_rows *rows);

/* A node's whole run when it is one plain step from states given (an rnnrt_step of a model with one such layer): returns 0
 * and does nothing where it is not. Scratch: for W, for R (or a state) and of `product`, RNNRT_RECURRENT_ROWS rows at most.
 * Only for kinds with `fused`, whose operators have RNNRT_OP_KEEPS. */
int rnnrt_recurrent_plain_step(const rnnrt_recurrent_kind *kind, const rnnrt_call *call);

/* A sequence of one stream whose steps project ahead; recurrent_ahead.c. */
typedef struct rnnrt_sequence {
    uint32_t time;
    int reverse;
    const float *x; /* at time 0, x_time from one to the next */
    float *y;       /* likewise, or NULL: each step's state goes to hold */
    size_t x_time, y_time;
    float *hold;
    float *p; /* scratch: [2 * ahead_rows][gates * padded] */
} rnnrt_sequence;

/* Is it possible, and worth it? Known when compiling where no table projects ahead. With fewer units R is in L1: nothing to
 * wait for. With much less of W than of R there is little to do meanwhile (GRU of 40 inputs and 512 units: 4 % slower). */
static inline int rnnrt_recurrent_can_look_ahead(const rnnrt_direction *d, uint32_t n, uint32_t time) {
    return RNNRT_LOOKS_AHEAD && n == 1 && d->k->ahead_rows > 0 && time >= 2 * d->k->ahead_rows &&
           d->team->threads < 2 && d->w.w8 && d->r.w8 && d->hidden >= 64 && d->w.cols >= d->hidden / 2;
}

/* All time steps of it. rows->h, c: the initial state, then the last one. Scratch: d->for_w for 2 * ahead_rows rows, d->for_r. */
void rnnrt_recurrent_ahead(const rnnrt_direction *d, rnnrt_step_kernels kernels, const rnnrt_sequence *q,
                           rnnrt_rows *rows);

/* d->product [n][gates * padded] = R h + BR, all rows of R of this direction. */
void rnnrt_recurrent_product(const rnnrt_direction *d, const rnnrt_rows *rows);

/* One gate of a row, out of its blocks [Hp/16][gates][16]: p points to the gate's first 16, `gates` 16s lie from one
 * block's to the next. */
/* y [Hp] = p + q */
void rnnrt_gate_sum(const rnnrt_direction *d, const float *p, uint32_t p_gates, const float *q, uint32_t q_gates,
                    float *y);
/* y [Hp] = p */
void rnnrt_gate_copy(const rnnrt_direction *d, const float *p, uint32_t p_gates, float *y);
/* x [H] = act(clip(x)) */
void rnnrt_gate_activate(const rnnrt_direction *d, uint32_t act, float *x);

/* States are never denormal: the same bits whether or not a CPU flushes denormals. NaN stays. All [H]. */
void rnnrt_flush(const rnnrt_direction *d, const float *x, float *y);
/* y = flush(a + b) */
void rnnrt_add_flushed(const rnnrt_direction *d, const float *a, const float *b, float *y);

#endif
