/* CPU and OS detection: see cpu.h. */
#include "cpu.h"
#include "compiler.h"

#if defined(RNNRT_ARCH_X86)

#include <cpuid.h>

/* The register state that the OS saves on a context switch. Needs OSXSAVE. The mnemonic, because the intrinsic needs -mxsave. */
static uint64_t xcr0(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static int all(uint64_t word, uint64_t bits) { return (word & bits) == bits; }

/* Those whose registers an operating system must know to save. leaf1_c: ECX of CPUID leaf 1. */
static uint32_t avx_features(unsigned leaf1_c) {
    unsigned a, b, c, d;
    uint32_t found = 0;
    const unsigned osxsave_avx = 1u << 27 | 1u << 28, f16c = 1u << 29;
    if (!all(leaf1_c, osxsave_avx)) { return 0; }
    const int has_f16c = all(leaf1_c, f16c);
    const uint64_t saved = xcr0();
    const uint64_t ymm = 0x6;  /* SSE and AVX state */
    const uint64_t zmm = 0xE6; /* and opmasks, upper halves of ZMM0-15, ZMM16-31 */
    if (!all(saved, ymm) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) { return 0; }
    const unsigned subleaves = a;
    const unsigned avx2 = 1u << 5;
    const unsigned avx512_f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    const unsigned avx512_vnni = 1u << 11;
    if (all(b, avx2) && has_f16c) { found |= RNNRT_CPU_AVX2; }
    if (all(saved, zmm) && all(b, avx2 | avx512_f_dq_bw_vl) && has_f16c && all(c, avx512_vnni)) {
        found |= RNNRT_CPU_AVX512VNNI;
    }
    const unsigned avx_vnni = 1u << 4;
    if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && all(a, avx_vnni)) { found |= RNNRT_CPU_AVXVNNI; }
    return found;
}

uint32_t rnnrt_cpu_features(void) {
    unsigned a, b, c, d;
    const unsigned ssse3_sse41 = 1u << 9 | 1u << 19;
    if (!__get_cpuid(1, &a, &b, &c, &d)) { return 0; }
    return (all(c, ssse3_sse41) ? RNNRT_CPU_SSE41 : 0) | avx_features(c);
}

#elif defined(RNNRT_ARCH_AARCH64) && defined(__linux__)

#include <sys/auxv.h>

uint32_t rnnrt_cpu_features(void) {
    const unsigned long hwcap = getauxval(AT_HWCAP);
    const unsigned long hwcap2 = getauxval(AT_HWCAP2);
    /* Names in <asm/hwcap.h>, which is not everywhere. */
    const unsigned long asimd = 1ul << 1, asimddp = 1ul << 20, i8mm = 1ul << 13;
    uint32_t found = 0;
    if (hwcap & asimd) {
        found |= RNNRT_CPU_NEON;
        if (hwcap & asimddp) { found |= RNNRT_CPU_NEONDOT; }
        if (hwcap2 & i8mm) { found |= RNNRT_CPU_NEONI8MM; }
    }
    return found;
}

#elif defined(RNNRT_ARCH_AARCH64)

/* No portable way to ask: what the compiler was told to assume. */
uint32_t rnnrt_cpu_features(void) {
    uint32_t found = RNNRT_CPU_NEON;
#if defined(__ARM_FEATURE_DOTPROD)
    found |= RNNRT_CPU_NEONDOT;
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
    found |= RNNRT_CPU_NEONI8MM;
#endif
    return found;
}

#else

uint32_t rnnrt_cpu_features(void) { return 0; }

#endif
