"""reference.py against two independent implementations of the same specification: onnx's and onnxruntime."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from rnnrt.converters import ir, reference, reference_recurrent, reference_windows

Array = npt.NDArray[Any]
OPSET = 21
SEED = 20
onnxruntime.disable_telemetry_events()


def model_of(op: str, inputs: Sequence[Array | None], outputs: int, attrs: dict[str, Any]) -> onnx.ModelProto:
    """A model of one node; inputs x0, x1, ..., outputs y0, y1, ..."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], **attrs)
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in zip(names, inputs, strict=True)
        if x is not None
    ]
    made = [helper.make_tensor_value_info(f"y{i}", TensorProto.UNDEFINED, None) for i in range(outputs)]
    graph = helper.make_graph([node], "one", given, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def feeds_of(inputs: Sequence[Array | None]) -> dict[str, Array]:
    return {f"x{i}": x for i, x in enumerate(inputs) if x is not None}


def by_onnx(op: str, inputs: Sequence[Array | None], outputs: int, attrs: dict[str, Any]) -> list[Array]:
    """Float64 through onnx's reference evaluator."""
    wide = [x.astype(np.float64) if x is not None and x.dtype == np.float32 else x for x in inputs]
    return [np.asarray(y) for y in ReferenceEvaluator(model_of(op, wide, outputs, attrs)).run(None, feeds_of(wide))]


def by_onnxruntime(op: str, inputs: Sequence[Array | None], outputs: int, attrs: dict[str, Any]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = model_of(op, inputs, outputs, attrs)
    for value in model.graph.output:  # onnxruntime infers shapes, but wants a type
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, feeds_of(inputs))]


def evaluate(op: str, inputs: Sequence[Array | None], attrs: dict[str, Any]) -> list[Array]:
    return reference.evaluate_node(ir.Node(op, "node", [], [], attrs), list(inputs))


def normal(*shape: int, seed: int = SEED) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return np.abs(normal(*shape)) + np.float32(0.1)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


X = normal(2, 3, 4)
BOOLS = normal(2, 3) > 0

CASES: list[tuple[str, list[Array | None], dict[str, Any]]] = [
    *((op, [X, normal(3, 1)], {}) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Less", "GreaterOrEqual")),
    *((op, [X, X + (X > 0)], {}) for op in ("Equal", "Greater", "LessOrEqual")),
    ("Div", [ints(7, -7, 7, -7, 6), ints(2, 2, -2, -2, 3)], {}),
    ("Mod", [ints(7, -7, 7, -7), ints(3, 3, -3, -3)], {}),
    ("Mod", [X, normal(3, 1)], {"fmod": 1}),
    ("Pow", [positive(2, 3, 4), normal(4)], {}),
    ("Pow", [X, ints(3)], {}),
    ("Max", [X, normal(4), normal(3, 1)], {}),
    *((op, [X], {}) for op in ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Softsign", "Softplus", "Sign", "Erf")),
    *((op, [X * 3], {}) for op in ("Floor", "Ceil", "Elu", "LeakyRelu", "HardSigmoid", "ThresholdedRelu", "Gelu")),
    *((op, [positive(2, 3, 4)], {}) for op in ("Log", "Sqrt", "Reciprocal")),
    ("Elu", [X], {"alpha": 0.5}),
    ("LeakyRelu", [X], {"alpha": 0.3}),
    ("HardSigmoid", [X], {"alpha": 0.3, "beta": 0.4}),
    ("ThresholdedRelu", [X], {"alpha": 0.3}),
    ("Gelu", [X], {"approximate": "tanh"}),
    ("PRelu", [X, normal(3, 1)], {}),
    ("Clip", [X, np.float32(-0.5), np.float32(0.25)], {}),
    ("Clip", [X, None, np.float32(0.25)], {}),
    ("Clip", [X, np.float32(-0.5)], {}),
    ("MatMul", [normal(2, 3, 4), normal(4, 5)], {}),
    ("MatMul", [normal(4), normal(2, 4, 5)], {}),
    ("MatMul", [normal(2, 1, 3, 4), normal(5, 4, 2)], {}),
    ("Gemm", [normal(3, 4), normal(5, 4), normal(5)], {"transB": 1}),
    ("Gemm", [normal(4, 3), normal(4, 5), normal(3, 1)], {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [normal(3, 4), normal(4, 5)], {}),
    ("Conv", [normal(2, 3, 10), normal(4, 3, 3), normal(4)], {"pads": [2, 1], "strides": [2], "dilations": [2]}),
    ("Conv", [normal(2, 4, 10), normal(6, 2, 3)], {"group": 2}),
    ("Conv", [normal(1, 4, 9), normal(4, 1, 4)], {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2]}),
    ("Conv", [normal(1, 4, 9), normal(4, 4, 4)], {"auto_pad": "SAME_LOWER"}),
    ("Conv", [normal(1, 2, 6, 7), normal(3, 2, 3, 2), normal(3)], {"pads": [1, 0, 1, 1], "strides": [1, 2]}),
    ("Softmax", [X], {}),
    ("Softmax", [X], {"axis": 1}),
    ("LogSoftmax", [X], {"axis": 0}),
    ("LayerNormalization", [X, normal(4), normal(4)], {"epsilon": 1e-3}),
    ("LayerNormalization", [X, normal(3, 4)], {"axis": 1}),
    ("BatchNormalization", [X, normal(3), normal(3), normal(3), positive(3)], {}),
    *(
        (op, [X, ints(1)], {"keepdims": 0})
        for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd")
    ),
    *((op, [X, ints(-1, 0)], {}) for op in ("ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2")),
    ("ReduceSum", [X], {"noop_with_empty_axes": 1}),
    ("ReduceMean", [X], {}),
    ("ReduceSum", [ints(1, 2, 3)], {"keepdims": 0}),
    ("Reshape", [X, ints(0, -1)], {}),
    ("Reshape", [normal(0, 3), ints(3, 0)], {"allowzero": 1}),
    ("Squeeze", [normal(1, 3, 1)], {}),
    ("Squeeze", [normal(1, 3, 1), ints(-1)], {}),
    ("Unsqueeze", [X, ints(0, -1)], {}),
    ("Flatten", [X], {"axis": 2}),
    ("Flatten", [X], {"axis": -1}),
    ("Transpose", [X], {}),
    ("Transpose", [X], {"perm": [1, 2, 0]}),
    ("Slice", [normal(7, 8), ints(1, -3), ints(2**62, -1)], {}),
    ("Slice", [normal(7, 8), ints(-1), ints(-(2**62)), ints(1), ints(-2)], {}),
    ("Slice", [normal(7, 8), ints(100, 5), ints(2, 100), ints(0, 1), ints(-3, 2)], {}),
    ("Slice", [normal(7, 8), ints(5), ints(2), ints(0)], {}),
    ("Concat", [X, normal(2, 1, 4)], {"axis": 1}),
    ("Gather", [X, np.array([[0, -1], [2, 1]], np.int64)], {"axis": 1}),
    ("Gather", [X, np.array(1, np.int64)], {}),
    *(("Pad", [normal(4, 5), ints(1, 2, 0, 1)], {"mode": mode}) for mode in ("constant", "reflect", "edge")),
    ("Pad", [normal(4, 5), ints(2, 1), np.float32(3), ints(-1)], {}),
    ("Expand", [normal(3, 1), ints(2, 1, 4)], {}),
    ("Expand", [normal(3, 4), ints(1, 1)], {}),
    ("Tile", [normal(2, 3), ints(2, 1)], {}),
    ("ConstantOfShape", [ints(2, 3)], {"value": onnx.numpy_helper.from_array(np.array([2.5]))}),
    ("Shape", [X], {}),
    ("Shape", [X], {"start": 1, "end": -1}),
    ("Size", [X], {}),
    ("Range", [np.int64(10), np.int64(1), np.int64(-3)], {}),
    ("Range", [np.float32(0), np.float32(1), np.float32(0.3)], {}),
    ("Cast", [X * 3], {"to": TensorProto.INT64}),
    ("Cast", [X], {"to": TensorProto.BOOL}),
    ("Not", [BOOLS], {}),
    ("And", [BOOLS, ~BOOLS[0]], {}),
    ("Or", [BOOLS, ~BOOLS[0]], {}),
    ("Where", [BOOLS, normal(2, 1), normal(3)], {}),
    ("Identity", [X], {}),
    ("Sum", [X, X, normal(4)], {}),
]


def numpy_attrs(attrs: dict[str, Any]) -> dict[str, Any]:
    """What the importer makes of tensors."""
    return {n: onnx.numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for n, v in attrs.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_against_onnx(case: tuple[str, list[Array | None], dict[str, Any]]) -> None:
    op, inputs, attrs = case
    inputs = [None if x is None else np.asarray(x) for x in inputs]
    expected = by_onnx(op, inputs, 1, attrs)[0]
    found = evaluate(op, inputs, numpy_attrs(attrs))[0]
    assert found.shape == expected.shape
    assert found.dtype.kind == expected.dtype.kind
    # attributes are f32 in a model: 0.01 is 0.0099999998 there
    np.testing.assert_allclose(
        found,
        expected,
        rtol=1e-6,
        atol=1e-7 if attrs or op in ("Elu", "LeakyRelu", "HardSigmoid", "Erf", "Gelu") else 1e-13,
    )


def test_pad_that_crops_against_onnxruntime() -> None:
    """onnx's reference has no negative pads."""
    inputs = [normal(4, 5), ints(1, -2, -1, 1), np.array(3, np.float32)]
    np.testing.assert_array_equal(evaluate("Pad", inputs, {})[0], by_onnxruntime("Pad", inputs, 1, {})[0])


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_parameters_as_attributes(mode: str) -> None:
    """Where a parameter may be an input, it may be an attribute too."""
    x = normal(4, 5)
    pairs: list[tuple[str, list[Array | None], dict[str, Any], dict[str, Any]]] = [
        ("Pad", [x, ints(1, 2, 0, 1)], {"mode": mode}, {"mode": mode, "pads": [1, 2, 0, 1]}),
        ("Slice", [x, ints(1), ints(4), ints(1), ints(2)], {}, {"starts": [1], "ends": [4], "axes": [1], "steps": [2]}),
        ("Clip", [x, np.array(0.1), np.array(0.2)], {}, {"min": 0.1, "max": 0.2}),
        ("ReduceSum", [x, ints(1)], {}, {"axes": [1]}),
        ("Unsqueeze", [x, ints(1)], {}, {"axes": [1]}),
        ("Reshape", [x, ints(5, 4)], {}, {"shape": [5, 4]}),
        ("Expand", [x, ints(2, 1, 1)], {}, {"shape": [2, 1, 1]}),
    ]
    for op, inputs, attrs, moved in pairs:
        np.testing.assert_array_equal(evaluate(op, inputs, attrs)[0], evaluate(op, inputs[:1], moved)[0])


def recurrent_inputs(op: str, directions: int, layout: int = 0, extras: str = "b") -> list[Array | None]:
    """X, W, R and the optional inputs named in extras: b(ias), l(engths), h, c, p(eepholes)."""
    time, batch, inputs, hidden = 6, 3, 5, 4
    gates = reference_recurrent.GATES[op]
    made: list[Array | None] = [
        normal(batch, time, inputs) if layout else normal(time, batch, inputs),
        normal(directions, gates * hidden, inputs) * np.float32(0.7),
        normal(directions, gates * hidden, hidden) * np.float32(0.7),
        normal(directions, 2 * gates * hidden) if "b" in extras else None,
        np.array([6, 2, 4], np.int32) if "l" in extras else None,
        normal(*((batch, directions) if layout else (directions, batch)), hidden) if "h" in extras else None,
    ]
    if op == "LSTM":
        made.append(
            normal(*((batch, directions) if layout else (directions, batch)), hidden) if "c" in extras else None
        )
        made.append(normal(directions, 3 * hidden) if "p" in extras else None)
    while made[-1] is None:
        made.pop()
    return made


RECURRENT_ATTRS = [
    ("RNN", {}),
    ("RNN", {"activations": ["Relu"]}),
    ("RNN", {"clip": 0.7}),
    ("GRU", {}),
    ("GRU", {"linear_before_reset": 1}),
    ("GRU", {"clip": 0.4}),
    ("GRU", {"clip": 0.4, "linear_before_reset": 1}),
    ("GRU", {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
    ("GRU", {"activations": ["HardSigmoid", "LeakyRelu"], "activation_alpha": [0.3, 0.2], "activation_beta": [0.4]}),
    ("LSTM", {}),
    ("LSTM", {"clip": 0.4}),
    ("LSTM", {"input_forget": 1}),
    ("LSTM", {"activations": ["HardSigmoid", "Elu", "Tanh"], "activation_alpha": [0.3, 0.5]}),
    (
        "LSTM",
        {
            "activations": ["Sigmoid", "ScaledTanh", "Affine"],
            "activation_alpha": [1.5, 0.5],
            "activation_beta": [0.6, 0.1],
        },
    ),
]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("extras", ["", "b", "bhc", "bl", "blhcp"])
@pytest.mark.parametrize(("op", "attrs"), RECURRENT_ATTRS, ids=str)
def test_recurrent_against_onnxruntime(op: str, attrs: dict[str, Any], extras: str, direction: str) -> None:
    directions = 2 if direction == "bidirectional" else 1
    attrs = {"hidden_size": 4, "direction": direction, **attrs}
    for name in ("activations", "activation_alpha", "activation_beta"):
        if name in attrs:
            attrs[name] = attrs[name] * directions
    inputs = recurrent_inputs(op, directions, extras=extras)
    outputs = 3 if op == "LSTM" else 2
    expected = by_onnxruntime(op, inputs, outputs, attrs)
    found = evaluate(op, inputs, attrs)
    assert len(found) == outputs
    for y, want in zip(found, expected, strict=True):
        assert y.shape == want.shape
        np.testing.assert_allclose(y, want, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("op", "lbr"), [("RNN", 0), ("GRU", 0), ("GRU", 1), ("LSTM", 0)])
def test_recurrent_layout(op: str, lbr: int) -> None:
    """layout 1 is layout 0 with the axes moved."""
    attrs: dict[str, Any] = {"hidden_size": 4, "direction": "bidirectional"} | (
        {"linear_before_reset": lbr} if lbr else {}
    )
    inputs = recurrent_inputs(op, 2, extras="blhcp")
    found = evaluate(op, inputs, attrs)
    moved = [x.swapaxes(0, 1) if x is not None and i in (0, 5, 6) else x for i, x in enumerate(inputs)]
    other = evaluate(op, moved, {**attrs, "layout": 1})
    np.testing.assert_array_equal(other[0], found[0].transpose(2, 0, 1, 3))
    for got, want in zip(other[1:], found[1:], strict=True):
        np.testing.assert_array_equal(got, want.swapaxes(0, 1))


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_recurrent_without_time_steps(op: str) -> None:
    inputs = recurrent_inputs(op, 1, extras="bhc")
    assert inputs[0] is not None
    inputs[0] = inputs[0][:0]
    y, *states = evaluate(op, inputs, {"hidden_size": 4})
    assert y.shape == (0, 1, 3, 4)
    for state, initial in zip(states, inputs[5:], strict=True):
        np.testing.assert_array_equal(state, np.asarray(initial, np.float64))


def test_recurrent_refuses_wrong_activations() -> None:
    inputs = recurrent_inputs("GRU", 1)
    with pytest.raises(ValueError, match="unknown activation 'Foo'"):
        evaluate("GRU", inputs, {"activations": ["Foo", "Tanh"]})
    with pytest.raises(ValueError, match="needs 2 activations, not 1"):
        evaluate("GRU", inputs, {"activations": ["Tanh"]})


@pytest.mark.parametrize(
    ("rank", "activation"), list(product((1, 2, 3, 4), ("", "Relu", "Sigmoid", "LeakyRelu", "Clip")))
)
def test_fused_gemm(rank: int, activation: str) -> None:
    """The runtime's Gemm: any rank, transB, an activation."""
    x, w, b = normal(*range(2, rank + 1), 5), normal(3, 5), normal(3)
    attrs: dict[str, Any] = {"transB": 1, "activation": activation}
    if activation in ("LeakyRelu", "Clip"):
        attrs |= {"activation_alpha": -0.5, "activation_beta": 0.25}
    expected = x.astype(np.float64) @ w.T.astype(np.float64) + b
    expected = {
        "": lambda v: v,
        "Relu": lambda v: np.maximum(v, 0),
        "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "LeakyRelu": lambda v: np.where(v < 0, -0.5 * v, v),
        "Clip": lambda v: np.clip(v, -0.5, 0.25),
    }[activation](expected)
    np.testing.assert_allclose(evaluate("Gemm", [x, w, b], attrs)[0], expected, rtol=1e-14, atol=1e-15)


def stateful_graph() -> ir.Graph:
    """h' = h + x, y = h' + 1, over a batch."""
    f32 = np.dtype(np.float32)
    batch = (ir.Sym.BATCH, 2)
    return ir.Graph(
        inputs=[ir.Value("x", f32, batch)],
        outputs=[ir.Value("y", f32, batch)],
        nodes=[ir.Node("Add", "sum", ["h", "x"], ["h1"]), ir.Node("Add", "one", ["h1", "c"], ["y"])],
        constants={"c": np.float32(1)},
        states=[ir.State("sum", "h", "h1")],
        values={"h": ir.Value("h", f32, batch)},
    )


def test_run_carries_states() -> None:
    graph = stateful_graph()
    x = normal(3, 2)
    first, states = reference.run(graph, {"x": x})
    second, states = reference.run(graph, {"x": x}, states)
    np.testing.assert_array_equal(first["y"], x.astype(np.float64) + 1)
    np.testing.assert_array_equal(second["y"], 2 * x.astype(np.float64) + 1)
    np.testing.assert_array_equal(states["sum"], 2 * x.astype(np.float64))


def test_run_binds_symbols() -> None:
    graph = ir.Graph(
        inputs=[ir.Value("x", np.dtype(np.float32), (ir.Sym.TIME, ir.Sym.BATCH, 6))],
        outputs=[ir.Value("y", np.dtype(np.float32), None)],
        nodes=[ir.Node("Reshape", "r", ["x"], ["y"], {"shape": [int(ir.Sym.BATCH), int(ir.Sym.TIME), 2, -1]})],
    )
    outputs, _ = reference.run(graph, {"x": normal(5, 2, 6)})
    assert outputs["y"].shape == (2, 5, 2, 3)
    with pytest.raises(ValueError, match="needs 3 dimensions, not 2"):
        reference.run(graph, {"x": normal(5, 6)})
    with pytest.raises(ValueError, match=r"'x' has shape \(5, 2, 7\)"):
        reference.run(graph, {"x": normal(5, 2, 7)})
    with pytest.raises(ValueError, match="no input named"):
        reference.run(graph, {"z": normal(5, 2, 6)})
    with pytest.raises(ValueError, match="input 'x' is missing"):
        reference.run(graph, {})


def test_unknown_operator_is_named() -> None:
    with pytest.raises(NotImplementedError, match="Foo"):
        evaluate("Foo", [X], {})


@pytest.mark.parametrize("piece", [1, 100, 10_000, reference_windows.PIECE])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_convolutions_in_pieces_are_the_sum_over_their_taps(
    piece: int, spatial: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_windows, "PIECE", piece)
    rng = np.random.default_rng((piece, spatial))
    kernel, out = [3, 2, 1][:spatial], [4, 5, 7][:spatial]
    attrs = {"strides": [2, 1, 3][:spatial], "dilations": [1, 2, 1][:spatial], "group": 2}
    size = [8 + 1, 5 + 2, 18 + 1][:spatial]
    x, w = rng.standard_normal((3, 4, *size)), rng.standard_normal((6, 2, *kernel))
    expected = np.zeros((3, 6, *out))
    for n, m, place in product(range(3), range(6), product(*map(range, out))):
        for c, tap in product(range(2), product(*map(range, kernel))):
            at = [p * s + k * d for p, s, k, d in zip(place, attrs["strides"], tap, attrs["dilations"], strict=True)]
            expected[(n, m, *place)] += x[(n, m // 3 * 2 + c, *at)] * w[(m, c, *tap)]
    np.testing.assert_allclose(reference_windows.windowed("Conv", attrs, [x, w]), expected, rtol=0, atol=1e-13)


def test_a_long_convolution_copies_few_of_its_windows_at_once() -> None:
    """All of them would be 19 001 times 1000 numbers, 152 MB."""
    x, w = np.ones((1, 1, 20_000)), np.ones((1, 1, 1000))
    tracemalloc.start()
    try:
        y = reference_windows.windowed("Conv", {}, [x, w])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert y.shape == (1, 1, 19_001)
    assert (y == 1000).all()
    assert 8 * y.size < peak < 8e6
