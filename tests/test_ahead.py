"""Sequences that are projected ahead: the bits of the instruction sets that do not, of batches and of steps."""

from __future__ import annotations

import numpy as np
import pytest
from rnnrt.converters import convert

import rnnrt
from onnx_graphs import model, recurrent, run_onnxruntime
from stream_checks import int8_layer

# More columns of W than of R, as many, fewer; blocks of units that are left over.
SIZES = ((64, 64), (200, 100), (49, 97), (150, 272))
TIMES = (15, 16, 19, 40)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["GRU", "LSTM"])
@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_sequences_have_the_same_bits_everywhere(op: str, direction: str, features: int, hidden: int) -> None:
    attributes = {"direction": direction} | ({"linear_before_reset": 1} if op == "GRU" else {})
    directions = 2 if direction == "bidirectional" else 1
    nodes, constants = recurrent(op, "x", "y", features, hidden, directions, **attributes)
    outputs = ["y", "y.h", *(["y.c"] if op == "LSTM" else [])]
    data = model(nodes, {"x": ["T", "B", features]}, outputs, constants)
    blob = convert.build(data, convert.prepare(data), "int8")[1]
    best, plain = rnnrt.load(blob), rnnrt.load(blob, isa="scalar")
    threads = rnnrt.load(blob, threads=2)
    random = np.random.default_rng([features, hidden])
    for time in TIMES:
        x = random.standard_normal((time, 1, features)).astype(np.float32)
        found, expected, divided = best(x), plain(x), threads(x)
        exact = run_onnxruntime(data, {"x": x})
        for name in outputs:
            assert found[name].tobytes() == expected[name].tobytes() == divided[name].tobytes(), (name, time)
            assert np.abs(found[name] - exact[name]).max() < 0.05, (name, time)
        batch = best(np.concatenate([x, x[::-1]], axis=1))
        assert batch["y"][:, :, :1].tobytes() == found["y"].tobytes()


@pytest.mark.parametrize(("op", "features", "hidden"), [("LSTM", 520, 1030), ("GRU", 600, 1190)])
def test_weights_that_are_read_as_one_run(op: str, features: int, hidden: int) -> None:
    """From 4 MB of R on one gate's rows are read after the other's."""
    blob = int8_layer(op, features, hidden)
    x = np.random.default_rng(hidden).standard_normal((19, 1, features)).astype(np.float32)
    assert rnnrt.load(blob)(x).tobytes() == rnnrt.load(blob, isa="scalar")(x).tobytes()


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_sequences_are_their_steps(op: str, features: int, hidden: int) -> None:
    made = rnnrt.load(int8_layer(op, features, hidden))
    x = np.random.default_rng(hidden).standard_normal((60, 1, features)).astype(np.float32)
    whole = made(x)
    assert made.streamable
    stream = made.stream()
    pieces = [np.array(stream.run(x[a:b])) for a, b in ((0, 1), (1, 24), (24, 60))]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
