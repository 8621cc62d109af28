/* A packed constant matrix of any layout (see format.h) times rows of f32. */
#include "../kernels/float_exact.h"

#include <string.h>

#include "op.h"

#define ALIGNED(bytes) (((size_t)(bytes) + 63u) / 64u * 64u)

static uint32_t groups_of(uint32_t cols) { return RNNRT_PAD(cols, RNNRT_GROUP) / RNNRT_GROUP; }

/* R is a multiple of 16, so 4 * R is one of 64: every part stays aligned. */
rnnrt_matrix rnnrt_matrix_of(const rnnrt_tensor *t) {
    rnnrt_matrix m = {.rows = t->dims[0], .cols = t->dims[1]};
    const size_t padded = RNNRT_PAD((size_t)m.rows, RNNRT_BLOCK);
    const uint8_t *bytes = (const uint8_t *)t->data;
    switch (t->dtype) {
    case RNNRT_F32: m.w32 = (const float *)t->data; break;
    case RNNRT_F16: m.w16 = (const uint16_t *)t->data; break;
    case RNNRT_S8:
        m.scale = (const float *)t->data;
        m.row_sum = (const int32_t *)(const void *)(bytes + 4u * padded);
        m.w8 = (const int8_t *)(bytes + 8u * padded);
        break;
    default: /* RNNRT_S4 */
        m.scale = (const float *)t->data;
        m.step = (const int8_t *)(bytes + 4u * padded);
        m.w4 = bytes + 4u * padded + ALIGNED(padded * groups_of(m.cols));
    }
    return m;
}

int rnnrt_matrix_is(const rnnrt_tensor *t, uint32_t rows, uint32_t cols) {
    if (!t || !t->is_const || !t->data || t->ndim != 2 || t->dims[0] != rows) { return 0; }
    if (!RNNRT_HAS_WEIGHTS(t->dtype)) { return 0; }
    if (rows == 0 || t->dims[1] == 0 || t->dims[1] > RNNRT_MAX_COLS || (cols != 0 && t->dims[1] != cols)) { return 0; }
    return t->layout != RNNRT_PLAIN; /* dtype and layout fit each other: packed.c */
}

/* Scratch of s8 and s4, each part from a multiple of 64 on:
 *   float scale[n]; int8 q[n][C], C = cols padded to 4 or 32; s4: int32 start[n][C / 32] */
size_t rnnrt_matmul_scratch(const rnnrt_tensor *w, uint32_t n) {
    const size_t cols = w->dims[1];
    if (w->dtype == RNNRT_S8) { return ALIGNED(4u * (size_t)n) + ALIGNED(n * RNNRT_PAD(cols, 4u)); }
    if (w->dtype != RNNRT_S4) { return 0; }
    return ALIGNED(4u * (size_t)n) + ALIGNED(n * RNNRT_PAD(cols, RNNRT_GROUP)) +
           ALIGNED(4u * (size_t)n * groups_of(w->dims[1]));
}

/* -8 * the sum of 32 values in [-127, 127]. Four sums side by side in 64 bits: as x + 128, each at most 4 * 2 * 255. */
static int32_t group_start(const int8_t *q) {
    const uint64_t lanes = UINT64_C(0x00FF00FF00FF00FF), one = UINT64_C(0x0001000100010001);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < RNNRT_GROUP; i += 8) {
        uint64_t eight;
        memcpy(&eight, q + i, 8);
        eight ^= UINT64_C(0x8080808080808080);
        sum += (eight & lanes) + (eight >> 8 & lanes);
    }
    return -8 * ((int32_t)(sum * one >> 48) - 128 * (int32_t)RNNRT_GROUP); /* the top lane adds up all: <= 32 * 255 */
}

/* What s4 needs beside quantized rows: whole groups of columns, and the start of each. */
static void set_groups(rnnrt_product *p, int8_t *q, uint32_t n, int32_t *start) {
    const size_t done = RNNRT_PAD((size_t)p->m->cols, 4u), groups = p->ldx / RNNRT_GROUP;
    for (uint32_t i = 0; i < n; i++, q += p->ldx, start += groups) {
        memset(q + done, 0, p->ldx - done);
        for (size_t g = 0; g < groups; g++) { start[g] = group_start(q + g * RNNRT_GROUP); }
    }
}

void rnnrt_product_place(rnnrt_product *p, uint32_t n, void *scratch) {
    const uint32_t pad = p->m->w4 ? RNNRT_GROUP : 4u;
    p->q = NULL;
    if (p->m->w32 || p->m->w16) { return; }
    p->q = (int8_t *)scratch + ALIGNED(4u * (size_t)n);
    p->xscale = (float *)scratch;
    p->ldx = RNNRT_PAD((size_t)p->m->cols, pad);
    p->start = (const int32_t *)(const void *)(p->q + ALIGNED(n * p->ldx)); /* s4 */
}

void rnnrt_product_fill(const rnnrt_kernels *k, rnnrt_product *p, const float *x, size_t ldx, uint32_t n) {
    p->x = x;
    if (!p->q) {
        p->ldx = ldx;
        return;
    }
    /* where they point to is scratch that is read only from here on */
    float *scale = (float *)(uintptr_t)p->xscale;
    int8_t *q = (int8_t *)(uintptr_t)p->q;
    for (uint32_t i = 0; i < n; i++, x += ldx) { scale[i] = k->quantize_s8(x, p->m->cols, q + i * p->ldx); }
    if (p->m->w4) { set_groups(p, q, n, (int32_t *)(uintptr_t)p->start); }
}

/* Once, before the rows of the matrix are divided. */
void rnnrt_product_set(const rnnrt_kernels *k, rnnrt_product *p, const float *x, size_t ldx, uint32_t n,
                       void *scratch) {
    rnnrt_product_place(p, n, scratch);
    rnnrt_product_fill(k, p, x, ldx, n);
}

uint64_t rnnrt_product_work(const rnnrt_matrix *m, uint32_t blocks, uint32_t n) {
    return (uint64_t)blocks * RNNRT_BLOCK * m->cols * n * (m->w32 || m->w16 ? sizeof(float) : 1u);
}

typedef struct job {
    const rnnrt_kernels *k;
    rnnrt_product p;
    uint32_t block0, n;
    const float *bias;
    float *y;
    size_t ldy;
} job;

/* Blocks [first, end) after block0. */
static void multiply_blocks(void *context, uint32_t first, uint32_t end) {
    const job *j = (const job *)context;
    const rnnrt_product *p = &j->p;
    const uint32_t b0 = j->block0 + first, b1 = j->block0 + end;
    float *y = j->y + (size_t)first * RNNRT_BLOCK;
    if (p->m->w4) {
        j->k->matmul_s4(p->m, b0, b1, j->bias, p->q, p->ldx, p->start, p->xscale, j->n, y, j->ldy);
    } else if (p->m->w16) {
        j->k->matmul_f16(p->m, b0, b1, j->bias, p->x, p->ldx, j->n, y, j->ldy);
    } else if (p->m->w8) {
        j->k->matmul_s8(p->m, b0, b1, j->bias, p->q, p->ldx, p->xscale, j->n, y, j->ldy);
    } else {
        j->k->matmul_f32(p->m, b0, b1, j->bias, p->x, p->ldx, j->n, y, j->ldy);
    }
}

void rnnrt_matmul(const rnnrt_kernels *k, const rnnrt_team *team, const rnnrt_matrix *m, uint32_t block0,
                  uint32_t block1, const float *bias, const float *x, size_t ldx, uint32_t n, float *y, size_t ldy,
                  void *scratch) {
    job j = {.k = k, .p = {.m = m}, .block0 = block0, .n = n, .bias = bias, .y = y, .ldy = ldy};
    rnnrt_product_set(k, &j.p, x, ldx, n, scratch);
    rnnrt_team_split(team, block1 - block0, rnnrt_product_work(m, block1 - block0, n), multiply_blocks, &j);
}
