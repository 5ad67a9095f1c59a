r"""Compares expressions, in a worker: by identity.py, for which math-verify parses what expression.py does not read.

math-verify's own comparison, which looks at 15 digits, is left for what has no tree: derivatives, unknown functions.
Its time limits are off, because they need a signal handler, which Python does not run during the power of a big
integer. worker.py has its own limits.
"""

import logging
import re
from fractions import Fraction
from functools import lru_cache, reduce

import sympy
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from mpmath import mp

from .brackets import balanced
from .compare import Numbers, rounds
from .expression import FUNCTIONS, Tree
from .identity import TooLargeError, identical, real_value, same_equation
from .value import Value

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

# math-verify leaves out in silence what it does not know: a prime, \phantom, |_{x=2}, the base of 101_2, and from a
# loose bracket or sign on the whole rest. So it is given only text of these tokens, which it keeps.
_FUNCTIONS_READ = "a?(?:rc)?(?:sin|cos|tan|cot|sec|csc)h?|ln|log|exp|max|min|det|lim"
_KEPT = re.compile(
    r"(?:[0-9a-zA-Z+\-*/^(){}\[\]!,=&\s]|\.(?=[0-9])|(?<![0-9.)}\]!|^_])_|\|(?![_^])|\\[%\\]"
    rf"|\\(?:{_FUNCTIONS_READ})(?![a-zA-Z]{{2}})|\\operatorname\{{[a-zA-Z]+\}}(?!\{{)"
    r"|\\(?:gcd|lcm)(?=\([0-9, ]*\))"  # sympy takes letters for coprime
    r"|\\(?:[dt]?frac|sqrt|binom|pi|infty|int|sum|prod|to|[lr]floor|[lr]ceil|cdot|times|div"
    r"|begin|end|mathrm|overline|partial|angle|Delta|ell"
    r"|alpha|beta|gamma|delta|epsilon|theta|lambda|mu|nu|rho|sigma|tau|(?:var)?phi|chi|psi|omega)(?![a-zA-Z]))*"
)
_LOOSE = re.compile(  # \cdot) and \sin+, and x0, which it takes for a product
    rf"(?<![a-zA-Z\\])[a-zA-Z][0-9]|(?:[+\-*/^_=,]|\\(?:frac|sqrt|cdot|times|div))\s*(?:$|[)}}\]+*/^=,])|\\(?:{_FUNCTIONS_READ})\s*(?:$|[)}}\]+*/=,])"
)


def is_kept(latex: str) -> bool:
    r"""Whether math-verify's reading of a scalar has all that is written in it.

    >>> [is_kept(s) for s in (r"\int_0^1 x^2 dx", "10'", r"(x^2+3x)|_{x=2}", "101_2+11_2", "x)+1", "5+")]
    [True, False, False, False, False, False]
    """
    whole = balanced(latex) and latex.count("|") % 2 == 0
    return whole and _KEPT.fullmatch(latex) is not None and _LOOSE.search(latex) is None


@lru_cache(maxsize=256)
def parsed(latex: str) -> sympy.Basic | None:
    """math-verify's reading of one scalar, None if it has none.

    Raises:
        TooLargeError
    """
    if not is_kept(latex):
        return None
    if _BIG_BINOMIAL.search(latex):
        raise TooLargeError
    readable = latex.replace("\\%", "\\cdot\\frac{1}{100}")  # antlr 4.9.3, which verl's hydra forces, cannot read %
    found = parse("\\boxed{" + readable + "}", _LATEX, parsing_timeout=None)
    return found[0] if found and isinstance(found[0], sympy.Basic) else None


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
    name, parts = type(expression).__name__, [tree_of(argument) for argument in expression.args]
    if parts and None not in parts:
        if name in ("Add", "Mul"):
            return reduce(lambda left, right: ("+" if name == "Add" else "*", left, right), parts)
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
    done = expression.doit()  # a floor, a greatest common divisor, an integral of a ground truth that has one
    return tree_of(done) if done != expression else None


class Algebra(Numbers):
    """Compares numbers, expressions and equations.

    Every method raises TooLargeError where the numbers on the way are too large to compute.
    """

    def __init__(self):
        self.unread: set[str] = set()  # what not even math-verify reads

    def same(self, gold: Value, answer: Value) -> bool:
        if gold.number is not None and answer.number is not None:
            return super().same(gold, answer)
        if gold.kind != "scalar" or answer.kind != "scalar":
            return False
        trees = self.tree(gold), self.tree(answer)
        if None not in trees:
            if _is_rounding_of(gold, trees[1]) or _is_rounding_of(answer, trees[0]):
                return True
            if (same := identical(*trees)) is not None:
                return same
        return self._by_math_verify(gold, answer)

    def real(self, value: Value) -> Fraction | None:
        tree = self.tree(value)
        exact = real_value(tree) if tree else None
        return exact if exact is None or isinstance(exact, Fraction) else _fraction(exact)

    def same_equation(self, gold: Value, answer: Value) -> bool:
        sides = [self.tree(side) if side.kind == "scalar" else None for value in (gold, answer) for side in value.parts]
        if None in sides:
            return False
        return same_equation((sides[0], sides[1]), (sides[2], sides[3])) is True

    def tree(self, value: Value) -> Tree | None:
        if value.tree is not None:
            return value.tree
        expression = parsed(value.core)
        if expression is None:
            self.unread.add(value.core)
        return tree_of(expression)

    def _by_math_verify(self, gold: Value, answer: Value) -> bool:
        values = parsed(gold.core), parsed(answer.core)
        if None in values:
            return gold.core.replace(" ", "") == answer.core.replace(" ", "")
        return not _differ_in_case(gold.core, answer.core) and verify(*values, timeout_seconds=None)


def _fraction(value) -> Fraction:
    """An mpmath number to 200 bits."""
    return Fraction(int(mp.nint(mp.ldexp(value, 200))), 2**200)


def _is_rounding_of(decimal: Value, exact: Tree) -> bool:
    """Whether `decimal` is the rounding of a real constant without a finite decimal (rule 4)."""
    if decimal.places is None or (value := real_value(exact)) is None or isinstance(value, Fraction):
        return False
    return rounds(decimal.number, _fraction(value), decimal.places)


def _differ_in_case(gold: str, answer: str) -> bool:
    """2A against 2a: math-verify reads both as a."""
    letters = [set(re.findall("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text))) for text in (gold, answer)]
    return letters[0] != letters[1] and {c.lower() for c in letters[0]} == {c.lower() for c in letters[1]}
