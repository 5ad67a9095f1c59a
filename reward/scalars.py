"""Whether two scalars or equations are equal, decided without math-verify wherever expression.py reads both."""

from fractions import Fraction

from mpmath import mp

from .expression import Tree, read_scalar
from .identity import TooLargeError, identical, real_value, same_equation
from .rational import is_decimal, is_rounding
from .structure import shape, sides


def by_value(gold: str, answer: str) -> bool | None:
    r"""Whether two normalised scalars or equations are equal; None where one cannot be parsed or has no value.

    Raises:
        TooLargeError: for numbers that are too large to compute.

    >>> by_value(r"2\sqrt{2}", r"\sqrt{8}"), by_value("e^{100}", "e^{100}-1"), by_value("y=2x+3", "2x-y+3=0")
    (True, False, True)
    >>> by_value(r"\sqrt{2}", "1.414214"), by_value(r"\int_0^1 x", "x") is None
    (True, True)
    """
    trees = _sides(gold), _sides(answer)
    if any(read and shape(other).kind != "scalar" for read, other in zip(trees, (answer, gold), strict=True)):
        return False  # a scalar and a tuple
    if not trees[0] or not trees[1] or len(trees[0]) != len(trees[1]):
        return None
    if len(trees[0]) == 2:
        return same_equation(*trees)
    return same_value(gold, trees[0][0], answer, trees[1][0])


def _sides(text: str) -> tuple[Tree, ...]:
    """The trees of a scalar, or of the two sides of an equation; empty where one is not read."""
    parts = tuple(map(read_scalar, sides(text)))
    return () if len(parts) > 2 or None in parts else parts


def same_value(gold: str, gold_tree: Tree, answer: str, answer_tree: Tree) -> bool | None:
    """Equality of two trees; where one of the strings is a decimal it may be a rounding of the other (rule 4)."""
    if same := identical(gold_tree, answer_tree):
        return same
    for decimal, exact in ((gold, answer_tree), (answer, gold_tree)):
        if is_decimal(decimal) and _is_rounding_of(decimal, exact):
            return True
    return same


def _is_rounding_of(decimal: str, exact: Tree) -> bool:
    """Whether `exact` is a real constant without a finite decimal, and `decimal` its rounding."""
    value = real_value(exact)
    if value is None or isinstance(value, Fraction):
        return False
    return is_rounding(decimal, Fraction(int(mp.nint(mp.ldexp(value, 200))), 2**200))


__all__ = ["TooLargeError", "by_value", "same_value"]
