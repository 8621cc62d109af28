"""Handmade malformed .rnnrt files, each with the status that `rnnrt_model_init` or `rnnrt_state_init` must give.

The base is a GRU (20 units, 5 inputs, s8) with its state, Squeeze, Gemm to 17 and Add; its records are numbered by the
constants below. A case is a name, an edit and a status; checksums are set right afterwards unless it is about them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from rnnrt.converters import write

OK, TRUNCATED, MAGIC, VERSION, FEATURE, CHECKSUM, FORMAT, OPERATOR, SHAPE, OVERFLOW = 0, 3, 4, 5, 6, 7, 8, 9, 10, 11
HEADER = 0
U8, U16, I32, U32, U64, F32 = "<B", "<H", "<i", "<I", "<Q", "<f"
NONE = 0xFFFFFFFF
HUGE = 2**32 - 1
VALUE, NODE = 64, 32  # bytes of a record

X, Y, STATE, W, R, BW, BR, G, H1, S, HEAD, Z, C = range(13)  # values
GRU, SQUEEZE, GEMM, ADD = range(4)  # nodes
# where in a value record
NAME, KIND, DTYPE, LAYOUT, NDIM = (0, U32), (4, U8), (5, U8), (6, U8), (7, U8)
DIMS, IS_OUTPUT, ZERO, PAIR, INIT = (8, I32), (32, U8), (33, U8), (36, U32), (40, U32)
ZERO2, DATA_AT, SIZE = (44, U32), (48, U64), (56, U64)
# where in a node record
N_NAME, OP, INPUTS, OUTPUTS, FIRST_REF = (0, U32), (4, U16), (6, U8), (7, U8), (8, U32)
FIRST_INT, INTS, FIRST_FLOAT, FLOATS, N_ZERO = (12, U32), (16, U32), (20, U32), (24, U32), (28, U32)

Edit = Callable[[bytearray], None]


@dataclass(frozen=True)
class Case:
    """One malformed file."""

    name: str
    edit: Edit
    status: int
    sealed: bool = True  # checksums set right after the edit


def section(blob: bytes | bytearray, kind: int) -> tuple[int, int]:
    """Offset and size of a section; the header's are 0 and 320."""
    if kind == HEADER:
        return 0, 320
    offset, size = struct.unpack_from("<QQ", blob, 64 + 32 * (kind - 1) + 8)
    return int(offset), int(size)


def put(kind: int, at: int, layout: str, value: float) -> Edit:
    """Write a number into a section; at < 0 counts from its end."""

    def edit(blob: bytearray) -> None:
        offset, size = section(blob, kind)
        struct.pack_into(layout, blob, offset + (at if at >= 0 else size + at), value)

    return edit


def value(index: int, field: tuple[int, str], number: int, axis: int = 0) -> Edit:
    """Write a field of a value record."""
    return put(write.VALUES, index * VALUE + field[0] + 4 * axis, field[1], number)


def node(index: int, field: tuple[int, str], number: int) -> Edit:
    """Write a field of a node record."""
    return put(write.NODES, index * NODE + field[0], field[1], number)


def ref(index: int, number: int) -> Edit:
    """Write a reference."""
    return put(write.REFS, 4 * index, U32, number)


def attribute(index: int, number: int) -> Edit:
    """Write an integer attribute."""
    return put(write.INTS, 4 * index, I32, number)


def table(kind: int, at: int, layout: str, number: int) -> Edit:
    """Write into a section's record of the table."""
    return put(HEADER, 64 + 32 * (kind - 1) + at, layout, number)


def both(*edits: Edit) -> Edit:
    """One edit after another."""

    def edit(blob: bytearray) -> None:
        for e in edits:
            e(blob)

    return edit


def cut(length: int) -> Edit:
    """Keep the first bytes only."""

    def edit(blob: bytearray) -> None:
        del blob[length:]

    return edit


def append(tail: bytes) -> Edit:
    """Bytes behind the end; the header's file size stays."""
    return lambda blob: blob.extend(tail)


def padding(kind: int) -> Edit:
    """The byte behind a section, which must be a zero."""

    def edit(blob: bytearray) -> None:
        offset, size = section(blob, kind)
        assert (offset + size) % 64, "no padding there"
        blob[offset + size] = 1

    return edit


def shift(kind: int, number: int) -> Edit:
    """Move a section's start in the table."""

    def edit(blob: bytearray) -> None:
        offset, _ = section(blob, kind)
        table(kind, 8, U64, (offset + number) % 2**64)(blob)

    return edit


def resize(kind: int, number: int) -> Edit:
    """Change a section's size in the table."""

    def edit(blob: bytearray) -> None:
        _, size = section(blob, kind)
        table(kind, 16, U64, (size + number) % 2**64)(blob)

    return edit


def sealed(blob: bytearray) -> bytes:
    """With right checksums, as far as the table points into the file."""
    if len(blob) >= 320:
        for at in range(64, 320, 32):
            offset, size = struct.unpack_from("<QQ", blob, at + 8)
            if offset + size <= len(blob):
                struct.pack_into("<I", blob, at + 4, write.crc32c(bytes(blob[offset : offset + size])))
        struct.pack_into("<I", blob, 60, write.crc32c(bytes(blob[:60] + blob[64:320])))
    return bytes(blob)


NAMES = {
    write.STRINGS: "strings",
    write.VALUES: "values",
    write.NODES: "nodes",
    write.REFS: "refs",
    write.INTS: "ints",
    write.FLOATS: "floats",
    write.META: "meta",
    write.DATA: "data",
}
COUNTED = (write.VALUES, write.NODES, write.REFS, write.INTS, write.FLOATS)


def _header() -> list[Case]:
    cases = [Case(f"magic byte {i}", put(HEADER, i, U8, 0x41 + i), MAGIC) for i in range(8)]
    cases += [Case(f"cut to {n} bytes", cut(n), TRUNCATED) for n in (0, 1, 7, 8, 63, 64, 319)]
    cases += [Case("cut to the table", cut(320), TRUNCATED), Case("cut inside a section", cut(321), TRUNCATED)]
    cases += [Case(f"version {v}", put(HEADER, 8, U32, v), VERSION) for v in (0, 2, HUGE)]
    cases += [Case(f"unknown features {f:#x}", put(HEADER, 12, U32, f), FEATURE) for f in (1 << 31, 1 << 30, HUGE)]
    cases += [Case("s8 without its feature", put(HEADER, 12, U32, 0), FORMAT)]
    cases += [
        Case(f"file size {n}", put(HEADER, 16, U64, n), TRUNCATED) for n in (0, 320, 2**31, 2**32, 2**63, 2**64 - 1)
    ]
    cases += [Case(f"{n} sections", put(HEADER, 24, U32, n), FORMAT) for n in (0, 7, 9, HUGE)]
    cases += [Case(f"unknown flags {f:#x}", put(HEADER, 28, U32, f), FEATURE) for f in (1 << 31, HUGE)]
    cases += [Case(f"header byte {i} is not zero", put(HEADER, i, U8, 1), FORMAT) for i in (32, 45, 59)]
    cases += [
        Case("bytes behind the end", append(b"\0"), TRUNCATED),
        Case("a second file behind the end", append(bytes(64)), TRUNCATED),
        Case("wrong checksum of the header", put(HEADER, 60, U32, 0), CHECKSUM, sealed=False),
        Case("wrong checksum of the table", table(write.DATA, 28, U32, 1), CHECKSUM, sealed=False),
    ]
    return cases


def _table() -> list[Case]:
    cases = []
    for kind, name in NAMES.items():
        cases += [
            Case(f"{name}: a byte of the section differs", put(kind, 0, U8, 0xA5), CHECKSUM, sealed=False),
            Case(f"{name}: another kind", table(kind, 0, U32, kind % 8 + 1), FORMAT),
            Case(f"{name}: kind 0", table(kind, 0, U32, 0), FORMAT),
            Case(f"{name}: starts 64 bytes later", shift(kind, 64), FORMAT),
            Case(f"{name}: starts one byte later", shift(kind, 1), FORMAT),
            Case(f"{name}: starts at 2^64 - 64 (sum overflow)", table(kind, 8, U64, 2**64 - 64), FORMAT),
            Case(f"{name}: size 2^64 - 1 (sum overflow)", table(kind, 16, U64, 2**64 - 1), FORMAT),
            Case(f"{name}: size 2^63", table(kind, 16, U64, 2**63), FORMAT),
            Case(f"{name}: size beyond the end", resize(kind, 1 << 20), FORMAT),
            Case(
                f"{name}: count 2^32 - 1 (count overflow)",
                table(kind, 24, U32, HUGE),
                FORMAT if kind != write.STRINGS else OK,
            ),
            Case(f"{name}: reserved word", table(kind, 28, U32, 1), FORMAT),
        ]
    for kind in COUNTED:
        unit = {write.VALUES: VALUE, write.NODES: NODE}.get(kind, 4)
        name = NAMES[kind]
        cases += [
            Case(f"{name}: count 0", table(kind, 24, U32, 0), FORMAT),
            Case(f"{name}: size of half a record", resize(kind, -unit // 2), FORMAT),
            # count * unit = size in 32 bits, not in 64
            Case(f"{name}: count * unit wraps (product overflow)", _wrapped(kind, unit), FORMAT),
        ]
    cases += [
        Case("strings: none", table(write.STRINGS, 24, U32, 0), FORMAT),
        Case("strings: the first is not empty", put(write.STRINGS, 0, U8, 65), FORMAT),
        Case("strings: the last has no end", put(write.STRINGS, -1, U8, 65), FORMAT),
        Case("strings: size 0", table(write.STRINGS, 16, U64, 0), FORMAT),
        Case("data: one byte short (end of file)", resize(write.DATA, -1), FORMAT),
    ]
    cases += [
        Case(f"{NAMES[k]}: padding is not zero", padding(k), CHECKSUM) for k in (write.STRINGS, write.INTS, write.META)
    ]
    return cases


def _wrapped(kind: int, unit: int) -> Edit:
    def edit(blob: bytearray) -> None:
        _, size = section(blob, kind)
        table(kind, 24, U32, (size // unit + 2**32 // unit) % 2**32)(blob)

    return edit


def _values() -> list[Case]:
    cases = [
        Case("value: name behind the strings", value(X, NAME, 10**6), FORMAT),
        Case("value: name 2^32 - 1", value(X, NAME, HUGE), FORMAT),
        Case("value: kind 4", value(X, KIND, 4), FORMAT),
        Case("value: kind 255", value(X, KIND, 255), FORMAT),
        Case("value: 7 dimensions", value(X, NDIM, 7), FORMAT),
        Case("value: 255 dimensions", value(X, NDIM, 255), FORMAT),
        Case("value: a dimension beyond the rank", value(X, DIMS, 1, axis=4), FORMAT),
        Case("value: dimension -1", value(X, DIMS, -1), FORMAT),
        Case("value: dimension -4", value(X, DIMS, -4), FORMAT),
        Case("value: dimension -2^31", value(X, DIMS, -(2**31)), FORMAT),
        Case("value: output flag 2", value(Y, IS_OUTPUT, 2), FORMAT),
        Case("value: reserved byte", value(Y, ZERO, 1), FORMAT),
        Case("value: reserved word", value(Y, ZERO2, 1), FORMAT),
        Case("value: layout 255", value(W, LAYOUT, 255), FORMAT),
        Case("input: dtype 0", value(X, DTYPE, 0), FORMAT),
        Case("input: dtype s8", value(X, DTYPE, 2), FORMAT),
        Case("input: dtype 255", value(X, DTYPE, 255), FORMAT),
        Case("input: packed", value(X, LAYOUT, 2), FORMAT),
        Case("input: data", value(X, SIZE, 64), FORMAT),
        Case("input: pair", value(X, PAIR, 1), FORMAT),
        Case("input: initial value", value(X, INIT, BW), FORMAT),
        Case("input: turned into a constant", value(X, KIND, 2), FORMAT),
        Case("input: turned into a state", value(X, KIND, 3), FORMAT),
        Case("input: another width than W", value(X, DIMS, 6, axis=2), SHAPE),
        Case("input: rank 2", both(value(X, NDIM, 2), value(X, DIMS, 0, axis=2)), SHAPE),
        Case(
            "input: dims multiply to 2^62 (product overflow)",
            both(value(X, DIMS, 2**31 - 1), value(X, DIMS, 2**31 - 1, axis=1)),
            OVERFLOW,
        ),
        Case("temp: has a dtype", value(G, DTYPE, 1), FORMAT),
        Case("temp: data", value(G, DATA_AT, 64), FORMAT),
        Case("temp: pair", value(G, PAIR, 1), FORMAT),
        Case("temp: nobody makes it", ref(7, NONE), FORMAT),
        Case("output: none", value(Y, IS_OUTPUT, 0), FORMAT),
        Case("output: dtype 0", value(Y, DTYPE, 0), FORMAT),
        Case("output: another width", value(Y, DIMS, 18, axis=2), SHAPE),
        Case("output: another rank", both(value(Y, NDIM, 2), value(Y, DIMS, 0, axis=2)), SHAPE),
        Case("state: time in its shape", value(STATE, DIMS, -2), FORMAT),
        Case("state: pair none", value(STATE, PAIR, NONE), FORMAT),
        Case("state: pair out of range", value(STATE, PAIR, 13), FORMAT),
        Case("state: pair is itself", value(STATE, PAIR, STATE), FORMAT),
        Case("state: pair is a constant", value(STATE, PAIR, BW), FORMAT),
        Case("state: pair has another shape", value(STATE, PAIR, Y), SHAPE),
        Case("state: integer", value(STATE, DTYPE, 3), FORMAT),
        Case("state: packed", value(STATE, LAYOUT, 1), FORMAT),
        Case("state: starts from a value out of range", value(STATE, INIT, 13), FORMAT),
        Case("state: starts from a temp", value(STATE, INIT, G), FORMAT),
        Case("state: starts from a packed matrix", value(STATE, INIT, W), FORMAT),
        Case("state: starts from another shape", value(STATE, INIT, C), FORMAT),
        Case("state: another number of units", value(STATE, DIMS, 21, axis=2), SHAPE),
    ]
    for what, field, numbers in (
        ("offset", DATA_AT, (1, 32, 2**20, 2**40, 2**63, 2**64 - 64)),
        ("size", SIZE, (0, 64, 1535, 1537, 2**32, 2**64 - 1)),
    ):
        cases += [Case(f"constant: {what} {n}", value(W, field, n), FORMAT) for n in numbers]
    cases += [
        Case("constant: rows 2^31 - 1 (product overflow)", value(W, DIMS, 2**31 - 1), FORMAT),
        Case("constant: columns 2^31 - 1 (product overflow)", value(W, DIMS, 2**31 - 1, axis=1), FORMAT),
        Case(
            "constant: both 2^31 - 1 (product overflow)",
            both(value(W, DIMS, 2**31 - 1), value(W, DIMS, 2**31 - 1, axis=1)),
            FORMAT,
        ),
        Case("constant: 131073 columns", value(W, DIMS, 131073, axis=1), FORMAT),
        Case("constant: no rows", value(W, DIMS, 0), FORMAT),
        Case("constant: no columns", value(W, DIMS, 0, axis=1), FORMAT),
        Case("constant: rows symbolic", value(W, DIMS, -2), FORMAT),
        Case("constant: one more row block (padding overflow)", value(W, DIMS, 97), FORMAT),
        Case("constant: one more column group (padding overflow)", value(W, DIMS, 9, axis=1), FORMAT),
        Case("constant: packed, 1 dimension", both(value(W, NDIM, 1), value(W, DIMS, 0, axis=1)), FORMAT),
        Case("constant: packed, 3 dimensions", both(value(W, NDIM, 3), value(W, DIMS, 1, axis=2)), FORMAT),
        Case("constant: s8 called float", value(W, DTYPE, 1), FORMAT),
        Case("constant: s8 in the layout of f32", value(W, LAYOUT, 1), FORMAT),
        Case("constant: s8 as rows", value(W, LAYOUT, 0), FORMAT),
        Case("constant: f32 in the layout of s8", value(C, LAYOUT, 2), FORMAT),
        Case(
            "constant: 2^62 elements (product overflow)",
            both(value(C, NDIM, 2), value(C, DIMS, 2**31 - 1), value(C, DIMS, 2**31 - 1, axis=1)),
            FORMAT,
        ),
        Case(
            "constant: elements wrap to the right size (product overflow)",
            both(value(C, NDIM, 3), value(C, DIMS, 2**16), value(C, DIMS, 2**16, axis=1), value(C, DIMS, 17, axis=2)),
            FORMAT,
        ),
        Case("constant: bias of another length", value(BW, DIMS, 95), FORMAT),
    ]
    data = (write.DATA,)
    cases += [
        Case("weights: -128", put(*data, 96 * 8, U8, 0x80), FORMAT),
        Case("weights: wrong row sum", put(*data, 96 * 4, I32, 2**31 - 1), FORMAT),
        Case("weights: scale NaN", put(*data, 0, F32, float("nan")), FORMAT),
        Case("weights: scale infinite", put(*data, 0, F32, float("inf")), FORMAT),
        Case("weights: scale negative", put(*data, 0, F32, -1.0), FORMAT),
        Case("weights: a column beyond the last is not zero", put(*data, 96 * 8 + 64 + 1, U8, 1), FORMAT),
        Case("weights: a row beyond the last has a scale", put(*data, 4992 + 17 * 4, F32, 1.0), FORMAT),
        Case("data: bytes between constants", put(*data, 5888 + 68 - 1, U8, 0), CHECKSUM, sealed=False),
    ]
    return cases


def _nodes() -> list[Case]:
    cases = [
        Case("node: name behind the strings", node(GRU, N_NAME, 10**6), FORMAT),
        Case("node: reserved word", node(GRU, N_ZERO, 1), FORMAT),
        Case("node: operator 0", node(GRU, OP, 0), OPERATOR),
        Case("node: operator 999", node(GRU, OP, 999), OPERATOR),
        Case("node: operator 65535", node(GRU, OP, 65535), OPERATOR),
        Case("node: 255 inputs", node(GRU, INPUTS, 255), FORMAT),
        Case("node: 255 outputs", node(GRU, OUTPUTS, 255), FORMAT),
        Case("node: no input", node(SQUEEZE, INPUTS, 0), FORMAT),
        Case("node: no output", node(SQUEEZE, OUTPUTS, 0), FORMAT),
        Case("node: first reference 2^32 - 1 (sum overflow)", node(ADD, FIRST_REF, HUGE), FORMAT),
        Case("node: first reference at the end", node(ADD, FIRST_REF, 17), FORMAT),
        Case("node: last reference beyond the end", node(ADD, FIRST_REF, 15), FORMAT),
        Case("node: first integer 2^32 - 1 (sum overflow)", node(GRU, FIRST_INT, HUGE), FORMAT),
        Case("node: 2^32 - 1 integers (count overflow)", node(GRU, INTS, HUGE), FORMAT),
        Case("node: integers beyond the end", node(GEMM, FIRST_INT, 10), FORMAT),
        Case("node: one integer missing", node(GRU, INTS, 7), FORMAT),
        Case("node: one integer too many", node(GRU, INTS, 9), FORMAT),
        Case("node: first float 2^32 - 1 (sum overflow)", node(GRU, FIRST_FLOAT, HUGE), FORMAT),
        Case("node: 2^32 - 1 floats (count overflow)", node(GRU, FLOATS, HUGE), FORMAT),
        Case("node: one float missing", node(GRU, FLOATS, 4), FORMAT),
        Case("node: one float too many", node(GRU, FLOATS, 6), FORMAT),
        Case("node: an input made later", ref(0, S), FORMAT),
        Case("node: its own output as input", ref(0, G), FORMAT),
        Case("node: input out of range", ref(0, 13), FORMAT),
        Case("node: input 2^32 - 2", ref(0, HUGE - 1), FORMAT),
        Case("node: required input left out", ref(0, NONE), FORMAT),
        Case("node: required output left out", ref(10, NONE), FORMAT),
        Case("node: writes a constant", ref(10, C), FORMAT),
        Case("node: writes an input", ref(10, X), FORMAT),
        Case("node: writes a state", ref(10, STATE), FORMAT),
        Case("node: a value made twice", ref(13, S), FORMAT),
        Case("node: all nodes gone", both(table(write.NODES, 24, U32, 0), table(write.NODES, 16, U64, 0)), FORMAT),
        Case("GRU: W is a plain constant", ref(1, BW), FORMAT),
        Case("GRU: W is data", ref(1, X), FORMAT),
        Case("GRU: W is R", both(ref(1, R), ref(2, W)), FORMAT),
        Case("GRU: bias is a packed matrix", ref(3, W), FORMAT),
        Case("GRU: bias of another length", ref(3, C), FORMAT),
        Case("GRU: lengths are floats", ref(5, X), SHAPE),
        Case("GRU: initial_h is the input", ref(6, X), SHAPE),
        Case("Gemm: the input's width is not the matrix's", ref(12, W), SHAPE),
        Case("Gemm: the matrix is plain", ref(12, C), FORMAT),
        Case("Add: operands do not fit", ref(15, BW), SHAPE),
        Case("Add: a packed operand", ref(15, W), FORMAT),
    ]
    for what, index, numbers in (
        ("hidden_size", 0, (0, -1, 19, 21, 96, 2**31 - 1, -(2**31))),
        ("direction", 1, (-1, 2, 3)),
        ("layout", 2, (-1, 2)),
        ("linear_before_reset", 3, (-1, 2)),
        ("input_forget", 4, (1, 2)),
        ("clip_set", 5, (-1, 2)),
        ("activation", 6, (-2, 99, 2**31 - 1)),
    ):
        cases += [Case(f"GRU: {what} {n}", attribute(index, n), FORMAT) for n in numbers]
    cases += [Case(f"Squeeze: axis {n}", attribute(8, n), SHAPE) for n in (0, 3, 4, -5, 2**31 - 1, -(2**31))]
    cases += [Case(f"Gemm: activation {n}", attribute(9, n), FORMAT) for n in (-2, 99, 2**31 - 1)]
    return cases


CASES = [*_header(), *_table(), *_values(), *_nodes()]
