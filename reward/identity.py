r"""Whether two trees are equal, by their values at points, with enough digits for cancellation.

Rational values are exact fractions. For all others let 2^M bound the magnitudes, and 2^-M the
smallness, of everything that is computed on the way. At P bits of working precision the difference is known to about
2^(M - P); two values count as equal if they agree to that at P = 3 M + 256, where conjugates such as (2+\sqrt3)^n and
(2-\sqrt3)^n, of magnitudes 2^M and 2^-M, still show. Numbers over MAX_BITS are refused before they are computed.
"""

from fractions import Fraction
from math import comb, factorial, isqrt, log2

from mpmath import mp

from .expression import Tree, has, names, substitute

MAX_BITS = 200_000  # of a rational number: 60 000 digits
MAX_REAL_BITS = 20_000  # of any other, whose P bits cost more
_FIRST_BITS, _SLACK = 192, 40
_POINTS = [
    Fraction(p, q)
    for p, q in (
        (37, 29),
        (-23, 17),
        (71, 13),
        (-67, 41),
        (5, 31),
        (-1021, 43),
        (-7, 53),
        (1161, 37),
        (-104729, 97),
        (1299709, 83),
        (-15485863, 11),
    )
]  # near zero and far out, on both sides
_TRIALS = len(_POINTS)
_NAMED = {"ln": "log", "exp": "exp", "abs": "fabs", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
          "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh"}  # fmt: skip


class TooLargeError(Exception):
    """The expression would not fit in memory or time if it were evaluated."""


class NoValueError(Exception):
    """The expression has no finite value here."""


class Evaluation:
    """Values of trees at one point, and the magnitude M of the intermediate results."""

    def __init__(self, at: dict[str, Fraction]):
        self.at, self.magnitude, self.cleared = at, 8.0, False

    def value(self, tree: Tree):
        """A Fraction or an mpmath number.

        Raises:
            TooLargeError, NoValueError
        """
        match tree:
            case ("num", result):
                pass
            case ("sym", name):
                if (result := self.at.get(name)) is None:
                    raise NoValueError
            case ("const", name):
                result = {"pi": +mp.pi, "e": mp.e + 0, "i": mp.mpc(0, 1)}[name]
            case ("-", argument):
                result = -self.value(argument)
            case ("root", degree, argument):
                result = self._root(degree, self.value(argument))
            case ("fn", name, argument):
                result = self._function(name, self.value(argument))
            case (operation, left, right):
                result = self._operation(operation, self.value(left), self.value(right))
        if isinstance(result, Fraction):
            if max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
                raise TooLargeError
        elif not mp.isfinite(result):
            raise NoValueError
        elif result:
            self._note(float(abs(mp.mag(result))))
        return result

    def _note(self, bits: float) -> None:
        self.magnitude = max(self.magnitude, bits)
        if bits > MAX_REAL_BITS:
            raise TooLargeError

    def _real(self, x):
        """Convert to an mpmath number. Its magnitude is noted, because it may cancel later."""
        if isinstance(x, Fraction):
            bits = max(x.numerator.bit_length(), x.denominator.bit_length())
            self._note(float(bits) if x else 0.0)
            return mp.mpf(x.numerator) / x.denominator
        return x

    def _clear(self, x):
        """Zero where the value is within rounding error; a higher precision decides whether it really is zero."""
        lost = not isinstance(x, Fraction) and x and abs(x) < mp.ldexp(1, int(self.magnitude) - mp.prec + _SLACK)
        self.cleared |= bool(lost)
        return Fraction(0) if lost else x

    def _operation(self, operation: str, a, b):
        if operation == "^":
            return self._power(a, b)
        if operation == "binom":
            return self._binomial(a, b)
        if operation == "log" or not (isinstance(a, Fraction) and isinstance(b, Fraction)):
            a, b = self._real(a), self._real(b)
        if (operation == "/" and b == 0) or (operation == "log" and (a in (0, 1) or b == 0)):
            raise NoValueError
        if operation == "+":
            return self._clear(a + b)
        if operation == "log":
            return self._clear(mp.log(b) / mp.log(a))
        return a * b if operation == "*" else a / b

    def _power(self, a, b):
        if isinstance(b, Fraction) and b.denominator == 1:
            return self._integer_power(a, b.numerator)
        if isinstance(a, Fraction) and isinstance(b, Fraction) and a > 0 and b.denominator <= 100:
            return self._integer_power(self._root(b.denominator, a), b.numerator)
        a, b = self._real(a), self._real(b)
        if a == 0:
            raise NoValueError
        self._note(float(abs(b * mp.log(a)) * 1.5))
        return mp.exp(b * mp.log(a))

    def _integer_power(self, a, n: int):
        if a == 0:
            if n < 0:
                raise NoValueError
            return Fraction(n == 0)
        if isinstance(a, Fraction):
            if abs(a) != 1 and max(a.numerator.bit_length(), a.denominator.bit_length()) * abs(n) > MAX_BITS:
                raise TooLargeError
            return a**n if abs(a) != 1 or abs(n) < 2 else a ** (n % 2)
        self._note(
            abs(log2(float(abs(a))) if 1e-300 < abs(a) < 1e300 else float(mp.mag(a))) * abs(n) + abs(n).bit_length()
        )
        return a**n

    def _root(self, degree: int, a):
        if isinstance(a, Fraction) and degree == 2 and a >= 0:
            top, bottom = isqrt(a.numerator), isqrt(a.denominator)
            if top * top == a.numerator and bottom * bottom == a.denominator:
                return Fraction(top, bottom)
        if isinstance(a, Fraction) and degree == 1:
            return a
        a = self._real(a)
        if degree % 2 and not isinstance(a, mp.mpc) and a < 0:
            return -mp.root(-a, degree)
        return mp.sqrt(a) if degree == 2 else mp.root(a, degree)

    def _function(self, name: str, a):
        if name == "factorial":
            return self._factorial(a)
        if name == "abs":
            return abs(a)
        a = self._real(a)
        if (name == "ln" and a == 0) or (name in ("cot", "csc") and a == 0):
            raise NoValueError
        if name in ("exp", "sinh", "cosh", "tanh"):  # tanh x differs from 1 by e^(-2x)
            self._note(float(abs(a)) * 3)
        try:
            return self._clear(getattr(mp, _NAMED.get(name, name))(a)) if name != "exp" else mp.exp(a)
        except (ValueError, ZeroDivisionError) as error:
            raise NoValueError from error

    def _factorial(self, n):
        if isinstance(n, Fraction) and n.denominator == 1:
            if n < 0:
                raise NoValueError
            if n > 15_000:
                raise TooLargeError
            return Fraction(factorial(int(n)))
        n = self._real(n)
        if abs(n) > 1000:
            raise TooLargeError
        return mp.gamma(n + 1)

    def _binomial(self, n, k):
        if all(isinstance(x, Fraction) and x.denominator == 1 and x >= 0 for x in (n, k)):
            if min(k, n - k) * max(1, int(n).bit_length()) > MAX_BITS:
                raise TooLargeError
            return Fraction(comb(int(n), int(k)))
        n, k = self._real(n), self._real(k)
        if max(abs(n), abs(k)) > 1000:
            raise TooLargeError
        return mp.binomial(n, k)


def real_value(tree: Tree, bits: int = 256):
    """The value of a constant: a Fraction, an mpf, or None where it has no real one.

    Raises:
        TooLargeError
    """
    with mp.workprec(bits):
        try:
            result = Evaluation({}).value(tree)
        except (NoValueError, ZeroDivisionError):
            return None
    return None if isinstance(result, mp.mpc) else result


def _agree(gold: Tree, answer: Tree, at: dict, complex_too: bool) -> bool | None:
    """Equality at one point; None where a side has no value there, or a complex value where none is expected.

    A gold with |x| holds on both sides: an answer without, which is real on one side only, as ln x is, differs from it.
    """
    bits = _FIRST_BITS
    for _ in range(6):
        with mp.workprec(bits):
            evaluation = Evaluation(dict(at))
            try:
                a, b = evaluation.value(gold), evaluation.value(answer)
                if isinstance(a, Fraction) and isinstance(b, Fraction) and not evaluation.cleared:
                    return a == b
                same: bool | None = not evaluation._clear(evaluation._real(a) - evaluation._real(b))
            except (NoValueError, ZeroDivisionError):
                same = None
            else:
                real = [not (isinstance(x, mp.mpc) and x.imag) for x in (a, b)]
                if not complex_too and not all(real):
                    one_sided = real[0] and has(gold, "abs") and not has(answer, "abs")
                    return False if one_sided else None
        enough = bits >= 3 * evaluation.magnitude + 100
        if enough or (same is False and not evaluation.cleared):
            return same
        bits = int(3 * evaluation.magnitude) + 256
    return False


def identical(gold: Tree, answer: Tree) -> bool | None:
    """Identity of two trees; None where too few points have a value. Constants are tested once, letters at points.

    Points where a side is infinite are skipped, and where one is complex as long as others are real: sqrt and log have
    only half of the line.

    Raises:
        TooLargeError
    """
    letters = sorted(names(gold) | names(answer))
    if not letters:
        return _agree(gold, answer, {}, complex_too=True)
    same = None if has(gold, "i") or has(answer, "i") else _agree_at_points(gold, answer, letters, complex_too=False)
    return _agree_at_points(gold, answer, letters, complex_too=True) if same is None else same


def _agree_at_points(gold: Tree, answer: Tree, letters: list[str], complex_too: bool) -> bool | None:
    agreed = 0
    for trial in range(_TRIALS):
        at = _point(letters, trial)
        try:
            same = _agree(gold, answer, at, complex_too)
        except TooLargeError:
            if trial == 0:
                raise
            continue
        if same is False:
            return False
        agreed += same is True
    return True if agreed >= 2 else None


def _point(letters: list[str], trial: int) -> dict[str, Fraction]:
    """The first two points are positive, where every root and logarithm has a value."""
    points = [_POINTS[(trial * 3 + k * 2) % len(_POINTS)] + k for k in range(len(letters))]
    return dict(zip(letters, [abs(p) for p in points] if trial < 2 else points, strict=True))


def same_equation(gold: tuple[Tree, Tree], answer: tuple[Tree, Tree]) -> bool | None:
    """Whether two equations (left, right) hold for the same values, by two tests; None where neither decides.

    They do if their differences of sides have a constant ratio, or if the gold is y = f with y not in f, and the answer
    is linear in y and holds for y = f. An equation that holds everywhere, such as x = x, says nothing: False.
    """
    left, right = (("+", sides[0], ("-", sides[1])) for sides in (gold, answer))
    if identical(right, ("num", Fraction(0))) is not False or names(left) != names(right):
        return False
    letters = sorted(names(left))
    for trial in range(_TRIALS):
        at = {name: ("num", point) for name, point in _point(letters, trial).items()}
        pinned = substitute(left, at), substitute(right, at)
        if all(identical(side, ("num", Fraction(0))) is False for side in pinned):
            if identical(("*", left, pinned[1]), ("*", right, pinned[0])):
                return True
            break
    for side, other in (gold, gold[::-1]):
        if side[0] == "sym" and side[1] not in names(other):
            y0, y1, y2 = (substitute(right, {side[1]: ("num", Fraction(k))}) for k in range(3))
            linear = identical(("+", y0, y2), ("+", y1, y1))
            return bool(linear and identical(substitute(right, {side[1]: other}), ("num", Fraction(0))))
    return None
