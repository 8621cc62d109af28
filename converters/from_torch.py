"""PyTorch recurrent modules and their state_dicts -> `ir.Graph`.

RNN, GRU and LSTM (any layers, directions, biases, projections), Linear, LayerNorm, activations and Sequential of these
are read directly; any other module can be read through its ONNX export if an example input is given.
The only module that imports torch.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from ..errors import ModelFormatError, UnsupportedError
from .ir import Dim, Graph, Node, Problem, Shape, Sym, Value

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
# torch's gate order -> ONNX's: GRU r z n -> z r h; LSTM i f g o -> i o f c
_ORDER = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def load(source: nn.Module | Mapping[str, Any] | str | os.PathLike[str]) -> Graph:
    """Read a module, a state_dict, or a checkpoint file (no pickled code is run).

    Raises
    ------
    UnsupportedError
        Layers that can't be converted, all of them in ``problems``.
    ModelFormatError
        The file holds no state_dict.
    """
    if isinstance(source, nn.Module):
        return from_module(source)
    if isinstance(source, Mapping):
        return from_state_dict(source)
    return from_state_dict(_read_checkpoint(Path(source)))


def from_module(module: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...] | None = None) -> Graph:
    """Read a module.

    Parameters
    ----------
    module
        RNN, GRU, LSTM, Linear, LayerNorm, an activation, or a Sequential of these. Dropout is ignored: inference.
    example
        An input ``[batch, time, features]`` (or a tuple of inputs). With it any other module is read, too, as far as
        its ONNX export has operators that the runtime knows.

    Returns
    -------
    Graph
        Input ``x`` [B, T, I] ([T, B, I] where the recurrent layers are not ``batch_first``), output ``y``. Initial
        states are zero; ``states.lift`` makes them state variables.

    Raises
    ------
    UnsupportedError
        All layers that can't be converted, in ``problems``.
    """
    builder = _Builder(_batch_first(module))
    try:
        builder.module(module, "")
        return builder.graph(type(module).__name__)
    except UnsupportedError:
        if example is None:
            raise
    return _through_onnx(module, example)


def from_state_dict(
    state_dict: Mapping[str, Any],
    prefix: str = "",
    *,
    batch_first: bool = True,
    nonlinearity: str = "tanh",
) -> Graph:
    """Read the weights of one RNN, GRU, LSTM or Linear.

    Parameters
    ----------
    state_dict
        Name -> tensor (torch or numpy). Kind, size, layers, directions, biases and projections follow from the shapes.
    prefix
        Only the entries that start with it; the rest is left out on purpose.
    batch_first
        Order of the input that the graph gets: [B, T, I] or [T, B, I].
    nonlinearity
        Of an RNN: ``"tanh"`` or ``"relu"``; the weights do not tell.

    Raises
    ------
    UnsupportedError
        Entries that do not belong to one such layer, all of them in ``problems``.
    """
    arrays = {k: _array(v) for k, v in state_dict.items() if k.startswith(prefix) and _is_tensor(v)}
    stems = sorted({k[: -len("weight_ih_l0")] for k in arrays if k.endswith("weight_ih_l0")})
    builder = _Builder(batch_first)
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
        reason = f"{what} in it: how they are connected is not in a state_dict; give the module or a prefix"
        builder.problems.append(Problem("", "state_dict", reason))
        unused = []
    for name in unused:
        reason = "belongs to no recurrent layer; give the module, or a prefix to leave it out"
        builder.problems.append(Problem(name, "state_dict", reason))
    return builder.graph("state_dict")


# ---- sources ----


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray))


def _array(value: Any) -> Array:
    """float32, contiguous; bfloat16, half and double become float32."""
    if isinstance(value, torch.Tensor):
        value = value.detach().to("cpu", torch.float32).numpy()
    return np.ascontiguousarray(value, np.float32)


def _read_checkpoint(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        try:
            return dict(load_file(path))
        except OSError:
            raise
        except Exception as error:  # SafetensorError
            raise ModelFormatError(f"'{path}': not a safetensors file, or damaged ({error})") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError ...: whatever the bytes provoke
        raise ModelFormatError(f"'{path}': not a checkpoint of weights only, or damaged ({error})") from error
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not any(_is_tensor(v) for v in found.values()):
        raise ModelFormatError(f"'{path}': holds no state_dict but {type(found).__name__}")
    return found


def _batch_first(module: nn.Module) -> bool:
    """The layout of the first recurrent layer; a module without one takes batch first."""
    return next((bool(m.batch_first) for m in module.modules() if isinstance(m, nn.RNNBase)), True)


def _through_onnx(module: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...]) -> Graph:
    """By way of torch's ONNX export; axis 0 of every input is batch, axis 1 of three and more is time."""
    from . import from_onnx

    inputs = example if isinstance(example, tuple) else (example,)
    names = [f"x{i}" if i else "x" for i in range(len(inputs))]
    axes = {n: {0: "batch", **({1: "time"} if x.ndim > 2 else {})} for n, x in zip(names, inputs, strict=True)}
    options: dict[str, Any] = {"input_names": names, "output_names": ["y"], "dynamic_axes": axes, "dynamo": False}
    training = module.training
    module.eval()
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            path = Path(folder) / "exported.onnx"
            torch.onnx.export(module, inputs, path, **options)
            exported = path.read_bytes()
    except Exception as error:  # every exporter failure has its own type
        problem = Problem("", type(module).__name__, f"torch can't export it to ONNX: {error}")
        raise UnsupportedError(f"this module can't be converted:\n  {problem}", [problem]) from error
    finally:
        module.train(training)
    return from_onnx.load(exported)


# ---- building ----


@dataclass
class _Builder:
    """A chain of layers becoming a graph."""

    batch_first: bool
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    current: str = "x"
    features: int | None = None  # of the current value; None until a layer has said
    input_features: int | None = None
    _count: int = 0

    def graph(self, name: str) -> Graph:
        """The finished graph, or every problem at once."""
        if not self.problems and self.input_features is None:
            self.problems.append(Problem(name, "module", "nothing in it says how many features its input has"))
        if self.problems or self.input_features is None:
            listed = "\n".join(f"  {p}" for p in self.problems)
            raise UnsupportedError(f"this torch model can't be converted:\n{listed}", self.problems)
        self._add("Identity", "y", [self.current], ["y"])
        graph = Graph(name, producer=f"torch {torch.__version__}", nodes=self.nodes, constants=self.constants)
        graph.inputs = [Value("x", np.dtype(np.float32), self._shape(self.input_features))]
        graph.outputs = [Value("y", np.dtype(np.float32), self._shape(self.features))]
        graph.notes = self.notes
        return graph

    def _shape(self, features: int | None) -> Shape:
        lead: list[Dim] = [Sym.BATCH, Sym.TIME] if self.batch_first else [Sym.TIME, Sym.BATCH]
        return (*lead, features or 1)

    def _value(self, base: str) -> str:
        self._count += 1
        return f"{base}:{self._count}"

    def _constant(self, name: str, array: Array) -> str:
        self.constants[name] = np.ascontiguousarray(array, np.float32)
        return name

    def _add(self, op: str, name: str, inputs: list[str], outputs: list[str] | None = None, **attrs: Any) -> str:
        made = outputs if outputs is not None else [self._value(name)]
        self.nodes.append(Node(op, name, inputs, made, attrs))
        return made[0]

    def _expect(self, features: int, name: str, op: str) -> None:
        if self.features is None:
            self.input_features = features
        elif self.features != features:
            self.problems.append(Problem(name, op, f"takes {features} features, but gets {self.features}"))
        self.features = features

    # ---- modules ----

    def module(self, module: nn.Module, name: str) -> None:
        """Append one module."""
        label = name or type(module).__name__.lower()
        if isinstance(module, nn.Sequential):
            for child, each in module.named_children():
                self.module(each, f"{name}.{child}" if name else child)
        elif isinstance(module, nn.RNNBase):
            self._rnn_module(module, label)
        elif type(module) is nn.Linear:
            self.linear(_array(module.weight), None if module.bias is None else _array(module.bias), label)
        elif type(module) is nn.LayerNorm:
            self._layer_norm(module, label)
        elif isinstance(module, (nn.Dropout, nn.Identity)):
            return
        elif type(module) in _ACTIVATIONS:
            op, attributes = _ACTIVATIONS[type(module)]
            attrs, reason = attributes(module)
            if reason:
                self.problems.append(Problem(label, type(module).__name__, reason))
            self.current = self._add(op, label, [self.current], **attrs)
        else:
            reason = "the module is not supported directly; give an example input to convert it through ONNX"
            self.problems.append(Problem(label, type(module).__name__, reason))

    def _rnn_module(self, module: nn.RNNBase, name: str) -> None:
        if type(module) not in (nn.RNN, nn.GRU, nn.LSTM):
            self.problems.append(Problem(name, type(module).__name__, "a subclass may compute anything"))
            return
        if module.batch_first != self.batch_first:
            reason = f"{module.batch_first}, but {self.batch_first} in the first recurrent layer"
            self.problems.append(Problem(name, type(module).__name__, reason, "batch_first"))
        arrays = {k: _array(v) for k, v in module.state_dict().items()}
        self.recurrent_from(arrays, name, str(getattr(module, "nonlinearity", "tanh")))

    def linear(self, weight: Array | None, bias: Array | None, name: str) -> None:
        """y = x W^T + b, W [N, K]."""
        if weight is None or weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
            self.problems.append(Problem(name, "Linear", "its weight is no matrix or its bias does not fit"))
            return
        self._expect(weight.shape[1], name, "Linear")
        inputs = [self.current, self._constant(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self._constant(f"{name}.bias", bias))
        self.current = self._add("Gemm", name, inputs, transB=1)
        self.features = int(weight.shape[0])

    def _layer_norm(self, module: nn.LayerNorm, name: str) -> None:
        if len(module.normalized_shape) != 1:
            self.problems.append(Problem(name, "LayerNorm", "only the last axis is supported", "normalized_shape"))
            return
        size = int(module.normalized_shape[0])
        self._expect(size, name, "LayerNorm")
        scale = np.ones(size) if module.weight is None else _array(module.weight)
        inputs = [self.current, self._constant(f"{name}.weight", scale)]
        if module.bias is not None:
            inputs.append(self._constant(f"{name}.bias", _array(module.bias)))
        self.current = self._add("LayerNormalization", name, inputs, axis=-1, epsilon=float(module.eps))

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
        self._expect(parts[0].w.shape[1], name, kind)
        order = _ORDER[kind]
        inputs = [
            self.current,
            self._constant(f"{name}.W", np.stack([_reorder(p.w, order) for p in parts])),
            self._constant(f"{name}.R", np.stack([_reorder(p.recurrence(), order) for p in parts])),
        ]
        if any(p.bw is not None for p in parts):
            both = [np.concatenate([_reorder(p.bias(p.bw), order), _reorder(p.bias(p.br), order)]) for p in parts]
            inputs.append(self._constant(f"{name}.B", np.stack(both)))
        attrs: dict[str, Any] = {
            "hidden_size": hidden,
            "direction": "bidirectional" if len(parts) == 2 else "forward",
            "layout": int(self.batch_first),
        }
        if kind == "GRU":
            attrs["linear_before_reset"] = 1
        if kind == "RNN" and nonlinearity == "relu":
            attrs["activations"] = ["Relu"] * len(parts)
        y = self._add(kind, name, inputs, **attrs)
        if parts[0].projection is None:
            self.current = self._join(y, name, len(parts) * hidden)
            self.features = len(parts) * hidden
        else:
            self.current = self._project(y, parts, name)
            self.features = len(parts) * parts[0].projection.shape[0]
            self.notes.append(
                f"LSTM '{name}': proj_size is folded: the recurrence uses R W_hr, and y = W_hr h; "
                "its state is h before the projection"
            )

    def _join(self, y: str, name: str, features: int) -> str:
        """[B, T, D, H] or [T, D, B, H] -> [.., .., D*H]."""
        if not self.batch_first:
            y = self._add("Transpose", f"{name}.directions", [y], perm=[0, 2, 1, 3])
        shape = self._constant_shape(f"{name}.shape", [0, 0, features])
        return self._add("Reshape", f"{name}.join", [y, shape])

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
            one = self._add("Gather", f"{name}.direction{d}", [y, index], axis=axis)
            matrix = self._constant(f"{name}.W_hr{d}", part.projection if part.projection is not None else part.w)
            made.append(self._add("Gemm", f"{name}.projection{d}", [one, matrix], transB=1))
        return made[0] if len(made) == 1 else self._add("Concat", f"{name}.join", made, axis=2)


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


# ---- activations ----

Attributes: TypeAlias = "Callable[[Any], tuple[dict[str, Any], str]]"  # -> attributes, reason why not


def _plain(module: Any) -> tuple[dict[str, Any], str]:
    return {}, ""


def _softmax(module: Any) -> tuple[dict[str, Any], str]:
    last = module.dim in (-1, 2)
    return {"axis": -1}, "" if last else f"dim={module.dim}: only the last axis is supported"


def _softplus(module: Any) -> tuple[dict[str, Any], str]:
    return {}, "" if module.beta == 1 else f"beta={module.beta}: only 1 is supported"


_ACTIVATIONS: dict[type[nn.Module], tuple[str, Attributes]] = {
    nn.ReLU: ("Relu", _plain),
    nn.Sigmoid: ("Sigmoid", _plain),
    nn.Tanh: ("Tanh", _plain),
    nn.LeakyReLU: ("LeakyRelu", lambda m: ({"alpha": float(m.negative_slope)}, "")),
    nn.ELU: ("Elu", lambda m: ({"alpha": float(m.alpha)}, "")),
    nn.Softsign: ("Softsign", _plain),
    nn.Softplus: ("Softplus", _softplus),
    nn.Hardtanh: ("Clip", lambda m: ({"min": float(m.min_val), "max": float(m.max_val)}, "")),
    nn.ReLU6: ("Clip", lambda m: ({"min": 0.0, "max": 6.0}, "")),
    nn.Hardsigmoid: ("HardSigmoid", lambda m: ({"alpha": 1.0 / 6.0, "beta": 0.5}, "")),
    nn.Hardswish: ("HardSwish", _plain),
    nn.SiLU: ("Swish", lambda m: ({"alpha": 1.0}, "")),
    nn.Mish: ("Mish", _plain),
    nn.Softmax: ("Softmax", _softmax),
    nn.LogSoftmax: ("LogSoftmax", _softmax),
}
