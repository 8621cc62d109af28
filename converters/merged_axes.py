"""What an axis is made of: [B*T, F] has an axis of B and T, in this order, and a later Reshape may split it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from .ir import Dim, Size, Sym
from .sizes import Sizes

Atom: TypeAlias = "int | Sym"
Atoms: TypeAlias = "tuple[Atom, ...]"  # outermost first; their product is the axis; numbers of 1 are left out
Layout: TypeAlias = "tuple[Atoms, ...]"


def plain(sizes: Sizes) -> Layout | None:
    """The layout where no axis is a product of symbols; None where one is or is not known. T + 2 counts as time."""
    found: list[Atoms] = []
    for size in sizes:
        if size is None:
            return None
        if size.extra:
            found.append((Sym.TIME,))
            continue
        dim = size.dim()
        if dim is None:
            return None
        found.append(() if dim == 1 else (dim,))
    return tuple(found)


def regroup(layout: Layout, sizes: Sizes) -> Layout | None:
    """The axes that a Reshape to these sizes makes; None where it cuts through time or batch."""
    atoms = [a for axis in layout for a in axis]
    found: list[Atoms] = []
    for size in sizes:
        if size is None:
            return None
        taken = _take(atoms, size)
        if taken is None:
            return None
        found.append(taken)
    return None if atoms else tuple(found)


def _take(atoms: list[Atom], size: Size) -> Atoms | None:
    """As many of the first atoms as make an axis of this size; numbers may be split."""
    left = {Sym.TIME: size.time, Sym.BATCH: size.batch}
    factor, taken = size.factor, list[Atom]()
    while factor != 1 or any(left.values()):
        if not atoms:
            return None
        atom = atoms.pop(0)
        if isinstance(atom, Sym):
            left[atom] -= 1
            if left[atom] < 0:
                return None
        elif factor % atom == 0:
            factor //= atom
        elif atom % factor == 0 and factor > 1:
            atoms.insert(0, atom // factor)
            atom, factor = factor, 1
        else:
            return None
        taken.append(atom)
    return tuple(taken)


def dims_of(layout: Sequence[Atoms]) -> tuple[Dim, ...]:
    """Every atom as a dimension of its own; an axis of 1 stays one."""
    return tuple(d for axis in layout for d in (axis or (1,)))
