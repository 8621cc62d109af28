"""The last pass before packing: windowed operators with the channels last, as the runtime wants them.

Up to here a graph speaks ONNX: [N, C, L]. Every Conv, ConvTranspose and pool is put between Transposes; those between
two of them cancel, those over a single channel or position are only another shape, the others are moved to where it
costs least.
"""

from __future__ import annotations

from . import conv_rules, transposes
from .fuse import CLEANUP
from .ir import Graph, Node
from .reference_windows import WINDOWED
from .rewrite import OUTPUT, Rewriter, bind_outputs, copy_graph, release_outputs, tidy_names, until_stable


def channels_last(graph: Graph) -> Graph:
    """A graph whose windowed operators have the attribute ``channels_last``.

    Parameters
    ----------
    graph
        Simplified, states lifted. It is not changed.

    Returns
    -------
    Graph
        The same graph where it has none of these operators.
    """
    if not any(n.op in WINDOWED and "channels_last" not in n.attrs for n in graph.nodes):
        return graph
    made = copy_graph(graph)
    states, inputs = made.states, made.inputs
    made.inputs = inputs + [made.values[s.input] for s in states if s.input in made.values]  # so that they are kept
    made.states = []
    bind_outputs(made, [v.name for v in made.outputs])
    ends = [Node(OUTPUT, "", [s.output], []) for s in states]
    made.nodes += ends
    until_stable(made, [*conv_rules.RULES, *CLEANUP])
    transposes.until_once(made, _between_transposes)
    until_stable(made, [*CLEANUP, transposes.compose])
    _cheapest(made)
    for end, state in zip([n for n in made.nodes if n.op == OUTPUT and not n.name], states, strict=True):
        state.output = end.inputs[0]
    made.nodes = [n for n in made.nodes if n.op != OUTPUT or n.name]
    made.inputs, made.states = inputs, states
    release_outputs(made)
    tidy_names(made)
    return made


def _cheapest(graph: Graph) -> None:
    """Transposes sunk or not, whatever leaves fewer."""
    candidates = []
    for sinking in (False, True):
        candidate = copy_graph(graph)
        until_stable(candidate, [*CLEANUP, transposes.compose, *([transposes.sink] if sinking else [])])
        until_stable(candidate, [*CLEANUP, transposes.compose, transposes.as_reshape])
        candidates.append(candidate)
    best = min(candidates, key=transposes.cost)
    graph.nodes, graph.constants, graph.values = best.nodes, best.constants, best.values


def _between_transposes(r: Rewriter, node: Node) -> bool:
    if node.op not in WINDOWED or "channels_last" in node.attrs or "kernel_shape" not in node.attrs:
        return False
    rank = len(node.attrs["kernel_shape"]) + 2
    to_last = [0, *range(2, rank), 1]
    shape, output = r.shape(node.inputs[0]), r.shape(node.outputs[0])
    x = r.value(f"{node.inputs[0]}.transposed", shape and tuple(shape[p] for p in to_last))
    y = r.value(f"{node.outputs[0]}.transposed", output and tuple(output[p] for p in to_last))
    before = Node("Transpose", f"{node.name}.input", [node.inputs[0]], [x], {"perm": to_last})
    after = Node(
        "Transpose", f"{node.name}.output", [y], node.outputs[:1], {"perm": [0, rank - 1, *range(1, rank - 1)]}
    )
    moved = Node(node.op, node.name, [x, *node.inputs[1:]], [y], {**node.attrs, "channels_last": 1})
    r.replace(node, [before, moved, after])
    return True
