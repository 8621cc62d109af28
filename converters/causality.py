"""Does frame t of every value depend on frames up to t only? Answered operator by operator, along the time axis.

Where the answer is no (or not certain) the graph still runs on whole sequences; it just can't be streamed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from .ir import Graph, Node, Shape, Sym
from .merged_axes import Layout, plain, regroup
from .reference_windows import WINDOWED
from .sizes import Sizes, infer
from .support import BINARY, COMPARE, RECURRENT, REDUCE, UNARY

INT32_MAX = 2**31 - 1


@dataclass
class Times:
    """What is known about the values so far."""

    graph: Graph
    axis: dict[str, int] = field(default_factory=dict)  # values with time in one of their axes
    final: set[str] = field(default_factory=set)  # values without it that depend on the frames so far
    sizes: dict[str, Sizes] = field(default_factory=dict)
    layouts: dict[str, Layout] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> Times:
        """Sizes of all values, axes of the inputs."""
        times = cls(graph, sizes=infer(graph))
        for name, sizes in times.sizes.items():
            layout = plain(sizes)
            if layout is not None:
                times.layouts[name] = layout
        for value in graph.inputs:
            if value.shape is not None and Sym.TIME in value.shape:
                times.axis[value.name] = value.shape.index(Sym.TIME)
        return times

    def shape(self, name: str) -> Shape | None:
        """Symbolic shape of a value or constant."""
        if name in self.graph.constants:
            return tuple(self.graph.constants[name].shape)
        value = self.graph.values.get(name)
        return None if value is None else value.shape

    def rank(self, name: str) -> int:
        """Number of dimensions."""
        return len(self.sizes.get(name, ()))

    def merged(self, name: str) -> bool:
        """Is time only a part of its axis?"""
        return self.layouts[name][self.axis[name]] != (Sym.TIME,)

    def note(self, node: Node) -> str:
        """Say where time is in a node's outputs; why they can't be streamed, or an empty string."""
        timed = any(n in self.axis for n in node.inputs)
        final = any(n in self.final for n in node.inputs)
        for name in (o for o in node.outputs if o):
            sizes = self.sizes.get(name)
            if sizes is None or None in sizes:
                if timed or final:
                    return f"the size of '{name}' is not a number or a product of time and batch"
                continue
            powers = [size.time for size in sizes if size is not None]
            if sum(powers) > 1:
                return "relates every frame to every other"
            if 1 in powers:
                self.axis[name] = powers.index(1)
                if final:
                    return "uses what is known only after the last frame for all frames"
                if name not in self.layouts:
                    reason = self._inherit(node, name, sizes)
                    if reason:
                        return reason
            elif timed or final:
                self.final.add(name)
        return ""

    def _inherit(self, node: Node, name: str, sizes: Sizes) -> str:
        """The layout of a result with a merged axis: that of its operands' axis of the same size."""
        axes = []
        for size in sizes:
            one = None if size is None else plain((size,))
            found = {one[0]} if one is not None else {
                layout[axis]
                for source in node.inputs
                for layout in [self.layouts.get(source)]
                if layout is not None
                for axis, other in enumerate(self.sizes[source])
                if other == size
            }  # fmt: skip
            if len(found) != 1:
                return f"the order of what is merged in '{name}' is not known"
            axes.append(found.pop())
        self.layouts[name] = tuple(axes)
        return ""


Rule: TypeAlias = "Callable[[Times, Node], str]"  # the reason why not, or an empty string


def obstacle(graph: Graph) -> str:
    """The first node that looks into the future, and why; an empty string if there is none.

    Windows over time count as looking into the future: `streaming` gives them a state first.
    """
    times = Times.of(graph)
    for node in graph.nodes if times.axis else ():
        reason = visit(times, node)
        if reason:
            return f"{node.op} '{node.name}': {reason}"
    return ""


def visit(times: Times, node: Node) -> str:
    """Why an operator that treats each frame alone or scans forward does not; else note its results."""
    if any(n in times.axis for n in node.inputs):
        rule = _RULES.get(node.op)
        reason = "is not known to be causal" if rule is None else rule(times, node)
        if reason:
            return reason
    return times.note(node)


def _none(times: Times, node: Node) -> str:
    return ""


def _aligned(times: Times, node: Node) -> str:
    """Broadcasting aligns on the right."""
    timed = [n for n in node.inputs if n in times.axis]
    places = {(times.axis[n] - times.rank(n), times.layouts[n][times.axis[n]]) for n in timed}
    return "" if len(places) == 1 else "combines different time axes"


def _gemm(times: Times, node: Node) -> str:
    if node.inputs[0] in times.axis and times.axis[node.inputs[0]] == times.rank(node.inputs[0]) - 1:
        return "sums over time"
    return ""


def _matmul(times: Times, node: Node) -> str:
    a, b = node.inputs
    at, bt = times.axis.get(a), times.axis.get(b)
    a_rank, b_rank = times.rank(a), times.rank(b)
    if (at is not None and at == a_rank - 1) or (bt is not None and bt == max(b_rank - 2, 0)):
        return "sums over time"
    if at is not None and bt is not None and (at >= a_rank - 2 or bt >= b_rank - 2 or at - a_rank != bt - b_rank):
        return "relates every frame to every other"
    return ""


def _window(times: Times, node: Node) -> str:
    axis, attrs = times.axis.get(node.inputs[0]), node.attrs
    if axis is None or axis == 0:
        return ""
    if axis == 1:
        return "time is the channel axis" if node.op in ("MaxPool", "AveragePool") else "sums over time"
    k, spatial = axis - 2, len(attrs["kernel_shape"])
    kernel, stride, pads = attrs["kernel_shape"][k], attrs["strides"][k], attrs["pads"][k::spatial]
    if kernel != 1 or stride != 1 or any(pads):
        return f"a kernel of {kernel} over time (stride {stride}, pads {pads})"
    return ""


def _recurrent(times: Times, node: Node) -> str:
    axis = times.axis.get(node.inputs[0])
    sequence = 1 if node.attrs.get("layout", 0) else 0
    if axis == 2:
        return "time is the feature axis"
    if axis != sequence:
        return ""
    if times.merged(node.inputs[0]):
        return "runs over an axis that is time and something else"
    direction = node.attrs.get("direction", "forward")
    if direction != "forward":
        return f"runs {'backwards' if direction == 'reverse' else 'in both directions'} over time"
    if len(node.inputs) > 4 and node.inputs[4]:
        return f"needs the length of each sequence ('{node.inputs[4]}') in advance"
    states = {s.input for s in times.graph.states}
    for i in (5, 6):
        name = node.inputs[i] if i < len(node.inputs) else ""
        if name and not comes_from(times.graph, name, states):
            return f"its initial state '{name}' is not carried from call to call"
    return ""


def comes_from(graph: Graph, name: str, states: set[str]) -> bool:
    """Is a value made of states and constants only?"""
    producers, wanted = graph.producers(), [name]
    while wanted:
        name = wanted.pop()
        node = producers.get(name)
        if node is not None:
            wanted += [n for n in node.inputs if n]
        elif name not in states and name not in graph.constants:
            return False
    return True


def _layer_normalization(times: Times, node: Node) -> str:
    rank = times.rank(node.inputs[0])
    axis = int(node.attrs.get("axis", -1))
    return "over time" if times.axis.get(node.inputs[0], -1) >= (axis + rank if axis < 0 else axis) else ""


def _softmax(times: Times, node: Node) -> str:
    rank = times.rank(node.inputs[0])
    return "over time" if times.axis.get(node.inputs[0]) == int(node.attrs.get("axis", -1)) % rank else ""


def _reduce(times: Times, node: Node) -> str:
    return "over time" if times.axis.get(node.inputs[0]) in node.attrs["axes"] else ""


def _reshape(times: Times, node: Node) -> str:
    """Time and batch must stay whole, wherever they go."""
    layout = regroup(times.layouts[node.inputs[0]], times.sizes.get(node.outputs[0], (None,)))
    if layout is None:
        return "mixes time with another dimension"
    times.layouts[node.outputs[0]] = layout
    return ""


def _slice(times: Times, node: Node) -> str:
    attrs = node.attrs
    axis = times.axis.get(node.inputs[0])
    if axis not in attrs["axes"]:
        return ""
    k = attrs["axes"].index(axis)
    last = (attrs["starts"][k], attrs["ends"][k], attrs["steps"][k]) == (-1, INT32_MAX, 1)
    return "" if last and not times.merged(node.inputs[0]) else "selects frames by number"


def _gather(times: Times, node: Node) -> str:
    axis = times.axis.get(node.inputs[0])
    if axis is None or axis != node.attrs.get("axis", 0):
        return ""
    indices = times.graph.constants.get(node.inputs[1])
    last = indices is not None and indices.size == 1 and int(indices.reshape(())) == -1
    return "" if last and not times.merged(node.inputs[0]) else "selects frames by number"


def _concat(times: Times, node: Node) -> str:
    return "joins along time" if any(times.axis.get(n) == node.attrs["axis"] for n in node.inputs) else ""


def _pad(times: Times, node: Node) -> str:
    axis, pads = times.axis[node.inputs[0]], node.attrs["pads"]
    return "pads time" if pads[axis] or pads[axis + len(pads) // 2] else ""


_RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY, _none),
    **dict.fromkeys(BINARY, _aligned),
    **dict.fromkeys(RECURRENT, _recurrent),
    **dict.fromkeys(REDUCE, _reduce),
    "Gemm": _gemm,
    "MatMul": _matmul,
    **dict.fromkeys(WINDOWED, _window),
    "Softmax": _softmax,
    "LayerNormalization": _layer_normalization,
    "Reshape": _reshape,
    "Squeeze": _none,
    "Unsqueeze": _none,
    "Transpose": _none,
    "Slice": _slice,
    "Gather": _gather,
    "Concat": _concat,
    "Pad": _pad,
    "Expand": _none,
    **dict.fromkeys(COMPARE, _aligned),
    "Where": _aligned,
    "Cast": _none,
    "ArgMax": _softmax,
}
