"""The sdist builds with a C compiler alone; the wheel made from it holds what it should and gives the golden hashes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_INSTALLED = 3_000_000  # bytes


def _run(command: list[str], **options: object) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of what git tracks (or would track), unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    names = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "tree" / name)
    _run([sys.executable, "setup.py", "-q", "sdist", "-d", str(folder)], cwd=folder / "tree")
    (archive,) = folder.glob("rnnrt-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (made,) = (p for p in folder.glob("rnnrt-*") if p.is_dir())
    return made


@pytest.fixture(scope="module")
def wheel(unpacked: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index"]
    _run([*command, "-w", str(unpacked.parent), str(unpacked)])
    (made,) = unpacked.parent.glob("rnnrt-*.whl")
    return made


def test_sdist_has_what_a_packager_needs(unpacked: Path) -> None:
    for name in ("LICENSE", "README.md", "src_c/include/rnnrt.h", "tests/golden/hashes.json", "tests/c/golden.c"):
        assert (unpacked / name).is_file(), name
    generated = [p for p in unpacked.rglob("*") if p.suffix in {".so", ".o", ".pyc"} or p.name == "_rnnrt.c"]
    assert not generated


def test_wheel_holds_the_package_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = [(i.filename, i.file_size) for i in archive.infolist()]
    folders = {name.split("/")[0] for name, _ in members}
    assert {f for f in folders if not f.endswith(".dist-info")} == {"rnnrt"}
    assert not [name for name, _ in members if name.endswith((".pyx", ".pxd"))], "sources that need a compiler"
    needed = {"rnnrt/py.typed", "rnnrt/_rnnrt.pyi", "rnnrt/converters/convert.py", "rnnrt/src_c/include/rnnrt.h"}
    assert needed <= {name for name, _ in members}
    assert sum(size for _, size in members) < MAX_INSTALLED


def test_installed_wheel_gives_the_golden_hashes(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for part in ("wheel/test_wheel.py", "golden/hashes.json"):
        (tmp_path / "tests" / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / part, tmp_path / "tests" / part)
    for model in (ROOT / "tests" / "golden").glob("*.rnnrt"):
        shutil.copy(model, tmp_path / "tests" / "golden")
    # The copy of the package first: an editable install is found by a finder behind sys.path.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    test = str(tmp_path / "tests" / "wheel")
    where = "import rnnrt, sys; sys.exit(not rnnrt.__file__.startswith(sys.argv[1]))"
    _run([sys.executable, "-c", where, str(tmp_path / "site")], env=environment, cwd=tmp_path)
    source = "from rnnrt.converters.amalgamate import SOURCES, amalgamate; assert 'site' in SOURCES.parts; amalgamate()"
    _run([sys.executable, "-c", source], env=environment, cwd=tmp_path)
    _run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test], env=environment, cwd=tmp_path)
