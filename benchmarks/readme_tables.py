"""The results of measure.py as Markdown tables, and their place in README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


TIMES = ("rnnrt int8", "rnnrt f16", "rnnrt f32", "onnxruntime f32", "onnxruntime IO binding", "onnxruntime int8")
TITLES = {"models": "model", "layers": "layer: inputs, hidden units"}


def tables(measured: Mapping[str, Any]) -> str:
    """Real models, then single layers: one row each."""
    machine, versions = measured["machine"], measured["versions"]
    lines = [
        f"{machine['cpu']}, one thread, batch 1, from Python, median us per step; {_versions(versions)}.",
        "The ratios are onnxruntime's f32 `run` over rnnrt. SQNR and the largest error, scaled by max(1, |y|), are",
        "against onnxruntime's f32 over the same frames.",
    ]
    for name, title in TITLES.items():
        rows = [row for row in measured["results"] if row["table"] == name]
        if rows:
            lines += ["", *_table(title, rows)]
    kept = {row["name"]: row["quantize_dynamic"] for row in measured["results"]}
    layers: dict[str, list[str]] = {}
    for row, about in kept.items():
        layers.setdefault(about, []).append(row.replace(",", ""))
    lines += [
        "",
        "What onnxruntime's `quantize_dynamic` makes int8 (nothing of a GRU, nothing inside an If):",
        "",
    ]
    lines += [f"- {about}: {', '.join(names)}" for about, names in layers.items()]
    return "\n".join(lines) + "\n"


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown lines."""
    heads = [title, *TIMES, "int8 faster", "f32 faster"]
    heads += ["int8 SQNR dB (onnxruntime's)", "f32 error"]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 1)}"]
    for row in rows:
        p50, sqnr = row["p50_us"], row["sqnr_db"]
        theirs = p50["onnxruntime f32"]
        cells = [row["name"], *(_number(p50.get(name), ".3g" if p50.get(name, 0) < 100 else ".0f") for name in TIMES)]
        cells += [f"{theirs / p50[name]:.2f}" for name in ("rnnrt int8", "rnnrt f32")]
        other = f" ({sqnr['onnxruntime int8']:.1f})" if "onnxruntime int8" in sqnr else ""
        cells += [f"{sqnr['rnnrt int8']:.1f}{other}", f"{row['error']['rnnrt f32']:.1e}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


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
