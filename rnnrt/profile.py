"""Where a model's time goes: per node and per operator."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnrt._rnnrt import StreamCore, nodes, record
from rnnrt.arrays import Array, TensorInfo, as_input, mismatch, named

if TYPE_CHECKING:
    from rnnrt.model import Model

__all__ = ["NodeTime", "OperatorTime", "Profile", "profile"]

_FORMATS = {0: None, 1: "f32", 2: "int8", 4: "f16", 5: "int4"}  # rnnrt_dtype of packed weights
_ROWS = 16  # evaluations between two looks at the clock


@dataclass(frozen=True)
class NodeTime:
    """One node of the graph."""

    name: str
    op: str
    """ONNX operator."""
    weights: str | None
    """Format of its packed weights; None: it has none."""
    weight_bytes: int
    us: float
    """Microseconds per call, the median; 0 for a node with nothing to do (a view)."""
    share: float
    """Of the whole call, 0 to 1."""

    @property
    def gb_per_s(self) -> float | None:
        """Bytes of weights over time, for one time step the speed at which they are streamed; None without weights."""
        return self.weight_bytes / self.us / 1e3 if self.weight_bytes and self.us > 0 else None


@dataclass(frozen=True)
class OperatorTime:
    """All nodes of one operator together."""

    op: str
    count: int
    us: float
    share: float


@dataclass(frozen=True)
class Profile:
    """What `profile` measured."""

    nodes: tuple[NodeTime, ...]
    """In the order in which they run."""
    rest_us: float
    """What is no node's: binding inputs, keeping states, copying outputs."""
    call_us: float
    """Median of a call without any probe, beside the sum of the parts: what looking costs."""
    time: int
    """Time steps per call."""
    batch: int
    calls: int
    """How many were timed."""
    clock_ns: int
    """What a probe costs; taken off every node's time already."""
    isa: str

    @property
    def total_us(self) -> float:
        """Sum of all parts, microseconds per call."""
        return sum(node.us for node in self.nodes) + self.rest_us

    @property
    def operators(self) -> tuple[OperatorTime, ...]:
        """By operator, the longest first."""
        found: dict[str, list[NodeTime]] = {}
        for node in self.nodes:
            found.setdefault(node.op, []).append(node)
        parts = [OperatorTime(op, len(n), sum(x.us for x in n), sum(x.share for x in n)) for op, n in found.items()]
        return tuple(sorted(parts, key=lambda part: -part.us))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = asdict(self)
        plain["nodes"] = [{**asdict(node), "gb_per_s": node.gb_per_s} for node in self.nodes]
        plain["operators"] = [asdict(part) for part in self.operators]
        return plain | {"total_us": self.total_us, "us_per_step": self.total_us / max(1, self.time)}


def profile(
    model: Model,
    x: Any = None,
    *,
    time: int = 1,
    batch: int = 1,
    seconds: float = 0.5,
    on_round: Callable[[float], None] | None = None,
) -> Profile:
    """Time every node of a model.

    The C library calls a clock before every node; what that costs is measured and taken off. Calls with and without it
    take turns, medians over all calls are reported, and the state is carried from call to call.

    Parameters
    ----------
    model : Model
        From `load`.
    x : array-like or dict of str to array-like, optional
        Inputs of the model's shapes with `time` steps (a leading axis where the model has no time axis) and `batch`.
        Default: zeros for integers, normal noise for floats.
    time : int
        Time steps per call: 1 is stepping.
    batch : int
        Signals that advance together.
    seconds : float
        About how long to measure, in seconds.
    on_round : callable, optional
        Told the done fraction, 0 to 1.

    Returns
    -------
    Profile

    Raises
    ------
    TypeError, ValueError
        `x` does not fit, or a number that is not positive.
    """
    if time < 1 or batch < 1 or not seconds > 0:
        raise ValueError(f"time, batch and seconds must be positive, got {time}, {batch} and {seconds}")
    shapes = [(info, _shape(model, info, time, batch)) for info in (*model.inputs, *model.outputs)]
    inputs = shapes[: len(model.inputs)]
    arrays = _noise(inputs) if x is None else _given(model, inputs, x)
    arrays += [np.empty(shape, info.dtype) for info, shape in shapes[len(inputs) :]]
    core, about = StreamCore(model, time, batch, model.pool), nodes(model)
    rows: list[Array] = []
    probe_ns: list[int] = []
    begin = clock.monotonic()
    record(core, tuple(arrays), time, np.empty((3, len(about) + 2), np.int64))  # warms up
    while not rows or (clock.monotonic() - begin < seconds):
        rows.append(np.empty((_ROWS, len(about) + 2), np.int64))
        probe_ns.append(record(core, tuple(arrays), time, rows[-1]))
        if on_round:
            on_round(min(1.0, (clock.monotonic() - begin) / seconds))
    evaluations = 1 if model.has_time else time
    return _profile(about, np.concatenate(rows), min(probe_ns), evaluations, time, batch, model.isa)


def _shape(model: Model, info: TensorInfo, time: int, batch: int) -> tuple[int, ...]:
    shape = info.shape if model.has_time else ("T", *info.shape)
    return tuple({"T": time, "B": batch}[d] if isinstance(d, str) else d for d in shape)


def _noise(inputs: list[tuple[TensorInfo, tuple[int, ...]]]) -> list[Array]:
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal(shape).astype(info.dtype) if info.dtype.kind == "f" else np.zeros(shape, info.dtype)
        for info, shape in inputs
    ]


def _given(model: Model, inputs: list[tuple[TensorInfo, tuple[int, ...]]], x: Any) -> list[Array]:
    arrays = []
    for (info, shape), value in zip(inputs, named(model.inputs, x, "inputs")):
        array = as_input(info, value)
        if [d for d in array.shape if d != 1] != [d for d in shape if d != 1]:
            raise mismatch(f"input '{info.name}'", array.shape, shape)
        arrays.append(array.reshape(shape))
    return arrays


def _profile(
    about: list[tuple[str, str, int, int]],
    times: Array,
    clock_ns: int,
    evaluations: int,
    time: int,
    batch: int,
    isa: str,
) -> Profile:
    """From nanoseconds [calls, nodes + 2]."""
    median = np.median(times, axis=0)
    looked = np.count_nonzero(times, axis=0) > 0  # a view has nothing to run: no probe
    us = np.maximum(median[:-1] - clock_ns * evaluations * looked[:-1], 0) / 1e3
    total = max(float(us.sum()), 1e-9)
    parts = tuple(
        NodeTime(name, op, _FORMATS.get(dtype, str(dtype)), size, float(t), float(t) / total)
        for (name, op, dtype, size), t in zip(about, us)
    )
    return Profile(parts, float(us[-1]), float(median[-1]) / 1e3, time, batch, len(times), clock_ns, isa)
