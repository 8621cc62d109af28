"""README.md and docs/checkpoints.md do what they say: commands, Python and C are run in order, as they stand there."""

from __future__ import annotations

import os
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

FILES = {"c": "gains.c", "toml": "speaker.toml"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def blocks(document: str) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    found: list[tuple[str, str]] = BLOCK.findall((conftest.ROOT / document).read_text(encoding="utf-8"))
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
    path = {"PATH": f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **path}, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(document: str, folder: Path) -> str:
    """Run all blocks of a document, files for a compiler or the command line written first; what they print."""
    printed = ""
    for language, text in blocks(document):
        if language in FILES:
            (folder / FILES[language]).write_text(text, encoding="utf-8")
        elif language == "python":
            printed += output(folder, sys.executable, "-c", text)
        else:
            assert language == "console", f"nothing here runs {language}"
            for line in text.splitlines():
                assert line.startswith("$ ")
                printed += output(folder, "sh", "-c", line[2:])
    return printed


def test_readme(clone: Path, tool: Callable[[str], str]) -> None:
    tool("cc")
    printed = run("README.md", clone)
    assert printed.count("True {'/gru/GRU.h': ['B', 1, 64]}") == 1, printed
    stream = rnnrt.load(clone / "build" / "nsnet2.rnnrt").stream()
    for _ in range(500):
        gain = stream.step(np.zeros((1, 161), np.float32))
    assert f"\n{np.asarray(gain).reshape(-1)[0]:.9g}\n" in printed
    assert printed.count("\nPASS nsnet2: 0 of 8 outputs differ\n") == 1, printed


def test_checkpoints(clone: Path) -> None:
    printed = run("docs/checkpoints.md", clone)
    assert "model_state.lstm" in printed
    for name in ("lstm", "speaker"):
        rnnrt.load(clone / "build" / f"{name}.rnnrt")


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
