"""Verification: does it pass what is right, and catch what is wrong?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rnnrt.converters import convert as conversion
from rnnrt.converters import ir, pack, quantize, verify, write
from rnnrt.converters.comparison import compare, same_bits

import onnx_graphs
import rnnrt

Array = npt.NDArray[Any]
HIDDEN, INPUTS, OUTPUTS = 24, 6, 20


def normal(*shape: int, seed: int = 5) -> Array:
    return (np.random.default_rng((seed, *shape)).standard_normal(shape) * 0.5).astype(np.float32)


def onnx_model(op: str, states: bool, direction: str = "forward") -> bytes:
    """A recurrent layer and a Gemm over [T, B, INPUTS]; states: with explicit state inputs and outputs."""
    gates = {"GRU": 3, "LSTM": 4}[op]
    directions = 2 if direction == "bidirectional" else 1
    wide = HIDDEN * directions
    weights = {
        "W": normal(directions, gates * HIDDEN, INPUTS),
        "R": normal(directions, gates * HIDDEN, HIDDEN),
        "B": normal(directions, 2 * gates * HIDDEN),
        "shape": np.array([0, 0, -1], np.int64),
        "w": normal(wide, OUTPUTS),
        "b": normal(OUTPUTS),
    }
    letters = "hc" if op == "LSTM" else "h"
    extra = [f"{s}0" for s in letters] if states else []
    last = [f"{s}1" for s in letters]
    attrs: dict[str, Any] = {"linear_before_reset": 1} if op == "GRU" else {}
    nodes = [
        helper.make_node(
            op, ["x", "W", "R", "B", "", *extra], ["Y", *last], "cell", hidden_size=HIDDEN, direction=direction, **attrs
        ),
        helper.make_node("Transpose", ["Y"], ["Yt"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["Yt", "shape"], ["Yr"]),
        helper.make_node("MatMul", ["Yr", "w"], ["Z"], "head"),
        helper.make_node("Add", ["Z", "b"], ["y"]),
    ]
    state_shape = [directions, "batch", HIDDEN]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", INPUTS])]
        + [helper.make_tensor_value_info(n, TensorProto.FLOAT, state_shape) for n in extra],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["time", "batch", OUTPUTS])]
        + [helper.make_tensor_value_info(n, TensorProto.FLOAT, state_shape) for n in last if states],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("mode", [None, "int8"])
def test_conversions_pass(op: str, states: bool, mode: str | None, tmp_path: Path) -> None:
    path = tmp_path / "m.rnnrt"
    report = conversion.convert(onnx_model(op, states), path, quantize=mode, frames=40, batch=None)
    assert path.stat().st_size == report.size
    assert report.streamable
    found = report.verification
    assert found is not None
    assert found.passed
    against = {c.against for c in found.comparisons}
    assert against == {"onnxruntime", "float64", *(["onnxruntime (stepping)"] if states else [])}
    for c in found.comparisons:
        if mode is None:
            assert c.max_scaled_error < 5e-6
            assert c.first_diverging_step is None
        else:
            assert 25 < c.sqnr_db < 60
    names = [check.name for check in found.checks]
    assert {"chunked = whole", "stepped = whole", "batch = signals alone"} <= set(names)
    assert sum(" = scalar" in name for name in names) == len(rnnrt.isas()) - 1
    assert {"python", "numpy", "rnnrt", "onnxruntime"} == set(found.versions)
    json.dumps(report.to_dict(), allow_nan=False)
    expected = {("cell", "int8" if mode else "f32"), ("head", "int8" if mode else "f32")}
    assert {(layer["op"].lower(), layer["precision"]) for layer in report.layers} == {
        ({"cell": op.lower(), "head": "gemm"}[n], p) for n, p in expected
    }


def test_bidirectional_runs_whole_only(tmp_path: Path) -> None:
    report = conversion.convert(onnx_model("LSTM", False, "bidirectional"), tmp_path / "m.rnnrt", frames=20)
    assert not report.streamable
    assert "cell" in report.not_streamable_because
    assert report.verification is not None
    assert "chunked = whole" not in [c.name for c in report.verification.checks]


def prepared() -> tuple[ir.Graph, bytes]:
    model = onnx_model("GRU", True)
    return conversion.prepare(model), model


def blob_of(graph: ir.Graph, mode: str = "float") -> bytes:
    return write.to_bytes(pack.pack(graph, quantize.plan(graph, mode)))


def changed(graph: ir.Graph, name: str, change: Any) -> ir.Graph:
    """The graph with one constant replaced."""
    return dataclasses.replace(graph, constants={**graph.constants, name: change(graph.constants[name])})


def test_wrong_weights_are_caught_with_the_step() -> None:
    graph, model = prepared()
    name = graph.nodes[0].inputs[1]
    wrong = changed(graph, name, lambda w: w + np.float32(1e-3))
    report = verify.verify(graph, blob_of(wrong), model, frames=30)
    assert not report
    assert any("against onnxruntime from step 0 on" in reason for reason in report.failed)
    assert any("against float64" in reason for reason in report.failed)
    assert {c.first_diverging_step for c in report.comparisons} == {0}
    # the bits still agree with each other: only the values are wrong
    assert all(check.passed for check in report.checks)


def test_a_graph_that_strays_from_the_original_is_caught() -> None:
    """rnnrt equals the graph (float64), but the graph isn't the original: a converter's bug."""
    graph, model = prepared()
    name = graph.nodes[0].inputs[1]
    wrong = changed(graph, name, lambda w: w * np.float32(1.001))
    report = verify.verify(wrong, blob_of(wrong), model, frames=30)
    assert report.failed
    assert all("the converted graph in float64 is" in reason for reason in report.failed)
    assert max(c.max_scaled_error for c in report.comparisons if c.against == "float64") < 1e-5
    # also where 8 bits are far less exact than the mistake is large
    in_8_bits = verify.verify(wrong, blob_of(wrong, "int8"), model, frames=30)
    assert min(c.sqnr_db for c in in_8_bits.comparisons) > in_8_bits.threshold_db
    assert in_8_bits.failed


def test_swapped_rows_fail_int8() -> None:
    graph, model = prepared()
    name = graph.nodes[0].inputs[2]
    wrong = changed(graph, name, lambda r: r[:, ::-1].copy())
    report = verify.verify(graph, blob_of(wrong, "int8"), model, frames=30)
    assert report.precision == "int8"
    assert any("20 dB needed" in reason for reason in report.failed)


def test_float64_decides_where_rounding_keeps_onnxruntime_away() -> None:
    graph, model = prepared()
    report = verify.verify(graph, blob_of(graph), model, frames=20, tolerance=1e-9)
    assert min(c.max_scaled_error for c in report.comparisons) > 1e-9
    assert report.passed
    assert any("float64 decides" in note for note in report.notes)


@pytest.fixture(scope="module")
def amplifying(models_dir: Path) -> tuple[ir.Graph, bytes]:
    """Resemblyzer's LSTM: weights of the input up to 61, so that a float32 program is 1e-5 to 2e-4 from float64."""
    graph = conversion.prepare(models_dir / "pretrained.pt", cell="model_state.lstm")
    return graph, blob_of(graph)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_that_amplifies_rounding_passes_with_a_note(amplifying: tuple[ir.Graph, bytes], seed: int) -> None:
    report = verify.verify(*amplifying, seed=seed)
    assert max(c.max_scaled_error for c in report.comparisons) > 1e-5
    assert report.passed, report.failed
    assert any("amplifies rounding on this input: plain float32 is" in note for note in report.notes)


def test_a_model_that_amplifies_rounding_still_fails_when_it_is_wrong(amplifying: tuple[ir.Graph, bytes]) -> None:
    graph, _ = amplifying
    lstm = next(node for node in graph.nodes if node.op == "LSTM")
    wrong = changed(graph, lstm.inputs[2], lambda r: r * np.float32(1 + 1e-4))
    report = verify.verify(graph, blob_of(wrong))
    (reason,) = report.failed
    assert "verify with real input (--data), or with another --seed" in reason
    limited = verify.verify(graph, blob_of(graph), tolerance=1e-9)
    assert "1e-09 allowed; the model amplifies rounding" in limited.failed[0]


def test_noise_of_the_original_is_not_taken_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, model = prepared()
    original = verify._onnx_whole

    def noisy(*args: Any) -> dict[str, Array]:
        return {name: y + np.float32(1e-3) for name, y in original(*args).items()}

    monkeypatch.setattr(verify, "_onnx_whole", noisy)
    report = verify.verify(graph, blob_of(graph), model, frames=20)
    assert any("float32 rounding explains only" in reason for reason in report.failed)


def test_nothing_is_written_when_verification_fails(tmp_path: Path) -> None:
    path = tmp_path / "m.rnnrt"
    with pytest.raises(rnnrt.VerificationError, match="90 dB needed") as caught:
        conversion.convert(onnx_model("GRU", False), path, quantize="int8", frames=20, threshold_db=90)
    assert not list(tmp_path.iterdir())
    assert isinstance(caught.value.report, verify.Report)
    assert caught.value.report.failed


def test_an_input_without_dimensions_is_fed_as_one_in_every_step() -> None:
    source = onnx_graphs.model([onnx_graphs.node("Mul", ["x", "s"], ["y"])], {"x": [1, 4], "s": []}, ["y"])
    report = conversion.convert(source, None, frames=20)
    assert report.verification is not None
    assert report.verification.passed
    assert report.inputs["s"] == []


def test_verify_file_and_other_options(tmp_path: Path) -> None:
    source, path = tmp_path / "m.onnx", tmp_path / "m.rnnrt"
    source.write_bytes(onnx_model("GRU", True))
    conversion.convert(source, path, verify=False)
    assert conversion.verify_file(path, source, frames=10).passed
    other = tmp_path / "other.onnx"
    other.write_bytes(onnx_model("LSTM", True))
    assert not conversion.verify_file(path, other, frames=10).passed
    with pytest.raises(ValueError, match="other options"):
        conversion.verify_file(path, source, batch=2)


def test_conversion_is_reproducible_and_tells_no_paths(tmp_path: Path) -> None:
    blobs = []
    for folder in ("one", "two"):
        source = tmp_path / folder / "m.onnx"
        source.parent.mkdir()
        source.write_bytes(onnx_model("GRU", True))
        conversion.convert(source, source.with_suffix(".rnnrt"), verify=False)
        blobs.append(source.with_suffix(".rnnrt").read_bytes())
    assert blobs[0] == blobs[1]
    assert str(tmp_path).encode() not in blobs[0]
    meta = rnnrt.load(blobs[0]).meta
    assert meta["source"]["name"] == "m.onnx"
    assert len(meta["source"]["sha256"]) == 64


def test_given_data() -> None:
    graph, model = prepared()
    x = normal(25, 2, INPUTS)
    report = verify.verify(graph, blob_of(graph), model, data={"x": x})
    assert (report.inputs, report.frames, report.batch) == ("given", 25, 2)
    assert report.passed
    with pytest.raises(ValueError, match="'x' has shape"):
        verify.verify(graph, blob_of(graph), model, data={"x": x[..., :3]})
    with pytest.raises(ValueError, match="nothing for the input x"):
        verify.verify(graph, blob_of(graph), model, data={"z": x})


def test_data_without_a_name_and_without_units(tmp_path: Path) -> None:
    data = normal(15, INPUTS)
    report = conversion.convert(onnx_model("GRU", True), tmp_path / "m.rnnrt", data=data)
    assert report.verification is not None
    assert (report.verification.frames, report.verification.batch) == (15, 1)


@pytest.mark.parametrize(("width", "steps"), [(5000, 100), (40_000, 12), (90_000, 10)])
def test_large_steps_are_verified_over_fewer_of_them(width: int, steps: int) -> None:
    """As many as have 500 000 numbers in all, from 10 to 100; said in the report. What the caller says counts."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("ReduceMax", ["r"], ["y"], axes=[1])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    found = conversion.convert(model, None).verification
    assert found is not None
    assert found.passed
    assert found.frames == found.to_dict()["frames"] == steps
    note = f"{steps} time steps instead of 100: the input of each one is {width} numbers"
    assert [n for n in found.notes if "instead of" in n] == ([note] if steps < 100 else [])
    said = conversion.convert(model, None, frames=13).verification
    assert said is not None
    assert said.frames == 13
    assert not any("instead of" in n for n in said.notes)


def test_the_seed_decides_the_input() -> None:
    graph, _ = prepared()
    blob = blob_of(graph)
    first, same, other = (verify.verify(graph, blob, seed=seed, frames=10) for seed in (1, 1, 2))
    assert first.to_dict() == same.to_dict()
    assert first.comparisons != other.comparisons


def test_no_time_axis() -> None:
    """A graph of one frame with explicit states, stepped by onnxruntime."""
    model = onnx.load_from_string(onnx_model("GRU", True))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    source = bytes(model.SerializeToString())
    graph = conversion.prepare(source, shapes={"x": (1, "B", INPUTS)})
    assert not graph.has_time()
    report = verify.verify(graph, blob_of(graph), source, frames=30)
    assert report.passed
    assert {c.against for c in report.comparisons} == {"onnxruntime", "float64"}
    assert "stepped = whole" in [c.name for c in report.checks]


@pytest.mark.parametrize("as_dict", [False, True])
def test_torch_modules(as_dict: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.GRU(INPUTS, HIDDEN, num_layers=2, batch_first=True)
    source = module.state_dict() if as_dict else module
    report = conversion.convert(source, tmp_path / "m.rnnrt", frames=30, quantize="int8")
    assert report.streamable
    assert report.verification is not None
    assert {c.against for c in report.verification.comparisons} == ({"float64"} if as_dict else {"float64", "torch"})
    assert [layer["precision"] for layer in report.layers] == ["int8", "int8"]


# ---- the figures ----


def test_compare_figures() -> None:
    reference = np.ones((10, 2)) * 4
    found = reference.copy()
    found[7, 1] += 0.4
    c = compare("y", "it", found, reference, 0, 1e-5)
    assert c.max_error == pytest.approx(0.4)
    assert c.mean_error == pytest.approx(0.02)
    assert c.max_scaled_error == pytest.approx(0.1)
    assert c.first_diverging_step == 7
    assert c.sqnr_db == pytest.approx(10 * np.log10(20 * 16 / 0.16))
    assert c.sqnr_first_tenth_db == np.inf
    assert c.to_dict()["sqnr_first_tenth_db"] is None
    other_axis = compare("y", "it", found.T.copy(), reference.T.copy(), 1, 1e-5)
    assert other_axis == c


def test_compare_special_values() -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0])
    assert compare("y", "it", special, special, 0, 0.0).max_error == 0
    assert compare("y", "it", np.zeros(4), special, 0, 0.0).max_error == np.inf
    empty = compare("y", "it", np.zeros((0, 3)), np.zeros((0, 3)), 0, 0.0)
    assert (empty.max_error, empty.first_diverging_step) == (0, None)
    with pytest.raises(ValueError, match="has shape"):
        compare("y", "it", np.zeros(3), np.zeros(4), 0, 0.0)


def test_same_bits() -> None:
    a = np.array([0.0, 1.0, np.nan], np.float32)
    assert same_bits(a, a.copy())
    assert not same_bits(a, np.array([-0.0, 1.0, np.nan], np.float32))
    assert same_bits(a, np.array([0.0, 1.0, -np.nan], np.float32))
    assert not same_bits(a, a.astype(np.float64))
