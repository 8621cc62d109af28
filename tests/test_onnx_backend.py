"""rnnrt as an onnx backend: onnx's own node tests, and the list of them in docs/operators.md."""

from __future__ import annotations

import dataclasses
import re
import unittest
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.backend.test.runner import Runner
from rnnrt.converters import backend
from rnnrt.converters.backend import RnnrtBackend

import list_operators
from rnnrt.errors import UnsupportedError

RECURRENT_TESTS = 18


@pytest.fixture(scope="module")
def rows() -> dict[str, list_operators.Row]:
    """Every node test of every claimed operator has been run; one that fails fails here."""
    return list_operators.rows()


def test_onnx_test_runner_passes_all_recurrent_tests() -> None:
    """By onnx's own runner, without anything of ours between."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = Runner(RnnrtBackend, __name__)
    runner.include(r"^test_(?:simple_)?(?:rnn|gru|lstm)_.*_cpu$")
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(runner.test_cases["OnnxBackendNodeModelTest"]).run(result)
    assert not result.failures, result.failures
    assert not result.errors, result.errors
    assert result.testsRun - len(result.skipped) == RECURRENT_TESTS


def test_every_recurrent_test_is_run(rows: dict[str, list_operators.Row]) -> None:
    names = {name for op in list_operators.RECURRENT for name in rows[op].passed}
    assert len(names) == RECURRENT_TESTS
    assert not any(rows[op].excluded for op in list_operators.RECURRENT)


def test_most_claimed_operators_have_tests(rows: dict[str, list_operators.Row]) -> None:
    assert sum(bool(row.passed) for row in rows.values()) >= 60
    assert len({name for row in rows.values() for name in row.passed}) >= 300


def test_document_is_current(rows: dict[str, list_operators.Row]) -> None:
    text = list_operators.DOCUMENT.read_text(encoding="utf-8")
    (version,) = re.findall(r"^## Node tests of onnx (\S+)$", text, flags=re.MULTILINE)
    if version == onnx.__version__:
        assert text == list_operators.document(rows), "not current: python scripts/list_operators.py"
        return
    # another onnx has other tests: what the document promises must hold as far as they are there
    listed = set(re.findall(r"\w+", text.split("### Tests that pass")[1].split("### Tests that are not run")[0]))
    excluded = {name.removeprefix("test_") for row in rows.values() for name, _ in row.excluded}
    assert not listed & excluded


def test_a_wrong_result_would_be_noticed() -> None:
    test = next(t for t in list_operators.node_tests() if t.name == "test_lstm_defaults")
    inputs, expected = test.data_sets[0]
    wrong = dataclasses.replace(test, data_sets=[(inputs, [y + np.float32(0.01) for y in expected])])
    with pytest.raises(AssertionError):
        list_operators.run(wrong)


def gemm(**attrs: Any) -> onnx.NodeProto:
    return onnx.helper.make_node("Gemm", ["a", "b"], ["y"], **attrs)


def test_run_node() -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((4, 3), np.float32)
    (y,) = backend.run_node(gemm(transB=1), [a, b])
    np.testing.assert_array_equal(y, a @ b.T)


def test_weights_may_change_from_call_to_call() -> None:
    """And what is converted for one array is not used for another."""
    make = onnx.helper.make_tensor_value_info
    given = [make("a", onnx.TensorProto.FLOAT, (2, 3)), make("b", onnx.TensorProto.FLOAT, (3, 4))]
    graph = onnx.helper.make_graph([gemm()], "g", given, [make("y", onnx.TensorProto.FLOAT, (2, 4))])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    rep = backend.prepare(model)
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    for factor in (1, 2, 1):
        b = np.full((3, 4), factor, np.float32)
        np.testing.assert_array_equal(rep.run({"a": a, "b": b}).y, a @ b)  # type: ignore[attr-defined]


def test_refuses_what_it_can_not_do() -> None:
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA:1")
    node = onnx.helper.make_node("Det", ["a"], ["y"])
    with pytest.raises(UnsupportedError, match="Det"):
        backend.run_node(node, [np.eye(2, dtype=np.float32)])
    with pytest.raises(ValueError, match="CUDA"):
        backend.run_node(gemm(), [np.eye(2, dtype=np.float32)] * 2, device="CUDA")
