"""What is thrown away is not computed: rules over convolutions, and a layer normalization written as primitives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rnnrt.converters import from_onnx, pack, quantize, simplify, write
from rnnrt.converters.channels_last import channels_last
from rnnrt.converters.ir import Graph, Node

import rnnrt
from onnx_graphs import Array, assert_same, model, node, weights

KERNEL, HOP = 16, 8
END = np.array([2**63 - 1])


def optimized(data: bytes) -> Graph:
    """As it is packed: in float64 what onnxruntime computes, in f32 the same bits on every instruction set."""
    graph = channels_last(simplify.simplify(from_onnx.load(data)))
    assert_same(data, graph)
    graph.streamable = False
    blob = write.to_bytes(pack.pack(graph, quantize.plan(graph)))
    shape = [3 if int(d) < 0 else int(d) for d in graph.inputs[0].shape or ()]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert len({np.asarray(rnnrt.load(blob, isa=isa)(x)).tobytes() for isa in rnnrt.isas()}) == 1
    return graph


def only(graph: Graph, op: str) -> list[Node]:
    return [n for n in graph.nodes if n.op == op]


def fourier(kernel: int = KERNEL) -> Array:
    """Cosine rows, then sine rows, under a periodic Hann window: [2 * (kernel / 2 + 1), 1, kernel]."""
    n = np.arange(kernel)
    phase = 2 * np.pi * np.outer(np.arange(kernel // 2 + 1), n) / kernel
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / kernel)
    return (np.concatenate([np.cos(phase), np.sin(phase)]) * window)[:, None].astype(np.float32)


def spectrum(first: int = 0, rows: Array | None = None) -> bytes:
    """Pad, Unsqueeze, Conv, positions from `first` on, magnitude: a front end as voice detectors have it."""
    w = fourier() if rows is None else rows
    half = len(w) // 2
    constants = {
        "pads": np.array([0, HOP, 0, HOP]), "one": np.array([1]), "two": np.array([2]), "w": w, "end": END,
        "first": np.array([first]), "zero": np.array([0]), "half": np.array([half]),
    }  # fmt: skip
    nodes = [
        node("Pad", ["x", "pads"], ["p"], mode="reflect"), node("Unsqueeze", ["p", "one"], ["u"]),
        node("Conv", ["u", "w"], ["c"], strides=[HOP]), node("Slice", ["c", "first", "end", "two"], ["s"]),
        node("Slice", ["s", "zero", "half", "one"], ["re"]), node("Slice", ["s", "half", "end", "one"], ["im"]),
        node("Mul", ["re", "re"], ["re2"]), node("Mul", ["im", "im"], ["im2"]), node("Add", ["re2", "im2"], ["y"]),
    ]  # fmt: skip
    return model(nodes, {"x": ["batch", 48]}, ["y"], constants)


def test_a_fourier_transform_is_cut_and_folded() -> None:
    graph = optimized(spectrum(first=1))
    real, imaginary = only(graph, "Conv")
    assert (real.attrs["symmetry"], imaginary.attrs["symmetry"]) == (1, -1)
    assert all(graph.constants[n.inputs[1]].shape == (KERNEL // 2 + 1, 1, KERNEL // 2 + 1) for n in (real, imaginary))
    assert not only(graph, "Slice")
    assert only(graph, "Pad")[0].attrs["pads"] == [0, 0, 0, HOP]  # the first position needed all of the first pad


@pytest.mark.parametrize("kernel", [9, 10])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("channels", [1, 3])
def test_symmetric_kernels(kernel: int, sign: int, channels: int) -> None:
    w = weights(20, channels, kernel)
    back = w[:, :, np.r_[0, kernel - 1 : 0 : -1]]
    w[:, :, 1:] = (w + sign * back)[:, :, 1:]
    made = node("Conv", ["x", "w", "b"], ["y"], strides=[2], pads=[3, 1])
    data = model([made], {"x": ["batch", channels, 40]}, ["y"], {"w": w, "b": weights(20)})
    assert only(optimized(data), "Conv")[0].attrs["symmetry"] == sign
    w[3, 0, 1] += 1e-3
    data = model([made], {"x": ["batch", channels, 40]}, ["y"], {"w": w, "b": weights(20)})
    assert "symmetry" not in only(optimized(data), "Conv")[0].attrs


def test_what_is_read_whole_is_not_split() -> None:
    """Slices that overlap, and a reader of everything."""
    constants = {"w": weights(8, 2, 3), "zero": np.array([0]), "five": np.array([5]), "one": np.array([1]), "end": END}
    nodes = [
        node("Conv", ["x", "w"], ["c"]), node("Slice", ["c", "zero", "five", "one"], ["a"]),
        node("Slice", ["c", "one", "end", "one"], ["b"]), node("ReduceSum", ["a"], ["u"]),
        node("ReduceSum", ["b"], ["v"]), node("Add", ["u", "v"], ["y"]),
    ]  # fmt: skip
    graph = optimized(model(nodes, {"x": [1, 2, 9]}, ["y"], constants))
    assert len(only(graph, "Conv")) == 1
    assert len(only(graph, "Slice")) == 2


@pytest.mark.parametrize(("size", "attrs", "kernel", "pads"), [
    (1, {"pads": [1, 1]}, [1], [0, 0]), (2, {"pads": [1, 1], "strides": [2]}, [2], [0, 0]),
    (4, {"pads": [1, 1], "strides": [2]}, [3], [1, 1]), (2, {"pads": [4, 4], "dilations": [2]}, [3], [4, 4]),
])  # fmt: skip
def test_taps_that_see_padding_only(size: int, attrs: dict[str, Any], kernel: list[int], pads: list[int]) -> None:
    made = node("Conv", ["x", "w"], ["y"], **attrs)
    (conv,) = only(optimized(model([made], {"x": ["batch", 5, size]}, ["y"], {"w": weights(6, 5, 3)})), "Conv")
    assert conv.attrs["kernel_shape"] == kernel
    assert conv.attrs["pads"] == pads


def written_out(epsilon: float = 1e-5, second: bool = True, affine: bool = True) -> bytes:
    """A layer normalization over the last axis, as TensorFlow's exporter writes it."""
    constants = {"e": np.array(epsilon, np.float32), "s": weights(12), "b": weights(12, seed=1)}
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[-1]), node("Sub", ["x", "m"], ["d"]), node("Sub", ["x", "m"], ["d2"]),
        node("Mul", ["d", "d"], ["q"]), node("ReduceMean", ["q"], ["v"], axes=[-1]), node("Add", ["e", "v"], ["ve"]),
        node("Sqrt", ["ve"], ["r"]), node("Div", ["d2" if second else "d", "r"], ["n" if affine else "y"]),
    ]  # fmt: skip
    if affine:
        nodes += [node("Mul", ["s", "n"], ["t"]), node("Add", ["t", "b"], ["y"])]
    return model(nodes, {"x": ["batch", "time", 12]}, ["y"], constants)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_layer_normalization_is_found(second: bool, affine: bool) -> None:
    graph = optimized(written_out(second=second, affine=affine))
    assert [n.op for n in graph.nodes] == ["LayerNormalization"]


def test_layer_normalization_needs_an_epsilon() -> None:
    assert not only(optimized(written_out(epsilon=0.0)), "LayerNormalization")


def test_bias_and_activation_go_through_a_reshape() -> None:
    nodes = [
        node("Reshape", ["x", "flat"], ["f"]), node("MatMul", ["f", "w"], ["m"]), node("Reshape", ["m", "cube"], ["r"]),
        node("Add", ["r", "b"], ["a"]), node("Sigmoid", ["a"], ["y"]),
    ]  # fmt: skip
    constants = {"w": weights(6, 20), "b": weights(20), "flat": np.array([-1, 6]), "cube": np.array([1, -1, 20])}
    graph = optimized(model(nodes, {"x": [1, "time", 6]}, ["y"], constants))
    (gemm,) = [n for n in graph.nodes if n.op not in ("Reshape", "Squeeze", "Unsqueeze")]
    assert (gemm.op, gemm.attrs["activation"], len(gemm.inputs)) == ("Gemm", "Sigmoid", 3)
