"""Checkpoints that hold nothing but arrays: safetensors and numpy's .npz."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from ...errors import ModelFormatError
from .archive import Record
from .source import Source
from .tensor import DTYPES, Storage, Tensor, Tensors

_MAX_HEADER = 16 << 20  # bytes of a safetensors header
_MAX_ARRAY_HEADER = 1 << 16
_SAFETENSORS = {
    "F32": "float32",
    "F64": "float64",
    "F16": "float16",
    "BF16": "bfloat16",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "BOOL": "bool",
    "C64": "complex64",
}
_NUMPY = {d.str[1:]: name for name, d in DTYPES.items() if name not in ("bfloat16", "bool")} | {"b1": "bool"}


def is_safetensors(head: bytes, size: int) -> bool:
    """Do the first nine bytes look like a length and a JSON object?"""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") + 8 <= size


def read_safetensors(source: Source, tensors: Tensors) -> dict[str, Tensor]:
    """Tensors of a .safetensors file, which the safetensors library has found to be sound.

    Raises
    ------
    ModelFormatError
        It is damaged, or holds a type that is not supported.
    """
    length = int.from_bytes(source.read(0, 8), "little")
    if length > _MAX_HEADER:
        raise ModelFormatError(f"a header of {length} bytes, at most {_MAX_HEADER} are read")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source.path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ModelFormatError(
            f"not a safetensors file, or damaged: {str(error).partition(chr(10))[0][:200]}"
        ) from None
    found = {}
    try:
        header: dict[str, Any] = json.loads(source.read(8, length))
        for name, about in header.items():
            if name == "__metadata__":
                continue
            if about["dtype"] not in _SAFETENSORS:
                raise ModelFormatError(f"'{name}' is of type {about['dtype']}, which is not supported")
            begin, end = about["data_offsets"]
            storage = Storage(source, 8 + length + begin, end - begin)
            found[name] = tensors.make(
                storage, _SAFETENSORS[about["dtype"]], 0, about["shape"], _packed(about["shape"])
            )
    except (KeyError, TypeError, RecursionError, json.JSONDecodeError) as error:  # the library read it another way
        raise ModelFormatError(f"a header that is not sound: {str(error)[:200]}") from None
    return found


def read_npz(found: dict[str, Record], tensors: Tensors) -> dict[str, Tensor]:
    """Arrays of a .npz file; arrays of Python objects are refused.

    Raises
    ------
    ModelFormatError
        It is damaged, or holds something else than arrays of numbers.
    """
    made = {}
    for name, record in found.items():
        if not name.endswith(".npy"):
            raise ModelFormatError(f"an archive that holds '{name}', which is no array")
        made[name.removesuffix(".npy")] = _array(record, tensors)
    return made


def _array(record: Record, tensors: Tensors) -> Tensor:
    head = io.BytesIO(record.read(0, min(record.size, _MAX_ARRAY_HEADER)))
    try:
        version = np.lib.format.read_magic(head)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"version {version}")
        shape, fortran, dtype = read(head)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, EOFError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ModelFormatError(f"'{record.name}' is no array of numbers: {reason}") from None
    if dtype.str[1:] not in _NUMPY:
        raise ModelFormatError(f"'{record.name}' holds {dtype.kind!r}, which are no numbers that are supported")
    if any(type(n) is not int or n < 0 for n in shape):
        raise ModelFormatError(f"'{record.name}' has the shape {str(shape)[:100]}")
    strides = _packed(shape[::-1])[::-1] if fortran else _packed(shape)
    storage = Storage(record, head.tell(), record.size - head.tell(), dtype.str[0] == ">")
    made = tensors.make(storage, _NUMPY[dtype.str[1:]], 0, shape, strides)
    if made.nbytes != storage.nbytes:
        raise ModelFormatError(f"'{record.name}' has {storage.nbytes} bytes of numbers, its shape {made.nbytes}")
    return made


def _packed(shape: Any) -> tuple[int, ...]:
    """Strides of an array in C order, in elements."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))
