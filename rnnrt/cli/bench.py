"""``rnnrt bench``: time of a step, beside onnxruntime; and GRU beside LSTM at equal hidden size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.markup import escape

import rnnrt
from rnnrt import plot
from rnnrt.bench import BenchReport, bench_model
from rnnrt.cli import output
from rnnrt.cli.arguments import read_arrays, refuse_options, usage_errors
from rnnrt.cli.cells import build_cell
from rnnrt.cli.exits import json_option
from rnnrt.cli.profile import profile_model
from rnnrt.cli.sources import ONNX_OPTIONS, kind_of, load_model, model_options, told_before
from rnnrt.compare import GATES, Comparison, compare
from rnnrt.contenders import Feed, OrtModel, seeded_feeds

_IGNORED: dict[str, tuple[tuple[str, ...], str]] = {
    "compare": (("against", "data", "as_profile", "threads", *ONNX_OPTIONS), "is for a FILE, not for --compare"),
    "file": (("hidden", "input_size", "quantize", "picture"), "is for --compare"),
    "no profile": (("frames",), "is for --profile"),
    "profile": (("against",), "is not for --profile"),
    "no against": (ONNX_OPTIONS, "is for --against"),
    "data": (("seed",), "is not for --data, which replaces random frames"),
}
"""What is true of a command line -> parameters that mean nothing then, and what they are for."""
_RIGHT = ("p50 us", "p90 us", "p99 us", "min us", "ratio", "steps")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--against", type=click.Path(path_type=Path), help="The .onnx model, timed in onnxruntime, too.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Frames to step through: .npy or .npz; default: random ones."
)
@model_options
@click.option(
    "--compare", "cells", nargs=2, type=click.Choice(tuple(GATES)), help="Compare two cells, for example gru lstm."
)
@click.option("--hidden", default="32,64,128,256,512", show_default=True, help="Hidden sizes for --compare.")
@click.option(
    "--input", "input_size", type=click.IntRange(min=1), help="Input size for --compare; default: the hidden size."
)
@click.option(
    "--quantize",
    type=click.Choice(("f32", "f16", "int8", "int4")),
    default="int8",
    show_default=True,
    help="For --compare.",
)
@click.option(
    "--profile", "as_profile", is_flag=True, help="Time per node and per operator, stepping and for --frames at once."
)
@click.option(
    "--frames", type=click.IntRange(min=1), default=100, show_default=True, help="Time steps per call for --profile."
)
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path), help="Draw --compare into a .png, .svg or .pdf file."
)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), help="Per contender; default 3, with --compare 1 a size."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of random frames and weights.")
@click.option(
    "--threads", type=click.IntRange(1, 256), help="Threads that share large layers; default 1. onnxruntime keeps one."
)
@click.option("--isa", help="Force an instruction set (see `rnnrt doctor`).")
@json_option
@click.pass_context
def bench(
    ctx: click.Context, /, file: Path | None, cells: tuple[str, str] | None, as_json: bool, **options: Any
) -> None:
    """Time a step of a model, or of two cells.

    Batch 1, one thread (or --threads), the state carried from step to step, contenders in turns within one run.

    With --against, onnxruntime runs the same frames in the same run, through `run` and through IO binding.
    With --profile, time per node and per operator instead; the C library calls a clock before every node, and what that
    costs is taken off.
    With --compare, no FILE: both cells are built at equal hidden size with random weights.
    """
    if (file is None) == (cells is None):
        raise click.UsageError("expected either a .rnnrt FILE or --compare")
    true = {
        "compare": cells is not None,
        "file": file is not None,
        "no profile": not options["as_profile"],
        "profile": options["as_profile"],
        "no against": options["against"] is None,
        "data": options["data"] is not None,
    }
    for condition, (parameters, reason) in _IGNORED.items():
        if true[condition]:
            refuse_options(ctx, parameters, reason)
    if file is None:
        assert cells is not None
        _compare(cells, as_json, options)
        return
    model = load_model(file, options["isa"], options["threads"] or 1)
    feeds = _feeds(model, options["data"]) if options["data"] else seeded_feeds(model, seed=options["seed"])
    if options["as_profile"]:
        profile_model(file, model, feeds, options["frames"], options["seconds"] or 1.0, as_json)
    else:
        _bench(file, model, feeds, as_json, options)


# ---- a model ----


def _bench(file: Path, model: rnnrt.Model, feeds: list[Feed], as_json: bool, options: dict[str, Any]) -> None:
    against = _open(options["against"], feeds[0], {**options, "stored": model.meta}) if options["against"] else None
    with usage_errors(), output.progress_bar("timing") as show:
        report = bench_model(model, against, feeds=feeds, seconds=options["seconds"] or 3.0, on_round=show)
    if as_json:
        content = {"ok": True, "file": str(file), "mode": "model", "threads": model.threads}
        output.print_json("bench", {**content, **report.to_dict()})
    else:
        _print_report(file, report, model.threads)


def _open(path: Path, feed: Feed, options: dict[str, Any]) -> OrtModel:
    """The session, with the states that the converter finds in the model and the inputs that are given as constants."""
    if kind_of(path) != "onnx":  # a missing file, too, for which onnxruntime has an exception of its own
        raise click.UsageError(f"--against {path}: expected an .onnx model, for onnxruntime to run")
    from rnnrt.converters.convert import prepare_as

    with usage_errors():
        told = told_before(options.pop("stored"), path, options)
        graph = prepare_as(path, told)
        states = [(state.input, state.output) for state in graph.states]
        return OrtModel.open(path, feed, states, told.set_values)


def _feeds(model: rnnrt.Model, path: Path) -> list[Feed]:
    """Time steps from a file, of every input."""
    loaded = read_arrays(path)
    arrays = loaded if isinstance(loaded, dict) else {model.inputs[0].name: loaded}
    columns: dict[str, list[Any]] = {}
    for info in model.inputs:
        if info.name not in arrays:
            raise click.UsageError(f"--data {path}: no array for the input '{info.name}'")
        frame = tuple(1 if isinstance(d, str) else d for d in info.shape)
        array = np.ascontiguousarray(arrays[info.name], info.dtype)
        elements = int(np.prod(frame))
        wanted, given = (tuple(d for d in shape if d != 1) for shape in (frame, array.shape))
        if array.size == 0 or array.size % elements or given[len(given) - len(wanted) :] != wanted:
            raise click.UsageError(f"--data {path}: shape {array.shape} is not made of frames of the input {info}")
        columns[info.name] = list(array.reshape(-1, *frame))
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) != 1:
        raise click.UsageError(f"--data {path}: not equally many time steps: {counts}")
    return [dict(zip(columns, frames, strict=True)) for frames in zip(*columns.values(), strict=True)]


def _print_report(file: Path, report: BenchReport, threads: int) -> None:
    console = output.stdout()
    console.print(f"{file}, batch 1, {output.threads(threads)}, {report.isa} on {report.cpu}", markup=False)
    rows = [(t.name, t.p50_us, t.p90_us, t.p99_us, t.min_us, f"{report.ratio(t):.2f}", t.steps) for t in report.timings]
    console.print(output.table("", ("", *_RIGHT), rows, right=_RIGHT))
    if report.max_scaled_error is not None:
        console.print(
            f"largest difference to onnxruntime: {report.max_scaled_error:.3g} (scaled by max(1, |reference|))"
        )
    for note in report.notes:
        output.stderr().print(f"[yellow]note[/]: {escape(note)}")


# ---- two cells ----


def _compare(cells: tuple[str, str], as_json: bool, options: dict[str, Any]) -> None:
    picture: Path | None = options["picture"]
    if picture is not None and picture.suffix.lower() not in plot.FORMATS:
        raise click.UsageError(f"--plot {picture}: expected one of {', '.join(plot.FORMATS)}")
    if picture is not None:
        plot.require()  # before minutes of timing, not after
    with usage_errors(), output.progress_bar("timing") as show:
        comparison = compare(
            build_cell,
            cells,
            _sizes(options["hidden"]),
            input_size=options["input_size"],
            quantize=None if options["quantize"] == "f32" else options["quantize"],
            seconds=options["seconds"] or 1.0,
            seed=options["seed"],
            isa=options["isa"],
            on_progress=show,
        )
    if picture is not None:
        plot.draw_comparison(comparison, picture)
    if as_json:
        content = {
            "ok": True,
            "mode": "compare",
            **comparison.to_dict(),
            "quantize": options["quantize"],
            "plot": str(picture) if picture else None,
        }
        output.print_json("bench", content)
    else:
        _print_comparison(comparison, picture)


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.UsageError(f"--hidden {text!r}: expected numbers, for example 64,128") from None


def _print_comparison(comparison: Comparison, picture: Path | None) -> None:
    console = output.stdout()
    a, b = (cell.upper() for cell in comparison.cells)
    width = "input = hidden size" if comparison.input_size is None else f"input size {comparison.input_size}"
    precision = comparison.quantize or "f32"
    console.print(
        f"{a} beside {b}, {precision} weights, {width}, batch 1, one thread, {comparison.isa} on {comparison.cpu}",
        markup=False,
    )
    columns = ("hidden", "cell", "parameters", "state floats", "file", "p50 us", "p99 us", f"{a}/{b} time")
    rows: list[tuple[Any, ...]] = []
    for row in comparison.rows:
        for i, cell in enumerate(row.cells):
            ratio = f"{row.time_ratio:.3f}" if i == 0 else ""
            timing = (cell.timing.p50_us, cell.timing.p99_us)
            named = (row.hidden if i == 0 else "", cell.cell.upper(), f"{cell.parameters:,}", cell.state_floats)
            rows.append((*named, output.size(cell.file_bytes), *timing, ratio))
    console.print(output.table("", columns, rows, right=tuple(c for c in columns if c != "cell")))
    gates = f"{GATES[comparison.cells[0]]}/{GATES[comparison.cells[1]]}"
    console.print(
        f"theory, by the number of gates: {gates} = {comparison.theory:.3g} of the parameters (exact) and, where "
        f"streaming the weights is what takes the time, of the time",
        markup=False,
    )
    if picture is not None:
        console.print(f"picture: {picture}", markup=False)
