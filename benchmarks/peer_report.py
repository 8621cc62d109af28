"""The results of peers.py as Markdown tables, as ratios, and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Results: TypeAlias = "Sequence[Mapping[str, Any]]"

MODES = {
    "stream": "stepping, batch 1",
    "sequence-1": "a sequence of 100 steps in one call, batch 1",
    "sequence-32": "a sequence of 100 steps in one call, batch 32",
}
LIMIT = "limit"
OURS = ("rnnrt", "rnnrt 2 threads")
PEERS = {"rnnrt": "#0b6e99", "onnxruntime": "#c8553d", "torch": "#7a5195", "LiteRT": "#2f8f4e", "ncnn": "#b8860b"}
MARKERS = {"int4": "v", "int8": "o", "f16": "D", "f32": "s"}


def tables(measured: Mapping[str, Any]) -> str:
    """Versions, then for each mode and cell a row for every variant and a row for every ratio."""
    machine = measured["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.1f} at the start, {machine['platform']}, "
        f"Python {machine['python']}; {', '.join(f'{k} {v}' for k, v in measured['versions'].items() if k != LIMIT)}.",
    ]
    lines += [f"Absent: {name} ({reason})." for name, reason in measured["absent"].items()]
    for mode, title in MODES.items():
        for cell in ("gru", "lstm"):
            results = [r for r in measured["results"] if r["mode"] == mode and r["cell"] == cell]
            if results:
                lines += ["", f"### {cell.upper()}, {title}", "", *_table(results)]
    ratios = _cells_ratio([r for r in measured["results"] if r["mode"] == "stream"])
    if ratios:
        lines += ["", "### GRU over LSTM, stepping (3/4 of the weights)", "", *ratios]
    failures = {f"{r['library']} {r['name']}, {r['layer']}, {r['mode']}": r["failed"] for r in measured["results"]
                if "failed" in r}  # fmt: skip
    if failures:
        lines += ["", "Failed:", "", *(f"- {what}: {why.strip().splitlines()[-1]}" for what, why in failures.items())]
    return "\n".join(lines) + "\n"


def _title(result: Mapping[str, Any]) -> str:
    return f"{result['library']} {result['name']}".strip()


def _layers(results: Results) -> list[str]:
    return list(dict.fromkeys(r["layer"] for r in results))


def _table(results: Results) -> list[str]:
    layers = _layers(results)
    heads = {r["layer"]: f"{r['inputs']}, {r['hidden']}" for r in results}
    lines = [
        f"| us per step; inputs, hidden | {' | '.join(heads[layer] for layer in layers)} | least SQNR dB |",
        f"|---|{'--:|' * (len(layers) + 1)}",
    ]
    for title in dict.fromkeys(_title(r) for r in results if "p50_us" in r):
        rows = {r["layer"]: r for r in results if _title(r) == title}
        sqnr = [r["sqnr_db"] for r in rows.values() if r.get("sqnr_db") is not None]
        cells = [_us(_time(rows[layer])) + _disturbed(rows[layer]) if layer in rows else "" for layer in layers]
        lines.append(f"| {title} | {' | '.join(cells)} | {f'{min(sqnr):.0f}' if sqnr else ''} |")
    for title, ratio in ratios(results).items():
        cells = [f"{ratio[layer]:.2f}" if layer in ratio else "" for layer in layers]
        lines.append(f"| *{title}* | {' | '.join(cells)} | |")
    return lines


def _time(result: Mapping[str, Any]) -> float | None:
    """The median; of the limit the best slice."""
    return result.get("best_us" if result["library"] == LIMIT else "p50_us")


def _disturbed(result: Mapping[str, Any]) -> str:
    return "~" if result.get("cpu_share", 1.0) < 0.9 else ""


def _us(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def ratios(results: Results) -> dict[str, dict[str, float]]:
    """What -> layer -> ratio, over results of one cell and one mode; whatever lacks a time is left out."""

    def time(layer: str, library: str, name: str) -> float | None:
        return next(
            (_time(r) for r in results if (r["layer"], r["library"], r["name"]) == (layer, library, name)), None
        )

    def fastest(layer: str, name: str = "") -> float | None:
        """Of the peers; ``name``: only with weights like that."""
        times = (
            _time(r)
            for r in results
            if r["layer"] == layer and r["library"] not in (*OURS, LIMIT) and r["name"].startswith(name)
        )
        return min((t for t in times if t is not None), default=None)

    def fastest_eight(layer: str) -> float | None:
        """Of the peers, with weights of 8 bits or more."""
        return min((t for t in (fastest(layer, "int8"), fastest(layer, "f32")) if t is not None), default=None)

    wanted: dict[str, tuple[Callable[[str], float | None], Callable[[str], float | None]]] = {
        "fastest peer (8 bits or more) / rnnrt int8": (fastest_eight, lambda n: time(n, "rnnrt", "int8")),
        "fastest f32 peer / rnnrt f32": (lambda n: fastest(n, "f32"), lambda n: time(n, "rnnrt", "f32")),
        "fastest int4 peer / rnnrt int4": (lambda n: fastest(n, "int4"), lambda n: time(n, "rnnrt", "int4")),
        "rnnrt int8 in C / load limit": (lambda n: time(n, "rnnrt", "int8 in C"), lambda n: time(n, LIMIT, "int8")),
        "rnnrt f32 in C / load limit": (lambda n: time(n, "rnnrt", "f32 in C"), lambda n: time(n, LIMIT, "f32")),
        "ceiling: fastest peer (8 bits or more) / load limit int8": (
            fastest_eight,
            lambda n: time(n, LIMIT, "int8"),
        ),
        "ceiling: fastest f32 peer / load limit f32": (
            lambda n: fastest(n, "f32"),
            lambda n: time(n, LIMIT, "f32"),
        ),
        "ceiling: fastest int4 peer / load limit int4": (
            lambda n: fastest(n, "int4"),
            lambda n: time(n, LIMIT, "int4"),
        ),
        "ceiling: fastest peer (8 bits or more) / int8 products at their peak": (
            fastest_eight,
            lambda n: time(n, LIMIT, "int8 products"),
        ),
        "int8 products at their peak / rnnrt int8": (
            lambda n: time(n, LIMIT, "int8 products"),
            lambda n: time(n, "rnnrt", "int8"),
        ),
        "rnnrt int8 / with AVX2 only": (
            lambda n: time(n, "rnnrt", "int8"),
            lambda n: time(n, "rnnrt", "int8 avx2"),
        ),
        "rnnrt int8, one thread / two": (
            lambda n: time(n, "rnnrt", "int8"),
            lambda n: time(n, "rnnrt 2 threads", "int8"),
        ),
    }
    found: dict[str, dict[str, float]] = {}
    for title, (above, below) in wanted.items():
        pairs = {layer: (above(layer), below(layer)) for layer in _layers(results)}
        row = {layer: a / b for layer, (a, b) in pairs.items() if a is not None and b}
        if row:
            found[title] = row
    return found


def _cells_ratio(results: Results) -> list[str]:
    sizes = list(dict.fromkeys((r["inputs"], r["hidden"]) for r in results))
    lines = []
    for name in ("int8 in C", "int8", "f32 in C", "f32"):
        row = {}
        for size in sizes:
            times = {
                r["cell"]: _time(r)
                for r in results
                if (r["inputs"], r["hidden"]) == size and (r["library"], r["name"]) == ("rnnrt", name)
            }
            gru, lstm = times.get("gru"), times.get("lstm")
            if gru and lstm:
                row[size] = gru / lstm
        if row:
            lines.append(f"| rnnrt {name} | {' | '.join(f'{row[s]:.2f}' if s in row else '' for s in sizes)} |")
    heads = [f"| | {' | '.join(f'{i}, {h}' for i, h in sizes)} |", f"|---|{'--:|' * len(sizes)}"]
    return [*heads, *lines] if lines else []


def draw(measured: Mapping[str, Any], path: Path) -> None:
    """Time per step against the bytes of the weights: the limit as a line, every peer as points."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(11, 5.4), dpi=110, layout=ConstrainedLayoutEngine())
    panels = figure.subplots(1, 2, sharey=True)
    for axes, cell in zip(panels, ("gru", "lstm"), strict=True):
        _panel(axes, [r for r in measured["results"] if r["cell"] == cell and r["mode"] == "stream" and _time(r)])
        axes.set_title(cell.upper(), loc="left")
    panels[0].set_ylabel("µs per step, from Python")
    named = max(panels, key=lambda axes: len(axes.lines))
    if named.lines:
        named.legend(fontsize=7.5, frameon=False)
    figure.suptitle(f"Stepping one layer, batch 1, one thread, {measured['machine']['cpu']}", x=0.01, ha="left")
    figure.savefig(path, facecolor="white")


def _panel(axes: Any, results: Results) -> None:
    line = sorted((r["bytes"], _time(r)) for r in results if r["library"] == LIMIT)
    if line:
        axes.plot(*zip(*line), color="black", linewidth=1.2, label="load limit")
    for library, colour in PEERS.items():
        for name, marker in MARKERS.items():
            points = sorted((r["bytes"], _time(r)) for r in _of(results, library, name))
            if points:
                label = f"{library} {name}"
                axes.plot(*zip(*points), color=colour, marker=marker, markersize=4.5, linewidth=0.6, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("bytes of weights")
    axes.grid(True, color="#e2e2e2", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _of(results: Results, library: str, name: str) -> Iterable[Mapping[str, Any]]:
    return (r for r in results if (r["library"], r["name"]) == (library, name))
