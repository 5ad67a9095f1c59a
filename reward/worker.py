"""A process that may be killed: math-verify behind a pipe, one JSON object per line. Started by judge.py.

    -> {"golds": [...], "answer": "..."}    <- {"equal": bool, "unparsed": bool} or {"error": "..."}
    -> {"gold": "..."}                      <- {"unparsed": bool}

math-verify's own time limits are off: they need a signal handler, which Python does not run while a big-integer
power holds the interpreter. The limits here are the kernel's: memory by RLIMIT_AS, CPU time by a profiling timer
whose default action ends the process, whatever it is doing and whether or not anyone still waits; the caller adds a
wall clock.

A pair of scalars is equal if
  - both are constants and agree to 40 significant digits; or
  - both are expressions in the same letters and agree at several points; or, where that cannot be evaluated,
  - math-verify's `verify` says so (sets, matrices, inequalities, unknown functions).
An equation holds for the gold's if the two differ by a constant factor, or if math-verify solves both and agrees.
Numbers too large to be anyone's answer (towers, factorials of factorials) are refused before they are computed.
"""

import ctypes
import json
import logging
import os
import re
import resource
import signal
import sys
from fractions import Fraction
from functools import lru_cache

import sympy
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy.core.relational import Relational
from sympy.matrices.matrixbase import MatrixBase

from . import equality

MAX_BITS = 200_000  # a number of 60 000 digits; (2^2024)!-like answers stop here
MAX_TERMS = 2_000  # of a sum or product with numeric bounds
DIGITS = 40
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


class TooLargeError(Exception):
    """The expression would not fit in memory or time if it were evaluated."""


@lru_cache(maxsize=256)
def parsed(latex: str):
    """math-verify's reading of one scalar, None if it has none."""
    if _BIG_BINOMIAL.search(latex):
        raise TooLargeError
    found = parse("\\boxed{" + equality.readable(latex) + "}", _LATEX, parsing_timeout=None)
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
    """|value| of a constant whose parts are known to be of bearable size."""
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
# Equality of two scalars
# --------------------------------------------------------------------------------------------------------------------

_POINTS = [sympy.Rational(p, q) for p, q in ((37, 29), (-23, 17), (71, 13), (-67, 41), (5, 31), (101, 43), (-7, 53))]
_TRIALS = 6


def _exact(expression):
    """Decimals as the fractions they write, and i as the imaginary unit (LaTeX cannot say so)."""
    exact = {number: sympy.Rational(str(number)) for number in expression.atoms(sympy.Float)}
    units = {symbol: sympy.I for symbol in expression.free_symbols if symbol.name == "i"}
    return expression.xreplace(exact | units)


def _close(left, right) -> bool | None:
    """Agreement of two evaluated constants to 30 of DIGITS digits; None where one has no value."""
    left, right = left.doit(), right.doit()
    if left.is_Rational and right.is_Rational:
        return left == right  # every digit of a large integer counts
    left, right = (sympy.N(side, DIGITS) for side in (left, right))
    if not (left.is_number and right.is_number) or any(
        side.has(sympy.nan, sympy.zoo, sympy.oo) for side in (left, right)
    ):
        return None
    if not all(
        part.is_Float or part.is_Integer or part.is_Rational for side in (left, right) for part in side.as_real_imag()
    ):
        return None
    scale = max(abs(left), abs(right))
    return bool(scale == 0 or abs(left - right) <= scale * sympy.Float(10) ** -30)


def same_values(gold, answer) -> bool | None:
    """Identity of two expressions, tested at points; None where too few points have a value.

    Points where a side is complex or infinite are skipped: sqrt and log have only half of the line.
    """
    gold, answer = _exact(gold), _exact(answer)
    letters = sorted(gold.free_symbols | answer.free_symbols, key=lambda symbol: symbol.name)
    if not letters:
        return _close(gold, answer)
    agreed = 0
    for trial in range(_TRIALS):
        # The first two points are positive: there every root and logarithm has a value.
        points = [_POINTS[(trial * 3 + k * 2) % len(_POINTS)] + k for k in range(len(letters))]
        at = dict(zip(letters, [abs(p) for p in points] if trial < 2 else points, strict=True))
        left, right = (sympy.N(side.subs(at), DIGITS) for side in (gold, answer))
        if not gold.has(sympy.I) and not answer.has(sympy.I) and not (left.is_real and right.is_real):
            continue
        close = _close(left, right)
        if close is False:
            return False
        agreed += close is True
    return True if agreed >= 2 else None


def _is_plain(expression) -> bool:
    """An expression with a value wherever its letters have one."""
    return isinstance(expression, sympy.Expr) and not expression.has(
        sympy.core.function.AppliedUndef, sympy.Integral, sympy.Limit, sympy.Derivative, sympy.Mod, sympy.MatrixExpr
    )


def _equal_equations(gold: sympy.Eq, answer: sympy.Eq) -> bool:
    left, right = gold.lhs - gold.rhs, answer.lhs - answer.rhs
    if same_values(right, sympy.S.Zero) is not False or gold.free_symbols != answer.free_symbols:
        return False  # x = x says nothing; math-verify takes it for any equation without solutions
    ratio = left / right
    at = {letter: point for letter, point in zip(sorted(gold.free_symbols, key=str), _POINTS, strict=False)}
    if same_values(ratio, ratio.subs(at)) is True:
        return True
    return bool(sympy.solve(gold, gold.free_symbols)) and verify(gold, answer, timeout_seconds=None)


def _differ_in_case(gold: str, answer: str) -> bool:
    """2A against 2a: math-verify reads both as a."""
    letters = [set(equality.letters(text)) for text in (gold, answer)]
    return letters[0] != letters[1] and {c.lower() for c in letters[0]} == {c.lower() for c in letters[1]}


class Pair:
    """The leaf for `compare`: remembers whether a gold had no equality."""

    def __init__(self):
        self.unparsed = False

    def __call__(self, gold: str, answer: str) -> bool:
        if (verdict := equality.literal(gold, answer)) is not None:
            return verdict
        gold_value, value = parsed(gold), parsed(answer)
        if gold_value is None:
            self.unparsed = True
        if gold_value is None or value is None or _differ_in_case(gold, answer):
            return False
        bits(gold_value), bits(value)
        return equal_values(gold, gold_value, answer, value)


def equal_values(gold: str, gold_value, answer: str, value) -> bool:
    """Equality of two parsed scalars; the strings decide how exact a decimal has to be."""
    if isinstance(gold_value, sympy.Eq) and isinstance(value, sympy.Eq):
        if _is_plain(gold_value.lhs) and _is_plain(gold_value.rhs) and _is_plain(value.lhs) and _is_plain(value.rhs):
            return _equal_equations(gold_value, value)
    if _is_plain(gold_value) and _is_plain(value):
        for decimal, exact in ((gold, value), (answer, gold_value)):
            if equality.is_decimal(decimal) and exact.is_number and not exact.is_rational:
                rounded = sympy.N(exact, DIGITS)
                return bool(rounded.is_real) and equality.is_rounding(decimal, Fraction(str(rounded)))
        if (same := same_values(gold_value, value)) is not None:
            return same
    if isinstance(gold_value, Relational) != isinstance(value, Relational) and not isinstance(value, sympy.Eq):
        return False
    return verify(gold_value, value, timeout_seconds=None)


def answer_request(request: dict) -> dict:
    """The reply to one line."""
    if "gold" in request:
        return {"unparsed": any(parsed(scalar) is None for scalar in equality.scalars(request["gold"]))}
    unparsed = False
    for gold in request["golds"]:
        pair = Pair()
        if equality.compare(gold, request["answer"], pair):
            return {"equal": True, "unparsed": False}
        unparsed |= pair.unparsed
    return {"equal": False, "unparsed": unparsed}


def main() -> None:
    """Answer lines from stdin until it closes. Arguments: CPU seconds per line, megabytes, parent's pid."""
    cpu_seconds, memory_mb, parent = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no orphan computing on
    if os.getppid() != parent:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run; this process ends with its pipe
    sys.setrecursionlimit(3000)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not reach the pipe
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            reply = answer_request(json.loads(line))
        except TooLargeError:
            reply = {"too_large": True}
        except Exception as error:  # one answer's trouble; the caller counts it under "error"
            reply = {"error": type(error).__name__}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), file=replies, flush=True)
