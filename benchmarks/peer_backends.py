"""The peers, one class a library: what of each is timed on one layer, stepping and over sequences.

A library is loaded in a process of its own (peers.py) and imported there only. What it offers is a `Peer`: a contender
of `rnnrt.bench` whose slices are timed, and its outputs, which are compared with the float64 reference first.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from layers import F32, Layer
from numpy.typing import NDArray
from rnnrt.converters.convert import convert

import rnnrt
from rnnrt.bench import Contender
from rnnrt.contenders import Feed, OrtBound, OrtModel, OrtRun, StreamContender

TIME = 100
_CLOCK = time.perf_counter_ns

Array: TypeAlias = "NDArray[Any]"


class AbsentError(Exception):
    """A library, or what it needs, is not here; the message says what."""


@dataclass(frozen=True)
class Mode:
    """Stepping (``batch`` None), or a whole sequence of TIME steps in one call."""

    name: str
    batch: int | None

    def x(self, layer: Layer) -> F32:
        """The layer's input [TIME, B, I]."""
        return layer.x(TIME, self.batch or 1)


STREAM = Mode("stream", None)
MODES = {mode.name: mode for mode in (STREAM, Mode("sequence-1", 1), Mode("sequence-32", 32))}


@dataclass(frozen=True)
class Peer:
    """One variant of a library. ``steps``: time steps between two looks at the clock; ``bytes``: of its weights."""

    name: str
    contender: Contender
    outputs: Callable[[], Array] | None  # the last steps' y, all where it can; None: computes nothing
    bytes: float
    steps: int = 1


class Work:
    """A contender that does all its work in every call."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name, self._work = name, work

    def slice(self, steps: int) -> list[int]:
        """Nanoseconds of each of ``steps`` calls."""
        taken, work = [], self._work
        for _ in range(steps):
            begin = _CLOCK()
            work()
            taken.append(_CLOCK() - begin)
        return taken


class InC:
    """A contender that C times, so that no call from Python is counted."""

    def __init__(self, name: str, run: Callable[[int], list[int]]) -> None:
        self.name, self.slice = name, run


class Stepping:
    """A contender of a function that takes a frame and a state and returns y and the next state."""

    def __init__(
        self, name: str, step: Callable[[Any, Any], tuple[Any, Any]], frames: Sequence[Any], initial: Any
    ) -> None:
        self.name, self._step, self._frames, self._initial = name, step, frames, initial
        self._state = initial

    def slice(self, steps: int) -> list[int]:
        """Nanoseconds of each step."""
        step, frames, state, taken = self._step, self._frames, self._state, []
        count = len(frames)
        for i in range(steps):
            frame = frames[i % count]
            begin = _CLOCK()
            _, state = step(frame, state)
            taken.append(_CLOCK() - begin)
        self._state = state
        return taken

    def outputs(self) -> Array:
        """Every y from the initial state: [frames, H]."""
        state, found = self._initial, []
        for frame in self._frames:
            y, state = self._step(frame, state)
            found.append(np.array(y, np.float32).reshape(-1))
        return np.stack(found)


class Rnnrt:
    """rnnrt; stepping from Python, in C, with AVX2 only; whole sequences."""

    FORMATS = (("int8", 1.0), ("int4", 0.5), ("f16", 2.0), ("f32", 4.0))

    def __init__(self, folder: Path, native: Path | None, threads: int) -> None:
        self.version = f"{rnnrt.__version__} {rnnrt.isas()[0]}"
        self._folder, self._native, self._threads = folder, native, threads

    def peers(self, layer: Layer, mode: Mode) -> list[Peer]:
        """int8, int4, f16, f32; int8 on AVX2."""
        found = []
        for name, width in self.FORMATS:
            path = self._folder / f"{layer.name}-{name}.rnnrt"
            if not path.exists():
                convert(layer.onnx(self._folder), path, quantize=None if name == "f32" else name, verify=False)
            variants: list[tuple[str, str | None]] = [(name, None)]
            if name == "int8" and self._threads == 1 and "avx2" in rnnrt.isas()[1:]:
                variants.append(("int8 avx2", "avx2"))
            for variant, isa in variants:
                model = rnnrt.load(path, isa=isa, threads=self._threads)
                found.append(self._python(layer, mode, variant, model, width))
            if self._native and mode is STREAM and self._threads == 1:
                found.append(self.in_c(layer, name, path))
        return found

    def _python(self, layer: Layer, mode: Mode, name: str, model: rnnrt.Model, width: float) -> Peer:
        x = mode.x(layer)
        if mode is not STREAM:
            work = Work(name, lambda: model(x))
            return Peer(name, work, lambda: np.asarray(model(x)), layer.multiplies * width, TIME)
        contender = StreamContender(name, model, [{"x": frame[None]} for frame in x])
        return Peer(
            name,
            contender,
            lambda: np.stack([y["y"].reshape(1, -1) for y in contender.outputs()]),
            layer.multiplies * width,
        )

    def in_c(self, layer: Layer, precision: str, path: Path, isa: str | None = None) -> Peer:
        """The same model through rnnrt_step, whose library is the extension module."""
        width = dict(self.FORMATS)[precision]
        x = np.ascontiguousarray(STREAM.x(layer)[:, 0])
        y = np.zeros(layer.hidden, np.float32)
        library, steps = ctypes.CDLL(str(rnnrt._rnnrt.__file__)), ctypes.CDLL(str(self._native)).bench_steps
        step = ctypes.cast(library.rnnrt_step, ctypes.c_void_p)
        blob = _aligned(np.fromfile(path, np.uint8))
        length, size = ctypes.c_size_t(blob.nbytes), ctypes.c_size_t()
        memory: list[Array] = []

        def made(function: str, *arguments: Any) -> ctypes.c_void_p:
            """What a pair of functions X_size, X_init makes in memory of ours."""
            handle = ctypes.c_void_p()
            _check(getattr(library, f"rnnrt_{function}_size")(*arguments, ctypes.byref(size)))
            memory.append(_aligned(np.zeros(size.value, np.uint8)))
            _check(getattr(library, f"rnnrt_{function}_init")(_at(memory[-1]), size, *arguments, ctypes.byref(handle)))
            return handle

        model = made("model", _at(blob), length)
        if isa:
            _check(library.rnnrt_model_use_isa(model, isa.encode()))
        state = made("state", model, ctypes.c_uint32(1), ctypes.c_uint32(1))
        kept = (blob, memory, x)
        together = max(
            1, min(TIME, int(2_500_000 / (layer.multiplies * width)))
        )  # some 100 us: who takes longer is disturbed

        def run(count: int, groups: int = 1, first: int = 0) -> list[int]:
            """Nanoseconds of each group of steps, as C measures them."""
            taken = np.zeros(groups, np.int64)
            numbers = (len(x) - first, layer.input_size)
            where = (step, state, _at(kept[2][first:]), *map(ctypes.c_size_t, numbers), _at(y))
            _check(steps(*where, ctypes.c_size_t(count), ctypes.c_size_t(groups), _at(taken)))
            return [int(ns) for ns in taken]

        def outputs() -> Array:
            library.rnnrt_reset(state)
            found = []
            for t in range(len(x)):
                run(1, first=t)
                found.append(y.copy())
            return np.stack(found)[:, None]

        name = f"{precision} in C"
        return Peer(name, InC(name, lambda groups: run(together, groups)), outputs, layer.multiplies * width, together)


class Onnxruntime:
    """onnxruntime: `run` and IO binding in f32, and int8 where quantize_dynamic knows the cell."""

    def __init__(self, folder: Path, native: Path | None, threads: int) -> None:
        import onnxruntime

        self.version, self._folder = onnxruntime.__version__, folder

    def peers(self, layer: Layer, mode: Mode) -> list[Peer]:
        """f32, f32 IO binding, int8, int8 IO binding."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        found = []
        f32 = layer.onnx(self._folder, 1 if mode is STREAM else TIME, mode.batch or 1)
        sources = [("f32", f32, 4.0)]
        if layer.cell == "lstm":  # it leaves a GRU as it is
            int8 = f32.with_suffix(".int8.onnx")
            logging.disable(logging.WARNING)
            quantize_dynamic(f32, int8, weight_type=QuantType.QInt8, per_channel=True)
            sources.append(("int8", int8, 1.0))
        for name, source, width in sources:
            found += self._variants(layer, mode, name, source, layer.multiplies * width)
        return found

    def _variants(self, layer: Layer, mode: Mode, name: str, source: Path, size: float) -> list[Peer]:
        x = mode.x(layer)
        feeds: list[Feed] = [{"x": frame[None]} for frame in x] if mode is STREAM else [{"x": x}]
        model = OrtModel.open(source, feeds[0], layer.states)
        if mode is not STREAM:
            states = {name: np.zeros((1, x.shape[1], layer.hidden), np.float32) for name, _ in layer.states}
            feed = {"x": x, **states}
            return [
                Peer(
                    name,
                    Work(name, lambda: model.session.run(["y"], feed)),
                    lambda: np.asarray(model.session.run(["y"], feed)[0]),
                    size,
                    TIME,
                )
            ]
        run, bound = OrtRun(model, feeds), OrtBound(model, feeds)

        def last() -> Array:
            bound.slice(len(feeds))  # from the zero state: this is asked first
            return bound.last_outputs()["y"]

        return [
            Peer(name, run, lambda: np.concatenate([y["y"] for y in run.outputs()]), size),
            Peer(f"{name} IO binding", bound, last, size),
        ]


class Torch:
    """PyTorch: the nn module in f32, and quantize_dynamic's int8."""

    def __init__(self, folder: Path, native: Path | None, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        warnings.simplefilter("ignore")  # quantize_dynamic is to move to another package
        self.version, self._torch = torch.__version__, torch

    def peers(self, layer: Layer, mode: Mode) -> list[Peer]:
        """f32, int8."""
        torch, weights = self._torch, layer.weights()
        kind = torch.nn.LSTM if layer.cell == "lstm" else torch.nn.GRU
        module = kind(layer.input_size, layer.hidden)
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        arrays = (weights.w, weights.r, weights.bias, weights.recurrent_bias)
        module.load_state_dict({name: torch.from_numpy(a) for name, a in zip(names, arrays, strict=True)})
        small = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(module), {kind}, torch.qint8)[0]
        found = []
        for name, network, width in (("f32", module.eval(), 4.0), ("int8", small, 1.0)):
            found.append(self._peer(name, network, layer, mode, layer.multiplies * width))
        return found

    def _peer(self, name: str, network: Any, layer: Layer, mode: Mode, size: float) -> Peer:
        torch = self._torch
        x = torch.from_numpy(mode.x(layer))
        if mode is not STREAM:
            return Peer(name, Work(name, lambda: network(x)), lambda: np.asarray(network(x)[0].numpy()), size, TIME)
        zero = torch.zeros(1, 1, layer.hidden)
        initial = (zero, zero) if layer.cell == "lstm" else zero
        stepping = Stepping(name, network, [x[t : t + 1] for t in range(TIME)], initial)
        return Peer(name, stepping, lambda: stepping.outputs()[:, None], size)


class LiteRt:
    """LiteRT: the step as matrix products and gates, made by make_litert.py; it has no GRU operator."""

    def __init__(self, folder: Path, native: Path | None, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter, self._folder, self._threads = Interpreter, folder, threads
        self.version = importlib.metadata.version("ai-edge-litert")

    def peers(self, layer: Layer, mode: Mode) -> list[Peer]:
        """f32, int8, int4; stepping only."""
        folder = self._folder / f"litert-{layer.name}"
        if mode is not STREAM:
            return []
        if not (folder / "f32.tflite").exists():
            raise AbsentError("its models are made with TensorFlow: give --tensorflow-python")
        x = STREAM.x(layer)
        found = []
        for name, width in (("f32", 4.0), ("int8", 1.0), ("int4", 0.5)):
            path = folder / f"{name}.tflite"
            if path.exists():
                stepping = self._stepping(name, path, list(x), layer)
                peer = Peer(name, stepping, lambda s=stepping: s.outputs()[:, None], layer.multiplies * width)  # type: ignore[misc]
                found.append(peer)
        return found

    def _stepping(self, name: str, path: Path, frames: list[F32], layer: Layer) -> Stepping:
        interpreter = self._interpreter(model_path=str(path), num_threads=self._threads)
        interpreter.allocate_tensors()
        signature = interpreter.get_signature_runner()
        letters = "hc" if layer.cell == "lstm" else "h"
        before = {d["name"].split(":")[0].rsplit("_", 1)[-1]: d["index"] for d in interpreter.get_input_details()}
        details = signature.get_output_details()
        x, states = before["x"], [before[letter] for letter in letters]
        results = [details[f"{letter}_out"]["index"] for letter in letters]
        put, get, invoke = interpreter.set_tensor, interpreter.get_tensor, interpreter.invoke

        def step(frame: F32, state: list[F32]) -> tuple[F32, list[F32]]:
            put(x, frame)
            for index, value in zip(states, state):
                put(index, value)
            invoke()
            after = [get(index) for index in results]
            return after[0], after

        return Stepping(name, step, frames, [np.zeros((1, layer.hidden), np.float32) for _ in letters])


class Ncnn:
    """ncnn: f32, and int8 weights row by row."""

    GATES: ClassVar = {"lstm": (0, 1, 3, 2), "gru": (0, 1, 2)}  # of torch's, in ncnn's order

    def __init__(self, folder: Path, native: Path | None, threads: int) -> None:
        import ncnn

        self._ncnn, self._folder, self._threads, self.version = ncnn, folder, threads, ncnn.__version__

    def peers(self, layer: Layer, mode: Mode) -> list[Peer]:
        """f32, int8; a sequence of one batch at most."""
        if mode.batch not in (None, 1):
            return []
        return [
            self._peer(name, layer, mode, layer.multiplies * width) for name, width in (("f32", 4.0), ("int8", 1.0))
        ]

    def _peer(self, name: str, layer: Layer, mode: Mode, size: float) -> Peer:
        net = self._ncnn.Net()
        net.opt.num_threads, net.opt.use_vulkan_compute = self._threads, False
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(net.opt, option, False)
        base = self._folder / f"ncnn-{layer.name}-{name}"
        self._write(base, layer, name == "int8")
        if net.load_param(f"{base}.param") or net.load_model(f"{base}.bin"):
            raise RuntimeError(f"ncnn can't load {base.name}")
        mat, letters = self._ncnn.Mat, ("hc" if layer.cell == "lstm" else "h")
        zero = np.zeros((1, layer.hidden), np.float32)  # a Mat borrows the array's memory
        x = np.ascontiguousarray(mode.x(layer)[:, 0])

        def call(frames: F32, state: list[Any]) -> tuple[Any, list[Any]]:
            extractor = net.create_extractor()
            extractor.input("x", mat(frames))
            for letter, value in zip(letters, state):
                extractor.input(letter, value)
            after = [extractor.extract(f"{letter}_out")[1] for letter in letters]
            return (after[0] if mode is STREAM else extractor.extract("y")[1]), after

        initial = [mat(zero).clone() for _ in letters]
        if mode is STREAM:
            stepping = Stepping(name, call, [x[t : t + 1] for t in range(TIME)], initial)
            return Peer(name, stepping, lambda: stepping.outputs()[:, None], size)
        return Peer(
            name, Work(name, lambda: call(x, initial)), lambda: np.array(call(x, initial)[0])[:, None], size, TIME
        )

    def _write(self, base: Path, layer: Layer, int8: bool) -> None:
        """Its text of layers, and flag and values of each array; a GRU has four biases: r, z, n, n's recurrent."""
        weights, states = layer.weights(), ("hc" if layer.cell == "lstm" else "h")
        ins, outs = ["x", *states], ["y", *(f"{s}_out" for s in states)]
        w, r, b, rb = (
            np.concatenate([np.split(a, len(self.GATES[layer.cell]))[g] for g in self.GATES[layer.cell]])
            for a in (weights.w, weights.r, weights.bias, weights.recurrent_bias)
        )
        both = 2 * layer.hidden
        bias = b + rb if layer.cell == "lstm" else np.concatenate([b[:both] + rb[:both], b[both:], rb[both:]])
        options = [f"0={layer.hidden}", f"1={w.size}", "2=0"]
        options += [f"3={layer.hidden}"] if layer.cell == "lstm" else []
        options += ["8=2"] if int8 else []
        count = len(ins)
        lines = ["7767517", f"{count + 1} {2 * count}", *(f"Input in_{name} 0 1 {name}" for name in ins)]
        lines.append(" ".join([layer.cell.upper(), "cell", str(count), str(count), *ins, *outs, *options]))
        Path(f"{base}.param").write_text("\n".join(lines) + "\n", encoding="ascii")
        parts = [np.uint32(0).tobytes() + np.asarray(a, np.float32).tobytes() for a in (w, bias, r)]
        if int8:
            scales = []
            for place, matrix in ((0, w), (2, r)):
                scale = 127 / np.maximum(np.abs(matrix).max(axis=1), 1e-9)
                q = np.clip(np.rint(matrix * scale[:, None]), -127, 127).astype(np.int8).tobytes()
                parts[place] = np.uint32(0x000D4B38).tobytes() + q + bytes(-len(q) % 4)
                scales.append(scale.astype(np.float32).tobytes())
            parts += scales
        Path(f"{base}.bin").write_bytes(b"".join(parts))


class Limit:
    """No peer but the machine: every byte of the weights read once; for a batch, int8 products at their peak rate."""

    AHEAD = (0, 512, 2048)  # bytes to prefetch: the best is the limit
    WIDTHS = (("int8", 1.0), ("int4", 0.5), ("f16", 2.0), ("f32", 4.0))

    def __init__(self, folder: Path, native: Path | None, threads: int) -> None:
        if native is None:
            raise AbsentError("no C compiler made limit.c")
        library = ctypes.CDLL(str(native))
        self.version = "limit.c"
        self._sweep, self._products = library.bench_sweep, library.bench_products
        self._sweep.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t]
        self._products.argtypes, self._products.restype = [ctypes.c_size_t], ctypes.c_uint64

    def peers(self, layer: Layer, mode: Mode) -> list[Peer]:
        """One for each width of weights, or one for the products of a batch."""
        if mode is STREAM:
            return [self._load(name, int(layer.multiplies * width)) for name, width in self.WIDTHS]
        a_round = int(self._products(1))
        if mode.batch == 1 or a_round == 0:
            return []
        products = layer.multiplies * (mode.batch or 1)
        rounds, steps = max(1, round(products / a_round)), max(1, 20_000_000 // products)
        work = Work("int8 products", lambda: self._products(rounds * steps))
        return [Peer("int8 products", work, None, layer.multiplies, steps)]

    def _load(self, name: str, size: int) -> Peer:
        data = _aligned(np.ones((size + 63) // 64 * 64, np.uint8))
        times = max(1, 4_000_000 // data.nbytes)

        def sweep(ahead: int) -> Work:
            return Work(name, lambda: self._sweep(_at(data), data.nbytes, times, ahead))

        works = [sweep(ahead) for ahead in self.AHEAD]
        taken = [sorted(work.slice(40))[10] for work in works]
        return Peer(name, works[taken.index(min(taken))], None, size, times)


def _aligned(data: Array) -> Array:
    """A copy of u8 [n] that begins at a multiple of 64."""
    room = np.empty(data.nbytes + 64, np.uint8)
    first = -room.ctypes.data % 64
    copy = room[first : first + data.nbytes]
    copy[:] = data
    return copy


def _at(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _check(status: int) -> None:
    if status != 0:
        raise RuntimeError(f"rnnrt status {status}")


LIBRARIES: dict[str, tuple[Any, int]] = {
    "rnnrt": (Rnnrt, 1),
    "rnnrt 2 threads": (Rnnrt, 2),
    "onnxruntime": (Onnxruntime, 1),
    "torch": (Torch, 1),
    "LiteRT": (LiteRt, 1),
    "ncnn": (Ncnn, 1),
    "limit": (Limit, 1),
}
"""Name -> class and threads; each name is one process."""
