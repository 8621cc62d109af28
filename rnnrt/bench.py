"""Timing one step of a model, beside onnxruntime, fairly.

Contenders take turns in short slices (A B C A B C ...), so that a disturbed moment or a drifting clock hits all of
them alike; every step is timed alone, and medians over all slices are compared. One thread, no spinning pools.
The time that reading the clock takes (the median of empty intervals) is taken off each step.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import rnnrt
from rnnrt.contenders import Feed, OrtBound, OrtModel, OrtRun, StreamContender, largest_error, seeded_feeds

_CLOCK = time.perf_counter_ns
_STEPS_AT_MOST = 20_000  # a slice: bounds the memory of very fast contenders


class Contender(Protocol):
    """Something that can be asked for a slice of timed steps."""

    @property
    def name(self) -> str:
        """What it is called in the table."""

    def slice(self, steps: int) -> list[int]:
        """Run and time ``steps`` time steps one by one; nanoseconds of each."""


@dataclass(frozen=True)
class Timing:
    """Microseconds per step of one contender."""

    name: str
    p50_us: float
    p90_us: float
    p99_us: float
    min_us: float
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class BenchReport:
    """What `bench_model` measured; the first timing is rnnrt's and ratios are over it."""

    timings: tuple[Timing, ...]
    isa: str
    cpu: str
    load: float
    clock_ns: float
    seconds: float
    max_scaled_error: float | None = None  # rnnrt against onnxruntime over the same steps; None: not compared
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def ratio(self, timing: Timing) -> float:
        """How many times the first contender's median this one's is."""
        return timing.p50_us / self.timings[0].p50_us

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = asdict(self)
        plain["timings"] = [{**t.to_dict(), "ratio": self.ratio(t)} for t in self.timings]
        return plain | {"notes": list(self.notes), "versions": dict(self.versions)}


def clock_cost_ns() -> float:
    """Median nanoseconds between two readings of the clock with nothing in between."""
    empty = []
    for _ in range(2001):
        begin = _CLOCK()
        empty.append(_CLOCK() - begin)
    return statistics.median(empty)


def interleave(
    contenders: Sequence[Contender],
    seconds: float = 3.0,
    slice_seconds: float = 0.03,
    on_round: Callable[[float], None] | None = None,
) -> list[Timing]:
    """Time contenders in turns.

    Parameters
    ----------
    contenders : sequence of Contender
        At least one; they take turns in this order.
    seconds : float
        About how long to time each contender, in seconds.
    slice_seconds : float
        Seconds of one turn.
    on_round : callable, optional
        Told the done fraction (0 to 1) after every round.

    Returns
    -------
    list of Timing
        In the order of ``contenders``.

    Raises
    ------
    ValueError
        No contender, or a time that is not positive.
    """
    if not contenders:
        raise ValueError("nothing to time: contenders is empty")
    if not (seconds > 0 and slice_seconds > 0):
        raise ValueError(f"seconds and slice_seconds must be > 0, got {seconds} and {slice_seconds}")
    steps = [_steps_for(contender, slice_seconds) for contender in contenders]
    times: list[list[int]] = [[] for _ in contenders]
    rounds = max(3, round(seconds / slice_seconds))
    clock = clock_cost_ns()
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of a step is not the step's
    try:
        for number in range(rounds):
            for contender, count, all_times in zip(contenders, steps, times, strict=True):
                all_times.extend(contender.slice(count))
            if on_round:
                on_round((number + 1) / rounds)
    finally:
        if collecting:
            gc.enable()
    return [_timing(c.name, taken, clock) for c, taken in zip(contenders, times, strict=True)]


def _steps_for(contender: Contender, slice_seconds: float) -> int:
    """How many steps fill a slice; also warms the contender up."""
    contender.slice(3)
    typical = statistics.median(contender.slice(20)) + 150  # ns; 150: the loop around a step
    count = int(slice_seconds * 1e9 / typical)
    contender.slice(min(max(count, 1), 2000))
    return min(max(count, 1), _STEPS_AT_MOST)


def _timing(name: str, nanoseconds: Sequence[int], clock: float) -> Timing:
    us = np.maximum(np.asarray(nanoseconds, np.float64) - clock, 0.0) / 1e3
    p50, p90, p99 = np.percentile(us, [50, 90, 99])
    return Timing(name, float(p50), float(p90), float(p99), float(us.min()), len(us))


def host() -> dict[str, Any]:
    """Where a measurement was taken: CPU model, core count, one-minute load, platform."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """The CPU's marketing name, or the machine type where the system doesn't tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def bench_model(
    model: rnnrt.Model,
    against: OrtModel | None = None,
    *,
    feeds: Sequence[Feed] | None = None,
    seconds: float = 3.0,
    on_round: Callable[[float], None] | None = None,
) -> BenchReport:
    """Time a step of a model, batch 1, beside onnxruntime if given.

    Parameters
    ----------
    model : Model
        Streamable.
    against : OrtModel, optional
        The same model in onnxruntime: timed through ``run`` and through IO binding, and compared.
    feeds : sequence of dict, optional
        Time steps to go through; None: `seeded_feeds`.
    seconds : float
        About how long to time each contender, in seconds.
    on_round : callable, optional
        Told the done fraction, 0 to 1.

    Returns
    -------
    BenchReport

    Raises
    ------
    UnsupportedError
        The model can't be stepped.
    """
    feeds = list(feeds or seeded_feeds(model))
    contenders: list[Contender] = [StreamContender("rnnrt step", model, feeds)]
    notes, versions, error = _surroundings(), {"rnnrt": rnnrt.__version__, "numpy": np.__version__}, None
    if against is not None:
        versions["onnxruntime"] = against.version
        contenders += [OrtRun(against, feeds), OrtBound(against, feeds)]
        error = largest_error(model, against, feeds)
        if model.states and not against.states:
            notes.append(
                "onnxruntime starts every timed step from zeros, since this ONNX file keeps its state inside the "
                "graph: the same work, but it can't stream. The error was measured over whole sequences"
            )
    timings = interleave(contenders, seconds, on_round=on_round)
    machine = host()
    return BenchReport(
        tuple(timings),
        model.isa,
        machine["cpu"],
        machine["load"],
        clock_cost_ns(),
        seconds,
        error,
        tuple(notes),
        versions,
    )


def _surroundings() -> list[str]:
    """What about this machine makes times doubtful, or explains them."""
    found = []
    machine = host()
    if machine["load"] > 0.5 * machine["cores"]:
        found.append(f"the machine is busy (load {machine['load']:.1f} on {machine['cores']} cores): p99 will show it")
    if os.environ.get("RNNRT_ISA"):
        found.append(f"RNNRT_ISA={os.environ['RNNRT_ISA']} chooses the instruction set")
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        setting = governor.read_text(encoding="ascii").strip()
    except OSError:
        setting = ""
    if setting not in ("", "performance"):
        found.append(f"the CPU's frequency governor is '{setting}': the clock may ramp up during the run")
    return found
