"""Operators that the runtime does not have, said with operators that it has (or that folding removes).

One function per operator, in one table, `LOWERINGS`. Each gets the node and an `Operands`, which knows ranks and
constants, and returns the nodes that take its place; None leaves the node alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .ir import Node
from .lower_einsum import einsum
from .lower_logic import LOGIC
from .lower_normalization import NORMALIZATION
from .lower_writes import cum_sum, scatter
from .lowering import Chain, Lowering, Operands


def _fold_left(op: str, mean: bool = False) -> Lowering:
    """Sum, Mean, Min, Max of any number of operands: one after the other."""

    def lower(node: Node, operands: Operands) -> list[Node] | None:
        if len(node.inputs) == 2 and not mean and node.op == op:
            return None
        chain = Chain(node, operands)
        total = node.inputs[0]
        if len(node.inputs) == 1:
            chain.add("Identity", [total], last=True)
            return chain.nodes
        for i, name in enumerate(node.inputs[1:], 1):
            total = chain.add(op, [total, name], last=not mean and i == len(node.inputs) - 1)
        if mean:
            chain.add("Div", [total, chain.number(len(node.inputs))], last=True)
        return chain.nodes

    return lower


def _split(node: Node, operands: Operands) -> list[Node] | None:
    rank = operands.rank()
    if rank is None:
        return None
    axis = int(node.attrs.get("axis", 0)) % rank
    sizes = node.attrs.get("split")
    if sizes is None and len(node.inputs) > 1 and node.inputs[1]:
        value = operands.constant(1)
        sizes = None if value is None else value.reshape(-1).tolist()
        if sizes is None:
            return None
    if sizes is None:
        whole = operands.dim(0, axis)
        if whole is None:
            return None
        each = -(-whole // len(node.outputs))
        sizes = [min(each, whole - each * i) for i in range(len(node.outputs))]
    ends = np.cumsum([int(s) for s in sizes]).tolist()
    nodes = []
    for i, (output, size, end) in enumerate(zip(node.outputs, sizes, ends, strict=False)):
        attrs = {"starts": [end - int(size)], "ends": [end], "axes": [axis], "steps": [1]}
        if output:
            nodes.append(Node("Slice", f"{node.name}.{i}", node.inputs[:1], [output], attrs))
    return nodes


def _global_pool(op: str) -> Lowering:
    def lower(node: Node, operands: Operands) -> list[Node] | None:
        rank = operands.rank()
        if rank is None:
            return None
        attrs = {"axes": list(range(2, rank)), "keepdims": 1}
        return [Node(op, node.name, node.inputs, node.outputs, attrs)]

    return lower


def _softmax(node: Node, operands: Operands) -> list[Node] | None:
    """Before opset 13 one softmax ran over all axes from `axis` on."""
    rank = operands.rank()
    if rank is None or not node.attrs.pop("flatten_from_axis", 0):
        return _log_softmax(node, operands) if node.op == "LogSoftmax" else None
    axis = int(node.attrs.get("axis", 1)) % max(rank, 1)
    if axis == rank - 1:
        return _log_softmax(node, operands) if node.op == "LogSoftmax" else None
    chain = Chain(node, operands)
    flat = chain.add("Flatten", node.inputs[:1], axis=axis)
    result = chain.add(node.op, [flat], axis=-1)
    shape = chain.add("Shape", node.inputs[:1])
    chain.add("Reshape", [result, shape], last=True)
    return chain.nodes


def _log_softmax(node: Node, operands: Operands) -> list[Node]:
    """y = x - max - log(sum(exp(x - max))): no logarithm of a rounded-off zero."""
    chain = Chain(node, operands)
    reduce: dict[str, Any] = {"axes": [int(node.attrs.get("axis", -1))], "keepdims": 1}
    high = chain.add("ReduceMax", node.inputs[:1], **reduce)
    shifted = chain.add("Sub", [node.inputs[0], high])
    exp = chain.add("Exp", [shifted])
    total = chain.add("ReduceSum", [exp], **reduce)
    log = chain.add("Log", [total])
    chain.add("Sub", [shifted, log], last=True)
    return chain.nodes


def _reciprocal(node: Node, operands: Operands) -> list[Node]:
    chain = Chain(node, operands)
    chain.add("Div", [chain.number(1.0), node.inputs[0]], last=True)
    return chain.nodes


def _hard_swish(node: Node, operands: Operands) -> list[Node]:
    chain = Chain(node, operands)
    gate = chain.add("HardSigmoid", node.inputs[:1], alpha=1.0 / 6.0, beta=0.5)
    chain.add("Mul", [node.inputs[0], gate], last=True)
    return chain.nodes


def _swish(node: Node, operands: Operands) -> list[Node]:
    chain = Chain(node, operands)
    alpha = float(node.attrs.get("alpha", 1.0))
    scaled = node.inputs[0] if alpha == 1.0 else chain.add("Mul", [node.inputs[0], chain.number(alpha)])
    gate = chain.add("Sigmoid", [scaled])
    chain.add("Mul", [node.inputs[0], gate], last=True)
    return chain.nodes


def _gelu(node: Node, operands: Operands) -> list[Node]:
    """0.5 x (1 + erf(x / sqrt 2)), or with tanh(sqrt(2 / pi) (x + 0.044715 x^3)) in erf's place."""
    chain, x = Chain(node, operands), node.inputs[0]
    if node.attrs.get("approximate", "none") == "tanh":
        cube = chain.add("Mul", [chain.add("Mul", [x, x]), x])
        inner = chain.add("Add", [x, chain.add("Mul", [cube, chain.number(0.044715)])])
        gate = chain.add("Tanh", [chain.add("Mul", [inner, chain.number(np.sqrt(2 / np.pi))])])
    else:
        gate = chain.add("Erf", [chain.add("Mul", [x, chain.number(np.sqrt(0.5))])])
    half = chain.add("Mul", [x, chain.number(0.5)])
    chain.add("Mul", [half, chain.add("Add", [gate, chain.number(1.0)])], last=True)
    return chain.nodes


def _mish(node: Node, operands: Operands) -> list[Node]:
    chain = Chain(node, operands)
    gate = chain.add("Tanh", [chain.add("Softplus", node.inputs[:1])])
    chain.add("Mul", [node.inputs[0], gate], last=True)
    return chain.nodes


def _selu(node: Node, operands: Operands) -> list[Node]:
    chain = Chain(node, operands)
    elu = chain.add("Elu", node.inputs[:1], alpha=float(node.attrs["alpha"]))
    chain.add("Mul", [elu, chain.number(float(node.attrs["gamma"]))], last=True)
    return chain.nodes


def _celu(node: Node, operands: Operands) -> list[Node]:
    """x above 0, alpha * (e^(x / alpha) - 1) below: alpha * Elu(x / alpha)."""
    alpha, chain = float(node.attrs.get("alpha", 1.0)), Chain(node, operands)
    if alpha == 1.0:
        return [Node("Elu", node.name, node.inputs, node.outputs, {"alpha": 1.0})]
    elu = chain.add("Elu", [chain.add("Div", [node.inputs[0], chain.number(alpha)])], alpha=1.0)
    chain.add("Mul", [elu, chain.number(alpha)], last=True)
    return chain.nodes


def _p_relu(node: Node, operands: Operands) -> list[Node] | None:
    """One slope: LeakyRelu. Many: max(x, 0) + slope * min(x, 0)."""
    slope = operands.constant(1)
    if slope is not None and slope.size == 1:
        attrs = {"alpha": float(slope.reshape(()))}
        return [Node("LeakyRelu", node.name, node.inputs[:1], node.outputs, attrs)]
    chain = Chain(node, operands)
    zero = chain.number(0.0)
    positive = chain.add("Max", [node.inputs[0], zero])
    negative = chain.add("Min", [node.inputs[0], zero])
    chain.add("Add", [positive, chain.add("Mul", [negative, node.inputs[1]])], last=True)
    return chain.nodes


def _tile(node: Node, operands: Operands) -> list[Node] | None:
    repeats = operands.constant(1)
    if repeats is None or repeats.max(initial=1) > 255:
        return None
    chain = Chain(node, operands)
    name = node.inputs[0]
    many = [(axis, int(n)) for axis, n in enumerate(repeats.reshape(-1)) if n != 1]
    for k, (axis, n) in enumerate(many):
        name = chain.add("Concat", [name] * n, last=k == len(many) - 1, axis=axis)
    if not many:
        chain.add("Identity", [name], last=True)
    return chain.nodes


def _reduce_of_square(root: bool) -> Lowering:
    def lower(node: Node, operands: Operands) -> list[Node]:
        chain = Chain(node, operands)
        square = chain.add("Mul", [node.inputs[0], node.inputs[0]])
        total = chain.add("ReduceSum", [square, *node.inputs[1:]], last=not root, **node.attrs)
        if root:
            chain.add("Sqrt", [total], last=True)
        return chain.nodes

    return lower


def _reduce_l1(node: Node, operands: Operands) -> list[Node]:
    chain = Chain(node, operands)
    size = chain.add("Abs", node.inputs[:1])
    chain.add("ReduceSum", [size, *node.inputs[1:]], last=True, **node.attrs)
    return chain.nodes


def _reduce_log_sum(node: Node, operands: Operands) -> list[Node]:
    chain = Chain(node, operands)
    total = chain.add("ReduceSum", list(node.inputs), **node.attrs)
    chain.add("Log", [total], last=True)
    return chain.nodes


def _reduce_log_sum_exp(node: Node, operands: Operands) -> list[Node]:
    """max + log(sum(exp(x - max))); the maximum is there once in x's rank and once in the result's."""
    chain = Chain(node, operands)
    high = chain.add("ReduceMax", list(node.inputs), **{**node.attrs, "keepdims": 1})
    exp = chain.add("Exp", [chain.add("Sub", [node.inputs[0], high])])
    log = chain.add("Log", [chain.add("ReduceSum", [exp, *node.inputs[1:]], **node.attrs)])
    same = high if node.attrs.get("keepdims", 1) else chain.add("ReduceMax", list(node.inputs), **node.attrs)
    chain.add("Add", [same, log], last=True)
    return chain.nodes


def _where(node: Node, operands: Operands) -> list[Node] | None:
    """A constant condition chooses; it may also only widen the shape, which is left to Expand."""
    condition = operands.constant(0)
    if condition is None or condition.size == 0 or not (condition.all() or not condition.any()):
        return None
    chosen = 1 if condition.all() else 2
    whole = [operands.arrays[i] for i in range(3)]
    for probe in zip(*whole, strict=True):
        if any(a is None for a in probe) or np.broadcast_shapes(*(a.shape for a in probe if a is not None)) != (
            probe[chosen].shape if probe[chosen] is not None else None
        ):
            return None
    return [Node("Identity", node.name, [node.inputs[chosen]], node.outputs)]


def _top_k(node: Node, operands: Operands) -> list[Node] | None:
    """One element sorted is itself: exporters sort the lengths of a batch's rows, of which there may be one."""
    rank = operands.rank()
    k = {None if a is None else int(a.reshape(())) for a in (operands.arrays[1] if len(node.inputs) > 1 else [])}
    if rank is None or operands.dim(0, int(node.attrs.get("axis", -1)) % max(rank, 1)) != 1 or k != {1}:
        return None
    names = [*node.outputs, ""]
    nodes = [Node("Identity", node.name, node.inputs[:1], [names[0]])] if names[0] else []
    if names[1]:
        shape = operands.fresh(names[1])
        zero = {"value": np.zeros(1, np.int64)}
        nodes.append(Node("Shape", f"{node.name}.shape", node.inputs[:1], [shape]))
        nodes.append(Node("ConstantOfShape", f"{node.name}.indices", [shape], [names[1]], zero))
    return nodes


LOWERINGS: dict[str, Lowering] = {
    "Sum": _fold_left("Add"),
    "Mean": _fold_left("Add", mean=True),
    "Min": _fold_left("Min"),
    "Max": _fold_left("Max"),
    "Split": _split,
    "GlobalAveragePool": _global_pool("ReduceMean"),
    "GlobalMaxPool": _global_pool("ReduceMax"),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Reciprocal": _reciprocal,
    "HardSwish": _hard_swish,
    "Swish": _swish,
    "Mish": _mish,
    "Selu": _selu,
    "Celu": _celu,
    "PRelu": _p_relu,
    "Tile": _tile,
    "ReduceSumSquare": _reduce_of_square(root=False),
    "ReduceL2": _reduce_of_square(root=True),
    "ReduceL1": _reduce_l1,
    "ReduceLogSum": _reduce_log_sum,
    "ReduceLogSumExp": _reduce_log_sum_exp,
    "Where": _where,
    "Gelu": _gelu,
    "Einsum": einsum,
    "ScatterND": scatter,
    "ScatterElements": scatter,
    "CumSum": cum_sum,
    "TopK": _top_k,
    **LOGIC,
    **NORMALIZATION,
}
