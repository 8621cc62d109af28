"""The meaning of every operator, in float64 numpy: what rnnrt is measured against and what constants are folded with.

One function per operator, written from the ONNX operator specification (newest opset), in one table, `OPERATORS`.
Floating-point inputs are computed in `dtype` (float64), integers and booleans keep their types. Parameters that moved
from attributes to inputs over the years (axes, starts, shape, min, ...) are accepted in either place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import ir
from .bounds import bounded
from .reference_recurrent import apply_activation, recurrent, sigmoid
from .reference_windows import WINDOWED, windowed

Array: TypeAlias = "npt.NDArray[Any]"


@dataclass
class _Call:
    """One evaluation: the node's attributes, its inputs, and what the symbols stand for."""

    op: str
    attrs: Mapping[str, Any]
    inputs: list[Array | None]
    dtype: np.dtype[Any]
    symbols: Mapping[int, int] = field(default_factory=dict)

    def x(self, i: int = 0) -> Array:
        value = self.get(i)
        if value is None:
            raise ValueError(f"{self.op} needs input {i}")
        return value

    def get(self, i: int) -> Array | None:
        return self.inputs[i] if i < len(self.inputs) else None

    def attr(self, name: str, default: Any = None) -> Any:
        value = self.attrs.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def parameter(self, name: str, i: int) -> Any:
        """An attribute, else input i, else None."""
        if self.attrs.get(name) is not None:
            return self.attrs[name]
        return self.get(i)

    def numbers(self, name: str, i: int) -> list[int] | None:
        """A list of integers given as attribute or input i."""
        value = self.parameter(name, i)
        return None if value is None else [int(v) for v in np.asarray(value).reshape(-1)]

    def shape(self, name: str, i: int) -> list[int]:
        """As `numbers`, with the symbols replaced."""
        return [self.symbols.get(n, n) for n in self.numbers(name, i) or []]


Function: TypeAlias = "Callable[[_Call], list[Array]]"


def _elementwise(function: Callable[[Array], Any]) -> Function:
    return lambda c: [np.asarray(function(c.x()))]


def _binary(function: Callable[[Array, Array], Any]) -> Function:
    return lambda c: [np.asarray(function(c.x(0), c.x(1)))]


def _variadic(function: Callable[[Array, Array], Any]) -> Function:
    def run(c: _Call) -> list[Array]:
        total = c.x(0)
        for i in range(1, len(c.inputs)):
            total = np.asarray(function(total, c.x(i)))
        return [total]

    return run


def _activation(*parameters: str) -> Function:
    """An operator that recurrent layers also use as activation; parameters: its attributes alpha, beta."""

    def run(c: _Call) -> list[Array]:
        return [np.asarray(apply_activation(c.op, c.x(), *(c.attr(p) for p in parameters)))]

    return run


# ---- elementwise ----


def _div(a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu":  # integer division truncates towards zero
        q = np.abs(a) // np.abs(b)
        return np.asarray(np.where((a < 0) != (b < 0), -q, q).astype(a.dtype))
    return np.asarray(a / b)


def _mod(c: _Call) -> list[Array]:
    return [np.asarray((np.fmod if c.attr("fmod", 0) else np.mod)(c.x(0), c.x(1)))]


def _pow(c: _Call) -> list[Array]:
    x, y = c.x(0), c.x(1)
    if x.dtype.kind in "iu":
        return [np.power(x.astype(np.float64), y).astype(x.dtype)]
    return [np.asarray(np.power(x, y.astype(x.dtype)))]


def _clip(c: _Call) -> list[Array]:
    x = c.x()
    low, high = c.parameter("min", 1), c.parameter("max", 2)
    if low is not None:
        x = np.maximum(x, np.asarray(low, x.dtype))
    if high is not None:
        x = np.minimum(x, np.asarray(high, x.dtype))
    return [np.asarray(x)]


def _erf(x: Array) -> Array:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), x.dtype).reshape(x.shape)


def _gelu(c: _Call) -> list[Array]:
    x = c.x()
    if c.attr("approximate", "none") == "tanh":
        return [0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))]
    return [0.5 * x * (1 + _erf(x / math.sqrt(2)))]


def _prelu(x: Array, slope: Array) -> Array:
    return np.where(x < 0, x * slope, x)


def _cast(c: _Call) -> list[Array]:
    x, to = c.x(), c.attr("to")
    target = _ONNX_TYPES.get(int(to)) if isinstance(to, (int, np.integer)) else np.dtype(to)
    if target is None:
        raise ValueError(f"Cast to ONNX type {to}")
    return [x.astype(c.dtype if target.kind == "f" else target)]


# onnx.TensorProto.DataType -> numpy
_ONNX_TYPES = {
    number: np.dtype(name)
    for number, name in {
        1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
        10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "float32",
    }.items()
}  # fmt: skip


# ---- matrices ----


def _fused(c: _Call, y: Array) -> list[Array]:
    """The activation that the simplifier has put into a Gemm or Conv."""
    name = c.attr("activation")
    if not name:
        return [y]
    if name in ("Identity", "Clip", "Exp", "Log", "Sqrt", "Abs", "Neg"):
        attrs = {"min": c.attr("activation_alpha"), "max": c.attr("activation_beta")} if name == "Clip" else {}
        return OPERATORS[name](_Call(name, attrs, [y], c.dtype))
    return [np.asarray(apply_activation(name, y, c.attr("activation_alpha"), c.attr("activation_beta")))]


def _gemm(c: _Call) -> list[Array]:
    a, b, bias = c.x(0), c.x(1), c.get(2)
    a = a.T if c.attr("transA", 0) else a
    b = b.T if c.attr("transB", 0) else b
    y = c.attr("alpha", 1.0) * (a @ b)
    if bias is not None:
        y = y + c.attr("beta", 1.0) * bias
    return _fused(c, np.asarray(y))


def _einsum(c: _Call) -> list[Array]:
    operands = [c.x(i) for i in range(len(c.inputs))]
    return [np.asarray(np.einsum(str(c.attr("equation")).replace(" ", ""), *operands))]


def _windowed(c: _Call) -> list[Array]:
    return _fused(c, windowed(c.op, c.attrs, c.inputs))


# ---- normalization ----


def _batch_normalization(c: _Call) -> list[Array]:
    x = c.x()
    scale, bias, mean, variance = (c.x(i).reshape(-1, *[1] * (x.ndim - 2)) for i in range(1, 5))
    return [(x - mean) / np.sqrt(variance + c.attr("epsilon", 1e-5)) * scale + bias]


def _layer_normalization(c: _Call) -> list[Array]:
    x, scale, bias = c.x(0), c.x(1), c.get(2)
    axis = int(c.attr("axis", -1))
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = x.mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(np.square(x - mean).mean(axes, keepdims=True) + c.attr("epsilon", 1e-5))
    y = (x - mean) * inverse * scale
    return [y if bias is None else y + bias, mean, inverse]


def _softmax(c: _Call) -> list[Array]:
    axis = int(c.attr("axis", -1))
    e = np.exp(c.x() - c.x().max(axis, keepdims=True, initial=-np.inf))
    return [e / e.sum(axis, keepdims=True)]


def _log_softmax(c: _Call) -> list[Array]:
    axis = int(c.attr("axis", -1))
    shifted = c.x() - c.x().max(axis, keepdims=True, initial=-np.inf)
    return [shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))]


def _reduce(function: Callable[..., Any]) -> Function:
    def run(c: _Call) -> list[Array]:
        axes = c.numbers("axes", 1)
        if not axes:
            if c.attr("noop_with_empty_axes", 0):
                return [c.x()]
            axes = list(range(c.x().ndim))
        return [np.asarray(function(c.x(), axis=tuple(axes), keepdims=bool(c.attr("keepdims", 1))))]

    return run


def _l2(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    return np.asarray(np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims)))


def _integer_safe(function: Callable[..., Any]) -> Callable[..., Array]:
    """np.sum and np.prod widen small integers; ONNX keeps the type."""
    return lambda x, axis, keepdims: np.asarray(function(x, axis=axis, keepdims=keepdims)).astype(x.dtype)


def _arg_max(c: _Call) -> list[Array]:
    """Each element against the largest so far, as onnxruntime does: so a NaN counts only where it is the first."""
    axis = int(c.attr("axis", 0))
    x = np.moveaxis(c.x(), axis, 0)
    best, found = x[0], np.zeros(x.shape[1:], np.int64)
    for i, each in enumerate(x[1:], 1):
        larger = each >= best if c.attr("select_last_index", 0) else each > best
        best, found = np.where(larger, each, best), np.where(larger, i, found)
    return [np.expand_dims(found, axis) if c.attr("keepdims", 1) else np.asarray(found)]


def _top_k(c: _Call) -> list[Array]:
    """Equal elements: the one with the lower index first."""
    x, axis, largest = c.x(), int(c.attr("axis", -1)), bool(c.attr("largest", 1))
    (k,) = c.shape("k", 1)
    forward = np.flip(x, axis) if largest else x  # largest: the last of equals ascending is the first descending
    order = np.argsort(forward, axis=axis, kind="stable")
    order = x.shape[axis] - 1 - np.flip(order, axis) if largest else order
    order = np.take(order, range(k), axis=axis)
    return [np.take_along_axis(x, order, axis), order.astype(np.int64)]


# ---- shapes ----


def _reshape(c: _Call) -> list[Array]:
    x, shape = c.x(), c.shape("shape", 1)
    if not c.attr("allowzero", 0):
        shape = [x.shape[i] if d == 0 else d for i, d in enumerate(shape)]
    return [x.reshape(shape)]


def _squeeze(c: _Call) -> list[Array]:
    axes = c.numbers("axes", 1)
    return [np.squeeze(c.x(), tuple(axes) if axes else None)]


def _unsqueeze(c: _Call) -> list[Array]:
    return [np.expand_dims(c.x(), tuple(c.numbers("axes", 1) or ()))]


def _flatten(c: _Call) -> list[Array]:
    x, axis = c.x(), int(c.attr("axis", 1))
    axis = axis + x.ndim if axis < 0 else axis
    return [x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))]


def _transpose(c: _Call) -> list[Array]:
    perm = c.attr("perm")
    return [np.transpose(c.x(), None if perm is None else [int(p) for p in perm])]


def _slice(c: _Call) -> list[Array]:
    x = c.x()
    starts, ends = c.numbers("starts", 1) or [], c.numbers("ends", 2) or []
    axes = c.numbers("axes", 3) or list(range(len(starts)))
    steps = c.numbers("steps", 4) or [1] * len(starts)
    window = [slice(None)] * x.ndim
    for axis, first, last, step in zip(axes, starts, ends, steps, strict=True):
        n = x.shape[axis]
        start, end = (v + n if v < 0 else v for v in (first, last))
        if step > 0:
            window[axis] = slice(min(max(start, 0), n), min(max(end, 0), n), step)
        elif n == 0:
            window[axis] = slice(0, 0)
        else:
            end = min(max(end, -1), n - 1)
            window[axis] = slice(min(max(start, 0), n - 1), None if end < 0 else end, step)
    return [x[tuple(window)]]


def _split(c: _Call) -> list[Array]:
    x, axis, sizes = c.x(), int(c.attr("axis", 0)), c.numbers("split", 1)
    if sizes is None:
        parts = int(c.attr("num_outputs") or 2)
        each = -(-x.shape[axis] // parts)
        sizes = [each] * (parts - 1) + [x.shape[axis] - each * (parts - 1)]
    return [np.asarray(part) for part in np.split(x, np.cumsum(sizes)[:-1], axis)]


def _concat(c: _Call) -> list[Array]:
    return [np.concatenate([c.x(i) for i in range(len(c.inputs))], int(c.attr("axis")))]


def _gather(c: _Call) -> list[Array]:
    x, indices, axis = c.x(0), c.x(1).astype(np.int64), int(c.attr("axis", 0))
    if indices.size and not x.shape[axis]:
        raise ValueError(f"data has shape {x.shape}: along axis {axis} there is nothing to take")
    return [np.take(x, indices, axis)]


def _pad(c: _Call) -> list[Array]:
    x, pads = c.x(), c.numbers("pads", 1) or []
    value = c.attr("value") if c.attr("value") is not None else c.get(2)
    axes = c.numbers("axes", 3)
    axes = list(range(x.ndim)) if axes is None else [a % x.ndim for a in axes]
    width = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        width[axis] = (pads[i], pads[i + len(axes)])
    crop = tuple(slice(max(-b, 0), n - max(-e, 0)) for (b, e), n in zip(width, x.shape, strict=True))
    grow = [(max(b, 0), max(e, 0)) for b, e in width]
    bounded(n + b + e for n, (b, e) in zip(x.shape, grow, strict=True))
    mode = c.attr("mode", "constant")
    if mode == "constant":
        fill = 0 if value is None else np.asarray(value).reshape(())
        return [np.pad(x[crop], grow, "constant", constant_values=fill)]
    return [np.pad(x[crop], grow, mode)]


def _expand(c: _Call) -> list[Array]:
    shape = bounded(np.broadcast_shapes(c.x().shape, tuple(c.shape("shape", 1))))
    return [np.broadcast_to(c.x(), shape).copy()]


def _trilu(c: _Call) -> list[Array]:
    k = 0 if c.get(1) is None else int(c.x(1).reshape(()))
    return [(np.triu if c.attr("upper", 1) else np.tril)(c.x(), k)]


def _scatter_nd(c: _Call) -> list[Array]:
    if c.attr("reduction", "none") != "none":
        raise ValueError(f"reduction '{c.attr('reduction')}'")
    y = c.x(0).copy()
    y[tuple(np.moveaxis(c.x(1).astype(np.int64), -1, 0))] = c.x(2)
    return [y]


def _scatter_elements(c: _Call) -> list[Array]:
    if c.attr("reduction", "none") != "none":
        raise ValueError(f"reduction '{c.attr('reduction')}'")
    y, index = c.x(0).copy(), np.indices(c.x(1).shape)
    index[int(c.attr("axis", 0))] = c.x(1)
    y[tuple(index)] = c.x(2)
    return [y]


def _cum_sum(c: _Call) -> list[Array]:
    x, axis = c.x(), int(c.x(1).reshape(()))
    turned = np.flip(x, axis) if c.attr("reverse", 0) else x
    total = np.cumsum(turned, axis, dtype=x.dtype)
    total = total - turned if c.attr("exclusive", 0) else total
    return [np.flip(total, axis) if c.attr("reverse", 0) else total]


def _tile(c: _Call) -> list[Array]:
    repeats = c.numbers("repeats", 1) or []
    bounded([*c.x().shape, *repeats])
    return [np.tile(c.x(), repeats)]


# ---- constants and shape arithmetic ----


def _constant(c: _Call) -> list[Array]:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if c.attrs.get(name) is not None:
            value = np.asarray(c.attrs[name])
            integer = name.startswith("value_int")
            return [value.astype(np.int64) if integer else value.astype(c.dtype) if value.dtype.kind == "f" else value]
    raise ValueError("Constant without a numeric value")


def _constant_of_shape(c: _Call) -> list[Array]:
    value = np.asarray(c.attr("value", np.zeros(1, c.dtype))).reshape(-1)[0]
    kind = c.dtype if value.dtype.kind == "f" else value.dtype
    return [np.full(bounded(c.shape("shape", 0)), value, kind)]


def _shape(c: _Call) -> list[Array]:
    return [np.array(c.x().shape[slice(c.attr("start", 0), c.attr("end"))], np.int64)]


def _range(c: _Call) -> list[Array]:
    start, limit, delta = (c.x(i).reshape(())[()] for i in range(3))
    (n,) = bounded([max(math.ceil((limit - start) / delta), 0)])
    return [(start + np.arange(n) * delta).astype(c.x(0).dtype)]


def _dropout(c: _Call) -> list[Array]:
    return [c.x(), np.ones(c.x().shape, np.bool_)]


def _recurrent(c: _Call) -> list[Array]:
    return recurrent(c.op, c.attrs, c.inputs)


OPERATORS: dict[str, Function] = {
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "Gemm": _gemm,
    "MatMul": _binary(np.matmul),
    "Einsum": _einsum,
    **dict.fromkeys(WINDOWED, _windowed),
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(_div),
    "Mod": _mod,
    "Pow": _pow,
    "Min": _variadic(np.minimum),
    "Max": _variadic(np.maximum),
    "Sum": _variadic(np.add),
    "Relu": _activation(),
    "LeakyRelu": _activation("alpha"),
    "Sigmoid": _elementwise(sigmoid),
    "Tanh": _elementwise(np.tanh),
    "Clip": _clip,
    "Exp": _elementwise(np.exp),
    "Log": _elementwise(np.log),
    "Sqrt": _elementwise(np.sqrt),
    "Abs": _elementwise(np.abs),
    "Neg": _elementwise(np.negative),
    "Sign": _elementwise(np.sign),
    "Reciprocal": _elementwise(lambda x: 1 / x),
    "Floor": _elementwise(np.floor),
    "Ceil": _elementwise(np.ceil),
    "Round": _elementwise(np.rint),
    "Sin": _elementwise(np.sin),
    "Cos": _elementwise(np.cos),
    "Erf": _elementwise(_erf),
    "HardSigmoid": _activation("alpha", "beta"),
    "Elu": _activation("alpha"),
    "Softsign": _activation(),
    "Softplus": _activation(),
    "ThresholdedRelu": _activation("alpha"),
    "Affine": _activation("alpha", "beta"),
    "ScaledTanh": _activation("alpha", "beta"),
    "PRelu": _binary(_prelu),
    "Gelu": _gelu,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "LayerNormalization": _layer_normalization,
    "BatchNormalization": _batch_normalization,
    "Dropout": _dropout,
    "ReduceMean": _reduce(np.mean),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceSum": _reduce(_integer_safe(np.sum)),
    "ArgMax": _arg_max,
    "TopK": _top_k,
    "ReduceProd": _reduce(_integer_safe(np.prod)),
    "ReduceL2": _reduce(_l2),
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Gather": _gather,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
    "Trilu": _trilu,
    "ScatterND": _scatter_nd,
    "ScatterElements": _scatter_elements,
    "Atan": _elementwise(np.arctan),
    "CumSum": _cum_sum,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Identity": _elementwise(lambda x: x),
    "Shape": _shape,
    "Size": _elementwise(lambda x: np.int64(x.size)),
    "Range": _range,
    "Cast": _cast,
    "Equal": _binary(np.equal),
    "Less": _binary(np.less),
    "Greater": _binary(np.greater),
    "LessOrEqual": _binary(np.less_equal),
    "GreaterOrEqual": _binary(np.greater_equal),
    "Not": _elementwise(np.logical_not),
    "And": _binary(np.logical_and),
    "Or": _binary(np.logical_or),
    "Xor": _binary(np.logical_xor),
    "Where": lambda c: [np.where(c.x(0).astype(bool), c.x(1), c.x(2))],
}


def evaluate_node(
    node: ir.Node,
    inputs: list[Array | None],
    dtype: npt.DTypeLike = np.float64,
    symbols: Mapping[int, int] | None = None,
) -> list[Array]:
    """Evaluate one operator.

    Parameters
    ----------
    node
        The operator and its attributes. Input and output names are not looked at.
    inputs
        One array per input; None for one left out.
    dtype
        The type in which floating-point tensors are computed and returned, whatever theirs was. Integers and booleans
        keep their types; a Cast to any floating type gives `dtype`.
    symbols
        What ``Sym.TIME`` and ``Sym.BATCH`` in the shape of a Reshape, Expand or ConstantOfShape stand for.

    Returns
    -------
    list of ndarray
        All outputs of the operator in ONNX's order, also those that the node leaves out.

    Raises
    ------
    NotImplementedError
        An operator that is not in `OPERATORS`.
    ValueError
        Inputs or attributes that do not fit the operator.
    """
    function = OPERATORS.get(node.op)
    if function is None or node.domain not in ("", "ai.onnx"):
        raise NotImplementedError(f"{node.domain + '.' if node.domain else ''}{node.op} (node '{node.name}')")
    kind = np.dtype(dtype)
    given = [
        None if x is None else x.astype(kind, copy=False) if x.dtype.kind == "f" else x for x in map(_as_array, inputs)
    ]
    with np.errstate(all="ignore"):
        outputs = function(_Call(node.op, node.attrs, given, kind, symbols or {}))
    return [np.asarray(y, kind) if np.asarray(y).dtype.kind == "f" else np.asarray(y) for y in outputs]


def _as_array(x: Any) -> Array | None:
    return None if x is None else np.asarray(x)


def bind_symbols(
    graph: ir.Graph, feeds: Mapping[str, Array], states: Mapping[str, Array] | None = None
) -> dict[int, int]:
    """What time and batch are, from the shapes of the arrays given.

    Raises
    ------
    ValueError
        An input is missing or unknown, or a shape does not fit what is declared or what another input says.
    """
    found: dict[int, int] = {}
    pairs = [(v, feeds.get(v.name)) for v in graph.inputs]
    unknown = sorted(set(feeds) - {v.name for v in graph.inputs})
    if unknown:
        raise ValueError(f"no input named {unknown}; the inputs are {[v.name for v in graph.inputs]}")
    for state in graph.states:
        value, array = graph.values.get(state.input), (states or {}).get(state.name)
        if value is not None and array is not None:
            pairs.append((value, array))
    for value, array in pairs:
        if array is None:
            raise ValueError(f"input '{value.name}' is missing")
        shape = np.shape(array)
        if value.shape is None:
            continue
        if len(shape) != len(value.shape):
            raise ValueError(f"'{value.name}' needs {len(value.shape)} dimensions, not {len(shape)}")
        for want, have in zip(value.shape, shape, strict=True):
            expected = found.setdefault(int(want), have) if want in (ir.Sym.TIME, ir.Sym.BATCH) else int(want)
            if expected != have:
                raise ValueError(f"'{value.name}' has shape {shape}, expected {tuple(map(str, value.shape))}")
    found.setdefault(int(ir.Sym.TIME), 1)
    found.setdefault(int(ir.Sym.BATCH), 1)
    return found


def initial_states(graph: ir.Graph, symbols: Mapping[int, int], dtype: npt.DTypeLike = np.float64) -> dict[str, Array]:
    """Every state variable's initial value by the state's name; zeros unless the graph says otherwise."""
    made: dict[str, Array] = {}
    for state in graph.states:
        value = graph.values.get(state.input)
        shape = None if value is None or value.shape is None else [symbols.get(int(d), int(d)) for d in value.shape]
        if state.init is None and shape is None:
            raise ValueError(f"the shape of state '{state.name}' is not known")
        if state.init is None:
            made[state.name] = np.zeros(shape or (), np.dtype(dtype))
        else:
            made[state.name] = np.array(
                np.broadcast_to(state.init, state.init.shape if shape is None else shape), np.dtype(dtype)
            )
    return made


def run(
    graph: ir.Graph,
    feeds: Mapping[str, Array],
    states: Mapping[str, Array] | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Evaluate a graph once.

    Parameters
    ----------
    graph
        Any graph whose operators are in `OPERATORS`.
    feeds
        One array per graph input, by name.
    states
        State variables by the state's name (as this function returned them); None: the initial values.
    dtype
        Floating-point type of the computation.

    Returns
    -------
    outputs, states
        Output arrays by name and the new state variables by the state's name.

    Raises
    ------
    ValueError
        An input is missing or has a wrong shape; the message of an operator names its node.
    NotImplementedError
        An unknown operator.
    """
    arrays = {name: np.asarray(array) for name, array in feeds.items()}
    symbols = bind_symbols(graph, arrays, states)
    values: dict[str, Array] = dict(graph.constants)
    values.update(arrays)
    before = initial_states(graph, symbols, dtype) if states is None else states
    for state in graph.states:
        values[state.input] = before[state.name]
    for node in graph.nodes:
        try:
            outputs = evaluate_node(node, [values[name] if name else None for name in node.inputs], dtype, symbols)
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(f"{node.op} '{node.name}': {error}") from error
        values.update({name: y for name, y in zip(node.outputs, outputs, strict=False) if name})
    after = {s.name: np.asarray(values[s.output]).astype(dtype, copy=False) for s in graph.states}
    return {v.name: _float_as(values[v.name], dtype) for v in graph.outputs}, after


def _float_as(x: Array, dtype: npt.DTypeLike) -> Array:
    return x.astype(dtype, copy=False) if x.dtype.kind == "f" else x
