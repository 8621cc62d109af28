/* The choice of an instruction set: one list, best first. */
#include "compiler.h"
#include "cpu.h"
#include "tables.h"

typedef struct entry {
    const rnnrt_kernels *table;
    uint32_t needs; /* RNNRT_CPU_* */
} entry;

static const entry best_first[] = {
#if defined(RNNRT_ARCH_X86)
    {&rnnrt_kernels_avx512vnni, RNNRT_CPU_AVX512VNNI},
#if defined(RNNRT_HAS_AVXVNNI)
    {&rnnrt_kernels_avxvnni, RNNRT_CPU_AVX2 | RNNRT_CPU_AVXVNNI},
#endif
    {&rnnrt_kernels_avx2, RNNRT_CPU_AVX2},
    {&rnnrt_kernels_sse41, RNNRT_CPU_SSE41},
#endif
#if defined(RNNRT_ARCH_AARCH64)
    {&rnnrt_kernels_neoni8mm, RNNRT_CPU_NEONDOT | RNNRT_CPU_NEONI8MM},
    {&rnnrt_kernels_neondot, RNNRT_CPU_NEONDOT},
    {&rnnrt_kernels_neon, RNNRT_CPU_NEON},
#endif
#if defined(RNNRT_HAS_WASM_SIMD)
    {&rnnrt_kernels_wasm, 0},
#endif
    {&rnnrt_kernels_scalar, 0},
};

#define ENTRIES (sizeof best_first / sizeof best_first[0])

static int same(const char *a, const char *b) {
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

const rnnrt_kernels *rnnrt_kernels_at(uint32_t i) {
    const uint32_t cpu = rnnrt_cpu_features();
    for (size_t e = 0; e < ENTRIES; e++) {
        if ((best_first[e].needs & ~cpu) == 0 && i-- == 0) { return best_first[e].table; }
    }
    return NULL;
}

const rnnrt_kernels *rnnrt_kernels_find(const char *isa) {
    const uint32_t cpu = rnnrt_cpu_features();
    for (size_t e = 0; isa && e < ENTRIES; e++) {
        if ((best_first[e].needs & ~cpu) == 0 && same(best_first[e].table->isa, isa)) { return best_first[e].table; }
    }
    return NULL;
}
