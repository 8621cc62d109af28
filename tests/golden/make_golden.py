"""Makes the golden models: tiny, seeded, one for each path through the kernels, and the hashes they give everywhere.

    cc -O2 -Isrc_c/include -o build/golden tests/c/golden.c $(find src_c -name '*.c')
    python tests/golden/make_golden.py build/golden     # only after a deliberate change of the bits or of the format

The files are committed: a later version must read them and give the same hashes on every instruction set.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from rnnrt.converters import ir, pack, quantize, write

HERE = Path(__file__).parent
T, B = ir.Sym.TIME, ir.Sym.BATCH
Made = tuple[ir.Graph, str]


def _weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(-0.6, 0.6, shape).astype(np.float32)


def _recurrent(
    op: str,
    inputs: int,
    hidden: int,
    *,
    seed: int,
    gates: int,
    directions: int = 1,
    stream: bool = True,
    **attrs: object,
) -> ir.Graph:
    """X [T, B, inputs] -> Y [T, directions, B, hidden], with lifted states where it streams."""
    rng = np.random.default_rng(seed)
    graph = ir.Graph(name=op, inputs=[ir.Value("x", np.dtype("float32"), (T, B, inputs))])
    graph.constants = {
        "W": _weights(rng, directions, gates * hidden, inputs),
        "R": _weights(rng, directions, gates * hidden, hidden),
        "B": _weights(rng, directions, 2 * gates * hidden),
    }
    states = ["h", "c"] if op == "LSTM" else ["h"]
    node_inputs = ["x", "W", "R", "B"]
    outputs = ["y"]
    if stream:
        node_inputs += ["", *states]
        outputs += [s + "_next" for s in states]
        graph.states = [ir.State(s, s, s + "_next") for s in states]
        for s in states:
            for name in (s, s + "_next"):
                graph.values[name] = ir.Value(name, np.dtype("float32"), (directions, B, hidden))
    else:
        graph.streamable, graph.not_streamable_because = False, f"{op} 'cell': direction is not forward"
    graph.nodes = [ir.Node(op, "cell", node_inputs, outputs, {"hidden_size": hidden, **attrs})]
    graph.outputs = [ir.Value("y", np.dtype("float32"), (T, directions, B, hidden))]
    graph.values["y"] = graph.outputs[0]
    return graph


def _layers(seed: int) -> ir.Graph:
    """X [T, 40, 1] through Conv, Gemm, LayerNormalization, elementwise maths, Softmax: what is not recurrent."""
    rng = np.random.default_rng(seed)
    f32 = np.dtype("float32")
    graph = ir.Graph(name="layers", inputs=[ir.Value("x", f32, (T, 40, 1))])
    graph.constants = {
        "conv.w": _weights(rng, 19, 1, 5),
        "conv.b": _weights(rng, 19),
        "fc.w": _weights(rng, 33, 19 * 20),
        "fc.b": _weights(rng, 33),
        "ln.scale": _weights(rng, 33),
        "ln.bias": _weights(rng, 33),
    }
    node = ir.Node
    conv: dict[str, object] = {"kernel_shape": [5], "strides": [2], "dilations": [1], "pads": [2, 2]}
    conv |= {"channels_last": 1, "activation": "Relu"}
    graph.nodes = [
        node("Conv", "conv", ["x", "conv.w", "conv.b"], ["a"], conv),
        node("Reshape", "flat", ["a"], ["b"], {"shape": [ir.Sym.TIME, 19 * 20]}),
        node("Gemm", "fc", ["b", "fc.w", "fc.b"], ["c"], {"transB": 1, "activation": "Tanh"}),
        node("LayerNormalization", "ln", ["c", "ln.scale", "ln.bias"], ["d"], {"axis": -1, "epsilon": 1e-5}),
        node("Exp", "exp", ["d"], ["e"]),
        node("Sqrt", "sqrt", ["e"], ["f"]),
        node("Log", "log", ["f"], ["g"]),
        node("Add", "add", ["g", "c"], ["h"]),
        node("Sigmoid", "sigmoid", ["h"], ["i"]),
        node("Softmax", "softmax", ["i"], ["y"], {"axis": -1}),
    ]
    shapes: dict[str, ir.Shape] = {"a": (T, 20, 19), "b": (T, 380)}
    shapes.update(dict.fromkeys("cdefghiy", (T, 33)))
    graph.values = {name: ir.Value(name, f32, shape) for name, shape in shapes.items()}
    graph.outputs = [graph.values["y"]]
    return graph


def _choices(seed: int) -> ir.Graph:
    """X [T, 37] through rounding, Erf, Sin, Cos, Atan, comparisons, Where, Cast, ArgMax and integer arithmetic."""
    rng = np.random.default_rng(seed)
    f32, i64, truth = np.dtype("float32"), np.dtype("int64"), np.dtype("bool")
    graph = ir.Graph(name="choices", inputs=[ir.Value("x", f32, (T, 37))])
    graph.constants = {
        "table": _weights(rng, 37, 5),
        "scale": np.linspace(-900, 900, 37).astype(np.float32),
        "three": np.asarray(3, np.int64),
    }
    node = ir.Node
    graph.nodes = [
        node("Mul", "mul", ["x", "scale"], ["a"]),
        *(node(op, op.lower(), ["a"], [op]) for op in ("Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Atan")),
        node("Erf", "erf", ["x"], ["Erf"]),
        node("Less", "less", ["Sin", "Cos"], ["lt"]),
        node("LessOrEqual", "le", ["Floor", "Round"], ["le"]),
        node("Equal", "equal", ["lt", "le"], ["eq"]),
        node("Where", "where", ["eq", "Atan", "Erf"], ["w"]),
        node("Cast", "cast", ["Ceil"], ["i"], {"to": 7}),
        node("Mul", "times", ["i", "three"], ["j"]),
        node("Sub", "minus", ["j", "i"], ["k"]),
        node("ReduceMax", "most", ["k"], ["m"], {"axes": [1], "keepdims": 1}),
        node("Div", "div", ["k", "three"], ["d"]),
        node("Min", "least", ["d", "m"], ["n"]),
        node("Cast", "float", ["n"], ["f"], {"to": 1}),
        node("ArgMax", "best", ["w"], ["b"], {"axis": 1, "keepdims": 0, "select_last_index": 1}),
        node("Gather", "gather", ["table", "b"], ["g"], {"axis": 0}),
        node("Add", "add", ["f", "Sign"], ["s"]),
        node("Concat", "join", ["w", "s", "g"], ["y"], {"axis": 1}),
    ]
    types = {**dict.fromkeys(("lt", "le", "eq"), truth), **dict.fromkeys("ijkmdnb", i64)}
    shapes: dict[str, ir.Shape] = {"m": (T, 1), "b": (T,), "g": (T, 5), "y": (T, 79)}
    for made in graph.nodes:
        name = made.outputs[0]
        graph.values[name] = ir.Value(name, types.get(name, f32), shapes.get(name, (T, 37)))
    graph.outputs = [graph.values["y"], graph.values["b"]]
    return graph


def _small(op: str, inputs: int, *, seed: int) -> ir.Graph:
    """X [T, B, inputs] through 64 recurrent units and dense layers: what runs on a microcontroller.

    A GRU between two layers of 64 with a gain at the end, as in NSNet2; an LSTM with 12 words to choose from.
    """
    gru = op == "GRU"
    graph = _recurrent(
        op, 64 if gru else inputs, 64, seed=seed, gates=3 if gru else 4, **({"linear_before_reset": 1} if gru else {})
    )
    rng = np.random.default_rng(seed + 100)
    f32, classes = np.dtype("float32"), 64 if gru else 12
    graph.constants |= {"out.w": _weights(rng, classes, 64), "out.b": _weights(rng, classes)}
    cell, node = graph.nodes[0], ir.Node
    last = [node("Squeeze", "squeeze", ["y"], ["s"], {"axes": [1]})]
    if gru:
        graph.constants |= {"in.w": _weights(rng, 64, inputs), "in.b": _weights(rng, 64)}
        first = [node("Gemm", "in", ["x", "in.w", "in.b"], ["a"], {"transB": 1, "activation": "Relu"})]
        cell.inputs[0] = "a"
        last.append(node("Gemm", "out", ["s", "out.w", "out.b"], ["z"], {"transB": 1, "activation": "Sigmoid"}))
    else:
        first = []
        last.append(node("Gemm", "out", ["s", "out.w", "out.b"], ["logits"], {"transB": 1}))
        last.append(node("Softmax", "softmax", ["logits"], ["z"], {"axis": -1}))
    graph.nodes = [*first, cell, *last]
    graph.inputs = [ir.Value("x", f32, (T, B, inputs))]
    shapes: dict[str, ir.Shape] = {"a": (T, B, 64), "s": (T, B, 64), "logits": (T, B, classes), "z": (T, B, classes)}
    graph.values |= {name: ir.Value(name, f32, shape) for name, shape in shapes.items()}
    graph.outputs = [graph.values["z"]]
    return graph


def models() -> dict[str, Made]:
    """Name -> (graph, quantize mode)."""
    return {
        "gru_f32": (_recurrent("GRU", 7, 17, seed=1, gates=3, linear_before_reset=1), "float"),
        "gru_s8": (_recurrent("GRU", 33, 65, seed=2, gates=3, linear_before_reset=1), "int8"),
        "gru_lbr0_s8": (_recurrent("GRU", 5, 16, seed=3, gates=3, linear_before_reset=0), "int8"),
        "lstm_f32": (_recurrent("LSTM", 3, 33, seed=4, gates=4), "float"),
        "lstm_s8": (_recurrent("LSTM", 16, 32, seed=5, gates=4), "int8"),
        "rnn_bidirectional_s8": (
            _recurrent("RNN", 9, 20, seed=6, gates=1, directions=2, stream=False, direction="bidirectional"),
            "int8",
        ),
        "gru_f16": (_recurrent("GRU", 13, 33, seed=9, gates=3, linear_before_reset=1), "f16"),
        "gru_s4": (_recurrent("GRU", 33, 65, seed=10, gates=3, linear_before_reset=1), "int4"),
        "lstm_s4": (_recurrent("LSTM", 64, 31, seed=11, gates=4), "int4"),
        "layers_f16": (_layers(12), "f16"),
        "layers_s4": (_layers(13), "int4"),
        "layers_f32": (_layers(7), "float"),
        "layers_s8": (_layers(8), "int8"),
        "choices_f32": (_choices(9), "float"),
        "denoiser_s8": (_small("GRU", 64, seed=9), "int8"),
        "keyword_s8": (_small("LSTM", 40, seed=10), "int8"),
    }


def to_bytes(graph: ir.Graph, mode: str) -> bytes:
    """The model file."""
    return write.to_bytes(pack.pack(graph, quantize.plan(graph, mode)))


def main() -> None:
    """Writes the models and, with the program given (tests/c/golden.c built for this machine), their hashes."""
    program = sys.argv[1]
    hashes: dict[str, list[str]] = {}
    for name, (graph, mode) in models().items():
        path = HERE / f"{name}.rnnrt"
        path.write_bytes(to_bytes(graph, mode))
        lines = subprocess.run([program, str(path)], check=True, capture_output=True, text=True).stdout.splitlines()
        found = {tuple(line.split()[1:]) for line in lines}
        if len(found) != 1:
            raise SystemExit(f"{name}: instruction sets differ: {lines}")
        hashes[name] = list(found.pop())
    (HERE / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
