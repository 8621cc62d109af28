/* The integer words of simd_matmul.h and simd_matmul_s4.h by SDOT, with the rest of words_neon.h. */
#ifndef RNNRT_WORDS_NEONDOT_H
#define RNNRT_WORDS_NEONDOT_H

#include "words_neon.h"

/* The mnemonic, because clang before 16 hides vdotq_s32 unless the whole file is compiled for it. */
RNNRT_INLINE TARGET vi vi_dot4(vi acc, const int8_t *w, vx x) {
    const int8x16_t rows = vld1q_s8(w);
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(rows), "w"(x));
    return acc;
}

typedef int32x4_t v4;

RNNRT_INLINE TARGET v4 v4_start(int32_t s) { return vdupq_n_s32(s); }

RNNRT_INLINE TARGET v4 v4_dot8(v4 sum, const uint8_t *w, const int8_t *q) {
    const uint8x16_t two = vld1q_u8(w), low = vandq_u8(two, vdupq_n_u8(15)), high = vshrq_n_u8(two, 4);
    const vx q0 = vx_set(q), q1 = vx_set(q + 4);
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(low), "w"(q0));
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(high), "w"(q1));
    return sum;
}

RNNRT_INLINE TARGET vi v4_end(vi acc, v4 sum, const int8_t *step) { return vi_add_steps(acc, sum, step); }

#endif
