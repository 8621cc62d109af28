"""How far one array is from another: the figures of a verification report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .quantize import sqnr_db

Array: TypeAlias = "npt.NDArray[Any]"


@dataclass(frozen=True)
class Comparison:
    """One output of rnnrt against one reference.

    Attributes
    ----------
    output
        Name of the output.
    against
        ``onnxruntime``, ``onnxruntime (stepping)``, ``torch`` or ``float64``.
    max_error, mean_error
        Of ``|d|``, d = rnnrt - reference.
    max_scaled_error
        Of ``|d| / max(1, |reference|)``: what tolerances speak of.
    sqnr_db
        10 log10(sum reference^2 / sum d^2); inf when equal.
    first_diverging_step
        First time step with a scaled error above the tolerance; None when there is none.
    sqnr_first_tenth_db, sqnr_last_tenth_db
        SQNR over the first and the last tenth of the time steps: does an error grow?
    """

    output: str
    against: str
    max_error: float
    mean_error: float
    max_scaled_error: float
    sqnr_db: float
    first_diverging_step: int | None
    sqnr_first_tenth_db: float
    sqnr_last_tenth_db: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: infinities are null."""
        return {k: finite(v) for k, v in asdict(self).items()}


def finite(value: Any) -> Any:
    """None for a float that JSON does not have."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def difference(found: Array, reference: Array) -> Array:
    """|found - reference|; 0 where both are NaN or the same infinity, inf where only one of them is."""
    a, b = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    with np.errstate(invalid="ignore"):
        d = np.abs(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(d), np.inf, d))


def scaled(found: Array, reference: Array) -> Array:
    """|found - reference| / max(1, |reference|)."""
    size = np.abs(np.asarray(reference, np.float64))
    return difference(found, reference) / np.maximum(1.0, np.where(np.isfinite(size), size, 1.0))


def same_bits(a: Array, b: Array) -> bool:
    """Equal bit for bit; NaNs are equal whatever their payload, as kernels.h says."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    bits = f"u{a.dtype.itemsize}"
    x, y = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return bool(np.all((x.view(bits) == y.view(bits)) | (np.isnan(x) & np.isnan(y))))


def compare(
    output: str, against: str, found: Array, reference: Array, axis: int | None, tolerance: float
) -> Comparison:
    """Compare one output.

    Parameters
    ----------
    output, against
        Names for the report.
    found, reference
        Arrays of one shape.
    axis
        The time axis; None: the output has none and counts as one step.
    tolerance
        Scaled error from which a step diverges.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if np.shape(found) != np.shape(reference):
        raise ValueError(f"output '{output}' has shape {np.shape(found)}, {against} gives {np.shape(reference)}")
    found, reference = (np.asarray(a, np.float64) for a in (found, reference))
    shape = (1, -1) if axis is None else (found.shape[axis], -1)
    by_step = [np.moveaxis(a, axis or 0, 0).reshape(shape) if a.size else np.zeros((0, 1)) for a in (found, reference)]
    error, relative = difference(*by_step), scaled(*by_step)
    steps = len(by_step[0])
    tenth = max(1, steps // 10)
    diverging = np.flatnonzero((relative > tolerance).any(axis=1))
    return Comparison(
        output=output,
        against=against,
        max_error=float(error.max(initial=0.0)),
        mean_error=float(error.mean()) if error.size else 0.0,
        max_scaled_error=float(relative.max(initial=0.0)),
        sqnr_db=sqnr_db(by_step[1], by_step[0]),
        first_diverging_step=int(diverging[0]) if diverging.size else None,
        sqnr_first_tenth_db=sqnr_db(by_step[1][:tenth], by_step[0][:tenth]),
        sqnr_last_tenth_db=sqnr_db(by_step[1][-tenth:], by_step[0][-tenth:]),
    )
