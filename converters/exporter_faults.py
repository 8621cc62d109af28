"""Known faults of exporters, where a file does not say what its model computes: warned of, corrected on demand."""

from __future__ import annotations

from ..errors import UnsupportedError
from .ir import Graph, Node, Note, Problem
from .rewrite import copy_graph

GRU_RESET = (
    "WARNING: GRU '{name}' has linear_before_reset = 0 and comes from {producer}, whose GRU has only the form 1: this "
    "is very probably a fault of the exporter (pytorch#189225) and its results are wrong, in onnxruntime, too. "
    "--linear-before-reset 1 corrects it (0: it is right as it is); converting the module itself settles it"
)


def check(graph: Graph, linear_before_reset: int | None = None) -> Graph:
    """Note what looks like an exporter's fault.

    Parameters
    ----------
    graph
        An importer's graph. It is not changed.
    linear_before_reset
        What every GRU has, 0 or 1, whatever the file says; None: what it says.

    Raises
    ------
    ValueError
        Neither 0 nor 1.
    UnsupportedError
        A value is given, but there is no GRU.
    """
    if linear_before_reset not in (None, 0, 1):
        raise ValueError(f"--linear-before-reset is 0 or 1, not {linear_before_reset!r}")
    result, notes = _with_reset(graph, linear_before_reset)
    found = [n for g in _graphs(result) for n in g.nodes if n.op == "GRU" and not n.domain]
    if linear_before_reset is not None and not found:
        problem = Problem("", "GRU", "--linear-before-reset is given, but the model has no GRU", usage=True)
        raise UnsupportedError(str(problem), [problem])
    result.notes = [*graph.notes, *notes]
    if linear_before_reset is None and graph.producer.lower().startswith("pytorch"):
        for node in found:
            if not int(node.attrs.get("linear_before_reset", 0)):
                text = GRU_RESET.format(name=node.name, producer=graph.producer)
                result.notes.append(Note(text, "--linear-before-reset 1"))
    return result


def _with_reset(graph: Graph, value: int | None) -> tuple[Graph, list[str]]:
    """A copy whose GRUs all have the value, branches included, and what was changed."""
    made, notes = copy_graph(graph), list[str]()
    for node in made.nodes if value is not None else ():
        was = int(node.attrs.get("linear_before_reset", 0))
        if node.op == "GRU" and not node.domain and was != value:
            node.attrs["linear_before_reset"] = value
            text = f"GRU '{node.name}': linear_before_reset is {was} in the file, {value} as asked for"
            notes.append(Note(text, fact=True))
        for name, branch in _branches(node):
            node.attrs[name], further = _with_reset(branch, value)
            notes += further
    return made, notes


def _branches(node: Node) -> list[tuple[str, Graph]]:
    return [(k, v) for k, v in node.attrs.items() if isinstance(v, Graph)]


def _graphs(graph: Graph) -> list[Graph]:
    """The graph and all its branches."""
    return [graph, *(g for n in graph.nodes for _, b in _branches(n) for g in _graphs(b))]
