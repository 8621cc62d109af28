"""rnnrt's JavaScript package beside onnxruntime-web, under Node: WebAssembly with SIMD, one thread, one frame a step.

    python benchmarks/web.py --readme js/README.md      # writes the table between its markers
    python benchmarks/web.py                            # prints it

web/run.mjs times; here models are converted, frames written and onnxruntime-web, pinned in web/package.json, is
installed by npm into an ignored folder.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import real_models
from rnnrt.converters.convert import convert

import build_js
from marked_table import write_between
from rnnrt.bench import host

FOLDER = real_models.ROOT / "build" / "bench-web"
BEGIN, END = "<!-- web:begin -->", "<!-- web:end -->"
SIZES = (128, 512)  # of single layers
ORT, F32, INT8 = "onnxruntime-web f32", "rnnrt f32", "rnnrt int8"


def parts() -> Iterator[tuple[str, real_models.Part]]:
    """What is timed."""
    for case in (*real_models.nsnet2(), *real_models.silero()):
        if "NSNet2 16" in case.name or "op15" in case.name:
            yield case.name, case.parts[0]
    for case in real_models.dtln():
        for number, part in enumerate(case.parts, 1):
            yield f"DTLN, network {number}, 8 ms", part
    for case in real_models.layers(SIZES, FOLDER):
        yield case.name, case.parts[0]


def spec(name: str, part: real_models.Part) -> dict[str, Any]:
    """Convert a model, write its frames, and tell run.mjs where all is."""
    stem = FOLDER / name.replace(" ", "_").replace(",", "")
    rnnrt_files = {}
    for precision, quantize in (("f32", None), ("int8", "int8")):
        rnnrt_files[precision] = f"{stem}-{precision}.rnnrt"
        convert(part.source, rnnrt_files[precision], quantize=quantize, **part.options)
    np.ascontiguousarray(part.frames, "<f4").tofile(f"{stem}.f32")
    session = onnxruntime.InferenceSession(str(part.source), providers=["CPUExecutionProvider"])
    states = dict(part.states)
    (x,) = (i for i in session.get_inputs() if i.name not in states and i.name not in part.constants)
    shapes = {i.name: [d if isinstance(d, int) else 1 for d in i.shape] for i in session.get_inputs()}
    size = int(np.prod(part.frames.shape[1:]))
    if int(np.prod(shapes[x.name])) != size:  # an axis without a number that is not 1: Silero's samples
        shapes[x.name] = [1, size]
    return {
        "name": name,
        "onnx": str(part.source),
        "rnnrt": rnnrt_files,
        "frames": f"{stem}.f32",
        "input": {"name": x.name, "shape": shapes[x.name]},
        "states": [{"input": i, "output": o, "shape": shapes[i]} for i, o in states.items()],
        "constants": part.constants,
    }


def run(seconds: float) -> dict[str, Any]:
    """Build, convert, install, time.

    Raises
    ------
    subprocess.CalledProcessError
        npm or Node have failed, or an output is wrong.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    build_js.build(FOLDER / "rnnrt")
    for name in ("package.json", "run.mjs"):
        shutil.copy(Path(__file__).parent / "web" / name, FOLDER)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    subprocess.run(npm, cwd=FOLDER, check=True, stdout=subprocess.DEVNULL)
    (FOLDER / "cases.json").write_text(json.dumps([spec(*part) for part in parts()]), encoding="utf-8")
    command = ["node", "run.mjs", "cases.json", str(seconds)]
    done = subprocess.run(command, cwd=FOLDER, check=True, stdout=subprocess.PIPE, text=True)
    return {**json.loads(done.stdout), "host": host()}


def gzipped(*paths: Path) -> int:
    """Bytes of files, each gzipped."""
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths)


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    web = FOLDER / "node_modules" / "onnxruntime-web" / "dist"
    theirs = gzipped(web / "ort.wasm.min.mjs", web / "ort-wasm-simd-threaded.mjs", web / "ort-wasm-simd-threaded.wasm")
    ours = gzipped(FOLDER / "rnnrt" / "rnnrt.js", FOLDER / "rnnrt" / "rnnrt.wasm")
    cpu, node = result["host"]["cpu"], result["node"].removeprefix("v")
    lines = [
        f"{cpu}, Node {node}, onnxruntime-web {result['onnxruntime']} (WebAssembly, one thread);",
        "median us per step, batch 1, states carried along, contenders in turns within one run.",
        f"To load: rnnrt {ours / 1000:.0f} kB gzipped, onnxruntime-web {theirs / 1e6:.1f} MB.",
        "",
        "| model | rnnrt int8 | rnnrt f32 | onnxruntime-web | int8 faster | f32 faster | f32 error | int8 SQNR dB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for case in result["cases"]:
        p50 = {name: found["p50"] for name, found in case["microseconds"].items()}
        lines.append(
            f"| {case['name']} | {p50[INT8]:.3g} | {p50[F32]:.3g} | {p50[ORT]:.3g} | {p50[ORT] / p50[INT8]:.2f} |"
            f" {p50[ORT] / p50[F32]:.2f} | {case['error']:.1e} | {case['sqnr']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure; print the table or write it into a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme", type=Path, help="document with the markers")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each contender of each model")
    given = parser.parse_args()
    made = table(run(given.seconds))
    if given.readme:
        write_between(given.readme, BEGIN, END, made)
    else:
        print(made)


if __name__ == "__main__":
    main()
