/* All time steps of one stream where the kernels project ahead: while the steps of a block wait for R's weights, they make
 * the input's part of the next block (rnnrt_ahead in kernels.h). The first block is projected alone. */
#include "recurrent.h"

#include <string.h>

/* The block of W behind this direction's. */
static uint32_t end_of(const rnnrt_direction *d) { return d->block + d->gates * (d->padded / RNNRT_BLOCK); }

/* The next time steps from x on, into y. */
static void begin(const rnnrt_direction *d, rnnrt_ahead *a, const float *x, size_t x_time, float *y) {
    const uint32_t rows = d->k->ahead_rows;
    a->w.m = &d->w;
    a->bias = d->bw;
    a->first = a->next = d->block;
    a->end = end_of(d);
    a->y = y;
    a->ldy = (size_t)d->gates * d->padded;
    rnnrt_product_set(d->k, &a->w, x, x_time, rows, d->for_w);
    int8_t *to = (int8_t *)d->for_w + (a->w.q - (const int8_t *)d->for_w) + rows * a->w.ldx;
    a->x = to;
    for (size_t c = 0; c < a->w.ldx; c += 4) {
        for (uint32_t i = 0; i < rows; i++, to += 4) { memcpy(to, a->w.q + i * a->w.ldx + c, 4); }
    }
}

/* What the steps did not get to. */
static void end(const rnnrt_kernels *k, const rnnrt_ahead *a) {
    if (a->next < a->end) {
        k->matmul_s8(a->w.m, a->next, a->end, a->bias, a->w.q, a->w.ldx, a->w.xscale, k->ahead_rows,
                     a->y + (size_t)(a->next - a->first) * RNNRT_BLOCK, a->ldy);
    }
}

/* The steps [t, t + n); p: the input's part of step t. */
static void run_block(const rnnrt_direction *d, rnnrt_step_kernels kernels, const rnnrt_sequence *q, rnnrt_rows *rows,
                      uint32_t t, uint32_t n, const float *p) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t step = q->reverse ? n - 1 - i : i;
        rows->p = p + (size_t)step * d->gates * d->padded;
        rows->y = q->y ? q->y + (size_t)(t + step) * q->y_time : q->hold;
        rnnrt_recurrent_fused(d, kernels, rows);
        rows->backward = !rows->backward;
        rows->h = rows->y;
        rows->c = rows->c_out;
    }
}

void rnnrt_recurrent_ahead(const rnnrt_direction *d, rnnrt_step_kernels kernels, const rnnrt_sequence *q,
                           rnnrt_rows *rows) {
    const uint32_t block = d->k->ahead_rows, rest = q->time % block;
    const size_t ld = (size_t)d->gates * d->padded;
    float *now = q->p, *later = q->p + block * ld;
    uint32_t n = rest ? rest : block, t = q->reverse ? q->time - n : 0;
    rnnrt_ahead ahead;
    rows->x = NULL;
    rows->ahead = &ahead;
    rnnrt_matmul(d->k, d->team, &d->w, d->block, end_of(d), d->bw, q->x + t * q->x_time, q->x_time, n, now, ld,
                 d->for_w);
    for (uint32_t left = q->time - n; left > 0; left -= block, n = block) {
        const uint32_t next = q->reverse ? t - block : t + n;
        begin(d, &ahead, q->x + next * q->x_time, q->x_time, later);
        run_block(d, kernels, q, rows, t, n, now);
        end(d->k, &ahead);
        float *done = now;
        now = later;
        later = done;
        t = next;
    }
    rows->ahead = NULL;
    run_block(d, kernels, q, rows, t, n, now);
}
