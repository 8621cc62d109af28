"""Which tensors of a checkpoint are recurrent layers: found by torch's names for them, checked by their shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Shapes: TypeAlias = "Mapping[str, tuple[int, ...]]"

GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
# weight_ih_l0_reverse of a layer, weight_ih of a cell, and the w_ih of those who write their own
_NAME = re.compile(r"(.*[._]|)(weight|bias|w|b)_(ih|hh|hr)(?:_l(\d{1,3})(_reverse)?)?", re.DOTALL)


@dataclass
class Stack:
    """An RNN, GRU or LSTM of one layer or more; a cell is one of a single layer.

    Attributes
    ----------
    name
        What its tensors' names have in common, without the last dot or underscore; may be empty.
    op
        ``"RNN"``, ``"GRU"``, ``"LSTM"``; empty where the shapes are none of these.
    layers, directions, input_size, hidden_size, proj_size
        As in torch; ``proj_size`` is 0 without a projection.
    bias
        Are there biases?
    cell
        Are the names a cell's, without a layer's number?
    tensors
        torch's name in a layer (``weight_ih_l0_reverse``) -> the tensor's name in the file.
    problems
        What does not fit together.
    """

    name: str
    op: str = ""
    layers: int = 0
    directions: int = 1
    input_size: int = 0
    hidden_size: int = 0
    proj_size: int = 0
    bias: bool = False
    cell: bool = False
    tensors: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def find_stacks(shapes: Shapes) -> list[Stack]:
    """Recurrent layers in the order of their first tensors.

    Parameters
    ----------
    shapes
        Tensor's name -> shape.

    Returns
    -------
    list of Stack
        Also those whose shapes do not fit together: ``problems`` says why.
    """
    stacks: dict[tuple[str, bool], Stack] = {}
    for name in shapes:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        stem, part, which, layer, reverse = match.groups()
        key = (stem, layer is None)
        stack = stacks.setdefault(key, Stack(stem.rstrip("._"), cell=layer is None))
        canonical = f"{'weight' if part in ('weight', 'w') else 'bias'}_{which}_l{int(layer or 0)}{reverse or ''}"
        if canonical in stack.tensors:
            stack.problems.append(f"both '{name}' and '{stack.tensors[canonical]}' are its {canonical}")
        stack.tensors[canonical] = name
    found = [stack for stack in stacks.values() if any(t.startswith("weight_ih") for t in stack.tensors)]
    for stack in found:
        _describe(stack, shapes)
    return found


def _describe(stack: Stack, shapes: Shapes) -> None:
    """Fill in kind and sizes from the shapes."""
    own = {canonical: shapes[name] for canonical, name in stack.tensors.items()}
    first, recurrent = own.get("weight_ih_l0", ()), own.get("weight_hh_l0", ())
    if len(first) != 2 or len(recurrent) != 2:
        stack.problems.append(f"weight_ih {list(first)} and weight_hh {list(recurrent)} are no two matrices")
        return
    projection = own.get("weight_hr_l0", ())
    stack.input_size = first[1]
    stack.hidden_size = projection[1] if len(projection) == 2 else recurrent[1]
    stack.proj_size = projection[0] if len(projection) == 2 else 0
    rows, hidden = first[0], stack.hidden_size
    stack.op = GATES.get(rows // hidden, "") if hidden and rows % hidden == 0 else ""
    if not stack.op:
        stack.problems.append(f"weight_ih has {rows} rows, which is not 1, 3 or 4 times the {hidden} units")
    stack.directions = 2 if "weight_ih_l0_reverse" in own else 1
    stack.bias = any(name.startswith("bias") for name in own)
    while f"weight_ih_l{stack.layers}" in own:
        stack.layers += 1
    suffixes = [f"_l{k}{r}" for k in range(stack.layers) for r in ("", "_reverse")[: stack.directions]]
    for suffix in suffixes:
        for part in ("weight_ih", "weight_hh"):
            if part + suffix not in own:
                stack.problems.append(f"{part}{suffix} is missing")
    for canonical, name in stack.tensors.items():
        if not any(canonical.endswith(s) and canonical[: -len(s)].count("_") == 1 for s in suffixes):
            stack.problems.append(f"'{name}' belongs to a layer or direction that is not there")
