"""Evaluates a raw graph at a few concrete times and batches at once, to find out what depends on what.

A value that does not depend on the data (only on constants and shapes) and is the same in every probe is a constant; a
branch whose condition is such a constant is inlined. Sizes that follow time or batch in every probe are those symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from .ir import Dim, Graph, Misfit, Node, Problem, Shape, Sym, Undecided
from .lower import LOWERINGS
from .lowering import Operands
from .reference import evaluate_node
from .sizes import fit

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
PerProbe: TypeAlias = "list[Array | None]"

# (time, batch). Differences and quotients of the times are not those of the batches, so that no size is mistaken.
# The last one checks that a single step of a single stream works.
PROBES = ((7, 2), (12, 5), (1, 1))
_COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
LONG_PROBES = ((67, 2), (112, 5), (1, 1))  # for graphs that need more steps than the first ones have


@dataclass
class Evaluation:
    """Everything that the probes have shown.

    ``nodes`` are what remains, `If` inlined. ``values[name][p]`` is the value in probe p, None where it could not be
    computed. ``data`` are the names that depend on the model's inputs.
    """

    probes: Sequence[tuple[int, int]]
    values: dict[str, PerProbe] = field(default_factory=dict)
    data: set[str] = field(default_factory=set)
    constants: dict[str, Array] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    failed: list[Misfit] = field(default_factory=list)  # perhaps there were too few steps
    notes: list[str] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _inputs: set[str] = field(default_factory=set)
    _node_names: set[str] = field(default_factory=set)

    # ---- what the probes say ----

    def known(self, name: str) -> list[tuple[int, Array]]:
        """(probe, value) for each probe that has one."""
        return [(p, a) for p, a in enumerate(self.values.get(name, [])) if a is not None]

    def dims(self, name: str) -> tuple[Dim | None, ...] | None:
        """Size of each dimension, None where it is not made of time and batch; None when there is no one rank."""
        known = self.known(name)
        if not known or len({a.ndim for _, a in known}) > 1:
            return None
        return tuple(self.symbol([(p, a.shape[axis]) for p, a in known]) for axis in range(known[0][1].ndim))

    def shape(self, name: str) -> Shape | None:
        """The symbolic shape if all of it is known."""
        dims = self.dims(name)
        return None if dims is None or None in dims else tuple(d for d in dims if d is not None)

    def symbol(self, sizes: list[tuple[int, int]]) -> Dim | None:
        """What a number is that was seen as (probe, number): a symbol, or made of time and batch."""
        numbers = {n for _, n in sizes}
        if len(numbers) == 1 and (len(sizes) > 1 or len(self.probes) == 1):
            return numbers.pop()
        if len(sizes) > 1 and all(n == self.probes[p][0] for p, n in sizes):
            return Sym.TIME
        if len(sizes) > 1 and all(n == self.probes[p][1] for p, n in sizes):
            return Sym.BATCH
        return fit([(*self.probes[p], n) for p, n in sizes]) if len(sizes) > 1 else None

    def constant(self, name: str) -> Array | None:
        """The value of a constant."""
        return self.constants.get(name)

    # ---- names ----

    def fresh(self, base: str) -> str:
        """A value name that is not taken."""
        name, k = base, 1
        while not name or name in self._names:
            name, k = f"{base}_{k}", k + 1
        self._names.add(name)
        return name

    def _fresh_node(self, base: str) -> str:
        name, k = base, 1
        while name in self._node_names:
            name, k = f"{base}_{k}", k + 1
        self._node_names.add(name)
        return name

    def add_constant(self, array: Array, base: str = "constant") -> str:
        """A new constant; its name."""
        name = self.fresh(base)
        self.define_constant(name, array)
        return name

    def define_constant(self, name: str, array: Array) -> None:
        """Make an existing name a constant."""
        self._names.add(name)
        self.constants[name] = array
        self.values[name] = [array] * len(self.probes)

    def define_input(self, name: str, shape: Shape, dtype: np.dtype[Any], ones: bool) -> None:
        """An input of the model; its values do not matter, but they must be legal."""
        self._names.add(name)
        self._inputs.add(name)
        self.data.add(name)
        per_probe: PerProbe = []
        for time, batch in self.probes:
            sizes = [{Sym.TIME: time, Sym.BATCH: batch}.get(d, int(d)) if isinstance(d, Sym) else d for d in shape]
            kind = np.float64 if dtype.kind == "f" else dtype
            per_probe.append(np.ones(sizes, kind) if ones else np.zeros(sizes, kind))
        self.values[name] = per_probe

    # ---- evaluation ----

    def run(self, graph: Graph, scope: dict[str, str]) -> None:
        """Evaluate the nodes of a graph or branch in order; scope maps its names to those of the flat graph."""
        for name, array in graph.constants.items():
            scope[name] = self.add_constant(array, name)
        for raw in graph.nodes:
            inputs = [scope.get(n, n) if n else "" for n in raw.inputs]
            node = Node(raw.op, self._fresh_node(raw.name), inputs, list(raw.outputs), dict(raw.attrs), raw.domain)
            if node.op == "If" and not node.domain:
                self._inline(node, scope)
                continue
            node.outputs = [self.fresh(n) if n else "" for n in raw.outputs]
            scope.update({old: new for old, new in zip(raw.outputs, node.outputs, strict=True) if old})
            self.node(node)

    def node(self, node: Node) -> None:
        """Evaluate one node after lowering it; fold or keep it."""
        lowering = None if node.domain else LOWERINGS.get(node.op)
        if lowering is not None:
            arrays = [self.values.get(n, [None] * len(self.probes)) for n in node.inputs]
            constant = [n in self.constants for n in node.inputs]
            data = [n in self.data for n in node.inputs]
            try:
                lowered = lowering(node, Operands(arrays, constant, data, self.add_constant, self.fresh))
            except Exception:  # inputs that do not fit the operator: evaluating it says in which way
                lowered = None
            if lowered is not None:
                for n in lowered:
                    self.node(n)
                return
        self._evaluate(node)

    def _evaluate(self, node: Node) -> None:
        outputs: list[PerProbe] = [[None] * len(self.probes) for _ in node.outputs]
        errors: dict[int, Exception] = {}
        for p in range(len(self.probes)):
            inputs = [self.values[n][p] if n else None for n in node.inputs]
            if any(n and a is None for n, a in zip(node.inputs, inputs, strict=True)):
                continue
            try:
                results = evaluate_node(node, inputs)
            except Exception as error:
                errors[p] = error
                continue
            for i, result in enumerate(results[: len(node.outputs)]):
                outputs[i][p] = result
        self._report(node, errors)
        depends = node.op not in ("Shape", "Size") and any(n in self.data for n in node.inputs)
        failed = bool(errors) and len(errors) == len(self.probes)
        for name, per_probe in zip(node.outputs, outputs, strict=True):
            if name:
                self.values[name] = per_probe
                if depends or failed:
                    self.data.add(name)
        if depends or failed or not self._fold(node):
            self.nodes.append(node)

    def _report(self, node: Node, errors: dict[int, Exception]) -> None:
        if not errors:
            return
        p, error = next(iter(errors.items()))
        if isinstance(error, NotImplementedError):
            where = f"of domain '{node.domain}' " if node.domain else ""
            self.problems.append(Problem(node.name, node.op, f"the operator {where}is not supported"))
        elif set(errors) == {len(self.probes) - 1} and self.probes[-1] == (1, 1) and len(self.probes) > 1:
            self.notes.append(f"{node.op} '{node.name}' can't process a single time step ({error})")
        else:
            time, batch = self.probes[p]
            where = f"with {time} time steps and batch {batch}: " if len(self.probes) > 1 else ""
            self.failed.append(Misfit(node.name, node.op, f"{where}{error}"))

    def _fold(self, node: Node) -> bool:
        """Turn the outputs into constants if every probe agrees on them."""
        names = [n for n in node.outputs if n]
        for name in names:
            per_probe = self.known(name)
            if not per_probe or not all(same(per_probe[0][1], a) for _, a in per_probe[1:]):
                return False
        for name in names:
            array = self.known(name)[0][1]
            self.define_constant(name, array.astype(np.float32) if array.dtype.kind == "f" else array)
        return True

    def _inline(self, node: Node, scope: dict[str, str]) -> None:
        """Continue with the nodes of the branch taken."""
        taken = self._branch(node)
        if taken is None:
            for raw in (n for n in node.outputs if n):
                scope[raw] = self.fresh(raw)
                self.values[scope[raw]] = [None] * len(self.probes)
                self.data.add(scope[raw])
            node.outputs = [scope[n] if n else "" for n in node.outputs]
            self.nodes.append(node)
            return
        inner = dict(scope)
        self.run(taken, inner)
        for raw, value in zip(node.outputs, taken.outputs, strict=False):
            if raw:
                scope[raw] = inner.get(value.name, value.name)

    def _branch(self, node: Node) -> Graph | None:
        condition = node.inputs[0] if node.inputs else ""
        known = self.known(condition)
        branches = {True: node.attrs.get("then_branch"), False: node.attrs.get("else_branch")}
        choices = {bool(a.reshape(-1)[0]) for _, a in known if a.size}
        if not known:
            return None  # something before it has failed: that is the problem
        if condition in self.data:
            self.problems.append(self._undecided(node, condition))
            return None
        if len(choices) != 1:
            reason = "which branch is taken depends on the number of time steps or the batch: say both with --shape"
            self.problems.append(Problem(node.name, node.op, reason, "cond"))
            return None
        branch = branches[choices.pop()]
        if not isinstance(branch, Graph):
            self.problems.append(Problem(node.name, node.op, "a branch is missing"))
            return None
        return branch

    def _undecided(self, node: Node, condition: str) -> Problem:
        """What the condition of an `If` depends on, and a value for it where that is one input of one number."""
        producers = {o: n for n in self.nodes for o in n.outputs if o}
        wanted, inputs, numbers = [condition], list[str](), list[str]()
        for name in wanted:  # it grows
            producer = producers.get(name)
            if producer is None:
                inputs += [name] if name in self._inputs else []
                continue
            if producer.op in _COMPARISONS:
                known = [self.constants[n] for n in producer.inputs if n in self.constants]
                numbers += [
                    _as_text(array.reshape(-1)[0]) for array in known if array.size == 1 and np.isfinite(array).all()
                ]
            wanted += [n for n in producer.inputs if n and n not in wanted]
        named = " and ".join(f"input '{name}'" for name in inputs) or f"'{condition}'"
        reason = "which branch is taken depends on"
        if len(inputs) != 1 or any(array is None or array.size != 1 for array in self.values[inputs[0]]):
            return Problem(node.name, node.op, f"{reason} the data of {named}", "cond")
        value = numbers[0] if len(numbers) == 1 else ""
        return Undecided(node.name, node.op, f"{reason} {named}", "cond", input=inputs[0], value=value)


def _as_text(number: Any) -> str:
    """A number as it is written on the command line: 16000, whatever it was cast to in the graph."""
    value = float(number)
    return str(int(number)) if value.is_integer() else str(value)


def same(a: Array, b: Array) -> bool:
    """The same shape, type and numbers, NaN included."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def choose_probes(probes: Iterable[tuple[int, int]], time: bool, batch: bool) -> list[tuple[int, int]]:
    """Only as many probes as there are symbols to tell apart."""
    chosen: list[tuple[int, int]] = []
    for t, b in probes:
        pair = (t if time else 1, b if batch else 1)
        if pair not in chosen:
            chosen.append(pair)
    return chosen
