"""Times one recurrent layer in every library that is installed, and the load limit of this machine, side by side.

python benchmarks/peers.py [--json docs/benchmarks.json] [--markdown docs/benchmarks.md] [--plot docs/benchmarks.png]
                           [--tensorflow-python PYTHON] [--sizes 16,32 512,512] [--peers rnnrt,limit] [--rounds 9]

Every library runs in its own process, pinned to one CPU. Each round asks every variant of every library in turn for a
slice, so that a busy moment hits all alike; the median of all steps is what counts. First each variant's outputs are
compared with a float64 reference: a wrong one gets no time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import peer_report
import readme_tables
from layers import F64, Layer
from peer_backends import LIBRARIES, MODES, TIME, AbsentError, Peer

from rnnrt.bench import clock_cost_ns, host

HERE = Path(__file__).resolve().parent
SIZES = ("16,32", "128,128", "256,256", "512,512", "1024,1024")
TWO_THREADS_FROM = 1024  # hidden units
ENOUGH_CPU, TRIES = 0.97, 4  # a slice with less of its CPU was disturbed
SLOW_SECONDS, SLOW_ROUNDS = 2.0, 3  # who has had that long after so many rounds waits for the others
MIN_SQNR_DB = 15.0  # int4 has 22; below it is another function


# ---- in a library's process ----


def serve(pipe: Connection, library: str, folder: Path, native: Path | None, cpus: Sequence[int]) -> None:
    """Answer `load` and `slice` until None comes."""
    if cpus:
        os.sched_setaffinity(0, cpus)
    make, threads = LIBRARIES[library]
    try:
        backend = make(folder, native, threads)
    except (ImportError, AbsentError, OSError) as error:
        pipe.send({"absent": f"{type(error).__name__}: {error}"})
        return
    pipe.send({"version": backend.version})
    peers: list[Peer] = []
    while (message := pipe.recv()) is not None:
        try:
            if message[0] == "load":
                layer, mode = message[1:]
                peers = backend.peers(layer, MODES[mode])
                reference = np.load(folder / f"{layer.name}-{MODES[mode].batch or 1}.npy") if peers else None
                pipe.send([_described(peer, reference) for peer in peers])
            else:
                pipe.send(_slice(peers[message[1]], message[2]))
        except AbsentError as error:
            pipe.send(f"absent: {error}")
        except Exception:  # another library's failure: told, and the others go on
            pipe.send(traceback.format_exc(limit=-3))


def _described(peer: Peer, reference: Any) -> dict[str, Any]:
    found = {"name": peer.name, "bytes": peer.bytes, "error": None, "sqnr_db": None}
    if peer.outputs is not None:
        y = np.asarray(peer.outputs(), np.float64)
        found |= accuracy(y, reference[-len(y) :])
    return found


def accuracy(y: F64, reference: F64) -> dict[str, float]:
    """Largest absolute error, and signal to noise in dB."""
    noise = y.reshape(reference.shape) - reference
    power = float(np.square(noise).mean())
    sqnr = float("inf") if power == 0 else float(10 * np.log10(np.square(reference).mean() / power))
    return {"error": float(np.abs(noise).max()), "sqnr_db": sqnr}


def _slice(peer: Peer, seconds: float) -> tuple[list[float], float]:
    """Microseconds of the time steps of a slice, and the share of a CPU it had; one with too little is taken again.

    A few steps that nobody counts come first: other processes had the caches.
    """
    first = peer.contender.slice(1)[0]
    typical = first if first > seconds * 1e8 else statistics.median(peer.contender.slice(5))
    count = min(20_000, max(1, round(seconds * 1e9 / max(typical, 100))))
    clock = clock_cost_ns()
    best: tuple[list[int], float] = ([], -1.0)
    for _ in range(TRIES):
        peer.contender.slice(min(count // 4, 50))
        wall, cpu = time.perf_counter(), time.process_time()
        taken = peer.contender.slice(count)
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
        if share > best[1]:
            best = (taken, share)
        if share >= ENOUGH_CPU:
            break
    return [(ns - clock) / 1e3 / peer.steps for ns in best[0]], best[1]


# ---- in the main process ----


@dataclass
class Process:
    """A library at work."""

    name: str
    pipe: Connection
    process: Any
    about: dict[str, Any]

    def ask(self, message: tuple[Any, ...]) -> Any:
        """Its answer; the reason as text where it failed."""
        try:
            self.pipe.send(message)
            return self.pipe.recv()
        except (EOFError, BrokenPipeError):
            return f"the process of {self.name} died"


def start(names: Sequence[str], folder: Path, native: Path | None) -> tuple[list[Process], dict[str, str]]:
    """One process each, those that are absent aside with the reason."""
    context = multiprocessing.get_context("spawn")
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    running, absent = [], {}
    for name in names:
        ours, theirs = context.Pipe()
        pinned = cpus if LIBRARIES[name][1] > 1 else cpus[-1:]
        process = context.Process(target=serve, args=(theirs, name, folder, native, pinned), daemon=True)
        process.start()
        theirs.close()
        try:
            about = ours.recv()
        except EOFError:
            about = {"absent": "its process died when it was loaded"}
        if "absent" in about:
            absent[name] = about["absent"]
        else:
            running.append(Process(name, ours, process, about))
    return running, absent


def measure(processes: Sequence[Process], layer: Layer, mode: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """One result for each variant of each library."""
    results: list[dict[str, Any]] = []
    turns: list[tuple[Process, int, dict[str, Any]]] = []
    for process in processes:
        if LIBRARIES[process.name][1] > 1 and layer.hidden < TWO_THREADS_FROM:
            continue
        base = {"layer": layer.name, "cell": layer.cell, "inputs": layer.input_size, "hidden": layer.hidden,
                "mode": mode, "library": process.name}  # fmt: skip
        answer = process.ask(("load", layer, mode))
        if isinstance(answer, str):
            results.append(base | {"name": "", "failed": answer})
            continue
        for index, peer in enumerate(answer):
            result = base | peer
            results.append(result)
            if peer["sqnr_db"] is not None and not peer["sqnr_db"] >= MIN_SQNR_DB:
                result["failed"] = f"wrong: {peer['sqnr_db']:.1f} dB"
            else:
                result |= {"us": [], "cpu": [], "spent": 0.0}
                turns.append((process, index, result))
    for number in range(rounds):
        for process, index, result in turns:
            if number >= SLOW_ROUNDS and result["spent"] > SLOW_SECONDS:
                continue
            begin = time.monotonic()
            answer = process.ask(("slice", index, seconds))
            if isinstance(answer, str):
                result["failed"] = answer
            else:
                result["us"].append(answer[0])
                result["cpu"].append(answer[1])
            result["spent"] += time.monotonic() - begin
    for result in results:
        slices, shares = result.pop("us", []), result.pop("cpu", [])
        result.pop("spent", None)
        if slices and "failed" not in result:
            every = np.concatenate(slices)
            result |= {"p50_us": float(np.median(every)), "p90_us": float(np.percentile(every, 90))}
            result |= {"best_us": min(float(np.median(part)) for part in slices), "count": len(every)}
            result["cpu_share"] = statistics.median(shares)
    return results


def prepare(layers: Sequence[Layer], modes: Sequence[str], folder: Path, tensorflow_python: str | None) -> None:
    """Write each layer's reference outputs, and its LiteRT models where there is a Python that has TensorFlow."""
    for layer in layers:
        for batch in {MODES[mode].batch or 1 for mode in modes}:
            np.save(folder / f"{layer.name}-{batch}.npy", layer.reference(layer.x(TIME, batch)))
        if tensorflow_python and "stream" in modes:
            place, weights = folder / f"litert-{layer.name}", layer.weights()
            place.mkdir()
            np.savez(place / "weights.npz", cell=layer.cell, **vars(weights))
            subprocess.run([tensorflow_python, str(HERE / "make_litert.py"), str(place)], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def build(folder: Path) -> Path | None:
    """Compile limit.c and steps.c for this CPU; None without a compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc").split()[0])
    if compiler is None:
        return None
    library = folder / "native.so"
    command = [*os.environ.get("CC", "cc").split(), "-std=gnu11", "-O3", "-march=native", "-shared", "-fPIC"]
    command += ["-I", str(HERE.parent / "src_c" / "include"), str(HERE / "limit.c"), str(HERE / "steps.c")]
    subprocess.run([*command, "-o", str(library)], check=True)
    return library


def main() -> None:
    """Measure, write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="rewrite the tables between this file's markers")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--tensorflow-python", help="a Python with tensorflow, and ai-edge-quantizer for int4")
    parser.add_argument("--peers", default=",".join(LIBRARIES), help="default: %(default)s")
    parser.add_argument("--cells", default="gru,lstm")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="inputs,hidden units; default: %(default)s")
    parser.add_argument("--modes", default=",".join(MODES), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.03, help="of a slice")
    parser.add_argument("--from-json", type=Path, help="measure nothing: tables and plot of an earlier run")
    options = parser.parse_args()
    earlier = options.from_json
    measured = json.loads(earlier.read_text(encoding="utf-8")) if earlier else run(options)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    text = peer_report.tables(measured)
    if options.markdown:
        readme_tables.replace(options.markdown, text)
    if options.plot:
        peer_report.draw(measured, options.plot)
    print(text)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All layers and modes that were asked for, ready for JSON."""
    layers = [
        Layer(cell, *(int(n) for n in size.split(","))) for size in options.sizes for cell in options.cells.split(",")
    ]
    modes, names = options.modes.split(","), options.peers.split(",")
    unknown = [name for name in names if name not in LIBRARIES] + [mode for mode in modes if mode not in MODES]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; expected {', '.join(LIBRARIES)}; {', '.join(MODES)}")
    measured: dict[str, Any] = {"schema": "rnnrt.peers/1", "machine": host(), "rounds": options.rounds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(layers, modes, folder, options.tensorflow_python)
        processes, absent = start(names, folder, build(folder))
        measured |= {"versions": {p.name: p.about["version"] for p in processes}, "absent": absent, "results": []}
        for layer in layers:
            for mode in modes:
                measured["results"] += measure(processes, layer, mode, options.rounds, options.seconds)
                print(f"{layer.title}, {mode}: done", file=sys.stderr)
        for process in processes:
            process.pipe.send(None)
            process.process.join(10)
    return measured


if __name__ == "__main__":
    main()
