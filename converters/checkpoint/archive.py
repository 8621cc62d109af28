"""A reader of zip files for checkpoints: records by name, never unpacked to disk, never larger than the file explains.

Python's zipfile is not used: it reads any number of entries, and does not mind records that overlap each other.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...errors import ModelFormatError
from .source import CHUNK, Source

SIGNATURE = b"PK\x03\x04"
MAX_ENTRIES = 50_000
MAX_NAME = 512
SPARE = 32 << 20  # bytes that compressed records of a small file may become

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_CENTRAL = b"PK\x01\x02"
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x2041  # bits 0, 6 and 13: encrypted, strongly encrypted, directory encrypted


@dataclass
class Record:
    """One member. Its bytes are checked against the checksum before they are first used."""

    source: Source
    name: str
    method: int
    crc: int
    packed: int
    size: int
    header: int  # of its local header, in the file
    limit: int  # where the next record or the directory begins
    checked: bool = False

    def read(self, start: int, count: int) -> bytes:
        """Bytes [start, start + count) of the unpacked record.

        Raises
        ------
        ModelFormatError
            Not that many, damaged, or packed in a way that is not supported.
        """
        if start < 0 or count < 0 or start + count > self.size:
            raise ModelFormatError(
                f"bytes {start} to {start + count} lie outside of '{self.name}', which has {self.size}"
            )
        begin = self._begin()
        if self.method == _DEFLATED:
            return self._inflate(begin)[start : start + count]
        if not self.checked:
            self._check(self.source.chunks(begin, self.size))
        return self.source.read(begin + start, count)

    def all(self, most: int) -> bytes:
        """The whole record, if it has at most so many bytes."""
        if self.size > most:
            raise ModelFormatError(f"'{self.name}' has {self.size} bytes, at most {most} were expected")
        return self.read(0, self.size)

    def _begin(self) -> int:
        """Where the data begins; the local header must say the same as the directory."""
        header = self.source.read(self.header, 30)
        name, extra = struct.unpack("<HH", header[26:30])
        begin = self.header + 30 + int(name) + int(extra)
        if header[:4] != SIGNATURE or self.source.read(self.header + 30, name) != self.name.encode():
            raise ModelFormatError(f"the zip file's directory and its record '{self.name}' disagree")
        if begin + self.packed > self.limit:
            raise ModelFormatError(f"'{self.name}' reaches into what follows it in the zip file")
        return begin

    def _check(self, chunks: Iterator[bytes]) -> None:
        crc = 0
        for chunk in chunks:
            crc = zlib.crc32(chunk, crc)
        if self.crc not in (crc, 0):  # 0: torch was told to leave checksums out
            raise ModelFormatError(f"'{self.name}' is damaged: its checksum is {crc:08x}, not {self.crc:08x}")
        self.checked = True

    def _inflate(self, begin: int) -> bytes:
        machine = zlib.decompressobj(-zlib.MAX_WBITS)
        made = bytearray()
        try:
            for chunk in self.source.chunks(begin, self.packed):
                made += machine.decompress(chunk, self.size + 1 - len(made))
                if len(made) > self.size:
                    break
        except zlib.error as error:
            raise ModelFormatError(f"'{self.name}' is damaged: {error}") from None
        if len(made) != self.size or not machine.eof:
            raise ModelFormatError(f"'{self.name}' unpacks to another size than the directory says")
        if not self.checked:
            view = memoryview(made)
            self._check(bytes(view[at : at + CHUNK]) for at in range(0, len(view), CHUNK))
        return bytes(made)


def records(source: Source) -> dict[str, Record]:
    """Every member of a zip file by name, folders left out.

    Raises
    ------
    ModelFormatError
        No zip file, cut off, encrypted, records that overlap, names that leave their folder or appear twice, or more
        than the file's size explains.
    """
    start, size, count = _directory(source)
    if count > MAX_ENTRIES or size > source.size:
        raise ModelFormatError(f"the zip file has {count} records, at most {MAX_ENTRIES} are read")
    data = source.read(start, size)
    found: dict[str, Record] = {}
    at = 0
    for _ in range(count):
        record, at = _entry(source, data, at, start)
        if record.name in found:
            raise ModelFormatError(f"the zip file has two records '{record.name}'")
        found[record.name] = record
    if at != size:
        raise ModelFormatError("the zip file's directory is longer than its number of records")
    _separate(found.values(), start)
    unpacked = sum(r.size for r in found.values() if r.method == _DEFLATED)
    if unpacked > source.size + SPARE:
        raise ModelFormatError(f"the zip file unpacks to {unpacked} bytes, far more than its {source.size}")
    return {name: record for name, record in found.items() if not name.endswith("/")}


def _directory(source: Source) -> tuple[int, int, int]:
    """Where the central directory begins, its bytes, its entries."""
    length = min(source.size, 22 + 0xFFFF)
    tail = source.read(source.size - length, length)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise ModelFormatError("the zip file has no end: it is cut off or damaged")
    disk, first, here, count, size, start, comment = struct.unpack("<HHHHIIH", tail[at + 4 : at + 22])
    end = source.size - length + at
    if end + 22 + comment != source.size:
        raise ModelFormatError("the zip file has bytes behind its end")
    if source.read(max(end - 20, 0), min(end, 20))[:4] == _LOCATOR64:  # torch always writes one
        end, disk, first, here, count, size, start = _directory64(source, end)
    if disk or first or here != count or start + size != end:
        raise ModelFormatError("the zip file's directory is not where its end says")
    return start, size, count


def _directory64(source: Source, end: int) -> tuple[int, ...]:
    locator = source.read(max(end - 20, 0), 20)
    if locator[:4] != _LOCATOR64:
        raise ModelFormatError("the zip file's end is damaged")
    (at,) = struct.unpack("<Q", locator[8:16])
    record = source.read(at, 56)
    if record[:4] != _END64 or at + 56 > end - 20:
        raise ModelFormatError("the zip file's end is damaged")
    return (at, *struct.unpack("<IIQQQQ", record[16:56]))


def _entry(source: Source, data: bytes, at: int, limit: int) -> tuple[Record, int]:
    """The directory's entry at a position, and the position behind it."""
    if data[at : at + 4] != _CENTRAL or at + 46 > len(data):
        raise ModelFormatError("the zip file's directory is damaged")
    flags, method = struct.unpack("<HH", data[at + 8 : at + 12])
    crc, packed, size, name_length, extra_length, comment = struct.unpack("<IIIHHH", data[at + 16 : at + 34])
    (header,) = struct.unpack("<I", data[at + 42 : at + 46])
    behind = at + 46 + name_length + extra_length + comment
    if behind > len(data) or name_length > MAX_NAME:
        raise ModelFormatError("the zip file's directory is damaged")
    extra = data[at + 46 + name_length : at + 46 + name_length + extra_length]
    size, packed, header = _sizes64(extra, size, packed, header)
    name = _name(data[at + 46 : at + 46 + name_length])
    if flags & _ENCRYPTED:
        raise ModelFormatError(f"'{name}' in the zip file is encrypted")
    if method not in (_STORED, _DEFLATED) or (method == _STORED and size != packed):
        raise ModelFormatError(f"'{name}' in the zip file is packed by method {method}, which is not supported")
    return Record(source, name, method, crc, packed, size, header, limit), behind


def _sizes64(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """The values that did not fit in 32 bits, in this order, where the field holds them."""
    values = [size, packed, header]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack("<HH", extra[at : at + 4])
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            for i, value in enumerate(values):
                if value == 0xFFFFFFFF:
                    if len(field) < 8:
                        raise ModelFormatError("the zip file's directory is damaged")
                    (values[i],), field = struct.unpack("<Q", field[:8]), field[8:]
        at += 4 + length
    return values[0], values[1], values[2]


def _name(data: bytes) -> str:
    try:
        name = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ModelFormatError("a name in the zip file is not UTF-8") from None
    parts = name.removesuffix("/").split("/")
    if not name.isprintable() or "\\" in name or ":" in name or any(p in ("", ".", "..") for p in parts):
        raise ModelFormatError(f"the zip file holds a record of the name {name!r}, which leaves its folder")
    return name


def _separate(found: Iterable[Record], start: int) -> None:
    """Refuse records that overlap; every record ends where the next one begins, at the latest."""
    ordered = sorted(found, key=lambda r: r.header)
    for record, following in zip(ordered, [*(r.header for r in ordered[1:]), start]):
        record.limit = following
        if record.header + 30 + len(record.name.encode()) + record.packed > following:
            raise ModelFormatError(f"'{record.name}' overlaps what follows it in the zip file")
