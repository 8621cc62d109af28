/* The table's recurrent steps: products and gates together.
 *
 * A step does all gates of 16 units at a time, so that what the gates compute is still in L1 and the CPU fills their latency
 * (about 150 cycles) with the products of the next 16. A format of weights takes part by its rows_function. Where there is one
 * row, some have a step with the tiles inlined besides, as calls would cost more than small layers: s8 here, f32 in
 * simd_steps_f32.h, s4 in simd_steps_s4.h where a table includes it; the others call for several blocks of units at once. */
#ifndef RNNRT_SIMD_STEPS_H
#define RNNRT_SIMD_STEPS_H

#include "simd_step_row.h"

/* NULL: a format that this build does not have, which no loaded model has either. */
RNNRT_INLINE TARGET rows_function rows_of(const rnnrt_matrix *m) {
    if (RNNRT_HAS_WEIGHTS(RNNRT_S8) && m->w8) { return KERNEL(rows_s8); }
    if (RNNRT_HAS_WEIGHTS(RNNRT_S4) && m->w4) { return KERNEL(rows_s4); }
    if (RNNRT_HAS_WEIGHTS(RNNRT_F16) && m->w16) { return SHARED(rows_f16); }
    return RNNRT_HAS_WEIGHTS(RNNRT_F32) ? SHARED(rows_f32) : NULL;
}

#if defined(STEPS_BY_CALLS)
#define STEP_ROWS 4u /* rows of a step at once: what the largest tiles have */
#else
#define STEP_ROWS 12u /* several times that, of tiles with 2, 3 and 4 rows */
#endif

/* A table may define it, with FETCH_LINES, where both were measured to be faster with one row of s8 weights: the weights of
 * a layer from which on they are read as they lie, block after block, which L3 is fastest at. */
#if !defined(STREAM_BYTES)
#define STREAM_BYTES SIZE_MAX
#endif

/* The units of one block, `rows` rows from row i on: with STEPS_BY_CALLS one copy of the gates is enough. */
typedef void (*cells_function)(const rnnrt_recurrent_step *s, uint32_t i, uint32_t rows, uint32_t u, const float *p,
                               size_t ldp, float *q);

#if defined(STEPS_BY_CALLS)

RNNRT_INLINE TARGET void gru_cells(const rnnrt_recurrent_step *s, uint32_t i, uint32_t rows, uint32_t u, const float *p,
                                   size_t ldp, float *q) {
    for (uint32_t k = i; k < i + rows; k++, p += ldp, q += 48) {
        KERNEL(gru_cell)(smaller(s->units - u, 16u), p, q, s->h + k * s->ldh + u, s->y + k * s->ldy + u);
    }
}

RNNRT_INLINE TARGET void lstm_cells(const rnnrt_recurrent_step *s, uint32_t i, uint32_t rows, uint32_t u,
                                    const float *p, size_t ldp, float *q) {
    for (uint32_t k = i; k < i + rows; k++, p += ldp, q += 64) {
        const float *c = s->c + k * s->ldc + u;
        KERNEL(lstm_cell)(smaller(s->units - u, 16u), p, q, c, s->c_out + k * s->ldc_out + u, s->y + k * s->ldy + u);
    }
}

#else

RNNRT_INLINE TARGET void gru_cells(const rnnrt_recurrent_step *s, uint32_t i, uint32_t rows, uint32_t u, const float *p,
                                   size_t ldp, float *q) {
    const uint32_t n = smaller(s->units - u, 16u);
    for (uint32_t v = 0; v < n; v += LANES) {
        for (uint32_t k = 0; k < rows; k++) { gru_gates(p + k * ldp + v, q + k * 48u + v); }
        for (uint32_t k = 0; k < rows; k++) {
            gru_output(n - v, q + k * 48u + v, s->h + (i + k) * s->ldh + u + v, s->y + (i + k) * s->ldy + u + v);
        }
    }
}

RNNRT_INLINE TARGET void lstm_cells(const rnnrt_recurrent_step *s, uint32_t i, uint32_t rows, uint32_t u,
                                    const float *p, size_t ldp, float *q) {
    const uint32_t n = smaller(s->units - u, 16u);
    for (uint32_t v = 0; v < n; v += LANES) {
        for (uint32_t k = 0; k < rows; k++) {
            lstm_gates(n - v, p + k * ldp + v, q + k * 64u + v, s->c + (i + k) * s->ldc + u + v,
                       s->c_out + (i + k) * s->ldc_out + u + v);
        }
        for (uint32_t k = 0; k < rows; k++) {
            lstm_output(n - v, q + k * 64u + v, s->c_out + (i + k) * s->ldc_out + u + v,
                        s->y + (i + k) * s->ldy + u + v);
        }
    }
}

#endif

/* Any number of rows, any formats. */
RNNRT_INLINE TARGET void step_blocks(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1, uint32_t gates,
                                     cells_function cells) {
    _Alignas(64) float own_p[STEP_ROWS * 64], q[STEP_ROWS * 64];
    const rows_function rows_w = s->w.m ? rows_of(s->w.m) : NULL, rows_r = rows_of(s->r.m);
    block_order o = order_of(block0, block1, s->backward);
    for (uint32_t left = block1 - block0; left > 0; left--, o.at += o.by) {
        const uint32_t b = o.at, first = s->first + b * gates;
        for (uint32_t i = 0; i < s->n; i += STEP_ROWS) {
            const uint32_t rows = smaller(s->n - i, STEP_ROWS);
            const float *p = own_p;
            size_t ldp = gates * 16u;
            if (rows_w) {
                rows_w(&s->w, i, rows, first, first + gates, s->bw, own_p, ldp);
            } else {
                p = s->p + i * s->ldp + (size_t)b * ldp;
                ldp = s->ldp;
            }
            rows_r(&s->r, i, rows, first, first + gates, s->br, q, gates * 16u);
            cells(s, i, rows, b * 16u, p, ldp, q);
        }
    }
}

#if defined(STEPS_BY_CALLS)

static TARGET void KERNEL(gru_step)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step_blocks(s, block0, block1, 3, gru_cells);
}

static TARGET void KERNEL(lstm_step)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step_blocks(s, block0, block1, 4, lstm_cells);
}

#else

static RNNRT_NOINLINE TARGET void gru_blocks(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step_blocks(s, block0, block1, 3, gru_cells);
}

static RNNRT_NOINLINE TARGET void lstm_blocks(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step_blocks(s, block0, block1, 4, lstm_cells);
}

/* All gates of a recurrent layer's block, one row of x; out: [gates][16] */
RNNRT_INLINE TARGET void s8_gates(const rnnrt_product *p, uint32_t block, int gates, const float *bias, float *out) {
    RNNRT_UNROLL
    for (int b = 0; b < gates; b += S8_BLOCKS) {
        const int blocks = gates - b < S8_BLOCKS ? gates - b : S8_BLOCKS;
        s8_tile(p, 0, block + (uint32_t)b, blocks, 1, target_of(bias, block + (uint32_t)b, block, out, 0));
    }
}

#if defined(ROW_S4)
#define RUNS_BACKWARD 0 /* slower with weights from L3, the same with f16 */
#else                   /* without simd_steps_s4.h */
#define RUNS_BACKWARD 1
#define gru_row_s4 gru_blocks
#define lstm_row_s4 lstm_blocks
RNNRT_INLINE TARGET int s4_is_near(const rnnrt_recurrent_step *s, uint32_t gates) {
    (void)s, (void)gates;
    return 0;
}
#endif

/* A rows_function for one row of s8, one block after the other: the weights are one run of memory. */
static RNNRT_NOINLINE TARGET void s8_streamed(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0,
                                              uint32_t block1, const float *bias, float *y, size_t ldy) {
    (void)row, (void)n, (void)ldy;
    for (uint32_t b = block0; b < block1; b++) { s8_tile(p, 0, b, 1, 1, target_of(bias, b, block0, y, 0)); }
}

/* n units of one row from unit u on */
typedef void (*run_function)(const rnnrt_recurrent_step *s, uint32_t u, uint32_t n, const float *p, const float *q);

RNNRT_INLINE TARGET void gru_run(const rnnrt_recurrent_step *s, uint32_t u, uint32_t n, const float *p,
                                 const float *q) {
    SHARED(gru_cell)(n, p, q, s->h + u, s->y + u);
}

RNNRT_INLINE TARGET void lstm_run(const rnnrt_recurrent_step *s, uint32_t u, uint32_t n, const float *p,
                                  const float *q) {
    SHARED(lstm_cell)(n, p, q, s->c + u, s->c_out + u, s->y + u);
}

/* One row of any format: all of W for STEP_ROWS blocks of units, then of R, then their gates. Calls are few, and to turn from
 * one matrix to the other, and gates, which wait for the last sums, interrupt the CPU's reading ahead. gates and cells are
 * constants wherever this is inlined. */
RNNRT_INLINE TARGET void row_blocks(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1, uint32_t gates,
                                    int streamed, run_function cells) {
    _Alignas(64) float own_p[STEP_ROWS * 64], q[STEP_ROWS * 64];
    const int streams = streamed && STREAM_BYTES < SIZE_MAX && RNNRT_HAS_WEIGHTS(RNNRT_S8);
    const rows_function rows_r = streams ? s8_streamed : rows_of(s->r.m);
    const rows_function rows_w = !s->w.m ? NULL : streams ? s8_streamed : rows_of(s->w.m);
    for (uint32_t left = block1 - block0, units; left > 0; left -= units) {
        units = smaller(left, STEP_ROWS);
        const uint32_t b = s->backward && RUNS_BACKWARD ? block0 + left - units : block1 - left;
        const uint32_t first = s->first + b * gates, end = first + units * gates;
        const uint32_t u = b * 16u, n = smaller(s->units - u, units * 16u);
        const float *p = rows_w ? own_p : s->p + (size_t)u * gates;
        if (rows_w) { rows_w(&s->w, 0, 1, first, end, s->bw, own_p, 0); }
        rows_r(&s->r, 0, 1, first, end, s->br, q, 0);
        cells(s, u, n, p, q);
    }
}

static RNNRT_NOINLINE TARGET void gru_row(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1,
                                          int streamed) {
    row_blocks(s, block0, block1, 3, streamed, gru_run);
}

static RNNRT_NOINLINE TARGET void lstm_row(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1,
                                           int streamed) {
    row_blocks(s, block0, block1, 4, streamed, lstm_run);
}

#if !defined(AHEAD_ROWS)
RNNRT_INLINE TARGET void step_ahead(const rnnrt_recurrent_step *s, block_range *left, uint32_t gates, int streamed) {
    (void)s, (void)left, (void)gates, (void)streamed;
}
#endif

typedef void (*row_function)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1, int streamed);

/* One row of s8 weights. */
RNNRT_INLINE TARGET void step_s8(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1, uint32_t gates,
                                 row_function row) {
    const rnnrt_matrix *r = s->r.m, *w = s->w.m ? s->w.m : r;
    const size_t bytes = ((size_t)r->cols + (s->w.m ? w->cols : 0)) * s->units * gates;
    const int streamed = STREAM_BYTES < SIZE_MAX && bytes >= STREAM_BYTES;
    block_range at = {block0, block1};
    if (s->ahead) { step_ahead(s, &at, gates, streamed); }
    if (streamed) {
        row(s, at.begin, at.end, 1);
    } else {
        step_row(s, at.begin, at.end, gates, s8_gates, s8_gates, FETCH_LINES > 0);
    }
}

/* Is it one row, with weights of this format, s8 or f32, where it has any? */
RNNRT_INLINE TARGET int one_row(const rnnrt_recurrent_step *s, rnnrt_dtype dtype) {
    const rnnrt_matrix *r = s->r.m, *w = s->w.m ? s->w.m : r;
    if (s->n != 1 || !RNNRT_HAS_WEIGHTS(dtype)) { return 0; }
    return dtype == RNNRT_S8 ? r->w8 && w->w8 : r->w32 && w->w32;
}

static TARGET void KERNEL(gru_step)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    if (one_row(s, RNNRT_S8)) {
        step_s8(s, block0, block1, 3, gru_row);
    } else if (one_row(s, RNNRT_F32)) {
        SHARED(gru_row_f32)(s, block0, block1);
    } else if (s->n != 1) {
        gru_blocks(s, block0, block1);
    } else if (s4_is_near(s, 3)) {
        gru_row_s4(s, block0, block1);
    } else {
        gru_row(s, block0, block1, 0);
    }
}

static TARGET void KERNEL(lstm_step)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    if (one_row(s, RNNRT_S8)) {
        step_s8(s, block0, block1, 4, lstm_row);
    } else if (one_row(s, RNNRT_F32)) {
        SHARED(lstm_row_f32)(s, block0, block1);
    } else if (s->n != 1) {
        lstm_blocks(s, block0, block1);
    } else if (s4_is_near(s, 4)) {
        lstm_row_s4(s, block0, block1);
    } else {
        lstm_row(s, block0, block1, 0);
    }
}

#endif

#endif
