"""What the converter can read, the options that say more about it, and which of them mean something for which file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import rnnrt
from rnnrt.cli import output
from rnnrt.cli.arguments import dims, number_or_list, pairs, refuse_options, state_pairs

_MAGIC = b"\x89RNNRT\r\n"
_ONNX_ONLY = ("linear_before_reset",)
_CHECKPOINT_ONLY = ("prefix", "cell", "architecture")
ONNX_OPTIONS = ("states", "batch", "shapes", "set_values", *_ONNX_ONLY)
SOURCE_OPTIONS = (*ONNX_OPTIONS, *_CHECKPOINT_ONLY)
"""The parameters that `model_options` and `source_options` add."""


def model_options(command: Any) -> Any:
    """Add what the converter may have to be told about an ONNX model."""
    for option in (
        click.option(
            "--state", "states", multiple=True, metavar="IN:OUT", help="An input and an output that carry state."
        ),
        click.option("--batch", type=click.IntRange(min=1), help="Fix the batch size."),
        click.option(
            "--shape", "shapes", multiple=True, metavar="NAME=1,T,161", help="An input's shape: numbers, T, B."
        ),
        click.option("--set", "set_values", multiple=True, metavar="NAME=VALUE", help="Make an input a constant."),
        click.option(
            "--linear-before-reset",
            type=click.IntRange(0, 1),
            help="What every GRU of an .onnx file has, whatever it says: 1 corrects a faulty PyTorch exporter's.",
        ),
    ):
        command = option(command)
    return command


def source_options(command: Any) -> Any:
    """Add what the converter may have to be told about an ONNX model or a checkpoint."""
    for option in (
        click.option(
            "--architecture",
            type=click.Path(path_type=Path),
            metavar="FILE.toml",
            help="How the layers of a checkpoint are connected.",
        ),
        click.option("--cell", metavar="NAME", help="The one recurrent layer of a checkpoint that is wanted."),
        click.option("--prefix", default="", metavar="TEXT", help="How the names of a checkpoint's tensors begin."),
    ):
        command = option(command)
    return model_options(command)


def kind_of(path: Path) -> str:
    """Tell ``"rnnrt"``, ``"onnx"`` or ``"checkpoint"``.

    By content where it starts like a .rnnrt file, else by suffix: ONNX has no magic number.

    Raises
    ------
    OSError
        It can't be read.
    """
    from rnnrt.converters.convert import is_checkpoint

    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if magic == _MAGIC:
        return "rnnrt"
    if is_checkpoint(path):
        return "checkpoint"
    return "onnx" if path.suffix.lower() == ".onnx" else "rnnrt"


def load_model(path: Path, isa: str | None = None, threads: int = 1) -> rnnrt.Model:
    """`rnnrt.load`, which says what to do with a file that has yet to be converted."""
    try:
        return rnnrt.load(path, isa, threads)
    except rnnrt.ModelFormatError as error:
        if kind_of(path) == "rnnrt":
            raise
        advice = f"convert it first: rnnrt convert {path} -o {path.with_suffix('.rnnrt').name}"
        raise rnnrt.ModelFormatError(f"{error}; {advice}") from error


def refuse_others_options(ctx: click.Context, source: Path) -> None:
    """End with a usage error where options were given that say nothing about a source of this kind."""
    kind = kind_of(source)
    if kind == "rnnrt" and source.suffix.lower() == ".rnnrt":
        refuse_options(ctx, SOURCE_OPTIONS, f"is for what is to be converted: {source} is a .rnnrt file")
    elif kind == "checkpoint":
        refuse_options(ctx, _ONNX_ONLY, f"is for .onnx files: {source} is a checkpoint")
    else:
        refuse_options(ctx, _CHECKPOINT_ONLY, f"is for checkpoints: {source} is none")


def told_by(options: Mapping[str, Any]) -> Any:
    """What `source_options` stand for: a `converters.told.Told`; its `vars` are arguments of the converter."""
    from rnnrt.converters.told import Told

    return Told(
        set_values=pairs("--set", options["set_values"], number_or_list),
        shapes=pairs("--shape", options["shapes"], dims),
        batch=options["batch"],
        states=state_pairs(options["states"]),
        linear_before_reset=options["linear_before_reset"],
        prefix=options.get("prefix", ""),
        cell=options.get("cell"),
        architecture=options.get("architecture"),
    )


def told_before(meta: Mapping[str, Any], source: Path, options: Mapping[str, Any]) -> Any:
    """The same for a file's source: what `convert` was told about it, but for what is said now; said on stderr."""
    from rnnrt.converters import told

    given = told_by(options)
    found = told.merged(meta, given, kind_of(source) == "checkpoint")
    if used := {name: value for name, value in found.said().items() if name not in given.said()}:
        output.stderr().print(f"as it was converted: {told.as_words(told.Told(**used))}", markup=False)
    return found
