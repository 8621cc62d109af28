"""Does a converted model compute what the original does? Against onnxruntime, torch and float64, step by step.

Tolerances
    All: the graph that was packed, in float64, stays within `TOLERANCE` of every original in scaled error
    |d| / max(1, |reference|). Where it does not, float32 rounding may be why (the original is f32): then a float32
    evaluation of the graph must be off by at least a tenth as much, and float64 decides. Otherwise the graph is not
    the original any more, and verification fails even if rnnrt runs that graph perfectly.
    f32: rnnrt stays within the same tolerance of every original and of float64; where rounding keeps an original from
    it, rnnrt may be as far from float64 as that original is. Some models amplify rounding (large weights in front of
    saturating gates): there no float32 program is within the tolerance. Where a plain float32 evaluation of the graph
    shows this, rnnrt may be `ROUNDING` times as far from float64 as that one, but never `AMPLIFIED` tolerances.
    f16, int8, int4: the SQNR of every output reaches `THRESHOLD_DB`. Trained models reach 50 to 76 dB with f16, 30 to
    45 dB with int8, 11 to 15 dB with int4 over random input (23 to 28 dB over speech, see docs/cli.md); gates or rows
    in a wrong order give less than 5 dB, a matrix half as large again as it should be less than 10.
    Originals that quantize activations themselves: the SQNR against them, too. onnxruntime's DynamicQuantizeLSTM takes
    one scale for all time steps of a call, so that it is not even near itself fed step by step.
To the bit: chunked = whole, stepped = whole, every instruction set = scalar, a batch = its signals alone.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import ir, quantize, read, reference, support
from .comparison import Comparison, compare, finite, same_bits, scaled
from .original import OnnxModel, run_module

Array: TypeAlias = "npt.NDArray[Any]"
Arrays: TypeAlias = "dict[str, npt.NDArray[Any]]"

SCHEMA = "rnnrt.verification/1"
TOLERANCE = 1e-5
THRESHOLD_DB = {"f16": 40.0, "int8": 20.0, "int4": 10.0}  # least SQNR of an output, by the coarsest weights in the file
ROUNDING = 10.0  # two float32 evaluations in different order may be this many times as far from float64 as each other
AMPLIFIED = 100.0  # tolerances: where rounding alone does more, the comparison tells nothing and fails
FRAMES = 100  # time steps of random input ...
NUMBERS, FEWEST = 500_000, 10  # ... and fewer, down to these, where the inputs would have more numbers in all


@dataclass
class Check:
    """Something that must hold to the bit."""

    name: str
    passed: bool
    detail: str = ""


@dataclass
class Report:
    """What was compared and what came out. Falsy when something failed."""

    precision: str
    seed: int
    frames: int
    batch: int
    inputs: str
    tolerance: float
    threshold_db: float | None  # f32: none
    size: int
    streamable: bool
    comparisons: list[Comparison] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Nothing failed."""
        return not self.failed

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, keys of schema `SCHEMA`; infinite decibels are null."""
        made = {k: finite(v) for k, v in vars(self).items()}
        made["comparisons"] = [c.to_dict() for c in self.comparisons]
        made["checks"] = [asdict(c) for c in self.checks]
        return {"schema": SCHEMA, "passed": self.passed, **made}

    def __bool__(self) -> bool:
        return self.passed


@dataclass
class _Case:
    """One set of inputs. Where the graph has no time axis, every array has one in front: frame after frame."""

    graph: ir.Graph
    feeds: Arrays
    frames: int
    batch: int

    def axis(self, value: ir.Value) -> int | None:
        if not self.graph.has_time():
            return 0
        shape = value.shape or ()
        return shape.index(ir.Sym.TIME) if ir.Sym.TIME in shape else None

    def cut(self, start: int, end: int, squeeze: bool = False) -> Arrays:
        """Steps [start, end); squeeze: one step without its time axis."""
        found = {}
        for value in self.graph.inputs:
            array, axis = self.feeds[value.name], self.axis(value)
            if axis is not None:
                array = np.take(array, start, axis) if squeeze else array[(slice(None),) * axis + (slice(start, end),)]
            found[value.name] = np.require(array, requirements="C")  # not ascontiguousarray: it makes [] into [1]
        return found

    def join(self, pieces: Sequence[Arrays], stack: bool = False) -> Arrays:
        """Outputs of consecutive steps put together; an output without a time axis is the last piece's."""
        found = {}
        for value in self.graph.outputs:
            axis = self.axis(value)
            parts = [p[value.name] for p in pieces]
            if axis is None:
                found[value.name] = parts[-1]
            else:
                found[value.name] = np.stack(parts, axis) if stack else np.concatenate(parts, axis)
        return found


def _shape(graph: ir.Graph, value: ir.Value, frames: int, batch: int) -> tuple[int, ...]:
    symbols = {int(ir.Sym.TIME): frames, int(ir.Sym.BATCH): batch}
    shape = tuple(symbols.get(int(d), int(d)) for d in value.shape or ())
    return shape if graph.has_time() else (frames, *shape)


def _step_size(graph: ir.Graph, batch: int) -> int:
    """How many numbers one time step reads, all inputs together."""
    shapes = [_shape(graph, v, 1, batch) for v in graph.inputs]
    return sum(math.prod(shape) for shape in shapes)


def _random_input(
    graph: ir.Graph, value: ir.Value, shape: tuple[int, ...], frames: int, rng: np.random.Generator
) -> Array:
    """Half of the steps normal, half uniform in [-1, 1]; integers: lengths, or indices that exist, or -8 to 8."""
    if np.dtype(value.dtype).kind == "f":
        mixed = rng.standard_normal(shape)
        flat = rng.random(shape) < 0.5
        return np.where(flat, rng.uniform(-1, 1, shape), mixed).astype(np.float32)
    if np.dtype(value.dtype).kind == "b":
        return rng.random(shape) < 0.5
    ends, names = [], [value.name]
    for name in names:  # it grows: what the input is merely moved or cast to
        for node in graph.consumers().get(name, []):
            if node.op in support.RECURRENT and node.inputs[4:5] == [name]:
                return np.full(shape, frames, value.dtype)
            if node.op == "Gather" and node.inputs[1] == name:
                size = (
                    graph.constants[node.inputs[0]].shape
                    if node.inputs[0] in graph.constants
                    else graph.values[node.inputs[0]].shape or ()
                )[int(node.attrs.get("axis", 0))]
                ends.append(1 if isinstance(size, ir.Sym) else int(size))
            elif node.op in support.MOVES or node.op == "Cast":
                names += [n for n in node.outputs if n and n not in names]
    return rng.integers(0 if ends else -8, min(ends, default=9), shape).astype(value.dtype)


def _case(
    graph: ir.Graph, frames: int, batch: int, rng: np.random.Generator, data: Mapping[str, npt.ArrayLike] | None
) -> _Case:
    """Inputs: those given, else random ones.

    Raises
    ------
    ValueError
        Data that do not fit the graph's inputs.
    """
    has_batch = any(ir.Sym.BATCH in (v.shape or ()) for v in graph.inputs)
    batch = batch if has_batch else 1
    if data is None:
        shapes = {v.name: _shape(graph, v, frames, batch) for v in graph.inputs}
        feeds = {v.name: _random_input(graph, v, shapes[v.name], frames, rng) for v in graph.inputs}
        return _Case(graph, feeds, frames, batch)
    feeds = {v.name: np.asarray(data[v.name], v.dtype) for v in graph.inputs if v.name in data}
    if missing := [v.name for v in graph.inputs if v.name not in data]:
        raise ValueError(f"--data: nothing for the input {' and '.join(missing)}")
    if not graph.has_time():
        counts = {len(a) for a in feeds.values()}
        symbols = reference.bind_symbols(graph, {k: a[0] for k, a in feeds.items()})
        if len(counts) != 1:
            raise ValueError(f"--data: inputs with {sorted(counts)} frames, one number is needed")
        return _Case(graph, feeds, counts.pop(), symbols[int(ir.Sym.BATCH)])
    symbols = reference.bind_symbols(graph, feeds)
    return _Case(graph, feeds, symbols[int(ir.Sym.TIME)], symbols[int(ir.Sym.BATCH)])


def _named(graph: ir.Graph, result: Any) -> Arrays:
    """What rnnrt returns, by output name; copied, since streams reuse memory."""
    if isinstance(result, Mapping):
        return {name: np.array(array) for name, array in result.items()}
    return {graph.outputs[0].name: np.array(result)}


def _whole(model: Any, case: _Case) -> Arrays:
    """All steps in one call from the initial state."""
    if case.graph.has_time():
        return _named(case.graph, model(case.feeds))
    if case.graph.streamable:
        return _named(case.graph, model.stream(case.batch).run(case.feeds))
    frames = [_named(case.graph, model(case.cut(i, i + 1, squeeze=True))) for i in range(case.frames)]
    return case.join(frames, stack=True)


def _chunked(model: Any, case: _Case, sizes: Sequence[int]) -> Arrays:
    stream, pieces, at = model.stream(case.batch), [], 0
    for size in sizes:
        pieces.append(_named(case.graph, stream.run(case.cut(at, at + size))))
        at += size
    return case.join(pieces)


def _stepped(model: Any, case: _Case) -> Arrays:
    stream = model.stream(case.batch)
    pieces = [_named(case.graph, stream.step(case.cut(i, i + 1, squeeze=True))) for i in range(case.frames)]
    return case.join(pieces, stack=True)


def _chunks(frames: int, rng: np.random.Generator) -> list[int]:
    """Uneven sizes that add up to frames, 1 among them."""
    sizes, rest = [1], frames - 1
    while rest > 0:
        sizes.append(min(rest, int(rng.integers(1, max(2, frames // 4) + 1))))
        rest -= sizes[-1]
    return sizes


def _reference(case: _Case, dtype: npt.DTypeLike) -> Arrays:
    if case.graph.has_time():
        return reference.run(case.graph, case.feeds, dtype=dtype)[0]
    pieces, states = [], None
    for i in range(case.frames):
        outputs, after = reference.run(case.graph, case.cut(i, i + 1, squeeze=True), states, dtype)
        states = after if case.graph.streamable else None
        pieces.append(outputs)
    return case.join(pieces, stack=True)


def _onnx_whole(original: OnnxModel, case: _Case) -> Arrays:
    return original.run(case.feeds)


def _onnx_steps(original: OnnxModel, case: _Case) -> Arrays:
    """Step by step, feeding the original's state outputs back into its state inputs."""
    has_time, pieces, states = case.graph.has_time(), [], None
    for i in range(case.frames):
        outputs = original.run(case.cut(i, i + 1, squeeze=not has_time), states)
        states = original.advance(outputs) if case.graph.streamable else None
        pieces.append(outputs)
    return case.join(pieces, stack=not has_time)


def _originals(
    case: _Case, onnx_model: Any, set_values: Mapping[str, npt.ArrayLike], module: Any, report: Report
) -> Iterator[tuple[str, Arrays]]:
    """Every way in which the original can be run, with its outputs."""
    graph = case.graph
    if onnx_model is not None:
        original = OnnxModel(onnx_model, graph, set_values)
        report.versions["onnxruntime"] = original.version
        if graph.has_time():
            whole = _onnx_whole(original, case)
            if not original.optimized:
                report.notes.append("onnxruntime runs it with its optimizer off only: the file declares wrong shapes")
            yield "onnxruntime", whole
        if original.steps or not (graph.has_time() or graph.states):
            try:
                outputs = _onnx_steps(original, case)
            except Exception as error:  # onnxruntime has no public base class for its errors
                report.notes.append(f"onnxruntime does not run it step by step: {str(error).splitlines()[0][:200]}")
            else:
                yield "onnxruntime (stepping)" if graph.has_time() else "onnxruntime", outputs
        elif not graph.has_time():
            report.notes.append("onnxruntime can't carry the state that the graph keeps inside; float64 decides alone")
    if module is not None:
        report.versions["torch"] = str(sys.modules["torch"].__version__)
        if graph.has_time():
            yield "torch", run_module(module, graph, case.feeds)


def _judge(report: Report, name: str, distance: Mapping[str, float], own: float, rounding: Callable[[], float]) -> None:
    """One output: did it pass? Adds to report.failed and report.notes.

    distance: scaled error of float64 against each original; own: of rnnrt against float64; rounding: of a plain
    float32 evaluation against float64.
    """
    bound = report.tolerance
    for c in report.comparisons:
        if c.output != name or c.against == "float64" or (theirs := distance[c.against]) <= report.tolerance:
            continue
        if theirs > ROUNDING * (noise := rounding()):
            report.failed.append(
                f"output '{name}': the converted graph in float64 is {theirs:.3g} from {c.against}, "
                f"{report.tolerance:g} allowed, "
                f"and float32 rounding explains only {noise:.3g}; first at step {c.first_diverging_step}"
            )
        else:
            bound = max(bound, theirs)
            report.notes.append(
                f"output '{name}': {c.against} is {theirs:.3g} from float64 by rounding: float64 decides"
            )
    rounded = report.precision == "f32" and not own <= bound and _only_rounding(report, name, own, bound, rounding())
    for c in report.comparisons:
        if c.output != name or c.max_scaled_error <= report.tolerance:
            continue
        if report.threshold_db is not None and not c.sqnr_db >= report.threshold_db:
            report.failed.append(
                f"output '{name}': SQNR {c.sqnr_db:.1f} dB against {c.against}, {report.threshold_db:g} dB needed"
            )
        elif report.precision != "f32" or c.against == "float64" or rounded:  # rounded: both are that near to float64
            continue
        elif distance[c.against] <= report.tolerance:
            report.failed.append(
                f"output '{name}': scaled error {c.max_scaled_error:.3g} against {c.against} from step "
                f"{c.first_diverging_step} on, {report.tolerance:g} allowed"
            )


def _only_rounding(report: Report, name: str, own: float, bound: float, noise: float) -> bool:
    """Is rnnrt beyond the bound only because the model amplifies rounding? noise: what float32 alone does to it."""
    allowed = min(ROUNDING * noise, AMPLIFIED * report.tolerance)
    amplifies = ROUNDING * noise > report.tolerance
    if bound < own <= allowed:
        report.notes.append(
            f"output '{name}': the model amplifies rounding on this input: plain float32 is {noise:.3g} from float64, "
            f"rnnrt {own:.3g}, {allowed:.3g} allowed"
        )
        return True
    reason = f"output '{name}': scaled error {own:.3g} against float64, {bound:.3g} allowed"
    if amplifies:
        reason += (
            f"; the model amplifies rounding on this input, plain float32 is off by {noise:.3g}: verify with real "
            f"input (--data), or with another --seed"
        )
    report.failed.append(reason)
    return False


def _judge_rounded(report: Report, name: str, own: float) -> None:
    """As `_judge`, where the original quantizes activations."""
    threshold = THRESHOLD_DB["int8"] if report.threshold_db is None else report.threshold_db
    if report.precision == "f32" and not own <= report.tolerance:
        report.failed.append(f"output '{name}': scaled error {own:.3g} against float64, {report.tolerance:g} allowed")
    for c in report.comparisons:
        if c.output != name or (report.precision == "f32" and c.against == "float64"):
            continue
        if c.max_scaled_error > report.tolerance and not c.sqnr_db >= threshold:
            report.failed.append(
                f"output '{name}': SQNR {c.sqnr_db:.1f} dB against {c.against}, {threshold:g} dB needed"
            )


def _compare_all(report: Report, case: _Case, found: Arrays, originals: Mapping[str, Arrays], exact: Arrays) -> None:
    rounded = cache(lambda: _reference(case, np.float32))
    # a step of an int8 model counts as diverging when it is off by more than the threshold means: 10^(-20/20) = 0.1
    limit = report.tolerance if report.threshold_db is None else 10 ** (-report.threshold_db / 20)
    for value in case.graph.outputs:
        name = value.name
        for against, outputs in {**originals, "float64": exact}.items():
            if name not in outputs:
                report.notes.append(f"output '{name}': {against} has no output of this name")
                continue
            try:
                c = compare(name, against, found[name], outputs[name], case.axis(value), limit)
            except ValueError as error:
                report.failed.append(str(error))
                return
            report.comparisons.append(c)
        distance = {k: float(scaled(exact[name], y[name]).max(initial=0.0)) for k, y in originals.items() if name in y}
        own = float(scaled(found[name], exact[name]).max(initial=0.0))
        if case.graph.rounds_activations:
            _judge_rounded(report, name, own)
        else:
            _judge(report, name, distance, own, partial(_rounding, name, rounded, exact))


def _rounding(name: str, rounded: Callable[[], Arrays], exact: Arrays) -> float:
    """Scaled error of a float32 evaluation of the graph."""
    return float(scaled(rounded()[name], exact[name]).max(initial=0.0))


def _equal(report: Report, name: str, case: _Case, found: Arrays, expected: Arrays) -> None:
    """Record a check that outputs are equal to the bit."""
    details = []
    for value in case.graph.outputs:
        a, b = found[value.name], expected[value.name]
        if not same_bits(a, b):
            c = compare(value.name, name, a, b, case.axis(value), 0.0) if a.shape == b.shape else None
            where = (
                f"from step {c.first_diverging_step} on, by up to {c.max_error:.3g}" if c else f"{a.shape}, {b.shape}"
            )
            details.append(f"output '{value.name}' differs {where}")
    report.checks.append(Check(name, not details, "; ".join(details)))
    if details:
        report.failed.append(f"{name}: {'; '.join(details)}")


def _check_bits(report: Report, blob: bytes, case: _Case, whole: Arrays, rng: np.random.Generator) -> None:
    import rnnrt  # rnnrt is above converters; only verification runs models

    model = rnnrt.load(blob)
    if case.graph.streamable and case.frames:
        sizes = _chunks(case.frames, rng)
        _equal(report, "chunked = whole", case, _chunked(model, case, sizes), whole)
        _equal(report, "stepped = whole", case, _stepped(model, case), whole)
    scalar = _whole(rnnrt.load(blob, isa="scalar"), case)
    for isa in rnnrt.isas():
        if isa != "scalar":
            _equal(report, f"{isa} = scalar", case, _whole(rnnrt.load(blob, isa=isa), case), scalar)
    _check_batch(report, model, case, rng)


def _check_batch(report: Report, model: Any, case: _Case, rng: np.random.Generator) -> None:
    """Three signals together give each the bits that it gives alone."""
    graph = case.graph
    if not all(ir.Sym.BATCH in (v.shape or ()) for v in (*graph.inputs, *graph.outputs)):
        return
    frames = min(case.frames, 10)
    together = _case(graph, frames, 3, rng, None)
    outputs = _whole(model, together)
    offset = 0 if graph.has_time() else 1
    axes = {v.name: (v.shape or ()).index(ir.Sym.BATCH) + offset for v in (*graph.inputs, *graph.outputs)}
    alone = []
    for i in range(3):
        one = {n: np.ascontiguousarray(np.take(a, [i], axes[n])) for n, a in together.feeds.items()}
        alone.append(_whole(model, _Case(graph, one, frames, 1)))
    joined = {v.name: np.concatenate([a[v.name] for a in alone], axes[v.name]) for v in graph.outputs}
    _equal(report, "batch = signals alone", together, outputs, joined)


def verify(
    graph: ir.Graph,
    blob: bytes,
    onnx_model: bytes | str | os.PathLike[str] | None = None,
    *,
    set_values: Mapping[str, npt.ArrayLike] | None = None,
    batch: int | None = None,
    seed: int = 0,
    frames: int | None = None,
    data: Mapping[str, npt.ArrayLike] | None = None,
    module: Any = None,
    tolerance: float = TOLERANCE,
    threshold_db: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Compare a converted model with its original.

    Parameters
    ----------
    graph
        The float graph that was packed: the meaning of the model, states included.
    blob
        The .rnnrt file's bytes.
    onnx_model
        The original, path or bytes; None: float64 (and `module`) decide.
    set_values
        Inputs of the original that were made constants.
    batch
        Signals at once where the graph leaves it open. Default 1.
    seed
        Of the random inputs and of the chunk sizes.
    frames
        Time steps of random input. Default: `FRAMES`, fewer where one step is large (see `NUMBERS`): a note says so.
    data
        Real input by name, in the inputs' shapes (where the graph has no time axis: frames stacked in front). Default:
        random, half normal, half uniform in [-1, 1].
    module
        The torch module it was made from.
    tolerance
        Of the scaled error |d| / max(1, |reference|), f32.
    threshold_db
        Least SQNR of an output where weights are quantized. Default: `THRESHOLD_DB` of the coarsest ones.
    progress
        Is told what is being done.

    Returns
    -------
    Report
        ``failed`` lists the reasons; empty when all is well.

    Raises
    ------
    ValueError
        `data` do not fit the inputs.
    ModelFormatError
        The blob is not a model.
    """
    import rnnrt  # rnnrt is above converters; only verification runs models

    say = progress or (lambda text: None)
    rng = np.random.default_rng(seed)
    size = _step_size(graph, batch or 1)
    usual = min(max(NUMBERS // max(size, 1), FEWEST), FRAMES)
    case = _case(graph, usual if frames is None else frames, batch or 1, rng, data)
    precision = quantize.WORDS[read.parse(blob).coarsest()]
    report = Report(
        precision=precision,
        seed=seed,
        frames=case.frames,
        batch=case.batch,
        inputs="random" if data is None else "given",
        tolerance=tolerance,
        threshold_db=threshold_db if threshold_db is not None and precision != "f32" else THRESHOLD_DB.get(precision),
        size=len(blob),
        streamable=graph.streamable,
        versions={"python": platform.python_version(), "numpy": np.__version__, "rnnrt": rnnrt.__version__},
    )
    if frames is None and data is None and usual < FRAMES:
        report.notes.append(f"{usual} time steps instead of {FRAMES}: the input of each one is {size} numbers")
    say("running rnnrt")
    found = _whole(rnnrt.load(blob), case)
    say("running float64")
    exact = _reference(case, np.float64)
    say("running the original")
    originals = dict(_originals(case, onnx_model, set_values or {}, module, report))
    _compare_all(report, case, found, originals, exact)
    say("comparing bits")
    _check_bits(report, blob, case, found, rng)
    return report
