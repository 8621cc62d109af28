"""How large a tensor may get that a few numbers in a file ask for: a small file must not take the machine's memory."""

from __future__ import annotations

import math
from collections.abc import Iterable

MAX_ELEMENTS = 1 << 24  # 128 MiB in float64; weights, which have to be in the file, may be larger


def bounded(shape: Iterable[int]) -> tuple[int, ...]:
    """The shape again, of a tensor whose size a few numbers in a file decide: before it is made.

    Raises
    ------
    ValueError
        More than `MAX_ELEMENTS` elements.
    """
    sizes = tuple(shape)
    if math.prod(sizes) > MAX_ELEMENTS:
        raise ValueError(f"a tensor of shape {list(sizes)} would have more than {MAX_ELEMENTS} elements")
    return sizes
