"""`rnnrt.load` and `Model`: loading, description, whole sequences, sharing, pickling."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import rnnrt
from onnx_graphs import model, recurrent, weights
from stream_checks import built

MODES = ["float", "int8"]
ISAS = rnnrt.isas()


def test_version_is_that_of_the_header(root: Path) -> None:
    assert f'#define RNNRT_VERSION "{rnnrt.__version__}"' in (root / "src_c/include/rnnrt.h").read_text()


def test_isas_end_with_scalar() -> None:
    assert ISAS[-1] == "scalar"
    assert len(set(ISAS)) == len(ISAS)


def test_path_bytes_and_buffers_give_the_same_model(tmp_path: Path) -> None:
    blob = models.recurrent("GRU")
    path = tmp_path / "gru.rnnrt"
    path.write_bytes(blob)
    x = models.signal((9, 1, 5))
    expected = rnnrt.load(blob)(x)
    shifted = memoryview(b"." + blob)[1:]
    for source in (
        path,
        str(path),
        bytearray(blob),
        memoryview(blob),
        array("B", blob),
        np.frombuffer(blob, np.uint8),
        shifted,
    ):
        np.testing.assert_array_equal(rnnrt.load(source)(x), expected)


def test_a_mutable_buffer_is_copied() -> None:
    blob = bytearray(models.recurrent("GRU"))
    model = rnnrt.load(blob)
    x = models.signal((9, 1, 5))
    before = model(x)
    blob[:] = bytes(len(blob))
    np.testing.assert_array_equal(model(x), before)


def test_a_model_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "gru.rnnrt"
    path.write_bytes(models.recurrent("GRU"))
    model = rnnrt.load(path)
    x = models.signal((9, 1, 5))
    before = model(x)
    path.unlink()
    np.testing.assert_array_equal(model(x), before)


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a kernel without huge pages")
def test_a_large_file_may_lie_in_huge_pages(tmp_path: Path) -> None:
    path = tmp_path / "large.rnnrt"
    path.write_bytes(models.gemm(features=1024, units=1024))
    model = rnnrt.load(path)
    smaps = Path("/proc/self/smaps").read_text()
    mapping = smaps[smaps.index(str(path)) :]
    assert "hg" in mapping[mapping.index("VmFlags:") :].split("\n", 1)[0].split()
    x = np.ones((1, 1, 1024), np.float32)
    assert np.array_equal(model(x), rnnrt.load(path.read_bytes())(x))


def test_description() -> None:
    model = rnnrt.load(models.two())
    f32 = np.dtype(np.float32)
    assert model.inputs == (("a", ("T", "B", 4), f32), ("b", ("T", "B", 4), f32))
    assert model.outputs == (("sum", ("T", "B", 4), f32), ("y", ("T", 1, "B", 6), f32))
    assert model.states == (("y.h", (1, "B", 6), f32), ("y.c", (1, "B", 6), f32))
    assert model.streamable
    assert model.has_time
    assert model.meta == {"name": "test"}
    assert model.nbytes == len(models.two())
    assert "a float32[T, B, 4]" in repr(model)
    assert not rnnrt.load(models.timeless()).has_time
    assert not rnnrt.load(models.bidirectional()).streamable


def test_is_immutable() -> None:
    model = rnnrt.load(models.gemm())
    for name in ("inputs", "isa", "meta", "anything"):
        with pytest.raises(AttributeError):
            setattr(model, name, None)
    model.meta["name"] = "other"
    assert model.meta["name"] == "test"


@pytest.mark.parametrize("isa", ISAS)
def test_isa_argument_and_environment(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = models.recurrent("GRU")
    monkeypatch.delenv("RNNRT_ISA", raising=False)
    assert rnnrt.load(blob).isa == ISAS[0]
    assert rnnrt.load(blob, isa=isa).isa == isa
    monkeypatch.setenv("RNNRT_ISA", isa)
    assert rnnrt.load(blob).isa == isa
    assert rnnrt.load(blob, isa="scalar").isa == "scalar"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", models.STREAMABLE)
def test_every_isa_gives_the_same_bits(name: str, mode: str) -> None:
    blob = models.streamable(name, mode)
    results = []
    for isa in ISAS:
        model = rnnrt.load(blob, isa=isa)
        results.append(whole(model, inputs(model, time=40, batch=1)))
    for result in results[1:]:
        assert_same(result, results[0])


def inputs(model: rnnrt.Model, time: int, batch: int) -> dict[str, Any]:
    """Noise for every input of a whole sequence."""
    return {info.name: models.signal(info.bound(T=time, B=batch), seed) for seed, info in enumerate(model.inputs)}


def whole(model: rnnrt.Model, x: dict[str, Any]) -> dict[str, Any]:
    """What the model makes of it, as a dict also for a single output."""
    result = model(x)
    return result if isinstance(result, dict) else {model.outputs[0].name: result}


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value.shape == b[name].shape
        assert value.tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("time", [1, 31, 32, 33, 100])
def test_whole_sequence_equals_one_run_from_the_zero_state(time: int, mode: str) -> None:
    for name in ("gru", "lstm", "two", "batch_first", "last_hidden", "gemm"):
        model = rnnrt.load(models.streamable(name, mode))
        for batch in (1, 3):
            x = inputs(model, time, batch)
            stream = model.stream(batch)
            result = stream.run(x)
            assert_same(whole(model, x), result if isinstance(result, dict) else {model.outputs[0].name: result})


@pytest.mark.parametrize("mode", MODES)
def test_batch_composition_does_not_matter(mode: str) -> None:
    for blob in (models.recurrent("LSTM", mode), models.bidirectional(mode)):
        model = rnnrt.load(blob)
        x = models.signal((20, 5, 5))
        together = model(x)
        for b in range(5):
            alone = model(x[:, b : b + 1])
            assert together[:, :, b : b + 1].tobytes() == alone.tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_lengths_give_each_sequence_its_own_result(mode: str) -> None:
    lengths = [7, 0, 40, 1, 7]
    for blob in (models.recurrent("GRU", mode), models.bidirectional(mode), models.batch_first(mode)):
        model = rnnrt.load(blob)
        axis_t, axis_b = model.inputs[0].shape.index("T"), model.inputs[0].shape.index("B")
        out_t, out_b = model.outputs[0].shape.index("T"), model.outputs[0].shape.index("B")
        x = models.signal(model.inputs[0].bound(T=40, B=5))
        got = model(x, lengths=lengths)
        for b, length in enumerate(lengths):
            row = np.take(got, [b], axis=out_b)
            part = np.take(np.take(x, range(length), axis=axis_t), [b], axis=axis_b)
            alone = np.zeros_like(np.take(row, range(0), axis=out_t)) if length == 0 else model(part)
            assert np.take(row, range(length), axis=out_t).tobytes() == alone.tobytes()
            assert not np.take(row, range(length, 40), axis=out_t).any()


def test_lengths_reach_outputs_without_a_time_axis() -> None:
    model = rnnrt.load(models.last_hidden())
    x = models.signal((10, 2, 5))
    got = model(x, lengths=[4, 10])
    np.testing.assert_array_equal(got["y.next_h"][0, 0], model(x[:4, :1])["y.next_h"][0, 0])
    np.testing.assert_array_equal(got["y.next_h"][0, 1], model(x[:, 1:])["y.next_h"][0, 0])


@pytest.mark.parametrize("lengths", [[1], [1, 2, 3], [-1, 2], [1, 11]])
def test_wrong_lengths(lengths: list[int]) -> None:
    model = rnnrt.load(models.recurrent("GRU"))
    with pytest.raises(ValueError, match=r"lengths: got .*expected 2 numbers from 0 to 10"):
        model(models.signal((10, 2, 5)), lengths=lengths)


def test_axes_of_length_one_may_be_left_out() -> None:
    model = rnnrt.load(models.recurrent("GRU"))
    x = models.signal((10, 1, 5))
    expected = model(x)
    np.testing.assert_array_equal(model(x[:, 0]), expected)
    np.testing.assert_array_equal(model(x[0, 0]), expected[:1])
    timeless = rnnrt.load(models.timeless())
    np.testing.assert_array_equal(timeless(x[0]), timeless(x[0, 0]))


def test_model_without_time_takes_its_batch_from_the_input() -> None:
    model = rnnrt.load(models.timeless(batch=models.B))
    x = models.signal((3, 5))
    y = model(x)
    assert y.shape == (3, 7)
    np.testing.assert_array_equal(y[1], model(x[1])[0])


def test_no_time_steps_give_an_empty_result() -> None:
    model = rnnrt.load(models.two())
    empty = np.empty((0, 2, 4), np.float32)
    got = model({"a": empty, "b": empty})
    assert got["sum"].shape == (0, 2, 4)
    assert got["y"].shape == (0, 1, 2, 6)
    got = rnnrt.load(models.last_hidden())(np.empty((0, 1, 5), np.float32))
    assert got["y"].shape == (0, 1, 1, 7)
    assert not got["y.next_h"].any(), "the last state is the initial one"


def test_no_time_steps_give_the_state_so_far_and_change_nothing() -> None:
    model = rnnrt.load(models.last_hidden())
    stream = model.stream()
    last = stream.run(models.signal((6, 1, 5)))["y.next_h"]
    before = stream.state
    np.testing.assert_array_equal(stream.run(np.empty((0, 1, 5), np.float32))["y.next_h"], last)
    for name, value in stream.state.items():
        np.testing.assert_array_equal(value, before[name])


def test_no_signals_give_an_empty_result() -> None:
    got = rnnrt.load(models.last_hidden())(np.empty((6, 0, 5), np.float32))
    assert got["y"].shape == (6, 1, 0, 7)
    assert got["y.next_h"].shape == (1, 0, 7)


def test_pickle_copy_and_threads_share_one_result() -> None:
    model = rnnrt.load(models.recurrent("LSTM"), isa="scalar")
    x = models.signal((50, 2, 5))
    expected = model(x)
    clone = pickle.loads(pickle.dumps(model))
    assert clone.isa == "scalar"
    np.testing.assert_array_equal(clone(x), expected)
    assert copy.copy(model) is model
    assert copy.deepcopy(model) is model

    wrong = []

    def work() -> None:
        for _ in range(20):
            if model(x).tobytes() != expected.tobytes():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nan_is_data() -> None:
    for mode in MODES:
        model = rnnrt.load(models.recurrent("GRU", mode))
        x = models.signal((6, 1, 5))
        x[3, 0, 2] = np.nan
        y = model(x)
        assert np.isfinite(y[:3]).all()
        assert np.isnan(y[3:]).all()


def test_import_needs_numpy_only_and_makes_no_thread() -> None:
    code = (
        "import sys, numpy, threading; before = set(sys.modules); import time; start = time.perf_counter();"
        "import rnnrt; took = time.perf_counter() - start;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "new = {name for name in new if name not in sys.stdlib_module_names} - {'rnnrt', 'cython_runtime'};"
        "new = {name for name in new if not name.startswith(('_cython_', '__editable__'))};"
        "assert not new, new; assert threading.active_count() == 1;"
        "import os; tasks = os.listdir('/proc/self/task') if os.path.isdir('/proc/self/task') else [0];"
        "print(took, len(tasks))"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    outputs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
        outputs.append(done.stdout.split())
    assert {threads for _, threads in outputs} == {"1"}
    assert min(float(took) for took, _ in outputs) < 0.05


def test_an_initial_state_elsewhere_at_each_call() -> None:
    """One step each, of a recurrent layer whose state is an input: its plan is kept, addresses are not."""
    nodes, constants = recurrent("LSTM", "x", "y", 5, 20, tail=["", "h", "c"])
    source = model(nodes, {"x": ["time", 1, 5], "h": [1, 1, 20], "c": [1, 1, 20]}, ["y"], constants)
    loaded = built(source)[1]
    x = weights(2, 1, 5, seed=1)
    states = [{"h": weights(1, 1, 20, seed=k), "c": weights(1, 1, 20, seed=k + 9)} for k in range(2, 5)]
    one_step = [np.array(loaded({"x": x[:1], **state})) for state in states]
    two_steps = [np.array(loaded({"x": x, **state})) for state in states]
    for one, two in zip(one_step, two_steps, strict=True):
        assert one.tobytes() == two[:1].tobytes()
    assert len({one.tobytes() for one in one_step}) == 3
