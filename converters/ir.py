"""The converters' graph: ONNX operators over numpy constants, with symbolic time and batch.

Every importer produces a `Graph`; every later step (simplify, states, quantize, pack, reference, verify) takes one.
Operators, attribute names and semantics are ONNX's (the newest opset's form: axes, shapes, starts ... are attributes
once they are constant, see `simplify`).
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np


class Sym(enum.IntEnum):
    """A symbolic dimension; the numbers are those of ``rnnrt.h``."""

    TIME = -2
    BATCH = -3

    def __str__(self) -> str:
        return {Sym.TIME: "T", Sym.BATCH: "B"}[self]


@dataclass(frozen=True)
class Size:
    """``factor * T**time * B**batch + extra``, inside a graph only; extra only where the rest is T alone."""

    factor: int = 1
    time: int = 0
    batch: int = 0
    extra: int = 0

    def __str__(self) -> str:
        symbols = [str(self.factor)] if self.factor != 1 or not (self.time or self.batch) else []
        symbols += ["T"] * self.time + ["B"] * self.batch
        return "*".join(symbols) + (f"{self.extra:+d}" if self.extra else "")

    def __int__(self) -> int:
        raise TypeError(f"the size {self} is not a number")

    def __mul__(self, other: Size) -> Size:
        if self.extra or other.extra:
            raise ValueError(f"{self} times {other} is no product of time and batch")
        return Size(self.factor * other.factor, self.time + other.time, self.batch + other.batch)

    def dim(self) -> int | Sym | None:
        """As a dimension of the runtime: a number, time or batch; None for anything else."""
        if not (self.time or self.batch):
            return self.factor
        return {Size(time=1): Sym.TIME, Size(batch=1): Sym.BATCH}.get(self)


Dim: TypeAlias = "int | Sym | Size"
Shape: TypeAlias = "tuple[Dim, ...]"
SYMBOLIC: Final = (Sym, Size)  # isinstance: it is no number


@dataclass
class Value:
    """A tensor's declared type; ``shape`` is None while unknown."""

    name: str
    dtype: np.dtype
    shape: Shape | None = None


@dataclass
class Node:
    """One operator. An input or output left out is the empty string."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)  # int, float, str, list, ndarray; If: Graph
    domain: str = ""


@dataclass
class State:
    """A state variable: the graph reads ``input`` and, at the end of a time step, it becomes ``output``.

    ``init`` is the initial value (None: zeros). ``source`` says where the pair came from, for `inspect`.
    """

    name: str
    input: str
    output: str
    init: np.ndarray | None = None
    source: str = ""


@dataclass(frozen=True)
class QuantizedMatrix:
    """Integer weights as the original has them: ``steps[row] * scale[row]``.

    ``steps`` int16 [rows, cols] is integer minus zero point, within [-255, 255]; ``scale`` f32 [rows].
    """

    steps: np.ndarray
    scale: np.ndarray


@dataclass
class Graph:
    """Nodes are in topological order. Names are unique over inputs, constants and node outputs."""

    name: str = ""
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)  # shapes of intermediates once simplify has found them
    opset: int = 0
    producer: str = ""
    streamable: bool = True
    not_streamable_because: str = ""  # names the node
    notes: list[str] = field(default_factory=list)  # what was assumed, said aloud in the report
    rounds_activations: bool = False  # the original quantizes activations: it is only near its own float meaning
    quantized: list[QuantizedMatrix] = field(default_factory=list)  # rows of float constants that were integers
    declared: dict[str, tuple[int | str, ...]] = field(default_factory=dict)  # raw graph: input dims, names or ""

    def producers(self) -> dict[str, Node]:
        """Output name -> the node that makes it."""
        return {o: n for n in self.nodes for o in n.outputs if o}

    def consumers(self) -> dict[str, list[Node]]:
        """Value name -> the nodes that read it, in order."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                if name:
                    found.setdefault(name, []).append(node)
        return found

    def has_time(self) -> bool:
        """Does any input have a time dimension?"""
        return any(Sym.TIME in (v.shape or ()) for v in self.inputs)

    def used_names(self) -> Iterator[str]:
        """Every name that something reads: node inputs, graph outputs, state outputs."""
        for node in self.nodes:
            yield from (n for n in node.inputs if n)
        yield from (v.name for v in self.outputs)
        yield from (s.output for s in self.states)


class Note(str):
    """Something to be told about a conversion. A plain string in `Graph.notes` is something assumed or approximated.

    Attributes
    ----------
    option
        What the caller can say on the command line so that it is no assumption any more; empty: nothing.
    fact
        Nothing was assumed or approximated: only to be known.
    """

    option: str
    fact: bool

    def __new__(cls, text: str, option: str = "", fact: bool = False) -> Note:
        """A string with more to it."""
        made = super().__new__(cls, text)
        made.option, made.fact = option, fact
        return made


@dataclass(frozen=True)
class Problem:
    """One reason why a model can't be converted."""

    node: str
    op: str
    reason: str
    attribute: str = ""
    usage: bool = False
    """An argument of the caller does not fit the model; the model itself is fine."""

    def __str__(self) -> str:
        where = f"{self.op} '{self.node}'" if self.node else self.op
        return f"{where}: {self.attribute + ': ' if self.attribute else ''}{self.reason}"


@dataclass(frozen=True)
class Misfit(Problem):
    """An operator refused its inputs: with other sizes of the model's inputs it may take them."""


@dataclass(frozen=True)
class Undecided(Problem):
    """Which branch is taken is up to an input of one number, ``input``; ``value`` as text is one it may have."""

    input: str = ""
    value: str = ""
    """Empty where none is known."""

    def hint(self) -> Note:
        """How to decide it."""
        option = "--set " + shlex.quote(f"{self.input}={self.value or 'VALUE'}")
        return Note(f"'{self.input}' selects a variant: fix it with {option}, or what else it can be", option)
