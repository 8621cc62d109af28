"""rnnrt as an `onnx.backend.base.Backend`: what onnx's own test suite runs operators with.

    import rnnrt.converters.backend as backend
    rep = backend.prepare(onnx_model)
    outputs = rep.run([x, h0])

The suite hands over everything as an input, weights and axes too. What rnnrt needs as a constant is made one from the
arrays of the first call, and the model is converted anew when such an array changes; for real use there is `convert`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, namedtupledict

from .. import load
from ..errors import UnsupportedError
from . import channels_last, convert, from_onnx, simplify
from .ir import Graph

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# Inputs that may be data, by operator. What is not listed: only the first.
_ALL = frozenset(range(64))
DATA_INPUTS: dict[str, frozenset[int]] = {
    **dict.fromkeys(("RNN", "GRU", "LSTM"), frozenset({0, 4, 5, 6})),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "MatMul", "Concat"), _ALL),
    **dict.fromkeys(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor"), _ALL),
    **dict.fromkeys(("Where", "Clip", "Einsum", "BatchNormalization", "InstanceNormalization"), _ALL),
    **dict.fromkeys(("GroupNormalization", "RMSNormalization"), _ALL),
    **dict.fromkeys(("ScatterND", "ScatterElements"), frozenset({0, 2})),
    "Mod": _ALL,
    "OneHot": frozenset({0, 2}),
    **dict.fromkeys(("Gather", "PRelu"), frozenset({0, 1})),
    "LayerNormalization": frozenset({0, 1, 2}),
}


class RnnrtRep(BackendRep):
    """A prepared model. `run` converts it as soon as it knows the arrays that have to be constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = from_onnx.load(model.SerializeToString())
        self._parameters = _parameters(self._graph)
        self._fixed: list[Array] = []
        self._model: Any = None

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Evaluate once.

        Parameters
        ----------
        inputs
            One array per graph input, in order (or a dict by name, or the array of a single input). Integers and truth
            values become int32, as which rnnrt computes them; results get their own type back.

        Returns
        -------
        tuple of ndarray
            One per graph output, reachable by name too.

        Raises
        ------
        UnsupportedError
            Every reason why rnnrt can't run it, in ``problems``.
        """
        arrays = self._named(inputs)
        fixed = [arrays[name] for name in self._parameters]
        if self._model is None or not all(map(_same, fixed, self._fixed)):
            self._model, self._fixed = load(self._convert(arrays)), [a.copy() for a in fixed]
        feeds = {info.name: arrays[info.name].astype(info.dtype, copy=False) for info in self._model.inputs}
        result = self._model(feeds) if feeds else self._model({})
        by_name = result if isinstance(result, dict) else {self._model.outputs[0].name: result}
        outputs = [v.name for v in self._graph.outputs]
        typed = (by_name[v.name].astype(v.dtype, copy=False) for v in self._graph.outputs)
        return namedtupledict("Outputs", outputs)(*typed)

    def file(self, inputs: Any) -> bytes:
        """The .rnnrt file that `run` makes for these inputs."""
        return self._convert(self._named(inputs))

    def _named(self, inputs: Any) -> dict[str, Array]:
        names = [v.name for v in self._graph.inputs]
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        given = dict(inputs) if isinstance(inputs, dict) else dict(zip(names, inputs, strict=True))
        return {name: np.asarray(given[name]) for name in names}

    def _convert(self, arrays: dict[str, Array]) -> bytes:
        """With these arrays as constants and every size fixed."""
        constants = {n: arrays[n] for n in self._parameters}
        shapes: dict[str, tuple[int | str, ...]] = {n: a.shape for n, a in arrays.items() if n not in constants}
        graph = channels_last.channels_last(simplify.simplify(self._graph, set_values=constants, shapes=shapes))
        graph.streamable, graph.not_streamable_because = False, "a backend runs models whole"
        return convert.build(b"", graph)[1]


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)


def _parameters(graph: Graph) -> list[str]:
    """Inputs that some operator needs as a constant; all of them where none is left that could be data."""
    found = {
        name
        for node in graph.nodes
        for i, name in enumerate(node.inputs)
        if name and i not in DATA_INPUTS.get(node.op, frozenset({0}))
    }
    return [v.name for v in graph.inputs if v.name in found]


class RnnrtBackend(Backend):
    """The backend; the functions below are its methods."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be read. What its operators need is known once there are inputs."""
        try:
            from_onnx.load(model.SerializeToString())
        except UnsupportedError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> RnnrtRep:
        """Check a model and get it ready to be run.

        Raises
        ------
        UnsupportedError
            It can't be represented.
        ValueError
            Another device than the CPU.
        """
        super().prepare(model, device, **kwargs)
        cls._require_device(device)
        return RnnrtRep(model)

    @classmethod
    def _require_device(cls, device: str) -> None:
        if not cls.supports_device(device):
            raise ValueError(f"device '{device}': rnnrt runs on the CPU")

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Prepare and run."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one operator. inputs: one array per input that is not left out."""
        super().run_node(node, inputs, device, outputs_info, **kwargs)
        cls._require_device(device)
        names = [n for n in node.input if n]
        arrays = [np.asarray(a) for a in inputs]
        make = onnx.helper.make_tensor_value_info
        types = [onnx.helper.np_dtype_to_tensor_dtype(a.dtype) for a in arrays]
        given = [make(n, t, a.shape) for n, t, a in zip(names, types, arrays, strict=True)]
        made = [make(n, onnx.TensorProto.FLOAT, None) for n in node.output if n]
        graph = onnx.helper.make_graph([node], "node", given, made)
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        return RnnrtRep(model).run(arrays)  # not prepare: onnx's checker wants the outputs' shapes

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """CPU."""
        return bool(device.split(":", maxsplit=1)[0] == "CPU")


is_compatible = RnnrtBackend.is_compatible
prepare = RnnrtBackend.prepare
run_model = RnnrtBackend.run_model
run_node = RnnrtBackend.run_node
supports_device = RnnrtBackend.supports_device
