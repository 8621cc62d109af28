"""LSTM and GRU cells that are written out, recognised from their end.

Every value is read as what it must be for the equations of the ONNX specification to hold, so neither the order of
gates and operands nor one or two matrix products make a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .ir import Node, Shape
from .linear_forms import Array, Form, FormReader, Source, batch_of, is_zero
from .rewrite import Rewriter
from .support import VIEWS

_MOVES = VIEWS | {"Slice", "Gather", "Transpose", "Expand"}


@dataclass
class Cell:
    """One step: ``h_out`` (and ``c_out``) from ``x``, ``h`` (and ``c``)."""

    op: str
    x: Source
    h: Source | None  # None: zeros, and the recurrent weights are unknown
    c: Source | None  # None: zeros, or a GRU
    w: Array  # [gates * H, I]
    r: Array | None  # [gates * H, H]
    b: Array  # [2 * gates * H]: Wb, Rb
    h_out: str
    c_out: str
    shape: Shape  # of h_out
    at: Node  # the first node from which on everything that the cell reads is there
    inner: list[Node]  # nodes that go
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def hidden(self) -> int:
        """Units."""
        return int(self.shape[-1])

    def outputs(self) -> list[str]:
        """What may be read from outside."""
        return [n for n in (self.h_out, self.c_out) if n]


def both(node: Node) -> Iterator[tuple[str, str]]:
    """The two operands in either order."""
    if len(node.inputs) == 2:
        yield node.inputs[0], node.inputs[1]
        yield node.inputs[1], node.inputs[0]


class CellReader(FormReader):
    """Finds the cell that ends in a node."""

    def __init__(self, r: Rewriter) -> None:
        super().__init__(r)
        self.order = {v.name: i for i, v in enumerate(r.graph.inputs)}

    def cell(self, node: Node) -> Cell | None:
        """The LSTM or GRU cell whose new h the node makes."""
        if node.domain or batch_of(self.r.shape(node.outputs[0] if node.outputs else "")) is None:
            return None
        return self._lstm(node) if node.op == "Mul" else self._gru(node) if node.op == "Add" else None

    # ---- LSTM: c = f * c_prev + i * g; h = o * tanh(c) ----

    def _lstm(self, node: Node) -> Cell | None:
        for o, squashed in both(node):
            tanh = self.made_by(squashed, "Tanh")
            add = self.made_by(tanh.inputs[0], "Add") if tanh is not None else None
            if tanh is None or add is None:
                continue
            for kept, new in both(add):
                first, second = self.made_by(kept, "Mul"), self.made_by(new, "Mul")
                if first is None or second is None:
                    continue
                for (f, c), (i, g) in ((a, b) for a in both(first) for b in both(second)):
                    self.inner = [node, tanh, add, first, second]
                    cell = self._lstm_of(node, add, (i, o, f, g), c)
                    if cell is not None:
                        return cell
        return None

    def _lstm_of(self, node: Node, add: Node, gates: tuple[str, str, str, str], c: str) -> Cell | None:
        kinds = ("Sigmoid", "Sigmoid", "Sigmoid", "Tanh")
        shape = self.r.shape(node.outputs[0])
        if shape is None or len(set(gates)) < 4:
            return None
        forms = [self.gate(g, kind) for g, kind in zip(gates, kinds, strict=True)]
        found = self._matrices(forms, int(shape[-1]))
        if found is None or any(form is None or form.others for form in forms):
            return None
        start = self.source(c, shape)
        zero_c = start is not None and is_zero(self.r, start)
        x, h = self._x_and_h(found, start, int(shape[-1]))
        if start is None or x is None or h == start or (h is None and not zero_c):
            return None
        w, recurrence = (None if s is None else np.concatenate([m[s] for m in found]) for s in (x, h))
        bias = np.concatenate([f.bias(int(shape[-1])) for f in forms if f is not None])
        if w is None:
            return None
        b = np.concatenate([bias, np.zeros_like(bias)])
        ends = node.outputs[0], add.outputs[0]
        previous = None if zero_c else start
        return Cell("LSTM", x, h, previous, w, recurrence, b, *ends, shape, add, self.inner)

    def _matrices(self, forms: Iterable[Form | None], hidden: int) -> list[dict[Source, Array]] | None:
        """W by source of each gate; None unless all gates read the same sources, one or two."""
        found: list[dict[Source, Array]] = []
        for form in forms:
            matrices = form.matrices() if form is not None else None
            if matrices is None or (found and matrices.keys() != found[0].keys()) or not 0 < len(matrices) < 3:
                return None
            if any(m.shape[0] != hidden for m in matrices.values()):
                return None
            found.append(matrices)
        return found

    def _x_and_h(
        self, found: list[dict[Source, Array]], c: Source | None, hidden: int
    ) -> tuple[Source | None, Source | None]:
        """Which source is the input, which the state. An LSTM is symmetric in them where they are of one size."""
        sources = list(found[0])
        fitting = [s for s in sources if found[0][s].shape[1] == hidden]
        if len(sources) == 1:
            return sources[0], None
        if not fitting:
            return None, None
        h = max(fitting, key=lambda s: self._likeness(s, c))
        return next(s for s in sources if s != h), h

    def _likeness(self, source: Source, c: Source | None) -> tuple[bool, bool, bool, int]:
        """How much a source is like the other half of the state: from where c is, else an input, at best next to it."""
        mine, other = self._root(source), self._root(c) if c is not None else ""
        made, twin = self.r.producers.get(mine), self.r.producers.get(other)
        partner = made is not None and twin is not None and self._squashes(made, other)
        at = self.order.get(mine, -1)
        given = mine in self.order or mine in self.r.graph.constants
        return mine == other or partner, given, at + 1 == self.order.get(other), at

    def _squashes(self, node: Node, c: str) -> bool:
        """Is the node h = o * tanh(c)?"""
        makers = [self.r.producers.get(n) for n in node.inputs]
        return node.op == "Mul" and any(m is not None and m.op == "Tanh" and m.inputs[0] == c for m in makers)

    def _root(self, source: Source) -> str:
        """Where a value was moved from."""
        name = source.value
        while (node := self.r.producers.get(name)) is not None and node.op in _MOVES:
            name = node.inputs[0]
        return name

    # ---- GRU: h = (1 - z) * n + z * h_prev, also as (h_prev - n) * z + n ----

    def _gru(self, node: Node) -> Cell | None:
        for z, n, h, inner in [*self._interpolations(node), *self._differences(node)]:
            for reset in (self._reset_after, self._reset_before):
                self.inner = [node, *inner]
                cell = reset(node, z, n, h)
                if cell is not None:
                    return cell
        return None

    def _interpolations(self, node: Node) -> Iterator[tuple[str, str, str, list[Node]]]:
        """(z, n, h, nodes) with node = (1 - z) * n + z * h."""
        for new, kept in both(node):
            first, second = self.made_by(new, "Mul"), self.made_by(kept, "Mul")
            if first is None or second is None:
                continue
            for rest, n in both(first):
                sub = self.made_by(rest, "Sub")
                one = self.r.constant(sub, 0) if sub is not None else None
                if sub is None or one is None or not np.all(one == 1.0):
                    continue
                for z, h in both(second):
                    if z == sub.inputs[1]:
                        yield z, n, h, [first, second, sub]

    def _differences(self, node: Node) -> Iterator[tuple[str, str, str, list[Node]]]:
        """(z, n, h, nodes) with node = (h - n) * z + n."""
        for scaled, n in both(node):
            product = self.made_by(scaled, "Mul")
            for difference, z in both(product) if product is not None else ():
                sub = self.made_by(difference, "Sub")
                if product is not None and sub is not None and sub.inputs[1] == n:
                    yield z, n, sub.inputs[0], [product, sub]

    def _reset_after(self, node: Node, z: str, n: str, h: str) -> Cell | None:
        """n = tanh(Wx + Wb + r * (Rh + Rb))."""
        new = self.gate(n, "Tanh")
        product = self.made_by(new.others[0], "Mul") if new is not None and len(new.others) == 1 else None
        if new is None or product is None:
            return None
        before = list(self.inner)
        for r, recurrent in both(product):
            self.inner = [*before, product]
            part = self.linear(recurrent)
            reset = self.gate(r, "Sigmoid")
            if part is None or part.others or reset is None:
                continue
            cell = self._gru_of(node, (z, reset), h, (new, part), 1)
            if cell is not None:
                return cell
        return None

    def _reset_before(self, node: Node, z: str, n: str, h: str) -> Cell | None:
        """n = tanh(Wx + R(r * h) + Wb + Rb)."""
        new = self.gate(n, "Tanh")
        start = self.source(h, self.r.shape(node.outputs[0]))
        if new is None or new.others or start is None:
            return None
        before = list(self.inner)
        for source, matrix in new.terms:
            product = self.made_by(source.value, "Mul") if source.axis < 0 else None
            for r, kept in both(product) if product is not None else ():
                if product is None or self.source(kept, self.r.shape(node.outputs[0])) != start:
                    continue
                self.inner = [*before, product]
                reset = self.gate(r, "Sigmoid")
                if reset is None:
                    continue
                rest = Form([t for t in new.terms if t[0] != source], new.biases)
                cell = self._gru_of(node, (z, reset), h, (rest, Form([(start, matrix)])), 0)
                if cell is not None:
                    return cell
        return None

    def _gru_of(self, node: Node, zr: tuple[str, Form], h: str, new: tuple[Form, Form], after: int) -> Cell | None:
        """The cell of z and r, of the old h and of the new one's parts that depend on x and on h."""
        shape, update = self.r.shape(node.outputs[0]), self.gate(zr[0], "Sigmoid")
        start = self.source(h, shape)
        if shape is None or update is None or start is None or update.others or zr[1].others:
            return None
        hidden = int(shape[-1])
        gates = self._matrices([update, zr[1]], hidden)
        of_x, of_h = new[0].matrices(), new[1].matrices()
        if gates is None or of_x is None or of_h is None or len(of_x) != 1:
            return None
        x = next(iter(of_x))
        zero = is_zero(self.r, start)
        wanted = {x} if zero and len(gates[0]) == 1 else {x, start}
        if set(gates[0]) != wanted or x == start or of_x[x].shape[0] != hidden:
            return None
        known = len(wanted) == 2
        if set(of_h) != ({start} if known or not after else set()):
            return None
        w = np.concatenate([gates[0][x], gates[1][x], of_x[x]])
        r = np.concatenate([gates[0][start], gates[1][start], of_h[start]]) if known else None
        if r is not None and r.shape != (3 * hidden, hidden):
            return None
        biases = [update.bias(hidden), zr[1].bias(hidden), new[0].bias(hidden)]
        b = np.concatenate([*biases, np.zeros(2 * hidden, np.float32), new[1].bias(hidden)])
        attrs = {"linear_before_reset": after}
        given = start if known else None
        return Cell("GRU", x, given, None, w, r, b, node.outputs[0], "", shape, node, self.inner, attrs)
