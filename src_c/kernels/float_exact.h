/* Includes come first from here: after this header a float operation is one IEEE operation, rounded once, whatever flags
 * the user compiles with. It stands before every intrinsics header, because gcc implements _mm256_mul_ps as the operator *
 * and would fuse it with a following add like any other.
 *
 * gcc:   -ffp-contract=fast is the default of -std=gnu*, so contraction is switched off for each function of the file.
 * clang: the default "on" respects the pragma. -ffp-contract=fast does not (the back end fuses whatever it finds), so
 *        there a product also passes through RNNRT_PRODUCT, an empty instruction that hides where it came from.
 */
#ifndef RNNRT_FLOAT_EXACT_H
#define RNNRT_FLOAT_EXACT_H

#include <float.h>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) ||                         \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "rnnrt gives the same bits on every CPU: compile it without -ffast-math"
#endif

/* 16 is 0 for everything but _Float16. */
#if !defined(FLT_EVAL_METHOD) || (FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16)
#error "rnnrt needs float operations rounded to float (on 32-bit x86: -msse2 -mfpmath=sse)"
#endif

/* Helium's floats flush denormals to zero, and compilers make vectors of them without being asked for inexact floats. */
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#define RNNRT_MVE_FLOATS 1
#else
#define RNNRT_MVE_FLOATS 0
#endif
#if RNNRT_MVE_FLOATS && defined(__clang__)
#error "rnnrt gives the same bits on every CPU: for clang leave Helium's floats out (-mcpu=cortex-m55+nomve.fp)"
#endif

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#if RNNRT_MVE_FLOATS
#pragma GCC optimize("no-tree-vectorize")
#endif
#else
#pragma STDC FP_CONTRACT OFF
#endif

#if defined(__clang__) && (defined(__x86_64__) || (defined(__i386__) && defined(__SSE2__)))
#define RNNRT_PRODUCT(v) __asm__("" : "+v"(v))
#elif defined(__clang__) && defined(__aarch64__)
#define RNNRT_PRODUCT(v) __asm__("" : "+w"(v))
#elif defined(__clang__) && defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4)
#define RNNRT_PRODUCT(v) __asm__("" : "+t"(v))
#elif defined(__clang__) && defined(__riscv_flen)
#define RNNRT_PRODUCT(v) __asm__("" : "+f"(v))
#else
#define RNNRT_PRODUCT(v) ((void)0)
#endif

/* clang 14 makes f32.max of a > b ? a : b, which takes +0 of -0 and +0 in either order: hide where the choice came from. */
#if defined(__clang__) && defined(__wasm__)
#define RNNRT_CHOICE(m) __asm__("" : "+r"(m))
#else
#define RNNRT_CHOICE(m) ((void)0)
#endif

#endif
