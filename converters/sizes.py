"""Sizes of dimensions inside a graph: products of time and batch (12*T*B), or time and a few frames more (T + 2).

Found like everything else about shapes: the graph is evaluated at a few times and batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .ir import Dim, Graph, Size, Sym
from .reference import evaluate_node, initial_states

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# (time, batch): primes, so that no product of one is mistaken for one of the other; the second row is for graphs
# whose windows are longer than the first times.
PROBES = (((7, 2), (13, 5), (11, 3)), ((67, 2), (113, 5), (89, 3)))


TIME, BATCH = Size(time=1), Size(batch=1)
Sizes: TypeAlias = "tuple[Size | None, ...]"  # None: it is none of these


def size_of(dim: Dim) -> Size:
    """A dimension as a size."""
    if isinstance(dim, Size):
        return dim
    if isinstance(dim, Sym):
        return TIME if dim is Sym.TIME else BATCH
    return Size(int(dim))


def fit(seen: Sequence[tuple[int, int, int]]) -> Size | None:
    """What a number is that was seen at (time, batch, number)."""
    numbers = {n for _, _, n in seen}
    if len(numbers) == 1:
        return Size(numbers.pop())
    for time, batch in ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (2, 1), (1, 2)):
        units = [t**time * b**batch for t, b, _ in seen]
        if all(n % unit == 0 for unit, (_, _, n) in zip(units, seen, strict=True)):
            factors = {n // unit for unit, (_, _, n) in zip(units, seen, strict=True)}
            if len(factors) == 1:
                return Size(factors.pop(), time, batch)
    extras = {n - t for t, _, n in seen}
    return Size(time=1, extra=extras.pop()) if len(extras) == 1 else None


def infer(graph: Graph) -> dict[str, Sizes]:
    """The sizes of every value and constant of a simplified graph.

    Values that can't be computed at any of the probes are left out.
    """
    known = {n: tuple(size_of(d) for d in v.shape) for n, v in graph.values.items() if v.shape is not None}
    known |= {n: tuple(Size(d) for d in a.shape) for n, a in graph.constants.items()}
    made = [o for n in graph.nodes for o in n.outputs if o]
    found: dict[str, Sizes] = dict(known)
    if all(name in found for name in made):
        return found
    for probes in PROBES:
        runs = [_shapes(graph, time, batch) for time, batch in probes]
        if all(name in run for run in runs for name in made):
            break
    for name in made:
        shapes = [(*probe, run[name]) for probe, run in zip(probes, runs, strict=True) if name in run]
        if name in found or not shapes or len({len(s) for _, _, s in shapes}) != 1:
            continue
        axes = range(len(shapes[0][2]))
        found[name] = tuple(fit([(t, b, s[axis]) for t, b, s in shapes]) for axis in axes)
    return found


def _shapes(graph: Graph, time: int, batch: int) -> dict[str, tuple[int, ...]]:
    """Shapes of all values at one time and batch, as far as they can be computed."""
    symbols = {int(Sym.TIME): time, int(Sym.BATCH): batch}
    values: dict[str, Array] = dict(graph.constants)
    for value in graph.inputs:
        sizes = [symbols.get(int(d), int(d)) for d in value.shape or ()]
        ones = value.dtype.kind in "iu"  # lengths of sequences: at least one step
        values[value.name] = np.ones(sizes, value.dtype) if ones else np.zeros(sizes, np.float64)
    starts = initial_states(graph, symbols)
    values.update({s.input: starts[s.name] for s in graph.states})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for node in graph.nodes:
            inputs = [values.get(n) if n else None for n in node.inputs]
            if any(n and a is None for n, a in zip(node.inputs, inputs, strict=True)):
                continue
            try:
                outputs = evaluate_node(node, inputs, symbols=symbols)
            except (ValueError, IndexError, KeyError, NotImplementedError):
                continue
            values.update({n: a for n, a in zip(node.outputs, outputs, strict=False) if n})
    return {n: a.shape for n, a in values.items()}
