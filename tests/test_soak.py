"""A stream that runs on and on: the same bits, no growth, the floating-point environment untouched.

The whole soak (10^8 steps) is run by hand: ``soak MODEL 100000000 1000000``; here it is its short version.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import models

MODELS: dict[str, Callable[[], bytes]] = {
    f"{cell.lower()}-{mode}": lambda cell=cell, mode=mode: models.recurrent(cell, mode, 8, 16)  # type: ignore[misc]
    for cell in ("RNN", "GRU", "LSTM")
    for mode in ("float", "int8")
}


def _build(root: Path, target: Path, source: str, flags: list[str], tool: Callable[[str], str]) -> Path:
    sources = [*sorted(map(str, (root / "src_c").glob("*/*.c"))), str(root / "tests" / "c" / source)]
    subprocess.run([tool("gcc"), "-std=c11", *flags, *sources, "-o", str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def soak(root: Path, tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(root, tmp_path_factory.mktemp("soak") / "soak", "soak.c", ["-O2"], tool)


@pytest.mark.parametrize("name", MODELS)
def test_a_million_steps_keep_bits_and_memory(name: str, soak: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.rnnrt"
    path.write_bytes(MODELS[name]())
    done = subprocess.run([soak, path, "1000000", "10000"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    periods, _, growth = done.stdout.split()
    assert (int(periods), int(growth)) == (100, 0)
