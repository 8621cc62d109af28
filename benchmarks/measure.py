"""Times one step of real models and of single layers beside onnxruntime, interleaved, accuracy checked.

python benchmarks/measure.py [--json results.json] [--only nsnet2,dtln] [--seconds 3]    prints the tables
python benchmarks/measure.py --readme README.md --page docs/speed.md     measures all and writes the tables there
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rnnrt.converters.convert import convert

sys.path.insert(0, str(Path(__file__).resolve().parent))

import readme_tables
import real_models
from real_models import Case, Part

import rnnrt
from rnnrt.bench import Contender, host, interleave
from rnnrt.contenders import Feed, OrtBound, OrtModel, OrtRun, StreamContender, Values, side_by_side

F16_FROM = 1_000_000  # bytes of the f32 model: smaller ones stay in a core's cache anyway
PRECISIONS = ("int8", "f16", "f32")
MIN_SQNR_DB = {"int8": 5.0, "f16": 25.0, "f32": 80.0}  # below it something else is computed, and its time means nothing
GROUPS = ("nsnet2", "silero", "dtln", "resemblyzer", "layers")


class Calls:
    """A contender that does its whole work in every call."""

    def __init__(self, name: str, call: Callable[[], object]) -> None:
        self.name, self._call = name, call

    def slice(self, steps: int) -> list[int]:
        """Nanoseconds of each of ``steps`` calls."""
        taken, call = [], self._call
        for _ in range(steps):
            begin = time.perf_counter_ns()
            call()
            taken.append(time.perf_counter_ns() - begin)
        return taken


def cases(wanted: Sequence[str], sizes: tuple[int, ...], folder: Path) -> Iterator[tuple[str, Case]]:
    """What is timed, in the tables' order, with the table it belongs to."""
    found: dict[str, Callable[[], Iterator[Case]]] = {
        "nsnet2": real_models.nsnet2,
        "silero": real_models.silero,
        "dtln": real_models.dtln,
        "resemblyzer": lambda: real_models.resemblyzer(folder),
        "layers": lambda: real_models.layers(sizes, folder),
    }
    for group in GROUPS:
        if group in wanted:
            for case in found[group]():
                yield ("layers" if group == "layers" else "models"), case


def quantized(source: Path, folder: Path) -> tuple[Path | None, str]:
    """What onnxruntime's quantize_dynamic makes of a file (None: nothing), and what it quantizes and leaves."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = folder / f"{source.stem}-onnxruntime-int8.onnx"
    logging.disable(logging.WARNING)  # it recommends to simplify the file first
    try:
        # Not Conv: there is no ConvInteger for s8 weights in onnxruntime.
        quantize_dynamic(source, target, op_types_to_quantize=["MatMul", "LSTM"], weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
    ops = {node.op_type for node in onnx.load(target).graph.node}
    changed = [old for old, new in (("LSTM", "DynamicQuantizeLSTM"), ("MatMul", "MatMulInteger")) if new in ops]
    left = sorted(ops & {"GRU", "LSTM", "RNN", "Conv", "MatMul", "Gemm"})
    if not changed:
        return None, "nothing"
    return target, ", ".join(changed) + (f", not {', '.join(left)}" if left else "")


def sqnr_db(given: Values, reference: Values) -> float:
    """Signal to quantization noise; inf where nothing differs."""
    noise = float(np.sum((given - reference) ** 2))
    return float(10 * np.log10(np.sum(reference**2) / noise)) if noise else float("inf")


def _onnxruntime_contenders(
    part: Part, whole: bool, source: Path, suffix: str, feeds: list[Feed], bound: bool
) -> tuple[OrtModel, list[Contender]]:
    other = OrtModel.open(source, feeds[0], part.states, part.constants)
    if whole:
        (name,) = feeds[0]
        feed = {name: np.concatenate([f[name] for f in feeds])}
        return other, [Calls(f"onnxruntime {suffix}", lambda: other.session.run(None, feed))]
    run = OrtRun(other, feeds)
    run.name = f"onnxruntime {suffix}"
    return other, [run, *([OrtBound(other, feeds)] if bound else [])]


def prepare(part: Part, whole: bool, folder: Path) -> tuple[list[Contender], dict[str, Any]]:
    """Contenders of one file, the first of each name; how exact those are that are not onnxruntime's f32."""
    contenders: list[Contender] = []
    about: dict[str, Any] = {"error": {}, "sqnr_db": {}}

    def compare(name: str, found: dict[str, tuple[Values, Values]]) -> None:
        pairs = list(found.values())
        errors = [np.max(np.abs(a - b) / np.maximum(1, np.abs(b))) for a, b in pairs]
        about["error"][name] = float(max(errors))
        about["sqnr_db"][name] = min(sqnr_db(a, b) for a, b in pairs)

    files = {}
    for mode in PRECISIONS:
        target = folder / f"{part.source.stem}-{mode}.rnnrt"
        kept = ("keep_float",) if mode == "f32" else ()  # where all layers are f32, it is refused
        options = {name: value for name, value in part.options.items() if name not in kept}
        report = convert(part.source, target, quantize=None if mode == "f32" else mode, verify=False, **options)
        files[mode] = (target, report.size)
    for mode, (target, _) in files.items():
        if mode == "f16" and files["f32"][1] < F16_FROM:
            continue
        model = rnnrt.load(target)
        info = model.inputs[0]
        shape = tuple(1 if isinstance(d, str) else d for d in info.shape)
        feeds: list[Feed] = [{info.name: frame.reshape(shape)} for frame in part.frames]
        if not contenders:
            other, theirs = _onnxruntime_contenders(part, whole, part.source, "f32", feeds, not whole)
        compare(f"rnnrt {mode}", side_by_side(model, other, feeds))
        if not about["sqnr_db"][f"rnnrt {mode}"] >= MIN_SQNR_DB[mode]:
            raise ValueError(f"{part.source.name} as {mode} is wrong: {about}")
        if whole:
            x = part.frames.reshape(len(feeds), *shape[1:])
            contenders.append(Calls(f"rnnrt {mode}", lambda model=model, x=x: model(x)))  # type: ignore[misc]
        else:
            contenders.append(StreamContender(f"rnnrt {mode}", model, feeds))
    contenders += theirs
    path, about["quantize_dynamic"] = quantized(part.source, folder)
    if path:
        smaller, int8 = _onnxruntime_contenders(part, whole, path, "int8", feeds, False)
        contenders += int8
        exact, lossy = (side_by_side(model, session, feeds) for session in (other, smaller))
        compare("onnxruntime int8", {name: (lossy[name][1], exact[name][1]) for name in exact})
    return contenders, about


def measure(table: str, case: Case, folder: Path, seconds: float) -> dict[str, Any]:
    """One row: microseconds by contender (of a case of several parts their sum), errors (the worst part's)."""
    parts = [prepare(part, case.whole, folder) for part in case.parts]
    timings = iter(interleave([contender for contenders, _ in parts for contender in contenders], seconds))
    row: dict[str, Any] = {"table": table, "name": case.name, "p50_us": {}, "p99_us": {}, "error": {}, "sqnr_db": {}}
    for contenders, about in parts:
        for _ in contenders:
            timing = next(timings)
            for key, value in (("p50_us", timing.p50_us), ("p99_us", timing.p99_us)):
                row[key][timing.name] = row[key].get(timing.name, 0.0) + value
        for key, worst in (("error", max), ("sqnr_db", min)):
            for name, value in about[key].items():
                row[key][name] = worst(value, row[key].get(name, value))
        row["quantize_dynamic"] = about["quantize_dynamic"]
    return row


def main() -> None:
    """Measure, write JSON, rewrite the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--readme", type=Path, help="gets a few rows between its markers")
    parser.add_argument("--page", type=Path, help="gets the whole tables between its markers")
    parser.add_argument("--seconds", type=float, default=3.0, help="per contender")
    parser.add_argument("--only", default=",".join(GROUPS), help="default: %(default)s")
    parser.add_argument("--sizes", default="32,128,256,512,1024", help="of the layers; default: %(default)s")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if not set(wanted) <= set(GROUPS):
        parser.error(f"--only: expected some of {','.join(GROUPS)}, got {options.only}")
    if options.readme and set(wanted) != set(GROUPS):
        parser.error("--readme needs all groups, not --only")
    import onnxruntime

    measured: dict[str, Any] = {
        "schema": "rnnrt.benchmark/2",
        "machine": host(),
        "versions": {"rnnrt": rnnrt.__version__, "onnxruntime": onnxruntime.__version__, "isa": rnnrt.isas()[0]},
        "results": [],
    }
    with tempfile.TemporaryDirectory() as name:
        for table, case in cases(wanted, tuple(int(n) for n in options.sizes.split(",")), Path(name)):
            measured["results"].append(measure(table, case, Path(name), options.seconds))
            print(f"{case.name}: done", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    text = readme_tables.tables(measured)
    if options.readme:
        readme_tables.replace(options.readme, readme_tables.summary(measured))
    if options.page:
        readme_tables.replace(options.page, text)
    print(text)


if __name__ == "__main__":
    main()
