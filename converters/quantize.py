"""Which precision every layer's weights get, and the s8 weights themselves (s4: `int4`).

Weights are quantized per row of the matrix that multiplies the input (one output feature, one gate of one unit):
symmetric, ``scale = max|w| / 127``, ``q = round_half_even(w / scale)`` in [-127, 127]. Activations are quantized by the
runtime, per row of each time step; nothing is calibrated and no data is needed. Rows that were integers in the original
(`Graph.quantized`) keep their integers and scale, bit for bit.

What stays f32 although int8 is asked for, with the measurement (Silero VAD, 1026 frames of speech against f32):
    Conv            everything s8: SQNR 27 dB, a speech probability off by 0.54, 5 decisions flipped. Convolutions f32:
                    49 dB, 0.04, 1 flipped (a probability of 0.517). No single one is to blame: with only the STFT
                    front end f32 it is 28 dB, with any one of the others alone 21 to 32 dB. Rounding that minimizes the
                    squared error or keeps row sums changes that by 1 to 3 dB in either direction.
    Gemm, <= 16 rows  one block of 16 rows, mostly the last layer: f32 gains 3 dB there for 6 kB at 128 columns.
NSNet2 (no Conv): 39 dB over the same speech.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from . import int4, ir, layout

Array: TypeAlias = "npt.NDArray[Any]"
Precision: TypeAlias = Literal["f32", "f16", "s8", "s4"]

PRECISIONS: dict[str, Precision] = {"f32": "f32", "f16": "f16", "int8": "s8", "int4": "s4"}  # as users say it
WORDS: dict[str, str] = {internal: word for word, internal in PRECISIONS.items()}
MODES = ("float", "f16", "int8", "int4")

RECURRENT = ("RNN", "GRU", "LSTM")
WEIGHTED = (*RECURRENT, "Gemm", "Conv", "ConvTranspose")
SMALL_ROWS = 16
F16_DB = 60.0  # f16 rounding of normal numbers leaves 70 dB and more; subnormal ones are coarser


@dataclass
class Layer:
    """What becomes of one layer's weights.

    ``bytes_before`` and ``bytes_after`` count the weight matrices alone: as f32, and as packed in the file (padded
    rows, scales and row sums included). ``weight_sqnr_db`` is None where nothing is lost. ``fallback``: something else
    was asked for. ``changed``: integers of the original that s8 can't hold became others. ``input_float``: the matrix
    that multiplies a recurrent layer's input is f32, whatever ``precision`` the other one has.
    """

    node: str
    op: str
    precision: Precision
    reason: str
    rows: int
    cols: list[int]
    bytes_before: int
    bytes_after: int
    weight_sqnr_db: float | None = None
    fallback: bool = False
    changed: bool = False
    input_float: bool = False


@dataclass
class Rows:
    """A matrix as s8: q [rows, cols], scale [rows]; how many rows were integers in the original, and became others."""

    q: Array
    scale: Array
    clamped: int = 0  # weights of +-128 steps that became +-127
    again: int = 0  # rows quantized again: their steps from the zero point exceed 128


class KnownRows:
    """The integer weights of the original, found again by the values of their rows.

    Whatever moved the float rows meanwhile (transposed, sliced, concatenated, gates reordered, padded): a row that is
    still the same float32 numbers is the same integers.
    """

    def __init__(self, matrices: Iterable[ir.QuantizedMatrix] = ()) -> None:
        self._rows: dict[bytes, tuple[Array, np.float32, int, int]] = {}
        for matrix in matrices:
            w = (matrix.steps * matrix.scale.astype(np.float64)[:, None]).astype(np.float32)
            again_q, again_scale = quantize_rows(w)
            furthest = np.abs(matrix.steps).max(axis=1, initial=0)
            for i, row in enumerate(w):
                scale = matrix.scale[i]
                if furthest[i] <= 128 and 0 < scale < np.inf:
                    q = np.clip(matrix.steps[i], -127, 127).astype(np.int8)
                    entry = (q, scale, int((np.abs(matrix.steps[i]) == 128).sum()), 0)
                else:
                    entry = (again_q[i], again_scale[i], 0, 1)
                self._rows.setdefault(_digest(row), entry)

    def find(self, w: Array) -> Rows | None:
        """The rows of f32 [rows, cols] in s8; None unless each of them is known or zero."""
        if not self._rows:
            return None
        w = np.ascontiguousarray(w, np.float32)
        found = Rows(np.zeros(w.shape, np.int8), np.zeros(len(w), np.float32))
        any_known = False
        for i in np.flatnonzero(w.any(axis=1)):
            entry = self._rows.get(_digest(w[i]))
            if entry is None:
                return None
            found.q[i], found.scale[i] = entry[:2]
            found.clamped += entry[2]
            found.again += entry[3]
            any_known = True
        return found if any_known else None


def _digest(row: Array) -> bytes:
    return hashlib.blake2b((row + np.float32(0)).tobytes(), digest_size=16).digest()  # + 0: -0 is 0


@dataclass
class Plan:
    """Per layer, by the name of the layer's first output."""

    mode: str
    layers: dict[str, Layer] = field(default_factory=dict)
    known: KnownRows = field(default_factory=KnownRows)

    def rows(self, w: Array) -> tuple[Array, Array]:
        """S8 [rows, cols] and scale [rows] of f32 w: as in the original where it has integers, else `quantize_rows`."""
        found = self.known.find(w)
        return quantize_rows(w) if found is None else (found.q, found.scale)

    def restored(self, w: Array, precision: Precision) -> Array:
        """What is left of f32 w [rows, cols] in a precision, float64."""
        if precision == "s8":
            q, scale = self.rows(w)
            return np.asarray(q * scale[:, None].astype(np.float64))
        if precision == "s4":
            return int4.quantize(w).restored()
        with np.errstate(over="ignore"):
            return w.astype(np.float16 if precision == "f16" else np.float32).astype(np.float64)

    def precision(self, node: ir.Node) -> Precision:
        """f32 for a node that the plan does not know."""
        layer = self.layers.get(key(node))
        return layer.precision if layer else "f32"

    def input_precision(self, node: ir.Node) -> Precision:
        """Of the matrix that multiplies a recurrent layer's input."""
        layer = self.layers.get(key(node))
        return "f32" if layer and layer.input_float else self.precision(node)

    def report(self) -> list[dict[str, Any]]:
        """One JSON-ready dict per layer, in the graph's order; precisions in the words of `PRECISIONS`."""
        return [{**asdict(layer), "precision": WORDS[layer.precision]} for layer in self.layers.values()]


def key(node: ir.Node) -> str:
    """What a plan knows a node by: node names may be empty or repeated, outputs may not."""
    return next((name for name in node.outputs if name), "")


def quantize_rows(w: Array) -> tuple[Array, Array]:
    """Per-row symmetric s8.

    Parameters
    ----------
    w
        f32 [rows, cols], finite.

    Returns
    -------
    q, scale
        s8 [rows, cols] in [-127, 127] and f32 [rows]; ``w ~ q * scale[:, None]``. A row whose largest magnitude is
        below 1e-30 becomes zero with scale 0, as activations do in the runtime.
    """
    w = np.asarray(w, np.float32)
    largest = np.abs(w).max(axis=1, initial=0.0)
    scale = np.where(largest < 1e-30, 0, largest / np.float32(127)).astype(np.float32)
    safe = np.where(scale > 0, scale, 1).astype(np.float64)[:, None]
    q = np.clip(np.rint(w.astype(np.float64) / safe), -127, 127)
    q = np.where(scale[:, None] > 0, q, 0)
    return q.astype(np.int8), scale


def sqnr_db(reference: Array, approximation: Array) -> float:
    """10 log10(sum ref^2 / sum (ref - approx)^2); inf when equal, -inf for a zero reference that is not met."""
    ref = np.asarray(reference, np.float64)
    with np.errstate(all="ignore"):  # infinities and NaNs give NaN
        noise = float(np.square(ref - np.asarray(approximation, np.float64)).sum())
        signal = float(np.square(ref).sum())
    if noise == 0:
        return float("inf")
    return float("-inf") if signal == 0 else float(10 * np.log10(signal / noise))


def gemm_matrix(node: ir.Node, constants: dict[str, Array]) -> Array:
    """The weights of a Gemm as [N, K], transposed and scaled by alpha where the node says so."""
    w = np.asarray(constants[node.inputs[1]])
    w = w if node.attrs.get("transB", 0) else w.T
    alpha = float(node.attrs.get("alpha", 1.0))
    return np.asarray(w if alpha == 1 else w * alpha, np.float32)


def weight_matrices(node: ir.Node, constants: dict[str, Array]) -> list[Array] | None:
    """The matrices of a layer as [rows, cols] in ONNX's row order; None when the node has no constant weights."""
    names = node.inputs[1:3] if node.op in RECURRENT else node.inputs[1:2]
    if node.op not in WEIGHTED or not all(name in constants for name in names):
        return None
    if node.op == "Gemm":
        matrix = gemm_matrix(node, constants)
        return [matrix] if matrix.ndim == 2 else None
    if node.op == "Conv":
        w = np.asarray(constants[names[0]], np.float32)
        return [w.reshape(w.shape[0], -1)] if w.ndim >= 3 else None
    if node.op == "ConvTranspose":
        w = np.asarray(constants[names[0]], np.float32)
        return [transposed_matrix(w, int(node.attrs.get("group", 1)))] if w.ndim >= 3 else None
    arrays = [np.asarray(constants[name], np.float32) for name in names]
    return [a.reshape(-1, a.shape[2]) for a in arrays] if all(a.ndim == 3 for a in arrays) else None


def is_depthwise(node: ir.Node, shape: Sequence[int]) -> bool:
    """A Conv with a filter for every channel, W of shape [C, 1, ...]: multiplied channel by channel, as floats."""
    return node.op == "Conv" and shape[1] == 1 and int(node.attrs.get("group", 1)) == shape[0] > 1


def transposed_matrix(w: Array, group: int) -> Array:
    """W [C, M/group, ...kernel] of a ConvTranspose as [group * kernel * M/group, C/group]."""
    each = w.reshape(group, w.shape[0] // group, w.shape[1], -1)
    return np.ascontiguousarray(each.transpose(0, 3, 2, 1)).reshape(-1, w.shape[0] // group)


def packed_bytes(rows: int, cols: int, precision: Precision) -> int:
    """Bytes of a [rows, cols] matrix in the file."""
    padded = layout.padded(rows, layout.BLOCK)
    if precision == "s8":
        return padded * (layout.padded(cols, layout.GROUP) + 8)
    if precision == "s4":
        groups = padded * (layout.padded(cols, layout.WIDE) // layout.WIDE)
        return padded * 4 + layout.padded(groups, 64) + groups * layout.WIDE // 2
    return padded * cols * (2 if precision == "f16" else 4)


def _padded_rows(node: ir.Node, matrix: Array, constants: dict[str, Array]) -> int:
    """Recurrent layers pad every gate to 16 units."""
    if node.op not in RECURRENT:
        return int(matrix.shape[0])
    hidden = constants[node.inputs[2]].shape[2]
    return int(matrix.shape[0] // hidden * (-(-hidden // 16) * 16))


def plan(
    graph: ir.Graph,
    mode: str = "float",
    keep_float: Sequence[str] = (),
    everything: bool = False,
    precisions: Sequence[tuple[str, str]] = (),
) -> Plan:
    """Decide the precision of every layer that has weights.

    Parameters
    ----------
    graph
        A simplified graph.
    mode
        ``"float"``, ``"f16"``, ``"int8"`` or ``"int4"``.
    keep_float
        Glob patterns over node names (or, for nodes without one, the name of the first output); a layer that matches
        stays f32, whatever else is said. "NAME.W" is the matrix of a recurrent layer that multiplies its input: an
        input whose numbers span decades within a frame loses its small ones in 8 bits, and W may be small beside R.
    everything
        Quantize also what is kept f32 for precision (see the top of this file).
    precisions
        (pattern, ``"f32"``, ``"f16"``, ``"int8"`` or ``"int4"``): what layers that match get; the last match decides.

    Returns
    -------
    Plan
        One layer per RNN, GRU, LSTM, Gemm and Conv with constant weights, with the reason for its precision.

    Raises
    ------
    ValueError
        Unknown mode or precision, a pattern that matches no layer, or layers to keep where all of them stay f32.
    """
    _check_words(graph, mode, keep_float, precisions)
    made = Plan(mode, known=KnownRows(graph.quantized))
    asked = [*precisions, *((pattern, "f32") for pattern in keep_float)]
    unused = dict.fromkeys(pattern for pattern, _ in asked)
    for node in graph.nodes:
        matrices = weight_matrices(node, graph.constants)
        if matrices is None:
            continue
        name = node.name or key(node)
        matching = [each for each in asked if fnmatchcase(name, each[0])]
        for pattern, _ in matching:
            unused.pop(pattern, None)
        inputs_kept = [p for p in keep_float if node.op in RECURRENT and fnmatchcase(f"{name}.W", p)]
        for pattern in inputs_kept:
            unused.pop(pattern, None)
        known = [made.known.find(m) for m in matrices]
        wanted, reason = _wanted(node, mode, matching, matrices, known, everything, graph.constants)
        obstacle = _obstacle(wanted, matrices)
        precision: Precision = "f32" if obstacle else wanted
        input_float = bool(inputs_kept) and precision != "f32"
        lossy: list[Precision] = ["f32" if input_float and i == 0 else precision for i in range(len(matrices))]
        exact = precision == "f32" or (precision == "s8" and _exact(known[input_float:]))
        sqnr = None if exact else _sqnr(made, matrices, lossy)
        if precision == "f16" and sqnr is not None and sqnr < F16_DB:
            precision, obstacle, sqnr = "f32", f"too small for f16, which would leave {sqnr:.0f} dB", None
            input_float, lossy = False, ["f32"] * len(matrices)
        if input_float:
            reason += f"; W f32, asked for by '{inputs_kept[-1]}'"
        rows = [_padded_rows(node, m, graph.constants) for m in matrices]
        made.layers[key(node)] = Layer(
            node=name,
            op=node.op,
            precision=precision,
            reason=obstacle or reason,
            rows=matrices[0].shape[0],
            cols=[m.shape[1] for m in matrices],
            bytes_before=sum(m.size * 4 for m in matrices),
            bytes_after=sum(
                packed_bytes(r, m.shape[1], each) for r, m, each in zip(rows, matrices, lossy, strict=True)
            ),
            weight_sqnr_db=sqnr,
            changed=not matching and precision == "s8" and all(known) and not _exact(known),
            fallback=bool(obstacle) or (precision == "f32" and not matching and mode != "float"),
            input_float=input_float,
        )
    if unused:
        names = [layer.node for layer in made.layers.values()]
        patterns = " and no layer ".join(f"'{pattern}'" for pattern in unused)
        raise ValueError(f"no layer matches {patterns}; the layers are {', '.join(names) or 'none'}")
    return made


def _check_words(graph: ir.Graph, mode: str, keep_float: Sequence[str], precisions: Sequence[tuple[str, str]]) -> None:
    if mode not in MODES:
        raise ValueError(f"unknown quantization '{mode}'; known are {', '.join(PRECISIONS)}")
    if unknown := sorted({name for _, name in precisions} - PRECISIONS.keys()):
        raise ValueError(f"unknown precision {', '.join(unknown)}; known are {', '.join(PRECISIONS)}")
    if keep_float and mode == "float" and not precisions and not graph.quantized:
        raise ValueError("--keep-float is for --quantize, --precision and quantized models: here all layers stay f32")


def _exact(known: Sequence[Rows | None]) -> bool:
    return all(k is not None and not k.clamped and not k.again for k in known)


def _wanted(
    node: ir.Node,
    mode: str,
    matching: Sequence[tuple[str, str]],
    matrices: list[Array],
    known: Sequence[Rows | None],
    everything: bool,
    constants: dict[str, Array],
) -> tuple[Precision, str]:
    if matching:
        pattern, name = matching[-1]
        return PRECISIONS[name], f"{name} asked for by '{pattern}'"
    originals = [k for k in known if k is not None]
    if len(originals) == len(known):
        return "s8", "int8 in the original, " + _what_changed(originals, sum(len(m) for m in matrices))
    if mode == "float":
        return "f32", "no quantization asked for"
    if is_depthwise(node, constants[node.inputs[1]].shape):
        return "f32", "depthwise: multiplied channel by channel"
    if mode != "f16" and not everything:
        if node.op in ("Conv", "ConvTranspose"):
            return "f32", "convolutions lose too much in 8 bits"
        if node.op == "Gemm" and len(matrices[0]) <= SMALL_ROWS:
            return "f32", f"at most {SMALL_ROWS} rows: {mode[3:]} bits would save nothing that matters"
    return PRECISIONS[mode], f"{mode} asked for"


def _obstacle(precision: Precision, matrices: list[Array]) -> str:
    """Why weights can't be had in a precision; empty when they can."""
    if precision == "f32":
        return ""
    if not all(np.isfinite(m).all() for m in matrices):
        return "weights are not finite"
    largest = max(float(np.abs(m).max(initial=0.0)) for m in matrices)
    return f"a weight of {largest:.6g} is beyond f16's 65504" if precision == "f16" and largest >= 65520 else ""


def _what_changed(known: list[Rows], rows: int) -> str:
    """s8 holds -127 ... 127 around zero: what of the original's integers is beyond."""
    clamped, again = sum(k.clamped for k in known), sum(k.again for k in known)
    changes = []
    if clamped:
        changes.append(f"{clamped} weights 128 steps from the zero point became 127 steps")
    if again:
        changes.append(f"{again} of {rows} rows more than 128 steps from the zero point quantized again")
    return "; ".join(changes) or "kept bit for bit"


def _sqnr(plan: Plan, matrices: list[Array], precisions: Sequence[Precision]) -> float | None:
    """Decibels of all weights of a layer together; None when they are what they were."""
    original = np.concatenate([m.reshape(-1) for m in matrices])
    found = sqnr_db(
        original, np.concatenate([plan.restored(m, p).reshape(-1) for m, p in zip(matrices, precisions, strict=True)])
    )
    return None if found == float("inf") else found
