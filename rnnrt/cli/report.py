"""How conversion and verification reports look in a terminal. Both come as the plain dicts that --json prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from rnnrt.cli import output

Plain = Mapping[str, Any]


def print_notes(console: Console, notes: Sequence[str]) -> None:
    """What was assumed and what is to be known, one line each."""
    for note in notes:
        kind = "note   " if getattr(note, "fact", False) else "assumed"
        console.print(f"[dim]{kind}[/]  {escape(str(note))}", soft_wrap=True)


def print_layers(console: Console, layers: Sequence[Plain]) -> None:
    """One row per layer with weights: its precision and why."""
    columns = ("layer", "operator", "precision", "reason", "bytes", "was", "weights' SQNR dB")
    rows = [
        (
            layer["node"],
            layer["op"],
            layer["precision"],
            layer["reason"],
            output.size(layer["bytes_after"]),
            output.size(layer["bytes_before"]),
            _decibels(layer.get("weight_sqnr_db"), "-"),
        )
        for layer in layers
    ]
    if rows:
        console.print(output.table("", columns, rows, right=columns[4:]))


def state_bytes(shape: Sequence[int | str]) -> int:
    """What one stream's state variable takes; every one is of four bytes an element."""
    return 4 * math.prod(1 if isinstance(d, str) else d for d in shape)


def print_states(console: Console, content: Plain) -> None:
    """Every state variable with where it comes from, and whether the model streams or which node prevents it."""
    rows = [(s["name"], output.shape(s["shape"]), output.size(s["bytes"]), s["source"]) for s in content["states"]]
    if rows:
        console.print(output.table("", ("state", "shape", "bytes", "from"), rows, right=("bytes",)))
    if content["streamable"]:
        console.print("streamable  yes")
    else:
        reason = content["not_streamable_because"] or "it looks into the future"
        console.print(f"streamable  no: {escape(reason)}", soft_wrap=True)


def print_verification(console: Console, report: Plain) -> None:
    """Every comparison and every bit check of a verification, and what failed."""
    columns = ("output", "against", "max error", "mean error", "SQNR dB", "first 1/10", "last 1/10", "diverges at step")
    rows = [
        (
            c["output"],
            c["against"],
            f"{_number(c['max_error']):.2e}",
            f"{_number(c['mean_error']):.2e}",
            *(_decibels(c[key], "equal") for key in ("sqnr_db", "sqnr_first_tenth_db", "sqnr_last_tenth_db")),
            "never" if c["first_diverging_step"] is None else c["first_diverging_step"],
        )
        for c in report["comparisons"]
    ]
    title = f"verification over {report['frames']} time steps, {report['inputs']} input, seed {report['seed']}"
    console.print(output.table(title, columns, rows, right=columns[2:]))
    kept = [check["name"] for check in report["checks"] if check["passed"]]
    if kept:
        console.print(f"[green]bit for bit[/]  {escape(', '.join(kept))}", soft_wrap=True)
    for note in report["notes"]:
        console.print(f"[dim]note[/]  {escape(note)}", soft_wrap=True)
    for reason in report["failed"]:
        console.print(f"[red]failed[/]  {escape(reason)}", soft_wrap=True)


def verdict(report: Plain) -> str:
    """One line: how close the worst output is, or how much failed."""
    if not report["passed"]:
        count = len(report["failed"])
        return f"verification failed: {count} {'reason' if count == 1 else 'reasons'}"
    errors = [c["max_scaled_error"] for c in report["comparisons"]]
    decibels = [c["sqnr_db"] for c in report["comparisons"] if c["sqnr_db"] is not None]
    if report["precision"] == "f32":
        return f"verified: largest scaled error {max(map(_number, errors), default=0.0):.2g}"
    return f"verified: least SQNR {min(decibels):.1f} dB" if decibels else "verified: equal"


def _decibels(value: float | None, absent: str) -> str:
    """Reports say None for infinite: equal, or no loss."""
    return absent if value is None else f"{value:.1f}"


def _number(value: float | None) -> float:
    """Reports say None for an error that is no finite number."""
    return math.inf if value is None else value
