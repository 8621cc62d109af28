"""Normalizations said with reductions and elementwise operators. Parts of `lower.LOWERINGS`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .ir import Node
from .lowering import Chain, Lowering, Operands


def _batch_normalization(node: Node, operands: Operands) -> list[Node] | None:
    """y = x * a + b with constants a, b per channel. After a Conv both are folded into its weights later."""
    parameters = [operands.constant(i) for i in range(1, 5)]
    rank = operands.rank()
    one_output = not any(node.outputs[1:])
    if rank is None or not one_output or node.attrs.get("training_mode", 0) or "spatial" in node.attrs:
        return None
    scale, bias, mean, variance = parameters
    if scale is None or bias is None or mean is None or variance is None:
        return _batch_normalization_of_data(node, operands, rank)
    a = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + node.attrs.get("epsilon", 1e-5))
    b = bias.astype(np.float64) - mean.astype(np.float64) * a
    shape = [-1] + [1] * max(rank - 2, 0)
    chain = Chain(node, operands)
    product = chain.add("Mul", [node.inputs[0], operands.add_constant(a.reshape(shape).astype(np.float32))])
    chain.add("Add", [product, operands.add_constant(b.reshape(shape).astype(np.float32))], last=True)
    return chain.nodes


def _layer_normalization(node: Node, operands: Operands) -> list[Node] | None:
    """Only where mean or 1 / deviation are asked for: then they are computed, and the normalized x from them."""
    rank = operands.rank()
    if rank is None or not any(node.outputs[1:]):
        return None
    chain = Chain(node, operands)
    axis, epsilon = int(node.attrs.get("axis", -1)) % rank, float(node.attrs.get("epsilon", 1e-5))
    reduce: dict[str, Any] = {"axes": list(range(axis, rank)), "keepdims": 1}
    mean = chain.add("ReduceMean", node.inputs[:1], **reduce)
    centred = chain.add("Sub", [node.inputs[0], mean])
    variance = chain.add("ReduceMean", [chain.add("Mul", [centred, centred])], **reduce)
    deviation = chain.add("Sqrt", [chain.add("Add", [variance, chain.number(epsilon)])])
    inverse = chain.add("Div", [chain.number(1.0), deviation])
    scaled = chain.add("Mul", [chain.add("Mul", [centred, inverse]), node.inputs[1]])
    if len(node.inputs) > 2 and node.inputs[2]:
        scaled = chain.add("Add", [scaled, node.inputs[2]])
    for output, made in zip(node.outputs, (scaled, mean, inverse)):
        if output:
            chain.nodes.append(Node("Identity", f"{node.name}.{output}", [made], [output]))
    return chain.nodes


def _per_channel(chain: Chain, name: str, rank: int) -> str:
    """[C] as [C, 1, ...], so that it broadcasts along axis 1 of that many dimensions."""
    return chain.add("Unsqueeze", [name, chain.integers(*range(1, rank - 1))]) if rank > 2 else name


def _batch_normalization_of_data(node: Node, operands: Operands, rank: int) -> list[Node]:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, where not all of these are constant."""
    chain = Chain(node, operands)
    scale, bias, mean, variance = (_per_channel(chain, name, rank) for name in node.inputs[1:5])
    epsilon = chain.number(float(node.attrs.get("epsilon", 1e-5)))
    deviation = chain.add("Sqrt", [chain.add("Add", [variance, epsilon])])
    centred = chain.add("Sub", [node.inputs[0], mean])
    chain.add("Add", [chain.add("Mul", [chain.add("Div", [centred, deviation]), scale]), bias], last=True)
    return chain.nodes


def _normalized(chain: Chain, x: str, axes: list[int], epsilon: float) -> str:
    """(x - mean) / sqrt(variance + epsilon) over some axes."""
    centred = chain.add("Sub", [x, chain.add("ReduceMean", [x], axes=axes, keepdims=1)])
    variance = chain.add("ReduceMean", [chain.add("Mul", [centred, centred])], axes=axes, keepdims=1)
    return chain.add("Div", [centred, chain.add("Sqrt", [chain.add("Add", [variance, chain.number(epsilon)])])])


def _instance_normalization(node: Node, operands: Operands) -> list[Node] | None:
    rank = operands.rank()
    if rank is None or rank < 3:
        return None
    chain = Chain(node, operands)
    scale, bias = (_per_channel(chain, name, rank) for name in node.inputs[1:3])
    normal = _normalized(chain, node.inputs[0], list(range(2, rank)), float(node.attrs.get("epsilon", 1e-5)))
    chain.add("Add", [chain.add("Mul", [normal, scale]), bias], last=True)
    return chain.nodes


def _group_normalization(node: Node, operands: Operands) -> list[Node] | None:
    """Scale and bias: one per channel (operator set 21) or one per group (18)."""
    rank, channels, size = operands.rank(), operands.dim(0, 1), operands.dim(1, 0)
    groups = int(node.attrs.get("num_groups", 1))
    if rank is None or rank < 3 or channels is None or size is None or channels % groups:
        return None
    chain = Chain(node, operands)
    split = chain.add("Reshape", [node.inputs[0], chain.integers(0, groups, -1)])
    normal = _normalized(chain, split, [2], float(node.attrs.get("epsilon", 1e-5)))
    if size == groups != channels:
        scale, bias = (_per_channel(chain, name, 3) for name in node.inputs[1:3])
        normal = chain.add("Add", [chain.add("Mul", [normal, scale]), bias])
    whole = size == groups != channels
    joined = chain.add("Reshape", [normal, chain.add("Shape", node.inputs[:1])], last=whole)
    if not whole:
        scale, bias = (_per_channel(chain, name, rank) for name in node.inputs[1:3])
        chain.add("Add", [chain.add("Mul", [joined, scale]), bias], last=True)
    return chain.nodes


def _mean_variance_normalization(node: Node, operands: Operands) -> list[Node]:
    """(x - mean) / (deviation + 1e-9), as the specification's function body has it."""
    chain, axes = Chain(node, operands), [int(a) for a in node.attrs.get("axes") or (0, 2, 3)]
    centred = chain.add("Sub", [node.inputs[0], chain.add("ReduceMean", node.inputs[:1], axes=axes, keepdims=1)])
    variance = chain.add("ReduceMean", [chain.add("Mul", [centred, centred])], axes=axes, keepdims=1)
    deviation = chain.add("Add", [chain.add("Sqrt", [variance]), chain.number(1e-9)])
    chain.add("Div", [centred, deviation], last=True)
    return chain.nodes


def _lp_normalization(node: Node, operands: Operands) -> list[Node]:
    """x / norm; 0 where the norm is 0."""
    op = "ReduceL1" if int(node.attrs.get("p", 2)) == 1 else "ReduceL2"
    chain = Chain(node, operands)
    norm = chain.add(op, node.inputs[:1], axes=[int(node.attrs.get("axis", -1))], keepdims=1)
    divisor = chain.add("Where", [chain.add("Equal", [norm, chain.number(0.0)]), chain.number(1.0), norm])
    chain.add("Div", [node.inputs[0], divisor], last=True)
    return chain.nodes


def _rms_normalization(node: Node, operands: Operands) -> list[Node] | None:
    rank = operands.rank()
    if rank is None:
        return None
    chain, x = Chain(node, operands), node.inputs[0]
    axes = list(range(int(node.attrs.get("axis", -1)) % rank, rank))
    mean = chain.add("ReduceMean", [chain.add("Mul", [x, x])], axes=axes, keepdims=1)
    root = chain.add("Sqrt", [chain.add("Add", [mean, chain.number(float(node.attrs.get("epsilon", 1e-5)))])])
    chain.add("Mul", [chain.add("Div", [x, root]), node.inputs[1]], last=True)
    return chain.nodes


NORMALIZATION: dict[str, Lowering] = {
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "InstanceNormalization": _instance_normalization,
    "GroupNormalization": _group_normalization,
    "MeanVarianceNormalization": _mean_variance_normalization,
    "LpNormalization": _lp_normalization,
    "RMSNormalization": _rms_normalization,
}
