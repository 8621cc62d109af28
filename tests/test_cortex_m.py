"""Exported models on bare metal: Cortex-M boards under QEMU give x86's bits, and what they need is within bounds."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import boards
import measure_cortex_m
from rnnrt.cli.app import app

ROOT = Path(__file__).parents[1]
MAX_TEXT = 24_000  # bytes of code and constants on a Cortex-M4, without weights and libc: GRU and Gemm
MAX_STACK = 4096  # bytes, with printf's in the number
MODELS = ("denoiser_s8", "keyword_s8")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> Path:
    """A folder per model."""
    for name in ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"):
        tool(name)
    top = tmp_path_factory.mktemp("exports")
    for name in MODELS:
        path = ROOT / "tests" / "golden" / f"{name}.rnnrt"
        result = CliRunner().invoke(app, ["export", str(path), "-o", str(top / name)])
        assert result.exit_code == 0, result.output
    return top


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("board", boards.BOARDS)
def test_same_bits_as_here(board: str, model: str, exports: Path, tmp_path: Path) -> None:
    """The check that the export brings passes there: soft float, single precision, Helium's core."""
    sources = sorted((exports / model).glob("*.c"))
    program = boards.BOARDS[board].build(sources, tmp_path / "check.elf", "-Os")
    run = boards.BOARDS[board].emulate(program)
    assert (run.returncode, run.stdout) == (0, f"PASS {model}: 0 of 8 outputs differ\n"), run.stderr


def test_makefile_builds_for_a_board(exports: Path, tmp_path: Path) -> None:
    """As its comment says, without an edit."""
    board = boards.BOARDS["cortex-m4"]
    link = " ".join(board.link())
    variables = [f"CFLAGS=-Os {' '.join(board.flags)}", f"LDFLAGS={link}", f"BOARD={boards.SUPPORT / 'startup.c'}"]
    command = ["make", "-C", str(exports / "denoiser_s8"), "CC=arm-none-eabi-gcc", f"PROGRAM={tmp_path / 'm4.elf'}"]
    subprocess.run([*command, *variables], check=True, capture_output=True)
    assert "PASS" in board.emulate(tmp_path / "m4.elf").stdout


def test_a_wrong_bit_is_seen(exports: Path, tmp_path: Path) -> None:
    """The emulator's exit code is main's: a failing check fails."""
    folder = tmp_path / "wrong"
    folder.mkdir()
    for path in (exports / "denoiser_s8").iterdir():
        text = path.read_text()
        if path.name == "golden.h":
            text = re.sub(r"(expected_0\[\] = \{\s*)0x\w+", r"\g<1>0x1", text)
        (folder / path.name).write_text(text)
    board = boards.BOARDS["cortex-m4"]
    run = board.emulate(board.build(sorted(folder.glob("*.c")), tmp_path / "x.elf", "-Os"))
    assert (run.returncode, run.stdout) == (1, "FAIL denoiser_s8: 1 of 8 outputs differ\n")


def test_gru_and_gemm_are_small(exports: Path, tmp_path: Path) -> None:
    found = measure_cortex_m.measure(boards.BOARDS["cortex-m4"], exports / "denoiser_s8", "denoiser_s8", tmp_path)
    assert found.text <= MAX_TEXT
    assert found.stack <= MAX_STACK
    assert 30_000 < found.step < 10_000_000, "33 thousand products and sums"


@pytest.mark.parametrize(("name", "fewer"), [("cortex-m4", 1.5), ("cortex-m55", 3.0)])
def test_integer_products_of_the_core_pay(name: str, fewer: float, exports: Path, tmp_path: Path) -> None:
    """A step takes this many times fewer instructions than with the portable products."""
    board = boards.BOARDS[name]
    portable = dataclasses.replace(board, flags=(*board.flags, "-DRNNRT_PORTABLE"))
    steps = [measure_cortex_m.measure(b, exports / MODELS[0], MODELS[0], tmp_path).step for b in (portable, board)]
    assert steps[0] >= fewer * steps[1]


def test_table_in_the_docs_is_what_the_script_measures(exports: Path, tmp_path: Path) -> None:
    """For one of its rows; compilers differ a little in size and speed."""
    rows = measure_cortex_m.documented(ROOT / "docs" / "targets.md")
    assert set(rows) == {(model, board) for model in MODELS for board in boards.BOARDS}
    found = measure_cortex_m.measure(boards.BOARDS["cortex-m3"], exports / "keyword_s8", "keyword_s8", tmp_path)
    stated = rows["keyword_s8", "cortex-m3"]
    for name in ("text", "ram", "stack", "step"):
        assert getattr(found, name) == pytest.approx(getattr(stated, name), rel=0.1), name
