"""Graphs exported for whole sequences that look back through windows over time: they stream, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from rnnrt.converters import convert, reference
from torch import nn

import rnnrt
from onnx_graphs import Array, feeds, model, node, recurrent, run_onnxruntime, weights
from stream_checks import assert_streams, built, exported, run_in_pieces, states_of

B, T = "B", "T"
X: dict[str, list[int | str | None]] = {"x": ["batch", 5, "time"]}
ZERO, END = np.array([0], np.int64), np.array([2**40], np.int64)


def conv(x: str, y: str, w: str, **attrs: Any) -> onnx.NodeProto:
    return node("Conv", [x, w], [y], y, **attrs)


def pad(x: str, y: str, pads: list[int], value: float = 0.0, mode: str = "constant") -> list[onnx.NodeProto]:
    made = onnx.numpy_helper.from_array
    constants = [onnx.helper.make_node("Constant", [], [f"{y}.pads"], value=made(np.array(pads, np.int64)))]
    constants.append(onnx.helper.make_node("Constant", [], [f"{y}.value"], value=made(np.float32(value))))
    return [*constants, node("Pad", [x, f"{y}.pads", f"{y}.value"], [y], y, mode=mode)]


# ---- one convolution, every way of saying that it is causal ----

KERNELS = [(3, 1, 1), (2, 3, 1), (3, 2, 5), (1, 1, 1), (4, 1, 5)]


@pytest.mark.parametrize(("kernel", "dilation", "group"), KERNELS)
@pytest.mark.parametrize("how", ["pads", "pad node", "chomp", "zeros in front"])
def test_a_causal_convolution_keeps_its_tail(how: str, kernel: int, dilation: int, group: int) -> None:
    tail = (kernel - 1) * dilation
    constants: dict[str, Array] = {"w": weights(10, 5 // group, kernel)}
    attrs: dict[str, Any] = {"dilations": [dilation], "group": group}
    if how == "pads":
        nodes = [conv("x", "y", "w", pads=[tail, 0], **attrs)]
    elif how == "pad node":
        nodes = [*pad("x", "p", [0, 0, tail, 0, 0, 0]), conv("p", "y", "w", **attrs)]
    elif how == "chomp":
        nodes = [conv("x", "c", "w", pads=[tail, tail], **attrs), node("Tanh", ["c"], ["t"])]
        if tail:
            nodes.append(node("Slice", ["t", "zero", "minus", "axis"], ["y"]))
            constants |= {"zero": ZERO, "minus": np.array([-tail]), "axis": np.array([2])}
        else:
            nodes[-1].output[0] = "y"
    else:
        constants["z"] = np.zeros((1, 5, tail), np.float32)
        nodes = [node("Concat", ["z", "x"], ["p"], axis=2), conv("p", "y", "w", **attrs)]
    inputs = {"x": [1 if how == "zeros in front" else "batch", 5, "time"]}
    data = model(nodes, inputs, ["y"], constants)
    if how == "zeros in front":
        graph, made = built(data)
        given = feeds(graph, 9, 1)
        whole = run_in_pieces(made, graph, given, [9])["y"]
        assert whole.tobytes() == run_in_pieces(made, graph, given, [1, 0, 3, 5])["y"].tobytes()
        assert np.abs(whole - run_onnxruntime(data, given)["y"]).max() < 1e-5
    else:
        graph = assert_streams(data)
    batch = 1 if how == "zeros in front" else B
    assert states_of(graph) == ({"y.tail": (batch, tail, 5)} if tail and how != "chomp" else
                                {"c.tail": (batch, tail, 5)} if tail else {})  # fmt: skip
    assert not {"Pad"} & {n.op for n in graph.nodes}


def test_tails_shown_with_their_source() -> None:
    graph, _ = built(model([conv("x", "y", "w", pads=[2, 0])], X, ["y"], {"w": weights(4, 5, 3)}))
    assert [s.source for s in graph.states] == ["the last 2 frames before Conv 'y'"]


# ---- chains ----


def test_a_residual_tower_streams() -> None:
    """Dilated, depthwise and pointwise, skips around them, a recurrent layer behind."""
    nodes, constants = [conv("x", "h0", "w0")], {"w0": weights(6, 5, 1)}
    for i, dilation in enumerate((1, 2, 4)):
        constants |= {
            f"d{i}": weights(6, 1, 3, seed=i),
            f"p{i}": weights(6, 6, 1, seed=i),
            f"s{i}": weights(6, 1, seed=i),
        }
        nodes += [
            *pad(f"h{i}", f"q{i}", [0, 0, 2 * dilation, 0, 0, 0]),
            conv(f"q{i}", f"a{i}", f"d{i}", dilations=[dilation], group=6),
            node("PRelu", [f"a{i}", f"s{i}"], [f"b{i}"]),
            conv(f"b{i}", f"c{i}", f"p{i}"),
            node("Add", [f"c{i}", f"h{i}"], [f"h{i + 1}"]),
        ]
    gru, more = recurrent("GRU", "t", "r", 6, 4)
    nodes += [node("Transpose", ["h3"], ["t"], perm=[2, 0, 1]), *gru, node("Squeeze", ["r", "one"], ["y"])]
    graph = assert_streams(model(nodes, X, ["y"], {**constants, **more, "one": np.array([1])}))
    assert len(graph.states) == 4


def test_padding_once_for_a_whole_chain() -> None:
    """All the padding in front, as streaming-minded authors do; a skip must then be cut from the front."""
    constants = {
        "w": weights(5, 5, 3),
        "v": weights(5, 5, 2),
        "three": np.array([3]),
        "end": END,
        "axis": np.array([2]),
    }
    nodes = [
        *pad("x", "p", [0, 0, 3, 0, 0, 0]),
        conv("p", "a", "w"),
        node("Sigmoid", ["a"], ["b"]),
        conv("b", "c", "v"),
        node("Slice", ["p", "three", "end", "axis"], ["s"]),
        node("Add", ["c", "s"], ["y"]),
    ]
    graph = assert_streams(model(nodes, X, ["y"], constants))
    assert states_of(graph) == {"a.tail": (B, 2, 5), "c.tail": (B, 1, 5)}
    second = next(s for s in graph.states if s.name == "c.tail")
    assert second.init is not None
    assert np.allclose(second.init, 0.5)  # sigmoid of what the zeros in front give


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_padding_with_a_constant_is_the_beginning(value: float) -> None:
    graph = assert_streams(model([*pad("x", "p", [0, 0, 2, 0, 0, 0], value), conv("p", "y", "w")], X, ["y"],
                                 {"w": weights(4, 5, 3)}))  # fmt: skip
    init = graph.states[0].init
    assert np.array_equal(np.zeros((1, 2, 5)) if init is None else init, np.full((1, 2, 5), value))


def test_a_value_one_frame_later_is_delayed() -> None:
    """y[t] = x[t] - x[t-1]: shifted by padding in front and cutting the end."""
    constants = {"zero": ZERO, "minus": np.array([-1]), "axis": np.array([2])}
    nodes = [*pad("x", "p", [0, 0, 1, 0, 0, 0], 0.25), node("Slice", ["p", "zero", "minus", "axis"], ["s"]),
             node("Sub", ["x", "s"], ["y"])]  # fmt: skip
    graph = assert_streams(model(nodes, X, ["y"], constants))
    assert list(states_of(graph).values()) == [(B, 5, 1)]
    given = feeds(graph, 6, 2)
    assert np.allclose(reference.run(graph, given)[0]["y"][..., 0], given["x"][..., 0] - 0.25)


def test_an_output_that_is_only_late_is_delayed() -> None:
    nodes = [*pad("x", "p", [0, 0, 2, 0, 0, 0], 3.0), node("Slice", ["p", "zero", "minus", "axis"], ["s"]),
             node("Neg", ["s"], ["y"])]  # fmt: skip
    assert_streams(model(nodes, X, ["y"], {"zero": ZERO, "minus": np.array([-2]), "axis": np.array([2])}))


def test_a_recurrent_layer_behind_a_shift_starts_at_the_first_frame() -> None:
    """The decoder's 'shift right': its first frame is the padding."""
    gru, constants = recurrent("GRU", "s", "r", 5, 4)
    constants |= {"zero": ZERO, "minus": np.array([-1]), "axis": np.array([0]), "one": np.array([1])}
    nodes = [*pad("x", "p", [1, 0, 0, 0, 0, 0], 0.5), node("Slice", ["p", "zero", "minus", "axis"], ["s"]), *gru,
             node("Squeeze", ["r", "one"], ["y"])]  # fmt: skip
    assert_streams(model(nodes, {"x": ["time", "batch", 5]}, ["y"], constants))


# ---- two axes, pools, transposed ----


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("time_axis", [2, 3])
def test_time_may_be_either_of_two_axes(time_axis: int, group: int) -> None:
    """Kernel 3, dilation 2 over time; kernel 2, stride 2 and padding over frequency."""
    over_time, over_bins = (0, 1) if time_axis == 2 else (1, 0)
    kernel, dilations, strides, pads = [0, 0], [1, 1], [1, 1], [0, 0, 0, 0]
    kernel[over_time], kernel[over_bins] = 3, 2
    dilations[over_time], strides[over_bins] = 2, 2
    pads[over_time], pads[over_bins], pads[2 + over_bins] = 4, 1, 1
    shape: list[int | str | None] = ["batch", 4, 7, 7]
    shape[time_axis] = "time"
    nodes = [conv("x", "y", "w", dilations=dilations, strides=strides, pads=pads, group=group)]
    graph = assert_streams(model(nodes, {"x": shape}, ["y"], {"w": weights(8, 4 // group, *kernel)}), time=13)
    tail = [B, 7, 7, 4]  # the channels last
    tail[time_axis - 1] = 4
    assert list(states_of(graph).values()) == [tuple(tail)]


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_a_causal_pool_keeps_its_tail(op: str) -> None:
    """What pads a maximum is less than any number; what pads a mean counts as zero."""
    more = {"count_include_pad": 1} if op == "AveragePool" else {}
    nodes = [node(op, ["x"], ["y"], "pool", kernel_shape=[3], pads=[2, 0], **more)]
    graph = assert_streams(model(nodes, X, ["y"]))
    init = graph.states[0].init
    assert states_of(graph) == {"pool.tail": (B, 2, 5)}
    assert (init is None) if op == "AveragePool" else (init == -np.inf).all()


def test_a_mean_of_fewer_frames_at_the_beginning_is_refused() -> None:
    graph, _ = built(model([node("AveragePool", ["x"], ["y"], "culprit", kernel_shape=[3], pads=[2, 0])], X, ["y"]))
    assert "AveragePool 'culprit'" in graph.not_streamable_because


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_causal_transposed_convolution_keeps_its_tail(dilation: int) -> None:
    constants = {"w": weights(5, 4, 3), "zero": ZERO, "minus": np.array([-2 * dilation]), "axis": np.array([2])}
    nodes = [node("ConvTranspose", ["x", "w"], ["c"], dilations=[dilation]),
             node("Slice", ["c", "zero", "minus", "axis"], ["y"])]  # fmt: skip
    graph = assert_streams(model(nodes, X, ["y"], constants))
    assert list(states_of(graph).values()) == [(B, 2 * dilation, 5)]


# ---- looking ahead ----

AXIS = np.array([2])
REFUSED: dict[str, tuple[list[onnx.NodeProto], dict[str, Array], str]] = {
    "same": ([conv("x", "culprit", "w", pads=[1, 1])], {}, "looks 1 frame into the future"),
    "future": ([conv("x", "culprit", "w", pads=[0, 2])], {}, "looks 2 frames into the future"),
    "stride": ([conv("x", "culprit", "w", pads=[2, 0], strides=[2])], {}, "a stride of 2 over time"),
    "cut front": ([*pad("x", "p", [0, 0, 0, 0, 0, 1]),
                   node("Slice", ["p", "one", "end", "axis"], ["culprit"], "culprit")],
                  {"one": np.array([1]), "end": END, "axis": AXIS}, "looks 1 frame into the future"),
    "reflect": ([*pad("x", "culprit", [0, 0, 2, 0, 0, 0], mode="reflect"), conv("culprit", "z", "w")], {},
                "reflect padding over time"),
    "edge": ([*pad("x", "culprit", [0, 0, 2, 0, 0, 0], mode="edge"), conv("culprit", "z", "w")], {},
             "edge padding over time"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_looking_ahead_is_refused_by_the_nodes_name(name: str) -> None:
    nodes, constants, reason = REFUSED[name]
    last = nodes[-1].output[0]
    nodes = [*nodes, node("GlobalMaxPool", [last], ["y"])] if name == "stride" else [*nodes, node("Neg", [last], ["y"])]
    data = model(nodes, X, ["y"], {"w": weights(4, 5, 3), **constants})
    graph, made = built(data)
    assert not graph.streamable
    assert not graph.states
    assert "'culprit'" in graph.not_streamable_because
    assert reason in graph.not_streamable_because
    with pytest.raises(rnnrt.UnsupportedError, match="culprit"):
        made.stream()
    given = feeds(graph, 9, 2)
    assert np.abs(made(given["x"]) - run_onnxruntime(data, given)["y"]).max() < 1e-5


# ---- random chains ----


def random_chain(seed: int) -> tuple[bytes, int]:
    """Convolutions, padding and cuts at both ends, skips; and how many frames ahead it looks (0: none)."""
    random = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {"axis": np.array([2])}
    made = [("x", 0, 0)]  # name, frames more than x has, frames that its frame i is behind frame i of x

    def cut(x: tuple[str, int, int], front: int, back: int) -> tuple[str, int, int]:
        y = f"v{len(nodes)}"
        constants[f"{y}.a"], constants[f"{y}.b"] = np.array([front]), np.array([-back if back else 2**40])
        nodes.append(node("Slice", [x[0], f"{y}.a", f"{y}.b", "axis"], [y]))
        return y, x[1] - front - back, x[2] - front

    def padded(x: tuple[str, int, int], front: int, back: int) -> tuple[str, int, int]:
        y = f"v{len(nodes)}"
        nodes.extend(pad(x[0], y, [0, 0, front, 0, 0, back], float(random.integers(-1, 2))))
        return y, x[1] + front + back, x[2] + front

    for _ in range(int(random.integers(3, 12))):
        x = made[int(random.integers(len(made)))]
        kind = random.choice(["conv", "pad", "cut", "unary", "add"])
        front, back = int(random.integers(0, 4)), int(random.integers(0, 3))
        reach, y = int(random.choice([1, 2, 3])) * 2, f"v{len(nodes)}"
        if kind == "conv" and x[1] + front + back >= reach:  # no shorter than x: a single frame must be possible
            constants[f"{y}.w"] = weights(5, 5, 3, seed=len(nodes)) if reach % 4 else weights(5, 1, 3)
            nodes.append(
                conv(x[0], y, f"{y}.w", dilations=[reach // 2], group=1 if reach % 4 else 5, pads=[front, back])
            )
            made.append((y, x[1] + front + back - reach, x[2] + front - reach))
        elif kind == "pad":
            made.append(padded(x, front, back))
        elif kind == "cut" and x[1] >= front + back:
            made.append(cut(x, front, back))
        elif kind == "unary":
            made.append((f"v{len(nodes)}", x[1], x[2]))
            nodes.append(node(str(random.choice(["Sigmoid", "Tanh", "Neg"])), [x[0]], [made[-1][0]]))
        elif kind == "add":
            other = made[int(random.integers(len(made)))]
            more, less = (x, other) if x[1] >= other[1] else (other, x)
            more = cut(more, int(random.integers(0, more[1] - less[1] + 1)), 0) if more[1] > less[1] else more
            more = cut(more, 0, more[1] - less[1]) if more[1] > less[1] else more
            made.append((f"v{len(nodes)}", less[1], min(more[2], less[2])))
            nodes.append(node("Add", [more[0], less[0]], [made[-1][0]]))
    last = cut(made[-1], 0, made[-1][1])
    nodes.append(node("Mul", [last[0], last[0]], ["y"]))
    return model(nodes, X, ["y"], constants), max(0, -last[2])


def test_random_chains_stream_or_are_refused() -> None:
    """60 graphs; a chain that ends with a look into the future must be refused, any other may be."""
    streamed = 0
    for seed in range(60):
        data, ahead = random_chain(seed)
        graph = convert.prepare(data)
        given = feeds(graph, 17, 2, seed)
        expected = run_onnxruntime(data, given)["y"]
        assert np.abs(reference.run(graph, given)[0]["y"] - expected).max() < 1e-4, seed
        assert not (graph.streamable and ahead), (seed, ahead)
        if not graph.streamable:
            assert not graph.states
            continue
        streamed += 1
        made = rnnrt.load(convert.build(data, graph)[1])
        whole = run_in_pieces(made, graph, given, [17])["y"]
        assert np.abs(whole - expected).max() < 1e-4, seed
        for sizes in ([1] * 17, [0, 3, 1, 13]):
            assert run_in_pieces(made, graph, given, sizes)["y"].tobytes() == whole.tobytes(), seed
    assert streamed > 15


# ---- from torch ----


class CausalConv(nn.Module):
    """Dilated, padded before or chomped behind."""

    def __init__(self, channels: tuple[int, int], kernel: int, dilation: int, chomp: bool, groups: int = 1) -> None:
        super().__init__()
        self.tail, self.chomp = (kernel - 1) * dilation, chomp
        padding = self.tail if chomp else 0
        self.conv = nn.Conv1d(*channels, kernel, dilation=dilation, padding=padding, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.chomp:
            return self.conv(x)[..., : -self.tail]
        return self.conv(nn.functional.pad(x, (self.tail, 0)))


class Tower(nn.Module):
    """As Conv-TasNet's separator has them, batch norm for its causal norm."""

    def __init__(self, chomp: bool) -> None:
        super().__init__()
        self.first = CausalConv((5, 8), 3, 1, chomp)
        self.deep = CausalConv((8, 8), 3, 4, chomp, groups=8)
        self.norm, self.shape, self.last = nn.BatchNorm1d(8), nn.PReLU(8), nn.Conv1d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.relu(self.first(x))
        return self.last(self.shape(self.norm(self.deep(a))) + a)


@pytest.mark.parametrize("chomp", [False, True], ids=["pad", "chomp"])
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_a_tower_from_torch(chomp: bool, dynamo: bool) -> None:
    torch.manual_seed(0)
    graph = assert_streams(exported(Tower(chomp), torch.randn(2, 5, 12), {0: "batch", 2: "time"}, dynamo))
    assert sorted(states_of(graph).values()) == [(B, 2, 5), (B, 8, 8)]
