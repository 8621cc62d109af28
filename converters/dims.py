"""Which input dimensions are time and which are batch: from what the caller says, their names, their position."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .bounds import bounded
from .ir import SYMBOLIC, Dim, Graph, Note, Problem, Shape, Size, Sym
from .told import shape_word

_TIME = {"time", "times", "timestep", "timesteps", "steps", "frame", "frames", "seq", "sequence", "seqlen", "length",
         "len", "samples", "chunk"}  # fmt: skip
_BATCH = {"batch", "batches", "batchsize", "bsz", "bs"}
_LETTERS = {"t": Sym.TIME, "l": Sym.TIME, "s": Sym.TIME, "n": Sym.BATCH, "b": Sym.BATCH}
_TRIED = 12  # what time and batch are at most where the graph is first tried: see probe.py
_STATE_NAME = re.compile(r"^(h|c|hx|cx|hc|h0|c0|hn|cn)$|state|hidden|cell|cache|memory|context", re.IGNORECASE)


@dataclass
class InputDims:
    """The symbolic shape of every input, and what had to be assumed for it."""

    shapes: dict[str, Shape] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def uses(self, symbol: Sym) -> bool:
        """Is there an input with this dimension?"""
        return any(symbol in shape for shape in self.shapes.values())


def assign(
    graph: Graph,
    shapes: Mapping[str, tuple[int | str, ...]],
    batch: int | None,
    skip: Mapping[str, npt.ArrayLike],
) -> InputDims:
    """Give every dimension of every input a meaning.

    Parameters
    ----------
    graph
        An importer's graph (with ``declared``).
    shapes
        Per input name: one entry per dimension, a number, ``"T"`` or ``"B"``.
    batch
        A number for every batch dimension; None keeps the symbol.
    skip
        Inputs that get a fixed value, this one, and so have no shape to find.
    """
    found = InputDims()
    names = {v.name for v in graph.inputs}
    for name in sorted((set(shapes) | set(skip)) - names):
        reason = f"the model has no such input; it has {sorted(names)}"
        found.problems.append(Problem(name, "input", reason, usage=True))
    for value in graph.inputs:
        given = np.asarray(skip.get(value.name, 0))
        if value.dtype.kind in "iub" and not np.array_equal(given.astype(value.dtype), given):
            found.problems.append(
                Problem(value.name, "input", f"it is {value.dtype}, which {given} is not", usage=True)
            )
    bound = _bind_names(graph, shapes)
    for position, value in enumerate(v for v in graph.inputs if v.name not in skip):
        own = tuple(d for d in value.shape or () if not isinstance(d, Size))  # an input has no other
        declared = graph.declared.get(value.name, own)
        found.shapes[value.name] = _one(value.name, position, declared, shapes.get(value.name), bound, found)
    for name in sorted(set(shapes) & set(skip)):
        reason = "a shape is given, and a value that makes it a constant: one of them is too much"
        found.problems.append(Problem(name, "input", reason, usage=True))
    said = _batch_of_overrides(graph, shapes, found)
    fixed = said if batch is None else batch
    if batch is not None and said not in (None, batch):
        reason = f"the batch is to be {batch}, the shapes given say {said}"
        found.problems.append(Problem("", "input", reason, usage=True))
    elif batch not in (None, 1, said) and not found.uses(Sym.BATCH):
        reason = f"the batch is to be {batch}, but no input has a dimension that is a batch"
        found.problems.append(Problem("", "input", reason, usage=True))
    if fixed is not None:
        found.shapes = {n: tuple(fixed if d is Sym.BATCH else d for d in s) for n, s in found.shapes.items()}
    found.notes = [_with_option(note, found.shapes) for note in found.notes]
    for name, shape in found.shapes.items():
        if list(shape).count(Sym.TIME) > 1:
            found.problems.append(Problem(name, "input", f"two time dimensions in {show(shape)}: give its shape"))
        try:
            bounded(_TRIED if isinstance(d, SYMBOLIC) else d for d in shape)
        except ValueError as error:
            found.problems.append(Problem(name, "input", str(error)))
    return found


def _with_option(note: str, shapes: Mapping[str, Shape]) -> Note:
    """The note about an input with how to say its shape."""
    name = note.option if isinstance(note, Note) else ""
    return Note(note, f"--shape {shlex.quote(shape_word(name, shapes[name]))}")


def _bind_names(graph: Graph, shapes: Mapping[str, tuple[int | str, ...]]) -> dict[str, Dim]:
    """A dimension name that the caller has given a meaning in one input has it in all."""
    bound: dict[str, Dim] = {}
    for name, given in shapes.items():
        for label, dim in zip(graph.declared.get(name, ()), given, strict=False):
            if isinstance(label, str) and label:
                bound[label] = _dim(dim)
    return bound


def _batch_of_overrides(graph: Graph, shapes: Mapping[str, tuple[int | str, ...]], found: InputDims) -> int | None:
    """The caller fixed the batch of one input to a number: then it is that number everywhere."""
    numbers = set()
    for position, value in enumerate(graph.inputs):
        declared, given = graph.declared.get(value.name, ()), shapes.get(value.name)
        if given is None or len(given) != len(declared):
            continue
        guess = _one(value.name, position, declared, None, {}, InputDims())
        numbers |= {d for g, d in zip(guess, given, strict=True) if g is Sym.BATCH and isinstance(d, int) and d > 0}
    if len(numbers) > 1:
        reason = f"the shapes given have different batch sizes {sorted(numbers)}"
        found.problems.append(Problem("", "input", reason, usage=True))
    return min(numbers) if numbers else None


def _one(
    name: str,
    position: int,
    declared: tuple[int | str, ...],
    given: tuple[int | str, ...] | None,
    bound: Mapping[str, Dim],
    found: InputDims,
) -> Shape:
    if given is not None:
        if len(given) != len(declared):
            reason = f"shape {show(given)} given, but it has {len(declared)} dimensions"
            found.problems.append(Problem(name, "input", reason, usage=True))
            return tuple(d if isinstance(d, int) else 1 for d in declared)
        for label, size in zip(declared, given, strict=True):
            if isinstance(label, int) and not isinstance(label, Sym) and label != size:
                reason = f"shape {show(given)} given, the model says {show(declared)}"
                found.problems.append(Problem(name, "input", reason, usage=True))
                break
        return tuple(_dim(d) for d in given)
    dims: list[Dim | None] = [d if isinstance(d, int) else bound.get(d, _by_name(d)) for d in declared]
    state = position > 0 and bool(_STATE_NAME.search(name))
    guessed = [axis for axis, dim in enumerate(dims) if dim is None]
    for axis in guessed:
        dims[axis] = _by_position(axis, dims, state)
    for axis, dim in enumerate(dims):
        if isinstance(dim, Sym) and isinstance(declared[axis], str):
            label = f" ('{declared[axis]}')" if declared[axis] else ""
            why = "by position" if axis in guessed else "by name"
            meaning = "time" if dim is Sym.TIME else "batch"
            text = f"input '{name}': dimension {axis}{label} is taken as {meaning} ({why})"
            found.notes.append(Note(text, name))
    return tuple(d if d is not None else 1 for d in dims)


def _by_name(label: str) -> Sym | None:
    if label.lower() in _LETTERS:
        return _LETTERS[label.lower()]
    words = set(re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", label).lower()))
    if words & _BATCH:
        return Sym.BATCH
    return Sym.TIME if words & _TIME else None


def _by_position(axis: int, dims: list[Dim | None], state: bool) -> Sym:
    """[B, T, F], [B, F], [T]; a state such as [layers, B, units] has no time."""
    if state or (axis == 0 and len(dims) > 1 and Sym.BATCH not in dims):
        return Sym.BATCH
    if Sym.TIME in dims:
        return Sym.BATCH
    return Sym.TIME


def _dim(d: int | str) -> Dim:
    if isinstance(d, str):
        symbols = {"T": Sym.TIME, "B": Sym.BATCH}
        if d not in symbols:
            raise ValueError(f"a dimension is a number, 'T' or 'B', not {d!r}")
        return symbols[d]
    if isinstance(d, Sym):
        return d
    if d < 1:
        raise ValueError(f"a dimension is at least 1, not {d}")
    return int(d)


def show(shape: Sequence[Dim | str]) -> str:
    """``[1, T, 161]``; dimensions without a name are ``?``."""
    return "[" + ", ".join(str(d) or "?" for d in shape) + "]"
