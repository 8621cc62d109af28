"""Exit codes, and the one place where exceptions become them."""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.markup import escape

import rnnrt
from rnnrt.cli import how_to_install, output

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONAL = {
    "onnx": "reading .onnx files: convert, verify, inspect",
    "onnxruntime": "verification against onnxruntime: convert, verify, bench --against",
    "safetensors": "reading .safetensors weights",
    "click": "this command line",
    "rich": "this command line",
    "torch": "converting torch modules",
    "matplotlib": "pictures: bench --compare --plot",
    "tomli": "convert --architecture before Python 3.11",
}
"""Packages that not everything needs -> what for."""


class Exit(enum.IntEnum):
    """What an exit code means."""

    OK = 0
    VERIFICATION_FAILED = 1
    USAGE = 2
    UNSUPPORTED = 3
    BAD_FILE = 4
    INTERRUPTED = 130


class ErrorMappingGroup(click.Group):
    """A group whose commands end with an `Exit` code and a message instead of a traceback for expected errors."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what the user wrote, to show it again with what is missing."""
        ctx.meta["rnnrt.words"] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; expected exceptions are reported and end with their exit code."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _print_json(ctx, Exit.USAGE, {"type": type(error).__name__, "message": error.format_message()})
            raise
        except (rnnrt.RnnrtError, OSError, ModuleNotFoundError) as error:
            code = _report(ctx, error)
            if code is None:
                raise
            ctx.exit(code)


def json_option(command: Command) -> Command:
    """Add ``--json``; the command gets ``as_json``, and errors are then reported as JSON on stdout too."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
        ctx.find_root().meta["rnnrt.json"] = ctx.info_name if value else None
        return value

    option = click.option("--json", "as_json", is_flag=True, callback=remember, help="Print one JSON document instead.")
    return option(command)


def _report(ctx: click.Context, error: Exception) -> Exit | None:
    """Say on stderr (with --json also on stdout) what went wrong; None: not an expected error."""
    code, lines, details = _explain(error)
    if code is None:
        return None
    if command := _completed(ctx, error):
        lines.append(f"  {_all_at_once(command)}: {command}")
        details["command"] = command
    console = output.stderr()
    for line in lines:
        console.print(f"[red]error[/]: {escape(line)}" if line is lines[0] else escape(line))
    _print_json(ctx, code, {"type": type(error).__name__, "message": lines[0], **details})
    return code


def _completed(ctx: click.Context, error: Exception) -> str:
    """What the user wrote with all that is still to be said, N and VALUE for what is not known; empty: nothing is."""
    options = [hint.option for hint in getattr(error, "hints", ()) if getattr(hint, "option", "")]
    return " ".join(["rnnrt", shlex.join(ctx.meta["rnnrt.words"]), *options]) if options else ""


def _all_at_once(command: str) -> str:
    """What `_completed` is, and what is to be put in."""
    meaning = {"N": "N: how many numbers one step takes", "VALUE": "VALUE: a number"}
    found = [text for word, text in meaning.items() if re.search(rf"[=,]{word}\b", command)]
    return f"all of it at once ({'; '.join(found)})" if found else "all of it at once"


def _print_json(ctx: click.Context, code: Exit, error: dict[str, Any]) -> None:
    """The error as a document, where the user asked for such."""
    if command := ctx.meta.get("rnnrt.json"):
        output.print_json(command, {"ok": False, "exit_code": int(code), "error": error})


def _explain(error: Exception) -> tuple[Exit | None, list[str], dict[str, Any]]:
    """Exit code, lines for people (the first is the message), details for machines."""
    if isinstance(error, rnnrt.UnsupportedError):
        usage = bool(error.problems) and all(getattr(problem, "usage", False) for problem in error.problems)
        return Exit.USAGE if usage else Exit.UNSUPPORTED, *_explain_unsupported(error, usage)
    if isinstance(error, rnnrt.VerificationError):
        return Exit.VERIFICATION_FAILED, [str(error)], {"report": _plain(getattr(error, "report", None))}
    if isinstance(error, rnnrt.RnnrtError):  # ModelFormatError and whatever else a file can be refused with
        return Exit.BAD_FILE, [str(error)], {}
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in ("", "rnnrt"):  # a fault of ours
            return None, [], {}
        install = how_to_install(package)
        return Exit.USAGE, [f"this needs {package}, not installed here: {install}"], {"missing": package}
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        where = f"{error.filename}: " if error.filename else ""
        return Exit.BAD_FILE, [f"{where}{error.strerror or error}"], {"file": error.filename}
    return None, [], {}


def _explain_unsupported(error: Any, usage: bool) -> tuple[list[str], dict[str, Any]]:
    problems = list(getattr(error, "problems", ()) or ())
    if not problems:
        return [str(error)], {"problems": []}
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    head, _, more = str(error).partition("\n")
    what = head.rstrip(":") if more else "this model can't be converted"
    what = "these options do not fit the model" if usage else what
    lines = [f"{what}: {count}", *(f"  {problem}" for problem in problems)]
    lines += [f"  hint: {hint}" for hint in error.hints]
    names = ("node", "op", "attribute", "reason")
    listed = [{name: getattr(problem, name, "") for name in names} for problem in problems]
    return lines, {"problems": listed, "hints": error.hints}


def _plain(report: Any) -> Any:
    return report.to_dict() if hasattr(report, "to_dict") else report
