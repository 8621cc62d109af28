/* A time step of a recurrent layer by one kernel or two: products and gates together; see rnnrt_recurrent_step in kernels.h. */
#include "../kernels/float_exact.h"

#include "recurrent.h"

#include <string.h>

typedef struct job {
    rnnrt_step_kernel kernel;
    rnnrt_recurrent_step step;
} job;

static void run_blocks(void *context, uint32_t first, uint32_t end) {
    const job *j = (const job *)context;
    j->kernel(&j->step, first, end);
}

/* The old state as R multiplies it. Where it is not quantized but read as it lies, and the new one goes to the same memory,
 * it is copied: blocks are still multiplied when others have their new state. */
static void set_old_state(const rnnrt_kernels *k, rnnrt_recurrent_step *s, void *scratch) {
    rnnrt_product_fill(k, &s->r, s->h, s->ldh, s->n);
    if (!s->r.q && s->h == s->y) {
        float *copy = (float *)scratch;
        for (uint32_t i = 0; i < s->n; i++) {
            memcpy(copy + (size_t)i * s->units, s->h + i * s->ldh, s->units * sizeof(float));
        }
        s->r.x = copy;
        s->r.ldx = s->units;
    }
}

/* One kernel over all blocks of units; w_gates, r_gates: what it multiplies of each. */
static void run_job(const rnnrt_team *team, job *j, uint32_t w_gates, uint32_t r_gates) {
    const uint32_t blocks = RNNRT_PAD(j->step.units, RNNRT_BLOCK) / RNNRT_BLOCK;
    if (team->threads < 2) { /* nobody to count the work for */
        j->kernel(&j->step, 0, blocks);
        return;
    }
    uint64_t work = rnnrt_product_work(j->step.r.m, blocks * r_gates, j->step.n);
    if (j->step.w.m) { work += rnnrt_product_work(j->step.w.m, blocks * w_gates, j->step.n); }
    rnnrt_team_split(team, blocks, work, run_blocks, j);
}

/* All but R's activations are set, and where they go, for_r. */
static void run_kernels(const rnnrt_kernels *k, const rnnrt_team *team, job *j, rnnrt_step_kernels kernels,
                        uint32_t gates, void *for_r) {
    rnnrt_recurrent_step *s = &j->step;
    j->kernel = kernels.first;
    if (!kernels.last) {
        set_old_state(k, s, for_r);
        run_job(team, j, gates, gates);
        return;
    }
    rnnrt_product_fill(k, &s->r, s->h, s->ldh, s->n);
    run_job(team, j, gates, gates - 1u);
    const size_t padded = RNNRT_PAD((size_t)s->units, RNNRT_BLOCK);
    j->kernel = kernels.last;
    s->w.m = NULL;
    rnnrt_product_fill(k, &s->r, s->between + 2 * padded, 3 * padded, s->n);
    run_job(team, j, 0, 1);
}

void rnnrt_recurrent_fused(const rnnrt_direction *d, rnnrt_step_kernels kernels, const rnnrt_rows *rows) {
    job j;
    rnnrt_recurrent_step *s = &j.step;
    s->w.m = rows->x ? &d->w : NULL;
    s->r.m = &d->r;
    s->bw = d->bw;
    s->br = d->br;
    s->first = d->block;
    s->units = d->hidden;
    s->n = rows->n;
    s->backward = rows->backward;
    s->p = rows->p;
    s->ldp = (size_t)d->gates * d->padded;
    s->h = rows->h;
    s->c = rows->c;
    s->ldh = rows->ldh;
    s->ldc = rows->ldc;
    s->y = rows->y;
    s->c_out = rows->c_out;
    s->ldy = rows->ldy;
    s->ldc_out = rows->ldc_out;
    s->ahead = rows->ahead;
    if (rows->x) { rnnrt_product_set(d->k, &s->w, rows->x, rows->ldx, rows->n, d->for_w); }
    s->between = d->product;
    rnnrt_product_place(&s->r, s->n, d->for_r);
    run_kernels(d->k, d->team, &j, kernels, d->gates, d->for_r);
}

static const float *floats_of(const rnnrt_call *call, uint32_t input) {
    return input < call->node->inputs && call->in[input] ? (const float *)call->in[input]->data : NULL;
}

static float *result_of(const rnnrt_call *call, uint32_t output) {
    return output < call->node->outputs && call->out[output] ? (float *)call->out[output]->data : NULL;
}

/* Is this one step, forward, of few rows that lie one behind the other, with default activations and a state? */
static int is_plain_step(const rnnrt_recurrent_kind *kind, const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    const int32_t *i = node->i;
    const uint32_t *x = call->in[RNNRT_IN_X]->dims;
    if (x[0] != 1 || x[1] == 0 || x[1] > RNNRT_RECURRENT_ROWS || i[RNNRT_I_LAYOUT] || i[RNNRT_I_DIRECTION] == 2 ||
        i[RNNRT_I_INPUT_FORGET] || i[RNNRT_I_CLIP_SET]) {
        return 0;
    }
    for (uint32_t a = 0; a < kind->activations; a++) {
        if (i[RNNRT_I_ACTIVATIONS + a] != kind->defaults[a]) { return 0; }
    }
    return !floats_of(call, RNNRT_IN_LENS) && !floats_of(call, RNNRT_IN_P) && floats_of(call, RNNRT_IN_H) &&
           (!kind->has_cell || floats_of(call, RNNRT_IN_C));
}

/* What does not change from one plain step to the next, in call->kept. */
typedef struct plain_step {
    rnnrt_step_kernels kernels; /* first NULL: nothing is known yet */
    rnnrt_matrix w, r;
    int one_row; /* of s8, by one kernel */
    float *copy; /* [n][units] where h is wanted a second time, or NULL */
    void *for_r;
    job j;
} plain_step;
_Static_assert(sizeof(plain_step) <= RNNRT_KEPT, "it is kept there");

/* Fills in p, which is zeros, if this is a plain step. */
static int plan_plain_step(const rnnrt_recurrent_kind *kind, const rnnrt_call *call, plain_step *p) {
    const rnnrt_step_kernels kernels = kind->fused(call);
    rnnrt_recurrent_step *s = &p->j.step;
    float *y = result_of(call, RNNRT_OUT_Y), *y_h = result_of(call, RNNRT_OUT_H);
    float *c_out = kind->has_cell ? result_of(call, RNNRT_OUT_C) : NULL;
    if (!kernels.first || !is_plain_step(kind, call) || (!y && !y_h) || (kind->has_cell && !c_out)) { return 0; }
    const uint32_t n = call->in[RNNRT_IN_X]->dims[1];
    uint8_t *for_r = (uint8_t *)call->scratch + rnnrt_matmul_scratch(call->in[RNNRT_IN_W], n);
    p->kernels = kernels;
    p->j.kernel = kernels.first;
    p->w = rnnrt_matrix_of(call->in[RNNRT_IN_W]);
    p->r = rnnrt_matrix_of(call->in[RNNRT_IN_R]);
    p->copy = y && y_h ? y : NULL;
    p->for_r = for_r;
    p->one_row = n == 1 && p->w.w8 && p->r.w8 && !kernels.last;
    s->w.m = &p->w;
    s->r.m = &p->r;
    rnnrt_product_place(&s->w, n, call->scratch);
    rnnrt_product_place(&s->r, n, for_r);
    s->bw = floats_of(call, RNNRT_IN_BW);
    s->br = floats_of(call, RNNRT_IN_BR);
    s->units = p->r.cols;
    s->n = n;
    s->ldh = s->ldc = s->ldy = s->ldc_out = p->r.cols;
    s->y = y_h ? y_h : y; /* what the next step waits for is written first */
    s->c_out = c_out;
    s->between = (float *)(void *)(for_r + rnnrt_matmul_scratch(call->in[RNNRT_IN_R], n));
    return 1;
}

/* Where p->q and p->xscale point to is scratch. */
static void quantize_row(const rnnrt_kernels *k, const rnnrt_product *p, const float *x) {
    *(float *)(uintptr_t)p->xscale = k->quantize_s8(x, p->m->cols, (int8_t *)(uintptr_t)p->q);
}

/* What is left to do when nothing has to be found out: 0.1 us less than the general way. */
int rnnrt_recurrent_plain_step(const rnnrt_recurrent_kind *kind, const rnnrt_call *call) {
    plain_step *p = (plain_step *)call->kept;
    rnnrt_recurrent_step *s = &p->j.step;
    if (!p->kernels.first && !plan_plain_step(kind, call, p)) { return 0; }
    s->w.m = &p->w;
    s->backward = *call->steps % 2u;
    s->h = (const float *)call->in[RNNRT_IN_H]->data; /* a model's input may lie elsewhere at each call */
    if (kind->has_cell) { s->c = (const float *)call->in[RNNRT_IN_C]->data; }
    const float *x = (const float *)call->in[RNNRT_IN_X]->data;
    if (p->one_row && call->team->threads < 2) { /* what follows, 5 % faster for 32 units */
        quantize_row(call->k, &s->w, x);
        quantize_row(call->k, &s->r, s->h);
        p->j.kernel(s, 0, RNNRT_PAD(s->units, RNNRT_BLOCK) / RNNRT_BLOCK);
    } else {
        rnnrt_product_fill(call->k, &s->w, x, p->w.cols, s->n);
        run_kernels(call->k, call->team, &p->j, p->kernels, kind->gates, p->for_r);
    }
    if (p->copy) { memcpy(p->copy, s->y, (size_t)s->n * s->units * sizeof(float)); }
    return 1;
}
