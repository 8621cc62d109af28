"""Everything that turns a trained model into a .rnnrt file. Importing it imports neither onnx nor torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ir import Graph

__all__ = ["from_module"]


def from_module(module: Any, example: Any = None) -> Graph:
    """Turn a ``torch.nn.Module`` into a graph: `rnnrt.converters.from_torch.from_module`, which says what it takes."""
    from .from_torch import from_module as convert_module

    return convert_module(module, example)
