"""One seeded recurrent layer as the bytes of a .rnnrt file: what ``bench --compare`` times. Needs no onnx."""

from __future__ import annotations

import zlib

import numpy as np

from rnnrt.compare import GATES


def build_cell(cell: str, input_size: int, hidden: int, quantize: str | None, seed: int) -> bytes:
    """Convert one layer, x [T, B, input_size] -> y [T, B, hidden], as `rnnrt.compare.BuildCell` says.

    Weights are uniform in +-1/sqrt(hidden), as torch initialises them; equal arguments give equal bytes.
    """
    from rnnrt.converters import pack, write
    from rnnrt.converters import quantize as precision
    from rnnrt.converters.ir import Graph, Node, State, Sym, Value

    f32, bound = np.dtype(np.float32), hidden**-0.5
    rng = np.random.default_rng((seed, zlib.crc32(cell.encode()), input_size, hidden))
    rows = GATES[cell] * hidden
    shapes = {"W": (1, rows, input_size), "R": (1, rows, hidden), "B": (1, 2 * rows)}
    finals = [f"Y_{letter}" for letter in ("hc" if cell == "lstm" else "h")]
    states = [State(letter, f"initial_{letter}", f"Y_{letter}") for letter in ("hc" if cell == "lstm" else "h")]
    attributes = {"hidden_size": hidden} | ({"linear_before_reset": 1} if cell == "gru" else {})
    layer_inputs = ["x", "W", "R", "B", "", *(state.input for state in states)]
    graph = Graph(
        name=f"{cell} {input_size},{hidden}",
        inputs=[Value("x", f32, (Sym.TIME, Sym.BATCH, input_size))],
        outputs=[Value("y", f32, (Sym.TIME, Sym.BATCH, hidden))],
        nodes=[
            Node(cell.upper(), cell, layer_inputs, ["Y", *finals], attributes),
            Node("Squeeze", "directions", ["Y"], ["y"], {"axes": [1]}),
        ],
        constants={name: rng.uniform(-bound, bound, shape).astype(f32) for name, shape in shapes.items()},
        states=states,
        values={name: Value(name, f32, (1, Sym.BATCH, hidden)) for name in finals},
    )
    for state in states:
        graph.values[state.input] = Value(state.input, f32, (1, Sym.BATCH, hidden))
    layers = precision.plan(graph, quantize or "float")
    return write.to_bytes(pack.pack(graph, layers), {"layers": layers.report()})
