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
from rnnrt.cli.arguments import refuse_file_as_folder, refuse_inputs, usage_errors
from rnnrt.cli.exits import json_option
from rnnrt.cli.sources import load_model

_CALLS = 8  # steps that the exported program checks
_WHOLE = 16  # time steps of the one call, where the model can't be stepped


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(("c",)), default="c", show_default=True, help="What to write.")
@click.option("-o", "--output", "target", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--name", help="Prefix of everything in C, an identifier; default: made of the file's name.")
@click.option(
    "--isa",
    "isas",
    multiple=True,
    metavar="NAME",
    help="Instruction sets to bring beside scalar (avx2, neon, ...; any number of times); default: all, each compiled"
    " only where the target has it. scalar alone is all that 32-bit ARM and RISC-V need: there it becomes armdsp,"
    " neon32, helium or rvv, as the compiler's target says.",
)
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
    refuse_file_as_folder(target)
    model = load_model(file)
    from rnnrt.converters import export_c
    from rnnrt.converters.write import save

    with usage_errors():
        chosen = _name(file, name)
        made = export_c.export(model._blob(), _golden(model, seed), chosen, list(isas) or None)
    for path in made.files:
        refuse_inputs("-o", target / path, file)
    target.mkdir(parents=True, exist_ok=True)
    stale = export_c.stale_files(target, chosen)
    for old in stale:
        old.unlink()
    for path, content in made.files.items():
        save(target / path, content.encode())
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
                "removed": [old.name for old in stale],
            },
        )
        return
    if name is None and chosen != file.stem:
        output.stderr().print(f"in C the model is called {chosen}; --name says otherwise", markup=False)
    if stale:
        output.stderr().print(f"removed, of an earlier export: {', '.join(old.name for old in stale)}", markup=False)
    console = output.stdout()
    console.print(output.table("", ("file", "bytes"), sizes.items(), right=("bytes",)))
    console.print(f"{target}: {chosen}, {', '.join(made.operators)}; make -C {target} check", markup=False)


def _name(file: Path, given: str | None) -> str:
    """What everything in C begins with: as given, or made of the file's name.

    Raises
    ------
    ValueError
        What was given can't be that.
    """
    from rnnrt.converters import export_c

    if given is None or export_c.is_free(given):
        return given or export_c.identifier(file.stem)
    raise ValueError(f"--name {given!r} can't name a model in C; {export_c.identifier(given)!r} could")


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
