"""Quantized ONNX models: their integers arrive in the .rnnrt file bit for bit, and the result is near onnxruntime's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import QuantType, quantize_dynamic
from rnnrt.converters import convert, from_onnx, layout, quantized_ops, read
from rnnrt.converters.quantize import KnownRows, sqnr_db

import rnnrt
from onnx_graphs import node
from rnnrt.errors import UnsupportedError

Array = npt.NDArray[Any]
KEPT = "int8 in the original, kept bit for bit"
MICROSOFT = "com.microsoft"


def onnx_model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, int],
    constants: dict[str, Array],
    types: dict[str, int] | None = None,
) -> bytes:
    """Outputs: rank by name."""
    kinds = types or {}
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), d) for n, d in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * rank) for n, rank in outputs.items()],
        [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def by_onnxruntime(model: bytes, feeds: dict[str, Array]) -> list[Array]:
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, feeds)]


def converted(model: bytes, **options: Any) -> tuple[rnnrt.Model, bytes, list[dict[str, Any]]]:
    """The loaded model, its bytes, what the report says of its layers."""
    graph = convert.prepare(model)
    plan, blob = convert.build(model, graph, **options)
    return rnnrt.load(blob), blob, plan.report()


def s8_matrices(blob: bytes) -> dict[str, tuple[Array, Array]]:
    """Name -> q [rows, cols], scale [rows], as they lie in the file."""
    file = read.parse(blob)
    found = {}
    for value in file.values:
        if value.layout == "r16c4":
            rows, cols = (int(d) for d in value.dims)
            q, scale, sums = layout.unpack_r16c4(file.data[value.offset : value.offset + value.size], rows, cols)
            assert (sums == q.sum(1, dtype=np.int32)).all()
            found[value.name] = (q, scale)
    return found


def one_matrix(blob: bytes) -> tuple[Array, Array]:
    ((q, scale),) = s8_matrices(blob).values()
    return q, scale


# ---- DynamicQuantizeLSTM ----

HIDDEN, FEATURES = 24, 20


class QuantizedLstm:
    """A seeded DynamicQuantizeLSTM with known integers: steps [D, 4H, cols] and scale [D, 4H] of W and R."""

    def __init__(
        self, kind: type, per_channel: bool, direction: str, zero: int = 0, peepholes: bool = False, low: int = -127
    ) -> None:
        rng = np.random.default_rng(5)
        directions, rows = 2 if direction == "bidirectional" else 1, 4 * HIDDEN
        self.steps, self.scales, self.constants = [], [], dict[str, Array]()
        for name, cols in (("W", FEATURES), ("R", HIDDEN)):
            steps = rng.integers(low, 128, (directions, rows, cols))
            scale = rng.uniform(0.5, 1.5, (directions, rows) if per_channel else directions).astype(np.float32)
            scale /= np.float32(127 * np.sqrt(HIDDEN))
            self.constants[name] = (steps + zero).astype(kind).swapaxes(1, 2)
            self.constants[f"{name}_scale"] = scale
            self.constants[f"{name}_zero"] = np.full(scale.shape, zero, kind)
            self.steps.append(steps)
            self.scales.append(np.broadcast_to(scale.reshape(directions, -1), (directions, rows)))
        self.constants["B"] = rng.uniform(-0.2, 0.2, (directions, 2 * rows)).astype(np.float32)
        if peepholes:
            self.constants["P"] = rng.uniform(-0.2, 0.2, (directions, 3 * HIDDEN)).astype(np.float32)
        names = ["x", "W", "R", "B", "", "", "", "P" if peepholes else ""]
        names += ["W_scale", "W_zero", "R_scale", "R_zero"]
        attrs = {"hidden_size": HIDDEN, "direction": direction, "domain": MICROSOFT}
        lstm = node("DynamicQuantizeLSTM", names, ["Y", "Y_h", "Y_c"], "cell", **attrs)
        self.model = onnx_model([lstm], {"x": ["T", "B", FEATURES]}, {"Y": 4, "Y_h": 3, "Y_c": 3}, self.constants)


def signal(*shape: int, seed: int = 1) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def gates_first(packed: Array, directions: int) -> Array:
    """Rows [dir][unit/16][gate][unit%16] -> [D, 4H, ...] in ONNX's order."""
    blocks = packed.reshape(directions, -1, 4, layout.BLOCK, *packed.shape[1:])
    gates = np.moveaxis(blocks, 2, 1)
    units = gates.reshape(directions, 4, -1, *packed.shape[1:])[:, :, :HIDDEN]
    return units.reshape(directions, 4 * HIDDEN, *packed.shape[1:])


@pytest.mark.parametrize("mode", [None, "int8"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("kind", "zero"), [(np.int8, 0), (np.uint8, 128)])
def test_lstm_weights_arrive_bit_for_bit(
    kind: type, zero: int, per_channel: bool, direction: str, mode: str | None
) -> None:
    lstm = QuantizedLstm(kind, per_channel, direction, zero)
    _, blob, (layer,) = converted(lstm.model, mode=mode)
    assert layer["precision"] == "int8"
    assert layer["reason"] == KEPT
    assert layer["weight_sqnr_db"] is None
    found = s8_matrices(blob)
    assert len(found) == 2
    for (q, scale), steps, scales in zip(found.values(), lstm.steps, lstm.scales, strict=True):
        np.testing.assert_array_equal(gates_first(q, len(steps)), steps)
        np.testing.assert_array_equal(gates_first(scale, len(steps)), scales)


@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("kind", "zero"), [(np.int8, 0), (np.uint8, 128)])
@pytest.mark.parametrize("time", [1, 2, 4])
def test_lstm_is_near_onnxruntime_over_few_steps(
    time: int, kind: type, zero: int, per_channel: bool, direction: str, peepholes: bool
) -> None:
    """Activations are 8 bits on either side: half a step of each of them remains."""
    lstm = QuantizedLstm(kind, per_channel, direction, zero, peepholes)
    model, _, _ = converted(lstm.model)
    x = signal(time, 1, FEATURES)
    found, expected = model(x), by_onnxruntime(lstm.model, {"x": x})
    for name, want in zip(("Y", "Y_h", "Y_c"), expected, strict=True):
        y = found[name]
        assert y.shape == want.shape
        assert np.abs(y - want).max() <= 0.012, name
        assert sqnr_db(want, y) >= 37, name


def test_lstm_over_many_steps() -> None:
    """Here onnxruntime is not near itself, one call against steps; rnnrt is, to the bit, and nearer to float64."""
    lstm = QuantizedLstm(np.int8, False, "forward")
    model, _, _ = converted(lstm.model)
    x = signal(200, 1, FEATURES) * np.linspace(0.05, 4, 200, dtype=np.float32)[:, None, None]
    found, (expected, _, _) = model(x)["Y"], by_onnxruntime(lstm.model, {"x": x})
    assert sqnr_db(expected, found) >= 25
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([np.array(stream.step(f)["Y"]) for f in x]), found)
    report = convert.convert(lstm.model, None, frames=50)
    assert report.verification is not None
    assert report.verification.passed
    against = {(c.output, c.against): c.sqnr_db for c in report.verification.comparisons}
    assert against["Y", "float64"] >= 40
    assert against["Y", "onnxruntime"] >= 30
    assert any("quantizes activations" in note for note in report.notes)


def test_lstm_with_other_zero_points() -> None:
    """Rows within 127 steps keep their integers; the others are quantized again, and the report says how many."""
    lstm = QuantizedLstm(np.uint8, False, "forward", zero=100, low=-90)
    assert max(s.max() for s in lstm.steps) == 127
    _, _, (layer,) = converted(lstm.model)
    assert layer["reason"] == KEPT
    lstm = QuantizedLstm(np.uint8, False, "forward", zero=0, low=60)
    lstm.constants["W"][0, 3, 5] = 200
    model = onnx.load_from_string(lstm.model)
    for tensor in model.graph.initializer:
        if tensor.name == "W":
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(lstm.constants["W"]), "W"))
    _, blob, (layer,) = converted(model.SerializeToString())
    assert layer["reason"].endswith(f"1 of {8 * HIDDEN} rows more than 128 steps from the zero point quantized again")
    assert layer["weight_sqnr_db"] > 40
    q = gates_first(next(iter(s8_matrices(blob).values()))[0], 1)[0]
    same = (q == lstm.steps[0][0]).all(1)
    assert not same[5]
    assert same.sum() == len(same) - 1


def test_a_weight_of_minus_128_becomes_minus_127() -> None:
    steps = np.full((4, 16), -128, np.int8)
    steps[:, 1:] = np.arange(15)
    w = {"q": steps, "s": np.float32(0.01), "z": np.int8(0)}
    nodes = [node("DequantizeLinear", ["q", "s", "z"], ["w"]), node("Gemm", ["x", "w"], ["y"], transB=1)]
    _, blob, (layer,) = converted(onnx_model(nodes, {"x": ["B", 16]}, {"y": 2}, {k: np.array(v) for k, v in w.items()}))
    assert layer["reason"] == "int8 in the original, 4 weights 128 steps from the zero point became 127 steps"
    q, scale = one_matrix(blob)
    np.testing.assert_array_equal(q, np.maximum(steps, -127))
    assert (scale == np.float32(0.01)).all()


def test_keep_float_wins() -> None:
    lstm = QuantizedLstm(np.int8, True, "forward")
    _, blob, (layer,) = converted(lstm.model, keep_float=["cell"])
    assert layer["precision"] == "f32"
    assert not s8_matrices(blob)


# ---- DequantizeLinear ----


def dequantized(
    axis: int | None, shape: tuple[int, ...], kind: type = np.int8
) -> tuple[onnx.NodeProto, dict[str, Array]]:
    """A node that makes `w`, and its constants."""
    rng = np.random.default_rng(3)
    count = () if axis is None else (shape[axis],)
    zero = 128 if kind == np.uint8 else 0
    constants = {
        "q": (rng.integers(-127, 128, shape) + zero).astype(kind),
        "s": rng.uniform(0.001, 0.004, count).astype(np.float32),
        "z": np.full(count, zero, kind),
    }
    attrs = {} if axis is None else {"axis": axis}
    return node("DequantizeLinear", ["q", "s", "z"], ["w"], **attrs), constants


def taps_first(w: Array) -> Array:
    """W [M, C, ...kernel] of a Conv as its packed matrix: columns in the order [...kernel][C]."""
    return np.moveaxis(w, 1, -1).reshape(len(w), -1)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("way", ["Gemm", "MatMul", "Conv", "transposed", "sliced"])
def test_weights_from_dequantize_linear(way: str, per_channel: bool, kind: type) -> None:
    n, k = 32, 24
    shape, axis = {"Conv": ((n, 8, 3), 0), "Gemm": ((n, k), 0), "sliced": ((n, k), 0)}.get(way, ((k, n), 1))
    if way == "transposed":
        shape, axis = (n, k), 0
    dq, constants = dequantized(axis if per_channel else None, shape, kind)
    expected = constants["q"].astype(np.int16) - int(constants["z"].reshape(-1)[0])
    inputs: dict[str, list[int | str]] = {"x": ["B", k]}
    if way == "Gemm":
        nodes = [node("Gemm", ["x", "w"], ["y"], transB=1)]
    elif way == "MatMul":
        nodes, expected = [node("MatMul", ["x", "w"], ["y"])], expected.T
    elif way == "Conv":
        nodes, expected, inputs = [node("Conv", ["x", "w"], ["y"])], taps_first(expected), {"x": ["B", 8, 20]}
    elif way == "transposed":
        nodes = [node("Transpose", ["w"], ["wt"], perm=[1, 0]), node("MatMul", ["x", "wt"], ["y"])]
    else:
        constants |= {"from": np.array([16]), "to": np.array([32]), "axes": np.array([0])}
        nodes = [node("Slice", ["w", "from", "to", "axes"], ["part"]), node("Gemm", ["x", "part"], ["y"], transB=1)]
        expected = expected[16:]
    model = onnx_model([dq, *nodes], inputs, {"y": 3 if way == "Conv" else 2}, constants)
    loaded, blob, (layer,) = converted(model)
    assert layer["reason"] == KEPT
    q, scale = one_matrix(blob)
    np.testing.assert_array_equal(q, expected)
    scales = np.broadcast_to(constants["s"], (n,))
    np.testing.assert_array_equal(scale, scales[16:] if way == "sliced" else scales)
    x = signal(3, *(8, 20) if way == "Conv" else (k,))
    (want,) = by_onnxruntime(model, {"x": x})
    assert sqnr_db(want, loaded(x)) >= 35


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_recurrent_weights_from_dequantize_linear(op: str) -> None:
    gates, hidden, features = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 17, 9
    rng, constants, nodes = np.random.default_rng(2), dict[str, Array](), list[onnx.NodeProto]()
    for name, cols in (("W", features), ("R", hidden)):
        constants[f"{name}.q"] = rng.integers(-127, 128, (1, gates * hidden, cols)).astype(np.int8)
        constants[f"{name}.s"] = rng.uniform(0.001, 0.002, gates * hidden).astype(np.float32)
        constants[f"{name}.z"] = np.zeros(gates * hidden, np.int8)
        nodes.append(node("DequantizeLinear", [f"{name}.{k}" for k in "qsz"], [name], axis=1))
    attrs = {"linear_before_reset": 1} if op == "GRU" else {}
    nodes.append(node(op, ["x", "W", "R"], ["Y"], hidden_size=hidden, **attrs))
    model = onnx_model(nodes, {"x": ["T", "B", features]}, {"Y": 4}, constants)
    loaded, _, (layer,) = converted(model)
    assert layer["reason"] == KEPT
    x = signal(20, 1, features)
    (want,) = by_onnxruntime(model, {"x": x})
    assert sqnr_db(want, loaded(x)) >= 35
    report = convert.convert(model, None, frames=20)
    assert report.verification is not None
    assert report.verification.passed, "only weights are integers here: float64 must equal onnxruntime"


def test_embedding_that_is_gathered_before_it_is_dequantized() -> None:
    constants: dict[str, Array] = {
        "table": np.random.default_rng(0).integers(0, 256, (11, 16)).astype(np.uint8),
        "s": np.array(0.02, np.float32),
        "z": np.array(121, np.uint8),
    }
    nodes = [
        node("Gather", ["table", "ids"], ["rows"]),
        node("Transpose", ["rows"], ["turned"], perm=[1, 0, 2]),
        node("DequantizeLinear", ["turned", "s", "z"], ["a"]),
        node("DequantizeLinear", ["rows", "s", "z"], ["b"]),
        node("Tanh", ["a"], ["ya"]),
        node("Tanh", ["b"], ["yb"]),
    ]
    model = onnx_model(nodes, {"ids": ["B", "T"]}, {"ya": 3, "yb": 3}, constants, {"ids": TensorProto.INT64})
    loaded, _, _ = converted(model)
    ids = np.random.default_rng(1).integers(0, 11, (2, 7))
    found = loaded(ids.astype(np.int32))
    for y, want in zip((found["ya"], found["yb"]), by_onnxruntime(model, {"ids": ids}), strict=True):
        np.testing.assert_allclose(y, want, rtol=0, atol=1e-6)


def test_quantized_activations_become_their_range() -> None:
    """A Relu may hide in the zero point of a QuantizeLinear."""
    constants: dict[str, Array] = {"s": np.array(0.01, np.float32), "z": np.array(0, np.uint8), "one": np.float32([1])}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["r"]),
        node("Add", ["r", "one"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": ["B", 50]}, {"y": 2}, constants)
    loaded, _, _ = converted(model)
    x = signal(4, 50) * 3
    (want,) = by_onnxruntime(model, {"x": x})
    assert np.abs(loaded(x) - want).max() <= 0.0051
    assert want.min() == 1.0
    assert want.max() < 3.56


# ---- MatMulInteger, ConvInteger ----


def chain(kind: type, per_column: bool, order: str, zero: int) -> tuple[bytes, Array, Array]:
    """DynamicQuantizeLinear, MatMulInteger, Cast, Mul, Add: model, steps [K, N], scale."""
    rng, k, n = np.random.default_rng(4), 20, 33
    steps = rng.integers(-100, 101, (k, n))
    scale = rng.uniform(0.001, 0.003, n if per_column else ()).astype(np.float32)
    constants: dict[str, Array] = {
        "q": (steps + zero).astype(kind),
        "z": np.full(scale.shape, zero, kind),
        "s": scale,
        "bias": rng.standard_normal(n).astype(np.float32),
    }
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("MatMulInteger", ["xq", "q", "xz", "z"], ["i"], "product"),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
    ]
    if order == "product of scales":
        nodes += [node("Mul", ["xs", "s"], ["both"]), node("Mul", ["f", "both"], ["scaled"])]
    elif order == "activation first":
        nodes += [node("Mul", ["f", "xs"], ["once"]), node("Mul", ["once", "s"], ["scaled"])]
    else:
        nodes += [node("Mul", ["s", "f"], ["once"]), node("Mul", ["once", "xs"], ["scaled"])]
    nodes.append(node("Add", ["scaled", "bias"], ["y"]))
    return onnx_model(nodes, {"x": ["B", "T", k]}, {"y": 3}, constants), steps, scale


@pytest.mark.parametrize("order", ["product of scales", "activation first", "weights first"])
@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize(("kind", "zero"), [(np.int8, 0), (np.uint8, 128), (np.uint8, 117)])
def test_matmul_integer(kind: type, zero: int, per_column: bool, order: str) -> None:
    model, steps, scale = chain(kind, per_column, order, zero)
    loaded, blob, (layer,) = converted(model)
    assert layer["op"] == "Gemm"
    assert layer["reason"] == KEPT
    q, scales = one_matrix(blob)
    np.testing.assert_array_equal(q, steps.T)
    np.testing.assert_array_equal(scales, np.broadcast_to(scale, scales.shape))
    x = signal(2, 5, 20)
    (want,) = by_onnxruntime(model, {"x": x})
    assert sqnr_db(want, loaded(x)) >= 35


@pytest.mark.parametrize("op", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_microsoft_matmuls(op: str) -> None:
    rng = np.random.default_rng(6)
    constants: dict[str, Array] = {
        "q": rng.integers(-127, 128, (20, 18)).astype(np.int8),
        "s": rng.uniform(0.001, 0.003, 18).astype(np.float32),
        "z": np.zeros(18, np.int8),
        "bias": rng.standard_normal(18).astype(np.float32),
    }
    if op == "DynamicQuantizeMatMul":
        nodes = [node(op, ["x", "q", "s", "z", "bias"], ["y"], domain=MICROSOFT)]
    else:
        nodes = [
            node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
            node(op, ["xq", "q", "xs", "s", "xz", "z", "bias"], ["y"], domain=MICROSOFT),
        ]
    model = onnx_model(nodes, {"x": ["B", 20]}, {"y": 2}, constants)
    loaded, blob, (layer,) = converted(model)
    assert layer["reason"] == KEPT
    np.testing.assert_array_equal(one_matrix(blob)[0], constants["q"].T)
    x = signal(3, 20)
    (want,) = by_onnxruntime(model, {"x": x})
    assert sqnr_db(want, loaded(x)) >= 35


@pytest.mark.parametrize("zero", [0, 128])
def test_conv_integer(zero: int) -> None:
    rng, kind = np.random.default_rng(8), np.uint8 if zero else np.int8
    steps = rng.integers(-127, 128, (18, 6, 3))
    constants: dict[str, Array] = {
        "q": (steps + zero).astype(kind),
        "z": np.array(zero, kind),
        "s": np.array(0.002, np.float32),
        "bias": rng.standard_normal((1, 18, 1)).astype(np.float32),
    }
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("ConvInteger", ["xq", "q", "xz", "z"], ["i"], "conv", strides=[2], pads=[1, 1], kernel_shape=[3]),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["xs", "s"], ["both"]),
        node("Mul", ["f", "both"], ["scaled"]),
        node("Add", ["scaled", "bias"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": ["B", 6, 21]}, {"y": 3}, constants)
    loaded, blob, (layer,) = converted(model)
    assert (layer["op"], layer["reason"]) == ("Conv", KEPT)
    q, scale = one_matrix(blob)
    np.testing.assert_array_equal(q, taps_first(steps))
    assert (scale == np.float32(0.002)).all()
    x = signal(2, 6, 21)
    (want,) = by_onnxruntime(model, {"x": x})
    assert sqnr_db(want, loaded(x)) >= 35


@pytest.mark.parametrize("changed", [False, True])
def test_conv_integer_whose_bias_is_an_integer(changed: bool) -> None:
    """As onnxruntime's quantizer before 1.9 writes it, two-dimensional (ddddocr's common_old.onnx has 21 of these)."""
    rng = np.random.default_rng(12)
    constants: dict[str, Array] = {
        "q": rng.integers(-127, 128, (18, 3, 3, 3)).astype(np.int8),
        "z": np.array(0, np.int8),
        "s": np.array(0.002, np.float32),
        "t": np.array(0.003, np.float32),
        "bias": rng.standard_normal(18).astype(np.float32),
        "shape": np.array([1, -1, 1, 1]),
    }
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("ConvInteger", ["xq", "q", "xz", "z"], ["i"], "conv", strides=[2, 1], pads=[1, 1, 1, 1]),
        node("Mul", ["s" if changed else "xs", "t" if changed else "s"], ["step"]),
        node("Div", ["bias", "step"], ["steps"]),
        node("Floor", ["steps"], ["floor"]),
        node("Cast", ["floor"], ["whole"], to=TensorProto.INT32),
        node("Reshape", ["whole", "shape"], ["along"]),
        node("Add", ["i", "along"], ["sum"]),
        node("Cast", ["sum"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["xs", "s"], ["both"]),
        node("Mul", ["f", "both"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": ["B", 3, 10, 9]}, {"y": 4}, constants)
    if changed:  # the divisor does not follow the activation: another function
        with pytest.raises(UnsupportedError, match="ConvInteger 'conv'"):
            converted(model)
        return
    loaded, blob, (layer,) = converted(model)
    assert (layer["op"], layer["reason"]) == ("Conv", KEPT)
    np.testing.assert_array_equal(one_matrix(blob)[0], taps_first(constants["q"]))
    x = signal(2, 3, 10, 9)
    (want,) = by_onnxruntime(model, {"x": x})
    assert sqnr_db(want, loaded(x)) >= 35


def test_what_is_not_understood_is_refused_by_name() -> None:
    model, _, _ = chain(np.int8, False, "activation first", 0)
    proto = onnx.load_from_string(model)
    proto.graph.node[3].input[1] = "s"  # the activation's scale is never multiplied in
    with pytest.raises(UnsupportedError, match="MatMulInteger 'product'"):
        converted(proto.SerializeToString())
    proto = onnx.load_from_string(model)
    del proto.graph.node[1].input[2:]  # the activation's zero point is forgotten
    with pytest.raises(UnsupportedError, match="MatMulInteger 'product'"):
        converted(proto.SerializeToString())


# ---- onnxruntime's own quantizer, real models ----


def test_what_onnxruntime_quantizes_dynamically(tmp_path: Path) -> None:
    """LSTM, MatMul and an embedding through quantize_dynamic."""
    rng = np.random.default_rng(9)
    constants: dict[str, Array] = {
        "table": rng.standard_normal((13, 16)).astype(np.float32),
        "W": rng.uniform(-0.2, 0.2, (2, 4 * 32, 16)).astype(np.float32),
        "R": rng.uniform(-0.2, 0.2, (2, 4 * 32, 32)).astype(np.float32),
        "B": rng.uniform(-0.2, 0.2, (2, 8 * 32)).astype(np.float32),
        "M": rng.uniform(-0.2, 0.2, (64, 20)).astype(np.float32),
        "bias": rng.uniform(-0.2, 0.2, 20).astype(np.float32),
        "shape": np.array([0, 0, 64]),
    }
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("LSTM", ["e", "W", "R", "B"], ["Y"], "lstm", hidden_size=32, direction="bidirectional"),
        node("Transpose", ["Y"], ["Yt"], perm=[0, 2, 1, 3]),
        node("Reshape", ["Yt", "shape"], ["flat"]),
        node("MatMul", ["flat", "M"], ["m"], "head"),
        node("Add", ["m", "bias"], ["y"]),
    ]
    model = onnx_model(nodes, {"ids": ["T", "B"]}, {"y": 3}, constants, {"ids": TensorProto.INT64})
    (tmp_path / "f.onnx").write_bytes(model)
    for kind in (QuantType.QInt8, QuantType.QUInt8):
        quantize_dynamic(tmp_path / "f.onnx", tmp_path / "q.onnx", weight_type=kind)
        used = {n.op_type for n in onnx.load(tmp_path / "q.onnx").graph.node}
        assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= used
        report = convert.convert(tmp_path / "q.onnx", None, frames=30)
        assert [layer["precision"] for layer in report.layers] == ["int8", "int8"]
        assert all(layer["reason"].startswith("int8 in the original") for layer in report.layers)
        assert report.verification is not None
        assert min(c.sqnr_db for c in report.verification.comparisons) >= 30


def test_dksplit(models_dir: Path, tmp_path: Path) -> None:
    """A bidirectional LSTM of 384 in three layers, int8 by onnxruntime: splits words."""
    path = models_dir / "dksplit-int8.onnx"
    report = convert.convert(path, tmp_path / "dksplit.rnnrt", frames=24)
    assert [layer["op"] for layer in report.layers] == ["LSTM", "LSTM", "LSTM", "Gemm"]
    assert {layer["reason"] for layer in report.layers} == {KEPT}
    assert report.verification is not None
    assert min(c.sqnr_db for c in report.verification.comparisons) >= 35
    assert report.size <= 1.05 * path.stat().st_size
    original = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    weights = [a for n, a in original.items() if n.endswith("_quantized") and a.ndim == 3]
    packed = [q for q, _ in s8_matrices((tmp_path / "dksplit.rnnrt").read_bytes()).values()]
    assert sorted(np.abs(a.astype(int)).sum() for a in weights) == sorted(
        np.abs(q.astype(int)).sum() for q in packed if len(q) > 16
    )
    model = rnnrt.load(tmp_path / "dksplit.rnnrt")
    ids = np.random.default_rng(0).integers(1, 38, (200, 16))
    (want,) = by_onnxruntime(path.read_bytes(), {"chars": ids})
    found = model(ids.astype(np.int32))
    agree = (want.argmax(2) == found.argmax(2)).mean()
    assert agree >= 0.98


# ---- the parts ----


def test_nothing_happens_to_a_float_model() -> None:
    graph = from_onnx.load(onnx_model([node("Relu", ["x"], ["y"])], {"x": ["B", 3]}, {"y": 2}, {}))
    assert quantized_ops.to_float(graph) is graph


def test_known_rows_need_every_row() -> None:
    lstm = QuantizedLstm(np.int8, True, "forward")
    graph = quantized_ops.to_float(from_onnx.load(lstm.model))
    known = KnownRows(graph.quantized)
    w = (lstm.steps[0][0] * lstm.scales[0][0].astype(np.float64)[:, None]).astype(np.float32)
    found = known.find(w[::-1])
    assert found is not None
    np.testing.assert_array_equal(found.q, lstm.steps[0][0][::-1])
    w[7, 3] = np.nextafter(w[7, 3], np.float32(1))
    assert known.find(w) is None
    assert known.find(np.zeros((3, 5), np.float32)) is None
    assert KnownRows().find(w) is None
