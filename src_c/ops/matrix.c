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

void rnnrt_matmul(const rnnrt_kernels *k, const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                  const float *x, size_t ldx, uint32_t n, float *y, size_t ldy, void *scratch) {
    if (m->w32) {
        k->matmul_f32(m, block0, block1, bias, x, ldx, n, y, ldy);
        return;
    }
    float *scale = (float *)scratch;
    int8_t *q = (int8_t *)scratch + ALIGNED(4u * (size_t)n);
    const size_t ldq = RNNRT_PAD((size_t)m->cols, 4u);
    for (uint32_t i = 0; i < n; i++) { scale[i] = k->quantize_s8(x + i * ldx, m->cols, q + i * ldq); }
    k->matmul_s8(m, block0, block1, bias, q, ldq, scale, n, y, ldy);
}
