/* What the kernels ask of the compiler: inlining, unrolling, and which instruction sets it can generate. */
#ifndef RNNRT_COMPILER_H
#define RNNRT_COMPILER_H

#include <stdint.h>

/* unused: a template defines more than each of its tables takes. */
#if defined(__GNUC__)
#define RNNRT_UNUSED __attribute__((unused))
#define RNNRT_INLINE static inline __attribute__((always_inline, unused))
#define RNNRT_NOINLINE __attribute__((noinline))
#else
#define RNNRT_UNUSED
#define RNNRT_INLINE static inline
#define RNNRT_NOINLINE
#endif

/* Before a loop of constant length: without complete unrolling an array of accumulators does not stay in registers. */
#if defined(__clang__)
#define RNNRT_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define RNNRT_UNROLL _Pragma("GCC unroll 32")
#else
#define RNNRT_UNROLL
#endif

/* Where a pointer goes on is not known: gcc keeps no address relative to it in a register of its own. */
#if defined(__GNUC__)
#define RNNRT_APART(p) __asm__("" : "+r"(p))
#else
#define RNNRT_APART(p) ((void)0)
#endif

/* Asks for the cache line at p, which need not exist. An address, as a pointer past an array's end would be undefined. */
static inline RNNRT_UNUSED void rnnrt_prefetch(uintptr_t p) {
#if defined(__GNUC__)
    __builtin_prefetch((const void *)p);
#else
    (void)p;
#endif
}

/* The same, but only as near as L2. */
static inline RNNRT_UNUSED void rnnrt_prefetch_l2(uintptr_t p) {
#if defined(__GNUC__)
    __builtin_prefetch((const void *)p, 0, 2);
#else
    (void)p;
#endif
}

/* Target attributes and intrinsics are spelled as in gcc and clang; other compilers get the portable kernels. */
#if defined(__GNUC__) && defined(__x86_64__) && !defined(__ILP32__)
#define RNNRT_ARCH_X86 1
#endif
/* The VEX encoding of VNNI came with gcc 11, clang 12 and Xcode 13. */
#if defined(RNNRT_ARCH_X86) && (defined(__clang__) ? __clang_major__ >= 13 : __GNUC__ >= 11)
#define RNNRT_HAS_AVXVNNI 1
#endif
#if defined(__wasm_simd128__)
#define RNNRT_HAS_WASM_SIMD 1
#endif
#if defined(__GNUC__) && defined(__aarch64__) && defined(__AARCH64EL__)
#define RNNRT_ARCH_AARCH64 1
#endif

#endif
