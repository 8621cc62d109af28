"""The results of measure.py as a Markdown table, and its place in README.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def table(measured: Mapping[str, Any]) -> str:
    """One row a contender; a model's first contender is what the ratios of its rows are over."""
    machine, versions = measured["machine"], measured["versions"]
    lines = [
        f"{machine['cpu']}, one thread, batch 1, per step from Python, us; {_versions(versions)}.",
        "SQNR and the largest error (scaled by max(1, |y|)) are against onnxruntime's f32 over the same frames.",
        "",
        "| model | contender | p50 | p99 | times the first | largest error | SQNR dB |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    model, first = None, 1.0
    for row in measured["results"]:
        new = row["model"] != model
        if new:
            model, first = row["model"], row["p50_us"]
        lines.append(
            f"| {model if new else ''} | {row['contender']} | {row['p50_us']:.2f} | {row['p99_us']:.2f} "
            f"| {row['p50_us'] / first:.2f} | {_number(row['error'], '.1e')} | {_number(row['sqnr_db'], '.1f')} |"
        )
    return "\n".join(lines) + "\n"


def replace(path: Path, text: str) -> None:
    """Put ``text`` between the markers of a file.

    Raises
    ------
    ValueError
        The file has not exactly one pair of markers.
    """
    old = path.read_text(encoding="utf-8")
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(END) < old.index(BEGIN):
        raise ValueError(f"{path}: expected one {BEGIN} and, behind it, one {END}")
    head, tail = old[: old.index(BEGIN) + len(BEGIN)], old[old.index(END) :]
    path.write_text(f"{head}\n{text}{tail}", encoding="utf-8")


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
