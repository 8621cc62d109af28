"""A GRU that an exporter wrote with the wrong linear_before_reset: warned of, corrected on demand, then verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from rnnrt.converters import convert, exporter_faults, from_onnx

import rnnrt
from onnx_graphs import model, recurrent
from rnnrt.errors import UnsupportedError


def gru(producer: str, op: str = "GRU", **attrs: int) -> bytes:
    """A model of one layer, by this producer."""
    nodes, constants = recurrent(op, "x", "y", 5, 7, **attrs)
    proto = onnx.load_from_string(model(nodes, {"x": ["T", "B", 5]}, ["y"], constants))
    proto.producer_name, proto.producer_version = producer, "2.9.0"
    return bytes(proto.SerializeToString())


def warnings_of(data: bytes) -> list[str]:
    return [n for n in convert.prepare(data).notes if "WARNING" in n]


def test_a_gru_of_pytorch_with_the_wrong_form_is_warned_of() -> None:
    (note,) = warnings_of(gru("pytorch"))
    for word in ("GRU 'y'", "pytorch 2.9.0", "pytorch#189225", "--linear-before-reset 1"):
        assert word in note
    assert warnings_of(gru("pytorch", linear_before_reset=0)) == [note]


def test_nothing_else_is_warned_of() -> None:
    assert not warnings_of(gru("pytorch", linear_before_reset=1))
    assert not warnings_of(gru("tf2onnx"))
    assert not warnings_of(gru("pytorch", op="LSTM"))


def test_the_correction_is_converted_and_verified(tmp_path: Path) -> None:
    (tmp_path / "gru.onnx").write_bytes(gru("pytorch"))
    for source in (tmp_path / "gru.onnx", gru("pytorch")):
        report = convert.convert(source, tmp_path / "gru.rnnrt", linear_before_reset=1, frames=20)
        assert not any("WARNING" in note for note in report.notes)
        assert "GRU 'y': linear_before_reset is 0 in the file, 1 as asked for" in report.notes
        assert report.verification is not None
        assert {c.against for c in report.verification.comparisons} == {"onnxruntime", "float64"}
    x = np.random.default_rng(0).standard_normal((9, 1, 5)).astype(np.float32)
    _, right = convert.build(b"", convert.prepare(gru("pytorch", linear_before_reset=1)))
    _, wrong = convert.build(b"", convert.prepare(gru("pytorch")))
    y = rnnrt.load(tmp_path / "gru.rnnrt")(x)
    np.testing.assert_array_equal(y, rnnrt.load(right)(x))
    assert np.abs(y - rnnrt.load(wrong)(x)).max() > 1e-3
    assert convert.verify_file(tmp_path / "gru.rnnrt", tmp_path / "gru.onnx", linear_before_reset=1, frames=20)
    assert convert.verify_file(tmp_path / "gru.rnnrt", tmp_path / "gru.onnx", frames=20)  # it was told when converted
    assert not convert.verify_file(tmp_path / "gru.rnnrt", tmp_path / "gru.onnx", linear_before_reset=0, frames=20)


def test_0_says_that_the_file_is_right() -> None:
    assert not [n for n in convert.prepare(gru("pytorch"), linear_before_reset=0).notes if "WARNING" in n]


def test_refuses_what_makes_no_sense() -> None:
    graph = from_onnx.load(gru("pytorch", op="LSTM"))
    with pytest.raises(UnsupportedError, match="no GRU"):
        exporter_faults.check(graph, 1)
    with pytest.raises(ValueError, match="0 or 1"):
        exporter_faults.check(graph, 2)


def test_the_original_graph_is_not_changed() -> None:
    graph = from_onnx.load(gru("pytorch"))
    exporter_faults.check(graph, 1)
    assert graph.nodes[0].attrs["linear_before_reset"] == 0
    assert not graph.notes
