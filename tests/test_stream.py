"""`Stream`: stepping, chunks, state, outputs in place, threads, closing."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import rnnrt

MODES = ["float", "int8"]
EVERY = [(name, mode) for name in models.STREAMABLE for mode in MODES]


def load(name: str, mode: str = "float") -> rnnrt.Model:
    return rnnrt.load(models.streamable(name, mode))


def axis(info: rnnrt.TensorInfo, model: rnnrt.Model) -> int | None:
    """Where `run` has time."""
    if not model.has_time:
        return 0
    return info.shape.index("T") if "T" in info.shape else None


def shape(info: rnnrt.TensorInfo, model: rnnrt.Model, time: int, batch: int) -> tuple[Any, ...]:
    """Of an array for `run`."""
    return info.bound(T=time, B=batch) if model.has_time else (time, *info.bound(B=batch))


def inputs(model: rnnrt.Model, time: int, batch: int = 1) -> dict[str, Any]:
    return {info.name: models.signal(shape(info, model, time, batch), i) for i, info in enumerate(model.inputs)}


def as_dict(model: rnnrt.Model, result: Any) -> dict[str, Any]:
    return result if isinstance(result, dict) else {model.outputs[0].name: result}


def cut(model: rnnrt.Model, x: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Some time steps of every input."""
    found = {}
    for info in model.inputs:
        at = axis(info, model)
        found[info.name] = x[info.name] if at is None else np.take(x[info.name], range(start, stop), axis=at)
    return found


def frame(model: rnnrt.Model, x: dict[str, Any], t: int) -> dict[str, Any]:
    """Input of time step t, without time axis."""
    found = {}
    for info in model.inputs:
        at = axis(info, model)
        found[info.name] = x[info.name] if at is None else np.take(x[info.name], t, axis=at)
    return found


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value.shape == b[name].shape
        assert value.tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize(("name", "mode"), EVERY)
def test_steps_equal_one_run(name: str, mode: str) -> None:
    model = load(name, mode)
    steps = 70
    x = inputs(model, steps)
    expected = as_dict(model, model.stream().run(x))
    stream = model.stream()
    frames = [as_dict(model, stream.step(frame(model, x, t))) for t in range(steps)]
    for info in model.outputs:
        at = axis(info, model)
        got = frames[-1][info.name] if at is None else np.stack([f[info.name] for f in frames], axis=at)
        assert got.shape == expected[info.name].shape
        assert got.tobytes() == expected[info.name].tobytes()


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6), which=st.sampled_from(EVERY), batch=st.integers(1, 3)
)
@settings(max_examples=60, deadline=None)
def test_any_chunking_equals_one_run(sizes: list[int], which: tuple[str, str], batch: int) -> None:
    model = load(*which)
    if not any("B" in info.shape for info in model.inputs):
        batch = 1
    if any(axis(info, model) is None for info in model.outputs):
        sizes = [max(1, n) for n in sizes]
    total = sum(sizes)
    if total == 0:
        return
    x = inputs(model, total, batch)
    expected = as_dict(model, model.stream(batch).run(x))
    stream, parts, start = model.stream(batch), [], 0
    for n in sizes:
        parts.append(as_dict(model, stream.run(cut(model, x, start, start + n))))
        start += n
    for info in model.outputs:
        at = axis(info, model)
        pieces = [part[info.name] for part in parts]
        got = pieces[-1] if at is None else np.concatenate(pieces, axis=at)
        assert got.tobytes() == expected[info.name].tobytes()


@pytest.mark.parametrize("name", models.STREAMABLE)
def test_frame_shapes(name: str) -> None:
    """A result has the output's axes but time; a frame may leave out or add axes of length 1."""
    model = load(name)
    results = []
    x = inputs(model, 1)
    for change in (np.asarray, np.squeeze, lambda a: a[None], lambda a: a[..., None]):
        stream = model.stream()
        results.append(as_dict(model, stream.step({n: change(v) for n, v in frame(model, x, 0).items()})))
    for result in results:
        assert_same(result, results[0])
    for info in model.outputs:
        assert results[0][info.name].shape == tuple(1 if d == "B" else d for d in info.shape if d != "T")


@pytest.mark.parametrize(("name", "mode"), EVERY)
def test_out_takes_the_same_bits(name: str, mode: str) -> None:
    model = load(name, mode)
    x = inputs(model, 40)
    expected_run, expected_step = model.stream().run(x), model.stream().step(frame(model, x, 0))
    for method, argument, expected in (("run", x, expected_run), ("step", frame(model, x, 0), expected_step)):
        out = {k: np.full_like(v, 7) for k, v in as_dict(model, expected).items()}
        given = out if len(out) > 1 else next(iter(out.values()))
        assert getattr(model.stream(), method)(argument, out=given) is given
        assert_same(out, as_dict(model, expected))


def test_out_may_be_the_input() -> None:
    model = rnnrt.load(models.recurrent("GRU", features=7, hidden=7))
    x = models.signal((100, 1, 7))
    expected = model(x)
    same = x.copy()
    model.stream().run(same, out=same)
    np.testing.assert_array_equal(same, expected[:, 0])
    room = np.concatenate([x.ravel(), np.zeros(7, np.float32)])
    ahead = room[7:].reshape(100, 1, 7)  # results one step ahead: each would overwrite the next input
    model.stream().run(room[:700].reshape(100, 1, 7), out=ahead)
    np.testing.assert_array_equal(ahead, expected[:, 0])
    step = x[0].copy()
    model.stream().step(step, out=step)
    np.testing.assert_array_equal(step, expected[0, 0])


def test_step_with_out_allocates_nothing() -> None:
    stream = rnnrt.load(models.recurrent("LSTM")).stream()
    x, y = models.signal((5,)), np.empty(7, np.float32)
    stream.step(x, out=y)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(100):
            stream.step(x, out=y)
        after = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after[1] - before[0] < 512, (before, after)  # the loop's own integers


def test_step_overhead_is_small() -> None:
    """A step of a tiny model is mostly Python's part of the call: 0.6 us are allowed, the rest is for slow machines."""
    stream = rnnrt.load(models.gemm()).stream()
    x, y = models.signal((5,)), np.empty(9, np.float32)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(2000):
            stream.step(x, out=y)
        best = min(best, (time.perf_counter() - start) / 2000)
    assert best < 1.5e-6


@pytest.mark.parametrize(
    "kind", ["read-only", "strided", "fortran", "unaligned", "torch", "dlpack", "memoryview", "array"]
)
def test_kinds_of_arrays(kind: str) -> None:
    from array import array

    import torch

    class OnlyDlpack:
        def __init__(self, a: Any) -> None:
            self.a = a

        def __dlpack__(self, **options: Any) -> Any:
            return self.a.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.a.__dlpack_device__()

    model = rnnrt.load(models.recurrent("GRU"))
    x = models.signal((12, 1, 5))
    given: Any = {
        "read-only": lambda: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
        "strided": lambda: np.repeat(x, 3, axis=2)[:, :, ::3],
        "fortran": lambda: np.asfortranarray(x[:, 0])[:, None],
        "unaligned": lambda: np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
        "torch": lambda: torch.from_numpy(x),
        "dlpack": lambda: OnlyDlpack(x.copy()),
        "memoryview": lambda: memoryview(x),
        "array": lambda: array("f", x[0, 0]),
    }[kind]()
    expected = model(x)
    if kind == "array":
        np.testing.assert_array_equal(model.stream().step(given), expected[0])
        return
    np.testing.assert_array_equal(model.stream().run(given), expected)
    if kind not in ("dlpack", "memoryview"):
        np.testing.assert_array_equal(model.stream().step(given[0]), expected[0])


@pytest.mark.parametrize(("name", "mode"), EVERY)
def test_reset_clone_and_state(name: str, mode: str) -> None:
    model = load(name, mode)
    x = inputs(model, 20)
    stream = model.stream()
    first = as_dict(model, stream.run(x))
    state = stream.state
    assert set(state) == {info.name for info in model.states}
    second = as_dict(model, stream.run(x))
    kept = {k: v.copy() for k, v in state.items()}
    twin = model.stream()
    twin.set_state(state)
    other = twin.clone()
    assert_same(as_dict(model, twin.run(x)), second)
    assert_same(as_dict(model, other.run(x)), second)
    assert_same(state, kept)
    twin.state = state
    assert_same(as_dict(model, twin.run(x)), second)
    assert_same(twin.state, stream.state)
    stream.reset()
    assert_same(as_dict(model, stream.run(x)), first)


def test_a_wrong_state_touches_nothing() -> None:
    model = rnnrt.load(models.recurrent("LSTM"))
    stream = model.stream()
    stream.run(models.signal((9, 1, 5)))
    before = stream.state
    other = rnnrt.load(models.recurrent("LSTM", hidden=8)).stream().state
    third = rnnrt.load(models.recurrent("GRU")).stream().state
    half = {"y.h": np.ones((1, 1, 7), np.float32), "y.c": np.ones((1, 1, 8), np.float32)}
    double = {"y.h": np.ones((1, 1, 7), np.float32), "y.c": np.ones((1, 1, 7))}
    with pytest.raises(ValueError, match=r"state 'y.h': got shape \[1, 1, 8\], expected \[1, 1, 7\]"):
        stream.set_state(other)
    with pytest.raises(ValueError, match=r"state: got 'y.h', expected 'y.h', 'y.c'"):
        stream.set_state(third)
    with pytest.raises(ValueError, match=r"state 'y.c'"):
        stream.state = half
    with pytest.raises(TypeError, match=r"'y.c': got dtype float64, expected float32"):
        stream.set_state(double)
    assert_same(stream.state, before)


def test_closed_stream_says_so() -> None:
    model = rnnrt.load(models.recurrent("GRU"))
    x = models.signal((3, 1, 5))
    with model.stream() as stream:
        stream.step(x[0])
    stream.close()
    uses: list[Any] = [
        lambda: stream.step(x[0]),
        lambda: stream.run(x),
        lambda: stream.run(x[:0]),
        stream.reset,
        stream.clone,
        lambda: stream.state,
        lambda: stream.set_state({"y.h": np.zeros((1, 1, 7), np.float32)}),
        lambda: stream.arena,
    ]
    for use in uses:
        with pytest.raises(rnnrt.RnnrtError, match="closed"):
            use()


def test_batch() -> None:
    model = rnnrt.load(models.recurrent("LSTM"))
    x = models.signal((30, 4, 5))
    stream = model.stream(batch=4)
    assert stream.batch == 4
    got = np.stack([stream.step(f) for f in x])
    for b in range(4):
        alone = model.stream()
        expected = np.stack([alone.step(f[b]) for f in x])
        assert got[:, :, b : b + 1].tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match="batch: got 0, expected 1 to"):
        model.stream(batch=0)
    fixed = rnnrt.load(models.recurrent("GRU", batch=1))
    with pytest.raises(ValueError, match="batch: got 2, expected 1"):
        fixed.stream(batch=2)


def test_streams_do_not_share_state_and_keep_their_model_alive() -> None:
    x = models.signal((9, 1, 5))
    expected = rnnrt.load(models.recurrent("GRU"))(x)
    a = rnnrt.load(models.recurrent("GRU")).stream()
    b = a.model.stream()
    for t in range(9):
        for stream in (a, b):
            np.testing.assert_array_equal(stream.step(x[t]), expected[t])


def test_a_stream_is_no_thing_to_pickle() -> None:
    stream = rnnrt.load(models.recurrent("GRU")).stream()
    for use in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            use(stream)


def test_model_that_looks_ahead_says_which_node() -> None:
    model = rnnrt.load(models.bidirectional())
    with pytest.raises(rnnrt.UnsupportedError, match="LSTM 'lstm_y' is bidirectional"):
        model.stream()
    assert model(models.signal((50, 2, 5))).shape == (50, 2, 2, 6)


def test_two_threads_in_one_stream_are_told() -> None:
    """Results of one thread at a time stay right; the other gets an exception and no crash."""
    model = rnnrt.load(models.recurrent("LSTM", features=256, hidden=256))  # 2 MB: the GIL is given away
    stream = model.stream()
    x = models.signal((400, 1, 256))
    told, failed = [], []

    def work() -> None:
        for _ in range(10):
            try:
                stream.run(x)
            except rnnrt.RnnrtError as error:
                told.append(str(error))
                time.sleep(0.001)
            except BaseException as error:
                failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failed
    assert told
    assert all("in use by another thread" in text for text in told)
    stream.reset()
    np.testing.assert_array_equal(stream.run(x), model(x))


def test_other_threads_run_during_a_long_call() -> None:
    model = rnnrt.load(models.recurrent("LSTM", features=256, hidden=256))
    x = models.signal((3000, 1, 256))
    done = threading.Event()
    worker = threading.Thread(target=lambda: (model(x), done.set()))
    ticks = 0
    worker.start()
    while not done.is_set():
        ticks += 1
        time.sleep(0.0005)
    worker.join()
    assert ticks > 3
