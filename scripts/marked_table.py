"""A Markdown table between two markers of a document, which a script writes and a test reads again."""

from __future__ import annotations

import sys
from pathlib import Path


def rows_between(path: Path, begin: str, end: str) -> list[list[str]]:
    """Cells of each row below the table's head."""
    inside = path.read_text(encoding="utf-8").split(begin)[1].split(end)[0]
    lines = [line for line in inside.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


def write_between(path: Path, begin: str, end: str, content: str) -> None:
    """Replace what stands between two markers of a document."""
    head, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def write_or_print(begin: str, end: str, content: str) -> None:
    """Write it into the document that the command line names, or print it where it names none."""
    if len(sys.argv) > 1:
        write_between(Path(sys.argv[1]), begin, end, content)
    else:
        print(content)
