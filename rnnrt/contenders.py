"""What can be timed: a stream of rnnrt, and onnxruntime through ``run`` and through IO binding.

Each gets the same frames, calls the clock in its own loop around exactly what its user would write, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import rnnrt

Feed: TypeAlias = "dict[str, NDArray[Any]]"
"""One time step: input name -> array with TIME = 1 and BATCH = 1."""
Values: TypeAlias = "NDArray[np.float64]"

_CLOCK = time.perf_counter_ns


def seeded_feeds(model: rnnrt.Model, count: int = 64, seed: int = 0) -> list[Feed]:
    """Random time steps for a model: normal floats; integer inputs are 0."""
    rng = np.random.default_rng(seed)
    feeds = []
    for _ in range(count):
        shapes = {info.name: tuple(1 if isinstance(d, str) else d for d in info.shape) for info in model.inputs}
        feeds.append({
            info.name: rng.standard_normal(shapes[info.name]).astype(info.dtype)
            if info.dtype.kind == "f" else np.zeros(shapes[info.name], info.dtype)
            for info in model.inputs
        })  # fmt: skip
    return feeds


def _frame(info: rnnrt.TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
    """The array without its time axis, as `Stream.step` likes it best."""
    shape = tuple(1 if isinstance(d, str) else d for d in info.shape if d != "T")
    return np.ascontiguousarray(array, info.dtype).reshape(shape)


class StreamContender:
    """``Stream.step(frame, out=...)``, allocating nothing.

    Parameters
    ----------
    name : str
        What it is called in the table.
    model : Model
        Streamable.
    feeds : sequence of dict
        Time steps, gone through again and again: input name -> array with TIME = 1 and BATCH = 1.
    """

    def __init__(self, name: str, model: rnnrt.Model, feeds: Sequence[Feed]) -> None:
        self.name = name
        self._stream = model.stream()
        frames = [{info.name: _frame(info, feed[info.name]) for info in model.inputs} for feed in feeds]
        outs = {
            info.name: np.empty(tuple(1 if isinstance(d, str) else d for d in info.shape if d != "T"), info.dtype)
            for info in model.outputs
        }
        self._frames: list[Any] = [next(iter(f.values())) for f in frames] if len(model.inputs) == 1 else list(frames)
        self._out: Any = next(iter(outs.values())) if len(outs) == 1 else outs
        self._outs = outs

    def slice(self, steps: int) -> list[int]:
        """Run and time ``steps`` time steps; nanoseconds of each."""
        step, out, clock, frames = self._stream.step, self._out, _CLOCK, self._frames
        taken, count = [], len(frames)
        for i in range(steps):
            frame = frames[i % count]
            begin = clock()
            step(frame, out=out)
            taken.append(clock() - begin)
        return taken

    def outputs(self) -> list[Feed]:
        """Every output of all feeds once, from the initial state."""
        self._stream.reset()
        found = []
        for frame in self._frames:
            self._stream.step(frame, out=self._out)
            found.append({name: array.copy() for name, array in self._outs.items()})
        self._stream.reset()
        return found


@dataclass(frozen=True)
class OrtModel:
    """An onnxruntime session and what to give it besides a model's inputs."""

    session: Any
    states: tuple[tuple[str, str], ...]  # (input, output) of each explicit state
    constants: Feed  # inputs fixed by the conversion, for example a sampling rate
    version: str  # of onnxruntime

    @classmethod
    def open(
        cls,
        path: str | Path,
        feed: Feed,
        states: Sequence[tuple[str, str]] = (),
        constants: Mapping[str, Any] | None = None,
    ) -> OrtModel:
        """A session of one thread that does not spin, and zero states.

        Parameters
        ----------
        path : str or Path
            The ONNX file.
        feed : dict
            One time step; the session's other inputs must be states or constants.
        states : sequence of (str, str)
            ONNX input and output of each state; pairs that are none of this file (states in its graph) are left out.
        constants : mapping, optional
            Values of the remaining inputs, by name.

        Raises
        ------
        ValueError
            An input is neither in the feed nor a state nor a constant, or the other way round.
        ModuleNotFoundError
            onnxruntime is missing (``pip install onnxruntime``).
        """
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        for pool in ("intra", "inter"):
            options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = {i.name: i for i in session.get_inputs()}
        results = {o.name for o in session.get_outputs()}
        states = [(name, after) for name, after in states if name in inputs and after in results]
        constants = {} if constants is None else dict(constants)
        needed = set(inputs) - set(feed) - {name for name, _ in states} - set(constants)
        if needed or not set(feed) <= set(inputs):
            raise ValueError(
                f"{path} has the inputs {sorted(inputs)}; given are frames for {sorted(feed)}, states for "
                f"{sorted(name for name, _ in states)} and constants for {sorted(constants)}"
            )
        fixed: Feed = {
            name: np.asarray(value, _NUMPY_TYPES[inputs[name].type]).reshape(_fixed_shape(inputs[name].shape))
            for name, value in constants.items()
            if name in inputs
        }
        return cls(session, tuple(states), fixed, onnxruntime.__version__)

    def zero_states(self) -> Feed:
        """Zeros for every state; symbolic dimensions are 1."""
        inputs = {i.name: i for i in self.session.get_inputs()}
        return {
            name: np.zeros(_fixed_shape(inputs[name].shape), _NUMPY_TYPES[inputs[name].type]) for name, _ in self.states
        }

    def output_names(self) -> list[str]:
        """States first, in their order, then all others."""
        after = [name for _, name in self.states]
        return after + [o.name for o in self.session.get_outputs() if o.name not in after]


_NUMPY_TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
}  # fmt: skip


def _fixed_shape(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(d if isinstance(d, int) else 1 for d in shape)


class OrtRun:
    """``InferenceSession.run`` with numpy arrays in and out; states are handed from call to call."""

    name = "onnxruntime run"

    def __init__(self, model: OrtModel, feeds: Sequence[Feed]) -> None:
        self._run, self._names = model.session.run, model.output_names()
        self._state_names = [name for name, _ in model.states]
        self._frames = list(feeds)
        self._model = model
        self._feed: Feed = {**feeds[0], **model.zero_states(), **model.constants}

    def slice(self, steps: int) -> list[int]:
        """Run and time ``steps`` time steps; nanoseconds of each."""
        run, names, states, feed, clock = self._run, self._names, self._state_names, self._feed, _CLOCK
        frames, taken, count = self._frames, [], len(self._frames)
        for i in range(steps):
            frame = frames[i % count]
            begin = clock()
            feed.update(frame)
            feed.update(zip(states, run(names, feed), strict=False))  # more outputs follow the states
            taken.append(clock() - begin)
        return taken

    def outputs(self) -> list[Feed]:
        """Every output of all feeds once, from zero states."""
        feed = {**self._model.zero_states(), **self._model.constants}
        found = []
        for frame in self._frames:
            results = self._run(self._names, {**frame, **feed})
            feed.update(zip(self._state_names, results, strict=False))
            found.append(dict(zip(self._names, results, strict=True)))
        return found


class OrtBound:
    """``run_with_iobinding`` on buffers made once; two bindings swap the states, inputs are copied in."""

    name = "onnxruntime IO binding"

    def __init__(self, model: OrtModel, feeds: Sequence[Feed]) -> None:
        import onnxruntime

        wrap = onnxruntime.OrtValue.ortvalue_from_numpy  # on a CPU the value shares the array's memory
        self._run, self._frames = model.session.run_with_iobinding, list(feeds)
        self._x: Feed = {name: np.array(array) for name, array in feeds[0].items()}
        states = [model.zero_states(), model.zero_states()]
        first = model.session.run(model.output_names(), {**feeds[0], **states[0], **model.constants})
        self._y: Feed = {name: np.zeros_like(array) for name, array in zip(model.output_names(), first, strict=True)}
        after = {output: name for name, output in model.states}
        self._kept = (states, model.constants)  # the bindings point into these arrays
        self._bindings = []
        for old, new in (states, states[::-1]):
            binding = model.session.io_binding()
            arrays = {**self._x, **old, **model.constants}
            results = {name: new[after[name]] if name in after else y for name, y in self._y.items()}
            for name, array in arrays.items():
                binding.bind_ortvalue_input(name, wrap(array))
            for name, array in results.items():
                binding.bind_ortvalue_output(name, wrap(array))
            self._bindings.append(binding)

    def last_outputs(self) -> Feed:
        """What the last step gave, without states: copies."""
        return {name: array.copy() for name, array in self._y.items()}

    def slice(self, steps: int) -> list[int]:
        """Run and time ``steps`` time steps; nanoseconds of each."""
        run, bindings, clock = self._run, self._bindings, _CLOCK
        frames, taken, count = self._frames, [], len(self._frames)
        pairs = [[(self._x[name], array) for name, array in frame.items()] for frame in frames]
        for i in range(steps):
            pair = pairs[i % count]
            begin = clock()
            for x, array in pair:
                x[...] = array
            run(bindings[i & 1])
            taken.append(clock() - begin)
        return taken


def side_by_side(model: rnnrt.Model, other: OrtModel, feeds: Sequence[Feed]) -> dict[str, tuple[Values, Values]]:
    """Every output that both have, over the same steps: name -> what stepping gives, what onnxruntime gives; float64.

    Models with a time axis are run over the whole sequence by onnxruntime, so that a state inside the graph counts.
    """
    ours = StreamContender("", model, feeds).outputs()
    if model.has_time:
        axes = {info.name: info.shape.index("T") for info in model.inputs if "T" in info.shape}
        whole = {
            name: np.concatenate([f[name] for f in feeds], axes[name]) if name in axes else feeds[0][name]
            for name in feeds[0]
        }
        theirs = OrtRun(other, [whole]).outputs()
    else:
        theirs = OrtRun(other, feeds).outputs()
    found = {}
    for info in model.outputs:
        if info.name in theirs[0]:
            reference = np.stack([_steps_first(info, y[info.name]) for y in theirs]).astype(np.float64).reshape(-1)
            given = np.stack([y[info.name] for y in ours]).astype(np.float64).reshape(-1)
            if reference.size > given.size:
                raise ValueError(
                    f"output '{info.name}' has {given.size} values here and {reference.size} in onnxruntime"
                )
            # an output without a time axis is the last step's
            found[info.name] = (given[-reference.size :], reference)
    return found


def largest_error(model: rnnrt.Model, other: OrtModel, feeds: Sequence[Feed]) -> float | None:
    """Largest ``|d| / max(1, |reference|)`` of any output against onnxruntime; None: no output in common."""
    errors = [
        float((np.abs(given - reference) / np.maximum(1.0, np.abs(reference))).max())
        for given, reference in side_by_side(model, other, feeds).values()
    ]
    return max(errors, default=None)


def _steps_first(info: rnnrt.TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(array, info.shape.index("T"), 0) if "T" in info.shape else array
