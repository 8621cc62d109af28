"""Conv, ConvTranspose, MaxPool and AveragePool: their attributes written out, and what the runtime needs of them."""

from __future__ import annotations

from typing import Any

from .ir import SYMBOLIC, Graph, Node
from .reference_windows import WINDOWED, Window
from .rewrite import Rewriter

MATRICES = ("Conv", "ConvTranspose")
MAX_COLUMNS = 131072  # int32 accumulators: see kernels.h
MAX_ATTRIBUTE = 1 << 24  # see window.h


def canonical(r: Rewriter, node: Node) -> bool:
    """``auto_pad`` and ``output_shape`` as pads; kernel_shape, strides, dilations, pads, ... always there. A `Pass`."""
    if node.op not in WINDOWED or node.domain or "channels_last" in node.attrs:
        return False
    shape, kernel = r.shape(node.inputs[0]), kernel_of(r.graph, node)
    if kernel is None or (shape is not None and len(shape) != len(kernel) + 2):
        return False
    attrs, before = node.attrs, dict(node.attrs)
    auto = attrs.get("auto_pad", "NOTSET").startswith("SAME") or "output_shape" in attrs
    sizes = [None] * len(kernel) if shape is None else [None if isinstance(d, SYMBOLIC) else int(d) for d in shape[2:]]
    g = Window(node.op, attrs, [d or 1 for d in sizes], kernel)
    if auto and any(d is None and not _same_for_any(node, g, i) for i, d in enumerate(sizes)):
        return False
    attrs.update(kernel_shape=g.kernel, strides=g.strides, dilations=g.dilations, pads=g.pads)
    if node.op in MATRICES:
        attrs["group"] = int(attrs.get("group", 1))
    else:
        attrs["ceil_mode"] = int(g.ceil)
    if node.op == "ConvTranspose":
        attrs["output_padding"] = g.output_padding
    for name in ("auto_pad", "output_shape", "storage_order"):
        attrs.pop(name, None)
    return attrs != before


def _same_for_any(node: Node, g: Window, axis: int) -> bool:
    """Do the pads that ``auto_pad`` asks for not depend on the size of the axis?"""
    return "output_shape" not in node.attrs and (node.op == "ConvTranspose" or g.strides[axis] == 1)


def kernel_of(graph: Graph, node: Node) -> list[int] | None:
    """The window's size, from constant weights or the attribute; None where neither is there."""
    if node.op in MATRICES:
        weights = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        return None if weights is None or weights.ndim < 3 or node.attrs.get("symmetry") else list(weights.shape[2:])
    return [int(k) for k in node.attrs.get("kernel_shape") or []] or None


def check(graph: Graph, node: Node) -> list[tuple[str, str]]:
    """Why the runtime could not run it: (attribute, reason)."""
    found = []
    attrs: dict[str, Any] = node.attrs
    if node.op in MATRICES:
        weights = graph.constants.get(node.inputs[1])
        if weights is None:
            return [("", f"its weights '{node.inputs[1]}' are not constant")]
        spatial = weights.ndim - 2
        if len(node.inputs) > 2 and node.inputs[2] and node.inputs[2] not in graph.constants:
            found.append(("", f"its bias '{node.inputs[2]}' is not constant"))
        row = weights[0] if node.op == "Conv" else weights[:, 0, ..., 0]
        if row.size > MAX_COLUMNS:
            found.append(("", f"{row.size} columns, at most {MAX_COLUMNS}"))
    else:
        spatial = len(attrs.get("kernel_shape") or [])
        if any(node.outputs[1:]):
            found.append(("", "its second output, the indices, is not supported"))
    if spatial not in (1, 2):
        return [("kernel_shape", f"{spatial} spatial dimensions; 1 and 2 are supported")]
    if attrs.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in attrs:
        name = "output_shape" if "output_shape" in attrs else "auto_pad"
        found.append((name, f"{attrs[name]} on an axis of unknown size"))
    for name in ("kernel_shape", "strides", "dilations", "pads", "output_padding"):
        values = attrs.get(name) or []
        if any(int(v) < 0 for v in values):
            found.append((name, f"{list(values)} is negative"))
        if any(int(v) > MAX_ATTRIBUTE for v in values):
            found.append((name, f"{list(values)}: at most {MAX_ATTRIBUTE} is supported"))
    return found
