"""The group of commands."""

from __future__ import annotations

import sys

import click

import rnnrt
from rnnrt.cli.bench import bench
from rnnrt.cli.convert import convert
from rnnrt.cli.doctor import doctor
from rnnrt.cli.exits import ErrorMappingGroup, Exit
from rnnrt.cli.export import export
from rnnrt.cli.inspect import inspect
from rnnrt.cli.run import run
from rnnrt.cli.verify import verify


@click.group(cls=ErrorMappingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rnnrt.__version__, prog_name="rnnrt")
def app() -> None:
    """Recurrent networks, one frame at a time, the same bits on every CPU.

    Exit codes: 0 ok, 1 verification failed, 2 usage, 3 unsupported model, 4 bad file.
    """


for _command in (convert, inspect, verify, run, bench, doctor, export):
    app.add_command(_command)


def run_app(argv: list[str] | None) -> int:
    """Run the group with these arguments (None: the process's) and return the exit code."""
    try:
        result = app.main(argv, prog_name="rnnrt", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:  # `rnnrt ... | head`: the reader has what it wanted
        sys.stderr.close()
        return Exit.OK
    return result if isinstance(result, int) else Exit.OK
