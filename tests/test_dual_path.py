"""Recurrence inside a frame and across frames in one graph: axes that are products of time, batch and frequency."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rnnrt.converters import merged_axes, sizes
from rnnrt.converters.ir import Size, Sym
from torch import nn

from onnx_graphs import model, node, ops, recurrent, weights
from stream_checks import assert_streams, built, exported, states_of

T, B = Sym.TIME, Sym.BATCH
I64 = np.int64


class DualPath(nn.Module):
    """DPRNN with a hop of one frame: x [B, T, F, 2], recurrent over F (both directions), then over T."""

    def __init__(self, batch_outside: bool, cell: type[nn.GRU | nn.LSTM], channels: int = 6, hidden: int = 5) -> None:
        super().__init__()
        self.batch_outside = batch_outside
        self.input = nn.Linear(2, channels)
        self.intra = cell(channels, hidden, batch_first=True, bidirectional=True)
        self.inter = cell(channels, hidden, batch_first=True)
        self.joins = nn.ModuleList([nn.Linear(2 * hidden, channels), nn.Linear(hidden, channels)])
        self.norms = nn.ModuleList([nn.LayerNorm(channels), nn.LayerNorm(channels)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Merged as [B*T, F] and [B*F, T], or as [T*B, F] and [F*B, T]."""
        x = self.input(x)
        b, t, f, c = x.shape
        if self.batch_outside:
            y = self.joins[0](self.intra(x.reshape(b * t, f, c))[0]).reshape(b, t, f, c)
            x = x + self.norms[0](y)
            y = self.joins[1](self.inter(x.permute(0, 2, 1, 3).reshape(b * f, t, c))[0])
            return x + self.norms[1](y.reshape(b, f, t, c).permute(0, 2, 1, 3))
        y = self.joins[0](self.intra(x.permute(1, 0, 2, 3).reshape(t * b, f, c))[0])
        x = x + self.norms[0](y.reshape(t, b, f, c).permute(1, 0, 2, 3))
        y = self.joins[1](self.inter(x.permute(2, 0, 1, 3).reshape(f * b, t, c))[0])
        return x + self.norms[1](y.reshape(f, b, t, c).permute(1, 2, 0, 3))


@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_outside", [True, False], ids=["batch-time", "time-batch"])
def test_a_dual_path_block_from_torch(cell: type[nn.GRU | nn.LSTM], batch_outside: bool) -> None:
    torch.manual_seed(1)
    module = DualPath(batch_outside, cell)
    graph = assert_streams(exported(module, torch.randn(2, 7, 9, 2), {0: "batch", 1: "time"}, False), time=11)
    shape = ("B", 9, 1, 5) if batch_outside else (9, "B", 1, 5)
    assert set(states_of(graph).values()) == {shape}
    assert len(graph.states) == (2 if cell is nn.LSTM else 1)
    assert "MatMul" not in ops(graph)  # shapes are followed through the merged axes


def export_by_dynamo() -> bytes:
    """The block with [B*T, F] and [B*F, T] through torch's new exporter."""
    torch.manual_seed(1)
    return exported(DualPath(True, nn.GRU), torch.randn(2, 7, 9, 2), {0: "batch", 1: "time"}, True)


def test_a_dual_path_block_from_the_new_exporter() -> None:
    """Exported in a process of its own: what tests before it traced can make torch fix T to the example's 7."""
    code = "import sys, test_dual_path as t; y = t.export_by_dynamo(); sys.stdout.buffer.write(b'>>>' + y)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    graph = assert_streams(done.stdout.split(b">>>", 1)[1], time=11)
    assert set(states_of(graph).values()) == {("B", 9, 1, 5)}


class Crn(nn.Module):
    """As DPCRN has it: a causal 2-d encoder that narrows the frequencies, a dual path, a causal decoder, skips."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(2, 6, (2, 3), stride=(1, 2))
        self.norm = nn.BatchNorm2d(6)
        self.intra = nn.GRU(6, 3, batch_first=True, bidirectional=True)
        self.inter = nn.GRU(6, 6, batch_first=True)
        self.decoder = nn.ConvTranspose2d(12, 2, (2, 3), stride=(1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [B, 2, T, F]."""
        e = torch.relu(self.norm(self.encoder(nn.functional.pad(x, (0, 0, 1, 0)))))
        b, c, t, f = e.shape
        z = e.permute(0, 2, 3, 1).reshape(b * t, f, c)
        z = self.intra(z)[0].reshape(b, t, f, c)
        z = self.inter(z.permute(0, 2, 1, 3).reshape(b * f, t, c))[0].reshape(b, f, t, c).permute(0, 3, 2, 1)
        return self.decoder(torch.cat([z, e], 1))[:, :, :-1]


def test_a_convolutional_recurrent_network_from_torch() -> None:
    torch.manual_seed(2)
    graph = assert_streams(exported(Crn(), torch.randn(2, 2, 7, 9), {0: "batch", 2: "time"}, False), time=12)
    assert graph.streamable
    assert len(graph.states) == 3
    assert any("ConvTranspose" in s.source for s in graph.states)


# ---- hand-made graphs ----


def merged(perm: list[int], back: list[int], merge: list[int], split: list[int]) -> bytes:
    """x [B, T, 4, 3] -> permuted, merged to [?, 4, 3], a scan over 4, split, permuted back."""
    nodes, constants = recurrent("GRU", "u", "r", 3, 2, directions=2, direction="bidirectional")
    constants |= {"one": np.array([1], I64), "m": np.array(merge, I64), "s": np.array(split, I64)}
    before = [node("Transpose", ["x"], ["p"], perm=perm), node("Reshape", ["p", "m"], ["q"]),
              node("Transpose", ["q"], ["u"], perm=[1, 0, 2])]  # fmt: skip
    after = [node("ReduceSum", ["r", "one"], ["v"], keepdims=0), node("Transpose", ["v"], ["w"], perm=[1, 0, 2]),
             node("Reshape", ["w", "s"], ["z"], "split"), node("Transpose", ["z"], ["y"], perm=back)]  # fmt: skip
    return model([*before, *nodes, *after], {"x": [3, "time", 4, 3]}, ["y"], constants)


def test_what_was_merged_may_be_split_in_the_same_order() -> None:
    assert_streams_at(merged([0, 1, 2, 3], [0, 1, 2, 3], [-1, 4, 3], [3, -1, 4, 2]))
    assert_streams_at(merged([1, 0, 2, 3], [1, 0, 2, 3], [-1, 4, 3], [-1, 3, 4, 2]))


def assert_streams_at(data: bytes) -> None:
    graph, made = built(data)
    assert graph.streamable, graph.not_streamable_because
    x = np.random.default_rng(0).standard_normal((3, 6, 4, 3)).astype(np.float32)
    whole = np.array(made(x))
    with made.stream() as stream:
        pieces = [np.array(stream.run(np.ascontiguousarray(x[:, a:b]))) for a, b in ((0, 1), (1, 1), (1, 4), (4, 6))]
    assert np.concatenate(pieces, 1).tobytes() == whole.tobytes()


def test_splitting_in_another_order_mixes_frames() -> None:
    """[B*T] taken for [T, B]: frame 0 then has numbers of frame 1."""
    graph, _ = built(merged([0, 1, 2, 3], [1, 0, 2, 3], [-1, 4, 3], [-1, 3, 4, 2]))
    assert not graph.streamable
    assert "mixes time with another dimension" in graph.not_streamable_because


def test_scanning_a_merged_axis_is_refused_by_name() -> None:
    nodes, constants = recurrent("GRU", "u", "r", 3, 2)
    constants |= {"m": np.array([-1, 1, 3], I64)}
    graph, _ = built(model([node("Reshape", ["x", "m"], ["u"]), *nodes, node("ReduceMean", ["r"], ["y"], axes=[0])],
                           {"x": ["time", 4, 3]}, ["y"], constants))  # fmt: skip
    assert not graph.streamable
    assert "'r'" in graph.not_streamable_because


@pytest.mark.parametrize("batch", [1, 3])
def test_a_learned_beginning_of_merged_streams(batch: int) -> None:
    """initial_h [1, B*4, 2] expanded from one vector: the state begins with it for each of the batch."""
    nodes, constants = recurrent("GRU", "u", "r", 3, 2, tail=["", "h0"])
    start = weights(1, 1, 2, seed=5)
    constants |= {"start": start, "m": np.array([0, -1, 3], I64), "one": np.array([1], I64), "two": np.array([2], I64)}
    constants |= {"back": np.array([0, -1, 4, 2], I64)}
    before = [node("Reshape", ["x", "m"], ["u"]), node("Shape", ["u"], ["s"]), node("Gather", ["s", "one"], ["n"]),
              node("Concat", ["one", "n", "two"], ["hs"], axis=0), node("Expand", ["start", "hs"], ["h0"])]  # fmt: skip
    after = [node("Squeeze", ["r", "one"], ["v"]), node("Reshape", ["v", "back"], ["y"])]
    data = model([*before, *nodes, *after], {"x": ["time", "batch", 4, 3]}, ["y"], constants)
    graph = assert_streams(data, time=9)
    assert states_of(graph) == {"r.h": (1, "B", 4, 2)}
    assert np.array_equal(graph.states[0].init, np.broadcast_to(start[:, :, None], (1, 1, 4, 2)))
    with built(data)[1].stream(batch) as stream:
        assert {n: a.shape for n, a in stream.state.items()} == {"r.h": (1, batch, 4, 2)}


def test_sizes_of_merged_axes() -> None:
    seen = [(t, b, 4 * t * b) for t, b in ((7, 2), (13, 5), (11, 3))]
    assert sizes.fit(seen) == Size(4, 1, 1)
    assert str(Size(4, 1, 1)) == "4*T*B"
    assert str(Size(time=1, extra=-2)) == "T-2"
    assert sizes.fit([(7, 2, 9), (13, 5, 15), (11, 3, 13)]) == Size(time=1, extra=2)
    assert sizes.fit([(7, 2, 3), (13, 5, 6), (11, 3, 5)]) is None


CASES: list[tuple[Any, Any, Any]] = [
    (((B,), (T,), (4,)), (Size(1, 1, 1), Size(4)), ((B, T), (4,))),
    (((B,), (T,), (4,)), (Size(batch=1), Size(4, 1)), ((B,), (T, 4))),
    (((B, T), (4,)), (Size(batch=1), Size(time=1), Size(2), Size(2)), ((B,), (T,), (2,), (2,))),
    (((B, T), (4,)), (Size(time=1), Size(batch=1), Size(4)), None),
    (((6,), (T,)), (Size(4), Size(time=1)), None),
    (((6,), (), (T,)), (Size(2), Size(3), Size(1), Size(time=1)), ((2,), (3,), (), (T,))),
    (((T,), (6,)), (Size(2, 1), Size(3)), ((T, 2), (3,))),
]


@pytest.mark.parametrize(("layout", "wanted", "expected"), CASES)
def test_regrouping_axes(layout: Any, wanted: Any, expected: Any) -> None:
    assert merged_axes.regroup(layout, wanted) == expected
