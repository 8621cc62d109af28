"""Integer operators of quantized ONNX models, said in float; their integer weights are kept aside, bit for bit.

The runtime's own s8 layers quantize the activations of every time step by themselves, so a quantized model becomes the
float model that it stands for: weights are ``(integer - zero point) * scale`` and quantizing an activation is nothing
(dynamic) or a Clip to what the integers can hold (static). The integers go into `Graph.quantized`; `quantize.plan`
finds them again by the rows' values, however the rows were moved meanwhile, and packs them unchanged.

Known: DequantizeLinear of constants and of what is moved or gathered from them; QuantizeLinear + DequantizeLinear;
DynamicQuantizeLinear + MatMulInteger or ConvInteger (+ Cast + Mul); com.microsoft's DynamicQuantizeLSTM,
DynamicQuantizeMatMul and MatMulIntegerToFloat. What fits none of these stays and is refused by name later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from .ir import Graph, Node, QuantizedMatrix
from .reference import evaluate_node

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

MICROSOFT = "com.microsoft"
_INTEGERS = (np.dtype(np.int8), np.dtype(np.uint8))
ROUNDS = (
    "the original quantizes activations, one scale for all time steps of a call or a fixed one; here every time step "
    "has its own: the results are near each other, not equal"
)
# operators that move numbers and compute nothing; input 0 is the data
_MOVES = {"Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Expand"}
_KNOWN = {
    "DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger",
    "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
}  # fmt: skip


def to_float(graph: Graph) -> Graph:
    """Replace integer operators by float ones.

    Parameters
    ----------
    graph
        An importer's graph. It is not changed.

    Returns
    -------
    Graph
        The same graph where there is nothing to replace.
    """
    if not _has_any(graph):
        return graph
    matrices: list[QuantizedMatrix] = []
    made = _rewrite(graph, {}, matrices)
    made.quantized = [*graph.quantized, *matrices]
    made.notes = [*graph.notes, *([ROUNDS] if _rounds(graph) else [])]
    made.rounds_activations = _rounds(graph)
    return made


def _rounds(graph: Graph) -> bool:
    """Does it compute with activations that are integers?"""
    integers = {"DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "DynamicQuantizeLinear", "QuantizeLinear"}
    return any(n.op in integers or any(_rounds(g) for g in _branches(n)) for n in graph.nodes)


def _has_any(graph: Graph) -> bool:
    return any(n.op in _KNOWN or any(_has_any(g) for g in _branches(n)) for n in graph.nodes)


def _branches(node: Node) -> list[Graph]:
    return [v for v in node.attrs.values() if isinstance(v, Graph)]


def _rewrite(graph: Graph, outer: Mapping[str, Array], matrices: list[QuantizedMatrix]) -> Graph:
    work = _Work(graph, outer, matrices)
    work.fold()
    for rule in (_weights, _lstm, _dynamic_matmul, _dynamic, _static, _moved_constants):
        for node in list(work.nodes):
            if any(node is n for n in work.nodes):
                rule(work, node)
    work.drop_unread()
    made = Graph(**{**vars(graph), "nodes": work.nodes, "constants": work.constants})
    for i, node in enumerate(made.nodes):
        if _branches(node):
            known = {**outer, **work.constants}
            attrs = {k: _rewrite(v, known, matrices) if isinstance(v, Graph) else v for k, v in node.attrs.items()}
            made.nodes[i] = Node(node.op, node.name, node.inputs, node.outputs, attrs, node.domain)
    return made


@dataclass
class _Work:
    """One graph being rewritten."""

    graph: Graph
    outer: Mapping[str, Array]
    matrices: list[QuantizedMatrix]
    nodes: list[Node] = field(init=False)
    constants: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = [
            Node(n.op, n.name, list(n.inputs), list(n.outputs), dict(n.attrs), n.domain) for n in self.graph.nodes
        ]
        self.constants = dict(self.graph.constants)

    # ---- questions ----

    def constant(self, node: Node, i: int) -> Array | None:
        """Input i where it is a constant."""
        name = node.inputs[i] if i < len(node.inputs) else ""
        return self.constants.get(name, self.outer.get(name))

    def producer(self, name: str) -> Node | None:
        """The node that makes a value."""
        return next((n for n in self.nodes if name and name in n.outputs), None)

    def consumers(self, name: str) -> list[Node]:
        """The nodes that read a value; branches count as readers of everything."""
        return [n for n in self.nodes if name in n.inputs or any(_reads(g, name) for g in _branches(n))]

    def is_output(self, name: str) -> bool:
        """Is it a graph output?"""
        return any(v.name == name for v in self.graph.outputs)

    def terminals(self, name: str) -> list[tuple[Node, str]] | None:
        """What finally reads a value once moves are followed, as (node, the name it reads); None: an output does."""
        if self.is_output(name):
            return None
        found: list[tuple[Node, str]] = []
        for node in self.consumers(name):
            if node.op in _MOVES and not node.domain and node.inputs[0] == name and node.inputs.count(name) == 1:
                further = self.terminals(node.outputs[0])
                if further is None:
                    return None
                found += further
            elif node.op not in ("Shape", "Size"):
                found.append((node, name))
        return found

    # ---- changes ----

    def fresh(self, base: str) -> str:
        """A name that is not taken."""
        taken = {o for n in self.nodes for o in n.outputs} | self.constants.keys() | self.outer.keys()
        taken |= {v.name for v in self.graph.inputs}
        name, k = base, 1
        while name in taken:
            name, k = f"{base}_{k}", k + 1
        return name

    def add(self, base: str, array: Array) -> str:
        """A new constant."""
        name = self.fresh(base)
        self.constants[name] = array
        return name

    def replace(self, node: Node, new: list[Node]) -> None:
        """Put nodes in the place of one."""
        at = next(i for i, n in enumerate(self.nodes) if n is node)
        self.nodes[at : at + 1] = new

    def redirect(self, old: str, new: str) -> None:
        """All readers of one value read another."""
        for node in self.nodes:
            node.inputs = [new if n == old else n for n in node.inputs]

    def fold(self) -> None:
        """Moves of integer constants become constants."""
        for node in list(self.nodes):
            arrays = [self.constant(node, i) for i in range(len(node.inputs))]
            if node.op not in _MOVES or node.domain or any(a is None for a in arrays):
                continue
            if arrays[0] is not None and arrays[0].dtype in (*_INTEGERS, np.dtype(np.int32)):
                self.constants[node.outputs[0]] = evaluate_node(node, arrays)[0]
                self.replace(node, [])

    def drop_unread(self) -> None:
        """Remove what only the replaced nodes read."""
        while True:
            read = {n for node in self.nodes for n in node.inputs} | {v.name for v in self.graph.outputs}
            kept = [
                n
                for n in self.nodes
                if any(o in read for o in n.outputs)
                or any(_reads(g, o) for m in self.nodes for g in _branches(m) for o in n.outputs if o)
            ]
            if len(kept) == len(self.nodes):
                return
            self.nodes = kept

    def dequantized(self, steps: Array, scale: Array) -> Array:
        """``steps * scale`` as float32; steps and scale, one per element, of one shape. Remembers the rows."""
        w = (steps * scale.astype(np.float64)).astype(np.float32)
        if steps.ndim >= 2 and np.abs(steps).max(initial=0) <= 255:
            self.matrices += _matrices(steps.astype(np.int16), scale.astype(np.float32))
        return w


def _reads(graph: Graph, name: str) -> bool:
    inside = any(name in n.inputs or any(_reads(g, name) for g in _branches(n)) for n in graph.nodes)
    return inside or any(v.name == name for v in graph.outputs)


def _matrices(steps: Array, scale: Array) -> list[QuantizedMatrix]:
    """Every way in which a layer may use a tensor as rows that share a scale.

    Gemm [N, K] and recurrent [D, G*H, I]: along the last axis; MatMul [K, N]: along the first; Conv [M, C, k]: all but
    the first axis; recurrent weights that will be transposed, [D, I, G*H]: along the middle.
    """
    ways = [(steps, scale), (np.moveaxis(steps, -1, 0), np.moveaxis(scale, -1, 0))]
    if steps.ndim == 3:
        ways.append((steps.swapaxes(1, 2), scale.swapaxes(1, 2)))
    found: list[QuantizedMatrix] = []
    for k, (s, c) in enumerate(ways):
        for rows in {int(np.prod(s.shape[:-1])), s.shape[0]} if k != 2 else {int(np.prod(s.shape[:-1]))}:
            flat, scales = s.reshape(rows, -1), c.reshape(rows, -1)
            if flat.size and (scales == scales[:, :1]).all():
                found.append(QuantizedMatrix(np.ascontiguousarray(flat), np.ascontiguousarray(scales[:, 0])))
    return found


def _along(parameter: Array | None, shape: tuple[int, ...], axis: int, block: int = 0) -> Array | None:
    """A scale or zero point, spread over a tensor; None where it does not fit. A missing one is 0."""
    if parameter is None:
        return np.zeros(shape, np.float64)
    values = parameter.astype(np.float64)
    if values.size == 1:
        return np.broadcast_to(values.reshape(()), shape)
    if not -len(shape) <= axis < len(shape):
        return None
    axis %= len(shape)
    if block > 0 and values.ndim == len(shape):
        values = np.repeat(values, block, axis)[tuple(slice(n) for n in shape)]
        return values if values.shape == shape else None
    if values.ndim != 1 or values.size != shape[axis]:
        return None
    return np.broadcast_to(values.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


# ---- weights ----


def _weights(work: _Work, node: Node) -> None:
    """DequantizeLinear of a constant is a constant."""
    q, scale = work.constant(node, 0), work.constant(node, 1)
    if node.op != "DequantizeLinear" or q is None or scale is None or q.dtype.kind not in "iu":
        return
    if len(node.inputs) > 2 and node.inputs[2] and work.constant(node, 2) is None:
        return
    axis, block = int(node.attrs.get("axis", 1)), int(node.attrs.get("block_size", 0))
    zero, scales = _along(work.constant(node, 2), q.shape, axis, block), _along(scale, q.shape, axis, block)
    if zero is None or scales is None:
        return
    work.constants[node.outputs[0]] = work.dequantized(q.astype(np.float64) - zero, scales)
    work.replace(node, [])


def _lstm(work: _Work, node: Node) -> None:
    """DynamicQuantizeLSTM: W [D, I, 4H] and R [D, H, 4H] are LSTM's transposed; scale and zero [D] or [D, 4H]."""
    if node.op != "DynamicQuantizeLSTM" or node.domain != MICROSOFT:
        return
    floats = []
    for i, s in ((1, 8), (2, 10)):
        q, scale, zero = work.constant(node, i), work.constant(node, s), work.constant(node, s + 1)
        missing_zero = s + 1 < len(node.inputs) and node.inputs[s + 1] and zero is None
        if q is None or scale is None or missing_zero or q.ndim != 3 or q.dtype not in _INTEGERS:
            return
        parameters = [_per_direction(p, q.shape) for p in (scale, zero)]
        if parameters[0] is None or parameters[1] is None:
            return
        steps = (q.astype(np.float64) - parameters[1]).swapaxes(1, 2)
        floats.append(work.dequantized(np.ascontiguousarray(steps), parameters[0].swapaxes(1, 2)))
    names = [work.add(f"{node.inputs[i]}.dequantized", w) for i, w in zip((1, 2), floats, strict=True)]
    inputs = [node.inputs[0], *names, *node.inputs[3:8]]
    work.replace(node, [Node("LSTM", node.name, inputs, node.outputs, node.attrs)])


def _per_direction(parameter: Array | None, shape: tuple[int, ...]) -> Array | None:
    """[D] or [D, 4H] -> [D, I, 4H]."""
    values = np.zeros(1) if parameter is None else parameter.astype(np.float64)
    if values.size == shape[0] * shape[2]:
        return np.broadcast_to(values.reshape(shape[0], 1, shape[2]), shape)
    if values.size in (1, shape[0]):
        return np.broadcast_to(values.reshape(-1, 1, 1), shape)
    return None


def _column_weights(work: _Work, b: Array | None, zero: Array | None, scale: Array) -> Array | None:
    """Weights [K, N] of a matrix product; zero and scale: one number or one per column."""
    if b is None or b.ndim != 2 or b.dtype not in _INTEGERS:
        return None
    zeros = _along(None if zero is None else zero.reshape(-1), b.shape, 1)
    scales = _along(scale.reshape(-1), b.shape, 1)
    if zeros is None or scales is None:
        return None
    return work.dequantized(b.astype(np.float64) - zeros, scales)


def _dynamic_matmul(work: _Work, node: Node) -> None:
    """DynamicQuantizeMatMul: A float, B, b_scale, b_zero_point, bias."""
    scale = work.constant(node, 2)
    if node.op != "DynamicQuantizeMatMul" or node.domain != MICROSOFT or scale is None:
        return
    w = _column_weights(work, work.constant(node, 1), work.constant(node, 3), scale)
    if w is None or (len(node.inputs) > 3 and node.inputs[3] and work.constant(node, 3) is None):
        return
    _put_matmul(work, node, node.inputs[0], w, node.inputs[4] if len(node.inputs) > 4 else "")


def _put_matmul(work: _Work, node: Node, x: str, w: Array, bias: str) -> None:
    """x @ w (+ bias) in the place of a node."""
    product = work.fresh(f"{node.outputs[0]}.product") if bias else node.outputs[0]
    new = [Node("MatMul", node.name, [x, work.add(f"{node.inputs[1]}.dequantized", w)], [product])]
    if bias:
        new.append(Node("Add", f"{node.name}.bias", [product, bias], [node.outputs[0]]))
    work.replace(node, new)


# ---- activations ----


def _dynamic(work: _Work, node: Node) -> None:
    """DynamicQuantizeLinear and everything that reads it: all of it is understood, or nothing is changed."""
    if node.op != "DynamicQuantizeLinear" or len(node.outputs) != 3:
        return
    q, scale, zero = node.outputs
    readers = work.terminals(q)
    if readers is None or any(work.is_output(n) for n in (scale, zero)):
        return
    plans = [_dynamic_reader(work, reader, name, scale, zero) for reader, name in readers]
    if not plans or any(plan is None for plan in plans):
        return
    work.redirect(q, node.inputs[0])  # the moves in between now move floats
    for (reader, name), plan in zip(readers, plans, strict=True):
        if plan is not None:
            plan.apply(work, reader, node.inputs[0] if name == q else name)


@dataclass
class _Plan:
    """What takes the place of one reader: x itself, or a product with these weights that becomes the value `output`."""

    output: str
    weights: Array | None = None
    bias: str = ""
    last: Node | None = None  # the node that makes `output` now; None: the reader itself

    def apply(self, work: _Work, reader: Node, x: str) -> None:
        """Replace the reader, or the last node of its chain (what lies between is dropped as unread)."""
        place = self.last or reader
        if self.weights is None:
            work.replace(place, [Node("Identity", reader.name, [x], [self.output])])
        elif reader.op == "ConvInteger":
            inputs = [x, work.add(f"{reader.inputs[1]}.dequantized", self.weights), *([self.bias] if self.bias else [])]
            work.replace(place, [Node("Conv", reader.name, inputs, [self.output], dict(reader.attrs))])
        else:
            stand_in = Node(reader.op, reader.name, [x, reader.inputs[1]], [self.output])
            at = next(i for i, n in enumerate(work.nodes) if n is place)
            work.nodes[at] = stand_in
            _put_matmul(work, stand_in, x, self.weights, self.bias)


def _dynamic_reader(work: _Work, reader: Node, name: str, scale: str, zero: str) -> _Plan | None:
    inputs = [*reader.inputs, *[""] * 7]
    if inputs[0] != name or reader.inputs.count(name) != 1:
        return None
    if reader.op == "DequantizeLinear" and inputs[1:3] == [scale, zero]:
        return _Plan(reader.outputs[0])
    if reader.op == "MatMulIntegerToFloat" and inputs[2] == scale and inputs[4] == zero:
        factor = work.constant(reader, 3)
        if factor is None or (inputs[5] and work.constant(reader, 5) is None):
            return None
        w = _column_weights(work, work.constant(reader, 1), work.constant(reader, 5), factor)
        return None if w is None else _Plan(reader.outputs[0], w, inputs[6])
    if reader.op not in ("MatMulInteger", "ConvInteger") or inputs[2] != zero:
        return None
    product, bias = reader.outputs[0], ""
    if reader.op == "ConvInteger" and (added := _integer_bias(work, product, scale)) is not None:
        product, bias = added
    chain = _scale_chain(work, product, scale)
    if chain is None or (inputs[3] and work.constant(reader, 3) is None):
        return None
    last, factor = chain
    integers, zeros = work.constant(reader, 1), work.constant(reader, 3)
    if reader.op == "MatMulInteger":
        w = _column_weights(work, integers, zeros, factor)
    else:
        w = _filters(work, integers, zeros, factor)
    return None if w is None else _Plan(last.outputs[0], w, bias, last)


def _integer_bias(work: _Work, product: str, scale: str) -> tuple[str, str] | None:
    """(the sum, the float bias [M]) where onnxruntime's quantizer before 1.9 adds a convolution's bias as integers.

    It writes product + Reshape(Cast(Floor(bias / (scale * weights' scale)))), and multiplies all of it by that divisor
    later: the bias itself, rounded down to a step of the product.
    """
    readers = work.consumers(product)
    if len(readers) != 1 or readers[0].op != "Add" or work.is_output(product) or readers[0].inputs.count(product) != 1:
        return None
    node = work.producer(next(n for n in readers[0].inputs if n != product))
    while node is not None and node.op in ("Reshape", "Unsqueeze", "Cast", "Floor", "Round"):
        node = work.producer(node.inputs[0])
    if node is None or node.op != "Div":
        return None
    bias = work.constant(node, 0)
    split = _scale_and_constant(work, node.inputs[1], scale)
    if bias is None or bias.ndim != 1 or split is None or split[0] != 1:
        return None
    return readers[0].outputs[0], node.inputs[0]


def _filters(work: _Work, q: Array | None, zero: Array | None, scale: Array) -> Array | None:
    """Weights [M, C, ...kernel] of a convolution; scale: one number, or one per output channel as [1, M, 1, ...]."""
    if q is None or q.ndim < 3 or q.dtype not in _INTEGERS or scale.size not in (1, q.shape[0]):
        return None
    if scale.size > 1 and (scale.ndim < q.ndim - 1 or scale.shape[-(q.ndim - 1)] != scale.size):
        return None
    zeros = _along(None if zero is None else zero.reshape(-1), q.shape, 0)
    scales = _along(scale.reshape(-1), q.shape, 0)
    if zeros is None or scales is None:
        return None
    return work.dequantized(q.astype(np.float64) - zeros, scales)


def _scale_chain(work: _Work, name: str, scale: str) -> tuple[Node, Array] | None:
    """Cast to float, then Mul with the activation's scale and with constants, in any order: the last Mul and these.

    The product of the constants is one float32 number, or one per output: as exact as the chain itself.
    """
    factor: Array | None = None
    seen = 0
    while seen == 0:
        readers = work.consumers(name)
        if len(readers) != 1 or work.is_output(name) or readers[0].domain:
            return None
        node = readers[0]
        if node.op == "Cast":
            name = node.outputs[0]
            continue
        if node.op != "Mul" or node.inputs.count(name) != 1:
            return None
        other = node.inputs[1] if node.inputs[0] == name else node.inputs[0]
        split = _scale_and_constant(work, other, scale)
        if split is None:
            return None
        seen += split[0]
        if split[1] is not None:
            factor = split[1] if factor is None else (factor.astype(np.float64) * split[1]).astype(np.float32)
        name = node.outputs[0]
    follow = work.consumers(name)
    while factor is None and len(follow) == 1 and follow[0].op == "Mul" and not work.is_output(name):
        other = next((n for n in follow[0].inputs if n != name), "")
        constant = work.constants.get(other, work.outer.get(other))
        if constant is None or constant.dtype.kind != "f":
            break
        node, factor, name = follow[0], constant, follow[0].outputs[0]
        follow = work.consumers(name)
    return node, np.ones(1, np.float32) if factor is None else factor


def _scale_and_constant(work: _Work, name: str, scale: str) -> tuple[int, Array | None] | None:
    """(1, k) for scale * k, (1, None) for scale, (0, k) for a constant k; None for anything else."""
    if name == scale:
        return 1, None
    constant = work.constants.get(name, work.outer.get(name))
    if constant is not None:
        return (0, constant) if constant.dtype.kind == "f" else None
    node = work.producer(name)
    if node is None or node.op != "Mul" or scale not in node.inputs:
        return None
    other = node.inputs[1] if node.inputs[0] == scale else node.inputs[0]
    constant = work.constants.get(other, work.outer.get(other))
    return None if constant is None or constant.dtype.kind != "f" else (1, constant)


def _static(work: _Work, node: Node) -> None:
    """QuantizeLinear whose readers are DequantizeLinear with the same parameters: the integers' range is left."""
    scale = work.constant(node, 1)
    if node.op != "QuantizeLinear" or scale is None or scale.size != 1:
        return
    zero = work.constant(node, 2)
    kind = zero.dtype if zero is not None else np.dtype(np.uint8)
    readers = work.terminals(node.outputs[0])
    if not readers or kind.kind not in "iu" or (zero is not None and zero.size != 1):
        return
    if not all(_same_parameters(work, node, reader, name) for reader, name in readers):
        return
    offset, step = 0 if zero is None else int(zero.reshape(-1)[0]), float(scale.reshape(-1)[0])
    limits = np.iinfo(kind)
    attrs = {"min": (int(limits.min) - offset) * step, "max": (int(limits.max) - offset) * step}
    for reader, name in readers:
        work.replace(reader, [Node("Identity", reader.name, [name], list(reader.outputs))])
    work.replace(node, [Node("Clip", node.name, node.inputs[:1], node.outputs, attrs)])


def _same_parameters(work: _Work, node: Node, reader: Node, name: str) -> bool:
    if reader.op != "DequantizeLinear" or reader.inputs[0] != name:
        return False
    for i in (1, 2):
        a, b = work.constant(node, i), work.constant(reader, i)
        if (a is None) != (b is None) or (a is not None and b is not None and not np.array_equal(a.ravel(), b.ravel())):
            return False
    return True


def _moved_constants(work: _Work, node: Node) -> None:
    """DequantizeLinear of what was gathered or moved from an integer constant: the constant is dequantized instead."""
    scale = work.constant(node, 1)
    if node.op != "DequantizeLinear" or scale is None or scale.size != 1:
        return
    root = node.inputs[0]
    while (above := work.producer(root)) is not None and above.op in _MOVES and not above.domain:
        root = above.inputs[0]
    table = work.constants.get(root)
    readers = work.terminals(root)
    if table is None or table.dtype.kind not in "iu" or not readers:
        return
    if not all(_same_parameters(work, node, reader, name) for reader, name in readers):
        return
    zero = work.constant(node, 2)
    offset = 0.0 if zero is None else float(zero.reshape(-1)[0])
    values = work.dequantized(table.astype(np.float64) - offset, np.broadcast_to(scale.reshape(()), table.shape))
    work.redirect(root, work.add(f"{root}.dequantized", values))
    for reader, name in readers:
        source = reader.inputs[0] if name == root else name
        work.replace(reader, [Node("Identity", reader.name, [source], list(reader.outputs))])
