/* What RNN, GRU and LSTM share; see recurrent.h. */
#include "../kernels/float_exact.h"

#include "recurrent.h"

#include <string.h>

/* Rows (time steps x streams) of X projected at once. */
#define MAX_ROWS RNNRT_RECURRENT_ROWS
#define MAX_HIDDEN 65536
#define GATE_BUFFERS (RNNRT_MAX_GATES + 1u)
#define ALIGNED(bytes) (((size_t)(bytes) + 63u) / 64u * 64u)

/* A call's sizes, strides and scratch layout. */
typedef struct plan {
    uint32_t time, batch, input, hidden, padded, directions;
    uint32_t rows;  /* streams at once, <= MAX_ROWS */
    uint32_t steps; /* time steps projected at once: rows * steps <= MAX_ROWS */
    /* Floats from one time step, stream, direction to the next, in X, Y and the states. */
    size_t x_time, x_row, y_time, y_row, y_dir, s_row, s_dir;
    /* Bytes of scratch, multiples of 64, in this order; then the scratch of rnnrt_matmul. */
    size_t p_bytes;       /* [steps][rows][G*Hp] */
    size_t product_bytes; /* [rows][G*Hp] */
    size_t state_bytes;   /* [rows][H], twice: h and c */
    size_t gate_bytes;    /* [GATE_BUFFERS][Hp] */
} plan;

/* Where a state lives while it changes: the output if that is wanted, else scratch. */
typedef struct place {
    float *data;
    size_t ld;
} place;

static uint32_t directions_of(const rnnrt_node *node) { return node->i[RNNRT_I_DIRECTION] == 2 ? 2 : 1; }

static uint32_t padded_of(const rnnrt_node *node) {
    return RNNRT_PAD((uint32_t)node->i[RNNRT_I_HIDDEN_SIZE], RNNRT_BLOCK);
}

static const rnnrt_tensor *input_of(const rnnrt_call *call, uint32_t i) {
    return i < call->node->inputs ? call->in[i] : NULL;
}

static rnnrt_tensor *output_of(const rnnrt_call *call, uint32_t i) {
    return i < call->node->outputs ? call->out[i] : NULL;
}

static int is_bit(int32_t x) { return x == 0 || x == 1; }

static rnnrt_activation activation_of(const rnnrt_recurrent_kind *kind, const rnnrt_node *node, uint32_t dir,
                                      uint32_t i) {
    const uint32_t at = dir * kind->activations + i;
    return (rnnrt_activation){node->i[RNNRT_I_ACTIVATIONS + at], node->f[1 + 2 * at], node->f[2 + 2 * at]};
}

static int attributes_are_valid(const rnnrt_recurrent_kind *kind, const rnnrt_node *node) {
    const int32_t *i = node->i;
    if (node->ints < RNNRT_I_ACTIVATIONS || i[RNNRT_I_HIDDEN_SIZE] < 1 || i[RNNRT_I_HIDDEN_SIZE] > MAX_HIDDEN ||
        i[RNNRT_I_DIRECTION] < 0 || i[RNNRT_I_DIRECTION] > 2 || !is_bit(i[RNNRT_I_LAYOUT]) ||
        !is_bit(i[RNNRT_I_LINEAR_BEFORE_RESET]) || !is_bit(i[RNNRT_I_INPUT_FORGET]) || !is_bit(i[RNNRT_I_CLIP_SET])) {
        return 0;
    }
    if ((i[RNNRT_I_LINEAR_BEFORE_RESET] && !kind->has_reset) || (i[RNNRT_I_INPUT_FORGET] && !kind->has_cell)) {
        return 0;
    }
    const uint32_t functions = directions_of(node) * kind->activations;
    if (node->ints != RNNRT_I_ACTIVATIONS + functions || node->floats != 1 + 2 * functions) { return 0; }
    for (uint32_t f = 0; f < functions; f++) {
        if (!rnnrt_activation_is(activation_of(kind, node, 0, f), 0, RNNRT_SOFTPLUS + 1)) { /* ONNX's list ends there */
            return 0;
        }
    }
    return rnnrt_is_finite(node->f[0]) && node->f[0] >= 0;
}

static int has_input(const rnnrt_node *node, uint32_t i) { return i < node->inputs && node->refs[i] != RNNRT_NONE; }

static int has_output(const rnnrt_node *node, uint32_t i) {
    return i < node->outputs && node->refs[node->inputs + i] != RNNRT_NONE;
}

/* Left out, or a constant vector of this length? */
static int vector_is_valid(const rnnrt_call *call, uint32_t i, uint32_t length) {
    const rnnrt_tensor *t = input_of(call, i);
    return !has_input(call->node, i) ||
           (t && t->dtype == RNNRT_F32 && t->layout == RNNRT_PLAIN && t->ndim == 1 && t->dims[0] == length);
}

rnnrt_status rnnrt_recurrent_check(const rnnrt_recurrent_kind *kind, const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    if (!attributes_are_valid(kind, node) || !has_input(node, RNNRT_IN_X)) { return RNNRT_ERR_FORMAT; }
    if (!kind->has_cell &&
        (has_input(node, RNNRT_IN_C) || has_input(node, RNNRT_IN_P) || has_output(node, RNNRT_OUT_C))) {
        return RNNRT_ERR_FORMAT;
    }
    if (has_input(node, RNNRT_IN_BR) && !node->i[RNNRT_I_LINEAR_BEFORE_RESET]) { return RNNRT_ERR_FORMAT; }
    const uint32_t units = directions_of(node) * padded_of(node); /* <= 2 * 65536 */
    const uint32_t rows = units * kind->gates;
    if (!rnnrt_matrix_is(call->in[RNNRT_IN_W], rows, 0) ||
        !rnnrt_matrix_is(call->in[RNNRT_IN_R], rows, (uint32_t)node->i[RNNRT_I_HIDDEN_SIZE])) {
        return RNNRT_ERR_FORMAT;
    }
    if (!vector_is_valid(call, RNNRT_IN_BW, rows) || !vector_is_valid(call, RNNRT_IN_BR, rows) ||
        !vector_is_valid(call, RNNRT_IN_P, 3 * units)) {
        return RNNRT_ERR_FORMAT;
    }
    return RNNRT_OK;
}

/* Left out, or a plain tensor of these three dims? */
static int state_is_valid(const rnnrt_tensor *t, const uint32_t *dims) {
    return !t || (t->dtype == RNNRT_F32 && t->layout == RNNRT_PLAIN && t->ndim == 3 &&
                  memcmp(t->dims, dims, 3 * sizeof *dims) == 0);
}

rnnrt_status rnnrt_recurrent_shape(const rnnrt_recurrent_kind *kind, const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    const rnnrt_tensor *x = call->in[RNNRT_IN_X], *lens = input_of(call, RNNRT_IN_LENS);
    if (x->dtype != RNNRT_F32 || x->layout != RNNRT_PLAIN || x->ndim != 3 ||
        x->dims[2] != call->in[RNNRT_IN_W]->dims[1]) {
        return RNNRT_ERR_SHAPE;
    }
    const int layout = node->i[RNNRT_I_LAYOUT];
    const uint32_t time = x->dims[layout], batch = x->dims[1 - layout];
    const uint32_t hidden = (uint32_t)node->i[RNNRT_I_HIDDEN_SIZE], directions = directions_of(node);
    const uint32_t y[2][4] = {{time, directions, batch, hidden}, {batch, time, directions, hidden}};
    const uint32_t state[2][3] = {{directions, batch, hidden}, {batch, directions, hidden}};
    if (lens &&
        (lens->dtype != RNNRT_I32 || lens->layout != RNNRT_PLAIN || lens->ndim != 1 || lens->dims[0] != batch)) {
        return RNNRT_ERR_SHAPE;
    }
    if (!state_is_valid(input_of(call, RNNRT_IN_H), state[layout]) ||
        !state_is_valid(input_of(call, RNNRT_IN_C), state[layout])) {
        return RNNRT_ERR_SHAPE;
    }
    rnnrt_status status = RNNRT_OK;
    rnnrt_tensor *out = output_of(call, RNNRT_OUT_Y);
    if (out) { status = rnnrt_shape_set(out, y[layout], 4); }
    for (uint32_t i = RNNRT_OUT_H; i < (kind->has_cell ? 3u : 2u) && status == RNNRT_OK; i++) {
        out = output_of(call, i);
        if (out) { status = rnnrt_shape_set(out, state[layout], 3); }
    }
    return status;
}

/* No overflow in 32 bits: rows * steps <= 32, G*Hp <= 4 * 65536 and cols <= RNNRT_MAX_COLS, so that the largest parts,
 * p and product, have <= 32 * 2^18 * 4 = 2^25 bytes. */
static plan plan_of(const rnnrt_recurrent_kind *kind, const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[RNNRT_IN_X];
    const int layout = call->node->i[RNNRT_I_LAYOUT];
    plan s;
    s.time = x->dims[layout];
    s.batch = x->dims[1 - layout];
    s.input = x->dims[2];
    s.hidden = (uint32_t)call->node->i[RNNRT_I_HIDDEN_SIZE];
    s.padded = padded_of(call->node);
    s.directions = directions_of(call->node);
    s.rows = s.batch < MAX_ROWS ? s.batch : MAX_ROWS;
    s.steps = s.time; /* 0 or 1: done, without a division */
    if (s.time > 1 && s.rows > 0 && MAX_ROWS / s.rows < s.time) { s.steps = MAX_ROWS / s.rows; }
    const size_t h = s.hidden, dirs = s.directions; /* products with a dimension of 0 may wrap: they are never used */
    if (layout == 0) {
        s.x_row = s.input;
        s.x_time = s.x_row * s.batch;
        s.y_row = s.s_row = h;
        s.y_dir = s.s_dir = h * s.batch;
        s.y_time = s.y_dir * dirs;
    } else {
        s.x_time = s.input;
        s.x_row = s.x_time * s.time;
        s.y_dir = s.s_dir = h;
        s.y_time = s.s_row = h * dirs;
        s.y_row = s.y_time * s.time;
    }
    const size_t gates = (size_t)kind->gates * s.padded * sizeof(float); /* of one row */
    s.p_bytes = gates * s.rows * s.steps;
    s.product_bytes = gates * s.rows;
    s.state_bytes = ALIGNED(h * s.rows * sizeof(float));
    s.gate_bytes = (size_t)GATE_BUFFERS * s.padded * sizeof(float);
    return s;
}

size_t rnnrt_recurrent_scratch(const rnnrt_recurrent_kind *kind, const rnnrt_call *call) {
    const plan s = plan_of(kind, call);
    const size_t for_w = rnnrt_matmul_scratch(call->in[RNNRT_IN_W], s.rows * s.steps);
    const size_t for_r = rnnrt_matmul_scratch(call->in[RNNRT_IN_R], s.rows);
    return s.p_bytes + s.product_bytes + 2 * s.state_bytes + s.gate_bytes + for_w + (for_r ? for_r : s.state_bytes);
}

static void set_direction(const rnnrt_recurrent_kind *kind, const rnnrt_call *call, const plan *s, uint32_t dir,
                          rnnrt_direction *d) {
    const rnnrt_node *node = call->node;
    const rnnrt_tensor *bw = input_of(call, RNNRT_IN_BW), *br = input_of(call, RNNRT_IN_BR);
    const rnnrt_tensor *peephole = input_of(call, RNNRT_IN_P);
    d->k = call->k;
    d->team = call->team;
    d->w = rnnrt_matrix_of(call->in[RNNRT_IN_W]);
    d->r = rnnrt_matrix_of(call->in[RNNRT_IN_R]);
    d->bw = bw ? (const float *)bw->data : NULL;
    d->br = br ? (const float *)br->data : NULL;
    d->hidden = s->hidden;
    d->padded = s->padded;
    d->block = dir * kind->gates * (s->padded / RNNRT_BLOCK);
    d->gates = kind->gates;
    d->linear_before_reset = node->i[RNNRT_I_LINEAR_BEFORE_RESET];
    d->input_forget = node->i[RNNRT_I_INPUT_FORGET];
    d->clip_set = node->i[RNNRT_I_CLIP_SET];
    d->clip = node->f[0];
    d->peephole = peephole ? (const float *)peephole->data + (size_t)dir * 3 * s->padded : NULL;
    d->default_cell = !d->input_forget && !d->clip_set && !d->peephole;
    for (uint32_t i = 0; i < kind->activations; i++) {
        d->act[i] = activation_of(kind, node, dir, i);
        d->default_cell = d->default_cell && d->act[i].f == kind->defaults[i];
    }
    uint8_t *at = (uint8_t *)call->scratch + s->p_bytes;
    d->product = (float *)(void *)at;
    at += s->product_bytes + 2 * s->state_bytes;
    d->gates_of_row = (float *)(void *)at;
    d->for_w = at + s->gate_bytes;
    d->for_r = (uint8_t *)d->for_w + rnnrt_matmul_scratch(call->in[RNNRT_IN_W], s->rows * s->steps);
}

/* p [steps][rows->n][G*Hp] = W x + BW for time steps from t on and the streams from b on. */
static void project(const rnnrt_call *call, const plan *s, const rnnrt_direction *d, uint32_t t, uint32_t steps,
                    uint32_t b, uint32_t n) {
    const float *x = (const float *)call->in[RNNRT_IN_X]->data + t * s->x_time + b * s->x_row;
    float *p = (float *)call->scratch;
    const uint32_t end = d->block + d->gates * (d->padded / RNNRT_BLOCK);
    const size_t ld = (size_t)d->gates * d->padded;
    if (steps == 1 || s->x_time == n * s->x_row) { /* one run of equally spaced rows */
        rnnrt_matmul(d->k, d->team, &d->w, d->block, end, d->bw, x, s->x_row, steps * n, p, ld, d->for_w);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        rnnrt_matmul(d->k, d->team, &d->w, d->block, end, d->bw, x + i * s->x_row, s->x_time, steps, p + i * ld, n * ld,
                     d->for_w);
    }
}

/* The state to start from, *state [n] rows *ld apart: the initial one where it lies, or a copy (or zeros) in `to`.
 * initial: the tensor's part for this direction and the first stream, or NULL. With sequence lengths always a copy: a
 * row that never takes part must end as zeros, like onnxruntime's, and so it starts as zeros. */
static void begin_state(const plan *s, const float *initial, const int32_t *lens, uint32_t n, place to,
                        const float **state, size_t *ld) {
    *state = initial;
    *ld = s->s_row;
    if (initial && !lens) { return; }
    for (uint32_t i = 0; i < n; i++) {
        if (initial && lens[i] > 0) {
            memcpy(to.data + i * to.ld, initial + i * s->s_row, s->hidden * sizeof(float));
        } else {
            memset(to.data + i * to.ld, 0, s->hidden * sizeof(float));
        }
    }
    *state = to.data;
    *ld = to.ld;
}

static void end_state(const plan *s, const float *state, size_t ld, uint32_t n, place to) {
    for (uint32_t i = 0; i < n && state != to.data; i++) {
        memcpy(to.data + i * to.ld, state + i * ld, s->hidden * sizeof(float));
    }
}

/* y = the new state where the row took part in this step, else zeros. */
static void write_masked(const plan *s, const rnnrt_rows *rows, float *y) {
    for (uint32_t i = 0; i < rows->n; i++) {
        if (rnnrt_row_active(rows, i)) {
            memcpy(y + i * s->y_row, rows->y + i * rows->ldy, s->hidden * sizeof(float));
        } else {
            memset(y + i * s->y_row, 0, s->hidden * sizeof(float));
        }
    }
}

/* All time steps of one direction; rows->h, c: the initial state, then the last one. y: at time 0, or NULL.
 * Without sequence lengths a step writes its h into Y, where the next step reads it. */
static void run_steps(const rnnrt_recurrent_kind *kind, const rnnrt_call *call, const plan *s, const rnnrt_direction *d,
                      int reverse, uint32_t b, rnnrt_rows *rows, place hold, float *y) {
    const size_t ld = (size_t)rows->n * d->gates * d->padded;
    const rnnrt_step_kernels none = {NULL, NULL};
    const rnnrt_step_kernels fused = kind->fused && d->default_cell && !rows->lens ? kind->fused(call) : none;
    if (fused.first && !fused.last && rnnrt_recurrent_can_look_ahead(d, rows->n, s->time)) {
        const float *x = (const float *)call->in[RNNRT_IN_X]->data + b * s->x_row;
        const rnnrt_sequence all = {s->time, reverse, x, y, s->x_time, s->y_time, hold.data, (float *)call->scratch};
        rnnrt_recurrent_ahead(d, fused, &all, rows);
        return;
    }
    for (uint32_t done = 0; done < s->time; done += s->steps) {
        const uint32_t n = s->time - done < s->steps ? s->time - done : s->steps;
        const uint32_t t = reverse ? s->time - done - n : done;
        rows->x = NULL;
        if (fused.first && n == 1) { /* no other step shares W's weights */
            rows->x = (const float *)call->in[RNNRT_IN_X]->data + t * s->x_time + b * s->x_row;
            rows->ldx = s->x_row;
        } else {
            project(call, s, d, t, n, b, rows->n);
        }
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t step = reverse ? n - 1 - i : i;
            float *y_t = y ? y + (size_t)(t + step) * s->y_time : NULL;
            rows->t = t + step;
            rows->backward = (*call->steps + done + i) % 2u;
            rows->p = (const float *)call->scratch + step * ld;
            rows->y = y_t && !rows->lens ? y_t : hold.data;
            rows->ldy = y_t && !rows->lens ? s->y_row : hold.ld;
            if (fused.first) {
                rnnrt_recurrent_fused(d, fused, rows);
            } else {
                kind->step(d, rows);
            }
            if (y_t && rows->lens) { write_masked(s, rows, y_t); }
            rows->h = rows->y;
            rows->ldh = rows->ldy;
            rows->c = rows->c_out;
            rows->ldc = rows->ldc_out;
        }
    }
}

static place place_of(const plan *s, const rnnrt_tensor *out, size_t offset, float *scratch) {
    if (out) { return (place){(float *)out->data + offset, s->s_row}; }
    return (place){scratch, s->hidden};
}

static const float *initial_of(const rnnrt_tensor *initial, size_t offset) {
    return initial ? (const float *)initial->data + offset : NULL;
}

/* One direction of the streams [b, b + n). */
static void run_direction(const rnnrt_recurrent_kind *kind, const rnnrt_call *call, const plan *s, uint32_t dir,
                          uint32_t b, uint32_t n) {
    rnnrt_direction d;
    const rnnrt_tensor *lens = input_of(call, RNNRT_IN_LENS), *y = output_of(call, RNNRT_OUT_Y);
    const size_t offset = dir * s->s_dir + b * s->s_row;
    uint8_t *states = (uint8_t *)call->scratch + s->p_bytes + s->product_bytes;
    const place h = place_of(s, output_of(call, RNNRT_OUT_H), offset, (float *)(void *)states);
    place c = {NULL, 0};
    set_direction(kind, call, s, dir, &d);
    rnnrt_rows rows = {.n = n, .lens = lens ? (const int32_t *)lens->data + b : NULL};
    begin_state(s, initial_of(input_of(call, RNNRT_IN_H), offset), rows.lens, n, h, &rows.h, &rows.ldh);
    if (kind->has_cell) {
        c = place_of(s, output_of(call, RNNRT_OUT_C), offset, (float *)(void *)(states + s->state_bytes));
        begin_state(s, initial_of(input_of(call, RNNRT_IN_C), offset), rows.lens, n, c, &rows.c, &rows.ldc);
    }
    rows.c_out = c.data;
    rows.ldc_out = c.ld;
    run_steps(kind, call, s, &d, dir == 1 || call->node->i[RNNRT_I_DIRECTION] == 1, b, &rows, h,
              y ? (float *)y->data + dir * s->y_dir + b * s->y_row : NULL);
    if (output_of(call, RNNRT_OUT_H)) { end_state(s, rows.h, rows.ldh, n, h); }
    if (output_of(call, RNNRT_OUT_C)) { end_state(s, rows.c, rows.ldc, n, c); }
}

static RNNRT_NOINLINE void run_any(const rnnrt_recurrent_kind *kind, const rnnrt_call *call) {
    const plan s = plan_of(kind, call);
    for (uint32_t b = 0; b < s.batch; b += MAX_ROWS) {
        const uint32_t n = s.batch - b < MAX_ROWS ? s.batch - b : MAX_ROWS;
        for (uint32_t dir = 0; dir < s.directions; dir++) { run_direction(kind, call, &s, dir, b, n); }
    }
}

void rnnrt_recurrent_run(const rnnrt_recurrent_kind *kind, const rnnrt_call *call) {
    if (!kind->fused || !rnnrt_recurrent_plain_step(kind, call)) { run_any(kind, call); }
}

void rnnrt_recurrent_product(const rnnrt_direction *d, const rnnrt_rows *rows) {
    const uint32_t end = d->block + d->gates * (d->padded / RNNRT_BLOCK);
    rnnrt_matmul(d->k, d->team, &d->r, d->block, end, d->br, rows->h, rows->ldh, rows->n, d->product,
                 (size_t)d->gates * d->padded, d->for_r);
}

void rnnrt_gate_sum(const rnnrt_direction *d, const float *p, uint32_t p_gates, const float *q, uint32_t q_gates,
                    float *y) {
    for (uint32_t u = 0; u < d->padded; u += RNNRT_BLOCK, p += p_gates * RNNRT_BLOCK, q += q_gates * RNNRT_BLOCK) {
        for (uint32_t l = 0; l < RNNRT_BLOCK; l++) { y[u + l] = p[l] + q[l]; }
    }
}

void rnnrt_gate_copy(const rnnrt_direction *d, const float *p, uint32_t p_gates, float *y) {
    for (uint32_t u = 0; u < d->padded; u += RNNRT_BLOCK, p += p_gates * RNNRT_BLOCK) {
        memcpy(y + u, p, RNNRT_BLOCK * sizeof(float));
    }
}

void rnnrt_gate_activate(const rnnrt_direction *d, uint32_t act, float *x) {
    if (d->clip_set) { d->k->unary(RNNRT_CLIP, -d->clip, d->clip, x, x, d->hidden); }
    rnnrt_activate(d->k, d->act[act], x, x, d->hidden);
}

void rnnrt_flush(const rnnrt_direction *d, const float *x, float *y) {
    for (uint32_t u = 0; u < d->hidden; u++) { y[u] = x[u] < 1e-30f && x[u] > -1e-30f ? 0.0f : x[u]; }
}

void rnnrt_add_flushed(const rnnrt_direction *d, const float *a, const float *b, float *y) {
    d->k->binary(RNNRT_ADD, a, 1, b, 1, y, d->hidden);
    rnnrt_flush(d, y, y);
}
