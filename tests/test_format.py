"""The .rnnrt file: written as format.h says, read back, and refused when anything about it is wrong."""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rnnrt.converters import ir, pack, quantize, read, write

import rnnrt

Array = npt.NDArray[Any]
F32 = np.dtype(np.float32)
META = {"text": "Grüße", "notes": [1, 2.5, None]}


def normal(*shape: int, seed: int = 11) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def graph() -> ir.Graph:
    """GRU with a state (20 units, 5 inputs), then a Gemm to 17 and a sum with a constant."""
    shape = (ir.Sym.TIME, ir.Sym.BATCH)
    constants = {
        "W": normal(1, 60, 5),
        "R": normal(1, 60, 20),
        "B": normal(1, 120),
        "w": normal(17, 20),
        "c": normal(17),
    }
    return ir.Graph(
        inputs=[ir.Value("x", F32, (*shape, 5))],
        outputs=[ir.Value("y", F32, (*shape, 17))],
        nodes=[
            ir.Node(
                "GRU", "gru", ["x", "W", "R", "B", "", "h"], ["g", "h1"], {"hidden_size": 20, "linear_before_reset": 1}
            ),
            ir.Node("Squeeze", "", ["g"], ["s"], {"axes": [1]}),
            ir.Node("Gemm", "head", ["s", "w"], ["z"], {"transB": 1}),
            ir.Node("Add", "", ["z", "c"], ["y"]),
        ],
        constants=constants,
        states=[ir.State("gru.h", "h", "h1")],
        values={"h": ir.Value("h", F32, (1, ir.Sym.BATCH, 20))},
    )


def blob_of(mode: str, meta: dict[str, Any] | None = None) -> bytes:
    g = graph()
    return write.to_bytes(pack.pack(g, quantize.plan(g, mode, everything=True)), META if meta is None else meta)


@pytest.fixture(scope="module", params=["float", "f16", "int8", "int4"])
def blob(request: pytest.FixtureRequest) -> bytes:
    return blob_of(request.param)


# ---- checksum ----


@pytest.mark.parametrize(
    ("data", "crc"),
    # RFC 3720, B.4, and the classic check value
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_known_values(data: bytes, crc: int) -> None:
    assert write.crc32c(data) == crc


def slow_crc(data: bytes, crc: int = 0) -> int:
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [1, 2047, 2048, 2049, 4096, 7001])
def test_crc32c_in_lanes_and_in_pieces(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    expected = slow_crc(data)
    assert write.crc32c(data) == expected
    assert write.crc32c(data[size // 3 :], write.crc32c(data[: size // 3])) == expected


def test_crc32c_is_fast_enough_for_large_models() -> None:
    data = np.random.default_rng(0).integers(0, 256, 10_000_000, np.uint8).tobytes()
    write.crc32c(data[:5000])
    start = time.perf_counter()
    write.crc32c(data)
    assert time.perf_counter() - start < 2.0  # 0.1 s on an idle core of 2020


# ---- layout of the file ----


def test_header_and_sections_are_as_specified(blob: bytes) -> None:
    magic, version, features, size, sections, flags = struct.unpack_from("<8sIIQII", blob)
    assert magic == b"\x89RNNRT\r\n"
    assert (version, size, sections, flags) == (1, len(blob), 8, 1)
    types = {v.dtype for v in read.parse(blob).values}
    assert features == ("s8" in types) + 2 * ("f16" in types) + 4 * ("s4" in types)
    assert len(types - {"", "f32"}) <= 1
    assert blob[32:60] == bytes(28)
    assert struct.unpack_from("<I", blob, 60)[0] == slow_crc(blob[:60] + blob[64:320])
    end = 320
    for kind in range(1, 9):
        number, crc, offset, length, _, zero = struct.unpack_from("<IIQQII", blob, 64 + 32 * (kind - 1))
        assert (number, zero) == (kind, 0)
        assert offset == -(-end // 64) * 64
        assert blob[end:offset] == bytes(offset - end)
        assert crc == write.crc32c(blob[offset : offset + length])
        end = offset + length
    assert end == len(blob)


def test_round_trip() -> None:
    g = graph()
    for features, mode in ((0, "float"), (1, "int8"), (2, "f16"), (4, "int4")):
        packed = pack.pack(g, quantize.plan(g, mode, everything=True))
        file = read.parse(write.to_bytes(packed, META))
        assert file.meta == META
        assert file.streamable
        assert file.features == features
        assert [n.op for n in file.nodes] == ["GRU", "Squeeze", "Gemm", "Add"]
        assert file.nodes[0].attributes["hidden_size"] == 20
        assert file.nodes[0].attributes["linear_before_reset"] == 1
        assert [(v.name, v.dims) for v in file.of_kind("input")] == [("x", ["T", "B", 5])]
        assert [(v.name, v.dims) for v in file.of_kind("output")] == [("y", ["T", "B", 17])]
        assert [(v.name, v.dims) for v in file.of_kind("state")] == [("gru.h", [1, "B", 20])]
        for value, record in zip(file.values, packed.values, strict=True):
            if record.data is not None:
                assert bytes(file.data[value.offset : value.offset + value.size]) == record.data
        json.dumps(file.to_dict())


def test_unpacked_weights_are_the_originals() -> None:
    g = graph()
    for mode, limit in (("float", 0.0), ("int8", 0.5000001)):
        file = read.parse(blob_of(mode))
        head = next(v for v in file.of_kind("const") if v.name == "w")
        restored = file.dequantize(head.index)
        bound = limit * np.abs(g.constants["w"]).max(axis=1, keepdims=True) / 127
        assert np.all(np.abs(restored - g.constants["w"]) <= bound)
        assert file.unpack(head.index).dtype == (np.int8 if mode == "int8" else np.float32)
    with pytest.raises(ValueError, match="is no constant"):
        file.unpack(0)


def test_same_input_same_bytes() -> None:
    assert blob_of("int8") == blob_of("int8", dict(reversed(META.items())))


def test_the_runtime_reads_it(blob: bytes) -> None:
    model = rnnrt.load(blob)
    assert [i.name for i in model.inputs] == ["x"]
    assert [i.name for i in model.states] == ["gru.h"]
    assert model.meta == META
    assert np.asarray(model(normal(3, 2, 5))).shape == (3, 2, 17)


# ---- damage ----


def test_every_truncation_is_refused(blob: bytes) -> None:
    for length in [*range(400), *range(400, len(blob), 37), len(blob) - 1]:
        with pytest.raises(rnnrt.ModelFormatError):
            read.parse(blob[:length])
    with pytest.raises(rnnrt.ModelFormatError, match="bytes long, its header says"):
        read.parse(blob + b"\0")


def test_flipped_bits_are_refused(blob: bytes) -> None:
    rng = np.random.default_rng(5)
    places = {*range(320), *map(int, rng.integers(320, len(blob), 100))}
    for place in sorted(places):
        damaged = bytearray(blob)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(rnnrt.ModelFormatError):
            read.parse(damaged)


def resealed(blob: bytes, change: Callable[[bytearray], None]) -> bytes:
    """The blob changed, with all checksums right again: a file that lies."""
    damaged = bytearray(blob)
    change(damaged)
    for at in range(64, 320, 32):
        offset, size = struct.unpack_from("<QQ", damaged, at + 8)
        if offset + size <= len(damaged):
            struct.pack_into("<I", damaged, at + 4, write.crc32c(bytes(damaged[offset : offset + size])))
    struct.pack_into("<I", damaged, 60, write.crc32c(bytes(damaged[:60] + damaged[64:320])))
    return bytes(damaged)


def section(blob: bytes, kind: int) -> int:
    return int(struct.unpack_from("<Q", blob, 64 + 32 * (kind - 1) + 8)[0])


def put(kind: int, offset: int, layout: str, value: int) -> Callable[[bytearray], None]:
    """Writes a number into a section (0: the header)."""
    return lambda b: struct.pack_into(layout, b, (section(bytes(b), kind) if kind else 0) + offset, value)


LIES: dict[str, Callable[[bytearray], None]] = {
    "version": put(0, 8, "<I", 2),
    "feature": put(0, 12, "<I", 1 << 20 | 7),
    "flag": put(0, 28, "<I", 4),
    "section kind": put(0, 64, "<I", 9),
    "section size": put(0, 64 + 32 + 16, "<Q", 2**63),
    "section count": put(0, 64 + 32 + 24, "<I", 1),
    "first string is not empty": put(write.STRINGS, 0, "<B", 65),
    "string is not UTF-8": put(write.STRINGS, 1, "<B", 0xFF),
    "value name": put(write.VALUES, 0, "<I", 10**6),
    "value kind": put(write.VALUES, 4, "<B", 7),
    "value dtype": put(write.VALUES, 5, "<B", 2),
    "value rank": put(write.VALUES, 7, "<B", 7),
    "value dimension": put(write.VALUES, 8, "<i", -7),
    "output flag": put(write.VALUES, 32, "<B", 2),
    "pair of an input": put(write.VALUES, 36, "<I", 1),
    "state's pair": put(write.VALUES, 2 * 64 + 36, "<I", 10**6),
    "state's pair is a state": put(write.VALUES, 2 * 64 + 36, "<I", 2),
    "state's init": put(write.VALUES, 2 * 64 + 40, "<I", 0),
    "constant's offset": put(write.VALUES, 3 * 64 + 48, "<Q", 2**40),
    "constant's alignment": put(write.VALUES, 3 * 64 + 48, "<Q", 4),
    "constant's size": put(write.VALUES, 3 * 64 + 56, "<Q", 64),
    "constant's rows": put(write.VALUES, 3 * 64 + 8, "<i", 2**31 - 1),
    "operator": put(write.NODES, 4, "<H", 999),
    "references": put(write.NODES, 8, "<I", 10**6),
    "integers": put(write.NODES, 16, "<I", 10**6),
    "floats": put(write.NODES, 24, "<I", 10**6),
    "input before it is made": put(write.REFS, 0, "<I", 1),
    "no such value": put(write.REFS, 0, "<I", 12345),
    "meta is not JSON": put(write.META, 0, "<B", ord("x")),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_refused_by_both_readers(name: str, blob: bytes) -> None:
    lie = resealed(blob, LIES[name])
    assert lie != blob
    with pytest.raises((rnnrt.ModelFormatError, rnnrt.UnsupportedError)):
        read.parse(lie)
    if name in ("string is not UTF-8", "meta is not JSON"):
        return  # the runtime does not look at these
    with pytest.raises((rnnrt.ModelFormatError, rnnrt.UnsupportedError)):
        rnnrt.load(lie)


@pytest.mark.parametrize(("offset", "value"), [(0, 0xFF), (96 * 8, 0x80), (96 * 4, 1)])
def test_unsound_s8_weights_are_refused_by_both_readers(offset: int, value: int) -> None:
    """A scale that is NaN or negative, a weight of -128, a wrong row sum."""
    blob = blob_of("int8")
    index, record = next((v.index, v) for v in read.parse(blob).of_kind("const") if v.layout == "r16c4")
    assert record.dims == [96, 5]

    def change(b: bytearray) -> None:
        start = section(bytes(b), write.DATA) + record.offset + offset
        if offset == 0:
            b[start : start + 4] = struct.pack("<f", -1.0)
        else:
            b[start] = value if b[start] != value else value ^ 2

    lie = resealed(blob, change)
    with pytest.raises(rnnrt.ModelFormatError, match=f"value {index}"):
        read.parse(lie)
    with pytest.raises(rnnrt.ModelFormatError):
        rnnrt.load(lie)


def test_other_files_are_refused() -> None:
    for content in (b"", b"\x89PNG\r\n\x1a\n" + bytes(400), b"\x89RNNRT\n" + bytes(400)):
        with pytest.raises(rnnrt.ModelFormatError):
            read.parse(content)


# ---- saving ----


def test_save_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.rnnrt"
    write.save(path, b"first")
    write.save(path, b"second")
    assert path.read_bytes() == b"second"

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write.save(path, b"third")
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["model.rnnrt"]


def test_saved_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write.save(tmp_path / "m.rnnrt", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m.rnnrt").stat().st_mode) == 0o640


def test_names_with_nul_are_refused() -> None:
    g = graph()
    g.nodes[0].name = "a\0b"
    with pytest.raises(ValueError, match="NUL"):
        write.to_bytes(pack.pack(g, quantize.plan(g, "float")))
