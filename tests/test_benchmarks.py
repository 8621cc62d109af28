"""What benchmarks/ computes and prints; no time is asserted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import conftest

sys.path.append(str(conftest.ROOT / "benchmarks"))

import layers
import measure
import readme_tables
from real_models import FRAMES, Case, Part


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_layer_s_onnx_is_its_float64_reference(cell: str, tmp_path: Path) -> None:
    layer = layers.Layer(cell, 5, 12)
    x = layer.x(9, 2)
    session = conftest.session(layer.onnx(tmp_path))
    states = {name: np.zeros((1, 2, 12), np.float32) for name, _ in layer.states}
    np.testing.assert_allclose(session.run(["y"], {"x": x, **states})[0], layer.reference(x), rtol=0, atol=1e-6)
    assert layer.multiplies == sum(w.size for w in (layer.weights().w, layer.weights().r))


@pytest.mark.parametrize(("cell", "int8"), [("gru", False), ("lstm", True)])
def test_a_row_has_every_contender(cell: str, int8: bool, tmp_path: Path) -> None:
    """rnnrt's times beside onnxruntime's, whose quantize_dynamic has nothing for GRU."""
    layer = layers.Layer(cell, 8, 8)
    case = Case("tiny", (Part(layer.onnx(tmp_path, "T", 1), layer.x(FRAMES, 1), layer.states),))
    row = measure.measure("layers", case, tmp_path, 0.02)
    assert set(row["p50_us"]) == {"rnnrt int8", "rnnrt f32", "onnxruntime f32", "onnxruntime IO binding"} | (
        {"onnxruntime int8"} if int8 else set()
    )
    assert min(row["p50_us"].values()) > 0
    assert row["error"]["rnnrt f32"] < 1e-5
    assert row["sqnr_db"]["rnnrt int8"] > 25
    assert row["quantize_dynamic"] == ("LSTM" if int8 else "nothing")


def test_times_of_two_networks_are_added_and_the_worse_error_counts(tmp_path: Path) -> None:
    parts = []
    for hidden in (4, 40):
        layer = layers.Layer("lstm", hidden, hidden)
        parts.append(Part(layer.onnx(tmp_path, "T", 1), layer.x(FRAMES, 1), layer.states))
    row = measure.measure("models", Case("pair", tuple(parts)), tmp_path, 0.02)
    alone = [measure.prepare(part, False, tmp_path)[1]["sqnr_db"]["rnnrt int8"] for part in parts]
    assert row["sqnr_db"]["rnnrt int8"] == min(alone)
    assert len(row["p50_us"]) == 5


def measured() -> dict[str, Any]:
    """Invented times."""
    names = ("rnnrt int8", "rnnrt f16", "rnnrt f32", "onnxruntime f32", "onnxruntime IO binding", "onnxruntime int8")
    p50 = dict(zip(names, (2.0, 3.0, 4.0, 7.0, 6.0, 5.0), strict=True))
    rows = [
        {"table": "models", "name": "N, 1 ms", "p50_us": p50, "quantize_dynamic": "LSTM",
         "error": {"rnnrt f32": 2e-7}, "sqnr_db": {"rnnrt int8": 40.0, "onnxruntime int8": 35.0}},
        {"table": "layers", "name": "GRU 8, 8", "p50_us": {n: p50[n] for n in names[:5] if "f16" not in n},
         "quantize_dynamic": "nothing", "error": {"rnnrt f32": 2e-7}, "sqnr_db": {"rnnrt int8": 41.0}},
    ]  # fmt: skip
    return {"results": rows, "machine": {"cpu": "CPU"}, "versions": {"rnnrt": "1"}}


def test_the_page_has_one_row_a_case() -> None:
    lines = readme_tables.tables(measured()).splitlines()
    assert "| N, 1 ms | 2 | 3 | 4 | 7 | 6 | 5 | 1.75 | 3.50 | 2.50 | 40.0 | 35.0 | 2.0e-07 |" in lines
    assert "| GRU 8, 8 | 2 |  | 4 | 7 | 6 |  | 1.75 | 3.50 | 3.00 | 41.0 |  | 2.0e-07 |" in lines
    assert "| LSTM | N, 1 ms |" in lines
    assert "| nothing | GRU 8, 8 |" in lines
    table = [line.count("|") for line in lines if line.startswith("|")]
    assert table[:3] == [14, 14, 14]


def test_readme_has_its_rows_and_says_which_is_fastest() -> None:
    found = measured()
    with pytest.raises(ValueError, match="NSNet2 16 kHz was not measured"):
        readme_tables.summary(found)
    row = found["results"][0]
    found["results"] = [{**row, "name": f"{start}, 1 ms"} for start in readme_tables.README_ROWS]
    lines = readme_tables.summary(found).splitlines()
    assert "| NSNet2 16 kHz, 1 ms | 4 | 2 | 7 | 5 (int8) | 1.75 | 3.50 | 2.50 |" in lines
    assert len([line for line in lines if line.startswith("|")]) == 2 + len(readme_tables.README_ROWS)
    readme = (conftest.ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_tables.LAYERS in readme, "the table was made by another readme_tables.py"


def test_readme_tables_are_replaced_between_their_markers(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n", encoding="utf-8")
    readme_tables.replace(path, "| new |\n")
    assert path.read_text(encoding="utf-8") == "before\n<!-- bench:begin -->\n| new |\n<!-- bench:end -->\nafter\n"
    path.write_text("no markers\n", encoding="utf-8")
    with pytest.raises(ValueError, match="bench:begin"):
        readme_tables.replace(path, "x")
