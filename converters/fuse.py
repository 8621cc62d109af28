"""Fewer and cheaper operators that compute the same: no-ops out, biases, batch norms and activations into the matrices.

Order of the float operations may change within one layer (weights times scale is rounded once more), nothing else.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from . import fuse_cells, fuse_norm, fuse_pads, transposes, windows
from .ir import SYMBOLIC, Graph, Node, Shape
from .rewrite import (
    OUTPUT,
    Pass,
    Rewriter,
    bind_outputs,
    can_reshape_to,
    fold,
    release_outputs,
    reshape_to,
    tidy_names,
    until_stable,
)
from .support import FUSED_ACTIVATIONS, REDUCE, VIEWS

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

__all__ = ["bind_outputs", "fuse"]


def fuse(graph: Graph) -> None:
    """Rewrite a simplified graph in place."""
    if graph.outputs and not any(n.op == OUTPUT for n in graph.nodes):
        bind_outputs(graph, [v.name for v in graph.outputs])
    until_stable(graph, CLEANUP)
    fuse_cells.fuse_cells(graph)
    transposes.minimise(graph, CLEANUP)
    until_stable(graph, [*CLEANUP, _fuse_activation])
    release_outputs(graph)
    tidy_names(graph)


# ---- operators that do nothing ----


def _no_op(r: Rewriter, node: Node) -> bool:
    """Identity, Concat of one, reshaping to the shape it has, x + 0, x * 1, ..."""
    source = node.inputs[0] if node.inputs else ""
    if node.op in ("Add", "Sub", "Mul", "Div", "Pow"):
        source = _neutral_operand(r, node)
    elif node.op in ("Reshape", "Squeeze", "Unsqueeze", "Expand"):
        before, after = r.shape(source), r.shape(node.outputs[0])
        if before is None or before != after:
            return False
    elif node.op == "Transpose":
        if node.attrs["perm"] != sorted(node.attrs["perm"]):
            return False
    elif not (node.op in ("Identity", "Dropout") or (node.op == "Concat" and len(node.inputs) == 1)):
        return False
    if not source or node.domain or not node.outputs[0] or any(node.outputs[1:]):
        return False
    r.redirect(node.outputs[0], source)
    return True


def _neutral_operand(r: Rewriter, node: Node) -> str:
    """The operand that Add, Sub, Mul, Div or Pow returns unchanged, else an empty string."""
    neutral = 0.0 if node.op in ("Add", "Sub") else 1.0
    for i in (1, 0) if node.op in ("Add", "Mul") else (1,):
        constant = r.constant(node, i)
        other = node.inputs[1 - i]
        if constant is None or constant.dtype.kind != "f" or not (constant == neutral).all():
            continue
        if r.shape(other) is not None and r.shape(other) == r.shape(node.outputs[0]):
            return other
    return ""


def _reduce_of_one(r: Rewriter, node: Node) -> bool:
    """A reduction over axes of size 1 only changes the shape."""
    shape, output = r.shape(node.inputs[0]) if node.inputs else None, r.shape(node.outputs[0])
    if node.op not in REDUCE or shape is None or output is None or not can_reshape_to(output):
        return False
    if any(shape[a] != 1 for a in node.attrs["axes"]):
        return False
    node.op, node.attrs = "Reshape", {"shape": reshape_to(output)}
    return True


def _power(r: Rewriter, node: Node) -> bool:
    exponent = r.constant(node, 1) if node.op == "Pow" else None
    if exponent is None or exponent.size != 1 or exponent.ndim > len(r.shape(node.inputs[0]) or ()):
        return False
    value = float(exponent.reshape(()))
    if value == 2.0:
        node.op, node.inputs, node.attrs = "Mul", [node.inputs[0]] * 2, {}
    elif value == 0.5:
        node.op, node.inputs, node.attrs = "Sqrt", node.inputs[:1], {}
    else:
        return False
    return True


def _merge_views(r: Rewriter, node: Node) -> bool:
    """A view of a view is one Reshape."""
    if node.op not in VIEWS:
        return False
    first = r.producers.get(node.inputs[0])
    shape = r.shape(node.outputs[0])
    if first is None or first.op not in VIEWS or shape is None or 0 in shape or not can_reshape_to(shape):
        return False
    node.op, node.inputs, node.attrs = "Reshape", first.inputs[:1], {"shape": reshape_to(shape)}
    return True


def _merge_slices(r: Rewriter, node: Node) -> bool:
    """A slice of a slice on another axis is one Slice."""
    first = r.producers.get(node.inputs[0]) if node.op == "Slice" else None
    if first is None or first.op != "Slice" or set(first.attrs["axes"]) & set(node.attrs["axes"]):
        return False
    if r.only_consumer(first.outputs[0]) is not node:
        return False
    node.inputs = first.inputs[:1]
    node.attrs = {k: [*first.attrs[k], *node.attrs[k]] for k in ("axes", "starts", "ends", "steps")}
    return True


# ---- matrices ----


def _matmul_to_gemm(r: Rewriter, node: Node) -> bool:
    """x @ W with a constant matrix W [K, N] is a Gemm with weights W^T [N, K]."""
    weights = r.constant(node, 1) if node.op == "MatMul" else None
    if weights is None or weights.ndim != 2 or len(r.shape(node.inputs[0]) or ()) < 2:
        return False
    transposed = r.add_constant(f"{node.inputs[1]}.T", np.ascontiguousarray(weights.T))
    node.op, node.inputs, node.attrs = "Gemm", [node.inputs[0], transposed], {"transB": 1}
    return True


def _canonical_gemm(r: Rewriter, node: Node) -> bool:
    """alpha, beta, transA and a bias that is no vector become weights, bias, Transpose and Add."""
    if node.op != "Gemm" or not {"alpha", "beta", "transA"} & node.attrs.keys():
        return False
    alpha, beta = float(node.attrs.pop("alpha", 1.0)), float(node.attrs.pop("beta", 1.0))
    output, nodes = node.outputs[0], list[Node]()
    a = node.inputs[0]
    if node.attrs.pop("transA", 0):
        a = r.value(f"{a}.T", _reversed(r.shape(a)))
        nodes.append(Node("Transpose", f"{node.name}.transA", [node.inputs[0]], [a], {"perm": [1, 0]}))
    weights, shape = r.constant(node, 1), r.shape(output)
    c = node.inputs[2] if len(node.inputs) > 2 and beta != 0.0 else ""
    bias = _bias_vector(r.constant(node, 2), shape) if c else None
    if weights is not None:
        w = weights if node.attrs.get("transB", 0) else weights.T
        w = (w.astype(np.float64) * alpha).astype(np.float32) if alpha != 1.0 else np.ascontiguousarray(w)
        product = Node("Gemm", node.name, [a, r.add_constant(f"{node.inputs[1]}.T", w)], [output], {"transB": 1})
        if bias is not None:
            scaled = (bias.astype(np.float64) * beta).astype(np.float32) if beta != 1.0 else bias
            product.inputs.append(r.add_constant(f"{c}.bias", scaled))
            c = ""
    else:
        b = node.inputs[1]
        if node.attrs.get("transB", 0):
            b = r.value(f"{b}.T", _reversed(r.shape(b)))
            nodes.append(Node("Transpose", f"{node.name}.transB", [node.inputs[1]], [b], {"perm": [1, 0]}))
        product = Node("MatMul", node.name, [a, b], [output])
    nodes.append(product)
    scale = alpha if weights is None else 1.0
    for what, op, operand in (("alpha", "Mul", scale), ("beta", "Add", beta if c else None)):
        if operand is None or (op == "Mul" and operand == 1.0):
            continue
        before = r.value(f"{output}.{what}", shape)
        nodes[-1].outputs = [before]
        other = r.add_constant(f"{node.name}.{what}", np.float32(operand).reshape(())) if op == "Mul" else c
        if op == "Add" and beta != 1.0:
            factor = r.add_constant(f"{node.name}.beta", np.float32(beta).reshape(()))
            other = r.value(f"{c}.beta", r.shape(c))
            nodes.append(Node("Mul", f"{node.name}.{what}C", [c, factor], [other]))
        nodes.append(Node(op, f"{node.name}.{what}", [before, other], [output]))
    r.replace(node, nodes)
    return True


def _reversed(shape: Shape | None) -> Shape | None:
    return None if shape is None else tuple(reversed(shape))


def _bias_vector(constant: Array | None, shape: Shape | None) -> Array | None:
    """A constant that is added along the last axis, as [N]; None if it is anything else."""
    if constant is None or shape is None or isinstance(shape[-1], SYMBOLIC) or constant.ndim > len(shape):
        return None
    if constant.ndim and any(d != 1 for d in constant.shape[:-1]):
        return None
    return np.ascontiguousarray(np.broadcast_to(constant.reshape(-1), (shape[-1],)))


def _channel_vector(constant: Array | None, shape: Shape | None) -> Array | None:
    """The same for the second axis of a Conv's result [N, M, ...], as [M]."""
    if constant is None or shape is None or len(shape) < 3 or isinstance(shape[1], SYMBOLIC):
        return None
    if constant.ndim > len(shape):
        return None
    if constant.size == 1:
        return np.ascontiguousarray(np.broadcast_to(constant.reshape(-1), (shape[1],)))
    full = [1] * (len(shape) - constant.ndim) + list(constant.shape)
    return constant.reshape(-1) if full[1] == constant.size else None


def _fuse_scale_or_bias(r: Rewriter, node: Node) -> bool:
    """Gemm or Conv, then + c or * c with one constant per output: into bias and weights."""
    if node.op not in ("Add", "Mul") or len(node.inputs) != 2:
        return False
    for i in (0, 1):
        matrix = r.producers.get(node.inputs[i])
        constant = r.constant(node, 1 - i)
        if matrix is None or constant is None or not _is_plain_matrix(r, matrix):
            continue
        if r.only_consumer(matrix.outputs[0]) is not node:
            continue
        shape = r.shape(matrix.outputs[0])
        vector = (_bias_vector if matrix.op == "Gemm" else _channel_vector)(constant, shape)
        if vector is None or r.shape(node.outputs[0]) != shape:
            continue
        _absorb(r, matrix, node.op, vector)
        matrix.outputs = list(node.outputs)
        r.replace(node, [])
        return True
    return False


def _under_view(r: Rewriter, node: Node) -> bool:
    """What could be fused into a Gemm goes before a view of its result that keeps the last axis."""
    if node.domain or not (node.op in FUSED_ACTIVATIONS or (node.op in ("Add", "Mul") and len(node.inputs) == 2)):
        return False
    for i, name in enumerate(node.inputs):
        view, others = r.producers.get(name), [r.constant(node, k) for k in range(len(node.inputs)) if k != i]
        gemm = r.producers.get(view.inputs[0]) if view is not None and view.op in VIEWS else None
        if view is None or gemm is None or gemm.op != "Gemm" or not _is_plain_matrix(r, gemm):
            continue
        shape, after = r.shape(view.inputs[0]), r.shape(name)
        if not shape or not after or shape[-1] != after[-1] or r.shape(node.outputs[0]) != after:
            continue
        alone = r.only_consumer(name) is node and r.only_consumer(gemm.outputs[0]) is view
        if not alone or any(c is None or c.ndim > 1 for c in others):
            continue
        value = r.value(f"{node.outputs[0]}.before", shape)
        inputs = [view.inputs[0] if k == i else n for k, n in enumerate(node.inputs)]
        before = Node(node.op, node.name, inputs, [value], node.attrs)
        r.replace(node, [before, Node(view.op, view.name, [value], node.outputs, view.attrs)])
        return True
    return False


def _is_plain_matrix(r: Rewriter, node: Node) -> bool:
    """A Gemm in its final form or a Conv, constant, without activation."""
    if node.op not in ("Gemm", *windows.MATRICES) or "activation" in node.attrs or r.constant(node, 1) is None:
        return False
    if node.op == "Gemm" and (node.attrs.get("transB") != 1 or {"alpha", "beta", "transA"} & node.attrs.keys()):
        return False
    return len(node.inputs) < 3 or not node.inputs[2] or r.constant(node, 2) is not None


def _absorb(r: Rewriter, matrix: Node, op: str, vector: Array) -> None:
    bias = r.constant(matrix, 2)
    if op == "Mul":
        weights = r.graph.constants[matrix.inputs[1]]
        scale = vector.astype(np.float64).reshape(-1, *[1] * (weights.ndim - 1))
        if matrix.op == "ConvTranspose":  # W [C, M/group, ...]: the outputs of a group are along the second axis
            group = int(matrix.attrs["group"])
            scale = vector.astype(np.float64).reshape(group, -1).repeat(len(weights) // group, axis=0)
            scale = scale.reshape(*weights.shape[:2], *[1] * (weights.ndim - 2))
        scaled = (weights.astype(np.float64) * scale).astype(np.float32)
        matrix.inputs[1] = r.add_constant(f"{matrix.inputs[1]}.scaled", scaled)
        if bias is None:
            return
        total = bias.astype(np.float64) * vector
    else:
        total = vector.astype(np.float64) + (0.0 if bias is None else bias.astype(np.float64))
    name = r.add_constant(f"{matrix.name}.bias", total.astype(np.float32))
    matrix.inputs = [*matrix.inputs[:2], name]


def _fuse_activation(r: Rewriter, node: Node) -> bool:
    """Gemm or Conv whose only reader is an activation: one operator."""
    if node.op not in FUSED_ACTIVATIONS or node.domain:
        return False
    matrix = r.producers.get(node.inputs[0])
    if matrix is None or not _is_plain_matrix(r, matrix) or r.only_consumer(matrix.outputs[0]) is not node:
        return False
    matrix.attrs.update(activation_attributes(node))
    matrix.outputs = list(node.outputs)
    r.replace(node, [])
    return True


def activation_attributes(node: Node) -> dict[str, Any]:
    """``activation``, ``activation_alpha`` and ``activation_beta`` that stand for an activation node."""
    alpha, beta = 0.0, 0.0
    if node.op == "Clip":
        alpha, beta = float(node.attrs.get("min", -np.inf)), float(node.attrs.get("max", np.inf))
    else:
        defaults = FUSED_ACTIVATIONS[node.op]
        alpha = float(node.attrs.get("alpha", defaults.get("alpha", 0.0)))
        beta = float(node.attrs.get("beta", defaults.get("beta", 0.0)))
    return {"activation": node.op, "activation_alpha": alpha, "activation_beta": beta}


CLEANUP: list[Pass] = [
    fold,
    _no_op,
    _reduce_of_one,
    _power,
    _canonical_gemm,
    _matmul_to_gemm,
    windows.canonical,
    fuse_pads.pad_into_conv,
    fuse_pads.slice_off_conv,
    _merge_views,
    _merge_slices,
    _under_view,
    _fuse_scale_or_bias,
    *fuse_norm.RULES,
]
