"""``rnnrt bench --profile``: where a model's time goes, stepping and for many frames at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rnnrt
from rnnrt.bench import cpu_name
from rnnrt.cli import output
from rnnrt.cli.arguments import usage_errors
from rnnrt.contenders import Feed
from rnnrt.profile import Profile, profile


def profile_model(
    file: Path, model: rnnrt.Model, feeds: Sequence[Feed], frames: int, seconds: float, as_json: bool
) -> None:
    """Measure and print; a model that can't be stepped only over ``frames`` at once."""
    times = dict.fromkeys((1, frames) if model.streamable else (frames,))
    with usage_errors(), output.progress_bar("timing") as show:
        profiles = [profile(model, _inputs(model, feeds, t), time=t, seconds=seconds, on_round=show) for t in times]
    if as_json:
        content = {"ok": True, "file": str(file), "mode": "profile", "threads": model.threads, "cpu": cpu_name()}
        output.print_json("bench", {**content, "profiles": [p.to_dict() for p in profiles]})
        return
    output.stdout().print(
        f"{file}, batch 1, {output.threads(model.threads)}, {model.isa} on {cpu_name()}", markup=False
    )
    for found in profiles:
        _print(found)


def _inputs(model: rnnrt.Model, feeds: Sequence[Feed], time: int) -> dict[str, Any]:
    """``time`` steps of every input, the feeds one after the other and again."""
    found = {}
    for info in model.inputs:
        steps = [feeds[i % len(feeds)][info.name] for i in range(time)]
        shape = tuple(1 if isinstance(d, str) else d for d in info.shape)
        steps = [np.ascontiguousarray(step, info.dtype).reshape(shape) for step in steps]
        axis = info.shape.index("T") if "T" in info.shape else None
        if axis is not None:
            found[info.name] = np.concatenate(steps, axis)
        else:
            found[info.name] = steps[0] if model.has_time else np.stack(steps)
    return found


def _print(found: Profile) -> None:
    console = output.stdout()
    unit = "us" if found.time == 1 else f"us per {found.time} frames"
    heading = "a step" if found.time == 1 else f"{found.time} frames in one call"
    rows: list[tuple[Any, ...]] = [
        (n.name or "-", n.op, n.weights, output.size(n.weight_bytes or None), n.us, _percent(n.share), n.gb_per_s)
        for n in found.nodes
        if n.us > 0
    ]
    rest = found.rest_us / found.total_us if found.total_us else 0.0
    rows.append(("(inputs, states, outputs)", "-", None, "-", found.rest_us, _percent(rest), None))
    columns = ("node", "operator", "weights", "bytes", unit, "%", "GB/s")[: 7 if found.time == 1 else 6]
    rows = [row[: len(columns)] for row in rows]
    console.print(output.table(heading, columns, rows, right=columns[3:]))
    totals = [(part.op, part.count, part.us, _percent(part.share)) for part in found.operators if part.us > 0]
    console.print(output.table("", ("operator", "nodes", unit, "%"), totals, right=("nodes", unit, "%")))
    console.print(
        f"sum {found.total_us:.4g} us, {found.total_us / found.time:.4g} us a frame; without looking "
        f"{found.call_us:.4g} us; medians of {found.calls} calls, {found.clock_ns} ns of clock taken off each node",
        markup=False,
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
