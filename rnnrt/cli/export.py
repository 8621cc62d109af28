"""``rnnrt export``: a model as the source of a program for another machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

import rnnrt
from rnnrt.arrays import Array, TensorInfo
from rnnrt.cli import output
from rnnrt.cli.arguments import usage_errors
from rnnrt.cli.exits import json_option

_CALLS = 8  # steps that the exported program checks
_WHOLE = 16  # time steps of the one call, where the model can't be stepped


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(("c",)), default="c", show_default=True, help="What to write.")
@click.option("-o", "--output", "target", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--name", help="Prefix of everything in C; default: the file's name.")
@click.option("--isa", "isas", multiple=True, help="Instruction sets to bring beside scalar; default: all.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random input.")
@json_option
def export(
    file: Path, kind: str, target: Path, name: str | None, isas: Sequence[str], seed: int, as_json: bool
) -> None:
    """Write a model as a folder of C that builds with any C11 compiler.

    In it: the runtime in one file with only the operators that the model needs, the model as a constant array, its
    sizes as constants (no malloc), a Makefile and a CMakeLists.txt, and a main.c that runs stored input and compares
    every bit of the output.
    """
    model = rnnrt.load(file)
    from rnnrt.converters import export_c

    with usage_errors():
        chosen = export_c.identifier(file.stem if name is None else name)
        made = export_c.export(model._blob(), _golden(model, seed), chosen, list(isas) or None)
    target.mkdir(parents=True, exist_ok=True)
    for path, content in made.files.items():
        (target / path).write_text(content, encoding="utf-8")
    sizes = {path: len(content.encode()) for path, content in made.files.items()}
    if as_json:
        about = {"format": kind, "name": chosen, "operators": made.operators, "isas": made.isas}
        output.print_json(
            "export",
            {
                "ok": True,
                "file": str(file),
                "output": str(target),
                **about,
                "blob_bytes": made.blob_bytes,
                "files": sizes,
            },
        )
        return
    console = output.stdout()
    console.print(output.table("", ("file", "bytes"), sizes.items(), right=("bytes",)))
    console.print(f"{target}: {chosen}, {', '.join(made.operators)}; make -C {target} check", markup=False)


def _golden(model: rnnrt.Model, seed: int) -> Any:
    """Random input and what the model makes of it: single steps, or one call where it can't be stepped."""
    from rnnrt.converters import export_c

    time, calls = (1, _CALLS) if model.streamable else (_WHOLE, 1)
    random = np.random.default_rng(seed)
    inputs: list[list[Array]] = []
    outputs: list[list[Array]] = []
    stream = model.stream() if model.streamable else None
    for _ in range(calls):
        given = {info.name: _random(info, time, random) for info in model.inputs}
        found = model(given) if stream is None else stream.step(given)
        inputs.append(list(given.values()))
        outputs.append([found] if not isinstance(found, dict) else [found[info.name] for info in model.outputs])
    model_bytes, state_bytes = model._sizes(time, 1)
    return export_c.Golden(
        time,
        calls,
        [_port(export_c, info, [call[i] for call in inputs]) for i, info in enumerate(model.inputs)],
        [_port(export_c, info, [call[i] for call in outputs]) for i, info in enumerate(model.outputs)],
        model_bytes,
        state_bytes,
    )


def _random(info: TensorInfo, time: int, random: np.random.Generator) -> Array:
    """Numbers within [-2, 2), integers from 0 to 3, with one stream and this many time steps."""
    shape = [dim if isinstance(dim, int) else time if dim == "T" else 1 for dim in info.shape]
    if info.dtype.kind == "f":
        return random.uniform(-2, 2, shape).astype(info.dtype)
    return random.integers(0, 2 if info.dtype.kind == "b" else 4, shape).astype(info.dtype)


def _port(export_c: Any, info: TensorInfo, calls: list[Array]) -> Any:
    described = f"{info.name} {info.dtype} {output.shape(info.shape)}"
    return export_c.Port(info.name, described, calls[0].size, info.dtype.itemsize, [c.tobytes() for c in calls])
