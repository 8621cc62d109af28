"""``rnnrt convert``: an ONNX model or a checkpoint to a verified .rnnrt file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import rnnrt
from rnnrt.cli import output
from rnnrt.cli.arguments import pairs, read_arrays, refuse_inputs, refuse_options, usage_errors
from rnnrt.cli.exits import Exit, json_option
from rnnrt.cli.listing import list_checkpoint
from rnnrt.cli.report import print_layers, print_notes, print_states, print_verification, state_bytes, verdict
from rnnrt.cli.sources import kind_of, refuse_others_options, source_options, told_by


def verification_options(command: Any) -> Any:
    """Add what a model is verified with."""
    for option in (
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Of the random input and of the chunks.",
        ),
        click.option(
            "--data", type=click.Path(path_type=Path), help="Real input to verify with: .npy, or .npz by name."
        ),
    ):
        command = option(command)
    return command


def verification_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """What `verification_options` stand for."""
    path = options["data"]
    return {"seed": options["seed"], "data": None if path is None else read_arrays(path)}


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "target", type=click.Path(path_type=Path), help="The file to write. Required, but for --list."
)
@click.option("--list", "listing", is_flag=True, help="Only list what is in a checkpoint: tensors, recurrent layers.")
@click.option(
    "--quantize",
    type=click.Choice(("f32", "f16", "int8", "int4")),
    default="f32",
    show_default=True,
    help="Precision of the weights.",
)
@click.option(
    "--keep-float",
    multiple=True,
    metavar="PATTERN",
    help="Layers that stay f32 all the same, by name (*, ?); NAME.W: a recurrent layer's input matrix.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="PATTERN=f32|f16|int8|int4",
    help="What layers get instead, by name; the last match decides.",
)
@click.option("--strict", is_flag=True, help="Fail rather than leave a layer f32, assume or approximate anything.")
@source_options
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
    """Turn an ONNX model or a checkpoint into a verified file.

    The result is compared with onnxruntime and with float64 over the same input. Nothing is written when that fails
    (exit code 1) or something is not supported (3: all of it is listed).
    """
    if listing:
        used = ("source", "listing", "prefix", "as_json")
        others = [param.name or "" for param in ctx.command.params if param.name not in used]
        refuse_options(ctx, others, "is not for --list")
        if kind_of(source) != "checkpoint":
            raise click.UsageError(f"--list is for checkpoints; `rnnrt inspect {source}` shows what is in this file")
        list_checkpoint(source, options["prefix"], as_json)
        return
    if target is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    refuse_others_options(ctx, source)  # a missing file is told before anything heavy is imported
    refuse_inputs("-o", target, source, options["data"], options["architecture"])
    from rnnrt.converters import convert as converter

    try:
        with usage_errors(), output.spinner(f"converting {source.name}") as say:
            report = converter.convert(
                source,
                target,
                quantize=quantize,
                keep_float=list(keep_float),
                precision=list(pairs("--precision", precisions, str).items()),
                strict=strict,
                progress=say,
                **vars(told_by(options)),
                **verification_arguments(options),
            )
    except rnnrt.VerificationError as error:
        _show_failure(source, target, error, as_json)
        ctx.exit(Exit.VERIFICATION_FAILED)
    content = report.to_dict()
    sources = content.pop("state_sources")
    content["states"] = [
        {"name": name, "shape": shape, "bytes": state_bytes(shape), "source": sources[name] or None}
        for name, shape in content["states"].items()
    ]
    if as_json:
        inner = {key: value for key, value in content.items() if key not in ("schema", "source", "output")}
        output.print_json("convert", {"ok": True, "source": str(source), "output": str(target), **inner})
        return
    console = output.stdout()
    print_notes(console, content["notes"])
    print_layers(console, content["layers"])
    print_states(console, content)
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
