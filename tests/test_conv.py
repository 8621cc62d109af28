"""Conv, ConvTranspose, MaxPool and AveragePool, 1-d and 2-d, with random attributes.

Against onnxruntime (or, where it refuses what the specification allows, the float64 reference), in f32 and in s8; with
the same bits on every instruction set, in every batch and over an empty sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as errors
from rnnrt.converters import from_onnx, pack, quantize, reference, simplify, write
from rnnrt.converters.channels_last import channels_last
from rnnrt.converters.ir import Graph

import rnnrt
from onnx_graphs import Array, model, node, run_onnxruntime, weights
from rnnrt import UnsupportedError

CASES = 40  # random attribute sets of each operator
ACTIVATIONS = ("", "Relu", "Tanh", "LeakyRelu")


def draw(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def attributes(rng: np.random.Generator, op: str, spatial: int) -> dict[str, Any]:
    """kernel_shape and a random choice of the others."""
    each = range(spatial)
    attrs: dict[str, Any] = {
        "kernel_shape": [draw(rng, 1, 2, 3, 5) for _ in each],
        "strides": [draw(rng, 1, 1, 2, 3) for _ in each],
        "dilations": [draw(rng, 1, 1, 2) for _ in each],
    }
    kind = draw(rng, "pads", "pads", "none", "SAME_UPPER", "SAME_LOWER", "VALID")
    if kind == "pads":
        attrs["pads"] = [int(rng.integers(0, attrs["kernel_shape"][i % spatial])) for i in range(2 * spatial)]
    elif kind != "none":
        attrs["auto_pad"] = kind
        if kind != "VALID":  # onnxruntime knows no dilation here, and pads no ConvTranspose whose kernel is too small
            attrs["dilations"] = [1] * spatial
            attrs["kernel_shape"] = [max(pair) for pair in zip(attrs["kernel_shape"], attrs["strides"], strict=True)]
    if op == "ConvTranspose" and "auto_pad" not in attrs:
        attrs["output_padding"] = [
            int(rng.integers(0, max(s, d))) for s, d in zip(attrs["strides"], attrs["dilations"])
        ]
    if op.endswith("Pool") and kind in ("pads", "none"):
        attrs["ceil_mode"] = int(rng.integers(2))
    if op == "AveragePool":
        attrs["count_include_pad"] = int(rng.integers(2))
    return attrs


def operands(rng: np.random.Generator, op: str, attrs: dict[str, Any]) -> tuple[int, dict[str, Array]]:
    """Channels of X; W and perhaps B."""
    if op.endswith("Pool"):
        return int(rng.integers(1, 20)), {}
    inside, outside, group = int(rng.integers(1, 9)), int(rng.integers(1, 22)), draw(rng, 1, 1, 2, 3)
    if draw(rng, 0, 0, 0, 1):  # depthwise
        group, inside, outside = int(rng.integers(2, 40)), 1, 1
    attrs["group"] = group
    kernel = attrs["kernel_shape"]
    shape = (group * outside, inside) if op == "Conv" else (group * inside, outside)
    constants: dict[str, Array] = {"w": weights(*shape, *kernel, seed=int(rng.integers(99)))}
    if draw(rng, 0, 1):
        constants["b"] = weights(group * outside)
    return group * inside, constants


def case(op: str, spatial: int, seed: int) -> tuple[bytes, tuple[int, ...]]:
    """A model of one operator and perhaps an activation; the shape of x with a batch of 3."""
    rng = np.random.default_rng([seed, spatial, len(op)])
    attrs = attributes(rng, op, spatial)
    channels, constants = operands(rng, op, attrs)
    size = [int(rng.integers(6, 14)) for _ in range(spatial)]
    activation = draw(rng, *ACTIVATIONS)
    nodes = [node(op, ["x", *constants], ["a" if activation else "y"], **attrs)]
    if activation:
        nodes.append(node(activation, ["a"], ["y"]))
    data = model(nodes, {"x": ["batch", channels, *size]}, ["y"], constants, opset=22)
    return data, (3, channels, *size)


def blob(graph: Graph, mode: str = "float") -> bytes:
    """The file; with int8 everything that can be is s8."""
    return write.to_bytes(pack.pack(graph, quantize.plan(graph, mode, everything=True)))


def expected(data: bytes, graph: Graph, x: Mapping[str, Array]) -> Array:
    """By onnxruntime, or by the reference where onnxruntime refuses."""
    (exact,) = reference.run(graph, x)[0].values()
    try:
        (want,) = run_onnxruntime(data, x).values()
    except (errors.NotImplemented, errors.RuntimeException, errors.Fail, errors.InvalidArgument):
        return exact
    np.testing.assert_allclose(exact, want, rtol=1e-5, atol=1e-5)
    return want


def on_every_isa(content: bytes, x: Array) -> Array:
    """The result, the same bytes on every instruction set."""
    found = {isa: np.asarray(rnnrt.load(content, isa=isa)(x)) for isa in rnnrt.isas()}
    assert len(found) >= 2
    assert len({y.tobytes() for y in found.values()}) == 1
    return found["scalar"]


@pytest.mark.parametrize("seed", range(CASES))
@pytest.mark.parametrize("spatial", [1, 2])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "MaxPool", "AveragePool"])
def test_random_attributes(op: str, spatial: int, seed: int) -> None:
    data, shape = case(op, spatial, seed)
    graph = channels_last(simplify.simplify(from_onnx.load(data)))
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    want = expected(data, graph, {"x": x})
    found = on_every_isa(blob(graph), x)
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)
    for i in range(len(x)):  # alone as in a batch
        assert np.asarray(rnnrt.load(blob(graph))(x[i : i + 1])).tobytes() == found[i : i + 1].tobytes()
    if op.startswith("Conv") and want.any():
        noise = on_every_isa(blob(graph, "int8"), x) - want
        assert np.square(noise).sum() <= np.square(want).sum() * 10**-2.0  # 20 dB: tiny layers, one of them tanh


@pytest.mark.parametrize(("op", "constants"), [
    ("Conv", {"w": weights(5, 3, 3)}), ("Conv", {"w": weights(3, 1, 3)}), ("ConvTranspose", {"w": weights(3, 5, 3)}),
    ("MaxPool", {}), ("AveragePool", {}),
])  # fmt: skip
@pytest.mark.parametrize("stride", [1, 2])
def test_over_time(op: str, constants: dict[str, Array], stride: int) -> None:
    """Time as the spatial axis: any length; with stride 1 none included, with stride 2 averaged."""
    attrs: dict[str, Any] = {"kernel_shape": [3], "strides": [stride], "pads": [1, 1]}
    if op == "Conv":
        attrs["group"] = 3 // constants["w"].shape[1]
    nodes = [node(op, ["x", *constants], ["y"], **attrs)]
    if stride == 2:
        nodes = [node(op, ["x", *constants], ["a"], **attrs), node("ReduceMean", ["a"], ["y"], axes=[2])]
    data = model(nodes, {"x": ["batch", 3, "time"]}, ["y"], constants)
    graph = channels_last(simplify.simplify(from_onnx.load(data)))
    graph.streamable = False
    loaded = rnnrt.load(blob(graph))
    for time in (1, 2, 40, 5):
        x = np.random.default_rng(time).standard_normal((2, 3, time)).astype(np.float32)
        np.testing.assert_allclose(loaded(x), expected(data, graph, {"x": x}), rtol=1e-5, atol=1e-5)
    if stride == 1:
        outputs = 5 if op == "ConvTranspose" else len(constants.get("w", x[0]))
        assert np.asarray(loaded(x[..., :0])).shape == (2, outputs, 0)


def test_a_chain_keeps_its_channels_last() -> None:
    """Between convolutions nothing is transposed: not around elementwise operators, slices of channels or pools."""
    constants = {"w": weights(8, 3, 3), "v": weights(6, 4, 3), "u": weights(5, 6, 1), "zero": np.array([0]),
                 "four": np.array([4]), "one": np.array([1])}  # fmt: skip
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1]),
        node("Slice", ["a", "zero", "four", "one"], ["b"]),
        node("Mul", ["b", "b"], ["c"]),
        node("MaxPool", ["c"], ["d"], kernel_shape=[2], strides=[2]),
        node("Conv", ["d", "v"], ["e"]),
        node("Tanh", ["e"], ["f"]),
        node("Conv", ["f", "u"], ["y"]),
    ]
    data = model(nodes, {"x": ["batch", 3, 20]}, ["y"], constants)
    graph = channels_last(simplify.simplify(from_onnx.load(data)))
    kinds = [n.op for n in graph.nodes]
    assert kinds == ["Transpose", "Conv", "Slice", "Mul", "MaxPool", "Conv", "Conv", "Transpose"]
    x = np.random.default_rng(1).standard_normal((2, 3, 20)).astype(np.float32)
    np.testing.assert_allclose(on_every_isa(blob(graph), x), expected(data, graph, {"x": x}), rtol=1e-5, atol=1e-5)


def test_states_keep_their_names_and_values() -> None:
    """A state that the channels-last pass sees transposed on the way is still what the file says it is."""
    constants = {"w": weights(3, 3, 2)}
    nodes = [node("Concat", ["cache", "x"], ["a"], axis=2), node("Conv", ["a", "w"], ["y"]),
             node("Tanh", ["x"], ["cache_out"])]  # fmt: skip
    data = model(nodes, {"x": [1, 3, 1], "cache": [1, 3, 1]}, ["y", "cache_out"], constants)
    from rnnrt.converters.convert import build, prepare

    graph = prepare(data)
    assert [(s.name, graph.values[s.input].shape) for s in graph.states] == [("cache", (1, 3, 1))]
    stream = rnnrt.load(build(data, graph)[1]).stream()
    x = np.random.default_rng(1).standard_normal((4, 1, 3, 1)).astype(np.float32)
    cache = np.zeros((1, 3, 1), np.float32)
    for frame in x:
        want = run_onnxruntime(data, {"x": frame, "cache": cache})
        np.testing.assert_allclose(np.asarray(stream.step(frame)).reshape(1, 3, 1), want["y"], rtol=1e-5, atol=1e-5)
        cache = want["cache_out"]


REFUSED: list[tuple[str, dict[str, Any], dict[str, Array], str]] = [
    ("Conv", {}, {"w": weights(2, 3, 2, 2, 2)}, "3 spatial dimensions"),
    ("MaxPool", {"kernel_shape": [1, 2, 2]}, {}, "3 spatial dimensions"),
    (
        "Conv",
        {"auto_pad": "SAME_UPPER", "strides": [2]},
        {"w": weights(2, 3, 3)},
        "SAME_UPPER on an axis of unknown size",
    ),
    ("AveragePool", {"auto_pad": "SAME_LOWER", "strides": [2], "kernel_shape": [3]}, {}, "SAME_LOWER"),
    ("Conv", {"pads": [-1, 0]}, {"w": weights(2, 3, 3)}, "negative"),
    ("ConvTranspose", {"strides": [2], "output_shape": [9]}, {"w": weights(3, 2, 3)}, "output_shape"),
]


@pytest.mark.parametrize(("op", "attrs", "constants", "reason"), REFUSED)
def test_refusals_name_the_reason(op: str, attrs: dict[str, Any], constants: dict[str, Array], reason: str) -> None:
    spatial = constants["w"].ndim - 2 if constants else len(attrs["kernel_shape"])
    shape = ["batch", 3, *[6] * (spatial - 1), "time"]
    data = model([node(op, ["x", *constants], ["y"], **attrs)], {"x": shape}, ["y"], constants)
    with pytest.raises(UnsupportedError, match=reason):
        simplify.simplify(from_onnx.load(data))
