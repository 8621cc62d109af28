"""RNN, GRU and LSTM in float64, written from the ONNX operator specification (opset 22) and from nothing else.

The equations are in the order and the letters of the specification. Speed is no aim; being readable beside it is.
Every function takes the node's attributes and its inputs in ONNX's order and returns every output of the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[Any]"
Inputs: TypeAlias = "Sequence[Array | None]"
Attrs: TypeAlias = Mapping[str, Any]


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), without overflow for any x."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0 / (1.0 + e), e / (1.0 + e)).astype(x.dtype, copy=False)


# name -> (f(x, alpha, beta), default alpha or None when the function has none, the same for beta).
# Defaults are those of the ONNX operators of the same name, as the specification of activation_alpha says.
ACTIVATIONS: dict[str, tuple[Callable[[Array, float, float], Array], float | None, float | None]] = {
    "Relu": (lambda x, a, b: np.maximum(x, 0), None, None),
    "Tanh": (lambda x, a, b: np.tanh(x), None, None),
    "Sigmoid": (lambda x, a, b: sigmoid(x), None, None),
    "Affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "LeakyRelu": (lambda x, a, b: np.where(x < 0, a * x, x), 0.01, None),
    "ThresholdedRelu": (lambda x, a, b: np.where(x > a, x, 0 * x), 1.0, None),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "HardSigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "Elu": (lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x), 1.0, None),
    "Softsign": (lambda x, a, b: x / (1 + np.abs(x)), None, None),
    "Softplus": (lambda x, a, b: np.logaddexp(x, 0), None, None),
}
_BY_LOWER_CASE = {name.lower(): name for name in ACTIVATIONS}
DEFAULT_ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def activations(op: str, attrs: Attrs, directions: int) -> list[list[tuple[str, float, float]]]:
    """Activation functions of a recurrent node, with their parameters.

    Parameters
    ----------
    op
        ``RNN``, ``GRU`` or ``LSTM``.
    attrs
        ``activations``, ``activation_alpha``, ``activation_beta``: as in ONNX. Names in any case. The alphas (betas)
        are consumed in order by those functions that have an alpha (a beta).
    directions
        1 or 2.

    Returns
    -------
    list
        Per direction, per function (RNN: f; GRU: f, g; LSTM: f, g, h): name, alpha, beta. Unused parameters are 0.

    Raises
    ------
    ValueError
        Unknown name, or a number of functions that does not fit the operator.
    """
    per_direction = len(DEFAULT_ACTIVATIONS[op])
    names = list(attrs.get("activations") or DEFAULT_ACTIVATIONS[op] * directions)
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    if len(names) != per_direction * directions:
        raise ValueError(
            f"{op} with {directions} direction(s) needs {per_direction * directions} activations, not {len(names)}"
        )
    alphas = [float(a) for a in attrs.get("activation_alpha") or ()]
    betas = [float(b) for b in attrs.get("activation_beta") or ()]
    found: list[tuple[str, float, float]] = []
    for given in names:
        name = _BY_LOWER_CASE.get(given.lower())
        if name is None:
            raise ValueError(f"unknown activation '{given}'")
        _, alpha, beta = ACTIVATIONS[name]
        if alpha is not None and alphas:
            alpha = alphas.pop(0)
        if beta is not None and betas:
            beta = betas.pop(0)
        found.append((name, alpha or 0.0, beta or 0.0))
    return [found[d * per_direction : (d + 1) * per_direction] for d in range(directions)]


def apply_activation(name: str, x: Array, alpha: float | None = None, beta: float | None = None) -> Array:
    """f(x) by ONNX name; None takes the default of the specification."""
    function, default_alpha, default_beta = ACTIVATIONS[_BY_LOWER_CASE[name.lower()]]
    a = default_alpha if alpha is None else alpha
    b = default_beta if beta is None else beta
    return function(x, a or 0.0, b or 0.0)


def _input(inputs: Inputs, i: int) -> Array | None:
    return inputs[i] if i < len(inputs) else None


class _Cell:
    """One direction's weights and functions. step() is one time step of one operator."""

    def __init__(
        self, op: str, attrs: Attrs, functions: list[tuple[str, float, float]], weights: Sequence[Array | None]
    ) -> None:
        w, r, b, p = weights
        assert w is not None
        assert r is not None
        h = r.shape[-1]
        gates = GATES[op]
        b = np.zeros(2 * gates * h, w.dtype) if b is None else b
        p = np.zeros(3 * h, w.dtype) if p is None else p
        self.op = op
        self.w = w.reshape(gates, h, -1)
        self.r = r.reshape(gates, h, h)
        self.wb, self.rb = b.reshape(2, gates, h)
        self.p = p.reshape(3, h)
        self.functions = functions
        self.clip = float(attrs.get("clip") or 0.0)  # the specification: no clipping unless given; ORT treats 0 so, too
        self.linear_before_reset = int(attrs.get("linear_before_reset", 0))
        self.input_forget = int(attrs.get("input_forget", 0))

    def act(self, i: int, x: Array, clip: bool = True) -> Array:
        if self.clip and clip:
            x = np.clip(x, -self.clip, self.clip)
        name, alpha, beta = self.functions[i]
        return np.asarray(ACTIVATIONS[name][0](x, alpha, beta))

    def sum(self, gate: int, x: Array, h: Array) -> Array:
        return np.asarray(x @ self.w[gate].T + h @ self.r[gate].T + self.wb[gate] + self.rb[gate])

    def step(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """One time step: x [B, I], h [B, H], c [B, H] (LSTM only) -> new h, new c."""
        return {"RNN": self._rnn, "GRU": self._gru, "LSTM": self._lstm}[self.op](x, h, c)

    def _rnn(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        return self.act(0, self.sum(0, x, h)), c

    def _gru(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        z = self.act(0, self.sum(0, x, h))
        r = self.act(0, self.sum(1, x, h))
        if self.linear_before_reset:
            n = self.act(1, x @ self.w[2].T + r * (h @ self.r[2].T + self.rb[2]) + self.wb[2])
        else:
            n = self.act(1, x @ self.w[2].T + (r * h) @ self.r[2].T + self.rb[2] + self.wb[2])
        return (1 - z) * n + z * h, c

    def _lstm(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        pi, po, pf = self.p
        i = self.act(0, self.sum(0, x, h) + pi * c)
        f = 1 - i if self.input_forget else self.act(0, self.sum(2, x, h) + pf * c)
        n = self.act(1, self.sum(3, x, h))
        c = f * c + i * n
        o = self.act(0, self.sum(1, x, h) + po * c)
        # the specification clips 'the input of activations'; for h, onnxruntime does not clip and models rely on it
        return o * self.act(2, c, clip=False), c


def _run_direction(
    cell: _Cell, x: Array, initial: tuple[Array, Array], lengths: Array, reverse: bool
) -> tuple[Array, Array, Array]:
    """All steps: x [T, B, I] -> Y [T, B, H], last h, last c [B, H].

    Steps beyond a sequence's length give zeros and change no state.
    """
    h, c = initial
    time, batch = x.shape[:2]
    y = np.zeros((time, batch, h.shape[-1]), h.dtype)
    rows = np.arange(batch)
    for step in range(time):
        active = step < lengths
        at = np.where(reverse, lengths - 1 - step, step)
        at = np.where(active, at, 0)
        new_h, new_c = cell.step(x[at, rows], h, c)
        h = np.where(active[:, None], new_h, h)
        c = np.where(active[:, None], new_c, c)
        y[at[active], rows[active]] = h[active]
    return y, h, c


def recurrent(op: str, attrs: Attrs, inputs: Inputs) -> list[Array]:
    """RNN, GRU or LSTM.

    Parameters
    ----------
    op
        ``RNN``, ``GRU`` or ``LSTM``.
    attrs
        ONNX attributes: hidden_size, direction, layout, clip, activations, activation_alpha, activation_beta,
        linear_before_reset, input_forget.
    inputs
        X [T, B, I] (layout 1: [B, T, I]), W [D, G*H, I], R [D, G*H, H], B [D, 2*G*H] or None, sequence_lens [B] or
        None, initial_h [D, B, H] (layout 1: [B, D, H]) or None; LSTM: initial_c likewise, P [D, 3*H] or None.

    Returns
    -------
    list
        Y [T, D, B, H] (layout 1: [B, T, D, H]), Y_h [D, B, H] (layout 1: [B, D, H]), LSTM also Y_c.
    """
    x, w, r = inputs[0], inputs[1], inputs[2]
    if x is None or w is None or r is None:
        raise ValueError(f"{op} needs X, W and R")
    for name, array in (
        ("X", x),
        ("W", w),
        ("R", r),
        ("initial_h", _input(inputs, 5)),
        ("initial_c", _input(inputs, 6)),
    ):
        if array is not None and array.ndim != 3:
            raise ValueError(f"{name} has shape {array.shape}, three dimensions are needed")
    layout = int(attrs.get("layout", 0))
    direction = attrs.get("direction", "forward")
    direction = direction.decode() if isinstance(direction, bytes) else direction
    if layout:
        x = x.transpose(1, 0, 2)
    time, batch = x.shape[:2]
    directions, hidden = r.shape[0], r.shape[-1]
    if directions != (2 if direction == "bidirectional" else 1):
        raise ValueError(f"{op}: direction {direction} does not fit R of shape {r.shape}")
    b, lens, p = _input(inputs, 3), _input(inputs, 4), _input(inputs, 7)
    lengths = np.full(batch, time) if lens is None else np.clip(lens.astype(np.int64), 0, time)
    initial = []
    for i in (5, 6):
        given = _input(inputs, i)
        if given is None:
            given = np.zeros((directions, batch, hidden), x.dtype)
        elif layout:
            given = given.transpose(1, 0, 2)
        initial.append(given)
    if lens is not None:  # the specification is silent on the final state of an empty sequence; onnxruntime gives zeros
        initial = [np.where((lengths > 0)[:, None], each, np.zeros((), x.dtype)) for each in initial]
    functions = activations(op, attrs, directions)
    done = []
    for d in range(directions):
        weights = [None if each is None else each[d] for each in (w, r, b, p)]
        cell = _Cell(op, attrs, functions[d], weights)
        reverse = direction == "reverse" or d == 1
        done.append(_run_direction(cell, x, (initial[0][d], initial[1][d]), lengths, reverse))
    y = np.stack([each[0] for each in done], axis=1)
    y_h = np.stack([each[1] for each in done])
    y_c = np.stack([each[2] for each in done])
    if layout:
        y, y_h, y_c = y.transpose(2, 0, 1, 3), y_h.transpose(1, 0, 2), y_c.transpose(1, 0, 2)
    return [y, y_h, y_c] if op == "LSTM" else [y, y_h]
