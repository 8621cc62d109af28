"""Many streams together: each gets the bits that it gets alone, whoever else comes, goes, waits or advances."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

import models
import rnnrt

BATCHED = [name for name in models.STREAMABLE if name not in ("conv", "timeless")]


def load(name: str, mode: str = "float") -> rnnrt.Model:
    return rnnrt.load(models.streamable(name, mode))


def frames(model: rnnrt.Model, n: int, seed: int) -> dict[str, Any]:
    return {i.name: models.signal(_shape(i.shape, n), seed + k) for k, i in enumerate(model.inputs)}


def _shape(shape: tuple[int | str, ...], n: int) -> tuple[int, ...]:
    return tuple(n if d == "B" else int(d) for d in shape if d != "T")


def part(infos: tuple[rnnrt.TensorInfo, ...], values: Any, i: int) -> dict[str, Any]:
    """Row i of everything."""
    given = values if isinstance(values, dict) else {infos[0].name: values}
    found = {}
    for info in infos:
        axis = [d for d in info.shape if d != "T"].index("B")
        found[info.name] = np.ascontiguousarray(np.take(given[info.name], [i], axis))
    return found


@pytest.mark.parametrize("mode", ["float", "int8"])
@pytest.mark.parametrize("name", BATCHED)
def test_streams_at_different_positions_get_the_bits_of_single_streams(name: str, mode: str) -> None:
    """A random history: streams are added, removed and stepped in any number and order, through several growths."""
    model, random = load(name, mode), np.random.default_rng(3)
    together = model.streams(capacity=1)
    alone: dict[int, rnnrt.Stream] = {}
    for turn in range(60):
        if not alone or random.random() < 0.3:
            alone[together.add()] = model.stream()
        if len(alone) > 2 and random.random() < 0.2:
            gone = int(random.choice(list(alone)))
            together.remove(gone)
            del alone[gone]
        chosen = random.permutation(list(alone))[: random.integers(1, len(alone) + 1)]
        x = frames(model, len(chosen), 100 * turn)
        y = together.step(chosen, x)
        for i, handle in enumerate(chosen):
            expected = alone[int(handle)].step(part(model.inputs, x, i))
            expected = expected if isinstance(expected, dict) else {model.outputs[0].name: expected}
            for key, value in part(model.outputs, y, i).items():
                assert value.tobytes() == np.asarray(expected[key]).tobytes(), (turn, handle, key)
    assert together.capacity >= len(alone) > 3
    assert sorted(together.handles) == sorted(alone)
    for handle, stream in alone.items():
        for key, value in stream.state.items():
            assert together.state(handle)[key].tobytes() == value.tobytes()


def test_a_large_layer_with_threads() -> None:
    blob = models.recurrent("LSTM", "int8", 200, 256)
    plain, threaded = rnnrt.load(blob).streams(), rnnrt.load(blob, threads=2).streams()
    for streams in (plain, threaded):
        for _ in range(5):
            streams.add()
    for seed, chosen in enumerate(([0, 1, 2, 3, 4], [4, 2], [3])):
        x = models.signal((len(chosen), 200), seed)
        assert plain.step(chosen, x).tobytes() == threaded.step(chosen, x).tobytes()


def test_states_move_between_streams() -> None:
    model = load("lstm")
    streams, single = model.streams(), model.stream()
    x = models.signal((4, 5))
    for frame in x:
        y = single.step(frame)
    a = streams.add()
    b = streams.add(single.state)
    streams.step([a], x[:1])
    before = streams.state(a)
    assert {name: v.shape for name, v in before.items()} == {name: v.shape for name, v in single.state.items()}
    expected = single.step(x[0])
    assert streams.step([b], x[:1]).tobytes() == expected.tobytes()
    assert all((streams.state(a)[name] == value).all() for name, value in before.items()), "b's step left a alone"
    streams.set_state(a, single.state)
    assert streams.step([a], x[1:2]).tobytes() == single.step(x[1]).tobytes()
    streams.reset(a)
    assert streams.step([a], x[:1]).tobytes() == model.stream().step(x[0]).tobytes()
    assert y.shape == expected.shape


def test_handles_are_never_used_again() -> None:
    streams = load("gru").streams(capacity=2)
    a, b = streams.add(), streams.add()
    streams.remove(a)
    c = streams.add()
    assert len({a, b, c}) == 3
    assert len(streams) == 2
    assert streams.capacity == 2
    with pytest.raises(ValueError, match=f"stream {a} is not there"):
        streams.step([b, a], models.signal((2, 5)))
    for call in (streams.remove, streams.reset, streams.state):
        with pytest.raises(ValueError, match=f"there is no stream {a}"):
            call(a)
    assert sorted(streams.handles) == sorted([b, c])


@pytest.mark.parametrize("handles", [[0, 0], [7], [-1], [1 << 40], [0, 1, 2, 3]])
def test_wrong_handles_change_nothing(handles: list[int]) -> None:
    streams = load("gru").streams()
    a = [streams.add() for _ in range(3)]
    streams.step(a, models.signal((3, 5)))
    before = [streams.state(h) for h in a]
    with pytest.raises(ValueError, match=r"comes twice|is not there"):
        streams.step(handles, models.signal((len(handles), 5)))
    for h, state in zip(a, before, strict=True):
        assert streams.state(h)["y.h"].tobytes() == state["y.h"].tobytes()


def test_wrong_arrays_change_nothing() -> None:
    streams = load("gru").streams()
    a, b = streams.add(), streams.add()
    with pytest.raises(ValueError, match=r"input 'x': got shape \[3, 5\], expected \[2, 5\]"):
        streams.step([a, b], models.signal((3, 5)))
    with pytest.raises(TypeError, match="got dtype float64"):
        streams.step([a, b], np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"out for 'y': got shape \[1, 2, 6\], expected \[1, 2, 7\]"):
        streams.step([a, b], models.signal((2, 5)), out=np.empty((1, 2, 6), np.float32))
    with pytest.raises(TypeError, match="handles: got float64"):
        streams.step([0.5], models.signal((1, 5)))
    with pytest.raises(ValueError, match="state: got 'z'"):
        streams.add({"z": 1})
    assert len(streams) == 2
    assert not streams.state(a)["y.h"].any()
    assert streams.step([], models.signal((0, 5))).shape == (1, 0, 7)


def test_lists_tuples_and_strided_arrays_are_handles() -> None:
    model = load("gru")
    streams = model.streams()
    for _ in range(4):
        streams.add()
    x = models.signal((2, 5))
    results = []
    for chosen in ([0, 2], (0, 2), np.arange(4)[::2], np.array([0, 2], np.uint8), range(0, 4, 2)):
        for h in (0, 2):
            streams.reset(h)
        results.append(streams.step(chosen, np.asfortranarray(x)).tobytes())
    assert len(set(results)) == 1


def test_a_step_with_out_allocates_nothing() -> None:
    streams = load("lstm").streams()
    handles = np.array([streams.add() for _ in range(4)])
    x, y = models.signal((4, 5)), np.empty((1, 4, 7), np.float32)
    assert streams.step(handles, x, out=y) is y
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(100):
        streams.step(handles, x, out=y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - before < 256, f"{peak - before} bytes"


def test_what_can_not_be_stepped_together_says_so() -> None:
    with pytest.raises(rnnrt.UnsupportedError, match="bidirectional"):
        rnnrt.load(models.bidirectional()).streams()
    with pytest.raises(rnnrt.UnsupportedError, match="batch is fixed"):
        rnnrt.load(models.recurrent("GRU", batch=1)).streams()
    for capacity in (0, -3):
        with pytest.raises(ValueError, match=f"capacity: got {capacity}"):
            load("gru").streams(capacity)


def test_one_thread_at_a_time() -> None:
    """Two threads in one batch: each call either works or says that somebody else is in it."""
    blob = models.recurrent("GRU", "float", 200, 256)
    streams = rnnrt.load(blob).streams()
    handles = [streams.add() for _ in range(4)]
    refused: list[str] = []

    def work() -> None:
        x = models.signal((4, 200))
        for _ in range(60):
            try:
                streams.step(handles, x)
                streams.remove(streams.add())
            except rnnrt.RnnrtError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(refused) <= {"these streams are in use by another thread"}
    assert streams.step(handles, models.signal((4, 200))).shape == (1, 4, 256)
