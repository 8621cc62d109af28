"""The picture of ``rnnrt bench --compare``: time per step of two cells over the hidden size, and their ratio.

matplotlib (the extra ``plot``) is imported when a picture is drawn, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnrt.compare import Comparison

FORMATS = (".png", ".svg", ".pdf")
"""File types that `draw_comparison` writes."""

_INK, _FAINT = "#222222", "#6f6f6f"
_COLOURS = ("#0b6e99", "#c8553d")  # told apart by lightness too, and with red-green colour blindness
_BAR = "#9fcbdc"


def require() -> None:
    """Raise ModuleNotFoundError at once if there is no matplotlib to draw with."""
    import matplotlib.figure  # noqa: F401


def draw_comparison(comparison: Comparison, path: str | Path) -> None:
    """Draw time per step and the ratio between two cells.

    Parameters
    ----------
    comparison : Comparison
        What `rnnrt.compare.compare` measured; at least one hidden size.
    path : str or Path
        Where the picture goes; the suffix (`FORMATS`) chooses the file type.

    Raises
    ------
    ValueError
        The suffix is none of `FORMATS`.
    ModuleNotFoundError
        matplotlib is missing (``pip install matplotlib``).
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"can't draw a {path.suffix or 'suffixless'} file: expected one of {', '.join(FORMATS)}")
    import matplotlib
    from matplotlib.figure import Figure  # no pyplot: no window system, no global state
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # A fixed salt and no date: the same measurements give the same SVG.
    with matplotlib.rc_context({"svg.hashsalt": "rnnrt", "svg.fonttype": "path", "font.size": 10.5}):
        figure = Figure(figsize=(10.5, 4.8), dpi=160, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06))
        times, ratios = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_times(times, comparison)
        _draw_ratios(ratios, comparison)
        figure.suptitle(_title(comparison), x=0.012, ha="left", fontsize=13, fontweight="bold", color=_INK)
        figure.supxlabel(_footer(comparison), x=0.012, ha="left", fontsize=8, color=_FAINT)
        metadata: dict[str, Any] = {"Date": None} if path.suffix.lower() == ".svg" else {}
        figure.savefig(path, metadata=metadata, facecolor="white")


def _title(comparison: Comparison) -> str:
    a, b = comparison.cells
    return f"{a.upper()} and {b.upper()} at equal hidden size: microseconds per time step"


def _footer(comparison: Comparison) -> str:
    width = "input size = hidden size" if comparison.input_size is None else f"input size {comparison.input_size}"
    precision = "f32" if comparison.quantize is None else comparison.quantize
    return (
        f"rnnrt {comparison.version}, {precision} weights, {width}, batch 1, one thread, stepping from Python, "
        f"{comparison.isa} on {comparison.cpu}"
    )


def _draw_times(axes: Any, comparison: Comparison) -> None:
    sizes = [row.hidden for row in comparison.rows]
    for column, (cell, colour) in enumerate(zip(comparison.cells, _COLOURS, strict=True)):
        p50 = [row.cells[column].timing.p50_us for row in comparison.rows]
        p99 = [row.cells[column].timing.p99_us for row in comparison.rows]
        axes.fill_between(sizes, p50, p99, color=colour, alpha=0.14, linewidth=0)
        axes.plot(sizes, p50, color=colour, marker="o", markersize=5, linewidth=2)
        below = p50[-1] <= min(row.cells[1 - column].timing.p50_us for row in comparison.rows[-1:])
        axes.annotate(
            f"{cell.upper()}",
            (sizes[-1], p50[-1]),
            xytext=(9, -3 if below else 0),
            textcoords="offset points",
            color=colour,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )
        for x, y in zip(sizes, p50, strict=True):
            axes.annotate(
                _short(y),
                (x, y),
                xytext=(0, -13 if below else 9),
                textcoords="offset points",
                color=colour,
                fontsize=8.5,
                ha="center",
                va="center",
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.margins(x=0.09, y=0.13)
    _name_sizes(axes, sizes)
    axes.set_title("median, shaded up to the 99th percentile", fontsize=10, loc="left", color=_FAINT)
    axes.set_ylabel("µs per step (log)", color=_INK)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.tick_params(axis="y", which="minor", labelsize=8.5)
    axes.grid(True, which="major", axis="both", color="#e2e2e2", linewidth=0.8)


def _draw_ratios(axes: Any, comparison: Comparison) -> None:
    rows, (a, b) = comparison.rows, (cell.upper() for cell in comparison.cells)
    place, measured = range(len(rows)), [row.time_ratio for row in rows]
    bars = axes.bar(place, measured, width=0.62, color=_BAR, label="time per step, measured")
    axes.bar_label(bars, [f"{value:.2f}" for value in measured], label_type="center", fontweight="bold", color=_INK)
    line = {"color": "#000000", "linewidth": 1.3, "linestyle": (0, (4, 3))}
    axes.axhline(comparison.theory, label=f"parameters: {comparison.theory:.3g}", **line)
    axes.set_xticks(list(place), [str(row.hidden) for row in rows])
    axes.set_xlabel("hidden size", color=_INK)
    axes.set_title(f"{a} / {b}", fontsize=10, loc="left", color=_FAINT)
    axes.set_ylim(0, 1.2 * max(*measured, comparison.theory))
    axes.legend(loc="upper left", fontsize=9, frameon=False, ncols=2, borderaxespad=0.2, columnspacing=1.2)
    _open_frame(axes)


def _name_sizes(axes: Any, sizes: Sequence[int]) -> None:
    axes.set_xticks(list(sizes), [str(size) for size in sizes])
    axes.minorticks_on()
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.set_xlabel("hidden size", color=_INK)
    _open_frame(axes)


def _open_frame(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b5b5b5")
    axes.tick_params(colors=_INK)
    axes.set_axisbelow(True)


def _short(us: float) -> str:
    """Three significant digits at most."""
    return f"{us:.0f}" if us >= 100 else f"{us:.1f}" if us >= 10 else f"{us:.2f}"
