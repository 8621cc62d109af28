"""`load`, `Model` and `Stream`."""

from __future__ import annotations

import contextlib
import json
import mmap
import operator
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rnnrt._rnnrt import ModelCore, Pool, StreamCore
from rnnrt.arrays import (
    Array,
    TensorInfo,
    as_input,
    as_mapping,
    as_output,
    bind,
    info_of,
    mismatch,
    named,
    without_units,
)
from rnnrt.errors import ModelFormatError, UnsupportedError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer, Self

    from rnnrt.profile import Profile
    from rnnrt.streams import StreamBatch

__all__ = ["Model", "Stream", "TensorInfo", "load"]

Result: TypeAlias = "Array | dict[str, Array]"

_ALIGNMENT = 64  # of a blob, bytes
_HUGE_PAGE = 2 << 20  # bytes
_MAX_THREADS = 256
_MAX_BATCH = 2**31 - 1
_CHUNK = 32  # time steps per call of the C library: layers outside the recurrence share their weights among them


def load(source: str | os.PathLike[str] | Buffer, isa: str | None = None, threads: int = 1) -> Model:
    """Load a model.

    Parameters
    ----------
    source : path or bytes-like
        A .rnnrt file, mapped into memory and used in place: replace such a file by renaming, don't overwrite it.
        Or its bytes, which are copied unless they are immutable and 64-byte aligned: slower to load and not shared
        between processes, but a step of more than some 12 MB of weights can be a quarter faster where Linux holds the
        file in small pages (a tmpfs, a download written in small pieces).
    isa : str, optional
        Instruction set, one of `isas`. Default: environment variable ``RNNRT_ISA``, else the best of this CPU.
    threads : int
        How many threads share the work of a large layer, the calling one included, 1 to 256. More than 1 starts threads
        when the first such layer runs; they end with the model. Small layers stay with the calling thread: a model
        whose layers are below 128 kB gains nothing.

    Returns
    -------
    Model
        Every instruction set and every number of threads gives the same bits.

    Raises
    ------
    ModelFormatError
        Damaged, cut off, of another version, or not a model at all.
    UnsupportedError
        An instruction set that this CPU does not have, or an operator that this version of rnnrt does not have.
    OSError
        The file can't be read.
    TypeError, ValueError
        `source` is nothing to load from; `threads` is out of range.
    """
    pool = _pool(threads)
    isa = isa or os.environ.get("RNNRT_ISA") or None
    if not isinstance(source, (str, os.PathLike)):
        return Model(_aligned(source), isa, pool)
    path = os.fspath(source)
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ModelFormatError(f"{path}: the file is empty")
        blob = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _ask_for_huge_pages(blob)
    try:
        return Model(blob, isa, pool)
    except (ModelFormatError, UnsupportedError) as error:
        raise type(error)(f"{path}: {error}") from None


def _ask_for_huge_pages(blob: mmap.mmap) -> None:
    """Let Linux read a large file into pages of 2 MB, where its file system can.

    4096 bytes at a time, more than some 12 MB outgrow a CPU's table of pages and every page's first line waits for its
    address. What other processes have in memory already stays as it is, and shared.
    """
    if hasattr(mmap, "MADV_HUGEPAGE") and len(blob) >= _HUGE_PAGE:
        with contextlib.suppress(OSError):  # a kernel without them
            blob.madvise(mmap.MADV_HUGEPAGE)


def _pool(threads: int) -> Pool | None:
    if not 1 <= threads <= _MAX_THREADS:
        raise ValueError(f"threads: got {threads}, expected 1 to {_MAX_THREADS}")
    return Pool(threads) if threads > 1 else None


def _aligned(source: Buffer) -> Any:
    """Return the bytes where the C library can use them: at a multiple of 64 and never changing."""
    try:
        view = memoryview(source).cast("B")
    except TypeError:
        raise TypeError(f"source: got {type(source).__name__}, expected a path or contiguous bytes") from None
    if not view.nbytes:
        raise ModelFormatError("no bytes")
    given = np.frombuffer(view, np.uint8)
    if isinstance(source, bytes) and given.ctypes.data % _ALIGNMENT == 0:
        return source
    room = np.empty(given.size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    room[start : start + given.size] = given
    return room[start : start + given.size]


class Model(ModelCore):
    """A loaded model: immutable, shared by any number of threads, picklable. Made by `load`.

    Attributes
    ----------
    pool : Pool or None
        Threads that share the work of its streams; None: only the calling one.

    Examples
    --------
    >>> model = rnnrt.load("gru.rnnrt")
    >>> y = model(x)                      # x [T, B, features] float32
    >>> with model.stream() as stream:
    ...     for frame in frames:
    ...         y = stream.step(frame)
    """

    __slots__ = ("_forced_isa", "_inputs", "_outputs", "_states")

    def __init__(self, blob: Buffer, isa: str | None = None, pool: Pool | None = None) -> None:
        self._forced_isa = isa
        infos = (tuple(map(info_of, found)) for found in self._infos())
        self._inputs, self._outputs, self._states = infos

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What the model takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """What the model gives."""
        return self._outputs

    @property
    def states(self) -> tuple[TensorInfo, ...]:
        """What a stream remembers from one time step to the next."""
        return self._states

    @property
    def threads(self) -> int:
        """How many threads share the work of a large layer, the calling one included."""
        return self.pool.threads if self.pool else 1

    @property
    def meta(self) -> dict[str, Any]:
        """The converter's report, parsed anew at each access.

        Raises
        ------
        ModelFormatError
            It is not a JSON object.
        """
        try:
            found = json.loads(self._meta() or b"{}")
        except ValueError as error:
            raise ModelFormatError(f"the model's metadata is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise ModelFormatError("the model's metadata is not a JSON object")
        return found

    def __call__(self, x: Any, lengths: Sequence[int] | None = None) -> Result:
        """Evaluate a whole sequence from the initial state; for a model without a time axis, one evaluation.

        Parameters
        ----------
        x : array-like or dict of str to array-like
            Of the input's shape, with any length of time and, where it is symbolic, of batch; axes of length 1 may be
            left out. float32 (int32 where the model says so). Several inputs come in a dict by name.
        lengths : sequence of int, optional
            Time steps that count in each sequence of a padded batch. Each sequence's result is what it would be
            alone; behind its end it is 0.

        Returns
        -------
        ndarray or dict of str to ndarray
            Of the output's shape; a dict when there are several outputs.

        Raises
        ------
        TypeError
            Another dtype.
        ValueError
            Another shape.
        """
        values = [as_input(info, v) for info, v in zip(self.inputs, named(self.inputs, x, "inputs"))]
        symbols = self._symbols(values)
        values = [v.reshape(info.bound(**symbols)) for info, v in zip(self.inputs, values)]
        if lengths is None:
            return self._result(self._whole(values, symbols))
        return self._result(self._padded(values, symbols, lengths))

    def stream(self, batch: int = 1, threads: int | None = None) -> Stream:
        """Start a stream at the initial state.

        Parameters
        ----------
        batch : int
            Signals that advance together; they do not influence each other's bits.
        threads : int, optional
            Threads of this stream's own, as in `load`. Default: the model's. Streams that share threads never wait for
            them: who finds them at work for another stream does all by itself.

        Raises
        ------
        UnsupportedError
            The model looks into the future; the message names the node that does.
        ValueError
            More than one signal, and the model has a fixed batch.
        """
        self._check_streamable()
        batch = operator.index(batch)
        if not 1 <= batch <= _MAX_BATCH:
            raise ValueError(f"batch: got {batch}, expected 1 to {_MAX_BATCH}")
        if batch != 1 and not any("B" in info.shape for info in self.inputs):
            raise ValueError(f"batch: got {batch}, expected 1: the model fixes it")
        pool = self.pool if threads is None else _pool(threads)
        try:
            return Stream(self, 1, batch, pool)
        except ValueError as error:
            raise ValueError(f"batch: got {batch}, too many for this model: {error}") from None

    def profile(self, x: Any = None, *, time: int = 1, batch: int = 1, seconds: float = 0.5) -> Profile:
        """Time every node and every operator of the model.

        Parameters
        ----------
        x : array-like or dict of str to array-like, optional
            Inputs of `time` steps and `batch` signals. Default: noise.
        time : int
            Time steps per call: 1 is stepping.
        batch : int
            Signals that advance together.
        seconds : float
            About how long to measure, in seconds.

        Returns
        -------
        rnnrt.profile.Profile

        Raises
        ------
        TypeError, ValueError
            `x` does not fit, or a number that is not positive.
        """
        from rnnrt.profile import profile

        return profile(self, x, time=time, batch=batch, seconds=seconds)

    def streams(self, capacity: int = 8, threads: int | None = None) -> StreamBatch:
        """Many streams that come and go, any of them stepped together: the weights are read once for all.

        Parameters
        ----------
        capacity : int
            Streams that there is room for at first.
        threads : int, optional
            As in `stream`.

        Returns
        -------
        rnnrt.StreamBatch
            Empty.

        Raises
        ------
        UnsupportedError
            The model looks into the future, or has a fixed batch.
        ValueError
            `capacity` is not positive or needs more memory than can be addressed.
        """
        from rnnrt.streams import StreamBatch

        self._check_streamable()
        if not all("B" in info.shape for info in (*self.inputs[:1], *self.states)):
            raise UnsupportedError(
                "this model's batch is fixed, so its streams can't be stepped together: use stream()"
            )
        capacity = operator.index(capacity)
        if not 1 <= capacity <= _MAX_BATCH:
            raise ValueError(f"capacity: got {capacity}, expected 1 to {_MAX_BATCH}")
        return StreamBatch(self, capacity, self.pool if threads is None else _pool(threads))

    def _check_streamable(self) -> None:
        if not self.streamable:
            reason = self.meta.get("not_streamable_because") or "it looks into the future"
            raise UnsupportedError(f"this model can't be streamed: {reason}; model(x) takes whole sequences")

    def _symbols(self, values: Sequence[Array]) -> dict[str, int]:
        """Lengths of time and batch in arrays for the inputs."""
        found: dict[str, int] = {"T": 1} if not self.has_time else {}
        for info, value in zip(self.inputs, values):
            expected = info.bound(**found)
            symbols = bind(value.shape, expected)
            if symbols is None:
                raise mismatch(f"input '{info.name}'", value.shape, expected)
            found |= symbols
        return {"B": 1, **found}

    def _whole(self, values: Sequence[Array], symbols: dict[str, int]) -> list[Array]:
        time = symbols["T"]
        results = [np.empty(info.bound(**symbols), info.dtype) for info in self.outputs]
        if symbols["B"] == 0:
            if unbatched := [info.name for info in self.outputs if "B" not in info.shape]:
                raise ValueError(f"batch 0: output {unbatched} has no batch axis, so no value then")
        elif any(result.size for result in results):
            core = StreamCore(self, max(1, min(time, _CHUNK) if self.streamable else time), symbols["B"], self.pool)
            advance(core, self, values, results, time)
        return results

    def _padded(self, values: Sequence[Array], symbols: dict[str, int], lengths: Sequence[int]) -> list[Array]:
        """Sequences of one length at a time, each batch of them unpadded: right for any model, causal or not."""
        time, batch = symbols["T"], symbols["B"]
        infos = (*self.inputs, *self.outputs)
        if not self.has_time or not all("B" in info.shape for info in infos):
            raise ValueError("lengths: this model has an input or output without a batch axis, or no time axis")
        each = [int(n) for n in lengths]
        if len(each) != batch or not all(0 <= n <= time for n in each):
            raise ValueError(f"lengths: got {each}, expected {batch} numbers from 0 to {time}")
        results = [np.zeros(info.bound(**symbols), info.dtype) for info in self.outputs]
        for length in sorted(set(each)):
            rows = np.flatnonzero(np.equal(each, length))
            part = [np.ascontiguousarray(v[_cut(i, rows, length)]) for i, v in zip(self.inputs, values)]
            for info, whole, got in zip(
                self.outputs, results, self._whole(part, {"T": length, "B": len(rows)}), strict=True
            ):
                whole[_cut(info, rows, length)] = got
        return results

    def _result(self, results: Sequence[Array]) -> Result:
        if len(results) == 1:
            return results[0]
        return {info.name: array for info, array in zip(self.outputs, results)}

    def __reduce__(self) -> tuple[Any, ...]:
        return load, (self._blob(), self._forced_isa, self.threads)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        ins, outs = ("; ".join(map(str, infos)) for infos in (self.inputs, self.outputs))
        return f"<rnnrt.Model {ins} -> {outs}; {len(self.states)} states, {self.nbytes} bytes, {self.isa}>"


def _cut(info: TensorInfo, rows: Array, length: int) -> tuple[Any, ...]:
    """Index of some sequences of a batch, without their padding."""
    return tuple(rows if d == "B" else slice(length) if d == "T" else slice(None) for d in info.shape)


def _time_axes(model: Model) -> list[int]:
    """Of inputs and outputs."""
    return [info.shape.index("T") if "T" in info.shape else 0 for info in (*model.inputs, *model.outputs)]


def in_pieces(model: Model, arrays: Sequence[Array], time: int, step: int) -> bool:
    """Whether `time` steps need copies of pieces of `step`: time is not the outermost axis of one of the arrays.

    Parameters
    ----------
    model : Model
        Tells the axes.
    arrays : sequence of ndarray
        For its inputs and outputs.
    time, step : int
        Steps altogether, and of a call of the C library.
    """
    return time > step and any(set(a.shape[:axis]) - {1} for a, axis in zip(arrays, _time_axes(model)))


def advance(core: StreamCore, model: Model, values: Sequence[Array], results: Sequence[Array], time: int) -> None:
    """Run `time` steps; where time is not the outermost axis the pieces have to be copied.

    Parameters
    ----------
    core : StreamCore
        Takes any number of steps of arrays that hold frame after frame, else at most its ``max_time``.
    model : Model
        Tells the axes.
    values, results : sequence of ndarray
        C-contiguous, full rank; where the model has no time axis, with one in front.
    time : int
        Steps.
    """
    arrays, step = (*values, *results), core.max_time
    if not in_pieces(model, arrays, time, step):
        core._run(arrays, time)
        return
    axes = _time_axes(model)
    for start in range(0, time, step):
        cuts = [
            (*(slice(None),) * axis, slice(start, start + step)) if "T" in info.shape else (...,)
            for info, axis in zip((*model.inputs, *model.outputs), axes)
        ]
        pieces = tuple(np.ascontiguousarray(a[cut]) for a, cut in zip(arrays, cuts))
        core._run(pieces, min(step, time - start))
        for result, cut, piece in zip(results, cuts[len(values) :], pieces[len(values) :]):
            result[cut] = piece


class Stream(StreamCore):
    """The running state of `batch` signals in a model. Made by `Model.stream`; for one thread at a time.

    Attributes
    ----------
    core : Model
        The model, as `model`.
    batch : int
        Signals that advance together.
    max_time : int
        Most time steps in one call of the C library, so how much memory the stream has; `run` takes any number.
    pool : Pool or None
        Threads that share the work; None: only the calling one.
    """

    __slots__ = ("_in_frames", "_out_frames")

    def __init__(self, model: Model, max_time: int, batch: int, pool: Pool | None = None) -> None:
        self._in_frames = [(info, self._frame(info)) for info in model.inputs]
        self._out_frames = [(info, self._frame(info)) for info in model.outputs]

    @property
    def model(self) -> Model:
        """The model."""
        core = self.core
        assert isinstance(core, Model)
        return core

    def run(self, x: Any, out: Any = None) -> Result:
        """Advance by several time steps: the same bits as that many calls of `step`.

        Parameters
        ----------
        x : array-like or dict of str to array-like
            Shape of the model's input with any length of time, 0 too; a model without a time axis takes a leading one.
            Axes of length 1 may be left out. Dtypes and copies: as in `step`.
        out : ndarray or dict of str to ndarray, optional
            Where the result goes.

        Returns
        -------
        ndarray or dict of str to ndarray
            `out`, or a new array of the output's shape.

        Raises
        ------
        TypeError, ValueError, RnnrtError
            As in `step`.
        """
        model = self.model
        values = [as_input(info, v) for info, v in zip(model.inputs, named(model.inputs, x, "inputs"))]
        symbols: dict[str, int] = {}
        for info, value in zip(model.inputs, values):
            expected = self._expected(info, symbols)
            found = bind(value.shape, expected)
            if found is None:
                raise mismatch(f"input '{info.name}'", value.shape, expected)
            symbols |= found
        time = symbols["T"]
        values = [v.reshape(self._expected(info, symbols)) for info, v in zip(model.inputs, values)]
        symbols["B"] = self.batch
        if out is None:
            results = [np.empty(self._expected(info, symbols), info.dtype) for info in model.outputs]
            given = []
        else:
            results, given = [], named(model.outputs, out, "out")
        for info, o in zip(model.outputs, given):
            array, expected = as_output(info, o), self._expected(info, symbols)
            if bind(array.shape, expected) is None:
                raise mismatch(f"out for '{info.name}'", array.shape, expected)
            results.append(array.reshape(expected))
            # a chunk's results must not overwrite a later chunk's input
            values = [v.copy() if np.may_share_memory(v, array) else v for v in values]
        result = model._result(results) if out is None else out
        core: StreamCore = self
        if time > 1 and (self.max_time == 1 or in_pieces(model, (*values, *results), time, _CHUNK)):
            core = self._roomy()  # between two pieces memory may run out: then this stream has not moved
        advance(core, model, values, results, time)
        if core is not self:
            self._swap(core)
        return result

    def _expected(self, info: TensorInfo, symbols: Mapping[str, int]) -> tuple[Any, ...]:
        """Return the shape that `run` takes or gives, with the symbols that are known already."""
        shape = info.shape if self.model.has_time else ("T", *info.shape)
        known = {"B": self.batch, **symbols}
        return tuple(known.get(d, d) if isinstance(d, str) else d for d in shape)

    def _step_any(self, frame: Any, out: Any) -> Any:
        model = self.model
        arrays = []
        for (info, shape), given in zip(self._in_frames, named(model.inputs, frame, "inputs")):
            array = as_input(info, given)
            if array.shape != shape and without_units(array.shape) != without_units(shape):
                raise mismatch(f"input '{info.name}'", array.shape, shape)
            arrays.append(array)
        if out is None:
            results = [np.empty(shape, info.dtype) for info, shape in self._out_frames]
            result = model._result(results)
            self._run((*arrays, *results), 1)
            return result
        for (info, shape), given in zip(self._out_frames, named(model.outputs, out, "out")):
            array = as_output(info, given)
            if array.shape != shape and without_units(array.shape) != without_units(shape):
                raise mismatch(f"out for '{info.name}'", array.shape, shape)
            arrays.append(array)
        self._run(tuple(arrays), 1)
        return out

    def _frame(self, info: TensorInfo) -> tuple[int, ...]:
        return tuple(self.batch if d == "B" else int(d) for d in info.shape if d != "T")

    def _roomy(self) -> StreamCore:
        """Return a copy with room for `_CHUNK` time steps a call; a stream that only steps never needs it."""
        other = StreamCore(self.core, _CHUNK, self.batch, self.pool)
        other._exchange(self._values(), True)
        return other

    def _values(self) -> tuple[Array, ...]:
        values = tuple(np.empty(self._frame(info), info.dtype) for info in self.model.states)
        self._exchange(values, False)
        return values

    @property
    def state(self) -> dict[str, Array]:
        """Copies of the state variables by name; assigning is `set_state`."""
        return {info.name: value for info, value in zip(self.model.states, self._values())}

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        self.set_state(values)

    def set_state(self, values: Mapping[str, Any]) -> None:
        """Replace all state variables, for example by another stream's `state`.

        Parameters
        ----------
        values : dict of str to array-like
            Every state variable of the model, of exactly its shape and dtype.

        Raises
        ------
        TypeError, ValueError
            Something does not fit this model; the state is as before.
        """
        self._values()  # a closed stream says so first
        states = self.model.states
        arrays = []
        for info, value in zip(states, named(states, as_mapping(states, values), "state")):
            array = as_input(info, value, "state")
            if array.shape != self._frame(info):
                raise mismatch(f"state '{info.name}'", array.shape, self._frame(info))
            arrays.append(array)
        self._exchange(tuple(arrays), True)

    def clone(self) -> Stream:
        """Return a stream in the same state that goes its own way from here."""
        other = Stream(self.model, self.max_time, self.batch, self.pool)
        other._exchange(self._values(), True)
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<rnnrt.Stream batch {self.batch} of {self.model!r}>"
