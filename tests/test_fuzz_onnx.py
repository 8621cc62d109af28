"""Damaged ONNX models: a file that loads or an error that says why not, never anything else."""

from __future__ import annotations

import random
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import helper
from rnnrt.converters import convert

import fuzz_onnx
from rnnrt.errors import RnnrtError

FOUND = sorted((Path(__file__).parent / "fuzz" / "onnx").iterdir())
MUTANTS = 1500


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """So that a model that asks for too much fails here, not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (fuzz_onnx.MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    found = [content for _, content in fuzz_onnx.seeds()]
    assert len(found) > 100
    return found


@pytest.mark.parametrize("path", FOUND, ids=lambda p: p.name)
def test_what_was_found_is_refused(path: Path) -> None:
    with pytest.raises(RnnrtError, match=r"\w"):
        convert.prepare(path.read_bytes())


def test_seeds_convert(seeds: list[bytes]) -> None:
    outcomes = Counter(fuzz_onnx.attempt(content) for content in seeds)
    assert outcomes["converted"] > 0.9 * len(seeds), outcomes


def test_mutants(seeds: list[bytes]) -> None:
    r = random.Random(20)
    outcomes = Counter(fuzz_onnx.attempt(fuzz_onnx.mutate(r.choice(seeds), r)) for _ in range(MUTANTS))
    assert outcomes.total() == MUTANTS
    for kind in ("converted", "ModelFormatError", "UnsupportedError"):
        assert outcomes[kind] > MUTANTS / 20, outcomes


@pytest.mark.parametrize("mutation", dict.fromkeys(fuzz_onnx.MUTATIONS), ids=lambda m: m.__name__.strip("_"))
def test_every_mutation_changes_something(mutation: fuzz_onnx.Mutation, seeds: list[bytes]) -> None:
    r, changed = random.Random(0), 0
    for content in seeds:
        model = onnx.ModelProto.FromString(content)
        try:
            mutation(model, r)
        except Exception:  # no such place in this model
            continue
        changed += model != onnx.ModelProto.FromString(content)
        fuzz_onnx.attempt(model.SerializeToString())
    assert changed > 3


def test_a_bug_would_be_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(source: object) -> None:
        raise KeyError("axis")

    graph = helper.make_graph([], "g", [], [])
    monkeypatch.setattr(convert, "prepare", broken)
    with pytest.raises(fuzz_onnx.Finding, match="KeyError") as caught:
        fuzz_onnx.attempt(helper.make_model(graph).SerializeToString())
    assert "test_fuzz_onnx.py" in fuzz_onnx.place(caught.value)
    assert fuzz_onnx.keep(tmp_path, b"model", caught.value).read_bytes() == b"model"
