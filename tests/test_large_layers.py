"""Steps of layers that outgrow L2, which some instruction sets read in another order: the bits of those that do not."""

from __future__ import annotations

import numpy as np
import pytest

import rnnrt
from stream_checks import int8_layer

# From 2 MB and from 4 MB of s8 weights on; units that are no multiple of 16, nor their blocks of 12.
SIZES = ((512, 520), (1000, 728), (700, 1000))


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_steps_have_the_same_bits_everywhere(op: str, features: int, hidden: int) -> None:
    blob = int8_layer(op, features, hidden)
    x = np.random.default_rng([features, hidden]).standard_normal((5, 1, features)).astype(np.float32)
    plain = rnnrt.load(blob, isa="scalar").stream()
    expected = [np.array(plain.step(frame)) for frame in x]
    for isa in rnnrt.isas():
        for threads in (1, 2):
            stream = rnnrt.load(blob, isa=isa, threads=threads).stream()
            for frame, y in zip(x, expected, strict=True):
                assert np.array(stream.step(frame)).tobytes() == y.tobytes(), (isa, threads)
    assert rnnrt.load(blob)(x).tobytes() == np.stack(expected).tobytes()
