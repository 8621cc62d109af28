"""Small hand-made graphs of the families found in public packages.

Each converts, verifies against onnxruntime within 1e-5, gives the same bytes on every instruction set and, where it
streams, in steps (`convert` checks all of that).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from rnnrt.converters import ir, reference
from rnnrt.converters.convert import build, convert, prepare

import rnnrt
from onnx_graphs import Array, Dims, model, node, recurrent, run_onnxruntime, weights
from rnnrt.errors import UnsupportedError

I64 = np.int64
Nodes = list[onnx.NodeProto]


@dataclass
class Case:
    """A graph and what its conversion must come to."""

    nodes: Nodes
    inputs: Mapping[str, Dims]
    outputs: Sequence[str]
    constants: Mapping[str, Array] = field(default_factory=dict)
    types: Mapping[str, int] = field(default_factory=dict)
    opset: int = 17
    streams: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)

    def onnx(self) -> bytes:
        return model(self.nodes, self.inputs, self.outputs, self.constants, self.opset, self.types)


def ints(*values: int) -> Array:
    return np.array(values, I64)


def token_classifier() -> Case:
    """Token ids -> embedding -> LSTM -> scores -> the best class of each token."""
    cell, constants = recurrent("LSTM", "e", "h", 6, 5)
    nodes = [
        node("Gather", ["table", "tokens"], ["e"]),
        *cell,
        node("Squeeze", ["h", "one"], ["s"]),
        node("MatMul", ["s", "w"], ["scores"]),
        node("ArgMax", ["scores"], ["best"], axis=-1, keepdims=0),
    ]
    constants |= {"table": weights(11, 6), "w": weights(5, 4), "one": ints(1)}
    return Case(nodes, {"tokens": ["time", "batch"]}, ["scores", "best"], constants,
                {"tokens": TensorProto.INT64, "best": TensorProto.INT64}, dtypes={"best": "int32"})  # fmt: skip


def padded_tokens() -> Case:
    """Tokens of 0 are padding: their embedding is masked by a comparison, a Cast and a Where."""
    nodes = [
        node("Equal", ["tokens", "zero"], ["pad"]),
        node("Not", ["pad"], ["real"]),
        node("Cast", ["real"], ["m"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["m", "last"], ["mask"]),
        node("Add", ["tokens", "one"], ["next"]),
        node("Where", ["pad", "tokens", "next"], ["index"]),
        node("Gather", ["table", "index"], ["e"]),
        node("Mul", ["e", "mask"], ["masked"]),
        node("ReduceSum", ["masked", "last"], ["y"], keepdims=0),
    ]
    constants = {"zero": np.int64(0), "one": np.int64(1), "last": ints(-1), "table": weights(12, 3)}
    return Case(nodes, {"tokens": ["batch", "time"]}, ["y", "real"], constants,
                {"tokens": TensorProto.INT64, "real": TensorProto.BOOL}, dtypes={"real": "int32"})  # fmt: skip


def attention() -> Case:
    """Two heads over 6 places, some of them masked: Einsum, Where, Softmax, MatMul, Gelu as exported (Erf)."""
    nodes = [
        node("Einsum", ["x", "wq"], ["q"], equation="bsd,dhe->bhse"),
        node("Einsum", ["x", "wk"], ["k"], equation="bsd,dhe->bhse"),
        node("Einsum", ["x", "wv"], ["v"], equation="bsd,dhe->bhse"),
        node("Einsum", ["q", "k"], ["scores"], equation="bhqe,bhke->bhqk"),
        node("Unsqueeze", ["mask", "axes"], ["wide"]),
        node("Where", ["wide", "scores", "low"], ["masked"]),
        node("Softmax", ["masked"], ["p"], axis=-1),
        node("MatMul", ["p", "v"], ["heads"]),
        node("Einsum", ["heads", "wo"], ["o"], equation="bhse,hed->bsd"),
        node("Div", ["o", "root2"], ["g0"]),
        node("Erf", ["g0"], ["g1"]),
        node("Add", ["g1", "one"], ["g2"]),
        node("Mul", ["o", "g2"], ["g3"]),
        node("Mul", ["g3", "half"], ["y"]),
    ]
    constants = {name: weights(8, 2, 4, seed=i) for i, name in enumerate(("wq", "wk", "wv"))}
    constants |= {"wo": weights(2, 4, 8, seed=4), "axes": ints(1, 2), "low": np.float32(-1e9)}
    constants |= {"root2": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    return Case(nodes, {"x": ["batch", 6, 8], "mask": ["batch", 6]}, ["y"], constants, {"mask": TensorProto.BOOL})


def crnn_head() -> Case:
    """Features [B, C, H, T] -> one row per frame -> bidirectional LSTM -> log probabilities and the best symbol."""
    cell, constants = recurrent("LSTM", "f", "h", 12, 5, directions=2, direction="bidirectional")
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[2], keepdims=0),
        node("Transpose", ["m"], ["f"], perm=[2, 0, 1]),
        *cell,
        node("Transpose", ["h"], ["t"], perm=[0, 2, 1, 3]),
        node("Reshape", ["t", "shape"], ["r"]),
        node("MatMul", ["r", "w"], ["s"]),
        node("LogSoftmax", ["s"], ["logp"], axis=-1),
        node("ArgMax", ["logp"], ["best"], axis=2, keepdims=0, select_last_index=1),
    ]
    constants |= {"shape": ints(0, 0, -1), "w": weights(10, 7)}
    return Case(nodes, {"x": ["batch", 12, 4, "time"]}, ["logp", "best"], constants, {"best": TensorProto.INT64},
                streams=False)  # fmt: skip


def enhancement_mask() -> Case:
    """InstanceNormalization over the bins of a frame, PRelu per channel, GRU, a bounded mask, LogSoftmax."""
    cell, constants = recurrent("GRU", "n", "h", 16, 16, linear_before_reset=1)
    nodes = [
        node("Reshape", ["x", "frames"], ["c"]),
        node("InstanceNormalization", ["c", "scale", "bias"], ["i"]),
        node("PRelu", ["i", "slope"], ["p"]),
        node("Reshape", ["p", "rows"], ["n"]),
        *cell,
        node("Squeeze", ["h", "one"], ["s"]),
        node("LogSoftmax", ["s"], ["l"], axis=-1),
        node("HardSigmoid", ["s"], ["g"]),
        node("Floor", ["x"], ["whole"]),
        node("Sub", ["x", "whole"], ["rest"]),
        node("Mul", ["g", "rest"], ["y"]),
    ]
    constants |= {"frames": ints(-1, 2, 8), "rows": ints(-1, 1, 16), "scale": weights(2), "bias": weights(2, seed=1)}
    constants |= {"slope": weights(2, 1), "one": ints(1)}
    return Case(nodes, {"x": ["time", 1, 16]}, ["y", "l"], constants)


def grouped_linear() -> Case:
    """DeepFilterNet's grouped linear layer."""
    nodes = [
        node("Reshape", ["x", "split"], ["s"]),
        node("Einsum", ["s", "w"], ["g"], equation="btgi,gih->btgh"),
        node("Reshape", ["g", "join"], ["j"]),
        node("Relu", ["j"], ["y"]),
    ]
    constants = {"w": weights(4, 3, 5), "split": ints(0, 0, 4, 3), "join": ints(0, 0, 20)}
    return Case(nodes, {"x": ["batch", "time", 12]}, ["y"], constants)


def scatter() -> Case:
    """``x[:, :, 2:4] = 2 x[:, :, 0:2]``, the indices all of them, as torch writes them for a fixed batch and time."""
    index = np.stack(np.meshgrid(np.arange(2), np.arange(3), np.arange(2, 4), indexing="ij"), -1).astype(I64)
    nodes = [
        node("Slice", ["x", "from", "to", "axis"], ["s"]),
        node("Add", ["s", "s"], ["u"]),
        node("ScatterND", ["x", "index", "u"], ["y"]),
    ]
    constants = {"from": ints(0), "to": ints(2), "axis": ints(2), "index": index}
    return Case(nodes, {"x": [2, 3, 6]}, ["y"], constants)


def scatter_any_time() -> Case:
    """``x[2] = y`` along the first axis: whole rows, whatever time is."""
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0]),
        node("Gather", ["t", "four"], ["row"], axis=0),
        node("ScatterND", ["t", "index", "row"], ["s"]),
        node("Transpose", ["s"], ["y"], perm=[1, 0]),
    ]
    return Case(nodes, {"x": ["time", 5]}, ["y"], {"four": ints(4, 0), "index": np.array([[1], [3]], I64)})


def gelu(approximate: str) -> Case:
    cell, constants = recurrent("GRU", "g", "h", 6, 4)
    nodes = [node("Gelu", ["x"], ["g"], approximate=approximate), *cell, node("Erf", ["h"], ["y"])]
    return Case(nodes, {"x": ["time", "batch", 6]}, ["y"], constants, opset=20)


def logic() -> Case:
    """Every comparison and connective; truth values as input, mask and output."""
    nodes = [
        node("Less", ["a", "b"], ["lt"]),
        node("LessOrEqual", ["a", "half"], ["le"]),
        node("Greater", ["a", "b"], ["gt"]),
        node("GreaterOrEqual", ["b", "half"], ["ge"]),
        node("And", ["lt", "le"], ["both"]),
        node("Or", ["gt", "ge"], ["either"]),
        node("Xor", ["both", "flag"], ["odd"]),
        node("Not", ["odd"], ["even"]),
        node("Where", ["even", "a", "b"], ["w"]),
        node("Cast", ["either"], ["e"], to=TensorProto.FLOAT),
        node("Cast", ["even"], ["n"], to=TensorProto.INT32),
        node("Mul", ["n", "n"], ["n2"]),
        node("Add", ["w", "e"], ["y"]),
        node("ReduceMax", ["n2"], ["most"], axes=[1]),
        node("Cast", ["a"], ["truth"], to=TensorProto.BOOL),
    ]
    types = {"flag": TensorProto.BOOL, "even": TensorProto.BOOL, "most": TensorProto.INT32, "truth": TensorProto.BOOL}
    return Case(nodes, {"a": ["time", 5], "b": ["time", 5], "flag": [5]}, ["y", "even", "most", "truth"],
                {"half": np.float32(0.5)}, types, dtypes={"truth": "int32"})  # fmt: skip


def integers() -> Case:
    """Arithmetic and movement of int32: what position and bucket computations are made of."""
    nodes = [
        node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        node("Sub", ["i", "k"], ["d"]),
        node("Abs", ["d"], ["size"]),
        node("Neg", ["d"], ["minus"]),
        node("Div", ["minus", "two"], ["half"]),
        node("Clip", ["half", "low", "high"], ["c"]),
        node("Concat", ["c", "size"], ["both"], axis=1),
        node("Pad", ["both", "pads"], ["p"]),
        node("Transpose", ["p"], ["t"], perm=[0, 2, 1]),
        node("ReduceSum", ["t", "axis"], ["y"], keepdims=0),
        node("ReduceMin", ["t"], ["least"], axes=[1]),
        node("ArgMin", ["t"], ["where"], axis=1),
        node("Expand", ["y", "shape"], ["wide"]),
    ]
    constants = {"k": np.array([1, -2, 3], np.int32), "two": np.int32(2), "low": np.int32(-3), "high": np.int32(3)}
    constants |= {"pads": ints(0, 0, 1, 0, 0, 0), "axis": ints(2), "shape": ints(1, 1)}
    types = dict.fromkeys(("y", "least", "wide"), TensorProto.INT32)
    return Case(nodes, {"x": ["time", 2, 3]}, ["y", "least", "where", "wide"],
                {k: np.asarray(v) for k, v in constants.items()}, {**types, "where": TensorProto.INT64})  # fmt: skip


def normalizations() -> Case:
    """Those that no other case has, and BatchNormalization with statistics that are data."""
    nodes = [
        node("GroupNormalization", ["x", "c", "d"], ["a"], num_groups=2),
        node("MeanVarianceNormalization", ["a"], ["m"], axes=[1, 2]),
        node("LpNormalization", ["m"], ["l"], axis=2),
        node("RMSNormalization", ["l", "s"], ["r"], axis=-1),
        node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        node("Mul", ["mean", "mean"], ["var"]),
        node("BatchNormalization", ["r", "c", "mean", "mean", "var"], ["y"]),
    ]
    constants = {"c": weights(4), "d": weights(4, seed=1), "s": weights(5), "axes": ints(0, 2)}
    return Case(nodes, {"x": [3, 4, 5]}, ["y"], constants, opset=23)


def periodic() -> Case:
    nodes = [
        node("Mul", ["x", "many"], ["m"]),
        node("Sin", ["m"], ["s"]),
        node("Cos", ["x"], ["c"]),
        node("Mul", ["s", "c"], ["p"]),
        node("Round", ["m"], ["r"]),
        node("Ceil", ["x"], ["up"]),
        node("Sign", ["x"], ["sign"]),
        node("Sum", ["p", "r", "up", "sign"], ["y"]),
    ]
    return Case(nodes, {"x": ["time", 7]}, ["y"], {"many": np.float32(100)})


def cumulative() -> Case:
    nodes = [
        node("CumSum", ["x", "axis"], ["a"]),
        node("CumSum", ["a", "axis"], ["y"], reverse=1, exclusive=1),
    ]
    return Case(nodes, {"x": ["time", 6, 3]}, ["y"], {"axis": np.int64(1)})


def classes() -> Case:
    """Classes as one-hot vectors, their number modulo 3, and a phase from two coordinates."""
    nodes = [
        node("OneHot", ["k", "depth", "values"], ["hot"], axis=-1),
        node("Sub", ["k", "four"], ["d"]),
        node("Mod", ["d", "three"], ["m"]),
        node("Cast", ["m"], ["f"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["f", "last"], ["u"]),
        node("Mul", ["hot", "u"], ["p"]),
        node("Div", ["p", "half"], ["q"]),
        node("Atan", ["q"], ["a"]),
        node("ScatterElements", ["a", "index", "update"], ["y"], axis=1),
    ]
    constants: dict[str, Array] = {"depth": np.asarray(7, I64), "values": np.array([-0.5, 2], np.float32)}
    constants |= {"four": np.asarray(4, I64), "three": np.asarray(3, I64), "half": np.float32(0.5)}
    constants |= {"last": ints(-1), "index": np.tile(ints(5, 2), (4, 1)), "update": weights(4, 2)}
    return Case(nodes, {"k": [4]}, ["y", "m"], constants, {"k": TensorProto.INT64, "m": TensorProto.INT64})


CASES = {
    "classes": classes(),
    "token_classifier": token_classifier(),
    "padded_tokens": padded_tokens(),
    "attention": attention(),
    "crnn_head": crnn_head(),
    "enhancement_mask": enhancement_mask(),
    "grouped_linear": grouped_linear(),
    "scatter": scatter(),
    "scatter_any_time": scatter_any_time(),
    "gelu": gelu("none"),
    "gelu_tanh": gelu("tanh"),
    "logic": logic(),
    "integers": integers(),
    "normalizations": normalizations(),
    "periodic": periodic(),
    "cumulative": cumulative(),
}


@pytest.mark.parametrize("name", CASES)
def test_converts_verifies_and_gives_the_same_bytes_everywhere(name: str, tmp_path: Any) -> None:
    case = CASES[name]
    report = convert(case.onnx(), tmp_path / "m.rnnrt", frames=21, **case.options)
    verified = report.verification
    assert verified is not None
    assert verified.passed
    assert report.streamable == case.streams, report.not_streamable_because
    errors = {c.against: c.max_scaled_error for c in verified.comparisons}
    assert "onnxruntime" in errors
    assert max(errors.values()) <= 1e-5
    names = {c.name for c in verified.checks}
    assert {f"{isa} = scalar" for isa in rnnrt.isas() if isa != "scalar"} <= names
    assert not case.streams or "stepped = whole" in names
    loaded = rnnrt.load(tmp_path / "m.rnnrt")
    for output in loaded.outputs:
        assert output.dtype == case.dtypes.get(output.name, output.dtype)


def body(name: str, loop: bool) -> onnx.GraphProto:
    """What Loop or Scan repeats: y = x + x."""
    make = onnx.helper.make_tensor_value_info
    inputs = [make("i", TensorProto.INT64, []), make("go", TensorProto.BOOL, [])] if loop else []
    outputs = [make("still", TensorProto.BOOL, [])] if loop else []
    nodes = [node("Add", [f"{name}.in"] * 2, [f"{name}.out"])]
    if loop:
        nodes.append(node("Identity", ["go"], ["still"]))
    state = (make(f"{name}.in", TensorProto.FLOAT, [3]), make(f"{name}.out", TensorProto.FLOAT, [3]))
    return onnx.helper.make_graph(nodes, name, [*inputs, state[0]], [*outputs, state[1]])


def test_what_is_refused_is_refused_by_name_all_at_once(tmp_path: Any) -> None:
    nodes = [
        node("Loop", ["n", "", "x"], ["a"], "the_loop", body=body("l", loop=True)),
        node("Scan", ["x"], ["b"], "the_scan", num_scan_inputs=1, body=body("s", loop=False)),
        node("TopK", ["x", "k"], ["c", "ci"], "the_topk"),
        node("ScatterElements", ["x", "i", "x"], ["d"], "the_scatter"),
        node("ScatterND", ["x", "j", "u"], ["e"], "the_write"),
        node("CumSum", ["x", "axis"], ["f"], "the_sum"),
        node("Einsum", ["x"], ["g"], "the_diagonal", equation="tt->t"),
        node("Mod", ["x", "x"], ["h"], "the_rest", fmod=1),
        node("Add", ["bytes", "bytes"], ["sum"], "the_bytes"),
        node("Cast", ["sum"], ["m"], to=TensorProto.FLOAT),
        node("Exp", ["x"], ["y"], "fine"),
    ]
    constants = {"n": np.asarray(3, I64), "k": ints(1), "axis": np.asarray(0, I64), "u": weights(1, 3)}
    inputs: dict[str, Dims] = {"x": ["time", 3], "i": ["time", 3], "j": [1, 1], "bytes": ["time", 3]}
    kinds = {"i": TensorProto.INT64, "j": TensorProto.INT64, "bytes": TensorProto.UINT8}
    data = model(nodes, inputs, list("abcdefghmy"), constants, opset=18, types=kinds)
    with pytest.raises(UnsupportedError) as caught:
        convert(data, tmp_path / "m.rnnrt")
    found = {(p.node, p.op) for p in caught.value.problems}
    assert found == {("the_loop", "Loop"), ("the_scan", "Scan"), ("the_topk", "TopK"), ("the_rest", "Mod"),
                     ("the_scatter", "ScatterElements"), ("the_write", "ScatterND"), ("the_sum", "CumSum"),
                     ("the_diagonal", "Einsum"), ("the_bytes", "Add")}  # fmt: skip
    assert all(name in str(caught.value) for name, _ in found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_means_what_onnxruntime_means(largest: int) -> None:
    """Constants are folded with it, whatever their size; of equal elements the first one comes first."""
    x = np.random.default_rng(3).integers(0, 4, (3, 9, 2)).astype(np.float32)
    top = node("TopK", ["x", "k"], ["values", "indices"], axis=1, largest=largest)
    data = model([top], {"x": [3, 9, 2]}, ["values", "indices"], {"k": ints(5)}, types={"indices": TensorProto.INT64})
    want = run_onnxruntime(data, {"x": x})
    top_k = ir.Node("TopK", "top", ["x", "k"], ["values", "indices"], {"axis": 1, "largest": largest})
    found = reference.evaluate_node(top_k, [x, ints(5)])
    np.testing.assert_array_equal(found[0], want["values"])
    np.testing.assert_array_equal(found[1], want["indices"])


def test_one_row_sorted_by_length_is_itself(tmp_path: Any) -> None:
    """As pack_padded_sequence is exported: TopK of the lengths, Gather of the rows and back."""
    nodes = [
        node("Shape", ["lengths"], ["k"]),
        node("TopK", ["lengths", "k"], ["sorted", "order"], axis=-1, largest=1),
        node("Gather", ["x", "order"], ["rows"], axis=0),
        node("Transpose", ["rows"], ["turned"], perm=[1, 0, 2]),
        node("GRU", ["turned", "W", "R", "", "sorted"], ["", "h"], hidden_size=4),
        node("Gather", ["h", "order"], ["y"], axis=1),
    ]
    constants: dict[str, Array] = {"W": weights(1, 12, 3), "R": weights(1, 12, 4)}
    data = model(nodes, {"x": [1, "time", 3], "lengths": [1]}, ["y"], constants, types={"lengths": TensorProto.INT32})
    convert(data, tmp_path / "m.rnnrt")
    x, lengths = weights(1, 7, 3), np.array([5], np.int32)
    want = run_onnxruntime(data, {"x": x, "lengths": lengths})["y"]
    np.testing.assert_allclose(rnnrt.load(tmp_path / "m.rnnrt")({"x": x, "lengths": lengths}), want, atol=1e-6)


def test_nan_in_choices_and_comparisons() -> None:
    """As in onnxruntime: Min and Max give NaN, no comparison holds, Where takes what the condition says."""
    nodes = [
        node("Min", ["a", "b"], ["min"]),
        node("Max", ["a", "b"], ["max"]),
        node("Less", ["a", "b"], ["lt"]),
        node("LessOrEqual", ["a", "b"], ["le"]),
        node("Greater", ["a", "b"], ["gt"]),
        node("GreaterOrEqual", ["a", "b"], ["ge"]),
        node("Equal", ["a", "b"], ["eq"]),
        node("IsNaN", ["a"], ["is"]),
        node("Where", ["eq", "a", "b"], ["w"]),
        node("Sign", ["a"], ["sign"]),
        node("Floor", ["a"], ["floor"]),
        node("Cast", ["a"], ["truth"], to=TensorProto.BOOL),
    ]
    outputs = [n.output[0] for n in nodes]
    booleans = dict.fromkeys(("lt", "le", "gt", "ge", "eq", "is", "truth"), TensorProto.BOOL)
    data = model(nodes, {"a": ["time", 1], "b": ["time", 1]}, outputs, opset=17, types=booleans)
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5, -1.5], np.float32)
    pairs = np.stack(np.meshgrid(special, special), -1).reshape(-1, 2)
    given = {"a": pairs[:, :1].copy(), "b": pairs[:, 1:].copy()}
    blob = build(data, prepare(data))[1]
    for isa in rnnrt.isas():
        found = rnnrt.load(blob, isa=isa)(given)
        for name, expected in run_onnxruntime(data, given).items():
            np.testing.assert_array_equal(found[name], expected, err_msg=f"{name} on {isa}")


def test_integers_at_their_limits() -> None:
    """Sums wrap around, division is towards zero, a Cast from float stays within 32 bits: never undefined."""
    nodes = [
        node("Add", ["i", "j"], ["sum"]),
        node("Mul", ["i", "j"], ["product"]),
        node("Div", ["i", "j"], ["quotient"]),
        node("Cast", ["x"], ["whole"], to=TensorProto.INT32),
    ]
    kinds = dict.fromkeys(("i", "j", "sum", "product", "quotient", "whole"), TensorProto.INT32)
    data = model(nodes, {"i": ["time"], "j": ["time"], "x": ["time"]}, ["sum", "product", "quotient", "whole"],
                 types=kinds)  # fmt: skip
    low, high = -(2**31), 2**31 - 1
    given = {
        "i": np.array([high, low, low, 7, -7, 5], np.int32),
        "j": np.array([1, -1, 2, -2, 2, 0], np.int32),
        "x": np.array([np.nan, np.inf, -np.inf, 2.9, -2.9, 3e9], np.float32),
    }
    found = rnnrt.load(build(data, prepare(data))[1])(given)
    assert found["sum"].tolist() == [low, high, low + 2, 5, -5, 5]
    assert found["product"].tolist() == [high, low, 0, -14, -14, 0]
    assert found["quotient"].tolist() == [high, low, -(2**30), -3, -3, 0]
    assert found["whole"].tolist() == [0, high, low, 2, -2, high]


def test_arg_max_of_ties_and_nan_is_that_of_onnxruntime() -> None:
    nodes = [
        node("ArgMax", ["x"], ["first"], axis=1, keepdims=0),
        node("ArgMax", ["x"], ["last"], axis=1, keepdims=0, select_last_index=1),
    ]
    data = model(nodes, {"x": ["time", 4]}, ["first", "last"], types={"first": 7, "last": 7})
    nan, inf = np.nan, np.inf
    x = np.array([[1, 3, 3, 2], [1, nan, 5, nan], [nan, 1, 2, 3], [-inf] * 4, [-inf, nan, -inf, nan]], np.float32)
    graph = prepare(data)
    found, exact = rnnrt.load(build(data, graph)[1])({"x": x}), reference.run(graph, {"x": x})[0]
    for name, expected in run_onnxruntime(data, {"x": x}).items():
        assert found[name].tolist() == exact[name].tolist() == expected.tolist()
    assert found["first"].tolist() == [1, 2, 0, 0, 0]
    assert found["first"].dtype == np.int32


def test_truth_values_are_taken_as_input() -> None:
    data = model([node("Where", ["c", "x", "y0"], ["y"])], {"c": ["time", 2], "x": ["time", 2]}, ["y"],
                 {"y0": np.float32(-1)}, types={"c": TensorProto.BOOL})  # fmt: skip
    loaded = rnnrt.load(build(data, prepare(data))[1])
    c, x = np.array([[True, False]]), np.array([[4, 5]], np.float32)
    np.testing.assert_array_equal(loaded({"c": c, "x": x}), [[4, -1]])
    np.testing.assert_array_equal(loaded.stream().step({"c": c.astype(np.int32), "x": x}), [4, -1])
    with pytest.raises(TypeError, match="int32"):
        loaded({"c": c.astype(np.int64), "x": x})


@pytest.mark.parametrize(("op", "function"), [("Sin", np.sin), ("Cos", np.cos)])
def test_sine_and_cosine_of_any_float(op: str, function: Any) -> None:
    """Within 0.51 ulp of float64, from denormals to the largest floats, whose reduction needs 200 bits of 2 / pi."""
    loaded = rnnrt.load(build(data := model([node(op, ["x"], ["y"])], {"x": ["time"]}, ["y"]), prepare(data))[1])
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, np.uint32)
    near = np.arange(-4000, 4000) * (np.pi / 2)
    x = np.concatenate([bits.view(np.float32), near.astype(np.float32), np.float32([0, 2**25, 3.4e38])])
    x = x[np.isfinite(x)]
    y, exact = np.asarray(loaded(x), np.float64), function(x.astype(np.float64))
    assert (np.abs(y - exact) / np.spacing(np.abs(exact).astype(np.float32))).max() <= 0.51
    assert np.isnan(loaded(np.float32([np.inf, -np.inf, np.nan]))).all()
    assert np.signbit(loaded(np.float32([-0.0]))[0]) == (op == "Sin")


def test_arc_tangent_of_any_float() -> None:
    data = model([node("Atan", ["x"], ["y"])], {"x": ["time"]}, ["y"])
    loaded = rnnrt.load(build(data, prepare(data))[1])
    x = np.random.default_rng(0).integers(0, 2**32, 200_000, np.uint32).view(np.float32)
    found = loaded(x)
    assert (np.isnan(found) == np.isnan(x)).all()
    x, y = x[~np.isnan(x)], found[~np.isnan(x)].astype(np.float64)
    exact = np.arctan(x.astype(np.float64))
    assert (np.abs(y - exact) / np.spacing(np.abs(exact).astype(np.float32))).max() <= 0.51
    assert np.signbit(loaded(np.float32([-0.0]))[0])
