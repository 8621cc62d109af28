/* The least time a step can take: reading every byte of the weights once, from whichever cache or memory holds them; and,
 * for batches, the int8 products that a core can make in a second. Compiled for this CPU and called by peer_backends.py. */
#include <stddef.h>
#include <stdint.h>

#ifdef __AVX512VNNI__
#include <immintrin.h>
#endif

typedef uint64_t line __attribute__((vector_size(64)));

enum { CHAINS = 8 }; /* independent loads in flight: more did not read faster */

/* Reads data [bytes], 64-byte aligned, `times` times, asking for what lies `ahead` bytes ahead (0: nothing); what is
 * returned depends on every bit. */
uint64_t bench_sweep(const void *data, size_t bytes, size_t times, size_t ahead) {
    const line *lines = data;
    size_t count = bytes / sizeof(line), far = ahead / sizeof(line);
    line sum[CHAINS] = {{0}};
    for (size_t t = 0; t < times; t++) {
        size_t i = 0;
        __asm__ volatile("" : "+r"(lines) : : "memory"); /* the same loads again, please */
        if (far > 0)
            for (; i + CHAINS + far <= count; i += CHAINS)
                for (size_t k = 0; k < CHAINS; k++) {
                    __builtin_prefetch(&lines[i + k + far]);
                    sum[k] |= lines[i + k];
                }
        for (; i + CHAINS <= count; i += CHAINS)
            for (size_t k = 0; k < CHAINS; k++) sum[k] |= lines[i + k];
        for (; i < count; i++) sum[0] |= lines[i];
    }
    uint64_t all = 0;
    for (size_t k = 0; k < CHAINS; k++)
        for (size_t i = 0; i < sizeof(line) / 8; i++) all |= sum[k][i];
    return all;
}

/* Makes int8 products in registers alone, `times` rounds; returns how many a round has, 0: not known for this CPU. */
uint64_t bench_products(size_t times) {
#ifdef __AVX512VNNI__
    __m512i sum[16], w = _mm512_set1_epi32(0x01020304), x = _mm512_set1_epi32(0x01010101);
    for (int k = 0; k < 16; k++) sum[k] = _mm512_setzero_si512();
    for (size_t t = 0; t < times; t++) {
        for (int k = 0; k < 16; k++) sum[k] = _mm512_dpbusd_epi32(sum[k], x, w);
        __asm__ volatile("" : "+v"(w)); /* not one product, multiplied */
    }
    for (int k = 1; k < 16; k++) sum[0] = _mm512_add_epi32(sum[0], sum[k]);
    __asm__ volatile("" : : "v"(sum[0]));
    return UINT64_C(16) * 64;
#else
    (void)times;
    return 0;
#endif
}
