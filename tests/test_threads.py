"""Threads on request: the same bits for every number of them, and none where nobody asked."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import rnnrt


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


def test_callers_at_once_do_not_race(root: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    """One model, 64 streams, 8 callers, one pool: under ThreadSanitizer."""
    program, path = tmp_path / "share", tmp_path / "m.rnnrt"
    path.write_bytes(models.recurrent("LSTM", "int8", 200, 256))
    sources = [root / "tests/c/share.c", root / "rnnrt/threads.c", *sorted((root / "src_c").glob("*/*.c"))]
    flags = ["-std=gnu11", "-O1", "-g", "-fsanitize=thread", "-pthread", f"-I{root / 'src_c' / 'include'}"]
    subprocess.run([tool("gcc"), *flags, *map(str, sources), "-o", str(program)], check=True)
    done = subprocess.run([program, path], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "workers 2, same\n"), f"{done.returncode}: {done.stdout} {done.stderr}"


# ---- from Python ----


@pytest.fixture(scope="module", params=["LSTM int8", "GRU float"])
def blob(request: pytest.FixtureRequest) -> bytes:
    """Large enough to be divided: x [T, B, 200] -> y [T, 1, B, 256]."""
    op, mode = request.param.split()
    return models.recurrent(op, mode, 200, 256)


def steps(stream: rnnrt.Stream, count: int, seed: int = 0) -> bytes:
    x = models.signal((count, stream.batch, 200), seed)
    return b"".join(np.asarray(stream.step(frame)).tobytes() for frame in x)


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_same_bits_for_any_number_of_threads(blob: bytes, threads: int) -> None:
    alone, together = rnnrt.load(blob), rnnrt.load(blob, threads=threads)
    assert (alone.threads, together.threads) == (1, threads)
    x = models.signal((40, 3, 200))
    assert np.asarray(alone(x)).tobytes() == np.asarray(together(x)).tobytes()
    expected = steps(alone.stream(), 20)
    stream = together.stream()
    assert steps(stream, 20) == expected
    assert steps(stream.clone(), 5, 7) == steps(stream, 5, 7)
    assert steps(alone.stream(threads=threads), 20) == expected
    assert steps(together.stream(threads=1), 20) == expected
    assert together.pool is not None
    assert together.pool.workers == threads - 1
    a, b = alone.stream(3), together.stream(3)
    assert np.asarray(a.run(x)).tobytes() == np.asarray(b.run(x)).tobytes()


def test_no_thread_unless_asked_for_and_needed(blob: bytes) -> None:
    small = rnnrt.load(models.recurrent("LSTM", "int8"), threads=4)
    small.stream().step(models.signal((5,)))
    assert small.pool is not None
    assert small.pool.workers == 0, "a layer this small is not divided"
    model = rnnrt.load(blob, threads=2)
    assert model.pool is not None
    assert model.pool.workers == 0
    stream = model.stream(threads=1)
    assert stream.pool is None
    steps(stream, 2)
    assert model.pool.workers == 0
    steps(model.stream(), 2)
    assert model.pool.workers == 1
    assert model.stream().pool is model.pool
    own = model.stream(threads=3)
    assert own.pool is not None
    assert own.pool is not model.pool
    assert rnnrt.load(blob).pool is None


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_threads_end_with_what_they_belong_to(blob: bytes) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/task"))

    gc.collect()
    before = count()
    model = rnnrt.load(blob, threads=3)
    stream = model.stream(threads=2)
    steps(model.stream(), 2)
    steps(stream, 2)
    assert count() == before + 3
    del stream
    gc.collect()
    assert count() == before + 2
    time.sleep(0.1)  # by now they sleep, and have to be woken to end
    del model
    gc.collect()
    assert count() == before


def test_workers_that_sleep_wake_up(blob: bytes) -> None:
    stream, other = rnnrt.load(blob, threads=2).stream(), rnnrt.load(blob).stream()
    for seed in range(8):
        assert steps(stream, 3, seed) == steps(other, 3, seed)
        time.sleep(0.02)


def test_streams_share_the_threads_of_a_model(blob: bytes) -> None:
    """Eight callers at once: one gets the workers, the others do without, and the bits are the same for all."""
    model = rnnrt.load(blob, threads=3)
    expected = [steps(rnnrt.load(blob).stream(), 60, seed) for seed in range(8)]
    found: dict[int, bytes] = {}
    barrier = threading.Barrier(8)

    def work(seed: int) -> None:
        stream = model.stream()
        barrier.wait()
        found[seed] = steps(stream, 60, seed)

    callers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [found[seed] for seed in range(8)] == expected


def child(stream: rnnrt.Stream, model: rnnrt.Model, queue: Any) -> None:
    """In a process forked off while the parent's workers were running."""
    found = steps(stream, 5, 9)
    queue.put((found, model.pool.workers if model.pool else -1, steps(model.stream(), 5)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("nap", [0.0, 0.05])
def test_a_process_that_was_forked_off_goes_on(blob: bytes, nap: float) -> None:
    model = rnnrt.load(blob, threads=3)
    stream = model.stream()
    before = steps(stream, 5)
    time.sleep(nap)  # awake or asleep: either way the child has none of these threads
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(stream, model, queue))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns about fork and threads
        process.start()
    theirs, workers, fresh = queue.get(timeout=30)
    process.join(30)
    assert process.exitcode == 0
    assert workers == 2
    assert theirs == steps(stream, 5, 9), "the parent's threads still work, and both went on alike"
    assert fresh == before


def test_an_exception_leaves_the_threads_usable(blob: bytes) -> None:
    stream, other = rnnrt.load(blob, threads=2).stream(), rnnrt.load(blob).stream()
    assert steps(stream, 2) == steps(other, 2)
    with pytest.raises(ValueError, match="got shape"):
        stream.step(models.signal((7,)))
    with pytest.raises(TypeError, match="dtype"):
        stream.step(np.zeros(200))
    assert steps(stream, 2) == steps(other, 2)
    stream.close()
    with pytest.raises(rnnrt.RnnrtError, match="closed"):
        steps(stream, 1)


def test_pickle_keeps_the_number_of_threads(blob: bytes) -> None:
    model = pickle.loads(pickle.dumps(rnnrt.load(blob, threads=2)))
    assert model.threads == 2
    assert steps(model.stream(), 3) == steps(rnnrt.load(blob).stream(), 3)


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_numbers_that_make_no_sense(blob: bytes, threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads: got {threads}, expected 1 to 256"):
        rnnrt.load(blob, threads=threads)
    with pytest.raises(ValueError, match=f"threads: got {threads}, expected 1 to 256"):
        rnnrt.load(blob).stream(threads=threads)


def test_a_program_that_keeps_its_stream_to_the_end_ends(blob: bytes, tmp_path: Path) -> None:
    """Workers asleep, awake, or never started: none keeps the process alive."""
    path = tmp_path / "m.rnnrt"
    path.write_bytes(blob)
    text = "import sys, numpy, rnnrt\nstream = rnnrt.load(sys.argv[1], threads=3).stream()\n"
    text += "for i in range(5): stream.step(numpy.ones(200, numpy.float32))\nprint('done')\n"
    done = subprocess.run([sys.executable, "-c", text, path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
