"""Simplifying: shape arithmetic gone, time and batch symbolic, fewer operators, the same numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rnnrt.converters import from_onnx, reference, simplify, support
from rnnrt.converters.ir import Graph, Sym

from onnx_graphs import assert_same, feeds, model, node, ops, recurrent, run_onnxruntime, simplified, weights
from rnnrt.errors import UnsupportedError

T, B = Sym.TIME, Sym.BATCH
I64 = np.int64
X: dict[str, list[int | str | None]] = {"x": ["batch", "time", 4]}


def problems(data: bytes, **options: Any) -> list[tuple[str, str, str]]:
    """(node, op, attribute) of everything that is wrong."""
    with pytest.raises(UnsupportedError) as caught:
        simplified(data, **options)
    assert all(str(p) in str(caught.value) for p in caught.value.problems)
    return [(p.node, p.op, p.attribute) for p in caught.value.problems]


def branch(nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, f"b.{output}", [], [helper.make_tensor_value_info(output, 1, None)])


# ---- time, batch, shapes ----


def test_zero_state_from_shape_arithmetic_disappears() -> None:
    """The pattern of torch's exporter: Shape, Gather, Concat, ConstantOfShape, Slice -> initial_h."""
    nodes, constants = recurrent("GRU", "t", "r", 4, 3, tail=["", "h0"])
    constants |= {"zero": np.array(0, I64), "two": np.array([2], I64), "three": np.array([3], I64),
                  "axis": np.array([0], I64), "one": np.array([1], I64)}  # fmt: skip
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["b"]),
        node("Unsqueeze", ["b", "axis"], ["b1"]),
        node("Concat", ["two", "b1", "three"], ["hs"], axis=0),
        node("ConstantOfShape", ["hs"], ["zeros"]),
        node("Slice", ["zeros", "axis", "one", "axis"], ["h0"]),
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        *nodes,
        node("Squeeze", ["r", "one"], ["q"]),
        node("Transpose", ["q"], ["y"], perm=[1, 0, 2]),
    ]
    data = model(nodes, X, ["y"], constants)
    graph = simplified(data)
    assert ops(graph) == ["GRU", "Squeeze"]
    assert graph.nodes[0].attrs["layout"] == 1
    assert graph.inputs[0].shape == (B, T, 4)
    assert graph.outputs[0].shape == (B, T, 3)
    assert all(v.shape is not None for v in graph.values.values())
    assert_same(data, graph)


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (["batch_size", "frames", 4], (B, T, 4)),
        (["sequence_length", "N", 4], (T, B, 4)),
        ([None, None, 4], (B, T, 4)),
        ([1, None, 4], (1, T, 4)),
        (["b", 7, 4], (B, 7, 4)),
        (["something", "else", 4], (B, T, 4)),
        (["T", 4], (T, 4)),
        ([None, 4], (B, 4)),
        ([None], (T,)),
        (["seqLen"], (T,)),
    ],
)
def test_which_dimension_is_what_is_found_and_said(dims: list[int | str | None], expected: tuple[int, ...]) -> None:
    graph = simplified(model([node("Relu", ["x"], ["y"])], {"x": dims}, ["y"]))
    assert graph.inputs[0].shape == expected
    said = [note for note in graph.notes if note.startswith("input 'x': dimension")]
    assert len(said) == sum(isinstance(d, Sym) for d in expected)


def test_shapes_given_by_the_caller_win_and_bind_names() -> None:
    data = model([node("Add", ["x", "z"], ["y"])], {"x": ["batch", "sequence"], "z": ["batch", 5]}, ["y"])
    graph = simplified(data, shapes={"x": (1, 5)})
    assert [v.shape for v in graph.inputs] == [(1, 5), (1, 5)]
    graph = simplified(data, shapes={"x": ("T", 5)})
    assert [v.shape for v in graph.inputs] == [(T, 5), (T, 5)]


def test_shapes_that_contradict_the_model_are_problems() -> None:
    data = model([node("Relu", ["x"], ["y"])], {"x": ["batch", 5]}, ["y"])
    assert problems(data, shapes={"x": (1, 6)}) == [("x", "input", "")]
    assert problems(data, shapes={"x": (1,)}) == [("x", "input", "")]
    assert problems(data, shapes={"q": (1,)}) == [("q", "input", "")]
    assert problems(data, set_values={"q": 1}) == [("q", "input", "")]
    for bad in ("Q", 0):
        with pytest.raises(ValueError, match="dimension"):
            simplified(data, shapes={"x": (bad, 5)})


def test_batch_can_be_fixed() -> None:
    data = model([node("Relu", ["x"], ["y"])], X, ["y"])
    assert simplified(data, batch=3).inputs[0].shape == (3, T, 4)
    assert simplified(data, shapes={"x": (2, "T", 4)}).inputs[0].shape == (2, T, 4)


def test_batch_falls_back_to_one_and_says_why() -> None:
    """Squeeze without axes removes the batch exactly where it is 1."""
    data = model([node("Squeeze", ["x"], ["y"])], {"x": ["batch", "time", 4]}, ["y"])
    found = problems(data)  # at T = 1 the time would go, too
    assert ("Squeeze_y", "Squeeze", "axes") in found
    data = model([node("Squeeze", ["x"], ["y"])], {"x": ["batch", 6, 4]}, ["y"])
    graph = simplified(data)
    assert graph.inputs[0].shape == (1, 6, 4)
    assert any("batch is fixed to 1" in note and "Squeeze_y" in note for note in graph.notes)
    assert_same(data, graph, [(1, 1)])


def test_flattening_time_and_batch_keeps_both() -> None:
    """tf2onnx: [B, T, F] -> [B*T, F] -> Gemm -> [B, T, N]."""
    nodes = [
        node("Reshape", ["x", "flat"], ["f"]),
        node("Gemm", ["f", "w", "c"], ["g"]),
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "k0", "k2", "k0"], ["s2"]),
        node("Concat", ["s2", "k3"], ["s3"], axis=0),
        node("Reshape", ["g", "s3"], ["y"]),
    ]
    constants: dict[str, Any] = {
        "flat": np.array([-1, 4], I64),
        "w": weights(4, 3),
        "c": weights(3),
        "k0": np.array([0], I64),
        "k2": np.array([2], I64),
        "k3": np.array([3], I64),
    }
    data = model(nodes, X, ["y"], constants)
    graph = simplified(data)
    assert graph.inputs[0].shape == (B, T, 4)
    assert "Gemm" in ops(graph)
    assert_same(data, graph, [(1, 1), (5, 1)])
    symbolic = simplified(model(nodes[:2], X, ["g"], constants), shapes={"x": ("B", 1, 4)})
    assert symbolic.outputs[0].shape == (B, 3)


def test_set_values_make_inputs_constants() -> None:
    then, other = branch([node("Relu", ["x"], ["a"])], "a"), branch([node("Neg", ["x"], ["b"])], "b")
    nodes = [node("Equal", ["sr", "k"], ["c"]), node("If", ["c"], ["y"], "choice", then_branch=then, else_branch=other)]
    data = model(
        nodes, {"x": ["T", 3], "sr": [1]}, ["y"], {"k": np.array([16000], I64)}, types={"sr": TensorProto.INT64}
    )
    for rate, op in ((16000, "Relu"), (8000, "Neg")):
        graph = simplified(data, set_values={"sr": rate})
        assert ops(graph) == [op]
        assert [v.name for v in graph.inputs] == ["x"]
        assert_same(data, graph, extra={"sr": np.array([rate])})
    assert ("choice", "If", "cond") in problems(data)


def test_nested_branches_with_the_same_names_are_inlined() -> None:
    deep = branch([node("Neg", ["a"], ["out"])], "out")
    deeper = branch([node("Exp", ["a"], ["out"])], "out")
    inner = [
        node("Relu", ["x"], ["a"], "relu"),
        node("Size", ["a"], ["n"]),
        node("Greater", ["n", "zero"], ["g"]),
        node("If", ["g"], ["out2"], then_branch=deep, else_branch=deeper),
    ]
    never = branch([node("Det", ["x"], ["z"])], "z")  # an operator that is not supported, never reached
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Size", ["s"], ["rank"]),
        node("Equal", ["rank", "three"], ["c"]),
        node("If", ["c"], ["first"], then_branch=branch(inner, "out2"), else_branch=never),
        node("If", ["c"], ["a"], then_branch=branch([node("Tanh", ["first"], ["out"])], "out"), else_branch=never),
    ]
    data = model(nodes, X, ["a", "first"], {"three": np.array(3, I64), "zero": np.array(0, I64)})
    graph = simplified(data)
    assert sorted(ops(graph)) == ["Neg", "Relu", "Tanh"]
    assert {v.name for v in graph.outputs} == {"a", "first"}
    assert len({o for n in graph.nodes for o in n.outputs}) == 3
    assert_same(data, graph)


def test_a_branch_that_depends_on_the_data_is_a_problem() -> None:
    then, other = branch([node("Relu", ["x"], ["a"])], "a"), branch([node("Neg", ["x"], ["b"])], "b")
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "zero"], ["c"]),
        node("If", ["c"], ["y"], "choice", then_branch=then, else_branch=other),
    ]
    assert ("choice", "If", "cond") in problems(model(nodes, X, ["y"], {"zero": np.float32(0)}))


def test_constants_that_follow_the_shape_become_expand() -> None:
    """Causal padding by Concat with zeros [B, 2, 4] made from the input's shape."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i0"], ["b"]),
        node("Concat", ["b", "k"], ["zs"], axis=0),
        node("ConstantOfShape", ["zs"], ["zeros"], value=helper.make_tensor("v", 1, [1], [2.5])),
        node("Concat", ["zeros", "x"], ["y"], axis=1),
    ]
    constants: dict[str, Any] = {"i0": np.array([0], I64), "k": np.array([2, 4], I64)}
    data = model(nodes, {"x": ["batch", 5, 4]}, ["y"], constants)
    graph = simplified(data)
    assert ops(graph) == ["Expand", "Concat"]
    assert graph.nodes[0].attrs["shape"] == [B, 2, 4]
    assert_same(data, graph)


def test_what_depends_on_the_number_of_steps_is_a_problem() -> None:
    """Positions 0, 1, 2, ... as numbers."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i1"], ["n"]),
        node("Range", ["i0", "n", "i1"], ["positions"]),
        node("Cast", ["positions"], ["p"], to=1),
        node("Unsqueeze", ["p", "axis"], ["q"]),
        node("Add", ["x", "q"], ["y"], "add"),
    ]
    constants: dict[str, Any] = {"i0": np.array(0, I64), "i1": np.array(1, I64), "axis": np.array([1], I64)}
    assert problems(model(nodes, X, ["y"], constants)) == [("add", "Add", "")]
    fixed = simplified(model(nodes, X, ["y"], constants), shapes={"x": ("B", 6, 4)})
    assert ops(fixed) == ["Add"]


def test_slices_and_indices_relative_to_the_end() -> None:
    """x[:, T-1] and x[:, T-2:] computed from the shape."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i1"], ["n"]),
        node("Sub", ["n", "i1"], ["last"]),
        node("Gather", ["x", "last"], ["y"], axis=1),
        node("Unsqueeze", ["last", "axis"], ["from"]),
        node("Unsqueeze", ["n", "axis"], ["to"]),
        node("Slice", ["x", "from", "to", "one"], ["z"]),
    ]
    constants: dict[str, Any] = {"i1": np.array(1, I64), "axis": np.array([0], I64), "one": np.array([1], I64)}
    data = model(nodes, X, ["y", "z"], constants)
    graph = simplified(data)
    assert ops(graph) == ["Gather", "Slice"]
    assert graph.constants[graph.nodes[0].inputs[1]].tolist() == -1
    assert graph.nodes[1].attrs["starts"] == [-1]
    assert_same(data, graph)


def test_sizes_that_are_no_symbol_are_allowed_inside_and_a_problem_outside() -> None:
    constants: dict[str, Any] = {"w": weights(4, 4, 3)}
    conv = node("Conv", ["t", "w"], ["c"], strides=[2], pads=[1, 1])
    nodes = [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), conv]
    assert problems(model(nodes, X, ["c"], constants)) == [("c", "output", "")]
    data = model([*nodes, node("GlobalAveragePool", ["c"], ["y"])], X, ["y"], constants)
    graph = simplified(data)
    assert any(v.shape is None for v in graph.values.values())
    assert_same(data, graph)


def test_a_graph_that_needs_many_steps_is_probed_with_many() -> None:
    """A kernel of 20 over time without padding."""
    constants: dict[str, Any] = {"w": weights(4, 4, 20)}
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        node("Conv", ["t", "w"], ["c"]),
        node("ReduceMean", ["c"], ["y"], axes=[2]),
        node("Slice", ["t", "k0", "k30", "k2"], ["d"]),
        node("Reshape", ["d", "shape"], ["z"]),
    ]
    constants |= {"k0": np.array([0], I64), "k30": np.array([30], I64), "k2": np.array([2], I64),
                  "shape": np.array([0, 120], I64)}  # fmt: skip
    data = model(nodes, X, ["y", "z"], constants)
    graph = simplified(data)
    assert graph.outputs[1].shape == (B, 120)
    assert any("single time step" in note for note in graph.notes)
    assert_same(data, graph, [(40, 2), (30, 1)])


# ---- problems ----


def test_all_problems_are_listed_at_once() -> None:
    nodes = [
        node("NonZero", ["x"], ["a"], "one"),
        node("Conv", ["im", "w"], ["b"], "two"),
        node("Det", ["x"], ["c"], "three"),
        node("Mine", ["x"], ["d"], "four", domain="my.domain"),
        node("Exp", ["d"], ["e"], "fine"),
        node("Unique", ["d"], ["f"], "five"),
        node("GRU", ["x", "W", "R"], ["g"], "six", hidden_size=3, activations=["Sigmoid", "Sine"]),
        node("Pad", ["x", "p"], ["h"], "seven", mode="wrap"),
    ]
    constants: dict[str, Any] = {
        "w": weights(2, 3, 3, 3, 3),
        "W": weights(1, 9, 4),
        "R": weights(1, 9, 3),
        "p": np.array([0, 0, 0, 0, 0, 1], I64),
    }
    inputs: dict[str, Any] = {**X, "im": [1, 3, 8, 8, 8]}
    found = problems(model(nodes, inputs, list("abcefgh"), constants, opset=19))
    assert {name for name, _, _ in found} == {"one", "two", "three", "four", "five", "six", "seven"}
    assert ("two", "Conv", "kernel_shape") in found
    assert ("four", "Mine", "") in found
    assert ("seven", "Pad", "mode") in found


def test_a_shape_that_does_not_fit_is_a_problem_with_the_node() -> None:
    data = model([node("MatMul", ["x", "w"], ["y"], "wrong")], X, ["y"], {"w": weights(5, 3)})
    assert problems(data) == [("wrong", "MatMul", "")]


def test_integer_inputs_are_int32_and_are_cast_where_they_are_used_as_numbers() -> None:
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("Cast", ["ids"], ["c"], to=1),
        node("Unsqueeze", ["c", "last"], ["u"]),
        node("Mul", ["e", "u"], ["y"]),
    ]
    inputs: dict[str, Any] = {"ids": ["batch", "time"]}
    constants, types = {"table": weights(30, 4), "last": np.array([-1], I64)}, {"ids": TensorProto.INT64}
    data = model(nodes, inputs, ["y"], constants, types=types)
    graph = simplified(data)
    assert ops(graph) == ["Gather", "Cast", "Unsqueeze", "Mul"]
    assert graph.inputs[0].dtype == np.int32
    assert any("int32" in note for note in graph.notes)
    assert_same(data, graph)


# ---- fusing ----


def test_matmul_add_relu_is_one_gemm() -> None:
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Add", ["c", "a"], ["b"]), node("Relu", ["b"], ["y"])]
    data = model(nodes, X, ["y"], {"w": weights(4, 3), "c": weights(3)})
    graph = simplified(data)
    assert ops(graph) == ["Gemm"]
    gemm = graph.nodes[0]
    assert gemm.attrs == {"transB": 1, "activation": "Relu", "activation_alpha": 0.0, "activation_beta": 0.0}
    assert [graph.constants[n].shape for n in gemm.inputs[1:]] == [(3, 4), (3,)]
    assert np.array_equal(graph.constants[gemm.inputs[1]], weights(4, 3).T)  # weights stay exact
    assert_same(data, graph)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("beta", [1.0, -2.0, 0.0])
@pytest.mark.parametrize("trans", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("bias", [(), (3,), (1, 3), (5, 3), (5, 1), None])
def test_gemm_in_all_its_forms(alpha: float, beta: float, trans: tuple[int, int], bias: tuple[int, ...] | None) -> None:
    constants: dict[str, Any] = {"w": weights(3, 4) if trans[1] else weights(4, 3)}
    inputs = ["x", "w"]
    if bias is not None:
        constants["c"] = weights(*bias)
        inputs.append("c")
    made = node("Gemm", inputs, ["y"], alpha=alpha, beta=beta, transA=trans[0], transB=trans[1])
    data = model([made], {"x": [4, 5] if trans[0] else [5, 4]}, ["y"], constants)
    graph = simplified(data)
    assert ops(graph).count("Gemm") == 1
    assert set(ops(graph)) <= {"Gemm", "Add", "Transpose"}
    assert_same(data, graph, [(1, 1)])


def test_gemm_of_two_data_operands() -> None:
    made = node("Gemm", ["x", "z", "v"], ["y"], alpha=0.5, beta=2.0, transB=1)
    data = model([made], {"x": [5, 4], "z": [3, 4], "v": [3]}, ["y"])
    graph = simplified(data)
    assert "MatMul" in ops(graph)
    assert_same(data, graph, [(1, 1)])


ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("HardSigmoid", {}),
    ("Elu", {"alpha": 0.5}), ("Softsign", {}), ("Softplus", {}), ("ThresholdedRelu", {"alpha": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attrs"), ACTIVATIONS)
@pytest.mark.parametrize("matrix", ["Gemm", "Conv"])
def test_activations_are_fused(op: str, attrs: dict[str, Any], matrix: str) -> None:
    first = node(matrix, ["x", "w", "c"], ["a"])
    inputs: dict[str, Any] = {"x": ["batch", 4] if matrix == "Gemm" else ["batch", 4, 9]}
    constants: dict[str, Any] = {"w": weights(4, 3) if matrix == "Gemm" else weights(3, 4, 3), "c": weights(3)}
    data = model([first, node(op, ["a"], ["y"], **attrs)], inputs, ["y"], constants)
    graph = simplified(data)
    assert ops(graph) == [matrix]
    assert graph.nodes[0].attrs["activation"] == op
    assert_same(data, graph)


def test_clip_is_fused_with_open_ends() -> None:
    nodes = [node("Gemm", ["x", "w"], ["a"]), node("Clip", ["a", "low"], ["y"])]
    data = model(nodes, {"x": ["batch", 4]}, ["y"], {"w": weights(4, 3), "low": np.float32(-0.1)})
    graph = simplified(data)
    assert ops(graph) == ["Gemm"]
    assert graph.nodes[0].attrs["activation_alpha"] == float(np.float32(-0.1))
    assert graph.nodes[0].attrs["activation_beta"] == np.inf
    assert_same(data, graph)


@pytest.mark.parametrize("outputs", [["y", "a"], ["y", "z"]])
def test_nothing_is_fused_into_a_value_that_others_read(outputs: list[str]) -> None:
    nodes = [node("Gemm", ["x", "w"], ["a"]), node("Relu", ["a"], ["y"]), node("Neg", ["a"], ["z"])]
    data = model(nodes, {"x": ["batch", 4]}, outputs, {"w": weights(4, 3)})
    graph = simplified(data)
    assert "Gemm" in ops(graph)
    assert "Relu" in ops(graph)
    assert_same(data, graph)


@pytest.mark.parametrize("bias", [True, False])
def test_batch_normalization_is_folded_into_a_convolution(bias: bool) -> None:
    constants: dict[str, Any] = {
        "w": weights(6, 4, 3),
        "s": weights(6) + 1,
        "b": weights(6, seed=1),
        "m": weights(6, seed=2),
        "v": np.abs(weights(6, seed=3)) + np.float32(0.1),
        "c": weights(6, seed=4),
    }
    nodes = [
        node("Conv", ["x", "w", *(["c"] if bias else [])], ["a"], pads=[1, 1]),
        node("BatchNormalization", ["a", "s", "b", "m", "v"], ["n"], epsilon=1e-3),
        node("Relu", ["n"], ["y"]),
    ]
    data = model(nodes, {"x": ["batch", 4, 9]}, ["y"], constants)
    graph = simplified(data)
    assert ops(graph) == ["Conv"]
    assert graph.nodes[0].attrs["activation"] == "Relu"
    assert_same(data, graph)


@pytest.mark.parametrize("length", [9, 8])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2)])
def test_auto_pad_becomes_numbers(mode: str, stride: int, dilation: int, length: int) -> None:
    made = node("Conv", ["x", "w"], ["y"], auto_pad=mode, strides=[stride], dilations=[dilation])
    data = model([made], {"x": ["batch", 4, length]}, ["y"], {"w": weights(6, 4, 4)})
    graph = simplified(data)
    assert "auto_pad" not in graph.nodes[0].attrs
    if dilation == 1 or mode == "VALID":
        assert_same(data, graph)
    else:  # onnxruntime refuses this; the specification defines it
        given = feeds(graph, 1, 2)
        raw = from_onnx.load(data)
        raw.inputs[0].shape = (B, 4, length)
        assert np.allclose(reference.run(graph, given)[0]["y"], reference.run(raw, given)[0]["y"], atol=1e-12)


NO_OPS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("Identity", ["a"], {}), ("Dropout", ["a"], {}), ("Add", ["a", "zero"], {}), ("Add", ["zero", "a"], {}),
    ("Sub", ["a", "zero"], {}), ("Mul", ["ones", "a"], {}), ("Div", ["a", "ones"], {}), ("Pow", ["a", "one"], {}),
    ("Cast", ["a"], {"to": TensorProto.FLOAT}), ("Concat", ["a"], {"axis": 1}),
    ("Transpose", ["a"], {"perm": [0, 1, 2]}),
    ("Slice", ["a", "i0", "imax", "i1"], {}), ("Reshape", ["a", "same"], {}), ("Expand", ["a", "i1"], {}),
    ("Pad", ["a", "nopads"], {}), ("Clip", ["a"], {}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "attrs"), NO_OPS)
def test_operators_that_do_nothing_go(op: str, inputs: list[str], attrs: dict[str, Any]) -> None:
    constants: dict[str, Any] = {
        "zero": np.zeros((), np.float32),
        "ones": np.ones((1, 4), np.float32),
        "one": np.ones((), np.float32),
        "i0": np.array([0], I64),
        "i1": np.array([1], I64),
        "imax": np.array([2**62], I64),
        "same": np.array([0, -1, 4], I64),
        "nopads": np.zeros(6, I64),
    }
    nodes = [node("Tanh", ["x"], ["a"]), node(op, inputs, ["b"], **attrs), node("Neg", ["b"], ["y"])]
    data = model(nodes, X, ["y"], constants)
    graph = simplified(data)
    assert ops(graph) == (["Tanh", "Clip", "Neg"] if op == "Clip" else ["Tanh", "Neg"])
    assert_same(data, graph)


@pytest.mark.parametrize(("op", "name"), [("Sub", "zero"), ("Div", "ones")])
def test_zero_minus_x_is_not_x(op: str, name: str) -> None:
    constants: dict[str, Any] = {"zero": np.zeros((), np.float32), "ones": np.ones((), np.float32)}
    data = model([node(op, [name, "x"], ["y"])], X, ["y"], constants)
    graph = simplified(data)
    assert ops(graph) == [op]
    assert_same(data, graph)


def test_adding_zeros_that_widen_the_shape_is_not_nothing() -> None:
    data = model([node("Add", ["x", "k"], ["y"])], {"x": ["batch", 1]}, ["y"], {"k": np.zeros(4, np.float32)})
    graph = simplified(data)
    assert ops(graph) == ["Add"]
    assert_same(data, graph)


@pytest.mark.parametrize(("exponent", "expected"), [(2.0, "Mul"), (0.5, "Sqrt"), (3.0, "Pow")])
@pytest.mark.parametrize("integer", [False, True])
def test_powers(exponent: float, expected: str, integer: bool) -> None:
    kind = np.int64 if integer and exponent == int(exponent) else np.float32
    nodes = [node("Abs", ["x"], ["a"]), node("Pow", ["a", "e"], ["y"])]
    data = model(nodes, X, ["y"], {"e": np.array(exponent, kind)})
    graph = simplified(data)
    assert ops(graph) == ["Abs", expected]
    assert_same(data, graph)


def test_outputs_keep_their_names_whatever_they_are() -> None:
    """Two names for one value, a constant, a value read by others."""
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Identity", ["a"], ["y1"]),
        node("Identity", ["a"], ["y2"]),
        node("Identity", ["k"], ["y3"]),
        node("Neg", ["y1"], ["y4"]),
    ]
    data = model(nodes, X, ["y1", "y2", "y3", "y4", "a"], {"k": weights(2, 3)})
    graph = simplified(data)
    assert [v.name for v in graph.outputs] == ["y1", "y2", "y3", "y4", "a"]
    assert {o for n in graph.nodes for o in n.outputs} >= {"y1", "y2", "y3", "y4", "a"}
    assert_same(data, graph)


def test_dead_code_goes() -> None:
    nodes, constants = recurrent("LSTM", "x", "y", 4, 3)
    nodes += [node("NonZero", ["x"], ["z"]), node("Exp", ["y.h"], ["e"])]
    graph = simplified(model(nodes, {"x": ["time", "batch", 4]}, ["y"], {**constants, "unused": weights(3)}))
    assert ops(graph) == ["LSTM"]
    assert graph.nodes[0].outputs == ["y"]
    assert "unused" not in graph.constants


# ---- transposes ----


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_torchs_batch_first_export_needs_no_transpose(op: str, directions: int) -> None:
    attrs: dict[str, Any] = {"direction": "bidirectional"} if directions == 2 else {}
    nodes = [node("Transpose", ["x"], ["t0"], perm=[1, 0, 2])]
    constants: dict[str, Any] = {"one": np.array([1], I64), "merge": np.array([0, 0, -1], I64)}
    features = 4
    for layer in range(2):
        made, own = recurrent(op, f"t{layer}", f"r{layer}", features, 3, directions, **attrs)
        constants |= own
        nodes += made
        if directions == 2:
            nodes.append(node("Transpose", [f"r{layer}"], [f"p{layer}"], perm=[0, 2, 1, 3]))
            nodes.append(node("Reshape", [f"p{layer}", "merge"], [f"t{layer + 1}"]))
        else:
            nodes.append(node("Squeeze", [f"r{layer}", "one"], [f"t{layer + 1}"]))
        features = 3 * directions
    nodes += [node("Transpose", ["t2"], ["b"], perm=[1, 0, 2]), node("LayerNormalization", ["b", "s"], ["n"])]
    nodes += [node("MatMul", ["n", "w"], ["m"]), node("Add", ["m", "c"], ["y"])]
    constants |= {"s": weights(features), "w": weights(features, 5), "c": weights(5)}
    data = model(nodes, X, ["y"], constants)
    graph = simplified(data)
    assert "Transpose" not in ops(graph)
    assert [n.attrs["layout"] for n in graph.nodes if n.op == op] == [1, 1]
    assert_same(data, graph)


def test_explicit_states_survive_a_change_of_layout() -> None:
    made, constants = recurrent("LSTM", "t", "r", 4, 3, tail=["", "h", "c"])
    constants["one"] = np.array([1], I64)
    nodes = [node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), *made, node("Squeeze", ["r", "one"], ["s"]),
             node("Transpose", ["s"], ["y"], perm=[1, 0, 2])]  # fmt: skip
    inputs: dict[str, Any] = {**X, "h": [1, "batch", 3], "c": [1, "batch", 3]}
    data = model(nodes, inputs, ["y", "r.h", "r.c"], constants)
    graph = simplified(data)
    assert "Transpose" not in ops(graph)
    assert graph.outputs[1].shape == (1, B, 3)
    assert_same(data, graph)


SINKS: list[tuple[list[onnx.NodeProto], dict[str, Any]]] = [
    ([node("Relu", ["t"], ["u"])], {}),
    ([node("Mul", ["t", "k"], ["u"])], {"k": weights(4)}),
    ([node("Add", ["t", "k"], ["u"])], {"k": weights(5, 1, 4)}),
    ([node("Mul", ["t", "t"], ["u"])], {}),
    ([node("Softmax", ["t"], ["u"], axis=0)], {}),
    ([node("ReduceMean", ["t"], ["u"], axes=[0], keepdims=1)], {}),
    ([node("Slice", ["t", "i1", "i3", "i0"], ["u"])],
     {"i0": np.array([0], I64), "i1": np.array([1], I64), "i3": np.array([3], I64)}),
    ([node("Concat", ["t", "t"], ["u"], axis=0)], {}),
    ([node("LayerNormalization", ["t", "k"], ["u"])], {"k": weights(4)}),
]  # fmt: skip


@pytest.mark.parametrize(("inner", "constants"), SINKS, ids=lambda v: v[0].op_type if isinstance(v, list) else "")
def test_transposes_cancel_around_operators(inner: list[onnx.NodeProto], constants: dict[str, Any]) -> None:
    nodes = [node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), *inner, node("Transpose", ["u"], ["y"], perm=[1, 0, 2])]
    data = model(nodes, {"x": ["batch", 5, 4]}, ["y"], constants)
    graph = simplified(data)
    assert "Transpose" not in ops(graph)
    assert_same(data, graph)


@pytest.mark.parametrize(
    "steps",
    [
        [("Transpose", {"perm": [2, 0, 1]}), ("Squeeze", [1]), ("Transpose", {"perm": [1, 0]})],
        [("Transpose", {"perm": [2, 0, 1]}), ("Unsqueeze", [0, 2]), ("Transpose", {"perm": [4, 0, 2, 3, 1]})],
        [("Unsqueeze", [3]), ("Transpose", {"perm": [3, 2, 1, 0]}), ("Squeeze", [0]), ("Unsqueeze", [1])],
        [("Transpose", {"perm": [0, 2, 1]}), ("Transpose", {"perm": [1, 2, 0]}), ("Squeeze", [2])],
    ],
)
def test_chains_of_views_and_transposes_keep_the_numbers(steps: list[tuple[str, Any]]) -> None:
    nodes, constants, value = [], {}, "x"
    for i, (op, argument) in enumerate(steps):
        if op == "Transpose":
            nodes.append(node(op, [value], [f"v{i}"], **argument))
        else:
            constants[f"k{i}"] = np.array(argument, I64)
            nodes.append(node(op, [value, f"k{i}"], [f"v{i}"]))
        value = f"v{i}"
    data = model(nodes, {"x": [1, 3, 4]}, [value], constants)
    graph = simplified(data)
    assert len(graph.nodes) <= 3
    assert ops(graph).count("Transpose") <= 1
    assert_same(data, graph, [(1, 1)])


def test_pointwise_convolutions_between_transposes_become_gemm() -> None:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        node("Conv", ["t", "w", "c"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Transpose", ["b"], ["y"], perm=[0, 2, 1]),
    ]
    data = model(nodes, X, ["y"], {"w": weights(6, 4, 1), "c": weights(6)})
    graph = simplified(data)
    assert ops(graph) == ["Gemm"]
    assert_same(data, graph)


# ---- all of ONNX's own node tests ----


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the generators of the cases
def test_onnx_node_tests_convert_right_or_not_at_all() -> None:
    """Every float node test of ONNX, one tensor as data, the rest as constants: right, or refused with reasons."""
    from onnx.backend.test.case.node import collect_testcases

    right: Counter[str] = Counter()
    unexplained = 0
    for case in collect_testcases(None):
        arrays = [a for pair in case.data_sets or () for part in pair for a in part]
        if case.model is None or not arrays or not all(isinstance(a, np.ndarray) for a in arrays):
            continue
        if any(0 in a.shape for a in arrays):
            continue  # a dimension of size 0 is no dimension here
        given, expected = next(iter(case.data_sets or ()))
        names = [v.name for v in case.model.graph.input]
        fixed = {n: a for i, (n, a) in enumerate(zip(names, given, strict=False)) if i or a.dtype.kind != "f"}
        try:
            graph = simplify.simplify(from_onnx.load(case.model.SerializeToString()), set_values=fixed)
        except UnsupportedError as error:
            unexplained += not error.problems
            continue
        data = {n: a for n, a in zip(names, given, strict=False) if n not in fixed}
        outputs, _ = reference.run(graph, {v.name: data[v.name] for v in graph.inputs})
        for value, wanted in zip(case.model.graph.output, expected, strict=False):
            assert outputs[value.name].shape == wanted.shape, case.name
            rtol = 1e-3 if wanted.dtype in (np.float32, np.float64) else 1e-2  # half precision is computed as float32
            np.testing.assert_allclose(outputs[value.name], wanted, rtol=rtol, atol=1e-5, err_msg=case.name)
        right[case.model.graph.node[-1].op_type] += 1
    assert not unexplained
    assert sum(right.values()) >= 410, right
    assert {"GRU", "LSTM", "RNN", "Gemm", "Softmax", "LogSoftmax", "BatchNormalization", "If", "Split"} <= set(right)


# ---- real models ----

OP15 = "silero_vad_16k_op15.onnx"
RATE: dict[str, Any] = {"set_values": {"sr": 16000}}
REAL: list[tuple[str, dict[str, Any], Counter[str], int]] = [
    ("nsnet2-20ms-baseline.onnx", {}, Counter(Gemm=4, GRU=2, Squeeze=2), 6),
    ("silero_vad_16k_sequence.onnx", {}, Counter(Conv=5, Slice=2, Mul=2, LSTM=1, Gemm=1, Pad=1), 15),
    (OP15, {**RATE, "shapes": {"input": (1, 576)}}, Counter(Conv=5, LSTM=1), 18),
    (OP15, {**RATE, "shapes": {"input": ("B", 576)}}, Counter(Conv=5, LSTM=1), 18),
]


@pytest.mark.parametrize(("name", "options", "contains", "computing"), REAL)
def test_real_models_become_few_operators_that_compute_the_same(
    name: str, options: dict[str, Any], contains: Counter[str], computing: int, models_dir: Path
) -> None:
    data = (models_dir / name).read_bytes()
    graph = simplified(data, **options)
    assert contains <= Counter(ops(graph))
    assert not {"If", "Shape", "Transpose", "Constant", "Cast", "Equal"} & set(ops(graph))
    assert len([n for n in graph.nodes if n.op not in support.VIEWS]) <= computing
    assert not support.check(graph)
    batch = 3 if any(B in (v.shape or ()) for v in graph.inputs) else 1
    extra = {"sr": np.array(16000)} if "set_values" in options else None
    assert_same(data, graph, [(8, batch), (1, 1)], extra=extra)


def test_the_original_graph_is_not_changed() -> None:
    nodes = [node("Softmax", ["x"], ["a"], axis=1), node("Dropout", ["a"], ["y"])]
    raw: Graph = from_onnx.load(model(nodes, {"x": ["batch", 3, 4]}, ["y"], opset=11))
    first, second = simplify.simplify(raw), simplify.simplify(raw)
    assert ops(first) == ops(second)
    given = feeds(first, 1, 2)
    expected = run_onnxruntime(model(nodes, {"x": ["batch", 3, 4]}, ["y"], opset=11), given)["y"]
    for graph in (first, second):
        assert np.abs(reference.run(graph, given)[0]["y"] - expected).max() < 1e-6
