"""Many streams of one model: they come and go, and any of them step together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnrt._rnnrt import StreamBatchCore
from rnnrt.arrays import Array, TensorInfo, as_input, as_mapping, as_output, mismatch, named, without_units

if TYPE_CHECKING:
    from rnnrt.model import Model

__all__ = ["StreamBatch"]


class StreamBatch(StreamBatchCore):
    """Streams at different positions that share the reading of the weights. Made by `Model.streams`.

    Each has a handle, an int that is never used again. For one thread at a time.

    Attributes
    ----------
    core : Model
        The model, as `model`.
    handles : list of int
        Of all streams.
    capacity : int
        Streams that there is room for; `add` doubles it when needed.

    Examples
    --------
    >>> streams = model.streams()
    >>> a, b, c = (streams.add() for _ in range(3))
    >>> y = streams.step([a, c], frames)   # frames [2, features]: b waits
    >>> streams.remove(a)
    """

    __slots__ = ()

    @property
    def model(self) -> Model:
        """The model."""
        from rnnrt.model import Model

        core = self.core
        assert isinstance(core, Model)
        return core

    def add(self, state: Mapping[str, Any] | None = None) -> int:
        """Start a stream.

        Parameters
        ----------
        state : dict of str to array-like, optional
            Where it begins, for example another stream's `state`. Default: the initial state.

        Returns
        -------
        int
            Its handle.

        Raises
        ------
        TypeError, ValueError
            `state` does not fit this model; nothing is added.
        """
        return self._add(None if state is None else self._packed(state))

    def state(self, handle: int) -> dict[str, Array]:
        """Return copies of a stream's state variables by name, as `Stream.state`.

        Parameters
        ----------
        handle : int
            The stream.

        Raises
        ------
        ValueError
            There is no such stream.
        """
        infos = self._infos()
        packed = np.empty(sum(_size(info, shape) for info, shape in infos), np.uint8)
        self._exchange(handle, packed, False)
        found, at = {}, 0
        for info, shape in infos:
            end = at + _size(info, shape)
            found[info.name] = packed[at:end].view(info.dtype).reshape(shape)
            at = end
        return found

    def set_state(self, handle: int, values: Mapping[str, Any]) -> None:
        """Replace all state variables of a stream.

        Parameters
        ----------
        handle : int
            The stream.
        values : dict of str to array-like
            Every state variable of the model, of exactly its shape (with a batch of 1) and dtype.

        Raises
        ------
        TypeError, ValueError
            There is no such stream, or something does not fit; the state is as before.
        """
        self._exchange(handle, self._packed(values), True)

    def _infos(self) -> list[tuple[TensorInfo, tuple[int, ...]]]:
        return [(info, info.bound(B=1)) for info in self.model.states]

    def _packed(self, values: Mapping[str, Any]) -> Array:
        states, parts = self.model.states, [np.empty(0, np.uint8)]
        for (info, shape), value in zip(self._infos(), named(states, as_mapping(states, values), "state")):
            array = as_input(info, value, "state")
            if array.shape != shape:
                raise mismatch(f"state '{info.name}'", array.shape, shape)
            parts.append(array.reshape(-1).view(np.uint8))
        return np.concatenate(parts)

    def _handles(self, handles: Sequence[int]) -> Array:
        array = np.asarray(handles)
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"handles: got {array.dtype}, expected integers")
        return np.ascontiguousarray(array, np.int64)

    def _arrays(self, frames: Any, out: Any, n: int) -> tuple[tuple[Array, ...], Any]:
        model, arrays = self.model, []
        for info, given in zip(model.inputs, named(model.inputs, frames, "inputs")):
            arrays.append(_fitting(as_input(info, given), info, n, "input"))
        if out is None:
            results = [np.empty(_frame(info, n), info.dtype) for info in model.outputs]
            return (*arrays, *results), results[0] if len(results) == 1 else dict(zip(_names(model), results))
        for info, given in zip(model.outputs, named(model.outputs, out, "out")):
            arrays.append(_fitting(as_output(info, given), info, n, "out for"))
        return tuple(arrays), out

    def __repr__(self) -> str:
        return f"<rnnrt.StreamBatch {len(self)} streams of {self.model!r}>"


def _names(model: Model) -> list[str]:
    return [info.name for info in model.outputs]


def _frame(info: TensorInfo, n: int) -> tuple[int, ...]:
    return tuple(n if d == "B" else int(d) for d in info.shape if d != "T")


def _fitting(array: Array, info: TensorInfo, n: int, what: str) -> Array:
    shape = _frame(info, n)
    if array.shape != shape and without_units(array.shape) != without_units(shape):
        raise mismatch(f"{what} '{info.name}'", array.shape, shape)
    return array


def _size(info: TensorInfo, shape: tuple[int, ...]) -> int:
    return info.dtype.itemsize * math.prod(shape)
