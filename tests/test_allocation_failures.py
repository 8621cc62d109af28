"""Memory runs out, at every single allocation: MemoryError, nothing leaked or half done, and the next try works."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import models

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tests/c/starve.c stands on glibc's malloc")

LOADS = ["load_file", "load_bytes", "load_mmap", "load_threads", "load_isa", "pickle"]
CALLS = ["call", "call_two", "call_batch_first", "profile"]
STREAMS = ["stream", "stream_threads", "first_step_threads", "step", "run", "run_two", "run_batch_first"]
STATES = ["state", "set_state", "clone"]
MANY = ["streams", "add", "add_again", "add_state", "step_of_many", "remove"]
FRUGAL = ["reset", "close"]
# Operations of a stream in Python code of rnnrt's, whose own objects may be refused too.
STEPPING = ["step_two", "run_two", "run_batch_first", "set_state", "add_state"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, root: Path, tool: Callable[[str], str]) -> Path:
    folder = tmp_path_factory.mktemp("starve")
    source = root / "tests" / "c" / "starve.c"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fno-builtin"]
    subprocess.run([tool("gcc"), *flags, str(source), "-o", str(folder / "starve.so")], check=True)
    (folder / "lstm.rnnrt").write_bytes(models.recurrent("LSTM", "int8", 200, 256))
    (folder / "two.rnnrt").write_bytes(models.two("int8"))
    (folder / "batch_first.rnnrt").write_bytes(models.batch_first("int8"))
    return folder


def starve(root: Path, folder: Path, case: str, *options: str) -> tuple[int, int]:
    """Allocations refused, and failures of the operation."""
    done = subprocess.run(
        [sys.executable, str(root / "tests" / "starve.py"), case, str(folder), *options],
        env={**os.environ, "LD_PRELOAD": str(folder / "starve.so"), "PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    found = re.search(r": (\d+) allocations refused, (\d+) failures", done.stdout)
    assert found, done.stdout
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("case", LOADS + CALLS + STREAMS + STATES + MANY)
def test_every_allocation_may_fail(root: Path, folder: Path, case: str) -> None:
    refused, failures = starve(root, folder, case)
    assert refused == failures >= 2


@pytest.mark.parametrize("case", STEPPING)
def test_every_allocation_of_the_interpreter_may_fail(root: Path, folder: Path, case: str) -> None:
    refused, failures = starve(root, folder, case, "--everything")
    assert refused >= failures > 50


@pytest.mark.parametrize("case", FRUGAL)
def test_giving_back_needs_no_memory(root: Path, folder: Path, case: str) -> None:
    assert starve(root, folder, case, "--everything") == (0, 0)
