"""Which operators, attributes, shapes and types the runtime has: everything else is a `Problem`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .ir import Graph, Node, Problem
from .lower import LOWERINGS
from .reference import OPERATORS
from .reference_recurrent import DEFAULT_ACTIVATIONS, activations

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
UNARY = {*FUSED_ACTIVATIONS, "Exp", "Log", "Sqrt", "Abs", "Neg"}
# Known to the reference, not to the runtime, and never part of shape arithmetic that folding could remove.
FLOAT_ONLY = {"Affine", "Erf", "Gelu", "ScaledTanh"}
VIEWS = {"Reshape", "Squeeze", "Unsqueeze"}
REDUCE = {"ReduceMean", "ReduceMax", "ReduceSum"}
RECURRENT = {"RNN", "GRU", "LSTM"}
SIMPLE = BINARY | UNARY | VIEWS | REDUCE | {"MatMul", "Softmax", "Transpose", "Slice", "Concat", "Expand"}

Check: TypeAlias = "Callable[[Graph, Node], list[tuple[str, str]]]"  # -> (attribute, reason)


def check(graph: Graph) -> list[Problem]:
    """Every reason why the runtime could not run this graph."""
    problems = []
    for node in graph.nodes:
        for attribute, reason in [*_operator(graph, node), *_types(graph, node)]:
            problems.append(Problem(node.name, node.op.removeprefix(UNKNOWN), reason, attribute))
    for value in [*graph.inputs, *graph.outputs]:
        if value.dtype.kind not in "fi":
            kind = "input" if value in graph.inputs else "output"
            problems.append(Problem(value.name, kind, f"type {value.dtype} is not supported"))
    return problems


def _operator(graph: Graph, node: Node) -> list[tuple[str, str]]:
    if node.domain:
        return [("", f"the operator of domain '{node.domain}' is not supported")]
    if node.op.startswith(UNKNOWN):  # what it reads could not be computed, so only its name can be judged
        known = node.op.removeprefix(UNKNOWN) in (OPERATORS.keys() | LOWERINGS.keys() | {"If"}) - FLOAT_ONLY
        return [] if known else [("", "the operator is not supported")]
    if node.op in _CHECKS:
        return _CHECKS[node.op](graph, node)
    return [] if node.op in SIMPLE else [("", "the operator is not supported")]


def _types(graph: Graph, node: Node) -> list[tuple[str, str]]:
    """Integers are indices and lengths only; no more than six dimensions."""
    found: list[tuple[str, str]] = []
    for i, name in enumerate(node.inputs):
        value, constant = graph.values.get(name), graph.constants.get(name)
        kind = constant.dtype if constant is not None else value.dtype if value is not None else None
        allowed = (node.op == "Gather" and i == 1) or (node.op in RECURRENT and i == 4) or node.op in VIEWS
        if kind is not None and kind.kind != "f" and not allowed:
            found.append(("", f"input {i} ('{name}') is {kind}; the runtime computes with float32"))
    for name in (*node.inputs, *node.outputs):
        value = graph.values.get(name)
        rank = len(value.shape) if value is not None and value.shape is not None else 0
        if rank > MAX_RANK:
            found.append(("", f"'{name}' has {rank} dimensions, at most {MAX_RANK} are supported"))
    return found


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


def _conv(graph: Graph, node: Node) -> list[tuple[str, str]]:
    found = []
    weights = graph.constants.get(node.inputs[1])
    if weights is None:
        return [("", f"its weights '{node.inputs[1]}' are not constant")]
    if weights.ndim != 3:
        return [("kernel_shape", f"a {weights.ndim - 2}-dimensional convolution; only 1 dimension is supported")]
    if len(node.inputs) > 2 and node.inputs[2] and node.inputs[2] not in graph.constants:
        found.append(("", f"its bias '{node.inputs[2]}' is not constant"))
    if node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
        found.append(("auto_pad", f"{node.attrs['auto_pad']} on an axis of unknown size"))
    if weights.shape[1] * weights.shape[2] > MAX_COLUMNS:
        found.append(("", f"{weights.shape[1] * weights.shape[2]} columns, at most {MAX_COLUMNS}"))
    return found


def _gather(graph: Graph, node: Node) -> list[tuple[str, str]]:
    return []


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
    "Conv": _conv,
    "Gather": _gather,
    "Pad": _pad,
    "LayerNormalization": _layer_normalization,
}
