"""A packed model to the bytes of a .rnnrt file, as specified at the top of ``src_c/core/format.h``."""

from __future__ import annotations

import errno
import json
import os
import secrets
import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .pack import F16, S4, S8, PackedModel, PackedValue

MAGIC = b"\x89RNNRT\r\n"
VERSION = 1
FEATURE_S8, FEATURE_F16, FEATURE_S4 = 1, 2, 4
FLAG_STREAMABLE = 1
HEADER = 64
SECTIONS = 8
STRINGS, VALUES, NODES, REFS, INTS, FLOATS, META, DATA = range(1, SECTIONS + 1)
ALIGN = 64
_FEATURES = {S8: FEATURE_S8, F16: FEATURE_F16, S4: FEATURE_S4}  # by the type of a constant

VALUE_RECORD = struct.Struct("<I4B6i4BIIIQQ")
NODE_RECORD = struct.Struct("<IHBBIIIIII")
SECTION_RECORD = struct.Struct("<IIQQII")
assert (VALUE_RECORD.size, NODE_RECORD.size, SECTION_RECORD.size) == (64, 32, 32)

_POLYNOMIAL = 0x82F63B78
_LANE = 2048  # bytes per lane of the vectorized CRC


@lru_cache(maxsize=1)
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


@lru_cache(maxsize=1)
def _lane_shift() -> tuple[tuple[int, ...], ...]:
    """Tables t: the CRC advanced by _LANE zero bytes is t[0][crc & 255] ^ t[1][crc >> 8 & 255] ^ ... (linearity)."""
    table = np.array(_crc_table(), np.uint32)
    crc = (np.arange(256, dtype=np.uint32)[None] << np.arange(0, 32, 8, dtype=np.uint32)[:, None]).reshape(-1)
    for _ in range(_LANE):
        crc = crc >> np.uint32(8) ^ table[crc & np.uint32(255)]
    return tuple(tuple(int(v) for v in row) for row in crc.reshape(4, 256))


def crc32c(data: bytes | memoryview, crc: int = 0) -> int:
    """CRC-32C (Castagnoli) of data, continuing from `crc`.

    The data are cut into lanes of 2 kB whose CRCs are computed side by side and joined by linearity:
    crc(A B) = advance(crc(A), len(B)) ^ crc(B).
    """
    crc ^= 0xFFFFFFFF
    view = memoryview(data).cast("B")
    lanes = len(view) // _LANE
    if lanes:
        table = np.array(_crc_table(), np.uint32)
        columns = np.ascontiguousarray(np.frombuffer(view[: lanes * _LANE], np.uint8).reshape(lanes, _LANE).T)
        each = np.zeros(lanes, np.uint32)
        for column in columns:
            each = each >> np.uint32(8) ^ table[(each ^ column) & np.uint32(255)]
        t0, t1, t2, t3 = _lane_shift()
        for lane in each.tolist():
            crc = t0[crc & 255] ^ t1[crc >> 8 & 255] ^ t2[crc >> 16 & 255] ^ t3[crc >> 24] ^ lane
    scalar = _crc_table()
    for byte in view[lanes * _LANE :]:
        crc = crc >> 8 ^ scalar[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _aligned(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


class _Strings:
    """The STRINGS section; equal strings are stored once."""

    def __init__(self) -> None:
        self.bytes = bytearray(b"\0")
        self.offsets = {"": 0}

    def add(self, text: str) -> int:
        if "\0" in text:
            raise ValueError(f"a name contains NUL: {text!r}")
        if text not in self.offsets:
            self.offsets[text] = len(self.bytes)
            self.bytes += text.encode() + b"\0"
        return self.offsets[text]


def _value_record(value: PackedValue, strings: _Strings, offset: int) -> bytes:
    dims = [*value.dims, *[0] * (6 - len(value.dims))]
    return VALUE_RECORD.pack(
        strings.add(value.name),
        value.kind,
        value.dtype,
        value.layout,
        len(value.dims),
        *dims,
        int(value.is_output),
        0,
        0,
        0,
        value.pair,
        value.init,
        0,
        offset,
        len(value.data) if value.data is not None else 0,
    )


def to_bytes(packed: PackedModel, meta: dict[str, Any] | None = None) -> bytes:
    """The whole file.

    Parameters
    ----------
    packed
        From `pack`.
    meta
        The converter's report; must be JSON-ready. The same input gives the same bytes: keys are sorted.

    Returns
    -------
    bytes
    """
    strings, data = _Strings(), bytearray()
    values, nodes = bytearray(), bytearray()
    refs: list[int] = []
    ints: list[int] = []
    floats: list[float] = []
    for value in packed.values:
        offset = 0
        if value.data is not None:
            data += bytes(_aligned(len(data)) - len(data))
            offset = len(data)
            data += value.data
        values += _value_record(value, strings, offset)
    for node in packed.nodes:
        name = strings.add(node.name)
        nodes += NODE_RECORD.pack(
            name,
            node.code,
            len(node.inputs),
            len(node.outputs),
            len(refs),
            len(ints),
            len(node.ints),
            len(floats),
            len(node.floats),
            0,
        )
        refs += [*node.inputs, *node.outputs]
        ints += node.ints
        floats += node.floats
    text = json.dumps(meta or {}, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    sections = [
        (bytes(strings.bytes), len(strings.offsets)),
        (bytes(values), len(packed.values)),
        (bytes(nodes), len(packed.nodes)),
        (struct.pack(f"<{len(refs)}I", *refs), len(refs)),
        (struct.pack(f"<{len(ints)}i", *ints), len(ints)),
        (struct.pack(f"<{len(floats)}f", *floats), len(floats)),
        (text, 0),
        (bytes(data), 0),
    ]
    features = sum({_FEATURES.get(v.dtype, 0) for v in packed.values})
    return _assemble(sections, features, FLAG_STREAMABLE if packed.streamable else 0)


def _assemble(sections: list[tuple[bytes, int]], features: int, flags: int) -> bytes:
    """Header, section table, sections."""
    table, body = bytearray(), bytearray()
    start = HEADER + SECTIONS * SECTION_RECORD.size
    for kind, (content, count) in enumerate(sections, 1):
        body += bytes(_aligned(len(body)) - len(body))
        table += SECTION_RECORD.pack(kind, crc32c(content), start + len(body), len(content), count, 0)
        body += content
    header = struct.pack("<8sIIQII28x", MAGIC, VERSION, features, start + len(body), SECTIONS, flags)
    return header + struct.pack("<I", crc32c(header + table)) + bytes(table) + bytes(body)


def without_meta(blob: bytes | memoryview) -> bytes:
    """The same model without the converter's report, which the runtime never reads: for flash."""
    view = memoryview(blob).cast("B")
    sections: list[tuple[bytes, int]] = []
    for kind in range(1, SECTIONS + 1):
        _, _, start, size, count, _ = SECTION_RECORD.unpack_from(view, HEADER + (kind - 1) * SECTION_RECORD.size)
        sections.append((b"{}" if kind == META else bytes(view[start : start + size]), count))
    features, flags = struct.unpack_from("<I", view, 12)[0], struct.unpack_from("<I", view, 28)[0]
    return _assemble(sections, features, flags)


def save(path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file that is either complete or not there: temporary file beside it, fsync, rename.

    Parameters
    ----------
    path
        The file.
    content
        Its bytes, or what writes them into an open file.

    Raises
    ------
    OSError
        Nothing is left behind. It names the file, not the temporary one.
    """
    require_folder(path)
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        # O_EXCL, not tempfile: a model is an ordinary file, so its mode follows the umask
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def require_folder(path: str | os.PathLike[str]) -> None:
    """Make sure that a file can be written there; sooner than after the work.

    Raises
    ------
    FileNotFoundError
        Its folder is not there.
    IsADirectoryError
        It is a folder itself.
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write to", str(folder))
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, expected the name of a file", os.fspath(path))


def require_other_file(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> None:
    """Make sure that writing there does not replace what is read.

    Raises
    ------
    ValueError
        Both are one file, whatever they are called.
    """
    if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
        raise ValueError(f"{os.fspath(path)} is an input, too: writing there would replace it")
