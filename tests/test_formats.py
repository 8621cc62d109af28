"""f16 and s4 weights: what is stored, what it computes, on every instruction set, at sizes that fit no block."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rnnrt.converters import convert as conversion
from rnnrt.converters import int4, ir, layout, pack, quantize, read, write

import conftest
import denoise
import rnnrt

Array = npt.NDArray[Any]
F32 = np.dtype(np.float32)
SIZES = (1, 3, 7, 17, 33, 65, 129, 257)


def normal(*shape: int, seed: int = 3) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def gemm(w: Array, bias: Array | None = None) -> ir.Graph:
    """X [T, cols] -> Y [T, rows] = X W^T + bias."""
    rows, cols = w.shape
    constants = {"w": w} | ({} if bias is None else {"b": bias})
    return ir.Graph(
        inputs=[ir.Value("x", F32, (ir.Sym.TIME, cols))],
        outputs=[ir.Value("y", F32, (ir.Sym.TIME, rows))],
        nodes=[ir.Node("Gemm", "g", ["x", *constants], ["y"], {"transB": 1})],
        constants=constants,
    )


def blob_of(graph: ir.Graph, mode: str) -> bytes:
    return write.to_bytes(pack.pack(graph, quantize.plan(graph, mode, everything=True)))


def on_every_isa(blob: bytes, x: Array) -> Array:
    results = [np.array(rnnrt.load(blob, isa=isa)(x)) for isa in rnnrt.isas()]
    for isa, y in zip(rnnrt.isas(), results, strict=True):
        assert y.tobytes() == results[-1].tobytes(), isa
    return results[0]


def weights_in(blob: bytes) -> tuple[read.File, int]:
    file = read.parse(blob)
    return file, next(v.index for v in file.of_kind("const") if v.layout != "plain")


# ---- f16 ----


@pytest.mark.parametrize("size", SIZES)
def test_f16_computes_what_f32_does_with_the_rounded_weights(size: int) -> None:
    w, bias, x = normal(size, size + 1), normal(size), normal(9, size + 1)
    w[0, 0] = 5.9604645e-8  # the smallest half
    w[-1, -1] = -3.0e-5  # a subnormal one
    blob = blob_of(gemm(w, bias), "f16")
    rounded = gemm(w.astype(np.float16).astype(np.float32), bias)
    assert on_every_isa(blob, x).tobytes() == on_every_isa(blob_of(rounded, "float"), x).tobytes()
    file, index = weights_in(blob)
    np.testing.assert_array_equal(file.dequantize(index), rounded.constants["w"])
    assert file.values[index].size == layout.padded(size, 16) * (size + 1) * 2


def test_f16_rounds_to_nearest_even() -> None:
    w = np.array([[2049, 2051, 65519, 1 + 2**-11, 1 + 3 * 2**-11, 2**-25, 3 * 2**-25]], np.float32)
    file, index = weights_in(write.to_bytes(pack.pack(gemm(w), quantize.plan(gemm(w), "f16"))))
    np.testing.assert_array_equal(file.unpack(index), [[2048, 2052, 65504, 1, 1 + 2**-9, 0, 2**-23]])


@pytest.mark.parametrize(("value", "reason"), [(65520.0, "beyond f16's 65504"), (np.inf, "not finite")])
def test_weights_beyond_f16_stay_f32(value: float, reason: str) -> None:
    w = normal(20, 20)
    w[3, 4] = value
    layer = quantize.plan(gemm(w), "f16").layers["y"]
    assert (layer.precision, layer.fallback) == ("f32", True)
    assert reason in layer.reason


def test_weights_too_small_for_f16_stay_f32() -> None:
    layer = quantize.plan(gemm(normal(20, 20) * np.float32(1e-6)), "f16").layers["y"]
    assert layer.precision == "f32"
    assert "too small for f16" in layer.reason


# ---- s4 ----


def integers(x: Array) -> tuple[Array, Array]:
    """What the runtime makes of rows of x: s8 and scales, as `quantize_s8` in kernels.h says."""
    largest = np.abs(x).max(axis=1)
    q = np.rint(x * (np.float32(127) / largest)[:, None]).astype(np.int64)
    return q, (largest / np.float32(127)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_s4_computes_exact_integers(size: int) -> None:
    """Gemm of size rows and about as many columns; the definition in integers, then three float operations."""
    cols = size + 2
    w, bias, x = normal(size, cols), normal(size), normal(9, cols)
    blob = blob_of(gemm(w, bias), "int4")
    file, index = weights_in(blob)
    value = file.values[index]
    assert (value.dtype, value.layout, value.dims) == ("s4", "r16g32", [size, cols])
    q, step, scale = layout.unpack_r16g32(file.data[value.offset : value.offset + value.size], size, cols)
    xq, xscale = integers(x)
    acc = xq @ (q.astype(np.int64) * np.repeat(step.astype(np.int64), 32, axis=1)[:, :cols]).T
    expected = acc.astype(np.float32) * (scale[None, :] * xscale[:, None]) + bias
    assert on_every_isa(blob, x).tobytes() == expected.astype(np.float32).tobytes()


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("mode", ["f16", "int4"])
def test_recurrent_layers_stream_with_the_same_bits(op: str, mode: str) -> None:
    gates, hidden, inputs = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 33, 17
    graph = ir.Graph(
        inputs=[ir.Value("x", F32, (ir.Sym.TIME, ir.Sym.BATCH, inputs))],
        outputs=[ir.Value("y", F32, (ir.Sym.TIME, 1, ir.Sym.BATCH, hidden))],
        nodes=[ir.Node(op, "cell", ["x", "W", "R", "B"], ["y"], {"hidden_size": hidden, "linear_before_reset": 1})],
        constants={
            "W": normal(1, gates * hidden, inputs) / np.float32(4),
            "R": normal(1, gates * hidden, hidden) / np.float32(6),
            "B": normal(1, 2 * gates * hidden),
        },
    )
    blob, x = blob_of(graph, mode), normal(12, 2, inputs)
    whole = on_every_isa(blob, x)
    single = on_every_isa(blob, np.ascontiguousarray(x[:, 1:]))
    assert single.tobytes() == np.ascontiguousarray(whole[:, :, 1:]).tobytes()
    exact = np.array(rnnrt.load(blob_of(graph, "float"))(x))
    assert quantize.sqnr_db(exact, whole) > {"f16": 55, "int4": 12}[mode]


def test_s4_is_better_than_a_scale_per_group_from_the_largest_weight() -> None:
    """Least squared error beats the common rule (largest / -8) by half a decibel on normal weights."""
    w = normal(64, 256).astype(np.float64)
    groups = w.reshape(64, 8, 32)
    outermost = np.take_along_axis(groups, np.abs(groups).argmax(axis=2)[..., None], axis=2)
    common = np.clip(np.rint(groups / (outermost / -8)), -8, 7) * (outermost / -8)
    ours = quantize.sqnr_db(w, int4.quantize(w.astype(np.float32)).restored())
    assert ours > quantize.sqnr_db(groups, common) + 0.4
    assert ours > 21.5


@pytest.mark.parametrize("cols", [1, 31, 32, 100, 131072])
def test_s4_steps_leave_room_for_exact_sums(cols: int) -> None:
    """Rows as bad as can be: all weights of the same size. Also zero and vanishing rows."""
    w = np.full((3, cols), np.float32(0.7))
    w[1:] = [[0.0], [1e-31]]
    made = int4.quantize(w)
    assert np.abs(made.step.astype(np.int64)).sum(axis=1).max() <= int4.STEP_SUM
    assert made.scale[0] > 0
    np.testing.assert_allclose(made.restored()[0], 0.7, rtol=1e-6)
    assert not made.scale[1:].any()
    assert not made.q[1:].any()
    assert not made.step[1:].any()
    blob = blob_of(gemm(w), "int4")
    y = on_every_isa(blob, np.full((1, cols), 2.0, np.float32))
    np.testing.assert_allclose(y[0, 0], 1.4 * cols, rtol=1e-5)


def test_packed_s4_is_what_the_format_says() -> None:
    w = normal(19, 70)
    made = int4.quantize(w)
    data = layout.pack_r16g32(*made)
    high, groups = 32, 3
    steps, nibbles = high * 4, high * 4 + 128
    assert len(data) == nibbles + high * groups * 16
    for r, c in ((0, 0), (3, 4), (17, 37), (18, 69), (18, 70), (19, 0), (31, 95)):
        g, rest = divmod(c, 32)
        tile, half, k = rest // 8, rest // 4 % 2, c % 4
        byte = data[nibbles + ((r // 16) * groups + g) * 256 + tile * 64 + r % 16 * 4 + k]
        exists = r < 19 and c < 70
        assert (byte >> 4 if half else byte & 15) - 8 == (made.q[r, c] if exists else 0)
        (step,) = struct.unpack_from("b", data, steps + ((r // 16) * groups + g) * 16 + r % 16)
        assert step == (made.step[r, g] if r < 19 else 0)
    for found, expected in zip(layout.unpack_r16g32(data, 19, 70), made, strict=True):
        np.testing.assert_array_equal(found, expected)


# ---- files that lie ----


def resealed(blob: bytes, at: int, new: bytes) -> bytes:
    damaged = bytearray(blob)
    damaged[at : at + len(new)] = new
    for record in range(64, 320, 32):
        offset, size = struct.unpack_from("<QQ", damaged, record + 8)
        struct.pack_into("<I", damaged, record + 4, write.crc32c(bytes(damaged[offset : offset + size])))
    struct.pack_into("<I", damaged, 60, write.crc32c(bytes(damaged[:60] + damaged[64:320])))
    return bytes(damaged)


HIGH, GROUPS = 32, 3  # of the matrix [19, 70] below
LIES: dict[str, tuple[str, int, bytes]] = {
    "infinite half": ("f16", 0, b"\x00\x7c"),
    "half that is NaN": ("f16", 34, b"\x01\xfe"),
    "padding of f16": ("f16", 16 * 70 * 2 + 3 * 2, b"\x01\x00"),
    "negative scale": ("int4", 0, struct.pack("<f", -1.0)),
    "infinite scale": ("int4", 4, struct.pack("<f", np.inf)),
    "scale that is NaN": ("int4", 8, struct.pack("<f", np.nan)),
    "scale of a row that is padding": ("int4", 20 * 4, struct.pack("<f", 1.0)),
    "step of -128": ("int4", HIGH * 4, b"\x80"),
    "step of a row that is padding": ("int4", HIGH * 4 + 48 + 5, b"\x01"),
    "bytes behind the steps": ("int4", HIGH * 4 + HIGH * GROUPS, b"\x01"),
    "nibble of a row that is padding": ("int4", HIGH * 4 + 128 + GROUPS * 256 + 3 * 4, b"\x08"),
    "low nibble of a column that is padding": ("int4", HIGH * 4 + 128 + 2 * 256 + 64, b"\x8f"),
    "high nibble of a column that is padding": ("int4", HIGH * 4 + 128 + 2 * 256 + 3, b"\x98"),
}


@pytest.mark.parametrize("name", LIES)
def test_unsound_weights_are_refused_by_both_readers(name: str) -> None:
    mode, offset, new = LIES[name]
    blob = blob_of(gemm(normal(19, 70)), mode)
    file, index = weights_in(blob)
    (data,) = struct.unpack_from("<Q", blob, 64 + 32 * 7 + 8)
    lie = resealed(blob, data + file.values[index].offset + offset, new)
    assert lie != blob
    with pytest.raises(rnnrt.ModelFormatError, match=f"value {index}"):
        read.parse(lie)
    with pytest.raises(rnnrt.ModelFormatError):
        rnnrt.load(lie)


def test_steps_that_could_overflow_are_refused() -> None:
    cols = 32 * 521  # 521 * 127 > 66051
    blob = blob_of(gemm(np.ones((1, cols), np.float32)), "int4")
    file, index = weights_in(blob)
    (data,) = struct.unpack_from("<Q", blob, 64 + 32 * 7 + 8)
    start = data + file.values[index].offset + 64
    steps = bytes(127 if i % 16 == 0 else 0 for i in range(521 * 16))
    with pytest.raises(rnnrt.ModelFormatError, match="add up to 66167"):
        read.parse(resealed(blob, start, steps))
    with pytest.raises(rnnrt.ModelFormatError):
        rnnrt.load(resealed(blob, start, steps))
    rnnrt.load(resealed(blob, start, steps[: 520 * 16] + bytes(16)))  # 520 * 127 = 66040 is fine


@pytest.mark.parametrize(("mode", "bit"), [("f16", 2), ("int4", 4)])
def test_weights_without_their_feature_bit_are_refused(mode: str, bit: int) -> None:
    blob = blob_of(gemm(normal(19, 70)), mode)
    assert read.parse(blob).features == bit
    lie = resealed(blob, 12, struct.pack("<I", 0))
    with pytest.raises(rnnrt.ModelFormatError, match="without the feature bit"):
        read.parse(lie)
    with pytest.raises(rnnrt.ModelFormatError):
        rnnrt.load(lie)


@pytest.mark.parametrize("dtype", [pack.F16, pack.S8, pack.S4])
def test_data_can_not_have_a_type_of_weights(dtype: int) -> None:
    blob = blob_of(gemm(normal(19, 70)), "float")
    (values,) = struct.unpack_from("<Q", blob, 64 + 32 + 8)
    lie = resealed(blob, values + 5, bytes([dtype]))  # the input
    with pytest.raises(rnnrt.ModelFormatError):
        read.parse(lie)
    with pytest.raises(rnnrt.ModelFormatError):
        rnnrt.load(lie)


# ---- options ----


def three_layers() -> ir.Graph:
    graph = gemm(normal(40, 24))
    graph.outputs = [ir.Value("y", F32, (ir.Sym.TIME, 5))]
    graph.nodes = [
        ir.Node("Gemm", "first", ["x", "w"], ["a"], {"transB": 1}),
        ir.Node("Gemm", "second", ["a", "w2"], ["b"], {"transB": 1}),
        ir.Node("Gemm", "last", ["b", "w3"], ["y"], {"transB": 1}),
    ]
    graph.constants |= {"w2": normal(48, 40), "w3": normal(5, 48)}
    return graph


def found(plan: quantize.Plan) -> list[str]:
    return [layer.precision for layer in plan.layers.values()]


def test_precision_patterns() -> None:
    graph = three_layers()
    assert found(quantize.plan(graph, "int4")) == ["s4", "s4", "f32"]
    assert found(quantize.plan(graph, "f16")) == ["f16", "f16", "f16"]
    mixed = quantize.plan(graph, "int8", precisions=[("*t", "f16"), ("first", "int4"), ("last", "int8")])
    assert found(mixed) == ["s4", "s8", "s8"]
    assert [layer.reason for layer in mixed.layers.values()] == [
        "int4 asked for by 'first'",
        "int8 asked for",
        "int8 asked for by 'last'",
    ]
    kept = quantize.plan(graph, "float", ["first"], precisions=[("*", "int8")])
    assert found(kept) == ["f32", "s8", "s8"]
    assert not any(layer.fallback for layer in kept.layers.values())
    with pytest.raises(ValueError, match="unknown precision int3; known are f32, f16, int8, int4"):
        quantize.plan(graph, "float", precisions=[("*", "int3")])
    with pytest.raises(ValueError, match="no layer matches 'third'"):
        quantize.plan(graph, "float", precisions=[("third", "int8")])


def test_mixed_precisions_run_and_tell_their_features() -> None:
    graph = three_layers()
    plan = quantize.plan(graph, "f16", precisions=[("first", "int4"), ("second", "int8")])
    blob, x = write.to_bytes(pack.pack(graph, plan)), normal(7, 24)
    file = read.parse(blob)
    assert (file.features, file.coarsest()) == (7, "s4")
    exact = np.array(rnnrt.load(blob_of(graph, "float"))(x))
    assert quantize.sqnr_db(exact, on_every_isa(blob, x)) > 15


def onnx_bytes(first: Callable[[Array], Array]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    shape = ["T", 24]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "big"),
        helper.make_node("MatMul", ["a", "v"], ["y"], "small"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 4])],
        [numpy_helper.from_array(first(normal(24, 40)), "w"), numpy_helper.from_array(normal(40, 4), "v")],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


@pytest.mark.parametrize(("mode", "least"), [("f16", 55), ("int8", 30), ("int4", 15)])
def test_conversion_verifies_by_the_coarsest_weights(mode: str, least: float) -> None:
    report = conversion.convert(onnx_bytes(lambda w: w), None, quantize=mode, shapes={"x": ("T", 24)}, frames=30)
    verified = report.verification
    assert verified is not None
    assert verified.precision == {"f16": "f16", "int8": "int8", "int4": "int4"}[mode]
    assert verified.threshold_db == {"f16": 40, "int8": 20, "int4": 10}[mode]
    assert min(c.sqnr_db for c in verified.comparisons) > least


def test_strict_lists_every_compromise() -> None:
    def convert(mode: str, **options: Any) -> conversion.ConversionReport:
        return conversion.convert(
            model, None, quantize=mode, shapes={"x": ("T", 24)}, frames=10, strict=True, **options
        )

    model = onnx_bytes(lambda w: w * np.float32(1e6))
    for mode, reason in (
        ("f16", "Gemm 'big': stays f32: a weight of"),
        ("int4", "Gemm 'small': stays f32: at most 16 rows"),
    ):
        with pytest.raises(rnnrt.UnsupportedError, match=reason) as error:
            convert(mode)
        assert [p.node for p in error.value.problems if p.op == "Gemm"] == ["big" if mode == "f16" else "small"]
    asked = convert("int4", precision=[("small", "int8")])
    assert [layer["precision"] for layer in asked.layers] == ["int4", "int8"]


def test_strict_counts_what_was_assumed() -> None:
    graph = three_layers()
    graph.notes = ["axis 0 of x is time", ir.Note("y is int64 in the original, int32 here", fact=True)]
    with pytest.raises(
        rnnrt.UnsupportedError,
        match=r"approximated:\n  assumed: axis 0 of x is time\n  Gemm 'last'.*\n  hint: .*--precision last=f32",
    ):
        conversion.refuse_compromises(graph, quantize.plan(graph, "int8"))
    graph.notes = []
    conversion.refuse_compromises(graph, quantize.plan(graph, "int8", precisions=[("last", "f32")]))
    conversion.refuse_compromises(graph, quantize.plan(graph, "float"))


# ---- a real model ----


@pytest.mark.parametrize(("mode", "largest", "least"), [("f16", 5_430_000, 70), ("int4", 1_560_000, 20)])
def test_nsnet2_over_speech(
    mode: str, largest: int, least: float, models_dir: Path, speech: Array, tmp_path: Path
) -> None:
    x, source = denoise.features(speech), models_dir / "nsnet2-20ms-baseline.onnx"
    report = conversion.convert(source, tmp_path / "m.rnnrt", quantize=mode, frames=20)
    assert report.size <= largest
    assert {layer["precision"] for layer in report.layers} == {{"f16": "f16", "int4": "int4"}[mode]}
    exact = conftest.session(source).run(None, {"input": x})[0]
    assert quantize.sqnr_db(exact, np.array(rnnrt.load(tmp_path / "m.rnnrt")(x))) > least  # measured: 82.0, 23.4
