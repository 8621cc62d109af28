"""Reading torch modules, state_dicts and checkpoints: the same numbers as torch, every problem by name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rnnrt.converters import from_torch, reference, simplify, states, support
from rnnrt.converters.convert import convert
from rnnrt.converters.ir import Graph, Sym
from safetensors.numpy import save_file
from torch import nn

import rnnrt
from rnnrt.errors import ModelFormatError, UnsupportedError

T, B = Sym.TIME, Sym.BATCH
KINDS = ["RNN", "GRU", "LSTM"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def finished(graph: Graph) -> Graph:
    made = states.lift(simplify.simplify(graph))
    assert not support.check(made)
    return made


def flat(value: Any) -> list[Any]:
    return [f for v in value for f in flat(v)] if isinstance(value, tuple) else [value.detach().numpy()]


def assert_like_torch(graph: Graph, module: Any, features: int = 5, batch_first: bool = True) -> None:
    """Output y, whole and step by step, at two sizes."""
    module.eval()
    for batch, time in ((2, 7), (1, 1)):
        x = torch.randn(batch, time, features) if batch_first else torch.randn(time, batch, features)
        expected = flat(module(x))[0]
        outputs, _ = reference.run(graph, {"x": x.numpy()})
        assert outputs["y"].shape == expected.shape
        assert np.abs(outputs["y"] - expected).max() < 2e-6
        if not graph.streamable:
            continue
        axis, carried, steps = 1 if batch_first else 0, None, []
        for t in range(time):
            step, carried = reference.run(graph, {"x": np.take(x.numpy(), [t], axis)}, carried)
            steps.append(step["y"])
        assert np.abs(np.concatenate(steps, axis) - outputs["y"]).max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrent_modules(kind: str, layers: int, bidirectional: bool, bias: bool, batch_first: bool) -> None:
    module = getattr(nn, kind)(5, 6, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional)
    graph = finished(from_torch.from_module(module))
    assert graph.inputs[0].shape == ((B, T, 5) if batch_first else (T, B, 5))
    assert graph.streamable is not bidirectional
    assert len(graph.states) == (0 if bidirectional else layers * (2 if kind == "LSTM" else 1))
    assert_like_torch(graph, module, batch_first=batch_first)


@pytest.mark.parametrize("kind", KINDS)
def test_final_states_are_torchs(kind: str) -> None:
    module = getattr(nn, kind)(5, 6, 2, batch_first=True).eval()
    graph = finished(from_torch.from_module(module))
    x = torch.randn(2, 7, 5)
    _, carried = reference.run(graph, {"x": x.numpy()})
    final = flat(module(x))[1:]  # h [layers, B, H], for an LSTM c as well
    for i, state in enumerate(graph.states):
        layer, which = (i // 2, i % 2) if kind == "LSTM" else (i, 0)
        found = carried[state.name].reshape(2, 6)
        assert np.abs(found - final[which][layer]).max() < 1e-6, state.name


def test_rnn_with_relu() -> None:
    module = nn.RNN(5, 6, 2, nonlinearity="relu", batch_first=True, bidirectional=True)
    assert_like_torch(finished(from_torch.from_module(module)), module)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projections_are_folded_and_said(bidirectional: bool, batch_first: bool) -> None:
    module = nn.LSTM(5, 8, 2, proj_size=3, batch_first=batch_first, bidirectional=bidirectional)
    raw = from_torch.from_module(module)
    assert sum("proj_size" in note for note in raw.notes) == 2
    assert_like_torch(finished(raw), module, batch_first=batch_first)


LAYERS: list[nn.Module] = [
    nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU(0.3), nn.ELU(0.7), nn.Softsign(), nn.Softplus(), nn.ReLU6(),
    nn.Hardtanh(-0.5, 0.25), nn.Hardsigmoid(), nn.Hardswish(), nn.SiLU(), nn.Mish(), nn.Softmax(-1), nn.LogSoftmax(2),
    nn.Identity(), nn.Dropout(0.5), nn.LayerNorm(6), nn.LayerNorm(6, elementwise_affine=False),
    nn.LayerNorm(6, bias=False),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layers_in_a_sequence(layer: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(5, 6), layer, nn.Sequential(nn.Linear(6, 4, bias=False)))
    assert_like_torch(finished(from_torch.from_module(module)), module)


def test_training_and_gradients_do_not_matter() -> None:
    module = nn.GRU(5, 6, 2, dropout=0.9, batch_first=True).train()
    graph = finished(from_torch.from_module(module))
    assert module.training
    assert_like_torch(graph, module)


def test_half_precision_weights_are_read_as_float32() -> None:
    module = nn.Linear(5, 4).to(torch.bfloat16)
    graph = from_torch.from_module(module)
    expected = module.weight.detach().to(torch.float32).numpy()
    assert np.array_equal(graph.constants["linear.weight"], expected)


# ---- problems ----


def problems(call: Any, *args: Any, **options: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(UnsupportedError) as caught:
        call(*args, **options)
    return [(p.node, p.op, p.attribute) for p in caught.value.problems]


def test_all_problems_of_a_module_are_listed() -> None:
    layers = [nn.Conv2d(3, 4, 2), nn.GLU(), nn.GRU(7, 5, batch_first=True), nn.LayerNorm((3, 5)), nn.Linear(6, 3)]
    module = nn.Sequential(*layers, nn.Softmax(1), nn.Softplus(beta=2), nn.LSTM(3, 3))
    found = problems(from_torch.from_module, module)
    assert found == [
        ("0", "Conv2d", ""), ("1", "GLU", ""), ("3", "LayerNorm", "normalized_shape"), ("4", "Linear", ""),
        ("5", "Softmax", ""), ("6", "Softplus", ""), ("7", "LSTM", "batch_first"),
    ]  # fmt: skip


def test_subclasses_and_shapeless_modules_are_refused() -> None:
    class Mine(nn.GRU):
        pass

    assert problems(from_torch.from_module, Mine(5, 6)) == [("mine", "Mine", "")]
    assert problems(from_torch.from_module, nn.ReLU()) == [("ReLU", "module", "")]


# ---- by way of ONNX ----


class Denoiser(nn.Module):
    """Something that no chain of layers describes."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.rnn, self.mask = nn.Linear(5, 6), nn.GRU(6, 6, 2, batch_first=True), nn.Linear(6, 5)

    def forward(self, x: Any) -> Any:
        y, _ = self.rnn(torch.relu(self.front(x)))
        return x * torch.sigmoid(self.mask(y))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_any_module_with_an_example() -> None:
    module = Denoiser().train()
    assert problems(from_torch.from_module, module) == [("denoiser", "Denoiser", "")]
    graph = finished(from_torch.from_module(module, torch.zeros(1, 4, 5)))
    assert module.training
    assert [n.op for n in graph.nodes if n.op not in support.VIEWS] == ["Gemm", "GRU", "GRU", "Gemm", "Mul"]
    assert len(graph.states) == 2
    assert_like_torch(graph, module)


def test_any_module_to_a_file_in_one_call(tmp_path: Path) -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(5, 16, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.gru(x)[0] * 0.5
            return found

    module, x = Gated(), torch.randn(1, 7, 5)
    with pytest.raises(UnsupportedError, match="example="):
        convert(module, tmp_path / "m.rnnrt")
    report = convert(module, tmp_path / "m.rnnrt", example=torch.zeros(1, 4, 5))
    assert report.verification is not None
    assert {c.against for c in report.verification.comparisons} == {"torch", "float64"}
    found = np.asarray(rnnrt.load(tmp_path / "m.rnnrt")(x.numpy()))
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="example: only a torch module"):
        convert({"weight": torch.zeros(2, 2)}, None, example=x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_module_that_torch_can_not_export() -> None:
    class Broken(nn.Module):
        def forward(self, x: Any) -> Any:
            raise RuntimeError("no")

    assert problems(from_torch.from_module, Broken(), torch.zeros(1, 2, 3)) == [("", "Broken", "")]


# ---- state_dicts ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefix", ["", "rnn.", "model.encoder.rnn."])
@pytest.mark.parametrize("as_numpy", [False, True])
def test_state_dicts(kind: str, prefix: str, as_numpy: bool) -> None:
    module = getattr(nn, kind)(5, 6, 2, batch_first=True, bidirectional=True)
    entries: Mapping[str, Any] = {prefix + k: v.numpy() if as_numpy else v for k, v in module.state_dict().items()}
    assert_like_torch(finished(from_torch.from_state_dict(entries)), module)


def test_state_dict_options() -> None:
    module = nn.RNN(5, 6, nonlinearity="relu")
    graph = finished(from_torch.from_state_dict(module.state_dict(), batch_first=False, nonlinearity="relu"))
    assert_like_torch(graph, module, batch_first=False)
    assert problems(from_torch.from_state_dict, module.state_dict(), nonlinearity="sine") == [("rnn", "RNN", "")]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_state_dict_with_projection() -> None:
    module = nn.LSTM(5, 8, proj_size=3, batch_first=True)
    assert_like_torch(finished(from_torch.from_state_dict(module.state_dict())), module)


def test_state_dict_of_a_linear_layer() -> None:
    module = nn.Linear(5, 4)
    assert_like_torch(finished(from_torch.from_state_dict(module.state_dict())), module)


def test_entries_that_belong_to_no_recurrent_layer_are_problems_unless_left_out() -> None:
    module = Denoiser()
    found = problems(from_torch.from_state_dict, module.state_dict())
    assert {n for n, _, _ in found} == {"front.bias", "front.weight", "mask.bias", "mask.weight"}
    graph = finished(from_torch.from_state_dict(module.state_dict(), "rnn."))
    assert_like_torch(graph, module.rnn, features=6)


def test_two_recurrent_layers_need_a_prefix() -> None:
    both = nn.ModuleDict({"a": nn.GRU(5, 6, batch_first=True), "b": nn.LSTM(5, 6, batch_first=True)})
    assert ("", "state_dict", "") in problems(from_torch.from_state_dict, both.state_dict())
    assert_like_torch(finished(from_torch.from_state_dict(both.state_dict(), "b.")), both["b"])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("weight_hh_l0", (18, 5)),
        ("weight_hh_l0", None),
        ("bias_ih_l0", (17,)),
        ("bias_hh_l0", None),
        ("weight_ih_l0", (17, 5)),
        ("weight_ih_l0_reverse", (18, 4)),
    ],
)
def test_shapes_that_do_not_fit_are_problems(name: str, shape: tuple[int, ...] | None) -> None:
    entries = dict(nn.GRU(5, 6, bidirectional=True).state_dict())
    if shape is None:
        del entries[name]
    else:
        entries[name] = torch.zeros(shape)
    assert problems(from_torch.from_state_dict, entries)


def test_layers_that_do_not_follow_each_other_are_a_problem() -> None:
    entries = dict(nn.GRU(5, 6, 2).state_dict())
    entries["weight_ih_l1"] = torch.zeros(18, 7)
    assert ("rnn.l1", "GRU", "") in problems(from_torch.from_state_dict, entries)


# ---- files ----


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict"])
def test_checkpoints(wrapper: str | None, tmp_path: Path) -> None:
    module = nn.GRU(5, 6, batch_first=True)
    entries = module.state_dict()
    torch.save({wrapper: entries, "epoch": 3} if wrapper else entries, tmp_path / "m.pt")
    assert_like_torch(finished(from_torch.load(tmp_path / "m.pt")), module)


def test_safetensors(tmp_path: Path) -> None:
    module = nn.GRU(5, 6, batch_first=True)
    save_file({k: v.numpy() for k, v in module.state_dict().items()}, tmp_path / "m.safetensors")
    assert_like_torch(finished(from_torch.load(tmp_path / "m.safetensors")), module)


def test_load_takes_modules_and_mappings() -> None:
    module = nn.GRU(5, 6, batch_first=True)
    for source in (module, module.state_dict()):
        assert_like_torch(finished(from_torch.load(source)), module)


class Evil:
    """A pickle that runs code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil"),))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_no_pickle_is_executed_and_damage_is_said(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"m{suffix}"
    for data in (pickle.dumps(Evil(), protocol=2), b"", b"garbage" * 20, b"PK\3\4" + bytes(40)):
        path.write_bytes(data)
        with pytest.raises(ModelFormatError):
            from_torch.load(path)
    assert not (tmp_path / "evil").exists()


def test_a_file_without_weights_is_said_to_have_none(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "m.pt")
    with pytest.raises(ModelFormatError, match="no state_dict"):
        from_torch.load(tmp_path / "m.pt")
    with pytest.raises(FileNotFoundError):
        from_torch.load(tmp_path / "gone.pt")
