"""The reader of checkpoints: every tensor bit for bit what torch reads, and the recurrent layers among them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rnnrt.converters import architecture, checkpoint, simplify, states, support
from rnnrt.converters.convert import convert
from rnnrt.converters.ir import Graph
from safetensors.torch import save_file
from torch import nn

import g2p
import rnnrt
from rnnrt import ModelFormatError, UnsupportedError
from rnnrt.cli import main as rnnrt_command

RESEMBLYZER = [
    {"type": "LSTM", "weights": "model_state.lstm"},
    {"type": "Linear", "weights": "model_state.linear"},
    {"type": "ReLU"},
    {"type": "L2Norm"},
]


def flat(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors in containers by dotted name, as the reader names them."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (Mapping, list, tuple)):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from flat(item, f"{name}.{key}" if name else str(key))


def assert_same_bits(found: np.ndarray, expected: torch.Tensor, name: str) -> None:
    expected = expected.detach()
    if expected.dtype == torch.bfloat16:
        expected = expected.float()  # exact: numpy has no bfloat16
    array = expected.numpy()
    assert found.dtype == array.dtype, name
    assert found.shape == array.shape, name
    assert found.tobytes() == array.tobytes(), name


def assert_like_torch(path: Path) -> checkpoint.Checkpoint:
    """Every tensor, the optimizer's too; none more and none less."""
    found = checkpoint.read(path)
    expected = dict(flat(torch.load(path, map_location="cpu", weights_only=True)))
    assert sorted([*found.tensors, *found.skipped]) == sorted(expected)
    for name, tensor in expected.items():
        assert_same_bits(found.array(name), tensor, name)
    return found


# ---- real files ----


def test_resemblyzer_is_what_torch_reads(models_dir: Path) -> None:
    found = assert_like_torch(models_dir / "pretrained.pt")
    assert found.format == "torch stream"
    assert len(found.tensors) == 16
    assert len(found.skipped) == 32  # of Adam
    storages = {id(tensor.storage) for name, tensor in found.tensors.items() if ".lstm." in name}
    assert len(storages) == 1, "12 views of one storage"


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*:DeprecationWarning")
def test_silero_script_is_what_torch_reads(models_dir: Path) -> None:
    found = checkpoint.read(models_dir / "silero_vad.jit")
    module = torch.jit.load(models_dir / "silero_vad.jit", map_location="cpu")  # runs code: only here, in a test
    expected = dict(module.state_dict())
    assert found.format == "TorchScript"
    for name, tensor in expected.items():
        assert_same_bits(found.array(name), tensor, name)
    # What a state_dict leaves out: attributes of the module, and the archive's constant.
    assert set(found.tensors) - set(expected) == {"_state", "_context", "constants.0"}


def test_silero_safetensors_is_what_the_library_reads(models_dir: Path) -> None:
    from safetensors.torch import load_file

    found = checkpoint.read(models_dir / "silero_vad_16k.safetensors")
    expected = load_file(models_dir / "silero_vad_16k.safetensors")
    assert set(found.tensors) == set(expected)
    for name, tensor in expected.items():
        assert_same_bits(found.array(name), tensor, name)
    (stack,) = found.stacks()
    assert (stack.name, stack.op, stack.input_size, stack.hidden_size, stack.cell) == (
        "lstm_cell",
        "LSTM",
        128,
        128,
        True,
    )


def test_g2p_is_what_numpy_reads(models_dir: Path) -> None:
    found = checkpoint.read(models_dir / "checkpoint20.npz")
    with np.load(models_dir / "checkpoint20.npz", allow_pickle=False) as expected:
        assert sorted(found.tensors) == sorted(expected.files)
        for name in expected.files:
            np.testing.assert_array_equal(found.array(name), expected[name], strict=True)
    assert [(s.name, s.op, s.hidden_size) for s in found.stacks()] == [("enc", "GRU", 256), ("dec", "GRU", 256)]


def test_g2p_spells_500_words_as_the_package_does(models_dir: Path, root: Path, tmp_path: Path) -> None:
    paths = g2p.convert_models(models_dir / "checkpoint20.npz", tmp_path)
    spell = g2p.Speller(*(rnnrt.load(path) for path in paths))
    lines = (root / "tests" / "golden" / "g2p_words.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 500
    wrong = [line for line in lines if f"{line.split()[0]} {' '.join(spell(line.split()[0]))}" != line]
    assert not wrong


def test_g2p_example_runs(models_dir: Path, root: Path) -> None:
    command = [sys.executable, str(root / "examples" / "g2p.py"), "spell", "phonemes"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["spell: S P EH1 L", "phonemes: F OW1 N IY0 M Z"]


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_resemblyzer_embeds_as_torch_does(quantize: str | None, models_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.rnnrt"
    mels = np.abs(np.random.default_rng(5).standard_normal((2, 160, 40))).astype(np.float32) * 0.1  # energies: >= 0
    convert(models_dir / "pretrained.pt", path, architecture=RESEMBLYZER, quantize=quantize, data=mels[:1])
    weights = torch.load(models_dir / "pretrained.pt", map_location="cpu", weights_only=True)["model_state"]
    lstm, linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)
    lstm.load_state_dict({k[5:]: v for k, v in weights.items() if k.startswith("lstm.")})
    linear.load_state_dict({k[7:]: v for k, v in weights.items() if k.startswith("linear.")})
    with torch.no_grad():
        raw = torch.relu(linear(lstm(torch.from_numpy(mels))[0]))
        expected = (raw / torch.norm(raw, dim=2, keepdim=True)).numpy()
    found = np.asarray(rnnrt.load(path)(mels))
    if quantize is None:
        assert np.abs(found - expected).max() < 1e-5
    else:
        assert (found * expected).sum(axis=2).min() > 0.99  # cosine of the angle between two unit vectors


# ---- formats ----


def contents() -> dict[str, Any]:
    """Everything that a tensor of a checkpoint can be."""
    rng = torch.Generator().manual_seed(3)
    base = torch.randn(4, 6, generator=rng)
    types = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int16, torch.int32,
             torch.int64, torch.uint8, torch.bool, torch.complex64, torch.complex128)  # fmt: skip
    return {
        "types": {str(t).removeprefix("torch."): (10 * base).to(t) for t in types},
        "whole": base,
        "row": base[1],
        "column": base[:, 2],
        "transposed": base.t(),
        "part": base[1:3, 2:5],
        "stepped": base[::2, ::3],
        "repeated": base[0].expand(5, 6),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(base[:2].clone()),
        "no gradient": nn.Parameter(base[:1].clone(), requires_grad=False),
        "in a list": [base.clone(), (base + 1, {"deep": base - 1})],
        "extremes": torch.tensor([0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-45, 3.4e38]),
    }


@pytest.mark.parametrize("new", [True, False], ids=["zip", "stream"])
def test_every_tensor_is_what_torch_reads(new: bool, tmp_path: Path) -> None:
    torch.save(contents(), tmp_path / "m.pt", _use_new_zipfile_serialization=new)
    found = assert_like_torch(tmp_path / "m.pt")
    assert found.format == ("torch zip" if new else "torch stream")
    assert found.tensors["types.bfloat16"].dtype == "bfloat16"
    storages = {id(found.tensors[n].storage) for n in ("whole", "row", "column", "transposed", "part", "repeated")}
    assert len(storages) == 1


def test_unsigned_types_of_newer_torch(tmp_path: Path) -> None:
    torch.save({str(t): torch.arange(5).to(t) for t in (torch.uint16, torch.uint32, torch.uint64)}, tmp_path / "m.pt")
    assert_like_torch(tmp_path / "m.pt")


@pytest.mark.parametrize(
    "suffix", [s for s in checkpoint.SUFFIXES if s != ".safetensors"]
)  # torch takes it at its word
@pytest.mark.parametrize("new", [True, False], ids=["zip", "stream"])
def test_the_name_does_not_matter(suffix: str, new: bool, tmp_path: Path) -> None:
    path = tmp_path / f"any name{suffix}"
    torch.save(nn.GRU(3, 4).state_dict(), path, _use_new_zipfile_serialization=new)
    assert len(assert_like_torch(path).stacks()) == 1


def repacked(path: Path, change: Callable[[str, bytes], tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [change(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)


@pytest.mark.parametrize("root", ["archive", "weird root-1.0", "ü"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_that_were_packed_again(root: str, method: int, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(contents(), path)
    expected = {name: array.tobytes() for name, array in checkpoint.read(path).arrays().items()}
    repacked(path, lambda name, data: (f"{root}/{name.partition('/')[2]}", data), method)
    assert {name: array.tobytes() for name, array in checkpoint.read(path).arrays().items()} == expected


def test_big_endian_archives(tmp_path: Path) -> None:
    values = torch.randn(7, generator=torch.Generator().manual_seed(1))
    torch.save({"a": values}, tmp_path / "m.pt")

    def swapped(name: str, data: bytes) -> tuple[str, bytes]:
        if name.endswith("byteorder"):
            return name, b"big"
        is_storage = name.endswith("/data/0")
        return name, np.frombuffer(data, "<f4").astype(">f4").tobytes() if is_storage else data

    repacked(tmp_path / "m.pt", swapped)
    assert_same_bits(assert_like_torch(tmp_path / "m.pt").array("a"), values, "a")


def test_archives_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(contents(), tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_like_torch(tmp_path / "m.pt")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "stream"])
def test_pickle_protocols(protocol: int, new: bool, tmp_path: Path) -> None:
    module = nn.GRU(3, 4)
    saved = {"state_dict": module.state_dict(), "data": b"\x00\xff", "set": {1, 2}, "n": 2**70, "x": 0.5}
    torch.save(saved, tmp_path / "m.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    found = checkpoint.read(tmp_path / "m.pt")
    for name, tensor in module.state_dict().items():
        assert_same_bits(found.array(f"state_dict.{name}"), tensor, name)


def test_what_training_leaves_beside_the_weights(tmp_path: Path) -> None:
    """Optimizers are told apart; numbers, types, devices, sizes and default dictionaries are no fault."""
    module = nn.DataParallel(nn.LSTM(3, 4))
    optimizer = torch.optim.Adam(module.parameters())
    module.module(torch.zeros(2, 1, 3))[0].sum().backward()
    optimizer.step()
    counts: defaultdict[str, int] = defaultdict(int, a=1)
    content = OrderedDict(
        model_state=module.state_dict(),
        optimizer_state_dict=optimizer.state_dict(),
        opt=optimizer.state_dict(),
        lr_scheduler={"buffer": torch.ones(2)},
        best=np.float64(0.5),
        step=np.int64(7),
        counts=counts,
        dtype=torch.float32,
        device=torch.device("cpu"),
        size=torch.Size([1, 2]),
        classes=[None, True, False, -1, 70000, 2**40, "é", frozenset({"a"})],
    )
    torch.save(content, tmp_path / "m.ckpt")
    found = checkpoint.read(tmp_path / "m.ckpt")
    assert set(found.tensors) == {f"model_state.{name}" for name in module.state_dict()}
    assert {name.partition(".")[0] for name in found.skipped} == {"optimizer_state_dict", "opt", "lr_scheduler"}
    (stack,) = found.stacks()
    assert (stack.name, stack.op, stack.layers) == ("model_state.module", "LSTM", 1)


def test_scripted_modules_of_every_kind(tmp_path: Path) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(3, 4, 2, bidirectional=True)
            self.head = nn.Sequential(nn.Linear(8, 2), nn.BatchNorm1d(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.head(self.gru(x)[0][0])
            return y

    module = Model().eval()
    traced = torch.jit.trace(module, torch.zeros(2, 5, 3))
    traced.save(str(tmp_path / "m.ts"))
    found = checkpoint.read(tmp_path / "m.ts")
    assert found.format == "TorchScript"
    for name, tensor in module.state_dict().items():
        assert_same_bits(found.array(name), tensor, name)
    assert [(s.op, s.layers, s.directions) for s in found.stacks()] == [("GRU", 2, 2)]


def test_safetensors_of_every_type(tmp_path: Path) -> None:
    tensors = {n: t.contiguous() for n, t in contents()["types"].items() if not n.startswith("complex")}
    save_file(tensors, tmp_path / "m.safetensors", {"format": "pt"})
    found = checkpoint.read(tmp_path / "m.safetensors")
    assert set(found.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert_same_bits(found.array(name), tensor, name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_numpy(save: Callable[..., None], tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    base = rng.standard_normal((3, 4, 5))
    arrays = {
        "c": base.astype(np.float32),
        "fortran": np.asfortranarray(base),
        "big": base.astype(">f4"),
        "half": base.astype(np.float16),
        "flags": base > 0,
        "n": np.arange(5, dtype=np.uint16),
        "scalar": np.float32(1.5),
        "empty": np.zeros((0, 3), np.int64),
    }
    save(tmp_path / "m.npz", **arrays)
    found = checkpoint.read(tmp_path / "m.npz")
    assert found.format == "npz"
    for name, array in arrays.items():
        native = np.asarray(array, np.asarray(array).dtype.newbyteorder("="))
        np.testing.assert_array_equal(found.array(name), native, strict=True)


def test_arrays_can_not_be_written_to(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "m.pt")
    array = checkpoint.read(tmp_path / "m.pt").array("a")
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_a_file_that_becomes_shorter_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"a": torch.zeros(3000)}, path)
    found = checkpoint.read(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelFormatError, match=r"m\.pt': the file became shorter"):
        found.array("a")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint.read(tmp_path / "gone.pt")
    with pytest.raises(IsADirectoryError):
        checkpoint.read(tmp_path)


def test_a_whole_module_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(nn.GRU(3, 4), tmp_path / "m.pt")
    with pytest.raises(
        ModelFormatError, match=r"names torch.nn.modules.rnn.GRU.*torch.save\(model.state_dict\(\), path\)"
    ):
        checkpoint.read(tmp_path / "m.pt")


def test_neither_torch_nor_onnx_is_needed(tmp_path: Path) -> None:
    torch.save({"net": nn.LSTM(5, 6, 2, batch_first=True).state_dict()}, tmp_path / "m.pt")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = sys.modules['onnxruntime'] = None\n"
        "from rnnrt.converters.convert import convert; import rnnrt\n"
        f"convert({str(tmp_path / 'm.pt')!r}, {str(tmp_path / 'm.rnnrt')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert rnnrt.load(tmp_path / "m.rnnrt").streamable


# ---- recurrent layers ----


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("prefix", ["", "module.", "a.b_c.module."])
def test_stacks_are_found(kind: str, layers: int, bidirectional: bool, bias: bool, prefix: str) -> None:
    module = getattr(nn, kind)(5, 6, layers, bidirectional=bidirectional, bias=bias)
    shapes = {prefix + n: tuple(t.shape) for n, t in module.state_dict().items()} | {"head.weight": (3, 6)}
    (stack,) = checkpoint.find_stacks(shapes)
    assert (stack.name, stack.op, stack.layers, stack.directions) == (
        prefix.rstrip("."),
        kind,
        layers,
        1 + bidirectional,
    )
    assert (stack.input_size, stack.hidden_size, stack.proj_size, stack.bias, stack.cell) == (5, 6, 0, bias, False)
    assert not stack.problems


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projections_are_found() -> None:
    (stack,) = checkpoint.find_stacks(
        {n: tuple(t.shape) for n, t in nn.LSTM(5, 8, 2, proj_size=3).state_dict().items()}
    )
    assert (stack.op, stack.hidden_size, stack.proj_size, stack.problems) == ("LSTM", 8, 3, [])


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_cells_are_found(kind: str) -> None:
    cell = getattr(nn, f"{kind}Cell")(5, 6)
    names = {f"cells.{k}.{n}": tuple(t.shape) for k in range(2) for n, t in cell.state_dict().items()}
    found = checkpoint.find_stacks(names)
    assert [(s.name, s.op, s.cell, s.layers) for s in found] == [(f"cells.{k}", kind, True, 1) for k in range(2)]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"weight_hh_l0": None}, r"weight_hh \[\] are no two matrices"),
        ({"weight_ih_l0": (19, 5)}, "19 rows"),
        ({"weight_hh_l1": None}, "weight_hh_l1 is missing"),
        ({"weight_ih_l7": (18, 6)}, "'weight_ih_l7' belongs to a layer"),
        ({"weight_ih_l1_reverse": (18, 6)}, "'weight_ih_l1_reverse' belongs to a layer or direction"),
    ],
)
def test_what_does_not_fit_is_said(change: Mapping[str, tuple[int, ...] | None], problem: str) -> None:
    shapes = {n: tuple(t.shape) for n, t in nn.GRU(5, 6, 2).state_dict().items()} | change
    (stack,) = checkpoint.find_stacks({n: s for n, s in shapes.items() if s is not None})
    assert any(re.search(problem, p) for p in stack.problems)


# ---- architecture ----


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(7, 5)
        self.norm = nn.LayerNorm(5, eps=1e-3)
        self.rnn = nn.GRU(5, 6, 2, batch_first=True, bidirectional=True)
        self.cell = nn.LSTMCell(12, 4)
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.rnn(nn.functional.leaky_relu(self.norm(self.front(x)), 0.2))[0]
        state = None
        steps = []
        for t in range(y.shape[1]):
            state = self.cell(y[:, t], state)
            steps.append(state[0])
        return torch.sigmoid(self.head(torch.stack(steps, 1)))


TOML = """
[[layer]]
type = "Linear"
weights = "front"
[[layer]]
type = "LayerNorm"
weights = "norm"
eps = 1e-3
[[layer]]
type = "LeakyReLU"
negative_slope = 0.2
[[layer]]
type = "GRU"
weights = "rnn"
[[layer]]
type = "LSTMCell"
weights = "cell"
[[layer]]
type = "Dropout"
p = 0.5
[[layer]]
type = "Linear"
weight = "head.weight"
[[layer]]
type = "Sigmoid"
"""


def finished(graph: Graph) -> Graph:
    done = states.lift(simplify.simplify(graph))
    assert support.check(done) == []
    return done


@pytest.fixture
def net(tmp_path: Path) -> tuple[Net, Path]:
    torch.manual_seed(4)
    module = Net().eval()
    torch.save({"net": module.state_dict(), "epoch": 3}, tmp_path / "net.pt")
    return module, tmp_path / "net.pt"


def assert_computes(path: Path, module: nn.Module, features: int) -> None:
    x = np.random.default_rng(6).standard_normal((2, 9, features)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x))
    expected = (expected[0] if isinstance(expected, tuple) else expected).numpy()
    np.testing.assert_allclose(rnnrt.load(path)(x), expected, rtol=0, atol=2e-6)


def test_a_described_network_computes_what_torch_does(net: tuple[Net, Path], tmp_path: Path) -> None:
    module, path = net
    (tmp_path / "net.toml").write_text(TOML)
    report = convert(path, tmp_path / "net.rnnrt", prefix="net.", architecture=tmp_path / "net.toml")
    assert report.verification is not None
    assert not report.verification.failed
    assert_computes(tmp_path / "net.rnnrt", module, 7)


@pytest.mark.parametrize("cell", ["net.rnn", "rnn"])
def test_one_layer_of_many(cell: str, net: tuple[Net, Path], tmp_path: Path) -> None:
    module, path = net
    report = convert(path, tmp_path / "rnn.rnnrt", prefix="net.", cell=cell)
    assert report.notes[0] == "only 'net.rnn' was taken; 9 other tensors were left out"
    assert_computes(tmp_path / "rnn.rnnrt", module.rnn, 5)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM", "projection"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_checkpoint_of_one_layer_needs_no_description(kind: str, bidirectional: bool, tmp_path: Path) -> None:
    torch.manual_seed(7)
    arguments: dict[str, Any] = {"batch_first": True, "bidirectional": bidirectional}
    module = (
        nn.LSTM(5, 8, proj_size=3, **arguments) if kind == "projection" else getattr(nn, kind)(5, 6, 2, **arguments)
    )
    torch.save({"state_dict": nn.DataParallel(module).state_dict()}, tmp_path / "m.pth")
    convert(tmp_path / "m.pth", tmp_path / "m.rnnrt")
    assert_computes(tmp_path / "m.rnnrt", module, 5)


@pytest.mark.parametrize(
    ("layer", "module"),
    [
        ({"type": "ReLU"}, nn.ReLU()),
        ({"type": "ReLU6"}, nn.ReLU6()),
        ({"type": "LeakyReLU"}, nn.LeakyReLU()),
        ({"type": "ELU", "alpha": 0.7}, nn.ELU(0.7)),
        ({"type": "SiLU"}, nn.SiLU()),
        ({"type": "Sigmoid"}, nn.Sigmoid()),
        ({"type": "Tanh"}, nn.Tanh()),
        ({"type": "Softsign"}, nn.Softsign()),
        ({"type": "Softplus"}, nn.Softplus()),
        ({"type": "Hardtanh", "min_val": -0.3}, nn.Hardtanh(-0.3)),
        ({"type": "Hardsigmoid"}, nn.Hardsigmoid()),
        ({"type": "Hardswish"}, nn.Hardswish()),
        ({"type": "Mish"}, nn.Mish()),
        ({"type": "Softmax"}, nn.Softmax(-1)),
        ({"type": "LogSoftmax"}, nn.LogSoftmax(-1)),
        ({"type": "Identity"}, nn.Identity()),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_activations(layer: Mapping[str, Any], module: nn.Module, tmp_path: Path) -> None:
    linear = nn.Linear(5, 6)
    torch.save(linear.state_dict(), tmp_path / "m.pt")
    convert(tmp_path / "m.pt", tmp_path / "m.rnnrt", architecture=[{"type": "Linear", "weights": ""}, layer])
    assert_computes(tmp_path / "m.rnnrt", nn.Sequential(linear, module), 5)


def test_l2_norm_with_epsilon_is_torch_normalize(tmp_path: Path) -> None:
    linear = nn.Linear(5, 6, bias=False)
    torch.save(linear.state_dict(), tmp_path / "m.pt")
    layers = [{"type": "Linear", "weights": ""}, {"type": "L2Norm", "eps": 1e-12}]
    convert(tmp_path / "m.pt", tmp_path / "m.rnnrt", architecture=layers)
    x = np.random.default_rng(1).standard_normal((1, 4, 5)).astype(np.float32)
    x[0, 2] = 0
    with torch.no_grad():
        expected = nn.functional.normalize(linear(torch.from_numpy(x)), dim=-1).numpy()
    np.testing.assert_allclose(rnnrt.load(tmp_path / "m.rnnrt")(x), expected, rtol=0, atol=1e-6)


def refusal(*arguments: Any, **options: Any) -> UnsupportedError:
    with pytest.raises(UnsupportedError) as caught:
        architecture.load(*arguments, **options)
    return caught.value


def problems(*arguments: Any, **options: Any) -> list[str]:
    return [str(problem) for problem in refusal(*arguments, **options).problems]


def test_a_network_without_a_description_is_explained(net: tuple[Net, Path]) -> None:
    found = problems(net[1], prefix="net.")
    assert any("LSTM 'net.cell': one of 2 recurrent layers" in p for p in found)
    assert "tensor 'net.head.weight': belongs to no recurrent layer" in found
    (hint,) = refusal(net[1], prefix="net.").hints
    assert "(--cell net.rnn or --cell net.cell), or describe the layers (--architecture FILE.toml)" in hint


def test_all_faults_of_a_description_are_listed(net: tuple[Net, Path]) -> None:
    layers = [
        {"type": "Linear", "weights": "front"},
        {"type": "Conv1d", "weights": "conv"},
        {"type": "LayerNorm", "weights": "norm", "eps": -1, "momentum": 0.1},
        {"type": "GRU", "weights": "cell"},
        {"type": "LSTM", "weights": "nowhere"},
        {"type": "Linear", "weights": "head", "bias": "head.offset"},
        {"type": "LeakyReLU", "negative_slope": "steep"},
        {"type": "Embedding", "weight": "front.weight"},
        {"type": "Linear", "weights": "front"},
        {},
    ]
    found = problems(net[1], prefix="net.", architecture={"layer": layers, "batch_frist": True})
    for expected in (
        "'batch_frist' is unknown",
        "Conv1d 'conv': type: there is no such type; there are Dropout, ELU,",
        "LayerNorm 'norm': eps: -1 is no number >= 0",
        "LayerNorm 'norm': momentum: is unknown; there are bias, eps, name, weight, weights",
        "GRU 'cell': its tensors are a LSTM's",
        "LSTM 'nowhere': weights: 0 recurrent layers are called 'nowhere'; there are ['cell', 'rnn']",
        "Linear 'head': bias: no tensor is called head.offset",
        "negative_slope: 'steep' is no number",
        "Embedding 'embedding8': it must come first",
        "Linear 'front': takes 7 features, but gets",
        "type: there is no such type",
    ):
        assert any(expected in p for p in found), (expected, found)


def test_descriptions_that_are_none(net: tuple[Net, Path], tmp_path: Path) -> None:
    assert "it lists no layers" in problems(net[1], architecture=[])[0]
    assert "it lists no layers" in problems(net[1], architecture={"layer": "LSTM"})[0]
    (tmp_path / "bad.toml").write_text("[[layer]\n")
    with pytest.raises(ModelFormatError, match=r"bad\.toml': not a TOML file"):
        architecture.load(net[1], architecture=tmp_path / "bad.toml")


def test_arguments_that_do_not_fit(net: tuple[Net, Path], models_dir: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no tensor's name starts with 'nte\.'; the first one is 'net\.front\.weight'"
    ):
        architecture.load(net[1], prefix="nte.")
    with pytest.raises(ValueError, match=r"no recurrent layer is called 'gru'; there are: net\.rnn, net\.cell"):
        architecture.load(net[1], cell="gru")
    with pytest.raises(ValueError, match="not both"):
        architecture.load(net[1], cell="rnn", architecture=[])
    with pytest.raises(ValueError, match="cell: only a checkpoint can have this"):
        convert(models_dir / "silero_vad_16k_op15.onnx", None, cell="rnn")


# ---- command line ----


def test_list(net: tuple[Net, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert rnnrt_command(["convert", str(net[1]), "--list"]) == 0
    shown = capsys.readouterr().out
    assert "net.pt: torch zip" in shown
    assert "net.front.weight" in shown
    assert "LSTMCell" in shown
    assert rnnrt_command(["convert", str(net[1]), "--list", "--json", "--prefix", "net.r"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "rnnrt.list/1"
    assert found["tensors"][0] == {"name": "net.rnn.weight_ih_l0", "dtype": "float32", "shape": [18, 5]}
    (stack,) = found["stacks"]
    assert (stack["name"], stack["op"], stack["layers"], stack["directions"]) == ("net.rnn", "GRU", 2, 2)


def test_convert_and_verify_commands(net: tuple[Net, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.toml").write_text(TOML)
    target = str(tmp_path / "net.rnnrt")
    options = ["--prefix", "net.", "--architecture", str(tmp_path / "net.toml")]
    assert rnnrt_command(["convert", str(net[1]), "-o", target, *options]) == 0
    assert rnnrt_command(["verify", target, "--against", str(net[1]), *options]) == 0
    assert rnnrt_command(["convert", str(net[1]), "-o", target, "--cell", "net.rnn"]) == 0
    capsys.readouterr()
    assert rnnrt_command(["convert", str(net[1]), "-o", target, "--cell", "gru"]) == 2
    assert "there are: net.rnn, net.cell" in capsys.readouterr().err
    assert rnnrt_command(["convert", str(net[1]), "-o", target]) == 3
    assert rnnrt_command(["convert", str(net[1])]) == 2
    (tmp_path / "bad.pt").write_bytes(b"\x80\x02cos\nsystem\n.")
    assert rnnrt_command(["convert", str(tmp_path / "bad.pt"), "--list"]) == 4
    assert "os.system" in capsys.readouterr().err


def test_in_memory_buffers_are_no_matter(tmp_path: Path) -> None:
    """A file written through a buffer has another root folder in it."""
    buffer = io.BytesIO()
    torch.save(nn.GRU(2, 3).state_dict(), buffer)
    (tmp_path / "m.pt").write_bytes(buffer.getvalue())
    assert_like_torch(tmp_path / "m.pt")
