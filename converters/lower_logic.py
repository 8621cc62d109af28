"""Comparisons, truth values and integers said with fewer operators. Parts of `lower.LOWERINGS`.

The graph's truth values are booleans, of which Min is "and", Max is "or" and "= false" is "not".
"""

from __future__ import annotations

import numpy as np

from .bounds import bounded
from .ir import Node
from .lowering import Chain, Lowering, Operands


def _swapped(op: str) -> Lowering:
    """a > b is b < a."""
    return lambda node, operands: [Node(op, node.name, node.inputs[::-1], node.outputs)]


def _renamed(op: str) -> Lowering:
    return lambda node, operands: [Node(op, node.name, node.inputs, node.outputs)]


def _not(node: Node, operands: Operands) -> list[Node]:
    return [Node("Equal", node.name, [node.inputs[0], operands.add_constant(np.asarray(False))], node.outputs)]


def _xor(node: Node, operands: Operands) -> list[Node]:
    chain = Chain(node, operands)
    chain.add("Not", [chain.add("Equal", list(node.inputs))], last=True)
    return chain.nodes


def _mod(node: Node, operands: Operands) -> list[Node] | None:
    """With the divisor's sign: the remainder of a division towards zero, plus the divisor where their signs differ."""
    if operands.kind() != "i" or node.attrs.get("fmod", 0):
        return None
    chain, (x, y) = Chain(node, operands), node.inputs
    zero = _like(operands, 0)
    rest = chain.add("Sub", [x, chain.add("Mul", [chain.add("Div", [x, y]), y])])
    differ = chain.add("Xor", [chain.add("Less", [rest, zero]), chain.add("Less", [y, zero])])
    wrong = chain.add("And", [differ, chain.add("Not", [chain.add("Equal", [rest, zero])])])
    chain.add("Where", [wrong, chain.add("Add", [rest, y]), rest], last=True)
    return chain.nodes


def _one_hot(node: Node, operands: Operands) -> list[Node] | None:
    """indices = 0, 1, ... along a new axis ? on : off; a negative index counts from the end."""
    rank, depth = operands.rank(), operands.constant(1)
    if rank is None or depth is None or operands.kind() not in ("i", "u"):
        return None
    chain, count = Chain(node, operands), int(depth.reshape(()))
    axis = int(node.attrs.get("axis", -1)) % (rank + 1)
    known = next(a for a in operands.arrays[0] if a is not None)
    steps = np.arange(*bounded([count]), dtype=known.dtype).reshape([-1] + [1] * (rank - axis))
    index = chain.add("Unsqueeze", [node.inputs[0], chain.integers(axis)])
    hit = chain.add("Equal", [index, operands.add_constant(steps)])
    if operands.kind() == "i":
        hit = chain.add("Or", [hit, chain.add("Equal", [index, operands.add_constant(steps - count)])])
    off, on = (chain.add("Gather", [node.inputs[2], operands.add_constant(np.asarray(i, np.int64))]) for i in (0, 1))
    chain.add("Where", [hit, on, off], last=True)
    return chain.nodes


def _is_nan(node: Node, operands: Operands) -> list[Node]:
    chain = Chain(node, operands)
    chain.add("Not", [chain.add("Equal", [node.inputs[0]] * 2)], last=True)
    return chain.nodes


def _like(operands: Operands, value: int) -> str:
    """A constant of the first input's type."""
    known = next(a for a in operands.arrays[0] if a is not None)
    return operands.add_constant(np.asarray(value, known.dtype))


def _of_integers(op: str) -> Lowering:
    """Neg, Abs, Sign and Relu of integers, with Sub, Min and Max."""

    def lower(node: Node, operands: Operands) -> list[Node] | None:
        if operands.kind() != "i":
            return None
        chain, x = Chain(node, operands), node.inputs[0]
        if op in ("Neg", "Abs"):
            negative = chain.add("Sub", [_like(operands, 0), x], last=op == "Neg")
            if op == "Abs":
                chain.add("Max", [x, negative], last=True)
        elif op == "Sign":
            chain.add("Min", [chain.add("Max", [x, _like(operands, -1)]), _like(operands, 1)], last=True)
        else:
            chain.add("Max", [x, _like(operands, 0)], last=True)
        return chain.nodes

    return lower


def _pow(node: Node, operands: Operands) -> list[Node] | None:
    """An exponent of integers becomes float."""
    if operands.kind() != "f" or operands.kind(1) not in ("i", "u"):
        return None
    chain = Chain(node, operands)
    chain.add("Pow", [node.inputs[0], chain.add("Cast", [node.inputs[1]], to=1)], last=True)
    return chain.nodes


def _clip(node: Node, operands: Operands) -> list[Node] | None:
    """Max and Min where a bound is not constant, or the numbers are integers."""
    bounds = [(op, i) for op, i in (("Max", 1), ("Min", 2)) if i < len(node.inputs) and node.inputs[i]]
    if not bounds or (operands.kind() != "i" and all(operands.is_constant[i] for _, i in bounds)):
        return None
    chain, name = Chain(node, operands), node.inputs[0]
    for op, i in bounds:
        name = chain.add(op, [name, node.inputs[i]], last=i == bounds[-1][1])
    return chain.nodes


def _reduce_min(node: Node, operands: Operands) -> list[Node] | None:
    """-max(-x); of integers -1 - max(-1 - x), which does not overflow; of truth values not any(not x)."""
    kind, chain = operands.kind(), Chain(node, operands)
    if kind not in ("f", "i", "b"):
        return None
    minus = _like(operands, -1) if kind == "i" else ""

    def turned(name: str, last: bool = False) -> str:
        if kind == "i":
            return chain.add("Sub", [minus, name], last=last)
        return chain.add("Neg" if kind == "f" else "Not", [name], last=last)

    turned(chain.add("ReduceMax", [turned(node.inputs[0]), *node.inputs[1:]], **node.attrs), last=True)
    return chain.nodes


def _arg_min(node: Node, operands: Operands) -> list[Node] | None:
    if operands.kind() not in ("f", "i"):
        return None
    chain = Chain(node, operands)
    turned = chain.add("Neg", node.inputs[:1])
    chain.add("ArgMax", [turned], last=True, **node.attrs)
    return chain.nodes


LOGIC: dict[str, Lowering] = {
    "Greater": _swapped("Less"),
    "GreaterOrEqual": _swapped("LessOrEqual"),
    "Not": _not,
    "And": _renamed("Min"),
    "Or": _renamed("Max"),
    "Xor": _xor,
    "IsNaN": _is_nan,
    "Mod": _mod,
    "OneHot": _one_hot,
    **{op: _of_integers(op) for op in ("Neg", "Abs", "Sign", "Relu")},
    "Clip": _clip,
    "Pow": _pow,
    "ReduceMin": _reduce_min,
    "ArgMin": _arg_min,
}
