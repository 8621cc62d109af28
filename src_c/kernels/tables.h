/* The table of each instruction set; each is defined in kernels_<isa>.c where the target has it. */
#ifndef RNNRT_TABLES_H
#define RNNRT_TABLES_H

#include "kernels.h"

extern const rnnrt_kernels rnnrt_kernels_scalar;
extern const rnnrt_kernels rnnrt_kernels_avx2;
extern const rnnrt_kernels rnnrt_kernels_avx512vnni;
extern const rnnrt_kernels rnnrt_kernels_neon;
extern const rnnrt_kernels rnnrt_kernels_neondot;

#endif
