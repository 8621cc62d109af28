"""What goes where: results to stdout, everything else to stderr and, if it moves, only to a terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

_PIPE_WIDTH = 160  # columns when stdout is no terminal: nothing is cut off in a log file


def stdout() -> Console:
    """Results. Made anew for each use: tests and pipes replace sys.stdout."""
    return _console(stderr=False)


def stderr() -> Console:
    """Progress, warnings and errors."""
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    terminal = bool(getattr(stream, "isatty", lambda: False)())
    return Console(
        stderr=stderr, highlight=False, emoji=False, soft_wrap=not terminal, width=None if terminal else _PIPE_WIDTH
    )


def print_json(command: str, content: Mapping[str, Any], version: int = 1) -> None:
    """Print one JSON document with its schema's name; numbers JSON doesn't have become null."""
    document = {"schema": f"rnnrt.{command}/{version}", **content}
    sys.stdout.write(json.dumps(_jsonable(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(v) for v in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> Table:
    """A plain table; the columns named in ``right`` are right-aligned."""
    found = Table(title=escape(title) or None, title_justify="left", title_style="bold", box=None, pad_edge=False,
                  header_style="dim")  # fmt: skip
    for name in columns:
        found.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in right)
    for row in rows:
        found.add_row(*(escape(cell(value)) for value in row))
    return found


def cell(value: Any) -> str:
    """A value as table text: floats with four significant digits, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "inf" if value == math.inf else "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def size(count: int | float | None) -> str:
    """Bytes for people: ``512 B``, ``2.87 MB`` (powers of ten)."""
    if count is None:
        return "-"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}" if count / scale < 100 else f"{count / scale:.0f} {unit}"
    return f"{count:.0f} B"


def threads(count: int) -> str:
    """``one thread``, ``2 threads``."""
    return "one thread" if count == 1 else f"{count} threads"


def shape(dims: Iterable[Any]) -> str:
    """``[B, T, 161]``: symbols by letter, also when they come as the numbers of ``rnnrt.h``."""
    letters = {-2: "T", -3: "B"}
    return "[" + ", ".join(letters.get(d, str(d)) if isinstance(d, int) else str(d) for d in dims) + "]"


@contextmanager
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """While the block runs, show what it is doing on stderr if that is a terminal; yields a function to say so."""
    console = stderr()
    if not console.is_terminal:
        yield lambda message: None
        return
    with console.status(escape(what)) as status:
        yield lambda message: status.update(escape(message))


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr if that is a terminal; yields a function that takes the done fraction."""
    console = stderr()
    if not console.is_terminal:
        yield lambda fraction: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task(escape(what), total=1.0)

        def show(fraction: float) -> None:
            bar.update(task, completed=fraction)
            bar.refresh()

        yield show
