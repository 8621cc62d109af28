"""Changing a graph in place: what every rewriting pass shares. Shapes of new values are always given.

While a graph is rewritten its outputs are pseudo-nodes (`OUTPUT`), so that a pass need not know which values are
outputs: they are values with one more consumer. `bind_outputs` makes these nodes, `release_outputs` removes them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from .ir import Graph, Node, Shape, Size, Sym, Value
from .reference import evaluate_node

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

OUTPUT = "rnnrt.Output"
_MADE = re.compile(r"(\.(transposed|batch_first)(_\d+)?)+$")


def copy_graph(graph: Graph) -> Graph:
    """A copy that can be changed without changing the original; arrays are shared."""
    made = copy.copy(graph)
    made.nodes = [
        Node(n.op, n.name, list(n.inputs), list(n.outputs), copy.copy(n.attrs), n.domain) for n in graph.nodes
    ]
    made.inputs, made.outputs, made.states = list(graph.inputs), list(graph.outputs), [replace(s) for s in graph.states]
    made.constants, made.values, made.notes = dict(graph.constants), dict(graph.values), list(graph.notes)
    return made


def bind_outputs(graph: Graph, names: list[str]) -> None:
    """Say which value each graph output is."""
    for value, name in zip(graph.outputs, names, strict=True):
        graph.nodes.append(Node(OUTPUT, value.name, [name], []))


class Rewriter:
    """One graph being rewritten."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.refresh()

    # ---- questions ----

    def shape(self, name: str) -> Shape | None:
        """Symbolic shape of a value or constant."""
        if name in self.graph.constants:
            return tuple(self.graph.constants[name].shape)
        value = self.graph.values.get(name)
        return None if value is None else value.shape

    def constant(self, node: Node, i: int) -> Array | None:
        """Input i where it is a constant."""
        return self.graph.constants.get(node.inputs[i]) if i < len(node.inputs) else None

    def only_consumer(self, name: str) -> Node | None:
        """The one node that reads a value, if there is just one and it reads it once."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 else None

    def dtype(self, name: str) -> np.dtype[Any]:
        """Element type of a value."""
        value = self.graph.values.get(name)
        return value.dtype if value is not None else np.dtype(np.float32)

    # ---- changes ----

    def fresh(self, base: str) -> str:
        """A value name that is not taken."""
        taken = self.graph.values.keys() | self.graph.constants.keys() | {v.name for v in self.graph.outputs}
        name, k = base, 1
        while name in taken:
            name, k = f"{base}_{k}", k + 1
        return name

    def value(self, base: str, shape: Shape | None, dtype: np.dtype[Any] | None = None) -> str:
        """A new value."""
        name = self.fresh(base)
        self.graph.values[name] = Value(name, dtype or np.dtype(np.float32), shape)
        return name

    def add_constant(self, base: str, array: Array) -> str:
        """A new constant."""
        name = self.fresh(base)
        self.graph.constants[name] = array
        return name

    def redirect(self, old: str, new: str) -> None:
        """All readers of one value read another."""
        for node in self.consumers.get(old, []):
            node.inputs = [new if n == old else n for n in node.inputs]
        self.refresh()

    def refresh(self) -> None:
        """After nodes have been changed by hand."""
        self.producers = self.graph.producers()
        self.consumers = self.graph.consumers()
        self.present = {id(n) for n in self.graph.nodes}

    def replace(self, node: Node, new: list[Node]) -> None:
        """Put nodes in the place of one (none: it goes)."""
        at = next(i for i, n in enumerate(self.graph.nodes) if n is node)
        self.graph.nodes[at : at + 1] = new
        self.refresh()


Pass: TypeAlias = "Callable[[Rewriter, Node], bool]"


def until_stable(graph: Graph, passes: list[Pass]) -> None:
    """Apply each pass to each node, again and again, until none changes anything."""
    rewriter = Rewriter(graph)
    for _ in range(1000):
        changed = False
        for rule in passes:
            for node in list(graph.nodes):
                if node.op != OUTPUT and id(node) in rewriter.present and rule(rewriter, node):
                    changed = True
                    rewriter.refresh()
        drop_unused(graph)
        rewriter.refresh()
        if not changed:
            return
    raise AssertionError("the rewriting rules go round in circles")


def drop_unused(graph: Graph) -> None:
    """Remove nodes, outputs, constants and values that nothing reads."""
    read = {s.output for s in graph.states}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.op != OUTPUT and not any(o in read for o in node.outputs):
            continue
        node.outputs = [o if o in read else "" for o in node.outputs]
        while len(node.outputs) > 1 and not node.outputs[-1]:
            node.outputs.pop()
        read.update(n for n in node.inputs if n)
        kept.append(node)
    graph.nodes[:] = kept[::-1]
    graph.constants = {n: a for n, a in graph.constants.items() if n in read}
    own = {o for n in graph.nodes for o in n.outputs} | {v.name for v in graph.inputs} | {s.input for s in graph.states}
    graph.values = {n: v for n, v in graph.values.items() if n in own}


def fold(rewriter: Rewriter, node: Node) -> bool:
    """A node of which every input is constant becomes constants."""
    constants = rewriter.graph.constants
    if not node.inputs or any(n and n not in constants for n in node.inputs):
        return False
    symbols = [d for value in node.attrs.values() if isinstance(value, list) for d in value if isinstance(d, Sym)]
    if symbols:
        return False
    try:
        results = evaluate_node(node, [constants[n] if n else None for n in node.inputs])
    except Exception:  # not computable here: the node stays, and is checked like any other
        return False
    for name, result in zip(node.outputs, results, strict=False):
        if name:
            constants[name] = result.astype(np.float32) if result.dtype.kind == "f" else result
            rewriter.graph.values.pop(name, None)
    rewriter.replace(node, [])
    return True


def reshape_to(shape: Shape) -> list[int | Sym]:
    """A Reshape's attribute: -1 for a size that is no symbol (the caller has made sure that there is at most one)."""
    return [-1 if isinstance(d, Size) else d for d in shape]


def can_reshape_to(shape: Shape | None) -> bool:
    """Is a shape known, and can the runtime infer what is neither a number nor a symbol in it?"""
    return shape is not None and sum(isinstance(d, Size) for d in shape) <= 1


def release_outputs(graph: Graph) -> None:
    """Give the values that are outputs the outputs' names; copy where one value can't have the name."""
    outputs = [n for n in graph.nodes if n.op == OUTPUT]
    graph.nodes[:] = [n for n in graph.nodes if n.op != OUTPUT]
    claimed = {n.inputs[0] for n in outputs if n.inputs[0] == n.name}
    made = {o for n in graph.nodes for o in n.outputs if o}
    for node in outputs:
        source, target = node.inputs[0], node.name
        if source == target and source in made:
            continue
        if target in graph.values or target in graph.constants:
            _rename(graph, target, Rewriter(graph).fresh(target), outputs)
            source = node.inputs[0]
        shape = Rewriter(graph).shape(source)
        if source in made and source not in claimed:
            _rename(graph, source, target, outputs)
            made.add(target)
        else:
            declared = next(v for v in graph.outputs if v.name == target)
            graph.nodes.append(Node("Expand", f"{target}.copy", [source], [target], {"shape": list(shape or ())}))
            graph.values[target] = Value(target, declared.dtype, shape)
        claimed.add(target)


def tidy_names(graph: Graph) -> None:
    """Values that rewriting made get back the name of the value they stand for, where it is free."""
    for name in [o for n in graph.nodes for o in n.outputs if _MADE.search(o)]:
        wanted = _MADE.sub("", name)
        free = Rewriter(graph).fresh(wanted) == wanted
        if wanted and free and not any(n.op == OUTPUT for n in graph.nodes):
            _rename(graph, name, wanted, [])


def _rename(graph: Graph, old: str, new: str, outputs: list[Node]) -> None:
    for node in [*graph.nodes, *outputs]:
        node.inputs = [new if n == old else n for n in node.inputs]
        node.outputs = [new if n == old else n for n in node.outputs]
    for state in graph.states:
        state.output = new if state.output == old else state.output
    if old in graph.values:
        value = graph.values.pop(old)
        graph.values[new] = Value(new, value.dtype, value.shape)
    if old in graph.constants:
        graph.constants[new] = graph.constants.pop(old)
