"""Hostile and broken checkpoints: refused with one clear error, nothing executed, little memory taken.

The files are read by a process of their own that watches what Python does (audit events) and how much memory it takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rnnrt.converters import checkpoint

import hostile_files
from rnnrt import ModelFormatError

SPARE = 64 << 20
ALLOWED_OPENS = ("r", "rb", None)

# Reads every file twice in a child that dies after it: once for the memory of the process, once for Python's own count
# (which also sees memory that is asked for and not used).
WATCH = """
import json, os, resource, sys, tracemalloc
from pathlib import Path
import numpy, numpy.lib.format, safetensors
from rnnrt import ModelFormatError
from rnnrt.converters import checkpoint

seen = []
BAD = ("exec", "os.", "subprocess.", "pty.", "socket.", "ctypes.", "pickle.", "marshal.", "shutil.", "builtins.input")

def watch(event, arguments):
    if event.startswith(BAD) and event not in ("os.listdir", "os.scandir"):
        seen.append(event)
    if event == "import":
        seen.append(f"import {arguments[0]}")
    if event == "open" and arguments[1] not in (None, "r", "rb"):
        seen.append(f"open {arguments[0]} {arguments[1]}")

def attempt(path):
    try:
        found = checkpoint.read(path)
        for name in (*found.tensors, *found.skipped):
            found.array(name)
    except ModelFormatError as error:
        return str(error)
    except BaseException as error:
        return f"{type(error).__name__} instead of ModelFormatError: {error}"[:300]
    return ""

def child(path, traced):
    if traced:
        tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = attempt(path)
    peak = tracemalloc.get_traced_memory()[1] if traced else 0
    rss = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {"message": message, "peak": peak if traced else rss, "seen": seen}

attempt(sys.argv[2])
sys.addaudithook(watch)
for line in sys.stdin:
    path = line.rstrip("\\n")
    results = []
    for traced in (False, True):
        reader, writer = os.pipe()
        seen.clear()
        pid = os.fork()
        if pid == 0:
            seen.clear()
            made = json.dumps(child(path, traced)).encode()
            os.write(writer, made)
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as answer:
            data = answer.read()
        os.waitpid(pid, 0)
        results.append(json.loads(data) if data else {"message": "", "peak": 0, "seen": ["it died"]})
    print(json.dumps(results), flush=True)
"""


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[dict[str, Any]]]]:
    """File -> its size, and what the two children saw."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the watching process forks and reads Linux's memory figures")
    folder = tmp_path_factory.mktemp("hostile")
    warm = folder / "good.pt"
    warm.write_bytes(hostile_files.GOOD)
    command = [sys.executable, "-c", WATCH, str(folder), str(warm)]
    found = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        for number, (what, data) in enumerate(hostile_files.hostile_files()):
            path = folder / f"{number}.pt"
            path.write_bytes(data)
            watcher.stdin.write(f"{path}\n")
            watcher.stdin.flush()
            assert what not in found, f"two files are called '{what}'"
            found[what] = len(data), json.loads(watcher.stdout.readline())
            path.unlink()
        watcher.stdin.close()
    assert not (folder / "evil").exists(), "a payload was executed"
    return found


Findings = dict[str, tuple[int, list[dict[str, Any]]]]


def test_the_good_file_is_read(tmp_path: Path) -> None:
    """The hostile files differ from one that is read, so they are refused for what is wrong with them."""
    path = tmp_path / "good.pt"
    path.write_bytes(hostile_files.GOOD)
    np.testing.assert_array_equal(checkpoint.read(path).arrays()["weight"], np.arange(64, dtype=np.float32))


def test_there_are_enough_of_them(findings: Findings) -> None:
    assert len(findings) >= 60


def test_every_file_is_refused_with_one_clear_error(findings: Findings) -> None:
    wrong = {}
    for what, (_, results) in findings.items():
        for result in results:
            message = result["message"]
            clear = ".pt': " in message and "\n" not in message and len(message) < 700 and "instead of" not in message
            if not clear:
                wrong[what] = message
    assert not wrong


def test_nothing_is_executed(findings: Findings) -> None:
    assert not {what: r["seen"] for what, (_, results) in findings.items() for r in results if r["seen"]}


def test_little_memory_is_taken(findings: Findings) -> None:
    peaks = {what: (max(r["peak"] for r in results), 2 * size + SPARE) for what, (size, results) in findings.items()}
    assert not {what: peak for what, peak in peaks.items() if peak[0] > peak[1]}
    worst = max(peaks.items(), key=lambda item: item[1][0] / item[1][1])
    peak, limit = (figure / 2**20 for figure in worst[1])
    print(f"{len(peaks)} files; nearest to its limit: {worst[0]}, {peak:.1f} of {limit:.1f} MiB")


def test_the_watcher_sees_what_it_watches_for(tmp_path: Path) -> None:
    """A check that can't fail guards nothing: with a real unpickler in the reader's place, it reports."""
    path = tmp_path / "evil.pkl"
    path.write_bytes(dict(hostile_files._calls())["a pickle of Python"])
    broken = WATCH.replace(
        "found = checkpoint.read(path)", "import pickle; found = pickle.loads(Path(path).read_bytes())"
    )
    warm = tmp_path / "good.pt"
    warm.write_bytes(hostile_files.GOOD)
    command = [sys.executable, "-c", broken, str(tmp_path), str(warm)]
    done = subprocess.run(command, input=f"{path}\n", capture_output=True, text=True, cwd=tmp_path, check=True)
    results = json.loads(done.stdout)
    assert any("os.system" in event or "exec" in event for event in results[0]["seen"])
    assert (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", ["zip", "stream", "safetensors", "npz"])
def test_damage_anywhere_is_refused_or_harmless(kind: str, tmp_path: Path) -> None:
    """Bytes changed, cut off, put in: a ModelFormatError, or arrays of the shapes that the file says; never another."""
    good = _good(kind)
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(data)))
            choice = rng.integers(4)
            if choice == 0:
                data[at] ^= 1 << int(rng.integers(8))
            elif choice == 1:
                data[at] = int(rng.integers(256))
            elif choice == 2:
                del data[at:]
            else:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            if not data:
                break
        path = tmp_path / "m.bin"
        path.write_bytes(data)
        try:
            for array in checkpoint.read(path).arrays().values():
                assert array.nbytes <= len(data) + SPARE
        except ModelFormatError:
            refused += 1
    assert refused > 100


def _good(kind: str) -> bytes:
    import io

    from safetensors.numpy import save

    arrays = {"rnn.weight_ih_l0": np.ones((9, 4), np.float32), "rnn.weight_hh_l0": np.ones((9, 3), np.float32)}
    if kind == "npz":
        made = io.BytesIO()
        np.savez(made, **arrays)  # type: ignore[arg-type] # numpy's stub takes names for its own options
        return made.getvalue()
    if kind == "safetensors":
        return bytes(save(arrays))
    if kind == "zip":
        return hostile_files.GOOD
    good = hostile_files
    keys = b"\x80\x02](" + good.text("0") + b"e."
    head = good.MAGIC + good.VERSION + good.entries(little_endian=b"\x88") + good.GOOD_PICKLE
    return head + keys + (64).to_bytes(8, "little") + good.STORAGE
