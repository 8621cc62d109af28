"""Raw graph -> a graph of few operators whose shapes are numbers, time and batch.

The method is probing (see `probe`): no shape inference rules, every operator is simply evaluated at a few times and
batches. What is left has its parameters (axes, starts, shape, ...) as attributes and a symbolic shape for each value.
"""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import UnsupportedError
from . import dims as dims_of_inputs
from . import fuse, probe, quantized_ops, support
from .ir import SYMBOLIC, Dim, Graph, Misfit, Node, Note, Problem, Shape, Size, Sym, Undecided, Value
from .rewrite import reshape_to
from .told import shape_word

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

INT32_MAX, INT32_MIN = 2**31 - 1, -(2**31)
RECURRENT = ("RNN", "GRU", "LSTM")


def simplify(
    graph: Graph,
    *,
    set_values: Mapping[str, npt.ArrayLike] | None = None,
    shapes: Mapping[str, tuple[int | str, ...]] | None = None,
    batch: int | None = None,
) -> Graph:
    """Fold, inline, fuse: what remains are operators of the runtime.

    Parameters
    ----------
    graph
        An importer's graph. It is not changed.
    set_values
        Inputs that become constants, by name (a sampling rate, say).
    shapes
        Shape of an input by name: per dimension a number, ``"T"`` (time) or ``"B"`` (batch). Where it says nothing,
        names and positions decide and ``notes`` of the result say what was assumed.
    batch
        A fixed batch size. None: any batch if the graph allows it, else 1, with a note why.

    Returns
    -------
    Graph
        With ``values`` filled in: dtype and shape of every value (shape None where it is neither).

    Raises
    ------
    UnsupportedError
        All reasons at once, in ``problems``.
    """
    graph = quantized_ops.to_float(graph)
    given = {name: np.asarray(value) for name, value in (set_values or {}).items()}
    wanted = dict(shapes or {})
    result, problems = _simplified(graph, given, wanted, batch)
    if problems or result is None:
        raise _refusal(graph, problems, given, wanted, batch)
    return result


def _simplified(
    graph: Graph, given: Mapping[str, Array], wanted: Mapping[str, tuple[int | str, ...]], batch: int | None
) -> tuple[Graph | None, list[Problem]]:
    """With any batch, else with a batch of 1 where that is left open and does better."""
    result, problems = _attempt(graph, given, wanted, batch)
    symbolic = result is not None and any(Sym.BATCH in (v.shape or ()) for v in result.inputs)
    if batch is None and (problems or (symbolic and _unknown(result))):
        fixed, remaining = _attempt(graph, given, wanted, 1)
        better = fixed is not None and (len(remaining), _unknown(fixed)) < (len(problems), _unknown(result))
        if better and fixed is not None:
            why = problems[0] if problems else "shapes that are a product of time and batch"
            fixed.notes.append(Note(f"batch is fixed to 1, because of {why}", "--batch 1"))
            result, problems = fixed, remaining
    return result, problems


def _refusal(
    graph: Graph,
    problems: Sequence[Problem],
    given: Mapping[str, Array],
    shapes: Mapping[str, tuple[int | str, ...]],
    batch: int | None,
) -> UnsupportedError:
    """Everything that is missing: where inputs decide which branch is taken, also what is missing behind it."""
    decided, undecided = dict(given), list[Problem]()
    while new := {p.input: p for p in problems if isinstance(p, Undecided) and p.value and p.input not in decided}:
        decided |= {name: np.asarray(float(p.value)) for name, p in new.items()}
        undecided += new.values()
        problems = _simplified(graph, decided, shapes, batch)[1]
    problems = [*undecided, *problems]
    hints = list(dict.fromkeys([p.hint() for p in problems if isinstance(p, Undecided)]))
    if len(hints) < len(problems) and not all(p.usage for p in problems):
        hints += _hints(graph, problems, decided, shapes, batch)
    lines = [f"  {p}" for p in problems] + [f"  hint: {h}" for h in hints]
    return UnsupportedError("this model can't be converted:\n" + "\n".join(lines), problems, hints)


def _hints(
    graph: Graph,
    problems: Sequence[Problem],
    given: Mapping[str, Array],
    shapes: Mapping[str, tuple[int | str, ...]],
    batch: int | None,
) -> Iterator[Note]:
    """What the caller could still say about the inputs of a graph that does not convert, and no problem names yet.

    Their options are empty where an operator is missing, since then nothing helps that can be said.
    """
    guessed = dims_of_inputs.assign(graph, shapes, batch, given).shapes
    helps = all(support.is_known(p.op) or p.op in ("input", "output") for p in problems)
    for value in graph.inputs:
        name, declared = value.name, tuple(graph.declared.get(value.name, value.shape or ()))
        if value.dtype.kind in "iub" and declared in ((), (1,)) and name not in given:
            option = f"--set {shlex.quote(name + '=VALUE')}"
            text = f"'{name}' is one {value.dtype}: if it selects a variant, fix it with {option}"
            yield Note(text, option if helps else "")
        elif name in shapes and any(isinstance(p, Misfit) for p in problems):
            option = f"--shape {shlex.quote(shape_word(name, shapes[name]))}"
            yield Note(f"the model can't compute with {option}: another size may fit")
        elif name not in shapes and Sym.TIME in guessed.get(name, ()):
            open_dims = ["N" if isinstance(d, str) or d == Sym.TIME else d for d in declared]
            likely = [1 if d is Sym.BATCH else "N" if d is Sym.TIME else d for d in guessed[name]]
            text = (
                f"'{name}' is declared as {dims_of_inputs.show(declared)}: if not all of it is time and batch, "
                f"say so with --shape {shape_word(name, open_dims)}, each N a number, T (time) or B (batch)"
            )
            yield Note(text, f"--shape {shlex.quote(shape_word(name, likely))}" if helps else "")


def _unknown(graph: Graph | None) -> int:
    return 0 if graph is None else sum(1 for v in graph.values.values() if v.shape is None)


def _attempt(
    graph: Graph, given: Mapping[str, Array], shapes: Mapping[str, tuple[int | str, ...]], batch: int | None
) -> tuple[Graph | None, list[Problem]]:
    found = dims_of_inputs.assign(graph, shapes, batch, given)
    if found.problems:
        return None, found.problems
    evaluation, scope = _evaluate(graph, found, given, probe.PROBES)
    if evaluation.failed and found.uses(Sym.TIME):
        evaluation, scope = _evaluate(graph, found, given, probe.LONG_PROBES)
    finisher = _Finisher(evaluation)
    result = finisher.graph(graph, scope, given)
    result.notes = [*graph.notes, *found.notes, *evaluation.notes, *finisher.notes]
    failed = evaluation.failed
    if any(p.op == "If" for p in evaluation.problems):
        failed = []  # what comes behind a branch that was not taken fails for want of it
    problems = [p for p in (*evaluation.problems, *failed) if p.node in finisher.needed]
    problems += finisher.problems
    if not problems and any(n.op == "If" for n in evaluation.nodes):
        problems = [*evaluation.problems, *evaluation.failed]  # why its condition is not known
    try:
        fuse.fuse(result)
    except Exception:  # rewriting relies on operators whose inputs fit them; where they do not, the problems say so
        if not problems:
            raise
        return result, problems
    already = {p.node for p in problems}
    problems += [p for p in support.check(result) if p.node not in already]
    return result, problems


def _evaluate(
    graph: Graph, found: dims_of_inputs.InputDims, given: Mapping[str, Array], probes: Sequence[tuple[int, int]]
) -> tuple[probe.Evaluation, dict[str, str]]:
    chosen = probe.choose_probes(probes, found.uses(Sym.TIME), found.uses(Sym.BATCH))
    evaluation = probe.Evaluation(chosen)
    lengths = {n.inputs[4] for n in graph.nodes if n.op in RECURRENT and len(n.inputs) > 4}
    for value in graph.inputs:
        if value.name in given:
            array = given[value.name].astype(value.dtype)
            rank = len(graph.declared.get(value.name, ()))
            evaluation.define_constant(value.name, array.reshape([1] * rank) if array.size == 1 else array)
        else:
            evaluation.define_input(value.name, found.shapes[value.name], value.dtype, value.name in lengths)
    scope: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a single step may leave nothing to take the mean of
        evaluation.run(graph, scope)
    return evaluation, scope


class _Finisher:
    """From what the probes showed to a graph with attributes, shapes and no shape arithmetic."""

    def __init__(self, evaluation: probe.Evaluation) -> None:
        self.e = evaluation
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.nodes: list[Node] = []
        self.needed: set[str] = set()  # names of the nodes that the outputs depend on
        self._expanded: dict[str, str] = {}

    def graph(self, raw: Graph, scope: Mapping[str, str], given: Mapping[str, Array]) -> Graph:
        """The finished graph; problems are collected."""
        outputs = [(v, scope.get(v.name, v.name)) for v in raw.outputs]
        needed = self._needed([name for _, name in outputs])
        for node in self.e.nodes:
            if id(node) in needed and any(o in self.e.data for o in node.outputs):
                self._node(node)
        outputs = [(v, self._data(name, Node("output", v.name, [], []))) for v, name in outputs]
        result = Graph(raw.name, opset=raw.opset, producer=raw.producer, nodes=self.nodes)
        result.quantized, result.rounds_activations = raw.quantized, raw.rounds_activations
        result.constants = self.e.constants
        for value in raw.inputs:
            if value.name not in given:
                result.inputs.append(self._value(value.name, self._input_dtype(value)))
        for value, name in outputs:
            dtype = self._value(name).dtype
            if dtype.kind in "iub" and dtype != np.int32:
                kind = "int32 (0 or 1)" if dtype.kind == "b" else "int32"
                self.notes.append(Note(f"output '{value.name}' is {dtype} in the original, {kind} here", fact=True))
            shape = self.e.shape(name)
            result.outputs.append(Value(value.name, dtype, shape))
            if (shape is None or any(isinstance(d, Size) for d in shape)) and self.e.known(name):
                shown = [list(a.shape) for _, a in self.e.known(name)]
                reason = f"its size is neither a number, time nor batch: {shown} at (time, batch) {self.e.probes}"
                self.problems.append(Problem(value.name, "output", reason))
        names = {n for node in self.nodes for n in (*node.inputs, *node.outputs) if n and n not in self.e.constants}
        result.values = {n: self._value(n) for n in sorted(names | {v.name for v in result.inputs})}
        for value in result.inputs:
            result.values[value.name] = value
        fuse.bind_outputs(result, [name for _, name in outputs])
        return result

    def _needed(self, outputs: list[str]) -> set[int]:
        """Identities of the nodes that the outputs depend on by data, not only by shape."""
        producers = {o: n for n in self.e.nodes for o in n.outputs if o}
        wanted, seen = list(outputs), set[int]()
        while wanted:
            node = producers.get(wanted.pop())
            if node is not None and id(node) not in seen:
                seen.add(id(node))
                self.needed.add(node.name)
                wanted += [n for n in node.inputs if n]
        return seen

    def _value(self, name: str, dtype: np.dtype[Any] | None = None) -> Value:
        known = self.e.known(name)
        kind = known[0][1].dtype if known else np.dtype(np.float32)
        return Value(name, dtype or np.dtype(np.float32 if kind.kind == "f" else kind), self.e.shape(name))

    def _input_dtype(self, value: Value) -> np.dtype[Any]:
        """Integers are int32 in the runtime; truth values are, too, but keep their type in the graph."""
        if value.dtype.kind == "b":
            self.notes.append(Note(f"input '{value.name}' is bool in the original, int32 (0 or 1) here", fact=True))
        if value.dtype.kind in "iu" and value.dtype != np.int32:
            self.notes.append(Note(f"input '{value.name}' is {value.dtype} in the original, int32 here", fact=True))
            return np.dtype(np.int32)
        return value.dtype

    def _problem(self, node: Node, reason: str, attribute: str = "") -> None:
        self.problems.append(Problem(node.name, node.op, reason, attribute))

    # ---- nodes ----

    def _node(self, node: Node) -> None:
        if not any(self.e.known(o) for o in node.outputs if o):
            node.op = support.UNKNOWN + node.op  # could not be evaluated; no rule may touch it
            self.nodes.append(node)
            return
        special = getattr(self, f"_{node.op.lower()}", None) if node.op in _WITH_PARAMETERS else None
        if special is not None:
            special(node)
        elif node.op.startswith("Reduce"):
            self._reduce(node)
        if node.op in RECURRENT:
            self._recurrent(node)
        rank = self._rank(node)
        axis = node.attrs.get("axis")
        if isinstance(axis, int) and axis < 0 and rank:
            node.attrs["axis"] = axis + rank
        node.inputs = [self._data(n, node) if n else "" for n in node.inputs]
        while node.inputs and not node.inputs[-1]:
            node.inputs.pop()
        self.nodes.append(node)

    def _rank(self, node: Node, i: int = 0) -> int:
        known = self.e.known(node.inputs[i])
        return known[0][1].ndim if known else 0

    def _data(self, name: str, node: Node) -> str:
        """An operand; one that depends on time or batch but not on data becomes an Expand of a constant."""
        if name in self.e.data or name in self.e.constants:
            return name
        if name not in self._expanded:
            shape, core = self.e.shape(name), self._core(name)
            if shape is None or core is None or any(isinstance(d, Size) and d.extra for d in shape):
                reason = f"its operand '{name}' depends on the number of time steps or the batch"
                self._problem(node, reason)
                return name
            output = self.e.fresh(f"{name}.expanded")
            self.e.values[output] = self.e.values[name]
            self.e.data.add(output)
            self.nodes += self._expanding(core, output, shape)
            self._expanded[name] = output
        return self._expanded[name]

    def _expanding(self, core: Array, output: str, shape: Shape) -> list[Node]:
        """Expand, by way of one axis for each symbol where an axis is a product of several."""
        apart, flat = list[Dim](), list[int]()
        for dim, number in zip(shape, core.shape, strict=True):
            atoms = [dim]
            if isinstance(dim, Size):
                atoms = [*[Sym.TIME] * dim.time, *[Sym.BATCH] * dim.batch, dim.factor]
            apart += atoms
            flat += [number] if len(atoms) == 1 else [1] * len(atoms)
        constant = self.e.add_constant(core.reshape(flat), f"{output}.value")
        if apart == list(shape):
            return [Node("Expand", output, [constant], [output], {"shape": apart})]
        between = self.e.fresh(f"{output}.apart")
        per_probe = [[{Sym.TIME: t, Sym.BATCH: b}.get(d, d) if isinstance(d, Sym) else d for d in apart]
                     for t, b in self.e.probes]  # fmt: skip
        self.e.values[between] = [np.broadcast_to(core.reshape(flat), [int(d) for d in dims]) for dims in per_probe]
        self.e.data.add(between)
        expand = Node("Expand", between, [constant], [between], {"shape": apart})
        return [expand, Node("Reshape", output, [between], [output], {"shape": reshape_to(shape)})]

    def _core(self, name: str) -> Array | None:
        """The constant that gives the value when it is broadcast; floats are float32."""
        shape = self.e.shape(name)
        if shape is None:
            return None
        cores: list[Array] = []
        for _, array in self.e.known(name):
            core = array
            for axis, dim in enumerate(shape):
                if isinstance(dim, SYMBOLIC):
                    first = core[(slice(None),) * axis + (slice(0, 1),)]
                    if not probe.same(np.broadcast_to(first, core.shape), core):
                        return None
                    core = first
            cores.append(core)
        if any(not probe.same(cores[0], c) for c in cores[1:]):
            return None
        return cores[0].astype(np.float32) if cores[0].dtype.kind == "f" else cores[0]

    # ---- parameters that become attributes ----

    def _vectors(self, node: Node, attribute: str, i: int) -> list[tuple[int, list[int]]] | None:
        """An attribute or input of integers, per probe; None if absent."""
        if node.attrs.get(attribute) is not None:
            numbers = [int(v) for v in np.asarray(node.attrs[attribute]).reshape(-1)]
            return [(p, numbers) for p in range(len(self.e.probes))]
        if i >= len(node.inputs) or not node.inputs[i]:
            return None
        if node.inputs[i] in self.e.data:
            self._problem(node, "depends on the data", attribute)
            return None
        return [(p, [int(v) for v in a.reshape(-1)]) for p, a in self.e.known(node.inputs[i])]

    def _fixed(self, node: Node, attribute: str, i: int) -> list[int] | None:
        """As `_vectors`, where it must be the same in every probe."""
        vectors = self._vectors(node, attribute, i)
        if not vectors:
            return None
        if any(v != vectors[0][1] for _, v in vectors):
            self._problem(node, "depends on the number of time steps or the batch", attribute)
            return None
        return vectors[0][1]

    def _scalar(self, node: Node, attribute: str, i: int) -> float | None:
        if node.attrs.get(attribute) is not None:
            return float(node.attrs[attribute])
        if i >= len(node.inputs) or not node.inputs[i]:
            return None
        constant = self.e.constant(node.inputs[i])
        if constant is None or constant.size != 1:
            self._problem(node, "is not a constant number", attribute)
            return None
        return float(constant.reshape(()))

    def _identity(self, node: Node) -> None:
        node.op, node.inputs, node.attrs = "Identity", node.inputs[:1], {}

    def _reshape(self, node: Node) -> None:
        """The output's shape is the parameter; a size that is no symbol may be left to be inferred, once."""
        sizes: tuple[Dim | None, ...] = self.e.dims(node.outputs[0]) or ()
        node.op, node.inputs = "Reshape", node.inputs[:1]
        if sum(d is None or isinstance(d, Size) for d in sizes) > 1:
            node.attrs = {"shape": []}
            self._problem(node, "more than one dimension is neither a number, time nor batch", "shape")
            return
        node.attrs = {"shape": [-1 if d is None or isinstance(d, Size) else d for d in sizes]}

    _flatten = _reshape

    def _expand(self, node: Node) -> None:
        shape = self.e.shape(node.outputs[0])
        if shape is None or any(isinstance(d, Size) for d in shape):
            self._problem(node, "is neither numbers, time nor batch", "shape")
        elif shape == self.e.shape(node.inputs[0]):
            self._identity(node)
            return
        node.inputs, node.attrs = node.inputs[:1], {"shape": list(shape or ())}

    def _squeeze(self, node: Node) -> None:
        axes = self._vectors(node, "axes", 1)
        rank = self._rank(node)
        if axes:
            chosen = {tuple(sorted(a % rank for a in v)) for _, v in axes} if rank else {()}
        else:
            chosen = {tuple(i for i, d in enumerate(a.shape) if d == 1) for _, a in self.e.known(node.inputs[0])}
        if len(chosen) != 1:
            self._problem(node, "which axes have size 1 depends on the number of time steps or the batch", "axes")
        node.inputs, node.attrs = node.inputs[:1], {"axes": list(min(chosen))}
        if not min(chosen):
            self._identity(node)

    def _unsqueeze(self, node: Node) -> None:
        axes = self._fixed(node, "axes", 1) or []
        rank = self._rank(node) + len(axes)
        node.inputs, node.attrs = node.inputs[:1], {"axes": sorted(a % rank for a in axes)}

    def _reduce(self, node: Node) -> None:
        axes = self._fixed(node, "axes", 1)
        rank = self._rank(node)
        if not axes and node.attrs.get("noop_with_empty_axes", 0):
            self._identity(node)
            return
        full = sorted(a % rank for a in axes) if axes else list(range(rank))
        node.inputs, node.attrs = node.inputs[:1], {"axes": full, "keepdims": int(node.attrs.get("keepdims", 1))}

    def _transpose(self, node: Node) -> None:
        rank = self._rank(node)
        perm = node.attrs.get("perm") or range(rank - 1, -1, -1)
        node.attrs = {"perm": [int(p) % max(rank, 1) for p in perm]}

    def _clip(self, node: Node) -> None:
        low, high = self._scalar(node, "min", 1), self._scalar(node, "max", 2)
        node.inputs = node.inputs[:1]
        node.attrs = {k: v for k, v in (("min", low), ("max", high)) if v is not None}

    def _pad(self, node: Node) -> None:
        rank = self._rank(node)
        pads, axes = self._fixed(node, "pads", 1), self._fixed(node, "axes", 3)
        mode = str(node.attrs.get("mode", "constant"))
        value = self._scalar(node, "value", 2) if mode == "constant" else None
        node.inputs = node.inputs[:1]
        full = [0] * (2 * rank)
        chosen = range(rank) if axes is None else [a % rank for a in axes]
        if pads is None or len(pads) != 2 * len(chosen):
            self._problem(node, "is not constant", "pads")
            pads = [0] * (2 * len(chosen))
        for i, axis in enumerate(chosen):
            full[axis], full[axis + rank] = pads[i], pads[i + len(chosen)]
        node.attrs = {"mode": mode, "pads": full, "value": 0.0 if value is None else value}
        if not any(full):
            self._identity(node)

    def _slice(self, node: Node) -> None:
        starts, ends = self._vectors(node, "starts", 1), self._vectors(node, "ends", 2)
        if starts is None or ends is None:
            return
        count = len(starts[0][1])
        axes = self._fixed(node, "axes", 3) or list(range(count))
        steps = self._fixed(node, "steps", 4) or [1] * count
        rank = self._rank(node)
        groups = []
        for k, (axis, step) in enumerate(zip(axes, steps, strict=True)):
            sizes = {p: a.shape[axis % rank] for p, a in self.e.known(node.inputs[0])}
            seen = [(sizes[p], v[k], w[k]) for (p, v), (_, w) in zip(starts, ends, strict=True) if p in sizes]
            window = _window(seen, step)
            if window is None:
                self._problem(node, "depends on the number of time steps or the batch", "starts, ends")
            elif window != (0, INT32_MAX, 1):
                groups.append((axis % rank, *window))
        node.inputs = node.inputs[:1]
        node.attrs = {
            "axes": [g[0] for g in groups],
            "starts": [g[1] for g in groups],
            "ends": [g[2] for g in groups],
            "steps": [g[3] for g in groups],
        }
        if not groups:
            self._identity(node)

    def _gather(self, node: Node) -> None:
        """Indices: int32 constants, or data."""
        indices = node.inputs[1]
        if indices in self.e.data:
            return
        constant = self.e.constant(indices)
        if constant is None:
            constant = self._from_the_end(node, int(node.attrs.get("axis", 0)))
        if constant is None:
            self._problem(node, "depend on the number of time steps or the batch", "indices")
            return
        node.inputs[1] = self.e.add_constant(constant.astype(np.int32), f"{indices}.indices")

    def _from_the_end(self, node: Node, axis: int) -> Array | None:
        """Indices that are the same in every probe once they count from the end of the axis."""
        sizes = {p: a.shape[axis] for p, a in self.e.known(node.inputs[0])}
        seen = [a - sizes[p] for p, a in self.e.known(node.inputs[1]) if p in sizes]
        same = seen and all(np.array_equal(seen[0], s) for s in seen[1:])
        return seen[0] if same and (seen[0] < 0).all() else None

    def _cast(self, node: Node) -> None:
        source, target = self.e.known(node.inputs[0]), self.e.known(node.outputs[0])
        if source and target and source[0][1].dtype == target[0][1].dtype:
            self._identity(node)

    def _recurrent(self, node: Node) -> None:
        """Zero initial states are no inputs; hidden_size is always there."""
        recurrence = self.e.known(node.inputs[2]) if len(node.inputs) > 2 else []
        if recurrence:
            node.attrs["hidden_size"] = int(recurrence[0][1].shape[-1])
        for i in (3, 5, 6, 7):
            name = node.inputs[i] if i < len(node.inputs) else ""
            arrays = self.e.known(name)
            if name and name not in self.e.data and arrays and not any(a.any() for _, a in arrays):
                node.inputs[i] = ""


_WITH_PARAMETERS = frozenset(
    [
        "Cast",
        "Clip",
        "Expand",
        "Flatten",
        "Gather",
        "Pad",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)


def _window(seen: list[tuple[int, int, int]], step: int) -> tuple[int, int, int] | None:
    """(start, end, step) that selects the same as each (size, start, end) seen, for any size; None if there is none."""
    starts, ends = {s for _, s, _ in seen}, {e for _, _, e in seen}
    if step < 0:
        same = len(starts) == 1 and len(ends) == 1
        return (_int32(min(starts)), _int32(min(ends)), step) if same else None
    begin = [_clamp(s, n) for n, s, _ in seen]
    finish = [_clamp(e, n) for n, _, e in seen]
    sizes = [n for n, _, _ in seen]
    start = _one_number(begin, sizes, starts)
    end = INT32_MAX if finish == sizes else _one_number(finish, sizes, ends)
    if start is None or end is None:
        return None
    return (0 if all(b == 0 for b in begin) and start <= 0 else start), end, step


def _one_number(seen: list[int], sizes: list[int], original: set[int]) -> int | None:
    if len(original) == 1:
        return _int32(next(iter(original)))
    from_end = {v - n for v, n in zip(seen, sizes, strict=True)}
    if len(from_end) == 1 and min(from_end) < 0:
        return min(from_end)
    return seen[0] if len(set(seen)) == 1 else None


def _clamp(v: int, n: int) -> int:
    return min(max(v + n if v < 0 else v, 0), n)


def _int32(v: int) -> int:
    return min(max(v, INT32_MIN), INT32_MAX)
