"""``rnnrt convert``: an ONNX model or a checkpoint to a verified .rnnrt file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import rnnrt
from rnnrt.cli import output
from rnnrt.cli.arguments import dims, number_or_list, pairs, read_arrays, state_pairs, usage_errors
from rnnrt.cli.exits import Exit, json_option
from rnnrt.cli.listing import list_checkpoint
from rnnrt.cli.report import print_layers, print_notes, print_verification, verdict


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
            help="What every GRU has, whatever the file says: 1 corrects files of a faulty PyTorch exporter.",
        ),
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
    return command


def verification_options(command: Any) -> Any:
    """Add what a model is verified with."""
    for option in (
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random input."),
        click.option(
            "--data", type=click.Path(path_type=Path), help="Real input to verify with: .npy, or .npz by name."
        ),
    ):
        command = option(command)
    return command


def model_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """What `model_options` stand for: keyword arguments of the converter."""
    return {
        "set_values": pairs("--set", options["set_values"], number_or_list),
        "shapes": pairs("--shape", options["shapes"], dims),
        "batch": options["batch"],
        "states": state_pairs(options["states"]),
        "linear_before_reset": options["linear_before_reset"],
        "prefix": options["prefix"],
        "cell": options["cell"],
        "architecture": options["architecture"],
    }


def prepare(path: Path, options: Mapping[str, Any]) -> Any:
    """What the converter makes of an ONNX model before it is packed: a `rnnrt.converters.ir.Graph`."""
    from rnnrt.converters import convert as converter

    arguments = model_arguments(options)
    return converter.prepare(path, state_pairs=arguments.pop("states"), **arguments)


def verification_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """What `verification_options` stand for."""
    path = options["data"]
    return {"seed": options["seed"], "data": None if path is None else read_arrays(path)}


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), help="The .rnnrt file to write.")
@click.option("--list", "listing", is_flag=True, help="Only list what is in a checkpoint: tensors, recurrent layers.")
@click.option(
    "--quantize",
    type=click.Choice(("none", "f16", "int8", "int4")),
    default="none",
    show_default=True,
    help="Precision of the weights; none: f32.",
)
@click.option(
    "--keep-float", multiple=True, metavar="PATTERN", help="Layers that stay f32 all the same, by name (*, ?)."
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="PATTERN=f32|f16|int8|int4",
    help="What layers get instead, by name; the last match decides.",
)
@click.option("--strict", is_flag=True, help="Fail rather than leave a layer f32, assume or approximate anything.")
@model_options
@verification_options
@json_option
@click.pass_context
def convert(
    ctx: click.Context,
    /,
    source: Path,
    target: Path | None,
    listing: bool,
    quantize: str,
    keep_float: Sequence[str],
    precisions: Sequence[str],
    strict: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Convert an ONNX model or a checkpoint, SOURCE, to a verified file.

    The result is compared with onnxruntime and with float64 over the same input. Nothing is written when that fails
    (exit code 1) or something is not supported (3: all of it is listed).
    """
    if target is None and not listing:
        raise click.UsageError("Missing option '-o' / '--output'.")
    source.open("rb").close()  # a missing file is told before anything heavy is imported
    if target is None or listing:
        list_checkpoint(source, options["prefix"], as_json)
        return
    from rnnrt.converters import convert as converter

    try:
        with usage_errors(), output.spinner(f"converting {source.name}") as say:
            report = converter.convert(
                source,
                target,
                quantize=None if quantize == "none" else quantize,
                keep_float=list(keep_float),
                precision=list(pairs("--precision", precisions, str).items()),
                strict=strict,
                progress=say,
                **model_arguments(options),
                **verification_arguments(options),
            )
    except rnnrt.VerificationError as error:
        _show_failure(source, target, error, as_json)
        ctx.exit(Exit.VERIFICATION_FAILED)
    content = report.to_dict()
    if as_json:
        inner = {key: value for key, value in content.items() if key not in ("schema", "source", "output")}
        output.print_json("convert", {"ok": True, "source": str(source), "output": str(target), **inner})
        return
    console = output.stdout()
    print_notes(console, content["notes"])
    print_layers(console, content["layers"])
    print_verification(console, content["verification"])
    console.print(f"{target}: {output.size(report.size)}, {verdict(content['verification'])}", markup=False)


def _show_failure(source: Path, target: Path, error: rnnrt.VerificationError, as_json: bool) -> None:
    """The figures on stdout, since they are the result; what it means on stderr."""
    report = error.report.to_dict()
    if as_json:
        about = {"ok": False, "source": str(source), "output": None, "error": {"message": str(error)}}
        output.print_json("convert", {**about, "verification": report})
    else:
        print_verification(output.stdout(), report)
    line = f"error: {verdict(report)}; {target} was not written"
    output.stderr().print(line, style="red", markup=False)
