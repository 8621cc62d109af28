"""A minute of fuzzing with AddressSanitizer and UBSan, and the proof that a broken target would be noticed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import fuzz

SECONDS = 30  # each target


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> dict[str, Path]:
    tool("clang")
    return fuzz.build(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    assert fuzz.seed(folder) > 100
    return folder


@pytest.fixture
def broken(tmp_path: Path, tool: Callable[[str], str]) -> Callable[[str, int], fuzz.Search]:
    """Searches a target that has a fault, given as source, for so many seconds, from one seed."""

    def search(text: str, seconds: int) -> fuzz.Search:
        source, program, corpus = tmp_path / "bug.c", tmp_path / "bug", tmp_path / "corpus"
        source.write_text(text)
        subprocess.run([tool("clang"), "-g", "-fsanitize=fuzzer,address", str(source), "-o", str(program)], check=True)
        corpus.mkdir()
        (corpus / "seed").write_bytes(b"RNN")
        return fuzz.search(program, corpus, seconds, tmp_path / "found")

    return search


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_nothing_is_found(target: str, programs: dict[str, Path], seeds: Path, tmp_path: Path) -> None:
    done = fuzz.search(programs[target], seeds, SECONDS, tmp_path)
    assert not done.crashed, done.log
    assert done.executions > len(list(seeds.iterdir()))
    print(f"{target}: {done.executions} executions, {done.coverage} edges")


def test_repaired_checksums_reach_the_operators(programs: dict[str, Path], seeds: Path, tmp_path: Path) -> None:
    """The second target would be worth nothing if its inputs were refused by their checksums like the first one's."""
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in seeds.glob("test_*"):
        content = bytearray(path.read_bytes())
        content[20] ^= 1  # in the header: the file size, which the target sets right
        (damaged / path.name).write_bytes(content)
    reached = {t: fuzz.search(programs[t], damaged, 0, tmp_path / t).coverage for t in fuzz.TARGETS}
    assert reached["run"] > 4 * reached["load"] > 0, reached


def test_the_memory_of_the_caller_is_not_counted(programs: dict[str, Path], seeds: Path, tmp_path: Path) -> None:
    """Once CI failed because the pytest process had grown beyond the limit of the target."""
    ballast = b"1" * ((fuzz.MEMORY + 64) << 20)
    assert not fuzz.search(programs["load"], seeds, 2, tmp_path).crashed
    del ballast


def test_a_target_that_grows_is_found(broken: Callable[[str, int], fuzz.Search]) -> None:
    done = broken(
        "#include <stddef.h>\n#include <stdint.h>\n#include <stdlib.h>\n#include <string.h>\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);\nvoid *kept[4096];\nint count;\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n) {\n"
        "    (void)d, (void)n;\n"
        "    if (count < 4096) memset(kept[count++] = malloc(1 << 24), 1, 1 << 24);\n    return 0;\n}\n",
        20,
    )
    assert done.crashed
    assert done.executions < 2 * fuzz.MEMORY / 16  # blocks of 16 MiB: stopped by the limit, not by the machine


def test_a_read_too_far_is_found(broken: Callable[[str, int], fuzz.Search]) -> None:
    done = broken(
        "#include <stddef.h>\n#include <stdint.h>\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);\nvolatile int seen;\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n) { if (n > 2 && d[0] == 82) seen = d[n]; return 0; }\n",
        0,
    )
    assert done.crashed
    assert "heap-buffer-overflow" in done.log
