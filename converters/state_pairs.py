"""Is an output what an input becomes in the next call? Found by following numbers through the graph, or by name."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from .ir import Graph, Node, Sym
from .reference import evaluate_node
from .sizes import Sizes, infer
from .support import RECURRENT, VIEWS

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

SLOTS = {5: 1, 6: 2}  # initial_h -> Y_h, initial_c -> Y_c
_MOVES = VIEWS | {"Transpose", "Slice", "Gather", "Concat", "Expand", "Identity"}  # operators that only move numbers
_BATCH = 3  # what the symbol stands for while numbers are followed


def names_match(name: str, output: str) -> bool:
    """h and hn, h0 and hn, state and stateN, h_in and h_out, cache and new_cache, past_x and present_x, ..."""
    a, b = name.lower(), output.lower()
    if a == b:
        return False
    stem_a = a.removesuffix("_in")
    for beginning in ("in_", "past_", "prev_", "previous_", "last_"):
        stem_a = stem_a.removeprefix(beginning)
    stem_b = b
    for ending in ("_out", "_next", "_new", "_n", "n", "_t"):
        if b.endswith(ending):
            stem_b = b.removesuffix(ending)
            break
    for beginning in ("out_", "next_", "new_", "present_", "updated_"):
        stem_b = stem_b.removeprefix(beginning)
    return stem_b != b and stem_b.rstrip("_") in (stem_a.rstrip("_"), stem_a.removesuffix("0").rstrip("_"))


def is_carried(graph: Graph, name: str, output: str) -> bool:
    """Would the output be the input, number for number, if nothing happened in this call?

    Nothing happens when a sequence has no frames: then a cache stays what it is. Recurrent nodes are taken to keep
    their state. Without a time dimension a call is one frame, and a cache has moved along one axis.
    """
    value = graph.values.get(name)
    if value is None or value.shape is None or any(d is Sym.TIME for d in value.shape):
        return False
    sizes = [_BATCH if d is Sym.BATCH else int(d) for d in value.shape]
    start = np.arange(math.prod(sizes), dtype=np.float64).reshape(sizes)
    found = _Follower(graph).follow(name, start, output)
    if found is None:
        return False
    return np.array_equal(found, start) or (not graph.has_time() and _has_moved(start, found))


def _has_moved(start: Array, found: Array) -> bool:
    """Along one axis the first entries are gone and new ones, not numbers of the input, are behind the rest."""
    if found.shape != start.shape:
        return False
    for axis, size in enumerate(start.shape):
        for shift in range(1, size):
            kept = np.take(start, range(shift, size), axis)
            new = np.take(found, range(size - shift, size), axis)
            if np.array_equal(np.take(found, range(size - shift), axis), kept) and np.isnan(new).all():
                return True
    return False


class _Follower:
    """Numbers on their way through one graph; NaN is what was computed."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.sizes = graph, infer(graph)
        self.producers = graph.producers()
        self.symbols = {int(Sym.TIME): 0, int(Sym.BATCH): _BATCH}
        self.known: dict[str, Array] = {}

    def follow(self, name: str, start: Array, output: str) -> Array | None:
        """What the output is made of; None where the input is used otherwise than as a state."""
        self.known[name] = start
        reached = False
        for node in self.graph.nodes:
            touched = [n for n in node.inputs if n in self.known]
            if not touched:
                continue
            if node.op in RECURRENT:
                others = [n for i, n in enumerate(node.inputs) if n in self.known and i not in SLOTS]
                if any(not self._may_be_used(n) for n in others):  # the next layer may read a final state
                    return None
                reached = self._recurrence(node) or reached
            elif node.op not in _MOVES:
                if any(not self._may_be_used(n) for n in touched):
                    return None
            else:
                self._move(node)
                reached = reached or self._joins_frames(node)
        return self.known.get(output) if reached else None

    def _recurrence(self, node: Node) -> bool:
        reached = False
        for i, o in SLOTS.items():
            if i < len(node.inputs) and node.inputs[i] in self.known and o < len(node.outputs) and node.outputs[o]:
                self.known[node.outputs[o]] = self.known[node.inputs[i]]
                reached = True
        return reached

    def _move(self, node: Node) -> None:
        inputs = [self.known.get(n, self.graph.constants.get(n)) for n in node.inputs]
        if node.op == "Concat":
            inputs = [self._computed(n) if a is None else a for n, a in zip(node.inputs, inputs, strict=True)]
        if any(a is None for a in inputs):
            return
        try:
            self.known[node.outputs[0]] = evaluate_node(node, inputs, symbols=self.symbols)[0]
        except (ValueError, IndexError):  # it needs a frame
            return

    def _computed(self, name: str) -> Array | None:
        """A value that is no number of the input, without frames."""
        sizes: Sizes = self.sizes.get(name, (None,))
        shape = []
        for size in sizes:
            if size is None:
                return None
            shape.append(size.factor * 0**size.time * _BATCH**size.batch + size.extra)
        return None if min(shape, default=0) < 0 else np.full(shape, np.nan)

    def _joins_frames(self, node: Node) -> bool:
        """Does a Concat put frames behind numbers of the input?"""
        made = self.known.get(node.outputs[0])
        return node.op == "Concat" and made is not None and self._has_frames(node.outputs[0])

    def _has_frames(self, name: str) -> bool:
        """A value over time; without a time dimension, one that computed numbers have been joined to."""
        if not self.graph.has_time():
            return bool(np.isnan(self.known[name]).any())
        return any(size is not None and size.time > 0 for size in self.sizes.get(name, ()))

    def _may_be_used(self, name: str) -> bool:
        """A state may be computed with once it is behind a recurrent node or in front of a sequence."""
        while True:
            if self._has_frames(name):
                return True
            node = self.producers.get(name)
            if node is None or node.op in RECURRENT:
                return node is not None
            name = next((n for n in node.inputs if n in self.known), "")
            if not name:
                return False
