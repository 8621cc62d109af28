"""Making recurrent state first class: what a graph carries from call to call becomes `State` variables.

Explicit pairs (an input that is an initial state, an output that is the final one) leave the inputs and outputs; zero
initial states made inside a causal graph become state too, so that chunk by chunk equals all at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from ..errors import UnsupportedError
from .causality import Times
from .ir import Graph, Node, Note, Problem, State, Sym, Value
from .merged_axes import Atoms
from .reference import evaluate_node
from .rewrite import Rewriter, copy_graph
from .state_pairs import SLOTS, is_carried, names_match
from .streaming import NewState, Streamer, add_state
from .support import RECURRENT

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

Pairs: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]]"


def lift(graph: Graph, pairs: Pairs | None = None) -> Graph:
    """Turn carried values into states and find out whether the graph can be streamed.

    Parameters
    ----------
    graph
        A simplified graph. It is not changed.
    pairs
        Input name -> output name that becomes this input in the next call (or pairs of them), beyond those that are
        found: by tracing initial states to final states, and by name in graphs without a time dimension.

    Returns
    -------
    Graph
        With ``states``, ``streamable`` and ``not_streamable_because`` (which names the node).

    Raises
    ------
    UnsupportedError
        A pair that does not exist, does not fit, or is not a recurrent state.
    """
    result = copy_graph(graph)
    given = list(pairs.items()) if isinstance(pairs, Mapping) else [(a, b) for a, b in pairs or ()]
    problems = [p for name, output in given for p in _pair_problems(result, name, output)]
    for side, what in ((0, "input"), (1, "output")):
        names = [pair[side] for pair in given]
        twice = sorted({n for n in names if names.count(n) > 1})
        problems += [Problem(n, "state", f"the {what} is in two pairs", usage=True) for n in twice]
    if problems:
        listed = "\n".join(f"  {p}" for p in problems)
        raise UnsupportedError(f"these states can't be carried:\n{listed}", problems)
    for name, output in given:
        _make_state(result, name, output)
    before = copy_graph(result)
    for name, output in _find_pairs(result).items():
        _make_state(result, name, output)
        text = f"input '{name}' and output '{output}' are taken as one state variable"
        result.notes.append(Note(text, f"--state {shlex.quote(f'{name}:{output}')}"))
    streamer = Streamer.of(result)
    reason = streamer.run()
    if reason:
        result = before  # whole sequences only: the caller gives the states that were not asked for
    else:
        _lift_zeros(result, streamer.times)
    if not result.outputs:  # nothing but states: a model has to give something
        result.outputs = list(graph.outputs)
    result.streamable, result.not_streamable_because = not reason, reason
    if result.streamable and result.has_time():
        for value in result.outputs:
            if value.shape is not None and Sym.TIME not in value.shape:
                text = f"output '{value.name}' has no time dimension: every step gives its value so far"
                result.notes.append(Note(text, fact=True))
    return result


# ---- explicit pairs ----


def _pair_problems(graph: Graph, name: str, output: str) -> list[Problem]:
    given = next((v for v in graph.inputs if v.name == name), None)
    made = next((v for v in graph.outputs if v.name == output), None)
    if given is None or made is None:
        what, known = ("input", graph.inputs) if given is None else ("output", graph.outputs)
        names = sorted(v.name for v in known)
        return [Problem(name if given is None else output, "state", f"no such {what}; there are {names}", usage=True)]
    if given.shape != made.shape or given.shape is None or given.dtype != made.dtype:
        return [Problem(name, "state", f"has shape {_show(given)}, but '{output}' has {_show(made)}", usage=True)]
    if Sym.TIME in given.shape:
        return [Problem(name, "state", "has a time dimension")]
    if graph.has_time() and not is_carried(graph, name, output):
        reason = (
            f"is not just the state of recurrent nodes, or frames in front of a sequence, that '{output}' carries on"
        )
        return [Problem(name, "state", reason)]
    return []


def _show(value: Value) -> str:
    return "unknown" if value.shape is None else "[" + ", ".join(str(d) for d in value.shape) + "]"


def _make_state(graph: Graph, name: str, output: str) -> None:
    graph.inputs = [v for v in graph.inputs if v.name != name]
    graph.outputs = [v for v in graph.outputs if v.name != output]
    graph.states.append(State(name, name, output, None, f"input '{name}' and output '{output}'"))


def _find_pairs(graph: Graph) -> dict[str, str]:
    """Inputs and outputs that are a recurrent state for certain."""
    found: dict[str, str] = {}
    for value in graph.inputs:
        if value.dtype.kind != "f" or value.shape is None or Sym.TIME in value.shape:
            continue
        free = [o for o in graph.outputs if o.shape == value.shape and o.name not in found.values()]
        traced = [o.name for o in free if is_carried(graph, value.name, o.name)]
        named = [] if graph.has_time() else [o.name for o in free if names_match(value.name, o.name)]
        if traced or named:
            found[value.name] = (traced or named)[0]
    return found


# ---- zero initial states inside the graph ----


def _lift_zeros(graph: Graph, times: Times) -> None:
    """Give every recurrent node over time that starts from zeros or constants state variables."""
    nodes: list[Node] = []
    for node in graph.nodes:
        sequence = int(node.attrs.get("layout", 0))
        if node.op not in RECURRENT or times.axis.get(node.inputs[0]) != sequence:
            nodes.append(node)
            continue
        after = []
        for slot, suffix in ((5, "h"), (6, "c"))[: 2 if node.op == "LSTM" else 1]:
            given = node.inputs[slot] if slot < len(node.inputs) else ""
            start = _constant_start(graph, given)
            if start is None and given:
                continue  # an explicit state: the causality check has seen to that
            batch = times.layouts[node.inputs[0]][1 - sequence]
            after.append(_lift_zero(graph, nodes, node, (slot, suffix), batch, start))
        nodes.append(node)
        for state, output in after:
            state.becomes(output)
    graph.nodes = nodes
    _drop_unread(graph)


def _constant_start(graph: Graph, name: str) -> Array | None:
    """What an initial state is where it is made of constants alone; of a batch of 1."""
    node = graph.producers().get(name)
    if name in graph.constants or node is None:
        return graph.constants.get(name)
    inputs = [_constant_start(graph, n) if n else None for n in node.inputs]
    if any(n and a is None for n, a in zip(node.inputs, inputs, strict=True)):
        return None
    return evaluate_node(node, inputs, symbols={int(Sym.BATCH): 1})[0]


def _lift_zero(
    graph: Graph, nodes: list[Node], node: Node, slot: tuple[int, str], batch: Atoms, start: Array | None
) -> tuple[NewState, str]:
    """A state for one initial state; its node's output that it becomes."""
    number, suffix = slot
    node.inputs += [""] * (number + 1 - len(node.inputs))
    output = SLOTS[number]
    node.outputs += [""] * (output + 1 - len(node.outputs))
    hidden: Atoms = (int(node.attrs["hidden_size"]),)
    layout = (batch, (), hidden) if node.attrs.get("layout", 0) else ((), batch, hidden)
    start = None if start is None or not start.any() else start
    source = f"{'zero' if start is None else 'constant'} initial_{suffix} of {node.op} '{node.name}'"
    rewriter = Rewriter(graph)
    state = add_state(graph, nodes, rewriter.fresh(f"{node.name}.{suffix}"), layout, start, source)
    if not node.outputs[output]:
        node.outputs[output] = rewriter.value(f"{state.state.name}.next", None)
    node.inputs[number] = state.value
    return state, node.outputs[output]


def _drop_unread(graph: Graph) -> None:
    """Constants and Expands that were initial states."""
    read = set(graph.used_names())
    for node in reversed(list(graph.nodes)):
        if node.op in ("Expand", "Reshape") and not any(o in read for o in node.outputs):
            graph.nodes = [n for n in graph.nodes if n is not node]
            graph.values.pop(node.outputs[0], None)
            read = set(graph.used_names())
    graph.constants = {n: a for n, a in graph.constants.items() if n in read}
