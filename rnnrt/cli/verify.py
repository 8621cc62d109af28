"""``rnnrt verify``: does a .rnnrt file compute what its source does?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnnrt.cli import output
from rnnrt.cli.arguments import usage_errors
from rnnrt.cli.convert import verification_arguments, verification_options
from rnnrt.cli.exits import Exit, json_option
from rnnrt.cli.report import print_verification, verdict
from rnnrt.cli.sources import load_model, refuse_others_options, source_options, told_before


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--against",
    required=True,
    type=click.Path(path_type=Path),
    help="What it was made from: an .onnx model or a checkpoint.",
)
@source_options
@verification_options
@json_option
@click.pass_context
def verify(ctx: click.Context, /, file: Path, against: Path, as_json: bool, **options: Any) -> None:
    """Verify a model again, as `convert` did.

    What `convert` was told about its source (--set, --shape, --cell, ...) is in the file; options replace that.
    """
    meta = load_model(file).meta  # the file's own faults come first
    refuse_others_options(ctx, against)
    from rnnrt.converters import convert as converter

    with usage_errors(), output.spinner(f"verifying {file.name}") as say:
        arguments = {**vars(told_before(meta, against, options)), **verification_arguments(options)}
        found = converter.verify_file(file, against, progress=say, **arguments)
    report = found.to_dict()
    if as_json:
        inner = {key: value for key, value in report.items() if key not in ("schema", "passed")}
        output.print_json("verify", {"ok": found.passed, "file": str(file), "against": str(against), **inner})
    else:
        print_verification(output.stdout(), report)
        output.stdout().print(f"{file}: {verdict(report)}", markup=False)
    if not found.passed:
        output.stderr().print(f"error: {verdict(report)}", style="red", markup=False)
        ctx.exit(Exit.VERIFICATION_FAILED)
