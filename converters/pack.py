"""A simplified graph and a precision plan to the records of a .rnnrt file: positional attributes, packed weights.

Everything that the runtime can't take is collected and reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import UnsupportedError
from . import int4, ir, layout
from .operators import NO_ACTIVATION, OPERATORS, UNARY, unary_parameters
from .quantize import RECURRENT, Plan, Precision, gemm_matrix, is_depthwise, transposed_matrix
from .reference_recurrent import GATES, activations
from .support import BINARY, COMPARE, cast_target

Array: TypeAlias = "npt.NDArray[Any]"

NONE = 0xFFFFFFFF
TEMP, INPUT, CONST, STATE = range(4)
F32, S8, I32, F16, S4 = 1, 2, 3, 4, 5
PLAIN, R16C1, R16C4, R16G32 = range(4)
MAX_RANK = 6
MAX_COLS = 131072
MAX_REFS = 64
_I32_MIN, _I32_MAX = -(2**31), 2**31 - 1
_F32_MAX = float(np.finfo(np.float32).max)
_DIRECTIONS = {"forward": 0, "reverse": 1, "bidirectional": 2}
_CAST_TARGETS = {"f": 0, "i": 1, "b": 2}
_PAD_MODES = {"constant": 0, "reflect": 1, "edge": 2}


@dataclass
class PackedValue:
    """One record of VALUES."""

    name: str
    kind: int
    dtype: int = 0
    layout: int = PLAIN
    dims: tuple[int, ...] = ()
    is_output: bool = False
    pair: int = NONE
    init: int = NONE
    data: bytes | None = None


@dataclass
class PackedNode:
    """One record of NODES with its references and attributes."""

    name: str
    op: str
    inputs: list[int]
    outputs: list[int]
    ints: list[int] = field(default_factory=list)
    floats: list[float] = field(default_factory=list)

    @property
    def code(self) -> int:
        """Operator code of the file."""
        return OPERATORS[self.op].code


@dataclass
class PackedModel:
    """What `write.to_bytes` writes."""

    values: list[PackedValue] = field(default_factory=list)
    nodes: list[PackedNode] = field(default_factory=list)
    streamable: bool = True


def file_type(dtype: npt.DTypeLike) -> int:
    """The file's type for one of numpy: integers and truth values (0 and 1) are I32."""
    return I32 if np.dtype(dtype).kind in "iub" else F32


class _Unfit(Exception):
    """A node that the runtime can't take: the reason, and the attribute if it is one's fault."""

    def __init__(self, reason: str, attribute: str = "") -> None:
        super().__init__(reason)
        self.reason, self.attribute = reason, attribute


class _Packer:
    """Collects values and nodes. Values are numbered in the file's order: inputs, outputs, states, the rest."""

    def __init__(self, graph: ir.Graph, plan: Plan) -> None:
        self.graph, self.plan = graph, plan
        self.values: list[PackedValue] = []
        self.nodes: list[PackedNode] = []
        self.numbers: dict[str, int] = {}
        self.constants: dict[tuple[str, int], int] = {}
        self.alias: dict[str, str] = {}
        self.problems: list[ir.Problem] = []

    def problem(self, where: str, op: str, reason: str, attribute: str = "") -> None:
        self.problems.append(ir.Problem(where, op, reason, attribute))

    def add(self, value: PackedValue) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def resolve(self, name: str) -> str:
        while name in self.alias:
            name = self.alias[name]
        return name

    def number(self, name: str, dtype: int | None = None) -> int:
        """Value number of a node's input; constants become PLAIN constants of the type wanted, else of their own."""
        name = self.resolve(name)
        if not name:
            return NONE
        if name in self.numbers:
            return self.numbers[name]
        if name in self.graph.constants:
            array = self.graph.constants[name]
            return self.plain(name, array, file_type(array.dtype) if dtype is None else dtype)
        raise _Unfit(f"input '{name}' is made by no node before it")

    def plain(self, name: str, array: Array, dtype: int = F32) -> int:
        """A PLAIN constant, stored once per name and type."""
        if (name, dtype) not in self.constants:
            array = np.asarray(array)
            if array.ndim > MAX_RANK:
                raise _Unfit(f"constant '{name}' has {array.ndim} dimensions, at most {MAX_RANK} are possible")
            if dtype == I32 and array.size and (array.max() > _I32_MAX or array.min() < _I32_MIN):
                raise _Unfit(f"constant '{name}' does not fit 32-bit integers")
            with np.errstate(over="ignore"):
                data = array.astype("<i4" if dtype == I32 else "<f4").tobytes()
            self.constants[name, dtype] = self.add(PackedValue(name, CONST, dtype, PLAIN, array.shape, data=data))
        return self.constants[name, dtype]

    def matrix(self, name: str, w: Array, precision: Precision, order: Array | None = None) -> int:
        """A packed constant [rows, cols] in the precision that the plan says, its columns in another order."""
        rows, cols = w.shape
        if rows == 0 or cols == 0:
            raise _Unfit(f"weights '{name}' of shape {w.shape} are empty")
        if cols > MAX_COLS:
            raise _Unfit(f"weights '{name}' have {cols} columns, at most {MAX_COLS} are possible")
        if precision == "s8":
            q, scale = self.plan.rows(w)
            packed = (S8, R16C4, layout.pack_r16c4(q if order is None else q[:, order], scale))
            return self.add(PackedValue(name, CONST, *packed[:2], (rows, cols), data=packed[2]))
        w = w if order is None else w[:, order]
        if precision == "s4":
            packed = (S4, R16G32, layout.pack_r16g32(*int4.quantize(w)))
        elif precision == "f16":
            packed = (F16, R16C1, layout.pack_r16c1(w, "<f2"))
        else:
            packed = (F32, R16C1, layout.pack_r16c1(w))
        return self.add(PackedValue(name, CONST, *packed[:2], (rows, cols), data=packed[2]))

    def constant(self, node: ir.Node, i: int, what: str) -> Array | None:
        """Constant input i as float64; None when left out."""
        name = self.resolve(node.inputs[i]) if i < len(node.inputs) else ""
        if not name:
            return None
        if name not in self.graph.constants:
            raise _Unfit(f"{what} is computed by the graph, it must be constant")
        return np.asarray(self.graph.constants[name], np.float64)

    def bias(self, name: str, array: Array | None, size: int) -> int:
        """A bias [size] as PLAIN constant; NONE when absent or all zero."""
        if array is None or not array.any():
            return NONE
        try:
            full = np.broadcast_to(array.reshape(-1) if array.size in (1, size) else array, (size,))
        except ValueError:
            raise _Unfit(f"the bias has shape {array.shape}, ({size},) is possible") from None
        return self.plain(name, full)

    def temp(self, name: str) -> int:
        """Value number of a node's output."""
        if not name:
            return NONE
        if name not in self.numbers:
            self.numbers[name] = self.add(PackedValue(name, TEMP))
        return self.numbers[name]


Encoded: TypeAlias = "tuple[list[int], list[int], list[float]]"  # inputs, ints, floats
Encoder: TypeAlias = "Callable[[_Packer, ir.Node], Encoded]"


def _all_inputs(p: _Packer, node: ir.Node) -> list[int]:
    return [p.number(name) for name in node.inputs]


def _ints(node: ir.Node, name: str, default: Sequence[int] | None = None) -> list[int]:
    """A list attribute; ONNX's ends such as INT64_MAX are cut to 32 bits, symbols are their numbers."""
    value = node.attrs.get(name, default)
    if value is None:
        raise _Unfit("must be constant", name)
    return [min(max(int(v), _I32_MIN), _I32_MAX) for v in np.asarray(value).reshape(-1)]


def _elementwise(p: _Packer, node: ir.Node) -> Encoded:
    return _all_inputs(p, node), [], []


def _two_inputs(p: _Packer, node: ir.Node) -> Encoded:
    if len(node.inputs) != 2:
        raise _Unfit(f"has {len(node.inputs)} inputs, two are possible")
    return _elementwise(p, node)


def _unary(p: _Packer, node: ir.Node) -> Encoded:
    if any(node.inputs[1:]):
        raise _Unfit("min and max must be constant")
    return [p.number(node.inputs[0])], [], list(unary_parameters(node.op, node.attrs))


def _fused_activation(node: ir.Node) -> tuple[int, list[float]]:
    name = node.attrs.get("activation") or ""
    if not name:
        return NO_ACTIVATION, [0.0, 0.0]
    if name not in UNARY:
        raise _Unfit(f"'{name}' is not known", "activation")
    return UNARY[name], list(unary_parameters(name, node.attrs, "activation_"))


def _gemm(p: _Packer, node: ir.Node) -> Encoded:
    if node.attrs.get("transA", 0):
        raise _Unfit("1 is not supported", "transA")
    p.constant(node, 1, "B")
    constants = {node.inputs[1]: p.graph.constants[p.resolve(node.inputs[1])]}
    w = gemm_matrix(node, constants)
    if w.ndim != 2:
        raise _Unfit(f"B has {w.ndim} dimensions, 2 are possible")
    bias = p.constant(node, 2, "C")
    if bias is not None:
        bias = bias * float(node.attrs.get("beta", 1.0))
        if bias.ndim == 2 and bias.shape[0] != 1:
            raise _Unfit(f"the bias has shape {bias.shape}, ({w.shape[0]},) is possible")
    code, parameters = _fused_activation(node)
    inputs = [p.number(node.inputs[0]), p.matrix(node.inputs[1], w, p.plan.precision(node))]
    if (number := p.bias(f"{node.outputs[0]}.bias", bias, w.shape[0])) != NONE:
        inputs.append(number)
    return inputs, [code], parameters


def _window(node: ir.Node) -> list[int]:
    """The attributes that every windowed operator begins with; one spatial axis is the second of two."""
    names, defaults = ("kernel_shape", "strides", "dilations"), (1, 1, 1)
    if not node.attrs.get("channels_last", 0):
        raise _Unfit("the channels must come last: see channels_last.py")
    ints = []
    for name, default in zip(names, defaults, strict=True):
        values = _ints(node, name)
        ints += [default] * (2 - len(values)) + values
    pads = _ints(node, "pads")
    if min(pads) < 0:
        raise _Unfit(f"{pads} is negative", "pads")
    return ints + ([0, pads[0], 0, pads[1]] if len(pads) == 2 else pads)


def _conv_matrix(p: _Packer, node: ir.Node, w: Array) -> int:
    """W [M, C, ...kernel] -> [M, kernel * C]; of a depthwise Conv, when it stays f32, PLAIN [kernel, M]."""
    rows = w.reshape(len(w), -1)
    if is_depthwise(node, w.shape) and p.plan.precision(node) == "f32":
        return p.plain(f"{node.inputs[1]}.taps", rows.T)
    order = np.arange(rows.shape[1]).reshape(w.shape[1], -1).T.reshape(-1)  # [c][k] -> [k][c]
    return p.matrix(node.inputs[1], rows, p.plan.precision(node), order)


def _conv(p: _Packer, node: ir.Node) -> Encoded:
    w, group = p.constant(node, 1, "W"), int(node.attrs.get("group", 1))
    if w is None or w.ndim not in (3, 4):
        raise _Unfit("W must have 3 or 4 dimensions")
    if w.shape[0] % group:
        raise _Unfit(f"{group} does not divide the {w.shape[0]} output channels", "group")
    code, parameters = _fused_activation(node)
    inputs = [p.number(node.inputs[0]), _conv_matrix(p, node, w)]
    if (number := p.bias(f"{node.outputs[0]}.bias", p.constant(node, 2, "B"), w.shape[0])) != NONE:
        inputs.append(number)
    return inputs, [*_window(node), group, int(node.attrs.get("symmetry", 0)), code], parameters


def _conv_transpose(p: _Packer, node: ir.Node) -> Encoded:
    w, group = p.constant(node, 1, "W"), int(node.attrs.get("group", 1))
    if w is None or w.ndim not in (3, 4):
        raise _Unfit("W must have 3 or 4 dimensions")
    if w.shape[0] % group:
        raise _Unfit(f"{group} does not divide the {w.shape[0]} input channels", "group")
    more = _ints(node, "output_padding")
    code, parameters = _fused_activation(node)
    matrix = p.matrix(node.inputs[1], transposed_matrix(w, group), p.plan.precision(node))
    inputs = [p.number(node.inputs[0]), matrix]
    outputs = w.shape[1] * group
    if (number := p.bias(f"{node.outputs[0]}.bias", p.constant(node, 2, "B"), outputs)) != NONE:
        inputs.append(number)
    return inputs, [*_window(node), *[0] * (2 - len(more)), *more, group, code], parameters


def _pool(p: _Packer, node: ir.Node) -> Encoded:
    ints = [*_window(node), int(node.attrs.get("ceil_mode", 0))]
    if node.op == "AveragePool":
        ints.append(int(node.attrs.get("count_include_pad", 0)))
    return [p.number(node.inputs[0])], ints, []


def _recurrent_weights(p: _Packer, node: ir.Node) -> tuple[list[int], int, int]:
    """W, R, BW, BR as value numbers; directions and units."""
    w, r, b = (p.constant(node, i, what) for i, what in ((1, "W"), (2, "R"), (3, "B")))
    if w is None or r is None or w.ndim != 3 or r.ndim != 3:
        raise _Unfit("W and R must have 3 dimensions")
    gates, hidden, directions = GATES[node.op], r.shape[2], r.shape[0]
    if r.shape[1] != gates * hidden or w.shape[:2] != r.shape[:2]:
        raise _Unfit(f"W of shape {w.shape} does not fit R of shape {r.shape}")
    if int(node.attrs.get("hidden_size") or hidden) != hidden:
        raise _Unfit(f"{node.attrs['hidden_size']} does not fit R of shape {r.shape}", "hidden_size")
    by_gate = [a.reshape(directions, gates, hidden, -1) for a in (w, r)]
    lbr = node.op == "GRU" and bool(node.attrs.get("linear_before_reset", 0))
    order = layout.interleave_gates_reset_first if node.op == "GRU" and not lbr else layout.interleave_gates
    numbers = [
        p.matrix(node.inputs[1], layout.interleave_gates(by_gate[0]), p.plan.input_precision(node)),
        p.matrix(node.inputs[2], order(by_gate[1]), p.plan.precision(node)),
    ]
    if b is None:
        b = np.zeros((directions, 2 * gates * hidden))
    wb, rb = b.reshape(directions, 2, gates, hidden).swapaxes(0, 1)
    if lbr:
        kept = np.zeros_like(rb)
        kept[:, 2] = rb[:, 2]
        wb, rb = wb + rb - kept, kept
    else:
        wb, rb = wb + rb, np.zeros_like(rb)
    rows = directions * gates * layout.padded(hidden, layout.BLOCK)
    for name, bias in (("BW", wb), ("BR", rb)):
        numbers.append(p.bias(f"{layer_name(node)}.{name}", layout.interleave_gates(bias), rows))
    return numbers, directions, hidden


def layer_name(node: ir.Node) -> str:
    """The node's name or, for want of one, its first output's."""
    return node.name or next((name for name in node.outputs if name), node.op)


def _recurrent(p: _Packer, node: ir.Node) -> Encoded:
    numbers, directions, hidden = _recurrent_weights(p, node)
    direction = str(node.attrs.get("direction", "forward"))
    if _DIRECTIONS.get(direction, -1) == -1 or (direction == "bidirectional") != (directions == 2):
        raise _Unfit(f"'{direction}' does not fit R with {directions} direction(s)", "direction")
    try:
        functions = activations(node.op, node.attrs, directions)
    except ValueError as error:
        raise _Unfit(str(error), "activations") from error
    clip = float(node.attrs.get("clip") or 0.0)
    inputs = [p.number(node.inputs[0]), *numbers]
    rest = [*node.inputs[4:], *[""] * 4][:4]
    inputs.append(p.number(rest[0], I32))
    inputs += [_initial(p, name) for name in rest[1 : 3 if node.op == "LSTM" else 2]]
    if node.op == "LSTM":
        inputs.append(_peepholes(p, node, hidden))
    while inputs[-1] == NONE:
        inputs.pop()
    flat = [each for direction_functions in functions for each in direction_functions]
    ints = [hidden, _DIRECTIONS[direction], int(node.attrs.get("layout", 0))]
    ints += [int(node.attrs.get("linear_before_reset", 0)) if node.op == "GRU" else 0]
    ints += [int(node.attrs.get("input_forget", 0)) if node.op == "LSTM" else 0, int(clip > 0)]
    ints += [UNARY[name] for name, _, _ in flat]
    return inputs, ints, [max(clip, 0.0), *(v for _, a, b in flat for v in (a, b))]


def _initial(p: _Packer, name: str) -> int:
    """initial_h or initial_c; a constant zero is the same as none."""
    name = p.resolve(name)
    if name in p.graph.constants and not np.any(p.graph.constants[name]):
        return NONE
    return p.number(name)


def _peepholes(p: _Packer, node: ir.Node, hidden: int) -> int:
    """P [D, 3*H] -> f32 [D*3*Hp]."""
    array = p.constant(node, 7, "P")
    if array is None or not array.any():
        return NONE
    full = np.zeros((array.shape[0], 3, layout.padded(hidden, layout.BLOCK)))
    full[:, :, :hidden] = array.reshape(-1, 3, hidden)
    return p.plain(f"{layer_name(node)}.P", full.reshape(-1))


def _softmax(p: _Packer, node: ir.Node) -> Encoded:
    return _all_inputs(p, node), [int(node.attrs.get("axis", -1))], []


def _layer_normalization(p: _Packer, node: ir.Node) -> Encoded:
    if any(node.outputs[1:]):
        raise _Unfit("its outputs Mean and InvStdDev are not supported")
    return _all_inputs(p, node), [int(node.attrs.get("axis", -1))], [float(node.attrs.get("epsilon", 1e-5))]


def _reduce(p: _Packer, node: ir.Node) -> Encoded:
    if any(node.inputs[1:]):
        raise _Unfit("must be constant", "axes")
    axes = _ints(node, "axes", [])
    if not axes and node.attrs.get("noop_with_empty_axes", 0):
        raise _Unfit("1 without axes is not supported", "noop_with_empty_axes")
    return [p.number(node.inputs[0])], [int(node.attrs.get("keepdims", 1)), *axes], []


def _shaped(attribute: str, default: Sequence[int] | None = None) -> Encoder:
    """Reshape, Expand, Squeeze, Unsqueeze, Transpose: one list of numbers."""

    def encode(p: _Packer, node: ir.Node) -> Encoded:
        if any(node.inputs[1:]):
            raise _Unfit("must be constant", attribute)
        if node.attrs.get("allowzero", 0) and 0 in _ints(node, attribute):
            raise _Unfit("1 is not supported", "allowzero")
        return [p.number(node.inputs[0])], _ints(node, attribute, default), []

    return encode


def _slice(p: _Packer, node: ir.Node) -> Encoded:
    if any(node.inputs[1:]):
        raise _Unfit("starts, ends, axes and steps must be constant")
    starts, ends = _ints(node, "starts"), _ints(node, "ends")
    axes, steps = _ints(node, "axes", range(len(starts))), _ints(node, "steps", [1] * len(starts))
    if 0 in steps:
        raise _Unfit("0 is not possible", "steps")
    return [p.number(node.inputs[0])], [n for group in zip(axes, starts, ends, steps, strict=True) for n in group], []


def _concat(p: _Packer, node: ir.Node) -> Encoded:
    return _all_inputs(p, node), [int(node.attrs["axis"])], []


def _gather(p: _Packer, node: ir.Node) -> Encoded:
    return [p.number(node.inputs[0]), p.number(node.inputs[1], I32)], [int(node.attrs.get("axis", 0))], []


def _cast(p: _Packer, node: ir.Node) -> Encoded:
    to = cast_target(p.graph, node)
    if to is None:
        raise _Unfit("its type is not known", "to")
    return [p.number(node.inputs[0])], [_CAST_TARGETS[to.kind]], []


def _arg_max(p: _Packer, node: ir.Node) -> Encoded:
    names = (("axis", 0), ("keepdims", 1), ("select_last_index", 0))
    return [p.number(node.inputs[0])], [int(node.attrs.get(name, default)) for name, default in names], []


def _pad(p: _Packer, node: ir.Node) -> Encoded:
    if any(node.inputs[1:]):
        raise _Unfit("pads, value and axes must be constant")
    if "axes" in node.attrs:
        raise _Unfit("must have been merged into pads", "axes")
    mode = str(node.attrs.get("mode", "constant"))
    if mode not in _PAD_MODES:
        raise _Unfit(f"'{mode}' is not supported", "mode")
    value = float(np.asarray(node.attrs.get("value", 0.0) if node.attrs.get("value") is not None else 0.0).reshape(()))
    return [p.number(node.inputs[0])], [_PAD_MODES[mode], *_ints(node, "pads")], [value]


_ENCODERS: dict[str, Encoder] = {
    **dict.fromkeys(RECURRENT, _recurrent),
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool,
    "AveragePool": _pool,
    **dict.fromkeys(("MatMul", *sorted(BINARY | COMPARE)), _two_inputs),
    **dict.fromkeys(("Where", "Sin", "Cos", "Atan"), _elementwise),
    "Cast": _cast,
    "ArgMax": _arg_max,
    **{name: _unary for name in UNARY if name in OPERATORS},
    "Softmax": _softmax,
    "LayerNormalization": _layer_normalization,
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum"), _reduce),
    "Reshape": _shaped("shape"),
    "Expand": _shaped("shape"),
    "Squeeze": _shaped("axes", ()),
    "Unsqueeze": _shaped("axes"),
    "Transpose": _shaped("perm"),
    "Slice": _slice,
    "Concat": _concat,
    "Gather": _gather,
    "Pad": _pad,
}
assert _ENCODERS.keys() == OPERATORS.keys()


def _declared(
    p: _Packer, what: str, value: ir.Value, shape: ir.Shape | None, symbols: Sequence[ir.Sym]
) -> tuple[int, ...]:
    if shape is None:
        p.problem(value.name, what, "its shape is not known")
        return ()
    if len(shape) > MAX_RANK:
        p.problem(value.name, what, f"has {len(shape)} dimensions, at most {MAX_RANK} are possible")
        return ()
    for dim in shape:
        if int(dim) < 0 and dim not in symbols:
            p.problem(value.name, what, f"dimension {dim} of shape {tuple(map(str, shape))} is not possible here")
    return tuple(int(dim) for dim in shape)


def _add_inputs(p: _Packer) -> None:
    for value in p.graph.inputs:
        if np.dtype(value.dtype).kind not in "fiub":
            p.problem(value.name, "input", f"has type {np.dtype(value.dtype)}; numbers and truth values are possible")
        dims = _declared(p, "input", value, value.shape, tuple(ir.Sym))
        p.numbers[value.name] = p.add(PackedValue(value.name, INPUT, file_type(value.dtype), dims=dims))


def _add_outputs(p: _Packer, made: set[str]) -> list[tuple[str, str]]:
    """Output records in order; returns the copies to append, (source, output), where no node makes an output alone."""
    copies = []
    for value in p.graph.outputs:
        shape = value.shape or (p.graph.values[value.name].shape if value.name in p.graph.values else None)
        dtype = file_type(value.dtype)
        dims = _declared(p, "output", value, shape, tuple(ir.Sym))
        number = p.add(PackedValue(value.name, TEMP, dtype, dims=dims, is_output=True))
        source = p.resolve(value.name)
        if source in made and source not in p.numbers:
            p.numbers[source] = number
        else:
            name = f"{value.name}.copy{number}"
            p.numbers[name] = number
            copies.append((source, name))
    return copies


def _add_states(p: _Packer) -> None:
    for state in p.graph.states:
        value = p.graph.values.get(state.input)
        shape = value.shape if value is not None else None
        if shape is None and state.init is not None:
            shape = state.init.shape
        dims = _declared(p, "state", ir.Value(state.name, np.dtype(np.float32)), shape, (ir.Sym.BATCH,))
        init = NONE
        if state.init is not None and np.any(state.init):
            start = np.broadcast_to(state.init, [1 if dim < 0 else dim for dim in dims])
            init = p.plain(f"{state.name}.init", start)
        p.numbers[state.input] = p.add(PackedValue(state.name, STATE, F32, dims=dims, init=init))


def _pair_states(p: _Packer) -> None:
    """A state becomes a TEMP or an INPUT; what is a constant or another state is copied first."""
    for state in p.graph.states:
        number = p.numbers[state.input]
        try:
            source = p.number(state.output)
        except _Unfit as unfit:
            p.problem(state.name, "state", unfit.reason)
            continue
        if p.values[source].kind not in (TEMP, INPUT):
            source = _copy(p, source, f"{state.name}.next", p.temp(f"{state.name}.next"))
        p.values[number].pair = source


def _copy(p: _Packer, source: int, name: str, target: int) -> int:
    """Concat of one tensor: a copy in memory of its own."""
    p.nodes.append(PackedNode(name, "Concat", [source], [target], [0]))
    return target


def _widens(graph: ir.Graph, node: ir.Node) -> bool:
    """Is it a Cast between types that are the same in the file: an integer or truth value that becomes an integer?"""
    to = cast_target(graph, node) if node.op == "Cast" else None
    source, constant = graph.values.get(node.inputs[0]), graph.constants.get(node.inputs[0])
    dtype = source.dtype if source is not None else constant.dtype if constant is not None else None
    return to is not None and dtype is not None and to.kind == "i" and dtype.kind in "iub"


def _add_nodes(p: _Packer) -> None:
    for node in p.graph.nodes:
        if node.outputs[0] in p.alias:
            continue
        encode = _ENCODERS.get(node.op) if node.domain in ("", "ai.onnx") else None
        try:
            if encode is None:
                raise _Unfit("this operator is not supported")
            inputs, ints, floats = encode(p, node)
            outputs = [p.temp(name) for name in node.outputs]
            while len(outputs) > 1 and outputs[-1] == NONE:
                outputs.pop()
            if len(inputs) + len(outputs) > MAX_REFS:
                raise _Unfit(f"has {len(inputs) + len(outputs)} inputs and outputs, at most {MAX_REFS} are possible")
            if any(not _I32_MIN <= v <= _I32_MAX for v in ints):
                raise _Unfit(f"an attribute does not fit 32-bit integers: {ints}")
            if node.op != "Clip" and not all(abs(v) <= _F32_MAX for v in floats):  # Clip: infinite is unlimited
                raise _Unfit(f"an attribute is not finite in float32: {floats}")
            p.nodes.append(PackedNode(node.name, node.op, inputs, outputs, ints, floats))
        except _Unfit as unfit:
            op = f"{node.domain}.{node.op}" if encode is None and node.domain else node.op
            p.problem(layer_name(node), op, unfit.reason, unfit.attribute)
            for name in node.outputs:  # so that the nodes behind it are judged on their own
                p.temp(name)


def pack(graph: ir.Graph, plan: Plan) -> PackedModel:
    """Turn a simplified graph into the records of a file.

    Parameters
    ----------
    graph
        Constant parameters are attributes (axes, starts, shape, ...); weights are constants; every output and state has
        a shape.
    plan
        From `quantize.plan` for the same graph.

    Returns
    -------
    PackedModel

    Raises
    ------
    UnsupportedError
        With every reason, node by node, in ``problems``.
    """
    p = _Packer(graph, plan)
    for node in graph.nodes:
        if node.domain in ("", "ai.onnx") and (node.op in ("Identity", "Dropout") or _widens(graph, node)):
            p.alias[node.outputs[0]] = node.inputs[0]
    _add_inputs(p)
    copies = _add_outputs(p, {name for node in graph.nodes for name in node.outputs if name})
    _add_states(p)
    _add_nodes(p)
    _pair_states(p)
    for source, name in copies:
        try:
            _copy(p, p.number(source), name, p.numbers[name])
        except _Unfit as unfit:
            p.problem(name, "output", unfit.reason)
    if p.problems:
        lines = "\n".join(f"  {problem}" for problem in p.problems)
        raise UnsupportedError(f"{len(p.problems)} problem(s):\n{lines}", p.problems)
    return PackedModel(p.values, p.nodes, graph.streamable)
