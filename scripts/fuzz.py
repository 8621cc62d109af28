"""Fuzz the C library: build the targets of tests/fuzz with clang's libFuzzer, replay the corpus, then search.

    python scripts/fuzz.py run --seconds 60

Targets: ``load`` takes bytes as they come; ``run`` repairs the checksums first, so that records and operators see them.
Crashes are written to the folder as crash-*; put a fixed one into tests/fuzz/corpus, where every later replay tries it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rnnrt.converters import backend

import list_operators

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("load", "run")
MAX_LENGTH = 65536  # bytes of an input
TESTS_PER_OPERATOR = 3
MEMORY = 1024  # MiB of a target
# libFuzzer's own rss limit reads getrusage's peak, which Linux carries over from the process that started it (here a
# Python with torch in it); AddressSanitizer's limit reads what the program has now.
LIMITS = ["-timeout=20", "-rss_limit_mb=0", f"-malloc_limit_mb={MEMORY}"]
SANITIZE = "-fsanitize=fuzzer-no-link,address"
# Undefined behaviour is looked for everywhere but in the kernels, where it makes compilation take minutes; they have
# their own checker (tests/c/check_kernels.c).
UNDEFINED = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]


@dataclass(frozen=True)
class Search:
    """What a search did."""

    executions: int
    coverage: int  # edges
    crashed: bool
    log: str


def build(folder: Path) -> dict[str, Path]:
    """Compile every target.

    Parameters
    ----------
    folder : Path
        Where objects and programs go.

    Returns
    -------
    dict
        Target name -> program.

    Raises
    ------
    subprocess.CalledProcessError
        When clang can't compile (libclang-rt-14-dev is not installed).
    """
    folder.mkdir(parents=True, exist_ok=True)
    objects = []
    for source in [*sorted((ROOT / "src_c").glob("*/*.c")), ROOT / "tests" / "fuzz" / "drive.c"]:
        made = folder / f"{source.parent.name}_{source.stem}.o"
        flags = [SANITIZE, *([] if source.stem.startswith("kernels_") else UNDEFINED)]
        subprocess.run(["clang", "-std=c11", "-O1", "-g", *flags, "-c", str(source), "-o", str(made)], check=True)
        objects.append(str(made))
    programs = {}
    for target in TARGETS:
        programs[target] = folder / f"fuzz_{target}"
        source = ROOT / "tests" / "fuzz" / f"fuzz_{target}.c"
        link = ["clang", "-std=c11", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", str(source), *objects]
        subprocess.run([*link, "-o", str(programs[target])], check=True)
    return programs


def seed(folder: Path) -> int:
    """Write inputs to start from: the golden models, what once crashed, and a few of onnx's node tests per operator.

    Returns
    -------
    int
        Number of files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*(ROOT / "tests" / "golden").glob("*.rnnrt"), *(ROOT / "tests" / "fuzz" / "corpus").glob("*")]:
        shutil.copy(path, folder)
    taken: Counter[str] = Counter()
    for test in list_operators.node_tests():
        names = list_operators.operators_of(test)
        if list_operators.exclusion(test) or all(taken[n] >= TESTS_PER_OPERATOR for n in names):
            continue
        taken.update(names)
        content = backend.prepare(test.model).file(list(test.data_sets[0][0]))
        if len(content) <= MAX_LENGTH:
            (folder / test.name).write_bytes(content)
    return len(list(folder.iterdir()))


def search(program: Path, corpus: Path, seconds: int, found: Path) -> Search:
    """Run a target on every file of the corpus and then, for `seconds`, on what libFuzzer makes of them.

    Parameters
    ----------
    program : Path
        From `build`.
    corpus : Path
        Folder of inputs, only read.
    seconds : int
        0: replay the corpus, nothing else.
    found : Path
        Folder for new inputs and crashes.
    """
    found.mkdir(parents=True, exist_ok=True)
    command = [str(program), str(found), str(corpus), f"-max_len={MAX_LENGTH}", f"-artifact_prefix={found}/"]
    limit = [f"-max_total_time={seconds}"] if seconds else ["-runs=0"]
    done = subprocess.run(
        [*command, *limit, *LIMITS, "-print_final_stats=1", "-verbosity=1"],
        check=False,
        env={**os.environ, "ASAN_OPTIONS": f"hard_rss_limit_mb={MEMORY}"},
        capture_output=True,
        text=True,
        errors="replace",
    )
    executions = re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    return Search(
        executions=int(executions[-1]) if executions else 0,
        coverage=int(coverage[-1]) if coverage else 0,
        crashed=done.returncode != 0,
        log=done.stderr[-4000:],
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz")
    options = parser.parse_args()
    program = build(options.folder)[options.target]
    seed(options.folder / "seeds")
    done = search(program, options.folder / "seeds", options.seconds, options.folder / options.target)
    print(f"{options.target}: {done.executions} executions, {done.coverage} edges, {'CRASH' if done.crashed else 'ok'}")
    if done.crashed:
        print(done.log, file=sys.stderr)
    return int(done.crashed)


if __name__ == "__main__":
    sys.exit(main())
