"""The main job on a real model: NSNet2, a speech denoiser of two GRU, against onnxruntime over real speech."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rnnrt.converters.convert import convert

import conftest
import denoise
import rnnrt

F32 = npt.NDArray[np.float32]
TOLERANCE = 1e-5  # of |rnnrt - onnxruntime| / max(1, |onnxruntime|)
MAX_INT8_BYTES = 2_900_000
MIN_INT8_SQNR_DB = 30.0
MIN_SNR_GAIN_DB = 4.0  # measured: 5.1 with onnxruntime's own gains


@pytest.fixture(scope="module")
def source(models_dir: Path) -> Path:
    return models_dir / "nsnet2-20ms-baseline.onnx"


@pytest.fixture(scope="module")
def f32_file(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nsnet2") / "f32.rnnrt"
    convert(source, path)
    return path


@pytest.fixture(scope="module")
def int8_file(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nsnet2") / "int8.rnnrt"
    convert(source, path, quantize="int8")
    return path


@pytest.fixture(scope="module")
def x(speech: F32) -> F32:
    """NSNet2's input over the noisy sample, [1, T, 161]."""
    features = denoise.features(speech)
    assert features.shape[1] >= 500
    return features


@pytest.fixture(scope="module")
def expected(source: Path, x: F32) -> F32:
    """What onnxruntime makes of it, [1, T, 161]."""
    session = conftest.session(source)
    result: list[Any] = session.run(None, {"input": x})
    return np.asarray(result[0], np.float32)


def stepped(model: rnnrt.Model, x: F32) -> F32:
    """[1, T, 161] frame by frame."""
    stream = model.stream()
    return np.stack([stream.step(x[0, t]).reshape(-1) for t in range(x.shape[1])])[None]


def scaled_error(found: F32, expected: F32) -> float:
    """The bar's measure."""
    return float(np.max(np.abs(found.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))))


def test_f32_equals_onnxruntime_stepping_and_whole(f32_file: Path, x: F32, expected: F32) -> None:
    model = rnnrt.load(f32_file)
    whole = model(x)
    assert whole.shape == expected.shape
    assert scaled_error(whole, expected) <= TOLERANCE
    assert scaled_error(stepped(model, x), expected) <= TOLERANCE


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_run_equals_steps_to_the_bit(precision: str, x: F32, request: pytest.FixtureRequest) -> None:
    model = rnnrt.load(request.getfixturevalue(f"{precision}_file"))
    whole = model(x).tobytes()
    assert stepped(model, x).tobytes() == whole
    for chunk in (1, 7, 64, 333):
        stream = model.stream()
        parts = [stream.run(x[:, t : t + chunk]) for t in range(0, x.shape[1], chunk)]
        assert np.concatenate(parts, axis=1).tobytes() == whole, f"in chunks of {chunk}"


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_every_isa_gives_the_same_bits(precision: str, x: F32, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(f"{precision}_file")
    names = rnnrt.isas()
    assert "scalar" in names
    results = {}
    for name in names:
        model = rnnrt.load(path, isa=name)
        assert model.isa == name
        results[name] = model(x).tobytes()
    assert len(set(results.values())) == 1, {name: hash(bits) for name, bits in results.items()}


def test_int8_is_small_and_close(int8_file: Path, f32_file: Path, x: F32, expected: F32) -> None:
    size = int8_file.stat().st_size
    assert size <= MAX_INT8_BYTES
    found = stepped(rnnrt.load(int8_file), x).astype(np.float64)
    sqnr = 10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / np.sum((found - expected) ** 2))
    print(f"NSNet2 int8: {size} bytes, SQNR {sqnr:.2f} dB")
    assert sqnr >= MIN_INT8_SQNR_DB


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_streamed_speech_becomes_cleaner(
    precision: str, speech: F32, speech_clean: F32, request: pytest.FixtureRequest
) -> None:
    model = rnnrt.load(request.getfixturevalue(f"{precision}_file"))
    cleaned = denoise.denoise(model, speech)
    before, after = (denoise.si_snr(speech_clean, s) for s in (speech, cleaned))
    print(f"SI-SNR {before:.2f} -> {after:.2f} dB")
    assert 5 <= before <= 10
    assert after >= before + MIN_SNR_GAIN_DB


def test_streaming_transform_is_transparent(speech: F32) -> None:
    """With all gains 1 the transform around the network gives back the signal."""

    class Open:
        def stream(self) -> Open:
            return self

        def step(self, frame: F32, out: F32) -> F32:
            assert frame.shape == out.shape == (denoise.BINS,)
            out[:] = 1
            return out

    model: Any = Open()
    np.testing.assert_allclose(denoise.denoise(model, speech), speech, rtol=0, atol=1e-7)


def test_streamed_features_equal_whole_ones(speech: F32) -> None:
    """`denoise.features`, which the tests above feed, is what `Denoiser` feeds frame by frame."""
    seen: list[F32] = []

    class Record:
        def stream(self) -> Record:
            return self

        def step(self, frame: F32, out: F32) -> F32:
            seen.append(frame.copy())
            out[:] = 1
            return out

    model: Any = Record()
    denoise.denoise(model, speech)
    whole = denoise.features(speech)[0]
    np.testing.assert_allclose(np.stack(seen[: len(whole)]), whole, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def c_program(root: Path, tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/c/step.c, built as its comment says."""
    sources = sorted(map(str, (root / "src_c").rglob("*.c")))
    program = tmp_path_factory.mktemp("c") / "step"
    subprocess.run([tool("cc"), "-O2", "-o", str(program), str(root / "examples/c/step.c"), *sources], check=True)
    return program


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_c_program_gives_the_same_bits(precision: str, x: F32, c_program: Path, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(f"{precision}_file")
    done = subprocess.run([str(c_program), str(path)], input=x.tobytes(), capture_output=True, check=True)
    assert done.stdout == rnnrt.load(path)(x).tobytes()
