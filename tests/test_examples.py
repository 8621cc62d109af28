"""The examples' own code: WAV files, resampling, the samples; and the live denoiser as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rnnrt.converters.convert import convert

import audio
import denoise
import rnnrt

F32 = npt.NDArray[np.float32]


def tone(hertz: float, rate: int, seconds: float = 0.5) -> npt.NDArray[np.float64]:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [48000, 44100, 22050, 8000])
@pytest.mark.parametrize("hertz", [50, 440, 3000])
def test_resampling_keeps_what_fits(rate: int, hertz: float) -> None:
    found = audio.resample(tone(hertz, rate), rate, 16000)
    assert found.size == 8000
    inside = slice(400, -400)  # the filter sees zeros beyond both ends
    np.testing.assert_allclose(found[inside], tone(hertz, 16000)[inside], rtol=0, atol=3e-4)


def test_resampling_removes_what_does_not_fit() -> None:
    found = audio.resample(tone(9000, 48000), 48000, 16000)
    assert np.abs(found[400:-400]).max() < 1e-3


def test_wav_round_trip(tmp_path: Path) -> None:
    samples = np.array([0, 0.25, -1, 32767 / 32768, 2, -2], np.float32)
    audio.write_wav(tmp_path / "x.wav", samples, 16000)
    found, rate = audio.read_wav(tmp_path / "x.wav")
    assert rate == 16000
    np.testing.assert_array_equal(found, np.clip(samples, -1, 32767 / 32768))


def test_what_is_no_wav_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"RIFF what is this")
    with pytest.raises(ValueError, match="not a PCM WAV file"):
        audio.read_wav(tmp_path / "x.wav")


def test_the_samples_are_what_they_say(speech: F32, speech_clean: F32) -> None:
    assert speech.shape == speech_clean.shape
    assert 8 <= speech.size / denoise.RATE <= 10
    assert denoise.si_snr(speech_clean, speech) == pytest.approx(6.0, abs=0.1)


def test_si_snr_does_not_see_loudness_but_noise() -> None:
    rng = np.random.default_rng(1)
    clean, noise = rng.standard_normal((2, 10000))
    assert denoise.si_snr(clean, 0.1 * (clean + 0.1 * noise)) == pytest.approx(20.0, abs=0.2)


def test_live_denoiser_is_the_denoiser(models_dir: Path, root: Path, speech: F32, tmp_path: Path) -> None:
    """Raw samples through examples/stream_microphone.py, as arecord would feed them."""
    path = tmp_path / "nsnet2.rnnrt"
    convert(models_dir / "nsnet2-20ms-baseline.onnx", path, quantize="int8")
    length = 100 * denoise.HOP
    raw = np.rint(speech[:length] * 32768).astype("<i2").tobytes()
    command = [sys.executable, str(root / "examples" / "stream_microphone.py"), str(path)]
    done = subprocess.run(command, input=raw, capture_output=True, check=True)
    found = np.frombuffer(done.stdout, "<i2") / 32768
    denoiser = denoise.Denoiser(rnnrt.load(path))
    expected = np.concatenate([denoiser.push(frame) for frame in denoise.frames(speech[:length])])
    assert found.size == length
    np.testing.assert_allclose(found, np.clip(expected, -1, 32767 / 32768), rtol=0, atol=0.51 / 32768)


@pytest.mark.parametrize("example", ["demo", "denoise", "g2p", "stream_microphone"])
def test_examples_explain_themselves(root: Path, example: str) -> None:
    command = [sys.executable, str(root / "examples" / f"{example}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: {example}.py")
    assert done.stderr == ""


def test_demo_names_the_package_that_is_missing(root: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nsys.modules['onnxruntime'] = None\nimport demo, fetch_models\n"
        "fetch_models.fetch = lambda *a, **k: None\ndemo.convert = lambda p: demo.OrtModel.open('x', {}, [])\n"
        "sys.argv = ['demo.py']\nsys.exit(demo.main())\n"
    )
    path = {"PYTHONPATH": str(root / "examples")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, **path},
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == "demo: this needs onnxruntime, not installed here: pip install onnxruntime\n"
