"""The meaning of Conv, ConvTranspose, MaxPool and AveragePool in float64: see `reference`. Any number of spatial axes.

Two attributes are ours and say how the runtime is asked, not what is computed: ``channels_last`` (X and Y are
[N, ..., C]) and ``symmetry`` (only the taps that differ are stored, see src_c/ops/conv.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .bounds import bounded

Array: TypeAlias = "npt.NDArray[Any]"

WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
PIECE = 1 << 18  # multiplications at once, see _multiply


class Window:
    """The attributes of a windowed operator over an input of this size, pads resolved.

    Raises
    ------
    ValueError
        Attributes that contradict each other.
    """

    def __init__(self, op: str, attrs: Mapping[str, Any], size: Sequence[int], kernel: Sequence[int]) -> None:
        n = len(kernel)
        self.op, self.size, self.kernel = op, list(size), [int(k) for k in kernel]
        self.strides = [int(s) for s in attrs.get("strides") or [1] * n]
        self.dilations = [int(d) for d in attrs.get("dilations") or [1] * n]
        self.output_padding = [int(p) for p in attrs.get("output_padding") or [0] * n]
        self.ceil = bool(attrs.get("ceil_mode", 0))
        self.span = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        mode = attrs.get("auto_pad") or "NOTSET"
        mode = mode.decode() if isinstance(mode, bytes) else mode
        wanted = attrs.get("output_shape")
        if op == "ConvTranspose" and (wanted is not None or mode.startswith("SAME")):
            self.pads = self._transposed_pads(mode, None if wanted is None else [int(v) for v in wanted][-n:])
        elif mode == "NOTSET":
            self.pads = [int(p) for p in attrs.get("pads") or [0] * (2 * n)]
        elif mode == "VALID":
            self.pads = [0] * (2 * n)
        else:
            self.ceil = False
            total = [
                max((-(-s // t) - 1) * t + w - s, 0) for s, t, w in zip(size, self.strides, self.span, strict=True)
            ]
            self.pads = _halves(total, mode == "SAME_UPPER")
        if any(v < 1 for v in (*self.kernel, *self.strides, *self.dilations)):
            raise ValueError("kernel_shape, strides and dilations must be positive")
        bounded(max(s, 1) + abs(b) + abs(e) for s, b, e in zip(size, self.begin(), self.end(), strict=True))
        bounded(self.span)
        bounded(max(v, 1) for v in self.output())

    def _transposed_pads(self, mode: str, wanted: list[int] | None) -> list[int]:
        """So that the output has this shape, or stride times the input's."""
        totals = []
        for i, (s, stride) in enumerate(zip(self.size, self.strides, strict=True)):
            natural = stride * (s - 1) + self.output_padding[i] + self.span[i]
            total = natural - (s * stride if wanted is None else wanted[i])
            self.output_padding[i] += max(-total, 0)
            totals.append(max(total, 0))
        return _halves(totals, mode == "SAME_UPPER")

    def begin(self) -> list[int]:
        """Pads in front, by axis."""
        return self.pads[: len(self.kernel)]

    def end(self) -> list[int]:
        """Pads behind, by axis."""
        return self.pads[len(self.kernel) :]

    def output(self) -> list[int]:
        """Spatial sizes of the result."""
        made = []
        for s, b, e, w, t, more in zip(
            self.size, self.begin(), self.end(), self.span, self.strides, self.output_padding, strict=True
        ):
            if self.op == "ConvTranspose":
                made.append(max((s - 1) * t + more + w - b - e, 0) if s else 0)
                continue
            left = s + b + e - w
            count = left // t + 1 if left >= 0 else 0
            hangs = self.ceil and left >= 0 and left % t and count * t < s + b
            made.append(count + bool(hangs))
        return made

    def taps(self) -> Iterator[tuple[int, ...]]:
        """Every tap of the window, row by row."""
        return product(*(range(k) for k in self.kernel))

    def reads(self, tap: Sequence[int], out: Sequence[int]) -> Any:
        """Where a tap reads, over all positions, in an input padded by `begin`: an index of the last axes."""
        places = zip(tap, self.dilations, out, self.strides, strict=True)
        return (..., *(slice(p * d, p * d + (o - 1) * t + 1 if o else p * d, t) for p, d, o, t in places))

    def windows(self, x: Array, out: Sequence[int]) -> Array:
        """A view [..., *kernel, *out] of x [..., *padded]; no size of `out` is 0."""
        n = len(self.kernel)
        axes = tuple(range(x.ndim - n, x.ndim))
        slid = np.lib.stride_tricks.sliding_window_view(x, self.span, axes)  # [..., positions, span]
        every: Any = (..., *(slice(0, (o - 1) * t + 1, t) for o, t in zip(out, self.strides, strict=True)),
                      *(slice(None, None, d) for d in self.dilations))  # fmt: skip
        return np.asarray(np.moveaxis(slid[every], range(-n, 0), range(-2 * n, -n)))


def _weights_at(tap: Sequence[int]) -> Any:
    """One tap of W, as an index of its last axes."""
    return (..., *tap)


def _halves(totals: Sequence[int], upper: bool) -> list[int]:
    """Begin pads, then end pads; the odd one behind where `upper`."""
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return small + large if upper else large + small


def windowed(op: str, attrs: Mapping[str, Any], inputs: Sequence[Array | None]) -> Array:
    """Evaluate one of `WINDOWED`, without a fused activation.

    Parameters
    ----------
    op, attrs
        ONNX's, and ours (see above).
    inputs
        X [N, C, ...]; for Conv W [M, C/group, ...kernel], for ConvTranspose W [C, M/group, ...kernel]; B [M].

    Returns
    -------
    ndarray
        Y [N, M, ...].

    Raises
    ------
    ValueError
        An input is missing.
    """
    x = inputs[0]
    if x is None:
        raise ValueError(f"{op} needs input 0")
    if x.ndim < 3:
        raise ValueError(f"X has shape {x.shape}, at least three dimensions are needed")
    last = bool(attrs.get("channels_last", 0))
    x = np.moveaxis(x, -1, 1) if last else x
    if op in ("MaxPool", "AveragePool"):
        y = _pool(op, attrs, x)
    else:
        w = inputs[1] if len(inputs) > 1 else None
        if w is None:
            raise ValueError(f"{op} needs input 1")
        y = _conv(attrs, x, w) if op == "Conv" else _conv_transpose(attrs, x, w)
        bias = inputs[2] if len(inputs) > 2 else None
        if bias is not None:
            y = y + bias.reshape(-1, *[1] * (x.ndim - 2))
    return np.moveaxis(y, 1, -1) if last else y


def whole_kernel(w: Array, kernel: int, symmetry: int) -> Array:
    """W [M, C, kernel / 2 + 1] -> [M, C, kernel]: tap kernel - k is tap k or, with symmetry -1, its opposite."""
    full = np.zeros((*w.shape[:2], kernel), w.dtype)
    full[..., : w.shape[2]] = w
    for k in range(1, (kernel + 1) // 2):
        full[..., kernel - k] = symmetry * w[..., k]
    return full


def _conv(attrs: Mapping[str, Any], x: Array, w: Array) -> Array:
    symmetry = int(attrs.get("symmetry", 0))
    if symmetry:
        w = whole_kernel(w, int(attrs["kernel_shape"][0]), symmetry)
    g = Window("Conv", attrs, x.shape[2:], w.shape[2:])
    group = int(attrs.get("group", 1))
    x = np.pad(x, [(0, 0), (0, 0), *zip(g.begin(), g.end(), strict=True)])
    out, batch, outputs = g.output(), x.shape[0], w.shape[0]
    x = x.reshape(batch, group, x.shape[1] // group, *x.shape[2:])
    w = w.reshape(group, outputs // group, -1)  # [group, M/group, C/group * taps]
    y = np.zeros((batch, group, outputs // group, *out), np.result_type(x, w))
    if y.size and w.size:
        _multiply(w, g.windows(x, out), y)
    return y.reshape(batch, outputs, *out)


def _multiply(w: Array, windows: Array, y: Array) -> None:
    """W [group, M/group, C/group * taps] times windows [batch, group, C/group, *kernel, *out] into y.

    In halves until a piece has `PIECE` multiplications: little is copied at once, and OpenBLAS stays on one thread,
    whose threads wait up to 100 ms a call for each other where something else uses the cores.
    """
    longest = max(0, *range(3, y.ndim), key=lambda axis: y.shape[axis])
    if w.shape[1] * windows.size <= PIECE or y.shape[longest] == 1:
        y[...] = (w @ windows.reshape(len(y), len(w), w.shape[2], -1)).reshape(y.shape)
        return
    half = y.shape[longest] // 2
    for part in (slice(0, half), slice(half, None)):
        here: Any = (..., part, *[slice(None)] * (y.ndim - 1 - longest))
        _multiply(w, windows[here if longest else part], y[here])  # the batch comes first in both, other axes last


def _conv_transpose(attrs: Mapping[str, Any], x: Array, w: Array) -> Array:
    g = Window("ConvTranspose", attrs, x.shape[2:], w.shape[2:])
    group, batch = int(attrs.get("group", 1)), x.shape[0]
    size = g.size
    room = [(s - 1) * t + k for s, t, k in zip(size, g.strides, g.span, strict=True)]  # without pads
    x = x.reshape(batch, group, x.shape[1] // group, *size)
    w = w.reshape(group, w.shape[0] // group, *w.shape[1:])
    y = np.zeros((batch, group, w.shape[2], *room), np.result_type(x, w))
    for tap in g.taps():
        y[g.reads(tap, size)] += np.einsum("ngc...,gcm->ngm...", x, w[_weights_at(tap)])
    y = y.reshape(batch, -1, *room)
    out = g.output()
    grow = [(0, max(b + o - r, 0)) for b, o, r in zip(g.begin(), out, room, strict=True)]
    y = np.pad(y, [(0, 0), (0, 0), *grow])
    inner: Any = (..., *(slice(b, b + o) for b, o in zip(g.begin(), out, strict=True)))
    return np.asarray(y[inner])


def _pool(op: str, attrs: Mapping[str, Any], x: Array) -> Array:
    g = Window(op, attrs, x.shape[2:], attrs["kernel_shape"])
    out = g.output()
    average = op == "AveragePool"
    room = [
        max((o - 1) * t + k, s + b) for o, t, k, s, b in zip(out, g.strides, g.span, g.size, g.begin(), strict=True)
    ]
    around = [(b, r - s - b) for b, r, s in zip(g.begin(), room, g.size, strict=True)]
    fill = 0.0 if average else -np.finfo(np.float32).max
    y = np.full((*x.shape[:2], *out), fill, x.dtype)
    wide = np.pad(x, [(0, 0), (0, 0), *around], constant_values=fill)
    if not average:
        for tap in g.taps():
            y = np.maximum(y, wide[g.reads(tap, out)])
        return np.asarray(y)
    counted = np.ones(g.size)
    if attrs.get("count_include_pad", 0):
        counted = np.pad(counted, list(zip(g.begin(), g.end(), strict=True)), constant_values=1)
        around = [(0, max(r - c, 0)) for r, c in zip(room, counted.shape, strict=True)]
    counted = np.pad(counted, around)
    taps = np.zeros(out)
    for tap in g.taps():
        y = y + wide[g.reads(tap, out)]
        taps += counted[g.reads(tap, out)]
    return np.asarray(y / np.maximum(taps, 1))
