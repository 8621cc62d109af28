"""README.md does what it says: its commands, its Python and its C program are run in its order, as they stand there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import conftest
import rnnrt

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    found = BLOCK.findall((conftest.ROOT / "README.md").read_text(encoding="utf-8"))
    assert {language for language, _ in found} == {"console", "python", "c"}, "a language that nothing here runs"
    return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """A folder that looks like a clone in which `make demo` has been run."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "build").mkdir()
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copytree(conftest.ROOT / "src_c", folder / "src_c", ignore=shutil.ignore_patterns("build"))
    (folder / "models").symlink_to(models_dir)
    (folder / ".venv" / "bin" / "rnnrt").symlink_to(Path(sys.executable).parent / "rnnrt")
    return folder


def output(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_in_it_runs(clone: Path, tool: Callable[[str], str]) -> None:
    tool("cc")
    printed = ""
    for language, text in blocks():
        if language == "c":
            (clone / "gains.c").write_text(text, encoding="utf-8")
        elif language == "python":
            printed += output(clone, sys.executable, "-c", text)
        else:
            for line in text.splitlines():
                assert line.startswith("$ ")
                printed += output(clone, "sh", "-c", line[2:])
    assert printed.count("True {'/gru/GRU.h': ['B', 1, 64]}") == 1, printed
    stream = rnnrt.load(clone / "build" / "nsnet2.rnnrt").stream()
    for _ in range(500):
        gain = stream.step(np.zeros((1, 161), np.float32))
    assert np.float32(printed.splitlines()[-1]) == np.asarray(gain).reshape(-1)[0]


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", "src_c/README.md", "benchmarks/README.md", "docs"])
def test_links_lead_somewhere(path: str) -> None:
    """Links between files of the repository; what stands in `backticks` in README's table of promises, too."""
    root = conftest.ROOT
    files = [root / path] if (root / path).is_file() else sorted((root / path).glob("*.md"))
    seen = 0
    for file in files:
        text = file.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (file.parent / target).exists(), f"{file.name}: {target}"
            seen += 1
        for target in re.findall(r"`(?:tests/)?(test_\w+\.py)`", text):
            assert (root / "tests" / target).exists(), f"{file.name}: {target}"
    assert seen
