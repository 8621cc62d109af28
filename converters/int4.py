"""s4 weights: groups of 32 columns, ``weight ~ scale[row] * step[row, group] * q`` with q in -8 ... 7.

A step is a signed byte: its sign lets the group's outermost weight, of either sign, be -8. Least squared error decides:
steps around that one, of both signs, are tried. Integer steps lose 0.01 dB against float scales (docs/decisions.md) and
keep the runtime's sums exact.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import layout

Array: TypeAlias = "npt.NDArray[Any]"

GROUP = 32
LARGEST_STEP = 127
STEP_SUM = 66051  # RNNRT_S4_STEPS: no row's steps may add up to more
_FACTORS = np.linspace(0.76, 1.12, 19)  # of outermost / -8; a smaller one cuts the outermost weight off
_AROUND = (-2, -1, 1, 2)  # steps tried around the best factor's
_CHUNK = 1 << 20  # weights at once


class Groups(NamedTuple):
    """A matrix as s4: q int8 [rows, cols] in -8 ... 7, step int8 [rows, groups], scale f32 [rows]."""

    q: Array
    step: Array
    scale: Array

    def restored(self) -> Array:
        """What it means, float64 [rows, cols]."""
        each = np.repeat(self.step.astype(np.float64), GROUP, axis=1)[:, : self.q.shape[1]]
        return np.asarray(self.q * each * self.scale[:, None].astype(np.float64))


def quantize(w: Array) -> Groups:
    """Quantize f32 [rows, cols], finite, to s4.

    A row whose largest magnitude is below 1e-30 becomes zero with scale 0, as activations do in the runtime.
    """
    rows, cols = w.shape
    groups = layout.padded(cols, GROUP) // GROUP
    made = Groups(np.zeros((rows, cols), np.int8), np.zeros((rows, groups), np.int8), np.zeros(rows, np.float32))
    chunk = max(1, _CHUNK // (groups * GROUP))
    for first in range(0, rows, chunk):
        part = slice(first, first + chunk)
        for whole, piece in zip(made, _quantize(np.asarray(w[part], np.float64), groups), strict=True):
            whole[part] = piece
    return made


def _quantize(w: Array, groups: int) -> Groups:
    """The same for a few rows. Everything is elementwise or summed over axis 0, so that every numpy gives the same."""
    rows, cols = w.shape
    full = np.zeros((rows, groups * GROUP))
    full[:, :cols] = w
    by_column = np.ascontiguousarray(full.reshape(rows, groups, GROUP).transpose(2, 0, 1))  # [32, rows, groups]
    base = _outermost(by_column) / -8
    limit = min(LARGEST_STEP, STEP_SUM // groups)
    best, least = np.zeros_like(base), np.full(base.shape, np.inf)
    for factor in (*_FACTORS, *-_FACTORS):
        _keep_better(by_column, base * factor, base * factor, best, least)
    largest = np.abs(by_column).max(axis=(0, 2))
    scale = np.where(largest < 1e-30, 0, np.abs(best).max(axis=1) / limit).astype(np.float32)
    unit = np.where(scale > 0, scale, 1).astype(np.float64)[:, None]
    middle = np.clip(np.rint(best / unit), -limit, limit)
    step, least = np.zeros_like(middle), np.full(middle.shape, np.inf)
    for offset in (0, *_AROUND):
        candidate = np.clip(middle + offset, -limit, limit)
        _keep_better(by_column, candidate * unit, candidate, step, least)
    step[scale == 0] = 0
    q = _rounded(by_column, step * unit).transpose(1, 2, 0).reshape(rows, groups * GROUP)[:, :cols]
    return Groups(q.astype(np.int8), step.astype(np.int8), scale)


def _outermost(by_column: Array) -> Array:
    high, low = by_column.max(axis=0), by_column.min(axis=0)
    return np.asarray(np.where(high >= -low, high, low))


def _rounded(by_column: Array, size: Array) -> Array:
    """The nearest q; 0 where the size is 0."""
    return np.asarray(np.where(size == 0, 0, np.clip(np.rint(by_column / np.where(size == 0, 1, size)), -8, 7)))


def _keep_better(by_column: Array, size: Array, value: Array, best: Array, least: Array) -> None:
    """Where groups of this step size have less squared error than before, note value and error."""
    error = np.square(_rounded(by_column, size) * size - by_column).sum(axis=0)
    better = error < least
    best[better], least[better] = value[better], error[better]
