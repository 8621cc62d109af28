"""State variables: what a graph carries is found, zero states become state, looking ahead is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from rnnrt.converters import causality, reference, states, support
from rnnrt.converters.ir import Graph, Sym

from onnx_graphs import Array, feeds, model, node, recurrent, run_onnxruntime, simplified, weights
from rnnrt.errors import UnsupportedError

T, B = Sym.TIME, Sym.BATCH
I64 = np.int64
X: dict[str, list[int | str | None]] = {"x": ["batch", "time", 4]}
TBX: dict[str, list[int | str | None]] = {"x": ["time", "batch", 4]}
OPS = ["RNN", "GRU", "LSTM"]


def lifted(data: bytes, pairs: Any = None, **options: Any) -> Graph:
    graph = states.lift(simplified(data, **options), pairs)
    assert not support.check(graph)
    return graph


def run_in_chunks(graph: Graph, given: dict[str, Array], sizes: list[int]) -> dict[str, Array]:
    """Outputs over time, joined."""
    carried, at, parts = None, 0, []
    for size in sizes:
        piece = {}
        for value in graph.inputs:
            assert value.shape is not None
            axis = value.shape.index(T)
            piece[value.name] = np.take(given[value.name], range(at, at + size), axis)
        outputs, carried = reference.run(graph, piece, carried)
        parts.append(outputs)
        at += size
    joined = {}
    for value in graph.outputs:
        assert value.shape is not None
        pieces = [p[value.name] for p in parts]
        joined[value.name] = np.concatenate(pieces, value.shape.index(T)) if T in value.shape else pieces[-1]
    return joined


def assert_chunked_is_whole(graph: Graph, time: int = 9, batch: int = 2) -> None:
    assert graph.streamable, graph.not_streamable_because
    given = feeds(graph, time, batch)
    whole, _ = reference.run(graph, given)
    for sizes in ([1] * time, [2, 3, time - 5]):
        for name, value in run_in_chunks(graph, given, sizes).items():
            assert np.abs(value - whole[name]).max() < 1e-12, (name, sizes)


# ---- zero states ----


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("layout", [0, 1])
def test_zero_initial_states_become_state(op: str, layout: int) -> None:
    nodes, constants = recurrent(op, "x", "y", 4, 3, layout=layout)
    data = model(nodes, X if layout else TBX, ["y"], constants)
    graph = lifted(data) if layout == 0 else _lift_layout_one(op)
    suffixes = ["h", "c"] if op == "LSTM" else ["h"]
    assert [s.name for s in graph.states] == [f"y.{s}" for s in suffixes]
    assert all(s.init is None and s.source for s in graph.states)
    shape = (B, 1, 3) if graph.nodes[0].attrs["layout"] else (1, B, 3)
    assert [graph.values[s.input].shape for s in graph.states] == [shape] * len(suffixes)
    assert [v.name for v in graph.inputs] == ["x"]
    assert_chunked_is_whole(graph)


def _lift_layout_one(op: str) -> Graph:
    """onnxruntime has no layout 1; the reference has."""
    nodes, constants = recurrent(op, "x", "y", 4, 3, layout=1)
    return lifted(model(nodes, X, ["y"], constants))


@pytest.mark.parametrize("op", OPS)
def test_final_states_that_are_outputs_stay_outputs(op: str) -> None:
    nodes, constants = recurrent(op, "x", "y", 4, 3)
    graph = lifted(model(nodes, TBX, ["y", "y.h"], constants))
    assert [v.name for v in graph.outputs] == ["y", "y.h"]
    assert graph.states[0].output == "y.h"
    assert any("'y.h' has no time dimension" in note for note in graph.notes)
    assert_chunked_is_whole(graph)


def test_stacked_layers_have_a_state_each() -> None:
    first, constants = recurrent("GRU", "x", "a", 4, 3)
    second, more = recurrent("LSTM", "b", "y", 3, 5)
    constants |= {**more, "one": np.array([1], I64)}
    graph = lifted(model([*first, node("Squeeze", ["a", "one"], ["b"]), *second], TBX, ["y"], constants))
    assert [s.name for s in graph.states] == ["a.h", "y.h", "y.c"]
    assert_chunked_is_whole(graph)


def test_constant_initial_states_are_the_states_beginning() -> None:
    start = weights(1, 2, 3, seed=7)
    nodes, constants = recurrent("GRU", "x", "y", 4, 3, tail=["", "h0"])
    data = model(nodes, {"x": ["time", 2, 4]}, ["y"], {**constants, "h0": start})
    graph = lifted(data)
    assert graph.states[0].init is not None
    assert np.array_equal(graph.states[0].init, start)
    given = feeds(graph, 5, 2)
    assert np.abs(reference.run(graph, given)[0]["y"] - run_onnxruntime(data, given)["y"]).max() < 1e-6
    assert_chunked_is_whole(graph)


def test_a_learned_initial_state_expanded_to_the_batch() -> None:
    nodes, constants = recurrent("GRU", "x", "y", 4, 3, tail=["", "h0"])
    constants |= {"start": weights(1, 1, 3), "k1": np.array([1], I64), "k3": np.array([3], I64)}
    before = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "k1"], ["b"]),
        node("Concat", ["k1", "b", "k3"], ["shape"], axis=0),
        node("Expand", ["start", "shape"], ["h0"]),
    ]
    data = model([*before, *nodes], TBX, ["y"], constants)
    graph = lifted(data)
    assert [n.op for n in graph.nodes] == ["GRU"]
    assert graph.states[0].init is not None
    given = feeds(graph, 5, 2)
    assert np.abs(reference.run(graph, given)[0]["y"] - run_onnxruntime(data, given)["y"]).max() < 1e-6
    assert_chunked_is_whole(graph)


def test_recurrence_over_another_axis_than_time_is_no_state() -> None:
    """Time is the batch axis of the recurrence, as in dual-path networks."""
    nodes, constants = recurrent("GRU", "x", "y", 4, 3, directions=2, direction="bidirectional")
    graph = lifted(model(nodes, {"x": [6, "time", 4]}, ["y"], constants))
    assert not graph.states
    assert_chunked_is_whole(graph)


def test_a_window_of_fixed_length_is_evaluated_anew_every_time() -> None:
    nodes, constants = recurrent("GRU", "x", "y", 4, 3, directions=2, direction="bidirectional")
    graph = lifted(model(nodes, {"x": [6, "batch", 4]}, ["y"], constants))
    assert graph.streamable
    assert not graph.states


# ---- explicit pairs ----


def lstm_with_states(packed: bool) -> bytes:
    """h and c in and out, separately or packed into one tensor [2, B, 3]."""
    nodes, constants = recurrent("LSTM", "x", "y", 4, 3, tail=["", "h", "c"])
    if not packed:
        return model(nodes, {**TBX, "h": [1, "batch", 3], "c": [1, "batch", 3]}, ["y", "y.h", "y.c"], constants)
    constants |= {"i0": np.array(0, I64), "i1": np.array(1, I64), "axis": np.array([0], I64),
                  "s1": np.array([1], I64), "s2": np.array([2], I64)}  # fmt: skip
    before = [
        node("Gather", ["state", "i0"], ["h2"], axis=0),
        node("Unsqueeze", ["h2", "axis"], ["h"]),
        node("Slice", ["state", "s1", "s2", "axis"], ["c"]),
    ]
    after = [node("Concat", ["y.h", "y.c"], ["new"], axis=0)]
    return model([*before, *nodes, *after], {**TBX, "state": [2, "batch", 3]}, ["y", "new"], constants)


@pytest.mark.parametrize("given", [None, {"h": "y.h", "c": "y.c"}, [("c", "y.c"), ("h", "y.h")], [("h", "y.h")]])
def test_pairs_are_found_or_given(given: Any) -> None:
    graph = lifted(lstm_with_states(packed=False), given)
    assert {(s.name, s.input, s.output) for s in graph.states} == {("h", "h", "y.h"), ("c", "c", "y.c")}
    assert [v.name for v in graph.inputs] == ["x"]
    assert [v.name for v in graph.outputs] == ["y"]
    assert_chunked_is_whole(graph)


def test_found_pairs_are_said() -> None:
    notes = lifted(lstm_with_states(packed=False)).notes
    assert any("'h'" in n and "'y.h'" in n for n in notes)


def test_packed_states_are_one_variable() -> None:
    graph = lifted(lstm_with_states(packed=True))
    assert [(s.name, s.output) for s in graph.states] == [("state", "new")]
    assert graph.values["state"].shape == (2, B, 3)
    assert_chunked_is_whole(graph)


@pytest.mark.parametrize("order", [[("h", "y.c"), ("c", "y.h")]])
def test_states_that_are_swapped_on_the_way_are_no_states(order: list[tuple[str, str]]) -> None:
    """h' = c and c' = h would be carried in the original, too, but chunked would not be whole."""
    with pytest.raises(UnsupportedError) as caught:
        lifted(lstm_with_states(packed=False), order)
    assert {p.node for p in caught.value.problems} == {"h", "c"}


def test_a_packed_state_that_comes_back_in_another_order_is_not_taken() -> None:
    made = onnx.ModelProto.FromString(lstm_with_states(packed=True))
    concat = next(n for n in made.graph.node if n.op_type == "Concat")
    concat.input[:] = ["y.c", "y.h"]
    graph = lifted(bytes(made.SerializeToString()))
    assert not graph.states
    assert not graph.streamable
    assert "'y'" in graph.not_streamable_because


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ({"q": "y.h"}, "no such input"),
        ({"h": "q"}, "no such output"),
        ({"h": "y"}, "has shape"),
        ({"x": "y"}, "has shape"),
        ([("h", "y.h"), ("h", "y.c")], "is in two pairs"),
        ([("h", "y.h"), ("c", "y.h")], "is in two pairs"),
    ],
)
def test_pairs_that_do_not_fit_are_problems(pairs: Any, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason) as caught:
        lifted(lstm_with_states(packed=False), pairs)
    assert caught.value.problems


def test_a_state_that_is_used_elsewhere_is_not_taken() -> None:
    nodes, constants = recurrent("GRU", "x", "r", 4, 3, tail=["", "h"])
    nodes = [*nodes, node("Add", ["r", "h"], ["y"])]
    graph = lifted(model(nodes, {**TBX, "h": [1, "batch", 3]}, ["y", "r.h"], constants))
    assert not graph.states
    assert not graph.streamable
    assert {v.name for v in graph.inputs} == {"x", "h"}


def step_model(state: str, new: str) -> bytes:
    """One step of a hand-written recurrence, without time: s' = tanh(x W + s R)."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", [state, "r"], ["b"]),
        node("Add", ["a", "b"], ["sum"]),
        node("Tanh", ["sum"], [new]),
        node("Neg", [new], ["y"]),
    ]
    return model(nodes, {"x": ["batch", 4], state: ["batch", 3]}, ["y", new], {"w": weights(4, 3), "r": weights(3, 3)})


@pytest.mark.parametrize(
    ("state", "new"), [("state", "stateN"), ("h", "hn"), ("h_in", "h_out"), ("s0", "sn"), ("c", "new_c")]
)
def test_states_of_a_single_step_are_found_by_name(state: str, new: str) -> None:
    data = step_model(state, new)
    graph = lifted(data)
    assert [(s.name, s.output) for s in graph.states] == [(state, new)]
    assert graph.streamable
    carried, expected = None, np.zeros((2, 3), np.float32)
    for i in range(4):
        x = weights(2, 4, seed=i)
        outputs, carried = reference.run(graph, {"x": x}, carried)
        want = run_onnxruntime(data, {"x": x, state: expected})
        expected = want[new]
        assert np.abs(outputs["y"] - want["y"]).max() < 1e-6


def test_other_names_need_a_pair() -> None:
    assert not lifted(step_model("first", "second")).states
    assert [s.name for s in lifted(step_model("first", "second"), {"first": "second"}).states] == ["first"]


# ---- looking ahead ----

Case = tuple[str, list[onnx.NodeProto], dict[str, Any], str, str]
CONV = {"w": weights(4, 4, 3)}
TO_CHANNELS = node("Transpose", ["x"], ["t"], perm=[0, 2, 1])
K = {"i0": np.array([0], I64), "i1": np.array([1], I64), "i3": np.array([3], I64), "imax": np.array([2**40], I64)}
LOOKS_AHEAD: list[Case] = [
    ("padding", [TO_CHANNELS, node("Conv", ["t", "w"], ["y"], "culprit", pads=[1, 1])], CONV, "culprit", "kernel of 3"),
    ("mean", [node("ReduceMean", ["x"], ["m"], "culprit", axes=[1]), node("Sub", ["x", "m"], ["y"])], {},
     "culprit", "time"),
    ("softmax", [node("Softmax", ["x"], ["y"], "culprit", axis=1)], {}, "culprit", "time"),
    ("attention", [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("MatMul", ["t", "x"], ["y"], "culprit")], {},
     "culprit", "sums over time"),
    ("outer", [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("MatMul", ["x", "t"], ["a"], "culprit"),
               node("MatMul", ["a", "x"], ["y"])], {}, "culprit", "relates every frame"),
    ("first", [node("Slice", ["x", "i0", "i1", "i1"], ["f"], "culprit"), node("Sub", ["x", "f"], ["y"])], K,
     "culprit", "by number"),
    ("gather", [node("Gather", ["x", "i0"], ["f"], "culprit", axis=1), node("Sub", ["x", "f"], ["y"])], K,
     "culprit", "by number"),
    ("last", [node("Slice", ["x", "im", "imax", "i1"], ["f"]), node("Sub", ["x", "f"], ["y"], "culprit")],
     {**K, "im": np.array([-1], I64)}, "culprit", "last frame"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "nodes", "constants", "culprit", "reason"), LOOKS_AHEAD, ids=lambda v: "")
def test_looking_ahead_is_named(
    name: str, nodes: list[onnx.NodeProto], constants: dict[str, Any], culprit: str, reason: str
) -> None:
    """With a GRU in front: its zero state is not lifted either."""
    made, own = recurrent("GRU", "g", "r", 4, 4)
    squeeze = [node("Squeeze", ["r", "one"], ["q"]), node("Transpose", ["q"], ["z"], perm=[1, 0, 2])]
    front = [node("Transpose", ["x0"], ["g"], perm=[1, 0, 2]), *made, *squeeze]
    renamed = []
    for n in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(n)
        copy.input[:] = ["z" if i == "x" else i for i in n.input]
        renamed.append(copy)
    constants = {**constants, **own, "one": np.array([1], I64)}
    graph = lifted(model([*front, *renamed], {"x0": ["batch", "time", 4]}, ["y"], constants))
    assert not graph.streamable
    assert f"'{culprit}'" in graph.not_streamable_because
    assert reason in graph.not_streamable_because
    assert not graph.states


@pytest.mark.parametrize(("direction", "reason"), [("reverse", "backwards"), ("bidirectional", "both directions")])
@pytest.mark.parametrize("op", OPS)
def test_backward_recurrences_look_ahead(op: str, direction: str, reason: str) -> None:
    nodes, constants = recurrent(op, "x", "y", 4, 3, 2 if direction == "bidirectional" else 1, direction=direction)
    graph = lifted(model(nodes, TBX, ["y"], constants))
    assert not graph.streamable
    assert graph.not_streamable_because.startswith(f"{op} 'y'")
    assert reason in graph.not_streamable_because
    assert not graph.states


def test_sequence_lengths_look_ahead() -> None:
    nodes, constants = recurrent("GRU", "x", "y", 4, 3, tail=["lengths"])
    data = model(nodes, {**TBX, "lengths": ["batch"]}, ["y"], constants, types={"lengths": TensorProto.INT32})
    graph = lifted(data)
    assert not graph.streamable
    assert "'lengths'" in graph.not_streamable_because


def test_joining_along_time_looks_ahead() -> None:
    nodes = [node("Concat", ["x", "x"], ["a"], "culprit", axis=1), node("ReduceMax", ["a"], ["y"], axes=[1])]
    graph = lifted(model(nodes, {"x": [1, "time", 4]}, ["y"], {"k": weights(1, 2, 4)}))
    assert "'culprit'" in graph.not_streamable_because


def test_sizes_that_are_no_symbol_look_ahead() -> None:
    nodes = [TO_CHANNELS, node("Conv", ["t", "w"], ["c"], "culprit", strides=[2], pads=[1, 1])]
    nodes.append(node("GlobalMaxPool", ["c"], ["y"]))
    graph = lifted(model(nodes, X, ["y"], CONV))
    assert "'culprit'" in graph.not_streamable_because


def test_mixing_time_with_another_dimension_looks_ahead() -> None:
    """[1, T, 4] -> [4, T]: element order kept, frames torn apart."""
    constants = {"shape": np.array([4, -1], I64)}
    graph = lifted(model([node("Reshape", ["x", "shape"], ["y"], "culprit")], {"x": [1, "time", 4]}, ["y"], constants))
    assert "'culprit'" in graph.not_streamable_because
    assert "mixes time" in graph.not_streamable_because


CAUSAL: list[tuple[str, list[onnx.NodeProto], dict[str, Any]]] = [
    ("elementwise", [node("Mul", ["x", "k"], ["a"]), node("Exp", ["a"], ["y"])], {"k": weights(4)}),
    ("gemm", [node("MatMul", ["x", "w"], ["y"])], {"w": weights(4, 3)}),
    ("features", [node("Softmax", ["x"], ["a"], axis=2), node("ReduceMean", ["a"], ["y"], axes=[2])], {}),
    ("norm", [node("LayerNormalization", ["x", "s"], ["y"])], {"s": weights(4)}),
    ("pointwise", [TO_CHANNELS, node("Conv", ["t", "w"], ["y"])], {"w": weights(6, 4, 1)}),
    ("heads", [node("Reshape", ["x", "shape"], ["y"])], {"shape": np.array([0, 0, 2, 2], I64)}),
    ("joined", [node("Concat", ["x", "x"], ["a"], axis=2), node("Slice", ["a", "i1", "i3", "i2"], ["y"])],
     {"i1": np.array([1], I64), "i2": np.array([2], I64), "i3": np.array([3], I64)}),
    ("last", [node("Gather", ["x", "im"], ["y"], axis=1)], {"im": np.array(-1, I64)}),
    ("padded features", [node("Pad", ["x", "p"], ["y"])], {"p": np.array([0, 0, 1, 0, 0, 1], I64)}),
    ("framewise kernel", [node("Reshape", ["x", "f"], ["a"]), node("Conv", ["a", "w"], ["y"], pads=[1, 1])],
     {"f": np.array([-1, 1, 4], I64), "w": weights(2, 1, 3)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "nodes", "constants"), CAUSAL)
def test_what_stays_within_a_frame_streams(name: str, nodes: list[onnx.NodeProto], constants: dict[str, Any]) -> None:
    inputs: dict[str, Any] = {"x": [1, "time", 4]} if name == "framewise kernel" else X
    assert_chunked_is_whole(lifted(model(nodes, inputs, ["y"], constants)), batch=2)


def test_the_causality_rules_are_right_about_random_graphs() -> None:
    """Whatever they call causal: changing frames from 4 on changes nothing before 4."""
    random = np.random.default_rng(5)
    causal = 0
    for seed in range(60):
        nodes, value = [], "x"
        for k in range(int(random.integers(1, 5))):
            op = ["Softmax", "ReduceMax", "Transpose", "Relu", "Sub"][int(random.integers(5))]
            made = f"v{k}"
            if op == "Softmax":
                nodes.append(node(op, [value], [made], axis=int(random.integers(3))))
            elif op == "ReduceMax":
                nodes.append(node(op, [value], [f"m{k}"], axes=[int(random.integers(3))]))
                nodes.append(node("Sub", [value, f"m{k}"], [made]))
            elif op == "Transpose":
                nodes.append(node(op, [value], [made], perm=[int(p) for p in random.permutation(3)]))
            else:
                nodes.append(node(op, [value, value][: 1 if op == "Relu" else 2], [made]))
            value = made
        graph = lifted(model(nodes, {"x": ["time", 3, 4]}, [value]))
        if not graph.streamable:
            continue
        causal += 1
        x = np.random.default_rng(seed).standard_normal((8, 3, 4)).astype(np.float32)
        changed = x.copy()
        changed[4:] += 1
        shape = graph.outputs[0].shape
        assert shape is not None
        first, second = (np.moveaxis(reference.run(graph, {"x": v})[0][value], shape.index(T), 0) for v in (x, changed))
        assert np.array_equal(first[:4], second[:4]), seed
    assert 10 <= causal <= 55


# ---- real models ----


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("nsnet2-20ms-baseline.onnx", {}, {"GRU_14.h": (B, 1, 400), "GRU_20.h": (B, 1, 400)}),
        ("silero_vad_16k_sequence.onnx", {}, {"h": (1, 1, 128), "c": (1, 1, 128)}),
        (
            "silero_vad_16k_op15.onnx",
            {"set_values": {"sr": 16000}, "shapes": {"input": (1, 576)}},
            {"state": (2, 1, 128)},
        ),
    ],
)
def test_states_of_real_models(name: str, options: dict[str, Any], expected: dict[str, Any], models_dir: Path) -> None:
    data = (models_dir / name).read_bytes()
    graph = lifted(data, **options)
    assert {s.name: graph.values[s.input].shape for s in graph.states} == expected
    assert graph.streamable
    assert not causality.obstacle(graph)
    if graph.has_time():
        assert_chunked_is_whole(graph, time=8, batch=1)


def test_the_simplified_graph_is_not_changed() -> None:
    nodes, constants = recurrent("GRU", "x", "y", 4, 3)
    simple = simplified(model(nodes, TBX, ["y"], constants))
    before = repr([(n.op, n.inputs, n.outputs) for n in simple.nodes])
    states.lift(simple)
    assert repr([(n.op, n.inputs, n.outputs) for n in simple.nodes]) == before
    assert not simple.states
