"""Layers of a torch model, from their arrays, becoming an `ir.Graph`: RNN, GRU, LSTM, Linear, LayerNorm, Embedding.

Needs no torch: `from_torch` feeds it modules, `architecture` checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..errors import UnsupportedError
from .ir import Dim, Graph, Node, Note, Problem, Shape, Sym, Value

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
# torch's gate order -> ONNX's: GRU r z n -> z r h; LSTM i f g o -> i o f c
_ORDER = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}


def from_arrays(
    arrays: Mapping[str, Array],
    prefix: str = "",
    *,
    batch_first: bool = True,
    nonlinearity: str = "tanh",
    producer: str = "torch",
) -> Graph:
    """Read the weights of one RNN, GRU, LSTM or Linear.

    Parameters
    ----------
    arrays
        Name -> array. Kind, size, layers, directions, biases and projections follow from the shapes.
    prefix
        Only the entries that start with it; the rest is left out on purpose.
    batch_first
        Order of the input that the graph gets: [B, T, I] or [T, B, I].
    nonlinearity
        Of an RNN: ``"tanh"`` or ``"relu"``; the weights do not tell.
    producer
        What the graph says that it was made by.

    Raises
    ------
    UnsupportedError
        Entries that do not belong to one such layer, all of them in ``problems``.
    """
    arrays = {k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items() if k.startswith(prefix)}
    stems = sorted({k[: -len("weight_ih_l0")] for k in arrays if k.endswith("weight_ih_l0")})
    builder = Chain(batch_first, producer)
    if len(stems) == 1:
        stem = stems[0]
        own = {k[len(stem) :]: v for k, v in arrays.items() if k.startswith(stem)}
        used = builder.recurrent_from(own, stem.rstrip(".") or "rnn", nonlinearity)
        unused = sorted(k for k in arrays if k[len(stem) :] not in used or not k.startswith(stem))
    elif not stems and {k.split(".")[-1] for k in arrays} <= {"weight", "bias"} and 0 < len(arrays) <= 2:
        own = {k.split(".")[-1]: v for k, v in arrays.items()}
        stem = next(iter(arrays)).rpartition(".")[0]
        builder.linear(own.get("weight"), own.get("bias"), stem or "linear")
        unused = []
    else:
        what = f"recurrent layers {stems}" if stems else "no recurrent layer"
        reason = f"{what} in it: how they are connected is not in a state_dict; give the module or a prefix (--prefix)"
        builder.problems.append(Problem("", "state_dict", reason))
        unused = []
    for name in unused:
        reason = "belongs to no recurrent layer; give the module, or a prefix (--prefix) to leave it out"
        builder.problems.append(Problem(name, "state_dict", reason))
    return builder.graph("state_dict")


# ---- building ----


@dataclass
class Chain:
    """A chain of layers becoming a graph."""

    batch_first: bool
    producer: str = "torch"
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    current: str = "x"
    features: int | None = None  # of the current value; None until a layer has said
    input_features: int | None = None  # 0: indices, one per time step
    _count: int = 0

    def graph(self, name: str) -> Graph:
        """The finished graph, or every problem at once."""
        if not self.problems and self.input_features is None:
            self.problems.append(Problem(name, "module", "nothing in it says how many features its input has"))
        if self.problems or self.input_features is None:
            listed = "\n".join(f"  {p}" for p in self.problems)
            raise UnsupportedError(f"this torch model can't be converted:\n{listed}", self.problems)
        self.add("Identity", "y", [self.current], ["y"])
        graph = Graph(name, producer=self.producer, nodes=self.nodes, constants=self.constants)
        indices = self.input_features == 0
        graph.inputs = [Value("x", np.dtype(np.int64 if indices else np.float32), self._shape(self.input_features))]
        graph.outputs = [Value("y", np.dtype(np.float32), self._shape(self.features))]
        graph.notes = self.notes
        return graph

    def _shape(self, features: int | None) -> Shape:
        lead: list[Dim] = [Sym.BATCH, Sym.TIME] if self.batch_first else [Sym.TIME, Sym.BATCH]
        return (*lead, features or 1) if features != 0 else tuple(lead)

    def _value(self, base: str) -> str:
        self._count += 1
        return f"{base}:{self._count}"

    def constant(self, name: str, array: Array) -> str:
        """Add a float32 constant; its name."""
        self.constants[name] = np.ascontiguousarray(array, np.float32)
        return name

    def add(self, op: str, name: str, inputs: list[str], outputs: list[str] | None = None, **attrs: Any) -> str:
        """Append one node; the name of its first output."""
        made = outputs if outputs is not None else [self._value(name)]
        self.nodes.append(Node(op, name, inputs, made, attrs))
        return made[0]

    def expect(self, features: int, name: str, op: str) -> None:
        """Say how many features a layer takes (and, until it says otherwise, gives)."""
        if self.features is None:
            self.input_features = features
        elif self.features != features:
            self.problems.append(Problem(name, op, f"takes {features} features, but gets {self.features}"))
        self.features = features

    # ---- layers ----

    def linear(self, weight: Array | None, bias: Array | None, name: str) -> None:
        """y = x W^T + b, W [N, K]."""
        if weight is None or weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
            self.problems.append(Problem(name, "Linear", "its weight is no matrix or its bias does not fit"))
            return
        self.expect(weight.shape[1], name, "Linear")
        inputs = [self.current, self.constant(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self.constant(f"{name}.bias", bias))
        self.current = self.add("Gemm", name, inputs, transB=1)
        self.features = int(weight.shape[0])

    def layer_norm(self, scale: Array, bias: Array | None, epsilon: float, name: str) -> None:
        """Over the last axis; scale [N], bias [N]."""
        if scale.ndim != 1 or (bias is not None and bias.shape != scale.shape):
            self.problems.append(Problem(name, "LayerNorm", "only the last axis is supported", "normalized_shape"))
            return
        self.expect(int(scale.shape[0]), name, "LayerNorm")
        inputs = [self.current, self.constant(f"{name}.weight", scale)]
        if bias is not None:
            inputs.append(self.constant(f"{name}.bias", bias))
        self.current = self.add("LayerNormalization", name, inputs, axis=-1, epsilon=epsilon)

    def embedding(self, table: Array, name: str) -> None:
        """Rows of a table [N, K] by the indices that are the graph's input."""
        if table.ndim != 2:
            self.problems.append(Problem(name, "Embedding", "its weight is no matrix"))
        elif self.nodes:
            self.problems.append(Problem(name, "Embedding", "it must come first: its input are indices"))
        else:
            self.current = self.add("Gather", name, [self.constant(f"{name}.weight", table), self.current], axis=0)
            self.input_features, self.features = 0, int(table.shape[1])

    # ---- recurrent layers ----

    def recurrent_from(self, arrays: Mapping[str, Array], name: str, nonlinearity: str) -> set[str]:
        """All layers of one RNN, GRU or LSTM from its parameters; the names used."""
        used: set[str] = set()
        layer = 0
        while f"weight_ih_l{layer}" in arrays:
            suffixes = [f"_l{layer}"] + [f"_l{layer}_reverse"] * (f"weight_ih_l{layer}_reverse" in arrays)
            parts = [_Direction.read(arrays, s, used) for s in suffixes]
            label = name if f"weight_ih_l{layer + 1}" not in arrays and layer == 0 else f"{name}.l{layer}"
            reasons = [r for p in parts for r in p.wrong(parts[0])]
            kind = {g: op for op, g in GATES.items()}.get(parts[0].gates())
            if nonlinearity not in ("tanh", "relu"):
                reasons.append(f"nonlinearity '{nonlinearity}' is unknown")
            if reasons or kind is None:
                listed = "; ".join(reasons) or "weights that are no RNN's, GRU's or LSTM's"
                self.problems.append(Problem(label, kind or "RNN", listed))
                return set(arrays)
            self._layer(kind, parts, label, nonlinearity)
            layer += 1
        return used

    def _layer(self, kind: str, parts: list[_Direction], name: str, nonlinearity: str) -> None:
        hidden = parts[0].hidden()
        self.expect(parts[0].w.shape[1], name, kind)
        order = _ORDER[kind]
        inputs = [
            self.current,
            self.constant(f"{name}.W", np.stack([_reorder(p.w, order) for p in parts])),
            self.constant(f"{name}.R", np.stack([_reorder(p.recurrence(), order) for p in parts])),
        ]
        if any(p.bw is not None for p in parts):
            both = [np.concatenate([_reorder(p.bias(p.bw), order), _reorder(p.bias(p.br), order)]) for p in parts]
            inputs.append(self.constant(f"{name}.B", np.stack(both)))
        attrs: dict[str, Any] = {
            "hidden_size": hidden,
            "direction": "bidirectional" if len(parts) == 2 else "forward",
            "layout": int(self.batch_first),
        }
        if kind == "GRU":
            attrs["linear_before_reset"] = 1
        if kind == "RNN" and nonlinearity == "relu":
            attrs["activations"] = ["Relu"] * len(parts)
        y = self.add(kind, name, inputs, **attrs)
        if parts[0].projection is None:
            self.current = self._join(y, name, len(parts) * hidden)
            self.features = len(parts) * hidden
        else:
            self.current = self._project(y, parts, name)
            self.features = len(parts) * parts[0].projection.shape[0]
            text = (
                f"LSTM '{name}': proj_size is folded: the recurrence uses R W_hr, and y = W_hr h; "
                "its state is h before the projection"
            )
            self.notes.append(Note(text, fact=True))

    def _join(self, y: str, name: str, features: int) -> str:
        """[B, T, D, H] or [T, D, B, H] -> [.., .., D*H]."""
        if not self.batch_first:
            y = self.add("Transpose", f"{name}.directions", [y], perm=[0, 2, 1, 3])
        shape = self._constant_shape(f"{name}.shape", [0, 0, features])
        return self.add("Reshape", f"{name}.join", [y, shape])

    def _constant_shape(self, name: str, numbers: list[int]) -> str:
        self.constants[name] = np.array(numbers, np.int64)
        return name

    def _project(self, y: str, parts: list[_Direction], name: str) -> str:
        """Per direction y = h W_hr^T, then side by side."""
        made = []
        axis = 2 if self.batch_first else 1
        for d, part in enumerate(parts):
            index = self._constant_shape(f"{name}.direction{d}", [])
            self.constants[index] = np.array(d, np.int64)
            one = self.add("Gather", f"{name}.direction{d}", [y, index], axis=axis)
            matrix = self.constant(f"{name}.W_hr{d}", part.projection if part.projection is not None else part.w)
            made.append(self.add("Gemm", f"{name}.projection{d}", [one, matrix], transB=1))
        return made[0] if len(made) == 1 else self.add("Concat", f"{name}.join", made, axis=2)


@dataclass
class _Direction:
    """Parameters of one direction of one layer, torch's order: W [G*H, I], R [G*H, H or P], projection [P, H]."""

    w: Array
    r: Array | None
    bw: Array | None
    br: Array | None
    projection: Array | None

    @classmethod
    def read(cls, arrays: Mapping[str, Array], suffix: str, used: set[str]) -> _Direction:
        """Pick the parameters of one direction; their names are added to `used`."""
        names = [f"{part}{suffix}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")]
        used.update(n for n in names if n in arrays)
        w, r, bw, br, projection = (arrays.get(n) for n in names)
        return cls(w if w is not None else np.zeros((0, 0), np.float32), r, bw, br, projection)

    def hidden(self) -> int:
        """Units, before a projection."""
        if self.projection is not None:
            return int(self.projection.shape[-1])
        return 0 if self.r is None else int(self.r.shape[-1])

    def gates(self) -> int:
        """Rows of W per unit."""
        hidden = self.hidden()
        return self.w.shape[0] // hidden if hidden and self.w.shape[0] % hidden == 0 else 0

    def wrong(self, first: _Direction) -> list[str]:
        """Shapes that do not fit together."""
        rows, width = self.w.shape[0], self.hidden()
        if self.projection is not None:
            width = int(self.projection.shape[0])
        reasons = []
        if self.w.ndim != 2 or self.r is None or self.r.shape != (rows, width):
            shape = None if self.r is None else self.r.shape
            reasons.append(f"weight_ih {self.w.shape} and weight_hh {shape} do not fit")
        for bias in (self.bw, self.br):
            if bias is not None and bias.shape != (rows,):
                reasons.append(f"a bias has shape {bias.shape}, not ({rows},)")
        if (self.bw is None) != (self.br is None):
            reasons.append("only one of bias_ih and bias_hh is there")
        if self.w.shape != first.w.shape or self.hidden() != first.hidden():
            reasons.append("its two directions differ in size")
        return reasons

    def recurrence(self) -> Array:
        """R for the unprojected h: (R W_hr) h = R (W_hr h), one rounding to float32."""
        r = self.r if self.r is not None else self.w
        if self.projection is None:
            return r
        return (r.astype(np.float64) @ self.projection.astype(np.float64)).astype(np.float32)

    def bias(self, given: Array | None) -> Array:
        """A bias, zeros where there is none."""
        return np.zeros(self.w.shape[0], np.float32) if given is None else given


def _reorder(rows: Array, order: list[int]) -> Array:
    """Gate blocks in another order: [G*H, ...] -> [G*H, ...]."""
    blocks = rows.reshape(len(order), -1, *rows.shape[1:])
    return np.ascontiguousarray(blocks[order].reshape(rows.shape))
