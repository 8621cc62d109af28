"""benchmarks/peers.py: every library in a process of its own, checked before it is timed; tables, ratios, picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import conftest

sys.path.append(str(conftest.ROOT / "benchmarks"))

import peer_backends
import peer_report
import peers
from layers import Layer


def test_a_tiny_run_measures_and_checks_everybody(tmp_path: Path) -> None:
    options = argparse.Namespace(
        sizes=["8,16"], cells="lstm", peers="rnnrt,onnxruntime,LiteRT,limit", modes="stream,sequence-32", rounds=1,
        seconds=0.001, tensorflow_python=None,
    )  # fmt: skip
    measured = peers.run(options)
    results = {(r["mode"], r["library"], r["name"]): r for r in measured["results"] if r["name"]}
    assert "LiteRT" in measured["absent"]
    for mode in ("stream", "sequence-32"):
        for library, name in (("rnnrt", "int8"), ("rnnrt", "f32"), ("onnxruntime", "f32"), ("onnxruntime", "int8")):
            result = results[mode, library, name]
            assert result["p50_us"] > 0
            assert result["sqnr_db"] > (100 if name == "f32" else 30)
    for name in ("f32 in C", "int8 in C"):
        python, c = results["stream", "rnnrt", name.split()[0]], results["stream", "rnnrt", name]
        assert c["p50_us"] > 0
        assert c["error"] == python["error"], "the same bits"
    limit = results["stream", "limit", "int8"]
    assert limit["bytes"] == Layer("lstm", 8, 16).multiplies
    assert limit["best_us"] > 0
    text = peer_report.tables(measured)
    assert "### LSTM, stepping, batch 1" in text
    assert "rnnrt int8 in C / load limit" in text
    peer_report.draw(measured, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


class Wrong:
    """A library that computes zeros."""

    version = "0"

    def __init__(self, *_: Any) -> None:
        pass

    def peers(self, layer: Layer, mode: peer_backends.Mode) -> list[peer_backends.Peer]:
        """One that is wrong, one that can't be asked."""
        work = peer_backends.Work("zeros", lambda: None)
        return [peer_backends.Peer("zeros", work, lambda: np.zeros((5, 1, layer.hidden)), 1)]


def test_who_is_wrong_gets_no_time(tmp_path: Path) -> None:
    layer = Layer("gru", 3, 4)
    peers.prepare([layer], ["stream"], tmp_path, None)
    reference = np.load(tmp_path / "gru-3-4-1.npy")
    assert reference.shape == (peer_backends.TIME, 1, 4)
    (peer,) = Wrong().peers(layer, peer_backends.STREAM)
    about = peers._described(peer, reference)
    assert about["sqnr_db"] == 0
    assert about["error"] == np.abs(reference[-5:]).max()

    class Pipe(peers.Process):
        def ask(self, message: tuple[Any, ...]) -> Any:
            assert message[0] == "load", "timed although it is wrong"
            return [about]

    (result,) = peers.measure([Pipe("torch", None, None, {})], layer, "stream", 2, 0.001)  # type: ignore[arg-type]
    assert result["failed"] == "wrong: 0.0 dB"
    assert "p50_us" not in result


def result(library: str, name: str, us: float, cell: str = "gru") -> dict[str, Any]:
    return {"library": library, "name": name, "layer": f"{cell}-8-8", "cell": cell, "inputs": 8, "hidden": 8,
            "mode": "stream", "bytes": 100.0, "sqnr_db": 40.0, "p50_us": us, "best_us": us / 2}  # fmt: skip


def test_ratios_and_tables() -> None:
    results = [
        result("rnnrt", "int8", 2.0), result("rnnrt", "int8 in C", 1.5), result("rnnrt", "f32", 4.0),
        result("ORT", "f32", 9.0), result("ORT", "int8 IO binding", 8.0), result("X", "int4", 3.0),
        result("limit", "int8", 2.0), result("rnnrt", "int8", 4.0, "lstm"),
    ]  # fmt: skip
    found = {title: row["gru-8-8"] for title, row in peer_report.ratios(results[:-1]).items()}
    assert found == {
        "fastest peer (8 bits or more) / rnnrt int8": 4.0,
        "fastest f32 peer / rnnrt f32": pytest.approx(2.25),
        "rnnrt int8 in C / load limit": 1.5,
        "ceiling: fastest peer (8 bits or more) / load limit int8": 8.0,
    }
    machine = {"cpu": "CPU", "cores": 2, "load": 0.0, "platform": "P", "python": "3"}
    failed = {**result("Y", "int8", 1.0), "failed": "a\nreason"}
    del failed["p50_us"]
    results[0]["cpu_share"] = 0.5
    text = peer_report.tables({"machine": machine, "versions": {"rnnrt": "1"}, "absent": {"Z": "why"},
                               "results": [*results, failed]})  # fmt: skip
    assert "| rnnrt int8 | 2.00~ | 40 |" in text
    assert "| rnnrt int8 | 0.50 |" in text.split("### GRU over LSTM")[1]
    assert "- Y int8, gru-8-8, stream: reason" in text
    assert "Absent: Z (why)." in text
