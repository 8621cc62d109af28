"""ONNX ModelProto -> `ir.Graph`, still raw: `If` keeps its branches, parameters stay inputs.

Every operator gets the newest opset's meaning, defaults are written out, every number format becomes float32, int32,
int64 or bool. A file is never trusted: sizes, names, attribute types and external data are checked before use.
The only module that imports onnx.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx

from ..errors import ModelFormatError, UnsupportedError
from .ir import Graph, Node, Problem, Value

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

MAX_BYTES = 2**31 - 1  # of a file (protobuf's own limit) and of one tensor (the runtime's)
OLDEST_OPSET = 7
MAX_DEPTH = 16  # nested branches; protobuf itself gives up at 33

_T = onnx.TensorProto
# Element type -> (type of the bytes in raw_data, typed field that may hold the values instead)
_STORED: dict[int, tuple[str, str]] = {
    _T.FLOAT: ("<f4", "float_data"),
    _T.DOUBLE: ("<f8", "double_data"),
    _T.FLOAT16: ("<f2", "int32_data"),
    _T.BFLOAT16: ("<u2", "int32_data"),
    _T.INT64: ("<i8", "int64_data"),
    _T.INT32: ("<i4", "int32_data"),
    _T.INT16: ("<i2", "int32_data"),
    _T.INT8: ("i1", "int32_data"),
    _T.UINT16: ("<u2", "int32_data"),
    _T.UINT8: ("u1", "int32_data"),
    _T.UINT32: ("<u4", "uint64_data"),
    _T.UINT64: ("<u8", "uint64_data"),
    _T.BOOL: ("?", "int32_data"),
}
# Attributes that say yes or no; what another number means, every reader of the file decides for itself.
_FLAGS = frozenset(
    ("allowzero", "ceil_mode", "count_include_pad", "exclusive", "input_forget", "keepdims", "layout",
     "linear_before_reset", "reverse", "select_last_index", "transA", "transB", "upper")
)  # fmt: skip
_FLOATS = {_T.FLOAT, _T.DOUBLE, _T.FLOAT16, _T.BFLOAT16}
_SINGLE = np.finfo(np.float32)


def load(source: str | os.PathLike[str] | bytes) -> Graph:
    """Read an ONNX model.

    Parameters
    ----------
    source
        Path of a file, or its bytes. External data is read only next to a file, never from bytes.

    Returns
    -------
    Graph
        Inputs have no shapes yet; ``Graph.declared`` has the declared ones: numbers, names, or "" where unknown.

    Raises
    ------
    ModelFormatError
        Not an ONNX model, or a damaged one.
    UnsupportedError
        A model that can't be represented, with every reason in ``problems``.
    OSError
        The file can't be read.
    """
    model, folder = _parse(source)
    version = _opset(model)
    if model.functions:
        model = _inline_functions(model)
    reader = _Reader(folder, version)
    graph = reader.graph(model.graph, set(), 0)
    graph.opset = version
    graph.producer = " ".join(p for p in (model.producer_name, model.producer_version) if p)
    graph.notes = sorted(reader.notes)
    if reader.problems:
        listed = "\n".join(f"  {p}" for p in reader.problems)
        raise UnsupportedError(f"this ONNX model can't be converted:\n{listed}", reader.problems)
    return graph


def _parse(source: str | os.PathLike[str] | bytes) -> tuple[onnx.ModelProto, Path | None]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, folder, name = bytes(source), None, "these bytes"
    else:
        path = Path(source)
        if path.stat().st_size > MAX_BYTES:
            raise ModelFormatError(f"'{path}' has {path.stat().st_size} bytes, an ONNX file at most {MAX_BYTES}")
        data, folder, name = path.read_bytes(), path.parent, f"'{path}'"
    if not data:
        raise ModelFormatError(f"{name}: empty, not an ONNX model")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError; it has no public base worth importing protobuf for
        raise ModelFormatError(f"{name}: not an ONNX model, or cut off or damaged ({error})") from error
    if not model.HasField("graph") or not model.opset_import or model.ir_version < 1:
        raise ModelFormatError(f"{name}: not an ONNX model (no graph, operator set or version in it)")
    if not model.graph.output:
        raise ModelFormatError(f"{name}: the graph has no output")
    if not _is_text(model):
        raise ModelFormatError(f"{name}: damaged, a name in it is not UTF-8 or has a NUL byte")
    return model, folder


def _is_text(message: Any) -> bool:
    """Are all strings of a protobuf message valid UTF-8 (those that are not are bytes) and without NUL?"""
    for descriptor, value in message.ListFields():
        many = [value] if isinstance(value, (str, bytes)) or hasattr(value, "ListFields") else value
        if descriptor.type == descriptor.TYPE_MESSAGE and not all(_is_text(m) for m in many):
            return False
        if descriptor.type == descriptor.TYPE_STRING and not all(isinstance(s, str) and "\0" not in s for s in many):
            return False
    return True


def with_linear_before_reset(source: str | os.PathLike[str] | bytes, value: int) -> bytes:
    """The same model with this attribute in every GRU: what a model corrected on import is verified against."""
    model, folder = _parse(source)
    if folder is not None:
        onnx.load_external_data_for_model(model, str(folder))
    graphs = [model.graph, *model.functions]
    while graphs:
        for node in graphs.pop().node:
            graphs += [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
            if node.op_type == "GRU" and node.domain in ("", "ai.onnx"):
                kept = [a for a in node.attribute if a.name != "linear_before_reset"]
                del node.attribute[:]
                node.attribute.extend([*kept, onnx.helper.make_attribute("linear_before_reset", value)])
    return bytes(model.SerializeToString())


def _opset(model: onnx.ModelProto) -> int:
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    version = versions[0] if versions else 0
    if not OLDEST_OPSET <= version <= newest:
        reason = f"operator set {version}; {OLDEST_OPSET} to {newest} can be read"
        problem = Problem("", "model", reason, "opset_import")
        raise UnsupportedError(f"this ONNX model can't be converted: {reason}", [problem])
    return version


def _inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx.inliner

    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # a C++ exception of unspecified type
        raise ModelFormatError(f"the model's functions can't be inlined: {error}") from error


@dataclass
class _Reader:
    """One model's import; problems of all graphs are collected."""

    folder: Path | None
    version: int
    problems: list[Problem] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    _node_names: set[str] = field(default_factory=set)

    def graph(self, proto: onnx.GraphProto, outer: set[str], depth: int) -> Graph:
        """A graph or a branch; outer: names that an enclosing graph has defined so far."""
        if depth > MAX_DEPTH:
            raise ModelFormatError(f"graph '{proto.name}': branches are nested more than {MAX_DEPTH} deep")
        graph = Graph(name=proto.name)
        for tensor in proto.initializer:
            self._add_constant(graph, tensor)
        for sparse in proto.sparse_initializer:
            self.problems.append(Problem(sparse.values.name, "initializer", "sparse tensors are not supported"))
            graph.constants[sparse.values.name] = np.zeros(0, np.float32)
        for info in proto.input:
            if info.name not in graph.constants:
                self._add_input(graph, info)
        known = outer | set(graph.constants) | {v.name for v in graph.inputs}
        for index, node in enumerate(proto.node):
            self._add_node(graph, node, index, known, depth)
        for info in proto.output:
            if info.name not in known:
                raise ModelFormatError(f"graph '{proto.name}': nothing produces the output '{info.name}'")
            if depth == 0 and any(v.name == info.name for v in graph.inputs):
                self.problems.append(Problem(info.name, "output", "an input is passed through as output"))
            graph.outputs.append(Value(info.name, self._dtype(info)))
        return graph

    # ---- inputs and constants ----

    def _dtype(self, info: onnx.ValueInfoProto) -> np.dtype[Any]:
        kind = info.type.tensor_type.elem_type
        if kind in (_T.UNDEFINED, *_FLOATS):  # a branch's outputs often have no type
            if kind not in (_T.UNDEFINED, _T.FLOAT):
                self.notes.add(f"'{info.name}': {_T.DataType.Name(kind)} is computed as float32")
            return np.dtype(np.float32)
        return np.dtype(_STORED[kind][0]).newbyteorder("=") if kind in _STORED else np.dtype(np.object_)

    def _add_input(self, graph: Graph, info: onnx.ValueInfoProto) -> None:
        tensor = info.type.tensor_type
        if not info.type.HasField("tensor_type") or tensor.elem_type not in _STORED:
            kind = info.type.WhichOneof("value") or "no type"
            reason = f"an input of type {kind if kind != 'tensor_type' else _type_name(tensor.elem_type)}"
            self.problems.append(Problem(info.name, "input", reason))
        if not info.name or any(v.name == info.name for v in graph.inputs):
            raise ModelFormatError(f"graph '{graph.name}': input name '{info.name}' is empty or appears twice")
        graph.inputs.append(Value(info.name, self._dtype(info)))
        if not tensor.HasField("shape"):
            self.problems.append(Problem(info.name, "input", "its rank is not declared"))
        graph.declared[info.name] = tuple(d.dim_value if d.dim_value > 0 else d.dim_param for d in tensor.shape.dim)

    def _add_constant(self, graph: Graph, tensor: onnx.TensorProto, name: str = "") -> None:
        name = name or tensor.name
        if not name or name in graph.constants:
            raise ModelFormatError(f"graph '{graph.name}': initializer name '{name}' is empty or appears twice")
        graph.constants[name] = self._tensor(tensor, name)

    def _tensor(self, tensor: onnx.TensorProto, name: str) -> Array:
        """The values, floats as float32."""
        if tensor.data_type not in _STORED:
            reason = f"tensor type {_type_name(tensor.data_type)} is not supported"
            self.problems.append(Problem(name, "initializer", reason))
            return np.zeros(0, np.float32)
        stored, typed = _STORED[tensor.data_type]
        dims = [int(d) for d in tensor.dims]
        count = 1
        for d in dims:
            count *= d
        size = count * np.dtype(stored).itemsize
        if any(d < 0 for d in dims) or size > MAX_BYTES or len(dims) > 32:
            raise ModelFormatError(f"tensor '{name}': impossible dimensions {dims}")
        if tensor.HasField("segment"):
            raise ModelFormatError(f"tensor '{name}': segments are not supported")
        if tensor.data_location == _T.EXTERNAL:
            flat = np.frombuffer(self._external(tensor, name, size), stored)
        elif tensor.HasField("raw_data"):
            if len(tensor.raw_data) != size:
                raise ModelFormatError(f"tensor '{name}': {len(tensor.raw_data)} bytes for {dims}, expected {size}")
            flat = np.frombuffer(tensor.raw_data, stored)
        else:
            flat = _typed(tensor, name, typed, stored, count)
        return self._as_supported(flat.reshape(dims), tensor.data_type, name)

    def _as_supported(self, array: Array, kind: int, name: str) -> Array:
        if kind == _T.BFLOAT16:
            bits: Array = np.left_shift(array.astype(np.uint32), 16)
            return bits.view(np.float32)
        if kind == _T.DOUBLE and array.size:
            with np.errstate(over="ignore"):
                single = array.astype(np.float32)
            if not np.array_equal(single, array, equal_nan=True):
                self.notes.add(f"'{name}': float64 values are rounded to float32")
            return single
        if kind in _FLOATS:
            return array.astype(np.float32)
        return array.astype(array.dtype.newbyteorder("="))

    def _external(self, tensor: onnx.TensorProto, name: str, size: int) -> bytes:
        """`size` bytes of a file that must lie in the model's own folder."""
        entries = {e.key: e.value for e in tensor.external_data}
        location = entries.get("location", "")
        if self.folder is None:
            raise ModelFormatError(f"tensor '{name}' is in the file '{location}': give the model's path, not its bytes")
        path = Path(location)
        bad = not location or path.is_absolute() or ".." in path.parts or "\\" in location or "\0" in location
        folder = self.folder.resolve()
        resolved = folder if bad else (folder / path).resolve()
        if bad or not resolved.is_relative_to(folder):
            raise ModelFormatError(f"tensor '{name}': external data '{location}' is outside the model's folder")
        try:
            offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(size)))
        except ValueError as error:
            raise ModelFormatError(f"tensor '{name}': external data has a bad offset or length") from error
        if not resolved.is_file():
            raise ModelFormatError(f"tensor '{name}': the external file '{location}' is not there")
        if length != size or offset < 0 or offset + size > resolved.stat().st_size:
            raise ModelFormatError(f"tensor '{name}': external data '{location}' has no {size} bytes at {offset}")
        with resolved.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    # ---- nodes ----

    def _add_node(self, graph: Graph, proto: onnx.NodeProto, index: int, known: set[str], depth: int) -> None:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        node = Node(proto.op_type, self._unique(proto, index), list(proto.input), list(proto.output), {}, domain)
        missing = [n for n in node.inputs if n and n not in known]
        if missing:
            raise ModelFormatError(f"{node.op} '{node.name}' reads {missing}, which nothing before it produces")
        again = [n for n in node.outputs if n and n in known]
        if again or len(set(filter(None, node.outputs))) != len([n for n in node.outputs if n]):
            raise ModelFormatError(f"{node.op} '{node.name}' produces {again or node.outputs}, which exists already")
        for attribute in proto.attribute:
            node.attrs[attribute.name] = self._attribute(node, attribute, known, depth)
        known.update(n for n in node.outputs if n)
        if domain:
            graph.nodes.append(node)  # refused when the graph is simplified, unless it is in a branch not taken
            return
        self._apply_schema(node, proto)
        if node.op == "Constant":
            self._constant_node(graph, node)
            return
        _modernise(node, self.version)
        graph.nodes.append(node)

    def _unique(self, proto: onnx.NodeProto, index: int) -> str:
        base = proto.name or f"{proto.op_type}_{index}"
        name, k = base, 1
        while name in self._node_names:
            name, k = f"{base}_{k}", k + 1
        self._node_names.add(name)
        return name

    def _attribute(self, node: Node, proto: onnx.AttributeProto, known: set[str], depth: int) -> Any:
        a = onnx.AttributeProto
        if proto.ref_attr_name:
            raise ModelFormatError(f"{node.op} '{node.name}': attribute '{proto.name}' refers to a function's")
        if proto.type == a.TENSOR:
            return self._tensor(proto.t, f"{node.name}.{proto.name}")
        if proto.type == a.GRAPH:
            return self.graph(proto.g, set(known), depth + 1)
        if proto.type == a.GRAPHS:
            return [self.graph(g, set(known), depth + 1) for g in proto.graphs]
        plain = {a.FLOAT: "f", a.INT: "i", a.STRING: "s", a.FLOATS: "floats", a.INTS: "ints", a.STRINGS: "strings"}
        if proto.type not in plain:
            self.problems.append(Problem(node.name, node.op, "an attribute type that is not supported", proto.name))
            return None
        if math.isnan(proto.f) or any(map(math.isnan, proto.floats)):
            raise ModelFormatError(f"{node.op} '{node.name}': attribute '{proto.name}' is not a number")
        return _plain(getattr(proto, plain[proto.type]))

    def _apply_schema(self, node: Node, proto: onnx.NodeProto) -> None:
        """Checks attribute types and input counts against the operator's schema; writes the defaults out."""
        try:
            schema = onnx.defs.get_schema(node.op, self.version, "")
        except Exception:  # SchemaError; an unknown operator is reported when the graph is simplified
            return
        if not schema.min_input <= len(node.inputs) <= schema.max_input:
            raise ModelFormatError(f"{node.op} '{node.name}' has {len(node.inputs)} inputs")
        for attribute in proto.attribute:
            spec = schema.attributes.get(attribute.name)
            if spec is None:
                self.notes.add(f"{node.op} '{node.name}': attribute '{attribute.name}' is unknown and ignored")
                del node.attrs[attribute.name]
            elif _attribute_type(spec) != attribute.type:
                raise ModelFormatError(f"{node.op} '{node.name}': attribute '{attribute.name}' has the wrong type")
            elif attribute.name in _FLAGS and attribute.type == onnx.AttributeProto.INT and attribute.i not in (0, 1):
                reason = f"attribute '{attribute.name}' is {attribute.i}, 0 and 1 are possible"
                raise ModelFormatError(f"{node.op} '{node.name}': {reason}")
        for name, spec in schema.attributes.items():
            if name in node.attrs:
                continue
            if spec.required:
                raise ModelFormatError(f"{node.op} '{node.name}': attribute '{name}' is missing")
            if spec.default_value.type and name != "activations":  # RNN's default names two, one per direction
                node.attrs[name] = _plain(onnx.helper.get_attribute_value(spec.default_value))

    def _constant_node(self, graph: Graph, node: Node) -> None:
        name = node.outputs[0] if node.outputs else ""
        given = {k: v for k, v in node.attrs.items() if v is not None}
        if len(given) != 1 or not name:
            raise ModelFormatError(f"Constant '{node.name}' needs exactly one value and one output")
        ((kind, value),) = given.items()
        if kind in ("value", "value_float", "value_floats"):
            graph.constants[name] = np.asarray(value, np.float32 if kind != "value" else None)
        elif kind in ("value_int", "value_ints"):
            graph.constants[name] = np.asarray(value, np.int64)
        else:
            self.problems.append(Problem(node.name, node.op, "only numbers are supported", kind))
            graph.constants[name] = np.zeros(0, np.float32)


def _attribute_type(spec: Any) -> int:
    """The number in onnx.proto: OpSchema.AttrType is an enumeration of the binding, with the same numbers."""
    return int(spec.type.value)


def _type_name(kind: int) -> str:
    return str(_T.DataType.Name(kind)) if kind in _T.DataType.values() else f"number {kind}"


def _typed(tensor: onnx.TensorProto, name: str, typed: str, stored: str, count: int) -> Array:
    values = getattr(tensor, typed)
    if len(values) != count:
        raise ModelFormatError(f"tensor '{name}': {len(values)} values for {list(tensor.dims)}, expected {count}")
    if tensor.data_type in (_T.FLOAT16, _T.BFLOAT16):  # the field holds the 16 bits
        bits = np.array(values, np.int64).astype("<u2")
        return bits if tensor.data_type == _T.BFLOAT16 else bits.view("<f2")
    if typed in ("float_data", "double_data"):
        return np.array(values, stored)
    return np.array(values, np.uint64 if typed == "uint64_data" else np.int64).astype(stored)


def _plain(value: Any) -> Any:
    """Python numbers, strings and lists instead of protobuf's."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (int, float, str)):
        return value
    if isinstance(value, Iterable):
        return [_plain(v) for v in value]
    return value


def _modernise(node: Node, version: int) -> None:
    """What older operator sets meant, said in the newest one's words. Defaults have been written out."""
    attrs = node.attrs
    if node.op in ("Softmax", "LogSoftmax") and version < 13:
        attrs["flatten_from_axis"] = 1  # old meaning: one softmax over all axes from `axis` on; see simplify
    elif node.op == "Clip" and version < 11:
        if attrs.get("min", 0.0) <= float(_SINGLE.min):
            attrs.pop("min", None)
        if attrs.get("max", 0.0) >= float(_SINGLE.max):
            attrs.pop("max", None)
    elif node.op == "Dropout":  # inference: the identity
        node.inputs = node.inputs[:1]
        attrs.clear()
    elif node.op == "BatchNormalization":
        attrs.pop("momentum", None)
        if attrs.get("spatial", 1) == 1:
            attrs.pop("spatial", None)
    elif node.op == "Cast":
        kept = attrs["to"]
        attrs.clear()
        attrs["to"] = kept
    elif node.op == "Slice" and version < 10 and not attrs.get("axes"):
        attrs["axes"] = list(range(len(attrs["starts"])))
