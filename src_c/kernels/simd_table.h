/* Last line of a kernels_<isa>.c: the table of the functions that the simd_*.h headers defined in it. */
#ifndef RNNRT_SIMD_TABLE_H
#define RNNRT_SIMD_TABLE_H

#if !defined(MATMUL_S8)
#define MATMUL_S8 KERNEL(matmul_s8) /* an ISA may have a better one beside the shared one */
#endif

#if !defined(AHEAD_ROWS)
#define AHEAD_ROWS 0
#endif

#define RNNRT_TABLE(name)                                                                                              \
    {                                                                                                                  \
        .isa = name, .matmul_f32 = SHARED(matmul_f32), .matmul_s8 = MATMUL_S8, .matmul_f16 = SHARED(matmul_f16),       \
        .matmul_s4 = KERNEL(matmul_s4), .quantize_s8 = SHARED(quantize_s8), .gru_cell = SHARED(gru_cell),              \
        .lstm_cell = SHARED(lstm_cell), .gru_step = KERNEL(gru_step), .lstm_step = KERNEL(lstm_step),                  \
        .gru_reset = GRU_RESET, .gru_renew = GRU_RENEW, .unary = SHARED(unary), .binary = SHARED(binary),              \
        .sum = SHARED(sum), .sum_sq_diff = SHARED(sum_sq_diff), .max = SHARED(max), .ahead_rows = AHEAD_ROWS,          \
    }

#endif
