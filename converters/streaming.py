"""Windows over time become state: Conv, pooling, Pad, Slice and Concat along time, frame by frame.

In the graph as exported a value over time has T + e frames, and its frame i is known when frame i - lead of the input
is: padding in front makes `lead` larger, a window smaller. Streamed, every value has T frames, and frame t is frame
t + lead of the exported graph's. So padding in front costs nothing but the beginning of a state, a window reads the
frames before from a state, and two values meet after the one that is further ahead has been delayed. Padding behind and
cutting the frames that it makes ('chomp') do nothing. A negative lead is a look into the future.

A sequence that the caller's own state (a cache) is put in front of has `held` more frames, in both graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from .causality import INT32_MAX, Times, comes_from, visit
from .ir import Graph, Node, Size, State, Sym, Value
from .merged_axes import Layout, dims_of
from .reference import evaluate_node
from .rewrite import Rewriter
from .support import RECURRENT

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

F32 = np.dtype(np.float32)
_SYMBOLS = {int(Sym.BATCH): 1}


class Obstacle(Exception):
    """Why a node can't be streamed."""


@dataclass
class Track:
    """Where the frames of a value are (see the top). ``before`` are the `lead` frames that no input frame has made."""

    lead: int = 0
    held: int = 0
    before: Array | None = None


@dataclass
class Streamer:
    """A graph being made streamable, in place."""

    graph: Graph
    times: Times
    tracks: dict[str, Track] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    producers: dict[str, Node] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> Streamer:
        """Nothing done yet."""
        times = Times.of(graph)
        return cls(graph, times, {name: Track() for name in times.axis}, [], graph.producers())

    def run(self) -> str:
        """Rewrite the graph; the first node that looks into the future and why, or an empty string."""
        for node in self.graph.nodes if self.tracks else ():
            try:
                self._node(node)
            except Obstacle as reason:
                return f"{node.op} '{node.name}': {reason}"
        for value in self.graph.outputs:
            track = self.tracks.get(value.name)
            if track is not None and track.held:
                return f"output '{value.name}': has {track.held} frames more than the input"
            if track is not None and track.lead:
                try:
                    self._delay_output(value.name)
                except Obstacle as reason:
                    return f"output '{value.name}': {reason}"
        if self.tracks:
            self.graph.nodes = self.nodes
        return ""

    def _node(self, node: Node) -> None:
        timed = [n for n in node.inputs if n in self.tracks]
        handler = _HANDLERS.get(node.op)
        if not timed or handler is None or not handler(self, node):
            self._frame_by_frame(node, timed)

    # ---- operators that take each frame alone, or scan ----

    def _frame_by_frame(self, node: Node, timed: list[str]) -> None:
        reason = visit(self.times, node)
        if reason:
            raise Obstacle(reason)
        node = _copy(node)
        if timed:
            held = {self.tracks[n].held for n in timed}
            scans = node.op in RECURRENT and self.times.axis[node.inputs[0]] == int(node.attrs.get("layout", 0))
            if len(held) > 1 or (scans and held != {0}):
                raise Obstacle("meets a sequence that still has frames of a state in front")
            lead = 0 if scans else min(self.tracks[n].lead for n in timed)
            ends_behind = any(not self.ends_now(n) for n in timed)
            if ends_behind and any(o in self.times.final for o in node.outputs):
                raise Obstacle("its result is that of frames behind the input's last")
            node.inputs = [self._aligned(n, lead) if n in self.tracks else n for n in node.inputs]
            before = self._evaluate(node, lead) if lead else None
            for name in node.outputs:
                if name in self.times.axis:
                    self.tracks[name] = Track(lead, held.pop() if held else 0, before)
                    held = {self.tracks[name].held}
        self.nodes.append(node)

    def _evaluate(self, node: Node, lead: int) -> Array:
        """What a node makes of the frames before the first: [.., lead, ..]."""
        arrays: list[Array | None] = []
        for name in node.inputs:
            if name in self.tracks:
                arrays.append(self._first(name, lead))
            else:
                constant = self.constant(name, lead)
                if name and constant is None:
                    raise Obstacle(f"what '{name}' is before the first frame is not known")
                arrays.append(constant)
        symbols = {**_SYMBOLS, int(Sym.TIME): lead}
        return evaluate_node(node, arrays, symbols=symbols)[0].astype(np.float32)

    def _aligned(self, name: str, lead: int) -> str:
        """A value delayed until its frame 0 is frame `lead` of the exported graph's."""
        track = self.tracks[name]
        if track.lead == lead:
            return name
        return self._delayed(name, lead, self._fresh(f"{name}.delayed"))

    def _delayed(self, name: str, lead: int, output: str) -> str:
        track, axis = self.tracks[name], self.times.axis[name]
        count = track.lead - lead
        joined = self.history(f"{output}.history", name, self._first(name, track.lead)[_frames(axis, lead, None)],
                              f"'{name}', {count} frames later")  # fmt: skip
        self._slice(joined, output, axis, 0, -count)
        self._declare(output, name)
        before = self._first(name, track.lead)[_frames(axis, 0, lead)] if lead else None
        self.tracks[output] = Track(lead, 0, before)
        return output

    def _delay_output(self, name: str) -> None:
        """The output's name is the delayed value's."""
        ahead = self._fresh(f"{name}.ahead")
        for node in self.nodes:
            node.inputs = [ahead if n == name else n for n in node.inputs]
            node.outputs = [ahead if n == name else n for n in node.outputs]
        self._declare(ahead, name)
        self.tracks[ahead] = self.tracks[name]
        self._delayed(ahead, 0, name)

    # ---- questions ----

    def extra(self, name: str) -> int:
        """Frames that a value over time has more than the input, in the exported graph."""
        size = self.times.sizes[name][self.times.axis[name]]
        return 0 if size is None else size.extra

    def ends_now(self, name: str) -> bool:
        """Is the last frame in the exported graph the one that is made of the last frame of the input?"""
        track = self.tracks[name]
        return self.extra(name) - track.held == track.lead

    def constant(self, name: str, time: int | None = None) -> Array | None:
        """A constant, or one expanded to the batch (here 1) and, if `time` is said, to that many frames."""
        node = self.producers.get(name)
        if node is None or node.op != "Expand" or node.inputs[0] not in self.graph.constants:
            return self.graph.constants.get(name)
        if Sym.TIME in node.attrs["shape"] and time is None:
            return None
        symbols = {**_SYMBOLS, int(Sym.TIME): time or 0}
        return evaluate_node(node, [self.graph.constants[node.inputs[0]]], symbols=symbols)[0]

    def _first(self, name: str, count: int) -> Array:
        """The first frames of a value, those before the first frame of the input: batch 1."""
        track, axis = self.tracks[name], self.times.axis[name]
        before = track.before if track.before is not None else np.zeros(self._shape_without_time(name), np.float32)
        return before[_frames(axis, 0, count)]

    def _shape_without_time(self, name: str) -> list[int]:
        axis = self.times.axis[name]
        return [0 if i == axis else math.prod(1 if isinstance(a, Sym) else a for a in atoms)
                for i, atoms in enumerate(self.times.layouts[name])]  # fmt: skip

    def _fresh(self, base: str) -> str:
        return Rewriter(self.graph).fresh(base)

    # ---- new values ----

    def _declare(self, name: str, like: str) -> None:
        """A new value over time that looks like another."""
        value, times = self.graph.values[like], self.times
        self.graph.values[name] = Value(name, value.dtype, value.shape)
        times.axis[name], times.sizes[name], times.layouts[name] = (
            times.axis[like],
            times.sizes[like],
            times.layouts[like],
        )

    def history(self, base: str, name: str, start: Array, source: str) -> str:
        """A value with the frames before it in front; start [.., n, ..] are those before the first."""
        axis, count = self.times.axis[name], start.shape[self.times.axis[name]]
        if self.graph.values[name].dtype.kind != "f":
            raise Obstacle(f"the last frames of '{name}' are no floats, so they can't be a state")
        layout = list(self.times.layouts[name])
        layout[axis] = (count,)
        state = add_state(self.graph, self.nodes, self._fresh(base), tuple(layout), start, source)
        joined = self._fresh(f"{base}.joined")
        self._declare(joined, name)
        self.graph.values[joined].shape = None
        self.nodes.append(Node("Concat", joined, [state.value, name], [joined], {"axis": axis}))
        last = self._fresh(f"{base}.last")
        self.graph.values[last] = Value(last, F32, None)
        self._slice(joined, last, axis, -count, INT32_MAX)
        state.becomes(last)
        return joined

    def transposed(self, name: str, base: str, perm: list[int]) -> str:
        """A value over time with its axes in another order."""
        output, times, value = self._fresh(base), self.times, self.graph.values[name]
        shape = None if value.shape is None else tuple(value.shape[p] for p in perm)
        self.graph.values[output] = Value(output, value.dtype, shape)
        times.axis[output] = perm.index(times.axis[name])
        times.sizes[output] = tuple(times.sizes[name][p] for p in perm)
        times.layouts[output] = tuple(times.layouts[name][p] for p in perm)
        self.nodes.append(Node("Transpose", output, [name], [output], {"perm": perm}))
        return output

    def _slice(self, name: str, output: str, axis: int, start: int, end: int) -> None:
        attrs = {"axes": [axis], "starts": [start], "ends": [end], "steps": [1]}
        self.nodes.append(Node("Slice", output, [name], [output], attrs))

    def finish(self, node: Node, lead: int, before: Array | None, held: int = 0) -> None:
        """Append a handled node; frames before the first of its result."""
        reason = self.times.note(node)
        if reason:
            raise Obstacle(reason)
        self.tracks[node.outputs[0]] = Track(lead, held, before if lead else None)
        self.nodes.append(node)


@dataclass
class NewState:
    """A state variable of which the next value is still to be said. ``value`` has the shape that the graph needs."""

    graph: Graph
    nodes: list[Node]
    state: State
    value: str

    def becomes(self, name: str) -> None:
        """What it is after this call, in the shape that the graph has."""
        shape = self.graph.values[self.state.input].shape or ()
        if self.value != self.state.input:
            output = Rewriter(self.graph).fresh(f"{self.state.name}.next")
            self.graph.values[output] = Value(output, F32, shape)
            self.nodes.append(Node("Reshape", output, [name], [output], {"shape": list(shape)}))
            name = output
        else:
            self.graph.values[name].shape = shape
        self.state.output = name


def add_state(
    graph: Graph, nodes: list[Node], name: str, layout: Layout, start: Array | None, source: str
) -> NewState:  # fmt: skip
    """A state variable of a layout without time; where batch is merged with something, it is kept unmerged.

    ``start`` is broadcast over batch. Nodes that bring the state into the graph's shape are appended to `nodes`.
    """
    merged = any(Sym.BATCH in atoms and len(atoms) > 1 for atoms in layout)
    whole_axes = tuple(Sym.BATCH if Sym.BATCH in atoms else math.prod(int(a) for a in atoms) for atoms in layout)
    dims = dims_of(layout) if merged else whole_axes
    graph.values[name] = Value(name, F32, dims)
    init = None
    if start is not None and start.any():
        whole = np.broadcast_to(start, [math.prod(1 if isinstance(a, Sym) else a for a in atoms) for atoms in layout])
        init = np.ascontiguousarray(whole.reshape([1 if d is Sym.BATCH else int(d) for d in dims]), np.float32)
    state = State(name, name, "", init, source)
    graph.states.append(state)
    if not merged:
        return NewState(graph, nodes, state, name)
    value = f"{name}.merged"
    graph.values[value] = Value(value, F32, None)
    shape = [-1 if Sym.BATCH in atoms else math.prod(int(a) for a in atoms) for atoms in layout]
    nodes.append(Node("Reshape", value, [name], [value], {"shape": shape}))
    return NewState(graph, nodes, state, value)


# ---- operators along time: True if they were handled ----


def _copy(node: Node) -> Node:
    return Node(node.op, node.name, list(node.inputs), list(node.outputs), dict(node.attrs), node.domain)


def _frames(axis: int, start: int, end: int | None) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, end))


def _window(s: Streamer, node: Node) -> bool:
    """Conv and pooling (a result frame from the window's frames), ConvTranspose (spread over them)."""
    x, attrs = node.inputs[0], node.attrs
    spatial = len(attrs["kernel_shape"])
    k = s.times.axis[x] - (1 if attrs.get("channels_last") else 2)
    if not 0 <= k < spatial or s.times.merged(x):
        return False
    kernel, stride = int(attrs["kernel_shape"][k]), int(attrs["strides"][k])
    front, back = (int(p) for p in attrs["pads"][k::spatial])
    if kernel == 1 and stride == 1 and not front and not back:
        return False
    if stride != 1:
        raise Obstacle(f"a stride of {stride} over time")
    reach = (kernel - 1) * int(attrs["dilations"][k])
    node = _copy(node)
    node.attrs["pads"] = list(attrs["pads"])
    track = s.tracks[x]
    if track.held:
        if front or back or node.op == "ConvTranspose" or track.held < reach:
            raise Obstacle(f"a kernel over {reach + 1} frames does not fit a state of {track.held} frames")
        s.finish(node, 0, None, track.held - reach)
    elif node.op == "ConvTranspose":
        _spread(s, node, k, reach, front)
    else:
        _gather_window(s, node, k, reach, front, back)
    return True


def _gather_window(s: Streamer, node: Node, k: int, reach: int, front: int, back: int) -> None:
    x, axis = node.inputs[0], s.times.axis[node.inputs[0]]
    track, pads = s.tracks[x], node.attrs["pads"]
    if node.op == "AveragePool" and front and not node.attrs.get("count_include_pad", 0):
        raise Obstacle("its first windows have fewer frames than the others (count_include_pad=0)")
    lead = track.lead + front - reach
    if lead < 0:
        kernel = node.attrs["kernel_shape"][k]
        looks = f"a kernel of {kernel} over time with pads [{front}, {back}]"
        raise Obstacle(f"{looks} looks {-lead} frame{'s' * (lead < -1)} into the future")
    padding = np.full(
        _with(s._shape_without_time(x), axis, front), -np.inf if node.op == "MaxPool" else 0.0, np.float32
    )
    before = np.concatenate([padding, s._first(x, track.lead)], axis)
    pads[k] = pads[k + len(pads) // 2] = 0
    made = None
    if lead:
        constants = [s.graph.constants.get(n) for n in node.inputs[1:]]
        made = evaluate_node(node, [before, *constants])[0].astype(np.float32)
    if reach:
        source = _source(node, reach)
        node.inputs[0] = _tail(s, node, before[_frames(axis, lead, None)], source)
    s.finish(node, lead, made)


def _source(node: Node, reach: int) -> str:
    return f"the last {f'{reach} frames' if reach > 1 else 'frame'} before {node.op} '{node.name}'"


def _tail(s: Streamer, node: Node, start: Array, source: str) -> str:
    """The operand of a window with the frames before it in front.

    They are joined with the channels last, as the runtime wants them: so the Transposes cancel with those that
    `channels_last` puts around the node.
    """
    x, rank = node.inputs[0], start.ndim
    last, first = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
    if node.attrs.get("channels_last"):
        return s.history(f"{node.name}.tail", x, start, source)
    moved = s.transposed(x, f"{node.name}.tail.frames", last)
    joined = s.history(f"{node.name}.tail", moved, start.transpose(last), source)
    return s.transposed(joined, f"{node.name}.tail.operand", first)


def _with(shape: list[int], axis: int, count: int) -> list[int]:
    return [count if i == axis else d for i, d in enumerate(shape)]


def _spread(s: Streamer, node: Node, k: int, reach: int, front: int) -> None:
    """A frame adds to `reach` frames after it: with that many frames before it, its own frame is complete."""
    x, axis = node.inputs[0], s.times.axis[node.inputs[0]]
    track, pads = s.tracks[x], node.attrs["pads"]
    padding = node.attrs.get("output_padding") or []
    if padding and padding[k]:
        raise Obstacle("output_padding over time")
    lead = track.lead - front
    if lead < 0:
        raise Obstacle(f"cutting its first {front} frame{'s' * (front > 1)} looks into the future")
    known = s._first(x, track.lead)
    pads[k], pads[k + len(pads) // 2] = front, reach
    made = None
    if lead:
        constants = [s.graph.constants.get(n) for n in node.inputs[1:]]
        made = evaluate_node(node, [known, *constants])[0].astype(np.float32)
    pads[k] = reach
    zeros = np.zeros(_with(s._shape_without_time(x), axis, reach), np.float32)
    start = np.concatenate([zeros, known], axis)[_frames(axis, track.lead, None)]
    source = _source(node, reach)
    if reach:
        node.inputs[0] = _tail(s, node, start, source)
    s.finish(node, lead, made)


def _pad(s: Streamer, node: Node) -> bool:
    x, axis = node.inputs[0], s.times.axis[node.inputs[0]]
    pads = list(node.attrs["pads"])
    front, back = pads[axis], pads[axis + len(pads) // 2]
    if not front and not back:
        return False
    if node.attrs["mode"] != "constant":
        raise Obstacle(f"{node.attrs['mode']} padding over time")
    track = s.tracks[x]
    if track.held or s.times.merged(x) or min(front, back) < 0:
        raise Obstacle("pads time")
    node = _copy(node)
    pads[axis + len(pads) // 2] = 0
    before = evaluate_node(Node("Pad", "", [], [], {**node.attrs, "pads": list(pads)}), [s._first(x, track.lead)])[0]
    pads[axis] = 0
    node.attrs["pads"] = pads
    if not any(pads):
        node.op, node.attrs = "Identity", {}
    s.finish(node, track.lead + front, before.astype(np.float32))
    return True


def _concat(s: Streamer, node: Node) -> bool:
    """Constants before and behind are padding; a state in front is a cache."""
    timed = [n for n in node.inputs if n in s.tracks and s.times.axis[n] == node.attrs["axis"]]
    if not timed or s.times.merged(timed[0]):
        return False
    if len(timed) > 1:
        raise Obstacle("joins two sequences along time")
    x, axis, at = timed[0], node.attrs["axis"], node.inputs.index(timed[0])
    track, front = s.tracks[x], node.inputs[:at]
    arrays = [s.constant(n) for n in front]
    if all(a is not None for a in arrays):
        if track.held:
            raise Obstacle("pads time")
        shape = s._shape_without_time(x)
        known = [np.broadcast_to(a, _with(shape, axis, a.shape[axis])) for a in arrays if a is not None]
        before = np.concatenate([*known, s._first(x, track.lead)], axis).astype(np.float32)
        s.finish(Node("Identity", node.name, [x], list(node.outputs)), before.shape[axis], before)
        return True
    states = {v.input for v in s.graph.states}
    if track.lead or track.held or node.inputs[at + 1 :] or not all(comes_from(s.graph, n, states) for n in front):
        raise Obstacle("joins along time")
    held = [s.times.sizes[n][axis] for n in front]
    if any(size is None or size.time or size.batch for size in held):
        raise Obstacle("joins along time")
    s.finish(_copy(node), 0, None, sum(size.factor for size in held if isinstance(size, Size)))
    return True


def _slice(s: Streamer, node: Node) -> bool:
    x, axis = node.inputs[0], s.times.axis[node.inputs[0]]
    if axis not in node.attrs["axes"]:
        return False
    at = node.attrs["axes"].index(axis)
    start, end, step = (int(node.attrs[what][at]) for what in ("starts", "ends", "steps"))
    track = s.tracks[x]
    if step != 1 or s.times.merged(x):
        raise Obstacle("selects frames by number")
    if start < 0 and end == INT32_MAX:
        if not s.ends_now(x) or -start > max(track.held, 1):
            raise Obstacle("selects frames by number")
        reason = s.times.note(node)
        if reason:
            raise Obstacle(reason)
        s.nodes.append(_copy(node))
        return True
    if start < 0 or (end >= 0 and end != INT32_MAX):
        raise Obstacle("selects frames by number")
    if track.held:
        if end != INT32_MAX or start > track.held:
            raise Obstacle("selects frames by number")
        s.finish(_copy(node), 0, None, track.held - start)
        return True
    if start > track.lead:
        ahead = start - track.lead
        raise Obstacle(f"leaving out the first {start} looks {ahead} frame{'s' * (ahead > 1)} into the future")
    node = _copy(node)
    node.attrs = {what: [v for i, v in enumerate(values) if i != at] for what, values in node.attrs.items()}
    before = s._first(x, track.lead)[_frames(axis, start, None)]
    if node.attrs["axes"]:
        before = evaluate_node(node, [before])[0].astype(np.float32)
    else:
        node.op, node.attrs = "Identity", {}
    s.finish(node, track.lead - start, before)
    return True


Handler: TypeAlias = "Callable[[Streamer, Node], bool]"
_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "MaxPool", "AveragePool"), _window),
    "Pad": _pad,
    "Concat": _concat,
    "Slice": _slice,
}
