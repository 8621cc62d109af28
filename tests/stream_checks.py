"""Checks that a converted model streams: any chunking gives the same bytes, and whole sequences are onnxruntime's."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rnnrt.converters import convert
from rnnrt.converters.ir import Graph, Sym

import rnnrt
from onnx_graphs import Array, feeds, model, recurrent, run_onnxruntime

if TYPE_CHECKING:
    import torch


def built(data: bytes, quantize: str | None = None) -> tuple[Graph, rnnrt.Model]:
    graph = convert.prepare(data)
    return graph, rnnrt.load(convert.build(data, graph, quantize)[1])


def int8_layer(op: str, features: int, hidden: int) -> bytes:
    """A file of one forward layer with int8 weights, x [T, 1, features] -> y; of a GRU linear_before_reset is 1."""
    attributes = {"linear_before_reset": 1} if op == "GRU" else {}
    nodes, constants = recurrent(op, "x", "y", features, hidden, **attributes)
    data = model(nodes, {"x": ["T", 1, features]}, ["y"], constants)
    return convert.build(data, convert.prepare(data), "int8")[1]


def run_in_pieces(model: rnnrt.Model, graph: Graph, given: dict[str, Array], sizes: Sequence[int]) -> dict[str, Array]:
    """Outputs of one stream that gets its frames in pieces of these sizes, joined."""
    axes = {v.name: (v.shape or ()).index(Sym.TIME) for v in (*graph.inputs, *graph.outputs)}
    batch = next(
        (given[v.name].shape[(v.shape or ()).index(Sym.BATCH)] for v in graph.inputs if Sym.BATCH in (v.shape or ())), 1
    )
    pieces: list[dict[str, Array]] = []
    at = 0
    with model.stream(batch) as stream:
        for size in sizes:
            piece = {n: np.ascontiguousarray(a.take(range(at, at + size), axes[n])) for n, a in given.items()}
            made = stream.run(piece if len(piece) > 1 else piece[graph.inputs[0].name])
            made = made if isinstance(made, dict) else {graph.outputs[0].name: made}
            pieces.append({n: np.array(a) for n, a in made.items()})
            at += size
    return {n: np.concatenate([p[n] for p in pieces], axes[n]) for n in pieces[0]}


def assert_streams(data: bytes, time: int = 23, tolerance: float = 1e-5) -> Graph:
    """Whole sequences as onnxruntime; any chunking the same bytes; int8 too, and it is near."""
    for quantize in (None, "int8"):
        graph, made = built(data, quantize)
        assert graph.streamable, graph.not_streamable_because
        for steps, batch in ((time, 1), (time, 3), (7, 2), (1, 1)):
            given = feeds(graph, steps, batch, seed=steps)
            expected = run_onnxruntime(data, given)
            whole = run_in_pieces(made, graph, given, [steps])
            random = np.random.default_rng(steps)
            cuts = np.sort(random.integers(0, steps + 1, 4)).tolist()
            for sizes in ([1] * steps, np.diff([0, *cuts, steps]).tolist(), [0, steps, 0]):
                pieces = run_in_pieces(made, graph, given, sizes)
                assert all(pieces[n].tobytes() == whole[n].tobytes() for n in whole), (quantize, sizes)
            for name, value in whole.items():
                error = np.abs(value - expected[name]) / np.maximum(1, np.abs(expected[name]))
                assert error.max(initial=0) <= (0.2 if quantize else tolerance), (name, quantize, steps, batch)
    return graph


def states_of(graph: Graph) -> dict[str, tuple[Any, ...]]:
    return {
        s.name: tuple(str(d) if isinstance(d, Sym) else d for d in graph.values[s.input].shape or ())
        for s in graph.states
    }


def exported(module: torch.nn.Module, x: torch.Tensor, dims: dict[int, str], dynamo: bool) -> bytes:
    """A module of one input x and one output y as ONNX, by the new exporter or the old one."""
    import torch

    file = io.BytesIO()
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamo": dynamo}
    if dynamo:
        names |= {"dynamic_shapes": (dims,), "verbose": False}
    else:
        names["dynamic_axes"] = {"x": dims}
    torch.onnx.export(module.eval(), (x,), file, **names)
    return file.getvalue()
