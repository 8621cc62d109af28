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
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from ..errors import UnsupportedError
from . import architecture
from .ir import Graph, Problem
from .layers import Chain, from_arrays

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


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
    return architecture.load(source)


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
    builder = _Modules(_batch_first(module), f"torch {torch.__version__}")
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
    return from_arrays(
        arrays, prefix, batch_first=batch_first, nonlinearity=nonlinearity, producer=f"torch {torch.__version__}"
    )


# ---- sources ----


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray))


def _array(value: Any) -> Array:
    """float32, contiguous; bfloat16, half and double become float32."""
    if isinstance(value, torch.Tensor):
        value = value.detach().to("cpu", torch.float32).numpy()
    return np.ascontiguousarray(value, np.float32)


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


# ---- modules ----


class _Modules(Chain):
    """A chain of layers that are given as modules."""

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
            scale = np.ones(module.normalized_shape) if module.weight is None else _array(module.weight)
            bias = None if module.bias is None else _array(module.bias)
            self.layer_norm(scale, bias, float(module.eps), label)
        elif isinstance(module, (nn.Dropout, nn.Identity)):
            return
        elif type(module) in _ACTIVATIONS:
            op, attributes = _ACTIVATIONS[type(module)]
            attrs, reason = attributes(module)
            if reason:
                self.problems.append(Problem(label, type(module).__name__, reason))
            self.current = self.add(op, label, [self.current], **attrs)
        else:
            reason = "the module is not supported directly; give an input, example=, to convert it through ONNX"
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
