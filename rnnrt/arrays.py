"""What rnnrt accepts as an array, and how shapes give values to the symbols for time and batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_DTYPES = {1: np.dtype(np.float32), 3: np.dtype(np.int32)}  # rnnrt_dtype
_SYMBOLS: dict[int, int | str] = {-2: "T", -3: "B"}  # RNNRT_DIM_TIME, RNNRT_DIM_BATCH


class TensorInfo(NamedTuple):
    """Name, shape and dtype of a model's input, output or state variable."""

    name: str
    shape: tuple[int | str, ...]
    """Axis lengths; ``"T"`` stands for time and ``"B"`` for batch."""
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}{_text(self.shape)}"

    def bound(self, **symbols: int) -> tuple[Any, ...]:
        """Return the shape with symbols replaced, for example ``bound(B=1)``; symbols not given stay."""
        return tuple(symbols.get(d, d) if isinstance(d, str) else d for d in self.shape)


def info_of(raw: tuple[str, tuple[int, ...], int]) -> TensorInfo:
    """Make a `TensorInfo` of the core's (name, dims, dtype number)."""
    name, dims, dtype = raw
    return TensorInfo(name, tuple(_SYMBOLS.get(d, d) for d in dims), _DTYPES[dtype])


def _text(shape: Sequence[int | str]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def mismatch(what: str, got: Sequence[int], expected: Sequence[int | str]) -> ValueError:
    """Return the exception for a wrong shape."""
    return ValueError(f"{what}: got shape {_text(got)}, expected {_text(expected)}")


def as_input(info: TensorInfo, x: object, what: str = "input") -> Array:
    """Return `x` as a C-contiguous aligned array of the input's dtype; copied only where it is not one already.

    Truth values are taken for an int32 input, as 0 and 1.

    Parameters
    ----------
    info : TensorInfo
        The input.
    x : array-like
        numpy array, torch CPU tensor, anything with the buffer protocol or DLPack.
    what : str
        What to call it in an error.

    Raises
    ------
    TypeError
        Another dtype: nothing is converted silently.
    """
    if isinstance(x, np.ndarray):
        array = x
    elif hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        array = np.from_dlpack(x)
    else:
        array = np.asarray(x)
    if array.dtype == np.bool_ and info.dtype == np.int32:
        return array.astype(np.int32, order="C")
    if array.dtype != info.dtype:
        raise TypeError(
            f"{what} '{info.name}': got dtype {array.dtype}, expected {info.dtype}: x.astype(numpy.{info.dtype})"
        )
    if array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.array(array, order="C", copy=True, subok=False)


def as_output(info: TensorInfo, out: object) -> Array:
    """Check that `out` can be written to as it is, but for its shape.

    Raises
    ------
    TypeError
        Not an ndarray, or another dtype.
    ValueError
        Not C-contiguous, or read-only.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out for '{info.name}': got {type(out).__name__}, expected numpy.ndarray")
    if out.dtype != info.dtype:
        raise TypeError(f"out for '{info.name}': got dtype {out.dtype}, expected {info.dtype}")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ValueError(f"out for '{info.name}': expected a C-contiguous, aligned, writable array")
    return out


def named(infos: Sequence[TensorInfo], x: object, what: str) -> list[object]:
    """Return what the caller gave for each info: `x` itself for a single one, or the values of the dict `x`.

    Raises
    ------
    TypeError
        No dict though there are several.
    ValueError
        Names missing or unknown.
    """
    if not isinstance(x, Mapping):
        if len(infos) == 1:
            return [x]
        raise TypeError(f"{what}: got {type(x).__name__}, expected a dict of {_names(infos)}")
    if {info.name for info in infos} != set(x):
        raise ValueError(f"{what}: got {', '.join(sorted(map(repr, x))) or 'none'}, expected {_names(infos)}")
    return [x[info.name] for info in infos]


def as_mapping(infos: Sequence[TensorInfo], values: object) -> Mapping[str, Any]:
    """Return `values`, a dict with a value for each info.

    Raises
    ------
    TypeError
        Something else.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"state: got {type(values).__name__}, expected a dict of {_names(infos)}")
    return values


def _names(infos: Sequence[TensorInfo]) -> str:
    return ", ".join(repr(info.name) for info in infos) or "none"


def without_units(shape: Sequence[int | str]) -> tuple[int | str, ...]:
    """Return the shape without its axes of length 1."""
    return tuple(d for d in shape if d != 1)


def bind(shape: Sequence[int], expected: Sequence[int | str]) -> dict[str, int] | None:
    """Find the lengths that the symbols in `expected` stand for.

    Axes of length 1 may be left out or added; a symbolic batch is 1 then.

    Parameters
    ----------
    shape : sequence of int
        What was given.
    expected : sequence of int or str
        Numbers, ``"T"`` and ``"B"``.

    Returns
    -------
    dict or None
        Length by symbol; None when the shapes do not fit.
    """
    if len(shape) == len(expected):
        found: dict[str, int] = {}
        if all(e == d or (isinstance(e, str) and found.setdefault(e, d) == d) for d, e in zip(shape, expected)):
            return found
    left = tuple(1 if e == "B" else e for e in expected)
    given, wanted = without_units(shape), without_units(left)
    symbols = {"B": 1} if "B" in expected else {}
    if "T" not in wanted:
        return symbols if given == wanted else None
    at = wanted.index("T")
    if wanted[:at] == given[:at] and len(given) == len(wanted) and wanted[at + 1 :] == given[at + 1 :]:
        return {**symbols, "T": int(given[at])}
    return {**symbols, "T": 1} if given == wanted[:at] + wanted[at + 1 :] else None
