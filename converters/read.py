"""A .rnnrt file to something to look at: every record parsed and validated, weights unpacked on demand.

Written from the specification at the top of ``src_c/core/format.h``, independently of the C reader, so that the two
check each other. The runtime does not use it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import ModelFormatError
from . import int4, layout
from .operators import BY_CODE
from .pack import (
    CONST,
    F16,
    F32,
    I32,
    INPUT,
    MAX_COLS,
    MAX_RANK,
    MAX_REFS,
    NONE,
    PLAIN,
    R16C1,
    R16C4,
    R16G32,
    S4,
    S8,
    STATE,
    TEMP,
)
from .write import (
    ALIGN,
    DATA,
    FEATURE_F16,
    FEATURE_S4,
    FEATURE_S8,
    FLAG_STREAMABLE,
    FLOATS,
    HEADER,
    INTS,
    MAGIC,
    META,
    NODE_RECORD,
    NODES,
    REFS,
    SECTION_RECORD,
    SECTIONS,
    STRINGS,
    VALUE_RECORD,
    VALUES,
    VERSION,
    crc32c,
)

Array: TypeAlias = "npt.NDArray[Any]"

_KINDS = {TEMP: "temp", INPUT: "input", CONST: "const", STATE: "state"}
_TYPES = {0: "", F32: "f32", S8: "s8", I32: "i32", F16: "f16", S4: "s4"}
_LAYOUTS = {PLAIN: "plain", R16C1: "r16c1", R16C4: "r16c4", R16G32: "r16g32"}
_FEATURES = {S8: FEATURE_S8, F16: FEATURE_F16, S4: FEATURE_S4}
_KNOWN_FEATURES = FEATURE_S8 | FEATURE_F16 | FEATURE_S4
_SYMBOLS = {-2: "T", -3: "B"}
_UNITS = {VALUES: VALUE_RECORD.size, NODES: NODE_RECORD.size, REFS: 4, INTS: 4, FLOATS: 4}


@dataclass
class FileValue:
    """One record of VALUES. ``dims``: numbers, "T" or "B"."""

    index: int
    name: str
    kind: str
    dtype: str
    layout: str
    dims: list[int | str]
    is_output: bool
    pair: int | None
    init: int | None
    offset: int
    size: int


@dataclass
class FileNode:
    """One record of NODES; None: an input or output left out."""

    index: int
    name: str
    op: str
    inputs: list[int | None]
    outputs: list[int | None]
    attributes: dict[str, Any]


@dataclass
class File:
    """A parsed file."""

    version: int
    streamable: bool
    features: int
    size: int
    section_sizes: dict[str, int]
    values: list[FileValue] = field(default_factory=list)
    nodes: list[FileNode] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    data: memoryview = field(default_factory=lambda: memoryview(b""))

    def of_kind(self, kind: str) -> list[FileValue]:
        """The values of a kind: input, state, const, temp; or output."""
        return [v for v in self.values if (v.is_output if kind == "output" else v.kind == kind)]

    def unpack(self, index: int) -> Array:
        """A constant as its array: f32 or i32 in its own shape, else [rows, cols], s4 as s8; see `dequantize`."""
        value = self._constant(index)
        content, dims = self.data[value.offset : value.offset + value.size], [int(d) for d in value.dims]
        if value.layout == "r16c1":
            return np.asarray(layout.unpack_r16c1(content, dims[0], dims[1], "<f2" if value.dtype == "f16" else "<f4"))
        if value.layout == "r16c4":
            return np.asarray(layout.unpack_r16c4(content, dims[0], dims[1])[0])
        if value.layout == "r16g32":
            return np.asarray(layout.unpack_r16g32(content, dims[0], dims[1])[0])
        return np.array(np.frombuffer(content, "<i4" if value.dtype == "i32" else "<f4").reshape(dims))

    def dequantize(self, index: int) -> Array:
        """A constant as f32, whatever its format: q times its scales."""
        value = self._constant(index)
        content = self.data[value.offset : value.offset + value.size]
        if value.layout == "r16c4":
            q, scale, _ = layout.unpack_r16c4(content, int(value.dims[0]), int(value.dims[1]))
            return np.asarray(q * scale[:, None], np.float32)
        if value.layout == "r16g32":
            groups = int4.Groups(*layout.unpack_r16g32(content, int(value.dims[0]), int(value.dims[1])))
            return groups.restored().astype(np.float32)
        return self.unpack(index).astype(np.float32)

    def coarsest(self) -> str:
        """The coarsest type of weights in it: s4, s8, f16 or f32."""
        types = {value.dtype for value in self.values}
        return next((each for each in ("s4", "s8", "f16") if each in types), "f32")

    def _constant(self, index: int) -> FileValue:
        value = self.values[index]
        if value.kind != "const":
            raise ValueError(f"value {index} '{value.name}' is no constant but {value.kind}")
        return value

    def to_dict(self) -> dict[str, Any]:
        """Everything but the data, JSON-ready."""
        return {
            "version": self.version,
            "streamable": self.streamable,
            "features": self.features,
            "size": self.size,
            "sections": dict(self.section_sizes),
            "values": [vars(v) for v in self.values],
            "nodes": [vars(n) for n in self.nodes],
            "meta": self.meta,
        }


def _fail(message: str) -> ModelFormatError:
    return ModelFormatError(message)


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise _fail(message)


def _header(blob: memoryview) -> tuple[int, int]:
    """Validates the header and the table's checksum; features, flags."""
    _need(bytes(blob[:8]) == MAGIC[: len(blob)] and len(blob) >= 8, "not a .rnnrt file: wrong magic number")
    table_end = HEADER + SECTIONS * SECTION_RECORD.size
    _need(len(blob) >= table_end, f"truncated: {len(blob)} bytes, the header alone has {table_end}")
    _, version, features, size, sections, flags = struct.unpack_from("<8sIIQII", blob)
    (crc,) = struct.unpack_from("<I", blob, 60)
    _need(crc == crc32c(blob[HEADER:table_end], crc32c(blob[:60])), "damaged: the header's checksum does not match")
    _need(version == VERSION, f"written for version {version} of the format; this is version {VERSION}")
    known = f"this version knows 0x{_KNOWN_FEATURES:x}"
    _need(not features & ~_KNOWN_FEATURES, f"needs features 0x{features:x}, {known}")
    _need(not flags & ~FLAG_STREAMABLE, f"has flags 0x{flags:x}, this version knows 0x{FLAG_STREAMABLE:x}")
    _need(size == len(blob), f"{len(blob)} bytes long, its header says {size}")
    _need(sections == SECTIONS and not any(blob[32:60]), "contradicts itself: header")
    return features, flags


def _sections(blob: memoryview) -> dict[int, tuple[memoryview, int]]:
    """Kind -> bytes, count; every checksum, the padding and the arithmetic checked."""
    found: dict[int, tuple[memoryview, int]] = {}
    end = HEADER + SECTIONS * SECTION_RECORD.size
    for kind in range(1, SECTIONS + 1):
        at = HEADER + (kind - 1) * SECTION_RECORD.size
        number, crc, offset, size, count, zero = SECTION_RECORD.unpack_from(blob, at)
        start = layout.padded(end, ALIGN)
        _need((number, offset, zero) == (kind, start, 0), f"contradicts itself: record of section {kind}")
        _need(start + size <= len(blob), f"truncated: section {kind} ends at {start + size} of {len(blob)}")
        unit = _UNITS.get(kind)
        wrong = size != count * unit if unit else (count == 0) != (kind != STRINGS)
        _need(not wrong, f"contradicts itself: section {kind} has {size} bytes for {count} records")
        _need(not any(blob[end:start]), f"damaged: the padding before section {kind} is not zero")
        content = blob[start : start + size]
        _need(crc32c(content) == crc, f"damaged: the checksum of section {kind} does not match")
        found[kind] = (content, count)
        end = start + size
    _need(end == len(blob), "contradicts itself: bytes behind the last section")
    return found


class _Strings:
    def __init__(self, content: memoryview, count: int) -> None:
        self.bytes = bytes(content)
        fits = self.bytes[:1] == b"\0" and self.bytes[-1:] == b"\0" and self.bytes.count(b"\0") == count
        _need(fits, "contradicts itself: strings")

    def at(self, offset: int) -> str:
        _need(offset < len(self.bytes), f"contradicts itself: string at {offset} of {len(self.bytes)}")
        try:
            return self.bytes[offset : self.bytes.index(b"\0", offset)].decode()
        except UnicodeDecodeError as error:
            raise _fail(f"contradicts itself: string at {offset} is not UTF-8") from error


def _constant_bytes(dtype: int, kind: int, dims: Sequence[int]) -> int | None:
    """Bytes of a constant; None when dtype, layout and dims don't go together."""
    if kind == PLAIN:
        elements = 1
        for dim in dims:
            elements *= dim
        return elements * 4 if dtype in (F32, I32) else None
    if len(dims) != 2 or 0 in dims or dims[1] > MAX_COLS:
        return None
    rows, cols = layout.padded(dims[0], layout.BLOCK), dims[1]
    if kind == R16C1:
        return rows * cols * {F32: 4, F16: 2}[dtype] if dtype in (F32, F16) else None
    if kind == R16C4:
        return rows * (8 + layout.padded(cols, layout.GROUP)) if dtype == S8 else None
    groups = rows * (layout.padded(cols, layout.WIDE) // layout.WIDE)
    return rows * 4 + layout.padded(groups, 64) + groups * 16 if dtype == S4 else None


def _check_s8(content: memoryview, rows: int, cols: int, where: str) -> None:
    high, wide = layout.padded(rows, layout.BLOCK), layout.padded(cols, layout.GROUP)
    q, scale, sums = layout.unpack_r16c4(content, high, wide)
    _need(q.min() > -128, f"{where}: a weight is -128")
    _need(bool(np.array_equal(q.sum(axis=1, dtype=np.int32), sums)), f"{where}: row sums do not match the weights")
    _need(bool(np.isfinite(scale).all() and (scale >= 0).all()), f"{where}: a scale is negative or not finite")
    padding = q[rows:].any() or q[:, cols:].any() or scale[rows:].any()
    _need(not padding, f"{where}: the padding is not zero")


def _check_f16(content: memoryview, rows: int, cols: int, where: str) -> None:
    w = layout.unpack_r16c1(content, layout.padded(rows, layout.BLOCK), cols, "<f2")
    _need(bool(np.isfinite(w).all()), f"{where}: a weight is infinite or NaN")
    _need(not w[rows:].view(np.uint16).any(), f"{where}: the padding is not zero")


def _check_s4(content: memoryview, rows: int, cols: int, where: str) -> None:
    high, wide = layout.padded(rows, layout.BLOCK), layout.padded(cols, layout.WIDE)
    q, step, scale = layout.unpack_r16g32(content, high, wide)
    _need(step.min() > -128, f"{where}: a step is -128")
    largest = int(np.abs(step.astype(np.int64)).sum(axis=1).max())
    _need(largest <= int4.STEP_SUM, f"{where}: the steps of a row add up to {largest}")
    _need(bool(np.isfinite(scale).all() and (scale >= 0).all()), f"{where}: a scale is negative or not finite")
    gap = content[high * 4 + step.size : high * 4 + layout.padded(step.size, 64)]
    padding = q[rows:].any() or q[:, cols:].any() or step[rows:].any() or scale[rows:].any() or any(gap)
    _need(not padding, f"{where}: the padding is not zero")


_WEIGHT_CHECKS = {F16: _check_f16, S8: _check_s8, S4: _check_s4}


def _value(index: int, record: Sequence[int], strings: _Strings, file: File, total: int) -> FileValue:
    name, kind, dtype, order, ndim, *rest = record
    dims, (is_output, z0, z1, z2, pair, init, zero, offset, size) = rest[:6], rest[6:]
    where = f"contradicts itself: value {index}"
    known = kind in _KINDS and dtype in _TYPES and order in _LAYOUTS and ndim <= MAX_RANK and is_output in (0, 1)
    _need(known and not (z0 or z1 or z2 or zero) and not any(dims[ndim:]), where)
    _need((dtype == 0) == (kind == TEMP and not is_output), f"{where}: type")
    dims = dims[:ndim]
    symbols = {CONST: (), STATE: (-3,)}.get(kind, (-2, -3))
    _need(all(d >= 0 or d in symbols for d in dims), f"{where}: dimensions {dims}")
    _need(kind == STATE or (pair == NONE and init == NONE), f"{where}: only a state has a pair")
    if kind == CONST:
        _need(size == _constant_bytes(dtype, order, dims), f"{where}: {size} bytes do not fit its shape {dims}")
        _need(offset % ALIGN == 0 and offset + size <= len(file.data), f"{where}: data out of range")
        if (check := _WEIGHT_CHECKS.get(dtype)) is not None:
            _need(bool(file.features & _FEATURES[dtype]), f"{where}: {_TYPES[dtype]} weights without the feature bit")
            check(file.data[offset : offset + size], dims[0], dims[1], where)
    else:
        _need(
            order == PLAIN and offset == 0 and size == 0 and dtype not in _FEATURES, f"{where}: data without a constant"
        )
    if kind == STATE:
        _need(pair < total and (init == NONE or init < total) and dtype == F32, f"{where}: state")
    return FileValue(
        index,
        strings.at(name),
        _KINDS[kind],
        _TYPES[dtype],
        _LAYOUTS[order],
        [_SYMBOLS.get(d, d) for d in dims],
        bool(is_output),
        None if pair == NONE else pair,
        None if init == NONE else init,
        offset,
        size,
    )


def _named(names: tuple[str, ...], numbers: Sequence[Any], where: str) -> dict[str, Any]:
    """Positional attributes by name."""
    made: dict[str, Any] = {}
    for i, name in enumerate(names):
        if name.endswith("..."):
            made[name[:-3]] = list(numbers[i:])
            return made
        _need(i < len(numbers), f"{where}: attribute {name} is missing")
        made[name] = numbers[i]
    _need(len(numbers) == len(names), f"{where}: {len(numbers)} attributes for {list(names)}")
    return made


def _window(section: list[Any], first: int, count: int, where: str) -> list[Any]:
    _need(first + count <= len(section), f"{where}: out of range")
    return section[first : first + count]


def _nodes(file: File, sections: dict[int, tuple[memoryview, int]], strings: _Strings) -> list[FileNode]:
    refs, ints, floats = (
        [n for (n,) in struct.iter_unpack(code, sections[kind][0])]
        for code, kind in (("<I", REFS), ("<i", INTS), ("<f", FLOATS))
    )
    nodes = []
    defined = {v.index for v in file.values if v.kind != "temp"}
    for index, record in enumerate(NODE_RECORD.iter_unpack(sections[NODES][0])):
        name, code, inputs, outputs, first_ref, first_int, n_ints, first_float, n_floats, zero = record
        where = f"contradicts itself: node {index}"
        _need(code in BY_CODE, f"node {index}: unknown operator {code}")
        _need(zero == 0 and inputs + outputs <= MAX_REFS, where)
        mine = _window(refs, first_ref, inputs + outputs, f"{where}: references")
        for ref in mine[:inputs]:
            _need(ref == NONE or ref in defined, f"{where}: input {ref} is not defined before it")
        for ref in mine[inputs:]:
            fits = ref == NONE or (ref < len(file.values) and ref not in defined)
            _need(fits, f"{where}: output {ref} is not a value for it to make")
            defined.add(ref)
        operator = BY_CODE[code]
        attributes = _named(operator.ints, _window(ints, first_int, n_ints, where), where)
        attributes |= _named(operator.floats, _window(floats, first_float, n_floats, where), where)
        numbers = [None if ref == NONE else ref for ref in mine]
        nodes.append(FileNode(index, strings.at(name), operator.name, numbers[:inputs], numbers[inputs:], attributes))
    missing = [v.index for v in file.values if v.index not in defined]
    _need(not missing, f"contradicts itself: values {missing} are made by no node")
    return nodes


def _check_states(file: File) -> None:
    for value in file.of_kind("state"):
        where = f"contradicts itself: state '{value.name}'"
        pair = file.values[value.pair] if value.pair is not None else None
        _need(pair is not None and pair.kind in ("temp", "input"), f"{where}: pair")
        if value.init is not None:
            init = file.values[value.init]
            want = [1 if dim == "B" else dim for dim in value.dims]
            fits = (init.kind, init.dtype, init.layout, init.dims) == ("const", "f32", "plain", want)
            _need(fits and value.dims.count("B") <= 1, f"{where}: initial value")


def parse(blob: bytes | bytearray | memoryview) -> File:
    """Parse and validate a whole file.

    Parameters
    ----------
    blob
        The file's bytes.

    Returns
    -------
    File
        Its ``data`` looks into `blob`; nothing is copied.

    Raises
    ------
    ModelFormatError
        The first contradiction found, in words.
    """
    view = memoryview(blob).cast("B")
    features, flags = _header(view)
    sections = _sections(view)
    names = ("strings", "values", "nodes", "refs", "ints", "floats", "meta", "data")
    sizes = {name: len(sections[kind][0]) for kind, name in enumerate(names, 1)}
    file = File(VERSION, bool(flags & FLAG_STREAMABLE), features, len(view), sizes, data=sections[DATA][0])
    strings = _Strings(*sections[STRINGS])
    records = list(VALUE_RECORD.iter_unpack(sections[VALUES][0]))
    file.values = [_value(i, record, strings, file, len(records)) for i, record in enumerate(records)]
    _need(bool(file.of_kind("input") and file.of_kind("output")), "contradicts itself: no inputs or no outputs")
    file.nodes = _nodes(file, sections, strings)
    _check_states(file)
    try:
        file.meta = json.loads(bytes(sections[META][0]) or b"{}")
    except ValueError as error:
        raise _fail("contradicts itself: the meta section is not JSON") from error
    _need(isinstance(file.meta, dict), "contradicts itself: the meta section is no JSON object")
    return file
