"""Caches that an exporter made inputs and outputs: frames in front of a sequence, and the last frames of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from rnnrt.converters import convert
from rnnrt.converters.state_pairs import names_match

import rnnrt
from onnx_graphs import Array, feeds, model, node, recurrent, run_onnxruntime, weights
from stream_checks import built, run_in_pieces, states_of

I64 = np.int64
K: dict[str, Array] = {f"k{i}": np.array([i], I64) for i in range(-4, 5)} | {"end": np.array([2**40], I64)}


def last(x: str, y: str, count: int) -> onnx.NodeProto:
    """The last frames along axis 2."""
    return node("Slice", [x, f"k{-count}", "end", "k2"], [y])


def two_caches(time: int | str, short: int = 2) -> bytes:
    """Two convolutions over [B, 5, T], each behind its cache; a GRU with a state behind them."""
    gru, constants = recurrent("GRU", "t", "r", 5, 3, tail=["", "h"])
    constants |= {**K, "w": weights(5, 5, short + 1), "v": weights(5, 1, 3)}
    nodes = [
        node("Concat", ["p", "x"], ["a"], axis=2),
        node("Conv", ["a", "w"], ["b"]),
        node("Concat", ["q", "b"], ["c"], axis=2),
        node("Conv", ["c", "v"], ["d"], group=5, dilations=[2]),
        node("Transpose", ["d"], ["t"], perm=[2, 0, 1]),
        *gru,
        node("Squeeze", ["r", "k1"], ["y"]),
        last("a", "first", short),
        last("c", "second", 4),
    ]
    inputs = {"x": ["batch", 5, time], "p": ["batch", 5, short], "q": ["batch", 5, 4], "h": [1, "batch", 3]}
    return model(nodes, inputs, ["y", "r.h", "second", "first"], constants)


def packed(time: int | str) -> bytes:
    """Both caches in one tensor [2, B, 5, 2]."""
    constants = {
        **K,
        "w": weights(5, 5, 3),
        "v": weights(5, 5, 3, seed=3),
        "i0": np.array(0, I64),
        "i1": np.array(1, I64),
    }
    nodes = [
        node("Gather", ["cache", "i0"], ["p"], axis=0),
        node("Gather", ["cache", "i1"], ["q"], axis=0),
        node("Concat", ["p", "x"], ["a"], axis=2),
        node("Conv", ["a", "w"], ["b"]),
        node("Concat", ["q", "b"], ["c"], axis=2),
        node("Conv", ["c", "v"], ["y"]),
        last("a", "p2", 2),
        last("c", "q2", 2),
        node("Unsqueeze", ["p2", "k0"], ["p3"]),
        node("Unsqueeze", ["q2", "k0"], ["q3"]),
        node("Concat", ["p3", "q3"], ["fresh"], axis=0),
    ]
    return model(nodes, {"x": ["batch", 5, time], "cache": [2, "batch", 5, 2]}, ["y", "fresh"], constants)


def original(data: bytes, pairs: dict[str, str], x: list[Array], starts: dict[str, Array]) -> list[Array]:
    """What onnxruntime gives, call by call, its outputs fed back."""
    made = []
    for piece in x:
        outputs = run_onnxruntime(data, {"x": piece, **starts})
        starts = {name: outputs[output] for name, output in pairs.items()}
        made.append(outputs["y"])
    return made


TWO = {"p": "first", "q": "second", "h": "r.h"}


@pytest.mark.parametrize(("make", "pairs"), [(two_caches, TWO), (packed, {"cache": "fresh"})], ids=["two", "packed"])
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_caches_of_sequences_are_found(make: Any, pairs: dict[str, str], quantize: str | None) -> None:
    """Nothing is said by names: the numbers are followed."""
    data = make("time")
    graph, made = built(data, quantize)
    assert graph.streamable, graph.not_streamable_because
    assert {s.input: s.output for s in graph.states} == pairs
    given = {"x": feeds(graph, 11, 3)["x"]}
    whole = run_in_pieces(made, graph, given, [11])["y"]
    for sizes in ([1] * 11, [0, 4, 0, 7], [10, 1]):
        assert run_in_pieces(made, graph, given, sizes)["y"].tobytes() == whole.tobytes(), sizes
    shapes = {n: tuple(3 if d == "B" else d for d in shape) for n, shape in states_of(graph).items()}
    starts = {n: np.zeros(shape, np.float32) for n, shape in shapes.items()}
    expected = original(data, pairs, [given["x"][:, :, :4], given["x"][:, :, 4:]], starts)
    axis = 0 if "h" in pairs else 2
    assert np.abs(np.concatenate(expected, axis) - whole).max() < (0.2 if quantize else 1e-5)


def test_caches_are_in_the_state_and_can_be_set() -> None:
    _, made = built(packed("time"))
    with made.stream(2) as stream:
        stream.run(np.ones((2, 5, 7), np.float32))
        kept = {n: np.array(a) for n, a in stream.state.items()}
        assert kept["cache"].shape == (2, 2, 5, 2)
        assert np.array_equal(kept["cache"][0], np.ones((2, 5, 2)))


@pytest.mark.parametrize("name", ["first frames", "too few", "used alone"])
def test_what_is_no_cache_is_not_taken(name: str) -> None:
    constants = {**K, "w": weights(5, 5, 3)}
    nodes = [node("Concat", ["p", "x"], ["a"], axis=2), node("Conv", ["a", "w"], ["y"])]
    if name == "first frames":
        nodes.append(node("Slice", ["a", "k0", "k2", "k2"], ["fresh"], "culprit"))
    elif name == "too few":
        nodes = [nodes[0], node("Conv", ["a", "w"], ["y"], "culprit", pads=[1, 0]), last("a", "fresh", 2)]
        constants["w"] = weights(5, 5, 4)
    else:
        nodes = [
            *nodes,
            node("Add", ["p", "p"], ["pp"]),
            node("Concat", ["pp", "x"], ["b"], axis=2),
            last("b", "fresh", 2),
        ]
    data = model(nodes, {"x": ["batch", 5, "time"], "p": ["batch", 5, 2]}, ["y", "fresh"], constants)
    graph = convert.prepare(data)
    assert not graph.streamable
    assert not graph.states
    assert {v.name for v in graph.inputs} == {"x", "p"}
    if name != "used alone":
        assert "'culprit'" in graph.not_streamable_because


def test_a_cache_of_single_frames_is_found_by_what_has_moved() -> None:
    """No time axis: the caller gives one frame a call, as exported streaming models have it."""
    data = two_caches(1)
    graph, made = built(data)
    assert {s.input: s.output for s in graph.states} == TWO
    x = np.random.default_rng(1).standard_normal((6, 2, 5, 1)).astype(np.float32)
    starts = {
        "p": np.zeros((2, 5, 2), np.float32),
        "q": np.zeros((2, 5, 4), np.float32),
        "h": np.zeros((1, 2, 3), np.float32),
    }
    expected = original(data, TWO, list(x), starts)
    with made.stream(2) as stream:
        for frame, want in zip(x, expected, strict=True):
            assert np.abs(np.array(stream.step(frame)) - want).max() < 1e-5


def test_a_cache_of_one_frame_needs_a_name_or_a_pair() -> None:
    """All of it is new each time, so no number tells."""
    data = two_caches(1, short=1)
    assert "p" not in {s.input for s in convert.prepare(data).states}
    graph = convert.prepare(data, state_pairs=[("p", "first")])
    assert {s.input: s.output for s in graph.states} == TWO
    assert isinstance(rnnrt.load(convert.build(data, graph)[1]), rnnrt.Model)


@pytest.mark.parametrize(
    ("name", "output"),
    [("cache", "cache_out"), ("conv_cache_in", "conv_cache_out"), ("cached_key_0", "new_cached_key_0"),
     ("past_k", "present_k"), ("enc_buf", "next_enc_buf"), ("prev_state", "new_state")],
)  # fmt: skip
def test_names_that_match(name: str, output: str) -> None:
    assert names_match(name, output)
    assert not names_match(name, f"{output}_other_0x")
