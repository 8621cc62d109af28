/* In the place of cpu.c: a CPU with AVX-VNNI. The tests run the table's code with that instruction's AVX-512 encoding. */
#include "../../src_c/kernels/cpu.h"

uint32_t rnnrt_cpu_features(void) { return RNNRT_CPU_SSE41 | RNNRT_CPU_AVX2 | RNNRT_CPU_AVXVNNI; }
