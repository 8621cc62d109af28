/* The table of each instruction set; each is defined in kernels_<isa>.c where the target has it. */
#ifndef RNNRT_TABLES_H
#define RNNRT_TABLES_H

#include "kernels.h"

extern const rnnrt_kernels rnnrt_kernels_scalar;
extern const rnnrt_kernels rnnrt_kernels_sse41;
extern const rnnrt_kernels rnnrt_kernels_avx2;
extern const rnnrt_kernels rnnrt_kernels_avxvnni;
extern const rnnrt_kernels rnnrt_kernels_avx512vnni;
extern const rnnrt_kernels rnnrt_kernels_neon;
extern const rnnrt_kernels rnnrt_kernels_neondot;
extern const rnnrt_kernels rnnrt_kernels_neoni8mm;
extern const rnnrt_kernels rnnrt_kernels_wasm;

/* y[i*ldy + ...] = blocks [block0, block1) of p's matrix times row `row` + i of p's activations, i < n, + bias: as the table's matmul. */
typedef void (*rows_function)(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                              const float *bias, float *y, size_t ldy);

/* All gates of one block for one row, out: [gates][16]: a format's tile. */
typedef void (*gates_function)(const rnnrt_product *p, uint32_t block, int gates, const float *bias, float *out);

#endif
