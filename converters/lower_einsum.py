"""Einsum as Transpose, MatMul and reductions. Part of `lower.LOWERINGS`.

Letters of two operands: shared ones that the result keeps are batch dimensions, shared ones that it drops are summed
over, the rest belongs to one side and is a batch dimension of size 1 on the other, so that sizes need not be known
(time, batch). Letters that only one operand has and the result has not are summed first.
"""

from __future__ import annotations

from typing import Any

from .ir import Node
from .lowering import Chain, Operands

_ELLIPSIS = "ABCDEFGH"  # stand for the dimensions of "...", aligned on the right
_MOST_GROUPS = 64


def einsum(node: Node, operands: Operands) -> list[Node] | None:
    """None where a letter is twice in an operand, or an intermediate result has more than six dimensions."""
    terms, result = _terms(str(node.attrs.get("equation", "")), operands)
    if not terms or len(terms) != len(node.inputs) or any(len(set(t)) != len(t) for t in (*terms, result)):
        return None
    chain = Chain(node, operands)
    name, letters = node.inputs[0], terms[0]
    for i, term in enumerate(terms[1:], 1):
        later = result + "".join(terms[i + 1 :])
        constant = operands.constant(i) is not None
        name, letters = _reduced(chain, name, letters, term + later)
        second, other = _reduced(chain, node.inputs[i], term, letters + later)
        groups = _groups(operands, i, letters, other, later) if constant else None
        if groups is not None:
            name, letters = _grouped(chain, (name, letters), (second, other), *groups)
        else:
            name, letters = _product(chain, (name, letters), (second, other), later)
        if len(letters) > 6:
            return None
    name, letters = _reduced(chain, name, letters, result)
    if set(letters) != set(result):
        return None
    chain.add("Transpose", [name], last=True, perm=[letters.index(x) for x in result])
    return chain.nodes


def _terms(equation: str, operands: Operands) -> tuple[list[str], str]:
    """The letters of each operand and of the result; no operands where a rank is not known or does not fit."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    hidden = 0
    for i, term in enumerate(terms):
        rank = operands.rank(i)
        if rank is None or ("..." not in term and len(term) != rank):
            return [], ""
        dots = rank - len(term.replace("...", ""))
        hidden = max(hidden, dots)
        terms[i] = term.replace("...", _ELLIPSIS[len(_ELLIPSIS) - dots :])
    every = _ELLIPSIS[len(_ELLIPSIS) - hidden :] if hidden else ""
    if not arrow:  # letters that appear once, in alphabetical order
        found = "".join(t for t in left.replace("...", "") if t.isalpha())
        return terms, every + "".join(sorted(x for x in found if found.count(x) == 1))
    return terms, result.replace("...", every)


def _reduced(chain: Chain, name: str, letters: str, wanted: str) -> tuple[str, str]:
    """Sum over the letters that nobody else needs."""
    axes = [i for i, x in enumerate(letters) if x not in wanted]
    if not axes:
        return name, letters
    return chain.add("ReduceSum", [name, chain.integers(*axes)], keepdims=0), "".join(x for x in letters if x in wanted)


def _arranged(chain: Chain, name: str, letters: str, order: list[str], outer: int = 0) -> str:
    """The operand with its dimensions in this order, 1 for those that it has not (" " for one that nobody has).

    Of the first `outer` ones those before the operand's first are left to broadcasting.
    """
    perm = [letters.index(x) for x in order if x in letters]
    if perm != sorted(perm):
        name = chain.add("Transpose", [name], perm=perm)
    first = next((i for i, x in enumerate(order[:outer]) if x in letters), outer)
    missing = [i - first for i, x in enumerate(order) if i >= first and x not in letters]
    return chain.add("Unsqueeze", [name, chain.integers(*missing)]) if missing else name


def _merged(chain: Chain, name: str, letters: str, summed: list[str]) -> tuple[str, str]:
    """Several letters that are summed over as one, the last, called "+"."""
    rest = [c for c in letters if c not in summed]
    name = _arranged(chain, name, letters, [*rest, *summed])
    return chain.add("Reshape", [name, chain.integers(*[0] * len(rest), -1)]), "".join([*rest, "+"])


def _product(chain: Chain, a: tuple[str, str], b: tuple[str, str], kept: str) -> tuple[str, str]:
    """[batch, m, k] @ [batch, k, n]; what is more on one side than m or n is a batch dimension of that side alone."""
    (x, left), (y, right) = a, b
    summed = [c for c in left if c in right and c not in kept]
    batch = [c for c in left if c in right and c in kept]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    if not summed:
        order = [*rows, *batch, *columns]
        product = chain.add("Mul", [_arranged(chain, x, left, order), _arranged(chain, y, right, order)])
        return product, "".join(order)
    if len(summed) > 1:
        (x, left), (y, right) = _merged(chain, x, left, summed), _merged(chain, y, right, summed)
        summed = ["+"]
    m, n = rows[-1:] or [" "], columns[-1:] or [" "]
    outer = [*rows[:-1], *columns[:-1], *batch]
    first = _arranged(chain, x, left, [*outer, *m, *summed], len(outer))
    second = _arranged(chain, y, right, [*outer, *summed, *n], len(outer))
    product = chain.add("MatMul", [first, second])
    order = [*outer, *m, *n]
    gone = [i for i, c in enumerate(order) if c == " "]
    if gone:
        product = chain.add("Squeeze", [product, chain.integers(*gone)])
    return product, "".join(c for c in order if c != " ")


def _groups(operands: Operands, i: int, left: str, right: str, kept: str) -> tuple[str, str, str, int] | None:
    """(group, summed, column, number of groups) where constant operand i is one matrix [summed, column] per group."""
    shared = [c for c in right if c in left and c in kept]
    summed = [c for c in right if c in left and c not in kept]
    columns = [c for c in right if c not in left]
    if not (len(shared) == len(summed) == len(columns) == 1):
        return None
    count = operands.dim(i, right.index(shared[0]))
    return (shared[0], summed[0], columns[0], count) if count is not None and count <= _MOST_GROUPS else None


def _grouped(
    chain: Chain, a: tuple[str, str], b: tuple[str, str], group: str, summed: str, column: str, count: int
) -> tuple[str, str]:
    """A grouped linear layer: one constant matrix for each slice, so that these are Gemms."""
    (x, left), (y, right) = a, b
    rest = [c for c in left if c not in (group, summed)]
    first = _arranged(chain, x, left, [*rest, group, summed])
    second = _arranged(chain, y, right, [group, summed, column])
    at, parts = len(rest), []
    for g in range(count):
        window: dict[str, Any] = {"starts": [g], "ends": [g + 1], "steps": [1]}
        rows = chain.add("Slice", [first], axes=[at], **window)
        if rest:
            rows = chain.add("Squeeze", [rows, chain.integers(at)])
        matrix = chain.add("Squeeze", [chain.add("Slice", [second], axes=[0], **window), chain.integers(0)])
        product = chain.add("MatMul", [rows, matrix])
        parts.append(chain.add("Unsqueeze", [product, chain.integers(at)]) if rest else product)
    return chain.add("Concat", parts, axis=at), "".join([*rest, group, column])
