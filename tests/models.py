"""Small seeded models for the tests of the runtime, from graph to bytes without onnx."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from rnnrt.converters.ir import Graph, Node, Shape, State, Sym, Value
from rnnrt.converters.pack import pack
from rnnrt.converters.quantize import plan
from rnnrt.converters.write import to_bytes

F32 = np.dtype(np.float32)
T, B = Sym.TIME, Sym.BATCH
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


class _Builder:
    """A graph under construction; weights are uniform in +-1/sqrt(columns)."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.graph = Graph(name="test")

    def input(self, name: str, shape: Shape) -> str:
        self.graph.inputs.append(Value(name, F32, shape))
        return name

    def output(self, name: str, shape: Shape) -> None:
        self.graph.outputs.append(Value(name, F32, shape))

    def weight(self, name: str, *shape: int) -> str:
        limit = 1 / np.sqrt(shape[-1])
        self.graph.constants[name] = self.random.uniform(-limit, limit, shape).astype(np.float32)
        return name

    def node(self, op: str, inputs: list[str], outputs: list[str], **attrs: Any) -> None:
        self.graph.nodes.append(Node(op, f"{op.lower()}_{outputs[0]}", inputs, outputs, attrs))

    def state(self, name: str, shape: Shape, becomes: str) -> str:
        self.graph.values[name] = Value(name, F32, shape)
        self.graph.states.append(State(name, name, becomes))
        return name

    def recurrent(
        self, op: str, x: str, y: str, features: int, hidden: int, carried: bool = True, directions: int = 1
    ) -> None:
        """X [T, B, features] -> Y [T, directions, B, hidden], with h (and c) as state when `carried`."""
        gates = GATES[op]
        inputs = [
            x,
            self.weight(f"{y}.W", directions, gates * hidden, features),
            self.weight(f"{y}.R", directions, gates * hidden, hidden),
            self.weight(f"{y}.B", directions, 2 * gates * hidden),
        ]
        outputs = [y]
        if carried:
            for letter in ("h", "c") if op == "LSTM" else ("h",):
                outputs.append(f"{y}.next_{letter}")
                inputs += [""] if letter == "h" else []  # sequence_lens
                inputs.append(self.state(f"{y}.{letter}", (directions, B, hidden), outputs[-1]))
        attrs: dict[str, Any] = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}
        if op == "GRU":
            attrs["linear_before_reset"] = 1
        self.node(op, inputs, outputs, **attrs)

    def bytes(self, mode: str, streamable: bool = True, **meta: Any) -> bytes:
        self.graph.streamable = streamable
        return to_bytes(pack(self.graph, plan(self.graph, mode)), {"name": self.graph.name, **meta})


def recurrent(
    op: str, mode: str = "float", features: int = 5, hidden: int = 7, seed: int = 1, batch: int | Sym = B
) -> bytes:
    """RNN, GRU or LSTM: x [T, B, features] -> y [T, 1, B, hidden]."""
    b = _Builder(seed)
    b.input("x", (T, batch, features))
    b.recurrent(op, "x", "y", features, hidden)
    b.output("y", (T, 1, batch, hidden))
    return b.bytes(mode)


def gemm(mode: str = "float", features: int = 5, units: int = 9) -> bytes:
    """No state, batch first: x [B, T, features] -> y [B, T, units]."""
    b = _Builder(2)
    b.input("x", (B, T, features))
    b.node("Gemm", ["x", b.weight("w", units, features), b.weight("bias", units)], ["y"], transB=1)
    b.output("y", (B, T, units))
    return b.bytes(mode)


def conv(mode: str = "float", channels: int = 4, kernel: int = 3) -> bytes:
    """No time axis, channels last as packed models have them: x [1, 16, channels] -> y [1, 14, 6]."""
    b = _Builder(3)
    b.input("x", (1, 16, channels))
    window = {"kernel_shape": [kernel], "pads": [0, 0], "strides": [1], "dilations": [1], "channels_last": 1}
    b.node("Conv", ["x", b.weight("w", 6, channels, kernel), b.weight("bias", 6)], ["y"], **window)
    b.output("y", (1, 16 - kernel + 1, 6))
    return b.bytes(mode)


def two(mode: str = "float") -> bytes:
    """Two inputs, two outputs: a, b [T, B, 4] -> sum [T, B, 4] and y [T, 1, B, 6] of an LSTM over it."""
    b = _Builder(4)
    b.input("a", (T, B, 4))
    b.input("b", (T, B, 4))
    b.node("Add", ["a", "b"], ["sum"])
    b.recurrent("LSTM", "sum", "y", 4, 6)
    b.output("sum", (T, B, 4))
    b.output("y", (T, 1, B, 6))
    return b.bytes(mode)


def bidirectional(mode: str = "float") -> bytes:
    """Not streamable: x [T, B, 5] -> y [T, 2, B, 6]."""
    b = _Builder(5)
    b.input("x", (T, B, 5))
    b.recurrent("LSTM", "x", "y", 5, 6, carried=False, directions=2)
    b.output("y", (T, 2, B, 6))
    return b.bytes(mode, streamable=False, not_streamable_because="LSTM 'lstm_y' is bidirectional")


def timeless(mode: str = "float", batch: int | Sym = 1) -> bytes:
    """A GRU cell's graph without a time axis: x [batch, 5] -> y [batch, 7], with a state [1, batch, 7]."""
    b = _Builder(6)
    b.input("x", (batch, 5))
    b.node("Unsqueeze", ["x"], ["x3"], axes=[0])
    b.recurrent("GRU", "x3", "Y", 5, 7)
    if batch != B:
        b.graph.values["Y.h"].shape = (1, batch, 7)
    b.node("Squeeze", ["Y"], ["y"], axes=[0, 1])
    b.output("y", (batch, 7))
    return b.bytes(mode)


def batch_first(mode: str = "float") -> bytes:
    """A GRU behind a Transpose: x [B, T, 5] -> y [B, T, 7]."""
    b = _Builder(7)
    b.input("x", (B, T, 5))
    b.node("Transpose", ["x"], ["x.t"], perm=[1, 0, 2])
    b.recurrent("GRU", "x.t", "Y", 5, 7)
    b.node("Squeeze", ["Y"], ["Y.s"], axes=[1])
    b.node("Transpose", ["Y.s"], ["y"], perm=[1, 0, 2])
    b.output("y", (B, T, 7))
    return b.bytes(mode)


def last_hidden(mode: str = "float") -> bytes:
    """x [T, B, 5] -> y [T, 1, B, 7] and hn [1, B, 7]: an output without a time axis."""
    b = _Builder(8)
    b.input("x", (T, B, 5))
    b.recurrent("GRU", "x", "y", 5, 7)
    b.output("y", (T, 1, B, 7))
    b.output("y.next_h", (1, B, 7))
    return b.bytes(mode)


STREAMABLE: dict[str, Callable[[str], bytes]] = {
    "rnn": lambda mode: recurrent("RNN", mode),
    "gru": lambda mode: recurrent("GRU", mode),
    "lstm": lambda mode: recurrent("LSTM", mode),
    "gemm": gemm,
    "conv": conv,
    "two": two,
    "timeless": timeless,
    "batch_first": batch_first,
    "last_hidden": last_hidden,
}


@cache
def streamable(name: str, mode: str = "float") -> bytes:
    """One of `STREAMABLE` by name."""
    return STREAMABLE[name](mode)


def signal(shape: Sequence[int], seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Seeded normal noise."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
