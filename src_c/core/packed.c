/* Packed matrices in a file: their bytes, and what must hold of these for every instruction set to compute the same. */
#include <string.h>

#include "model.h"

uint64_t rnnrt_packed_bytes(uint32_t layout, uint32_t dtype, uint32_t rows, uint32_t cols) {
    const uint64_t r = RNNRT_PAD((uint64_t)rows, RNNRT_BLOCK); /* < 2^31 + 16 */
    const uint64_t groups = RNNRT_PAD((uint64_t)cols, RNNRT_GROUP) / RNNRT_GROUP;
    if (rows == 0 || cols == 0 || cols > RNNRT_MAX_COLS) return 0; /* below: < 2^32 * 2^17 * 4 */
    if (layout == RNNRT_R16C1 && dtype == RNNRT_F32) return r * cols * 4u;
    if (layout == RNNRT_R16C1 && dtype == RNNRT_F16) return r * cols * 2u;
    if (layout == RNNRT_R16C4 && dtype == RNNRT_S8) return r * 8u + r * RNNRT_PAD((uint64_t)cols, 4u);
    if (layout == RNNRT_R16G32 && dtype == RNNRT_S4) {
        return r * 4u + RNNRT_PAD(r * groups, UINT64_C(64)) + r * groups * 16u;
    }
    return 0;
}

static int scale_is_sound(const rnnrt_matrix *m, uint32_t row) {
    return row < m->rows ? m->scale[row] >= 0.0f && m->scale[row] <= 3.4028235e38f : m->scale[row] == 0.0f;
}

/* Neither infinite nor NaN, padding zero. */
static int f16_is_sound(const rnnrt_matrix *m) {
    const uint32_t blocks = RNNRT_PAD(m->rows, RNNRT_BLOCK) / RNNRT_BLOCK;
    const size_t halves = (size_t)blocks * m->cols * RNNRT_BLOCK;
    for (size_t i = 0; i < halves; i++) {
        if ((m->w16[i] & 0x7C00u) == 0x7C00u) return 0;
    }
    for (uint32_t r = m->rows; r < blocks * RNNRT_BLOCK; r++) {
        const uint16_t *w = m->w16 + (size_t)(blocks - 1u) * m->cols * RNNRT_BLOCK + r % RNNRT_BLOCK;
        for (uint32_t c = 0; c < m->cols; c++) {
            if (w[(size_t)c * RNNRT_BLOCK]) return 0;
        }
    }
    return 1;
}

#define RUN 128u /* tiles added up in 16 bits: 2 * 255 * RUN < 2^16 */
#define EVEN_BYTES UINT64_C(0x00FF00FF00FF00FF)
#define ONES UINT64_C(0x0101010101010101)
#define TOPS UINT64_C(0x8080808080808080)

/* sum [16] = the rows' sums over w [groups][16][4]; 0 where a weight is -128. Eight bytes at a time, since this is most of
 * what opening a large file costs: a weight plus 128 is 0..255, 0 for -128; two of a row's four are added beside the others
 * in 16 bits. Words hold two rows, the lower first: files are little-endian and used in place. */
static int block_sums(const int8_t *w, uint32_t groups, int32_t *sum) {
    uint64_t zeros = 0; /* the top bit of a byte: it, or one below it, has been 0 */
    memset(sum, 0, RNNRT_BLOCK * sizeof *sum);
    for (uint32_t g = 0; g < groups;) {
        uint64_t pairs[8] = {0};
        const uint32_t end = groups - g < RUN ? groups : g + RUN;
        const int32_t bias = (int32_t)(end - g) * 4 * 128;
        for (; g < end; g++, w += 64) {
            uint64_t words[8];
            memcpy(words, w, sizeof words);
            for (uint32_t i = 0; i < 8; i++) {
                const uint64_t v = words[i] ^ TOPS;
                zeros |= (v - ONES) & ~v;
                pairs[i] += (v & EVEN_BYTES) + (v >> 8 & EVEN_BYTES);
            }
        }
        for (uint32_t r = 0; r < RNNRT_BLOCK; r++) { /* |sum| <= 131072 * 128 = 2^24 */
            const uint64_t row = pairs[r / 2] >> r % 2 * 32;
            sum[r] += (int32_t)(row & 0xFFFFu) + (int32_t)(row >> 16 & 0xFFFFu) - bias;
        }
    }
    return !(zeros & TOPS);
}

/* Weights never -128 (the sign trick of AVX2 would wrap), row sums right, scales finite, padding zero. */
static int s8_is_sound(const rnnrt_matrix *m) {
    const uint32_t groups = RNNRT_PAD(m->cols, 4u) / 4u;
    for (uint32_t block = 0; block < RNNRT_PAD(m->rows, RNNRT_BLOCK) / RNNRT_BLOCK; block++) {
        int32_t sum[RNNRT_BLOCK];
        if (!block_sums(m->w8 + (size_t)block * groups * 64u, groups, sum)) return 0;
        for (uint32_t r = 0; r < RNNRT_BLOCK; r++) {
            const uint32_t row = block * RNNRT_BLOCK + r;
            if (m->row_sum[row] != sum[r] || !scale_is_sound(m, row)) return 0;
            if (row >= m->rows && sum[r] != 0) return 0;
        }
    }
    return 1;
}

/* Rows and columns that do not exist are 8. w: [4][16][4] of one group, rows and cols: how many exist in it. */
static int nibbles_are_sound(const uint8_t *w, uint32_t rows, uint32_t cols) {
    for (uint32_t b = 0; b < 256; b++) {
        const uint32_t c = b / 64 * 8 + b % 4; /* and c + 4 in the high nibble */
        const int row_is = b / 4 % 16 < rows;
        if (!(row_is && c < cols) && (w[b] & 15u) != 8u) return 0;
        if (!(row_is && c + 4u < cols) && w[b] >> 4 != 8u) return 0;
    }
    return 1;
}

/* Steps never -128 and small enough in sum, scales finite, padding as specified. */
static int s4_is_sound(const rnnrt_matrix *m) {
    const uint32_t blocks = RNNRT_PAD(m->rows, RNNRT_BLOCK) / RNNRT_BLOCK;
    const uint32_t groups = RNNRT_PAD(m->cols, RNNRT_GROUP) / RNNRT_GROUP;
    for (const int8_t *s = m->step + (size_t)blocks * groups * 16u; s < (const int8_t *)m->w4; s++) {
        if (*s) return 0;
    }
    for (uint32_t block = 0; block < blocks; block++) {
        const uint32_t left = m->rows - block * RNNRT_BLOCK, rows = left < RNNRT_BLOCK ? left : RNNRT_BLOCK;
        int32_t sum[RNNRT_BLOCK] = {0}; /* <= 4096 groups * 128 */
        for (uint32_t g = 0; g < groups; g++) {
            const size_t at = (size_t)block * groups + g;
            const uint32_t cols = g + 1u < groups ? RNNRT_GROUP : m->cols - g * RNNRT_GROUP;
            if ((rows < RNNRT_BLOCK || cols < RNNRT_GROUP) && !nibbles_are_sound(m->w4 + at * 256u, rows, cols)) {
                return 0;
            }
            for (uint32_t r = 0; r < RNNRT_BLOCK; r++) {
                const int32_t step = m->step[at * 16u + r];
                if (step == -128) return 0;
                sum[r] += step < 0 ? -step : step;
            }
        }
        for (uint32_t r = 0; r < RNNRT_BLOCK; r++) {
            if (sum[r] > (r < rows ? RNNRT_S4_STEPS : 0) || !scale_is_sound(m, block * RNNRT_BLOCK + r)) return 0;
        }
    }
    return 1;
}

int rnnrt_packed_is_sound(const rnnrt_matrix *m) {
    if (m->w16) return f16_is_sound(m);
    if (m->w8) return s8_is_sound(m);
    return m->w4 ? s4_is_sound(m) : 1;
}
