"""``rnnrt run``: a model over a file of numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import rnnrt
from rnnrt.cli import output
from rnnrt.cli.arguments import read_arrays, refuse_inputs, usage_errors
from rnnrt.cli.exits import json_option
from rnnrt.cli.sources import load_model


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help=".npy, .npz (by name) or .wav.")
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    help=".npy, or .npz for several outputs.",
)
@click.option("--stream", "streaming", is_flag=True, help="Frame by frame, carrying the state; the same bits.")
@click.option("--isa", help="Force an instruction set (see `rnnrt doctor`).")
@json_option
def run(file: Path, source: Path, target: Path, streaming: bool, isa: str | None, as_json: bool) -> None:
    """Run a model over a file of numbers.

    A .wav file is cut into frames of the model's input size; what is left over at its end is not used.
    """
    several = target.suffix.lower() == ".npz"
    if target.suffix.lower() not in (".npy", ".npz"):
        raise click.UsageError(f"-o {target}: expected a .npy or .npz file")
    from rnnrt.converters.write import require_folder, save

    refuse_inputs("-o", target, source, file)
    require_folder(target)
    model = load_model(file, isa)
    if len(model.outputs) > 1 and not several:
        names = ", ".join(info.name for info in model.outputs)
        raise click.UsageError(f"-o {target}: this model has the outputs {names}: expected a .npz file")
    x, note = _inputs(model, source)
    begin = time.perf_counter()
    with usage_errors():
        result = model.stream().run(x) if streaming or not model.has_time else model(x)
    seconds = time.perf_counter() - begin
    results = result if isinstance(result, dict) else {model.outputs[0].name: result}
    # numpy's stub takes names for its own options
    save(target, partial(np.savez, **results) if several else partial(np.save, arr=next(iter(results.values()))))  # type: ignore[arg-type]
    shapes = {name: list(array.shape) for name, array in results.items()}
    if as_json:
        content = {"ok": True, "file": str(file), "output": str(target), "outputs": shapes, "seconds": seconds}
        output.print_json("run", {**content, "streamed": streaming, "isa": model.isa, "notes": [note] if note else []})
        return
    if note:
        output.stderr().print(note, markup=False)
    for name, shape in shapes.items():
        output.stdout().print(f"{target}: {name} {output.shape(shape)} in {seconds * 1e3:.3g} ms", markup=False)


def _inputs(model: rnnrt.Model, source: Path) -> tuple[Any, str]:
    """What the model takes, and what was assumed."""
    loaded = read_arrays(source)
    if isinstance(loaded, Mapping):
        return dict(loaded), ""
    if len(model.inputs) > 1:
        names = ", ".join(info.name for info in model.inputs)
        raise click.UsageError(f"--input {source}: this model has the inputs {names}: expected a .npz file")
    if source.suffix.lower() != ".wav":
        return loaded, ""
    return _frames(model, source, loaded)


def _frames(model: rnnrt.Model, source: Path, samples: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Samples as consecutive frames, where the model's input is made of such."""
    info = model.inputs[0]
    sizes = [d for d in info.shape if isinstance(d, int) and d != 1]
    if len(sizes) > 1 or (not sizes and "T" not in info.shape):
        raise click.UsageError(f"--input {source}: samples don't fit the input {info}")
    size = sizes[0] if sizes else 1
    count = len(samples) // size
    if count == 0:
        raise click.UsageError(f"--input {source}: {len(samples)} samples, a frame of the input {info} has {size}")
    left = len(samples) - count * size
    return samples[: count * size].reshape(count, size), f"{count} frames of {size} samples, {left} left over"
