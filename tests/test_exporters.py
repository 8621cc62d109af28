"""What both of torch's ONNX exporters write converts, verifies and, where causal and symbolic in time, streams."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from rnnrt.converters import from_module
from rnnrt.converters.convert import convert
from torch import nn

import rnnrt


class Net(nn.Module):
    """A recurrent stack with a head, state from zeros inside."""

    def __init__(self, cell: str, layers: int, bidirectional: bool) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.cell = getattr(nn, cell)(12, 20, num_layers=layers, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(40 if bidirectional else 20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.head(torch.relu(self.cell(x)[0])))


class Stateful(nn.Module):
    """State handed in and out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.cell, self.head = nn.GRU(12, 20, batch_first=True), nn.Linear(20, 5)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.cell(x, h)
        return torch.tanh(self.head(y)), h


NETS: dict[str, tuple[nn.Module, bool]] = {  # module, does the original look into the future
    **{f"{cell}-{n}": (Net(cell, n, False), False) for cell in ("RNN", "GRU", "LSTM") for n in (1, 2)},
    **{f"{cell}-bidirectional": (Net(cell, 1, True), True) for cell in ("RNN", "GRU", "LSTM")},
    "stateful": (Stateful(), False),
}


def export(module: nn.Module, path: Path, dynamo: bool) -> None:
    stateful = isinstance(module, Stateful)
    x = torch.randn(1, 9, 12, generator=torch.Generator().manual_seed(1))
    example = (x, torch.zeros(1, 1, 20)) if stateful else (x,)
    names = {"input_names": ["x", "h"], "output_names": ["y", "hn"]} if stateful else {"input_names": ["x"]}
    module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = {"x": {1: torch.export.Dim("time", min=2, max=4096)}} | ({"h": None} if stateful else {})
            torch.onnx.export(module, example, str(path), dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
        else:
            axes = {"x": {1: "time"}}
            torch.onnx.export(module, example, str(path), dynamo=False, dynamic_axes=axes, **names)


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", NETS)
def test_exported_modules_convert_and_verify(name: str, dynamo: bool, tmp_path: Path) -> None:
    module, future = NETS[name]
    export(module, tmp_path / "m.onnx", dynamo)
    report = convert(tmp_path / "m.onnx", tmp_path / "m.rnnrt")
    assert report.verification is not None
    assert report.verification.passed
    model = rnnrt.load(tmp_path / "m.rnnrt")
    if model.has_time:  # torch 2.13's dynamo exporter fixes time to the example's for several of these
        assert model.streamable is not future
        assert bool(model.states) is not future
    else:
        assert dynamo


def test_from_module_is_at_hand() -> None:
    graph = from_module(nn.GRU(3, 5, batch_first=True))
    assert [node.op for node in graph.nodes].count("GRU") == 1
