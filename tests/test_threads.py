"""Threads on request: the same bits for every number of them, and none where nobody asked."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import models


@pytest.fixture(scope="module")
def team(root: Path, tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("team") / "team"
    sources = map(str, sorted((root / "src_c").glob("*/*.c")))
    command = [tool("gcc"), "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", str(root / "tests" / "c" / "team.c")]
    subprocess.run([*command, *sources, "-o", str(target)], check=True)
    return target


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_any_order_of_parts_gives_the_same_bits(team: Path, tmp_path: Path, threads: int) -> None:
    large = {
        "lstm": models.recurrent("LSTM", "int8", 200, 256),
        "gru": models.recurrent("GRU", "float", 96, 144),
        "gemm": models.gemm("int8", 500, 513),
        "gemm f32": models.gemm("float", 500, 130),
    }
    small = {"lstm": models.recurrent("LSTM", "int8"), "gemm": models.gemm("float")}
    for blobs, divided in ((large, True), (small, False)):
        paths = [tmp_path / f"{name} {divided}.rnnrt" for name in blobs]
        for path, blob in zip(paths, blobs.values(), strict=True):
            path.write_bytes(blob)
        done = subprocess.run([team, "5", str(threads), *paths], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.returncode}: {done.stdout} {done.stderr}"
        lines = done.stdout.splitlines()
        assert len(lines) == len(paths)
        for path, line in zip(paths, lines, strict=True):
            calls, parts = map(int, line.split())
            assert parts == calls * threads
            assert (calls > 0) == divided, f"{path.name}: {calls} parallel calls"
