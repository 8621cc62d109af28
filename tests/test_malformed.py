"""Every handmade malformed file is refused with the status that it should have, under AddressSanitizer and UBSan."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import malformed_files
import test_format
from rnnrt import load
from rnnrt.errors import RnnrtError

ROOT = Path(__file__).parents[1]
FLAGS = ["-std=c11", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def made(case: malformed_files.Case) -> bytes:
    blob = bytearray(test_format.blob_of("int8"))
    case.edit(blob)
    return malformed_files.sealed(blob) if case.sealed else bytes(blob)


@pytest.fixture(scope="module")
def statuses(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> dict[str, int]:
    """Status by case, all files in one run."""
    folder = tmp_path_factory.mktemp("malformed")
    program = folder / "load_status"
    sources = [*sorted((ROOT / "src_c").glob("*/*.c")), ROOT / "tests" / "c" / "load_status.c"]
    subprocess.run([tool("gcc"), *FLAGS, *map(str, sources), "-o", str(program)], check=True)
    paths = []
    for i, case in enumerate(malformed_files.CASES):
        paths.append(folder / f"{i}.rnnrt")
        paths[-1].write_bytes(made(case))
    run = subprocess.run([str(program), *map(str, paths)], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return dict(zip((c.name for c in malformed_files.CASES), map(int, run.stdout.split()), strict=True))


def test_there_are_enough_and_they_differ() -> None:
    cases = malformed_files.CASES
    assert len(cases) >= 150
    assert not [name for name, n in Counter(c.name for c in cases).items() if n > 1]
    files = Counter(made(c) for c in cases)
    assert files[test_format.blob_of("int8")] == 0, "an edit that changes nothing"
    assert [c.name for c in cases if files[made(c)] > 1] == []


@pytest.mark.parametrize("bug", ["product overflow", "sum overflow", "count overflow", "padding overflow"])
def test_known_bugs_of_other_formats_are_among_them(bug: str) -> None:
    """GGUF readers have had each of them."""
    assert sum(bug in case.name for case in malformed_files.CASES) >= 2


@pytest.mark.parametrize("case", malformed_files.CASES, ids=lambda c: c.name)
def test_status(case: malformed_files.Case, statuses: dict[str, int]) -> None:
    assert statuses[case.name] == case.status


def test_the_base_is_accepted(statuses: dict[str, int], tmp_path: Path) -> None:
    load(test_format.blob_of("int8"))


def test_statuses_are_those_of_the_header() -> None:
    header = (ROOT / "src_c" / "include" / "rnnrt.h").read_text()
    numbers = {name: int(n) for name, n in re.findall(r"RNNRT_(?:ERR_)?([A-Z]+) = (\d+)", header)}
    for name in (
        "OK",
        "TRUNCATED",
        "MAGIC",
        "VERSION",
        "FEATURE",
        "CHECKSUM",
        "FORMAT",
        "OPERATOR",
        "SHAPE",
        "OVERFLOW",
    ):
        assert getattr(malformed_files, name) == numbers[name]


def test_python_refuses_them_too() -> None:
    """When they are loaded or, where only a shape is wrong, when they are first run."""
    for case in malformed_files.CASES:
        if case.status == malformed_files.OK:
            continue
        with pytest.raises((RnnrtError, ValueError, MemoryError)):
            load(made(case))(np.zeros((2, 1, 5), np.float32))
