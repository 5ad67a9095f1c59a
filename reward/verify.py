r"""Parses with math-verify what expression.py does not: sets, matrices, unusual commands. Compares the results.

Scalars and equations are compared by identity.py here too, because math-verify compares to 15 digits. Its `verify`
compares the rest: sets, inequalities, unknown functions. Its time limits are off, because they need a signal handler,
which Python does not run during the power of a big integer. worker.py has its own limits.
"""

import logging
import re
from fractions import Fraction
from functools import lru_cache, reduce

import sympy
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy.core.relational import Relational
from sympy.matrices.matrixbase import MatrixBase

from .expression import FUNCTIONS, Tree
from .identity import MAX_BITS, MAX_TERMS, TooLargeError, same_equation
from .scalars import same_value

_LATEX = [
    LatexExtractionConfig(
        boxed_match_priority=0,
        normalization_config=NormalizationConfig(
            basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="all", equations=False
        ),
    )
]
logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time limits are off
_BIG_BINOMIAL = re.compile(r"binom\s*\{?\s*[0-9]{6}")  # the parser computes it on the way


@lru_cache(maxsize=256)
def parsed(latex: str):
    """math-verify's reading of one scalar, None if it has none.

    Raises:
        TooLargeError
    """
    if _BIG_BINOMIAL.search(latex):
        raise TooLargeError
    readable = latex.replace("\\%", "\\cdot\\frac{1}{100}")  # antlr 4.9.3, which verl's hydra forces, cannot read %
    found = parse("\\boxed{" + readable + "}", _LATEX, parsing_timeout=None)
    expression = found[0] if found else None
    return expression if isinstance(expression, (sympy.Basic, MatrixBase)) else None


# --------------------------------------------------------------------------------------------------------------------
# What is too large to evaluate
# --------------------------------------------------------------------------------------------------------------------


def bits(expression) -> float:
    """Upper bound of log2 |value| of every number that evaluating `expression` makes; letters count as 1.

    Raises:
        TooLargeError: if it passes MAX_BITS.
    """
    size = _bits(expression)
    if size > MAX_BITS:
        raise TooLargeError
    return size


def _bits(expression) -> float:
    if isinstance(expression, MatrixBase):
        return max((bits(entry) for entry in expression), default=1)
    if expression.is_Integer:
        return max(1, int(expression).bit_length())
    if expression.is_Rational:
        return max(int(expression.p).bit_length(), int(expression.q).bit_length())
    parts = [bits(part) for part in expression.args if isinstance(part, (sympy.Basic, MatrixBase))]
    if isinstance(expression, (sympy.Pow, sympy.exp)):
        base, exponent = expression.as_base_exp()
        return bits(base) * _magnitude(exponent) if exponent.is_number else max(parts)
    if isinstance(expression, (sympy.factorial, sympy.gamma, sympy.factorial2, sympy.binomial)):
        top = _magnitude(expression.args[0]) if expression.args[0].is_number else 1
        return top * max(1.0, parts[0])
    if isinstance(expression, (sympy.Sum, sympy.Product)):
        terms = _terms(expression)
        if terms > MAX_TERMS:
            raise TooLargeError
        return max(parts, default=1) * (terms if isinstance(expression, sympy.Product) else 1)
    return sum(parts) + 1 if expression.is_Mul else max(parts, default=1) + 1


def _magnitude(expression) -> float:
    """|value| of a constant whose parts are not too large."""
    size = bits(expression)
    if size > 64:
        raise TooLargeError
    return float(abs(sympy.N(expression, 10)))


def _terms(expression) -> float:
    count = 1.0
    for _, low, high in expression.limits:
        if low.is_number and high.is_number:
            count *= float(sympy.N(high - low, 10)) + 1
    return count


# --------------------------------------------------------------------------------------------------------------------
# Comparison
# --------------------------------------------------------------------------------------------------------------------

_FUNCTIONS = {name: name for name in FUNCTIONS} | {
    "log": "ln", "Abs": "abs", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "factorial": "factorial",
}  # fmt: skip


def tree_of(expression) -> Tree | None:
    """math-verify's expression as a tree of expression.py; None where a part has no equivalent there."""
    if not isinstance(expression, sympy.Expr) or isinstance(expression, sympy.MatrixExpr):
        return None
    if expression.is_Rational or expression.is_Float:
        return ("num", Fraction(str(expression)))
    if expression.is_Symbol:
        return ("const", "i") if expression.name == "i" else ("sym", expression.name)
    if expression in (sympy.pi, sympy.E, sympy.I):
        return ("const", {sympy.pi: "pi", sympy.E: "e", sympy.I: "i"}[expression])
    name = type(expression).__name__
    if name in ("Sum", "Product") and len(expression.limits) == 1 and len(expression.limits[0]) == 3:
        letter, low, high = expression.limits[0]
        parts = [tree_of(part) for part in (low, high, expression.function)]
        return None if None in parts else ("sum" if name == "Sum" else "prod", letter.name, *parts)
    parts = [tree_of(argument) for argument in expression.args]
    if parts and None not in parts:
        if name in ("Add", "Mul"):
            sign = "+" if name == "Add" else "*"
            return reduce(lambda left, right: (sign, left, right), parts)
        if name in ("Pow", "binomial"):
            return ("^" if name == "Pow" else "binom", *parts)
        if name == "exp":
            return ("^", ("const", "e"), parts[0])
        if name == "UnevaluatedExpr":
            return parts[0]
        if name == "log" and len(parts) == 2:
            return ("log", parts[1], parts[0])
        if name in _FUNCTIONS and len(parts) == 1:
            return ("fn", _FUNCTIONS[name], parts[0])
    done = expression.doit()  # a floor, a greatest common divisor, an integral
    return tree_of(done) if done != expression else None


def by_math_verify(gold: str, answer: str, gold_value, answer_value) -> bool:
    """Equality of two parsed answers; the strings decide how exact a decimal has to be.

    Raises:
        TooLargeError
    """
    bits(gold_value), bits(answer_value)
    if isinstance(gold_value, sympy.Eq) and isinstance(answer_value, sympy.Eq):
        return _equal_equations(gold_value, answer_value)
    trees = tree_of(gold_value), tree_of(answer_value)
    if None not in trees and (same := same_value(gold, trees[0], answer, trees[1])) is not None:
        return same
    if isinstance(gold_value, MatrixBase) and isinstance(answer_value, MatrixBase):
        return gold_value.shape == answer_value.shape and all(
            by_math_verify("", "", *entries) for entries in zip(gold_value.flat(), answer_value.flat(), strict=True)
        )
    if isinstance(gold_value, Relational) != isinstance(answer_value, Relational):
        if not isinstance(answer_value, sympy.Eq):
            return False
    return verify(gold_value, answer_value, timeout_seconds=None)


def _equal_equations(gold: sympy.Eq, answer: sympy.Eq) -> bool:
    trees = [tree_of(side) for side in (gold.lhs, gold.rhs, answer.lhs, answer.rhs)]
    if None not in trees:
        if (same := same_equation((trees[0], trees[1]), (trees[2], trees[3]))) is not None:
            return same
        return bool(sympy.solve(gold, gold.free_symbols)) and verify(gold, answer, timeout_seconds=None)
    return verify(gold, answer, timeout_seconds=None)
