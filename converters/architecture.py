"""A checkpoint and the description of the layers around its tensors -> `ir.Graph`. Needs no torch.

A checkpoint says how large its layers are, not how they are connected. Where it is more than one recurrent layer, a
description lists the layers in order, as a TOML file or as the same in Python:

    [[layer]]
    type = "LSTM"                 # all layers and directions of it
    weights = "model_state.lstm"  # what the names of its tensors begin with
    [[layer]]
    type = "Linear"
    weights = "model_state.linear"  # or weight = "fc_w" and bias = "fc_b"
    [[layer]]
    type = "ReLU"
    [[layer]]
    type = "L2Norm"

Types: RNN (nonlinearity), GRU, LSTM, RNNCell, GRUCell, LSTMCell, Linear, LayerNorm (eps), Embedding (first, its input
are indices), L2Norm (eps), Dropout and Identity (left out), and torch's activations with their parameters:
ReLU, ReLU6, LeakyReLU (negative_slope), ELU (alpha), SiLU, Sigmoid, Tanh, Softsign, Softplus, Hardtanh (min_val,
max_val), Hardsigmoid, Hardswish, Mish, Softmax, LogSoftmax. Beside the layers, ``batch_first`` (true) tells the order
of the input.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..errors import ModelFormatError, UnsupportedError
from .checkpoint import Checkpoint, Stack, read
from .checkpoint.stacks import find_stacks
from .ir import Graph, Note, Problem
from .layers import Array, Chain, from_arrays

Layers: TypeAlias = "Sequence[Mapping[str, Any]]"
Description: TypeAlias = "Mapping[str, Any] | Layers"

_RECURRENT = {"RNN": "RNN", "GRU": "GRU", "LSTM": "LSTM", "RNNCell": "RNN", "GRUCell": "GRU", "LSTMCell": "LSTM"}
_JOINTS = (".", "_", "")  # between the beginning of a layer's names and "weight"
_ACTIVATIONS: dict[
    str, tuple[str, dict[str, float]]
] = {  # torch's name -> ONNX's and parameters that are not asked for
    "ReLU": ("Relu", {}),
    "ReLU6": ("Clip", {"min": 0.0, "max": 6.0}),
    "LeakyReLU": ("LeakyRelu", {}),
    "ELU": ("Elu", {}),
    "SiLU": ("Swish", {"alpha": 1.0}),
    "Sigmoid": ("Sigmoid", {}),
    "Tanh": ("Tanh", {}),
    "Softsign": ("Softsign", {}),
    "Softplus": ("Softplus", {}),
    "Hardtanh": ("Clip", {}),
    "Hardsigmoid": ("HardSigmoid", {"alpha": 1.0 / 6.0, "beta": 0.5}),
    "Hardswish": ("HardSwish", {}),
    "Mish": ("Mish", {}),
    "Softmax": ("Softmax", {"axis": -1}),
    "LogSoftmax": ("LogSoftmax", {"axis": -1}),
}
# torch's name, its parameters: ONNX's name of it and torch's default
_PARAMETERS: dict[str, dict[str, tuple[str, float]]] = {
    "LeakyReLU": {"negative_slope": ("alpha", 0.01)},
    "ELU": {"alpha": ("alpha", 1.0)},
    "Hardtanh": {"min_val": ("min", -1.0), "max_val": ("max", 1.0)},
}


def load(
    path: str | os.PathLike[str],
    *,
    prefix: str = "",
    cell: str | None = None,
    architecture: Description | str | os.PathLike[str] | None = None,
) -> Graph:
    """Read a checkpoint as a graph.

    Parameters
    ----------
    path
        A checkpoint of any format that `checkpoint.read` knows.
    prefix
        Only the tensors whose names start with it; in a description it is left out.
    cell
        Name of the one recurrent layer that is wanted (`checkpoint.Stack.name`); all else is left out.
    architecture
        The description of the layers, or the TOML file that holds it.

    Returns
    -------
    Graph
        Input ``x`` [B, T, I] (indices [B, T] where an Embedding comes first), output ``y``.

    Raises
    ------
    ModelFormatError
        The checkpoint or the TOML file is damaged.
    UnsupportedError
        What is not known of the architecture, or does not fit the tensors; all of it in ``problems``.
    ValueError
        A prefix that no tensor has; both a cell and an architecture.
    """
    if cell is not None and architecture is not None:
        raise ValueError("either --cell or --architecture, not both")
    checkpoint = read(path)
    names = [name for name in checkpoint.tensors if name.startswith(prefix)]
    if not names:
        raise ValueError(
            f"no tensor's name starts with '{prefix}'; the first one is '{next(iter(checkpoint.tensors))}'"
        )
    if architecture is not None:
        described = architecture if isinstance(architecture, (Mapping, list, tuple)) else read_description(architecture)
        arrays = {name[len(prefix) :]: array for name, array in checkpoint.arrays(prefix).items()}
        graph = build(arrays, described)
    else:
        graph = _one_stack(checkpoint, prefix, cell)
    graph.producer = f"checkpoint ({checkpoint.format})"
    return graph


def read_description(path: Any) -> dict[str, Any]:
    """The description in a TOML file.

    Raises
    ------
    ModelFormatError
        It is no TOML.
    OSError
        It can't be read.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        found: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelFormatError(f"'{os.fspath(path)}': not a TOML file: {error}") from None
    return found


def build(arrays: Mapping[str, Array], description: Description) -> Graph:
    """Put the layers together.

    Parameters
    ----------
    arrays
        Name -> array.
    description
        A list of layers, each a dictionary with ``type``; or a dictionary with ``layer``, such a list.

    Returns
    -------
    Graph
        Tensors that no layer takes are named in its notes.

    Raises
    ------
    UnsupportedError
        Layers that are unknown, tensors that are not there, sizes that do not fit: all of them in ``problems``.
    """
    outer = description if isinstance(description, Mapping) else {"layer": description}
    chain = Chain(bool(outer.get("batch_first", True)), "checkpoint")
    for key in sorted(set(outer) - {"layer", "batch_first"}):
        chain.problems.append(Problem("", "architecture", f"'{key}' is unknown; there are 'layer' and 'batch_first'"))
    layers = outer.get("layer")
    if not isinstance(layers, (list, tuple)) or not layers or not all(isinstance(e, Mapping) for e in layers):
        chain.problems.append(Problem("", "architecture", "it lists no layers"))
        layers = []
    used: set[str] = set()
    for number, entry in enumerate(layers, 1):
        _Entry(chain, arrays, entry, number, used).add()
    graph = chain.graph("checkpoint")
    left = sorted(set(arrays) - used)
    if left:
        more = f" and {len(left) - 8} more" if len(left) > 8 else ""
        graph.notes.append(f"tensors that no layer takes: {', '.join(left[:8])}{more}")
    return graph


class _Entry:
    """One layer of a description."""

    def __init__(
        self, chain: Chain, arrays: Mapping[str, Array], entry: Mapping[str, Any], number: int, used: set[str]
    ) -> None:
        self.chain, self.arrays, self.entry, self.used = chain, arrays, entry, used
        self.type = str(entry.get("type", ""))
        self.stem = str(entry.get("weights", ""))
        self.name = str(entry.get("name") or self.stem.rstrip("._") or f"{self.type.lower() or 'layer'}{number}")

    def problem(self, reason: str, attribute: str = "") -> None:
        self.chain.problems.append(Problem(self.name, self.type or "layer", reason, attribute))

    def add(self) -> None:
        """Append the layer to the chain."""
        adders: dict[str, tuple[Callable[[], None], set[str]]] = {
            "Linear": (self._linear, {"weights", "weight", "bias"}),
            "LayerNorm": (self._layer_norm, {"weights", "weight", "bias", "eps"}),
            "Embedding": (self._embedding, {"weights", "weight"}),
            "L2Norm": (self._l2_norm, {"eps"}),
            "Dropout": (lambda: None, {"p"}),
            "Identity": (lambda: None, set()),
            **dict.fromkeys(_RECURRENT, (self._recurrent, {"weights", "nonlinearity"})),
            **{name: (self._activation, set(_PARAMETERS.get(name, {}))) for name in _ACTIVATIONS},
        }
        if self.type not in adders:
            self.problem(f"there is no such type; there are {', '.join(sorted(adders))}", "type")
            return
        add, keys = adders[self.type]
        for key in sorted(set(self.entry) - keys - {"type", "name"}):
            self.problem(f"is unknown; there are {', '.join(sorted(keys | {'name'}))}", key)
        add()

    def _find(self, part: str, needed: bool) -> Array | None:
        """The tensor ``weight`` or ``bias``: by its own name, else by the beginning that the layer's names share."""
        given = self.entry.get(part)
        tried = [str(given)] if given is not None else []
        if given is None and "weights" in self.entry:
            stem = self.stem.rstrip("._")
            tried = [f"{stem}{joint}{word}" for joint in _JOINTS for word in (part, part[0])] if stem else [part]
        name = next((n for n in tried if n in self.arrays), None)
        if name is not None:
            self.used.add(name)
            return np.ascontiguousarray(self.arrays[name], np.float32)
        if needed or given is not None:
            self.problem(f"no tensor is called {' or '.join(tried[:3]) or '? Give weights or ' + part}", part)
        return None

    def _eps(self, default: float) -> float:
        value = self.entry.get("eps", default)
        if not isinstance(value, (int, float)) or value < 0:
            self.problem(f"{value!r} is no number >= 0", "eps")
            return default
        return float(value)

    def _linear(self) -> None:
        weight, bias = self._find("weight", True), self._find("bias", False)
        if weight is not None:
            self.chain.linear(weight, bias, self.name)

    def _layer_norm(self) -> None:
        weight, bias = self._find("weight", True), self._find("bias", False)
        if weight is not None:
            self.chain.layer_norm(weight, bias, self._eps(1e-5), self.name)

    def _embedding(self) -> None:
        table = self._find("weight", True)
        if table is not None:
            self.chain.embedding(table, self.name)

    def _l2_norm(self) -> None:
        """x / max(sqrt(sum x^2), eps)."""
        chain, name, x = self.chain, self.name, self.chain.current
        axes = f"{name}.axes"
        chain.constants[axes] = np.array([-1], np.int64)
        total = chain.add("ReduceSum", f"{name}.sum", [chain.add("Mul", f"{name}.square", [x, x]), axes], keepdims=1)
        norm = chain.add("Sqrt", f"{name}.sqrt", [total])
        if self._eps(0.0) > 0:
            norm = chain.add("Max", f"{name}.max", [norm, chain.constant(f"{name}.eps", np.array(self._eps(0.0)))])
        chain.current = chain.add("Div", name, [x, norm])

    def _activation(self) -> None:
        op, fixed = _ACTIVATIONS[self.type]
        attrs: dict[str, Any] = dict(fixed)
        for parameter, (attribute, default) in _PARAMETERS.get(self.type, {}).items():
            value = self.entry.get(parameter, default)
            if not isinstance(value, (int, float)):
                self.problem(f"{value!r} is no number", parameter)
                value = default
            attrs[attribute] = float(value)
        self.chain.current = self.chain.add(op, self.name, [self.chain.current], **attrs)

    def _recurrent(self) -> None:
        stacks = [
            s for s in find_stacks({n: a.shape for n, a in self.arrays.items()}) if s.name == self.stem.rstrip("._")
        ]
        if len(stacks) != 1:
            known = sorted({s.name for s in find_stacks({n: a.shape for n, a in self.arrays.items()})})
            self.problem(f"{len(stacks)} recurrent layers are called '{self.stem}'; there are {known}", "weights")
            return
        stack = stacks[0]
        self.used.update(stack.tensors.values())
        if stack.problems or stack.op != _RECURRENT[self.type]:
            reasons = stack.problems or [f"its tensors are a {stack.op}'s"]
            self.problem("; ".join(reasons))
            return
        own = {canonical: np.ascontiguousarray(self.arrays[n], np.float32) for canonical, n in stack.tensors.items()}
        self.chain.recurrent_from(own, self.name, str(self.entry.get("nonlinearity", "tanh")))


def _one_stack(checkpoint: Checkpoint, prefix: str, cell: str | None) -> Graph:
    """The graph of a single recurrent layer, or of a single Linear layer."""
    stacks = checkpoint.stacks(prefix)
    if cell is not None:
        found = [s for s in stacks if cell in (s.name, s.name.removeprefix(prefix))]
        if len(found) != 1:
            known = ", ".join(s.name or "(no name)" for s in stacks) or "none"
            raise ValueError(f"no recurrent layer is called '{cell}'; there are: {known}")
        return _only(checkpoint, found[0])
    taken = {name for s in stacks for name in s.tensors.values()}
    rest = [name for name in checkpoint.tensors if name.startswith(prefix) and name not in taken]
    if len(stacks) == 1 and not rest:
        return _only(checkpoint, stacks[0])
    if not stacks:
        return from_arrays(checkpoint.arrays(prefix), prefix)
    problems = [Problem(s.name, s.op or "RNN", f"one of {len(stacks)} recurrent layers") for s in stacks[1:]]
    problems += [Problem(name, "tensor", "belongs to no recurrent layer") for name in rest]
    choices = [f"--cell {shlex.quote(s.name)}" for s in stacks if s.name]
    hint = f"choose one recurrent layer ({' or '.join(choices)}), or describe the layers (--architecture FILE.toml)"
    listed = "\n".join([*(f"  {p}" for p in problems), f"  hint: {hint}"])
    message = f"how the tensors of this checkpoint are connected is not in it:\n{listed}"
    raise UnsupportedError(message, problems, [hint])


def _only(checkpoint: Checkpoint, stack: Stack) -> Graph:
    arrays = {name: checkpoint.array(name) for name in stack.tensors.values()}
    graph = build(arrays, [{"type": stack.op or "LSTM", "weights": stack.name, "name": stack.name or "rnn"}])
    left = len(checkpoint.tensors) - len(stack.tensors)
    if left:
        graph.notes.append(Note(f"only '{stack.name}' was taken; {left} other tensors were left out", fact=True))
    return graph
