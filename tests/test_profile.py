"""Time per node: no time is asserted, only what is counted, named and added up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import models
import rnnrt
from rnnrt._rnnrt import StreamCore, nodes, record
from rnnrt.cli.app import app
from rnnrt.cli.cells import build_cell


def load(name: str, mode: str = "float") -> rnnrt.Model:
    return rnnrt.load(models.streamable(name, mode))


@pytest.mark.parametrize("time", [1, 7])
@pytest.mark.parametrize("mode", ["float", "int8"])
def test_a_profile_names_every_node_and_adds_up(mode: str, time: int) -> None:
    found = load("two", mode).profile(time=time, seconds=0.02)
    assert [node.op for node in found.nodes] == ["Add", "LSTM"]
    assert [node.name for node in found.nodes] == ["add_sum", "lstm_y"]
    add, lstm = found.nodes
    assert (add.weights, add.weight_bytes, add.gb_per_s) == (None, 0, None)
    # W and R: 4 gates x 16 units, 4 and 6 columns (8 in groups of 4), s8 with a scale and a sum per row
    expected = {"float": 64 * 4 * 4 + 64 * 6 * 4, "int8": 2 * 64 * 8 + 64 * 4 + 64 * 8}
    assert (lstm.weights, lstm.weight_bytes) == ({"float": "f32", "int8": "int8"}[mode], expected[mode])
    assert lstm.us > 0
    assert found.total_us == pytest.approx(add.us + lstm.us + found.rest_us)
    assert add.share + lstm.share + found.rest_us / found.total_us == pytest.approx(1)
    assert (found.time, found.batch, found.isa) == (time, 1, rnnrt.isas()[0])
    assert found.calls >= 16
    assert found.call_us > 0


def test_operators_are_summed_up_longest_first() -> None:
    found = load("batch_first").profile(seconds=0.02)
    assert sorted(node.op for node in found.nodes) == ["GRU", "Squeeze", "Transpose", "Transpose"]
    by_op = {part.op: part for part in found.operators}
    assert by_op["Transpose"].count == 2
    assert by_op["Transpose"].us == pytest.approx(sum(n.us for n in found.nodes if n.op == "Transpose"))
    times = [part.us for part in found.operators]
    assert times == sorted(times, reverse=True)
    squeeze = next(node for node in found.nodes if node.op == "Squeeze")
    assert squeeze.us == 0, "a view has nothing to run"


def test_the_largest_layer_takes_the_longest() -> None:
    """A layer of 256 times as many weights, so that no disturbance of this machine turns it round."""
    b = models._Builder(5)
    b.input("x", (models.T, models.B, 16))
    for i, units in enumerate((1024, 4)):
        b.node("Gemm", ["x", b.weight(f"w{i}", units, 16)], [f"y{i}"], transB=1)
        b.output(f"y{i}", (models.T, models.B, units))
    found = rnnrt.load(b.bytes("float")).profile(seconds=0.05)
    assert found.nodes[0].us > found.nodes[1].us
    assert found.nodes[0].share > 0.5


@pytest.mark.parametrize("name", list(models.STREAMABLE))
def test_every_node_that_runs_is_recorded_and_results_are_the_same(name: str) -> None:
    """The recorder makes two calls a row; the state ends where as many plain calls lead."""
    model, other = load(name), load(name).stream()
    core, about = StreamCore(model, 3, 1), nodes(model)
    values = {i.name: models.signal((1, *_frame(i.shape)), 4) for i in model.inputs}
    shapes = [info.bound(T=1, B=1) for info in model.outputs]
    outs = [np.empty(shape, np.float32) for shape in shapes]
    inputs = [v.reshape(info.bound(T=1, B=1)) for v, info in zip(values.values(), model.inputs)]
    times = np.full((5, len(about) + 2), -1, np.int64)
    assert record(core, (*inputs, *outs), 1, times) >= 0
    assert (times >= 0).all()
    for _ in range(10):
        y = other.step({i.name: v[0] for i, v in zip(model.inputs, values.values())})
    expected = list(y.values()) if isinstance(y, dict) else [y]
    for out, e in zip(outs, expected, strict=True):
        assert out.tobytes() == e.tobytes()


def _frame(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(1 if d == "B" else d for d in shape if d != "T")


def test_a_model_without_time_is_evaluated_once_a_frame() -> None:
    found = load("timeless").profile(time=5, seconds=0.02)
    assert found.nodes[1].op == "GRU"
    assert found.nodes[1].us > 0


def test_what_is_not_streamable_is_profiled_over_a_sequence() -> None:
    model = rnnrt.load(models.bidirectional())
    found = model.profile(models.signal((9, 1, 5)), time=9, seconds=0.02)
    assert found.time == 9
    assert found.nodes[0].us > 0


@pytest.mark.parametrize("what", [{"time": 0}, {"batch": 0}, {"seconds": 0.0}])
def test_numbers_must_be_positive(what: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        load("gru").profile(**what)


def test_inputs_must_fit() -> None:
    with pytest.raises(ValueError, match=r"input 'x': got shape \[4, 1, 5\], expected \[3, 1, 5\]"):
        load("gru").profile(models.signal((4, 1, 5)), time=3)
    with pytest.raises(TypeError, match="got dtype float64"):
        load("gru").profile(np.zeros((3, 1, 5)), time=3)


@pytest.mark.parametrize(
    "times",
    [np.empty((2, 2), np.int64), np.empty((2, 3), np.int32), np.empty(3, np.int64), np.empty((3, 2), np.int64).T],
)
def test_the_recorder_checks_its_array(times: np.ndarray[Any, np.dtype[Any]]) -> None:
    core = StreamCore(load("gru"), 1, 1)
    arrays = (models.signal((1, 1, 5)), np.empty((1, 1, 1, 7), np.float32))
    with pytest.raises(ValueError, match=r"expected int64 \[rows, 3\]"):
        record(core, arrays, 1, times)
    assert record(core, arrays, 1, np.empty((2, 3), np.int64)) >= 0, "the stream is free again"


def test_more_steps_than_the_stream_takes_are_refused() -> None:
    core = StreamCore(load("gru"), 1, 1)
    arrays = (models.signal((2, 1, 5)), np.empty((2, 1, 1, 7), np.float32))
    with pytest.raises(ValueError, match="invalid argument"):
        record(core, arrays, 2, np.empty((2, 3), np.int64))
    core.reset()  # nobody is in it


def test_bench_prints_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "lstm.rnnrt"
    file.write_bytes(build_cell("lstm", 8, 16, "int8", 0))
    arguments = ["bench", str(file), "--profile", "--frames", "6", "--seconds", "0.02"]
    text = CliRunner().invoke(app, arguments)
    assert text.exit_code == 0, text.output
    assert "a step" in text.stdout
    assert "6 frames in one call" in text.stdout
    assert "without looking" in text.stdout
    result = CliRunner().invoke(app, [*arguments, "--json"])
    found = json.loads(result.stdout)
    assert (found["schema"], found["mode"], found["ok"], found["threads"]) == ("rnnrt.bench/1", "profile", True, 1)
    assert [p["time"] for p in found["profiles"]] == [1, 6]
    for part in found["profiles"]:
        first = part["nodes"][0]
        assert (first["name"], first["op"], first["weights"]) == ("lstm", "LSTM", "int8")
        assert part["us_per_step"] == pytest.approx(part["total_us"] / part["time"])
        assert part["operators"][0]["op"] == "LSTM"


@pytest.mark.parametrize("options", [["--profile"], []])
def test_bench_lends_threads(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "lstm.rnnrt"
    file.write_bytes(build_cell("lstm", 200, 256, "int8", 0))
    arguments = ["bench", str(file), *options, "--threads", "2", "--seconds", "0.02"]
    text = CliRunner().invoke(app, arguments)
    assert text.exit_code == 0, text.output
    assert "batch 1, 2 threads, " in text.stdout
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)["threads"] == 2


def test_bench_profiles_what_can_not_be_stepped(tmp_path: Path) -> None:
    file = tmp_path / "m.rnnrt"
    file.write_bytes(models.bidirectional())
    result = CliRunner().invoke(app, ["bench", str(file), "--profile", "--frames", "6", "--seconds", "0.02", "--json"])
    assert [p["time"] for p in json.loads(result.stdout)["profiles"]] == [6]
