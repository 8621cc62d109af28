/* AArch64 NEON: 4 lanes; every AArch64 CPU has it. */
#include "float_exact.h"

#include "compiler.h"
#include "tables.h"

#if defined(RNNRT_ARCH_AARCH64)

#define TARGET
#define KERNEL(name) name##_neon

#include "words_neon.h"

/* Products |w * x| <= 127 * 127; sums of two 32258 < 2^15. */
RNNRT_INLINE TARGET vi vi_dot4(vi acc, const int8_t *w, vx x) {
    const int8x16_t rows = vld1q_s8(w);
    const int16x8_t rows01 = vmull_s8(vget_low_s8(rows), vget_low_s8(x));
    const int16x8_t rows23 = vmull_high_s8(rows, x);
    return vpadalq_s16(acc, vpaddq_s16(rows01, rows23));
}

#include "simd_cells.h"
#include "simd_elementwise.h"
#include "simd_matmul.h"
#include "simd_reduce.h"
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_neon = RNNRT_TABLE("neon");

#endif
