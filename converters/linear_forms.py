"""Values as sums of constant matrices times vectors, seen through views, slices and concatenations.

What `cell_patterns` asks about the gates of a recurrent cell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from .ir import SYMBOLIC, Dim, Node, Shape, Sym
from .rewrite import Rewriter
from .support import VIEWS

_DEEPEST, _MOST = 32, 16  # nodes below each other, addends of one gate
Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@dataclass(frozen=True)
class Source:
    """A value without the views of it; or, with an axis, its part at one index of that axis."""

    value: str
    axis: int = -1
    index: int = 0


@dataclass
class Form:
    """Sum of W s over ``terms`` (s, W [rows, K]), of ``biases`` [rows] and of ``others``, values that are products."""

    terms: list[tuple[Source, Array]] = field(default_factory=list)
    biases: list[Array] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def matrices(self) -> dict[Source, Array] | None:
        """W by source; None where a source is there twice."""
        found = dict(self.terms)
        return found if len(found) == len(self.terms) else None

    def bias(self, rows: int) -> Array:
        """Sum of the biases [rows], rounded once."""
        total = np.zeros(rows)
        for bias in self.biases:
            total += bias
        return total.astype(np.float32)


def batch_of(shape: Shape | None) -> Dim | None:
    """The leading dimensions as one: their product, or the batch; None where they are neither."""
    if shape is None or not shape:
        return None
    symbols = [d for d in shape[:-1] if isinstance(d, SYMBOLIC)]
    number = int(np.prod([int(d) for d in shape[:-1] if not isinstance(d, SYMBOLIC)], dtype=np.int64))
    if not symbols:
        return number
    return Sym.BATCH if symbols == [Sym.BATCH] and number == 1 else None


def units_out(shape: Shape | None) -> list[Dim] | None:
    """The dimensions that are not 1."""
    return None if shape is None else [d for d in shape if d != 1]


def is_zero(r: Rewriter, source: Source) -> bool:
    """Is it a constant of zeros, or an Expand of one?"""
    node = r.producers.get(source.value)
    name = node.inputs[0] if node is not None and node.op == "Expand" else source.value
    constant = r.graph.constants.get(name)
    return constant is not None and not constant.any()


class FormReader:
    """Reads values backwards; ``inner`` collects the nodes that were passed."""

    def __init__(self, r: Rewriter) -> None:
        self.r = r
        self.inner: list[Node] = []

    def made_by(self, name: str, op: str) -> Node | None:
        """The node that makes a value, if it is of that operator."""
        node = self.r.producers.get(name)
        return node if node is not None and node.op == op and not node.domain else None

    # ---- gates ----

    def gate(self, name: str, kind: str) -> Form | None:
        """What is in an activation, also where several gates share it and are cut apart behind it."""
        shape = self.r.shape(name)
        if not shape or isinstance(shape[-1], SYMBOLIC):
            return None
        start, stop = 0, int(shape[-1])
        while (node := self.r.producers.get(name)) is not None and not node.domain:
            before = self.r.shape(node.inputs[0]) if node.inputs else None
            if node.op == kind:
                self.inner.append(node)
                return self.linear(node.inputs[0], start, stop)
            window = self._window(node, before)
            if node.op in VIEWS and before and shape and before[-1] == shape[-1]:
                window = 0
            if window is None or before is None:
                return None
            self.inner.append(node)
            start, stop, name, shape = start + window, stop + window, node.inputs[0], before
        return None

    def _window(self, node: Node, before: Shape | None) -> int | None:
        """Where a Slice of the last axis alone begins."""
        if node.op != "Slice" or before is None or node.attrs["axes"] != [len(before) - 1]:
            return None
        size = before[-1]
        if isinstance(size, SYMBOLIC) or node.attrs["steps"] != [1]:
            return None
        return slice(node.attrs["starts"][0], node.attrs["ends"][0]).indices(int(size))[0]

    def linear(self, name: str, start: int = 0, stop: int | None = None) -> Form | None:
        """Rows start to stop of the last axis as a sum of products with constant matrices."""
        form, shape = Form(), self.r.shape(name)
        if not shape or isinstance(shape[-1], SYMBOLIC):
            return None
        return form if self._collect(form, name, start, int(shape[-1]) if stop is None else stop, None) else None

    def _collect(
        self, form: Form, name: str, start: int, stop: int, pick: tuple[int, int] | None, depth: int = 0
    ) -> bool:
        """Add a value's rows to the form; ``pick``: only what is at (axis, index)."""
        if depth > _DEEPEST or len(form.terms) + len(form.biases) > _MOST:  # no cell, and it could double at each Add
            return False
        bias = self._bias(name, start, stop)
        if bias is not None:
            form.biases.append(bias)
            return True
        node, shape = self.r.producers.get(name), self.r.shape(name)
        before = self.r.shape(node.inputs[0]) if node is not None and node.inputs else None
        if node is None or node.domain or shape is None or before is None:
            return False
        window, chosen = self._window(node, before), self._picked(node)
        if node.op == "Add":
            ends = [n for n in node.inputs if self._bias(n, start, stop) is None]
            same = all(units_out(self.r.shape(n)) == units_out(shape) for n in ends)
            same = same and (pick is None or all(len(self.r.shape(n) or ()) == len(shape) for n in ends))
            ok = same and all(self._collect(form, n, start, stop, pick, depth + 1) for n in node.inputs)
        elif node.op in VIEWS and pick is None and before and before[-1] == shape[-1]:
            ok = self._collect(form, node.inputs[0], start, stop, None, depth + 1)
        elif window is not None:
            ok = self._collect(form, node.inputs[0], start + window, stop + window, pick, depth + 1)
        elif chosen is not None and pick is None and chosen[0] < len(before) - 1:
            ok = self._collect(form, node.inputs[0], start, stop, chosen, depth + 1)
        elif node.op == "Gemm":
            ok = self._product(form, node, start, stop, pick)
        elif node.op == "Mul" and pick is None and (start, stop) == (0, shape[-1]):
            form.others.append(name)
            return True
        else:
            return False
        self.inner.append(node)
        return ok

    def _bias(self, name: str, start: int, stop: int) -> Array | None:
        """A constant that is the same for the whole batch, [stop - start]."""
        node = self.made_by(name, "Expand")
        constant = self.r.graph.constants.get(node.inputs[0] if node is not None else name)
        if constant is None or constant.dtype.kind != "f" or not constant.size:
            return None
        rows = constant.reshape(-1, constant.shape[-1] if constant.ndim else 1)
        if not np.all(rows == rows[0]):
            return None
        return np.repeat(rows[0], stop - start) if rows.shape[1] == 1 else rows[0, start:stop]

    def _product(self, form: Form, node: Node, start: int, stop: int, pick: tuple[int, int] | None) -> bool:
        weights, bias = self.r.constant(node, 1), self.r.constant(node, 2)
        plain = node.attrs.get("transB") == 1 and not {"alpha", "beta", "transA", "activation"} & node.attrs.keys()
        has_bias = len(node.inputs) > 2 and bool(node.inputs[2])
        if not plain or weights is None or (has_bias and bias is None):
            return False
        if bias is not None and bias.shape != (weights.shape[0],):
            return False
        if bias is not None:
            form.biases.append(bias[start:stop])
        rows = weights[start:stop]
        if pick is not None:
            form.terms.append((Source(node.inputs[0], *pick), rows))
            return True
        at = 0
        for name in self._parts(node.inputs[0]):
            width = (self.r.shape(name) or (0,))[-1]
            if isinstance(width, SYMBOLIC) or (node.inputs[0] in self.r.graph.constants):
                return False
            form.terms.append((self.resolve(name), rows[:, at : at + int(width)]))
            at += int(width)
        return bool(at == rows.shape[1])

    def _parts(self, name: str) -> list[str]:
        """What was concatenated along the last axis, else the value itself."""
        shape = self.r.shape(name)
        views: list[Node] = []
        base = name
        while (node := self.r.producers.get(base)) is not None and node.op in VIEWS:
            before = self.r.shape(node.inputs[0])
            if not shape or not before or before[-1] != shape[-1]:
                break
            views.append(node)
            base = node.inputs[0]
        joined = self.made_by(base, "Concat")
        if joined is None or joined.attrs["axis"] != len(self.r.shape(base) or ()) - 1:
            return [name]
        self.inner += [*views, joined]
        return list(joined.inputs)

    # ---- sources ----

    def _picked(self, node: Node) -> tuple[int, int] | None:
        """(axis, index) of a Gather or Slice that takes one of an axis with more."""
        shape = self.r.shape(node.inputs[0]) if node.inputs else None
        if shape is None or node.op not in ("Gather", "Slice"):
            return None
        if node.op == "Gather":
            indices, axis = self.r.constant(node, 1), int(node.attrs.get("axis", 0))
            if indices is None or indices.size != 1 or isinstance(shape[axis], SYMBOLIC):
                return None
            return axis, int(indices.reshape(())) % int(shape[axis])
        if len(node.attrs["axes"]) != 1 or node.attrs["steps"] != [1]:
            return None
        axis = int(node.attrs["axes"][0])
        if isinstance(shape[axis], SYMBOLIC):
            return None
        first, last, _ = slice(node.attrs["starts"][0], node.attrs["ends"][0]).indices(int(shape[axis]))
        return (axis, first) if last - first == 1 else None

    def resolve(self, name: str) -> Source:
        """A value without its views, as part of another one where it is."""
        while (node := self.r.producers.get(name)) is not None:
            chosen = self._picked(node)
            shape = self.r.shape(node.inputs[0]) if node.inputs else None
            alone = chosen is not None and shape is not None and shape[chosen[0]] == 1
            if node.op in VIEWS or alone:
                name = node.inputs[0]
            elif chosen is not None:
                return Source(node.inputs[0], *chosen)
            else:
                break
        return Source(name)

    def source(self, name: str, shape: Shape | None) -> Source | None:
        """A value that is as large as the shape says, or zero."""
        source = self.resolve(name)
        same = units_out(self.r.shape(name)) == units_out(shape)
        return source if same or is_zero(self.r, source) else None
