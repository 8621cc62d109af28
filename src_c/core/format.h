/* The .rnnrt file, version 1: specification and reader.
 *
 * Little-endian throughout; IEEE 754 floats. A file is used in place (mmapped or in flash): nothing is unpacked.
 *
 *   offset  bytes
 *   0       8      magic  89 52 4E 4E 52 54 0D 0A  ("\x89RNNRT\r\n": a text-mode copy destroys it)
 *   8       4      version            u32, 1
 *   12      4      required features  u32, RNNRT_FEATURE_*: a reader refuses bits that it does not know
 *   16      8      file size          u64, exact
 *   24      4      sections           u32, 8
 *   28      4      flags              u32, RNNRT_FLAG_*
 *   32      28     zero
 *   60      4      CRC-32C of bytes [0, 60) followed by the section table
 *   64      8*32   section table, one record a section, in the order below:
 *                    u32 kind (1..8)  u32 CRC-32C of the section's bytes  u64 offset  u64 size  u32 count  u32 zero
 *   320            sections, each at the next multiple of 64 after the one before it; the gap is zero bytes.
 *                  The file ends where the last section ends.
 *
 *   kind  section  record
 *   1     STRINGS  UTF-8 strings, each ended by NUL; offset 0 is the empty string; count = number of strings
 *   2     VALUES   64 bytes: see rnnrt_file_value
 *   3     NODES    32 bytes: see rnnrt_file_node; in an order in which every input is defined before it is used
 *   4     REFS     u32 value numbers; RNNRT_NONE for an input or output left out
 *   5     INTS     i32
 *   6     FLOATS   f32
 *   7     META     UTF-8 JSON (count = 0): the converter's report; not read by the runtime
 *   8     DATA     constants, each at a multiple of 64 (count = 0); bytes between them are zero
 *
 * Graph inputs, outputs and states come in the order of their value records.
 * A state variable is a pair of values: RNNRT_VALUE_STATE (read by the graph; its `pair` is the value holding
 * what it becomes at the end of a time step: a TEMP or INPUT value of the same shape). Its initial value is zero or the
 * PLAIN f32 constant numbered `init`: of the state's shape, with 1 for its batch dimension (at most one), which it is
 * repeated over.
 *
 * Layouts of a constant:
 *   PLAIN  row-major, `dims` elements
 *   R16C1  f32 or f16 matrix [rows, cols]: element (r, c) at [(r/16)*cols*16 + c*16 + r%16]; rows padded to 16 with zeros.
 *          f16: IEEE 754 binary16, neither infinite nor NaN (needs RNNRT_FEATURE_F16)
 *   R16C4  s8 matrix [rows, cols], R = rows rounded up to 16, C = cols rounded up to 4:
 *            f32 scale[R]   (padding 0)
 *            i32 row_sum[R] (sum over the row's weights; corrects the unsigned multiply forms)
 *            s8  w[R*C]     element (r, c) at [(r/16)*C*16 + (c/4)*64 + (r%16)*4 + c%4], never -128, padding 0
 *          All three parts start at multiples of 64 because R is a multiple of 16.
 *   R16G32 s4 matrix [rows, cols], R = rows rounded up to 16, G = cols / 32 rounded up; weight = scale * step * (nibble - 8):
 *            f32 scale[R]   (padding 0)
 *            s8  step[R*G]  group g of row r at [((r/16)*G + g)*16 + r%16], never -128, padding 0; then zeros up to a
 *                           multiple of 64. The magnitudes of a row add up to at most RNNRT_S4_STEPS.
 *            u8  w[R*G*16]  column 32*g + 8*t + 4*h + k of row r in byte [((r/16)*G + g)*256 + t*64 + (r%16)*4 + k]:
 *                           the low nibble for h = 0, the high one for h = 1; padding 8
 */
#ifndef RNNRT_FORMAT_H
#define RNNRT_FORMAT_H

#include "../include/rnnrt.h"

#define RNNRT_FORMAT_VERSION 1u
#define RNNRT_NONE 0xFFFFFFFFu

#define RNNRT_FEATURE_S8 1u  /* has R16C4 constants */
#define RNNRT_FEATURE_F16 2u /* has f16 constants */
#define RNNRT_FEATURE_S4 4u  /* has R16G32 constants */
#define RNNRT_FEATURES_KNOWN (RNNRT_FEATURE_S8 | RNNRT_FEATURE_F16 | RNNRT_FEATURE_S4)

#define RNNRT_FLAG_STREAMABLE 1u
#define RNNRT_FLAGS_KNOWN (RNNRT_FLAG_STREAMABLE)

enum rnnrt_section_kind {
    RNNRT_SECTION_STRINGS = 1,
    RNNRT_SECTION_VALUES,
    RNNRT_SECTION_NODES,
    RNNRT_SECTION_REFS,
    RNNRT_SECTION_INTS,
    RNNRT_SECTION_FLOATS,
    RNNRT_SECTION_META,
    RNNRT_SECTION_DATA,
    RNNRT_SECTIONS = 8
};

enum rnnrt_value_kind { RNNRT_VALUE_TEMP = 0, RNNRT_VALUE_INPUT = 1, RNNRT_VALUE_CONST = 2, RNNRT_VALUE_STATE = 3 };
enum rnnrt_layout { RNNRT_PLAIN = 0, RNNRT_R16C1 = 1, RNNRT_R16C4 = 2, RNNRT_R16G32 = 3 };

/* 64 bytes, no padding. TEMP values: dims and dtype are declared for outputs; otherwise ndim 0 and dtype 0
 * (the shape functions tell). */
typedef struct rnnrt_file_value {
    uint32_t name;                /* offset in STRINGS */
    uint8_t kind;                 /* rnnrt_value_kind */
    uint8_t dtype;                /* rnnrt_dtype */
    uint8_t layout;               /* rnnrt_layout; PLAIN unless CONST */
    uint8_t ndim;                 /* <= RNNRT_MAX_RANK */
    int32_t dims[RNNRT_MAX_RANK]; /* INPUT and outputs: symbols allowed; CONST: numbers; STATE: numbers or BATCH */
    uint8_t is_output;            /* 1: a graph output */
    uint8_t zero[3];
    uint32_t pair; /* STATE: the value that becomes it, else RNNRT_NONE */
    uint32_t init; /* STATE: the PLAIN constant it starts from or RNNRT_NONE for zero; else RNNRT_NONE */
    uint32_t zero2;
    uint64_t data; /* CONST: offset in DATA, a multiple of 64; else 0 */
    uint64_t size; /* CONST: bytes in DATA, exactly what dtype, layout and dims say; else 0 */
} rnnrt_file_value;

/* 32 bytes, no padding. */
typedef struct rnnrt_file_node {
    uint32_t name;   /* offset in STRINGS: the ONNX node's name */
    uint16_t op;     /* operator code: registry.c */
    uint8_t inputs;  /* REFS [first_ref, first_ref + inputs) */
    uint8_t outputs; /* REFS [first_ref + inputs, ... + outputs) */
    uint32_t first_ref;
    uint32_t first_int;
    uint32_t ints;
    uint32_t first_float;
    uint32_t floats;
    uint32_t zero;
} rnnrt_file_node;

typedef struct rnnrt_section {
    const uint8_t *bytes;
    size_t size;
    uint32_t count;
} rnnrt_section;

/* A blob whose header, section table and padding have been verified. */
typedef struct rnnrt_file {
    uint32_t flags, features;
    rnnrt_section section[RNNRT_SECTIONS + 1]; /* by kind; [0] unused */
} rnnrt_file;

/* Reads and verifies the header, its checksum, the section table and the padding between sections. */
rnnrt_status rnnrt_file_open(rnnrt_file *file, const void *blob, size_t len);
/* Verifies the checksum of every section. */
rnnrt_status rnnrt_file_check(const rnnrt_file *file, const void *blob);
/* i < count of the section. */
rnnrt_file_value rnnrt_file_value_at(const rnnrt_file *file, uint32_t i);
rnnrt_file_node rnnrt_file_node_at(const rnnrt_file *file, uint32_t i);

#endif
