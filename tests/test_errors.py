"""Damaged files and wrong arguments: an exception that says what was expected, and nothing touched."""

from __future__ import annotations

import contextlib
import copy
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rnnrt.converters.write import HEADER, META, SECTION_RECORD, SECTIONS, crc32c

import models
import rnnrt
from rnnrt._rnnrt import ModelCore, StreamCore

SMALL = {
    "gru": lambda: models.recurrent("GRU", "float", 2, 2),
    "lstm-int8": lambda: models.recurrent("LSTM", "int8", 2, 2),
}


def aligned(blob: bytes) -> Any:
    """A writable copy at a multiple of 64."""
    room = np.zeros(len(blob) + 64, np.uint8)
    start = -room.ctypes.data % 64
    room[start : start + len(blob)] = np.frombuffer(blob, np.uint8)
    return room[start : start + len(blob)]


@pytest.mark.parametrize("name", SMALL)
def test_every_truncation_is_refused(name: str) -> None:
    blob = SMALL[name]()
    rnnrt.load(blob)
    for n in range(len(blob)):
        with pytest.raises(rnnrt.ModelFormatError):
            rnnrt.load(blob[:n])


@pytest.mark.parametrize("name", SMALL)
def test_every_flipped_bit_is_refused(name: str) -> None:
    """At the place in memory, so that all of them take a second."""
    room = aligned(SMALL[name]())
    accepted = []
    for byte in range(len(room)):
        for bit in range(8):
            room[byte] ^= 1 << bit
            try:
                ModelCore(room)
                accepted.append((byte, bit))
            except rnnrt.ModelFormatError:
                pass
            room[byte] ^= 1 << bit
    assert not accepted
    ModelCore(room)


def test_longer_files_and_other_files_are_refused(tmp_path: Path) -> None:
    blob = SMALL["gru"]()
    for content in (blob + b"\0", blob + blob, b"", b"x" * 5000, b"\x89PNG\r\n\x1a\n" + bytes(1000)):
        path = tmp_path / "x.rnnrt"
        path.write_bytes(content)
        with pytest.raises(rnnrt.ModelFormatError, match=r"x\.rnnrt: "):
            rnnrt.load(path)
        with pytest.raises(rnnrt.ModelFormatError):
            rnnrt.load(content)


@given(st.binary(max_size=600), st.integers(0, 320))
@settings(max_examples=200, deadline=None)
def test_noise_over_a_model_is_refused(noise: bytes, at: int) -> None:
    blob = SMALL["gru"]()
    damaged = blob[:at] + noise + blob[at + len(noise) :]
    if damaged != blob:
        with pytest.raises(rnnrt.ModelFormatError):
            rnnrt.load(damaged)


def resealed(blob: bytearray) -> bytes:
    """The same with the checksums that its sections and header now have."""
    for record in range(HEADER, HEADER + SECTIONS * SECTION_RECORD.size, SECTION_RECORD.size):
        offset, size = struct.unpack_from("<QQ", blob, record + 8)
        if offset + size <= len(blob):
            struct.pack_into("<I", blob, record + 4, crc32c(bytes(blob[offset : offset + size])))
    table = blob[HEADER : HEADER + SECTIONS * SECTION_RECORD.size]
    struct.pack_into("<I", blob, 60, crc32c(bytes(blob[:60] + table)))
    return bytes(blob)


@pytest.mark.parametrize("mode", ["float", "int8"])
@pytest.mark.parametrize("name", models.STREAMABLE)
def test_contradictions_behind_right_checksums_do_not_crash(name: str, mode: str) -> None:
    """Records are changed and the checksums with them: refused, or a model that can be run."""
    blob = models.streamable(name, mode)
    records = struct.unpack_from("<Q", blob, HEADER + (META - 1) * SECTION_RECORD.size + 8)[0]  # all but META and DATA
    random = np.random.default_rng(11)
    words = [0, 1, 2, 3, 16, 2**16, 2**31 - 1, 2**31, 2**32 - 3, 2**32 - 2, 2**32 - 1]
    refused = accepted = 0
    for _ in range(150):
        damaged = bytearray(blob)
        at = int(random.integers(8, records // 4 * 4))
        if random.integers(2):
            damaged[at] ^= 1 << int(random.integers(8))
        else:
            struct.pack_into("<I", damaged, at // 4 * 4, int(random.choice(words)))
        try:
            model = rnnrt.load(resealed(damaged))
        except (rnnrt.ModelFormatError, rnnrt.UnsupportedError):
            refused += 1
            continue
        accepted += 1
        if model.streamable and sum(np.prod(info.bound(T=4, B=1)) for info in model.inputs) < 2**20:
            x = {info.name: np.ones(info.bound(T=4, B=1), info.dtype) for info in model.inputs}
            with contextlib.suppress(ValueError):  # shapes that do not fit each other
                model(x)
    assert refused > 50
    assert accepted > 0


@pytest.mark.parametrize("source", [3, None, 1.5, ["a"]])
def test_what_is_no_model_at_all(source: Any) -> None:
    with pytest.raises(TypeError):
        rnnrt.load(source)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rnnrt.load(tmp_path / "none.rnnrt")


def test_unknown_isa() -> None:
    with pytest.raises(rnnrt.UnsupportedError, match=r"isa 'mmx': this build on this CPU has .*scalar"):
        rnnrt.load(SMALL["gru"](), isa="mmx")


def test_unaligned_blob_in_the_core() -> None:
    room = aligned(SMALL["gru"]() + b"\0")
    with pytest.raises(rnnrt.ModelFormatError, match="aligned"):
        ModelCore(np.roll(room, 1)[1:])


def unchanged(stream: rnnrt.Stream, before: dict[str, Any]) -> bool:
    after = stream.state
    return all(after[name].tobytes() == before[name].tobytes() for name in before)


X = np.zeros((3, 1, 5), np.float32)
WRONG: list[tuple[str, Any, type[Exception], str]] = [
    ("step", np.zeros(4, np.float32), ValueError, r"input 'x': got shape \[4\], expected \[1, 5\]"),
    ("step", np.zeros((2, 5), np.float32), ValueError, r"input 'x': got shape \[2, 5\], expected \[1, 5\]"),
    ("step", np.float32(1), ValueError, r"input 'x': got shape \[\], expected \[1, 5\]"),
    ("step", np.zeros(5), TypeError, r"input 'x': got dtype float64, expected float32: x.astype\(numpy.float32\)"),
    ("step", np.zeros(5, np.float16), TypeError, r"got dtype float16, expected float32"),
    ("step", np.zeros(5, np.int64), TypeError, r"got dtype int64, expected float32"),
    ("step", np.zeros(5, ">f4"), TypeError, r"got dtype >f4, expected float32"),
    ("step", [0.0] * 5, TypeError, r"got dtype float64, expected float32"),
    ("step", None, TypeError, r"got dtype object, expected float32"),
    ("step", "x", TypeError, r"expected float32"),
    ("step", {"y": X[0]}, ValueError, r"inputs: got 'y', expected 'x'"),
    ("step", {}, ValueError, r"inputs: got none, expected 'x'"),
    ("run", np.zeros((3, 1, 4), np.float32), ValueError, r"input 'x': got shape \[3, 1, 4\], expected \[T, 1, 5\]"),
    ("run", np.zeros((3, 2, 5), np.float32), ValueError, r"input 'x': got shape \[3, 2, 5\], expected \[T, 1, 5\]"),
    ("run", np.zeros((3, 1, 5)), TypeError, r"got dtype float64, expected float32"),
    ("run", np.float32(1), ValueError, r"expected \[T, 1, 5\]"),
]


@pytest.mark.parametrize(("method", "x", "kind", "text"), WRONG, ids=[f"{m}-{i}" for i, (m, *_) in enumerate(WRONG)])
def test_wrong_input_touches_nothing(method: str, x: Any, kind: type[Exception], text: str) -> None:
    stream = rnnrt.load(models.recurrent("GRU")).stream()
    stream.run(models.signal((9, 1, 5)))
    before = stream.state
    with pytest.raises(kind, match=text):
        getattr(stream, method)(x)
    assert unchanged(stream, before)


READ_ONLY = np.zeros(7, np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("out", "kind", "text"),
    [
        (np.zeros(8, np.float32), ValueError, r"out for 'y': got shape \[8\], expected \[1, 1, 7\]"),
        (np.zeros(7), TypeError, r"out for 'y': got dtype float64, expected float32"),
        (READ_ONLY, ValueError, r"out for 'y': expected a C-contiguous, aligned, writable array"),
        (np.zeros(14, np.float32)[::2], ValueError, r"out for 'y': expected a C-contiguous, aligned, writable array"),
        ([0.0] * 7, TypeError, r"out for 'y': got list, expected numpy.ndarray"),
        ({"z": np.zeros(7, np.float32)}, ValueError, r"out: got 'z', expected 'y'"),
    ],
)
def test_wrong_out_touches_nothing(out: Any, kind: type[Exception], text: str) -> None:
    stream = rnnrt.load(models.recurrent("GRU")).stream()
    stream.run(models.signal((9, 1, 5)))
    before = stream.state
    with pytest.raises(kind, match=text):
        stream.step(X[0], out=out)
    with pytest.raises(kind, match=r"^out"):
        stream.run(X[:1], out=out)
    assert unchanged(stream, before)


def test_several_inputs_are_named() -> None:
    model = rnnrt.load(models.two())
    stream = model.stream()
    a = np.zeros((1, 4), np.float32)
    with pytest.raises(TypeError, match=r"inputs: got ndarray, expected a dict of 'a', 'b'"):
        stream.step(a)
    with pytest.raises(ValueError, match=r"inputs: got 'a', expected 'a', 'b'"):
        stream.step({"a": a})
    with pytest.raises(ValueError, match=r"inputs: got 'a', 'b', 'c', expected 'a', 'b'"):
        stream.step({"a": a, "b": a, "c": a})
    with pytest.raises(TypeError, match=r"out: got ndarray, expected a dict of 'sum', 'y'"):
        stream.step({"a": a, "b": a}, out=a)
    with pytest.raises(ValueError, match=r"input 'b': got shape \[4, 1, 4\], expected \[3, 1, 4\]"):
        stream.run({"a": np.zeros((3, 1, 4), np.float32), "b": np.zeros((4, 1, 4), np.float32)})
    with pytest.raises(ValueError, match=r"input 'b': got shape \[3, 2, 4\], expected \[3, 1, 4\]"):
        model({"a": np.zeros((3, 1, 4), np.float32), "b": np.zeros((3, 2, 4), np.float32)})


def test_wrong_call_of_a_model() -> None:
    model = rnnrt.load(models.recurrent("GRU"))
    with pytest.raises(ValueError, match=r"input 'x': got shape \[3, 1, 4\], expected \[T, B, 5\]"):
        model(np.zeros((3, 1, 4), np.float32))
    with pytest.raises(TypeError, match=r"got dtype float64, expected float32"):
        model(np.zeros((3, 1, 5)))
    with pytest.raises(ValueError, match="lengths"):
        rnnrt.load(models.timeless())(np.zeros(5, np.float32), lengths=[1])


def test_the_core_guards_its_memory() -> None:
    """Even private methods given nonsense do not write outside an array."""
    model = rnnrt.load(models.recurrent("GRU"))
    core = StreamCore(model, 4, 1)
    x, y = np.zeros((4, 5), np.float32), np.zeros((4, 7), np.float32)
    core._run((x, y), 4)
    for arrays, time in (((x, y), 5), ((x,), 4), ((x, y), -1), ((x, y[:, ::2]), 4), ((x[::2], y), 4), ((x, y, y), 4)):
        with pytest.raises(ValueError, match="array"):
            core._run(arrays, time)
    for arrays in ((y,), (np.zeros((7, 2), np.float32)[:, 0],), (np.zeros(7, np.float32), y)):
        with pytest.raises(ValueError, match="argument"):
            core._exchange(arrays, True)
    with pytest.raises(NotImplementedError):
        core.step(np.zeros(4, np.float32))
    for time, batch in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="argument"):
            StreamCore(model, time, batch)
    with pytest.raises((ValueError, MemoryError)):
        StreamCore(model, 2**31, 2**31)


def test_hierarchy_and_pickling() -> None:
    assert issubclass(rnnrt.ModelFormatError, rnnrt.RnnrtError)
    assert issubclass(rnnrt.ModelFormatError, ValueError)
    assert issubclass(rnnrt.UnsupportedError, rnnrt.RnnrtError)
    assert issubclass(rnnrt.UnsupportedError, NotImplementedError)
    unsupported = rnnrt.UnsupportedError("no", ["a", "b"])
    verification = rnnrt.VerificationError("no", {"snr": 3})
    for duplicate in (copy.copy, lambda e: pickle.loads(pickle.dumps(e))):
        assert duplicate(unsupported).problems == ["a", "b"]
        assert duplicate(verification).report == {"snr": 3}
        assert str(duplicate(unsupported)) == "no"
    assert rnnrt.UnsupportedError("no").problems == []


@pytest.mark.parametrize("source", [None, 3, ["x.rnnrt"]])
def test_load_says_what_it_takes(source: Any) -> None:
    with pytest.raises(TypeError, match=f"source: got {type(source).__name__}, expected a path or contiguous bytes"):
        rnnrt.load(source)


@pytest.mark.parametrize("values", [None, 3, [1, 2]])
def test_set_state_says_what_it_takes(values: Any) -> None:
    stream = rnnrt.load(models.streamable("gru")).stream()
    with pytest.raises(TypeError, match=rf"state: got {type(values).__name__}, expected a dict of 'y\.h'"):
        stream.set_state(values)
    with pytest.raises(TypeError, match=r"state 'y\.h': got dtype float64, expected float32"):
        stream.set_state({"y.h": np.zeros((1, 1, 7))})


@pytest.mark.parametrize("batch", [0, -1, 2**31, 2**32, 2**70])
def test_a_batch_out_of_range(batch: int) -> None:
    with pytest.raises(ValueError, match=f"batch: got {batch}, expected 1 to 2147483647"):
        rnnrt.load(models.streamable("gru")).stream(batch)


def test_a_batch_that_is_too_much_for_the_model_or_no_number() -> None:
    model = rnnrt.load(models.streamable("gru"))
    with pytest.raises(ValueError, match="batch: got 2147483647, too many for this model: a size is too large"):
        model.stream(2**31 - 1)
    for wrong in (1.5, "3", None):
        with pytest.raises(TypeError, match="integer"):
            model.stream(wrong)  # type: ignore[arg-type]
