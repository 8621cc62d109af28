"""Refuse every allocation of an operation, one after another, in a process that tests/c/starve.c is preloaded into.

    LD_PRELOAD=starve.so PYTHONMALLOC=malloc python starve.py CASE FOLDER [--everything]

FOLDER has lstm.rnnrt (large enough to be divided among threads), two.rnnrt (two inputs and outputs) and
batch_first.rnnrt (time is not its outermost axis). Prints what was refused; a broken promise is an AssertionError.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import rnnrt
import rnnrt.profile
import rnnrt.streams

_SHIM = ctypes.CDLL(None)
ON = ctypes.c_int.in_dll(_SHIM, "starve_on")
FOREVER = ctypes.c_int.in_dll(_SHIM, "starve_forever")
AT = ctypes.c_long.in_dll(_SHIM, "starve_at")
COUNT = ctypes.c_long.in_dll(_SHIM, "starve_count")
ALIVE = ctypes.c_long.in_dll(_SHIM, "starve_alive")
EVERYTHING = ctypes.c_int.in_dll(_SHIM, "starve_everything")


# Without memory CPython also raises SystemError, TypeError ("not PosixPath") and RuntimeError ("can't allocate lock").
REFUSED: type[Exception] = Exception if "--everything" in sys.argv else MemoryError


class Case(NamedTuple):
    """An operation."""

    make: Callable[[], Any]
    """What it needs, new for every try."""
    act: Callable[[Any], Any]
    """The operation, given that; run while allocations are refused."""
    bits: Callable[[Any, Any], bytes]
    """Given both: what shows that it went well."""
    unchanged: Callable[[Any], Any] = lambda made: None
    """What must be as before when the operation has failed."""


def noise(*shape: int) -> Any:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def cases(folder: Path) -> dict[str, Case]:
    """By name."""
    path = folder / "lstm.rnnrt"
    blob = path.read_bytes()
    lstm = rnnrt.load(path)
    two, batch_first = rnnrt.load(folder / "two.rnnrt"), rnnrt.load(folder / "batch_first.rnnrt")
    features = lstm.inputs[0].shape[-1]
    x = noise(40, 1, features)
    ab, bt = {"a": noise(40, 1, 4), "b": noise(40, 1, 4)}, noise(2, 70, batch_first.inputs[0].shape[-1])
    cut = {name: value[:3] for name, value in ab.items()}
    frame = {name: value[0] for name, value in ab.items()}

    def nothing() -> None:
        return None

    def outputs(_: Any, y: Any) -> bytes:
        return b"".join(a.tobytes() for a in (y.values() if isinstance(y, dict) else [y]))

    def of_model(_: Any, model: Any) -> bytes:
        return model(x).tobytes()

    def of_stream(_: Any, stream: Any) -> bytes:
        return outputs(None, stream.run(x[:3]))

    def state(stream: Any) -> Any:
        return {name: value.tobytes() for name, value in stream.state.items()}

    def then(stream: Any, y: Any) -> bytes:
        return outputs(None, y) + b"".join(state(stream).values())

    def started(model: Any, given: Any, **options: Any) -> Callable[[], Any]:
        def make() -> Any:
            stream = model.stream(**options)
            stream.step(given)
            return stream

        return make

    def many(capacity: int = 1) -> Any:
        streams = lstm.streams(capacity)
        streams.remove(streams.add())  # the next handle is large, an object of its own
        streams.step([streams.add()], x[0])
        return streams

    def emptied() -> Any:
        streams = many()
        streams.remove(streams.handles[0])
        return streams

    def handles(streams: Any) -> Any:
        return [(h, {k: v.tobytes() for k, v in streams.state(h).items()}) for h in streams.handles]

    def of_many(streams: Any, y: Any) -> bytes:
        given = sorted(streams.handles)
        steps = streams.step(given, np.repeat(x[1], len(given), 0)).tobytes() if given else b""
        return steps + (y.tobytes() if isinstance(y, np.ndarray) else b"")

    def come_and_go(streams: Any) -> Any:
        (first,) = streams.handles
        return streams.step([first], x[0])

    other = started(lstm, x[5])().state
    mapped = np.memmap(path, np.uint8, "r")
    return {
        "load_file": Case(nothing, lambda _: rnnrt.load(path), of_model),
        "load_bytes": Case(nothing, lambda _: rnnrt.load(blob), of_model),
        "load_mmap": Case(nothing, lambda _: rnnrt.load(mapped), of_model),
        "load_threads": Case(nothing, lambda _: rnnrt.load(path, threads=2), of_model),
        "load_isa": Case(nothing, lambda _: rnnrt.load(path, isa="scalar"), of_model),
        "pickle": Case(nothing, lambda _: pickle.loads(pickle.dumps(lstm)), of_model),
        "call": Case(nothing, lambda _: lstm(x), outputs),
        "call_two": Case(nothing, lambda _: two(ab), outputs),
        "call_batch_first": Case(nothing, lambda _: batch_first(bt), outputs),
        "stream": Case(nothing, lambda _: lstm.stream(), of_stream),
        "stream_threads": Case(nothing, lambda _: lstm.stream(threads=2), of_stream),
        "first_step_threads": Case(lambda: lstm.stream(threads=2), lambda s: s.step(x[0]), then, state),
        "step": Case(started(lstm, x[0]), lambda s: s.step(x[1]), then, state),
        "step_two": Case(started(two, frame), lambda s: s.step(frame), then, state),
        "run": Case(started(lstm, x[0]), lambda s: s.run(x), then, state),
        "run_two": Case(started(two, frame), lambda s: s.run(cut), then, state),
        "run_batch_first": Case(lambda: batch_first.stream(2), lambda s: s.run(bt), then, state),
        "set_state": Case(started(lstm, x[0]), lambda s: s.set_state(other), lambda s, _: then(s, x[0]), state),
        "state": Case(started(lstm, x[0]), lambda s: s.state, outputs, state),
        "clone": Case(started(lstm, x[0]), lambda s: s.clone(), of_stream, state),
        "reset": Case(started(lstm, x[0]), lambda s: s.reset(), lambda s, _: then(s, x[0]), state),
        "close": Case(started(lstm, x[0], threads=2), lambda s: s.close(), lambda s, _: repr(s.pool.workers).encode()),
        "streams": Case(nothing, lambda _: lstm.streams(3), lambda _, s: of_many(s, s.add())),
        "add": Case(many, lambda s: s.add(), of_many, handles),
        "add_again": Case(emptied, lambda s: s.add(), of_many, handles),
        "add_state": Case(many, lambda s: s.add(other), of_many, handles),
        "step_of_many": Case(many, come_and_go, of_many, handles),
        "remove": Case(many, lambda s: s.remove(s.handles[0]), of_many, handles),
        "profile": Case(nothing, lambda _: two.profile(seconds=1e-9).nodes, lambda _, n: repr(len(n)).encode()),
    }


def threads() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/task"))


class Tried(NamedTuple):
    """What came of an operation."""

    refused: bool
    """An allocation was."""
    failed: bool
    leaked: int
    """Blocks that nobody gave back after a failure."""


def attempt(case: Case, at: int, forever: int, expected: bytes) -> Tried:
    """Refuse the allocation `at` (and what follows), then try again."""
    made = case.make()
    before = case.unchanged(made)
    found = None
    AT.value, FOREVER.value, COUNT.value, ALIVE.value = at, forever, 0, 0
    failed, leaked = False, 0
    try:
        ON.value = 1
        found = case.act(made)
        ON.value = 0
    except REFUSED:
        ON.value = 0
        failed = True
    refused = COUNT.value > at
    if failed:
        assert case.unchanged(made) == before, f"allocation {at}: half done"
        found = case.act(made)
    assert case.bits(made, found) == expected, f"allocation {at}: other bits"
    del made, found, before
    if failed and not EVERYTHING.value:  # the interpreter has its own ways
        gc.collect()
        leaked = ALIVE.value
    return Tried(refused, failed, leaked)


def starve(case: Case) -> tuple[int, int]:
    """Refuse every allocation; return how many that were and how often the operation failed."""
    for _ in range(3):  # caches fill
        made = case.make()
        expected = case.bits(made, case.act(made))
    del made
    gc.collect()
    before, tries, failures = threads(), 0, 0
    for forever in (0, 1):
        at, tried = 0, Tried(True, False, 0)
        while tried.refused:
            for _ in range(4):  # what a cache keeps it keeps once
                tried = attempt(case, at, forever, expected)
                if not tried.leaked:
                    break
            assert not tried.leaked, f"allocation {at}: {tried.leaked} blocks leaked"
            assert threads() == before, f"allocation {at}: {threads() - before} threads leaked"
            at, tries, failures = at + 1, tries + tried.refused, failures + tried.failed
    return tries, failures


def main() -> None:
    """Command line."""
    name, folder, *everything = sys.argv[1:]
    assert _SHIM.starve_look(), "rnnrt, numpy or the interpreter is not where it was expected"
    EVERYTHING.value = bool(everything)
    tries, failures = starve(cases(Path(folder))[name])
    print(f"{name}: {tries} allocations refused, {failures} failures")


if __name__ == "__main__":
    main()
