/* libFuzzer target: bytes whose checksums, magic and file size are set right first, so that what lies behind them (every
 * record, every operator's check and shape function, and a run) sees contradictions. */
#include <stdlib.h>
#include <string.h>

#include "../../src_c/core/format.h"
#include "../../src_c/kernels/crc32c.h"
#include "drive.h"

#define TABLE 64u
#define RECORD 32u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void put(uint8_t *at, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *at) {
    uint64_t value = 0;
    for (size_t i = 8; i > 0; i--) value = value << 8 | at[i - 1];
    return value;
}

/* blob: [len], len >= TABLE + RNNRT_SECTIONS * RECORD. */
static void seal(uint8_t *blob, size_t len) {
    static const uint8_t magic[8] = {0x89, 'R', 'N', 'N', 'R', 'T', '\r', '\n'};
    memcpy(blob, magic, sizeof magic);
    put(blob + 8, RNNRT_FORMAT_VERSION, 4);
    put(blob + 16, len, 8);
    for (uint32_t i = 0; i < RNNRT_SECTIONS; i++) {
        uint8_t *record = blob + TABLE + i * RECORD;
        const uint64_t offset = get(record + 8), size = get(record + 16);
        if (offset <= len && size <= len - offset)
            put(record + 4, rnnrt_crc32c(0, blob + (size_t)offset, (size_t)size), 4);
    }
    const uint32_t head = rnnrt_crc32c(0, blob, 60);
    put(blob + 60, rnnrt_crc32c(head, blob + TABLE, RNNRT_SECTIONS * RECORD), 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    if (len < TABLE + RNNRT_SECTIONS * RECORD) return 0;
    uint8_t *blob = (uint8_t *)malloc(len);
    memcpy(blob, data, len);
    seal(blob, len);
    drive(blob, len);
    free(blob);
    return 0;
}
