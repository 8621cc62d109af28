/* A packed constant matrix (layout R16C1 f32 or R16C4 s8, see format.h) times rows of f32. */
#include "../kernels/float_exact.h"

#include "op.h"

#define ALIGNED(bytes) (((size_t)(bytes) + 63u) / 64u * 64u)

rnnrt_matrix rnnrt_matrix_of(const rnnrt_tensor *t) {
    rnnrt_matrix m = {t->dims[0], t->dims[1], NULL, NULL, NULL, NULL};
    if (t->layout == RNNRT_R16C1) {
        m.w32 = (const float *)t->data;
        return m;
    }
    const uint8_t *bytes = (const uint8_t *)t->data;
    const size_t padded = RNNRT_PAD((size_t)m.rows, 16u); /* 4 * padded is a multiple of 64: every part stays aligned */
    m.scale = (const float *)(const void *)bytes;
    m.row_sum = (const int32_t *)(const void *)(bytes + 4u * padded);
    m.w8 = (const int8_t *)(bytes + 8u * padded);
    return m;
}

int rnnrt_matrix_is(const rnnrt_tensor *t, uint32_t rows, uint32_t cols) {
    if (!t || !t->is_const || !t->data || t->ndim != 2 || t->dims[0] != rows) { return 0; }
    if (rows == 0 || t->dims[1] == 0 || t->dims[1] > RNNRT_MAX_COLS || (cols != 0 && t->dims[1] != cols)) { return 0; }
    return (t->layout == RNNRT_R16C1 && t->dtype == RNNRT_F32) || (t->layout == RNNRT_R16C4 && t->dtype == RNNRT_S8);
}

/* s8 scratch: float scale[n], then from the next multiple of 64 on int8 q[n][PAD(cols, 4)]. */
size_t rnnrt_matmul_scratch(const rnnrt_tensor *w, uint32_t n) {
    if (w->layout != RNNRT_R16C4) { return 0; }
    return ALIGNED(4u * (size_t)n) + ALIGNED(n * RNNRT_PAD((size_t)w->dims[1], 4u));
}

typedef struct product {
    const rnnrt_kernels *k;
    const rnnrt_matrix *m;
    uint32_t block0, n;
    const float *bias;
    const float *x;     /* f32: [n] rows, ld apart */
    const int8_t *q;    /* s8: likewise, quantized */
    const float *scale; /* s8: [n] */
    size_t ld;
    float *y;
    size_t ldy;
} product;

/* Blocks [first, end) after block0. */
static void multiply_blocks(void *job, uint32_t first, uint32_t end) {
    const product *p = (const product *)job;
    const uint32_t b0 = p->block0 + first, b1 = p->block0 + end;
    float *y = p->y + (size_t)first * RNNRT_BLOCK;
    if (p->q) {
        p->k->matmul_s8(p->m, b0, b1, p->bias, p->q, p->ld, p->scale, p->n, y, p->ldy);
    } else {
        p->k->matmul_f32(p->m, b0, b1, p->bias, p->x, p->ld, p->n, y, p->ldy);
    }
}

void rnnrt_matmul(const rnnrt_kernels *k, const rnnrt_team *team, const rnnrt_matrix *m, uint32_t block0,
                  uint32_t block1, const float *bias, const float *x, size_t ldx, uint32_t n, float *y, size_t ldy,
                  void *scratch) {
    product p = {k, m, block0, n, bias, x, NULL, NULL, ldx, y, ldy};
    uint64_t work = (uint64_t)(block1 - block0) * RNNRT_BLOCK * m->cols * n; /* < 2^31 * 2^17 * n, n is bounded */
    if (m->w32) {
        work *= sizeof(float);
    } else { /* quantized once, before the rows are divided */
        float *scale = (float *)scratch;
        int8_t *q = (int8_t *)scratch + ALIGNED(4u * (size_t)n);
        p.ld = RNNRT_PAD((size_t)m->cols, 4u);
        for (uint32_t i = 0; i < n; i++) { scale[i] = k->quantize_s8(x + i * ldx, m->cols, q + i * p.ld); }
        p.q = q;
        p.scale = scale;
    }
    rnnrt_team_split(team, block1 - block0, work, multiply_blocks, &p);
}
