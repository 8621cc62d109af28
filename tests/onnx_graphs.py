"""Small seeded ONNX models for the tests of the converters, and what onnxruntime computes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from rnnrt.converters import from_onnx, reference, simplify
from rnnrt.converters.ir import Graph, Sym

Array = npt.NDArray[Any]
Dims = Sequence[int | str | None]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def weights(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Uniform in +-1/sqrt(last axis)."""
    limit = 1 / np.sqrt(shape[-1]) if shape else 1.0
    return np.random.default_rng([seed, *shape]).uniform(-limit, limit, shape).astype(np.float32)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attrs: Any) -> onnx.NodeProto:
    """An ONNX node, by default named after its first output."""
    return helper.make_node(op, list(inputs), list(outputs), name or f"{op}_{outputs[0]}", **attrs)


def recurrent(
    op: str, x: str, y: str, features: int, hidden: int, directions: int = 1, tail: Sequence[str] = (), **attrs: Any
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """A recurrent node named `y` with its weights; tail: inputs from sequence_lens on; outputs y, y.h (and y.c)."""
    rows = GATES[op] * hidden
    constants = {
        f"{y}.W": weights(directions, rows, features),
        f"{y}.R": weights(directions, rows, hidden, seed=1),
        f"{y}.B": weights(directions, 2 * rows, seed=2),
    }
    outputs = [y, f"{y}.h", f"{y}.c"][: 3 if op == "LSTM" else 2]
    made = node(op, [x, *constants, *tail], outputs, y, hidden_size=hidden, **attrs)
    return [made], constants


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Dims],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    opset: int = 17,
    types: Mapping[str, int] | None = None,
) -> bytes:
    """Serialized ModelProto; inputs are float unless `types` says otherwise; output shapes are not declared."""
    kinds = dict(types or {})
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(n, kinds.get(n, 1), list(dims)) for n, dims in inputs.items()],
        [helper.make_tensor_value_info(n, kinds.get(n, 1), None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(made.SerializeToString())


def simplified(data: bytes, **options: Any) -> Graph:
    """Loaded and simplified."""
    return simplify.simplify(from_onnx.load(data), **options)


def feeds(graph: Graph, time: int, batch: int, seed: int = 0) -> dict[str, Array]:
    """Random inputs; integers count from 0."""
    random = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for value in graph.inputs:
        assert value.shape is not None
        shape = [{Sym.TIME: time, Sym.BATCH: batch}.get(d, int(d)) if isinstance(d, Sym) else d for d in value.shape]
        floats = random.standard_normal(shape).astype(np.float32)
        made[value.name] = floats if value.dtype.kind == "f" else np.arange(floats.size).reshape(shape).astype(np.int32)
    return made


def run_onnxruntime(data: bytes, given: Mapping[str, Array]) -> dict[str, Array]:
    """All outputs by name; inputs that the model does not declare are left out."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    kinds = {v.name: np.int64 if "int64" in v.type else np.int32 if "int32" in v.type else np.float32
             for v in session.get_inputs()}  # fmt: skip
    values = {n: np.asarray(a, kinds[n]) for n, a in given.items() if n in kinds}
    return dict(zip([v.name for v in session.get_outputs()], session.run(None, values), strict=True))


def assert_same(
    data: bytes, graph: Graph, sizes: Sequence[tuple[int, int]] = ((6, 2), (1, 1), (9, 3)), tolerance: float = 1e-5,
    extra: Mapping[str, Array] | None = None,
) -> None:  # fmt: skip
    """The graph, in float64, gives what onnxruntime gives with the original, at every (time, batch)."""
    for time, batch in sizes:
        given = feeds(graph, time, batch)
        expected = run_onnxruntime(data, {**given, **(extra or {})})
        outputs, _ = reference.run(graph, given)
        assert set(outputs) == {v.name for v in graph.outputs}
        for name, value in outputs.items():
            assert value.shape == expected[name].shape, (name, time, batch)
            scaled = np.abs(value - expected[name]) / np.maximum(1, np.abs(expected[name]))
            assert scaled.max(initial=0) <= tolerance, (name, time, batch, scaled.max())


def ops(graph: Graph) -> list[str]:
    """Operator names in order."""
    return [n.op for n in graph.nodes]
