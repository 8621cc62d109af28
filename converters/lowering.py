"""What an operator is told when it is said with other operators, and how it builds them. The rules: `lower`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .ir import Node

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@dataclass
class Operands:
    """What is known about a node's inputs while the graph is evaluated."""

    arrays: list[list[Array | None]]  # per input, per probe
    is_constant: list[bool]
    is_data: list[bool]  # depends on the model's inputs by more than their shapes
    add_constant: Callable[[Array], str]
    fresh: Callable[[str], str]

    def rank(self, i: int = 0) -> int | None:
        """Number of dimensions of input i, None if unknown."""
        known = [a.ndim for a in self.arrays[i] if a is not None] if i < len(self.arrays) else []
        return known[0] if known else None

    def kind(self, i: int = 0) -> str:
        """numpy's letter for input i's type (f, i, u, b), an empty string if unknown."""
        known = [a.dtype.kind for a in self.arrays[i] if a is not None] if i < len(self.arrays) else []
        return known[0] if known else ""

    def dim(self, i: int, axis: int) -> int | None:
        """Size of an axis, None when unknown or not the same for every time and batch."""
        sizes = {a.shape[axis] for a in self.arrays[i] if a is not None}
        return sizes.pop() if len(sizes) == 1 else None

    def constant(self, i: int) -> Array | None:
        """The value of input i where it is constant."""
        if i >= len(self.arrays) or not self.is_constant[i]:
            return None
        return self.arrays[i][0]


Lowering: TypeAlias = "Callable[[Node, Operands], list[Node] | None]"


class Chain:
    """Builds nodes one after the other; the last one writes the lowered node's output."""

    def __init__(self, node: Node, operands: Operands) -> None:
        self.node, self.operands, self.nodes = node, operands, list[Node]()

    def add(self, op: str, inputs: list[str], last: bool = False, **attrs: Any) -> str:
        """Append a node; its output's name. last: it writes the lowered node's output."""
        output = self.node.outputs[0] if last else self.operands.fresh(self.node.outputs[0])
        name = self.node.name if last else f"{self.node.name}.{len(self.nodes)}"
        self.nodes.append(Node(op, name, inputs, [output], attrs))
        return output

    def number(self, value: float) -> str:
        """A float constant."""
        return self.operands.add_constant(np.asarray(value, np.float32))

    def integers(self, *values: int) -> str:
        """A constant list of integers, as shapes and axes are."""
        return self.operands.add_constant(np.asarray(values, np.int64))
