/* The table's recurrent cells: a layer's gates where its products are made apart. */
#ifndef RNNRT_SIMD_CELLS_H
#define RNNRT_SIMD_CELLS_H

#include "simd_units.h"

LINKAGE TARGET void KERNEL(gru_cell)(uint32_t units, const float *p, const float *r, const float *h, float *y) {
    for (uint32_t u = 0; u < units; u += LANES) {
        const size_t at = (size_t)(u / 16u) * 48u + u % 16u;
        gru_units(0, units - u, p + at, r + at, h + u, y + u);
    }
}

LINKAGE TARGET void KERNEL(lstm_cell)(uint32_t units, const float *p, const float *r, const float *c_in, float *c_out,
                                      float *y) {
    for (uint32_t u = 0; u < units; u += LANES) {
        const size_t at = (size_t)(u / 16u) * 64u + u % 16u;
        lstm_units(0, units - u, p + at, r + at, c_in + u, c_out + u, y + u);
    }
}

#endif
