"""A layer normalization written out as primitives, as old exporters do, becomes LayerNormalization.

    mean = ReduceMean(x)   d = x - mean   y = d / Sqrt(ReduceMean(d * d) + epsilon)   then * scale, + bias

A subtraction may stand there twice (once for the variance).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .ir import SYMBOLIC, Node
from .rewrite import Pass, Rewriter

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def _made_by(r: Rewriter, name: str, op: str) -> Node | None:
    node = r.producers.get(name)
    return node if node is not None and node.op == op else None


def _mean_of(r: Rewriter, name: str) -> tuple[str, int] | None:
    """What a ReduceMean over the last axes reads, and the first of them."""
    node = _made_by(r, name, "ReduceMean")
    shape = r.shape(node.inputs[0]) if node is not None else None
    if node is None or shape is None or node.attrs.get("keepdims", 1) != 1:
        return None
    axes = sorted(a % len(shape) for a in node.attrs["axes"])
    fixed = axes and axes == list(range(axes[0], len(shape))) and not any(isinstance(shape[a], SYMBOLIC) for a in axes)
    return (node.inputs[0], axes[0]) if fixed else None


def _centred(r: Rewriter, name: str) -> tuple[str, int] | None:
    """X and the axis where a value is x - ReduceMean(x)."""
    node = _made_by(r, name, "Sub")
    found = _mean_of(r, node.inputs[1]) if node is not None else None
    return found if node is not None and found is not None and found[0] == node.inputs[0] else None


def _deviation(r: Rewriter, name: str) -> tuple[tuple[str, int], float] | None:
    """Where a value is sqrt(ReduceMean((x - mean)^2) + epsilon): x and the axis, epsilon."""
    root = _made_by(r, name, "Sqrt")
    total = _made_by(r, root.inputs[0], "Add") if root is not None else None
    if total is None:
        return None
    for i in (0, 1):
        epsilon, mean = r.constant(total, 1 - i), _mean_of(r, total.inputs[i])
        square = _made_by(r, mean[0], "Mul") if mean is not None else None
        if epsilon is None or epsilon.size != 1 or mean is None or square is None:
            continue
        sides = [_centred(r, side) for side in square.inputs]
        if sides[0] is not None and sides[0] == sides[1] and sides[0][1] == mean[1]:
            return sides[0], float(epsilon.reshape(()))
    return None


def _normalization(r: Rewriter, node: Node) -> bool:
    centred = _centred(r, node.inputs[0]) if node.op == "Div" else None
    deviation = _deviation(r, node.inputs[1]) if centred is not None else None
    if centred is None or deviation is None or deviation[0] != centred or deviation[1] <= 0:
        return False
    (x, axis), shape = centred, r.shape(centred[0])
    assert shape is not None
    ones = r.add_constant(f"{node.name}.scale", np.ones([int(d) for d in shape[axis:]], np.float32))
    attrs = {"axis": axis, "epsilon": deviation[1]}
    r.replace(node, [Node("LayerNormalization", node.name, [x, ones], node.outputs, attrs)])
    return True


def _scale_and_bias(r: Rewriter, node: Node) -> bool:
    """* constant, then + constant, after a LayerNormalization."""
    for i in (0, 1) if node.op in ("Mul", "Add") else ():
        norm, constant = _made_by(r, node.inputs[i], "LayerNormalization"), r.constant(node, 1 - i)
        if norm is None or constant is None or r.only_consumer(norm.outputs[0]) is not node or any(norm.outputs[1:]):
            continue
        scale, bias = r.constant(norm, 1), r.constant(norm, 2)
        if scale is None or (len(norm.inputs) > 2 and norm.inputs[2] and bias is None):
            continue
        shape = r.shape(node.outputs[0])
        extra = constant.shape[: max(constant.ndim - scale.ndim, 0)]
        if shape != r.shape(norm.outputs[0]) or any(d != 1 for d in extra):
            continue
        factor = np.broadcast_to(constant.reshape(constant.shape[len(extra) :]), scale.shape).astype(np.float64)
        inputs = [norm.inputs[0], norm.inputs[1]]
        if node.op == "Mul":
            inputs[1] = r.add_constant(f"{norm.name}.scale", (scale * factor).astype(np.float32))
            total = None if bias is None else bias * factor
        else:
            total = factor if bias is None else bias + factor
        if total is not None:
            inputs.append(r.add_constant(f"{norm.name}.bias", total.astype(np.float32)))
        r.replace(node, [Node("LayerNormalization", norm.name, inputs, node.outputs, norm.attrs)])
        return True
    return False


RULES: list[Pass] = [_normalization, _scale_and_bias]
