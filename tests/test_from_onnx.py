"""Reading ONNX: every number format, every way to damage a file, the same meaning for every operator set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rnnrt.converters import from_onnx, reference, simplify, states
from rnnrt.converters.ir import Graph

from onnx_graphs import GATES, model, node, recurrent, run_onnxruntime, simplified, weights
from rnnrt.errors import ModelFormatError, RnnrtError, UnsupportedError


def gru_model() -> bytes:
    nodes, constants = recurrent("GRU", "x", "y", 4, 3)
    return model(nodes, {"x": ["time", "batch", 4]}, ["y"], constants)


def with_tensor(tensor: TensorProto) -> bytes:
    """A model whose only constant is the tensor."""
    made = onnx.ModelProto.FromString(model([node("Identity", ["k"], ["y"])], {}, ["y"], {"k": np.zeros(1)}))
    tensor.name = "k"
    made.graph.initializer[0].CopyFrom(tensor)
    return bytes(made.SerializeToString())


# ---- numbers ----

VALUES: list[tuple[int, list[Any], Any]] = [
    (TensorProto.FLOAT, [1.5, -2.25], np.float32),
    (TensorProto.DOUBLE, [1.5, -2.25], np.float32),
    (TensorProto.FLOAT16, [1.5, -2.25], np.float32),
    (TensorProto.BFLOAT16, [1.5, -2.25], np.float32),
    (TensorProto.INT64, [2**40, -1], np.int64),
    (TensorProto.INT32, [7, -1], np.int32),
    (TensorProto.INT16, [7, -1], np.int16),
    (TensorProto.INT8, [7, -1], np.int8),
    (TensorProto.UINT8, [7, 255], np.uint8),
    (TensorProto.UINT16, [7, 65535], np.uint16),
    (TensorProto.UINT32, [7, 2**32 - 1], np.uint32),
    (TensorProto.UINT64, [7, 2**64 - 1], np.uint64),
    (TensorProto.BOOL, [1, 0], np.bool_),
]


@pytest.mark.parametrize(("kind", "numbers", "expected"), VALUES, ids=str)
def test_reads_every_number_format(kind: int, numbers: list[Any], expected: Any) -> None:
    typed = helper.make_tensor("k", kind, [2], numbers)
    raw = numpy_helper.from_array(numpy_helper.to_array(typed))
    raw.data_type = kind
    assert raw.raw_data
    assert not typed.raw_data
    for tensor in (typed, raw):
        found = from_onnx.load(with_tensor(tensor)).constants["k"]
        assert found.dtype == expected
        assert found.tolist() == [expected(n) for n in numbers]


def test_rounding_of_float64_is_said() -> None:
    graph = from_onnx.load(with_tensor(numpy_helper.from_array(np.array([0.1]))))
    assert graph.constants["k"][0] == np.float32(0.1)
    assert any("float64" in note for note in graph.notes)


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN, 99])
def test_number_formats_that_do_not_exist_here_are_refused_by_name(kind: int) -> None:
    tensor = TensorProto(data_type=kind, dims=[1])
    with pytest.raises(UnsupportedError) as caught:
        from_onnx.load(with_tensor(tensor))
    assert [p.node for p in caught.value.problems] == ["k"]


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [("value_float", 2.5, np.float32(2.5)), ("value_ints", [3, 4], np.array([3, 4])), ("value_int", 3, np.int64(3)),
     ("value_floats", [1.0, 2.0], np.array([1, 2], np.float32))],
)  # fmt: skip
def test_constant_nodes(attribute: str, value: Any, expected: Any) -> None:
    graph = from_onnx.load(model([node("Constant", [], ["y"], **{attribute: value})], {}, ["y"]))
    assert not graph.nodes
    assert np.array_equal(graph.constants["y"], expected)
    assert graph.constants["y"].dtype == expected.dtype


# ---- external data ----


def external(location: str, **entries: int) -> bytes:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return with_tensor(tensor)


def test_external_data_is_read_next_to_the_model(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\0" * 8 + np.array([1, 2, 3], "<f4").tobytes())
    (tmp_path / "m.onnx").write_bytes(external("data.bin", offset=8, length=12))
    assert from_onnx.load(tmp_path / "m.onnx").constants["k"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("location", ["../secret", "a/../../secret", "", "..\\secret", "link"])
def test_external_data_outside_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 12)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "m.onnx").write_bytes(external(location))
    with pytest.raises(ModelFormatError, match="outside the model's folder"):
        from_onnx.load(folder / "m.onnx")


def test_absolute_external_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\0" * 12)
    (tmp_path / "m.onnx").write_bytes(external(str(tmp_path / "data")))
    with pytest.raises(ModelFormatError, match="outside the model's folder"):
        from_onnx.load(tmp_path / "m.onnx")


@pytest.mark.parametrize("entries", [{"offset": 4}, {"offset": -4}, {"length": 8}])
def test_external_data_of_the_wrong_size_is_refused(entries: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\0" * 12)
    (tmp_path / "m.onnx").write_bytes(external("data", **entries))
    with pytest.raises(ModelFormatError, match="has no 12 bytes"):
        from_onnx.load(tmp_path / "m.onnx")


def test_external_data_needs_a_path() -> None:
    with pytest.raises(ModelFormatError, match="path"):
        from_onnx.load(external("data"))


# ---- damage ----


@pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WAVE", b"\x89PNG\r\n", b"{}", b"\x08\x07", bytes(64)])
def test_what_is_no_onnx_model_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ModelFormatError, match="not an ONNX model"):
        from_onnx.load(data)


def convert(data: bytes) -> None:
    states.lift(simplify.simplify(from_onnx.load(data)))


def test_truncations_and_bit_flips_give_only_our_exceptions() -> None:
    data = gru_model()
    convert(data)
    refused = 0
    for i in range(0, len(data), 2):
        for damaged in (data[:i], bytes([*data[:i], data[i] ^ (1 << (i // 2) % 8), *data[i + 1 :]])):
            try:
                convert(damaged)
            except RnnrtError:
                refused += 1
    assert refused > len(data) // 2  # every truncation at least


def damaged_graphs() -> list[tuple[str, Any]]:
    def edit(change: Any) -> bytes:
        made = onnx.ModelProto.FromString(gru_model())
        change(made)
        return bytes(made.SerializeToString())

    return [
        ("nothing before it produces", edit(lambda m: m.graph.node[0].input.__setitem__(0, "gone"))),
        ("exists already", edit(lambda m: m.graph.node.append(m.graph.node[0]))),
        ("nothing produces the output", edit(lambda m: setattr(m.graph.output[0], "name", "gone"))),
        ("bytes for", edit(lambda m: setattr(m.graph.initializer[0], "raw_data", b"123"))),
        ("impossible dimensions", edit(lambda m: m.graph.initializer[0].dims.__setitem__(0, -1))),
        ("impossible dimensions", edit(lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**40))),
        ("wrong type", edit(lambda m: setattr(m.graph.node[0].attribute[0], "type", onnx.AttributeProto.FLOAT))),
        ("has 0 inputs", edit(lambda m: m.graph.node[0].ClearField("input"))),
        ("appears twice", edit(lambda m: m.graph.initializer.append(m.graph.initializer[0]))),
    ]


@pytest.mark.parametrize(("message", "data"), damaged_graphs(), ids=lambda v: v if isinstance(v, str) else "")
def test_contradictions_are_refused(message: str, data: bytes) -> None:
    with pytest.raises(ModelFormatError, match=message):
        from_onnx.load(data)


def test_nesting_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = helper.make_graph(
        [node("Identity", ["x"], ["i"])], "leaf", [], [helper.make_tensor_value_info("i", 1, None)]
    )
    inner = leaf
    for depth in range(6):
        name = f"y{depth}"
        choice = node("If", ["c"], [name], then_branch=inner, else_branch=leaf)
        inner = helper.make_graph([choice], name, [], [helper.make_tensor_value_info(name, 1, None)])
    data = model(list(inner.node), {"x": [1], "c": [1]}, ["y5"], types={"c": TensorProto.BOOL})
    from_onnx.load(data)
    monkeypatch.setattr(from_onnx, "MAX_DEPTH", 4)
    with pytest.raises(ModelFormatError, match="nested"):
        from_onnx.load(data)


# ---- operator sets ----


@pytest.mark.parametrize("opset", [6, 999])
def test_operator_sets_that_can_not_be_read(opset: int) -> None:
    with pytest.raises(UnsupportedError, match=f"operator set {opset}"):
        from_onnx.load(model([node("Relu", ["x"], ["y"])], {"x": ["T", 3]}, ["y"], opset=opset))


def test_every_problem_is_listed_at_once() -> None:
    data = onnx.ModelProto.FromString(model([node("Identity", ["a"], ["y"])], {"a": [1]}, ["y"], types={"a": 8}))
    data.graph.initializer.add(name="s", data_type=TensorProto.STRING, dims=[1])
    with pytest.raises(UnsupportedError) as caught:
        from_onnx.load(bytes(data.SerializeToString()))
    assert {p.node for p in caught.value.problems} == {"a", "s"}


I64 = np.int64
OLD_AND_NEW: list[tuple[str, list[str], dict[str, Any], dict[str, Any], list[int]]] = [
    ("Squeeze", ["x"], {"axes": [1]}, {}, [11]),
    ("Squeeze", ["x", "k"], {}, {"k": np.array([1], I64)}, [13, 17, 21]),
    ("Unsqueeze", ["x"], {"axes": [0, 2]}, {}, [11]),
    ("Unsqueeze", ["x", "k"], {}, {"k": np.array([0, 2], I64)}, [13, 17]),
    ("ReduceSum", ["x"], {"axes": [2], "keepdims": 0}, {}, [7, 11]),
    ("ReduceSum", ["x", "k"], {"keepdims": 0}, {"k": np.array([2], I64)}, [13, 17]),
    ("ReduceMean", ["x"], {"axes": [-1]}, {}, [11, 17]),
    ("ReduceMean", ["x", "k"], {}, {"k": np.array([-1], I64)}, [18, 20]),
    ("ReduceMax", ["x"], {"axes": [1, 2]}, {}, [8, 13]),
    ("Slice", ["x"], {"axes": [2], "starts": [1], "ends": [3]}, {}, [9]),
    (
        "Slice",
        ["x", "a", "b", "c"],
        {},
        {"a": np.array([1], I64), "b": np.array([3], I64), "c": np.array([2], I64)},
        [13],
    ),
    ("Slice", ["x"], {"starts": [0, 0], "ends": [9999, 1]}, {}, [9]),
    ("Pad", ["x"], {"pads": [0, 0, 1, 0, 0, 2], "value": 3.0}, {}, [10]),
    ("Pad", ["x", "p", "v"], {}, {"p": np.array([0, 0, 1, 0, 0, 2], I64), "v": np.float32(3)}, [11, 13]),
    ("Pad", ["x", "p", "v", "a"], {}, {"p": np.array([1, 2], I64), "v": np.float32(3), "a": np.array([-1], I64)}, [18]),
    ("Clip", ["x"], {"min": -0.5}, {}, [10]),
    ("Clip", ["x", "", "m"], {}, {"m": np.float32(0.25)}, [11, 13]),
    ("Softmax", ["x"], {"axis": 1}, {}, [11]),  # over both last axes
    ("Softmax", ["x"], {}, {}, [11, 13]),
    ("LogSoftmax", ["x"], {"axis": 1}, {}, [7, 13]),
    ("Dropout", ["x"], {"ratio": 0.5}, {}, [7, 10]),
    ("Dropout", ["x", "r"], {}, {"r": np.float32(0.5)}, [13]),
    ("Split", ["x"], {"axis": 2, "split": [1, 4]}, {}, [11]),
    ("Split", ["x", "s"], {"axis": 2}, {"s": np.array([1, 4], I64)}, [13]),
]


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "constants", "opset"),
    [(op, i, a, c, opset) for op, i, a, c, opsets in OLD_AND_NEW for opset in opsets],
)
def test_every_operator_set_means_what_onnxruntime_does(
    op: str, inputs: list[str], attrs: dict[str, Any], constants: dict[str, Any], opset: int
) -> None:
    outputs = ["y", "z"] if op == "Split" else ["y"]
    data = model([node(op, inputs, outputs, **attrs)], {"x": [2, 1, 5]}, outputs, constants, opset=opset)
    graph = simplified(data)
    x = np.random.default_rng(opset).standard_normal((2, 1, 5)).astype(np.float32)
    found, _ = reference.run(graph, {"x": x})
    for name, expected in run_onnxruntime(data, {"x": x}).items():
        assert found[name].shape == expected.shape
        assert np.abs(found[name] - expected).max() < 1e-6


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("opset", [7, 14, 22])
def test_recurrent_operators_of_every_operator_set(op: str, opset: int) -> None:
    nodes, constants = recurrent(op, "x", "y", 4, 3, directions=2, direction="bidirectional")
    data = model(nodes, {"x": ["time", "batch", 4]}, ["y", "y.h"], constants, opset=opset)
    x = weights(5, 2, 4)
    found, _ = reference.run(simplified(data), {"x": x})
    for name, expected in run_onnxruntime(data, {"x": x}).items():
        assert np.abs(found[name] - expected).max() < 1e-6


# ---- branches, functions, names ----


def branch(name: str, nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(output, 1, None)])


def test_branches_are_graphs() -> None:
    then = branch("then", [node("Relu", ["x"], ["a"])], "a")
    other = branch("else", [node("Neg", ["x"], ["a"])], "a")
    data = model([node("If", ["c"], ["y"], then_branch=then, else_branch=other)], {"x": [3], "c": []}, ["y"],
                 types={"c": TensorProto.BOOL})  # fmt: skip
    graph = from_onnx.load(data)
    assert isinstance(graph.nodes[0].attrs["then_branch"], Graph)
    assert [n.op for n in graph.nodes[0].attrs["else_branch"].nodes] == ["Neg"]


def test_model_functions_are_inlined() -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    made = onnx.ModelProto.FromString(model([node("Twice", ["x"], ["y"], domain="mine")], {"x": ["T", 3]}, ["y"]))
    made.opset_import.append(opsets[1])
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    made.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, opsets[:1]))
    assert [n.op for n in from_onnx.load(bytes(made.SerializeToString())).nodes] == ["Add"]


def test_node_names_are_made_unique_and_unknown_attributes_said() -> None:
    twice = [node("Relu", ["x"], ["a"], "same"), node("Relu", ["a"], ["y"], "same", colour="red")]
    graph = from_onnx.load(model(twice, {"x": [3]}, ["y"]))
    assert [n.name for n in graph.nodes] == ["same", "same_1"]
    assert any("colour" in note for note in graph.notes)


def test_declared_dimensions_keep_their_names() -> None:
    graph = from_onnx.load(model([node("Relu", ["x"], ["y"])], {"x": [None, "frames", 3]}, ["y"]))
    assert graph.declared == {"x": ("", "frames", 3)}


def test_inputs_with_a_default_value_are_constants() -> None:
    data = model([node("Add", ["x", "k"], ["y"])], {"x": [3], "k": [3]}, ["y"], {"k": np.ones(3, np.float32)})
    graph = from_onnx.load(data)
    assert [v.name for v in graph.inputs] == ["x"]
    assert "k" in graph.constants


def test_importing_the_converters_imports_no_onnx() -> None:
    import subprocess
    import sys

    code = "import sys, rnnrt.converters, rnnrt.converters.simplify, rnnrt.converters.states\n"
    code += "assert not {'onnx', 'torch'} & sys.modules.keys(), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
