"""LSTM and GRU cells that are written out as matrix products, activations, products and sums: recurrent nodes again.

A cell's weights are rows of the original in ONNX's gate order, its bias is the sum of the original's. Cells that follow
each other in time, with the same weights and with slices of one tensor as input, become one node over that tensor.

A cell stays as it is when something else reads one of its inner values, or when it is only nearly one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cell_patterns import Cell, CellReader
from .ir import Dim, Graph, Node, Shape
from .linear_forms import Array, FormReader, Source, batch_of, is_zero, units_out
from .rewrite import Rewriter, drop_unused


def fuse_cells(graph: Graph) -> None:
    """Rewrite a simplified graph in place, outputs bound, shapes known."""
    while _fuse_one(Rewriter(graph)):
        drop_unused(graph)


def _fuse_one(r: Rewriter) -> bool:
    """Fuse the first chain of cells or, where there is none, the first cell."""
    reader = CellReader(r)
    cells = [cell for node in list(r.graph.nodes) if (cell := reader.cell(node)) is not None]
    chains = [chain for chain in _chains(cells) if len(chain) > 1 and _mergeable(r, chain)]
    if chains:
        _emit_chain(r, chains[0])
        return True
    for cell in cells:
        if cell.r is not None and _enclosed(r, [cell]) and _available(r, cell):
            _emit_cell(r, cell)
            return True
    return False


# ---- what may go ----


def _enclosed(r: Rewriter, cells: list[Cell]) -> bool:
    """Does nothing else read what is inside?"""
    inner = {id(n) for c in cells for n in c.inner}
    visible = {cells[-1].c_out, *(c.h_out for c in cells)}
    for node in (n for c in cells for n in c.inner):
        for name in node.outputs:
            if name not in visible and any(id(n) not in inner for n in r.consumers.get(name, [])):
                return False
    return True


def _available(r: Rewriter, cell: Cell) -> bool:
    """Do x, h and c exist as values of the right size?"""
    sources = [(cell.x, cell.w.shape[1]), (cell.h, cell.hidden), (cell.c, cell.hidden)]
    return all(s is None or is_zero(r, s) or _value_of(r, s, cell.shape, k) is not None for s, k in sources)


def _value_of(r: Rewriter, source: Source, like: Shape, width: int) -> str | None:
    """The value that a source names, [batch, width] in whatever form."""
    names: list[str] = [source.value]
    if source.axis >= 0:
        reader = FormReader(r)
        makers = [n for n in r.consumers.get(source.value, []) if n.op in ("Gather", "Slice")]
        names = [n.outputs[0] for n in makers if reader.resolve(n.outputs[0]) == source]
    for name in names:
        shape = r.shape(name)
        if shape is not None and units_out(shape) == units_out((batch_of(like) or 1, width)):
            return name
    return None


def _same_weights(a: Cell, b: Cell) -> bool:
    if a.op != b.op or a.attrs != b.attrs or a.shape[-1] != b.shape[-1] or not np.array_equal(a.w, b.w):
        return False
    if a.r is None:  # its bias was folded together: rounded elsewhere
        return bool(np.allclose(_summed(a), _summed(b), rtol=1e-6, atol=1e-7))
    return b.r is not None and np.array_equal(a.r, b.r) and np.array_equal(a.b, b.b)


def _summed(cell: Cell) -> Array:
    """Wb + Rb, but for the part of a GRU's that is reset."""
    w, r = cell.b.reshape(2, -1)
    split = 2 * cell.hidden if cell.attrs.get("linear_before_reset") else len(w)
    return np.concatenate([w[:split] + r[:split], w[split:], r[split:]])


def _chains(cells: list[Cell]) -> list[list[Cell]]:
    """Cells of which each begins where the one before ended."""
    after: dict[int, Cell] = {}
    for cell in cells:
        for previous in cells:
            follows = cell.h == Source(previous.h_out) and (not cell.c_out or cell.c == Source(previous.c_out))
            if previous is not cell and follows and _same_weights(previous, cell):
                after[id(previous)] = cell
    followers = {id(c) for c in after.values()}
    chains = []
    for cell in (c for c in cells if id(c) not in followers):
        chain = [cell]
        while id(chain[-1]) in after:
            chain.append(after[id(chain[-1])])
        chains.append(chain)
    return chains


def _mergeable(r: Rewriter, chain: list[Cell]) -> bool:
    """Are the inputs one tensor's slices, all of them, forwards or backwards?"""
    x, indices = chain[0].x, [c.x.index for c in chain]
    shape = r.shape(x.value)
    if shape is None or x.axis < 0 or x.axis == len(shape) - 1 or shape[x.axis] != len(chain):
        return False
    if any((c.x.value, c.x.axis) != (x.value, x.axis) for c in chain):
        return False
    if indices not in (list(range(len(chain))), list(range(len(chain)))[::-1]):
        return False
    rest = (*shape[: x.axis], *shape[x.axis + 1 :])
    if batch_of(rest) is None or batch_of(rest) != batch_of(chain[0].shape) or rest[-1] != chain[0].w.shape[1]:
        return False
    starts = [s for s in (chain[0].h, chain[0].c) if s is not None and not is_zero(r, s)]
    found = [_value_of(r, s, chain[0].shape, chain[0].hidden) for s in starts]
    return _enclosed(r, chain) and None not in found


# ---- writing ----


class _Writer:
    """Nodes of one recurrent node and around it."""

    def __init__(self, r: Rewriter, cell: Cell) -> None:
        self.r, self.cell, self.nodes = r, cell, list[Node]()
        self.name = cell.at.name if cell.op == "GRU" else next(n.name for n in cell.inner if cell.h_out in n.outputs)
        self.batch: Dim = batch_of(cell.shape) or 1

    def node(self, op: str, source: str, shape: Shape, attrs: dict[str, Any], name: str = "") -> str:
        """One node; its result is the value of that name, else a new one."""
        output = name or self.r.value(f"{source}.{op.lower()}", shape)
        self.nodes.append(Node(op, f"{self.name}.{output}", [source], [output], attrs))
        return output

    def reshape(self, source: str, shape: Shape, name: str = "") -> str:
        """The same numbers in another shape."""
        return self.node("Reshape", source, shape, {"shape": list(shape)}, name)

    def start(self, source: Source | None) -> str:
        """An initial state [1, batch, H]; zeros are left out."""
        if source is None or is_zero(self.r, source):
            return ""
        value = _value_of(self.r, source, self.cell.shape, self.cell.hidden)
        assert value is not None  # _available, _mergeable
        return self.reshape(value, (1, self.batch, self.cell.hidden))

    def recurrent(self, x: str, r: Array, b: Array, steps: int, backwards: bool = False) -> list[str]:
        """The node itself: Y [steps, 1, batch, H], Y_h and Y_c [1, batch, H]."""
        cell, base = self.cell, self.cell.h_out
        h, c = self.start(cell.h), self.start(cell.c)
        weights = [self.r.add_constant(f"{base}.{n}", np.ascontiguousarray(a)[None]) for n, a in
                   (("W", cell.w), ("R", r), ("B", b))]  # fmt: skip
        inputs = [x, *weights, "", h, c]
        if not b.any():
            inputs[3] = ""
        while not inputs[-1]:
            inputs.pop()
        final: Shape = (1, self.batch, cell.hidden)
        outputs = [self.r.value(f"{base}.Y", (steps, 1, self.batch, cell.hidden)), self.r.value(f"{base}.Y_h", final)]
        if cell.op == "LSTM":
            outputs.append(self.r.value(f"{base}.Y_c", final))
        attrs = {"hidden_size": cell.hidden, "direction": "reverse" if backwards else "forward", **cell.attrs}
        self.nodes.append(Node(cell.op, self.name, inputs, outputs, attrs))
        return outputs


def _place(r: Rewriter, at: Node, new: list[Node], gone: list[Node]) -> None:
    """New nodes instead of those that made the same values."""
    for node in gone:
        if node is not at:
            r.replace(node, [])
    r.replace(at, new)


def _makers(r: Rewriter, cells: list[Cell]) -> list[Node]:
    return [r.producers[name] for c in cells for name in c.outputs()]


def _emit_cell(r: Rewriter, cell: Cell) -> None:
    """One step: a recurrent node of one time step."""
    w = _Writer(r, cell)
    value = _value_of(r, cell.x, cell.shape, cell.w.shape[1])
    assert value is not None  # _available
    assert cell.r is not None  # _fuse_one
    outputs = w.recurrent(w.reshape(value, (1, w.batch, cell.w.shape[1])), cell.r, cell.b, 1)
    for name, source in zip(cell.outputs(), outputs[1:], strict=True):
        w.reshape(source, cell.shape, name)
    _place(r, cell.at, w.nodes, _makers(r, [cell]))


def _emit_chain(r: Rewriter, chain: list[Cell]) -> None:
    """All steps: one recurrent node; what reads h of a step reads it from Y."""
    first, last, steps = chain[0], chain[-1], len(chain)
    w = _Writer(r, first)
    shape, axis = r.shape(first.x.value) or (), first.x.axis
    perm = [axis, *(i for i in range(len(shape)) if i != axis)]
    x = first.x.value
    if perm != sorted(perm):
        x = w.node("Transpose", x, tuple(shape[p] for p in perm), {"perm": perm})
    x = w.reshape(x, (steps, w.batch, first.w.shape[1]))
    assert last.r is not None  # only the first cell of a chain can be without
    backwards = first.x.index > last.x.index
    y, *final = w.recurrent(x, last.r, last.b, steps, backwards)
    gone = _makers(r, chain)
    for cell in chain[:-1]:
        t = cell.x.index
        at = {"axes": [0], "starts": [t], "ends": [t + 1], "steps": [1]}
        part = w.node("Slice", y, (1, 1, w.batch, cell.hidden), at)
        w.reshape(part, cell.shape, cell.h_out)
    for name, source in zip(last.outputs(), final, strict=True):
        w.reshape(source, last.shape, name)
    by_time = [c.h_out for c in (chain[::-1] if backwards else chain)]
    joins = [n for n in r.graph.nodes if n.op == "Concat" and _joins(r, n, by_time)]
    _place(r, first.at, w.nodes, gone)
    for node in joins:
        _join(r, node, y, w.batch)


def _joins(r: Rewriter, node: Node, by_time: list[str]) -> bool:
    """Does a Concat put together h of all steps, in order of time?"""
    reader = FormReader(r)
    return [reader.resolve(n) for n in node.inputs] == [Source(h) for h in by_time]


def _join(r: Rewriter, node: Node, y: str, batch: Dim) -> None:
    """Y [steps, 1, batch, H] in the place of the Concat of its parts, where it is no more than a transpose."""
    part, shape, axis = r.shape(node.inputs[0]), r.shape(node.outputs[0]), int(node.attrs["axis"])
    whole = r.shape(y)
    if part is None or shape is None or whole is None:
        return
    steps, hidden = whole[0], whole[-1]
    nodes: list[Node] = []
    if any(d != 1 for d in part[:axis]):
        if units_out(part[:axis]) != units_out((batch,)) or units_out(part[axis:]) != units_out((hidden,)):
            return
        if part[axis] != 1:
            return
        moved = r.value(f"{y}.joined", (batch, steps, 1, hidden))
        nodes.append(Node("Transpose", f"{node.name}.transposed", [y], [moved], {"perm": [2, 0, 1, 3]}))
        y = moved
    nodes.append(Node("Reshape", node.name, [y], list(node.outputs), {"shape": list(shape)}))
    r.replace(node, nodes)
