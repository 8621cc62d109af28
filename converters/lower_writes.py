"""ScatterND that writes to fixed places, and CumSum along an axis of fixed size. Parts of `lower.LOWERINGS`."""

from __future__ import annotations

import itertools

import numpy as np

from .ir import Node
from .lowering import Array, Chain, Operands

_MOST_PIECES = 32


def scatter_nd(node: Node, operands: Operands) -> list[Node] | None:
    """A Concat of slices of the data and of the updates.

    That is what ``x[:, :, 3:5] = y`` is, however an exporter has written the indices: in every probe the elements
    written must be the same places along one axis, in order. Else None.
    """
    rank = operands.rank()
    if rank is None or operands.is_data[1] or node.attrs.get("reduction", "none") != "none":
        return None
    probes = [p for p in zip(*operands.arrays[:3], strict=True) if all(a is not None for a in p)]
    for axis in range(rank):
        found = {_places(axis, d, i, u) for d, i, u in probes if d is not None and i is not None and u is not None}
        places = found.pop() if len(found) == 1 else None
        if places is not None:
            return _written(node, operands, axis, places)
    return None


def _places(axis: int, data: Array, indices: Array, updates: Array) -> tuple[int, ...] | None:
    """Places along an axis that are overwritten as a whole, in the order of the updates; None if it is not so."""
    numbers = np.arange(data.size).reshape(data.shape)
    result = numbers.copy()
    source = -1 - np.arange(updates.size).reshape(updates.shape)
    index = np.asarray(indices, np.int64)
    result[tuple(np.moveaxis(index, -1, 0))] = source
    written = np.moveaxis(result < 0, axis, 0).reshape(data.shape[axis], -1)
    places = np.flatnonzero(written.any(axis=1))
    if not places.size or not written[places].all():
        return None
    expected = (
        source.reshape([len(places) if a == axis else n for a, n in enumerate(data.shape)])
        if updates.size == len(places) * (data.size // data.shape[axis])
        else None
    )
    if expected is None or not np.array_equal(np.take(result, places, axis), expected):
        return None
    return tuple(int(p) for p in places)


def _written(node: Node, operands: Operands, axis: int, places: tuple[int, ...]) -> list[Node] | None:
    size = operands.dim(0, axis)
    pieces = 1 + 2 * sum(b - a != 1 for a, b in itertools.pairwise(places))
    if pieces > _MOST_PIECES:
        return None
    chain, (data, _, updates) = Chain(node, operands), node.inputs[:3]
    if operands.rank(2) != operands.rank(0) or operands.dim(2, axis) != len(places):
        template = chain.add("Gather", [data, chain.integers(*places)], axis=axis)
        updates = chain.add("Reshape", [updates, chain.add("Shape", [template])])
    parts, at, taken = list[str](), 0, 0
    while taken < len(places):
        run = 1
        while taken + run < len(places) and places[taken + run] == places[taken] + run:
            run += 1
        if places[taken] > at:
            parts.append(chain.add("Slice", [data], axes=[axis], starts=[at], ends=[places[taken]], steps=[1]))
        parts.append(chain.add("Slice", [updates], axes=[axis], starts=[taken], ends=[taken + run], steps=[1]))
        at, taken = places[taken] + run, taken + run
    if size is None or at < size:
        parts.append(chain.add("Slice", [data], axes=[axis], starts=[at], ends=[2**31 - 1], steps=[1]))
    chain.add("Concat", parts, last=True, axis=axis)
    return chain.nodes


def cum_sum(node: Node, operands: Operands) -> list[Node] | None:
    """A product with a triangle of ones; the axis must have a size of its own."""
    rank, axis = operands.rank(), operands.constant(1)
    if rank is None or axis is None or operands.kind() != "f":
        return None
    at = int(axis.reshape(())) % max(rank, 1)
    size = operands.dim(0, at) if rank else None
    if size is None:
        return None
    ones = np.triu(np.ones((size, size), np.float32), 1 if node.attrs.get("exclusive", 0) else 0)
    triangle = operands.add_constant(np.ascontiguousarray(ones.T) if node.attrs.get("reverse", 0) else ones)
    perm = [*(d for d in range(rank) if d != at), at]
    chain = Chain(node, operands)
    turned = chain.add("Transpose", node.inputs[:1], perm=perm)
    product = chain.add("MatMul", [turned, triangle])
    chain.add("Transpose", [product], last=True, perm=[perm.index(d) for d in range(rank)])
    return chain.nodes
