/* The reader of the file layout that format.h specifies: header, section table, checksums, padding. */
#include "format.h"

#include <string.h>

#include "../kernels/crc32c.h"

#define HEADER_BYTES 64u
#define TABLE_BYTES ((size_t)RNNRT_SECTIONS * 32u)

static uint32_t read_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t read_u64(const uint8_t *p) { return (uint64_t)read_u32(p) | (uint64_t)read_u32(p + 4) << 32; }

static int all_zero(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (p[i]) return 0;
    }
    return 1;
}

/* Records are used in place, so the host must store integers as the file does. */
static int host_is_little_endian(void) {
    const uint32_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

static uint32_t record_bytes(uint32_t kind) {
    switch (kind) {
    case RNNRT_SECTION_VALUES: return (uint32_t)sizeof(rnnrt_file_value);
    case RNNRT_SECTION_NODES: return (uint32_t)sizeof(rnnrt_file_node);
    case RNNRT_SECTION_REFS:
    case RNNRT_SECTION_INTS:
    case RNNRT_SECTION_FLOATS: return 4;
    default: return 0; /* STRINGS, META, DATA: bytes */
    }
}

/* Section `kind` must start at the multiple of 64 at or after *end, in [0, len]; moves *end behind it. */
static rnnrt_status read_section(rnnrt_file *file, const uint8_t *blob, size_t len, uint32_t kind, size_t *end) {
    const uint8_t *record = blob + HEADER_BYTES + (size_t)(kind - 1u) * 32u;
    const uint64_t offset = read_u64(record + 8), size = read_u64(record + 16);
    const uint32_t count = read_u32(record + 24), unit = record_bytes(kind);
    const size_t start =
        (*end + 63u) & ~(size_t)63u; /* *end <= len, and len + 63 is checked not to wrap by the caller */
    if (read_u32(record) != kind || read_u32(record + 28) != 0) return RNNRT_ERR_FORMAT;
    if (offset != start || start > len || size > len - start) return RNNRT_ERR_FORMAT;
    if (unit ? size != (uint64_t)count * unit : (kind == RNNRT_SECTION_STRINGS ? count == 0 : count != 0)) {
        return RNNRT_ERR_FORMAT;
    }
    if (!all_zero(blob + *end, start - *end)) return RNNRT_ERR_CHECKSUM; /* padding is as protected as the rest */
    file->section[kind].bytes = blob + start;
    file->section[kind].size = (size_t)size;
    file->section[kind].count = count;
    *end = start + (size_t)size;
    return RNNRT_OK;
}

rnnrt_status rnnrt_file_open(rnnrt_file *file, const void *blob, size_t len) {
    static const uint8_t magic[8] = {0x89, 'R', 'N', 'N', 'R', 'T', '\r', '\n'};
    const uint8_t *b = blob;
    size_t end = HEADER_BYTES + TABLE_BYTES;
    uint32_t crc;
    if (!b) return RNNRT_ERR_ARGUMENT;
    if (len >= 8 && memcmp(b, magic, 8) != 0) return RNNRT_ERR_MAGIC;
    if (len < end) return RNNRT_ERR_TRUNCATED;
    if (len > SIZE_MAX - 63u) return RNNRT_ERR_OVERFLOW;
    if ((uintptr_t)b % 64u != 0) return RNNRT_ERR_ALIGNMENT;
    if (!host_is_little_endian()) return RNNRT_ERR_FEATURE;
    crc = rnnrt_crc32c(rnnrt_crc32c(0, b, 60), b + HEADER_BYTES, TABLE_BYTES);
    if (crc != read_u32(b + 60)) return RNNRT_ERR_CHECKSUM;
    if (read_u32(b + 8) != RNNRT_FORMAT_VERSION) return RNNRT_ERR_VERSION;
    if (read_u32(b + 12) & ~RNNRT_FEATURES_KNOWN) return RNNRT_ERR_FEATURE;
    if (read_u64(b + 16) != len) return RNNRT_ERR_TRUNCATED;
    if (read_u32(b + 24) != RNNRT_SECTIONS || !all_zero(b + 32, 28)) return RNNRT_ERR_FORMAT;
    file->flags = read_u32(b + 28);
    file->features = read_u32(b + 12);
    if (file->flags & ~RNNRT_FLAGS_KNOWN) return RNNRT_ERR_FEATURE;
    for (uint32_t kind = 1; kind <= RNNRT_SECTIONS; kind++) {
        const rnnrt_status status = read_section(file, b, len, kind, &end);
        if (status) return status;
    }
    return end == len ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

rnnrt_status rnnrt_file_check(const rnnrt_file *file, const void *blob) {
    const rnnrt_crc32c_fn crc32c = rnnrt_crc32c_best();
    for (uint32_t kind = 1; kind <= RNNRT_SECTIONS; kind++) {
        const uint8_t *record = (const uint8_t *)blob + HEADER_BYTES + (size_t)(kind - 1u) * 32u;
        if (crc32c(0, file->section[kind].bytes, file->section[kind].size) != read_u32(record + 4)) {
            return RNNRT_ERR_CHECKSUM;
        }
    }
    return RNNRT_OK;
}

/* Sections start at multiples of 64 of an aligned blob, but a record is copied all the same: a blob is bytes, and a struct
 * pointer into it would break the aliasing rules where it is declared as an array. */
rnnrt_file_value rnnrt_file_value_at(const rnnrt_file *file, uint32_t i) {
    rnnrt_file_value value;
    memcpy(&value, file->section[RNNRT_SECTION_VALUES].bytes + (size_t)i * sizeof value, sizeof value);
    return value;
}

rnnrt_file_node rnnrt_file_node_at(const rnnrt_file *file, uint32_t i) {
    rnnrt_file_node node;
    memcpy(&node, file->section[RNNRT_SECTION_NODES].bytes + (size_t)i * sizeof node, sizeof node);
    return node;
}
