/* AVX2's functions that AVX-VNNI's table uses as well: all that multiply no integers. */
#ifndef RNNRT_SHARED_AVX2_H
#define RNNRT_SHARED_AVX2_H

#include "tables.h"

extern float rnnrt_quantize_s8_avx2(const float *x, uint32_t n, int8_t *q);
extern void rnnrt_gru_cell_avx2(uint32_t units, const float *p, const float *r, const float *h, float *y);
extern void rnnrt_lstm_cell_avx2(uint32_t units, const float *p, const float *r, const float *c_in, float *c_out,
                                 float *y);
extern void rnnrt_unary_avx2(rnnrt_unary f, float a, float b, const float *x, float *y, size_t n);
extern void rnnrt_binary_avx2(rnnrt_binary f, const float *a, size_t a_step, const float *b, size_t b_step, float *y,
                              size_t n);
extern float rnnrt_sum_avx2(const float *x, size_t n);
extern float rnnrt_sum_sq_diff_avx2(const float *x, float mean, size_t n);
extern float rnnrt_max_avx2(const float *x, size_t n);
extern void rnnrt_gru_row_f32_avx2(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1);
extern void rnnrt_lstm_row_f32_avx2(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1);

/* rows_function of tables.h */
extern void rnnrt_rows_f32_avx2(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                                const float *bias, float *y, size_t ldy);
extern void rnnrt_rows_f16_avx2(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                                const float *bias, float *y, size_t ldy);

extern void rnnrt_matmul_f32_avx2(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                                  const float *x, size_t ldx, uint32_t n, float *y, size_t ldy);
extern void rnnrt_matmul_f16_avx2(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                                  const float *x, size_t ldx, uint32_t n, float *y, size_t ldy);

#endif
