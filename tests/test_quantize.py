"""Which layers become s8, and how well."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rnnrt.converters import ir, pack, quantize, read, write

import models
import rnnrt

Array = npt.NDArray[Any]
F32 = np.dtype(np.float32)


def weights(*shape: int, seed: int = 7) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def graph() -> ir.Graph:
    """Conv, GRU, a large and a small Gemm; shapes as in a small speech model."""
    constants = {
        "wc": weights(24, 8, 3),
        "w": weights(1, 60, 24),
        "r": weights(1, 60, 20),
        "w1": weights(32, 20),
        "w2": weights(32, 5),
    }
    nodes = [
        ir.Node("Conv", "front", ["x", "wc"], ["a"]),
        ir.Node("GRU", "gru", ["a", "w", "r"], ["b"], {"hidden_size": 20}),
        ir.Node("Gemm", "large", ["b", "w1"], ["c"], {"transB": 1}),
        ir.Node("Gemm", "small", ["c", "w2"], ["d"]),
        ir.Node("Gemm", "", ["d", "data"], ["e"]),
    ]
    return ir.Graph(nodes=nodes, constants=constants)


def test_rows_round_to_the_nearest_of_255_levels() -> None:
    w = weights(50, 33) * np.logspace(-20, 20, 50, dtype=np.float32)[:, None]
    q, scale = quantize.quantize_rows(w)
    assert q.dtype == np.int8
    assert scale.dtype == np.float32
    assert q.min() >= -127
    np.testing.assert_array_equal(np.abs(q).max(axis=1), 127)  # the largest weight of a row uses the whole range
    np.testing.assert_array_equal(scale, np.abs(w).max(axis=1) / np.float32(127))
    error = np.abs(q * scale[:, None].astype(np.float64) - w)
    assert np.all(error <= 0.5000001 * scale[:, None])


def test_halves_round_to_even() -> None:
    w = np.array([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]], np.float32)
    q, scale = quantize.quantize_rows(w)
    assert scale[0] == 1
    np.testing.assert_array_equal(q, [[127, 0, 2, 2, 0, -2, -2]])


def test_zero_and_vanishing_rows() -> None:
    w = np.array([[0, 0], [1e-31, -1e-31], [1e-29, 0]], np.float32)
    q, scale = quantize.quantize_rows(w)
    np.testing.assert_array_equal(q, [[0, 0], [0, 0], [127, 0]])
    assert scale[0] == scale[1] == 0
    assert scale[2] > 0


def test_int8_policy_and_reasons() -> None:
    plan = quantize.plan(graph(), "int8")
    found = {layer.node: layer.precision for layer in plan.layers.values()}
    assert found == {"front": "f32", "gru": "s8", "large": "s8", "small": "f32"}
    reasons = {layer.node: layer.reason for layer in plan.layers.values()}
    assert "convolutions" in reasons["front"]
    assert "rows" in reasons["small"]


def test_everything_and_float() -> None:
    everything = quantize.plan(graph(), "int8", everything=True)
    assert {layer.precision for layer in everything.layers.values()} == {"s8"}
    plain = quantize.plan(graph(), "float")
    assert {layer.precision for layer in plain.layers.values()} == {"f32"}
    assert all(layer.weight_sqnr_db is None for layer in plain.layers.values())


def test_report_counts_bytes_and_decibels() -> None:
    g = graph()
    layers = {layer["node"]: layer for layer in quantize.plan(g, "int8").report()}
    gru = layers["gru"]
    assert gru["bytes_before"] == 4 * (60 * 24 + 60 * 20)
    padded = 3 * 32  # every gate of 20 units is padded to 32
    assert gru["bytes_after"] == padded * (24 + 8) + padded * (20 + 8)
    matrices = quantize.weight_matrices(g.nodes[1], g.constants)
    assert matrices is not None
    flat = np.concatenate([m.reshape(-1) for m in matrices])
    restored = [q * s[:, None].astype(np.float64) for q, s in map(quantize.quantize_rows, matrices)]
    noise = flat - np.concatenate([m.reshape(-1) for m in restored])
    expected = 10 * np.log10(np.square(flat.astype(np.float64)).sum() / np.square(noise).sum())
    assert gru["weight_sqnr_db"] == pytest.approx(expected)
    assert 35 < gru["weight_sqnr_db"] < 50


def test_keep_float_patterns() -> None:
    plan = quantize.plan(graph(), "int8", ["gr*"])
    layer = plan.layers["b"]
    assert layer.precision == "f32"
    assert "gr*" in layer.reason
    with pytest.raises(ValueError, match=r"no layer matches 'nothing'; .* gru,"):
        quantize.plan(graph(), "int8", ["gru", "nothing"])
    with pytest.raises(ValueError, match="unknown quantization 'int3'"):
        quantize.plan(graph(), "int3")


def test_the_input_matrix_of_a_recurrent_layer_stays_float_alone() -> None:
    g = graph()
    plan = quantize.plan(g, "int8", ["gru.W"])
    layer = plan.layers["b"]
    assert (layer.precision, layer.input_float, plan.input_precision(g.nodes[1])) == ("s8", True, "f32")
    assert "W f32, asked for by 'gru.W'" in layer.reason
    padded = 3 * 32
    assert layer.bytes_after == padded * 24 * 4 + padded * (20 + 8)
    assert layer.weight_sqnr_db is not None
    assert layer.weight_sqnr_db > (quantize.plan(g, "int8").layers["b"].weight_sqnr_db or 0)
    with pytest.raises(ValueError, match=r"no layer matches 'large\.W'"):
        quantize.plan(g, "int8", ["large.W"])


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_matrices_of_two_precisions_give_the_same_bits_everywhere(op: str) -> None:
    """W f32 and R s8: on every instruction set, stepping and whole, closer to f32 than both in s8."""
    builder = models._Builder(3)
    builder.input("x", (models.T, models.B, 40))
    builder.recurrent(op, "x", "y", 40, 33)
    builder.output("y", (models.T, 1, models.B, 33))
    blobs = [
        write.to_bytes(pack.pack(builder.graph, quantize.plan(builder.graph, mode, keep)))
        for mode, keep in (("float", []), ("int8", []), ("int8", [f"{op.lower()}_y.W"]))
    ]
    x = models.signal((9, 3, 40)) * np.float32(10) ** models.signal((9, 3, 40), 1)  # spans decades
    exact, both, mixed = (np.asarray(rnnrt.load(blob)(x)) for blob in blobs)
    assert np.abs(mixed - exact).max() < np.abs(both - exact).max() / 2
    assert {v.dtype for v in read.parse(blobs[2]).values if v.layout != "plain"} == {"f32", "s8"}
    for isa in rnnrt.isas():
        model = rnnrt.load(blobs[2], isa=isa)
        stream = model.stream(batch=3)
        assert np.stack([np.asarray(stream.step(f)).reshape(1, 3, 33) for f in x]).tobytes() == mixed.tobytes()
        assert np.asarray(model(x)).tobytes() == mixed.tobytes()
        for b in range(3):
            assert np.asarray(model(x[:, b : b + 1])).tobytes() == mixed[:, :, b : b + 1].tobytes()


def test_infinite_weights_stay_float() -> None:
    g = graph()
    g.constants["w1"][0, 0] = np.inf
    layer = quantize.plan(g, "int8").layers["c"]
    assert layer.precision == "f32"
    assert "finite" in layer.reason


def test_gemm_matrix_is_transposed_and_scaled() -> None:
    w = weights(4, 3)
    node = ir.Node("Gemm", "g", ["x", "w"], ["y"], {"alpha": 2.0})
    np.testing.assert_array_equal(quantize.gemm_matrix(node, {"w": w}), 2 * w.T)
    node.attrs["transB"] = 1
    np.testing.assert_array_equal(quantize.gemm_matrix(node, {"w": w}), 2 * w)


def test_sqnr() -> None:
    x = np.array([3.0, 4.0])
    assert quantize.sqnr_db(x, x) == np.inf
    assert quantize.sqnr_db(x, x + np.array([0.0, 0.5])) == pytest.approx(20)
    assert quantize.sqnr_db(np.zeros(2), x) == -np.inf
