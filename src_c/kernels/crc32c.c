/* CRC-32C: a 16-entry table for any CPU, the CRC instructions of x86 (SSE4.2) and AArch64 where they are. */
#include "crc32c.h"

#include <string.h>

uint32_t rnnrt_crc32c(uint32_t crc, const void *data, size_t len) {
    /* table[n] = the CRC of the nibble n: n shifted right four times, xoring 0x82F63B78 for every 1 that falls out */
    static const uint32_t table[16] = {0x00000000u, 0x105EC76Fu, 0x20BD8EDEu, 0x30E349B1u, 0x417B1DBCu, 0x5125DAD3u,
                                       0x61C69362u, 0x7198540Du, 0x82F63B78u, 0x92A8FC17u, 0xA24BB5A6u, 0xB21572C9u,
                                       0xC38D26C4u, 0xD3D3E1ABu, 0xE330A81Au, 0xF36E6F75u};
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15u];
        crc = crc >> 4 ^ table[crc & 15u];
    }
    return ~crc;
}

#if (defined(__x86_64__) || (defined(__aarch64__) && defined(__linux__))) && defined(__GNUC__)
/* A CRC instruction takes 3 cycles and can start every cycle: long data is done as three lanes side by side, put together
 * by moving a lane's CRC past the bytes that follow: a product with a power of x, modulo the polynomial. Bit 31 is x^0. */
#define LONG_DATA 65536u

static uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
        if (a & bit) product ^= b;
        b = b & 1u ? b >> 1 ^ 0x82F63B78u : b >> 1;
    }
    return product;
}

/* x^(8 * bytes) */
static uint32_t past(size_t bytes) {
    uint32_t result = 1u << 31, square = 1u << 23;
    for (; bytes; bytes >>= 1) {
        if (bytes & 1u) result = multiply(square, result);
        square = multiply(square, square);
    }
    return result;
}

static uint32_t put_together(uint32_t a, uint32_t b, uint32_t c, size_t lane) {
    const uint32_t move = past(lane);
    return multiply(move, multiply(move, a) ^ b) ^ c;
}
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t len) {
    const uint8_t *p = data;
    uint64_t c = ~crc;
    if (len >= LONG_DATA) {
        const size_t lane = len / 24u * 8u;
        uint64_t second = 0, third = 0;
        for (size_t i = 0; i < lane; i += 8, p += 8) {
            uint64_t words[3];
            memcpy(&words[0], p, 8);
            memcpy(&words[1], p + lane, 8);
            memcpy(&words[2], p + 2 * lane, 8);
            c = _mm_crc32_u64(c, words[0]);
            second = _mm_crc32_u64(second, words[1]);
            third = _mm_crc32_u64(third, words[2]);
        }
        c = put_together((uint32_t)c, (uint32_t)second, (uint32_t)third, lane);
        p += 2 * lane;
        len -= 3 * lane;
    }
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = _mm_crc32_u64(c, word);
    }
    for (; len; len--, p++) c = _mm_crc32_u8((uint32_t)c, *p);
    return ~(uint32_t)c;
}

rnnrt_crc32c_fn rnnrt_crc32c_best(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2) ? crc32c_sse42 : rnnrt_crc32c;
}

#elif defined(__aarch64__) && defined(__linux__) && defined(__GNUC__)
#include <sys/auxv.h>

#define RNNRT_HWCAP_CRC32 (1ul << 7)

#if defined(__clang__)
#define CRC32C_TARGET "crc"
#define CRC32C_8(crc, word) __builtin_arm_crc32cd(crc, word)
#define CRC32C_1(crc, byte) __builtin_arm_crc32cb(crc, byte)
#else
#define CRC32C_TARGET "+crc"
#define CRC32C_8(crc, word) __builtin_aarch64_crc32cx(crc, word)
#define CRC32C_1(crc, byte) __builtin_aarch64_crc32cb(crc, byte)
#endif

__attribute__((target(CRC32C_TARGET))) static uint32_t crc32c_arm(uint32_t crc, const void *data, size_t len) {
    const uint8_t *p = data;
    crc = ~crc;
    if (len >= LONG_DATA) {
        const size_t lane = len / 24u * 8u;
        uint32_t second = 0, third = 0;
        for (size_t i = 0; i < lane; i += 8, p += 8) {
            uint64_t words[3];
            memcpy(&words[0], p, 8);
            memcpy(&words[1], p + lane, 8);
            memcpy(&words[2], p + 2 * lane, 8);
            crc = CRC32C_8(crc, words[0]);
            second = CRC32C_8(second, words[1]);
            third = CRC32C_8(third, words[2]);
        }
        crc = put_together(crc, second, third, lane);
        p += 2 * lane;
        len -= 3 * lane;
    }
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = CRC32C_8(crc, word);
    }
    for (; len; len--, p++) crc = CRC32C_1(crc, *p);
    return ~crc;
}

rnnrt_crc32c_fn rnnrt_crc32c_best(void) { return getauxval(AT_HWCAP) & RNNRT_HWCAP_CRC32 ? crc32c_arm : rnnrt_crc32c; }

#else
rnnrt_crc32c_fn rnnrt_crc32c_best(void) { return rnnrt_crc32c; }
#endif
