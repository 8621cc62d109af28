"""RNN, GRU and LSTM over the full product of ONNX's attributes: thousands of seeded models through the real path.

Each model goes ONNX -> rnnrt and is compared with the float64 reference and, where it is right, with onnxruntime.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from rnnrt.converters import convert
from rnnrt.converters.quantize import sqnr_db
from rnnrt.converters.reference_recurrent import ACTIVATIONS, GATES, recurrent

import rnnrt

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

BLOCKS, MODELS_PER_BLOCK = 21, 100
TOLERANCE = 1e-5  # |d| / max(1, |reference|)
OPSETS = (7, 9, 11, 13, 14, 17, 21, 22)
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
SIZES = (1, 2, 3, 4, 5, 7, 8, 13, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65)


@dataclass
class Case:
    """One model. ``arrays``: the operator's inputs in ONNX's order; those named in ``feeds`` are graph inputs."""

    op: str
    attrs: dict[str, Any]
    arrays: list[Array | None]
    outputs: list[str]  # "" where left out
    opset: int
    feeds: dict[str, Array] = field(default_factory=dict)
    model: bytes = b""

    @property
    def time(self) -> int:
        assert self.arrays[0] is not None
        return int(self.arrays[0].shape[self.attrs.get("layout", 0)])

    @property
    def batch(self) -> int:
        assert self.arrays[0] is not None
        return int(self.arrays[0].shape[1 - self.attrs.get("layout", 0)])


INPUTS = ("x", "W", "R", "B", "lens", "h0", "c0", "P")


def random_functions(rng: np.random.Generator, op: str, directions: int) -> dict[str, Any]:
    """activations, activation_alpha, activation_beta: often none, any case, lists full, short or absent."""
    if rng.random() < 0.35:
        return {}
    names = [str(n) for n in rng.choice(list(ACTIVATIONS), FUNCTIONS[op] * directions)]
    if rng.random() < 0.3:
        names = DEFAULTS[op] * directions
    attrs: dict[str, Any] = {"activations": [_any_case(rng, n) for n in names]}
    for i, (name, low, high) in enumerate((("activation_alpha", 0.1, 0.9), ("activation_beta", 0.1, 0.9)), 1):
        takers = sum(ACTIVATIONS[n][i] is not None for n in names)
        count = int(rng.choice([takers, 0, takers // 2], p=[0.6, 0.25, 0.15]))
        if count:
            attrs[name] = [float(np.float32(v)) for v in rng.uniform(low, high, count)]
    return attrs


def _any_case(rng: np.random.Generator, name: str) -> str:
    return [name, name.lower(), name.upper(), name.swapcase()][int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]))]


def random_attributes(rng: np.random.Generator, op: str, opset: int) -> dict[str, Any]:
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    directions = 2 if direction == "bidirectional" else 1
    attrs: dict[str, Any] = {"hidden_size": int(rng.choice(SIZES)), **random_functions(rng, op, directions)}
    if direction != "forward" or rng.random() < 0.5:
        attrs["direction"] = direction
    if rng.random() < 0.3:
        attrs["clip"] = float(np.float32(rng.choice([0.05, 0.3, 1.0, 5.0])))
    if op == "GRU" and rng.random() < 0.7:
        attrs["linear_before_reset"] = int(rng.integers(2))
    if op == "LSTM" and rng.random() < 0.3:
        attrs["input_forget"] = int(rng.integers(2))
    if opset >= 14 and rng.random() < 0.4:
        attrs["layout"] = 1
    return attrs


def random_case(rng: np.random.Generator) -> Case:
    op, opset = str(rng.choice(list(GATES))), int(rng.choice(OPSETS))
    attrs = random_attributes(rng, op, opset)
    hidden, features = attrs["hidden_size"], int(rng.choice(SIZES))
    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    time = int(rng.choice([0, 1, 2, 3, 5, 9, 12], p=[0.04, 0.16, 0.2, 0.2, 0.2, 0.1, 0.1]))
    batch = int(rng.choice([0, 1, 2, 3, 33], p=[0.02, 0.4, 0.3, 0.26, 0.02]))
    layout = attrs.get("layout", 0)
    # larger weights make some of the unbounded activations chaotic: then nothing is comparable
    limit = 0.5 / np.sqrt(hidden)

    def weights(*shape: int) -> Array:
        return rng.uniform(-limit, limit, shape).astype(np.float32)

    def state() -> Array:
        shape = (batch, directions, hidden) if layout else (directions, batch, hidden)
        return rng.standard_normal(shape).astype(np.float32)

    rows = GATES[op] * hidden
    x = rng.standard_normal((batch, time, features) if layout else (time, batch, features)).astype(np.float32)
    arrays: list[Array | None] = [x, weights(directions, rows, features), weights(directions, rows, hidden)]
    arrays += [weights(directions, 2 * rows) if rng.random() < 0.6 else None]
    arrays += [rng.integers(0, time + 1, batch).astype(np.int32) if rng.random() < 0.4 else None]
    arrays += [state() if rng.random() < 0.5 else None]
    if op == "LSTM":
        arrays += [state() if rng.random() < 0.5 else None, None]
        arrays[7] = weights(directions, 3 * hidden) if rng.random() < 0.5 else None
    names = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    subsets = [s for s in itertools.product((0, 1), repeat=len(names)) if any(s)]
    chosen = subsets[int(rng.integers(len(subsets)))]
    case = Case(op, attrs, arrays, [n if c else "" for n, c in zip(names, chosen, strict=True)], opset)
    case.model = onnx_model(case, rng)
    return case


# ---- the ONNX file ----


class Writer:
    """Collects nodes and initializers; weights arrive over various ways."""

    def __init__(self, opset: int, rng: np.random.Generator) -> None:
        self.opset, self.rng = opset, rng
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def tensor(self, name: str, array: Array) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attrs: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, [output], **attrs))

    def deliver(self, name: str, array: Array) -> None:
        """Make `name` hold the array: an initializer, or the end of a chain of operators over constants."""
        way = int(self.rng.integers(7))
        if way == 1:
            value = numpy_helper.from_array(np.ascontiguousarray(array))
            self.nodes.append(helper.make_node("Constant", [], [name], value=value))
        elif way == 2:
            self.node("Identity", [self.tensor(f"{name}.i", array)], name)
        elif way == 3:
            perm = list(range(array.ndim))[::-1]
            self.node("Transpose", [self.tensor(f"{name}.t", array.transpose())], name, perm=perm)
        elif way == 4 and array.shape[1] > 1:
            at = int(self.rng.integers(1, array.shape[1]))
            parts = [self.tensor(f"{name}.{i}", a) for i, a in enumerate((array[:, :at], array[:, at:]))]
            self.node("Concat", parts, name, axis=1)
        elif way == 5:
            wide = self.tensor(f"{name}.wide", np.concatenate([array, np.ones_like(array[:, :2]), array], 1))
            self.slice(wide, name, array.shape[1])
        else:
            self.tensor(name, array)

    def slice(self, source: str, name: str, end: int) -> None:
        if self.opset < 10:
            self.node("Slice", [source], name, starts=[0], ends=[end], axes=[1])
            return
        numbers = [self.tensor(f"{name}.{k}", np.array([v])) for k, v in (("starts", 0), ("ends", end), ("axes", 1))]
        self.node("Slice", [source, *numbers], name)


def onnx_model(case: Case, rng: np.random.Generator) -> bytes:
    """The case's model; fills its ``feeds``."""
    writer = Writer(case.opset, rng)
    layout = case.attrs.get("layout", 0)
    assert case.arrays[0] is not None
    inputs = []
    for name, array in zip(INPUTS, case.arrays, strict=False):
        if array is None:
            continue
        if name == "x" or (name in ("lens", "h0", "c0") and (rng.random() < 0.7 or not case.batch)):
            shape: list[Any] = {
                "x": ["B", "T", array.shape[-1]] if layout else ["T", "B", array.shape[-1]],
                "lens": ["B"],
            }.get(name) or (["B", *array.shape[1:]] if layout else [array.shape[0], "B", array.shape[-1]])
            kind = TensorProto.INT32 if name == "lens" else TensorProto.FLOAT
            inputs.append(helper.make_tensor_value_info(name, kind, shape))
            case.feeds[name] = array
        elif name in ("lens", "h0", "c0"):
            shape = list(array.shape)
            writer.tensor(name, array)
        else:
            writer.deliver(name, array)
    if any(n in ("lens", "h0", "c0") and n not in case.feeds for n, a in zip(INPUTS, case.arrays) if a is not None):
        fixed = [case.batch if d == "B" else d for d in _dims(inputs[0])]  # constants fix the batch
        inputs[0] = helper.make_tensor_value_info("x", TensorProto.FLOAT, fixed)
        inputs[1:] = [
            helper.make_tensor_value_info(v.name, v.type.tensor_type.elem_type, list(case.feeds[v.name].shape))
            for v in inputs[1:]
        ]
    names = ["" if a is None else n for n, a in zip(INPUTS, case.arrays, strict=False)]
    while not names[-1]:
        names.pop()
    made = list(case.outputs)
    while not made[-1]:
        made.pop()
    writer.nodes.append(helper.make_node(case.op, names, made, name="cell", **case.attrs))
    ranks = {"Y": 4, "Y_h": 3, "Y_c": 3}
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * ranks[n]) for n in made if n]
    graph = helper.make_graph(writer.nodes, "random", inputs, outputs, writer.initializers)
    opset = [helper.make_opsetid("", case.opset)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


# ---- three ways to compute it ----


def by_reference(case: Case) -> dict[str, Array]:
    arrays = [a.astype(np.float64) if a is not None and a.dtype.kind == "f" else a for a in case.arrays]
    found = recurrent(case.op, case.attrs, arrays)
    return {n: y for n, y in zip(case.outputs, found, strict=True) if n}


def by_rnnrt(case: Case, mode: str | None = None) -> dict[str, Array]:
    """Through the converter; initial states that became state variables are set in a stream."""
    graph = convert.prepare(case.model)
    _, blob = convert.build(case.model, graph, mode)
    model = rnnrt.load(blob)
    feeds = {info.name: case.feeds[info.name] for info in model.inputs}
    carried = {info.name for info in model.states} & case.feeds.keys()
    assert feeds.keys() | carried == case.feeds.keys()
    if not carried or not case.batch:
        return named(model, model(feeds))
    stream = model.stream(case.batch if any("B" in info.shape for info in model.inputs) else 1)
    stream.set_state({**stream.state, **{name: case.feeds[name] for name in carried}})
    found = named(model, stream.run(feeds))
    after = stream.state
    return {**{state.output: after[state.name] for state in graph.states if state.name in carried}, **found}


def named(model: rnnrt.Model, result: Any) -> dict[str, Array]:
    return dict(result) if isinstance(result, dict) else {model.outputs[0].name: result}


def by_onnxruntime(case: Case) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(case.model, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    taken = {i.name for i in session.get_inputs()}
    return dict(zip(names, session.run(None, {n: a for n, a in case.feeds.items() if n in taken}), strict=True))


def scaled_error(found: Array, reference: Array) -> float:
    assert found.shape == reference.shape
    error = np.abs(found - reference) / np.maximum(1, np.abs(reference))
    return float(error.max(initial=0))


# ---- what onnxruntime gets wrong ----


def onnxruntime_fault(case: Case) -> str:
    """Why onnxruntime's result does not count for this model; an empty string where it does."""
    if case.attrs.get("layout"):
        return "refuses layout 1"
    if case.time == 0 or case.batch == 0:
        return "aborts the process (GRU: T = 0; GRU, LSTM: batch 0), or loses the initial state (RNN, LSTM: T = 0)"
    names = case.attrs.get("activations", [])
    if case.op == "RNN" and any(name not in ACTIVATIONS for name in names):
        return "refuses an activation of RNN that is not spelled exactly as in the specification, which says any case"
    alphas, betas = len(case.attrs.get("activation_alpha", ())), len(case.attrs.get("activation_beta", ()))
    for name in (BY_LOWER_CASE[n.lower()] for n in names):
        takes_alpha, takes_beta = (ACTIVATIONS[name][i] is not None for i in (1, 2))
        no_alpha, no_beta = takes_alpha and alphas == 0, takes_beta and betas == 0
        if (name in ("Affine", "ThresholdedRelu") and no_alpha) or (name == "ScaledTanh" and (no_alpha or no_beta)):
            return "takes 0 for an alpha (ScaledTanh: or beta) that is not given; the specification says 1"
        alphas, betas = alphas - (takes_alpha and alphas > 0), betas - (takes_beta and betas > 0)
    return ""


BY_LOWER_CASE = {name.lower(): name for name in ACTIVATIONS}


def small(op: str, attrs: dict[str, Any], time: int = 3, batch: int = 2) -> Case:
    """A model without anything optional."""
    rng = np.random.default_rng(7)
    arrays: list[Array | None] = [rng.standard_normal((time, batch, 4)).astype(np.float32)]
    arrays += [rng.uniform(-0.5, 0.5, (1, GATES[op] * 5, n)).astype(np.float32) for n in (4, 5)]
    if attrs.get("layout"):
        arrays[0] = np.ascontiguousarray(arrays[0].transpose(1, 0, 2)) if arrays[0] is not None else None
    case = Case(op, {"hidden_size": 5, **attrs}, arrays, ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2], 22)
    case.model = onnx_model(case, rng)
    return case


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("LSTM", {"layout": 1}),
        ("RNN", {"activations": ["tanh"]}),
        ("RNN", {"activations": ["Affine"]}),
        ("GRU", {"activations": ["Sigmoid", "ThresholdedRelu"]}),
        ("LSTM", {"activations": ["Sigmoid", "ScaledTanh", "Tanh"]}),
    ],
    ids=str,
)
def test_faults_of_onnxruntime_are_real(op: str, attrs: dict[str, Any]) -> None:
    """The list above shrinks when onnxruntime improves; rnnrt is right on each of them."""
    case = small(op, attrs)
    assert onnxruntime_fault(case)
    reference = by_reference(case)
    assert max(scaled_error(y, reference[n]) for n, y in by_rnnrt(case).items()) <= TOLERANCE
    try:
        found = by_onnxruntime(case)
    except Exception:  # its errors have no public base class
        return
    assert max(scaled_error(y, reference[n]) for n, y in found.items()) > 1e-2


@pytest.mark.parametrize(("op", "time", "batch"), [("GRU", 0, 2), ("GRU", 3, 0), ("LSTM", 3, 0)])
def test_onnxruntime_aborts_on_empty_input_and_rnnrt_does_not(op: str, time: int, batch: int, tmp_path: Path) -> None:
    case = small(op, {}, time, batch)
    found, reference = by_rnnrt(case), by_reference(case)
    assert {n: y.shape for n, y in found.items()} == {n: y.shape for n, y in reference.items()}
    for name, y in found.items():
        np.testing.assert_array_equal(y, reference[name])
    (tmp_path / "model.onnx").write_bytes(case.model)
    code = "import numpy, onnxruntime, sys\nonnxruntime.disable_telemetry_events()\n"
    code += "s = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
    code += f"s.run(None, {{'x': numpy.zeros(({time}, {batch}, 4), numpy.float32)}})"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.onnx")], capture_output=True, check=False)
    assert done.returncode < 0, "onnxruntime does not abort any more: take it off the list"


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("mode", [None, "int8"])
def test_a_nan_stays_visible(op: str, mode: str | None) -> None:
    """onnxruntime swallows it where there is a bias."""
    case = small(op, {})
    assert case.arrays[0] is not None
    case.arrays[0][1, 0, 2] = np.nan
    y = by_rnnrt(case, mode)["Y"]
    assert not np.isnan(y[0]).any()
    assert np.isnan(y[1:, :, 0]).all()
    assert not np.isnan(y[:, :, 1]).any()


# ---- the models ----


def at_a_jump(case: Case, reference: dict[str, Array], found: dict[str, Array]) -> bool:
    """Whether the error is due to ThresholdedRelu's jump: float64 itself lands on the other side after a tiny change.

    Continuous functions can't do that: for them every error counts.
    """
    if not any(n.lower() == "thresholdedrelu" for n in case.attrs.get("activations", [])):
        return False
    assert case.arrays[0] is not None
    rng, x = np.random.default_rng(0), case.arrays[0]
    for _ in range(20):
        case.arrays[0] = (x * (1 + rng.uniform(-1e-6, 1e-6, x.shape))).astype(np.float64)
        moved = by_reference(case)
        if max(scaled_error(found[n], moved[n]) for n in found) <= 10 * TOLERANCE:
            case.arrays[0] = x
            return True
    case.arrays[0] = x
    return False


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_models(block: int) -> None:
    """Within 1e-5 of float64 and, where it is right, of onnxruntime; nothing is refused, nothing crashes."""
    rng = np.random.default_rng([20240301, block])
    compared, jumps = Counter[str](), 0
    for number in range(MODELS_PER_BLOCK):
        case = random_case(rng)
        what = f"block {block}, model {number}: {case.op} {case.attrs}, T {case.time}, B {case.batch}"
        reference, found = by_reference(case), by_rnnrt(case)
        assert found.keys() == reference.keys() or (not case.batch and found.keys() < reference.keys()), what
        error = max((scaled_error(y, reference[n]) for n, y in found.items()), default=0.0)
        if error > TOLERANCE and at_a_jump(case, reference, found):
            jumps += 1
            continue
        assert error <= TOLERANCE, what
        compared["float64"] += 1
        if not onnxruntime_fault(case):
            theirs = by_onnxruntime(case)
            difference = max(scaled_error(y, theirs[n]) for n, y in found.items())
            assert difference <= 2 * TOLERANCE, f"{what}: {difference} from onnxruntime"
            compared["onnxruntime"] += 1
    assert jumps <= 2
    assert compared["onnxruntime"] >= MODELS_PER_BLOCK * 0.35, compared


def test_there_are_enough_models() -> None:
    """And each attribute, input and output takes part in many of them."""
    assert BLOCKS * MODELS_PER_BLOCK >= 2000
    rng, seen = np.random.default_rng(5), Counter[str]()
    for _ in range(400):
        case = random_case(rng)
        seen.update(list(case.attrs))
        seen.update(f"{case.op} {n}" for n, a in zip(INPUTS, case.arrays, strict=False) if a is not None)
        seen.update(f"{case.op} {n}" for n in case.outputs if n)
        seen.update(BY_LOWER_CASE[n.lower()] for n in case.attrs.get("activations", []))
        seen[f"{case.op} {case.attrs.get('direction')}"] += 1
        seen["T = 0"] += case.time == 0
        seen["batch 0"] += case.batch == 0
        lengths = case.arrays[4]
        seen["length 0"] += lengths is not None and bool((lengths == 0).any())
    assert len(seen) >= 60, seen
    assert min(seen.values()) >= 4, seen


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("hidden", [16, 17, 31, 64, 128])
@pytest.mark.parametrize("seed", range(3))
def test_int8_is_40_db_from_f32(op: str, hidden: int, seed: int) -> None:
    """Random layers as trained ones are scaled (PyTorch's initialization), default activations."""
    rng = np.random.default_rng([seed, hidden, GATES[op]])
    attrs = {"hidden_size": hidden, "direction": "bidirectional" if seed == 1 else "forward"}
    if op == "GRU":
        attrs["linear_before_reset"] = int(seed != 2)
    directions, limit = 2 if seed == 1 else 1, 1 / np.sqrt(hidden)
    arrays: list[Array | None] = [rng.standard_normal((50, 2, int(rng.integers(16, 65)))).astype(np.float32)]
    assert arrays[0] is not None
    for shape in ((GATES[op] * hidden, arrays[0].shape[2]), (GATES[op] * hidden, hidden), (2 * GATES[op] * hidden,)):
        arrays.append(rng.uniform(-limit, limit, (directions, *shape)).astype(np.float32))
    case = Case(op, attrs, arrays, ["Y", "", ""][: 3 if op == "LSTM" else 2], 14)
    case.model = onnx_model(case, rng)
    assert sqnr_db(by_rnnrt(case)["Y"], by_rnnrt(case, "int8")["Y"]) >= 40
