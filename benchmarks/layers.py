"""One recurrent layer as every peer gets it: torch-like weights, inputs, a float64 reference, and its ONNX model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rnnrt.compare import GATES

F32: TypeAlias = "NDArray[np.float32]"
F64: TypeAlias = "NDArray[np.float64]"

ONNX_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}  # torch: LSTM i, f, g, o; GRU r, z, n. ONNX: i, o, f, c; z, r, h


@dataclass(frozen=True)
class Weights:
    """Of one layer, in torch's order of gates: w [G*H, I], r [G*H, H], input and recurrent bias [G*H]."""

    w: F32
    r: F32
    bias: F32
    recurrent_bias: F32


@dataclass(frozen=True)
class Layer:
    """A GRU (torch's: linear before reset) or an LSTM; equal layers have equal weights and inputs."""

    cell: str
    input_size: int
    hidden: int

    @property
    def name(self) -> str:
        return f"{self.cell}-{self.input_size}-{self.hidden}"

    @property
    def title(self) -> str:
        return f"{self.cell.upper()} {self.input_size}, {self.hidden}"

    @property
    def states(self) -> tuple[tuple[str, str], ...]:
        """Input and output of each state in the ONNX model."""
        return tuple((f"initial_{s}", f"Y_{s}") for s in ("hc" if self.cell == "lstm" else "h"))

    @property
    def multiplies(self) -> int:
        """Weights that one step multiplies with."""
        return GATES[self.cell] * self.hidden * (self.input_size + self.hidden)

    def weights(self) -> Weights:
        """Uniform in +-1/sqrt(H)."""
        rng, bound, rows = np.random.default_rng(self.hidden), self.hidden**-0.5, GATES[self.cell] * self.hidden
        shapes = ((rows, self.input_size), (rows, self.hidden), (rows,), (rows,))
        return Weights(*(rng.uniform(-bound, bound, shape).astype(np.float32) for shape in shapes))

    def x(self, time: int, batch: int) -> F32:
        """Input [time, batch, I], uniform in +-1."""
        return np.random.default_rng(batch).uniform(-1, 1, (time, batch, self.input_size)).astype(np.float32)

    def reference(self, x: F32) -> F64:
        """Y [T, B, H] from the zero state, computed in float64 from x [T, B, I]."""
        weights = self.weights()
        w, r, bias, recurrent_bias = (
            np.asarray(a, np.float64) for a in (weights.w, weights.r, weights.bias, weights.recurrent_bias)
        )
        h = c = np.zeros((x.shape[1], self.hidden))
        found = []
        for frame in x.astype(np.float64):
            a, b = frame @ w.T + bias, h @ r.T + recurrent_bias
            if self.cell == "lstm":
                i, f, g, o = np.split(a + b, 4, axis=1)
                c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
                h = _sigmoid(o) * np.tanh(c)
            else:
                (ar, az, an), (br, bz, bn) = np.split(a, 3, axis=1), np.split(b, 3, axis=1)
                z = _sigmoid(az + bz)
                h = (1 - z) * np.tanh(an + _sigmoid(ar + br) * bn) + z * h
            found.append(h)
        return np.stack(found)

    def onnx(self, folder: Path, time: int | str = "T", batch: int | str = "B") -> Path:
        """Write x [time, batch, I], states [1, batch, H] -> y [time, batch, H], states."""
        path = folder / f"{self.name}-{time}-{batch}.onnx"
        if path.exists():
            return path
        weights = self.weights()
        constants = {
            "W": self.in_onnx_order(weights.w)[None],
            "R": self.in_onnx_order(weights.r)[None],
            "B": np.concatenate([self.in_onnx_order(b) for b in (weights.bias, weights.recurrent_bias)])[None],
            "one": np.array([1]),
        }
        attributes: dict[str, Any] = {"hidden_size": self.hidden}
        attributes |= {"linear_before_reset": 1} if self.cell == "gru" else {}
        before, after = [name for name, _ in self.states], [name for _, name in self.states]
        nodes = [
            helper.make_node(self.cell.upper(), ["x", "W", "R", "B", "", *before], ["Y", *after], **attributes),
            helper.make_node("Squeeze", ["Y", "one"], ["y"]),
        ]
        state = [1, batch, self.hidden]
        graph = helper.make_graph(
            nodes,
            self.name,
            [_float("x", [time, batch, self.input_size]), *(_float(name, state) for name in before)],
            [_float("y", [time, batch, self.hidden]), *(_float(name, state) for name in after)],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    def in_onnx_order(self, rows: F32) -> F32:
        """Gates of [G*H, ...] from torch's order into ONNX's."""
        gates = np.split(rows, GATES[self.cell])
        return np.concatenate([gates[i] for i in ONNX_GATES[self.cell]])


def _sigmoid(x: F64) -> F64:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))


def _float(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
