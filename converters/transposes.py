"""As few Transpose nodes as possible: cancel them, sink them, choose layouts that need none.

A Transpose that only moves axes of size 1 copies nothing and becomes a Reshape. Recurrent nodes can be rewritten to
layout 1 (batch first), convolutions of width 1 to Gemm; every combination is tried and the cheapest graph is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TypeAlias

import numpy as np

from .ir import Graph, Node, Shape
from .rewrite import OUTPUT, Pass, Rewriter, can_reshape_to, copy_graph, reshape_to, until_stable
from .support import BINARY, RECURRENT, REDUCE, UNARY, VIEWS

Perm: TypeAlias = "list[int]"


def minimise(graph: Graph, cleanup: list[Pass]) -> None:
    """Rewrite the graph in place to the cheapest variant."""
    best: Graph | None = None
    for batch_first, gemm, sinking in product((False, True), repeat=3):
        if not _applies(graph, batch_first, gemm):
            continue
        candidate = copy_graph(graph)
        if batch_first:
            until_once(candidate, _batch_first)
        if gemm:
            until_once(candidate, _conv_to_gemm)
        until_stable(candidate, [*cleanup, compose, *([sink] if sinking else [])])
        until_stable(candidate, [*cleanup, compose, as_reshape])
        if best is None or cost(candidate) < cost(best):
            best = candidate
    if best is not None:
        graph.nodes, graph.constants, graph.values = best.nodes, best.constants, best.values


def _applies(graph: Graph, batch_first: bool, gemm: bool) -> bool:
    layouts = any(n.op in RECURRENT and not n.attrs.get("layout", 0) for n in graph.nodes)
    rewriter = Rewriter(graph)
    narrow = any(_is_narrow(rewriter, n) for n in graph.nodes)
    return (layouts or not batch_first) and (narrow or not gemm)


def until_once(graph: Graph, rule: Callable[[Rewriter, Node], bool]) -> None:
    """Apply a rule once to each node that the graph has now."""
    rewriter = Rewriter(graph)
    for node in list(graph.nodes):
        if node.op != OUTPUT and rule(rewriter, node):
            rewriter.refresh()


def cost(graph: Graph) -> tuple[int, int, int, int]:
    """Transposes that copy, then nodes that compute, then convolutions that could be Gemm, then nodes."""
    copies = sum(n.op == "Transpose" for n in graph.nodes)
    rewriter = Rewriter(graph)
    narrow = sum(_is_narrow(rewriter, n) for n in graph.nodes)
    return copies, sum(n.op not in VIEWS for n in graph.nodes), narrow, len(graph.nodes)


# ---- layouts ----


def _permuted(shape: Shape | None, perm: Perm) -> Shape | None:
    return None if shape is None else tuple(shape[p] for p in perm)


def _transposed(r: Rewriter, name: str, perm: Perm, base: str) -> tuple[str, Node]:
    """A value that is another one transposed, and the node that makes it."""
    output = r.value(f"{name}.transposed", _permuted(r.shape(name), perm), r.dtype(name))
    return output, Node("Transpose", base, [name], [output], {"perm": perm})


def _batch_first(r: Rewriter, node: Node) -> bool:
    """A recurrent node of layout 0 as one of layout 1 between Transposes."""
    if node.op not in RECURRENT or node.attrs.get("layout", 0):
        return False
    before: list[Node] = []
    for i in (0, 5, 6):
        if i < len(node.inputs) and node.inputs[i]:
            node.inputs[i], made = _transposed(r, node.inputs[i], [1, 0, 2], f"{node.name}.input{i}")
            before.append(made)
    after: list[Node] = []
    for i, name in enumerate(node.outputs):
        if name:
            # X' = [B, T, I]; Y' [B, T, D, H] -> Y [T, D, B, H]; Y_h' [B, D, H] -> Y_h [D, B, H]
            perm, inverse = ([1, 2, 0, 3], [2, 0, 1, 3]) if i == 0 else ([1, 0, 2], [1, 0, 2])
            inner = r.value(f"{name}.batch_first", _permuted(r.shape(name), inverse))
            node.outputs[i] = inner
            after.append(Node("Transpose", f"{node.name}.output{i}", [inner], [name], {"perm": perm}))
    node.attrs["layout"] = 1
    r.replace(node, [*before, node, *after])
    return True


def _is_narrow(r: Rewriter, node: Node) -> bool:
    """A convolution that is a matrix product at every position."""
    weights = r.constant(node, 1) if node.op == "Conv" else None
    if weights is None or not 3 <= weights.ndim <= 4 or set(weights.shape[2:]) != {1} or "pads" not in node.attrs:
        return False
    attrs = node.attrs
    plain = set(attrs["strides"]) == {1} and not any(attrs["pads"]) and attrs["group"] == 1
    return plain and "activation" not in attrs and "channels_last" not in attrs


def _conv_to_gemm(r: Rewriter, node: Node) -> bool:
    """[N, C, ...] -> Transpose -> Gemm -> Transpose -> [N, M, ...]."""
    if not _is_narrow(r, node):
        return False
    weights = r.graph.constants[node.inputs[1]]
    to_last = [0, *range(2, weights.ndim), 1]
    x, before = _transposed(r, node.inputs[0], to_last, f"{node.name}.input")
    matrix = r.add_constant(f"{node.inputs[1]}.matrix", np.ascontiguousarray(weights.reshape(len(weights), -1)))
    y = r.value(f"{node.outputs[0]}.transposed", _permuted(r.shape(node.outputs[0]), to_last))
    gemm = Node("Gemm", node.name, [x, matrix, *node.inputs[2:]], [y], {"transB": 1})
    to_second = [0, weights.ndim - 1, *range(1, weights.ndim - 1)]
    after = Node("Transpose", f"{node.name}.output", [y], list(node.outputs), {"perm": to_second})
    r.replace(node, [before, gemm, after])
    return True


# ---- cancelling ----


def compose(r: Rewriter, node: Node) -> bool:
    """Transpose of a Transpose is one."""
    first = r.producers.get(node.inputs[0]) if node.op == "Transpose" else None
    if first is None or first.op != "Transpose":
        return False
    node.inputs = list(first.inputs)
    node.attrs = {"perm": [first.attrs["perm"][q] for q in node.attrs["perm"]]}
    return True


def as_reshape(r: Rewriter, node: Node) -> bool:
    """Moving only axes of size 1 leaves the numbers where they are."""
    if node.op != "Transpose":
        return False
    shape, output = r.shape(node.inputs[0]), r.shape(node.outputs[0])
    if shape is None or output is None or 0 in shape or not can_reshape_to(output):
        return False
    moved = [p for p in node.attrs["perm"] if shape[p] != 1]
    if moved != sorted(moved):
        return False
    node.op, node.attrs = "Reshape", {"shape": reshape_to(output)}
    return True


# ---- sinking: f(Transpose(x)) -> Transpose(f'(x)) ----


def sink(r: Rewriter, node: Node) -> bool:
    """Swap a node with the Transpose before it where that is possible."""
    rule = _SINKS.get(node.op)
    transpose = r.producers.get(node.inputs[0]) if rule is not None else None
    if rule is None or transpose is None or transpose.op != "Transpose" or len(node.outputs) != 1:
        return False
    perm: Perm = [int(p) for p in transpose.attrs["perm"]]
    if r.shape(transpose.inputs[0]) is None or r.shape(node.outputs[0]) is None:
        return False
    moved = rule(r, node, perm)
    if moved is None:
        return False
    inner, after = moved
    output = node.outputs[0]
    inverse = [after.index(i) for i in range(len(after))]
    value = r.value(f"{output}.transposed", _permuted(r.shape(output), inverse), r.dtype(output))
    inner.outputs = [value]
    r.replace(node, [inner, Node("Transpose", f"{node.name}.transposed", [value], [output], {"perm": after})])
    return True


Sunk: TypeAlias = "tuple[Node, Perm] | None"  # the node that reads what the Transpose reads; the Transpose after it


def _under(r: Rewriter, node: Node) -> str:
    """What the Transpose in front of the node reads."""
    return r.producers[node.inputs[0]].inputs[0]


def _sink_unary(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    return Node(node.op, node.name, [_under(r, node)], [], dict(node.attrs)), perm


def _sink_last_axis(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    """Gemm and LayerNormalization over the last axis, if it stays the last."""
    rank = len(perm)
    if perm[-1] != rank - 1 or (node.op == "LayerNormalization" and node.attrs.get("axis", -1) not in (-1, rank - 1)):
        return None
    return Node(node.op, node.name, [_under(r, node), *node.inputs[1:]], [], dict(node.attrs)), perm


def _sink_binary(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    """The other operand: the same, a Transpose of the same kind, a constant that fits."""
    under = _under(r, node)
    if node.inputs[1] == node.inputs[0]:
        return Node(node.op, node.name, [under, under], [], {}), perm
    other = r.producers.get(node.inputs[1])
    if other is not None and other.op == "Transpose" and list(other.attrs["perm"]) == perm:
        return Node(node.op, node.name, [under, other.inputs[0]], [], {}), perm
    constant = r.constant(node, 1)
    if constant is None or constant.ndim > len(perm):
        return None
    if constant.size > 1 and not (constant.ndim == 1 and perm[-1] == len(perm) - 1):
        full = constant.reshape([1] * (len(perm) - constant.ndim) + list(constant.shape))
        inverse = [perm.index(i) for i in range(len(perm))]
        moved = r.add_constant(f"{node.inputs[1]}.transposed", np.ascontiguousarray(full.transpose(inverse)))
    else:
        moved = node.inputs[1]
    return Node(node.op, node.name, [under, moved], [], {}), perm


def _sink_squeeze(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    axes = [perm[a] for a in node.attrs["axes"]]
    kept = [p for p in perm if p not in axes]
    after = [sorted(kept).index(p) for p in kept]
    return Node("Squeeze", node.name, [_under(r, node)], [], {"axes": sorted(axes)}), after


def _sink_unsqueeze(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    axes = list(node.attrs["axes"])
    old = [i for i in range(len(perm) + len(axes)) if i not in axes]  # where the old axes are now
    after = list(range(len(perm) + len(axes)))
    for k, p in enumerate(perm):
        after[old[k]] = old[p]
    return Node("Unsqueeze", node.name, [_under(r, node)], [], {"axes": axes}), after


def _sink_reshape(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    """The Transpose moves leading axes only, which the Reshape keeps."""
    before, after = r.shape(node.inputs[0]), r.shape(node.outputs[0])
    under = r.shape(_under(r, node))
    if before is None or after is None or under is None:
        return None
    moving = max((i + 1 for i, p in enumerate(perm) if i != p), default=0)
    if len(after) < moving or before[:moving] != after[:moving]:
        return None
    shape: Shape = (*under[:moving], *after[moving:])
    if not can_reshape_to(shape):
        return None
    inner = Node("Reshape", node.name, [_under(r, node)], [], {"shape": reshape_to(shape)})
    return inner, [*perm[:moving], *range(moving, len(after))]


def _sink_reduce(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    axes = sorted(perm[a] for a in node.attrs["axes"])
    keep = int(node.attrs["keepdims"])
    inner = Node(node.op, node.name, [_under(r, node)], [], {"axes": axes, "keepdims": keep})
    if keep:
        return inner, perm
    kept = [p for p in perm if p not in axes]
    return inner, [sorted(kept).index(p) for p in kept]


def _sink_axis(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    return Node(node.op, node.name, [_under(r, node)], [], {**node.attrs, "axis": perm[node.attrs["axis"]]}), perm


def _sink_concat(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    makers = [r.producers.get(n) for n in node.inputs]
    sources = [m.inputs[0] for m in makers if m is not None and m.op == "Transpose" and list(m.attrs["perm"]) == perm]
    if len(sources) != len(node.inputs):
        return None
    return Node("Concat", node.name, sources, [], {"axis": perm[node.attrs["axis"]]}), perm


def _sink_slice(r: Rewriter, node: Node, perm: Perm) -> Sunk:
    attrs = {**node.attrs, "axes": [perm[a] for a in node.attrs["axes"]]}
    return Node("Slice", node.name, [_under(r, node)], [], attrs), perm


_SINKS: dict[str, Callable[[Rewriter, Node, Perm], Sunk]] = {
    **dict.fromkeys(UNARY, _sink_unary),
    **dict.fromkeys(BINARY, _sink_binary),
    **dict.fromkeys(REDUCE, _sink_reduce),
    "Gemm": _sink_last_axis,
    "LayerNormalization": _sink_last_axis,
    "Squeeze": _sink_squeeze,
    "Unsqueeze": _sink_unsqueeze,
    "Reshape": _sink_reshape,
    "Softmax": _sink_axis,
    "Concat": _sink_concat,
    "Slice": _sink_slice,
}
