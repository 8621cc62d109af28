"""After rnnrt_state_init no allocation, no lock, no system call: tests/c/realtime.c tells how that is seen."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import models

WRAPPED = ["malloc", "calloc", "realloc", "aligned_alloc", "free", "pthread_mutex_lock"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")


@pytest.fixture(scope="module")
def program(root: Path, tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("realtime") / "realtime"
    command = [
        tool("gcc"),
        *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-fno-builtin-malloc"),
        f"-I{root / 'src_c' / 'include'}",
        f"-Wl,{','.join(f'--wrap={name}' for name in WRAPPED)}",
        str(root / "tests" / "c" / "realtime.c"),
        *map(str, sorted((root / "src_c").glob("*/*.c"))),
        *("-o", str(target)),
    ]
    subprocess.run(command, check=True)
    return target


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Models by precision."""
    folder = tmp_path_factory.mktemp("models")
    found: dict[str, list[Path]] = {}
    for mode in ("float", "int8"):
        blobs = {
            "gru": models.recurrent("GRU", mode, 40, 24),
            "lstm": models.recurrent("LSTM", mode, 40, 24),
            "gemm": models.gemm(mode, 40, 24),
            "conv": models.conv(mode),
            "two": models.two(mode),
            "batch_first": models.batch_first(mode),
            "timeless": models.timeless(mode),
        }
        for name, blob in blobs.items():
            path = folder / f"{name}-{mode}.rnnrt"
            path.write_bytes(blob)
            found.setdefault(mode, []).append(path)
    return found


@pytest.mark.parametrize("mode", ["float", "int8"])
def test_no_allocation_lock_or_system_call(program: Path, files: dict[str, list[Path]], mode: str) -> None:
    done = subprocess.run([program, *files[mode]], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"used {path}" for path in files[mode]], done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("what", "code", "word"),
    [("syscall", -signal.SIGKILL, ""), ("malloc", 1, "allocations"), ("lock", 1, "locks")],
)
def test_each_would_be_noticed(program: Path, files: dict[str, list[Path]], what: str, code: int, word: str) -> None:
    command = [program, "--provoke", what, files["float"][0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert word in done.stdout
