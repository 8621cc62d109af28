"""ScatterND and ScatterElements that write to fixed places; CumSum along an axis of fixed size. Parts of `lower`."""

from __future__ import annotations

import numpy as np

from .ir import Node
from .lowering import Array, Chain, Operands

_MOST_PIECES = 64
INT32_MAX = 2**31 - 1


def scatter(node: Node, operands: Operands) -> list[Node] | None:
    """A Concat of slices of the data and of the updates.

    That is what ``x[:, :, 3:5] = y`` is, however an exporter has written the indices: in every probe the elements
    written must be the same places along one axis, each as a whole. Else None.
    """
    rank = operands.rank()
    if rank is None or operands.is_data[1] or node.attrs.get("reduction", "none") != "none":
        return None
    along = int(node.attrs.get("axis", 0)) % rank if node.op == "ScatterElements" else None
    probes = [(d, i, u) for d, i, u in zip(*operands.arrays[:3]) if d is not None and i is not None and u is not None]
    sources = [(d, u, _written(d, i, u, along)) for d, i, u in probes]
    for axis in range(rank):
        found = {_places(axis, d, u, written) for d, u, written in sources}
        places = found.pop() if len(found) == 1 else None
        if places:
            return _joined(node, operands, axis, places)
    return None


def _written(data: Array, indices: Array, updates: Array, along: int | None) -> Array:
    """For every element of the data the number of the update that it becomes, -1 for none.

    along: the axis of ScatterElements, None for ScatterND.
    """
    written = np.full(data.shape, -1)
    at = np.moveaxis(np.asarray(indices, np.int64), -1, 0) if along is None else np.indices(indices.shape)
    if along is not None:
        at[along] = indices
    written[tuple(at)] = np.arange(updates.size).reshape(updates.shape)
    return written


def _places(axis: int, data: Array, updates: Array, written: Array) -> tuple[tuple[int, int], ...] | None:
    """Which places along an axis become which part of the updates, as a whole; None if it is not so."""
    each = data.size // data.shape[axis] if data.size else 0
    if not each or updates.size % each:
        return None
    parts = np.arange(updates.size).reshape(
        [updates.size // each if a == axis else n for a, n in enumerate(data.shape)]
    )
    found = []
    for place in range(data.shape[axis]):
        here = np.take(written, place, axis)
        if (here < 0).all():
            continue
        part = int(np.unravel_index(max(int(here.flat[0]), 0), parts.shape)[axis])
        if not np.array_equal(here, np.take(parts, part, axis)):
            return None
        found.append((place, part))
    return tuple(found)


def _joined(node: Node, operands: Operands, axis: int, places: tuple[tuple[int, int], ...]) -> list[Node] | None:
    chain, (data, _, updates) = Chain(node, operands), node.inputs[:3]
    parts = 1 + max(part for _, part in places)
    if operands.rank(2) != operands.rank(0) or (operands.dim(2, axis) or 0) < parts:
        shape = chain.add("Shape", [chain.add("Gather", [data, chain.integers(*[0] * parts)], axis=axis)])
        updates = chain.add("Reshape", [updates, shape])
    pieces, at = list[tuple[str, int, int]](), 0  # (operand, start, end)
    for place, part in places:
        if place > at:
            pieces.append((data, at, place))
        before = pieces[-1] if pieces else ("", 0, 0)
        if before[0] == updates and place == at and before[2] == part:
            pieces[-1] = (updates, before[1], part + 1)
        else:
            pieces.append((updates, part, part + 1))
        at = place + 1
    if operands.dim(0, axis) != at:
        pieces.append((data, at, INT32_MAX))
    if len(pieces) > _MOST_PIECES - 1:
        return None
    names = [chain.add("Slice", [x], axes=[axis], starts=[a], ends=[b], steps=[1]) for x, a, b in pieces]
    chain.add("Concat", names, last=True, axis=axis)
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
