"""From what a checkpoint holds, dictionaries in dictionaries, to tensors with dotted names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ...errors import ModelFormatError
from .names import ScriptObject
from .tensor import Tensor

MAX_DEPTH = 64
MAX_ITEMS = 1_000_000  # visited, counting containers that appear several times
MAX_NAME = 1024  # characters of a dotted name

_OPTIMIZER = re.compile(r"(?:\w*_)?optim(?:izer)?s?(?:_states?|_state_dict)?|(?:lr_)?schedulers?|grad_scaler|amp")


def named_tensors(objects: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of the model and tensors of optimizers.

    Parameters
    ----------
    objects
        What `Machine.run` has made.

    Returns
    -------
    tensors, skipped
        Dotted name -> tensor. A dictionary is an optimizer's where it is called so, or has ``state`` and
        ``param_groups``.

    Raises
    ------
    ModelFormatError
        Containers too deep or within themselves, or two tensors of the same name.
    """
    walk = _Walk()
    walk.visit(objects, "", False, 0)
    return walk.tensors, walk.skipped


class _Walk:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.skipped: dict[str, Tensor] = {}
        self._left = MAX_ITEMS

    def visit(self, value: Any, name: str, skip: bool, depth: int) -> None:
        """Collect the tensors of one value."""
        if depth > MAX_DEPTH:
            raise ModelFormatError(f"its containers lie in each other more than {MAX_DEPTH} deep")
        if isinstance(value, Tensor):
            into = self.skipped if skip else self.tensors
            if name in self.tensors or name in self.skipped:
                raise ModelFormatError(f"two of its tensors are called '{name}'")
            into[name] = value
            return
        skip = skip or (isinstance(value, dict) and {"state", "param_groups"} <= value.keys())
        for key, item in _items(value):
            self._left -= 1
            if self._left < 0:
                raise ModelFormatError(f"its containers hold more than {MAX_ITEMS} objects")
            if isinstance(item, (Tensor, ScriptObject, dict, list, tuple)):
                below = f"{name}.{key}" if name else str(key)
                if len(below) > MAX_NAME:
                    raise ModelFormatError(f"a tensor's name is longer than {MAX_NAME} characters")
                optimizer = isinstance(item, (dict, list, tuple)) and _OPTIMIZER.fullmatch(str(key)) is not None
                self.visit(item, below, skip or optimizer, depth + 1)


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, ScriptObject):
        value = value.attributes
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
