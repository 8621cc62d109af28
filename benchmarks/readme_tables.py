"""The results of measure.py as Markdown: all of them for docs/speed.md, a few rows for README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

OURS = ("rnnrt int8", "rnnrt f16", "rnnrt f32")
THEIRS = {"onnxruntime f32": "run", "onnxruntime IO binding": "IO binding", "onnxruntime int8": "int8"}
SIZES = "inputs, hidden units"
LAYERS = f"GRU and LSTM are single layers: {SIZES}"
TITLES = {"models": "model", "layers": f"layer: {SIZES}"}
README_ROWS = ("NSNet2 16 kHz", "Silero VAD (main)", "DTLN", "Resemblyzer", "GRU 128", "LSTM 512")
TIMES = "Times are medians in microseconds per step (or per call, where the row says so)"


def tables(measured: Mapping[str, Any]) -> str:
    """Everything: real models, then single layers, one row each; then what onnxruntime quantized."""
    lines = [
        _machine(measured),
        f"{TIMES}. `onnxruntime run` and `IO binding` are its f32 model, `onnxruntime int8` what its",
        "`quantize_dynamic` makes of that, where it makes anything. Ratios are onnxruntime's time over rnnrt's; its",
        "fastest is the smallest of its three times, whatever its precision. SQNR, and the largest error scaled by",
        "max(1, |y|), are against onnxruntime's f32 over the same frames.",
    ]
    for name, title in TITLES.items():
        rows = [row for row in measured["results"] if row["table"] == name]
        if rows:
            heads = [title, *OURS, *(f"onnxruntime {name}" for name in THEIRS.values())]
            heads += ["f32 against its f32 `run`", "int8 against its f32 `run`", "int8 against its fastest"]
            heads += ["SQNR dB of int8", "SQNR dB of onnxruntime's int8", "error of f32"]
            lines += ["", *_table(heads, [_row(row) for row in rows])]
    made: dict[str, list[str]] = {}
    for row in measured["results"]:
        made.setdefault(row["quantize_dynamic"], []).append(row["name"])
    heads = ["`quantize_dynamic` makes int8", "of"]
    lines += ["", *_table(heads, [[what, "; ".join(names)] for what, names in made.items()], right=False)]
    return "\n".join(lines) + "\n"


def summary(measured: Mapping[str, Any]) -> str:
    """The rows of `README_ROWS`.

    Raises
    ------
    ValueError
        One of them was not measured.
    """
    found = []
    for start in README_ROWS:
        row = next((row for row in measured["results"] if row["name"].startswith(start)), None)
        if row is None:
            raise ValueError(f"{start} was not measured")
        p50 = row["p50_us"]
        fastest = _fastest(p50)
        cells = [row["name"], _time(p50["rnnrt f32"]), _time(p50["rnnrt int8"]), _time(p50["onnxruntime f32"])]
        cells += [f"{_time(p50[fastest])} ({THEIRS[fastest]})"]
        found.append([*cells, *_ratios(p50)])
    heads = ["", "rnnrt f32", "rnnrt int8", "onnxruntime f32 `run`", "onnxruntime's fastest"]
    heads += ["f32 against f32", "int8 against f32", "int8 against its fastest"]
    lines = [_machine(measured), f"{TIMES}, ratios onnxruntime's over rnnrt's.", f"{LAYERS}."]
    return "\n".join([*lines, "", *_table(heads, found), ""])


def _machine(measured: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    return f"{measured['machine']['cpu']}, one thread, batch 1, from Python; {versions}."


def _row(row: Mapping[str, Any]) -> list[str]:
    p50, sqnr = row["p50_us"], row["sqnr_db"]
    cells = [row["name"], *(_time(p50[name]) if name in p50 else "" for name in (*OURS, *THEIRS)), *_ratios(p50)]
    cells += [f"{sqnr[name]:.1f}" if name in sqnr else "" for name in ("rnnrt int8", "onnxruntime int8")]
    return [*cells, f"{row['error']['rnnrt f32']:.1e}"]


def _fastest(p50: Mapping[str, float]) -> str:
    return min((name for name in THEIRS if name in p50), key=lambda name: p50[name])


def _ratios(p50: Mapping[str, float]) -> list[str]:
    """f32 and int8 against f32 `run`, int8 against what is fastest."""
    f32, fastest = p50["onnxruntime f32"], p50[_fastest(p50)]
    return [f"{theirs / p50[name]:.2f}" for theirs, name in ((f32, OURS[2]), (f32, OURS[0]), (fastest, OURS[0]))]


def _time(value: float) -> str:
    return format(value, ".3g" if value < 100 else ".0f")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: bool = True) -> list[str]:
    """Markdown lines; all columns but the first are numbers unless ``right`` is false."""
    lines = [f"| {' | '.join(heads)} |", "|---|" + ("--:|" if right else "---|") * (len(heads) - 1)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


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
