"""Graphs to records: matrix layouts, row orders, attributes, and what is refused."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rnnrt.converters import ir, layout, operators, pack, quantize, read, reference, write

import rnnrt
from rnnrt import UnsupportedError

Array = npt.NDArray[Any]
F32 = np.dtype(np.float32)
I32 = np.dtype(np.int32)
T, B = ir.Sym.TIME, ir.Sym.BATCH


def normal(*shape: int, seed: int = 3) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def one_node(
    node: ir.Node, constants: dict[str, Array] | None = None, shape: ir.Shape = (T, B, 5), out: ir.Shape = (T, B, 5)
) -> ir.Graph:
    """A graph of one node that reads x and makes y."""
    return ir.Graph(
        inputs=[ir.Value("x", F32, shape)], outputs=[ir.Value("y", F32, out)], nodes=[node], constants=constants or {}
    )


def packed(graph: ir.Graph, mode: str = "float") -> pack.PackedModel:
    return pack.pack(graph, quantize.plan(graph, mode, everything=True))


def constant(model: pack.PackedModel, name: str) -> pack.PackedValue:
    return next(v for v in model.values if v.name == name and v.kind == pack.CONST)


# ---- layouts ----


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (16, 4), (17, 5), (31, 3), (48, 8), (5, 130)])
def test_r16c1_element_by_element(rows: int, cols: int) -> None:
    w = normal(rows, cols)
    flat = np.frombuffer(layout.pack_r16c1(w), "<f4")
    assert flat.size == layout.padded(rows, 16) * cols
    for r, c in product(range(rows), range(cols)):
        assert flat[r // 16 * cols * 16 + c * 16 + r % 16] == w[r, c]
    assert np.count_nonzero(flat) == np.count_nonzero(w)
    np.testing.assert_array_equal(layout.unpack_r16c1(flat.tobytes(), rows, cols), w)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (16, 4), (17, 5), (31, 3), (48, 8), (5, 130)])
def test_r16c4_element_by_element(rows: int, cols: int) -> None:
    q, scale = quantize.quantize_rows(normal(rows, cols))
    data = layout.pack_r16c4(q, scale)
    high, wide = layout.padded(rows, 16), layout.padded(cols, 4)
    assert len(data) == high * 8 + high * wide
    np.testing.assert_array_equal(np.frombuffer(data, "<f4", rows), scale)
    np.testing.assert_array_equal(np.frombuffer(data, "<i4", rows, high * 4), q.sum(axis=1, dtype=np.int32))
    w = np.frombuffer(data, np.int8, offset=high * 8)
    for r, c in product(range(rows), range(cols)):
        assert w[r // 16 * wide * 16 + c // 4 * 64 + r % 16 * 4 + c % 4] == q[r, c]
    assert np.count_nonzero(w) == np.count_nonzero(q)
    for got, want in zip(layout.unpack_r16c4(data, rows, cols), (q, scale, q.sum(axis=1)), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("directions", "gates", "hidden"), [(1, 1, 16), (1, 3, 20), (2, 4, 33), (2, 3, 5)])
def test_gate_order_row_by_row(directions: int, gates: int, hidden: int) -> None:
    w = normal(directions, gates, hidden, 3)
    rows = layout.interleave_gates(w)
    padded = layout.padded(hidden, 16)
    assert rows.shape == (directions * gates * padded, 3)
    for d, g, u in product(range(directions), range(gates), range(hidden)):
        at = d * gates * padded + u // 16 * gates * 16 + g * 16 + u % 16
        np.testing.assert_array_equal(rows[at], w[d, g, u])
    assert np.count_nonzero(rows.any(axis=1)) == directions * gates * hidden


def test_gate_order_of_a_gru_that_resets_before() -> None:
    hidden, padded = 20, 32
    w = normal(2, 3, hidden, 4)
    rows = layout.interleave_gates_reset_first(w)
    assert rows.shape == (2 * 3 * padded, 4)
    for d, u in product(range(2), range(hidden)):
        start = d * 3 * padded
        for g in range(2):
            np.testing.assert_array_equal(rows[start + u // 16 * 32 + g * 16 + u % 16], w[d, g, u])
        np.testing.assert_array_equal(rows[start + 2 * padded + u], w[d, 2, u])


# ---- recurrent layers ----


def recurrent(op: str, directions: int = 1, **attrs: Any) -> ir.Graph:
    gates, hidden = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 20
    constants = {
        "W": normal(directions, gates * hidden, 5),
        "R": normal(directions, gates * hidden, hidden),
        "B": normal(directions, 2 * gates * hidden),
    }
    direction = "bidirectional" if directions == 2 else "forward"
    node = ir.Node(op, "cell", ["x", "W", "R", "B"], ["y"], {"hidden_size": hidden, "direction": direction, **attrs})
    return one_node(node, constants, out=(T, directions, B, hidden))


@pytest.mark.parametrize(("op", "lbr"), [("RNN", 0), ("GRU", 0), ("GRU", 1), ("LSTM", 0)])
@pytest.mark.parametrize("directions", [1, 2])
def test_biases_are_merged(op: str, lbr: int, directions: int) -> None:
    graph = recurrent(op, directions, linear_before_reset=lbr)
    model = packed(graph)
    node = model.nodes[0]
    gates, hidden = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 20
    wb, rb = graph.constants["B"].astype(np.float64).reshape(directions, 2, gates, hidden).swapaxes(0, 1)
    both = wb + rb
    assert len(node.inputs) == (5 if lbr else 4)
    if lbr:
        both[:, 2] = wb[:, 2]
        kept = np.zeros_like(rb)
        kept[:, 2] = rb[:, 2]
        found = np.frombuffer(constant(model, "cell.BR").data or b"", "<f4")
        np.testing.assert_array_equal(found, layout.interleave_gates(kept).astype(np.float32))
    found = np.frombuffer(constant(model, "cell.BW").data or b"", "<f4")
    np.testing.assert_array_equal(found, layout.interleave_gates(both).astype(np.float32))


def test_recurrent_attributes_in_file_order() -> None:
    graph = recurrent(
        "GRU",
        2,
        linear_before_reset=1,
        clip=0.5,
        activations=["HardSigmoid", "LeakyRelu"] * 2,
        activation_alpha=[0.3, 0.1],
    )
    node = packed(graph).nodes[0]
    hard, leaky = 7, 4
    assert node.ints == [20, 2, 0, 1, 0, 1, hard, leaky, hard, leaky]
    # 0.3 and 0.1 go to the first two functions that have an alpha, the others take the defaults 0.2 and 0.01
    assert node.floats == [0.5, 0.3, 0.5, 0.1, 0.0, 0.2, 0.5, 0.01, 0.0]
    plain = packed(recurrent("LSTM")).nodes[0]
    assert plain.ints == [20, 0, 0, 0, 0, 0, 1, 2, 2]
    assert plain.floats == [0.0] * 7


def test_peepholes_and_zero_initial_state() -> None:
    graph = recurrent("LSTM")
    graph.constants |= {"P": normal(1, 60), "h0": np.zeros((1, 1, 20), np.float32)}
    graph.nodes[0].inputs += ["", "h0", "", "P"]
    model = packed(graph)
    assert model.nodes[0].inputs[4:8] == [pack.NONE] * 4
    found = np.frombuffer(constant(model, "cell.P").data or b"", "<f4").reshape(3, 32)
    np.testing.assert_array_equal(found[:, :20], graph.constants["P"].reshape(3, 20))
    assert not found[:, 20:].any()


# ---- other operators ----


def test_gemm_conv_matrices_and_activations() -> None:
    w, b = normal(5, 7), normal(7)
    gemm = one_node(
        ir.Node("Gemm", "g", ["x", "w", "b"], ["y"], {"activation": "LeakyRelu", "activation_alpha": 0.3}),
        {"w": w, "b": b},
    )
    model = packed(gemm)
    assert model.nodes[0].ints == [operators.UNARY["LeakyRelu"]]
    assert model.nodes[0].floats == [0.3, 0.0]
    data = constant(model, "w")
    assert data.dims == (7, 5)
    np.testing.assert_array_equal(layout.unpack_r16c1(data.data or b"", 7, 5), w.T)
    w = normal(4, 2, 3)
    attrs = {"kernel_shape": [3], "pads": [2, 1], "strides": [2], "dilations": [3], "group": 2, "channels_last": 1}
    conv = one_node(ir.Node("Conv", "c", ["x", "w"], ["y"], attrs), {"w": w}, (B, T, 4), (B, T, 4))
    model = packed(conv)
    assert model.nodes[0].ints == [1, 3, 1, 2, 1, 3, 0, 2, 0, 1, 2, 0, -1]
    last = w.transpose(0, 2, 1).reshape(4, 6)  # columns in the order [kernel][channel]
    np.testing.assert_array_equal(layout.unpack_r16c1(constant(model, "w").data or b"", 4, 6), last)


def test_depthwise_conv_is_stored_tap_by_tap() -> None:
    w = normal(4, 1, 3)
    attrs = {"kernel_shape": [3], "pads": [1, 1], "strides": [1], "dilations": [1], "group": 4, "channels_last": 1}
    model = packed(one_node(ir.Node("Conv", "c", ["x", "w"], ["y"], attrs), {"w": w}, (B, T, 4), (B, T, 4)))
    stored = constant(model, "w.taps")
    assert (stored.layout, stored.dims) == (pack.PLAIN, (3, 4))
    np.testing.assert_array_equal(np.frombuffer(stored.data or b"", "<f4").reshape(3, 4), w[:, 0].T)


SIMPLE: list[tuple[ir.Node, list[int], list[float]]] = [
    (ir.Node("LeakyRelu", "n", ["x"], ["y"]), [], [0.01, 0.0]),
    (ir.Node("Clip", "n", ["x"], ["y"], {"min": -1.0, "max": 2.0}), [], [-1.0, 2.0]),
    (ir.Node("Clip", "n", ["x"], ["y"], {"max": 2.0}), [], [-np.inf, 2.0]),
    (ir.Node("Tanh", "n", ["x"], ["y"]), [], [0.0, 0.0]),
    (ir.Node("Softmax", "n", ["x"], ["y"]), [-1], []),
    (ir.Node("ReduceMean", "n", ["x"], ["y"], {"axes": [1, 2], "keepdims": 0}), [0, 1, 2], []),
    (ir.Node("ReduceSum", "n", ["x"], ["y"]), [1], []),
    (ir.Node("Reshape", "n", ["x"], ["y"], {"shape": [int(T), 0, -1]}), [-2, 0, -1], []),
    (ir.Node("Squeeze", "n", ["x"], ["y"]), [], []),
    (ir.Node("Unsqueeze", "n", ["x"], ["y"], {"axes": [0]}), [0], []),
    (ir.Node("Transpose", "n", ["x"], ["y"], {"perm": [1, 0, 2]}), [1, 0, 2], []),
    (ir.Node("Slice", "n", ["x"], ["y"], {"starts": [1], "ends": [2**63 - 1], "axes": [2]}), [2, 1, 2**31 - 1, 1], []),
    (
        ir.Node("Slice", "n", ["x"], ["y"], {"starts": [-1], "ends": [-(2**63)], "steps": [-1]}),
        [0, -1, -(2**31), -1],
        [],
    ),
    (ir.Node("Concat", "n", ["x", "x"], ["y"], {"axis": 2}), [2], []),
    (ir.Node("Pad", "n", ["x"], ["y"], {"pads": [0, 0, 1, 0, 0, 2], "mode": "edge"}), [2, 0, 0, 1, 0, 0, 2], [0.0]),
    (ir.Node("Pad", "n", ["x"], ["y"], {"pads": [0] * 6, "value": np.float32(3)}), [0] * 7, [3.0]),
    (ir.Node("Expand", "n", ["x"], ["y"], {"shape": [2, 1, 1]}), [2, 1, 1], []),
]


@pytest.mark.parametrize(("node", "ints", "floats"), SIMPLE, ids=lambda v: v.op if isinstance(v, ir.Node) else "")
def test_attributes(node: ir.Node, ints: list[int], floats: list[float]) -> None:
    found = packed(one_node(node)).nodes[0]
    assert found.ints == ints
    assert found.floats == pytest.approx(floats)


def test_gather_indices_are_i32() -> None:
    graph = one_node(ir.Node("Gather", "n", ["x", "i"], ["y"], {"axis": 2}), {"i": np.array([0, -1], np.int64)})
    value = constant(packed(graph), "i")
    assert value.dtype == pack.I32
    assert value.data == np.array([0, -1], "<i4").tobytes()


# ---- values ----


def test_values_come_in_the_graphs_order() -> None:
    graph = ir.Graph(
        inputs=[ir.Value("b", F32, (B, 2)), ir.Value("a", F32, (B, 2))],
        outputs=[ir.Value("z", F32, (B, 2)), ir.Value("y", F32, (B, 2))],
        nodes=[ir.Node("Add", "", ["a", "h"], ["y"]), ir.Node("Add", "", ["b", "y"], ["z"])],
        states=[ir.State("memory", "h", "z")],
        values={"h": ir.Value("h", F32, (B, 2))},
    )
    model = packed(graph)
    assert [v.name for v in model.values if v.kind == pack.INPUT] == ["b", "a"]
    assert [v.name for v in model.values if v.is_output] == ["z", "y"]
    state = next(v for v in model.values if v.kind == pack.STATE)
    assert (state.name, state.dims, model.values[state.pair].name) == ("memory", (-3, 2), "z")


def test_identities_vanish_and_aliases_are_copied() -> None:
    """An output that is an input, an output twice, a state that becomes another state."""
    shape = (B, 2)
    graph = ir.Graph(
        inputs=[ir.Value("x", F32, shape)],
        outputs=[ir.Value(n, F32, shape) for n in ("same", "y", "again")],
        nodes=[
            ir.Node("Identity", "", ["x"], ["same"]),
            ir.Node("Relu", "", ["x"], ["r"]),
            ir.Node("Identity", "", ["r"], ["y"]),
            ir.Node("Dropout", "", ["r"], ["again"]),
        ],
        states=[ir.State("first", "h1", "h2"), ir.State("second", "h2", "x")],
        values={n: ir.Value(n, F32, shape) for n in ("h1", "h2")},
    )
    model = packed(graph)
    assert [n.op for n in model.nodes] == ["Relu", "Concat", "Concat", "Concat"]
    assert [v.name for v in model.values if v.is_output] == ["same", "y", "again"]
    for state in (v for v in model.values if v.kind == pack.STATE):
        assert model.values[state.pair].kind in (pack.TEMP, pack.INPUT)


def test_initial_state_values() -> None:
    graph = one_node(ir.Node("Add", "", ["x", "h"], ["y"]), shape=(1, 5), out=(1, 5))
    graph.states = [ir.State("h", "h", "y", np.arange(5, dtype=np.float32)[None])]
    model = packed(graph)
    state = next(v for v in model.values if v.kind == pack.STATE)
    assert model.values[state.init].data == np.arange(5, dtype="<f4").tobytes()


def test_an_initial_state_is_repeated_over_the_batch() -> None:
    """[2, B, 3] from a constant [2, 1, 3]: the first frame's output is x plus it."""
    start = np.arange(1, 7, dtype=np.float32).reshape(2, 1, 3)
    graph = one_node(ir.Node("Add", "", ["x", "h"], ["y"]), shape=(2, B, 3), out=(2, B, 3))
    graph.states = [ir.State("h", "h", "y", start)]
    graph.values["h"] = ir.Value("h", F32, (2, B, 3))
    made = write.to_bytes(packed(graph), {})
    assert read.parse(made).of_kind("state")[0].init is not None
    for batch in (1, 3):
        with rnnrt.load(made).stream(batch) as stream:
            y = np.array(stream.step(np.zeros((2, batch, 3), np.float32)))
        assert np.array_equal(y.reshape(2, batch, 3), np.broadcast_to(start, (2, batch, 3)))


# ---- refusals ----


FLAT: dict[str, Any] = {"kernel_shape": [2], "strides": [1], "dilations": [1], "channels_last": 1}
REFUSED: list[tuple[ir.Node, str]] = [
    (ir.Node("Foo", "n", ["x"], ["y"]), "Foo 'n': this operator is not supported"),
    (ir.Node("Add", "n", ["x", "x"], ["y"], domain="com.example"), "com.example.Add 'n'"),
    (ir.Node("Gemm", "n", ["x", "x"], ["y"]), "B is computed by the graph"),
    (ir.Node("Gemm", "n", ["x", "w"], ["y"], {"transA": 1}), "transA: 1 is not supported"),
    (ir.Node("Gemm", "n", ["x", "w", "w"], ["y"]), "the bias has shape"),
    (ir.Node("Gemm", "n", ["x", "w"], ["y"], {"activation": "Foo"}), "activation: 'Foo' is not known"),
    (ir.Node("Conv", "n", ["x", "w"], ["y"]), "W must have 3 or 4 dimensions"),
    (ir.Node("Conv", "n", ["x", "k"], ["y"], {"group": 3}), "group: 3 does not divide"),
    (ir.Node("Conv", "n", ["x", "k"], ["y"]), "the channels must come last"),
    (ir.Node("MaxPool", "n", ["x"], ["y"], {**FLAT, "pads": [-1, 0]}), "is negative"),
    (ir.Node("GRU", "n", ["x", "k", "k"], ["y"]), "does not fit"),
    (ir.Node("Clip", "n", ["x", "x"], ["y"]), "must be constant"),
    (ir.Node("Max", "n", ["x", "x", "x"], ["y"]), "has 3 inputs"),
    (ir.Node("Reshape", "n", ["x", "x"], ["y"]), "shape: must be constant"),
    (ir.Node("Reshape", "n", ["x"], ["y"], {"shape": [0], "allowzero": 1}), "allowzero"),
    (ir.Node("Slice", "n", ["x"], ["y"], {"starts": [0], "ends": [1], "steps": [0]}), "steps: 0 is not possible"),
    (ir.Node("Pad", "n", ["x"], ["y"], {"pads": [0] * 6, "mode": "wrap"}), "mode: 'wrap'"),
    (ir.Node("LayerNormalization", "n", ["x", "w"], ["y", "mean"]), "Mean and InvStdDev"),
    (ir.Node("ReduceMean", "n", ["x"], ["y"], {"noop_with_empty_axes": 1}), "noop_with_empty_axes"),
    (ir.Node("Gather", "n", ["x", "huge"], ["y"]), "does not fit 32-bit"),
    (ir.Node("Relu", "n", ["missing"], ["y"]), "input 'missing' is made by no node"),
]


@pytest.mark.parametrize(("node", "message"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refusals_name_node_and_reason(node: ir.Node, message: str) -> None:
    constants = {"w": normal(5, 5), "k": normal(4, 5, 3), "huge": np.array([2**40])}
    with pytest.raises(UnsupportedError) as caught:
        packed(one_node(node, constants))
    assert len(caught.value.problems) == 1
    assert message in str(caught.value.problems[0])
    assert caught.value.problems[0].node == "n"


def test_all_problems_at_once() -> None:
    graph = ir.Graph(
        inputs=[ir.Value("x", np.dtype(np.complex64), (T, 5)), ir.Value("z", F32, None)],
        outputs=[ir.Value("y", F32, (T,) * 7)],
        nodes=[
            ir.Node("Foo", "first", ["x"], ["a"]),
            ir.Node("Bar", "second", ["a"], ["b"]),
            ir.Node("Relu", "fine", ["b"], ["y"]),
        ],
    )
    with pytest.raises(UnsupportedError) as caught:
        packed(graph)
    assert [p.node for p in caught.value.problems] == ["x", "z", "y", "first", "second"]


# ---- the two operator tables ----


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[str], list[str]]]:
    """Name -> code, names of ints and floats, asked from the C library."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("registry") / "librnnrt.so"
    sources = sorted(map(str, (Path(__file__).parent.parent / "src_c").rglob("*.c")))
    subprocess.run([compiler, "-O0", "-shared", "-fPIC", "-o", str(library), *sources], check=True)
    ask = ctypes.CDLL(str(library)).rnnrt_operator
    ask.restype = ctypes.c_char_p
    ask.argtypes = [ctypes.c_uint32, *[ctypes.c_void_p] * 3]
    code, ints, floats = ctypes.c_uint32(), ctypes.c_char_p(), ctypes.c_char_p()
    found = {}
    while name := ask(len(found), ctypes.byref(code), ctypes.byref(ints), ctypes.byref(floats)):
        found[name.decode()] = (
            code.value,
            (ints.value or b"").decode().split(),
            (floats.value or b"").decode().split(),
        )
    return found


def test_operator_table_is_the_c_librarys(registry: dict[str, tuple[int, list[str], list[str]]]) -> None:
    table = {o.name: (o.code, list(o.ints), list(o.floats)) for o in operators.OPERATORS.values()}
    assert table == registry


def test_unary_codes_are_kernels_h() -> None:
    text = (Path(__file__).parent.parent / "src_c" / "kernels" / "kernels.h").read_text(encoding="utf-8")
    body = text[text.index("typedef enum rnnrt_unary {") :].split("}")[0]
    names = [
        line.strip().split(",")[0].split(" ")[0] for line in body.splitlines() if line.strip().startswith("RNNRT_")
    ]
    assert names.pop() == "RNNRT_UNARIES"
    spelled = [name.removeprefix("RNNRT_").replace("_", "").lower() for name in names]
    assert spelled == [name.lower() for name in operators.UNARY]


def test_every_operator_has_a_reference() -> None:
    assert set(operators.OPERATORS) <= set(reference.OPERATORS)
