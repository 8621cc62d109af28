"""The whole way: a trained model in, a verified .rnnrt file out, or an exception and no file."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .._rnnrt import __version__
from ..errors import ModelFormatError, UnsupportedError, VerificationError
from . import channels_last, exporter_faults, ir, quantize, simplify, states
from .architecture import Description, read_description
from .architecture import load as load_checkpoint
from .checkpoint import SUFFIXES
from .dims import show
from .pack import pack
from .read import parse
from .told import Told, merged, remember
from .verify import TOLERANCE, Report
from .verify import verify as verify_blob
from .write import require_folder, require_other_file, save, to_bytes

Pairs: TypeAlias = "Sequence[tuple[str, str]]"
Shapes: TypeAlias = "Mapping[str, tuple[int | str, ...]]"
Data: TypeAlias = "Mapping[str, npt.ArrayLike] | npt.ArrayLike"
Progress: TypeAlias = "Callable[[str], None]"
Architecture: TypeAlias = "Description | str | os.PathLike[str] | None"

SCHEMA = "rnnrt.conversion/1"


@dataclass
class ConversionReport:
    """What `convert` made.

    Attributes
    ----------
    output
        The file, None where nothing was to be written.
    size
        Its bytes.
    layers
        Per layer: node, op, precision, reason, rows, cols, bytes_before, bytes_after, weight_sqnr_db.
    inputs, outputs, states
        Name -> shape with "T" and "B".
    state_sources
        Name of a state -> what of the original it was.
    notes
        What was assumed on the way.
    verification
        None where it was not asked for.
    """

    source: str
    output: str | None
    quantize: str
    size: int
    layers: list[dict[str, Any]]
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    states: dict[str, list[int | str]]
    state_sources: dict[str, str]
    streamable: bool
    not_streamable_because: str
    notes: list[str] = field(default_factory=list)
    verification: Report | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, keys of schema `SCHEMA`."""
        made = dict(vars(self))
        made["verification"] = self.verification.to_dict() if self.verification else None
        return {"schema": SCHEMA, **made}


def prepare(
    source: Any,
    *,
    set_values: Mapping[str, npt.ArrayLike] | None = None,
    shapes: Shapes | None = None,
    batch: int | None = None,
    state_pairs: Pairs | None = None,
    linear_before_reset: int | None = None,
    prefix: str = "",
    cell: str | None = None,
    architecture: Architecture = None,
    example: Any = None,
) -> ir.Graph:
    """Read a model and bring it to the form that is packed: operators of the runtime, states lifted.

    Parameters
    ----------
    source
        Path of an .onnx file or its bytes; a torch module, a state_dict, or the path of a checkpoint.
    set_values
        Inputs that become constants, by name.
    shapes
        Shape of an input by name: numbers, "T", "B".
    batch
        A fixed batch size; None: any where the graph allows it.
    state_pairs
        (input, output) names that form state variables, beyond those that are found.
    linear_before_reset
        What every GRU of an .onnx file has, 0 or 1, whatever the file says: for files of a faulty exporter.
    prefix, cell, architecture
        Of a checkpoint: which tensors, which recurrent layer, or how the layers are connected; see `architecture.load`.
    example
        An input of a torch module, or a tuple of them: needed for modules other than recurrent and linear layers and
        activations in a row; see `from_torch.from_module`.

    Raises
    ------
    UnsupportedError
        All reasons at once, in ``problems``.
    ModelFormatError
        Not a model.
    OSError
        The file can't be read.
    """
    told = Told(set_values, shapes, batch, state_pairs, linear_before_reset, prefix, cell, architecture)
    return prepare_as(source, told, example)


def prepare_as(source: Any, told: Told, example: Any = None) -> ir.Graph:
    """`prepare`, with all that is told about the source in one."""
    graph = exporter_faults.check(_load(source, told, example), told.linear_before_reset)
    graph = simplify.simplify(graph, set_values=told.set_values, shapes=told.shapes, batch=told.batch)
    return channels_last.channels_last(states.lift(graph, dict(told.states) if told.states else None))


def _load(source: Any, told: Told, example: Any) -> ir.Graph:
    options = {"prefix": told.prefix or None, "cell": told.cell, "architecture": told.architecture}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if example is not None:
        if not hasattr(source, "state_dict"):
            raise ValueError("example: only a torch module can have this")
        from . import from_torch

        return from_torch.from_module(source, example)
    if is_checkpoint(source):
        return load_checkpoint(source, **given)
    if given:
        raise ValueError(f"{', '.join(f'--{name}' for name in given)}: only a checkpoint can have this")
    if isinstance(source, (bytes, bytearray, memoryview)):
        from . import from_onnx

        return from_onnx.load(bytes(source))
    if not isinstance(source, (str, os.PathLike)):
        from . import from_torch

        return from_torch.load(source)
    path = Path(source)
    if path.suffix.lower() == ".rnnrt":
        raise ModelFormatError(f"{path} is a converted model already")
    from . import from_onnx

    return from_onnx.load(path)


def is_checkpoint(source: Any) -> bool:
    """Is it the path of a file that is a checkpoint by its name?"""
    return isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() in SUFFIXES


def _shape(value: ir.Value | None) -> list[int | str]:
    return [str(d) if isinstance(d, ir.Sym) else int(d) for d in (value.shape if value else None) or ()]


def _source(source: Any, graph: ir.Graph) -> dict[str, Any]:
    """Where it came from: a file's name (never its folder) and sha256, or a class."""
    about: dict[str, Any] = {"producer": graph.producer, "opset": graph.opset}
    if isinstance(source, (str, os.PathLike)):
        about |= {"name": Path(source).name, "sha256": hashlib.sha256(Path(source).read_bytes()).hexdigest()}
    elif isinstance(source, (bytes, bytearray, memoryview)):
        about |= {"name": "", "sha256": hashlib.sha256(source).hexdigest()}
    else:
        about |= {"name": type(source).__name__}
    return about


def _word(mode: str | None) -> str:
    """``"f32"``, ``"f16"``, ``"int8"`` or ``"int4"``, as users say it."""
    return "f32" if mode in (None, "float") else str(mode)


def _rounded(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Decibels to a tenth: sums of squares may differ in the last bit from one numpy to the next, files must not."""
    return [{k: round(v, 1) if isinstance(v, float) else v for k, v in layer.items()} for layer in layers]


def _meta(source: Any, graph: ir.Graph, plan: quantize.Plan, options: Mapping[str, Any]) -> dict[str, Any]:
    """The META section. No time and no path: the same input gives the same file."""
    about = _source(source, graph)
    if options:
        about["options"] = options
    return {
        "producer": "rnnrt",
        "version": __version__,
        "source": about,
        "graph": graph.name,
        "quantize": _word(plan.mode),
        "layers": _rounded(plan.report()),
        "states": [{"name": s.name, "source": s.source} for s in graph.states],
        "streamable": graph.streamable,
        "not_streamable_because": graph.not_streamable_because,
        "notes": list(graph.notes),
    }


def convert(
    source: Any,
    output: str | os.PathLike[str] | None,
    *,
    quantize: str | None = None,
    set_values: Mapping[str, npt.ArrayLike] | None = None,
    shapes: Shapes | None = None,
    batch: int | None = None,
    states: Pairs | None = None,
    linear_before_reset: int | None = None,
    prefix: str = "",
    cell: str | None = None,
    architecture: Architecture = None,
    example: Any = None,
    keep_float: Sequence[str] = (),
    precision: Pairs = (),
    strict: bool = False,
    verify: bool = True,
    seed: int = 0,
    frames: int | None = None,
    data: Data | None = None,
    tolerance: float = TOLERANCE,
    threshold_db: float | None = None,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert a trained model, verify the result, then write it.

    Parameters
    ----------
    source
        Path of an .onnx file or its bytes; a torch module, a state_dict, or the path of a checkpoint.
    output
        Path of the .rnnrt file; it appears complete or not at all. None: nothing is written.
    quantize
        None or ``"f32"``, ``"f16"``, ``"int8"`` or ``"int4"``.
    set_values, shapes, batch, states, linear_before_reset, prefix, cell, architecture, example
        See `prepare` (``states`` is its ``state_pairs``).
    keep_float
        Glob patterns over layer names that stay f32; "NAME.W" is only the matrix of a recurrent layer's input.
    precision
        (pattern, ``"f32"``, ``"f16"``, ``"int8"`` or ``"int4"``) for layers by name; the last match decides.
    strict
        Accept no layer in f32 that was to be quantized, and nothing that was assumed or approximated.
    verify
        Compare with the original before writing.
    seed, frames, data, tolerance, threshold_db
        See `verify.verify`; where there is one input, ``data`` may be its array.
    progress
        Is told what is being done.

    Returns
    -------
    ConversionReport

    Raises
    ------
    UnsupportedError
        The model can't be converted, or not as strictly; every reason is in ``problems``.
    VerificationError
        The result does not compute what the original does; ``report`` is the verification's. Nothing is written.
    ModelFormatError, OSError
        The source can't be read.
    ValueError
        Arguments that do not fit the model.
    """
    if output is not None:
        require_folder(output)
        if isinstance(source, (str, os.PathLike)):
            require_other_file(output, source)
    say = progress or (lambda text: None)
    say("reading")
    described = read_description(architecture) if isinstance(architecture, (str, os.PathLike)) else architecture
    told = Told(set_values, shapes, batch, states, linear_before_reset, prefix, cell, described)
    graph = prepare_as(source, told, example)
    say("packing")
    plan, blob = build(source, graph, quantize, keep_float, precision, remember(told))
    if strict:
        refuse_compromises(graph, plan)
    report = ConversionReport(
        source=Path(source).name if isinstance(source, (str, os.PathLike)) else type(source).__name__,
        output=None if output is None else os.fspath(output),
        quantize=_word(quantize),
        size=len(blob),
        layers=plan.report(),
        inputs={v.name: _shape(v) for v in graph.inputs},
        outputs={v.name: _shape(v) for v in graph.outputs},
        states={s.name: _shape(graph.values.get(s.input)) for s in graph.states},
        state_sources={s.name: s.source for s in graph.states},
        streamable=graph.streamable,
        not_streamable_because=graph.not_streamable_because,
        notes=list(graph.notes),
    )
    if verify:
        report.verification = _verify_against(
            source,
            told,
            graph,
            blob,
            data,
            seed=seed,
            frames=frames,
            tolerance=tolerance,
            threshold_db=threshold_db,
            progress=progress,
        )
        if report.verification.failed:
            failed = "; ".join(report.verification.failed)
            raise VerificationError(f"verification failed: {failed}", report.verification)
    if output is not None:
        say("writing")
        save(output, blob)
    return report


def _verify_against(source: Any, told: Told, graph: ir.Graph, blob: bytes, data: Data | None, **options: Any) -> Report:
    """`verify.verify` with what is told about the source; options: its others."""
    return verify_blob(
        graph,
        blob,
        original_onnx(source, told.linear_before_reset),
        set_values=told.set_values,
        batch=told.batch,
        data=_by_name(data, graph),
        module=source if hasattr(source, "state_dict") else None,
        **options,
    )


def refuse_compromises(graph: ir.Graph, plan: quantize.Plan) -> None:
    """What `strict` does not accept, all at once, and the options that say what is meant."""
    assumed = [note for note in graph.notes if not (isinstance(note, ir.Note) and note.fact)]
    problems = [ir.Problem("", "assumed", str(note)) for note in assumed]
    options = [note.option for note in assumed if isinstance(note, ir.Note) and note.option]
    for layer in plan.layers.values():
        if layer.fallback:
            word = quantize.WORDS[layer.precision]
            problems.append(ir.Problem(layer.node, layer.op, f"stays {word}: {layer.reason}"))
            options.append(f"--precision {shlex.quote(f'{layer.node}={word}')}")
        elif layer.changed:
            problems.append(ir.Problem(layer.node, layer.op, layer.reason))
            options.append(f"--precision {shlex.quote(f'{layer.node}=int8')}")
    if problems:
        hints = [f"where that is meant, say it: {' '.join(dict.fromkeys(options))}"] if options else []
        lines = "\n".join([*(f"  {problem}" for problem in problems), *(f"  hint: {hint}" for hint in hints)])
        raise UnsupportedError(f"strict refuses what was assumed or approximated:\n{lines}", problems, hints)


def build(
    source: Any,
    graph: ir.Graph,
    mode: str | None = None,
    keep_float: Sequence[str] = (),
    precisions: Pairs = (),
    options: Mapping[str, Any] | None = None,
) -> tuple[quantize.Plan, bytes]:
    """Quantize and pack a prepared graph; ``options`` from `told.remember` are kept in the file.

    Returns
    -------
    plan, blob
        Precision of every layer; the .rnnrt file's bytes.

    Raises
    ------
    UnsupportedError
        All reasons at once, in ``problems``.
    ValueError
        Unknown mode or precision; a pattern that matches no layer.
    """
    plan = quantize.plan(graph, "float" if mode in (None, "f32") else mode, keep_float, precisions=precisions)
    return plan, to_bytes(pack(graph, plan), _meta(source, graph, plan, options or {}))


def original_onnx(source: Any, linear_before_reset: int | None = None) -> bytes | str | None:
    """What onnxruntime can load, corrected where that is asked for; None where the source is no ONNX model."""
    in_memory = isinstance(source, (bytes, bytearray, memoryview))
    if not in_memory and (is_checkpoint(source) or not isinstance(source, (str, os.PathLike))):
        return None
    original = bytes(source) if in_memory else os.fspath(source)
    if linear_before_reset is None:
        return original
    from . import from_onnx

    return from_onnx.with_linear_before_reset(original, linear_before_reset)


def _by_name(data: Data | None, graph: ir.Graph) -> Mapping[str, npt.ArrayLike] | None:
    """Data for the only input may come without its name; axes of length 1 may be left out.

    Raises
    ------
    ValueError
        There are several inputs.
    """
    if data is None:
        return None
    if not isinstance(data, Mapping):
        if len(graph.inputs) != 1:
            raise ValueError(f"--data: name the arrays; the inputs are {', '.join(v.name for v in graph.inputs)}")
        data = {graph.inputs[0].name: data}
    return {name: _with_units(np.asarray(array), name, graph) for name, array in data.items()}


def _with_units(array: npt.NDArray[Any], name: str, graph: ir.Graph) -> npt.NDArray[Any]:
    """Put in axes of length 1, [T, 161] to [1, T, 161] say, where only one way fits."""
    value = next((v for v in graph.inputs if v.name == name), None)
    if value is None or value.shape is None:
        return array
    shape: list[int] = [int(d) for d in value.shape] if graph.has_time() else [int(ir.Sym.TIME), *map(int, value.shape)]
    if len(shape) <= array.ndim:
        return array
    unit = [i for i, d in enumerate(shape) if d in (1, int(ir.Sym.BATCH))]
    missing = len(shape) - array.ndim
    return np.expand_dims(array, tuple(unit[:missing])) if len(unit) >= missing else array


def verify_file(
    file: str | os.PathLike[str],
    source: Any,
    *,
    set_values: Mapping[str, npt.ArrayLike] | None = None,
    shapes: Shapes | None = None,
    batch: int | None = None,
    states: Pairs | None = None,
    linear_before_reset: int | None = None,
    prefix: str = "",
    cell: str | None = None,
    architecture: Architecture = None,
    seed: int = 0,
    frames: int | None = None,
    data: Data | None = None,
    tolerance: float = TOLERANCE,
    threshold_db: float | None = None,
    progress: Progress | None = None,
) -> Report:
    """Verify an existing .rnnrt file against the model that it was made from.

    Parameters
    ----------
    file
        The .rnnrt file.
    source
        Its original. What `convert` was told about it is in the file; options given here replace that. All parameters
        are those of `convert`.

    Returns
    -------
    Report
        ``failed`` lists the reasons; empty when all is well.

    Raises
    ------
    UnsupportedError, ModelFormatError, OSError, ValueError
        As in `convert`; ValueError also where the file's inputs are not those of the original.
    """
    blob = Path(file).read_bytes()
    parsed = parse(blob)
    given = Told(set_values, shapes, batch, states, linear_before_reset, prefix, cell, architecture)
    told = merged(parsed.meta, given, is_checkpoint(source))
    graph = prepare_as(source, told)
    for kind, wanted in (("input", graph.inputs), ("output", graph.outputs)):
        have = ", ".join(f"{v.name} {show(v.dims)}" for v in parsed.of_kind(kind))
        want = ", ".join(f"{v.name} {show(_shape(v))}" for v in wanted)
        if have != want:
            raise ValueError(f"{kind}s of {Path(file).name} are {have}, the original's are {want}: other options?")
    return _verify_against(
        source,
        told,
        graph,
        blob,
        data,
        seed=seed,
        frames=frames,
        tolerance=tolerance,
        threshold_db=threshold_db,
        progress=progress,
    )
