/* CRC-32C (Castagnoli: reflected polynomial 0x82F63B78, initial value and final xor all ones), the checksum of a file. */
#ifndef RNNRT_CRC32C_H
#define RNNRT_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues from `crc` (0 to start) over data [len]. */
typedef uint32_t (*rnnrt_crc32c_fn)(uint32_t crc, const void *data, size_t len);

/* Portable, small. */
uint32_t rnnrt_crc32c(uint32_t crc, const void *data, size_t len);
/* The fastest for this CPU: asks the CPU, so call it once and keep the pointer. */
rnnrt_crc32c_fn rnnrt_crc32c_best(void);

#endif
