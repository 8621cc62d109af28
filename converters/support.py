"""Which operators, attributes, shapes and types the runtime has: everything else is a `Problem`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from . import windows
from .ir import Graph, Node, Problem
from .lower import LOWERINGS
from .reference import OPERATORS
from .reference_recurrent import DEFAULT_ACTIVATIONS, activations
from .reference_windows import WINDOWED

UNKNOWN = "?"  # prefix of the operator of a node that could not be evaluated
MAX_RANK = 6
MAX_COLUMNS = 131072  # int32 accumulators: see kernels.h

# Activations that Gemm and Conv can apply to their result; the operator's own name and its parameters' defaults.
FUSED_ACTIVATIONS: dict[str, dict[str, float]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.01},
    "Sigmoid": {},
    "Tanh": {},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Elu": {"alpha": 1.0},
    "Softsign": {},
    "Softplus": {},
    "ThresholdedRelu": {"alpha": 1.0},
    "Clip": {},
}
BINARY = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"}
ROUNDING = {"Floor", "Ceil", "Round", "Sign"}
UNARY = {*FUSED_ACTIVATIONS, *ROUNDING, "Exp", "Log", "Sqrt", "Abs", "Neg", "Erf", "Sin", "Cos", "Atan"}
COMPARE = {"Equal", "Less", "LessOrEqual"}
# Known to the reference, not to the runtime, and never part of shape arithmetic that folding could remove.
FLOAT_ONLY = {"Affine", "ScaledTanh"}
VIEWS = {"Reshape", "Squeeze", "Unsqueeze"}
REDUCE = {"ReduceMean", "ReduceMax", "ReduceSum"}
RECURRENT = {"RNN", "GRU", "LSTM"}
MOVES = VIEWS | {"Transpose", "Slice", "Concat", "Expand", "Gather", "Pad", "Identity"}
SIMPLE = BINARY | UNARY | COMPARE | VIEWS | REDUCE | MOVES | {"MatMul", "Softmax", "Where", "ArgMax"}

# Kinds of numbers (numpy's letters) beside floats that an operator takes, in whichever input; all inputs have one type.
# b and i are int32 in the runtime. Unsigned and short integers may be moved and cast; arithmetic would have to wrap.
_KINDS: dict[str, str] = {
    **dict.fromkeys(MOVES, "iub"),
    **dict.fromkeys(("Cast", "Where"), "iub"),
    **dict.fromkeys(("Equal", "Min", "Max", "ReduceMax"), "ib"),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Less", "LessOrEqual", "ReduceSum", "ArgMax"), "i"),
}
# Inputs whose type is another one than that of the rest
_OTHER_TYPE: dict[tuple[str, int], str] = {
    **{(op, 4): "i" for op in RECURRENT},
    ("Gather", 1): "iu",
    ("Where", 0): "ib",
}

# Operators that exist only as far as `lower` says them with others: why one is left.
_ONLY_LOWERED = {
    **dict.fromkeys(
        ("ScatterND", "ScatterElements"),
        "its indices are not constant places along one axis, each written as a whole",
    ),
    "TopK": "only along an axis of one element, with k 1 (rows sorted by length: fix the batch to 1 with --shape)",
    "Mod": "only that of integers, with fmod 0",
    "CumSum": "only floats along an axis whose size is a number can be summed up",
    "Einsum": "a letter is twice in an operand, or an intermediate result has more than 6 dimensions",
}

Check: TypeAlias = "Callable[[Graph, Node], list[tuple[str, str]]]"  # -> (attribute, reason)


def check(graph: Graph) -> list[Problem]:
    """Every reason why the runtime could not run this graph."""
    problems = []
    for node in graph.nodes:
        for attribute, reason in [*_operator(graph, node), *_types(graph, node)]:
            problems.append(Problem(node.name, node.op.removeprefix(UNKNOWN), reason, attribute))
    for value in [*graph.inputs, *graph.outputs]:
        if value.dtype.kind not in ("fib" if value in graph.outputs else "fiub"):
            kind = "input" if value in graph.inputs else "output"
            problems.append(Problem(value.name, kind, f"type {value.dtype} is not supported"))
    return problems


def is_known(op: str) -> bool:
    """Can an operator of this name be converted, at least in some graphs?"""
    return op in (OPERATORS.keys() | LOWERINGS.keys() | {"If"}) - FLOAT_ONLY


def _operator(graph: Graph, node: Node) -> list[tuple[str, str]]:
    if node.domain:
        return [("", f"the operator of domain '{node.domain}' is not supported")]
    if node.op.startswith(UNKNOWN):  # what it reads could not be computed, so only its name can be judged
        return [] if is_known(node.op.removeprefix(UNKNOWN)) else [("", "the operator is not supported")]
    if node.op in _CHECKS:
        return _CHECKS[node.op](graph, node)
    return [] if node.op in SIMPLE else [("", _ONLY_LOWERED.get(node.op, "the operator is not supported"))]


def _types(graph: Graph, node: Node) -> list[tuple[str, str]]:
    """What `_KINDS` allows; no more than six dimensions."""
    found: list[tuple[str, str]] = []
    if node.op.startswith(UNKNOWN) or node.op in _ONLY_LOWERED:  # the reason is given already
        return found
    for i, name in enumerate(node.inputs):
        value, constant = graph.values.get(name), graph.constants.get(name)
        dtype = constant.dtype if constant is not None else value.dtype if value is not None else None
        allowed = _OTHER_TYPE.get((node.op, i)) or "f" + _KINDS.get(node.op, "")
        if dtype is not None and (dtype.kind not in allowed or ("u" not in allowed and _wraps(dtype))):
            found.append(("", f"input {i} ('{name}') is {dtype}; the runtime does not compute it with this type"))
    for name in (*node.inputs, *node.outputs):
        value = graph.values.get(name)
        if (
            value is not None
            and name in node.outputs
            and _wraps(value.dtype)
            and node.op not in {*MOVES, "Cast", "Where"}
        ):
            found.append(("", f"its result '{name}' is {value.dtype}, which would have to wrap around"))
        rank = len(value.shape) if value is not None and value.shape is not None else 0
        if rank > MAX_RANK:
            found.append(("", f"'{name}' has {rank} dimensions, at most {MAX_RANK} are supported"))
    return found


def _wraps(dtype: np.dtype[Any]) -> bool:
    """An integer type whose arithmetic is not that of 32 bits (64 bits are taken to fit)."""
    return dtype.kind == "u" or (dtype.kind == "i" and dtype.itemsize < 4)


def _recurrent(graph: Graph, node: Node) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    names = {1: "W", 2: "R", 3: "B", 7: "P"}
    for i, what in names.items():
        name = node.inputs[i] if i < len(node.inputs) else ""
        if name and name not in graph.constants:
            found.append(("", f"{what} ('{name}') is not constant"))
        elif not name and i <= 2:
            found.append(("", f"{what} is missing"))
    direction = node.attrs.get("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        found.append(("direction", f"'{direction}' is unknown"))
    if node.op == "LSTM" and len(node.inputs) > 7 and node.inputs[7] and node.inputs[7] not in graph.constants:
        found.append(("", "peepholes are not constant"))
    try:
        activations(node.op, node.attrs, 2 if direction == "bidirectional" else 1)
    except ValueError as error:
        found.append(("activations", f"{error} (default {DEFAULT_ACTIVATIONS[node.op]})"))
    weights = graph.constants.get(node.inputs[1]) if len(node.inputs) > 2 else None
    recurrence = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
    for what, array in (("W", weights), ("R", recurrence)):
        if array is not None and (array.ndim != 3 or not 0 < array.shape[2] <= MAX_COLUMNS):
            found.append(("", f"{what} has shape {array.shape}"))
    return found


def _gemm(graph: Graph, node: Node) -> list[tuple[str, str]]:
    weights = graph.constants.get(node.inputs[1])
    if weights is None or node.attrs.get("transB") != 1:
        return [("", "its second operand is not a constant matrix")]
    if weights.shape[1] > MAX_COLUMNS:
        return [("", f"{weights.shape[1]} columns, at most {MAX_COLUMNS}")]
    return []


def _cast(graph: Graph, node: Node) -> list[tuple[str, str]]:
    """To float, bool and integers of 32 bits and more (which are 32 here); from anything."""
    to = cast_target(graph, node)
    if to is None or to.kind in "fb" or (to.kind == "i" and to.itemsize >= 4):
        return []
    return [("to", f"{to} is not supported")]


def cast_target(graph: Graph, node: Node) -> np.dtype[Any] | None:
    """Type that a Cast gives."""
    value = graph.values.get(node.outputs[0])
    return None if value is None else value.dtype


def _pad(graph: Graph, node: Node) -> list[tuple[str, str]]:
    found = []
    if node.attrs.get("mode") not in ("constant", "reflect", "edge"):
        found.append(("mode", f"'{node.attrs.get('mode')}' is not supported"))
    if any(p < 0 for p in node.attrs.get("pads", [])):
        found.append(("pads", "negative pads are not supported"))
    return found


def _layer_normalization(graph: Graph, node: Node) -> list[tuple[str, str]]:
    return [("", "its second and third output are not supported")] if any(node.outputs[1:]) else []


_CHECKS: dict[str, Check] = {
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "Gemm": _gemm,
    **dict.fromkeys(WINDOWED, windows.check),
    "Cast": _cast,
    "Pad": _pad,
    "LayerNormalization": _layer_normalization,
}
