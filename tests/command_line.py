"""What the tests of the command line share: running it, its JSON, and a small model for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from rnnrt.cli.app import app

Invoke = Callable[..., Result]


def invoke(*arguments: object) -> Result:
    """Run one command in this process."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def in_process_of_its_own(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a user starts it, with pipes for stdout and stderr."""
    command = [sys.executable, "-m", "rnnrt.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def document(result: Result | subprocess.CompletedProcess[str], command: str) -> dict[str, Any]:
    """The one JSON document on stdout; standard JSON, so without NaN and Infinity."""

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    found: dict[str, Any] = json.loads(result.stdout, parse_constant=refuse)
    assert found["schema"] == f"rnnrt.{command}/1"
    return found


def gru_onnx(path: Path, hidden: int = 6, features: int = 5, bad: Sequence[str] = ()) -> Path:
    """A GRU [T, B, features] -> y [T, 1, B, hidden], zero initial state; `bad` operators are put behind it."""
    rng = np.random.default_rng(3)
    shapes = {"W": (1, 3 * hidden, features), "R": (1, 3 * hidden, hidden), "B": (1, 6 * hidden)}
    weights = [
        numpy_helper.from_array(rng.uniform(-0.4, 0.4, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    attributes = {"hidden_size": hidden, "linear_before_reset": 1}
    nodes = [helper.make_node("GRU", ["x", "W", "R", "B"], ["y0"], name="the_gru", **attributes)]
    nodes += [helper.make_node(op, [f"y{i}"], [f"y{i + 1}"], name=f"bad_{i}") for i, op in enumerate(bad)]
    last = f"y{len(bad)}"
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", features])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
