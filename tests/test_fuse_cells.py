"""Cells written out as primitives become LSTM and GRU nodes with the same weights, and only those that are cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from rnnrt.converters import convert, fuse_cells, reference, states
from rnnrt.converters.ir import Graph

from onnx_graphs import Array, assert_same, feeds, model, node, ops, simplified, weights

I64 = np.int64
N, H = 5, 6  # features, units
CELLS = ("LSTM", "GRU")


@dataclass
class Written:
    """A model of primitives under construction. Matrices are stored as [columns, rows], for x @ W."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    count: int = 0

    def op(self, kind: str, *inputs: str, to: str = "", **attrs: Any) -> str:
        """One node with one output."""
        self.count += 1
        name = to or f"v{self.count}"
        self.nodes.append(node(kind, inputs, [name], **attrs))
        return name

    def constant(self, array: Array) -> str:
        """A constant; equal ones are one."""
        for name, known in self.constants.items():
            if known.dtype == array.dtype and np.array_equal(known, array):
                return name
        name = f"k{len(self.constants)}"
        self.constants[name] = array
        return name

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, I64))

    def cut(self, x: str, count: int, size: int, split: bool, axis: int = -1) -> list[str]:
        """Equal parts of an axis, by one Split or by Slices."""
        if not split:
            bounds = [(self.ints(k * size), self.ints((k + 1) * size)) for k in range(count)]
            return [self.op("Slice", x, a, b, self.ints(axis)) for a, b in bounds]
        names = [f"{x}.part{k}" for k in range(count)]
        self.nodes.append(node("Split", [x, self.ints(*[size] * count)], names, axis=axis))
        return names

    def linear(self, x: str, w: Array, b: Array | None, gemm: bool) -> str:
        """x W^T + b, w [rows, columns]."""
        if gemm:
            return self.op("Gemm", x, self.constant(w), *([] if b is None else [self.constant(b)]), transB=1)
        y = self.op("MatMul", x, self.constant(np.ascontiguousarray(w.T)))
        return y if b is None else self.op("Add", self.constant(b), y)

    def bytes(self, inputs: dict[str, Any], outputs: Sequence[str]) -> bytes:
        return model(self.nodes, inputs, outputs, self.constants)


@dataclass
class Layer:
    """Weights in the order of ONNX: rows [gates * hidden]."""

    op: str
    hidden: int = H
    features: int = N
    seed: int = 0
    bias: bool = True

    def __post_init__(self) -> None:
        rows = {"LSTM": 4, "GRU": 3}[self.op] * self.hidden
        self.w = weights(rows, self.features, seed=self.seed)
        self.r = weights(rows, self.hidden, seed=self.seed + 1)
        self.wb = weights(rows, seed=self.seed + 2) if self.bias else None
        self.rb = weights(rows, seed=self.seed + 3) if self.bias else None

    def pick(self, a: Array | None, order: Sequence[int]) -> Array | None:
        """Blocks of rows in another order."""
        return None if a is None else np.concatenate([np.split(a, len(a) // self.hidden)[k] for k in order])


def rows(a: Array | None) -> Array:
    assert a is not None
    return a


def lstm_step(
    g: Written, layer: Layer, x: str, h: str, c: str, *, order: Sequence[int] = (0, 1, 2, 3), split: bool = True,
    concat: bool = False, gemm: bool = True, squash: Sequence[str] = ("Sigmoid",) * 3 + ("Tanh",), out: str = "Tanh",
) -> tuple[str, str, dict[str, str]]:  # fmt: skip
    """Names of the new h and c, and of the gates i, o, f, g; order: which of them is at which place."""
    w, r = rows(layer.pick(layer.w, order)), rows(layer.pick(layer.r, order))
    wb, rb = layer.pick(layer.wb, order), layer.pick(layer.rb, order)
    if concat:
        both = None if wb is None or rb is None else wb + rb
        pre = g.linear(g.op("Concat", x, h, axis=-1), np.concatenate([w, r], 1), both, gemm)
    else:
        pre = g.op("Add", g.linear(h, r, rb, gemm), g.linear(x, w, wb, gemm))
    parts = g.cut(pre, 4, layer.hidden, split)
    gates = {n: g.op(squash[k], parts[list(order).index(k)]) for k, n in enumerate("iofg")}
    new_c = g.op("Add", g.op("Mul", gates["f"], c), g.op("Mul", gates["i"], gates["g"]))
    return g.op("Mul", gates["o"], g.op(out, new_c)), new_c, gates


def gru_step(
    g: Written, layer: Layer, x: str, h: str, *, after: bool, order: Sequence[int] = (0, 1, 2), split: bool = True,
    difference: bool = False, gemm: bool = True,
) -> str:  # fmt: skip
    """Name of the new h."""
    hidden = layer.hidden
    w, wb = rows(layer.pick(layer.w, order)), layer.pick(layer.wb, order)
    of_x = g.cut(g.linear(x, w, wb, gemm), 3, hidden, split)
    xs = [of_x[list(order).index(k)] for k in range(3)]
    if after:
        of_h = g.cut(g.linear(h, rows(layer.pick(layer.r, order)), layer.pick(layer.rb, order), gemm), 3, hidden, split)
        hs = [of_h[list(order).index(k)] for k in range(3)]
        z, r = (g.op("Sigmoid", g.op("Add", xs[k], hs[k])) for k in (0, 1))
        n = g.op("Tanh", g.op("Add", g.op("Mul", hs[2], r), xs[2]))
    else:
        parts = [None if layer.rb is None else layer.rb[k * hidden : (k + 1) * hidden] for k in range(3)]
        matrices = [layer.r[k * hidden : (k + 1) * hidden] for k in range(3)]
        z, r = (g.op("Sigmoid", g.op("Add", g.linear(h, matrices[k], parts[k], gemm), xs[k])) for k in (0, 1))
        kept = g.op("Mul", r, h)
        n = g.op("Tanh", g.op("Add", xs[2], g.linear(kept, matrices[2], parts[2], gemm)))
    if difference:
        return g.op("Add", n, g.op("Mul", z, g.op("Sub", h, n)))
    one = g.constant(np.float32(1).reshape(()))
    return g.op("Add", g.op("Mul", z, h), g.op("Mul", n, g.op("Sub", one, z)))


def named(g: Written, **outputs: str) -> list[str]:
    """Values under the names of outputs."""
    return [g.op("Identity", value, to=name) for name, value in outputs.items()]


def unfused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """The same model, simplified without looking for cells."""
    with monkeypatch.context() as patch:
        patch.setattr(fuse_cells, "fuse_cells", lambda graph: None)
        return simplified(data)


def assert_equal(data: bytes, graph: Graph, before: Graph, sizes: Sequence[tuple[int, int]] = ((1, 1), (1, 3))) -> None:
    """In float64 before and after, and onnxruntime with the original; a sum of two biases is rounded to float32."""
    assert_same(data, graph, sizes, 1e-6)
    for time, batch in sizes:
        given = feeds(graph, time, batch, seed=7)
        one, other = reference.run(graph, given)[0], reference.run(before, given)[0]
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=0, atol=5e-7)


LSTM_INPUTS: dict[str, Any] = {"x": ["batch", N], "h": ["batch", H], "c": ["batch", H]}
GRU_INPUTS: dict[str, Any] = {"x": ["batch", N], "h": ["batch", H]}
LSTM_FORMS = [(o, *f) for o, f in zip(permutations(range(4)), [*product((False, True), repeat=4)] * 2, strict=False)]
LSTM_FORMS += [((0, 2, 3, 1), *f) for f in product((False, True), repeat=4)]
GRU_FORMS = list(product(permutations(range(3)), (False, True), (False, True)))


# ---- one step ----


@pytest.mark.parametrize(("order", "split", "concat", "gemm", "bias"), LSTM_FORMS)
def test_lstm_step(
    order: tuple[int, ...], split: bool, concat: bool, gemm: bool, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    g, layer = Written(), Layer("LSTM", bias=bias)
    h, c, _ = lstm_step(g, layer, "x", "h", "c", order=order, split=split, concat=concat, gemm=gemm)
    data = g.bytes(LSTM_INPUTS, named(g, hn=h, cn=c))
    graph = simplified(data)
    assert set(ops(graph)) == {"LSTM", "Reshape"}
    cell = next(n for n in graph.nodes if n.op == "LSTM")
    assert np.array_equal(graph.constants[cell.inputs[1]], layer.w[None])
    assert np.array_equal(graph.constants[cell.inputs[2]], layer.r[None])
    assert bool(cell.inputs[3]) is bias
    if layer.wb is not None and layer.rb is not None:
        assert np.array_equal(graph.constants[cell.inputs[3]][0, : 4 * H], layer.wb + layer.rb)
    assert_equal(data, graph, unfused(data, monkeypatch))
    lifted = states.lift(graph, {"h": "hn", "c": "cn"})
    assert [s.input for s in lifted.states] == ["h", "c"]
    assert lifted.streamable


@pytest.mark.parametrize(("order", "split", "difference"), GRU_FORMS)
@pytest.mark.parametrize(
    ("after", "gemm", "bias"), [(0, True, True), (1, False, True), (0, False, False), (1, True, False)]
)
def test_gru_step(
    order: tuple[int, ...], split: bool, difference: bool, after: int, gemm: bool, bias: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    g, layer = Written(), Layer("GRU", bias=bias)
    h = gru_step(g, layer, "x", "h", after=bool(after), order=order, split=split, difference=difference, gemm=gemm)
    data = g.bytes(GRU_INPUTS, named(g, hn=h))
    graph = simplified(data)
    assert set(ops(graph)) == {"GRU", "Reshape"}
    cell = next(n for n in graph.nodes if n.op == "GRU")
    assert cell.attrs["linear_before_reset"] == after
    assert np.array_equal(graph.constants[cell.inputs[1]], layer.w[None])
    assert np.array_equal(graph.constants[cell.inputs[2]], layer.r[None])
    if layer.rb is not None and after:
        assert np.array_equal(graph.constants[cell.inputs[3]][0, 5 * H :], layer.rb[2 * H :])
    assert_equal(data, graph, unfused(data, monkeypatch))


def test_matrices_per_gate_and_one_sigmoid_for_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sigmoid over i, f and o at once, cut apart behind it; g from matrices of its own."""
    g, layer = Written(), Layer("LSTM")
    order = (0, 2, 1)
    w, r = rows(layer.pick(layer.w, order)), rows(layer.pick(layer.r, order))
    ifo = g.op("Sigmoid", g.op("Add", g.linear("x", w, None, True), g.linear("h", r, None, False)))
    i, f, o = g.cut(ifo, 3, H, True)
    squashed = g.op(
        "Tanh", g.op("Add", g.linear("x", layer.w[3 * H :], None, True), g.linear("h", layer.r[3 * H :], None, True))
    )
    c = g.op("Add", g.op("Mul", squashed, i), g.op("Mul", "c", f))
    data = g.bytes(LSTM_INPUTS, named(g, hn=g.op("Mul", g.op("Tanh", c), o), cn=c))
    graph = simplified(data)
    assert set(ops(graph)) == {"LSTM", "Reshape"}
    cell = next(n for n in graph.nodes if n.op == "LSTM")
    assert np.array_equal(graph.constants[cell.inputs[1]], layer.w[None])
    assert_equal(data, graph, unfused(data, monkeypatch))


@pytest.mark.parametrize("order", ["xhc", "hxc", "chx"])
def test_the_state_is_found_where_input_and_state_are_of_one_size(order: str) -> None:
    """h comes out of one tensor with c, wherever the input stands."""
    g, layer = Written(), Layer("LSTM", features=H)
    h0, c0 = (g.op("Gather", "state", g.constant(np.array(k, I64)), axis=0) for k in (0, 1))
    h, c, _ = lstm_step(g, layer, "x", h0, c0)
    zero = g.ints(0)
    g.op("Concat", g.op("Unsqueeze", h, zero), g.op("Unsqueeze", c, zero), axis=0, to="next")
    g.op("Relu", h, to="y")
    shapes: dict[str, Any] = {"x": [1, H], "state": [2, 1, H]}
    data = g.bytes({n: shapes[n] for n in (("x", "state") if order[0] == "x" else ("state", "x"))}, ["y", "next"])
    graph = states.lift(simplified(data))
    cell = next(n for n in graph.nodes if n.op == "LSTM")
    assert np.array_equal(graph.constants[cell.inputs[2]], layer.r[None])
    assert [s.input for s in graph.states] == ["state"]
    assert_same(data, simplified(data), [(1, 1)], 1e-6)


def test_two_layers_with_one_state_tensor() -> None:
    """As in DTLN: the second layer reads the first one's new h, all states are one tensor."""
    g = Written()
    parts = [g.op("Gather", "state", g.constant(np.array(k, I64)), axis=0) for k in range(4)]
    h1, c1, _ = lstm_step(g, Layer("LSTM"), "x", parts[0], parts[1])
    h2, c2, _ = lstm_step(g, Layer("LSTM", features=H, seed=9), h1, parts[2], parts[3])
    zero = g.ints(0)
    g.op("Concat", *[g.op("Unsqueeze", v, zero) for v in (h1, c1, h2, c2)], axis=0, to="next")
    g.op("Tanh", h2, to="y")
    data = g.bytes({"x": [1, N], "state": [4, 1, H]}, ["y", "next"])
    graph = states.lift(simplified(data))
    assert ops(graph).count("LSTM") == 2
    assert [(s.input, s.output) for s in graph.states] == [("state", "next")]


# ---- nearly cells ----


def near_misses() -> Iterator[tuple[str, bytes]]:
    layer = Layer("LSTM", features=H)
    inputs: dict[str, Any] = {**LSTM_INPUTS, "x": ["batch", H]}
    for gate in "iofg":
        g = Written()
        h, c, gates = lstm_step(g, layer, "x", "h", "c")
        yield f"{gate} is an output too", g.bytes(inputs, named(g, hn=h, cn=c, extra=gates[gate]))
    for k in range(4):
        squash = ["Sigmoid", "Sigmoid", "Sigmoid", "Tanh"]
        squash[k] = "HardSigmoid" if k < 3 else "Relu"
        g = Written()
        h, c, _ = lstm_step(g, layer, "x", "h", "c", squash=squash)
        yield f"gate {'iofg'[k]} has another activation", g.bytes(inputs, named(g, hn=h, cn=c))
    g = Written()
    h, c, _ = lstm_step(g, layer, "x", "h", "c", out="Softsign")
    yield "c has another activation", g.bytes(inputs, named(g, hn=h, cn=c))
    g = Written()
    h, c, _ = lstm_step(g, layer, "x", "h", "h")
    yield "h stands for c", g.bytes({n: inputs[n] for n in ("x", "h")}, named(g, hn=h, cn=c))
    g = Written()
    _, c, gates = lstm_step(g, layer, "x", "h", "c")
    g.nodes.pop()
    g.nodes[-1] = node("Tanh", ["c"], [g.nodes[-1].output[0]])
    yield "h from the old c", g.bytes(inputs, named(g, hn=g.op("Mul", gates["o"], g.nodes[-1].output[0]), cn=c))
    g = Written()
    pre = g.op("Add", g.linear("x", layer.w, None, True), g.linear("h", layer.r, None, True))
    i, _, f, z = g.cut(pre, 4, H, True)
    s, t = g.op("Sigmoid", i), g.op("Tanh", z)
    c = g.op("Add", g.op("Mul", g.op("Sigmoid", f), "c"), g.op("Mul", s, t))
    yield "one gate is two", g.bytes(inputs, named(g, hn=g.op("Mul", s, g.op("Tanh", c)), cn=c))
    g = Written()
    h = gru_step(g, Layer("GRU", features=H), "x", "h", after=True)
    for n in g.nodes:
        if n.op_type == "Sub":
            n.input[0] = g.constant(np.float32(2).reshape(()))
    yield "2 - z", g.bytes({n: inputs[n] for n in ("x", "h")}, named(g, hn=h))
    g = Written()
    h = gru_step(g, Layer("GRU", features=H), "x", "h", after=False)
    kept = next(n for n in g.nodes if n.op_type == "Mul" and n.input[1] == "h")
    kept.input[1] = "c"
    yield "the reset gate is for another value", g.bytes(inputs, named(g, hn=h))


NEAR_MISSES = dict(near_misses())


@pytest.mark.parametrize("what", NEAR_MISSES)
def test_near_misses_stay_as_they_are(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = NEAR_MISSES[what]
    graph = simplified(data)
    assert not {"LSTM", "GRU"} & set(ops(graph))
    assert_equal(data, graph, unfused(data, monkeypatch))


# ---- unrolled over time ----


def unrolled(
    op: str, steps: int, *, start: str, axis: int = 1, backwards: bool = False,
    layers: int = 1, skip: int | None = None, after: bool = True,
) -> bytes:  # fmt: skip
    """y is h of all steps, hn the last; start: input, or zero (batch 2); skip: a step that reads step 0's input."""
    g, tensor, features = Written(), "x", N
    for k in range(layers):
        layer = Layer(op, features=features, seed=10 * k)
        zero = g.constant(np.zeros((2, H), np.float32))
        h, c = ("h", "c") if start == "input" and k == 0 else (zero, zero)
        done = [""] * steps
        for t in range(steps)[:: -1 if backwards else 1]:
            x = g.op("Gather", tensor, g.constant(np.array(t if t != skip else 0, I64)), axis=axis)
            if op == "LSTM":
                h, c, _ = lstm_step(g, layer, x, h, c, order=(0, 2, 3, 1))
            else:
                h = gru_step(g, layer, x, h, after=after)
            done[t] = h
        tensor, features = g.op("Concat", *[g.op("Unsqueeze", d, g.ints(axis)) for d in done], axis=axis), H
    batch: int | str = "batch" if start == "input" else 2
    shape: list[int | str] = [batch, steps, N] if axis == 1 else [steps, batch, N]
    inputs: dict[str, Any] = {"x": shape}
    if start == "input":
        inputs |= {n: [batch, H] for n in (("h", "c") if op == "LSTM" else ("h",))}
    return g.bytes(inputs, named(g, y=tensor, hn=h))


@pytest.mark.parametrize("op", CELLS)
@pytest.mark.parametrize(
    ("start", "axis", "backwards", "layers"),
    [
        ("input", 0, False, 1),
        ("input", 1, False, 1),
        ("input", 0, True, 1),
        ("zero", 0, False, 1),
        ("zero", 1, True, 1),
        ("zero", 1, False, 2),
    ],
)
def test_unrolled_steps_become_one_node(
    op: str, start: str, axis: int, backwards: bool, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unrolled(op, 4, start=start, axis=axis, backwards=backwards, layers=layers)
    graph = simplified(data)
    assert ops(graph).count(op) == layers
    assert set(ops(graph)) <= {op, "Reshape", "Transpose"}
    for cell in (n for n in graph.nodes if n.op == op):
        assert cell.attrs["direction"] == ("reverse" if backwards else "forward")
        assert bool("".join(cell.inputs[5:])) is (start == "input")
    sizes = [(1, 3), (1, 1)] if start == "input" else [(1, 2)]
    assert_equal(data, graph, unfused(data, monkeypatch), sizes)


@pytest.mark.parametrize("op", CELLS)
def test_steps_that_are_no_sequence_stay_steps(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = unrolled(op, 3, start="input", skip=1)
    graph = simplified(data)
    assert ops(graph).count(op) == 3
    assert_equal(data, graph, unfused(data, monkeypatch))


@pytest.mark.parametrize("after", [False, True])
def test_both_forms_of_gru_unrolled(after: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = unrolled("GRU", 3, start="input", after=after)
    graph = simplified(data)
    assert [n.attrs["linear_before_reset"] for n in graph.nodes if n.op == "GRU"] == [int(after)]
    assert_equal(data, graph, unfused(data, monkeypatch))


def test_one_matrix_product_for_the_inputs_of_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch.export decomposes nn.LSTM: x W^T for all t, cut into steps."""
    g, layer, steps = Written(), Layer("LSTM"), 4
    h, c = "h", "c"
    pre = g.op("Add", g.op("MatMul", "x", g.constant(np.ascontiguousarray(layer.w.T))), g.constant(rows(layer.wb)))
    done = []
    for part in g.cut(pre, steps, 1, True, axis=0):
        gates = g.op("Add", g.op("Squeeze", part, g.ints(0)), g.linear(h, layer.r, layer.rb, True))
        i, o, f, z = g.cut(gates, 4, H, True)
        kept, new = g.op("Mul", g.op("Sigmoid", f), c), g.op("Mul", g.op("Sigmoid", i), g.op("Tanh", z))
        c = g.op("Add", kept, new)
        h = g.op("Mul", g.op("Sigmoid", o), g.op("Tanh", c))
        done.append(g.op("Unsqueeze", h, g.ints(0)))
    outputs = named(g, y=g.op("Concat", *done, axis=0), hn=h, cn=c)
    data = g.bytes({**LSTM_INPUTS, "x": [steps, "batch", N]}, outputs)
    graph = simplified(data)
    assert set(ops(graph)) <= {"LSTM", "Reshape"}
    assert ops(graph).count("LSTM") == 1
    assert_equal(data, graph, unfused(data, monkeypatch))


def test_a_step_that_is_looked_into_is_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """c of the first step is an output: one node would not have it."""
    g, layer = Written(), Layer("LSTM")
    x = [g.op("Gather", "x", g.constant(np.array(t, I64)), axis=0) for t in (0, 1)]
    h, c, _ = lstm_step(g, layer, x[0], "h", "c")
    h2, c2, _ = lstm_step(g, layer, x[1], h, c)
    data = g.bytes({**LSTM_INPUTS, "x": [2, "batch", N]}, named(g, hn=h2, cn=c2, between=c))
    graph = simplified(data)
    assert ops(graph).count("LSTM") == 2
    assert_equal(data, graph, unfused(data, monkeypatch))


# ---- the whole way ----


@pytest.mark.parametrize("op", CELLS)
@pytest.mark.parametrize("mode", [None, "int8"])
def test_converted_cell_is_a_layer(op: str, mode: str | None) -> None:
    """Verified against onnxruntime step by step, quantized as one layer."""
    g, layer = Written(), Layer(op, hidden=32, features=24)
    shapes: dict[str, Any] = {"x": [1, 24], "h": [1, 32], "c": [1, 32]}
    if op == "LSTM":
        h, c, _ = lstm_step(g, layer, "x", "h", "c")
        outputs = [g.op("Relu", h, to="y"), *named(g, h_out=h, c_out=c)]
    else:
        h = gru_step(g, layer, "x", "h", after=True)
        outputs = [g.op("Relu", h, to="y"), *named(g, h_out=h)]
        del shapes["c"]
    report = convert.convert(g.bytes(shapes, outputs), None, quantize=mode)
    assert [(entry["op"], entry["precision"]) for entry in report.layers] == [(op, "int8" if mode else "f32")]
    assert list(report.states) == [n for n in shapes if n != "x"]
    assert report.streamable
    assert report.verification is not None
    assert report.verification.failed == []


@pytest.mark.parametrize("mode", [None, "int8"])
def test_dtln_second_model(models_dir: Path, mode: str | None) -> None:
    """Two LSTMs written out, their state in one tensor: a stream without state inputs, the cells quantized."""
    report = convert.convert(models_dir / "model_2.onnx", None, quantize=mode)
    layers = [(entry["op"], entry["precision"]) for entry in report.layers]
    precision = "int8" if mode else "f32"
    assert layers == [(op, precision) for op in ("Gemm", "LSTM", "LSTM", "Gemm", "Gemm")]
    assert report.states == {"input_5": [1, 2, 128, 2]}
    assert list(report.inputs) == ["input_4"]
    assert report.verification is not None
    assert report.verification.failed == []
