"""What the tests share: the real models, real sound, and the rule that CI skips nothing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "scripts")]

import audio  # noqa: E402
import fetch_models  # noqa: E402

onnxruntime.disable_telemetry_events()

RATE = 16000
RECORDINGS = Path("/usr/share/sounds/alsa")  # Debian's alsa-utils

Signal = npt.NDArray[np.float32]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test skipped under CI has failed."""
    report = yield
    if not hasattr(report, "wasxfail"):
        fail_if_skipped_under_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module skipped under CI, too."""
    report = yield
    fail_if_skipped_under_ci(report)
    return report


def fail_if_skipped_under_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Where CI is set everything must run: a test that quietly tests nothing is no test."""
    if os.environ.get("CI") and report.outcome == "skipped":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, where every test must run: {reason}"


def session(path: Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session of one thread that does not spin."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Path of a program by name; without it the test is skipped (and so fails under CI)."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed (scripts/apt_packages.sh)")
        return path

    return find


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Folder of the real ONNX models, fetched when they are not there yet."""
    folder = ROOT / "models"
    fetch_models.fetch(folder)
    return folder


@pytest.fixture(scope="session")
def speech() -> Signal:
    """The noisy sample sentence: float32 [n], 16 kHz."""
    samples, rate = audio.read_wav(ROOT / "examples" / "speech.wav")
    assert rate == RATE
    return samples


@pytest.fixture(scope="session")
def speech_clean() -> Signal:
    """The same without noise."""
    samples, rate = audio.read_wav(ROOT / "examples" / "speech_clean.wav")
    assert rate == RATE
    return samples


@pytest.fixture(scope="session")
def raw_recordings() -> dict[str, Signal]:
    """Real recordings of a human voice (and one of noise), name -> float32 [n], 48 kHz."""
    paths = sorted(RECORDINGS.glob("*.wav"))
    if not paths:
        pytest.skip("no recordings: alsa-utils is not installed (scripts/apt_packages.sh)")
    found = {}
    for path in paths:
        found[path.stem], rate = audio.read_wav(path)
        assert rate == 3 * RATE, path
    return found


@pytest.fixture(scope="session")
def recordings(raw_recordings: dict[str, Signal]) -> dict[str, Signal]:
    """The same at 16 kHz."""
    return {name: audio.resample(samples, 3 * RATE, RATE) for name, samples in raw_recordings.items()}
