"""Times one step of real models and of single layers beside onnxruntime, interleaved, accuracy checked.

python benchmarks/measure.py [--json results.json] [--readme README.md] [--seconds 3] [--only nsnet2,silero,cells]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from rnnrt.converters.convert import convert

import rnnrt
from rnnrt.bench import Contender, host, interleave
from rnnrt.compare import GATES
from rnnrt.contenders import Feed, OrtBound, OrtModel, OrtRun, StreamContender, seeded_feeds

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

import readme_tables  # noqa: E402

import fetch_models  # noqa: E402

FRAMES = 64


@dataclass(frozen=True)
class Case:
    """One model: its ONNX file, and how it is converted and fed."""

    name: str
    source: Path
    states: tuple[tuple[str, str], ...] = ()
    constants: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def layer(cell: str, hidden: int, folder: Path) -> Case:
    """A single layer with explicit state, x [T, 1, hidden] -> y, torch-like seeded weights."""
    rng, bound, rows = np.random.default_rng(hidden), hidden**-0.5, GATES[cell] * hidden
    letters = "hc" if cell == "lstm" else "h"
    shapes = {"W": (1, rows, hidden), "R": (1, rows, hidden), "B": (1, 2 * rows)}
    attributes: dict[str, Any] = {"hidden_size": hidden} | ({"linear_before_reset": 1} if cell == "gru" else {})
    node = helper.make_node(
        cell.upper(),
        ["x", "W", "R", "B", "", *(f"initial_{s}" for s in letters)],
        ["Y", *(f"Y_{s}" for s in letters)],
        **attributes,
    )
    squeeze = helper.make_node("Squeeze", ["Y", "one"], ["y"])
    info = helper.make_tensor_value_info
    state = [1, 1, hidden]
    graph = helper.make_graph(
        [node, squeeze],
        cell,
        [info("x", TensorProto.FLOAT, ["T", 1, hidden]), *(info(f"initial_{s}", 1, state) for s in letters)],
        [info("y", TensorProto.FLOAT, ["T", 1, hidden]), *(info(f"Y_{s}", 1, state) for s in letters)],
        [
            onnx.numpy_helper.from_array(np.array([1]), "one"),
            *(
                onnx.numpy_helper.from_array(rng.uniform(-bound, bound, shape).astype(np.float32), name)
                for name, shape in shapes.items()
            ),
        ],
    )
    path = folder / f"{cell}-{hidden}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return Case(f"{cell.upper()} {hidden}, {hidden}", path, tuple((f"initial_{s}", f"Y_{s}") for s in letters))


def cases(wanted: Sequence[str], folder: Path) -> Iterator[Case]:
    """What is timed, in the table's order."""
    models = ROOT / "models"
    if {"nsnet2", "silero"} & set(wanted):
        fetch_models.fetch(models)
    if "nsnet2" in wanted:
        yield Case("NSNet2, 10 ms of 16 kHz", models / "nsnet2-20ms-baseline.onnx")
    if "silero" in wanted:
        yield Case("Silero VAD (sequence), 32 ms", models / "silero_vad_16k_sequence.onnx", (("h", "hn"), ("c", "cn")))
        options = {"set_values": {"sr": 16000}, "shapes": {"input": (1, 576)}}
        yield Case(
            "Silero VAD (op15), 32 ms",
            models / "silero_vad_16k_op15.onnx",
            (("state", "stateN"),),
            {"sr": 16000},
            options,
        )
    if "cells" in wanted:
        for hidden in (32, 128, 256, 512):
            for cell in ("gru", "lstm"):
                yield layer(cell, hidden, folder)


def whole(model: rnnrt.Model, other: OrtModel, feeds: Sequence[Feed]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first output of all frames, flat, by rnnrt stepping and by onnxruntime carrying its state."""
    info = model.outputs[0]
    ours = np.stack([y[info.name] for y in StreamContender("", model, feeds).outputs()])
    if other.states:
        theirs = OrtRun(other, feeds).outputs()
    else:  # its state is inside the graph: one call over the whole sequence
        axis = model.inputs[0].shape.index("T")
        name = model.inputs[0].name
        theirs = OrtRun(other, [{name: np.concatenate([f[name] for f in feeds], axis)}]).outputs()
    return ours.reshape(-1), np.stack([y[info.name] for y in theirs]).reshape(-1)


def measure(case: Case, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Rows of one model: rnnrt int8, rnnrt f32, onnxruntime run, onnxruntime IO binding."""
    contenders: list[Contender] = []
    errors: list[tuple[float, float] | None] = []
    for name, mode in (("int8", "int8"), ("f32", None)):
        target = folder / f"{case.source.stem}-{name}.rnnrt"
        convert(case.source, target, quantize=mode, **case.options)
        model = rnnrt.load(target)
        feeds = seeded_feeds(model, FRAMES)
        other = OrtModel.open(case.source, feeds[0], case.states, case.constants)
        ours, theirs = (y.astype(np.float64) for y in whole(model, other, feeds))
        noise = np.sum((ours - theirs) ** 2)
        sqnr = 10 * np.log10(np.sum(theirs**2) / noise) if noise else np.inf
        errors.append((float(np.max(np.abs(ours - theirs) / np.maximum(1, np.abs(theirs)))), float(sqnr)))
        contenders.append(StreamContender(f"rnnrt {name}", model, feeds))
    contenders += [OrtRun(other, feeds), OrtBound(other, feeds)]
    errors += [None, None]
    rows = []
    for timing, error in zip(interleave(contenders, seconds), errors, strict=True):
        rows.append(
            {
                "model": case.name,
                "contender": timing.name,
                "p50_us": timing.p50_us,
                "p99_us": timing.p99_us,
                "error": error[0] if error else None,
                "sqnr_db": error[1] if error else None,
            }
        )
    return rows


def main() -> None:
    """Measure, write JSON, rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--readme", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0, help="per contender")
    parser.add_argument("--only", default="nsnet2,silero,cells")
    options = parser.parse_args()
    import onnxruntime

    measured: dict[str, Any] = {
        "schema": "rnnrt.benchmark/1",
        "machine": host(),
        "versions": {"rnnrt": rnnrt.__version__, "onnxruntime": onnxruntime.__version__, "isa": rnnrt.isas()[0]},
        "results": [],
    }
    with tempfile.TemporaryDirectory() as name:
        for case in cases(options.only.split(","), Path(name)):
            measured["results"] += measure(case, Path(name), options.seconds)
            print(f"{case.name}: done", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    text = readme_tables.table(measured)
    if options.readme:
        readme_tables.replace(options.readme, text)
    print(text)


if __name__ == "__main__":
    main()
