"""Times a step whose inputs, products or states are denormal beside one with ordinary inputs.

python benchmarks/denormals.py [--sizes 64,256] [--formats f32,int8] [--isa sse41] [--seconds 0.5]

Every signal drives a stream of its own through `rnnrt_step`, from C; they take turns. A pass is FRAMES steps, and
medians of passes are compared.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from layers import F32, Layer, Weights
from peer_backends import Peer, Rnnrt
from peers import build
from rnnrt.converters.convert import convert

import rnnrt
from rnnrt.bench import host, interleave

FRAMES, BURST = 300, 8  # of a pass, and how many of them are ordinary where the state decays
SIZE = {
    "normal": 1.0,
    "zeros": 0.0,
    "1e-37": 1e-37,  # normal floats whose products with weights are denormal
    "1e-40": 1e-40,
    "1e-40, no bias": 1e-40,
    "decay, no bias": 1.0,
    "100": 100.0,  # gates so full that e^x is denormal in some
}


@dataclass(frozen=True)
class Driven(Layer):
    """A layer with the signal that it gets."""

    signal: str

    @property
    def name(self) -> str:
        return super().name + ("-no-bias" if self._without_bias else "")

    @property
    def _without_bias(self) -> bool:
        return self.signal.endswith("no bias")

    def weights(self) -> Weights:
        """Without a bias, gates are as small as their input and the state decays to zero."""
        weights = super().weights()
        if not self._without_bias:
            return weights
        return Weights(weights.w, weights.r, np.zeros_like(weights.bias), np.zeros_like(weights.recurrent_bias))

    def x(self, time: int, batch: int) -> F32:
        """FRAMES frames, however many are asked for."""
        del time
        x: F32 = super().x(FRAMES, batch) * np.float32(SIZE[self.signal])
        if self.signal.startswith("decay"):
            x[BURST:] = 0
        return x


@dataclass(frozen=True)
class Options:
    """Of the layers that are compared; ``isa`` None: the best."""

    precision: str
    isa: str | None
    seconds: float


class Passes:
    """A contender of whole passes over a peer's frames."""

    def __init__(self, name: str, peer: Peer) -> None:
        self.name, self._slice, self._groups = name, peer.contender.slice, -(-FRAMES // peer.steps)
        self.steps = self._groups * peer.steps

    def slice(self, steps: int) -> list[int]:
        """Nanoseconds of each of ``steps`` passes."""
        return [sum(self._slice(self._groups)) for _ in range(steps)]


def ratios(library: Rnnrt, layers: Sequence[Driven], folder: Path, options: Options) -> tuple[float, list[float]]:
    """Microseconds of a step of the first layer, and how many times as long one of each other takes."""
    passes = []
    for layer in layers:
        path = folder / f"{layer.name}-{options.precision}.rnnrt"
        if not path.exists():
            quantize = None if options.precision == "f32" else options.precision
            convert(layer.onnx(folder), path, quantize=quantize, verify=False)
        passes.append(Passes(layer.signal, library.in_c(layer, options.precision, path, options.isa)))
    timings = interleave(passes, options.seconds, slice_seconds=0.01)
    normal, *others = (timing.p50_us / contender.steps for timing, contender in zip(timings, passes, strict=True))
    return normal, [other / normal for other in others]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64,256")
    parser.add_argument("--formats", default="f32,int8")
    parser.add_argument("--isa", help="default: the best one")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each signal of a row")
    options = parser.parse_args()
    names = list(SIZE)[1:]
    print(f"{host()}, {options.isa or rnnrt.isas()[0]}", end="\n\n")
    print(f"| layer | format | normal, us | {' | '.join(names)} |", f"|---|---|{'--:|' * (len(names) + 1)}", sep="\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        native = build(folder)
        if native is None:
            raise SystemExit("no C compiler: set CC")
        library = Rnnrt(folder, native, 1)
        for cell in ("gru", "lstm"):
            for size in map(int, options.sizes.split(",")):
                for precision in options.formats.split(","):
                    layers = [Driven(cell, size, size, signal) for signal in SIZE]
                    how = Options(precision, options.isa, options.seconds)
                    normal, others = ratios(library, layers, folder, how)
                    cells = " | ".join(f"{ratio:.2f}" for ratio in others)
                    print(f"| {cell.upper()} {size} | {precision} | {normal:.2f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
