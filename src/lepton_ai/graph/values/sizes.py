"""Sizes that are known by name: polynomials of symbols, so that ``2 * n`` is ``n + n``.

A symbol stands for one non-negative integer per call. Two sizes that are equal as polynomials are
equal in every call; of two that are not, nothing is known.
"""

import ast
import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir

#: A product of symbols; the empty one is 1.
Monomial = tuple[str, ...]


@dataclass(frozen=True)
class Symbolic:
    """A sum of products of symbols, each with its factor; never a plain number."""

    terms: frozenset[tuple[Monomial, int]]

    def __str__(self) -> str:
        terms = (
            "*".join((*(() if k == 1 and names else (str(k),)), *names)) for names, k in self.terms
        )
        return " + ".join(sorted(terms))


#: What is known of a size; ``None`` where one of several is not known.
Size = int | Symbolic
Sizes = tuple[Size | None, ...]


@dataclass(frozen=True)
class Content:
    """What a small integer tensor holds: a number (``rank`` 0) or a row of them (1)."""

    rank: int
    items: Sizes


class Known(Protocol):
    """What inference asks of the values that a node reads."""

    def shape(self, value: ir.Value | None) -> Sizes | None:
        """The sizes of ``value``; ``None`` if not even their number is known."""

    def content(self, value: ir.Value | None) -> Content | None:
        """What ``value`` holds, if it is small, of integers, and something of it is known."""

    def items(self, value: ir.Value | None) -> Sizes | None:
        """The numbers that ``value`` holds, if it is a row of them."""


def symbol(name: str) -> Symbolic:
    """The size of that name, as it stands."""
    return Symbolic(frozenset({((name,), 1)}))


@functools.lru_cache(maxsize=65536)
def named(name: str) -> Size:
    """The size that ``name`` spells: ``64*batch`` is one that ``batch`` has a part in."""
    try:
        return _spelt(ast.parse(name, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        return symbol(name)


def _spelt(tree: ast.expr) -> Size:
    # A hyphen may be part of a name (``past-tokens``), so only sums and products are taken apart.
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Mult):
        combine = plus if isinstance(tree.op, ast.Add) else times
        return combine(_spelt(tree.left), _spelt(tree.right))
    if isinstance(tree, ast.Constant) and type(tree.value) is int:
        return tree.value
    return symbol(ast.unparse(tree))


def plus(a: Size, b: Size) -> Size:
    """The sum of two sizes."""
    total: Counter[Monomial] = Counter(_terms(a))
    for names, factor in _terms(b).items():
        total[names] += factor
    return _size(total)


def times(a: Size, b: Size) -> Size:
    """The product of two sizes."""
    total: Counter[Monomial] = Counter()
    for one, k in _terms(a).items():
        for other, m in _terms(b).items():
            total[tuple(sorted(one + other))] += k * m
    return _size(total)


def minus(a: Size, b: Size) -> Size:
    """The difference of two sizes."""
    return plus(a, times(-1, b))


def product(sizes: Iterable[Size]) -> Size:
    """The product of all sizes."""
    total: Size = 1
    for size in sizes:
        total = times(total, size)
    return total


def quotient(whole: Sequence[Size], parts: Sequence[Size]) -> Size | None:
    """What ``whole`` multiplied holds of ``parts`` multiplied, if it is so many times exactly.

    A part that is zero has no quotient; the caller must know that there is none.
    """
    left, right = Counter(whole), Counter(parts)
    above, below = product((left - right).elements()), product((right - left).elements())
    if isinstance(below, Symbolic):
        return _cancelled(above, below)
    if below == 0 or any(factor % below for factor in _terms(above).values()):
        return None
    return _size(Counter({names: factor // below for names, factor in _terms(above).items()}))


def _cancelled(above: Size, below: Symbolic) -> Size | None:
    """The quotient by a single product of symbols."""
    if len(below.terms) != 1:
        return None
    ((divisor, k),) = below.terms
    total: Counter[Monomial] = Counter()
    for names, factor in _terms(above).items():
        rest = Counter(names)
        rest.subtract(divisor)
        if factor % k or min(rest.values(), default=0) < 0:
            return None
        total[tuple(sorted(rest.elements()))] += factor // k
    return _size(total)


def at_least_zero(size: Size) -> bool:
    """Whether a size is non-negative in every call, as far as its factors tell."""
    return all(factor >= 0 for factor in _terms(size).values())


def all_known(sizes: Sizes | None) -> tuple[Size, ...] | None:
    """The sizes if every one is known, by number or by name."""
    if sizes is None or any(size is None for size in sizes):
        return None
    return tuple(size for size in sizes if size is not None)


def same(a: Sizes | None, b: Sizes | None) -> bool:
    """Whether two shapes are known to be equal."""
    return a is not None and all_known(a) is not None and a == b


def in_numbers(sizes: Sizes | None) -> tuple[int, ...] | None:
    """The sizes if every one is a number."""
    if sizes is None:
        return None
    numbers = tuple(size for size in sizes if isinstance(size, int))
    return numbers if len(numbers) == len(sizes) else None


def elements(sizes: Sizes | None) -> int | None:
    """How many elements a tensor of that shape has, if it is known in numbers."""
    numbers = in_numbers(sizes)
    return None if numbers is None else math.prod(numbers)


def _terms(size: Size) -> dict[Monomial, int]:
    if isinstance(size, int):
        return {(): size} if size else {}
    return dict(size.terms)


def _size(total: Counter[Monomial]) -> Size:
    kept = {names: factor for names, factor in total.items() if factor}
    if not kept:
        return 0
    if set(kept) == {()}:
        return kept[()]
    return Symbolic(frozenset(kept.items()))
