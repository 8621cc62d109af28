"""Tensors of a checkpoint: strided views of storages that lie in a file, read when their numbers are wanted.

Everything is checked when a tensor is made: its elements lie inside its storage, and all tensors together are not much
larger than the file (a view may repeat elements, ``expand`` does; a hostile one repeats a single number 10^12 times).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from ...errors import ModelFormatError

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# torch's name of a type -> numpy's, little endian. numpy has no bfloat16: it is read as its upper half of a float32.
DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int8": np.dtype("i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "bool": np.dtype("u1"),
    "complex64": np.dtype("<c8"),
    "complex128": np.dtype("<c16"),
}
MAX_RANK = 16
_SPARE = 32 << 20  # bytes that a small file may ask for all the same
_TIMES = 8  # all tensors together: so many times the file (tied weights, flattened views, averaged copies)


class Bytes(Protocol):
    """Where a storage's bytes come from."""

    def read(self, start: int, count: int) -> bytes:
        """Bytes [start, start + count) or a ModelFormatError."""


@dataclass
class Storage:
    """A run of bytes that any number of tensors look into. ``start`` counts within ``data``."""

    data: Bytes | None  # None until the legacy format has said where it lies
    start: int
    nbytes: int
    big_endian: bool = False

    def read(self, start: int, count: int) -> bytes:
        """Bytes [start, start + count) of the storage."""
        if self.data is None:
            raise ModelFormatError("a tensor's storage is not in the file")
        if start < 0 or count < 0 or start + count > self.nbytes:
            raise ModelFormatError(f"bytes {start} to {start + count} lie outside of a storage of {self.nbytes}")
        return self.data.read(self.start + start, count)


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage; ``offset`` and ``strides`` count elements. Made by `Tensors.make` alone."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    storage: Storage = field(repr=False)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, side by side."""
        return self.size * DTYPES[self.dtype].itemsize

    def array(self) -> Array:
        """Its numbers, from the file.

        Returns
        -------
        ndarray
            Shape ``shape``, C order, native endian, read-only. bfloat16 becomes float32 (exact), all else its own type.

        Raises
        ------
        ModelFormatError
            The bytes are damaged (checksum) or gone.
        """
        disk = DTYPES[self.dtype]
        span = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides)) if self.size else 0
        raw = self.storage.read(self.offset * disk.itemsize if span else 0, span * disk.itemsize)
        flat: Array = np.frombuffer(raw, disk.newbyteorder(">") if self.storage.big_endian else disk)
        flat = flat.astype(disk.newbyteorder("="), copy=False)
        if self.dtype == "bfloat16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        elif self.dtype == "bool":
            flat = flat != 0
        strides = [s * flat.itemsize if self.size else 0 for s in self.strides]
        found = np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False))
        found = found.reshape(self.shape)  # ascontiguousarray makes [] into [1]
        found.flags.writeable = False
        return found


class Tensors:
    """Makes the tensors of one file.

    Parameters
    ----------
    file_size
        Bytes of the file.
    """

    def __init__(self, file_size: int) -> None:
        self._each = file_size + _SPARE
        self._left = _TIMES * file_size + _SPARE

    def make(self, storage: Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> Tensor:
        """Check a view and return it.

        Parameters
        ----------
        storage
            What it looks into.
        dtype
            torch's name.
        offset, shape, strides
            In elements, as they stand in the file: nothing is taken for granted.

        Raises
        ------
        ModelFormatError
            No integers, negative ones, elements outside of the storage, too many dimensions or elements.
        """
        if dtype not in DTYPES:
            raise ModelFormatError(f"tensors of type {dtype} are not supported")
        shape, strides = _numbers("shape", shape), _numbers("stride", strides)
        if not _is_count(offset):
            raise ModelFormatError("a tensor's offset is no integer >= 0")
        if len(shape) != len(strides) or len(shape) > MAX_RANK:
            raise ModelFormatError(f"a tensor has {len(shape)} sizes and {len(strides)} strides (at most {MAX_RANK})")
        item = DTYPES[dtype].itemsize
        end = offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides)) if all(shape) else offset
        if end * item > storage.nbytes:
            raise ModelFormatError(
                f"a tensor reaches to byte {_short(end * item)} of a storage that has {storage.nbytes}"
            )
        made = Tensor(dtype, shape, strides, offset, storage)
        nbytes = made.nbytes
        self._left -= nbytes
        if nbytes > self._each or self._left < 0:
            raise ModelFormatError(f"its tensors are far larger than the file: the one of shape {shape} is too much")
        return made


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _numbers(what: str, given: Any) -> tuple[int, ...]:
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)) or not all(map(_is_count, given)):
        raise ModelFormatError(f"a tensor's {what} is no tuple of integers >= 0")
    return tuple(given)


def _short(number: int) -> str:
    """A number of any size in a message of one line."""
    return str(number) if number < 10**18 else "10^18 and more"
