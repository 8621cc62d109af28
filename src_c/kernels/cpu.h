/* Which instruction sets this CPU has and this operating system lets us use. */
#ifndef RNNRT_CPU_H
#define RNNRT_CPU_H

#include <stdint.h>

#define RNNRT_CPU_AVX2 1u       /* with F16C */
#define RNNRT_CPU_AVX512VNNI 2u /* with F, DQ, BW and VL; AVX2 and F16C */
#define RNNRT_CPU_NEON 4u
#define RNNRT_CPU_NEONDOT 8u
#define RNNRT_CPU_SSE41 16u /* with SSSE3 */
#define RNNRT_CPU_AVXVNNI 32u
#define RNNRT_CPU_NEONI8MM 64u

/* A set of the bits above. Asks the CPU every time: nothing is remembered. */
uint32_t rnnrt_cpu_features(void);

#endif
