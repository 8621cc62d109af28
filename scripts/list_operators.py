"""Runs onnx's node tests of every operator that rnnrt claims, and writes the list of them into docs/operators.md.

    python scripts/list_operators.py            # writes it
    python scripts/list_operators.py --check    # fails where the file is not what this would write

What stands above the marker in that file is written by hand and stays.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests
from rnnrt.converters import backend
from rnnrt.converters.lower import LOWERINGS
from rnnrt.converters.operators import OPERATORS
from rnnrt.converters.reference_windows import WINDOWED

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "operators.md"
MARKER = "<!-- What follows is written by scripts/list_operators.py. -->"

RECURRENT = ("RNN", "GRU", "LSTM")
# Operators that do not compute: they vanish or become a Reshape.
REMOVED = ("Dropout", "Flatten", "Identity")
CLAIMED = {*OPERATORS, *LOWERINGS, *REMOVED}
FREE = {"Constant"}  # may stand beside claimed operators in a test

FLOAT = onnx.TensorProto.FLOAT
COMPUTED = (FLOAT, onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
OF_INTEGERS = {"Mod", "OneHot"}  # and the other way round
OF_FLOATS = {
    "Pow",
    "CumSum",
}  # of claimed operators that ONNX has for integers, too: those that rnnrt has for floats only

# Why a claimed operator's test is not run: the first reason that applies.
TYPES = "a type other than float32, int32, int64 and bool"
INTEGERS, FLOATS = "of integers", "of floats, or fmod"
SCATTERED = "writes to places that are no whole slices"
SORTED = "sorts more than one element"
OLD = "an operator set before 7"
WRAP = "mode wrap"
REDUCTION = "a reduction while writing"
DIAGONAL = "a letter twice in one operand"
EMPTY = "a dimension of 0; only time and batch may be empty"
TRAINING = "training, or a mask that only training needs"
THREE_DIMENSIONS = "a window over three dimensions"
INDICES_OF_MAXIMA = "the indices of the maxima"


@dataclass
class Row:
    """One operator's tests: names that passed, names that are not run with the reason."""

    passed: list[str] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)


def node_tests() -> Iterator[Any]:
    """Every node test of the installed onnx that consists of claimed operators."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx computes its expected values on import, divisions by zero included
        tests = load_model_tests(kind="node")
    for test in tests:
        if test.model is None:
            continue
        used = {node.op_type for node in test.model.graph.node}
        standard = all(node.domain in ("", "ai.onnx") for node in test.model.graph.node)
        if standard and used & CLAIMED and used <= CLAIMED | FREE:
            yield test


def operators_of(test: Any) -> list[str]:
    """The claimed operators of a test."""
    return sorted({node.op_type for node in test.model.graph.node} & CLAIMED)


def exclusion(test: Any) -> str:
    """Why a test can't be run; an empty string where it can."""
    graph = test.model.graph
    for node in graph.node:
        training = any(a.name == "training_mode" and a.i for a in node.attribute)
        if training or (node.op_type == "Dropout" and (len(node.output) > 1 or len(node.input) > 2)):
            return TRAINING
    for node in graph.node:
        if node.op_type in WINDOWED and any(np.asarray(a).ndim > 4 for a in test.data_sets[0][0]):
            return THREE_DIMENSIONS
        if node.op_type == "MaxPool" and len(node.output) > 1:
            return INDICES_OF_MAXIMA
    if test.model.opset_import[0].version < 7:
        return OLD
    if not all(v.type.tensor_type.elem_type in COMPUTED for v in (*graph.input, *graph.output)):
        return TYPES
    for node in graph.node:
        first = next((v for v in graph.input if v.name == node.input[0]), None) if node.input else None
        if node.op_type in OF_FLOATS and first is not None and first.type.tensor_type.elem_type != FLOAT:
            return INTEGERS
        if node.op_type in OF_INTEGERS and first is not None and first.type.tensor_type.elem_type == FLOAT:
            return FLOATS
        if any(a.name == "fmod" and a.i for a in node.attribute):
            return FLOATS
        attributes = {a.name: a.s.decode() for a in node.attribute}
        if node.op_type == "ScatterElements" and "axis" not in attributes:
            return SCATTERED
        if node.op_type == "TopK":
            return SORTED
        if attributes.get("mode") == "wrap":
            return WRAP
        if attributes.get("reduction", "none") != "none":
            return REDUCTION
        if any(
            len(set(t)) < len(t) for t in attributes.get("equation", "").replace(".", "").partition("->")[0].split(",")
        ):
            return DIAGONAL
    if any(
        np.asarray(a).size == 0 and np.asarray(a).dtype.kind in "fb" for arrays in test.data_sets[0] for a in arrays
    ):
        return EMPTY
    return ""


def run(test: Any) -> None:
    """Run one test through the backend.

    Raises
    ------
    AssertionError
        A result differs in shape, type or by more than the test's own tolerance.
    """
    prepared = backend.prepare(test.model)
    for inputs, expected in test.data_sets:
        found = prepared.run(list(inputs))
        assert len(found) == len(expected)
        for y, want in zip(found, expected, strict=True):
            assert (y.shape, y.dtype) == (want.shape, want.dtype)
            np.testing.assert_allclose(y, want, rtol=test.rtol, atol=test.atol)


def rows() -> dict[str, Row]:
    """Run everything, by operator; AssertionError names the first test that fails."""
    found = {name: Row() for name in sorted(CLAIMED)}
    for test in node_tests():
        reason = exclusion(test)
        if not reason:
            try:
                run(test)
            except Exception as error:
                raise AssertionError(f"node test {test.name}: {error}") from error
        for name in operators_of(test):
            if reason:
                found[name].excluded.append((test.name, reason))
            else:
                found[name].passed.append(test.name)
    return found


def way(name: str) -> str:
    """How rnnrt has an operator."""
    if name in OPERATORS:
        return "runtime, code " + str(OPERATORS[name].code)
    return "removed" if name in REMOVED else "made of others"


def text(found: dict[str, Row]) -> str:
    """The generated part of the document."""
    ran = {name for row in found.values() for name in row.passed}
    left = {name for row in found.values() for name, _ in row.excluded}
    recurrent = {name for op in RECURRENT for name in found[op].passed}
    lines = [
        MARKER,
        "",
        f"## Node tests of onnx {onnx.__version__}",
        "",
        f"{len(ran)} tests pass, {len(recurrent)} of them of RNN, GRU and LSTM; {len(left)} are not run, for one of",
        "the reasons in the last column. A claimed operator without tests of its own is covered by rnnrt's.",
        "",
        "| Operator | How | Tests passed | Not run |",
        "|---|---|---|---|",
    ]
    for name, row in found.items():
        reasons = sorted({reason for _, reason in row.excluded})
        counts = [f"{sum(r == reason for _, r in row.excluded)}: {reason}" for reason in reasons]
        lines.append(f"| {name} | {way(name)} | {len(row.passed)} | {'; '.join(counts)} |")
    lines += ["", "### Tests that pass", ""]
    for name, row in found.items():
        if row.passed:
            lines.append(f"- **{name}**: {', '.join(n.removeprefix('test_') for n in sorted(row.passed))}")
    lines += ["", "### Tests that are not run", ""]
    for name, row in found.items():
        for reason in sorted({reason for _, reason in row.excluded}):
            names = sorted(n.removeprefix("test_") for n, r in row.excluded if r == reason)
            lines.append(f"- **{name}** ({reason}): {', '.join(names)}")
    return "\n".join(lines) + "\n"


def document(found: dict[str, Row]) -> str:
    """The whole file: what is written by hand, then the list."""
    by_hand = DOCUMENT.read_text(encoding="utf-8").split(MARKER)[0] if DOCUMENT.exists() else ""
    return by_hand + text(found)


def main() -> int:
    """Command line: 0 when the file is current (or has been written)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the file is not current")
    wanted = document(rows())
    if not parser.parse_args().check:
        DOCUMENT.write_text(wanted, encoding="utf-8")
        print(f"{DOCUMENT.relative_to(ROOT)}: written")
        return 0
    if DOCUMENT.read_text(encoding="utf-8") != wanted:
        print(f"{DOCUMENT.relative_to(ROOT)} is not current: python scripts/list_operators.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
