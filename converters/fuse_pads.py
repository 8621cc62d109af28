"""Padding and cutting around convolutions become their pads: Pad before, Slice behind ('chomp')."""

from __future__ import annotations

from .ir import Node
from .rewrite import Rewriter
from .support import UNARY

INT32_MAX = 2**31 - 1


def pad_into_conv(r: Rewriter, node: Node) -> bool:
    """Zeros around the spatial axes of a Conv's input."""
    pad = r.producers.get(node.inputs[0]) if node.op == "Conv" else None
    if pad is None or pad.op != "Pad" or "pads" not in node.attrs or "channels_last" in node.attrs:
        return False
    pads, rank = pad.attrs["pads"], len(pad.attrs["pads"]) // 2
    if (
        pad.attrs["mode"] != "constant"
        or pad.attrs["value"] != 0.0
        or min(pads) < 0
        or any(pads[:2] + pads[rank : rank + 2])
    ):
        return False
    node.attrs["pads"] = [a + b for a, b in zip(node.attrs["pads"], pads[2:rank] + pads[rank + 2 :], strict=True)]
    node.inputs[0] = pad.inputs[0]
    return True


def slice_off_conv(r: Rewriter, node: Node) -> bool:
    """The first and last positions of a Conv or ConvTranspose that are left out at once are not computed."""
    conv = r.producers.get(node.inputs[0]) if node.op == "Slice" else None
    if conv is None or r.only_consumer(node.inputs[0]) is not node:
        return False
    if conv.op in UNARY and len(conv.inputs) == 1:
        return _slice_before(r, node, conv)
    if conv.op not in ("Conv", "ConvTranspose") or "pads" not in conv.attrs or "channels_last" in conv.attrs:
        return False
    pads, sign = list(conv.attrs["pads"]), -1 if conv.op == "Conv" else 1
    for axis, start, end, step in zip(*(node.attrs[k] for k in ("axes", "starts", "ends", "steps")), strict=True):
        cut = 0 if end == INT32_MAX else -end
        if axis < 2 or start < 0 or cut < 0 or step != 1 or conv.attrs["strides"][axis - 2] != 1:
            return False
        pads[axis - 2] += sign * start
        pads[axis - 2 + len(pads) // 2] += sign * cut
    if min(pads) < 0:
        return False
    conv.attrs["pads"], conv.outputs = pads, list(node.outputs)
    r.replace(node, [])
    return True


def _slice_before(r: Rewriter, node: Node, unary: Node) -> bool:
    """Slice(f(x)) is f(Slice(x)), where the Slice then meets a convolution."""
    source = r.producers.get(unary.inputs[0])
    if source is None or source.op not in (*UNARY, "Conv", "ConvTranspose"):
        return False
    cut = r.value(f"{unary.inputs[0]}.cut", r.shape(node.outputs[0]), r.dtype(unary.inputs[0]))
    first = Node("Slice", node.name, list(unary.inputs), [cut], dict(node.attrs))
    second = Node(unary.op, unary.name, [cut], list(node.outputs), dict(unary.attrs), unary.domain)
    r.replace(unary, [])
    r.replace(node, [first, second])
    return True
