"""The original model as verification sees it: run by onnxruntime or by torch, whole and step by step."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import ir
from .reference import bind_symbols, initial_states

Array: TypeAlias = "npt.NDArray[Any]"

_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(bool)": "bool"}
_TYPES |= {f"tensor({name})": name for name in ("float16", "int8", "uint8", "int16", "int32", "int64")}


def _session(source: str | bytes, optimized: bool) -> Any:
    import onnxruntime  # here: the converters must import without it

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # a failure is reported by its exception
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class OnnxModel:
    """An ONNX model in onnxruntime: one thread, no spinning, no telemetry.

    Parameters
    ----------
    source
        Path or bytes.
    graph
        What it was converted to: names the inputs that are state variables now.
    set_values
        Inputs that were made constants.
    """

    def __init__(
        self, source: str | os.PathLike[str] | bytes, graph: ir.Graph, set_values: Mapping[str, npt.ArrayLike]
    ) -> None:
        self.source = source if isinstance(source, bytes) else os.fspath(source)
        self.session = _session(self.source, optimized=True)
        self.optimized = True
        self.version = str(sys.modules["onnxruntime"].__version__)
        self.inputs = {each.name: each for each in self.session.get_inputs()}
        self.outputs = [each.name for each in self.session.get_outputs()]
        self.graph = graph
        self.set_values = {k: v for k, v in set_values.items() if k in self.inputs}
        self.states = [s for s in graph.states if s.input in self.inputs]

    @property
    def steps(self) -> bool:
        """Whether it can be fed step by step: every state variable is an input and an output of the original."""
        explicit = all(s.output in self.outputs for s in self.states)
        return explicit and bool(self.states) and len(self.states) == len(self.graph.states)

    def initial(self, symbols: Mapping[int, int]) -> dict[str, Array]:
        """What the state inputs are at the start, by the original input's name."""
        first = initial_states(self.graph, symbols, np.float32)
        return {s.input: first[s.name] for s in self.states}

    def run(self, feeds: Mapping[str, Array], states: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """One evaluation; all outputs of the original by name. states: by the original input's name."""
        if states is None:
            states = self.initial(bind_symbols(self.graph, feeds))
        given: dict[str, Array] = {}
        for name, value in {**self.set_values, **feeds, **states}.items():
            if name in self.inputs:  # an input that nothing reads may have been dropped by onnxruntime
                given[name] = self._shaped(name, np.asarray(value, _TYPES.get(self.inputs[name].type)))
        return dict(zip(self.outputs, map(np.asarray, self._evaluate(given)), strict=True))

    def _evaluate(self, given: Mapping[str, Array]) -> Sequence[Array]:
        """All outputs; with the optimizer off if that is what makes it run.

        onnxruntime's optimizer trusts declared shapes, and torch's dynamo exporter declares the example's number of
        time steps for outputs that depend on time: the fused Gemm then fails at any other number.
        """
        try:
            return self.session.run(None, given)  # type: ignore[no-any-return]
        except Exception:
            if not self.optimized:
                raise
            self.session, self.optimized = _session(self.source, optimized=False), False
            return self.session.run(None, given)  # type: ignore[no-any-return]

    def _shaped(self, name: str, value: Array) -> Array:
        """A constant given as a number for an input of shape [1], and the like."""
        shape = self.inputs[name].shape
        if name in self.set_values and len(shape) != value.ndim and value.size == 1:
            return value.reshape([1] * len(shape))
        return value

    def advance(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The state inputs of the next step."""
        return {s.input: outputs[s.output] for s in self.states}


def run_module(module: Any, graph: ir.Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """A torch module on a whole sequence: outputs in order, nested tuples flattened, under the graph's output names.

    Outputs beyond the graph's (a last state that became a state variable) are left out.
    """
    torch = sys.modules["torch"]  # is loaded, since a module of its is at hand
    with torch.no_grad():
        training = module.training
        module.eval()
        result = module(*(torch.from_numpy(np.ascontiguousarray(feeds[v.name])) for v in graph.inputs))
        module.train(training)
    flat: list[Array] = []

    def collect(value: Any) -> None:
        if isinstance(value, (tuple, list)):
            for each in value:
                collect(each)
        else:
            flat.append(value.detach().cpu().numpy())

    collect(result)
    return dict(zip([v.name for v in graph.outputs], flat, strict=False))
