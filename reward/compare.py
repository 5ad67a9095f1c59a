r"""Whether two parsed answers are equal: `equal` is the list of rules, by the kinds of the two.

Where mathematics alone does not decide:
  1. Only the text after the last `</think>` counts; thinking that never closes has no answer.
  2. The answer is the content of the last non-empty \boxed{}. If the last one never closes there is no answer. Several
     with only commas, "or", "and" or list marks between them are one answer, a list.
  3. A bare list and a set are unordered and equal; a tuple or an interval is ordered, its brackets count. Named values
     such as x=2, y=3 are the tuple (2,3), in the order of their names.
  4. A decimal equals an exact number if it is that number, or a correct rounding of a number that has no finite
     decimal, given to at least 6 places and 6 significant digits. 0.1000001 is not 1/10.
  5. Percent: 28% is 28/100, and also 28 (the question asked for percent). Degrees: 30^\circ is 30, and pi/6 where the
     other side has no degrees but pi.
  6. A unit that only one side has is the one that was asked for. Two units must have one dimension and agree after
     conversion. Words that are left have to be the same on both sides (units.py, words.py).
  7. A number in base b equals only the same digits, in base b or without one: b is the base that was asked for.
  8. Single letters keep their case; words do not. Three or more letters in a row are a word, not a product.
  9. Of a chain of equations the last side is the answer, and numbers along the chain must agree (41 = 42 is wrong).
     In 41.99 \approx 42 the last side has to be a rounding of the one before.
 10. "and" between conditions on one letter intersects, "or" unites; realsets.py says what a comma means. Between
     values all three make a list.
 11. The problem restated is no answer: an integral, sum, limit, greatest common divisor, floor, determinant and
     the like (`OPERATORS`) is accepted only where the ground truth has one too. Otherwise a policy learns to box the
     question. So are trigonometric functions and logarithms for a real constant: 4 \sin 80^\circ - \tan 80^\circ is not
     the answer -\sqrt{3}. Arithmetic, powers, roots, factorials and binomials are compared by value.
"""

import re
from fractions import Fraction
from functools import reduce
from itertools import pairwise

from .expression import has, literal, names, substitute
from .realsets import FLIPPED, formula_of, same_set
from .units import Unit
from .value import Value, is_name, is_simple_name, is_variable
from .words import choices, phrase, same_words

OPERATORS = re.compile(
    r"\\(?:i+nt|oint|sum|prod|lim(?:sup|inf)?|det|gcd|lcm|max|min|sup|inf|lfloor|lceil|bmod|mod|[lc]?dots[bcmio]?|deg)(?![a-zA-Z])"
    r"|\\begin|\\operatorname|\\frac\{(?:d|\\partial)[^{}]{0,9}\}\{(?:d|\\partial)\s?[a-z]|\\frac\{(?:d|\\partial)\^"
    r"|\\(?:phi|varphi|sigma|tau|mu)\([0-9]+\)|\.\.\.|[\u230a\u2308]"
)


_FUNCTIONS = re.compile(r"\\(?:(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|ln|lg|log)(?![a-zA-Z])")


class NeedsAlgebraError(Exception):
    """The verdict depends on expressions, which only a worker evaluates."""


class Numbers:
    """Compares written numbers; anything else is for a worker, where algebra.Algebra stands in its place."""

    def same(self, gold: Value, answer: Value) -> bool:
        if gold.number is None or answer.number is None:
            raise NeedsAlgebraError
        return gold.number == answer.number or is_rounding(gold, answer.number) or is_rounding(answer, gold.number)

    def real(self, value: Value) -> Fraction | None:
        """The value of a real constant, to 200 bits."""
        if value.number is None:
            raise NeedsAlgebraError
        return value.number

    def same_equation(self, gold: Value, answer: Value) -> bool:
        raise NeedsAlgebraError


def is_rounding(decimal: Value, exact: Fraction) -> bool:
    """Whether a decimal is the correct rounding of a number that has no finite decimal (rule 4)."""
    return decimal.places is not None and not _ends(exact) and rounds(decimal.number, exact, decimal.places)


def rounds(decimal: Fraction, exact: Fraction, places: int) -> bool:
    return abs(decimal - exact) * Fraction(10) ** places <= Fraction(1, 2)


def _ends(value: Fraction) -> bool:
    """Whether a number has a finite decimal."""
    return 10 ** value.denominator.bit_length() % value.denominator == 0


def equal(gold: Value, answer: Value, algebra) -> bool:
    r"""Whether an answer equals the ground truth.

    Args:
        algebra: `Numbers()`, or in a worker `algebra.Algebra()`.

    Raises:
        NeedsAlgebraError: where `Numbers()` cannot decide.

    >>> from .parse import read
    >>> [equal(read(g), read(a), Numbers()) for g, a in (("(1,2)", "(1.0, 2)"), ("1,2", r"\{2, 1\}"), ("(1,2)", "1,2"))]
    [True, True, False]
    """
    if gold.choice and len(gold.text.strip("() ")) == 1:
        chosen = answer.choice or (answer.text.upper() if gold.text[0] == "(" else "")
        if len(chosen) == 1:
            return chosen == gold.choice
    if len(options := choices(gold.text)) > 1 and re.search("[^A-H]", gold.text + answer.text):  # ABC, not CAB
        if chosen := choices(answer.text):
            return chosen == options
    if gold.text == answer.text and gold.text:
        return True
    if gold.letter and answer.letter and "reals" not in (gold.kind, answer.kind):  # n\pi and k\pi
        answer = _renamed(answer, {answer.letter: ("sym", gold.letter)})
    match gold.kind, answer.kind:
        case ("empty", "words") | ("words", "empty"):
            return "no solution" in (phrase(gold.text), phrase(answer.text))
        case ("words" | "unread", _) | (_, "words" | "unread"):
            return same_words(gold.text, answer.text)
        case ("empty", _) | (_, "empty"):
            return gold.kind == answer.kind
        case ("reals", "reals" | "tuple" | "set" | "list") | ("tuple" | "set" | "list", "reals"):
            return _same_reals(gold, answer, algebra)
        case ("set", "scalar" | "equation" | "tuple") | ("scalar" | "tuple", "set") if 1 in [
            len(v.parts) for v in (gold, answer) if v.kind == "set"
        ]:
            return _each(*(value.parts if value.kind == "set" else (value,) for value in (gold, answer)), algebra)
        case "equation", "equation":
            return _same_equations(gold, answer, algebra)
        case "equation", _:  # x = 5 equals 5, but 2x + z = 1 does not equal 1
            name = gold.parts[0].text
            named = len(gold.parts) > 2 or (is_name(name) and is_simple_name(name))
            return named and equal(gold.parts[-1], answer, algebra)
        case _, "equation":
            return _same_as_chain(gold, answer, algebra)
        case "relation", "relation":
            turned = tuple(FLIPPED.get(sign, sign) for sign in answer.signs[::-1])
            sides = ((answer.signs, answer.parts), (turned, answer.parts[::-1]))
            return any(gold.signs == signs and _each(gold.parts, parts, algebra) for signs, parts in sides)
    return _same_parts(gold, answer, algebra)


def _same_parts(gold: Value, answer: Value, algebra) -> bool:
    match gold.kind, answer.kind:
        case (("list" | "set"), ("list" | "set")):
            return _same_elements(gold.parts, answer.parts, algebra)
        case "list" | "set", "scalar" if answer.other_reading:  # 1,234 where the ground truth is a list
            return equal(gold, answer.other_reading, algebra)
        case "list" | "set", "named":  # x_1=3, x_2=5 and A=(1,2), B=(3,4); x=3, y=4 in the order of the names
            if len({name[0] for name in answer.names}) == 1 or {part.kind for part in answer.parts} == {"tuple"}:
                return _same_elements(gold.parts, answer.parts, algebra)
            return gold.kind == "list" and _each(gold.parts, _by_name(answer), algebra)
        case "scalar", "list" if answer.other_reading:  # 0,5
            return equal(gold, answer.other_reading, algebra)
        case "list", "scalar" if gold.other_reading:
            return equal(gold.other_reading, answer, algebra)
        case "named", "named":
            named = dict(zip(answer.names, answer.parts, strict=True))
            return set(gold.names) == set(named) and _each(gold.parts, [named[name] for name in gold.names], algebra)
        case "named", "list" if "equation" not in [part.kind for part in answer.parts]:
            return _each(gold.parts, answer.parts, algebra)
        case ("named", "tuple") | ("tuple", "named"):
            return _each(_by_name(gold), _by_name(answer), algebra)
        case "tuple", "tuple":
            return gold.brackets == answer.brackets and _each(gold.parts, answer.parts, algebra)
        case "matrix", "matrix":
            sizes = [[len(row) for row in value.parts] for value in (gold, answer)]
            return sizes[0] == sizes[1] and _each(sum(gold.parts, ()), sum(answer.parts, ()), algebra)
        case ("tuple", "matrix") | ("matrix", "tuple"):
            sides = [_coordinates(value) for value in (gold, answer)]
            return all(sides) and _each(*sides, algebra)
        case ("tuple" | "matrix", "scalar") | ("scalar", "tuple" | "matrix"):
            return _same_vector(gold, answer, algebra)
        case "ratio", "ratio":
            return _each(gold.parts, answer.parts, algebra) and _units_agree(gold.unit, answer.unit)
        case ("ratio", "scalar") | ("scalar", "ratio"):
            return _same_ratio(gold, answer)
        case "based", "based":
            return (gold.core, gold.base) == (answer.core, answer.base)
        case "based", "scalar":  # the base is the one that was asked for
            return "_" not in answer.text and not answer.unit and gold.core == answer.core.lstrip("0")
        case "scalar", "scalar":
            return _same_quantity(gold, answer, algebra)
    return False


def _each(gold, answer, algebra) -> bool:
    """Whether two rows of values are as long and equal one by one."""
    return len(gold) == len(answer) and all(equal(g, a, algebra) for g, a in zip(gold, answer, strict=True))


def has_operator(value: Value) -> bool:
    return OPERATORS.search(value.core or value.text) is not None


# Quantities


_PERCENT, _ANGLE, _RADIAN = ((("percent", 1),), (("angle", 1),), (("radian", 1),))
_DEGREE = Fraction(1, 180)  # times pi: in radians


def _restated(gold: Value, answer: Value) -> bool:
    """Rule 11."""
    constant = gold.tree is not None and not names(gold.tree) and not has(gold.tree, "i")
    computed = constant and _FUNCTIONS.search(answer.core) and not _FUNCTIONS.search(gold.core)
    return bool(computed) or (has_operator(answer) and not has_operator(gold))


def _same_quantity(gold: Value, answer: Value, algebra) -> bool:
    if _restated(gold, answer):
        return False
    pi = [value.tree is not None and has(value.tree, "pi") for value in (gold, answer)]
    match gold.unit and gold.unit.dimension, answer.unit and answer.unit.dimension:
        case (None, unit) if unit == _PERCENT:  # 28% is 28 and 28/100
            number = answer.number is not None and algebra.same(gold, answer)
            return number or algebra.same(gold, _scaled(answer, Fraction(1, 100)))
        case (unit, None) if unit == _PERCENT:
            number = gold.number is not None and algebra.same(gold, answer)
            return number or algebra.same(_scaled(gold, Fraction(1, 100)), answer)
        case (unit, other) if unit == _ANGLE and (other == _RADIAN or (other is None and pi[1])):
            return algebra.same(_scaled(gold, _DEGREE, pi=True), answer)
        case (other, unit) if unit == _ANGLE and (other == _RADIAN or (other is None and pi[0])):
            return algebra.same(gold, _scaled(answer, _DEGREE, pi=True))
    if not _units_agree(gold.unit, answer.unit):
        return False
    if gold.unit and answer.unit and gold.unit.factor != answer.unit.factor:
        gold, answer = (_scaled(value, value.unit.factor) for value in (gold, answer))
    return algebra.same(gold, _with_constant(answer, gold))


def _units_agree(gold: Unit | None, answer: Unit | None) -> bool:
    """Rule 6. A bare ground truth does not accept words that count several: 5 pairs, 7 decades."""
    return gold.dimension == answer.dimension if gold and answer else answer is None or answer.plain


def _scaled(value: Value, factor: Fraction, pi: bool = False) -> Value:
    """The value times a factor, or times a factor and pi."""
    by = ("*", ("num", factor), ("const", "pi")) if pi else ("num", factor)
    tree, core = value.tree and ("*", by, value.tree), f"({factor})" + r"\pi" * pi + f"({value.core})"
    return value._replace(tree=tree, number=tree and literal(tree), places=None, core=core)


def _with_constant(answer: Value, gold: Value) -> Value:
    """The answer with C for the letter of its constant of integration, if the ground truth ends in + C."""
    if gold.tree and answer.tree and ("sym", "C") in _terms(gold.tree):
        rest = names(gold.tree) - {"C"}
        other = names(answer.tree) - rest
        if (
            len(other) == 1
            and "".join(rest).islower()
            and not other & set("xyztuvwnei")
            and ("sym", *other) in _terms(answer.tree)
        ):
            return answer._replace(tree=substitute(answer.tree, {letter: ("sym", "C") for letter in other}))
    return answer


def _renamed(value: Value, letters: dict) -> Value:
    """The value with other letters in its trees."""
    if value.kind == "scalar":
        return value._replace(tree=value.tree and substitute(value.tree, letters), text="", letter="")
    if value.kind == "matrix":
        return value
    return value._replace(parts=tuple(_renamed(part, letters) for part in value.parts), letter="")


def _terms(tree: tuple) -> list[tuple]:
    return _terms(tree[1]) + _terms(tree[2]) if tree[0] == "+" else [tree]


def _same_ratio(gold: Value, answer: Value) -> bool:
    """3:4 and 3/4; a whole number is no ratio, and a time no fraction."""
    ratio, other = (gold, answer) if gold.kind == "ratio" else (answer, gold)
    terms = [term.number for term in ratio.parts]
    if len(terms) != 2 or None in terms or not terms[1] or other.number is None or ratio.unit or other.unit:
        return False
    time = len(ratio.parts[1].core) == 2 and terms[0] <= 24
    return other.number.denominator > 1 and terms[0] / terms[1] == other.number and not time


# Collections


def _same_reals(gold: Value, answer: Value, algebra) -> bool:
    if (gold.letter and answer.letter and gold.letter != answer.letter) or (
        has_operator(answer) and not has_operator(gold)
    ):
        return False
    formulas = formula_of(gold), formula_of(answer)
    return all(formulas) and same_set(*formulas, algebra)


def _same_elements(gold: tuple, answer: tuple, algebra) -> bool:
    """Whether the elements agree in some order. Equality is transitive: the first match of each is as good as any."""
    left = list(answer)
    if len(gold) != len(answer):
        return False
    for element in gold:
        sets = element.kind == "set"  # {1}, {2} is not 1, 2
        same = (i for i, other in enumerate(left) if (other.kind == "set") == sets and equal(element, other, algebra))
        match = next(same, None)
        if match is None:
            return False
        del left[match]
    return True


def _by_name(value: Value) -> tuple:
    """The values as the coordinates of a tuple: as written in (y,x) = (1,2), by name in y=1, x=2."""
    if value.in_order or value.kind == "tuple":
        return value.parts
    return tuple(part for _, part in sorted(zip(value.names, value.parts, strict=True)))


def _coordinates(value: Value) -> tuple:
    """The entries of a tuple in round brackets, or of a matrix of one row or column."""
    if value.kind == "tuple":
        return value.parts if value.brackets == "()" else ()
    one = len(value.parts) == 1 or all(len(row) == 1 for row in value.parts)
    return tuple(entry for row in value.parts for entry in row) if one else ()


_DIRECTIONS = (("const", "i"), ("sym", "j"), ("sym", "k"))


def _same_vector(gold: Value, answer: Value, algebra) -> bool:
    """(2,3,-1) and 2i + 3j - k."""
    vector, scalar = (answer, gold) if gold.kind == "scalar" else (gold, answer)
    entries = _coordinates(vector)
    if scalar.tree is None or scalar.unit or not 2 <= len(entries) <= 3 or None in [entry.tree for entry in entries]:
        return False
    if not names(scalar.tree) or not names(scalar.tree) <= {"j", "k"}:
        return False
    terms = [("*", entry.tree, direction) for entry, direction in zip(entries, _DIRECTIONS, strict=False)]
    return algebra.same(Value("scalar", "", tree=reduce(lambda a, b: ("+", a, b), terms)), scalar._replace(number=None))


# Equations


_FUNCTION_VALUES = {"y", "f(x)", "f^{-1}(x)"}  # names of the same value


def _same_equations(gold: Value, answer: Value, algebra) -> bool:
    first = gold.parts[0].text, answer.parts[0].text
    if all(map(is_name, first)):
        if first[0] == first[1] or set(first) <= _FUNCTION_VALUES:
            rest = answer._replace(text="", parts=answer.parts[1:], signs=answer.signs[1:])
            return equal(gold.parts[-1], rest if len(rest.parts) > 1 else rest.parts[0], algebra)
        if all(map(is_variable, first)) and any(side.number is not None for side in answer.parts):
            return False  # x = 5, y = 5
    if any(map(has_operator, answer.parts)) and not any(map(has_operator, gold.parts)):
        return False
    return len(gold.parts) == len(answer.parts) == 2 and algebra.same_equation(gold, answer)


def _same_as_chain(gold: Value, chain: Value, algebra) -> bool:
    """A value and a chain of equations (rule 9)."""
    sides, signs = chain.parts, chain.signs
    if is_name(sides[-1].text) and gold.number is not None:  # 42 = x
        sides, signs = tuple(side for side in sides if not is_name(side.text)), ("=",) * len(sides)
    pairs = zip(pairwise(sides), signs, strict=False)
    if any(side.kind == "words" and re.search("[0-9]", side.text) for side in sides):
        return False  # 13 7 = 6
    if any(side.tree and sides[0].core in names(side.tree) for side in sides[1:-1]):
        return False  # x=2 x=3
    if not sides or not all(_consistent(*pair, sign, algebra) for pair, sign in pairs):
        return False
    if "\\approx" in signs and equal(gold, exact := sides[signs.index("\\approx")], algebra):  # \sqrt{2} \approx 1.414
        inexact = exact.kind == "scalar" and (exact.number is None or not _ends(exact.number))
        return inexact and _written_places(sides[-1].core) > 0
    if not equal(gold, sides[-1], algebra):
        return False
    before = [side for side, sign in zip(sides[:-1], signs, strict=False) if sign != "\\approx" and _is_constant(side)]
    return sides[-1].kind != "scalar" or all(_same_quantity(side, sides[-1], algebra) for side in before)


def _consistent(left: Value, right: Value, sign: str, algebra) -> bool:
    """Whether two numbers of a chain agree, the second a written one."""
    if right.number is not None and sign == "\\approx":
        exact = algebra.real(left) if _is_constant(left) else None
        return exact is None or rounds(right.number, exact, _written_places(right.core))
    return left.number is None or right.number is None or _same_quantity(left, right, Numbers())


def _written_places(core: str) -> int:
    return len(core.partition(".")[2]) if re.fullmatch(r"[+-]?[0-9]*\.?[0-9]*", core) else 0


def _is_constant(side: Value) -> bool:
    """Whether a side is a constant that can be checked. The letter e alone may be a name."""
    return side.kind == "scalar" and side.tree is not None and not names(side.tree) and side.core not in ("e", "i")
