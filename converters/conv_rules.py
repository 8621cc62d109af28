"""Rules that make convolutions smaller: what is thrown away is not computed, what is equal is multiplied once.

A short-time Fourier transform written as a Conv (a voice detector's front end) is what they are for: it computes
positions that a Slice drops, real and imaginary parts that are sliced apart, and its windowed cosines are even, its
sines odd.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from .ir import SYMBOLIC, Node, Shape
from .rewrite import Pass, Rewriter, can_reshape_to, reshape_to
from .support import VIEWS

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

INT32_MAX = 2**31 - 1
SMALLEST_FOLDED = 8  # taps; below, adding them first costs what it saves
ROUNDING = 2.0**-20  # of the largest weight: how far from equal two taps may be


def _parts(node: Node) -> dict[int, tuple[int, int]] | None:
    """Axis -> (start, end) of a Slice without steps."""
    attrs = node.attrs
    if node.op != "Slice" or any(s != 1 for s in attrs["steps"]):
        return None
    return {a: (s, e) for a, s, e in zip(attrs["axes"], attrs["starts"], attrs["ends"], strict=True)}


def _slice(name: str, x: str, y: str, parts: dict[int, tuple[int, int]]) -> Node:
    attrs = {"axes": list(parts), "starts": [s for s, _ in parts.values()], "ends": [e for _, e in parts.values()]}
    return Node("Slice", name, [x], [y], {**attrs, "steps": [1] * len(parts)})


def _sliced(shape: Shape | None, axis: int, drop: int) -> Shape | None:
    """A shape whose axis lost its first elements."""
    if shape is None or isinstance(shape[axis], SYMBOLIC):
        return None
    return (*shape[:axis], int(shape[axis]) - drop, *shape[axis + 1 :])


def _drop_positions(r: Rewriter, node: Node) -> bool:
    """Every reader drops the first positions of an unpadded axis: they are dropped from the input."""
    readers = r.consumers.get(node.outputs[0], []) if node.op == "Conv" and "pads" in node.attrs else []
    parts = [_parts(reader) for reader in readers]
    if not readers or not all(parts):
        return False
    spatial = len(node.attrs["kernel_shape"])
    for k in range(spatial):
        axis = k + 2
        first = {p.get(axis) for p in parts if p is not None}
        start, end = next(iter(first)) or (0, 0)
        shape, output = r.shape(node.inputs[0]), r.shape(node.outputs[0])
        drop = start * int(node.attrs["strides"][k])
        if len(first) != 1 or start <= 0 or end != INT32_MAX or any(node.attrs["pads"][k::spatial]):
            continue
        less, fewer = _sliced(shape, axis, drop), _sliced(output, axis, start)
        if less is None or fewer is None or int(fewer[axis]) <= 0:
            continue
        x, y = r.value(f"{node.inputs[0]}.used", less), r.value(f"{node.outputs[0]}.used", fewer)
        before = _slice(f"{node.name}.used", node.inputs[0], x, {axis: (drop, INT32_MAX)})
        for reader in readers:
            rest = {a: v for a, v in (_parts(reader) or {}).items() if a != axis}
            reader.inputs = [y]
            reader.attrs = _slice("", "", "", rest).attrs
        r.replace(node, [before, Node("Conv", node.name, [x, *node.inputs[1:]], [y], node.attrs)])
        return True
    return False


def _empty_slice(r: Rewriter, node: Node) -> bool:
    """A Slice that takes everything."""
    if node.op != "Slice" or node.attrs["axes"]:
        return False
    r.redirect(node.outputs[0], node.inputs[0])
    return True


def _split_channels(r: Rewriter, node: Node) -> bool:
    """Every reader takes other channels: one Conv for each of them."""
    readers = r.consumers.get(node.outputs[0], []) if node.op == "Conv" and node.attrs.get("group") == 1 else []
    weights, bias = r.constant(node, 1), r.constant(node, 2)
    shape = r.shape(node.outputs[0])
    if (
        len(readers) < 2
        or weights is None
        or shape is None
        or (len(node.inputs) > 2 and node.inputs[2] and bias is None)
    ):
        return False
    taken: list[tuple[int, int]] = []
    for reader in readers:
        parts = _parts(reader)
        if parts is None or 1 not in parts:
            return False
        start, end, _ = slice(*parts[1]).indices(len(weights))
        taken.append((start, end))
    ordered = sorted(taken)
    if any(s >= e for s, e in taken) or any(a[1] > b[0] for a, b in pairwise(ordered)):
        return False
    made = []
    for reader, (start, end) in zip(readers, taken, strict=True):
        inputs = [node.inputs[0], r.add_constant(f"{node.inputs[1]}.rows", np.ascontiguousarray(weights[start:end]))]
        if bias is not None:
            inputs.append(r.add_constant(f"{node.inputs[2]}.rows", np.ascontiguousarray(bias[start:end])))
        y = r.value(f"{node.outputs[0]}.rows", (shape[0], end - start, *shape[2:]))
        made.append(Node("Conv", f"{node.name}.{start}", inputs, [y], dict(node.attrs)))
        reader.inputs = [y]
        reader.attrs = _slice("", "", "", {a: v for a, v in (_parts(reader) or {}).items() if a != 1}).attrs
    r.replace(node, made)
    return True


def _slice_under_view(r: Rewriter, node: Node) -> bool:
    """The first elements dropped before a view that only puts in or takes out axes of size 1."""
    parts = _parts(node)
    view = r.producers.get(node.inputs[0]) if parts is not None and len(parts) == 1 else None
    if parts is None or view is None or view.op not in VIEWS or r.only_consumer(node.inputs[0]) is not node:
        return False
    under, above, after = r.shape(view.inputs[0]), r.shape(node.inputs[0]), r.shape(node.outputs[0])
    ((axis, window),) = parts.items()
    if under is None or above is None or after is None or [d for d in under if d != 1] != [d for d in above if d != 1]:
        return False
    if above[axis] == 1 or isinstance(above[axis], SYMBOLIC) or not can_reshape_to(after):
        return False
    nth = sum(d != 1 for d in above[:axis])
    below = [i for i, d in enumerate(under) if d != 1][nth]
    x = r.value(f"{view.inputs[0]}.used", (*under[:below], after[axis], *under[below + 1 :]))
    before = _slice(node.name, view.inputs[0], x, {below: window})
    r.replace(node, [before, Node("Reshape", f"{node.name}.view", [x], node.outputs, {"shape": reshape_to(after)})])
    return True


def _slice_of_pad(r: Rewriter, node: Node) -> bool:
    """Padding that is dropped at once is not made."""
    parts = _parts(node)
    pad = r.producers.get(node.inputs[0]) if parts is not None else None
    if parts is None or pad is None or pad.op != "Pad" or r.only_consumer(node.inputs[0]) is not node:
        return False
    shape = r.shape(node.inputs[0])
    pads = list(pad.attrs["pads"])
    for axis, (start, end) in parts.items():
        cut = min(max(start, 0), pads[axis])
        less = _sliced(shape, axis, cut)
        if cut == 0 or less is None:
            continue
        pads[axis] -= cut
        y = r.value(f"{pad.outputs[0]}.used", less)
        moved = {**parts, axis: (start - cut, end if end in (INT32_MAX,) or end < 0 else end - cut)}
        left = {a: v for a, v in moved.items() if v != (0, INT32_MAX)}
        made = Node("Pad", pad.name, pad.inputs, [y], {**pad.attrs, "pads": pads})
        r.replace(node, [made, _slice(node.name, y, node.outputs[0], left)])
        return True
    return False


def _trim_taps(r: Rewriter, node: Node) -> bool:
    """The first and last taps that see nothing but padding, at every position."""
    weights, shape, output = r.constant(node, 1), r.shape(node.inputs[0]), r.shape(node.outputs[0])
    attrs = node.attrs
    if node.op != "Conv" or "pads" not in attrs or weights is None or shape is None or output is None:
        return False
    spatial = len(attrs["kernel_shape"])
    for k, (size, positions) in enumerate(zip(shape[2:], output[2:], strict=True)):
        if isinstance(size, SYMBOLIC) or isinstance(positions, SYMBOLIC):
            continue
        if not size or not positions or "symmetry" in attrs:
            continue
        stride, dilation, pad = attrs["strides"][k], attrs["dilations"][k], attrs["pads"][k]
        places = np.arange(positions)[:, None] * stride + np.arange(attrs["kernel_shape"][k]) * dilation - pad
        used = np.flatnonzero(((places >= 0) & (places < size)).any(axis=0))
        if used.size == 0 or used.size == attrs["kernel_shape"][k] or pad < used[0] * dilation:
            continue
        first, end = int(used[0]), int(used[-1]) + 1
        pad -= first * dilation
        window = (slice(None),) * (2 + k) + (slice(first, end),)
        node.inputs[1] = r.add_constant(f"{node.inputs[1]}.used", np.ascontiguousarray(weights[window]))
        behind = max((positions - 1) * stride + (end - first - 1) * dilation + 1 - size - pad, 0)
        pads = list(attrs["pads"])
        pads[k], pads[k + spatial] = pad, behind
        kernel = [*attrs["kernel_shape"][:k], end - first, *attrs["kernel_shape"][k + 1 :]]
        node.attrs = {**attrs, "kernel_shape": kernel, "pads": pads}
        return True
    return False


def _symmetric(r: Rewriter, node: Node) -> bool:
    """Taps k and kernel - k of equal (opposite) weights in every row: see src_c/ops/conv.c."""
    attrs = node.attrs
    if node.op != "Conv" or "symmetry" in attrs or len(attrs.get("kernel_shape") or []) != 1 or r.graph.quantized:
        return False
    (kernel,), weights = attrs["kernel_shape"], r.constant(node, 1)
    if weights is None or kernel < SMALLEST_FOLDED or attrs["group"] != 1 or attrs["dilations"] != [1]:
        return False
    w = weights.astype(np.float64)
    other = w[:, :, np.r_[0, kernel - 1 : 0 : -1]]  # tap kernel - k in the place of tap k
    paired = slice(1, None)
    for sign in (1, -1):
        if np.abs(w - sign * other)[:, :, paired].max() <= ROUNDING * np.abs(w).max():
            half = (w + sign * other)[:, :, : kernel // 2 + 1] / 2
            half[:, :, 0] = w[:, :, 0]
            node.inputs[1] = r.add_constant(f"{node.inputs[1]}.half", half.astype(np.float32))
            attrs["symmetry"] = sign
            return True
    return False


RULES: list[Pass] = [
    _drop_positions,
    _empty_slice,
    _split_channels,
    _slice_under_view,
    _slice_of_pad,
    _trim_taps,
    _symmetric,
]
