r"""What an answer is once it is read: a plain value, or words.

kind        parts                     fields of its own       example
scalar                                tree, number, unit      \frac{1}{2}, 2\pi, 5\text{ cm}
list, set   the elements              joints                  1, 2 and \{1, 2\}
tuple       the coordinates           brackets, is_point      (1, 2], P(2, 3)
matrix      rows of entries                                   \begin{pmatrix} ...
named       the values                names, in_order         x=1, y=2
equation    the sides                 signs                   y = 2x + 3, 25 + 17 = 42
relation    the sides                 signs                   a < b < c
reals                                 formula (realsets.py)   x > 2, |x-1| < 2, all real numbers
ratio       its terms                 unit                    3:4, 2:30
based                                 core, base              2516_8
empty                                                         \emptyset
words                                 text                    Evelyn, no solution, n is even
unread                                text                    x=1 or y=2
"""

import re
from fractions import Fraction
from typing import NamedTuple

from .expression import Tree, literal
from .units import Unit


class Value(NamedTuple):
    """An answer or a part of one. `text` is its normalised LaTeX, `core` that of a scalar without unit and words."""

    kind: str
    text: str
    parts: tuple = ()
    core: str = ""
    tree: Tree | None = None
    number: Fraction | None = None
    places: int | None = None  # of a decimal that may be a rounding
    unit: Unit | None = None
    base: str = ""
    brackets: str = ""
    is_point: bool = False  # P(2, 3), which is no interval
    signs: tuple[str, ...] = ()  # between the sides
    names: tuple[str, ...] = ()  # of the parts
    in_order: bool = False  # (y,x) = (1,2): as written, and not by name
    joints: frozenset[str] = frozenset()  # "and", "or", ","
    formula: tuple | None = None
    letter: str = ""  # that a set of reals is about, or that runs through the whole numbers: k\pi, k \in Z
    excludes: bool = False  # x \ne 3, "all reals except 3": further values are left out too
    other_reading: "Value | None" = None  # the list 1, 234 for the number 1,234, and the decimal 0.5 for the list 0,5
    choice: str = ""  # A, where the answer names one option


def scalar_of(tree: Tree) -> Value:
    """The scalar of a computed tree."""
    number = literal(tree)
    return Value("scalar", str(number or tree), core=str(number or tree), tree=tree, number=number)


def vote(value: Value) -> str:
    """One string for equal answers, for verl's maj@k: rationals in lowest terms, without names and units."""
    if value.kind == "equation" and all(is_name(side.text) for side in value.parts[:-1]):
        value = value.parts[-1]
    return str(value.number) if value.number is not None else re.sub(r"\s*,\s*", ",", value.core or value.text)


_NAME = re.compile(  # unambiguous, or a mismatch at the end would take exponential time
    r"(?:[a-zA-Z]|\\[a-zA-Z]+(?![a-zA-Z])"
    r"|_(?:\{(?:[a-zA-Z0-9,]+|\\(?:text|mathrm)\{[a-zA-Z ]*\})\}|[a-zA-Z0-9]+(?![a-zA-Z0-9]))"
    r"|[+\-*/|'^:]|\((?:[a-zA-Z0-9,\s+\-=<>|]|\\text\{[a-zA-Z ]*\})*\)|\s|[{}])*"
)
_LOOSE_DIGIT = re.compile(r"(?:^|[^_0-9{(^])[0-9]")
_VARIABLE = re.compile(r"[a-zA-Z](?:_\{?[a-zA-Z0-9]+\}?)?(?:\([a-zA-Z]\))?|\\(?:alpha|beta|theta|lambda|phi)")


def is_name(text: str) -> bool:
    """Whether a text names a value in an equation: x, x_1, f(x), m+n, AB, \\angle ABC, P(A), or nothing."""
    text = text.replace("^{-1}", "")
    return _NAME.fullmatch(text) is not None and _LOOSE_DIGIT.search(re.sub(r"P\([^()]*\)", "", text)) is None


def is_simple_name(text: str) -> bool:
    """Whether a name is one quantity; 2x+z = 1 and x+y = 1 are equations."""
    return re.search(r"[0-9+\-*/^]", re.sub(r"_\{?[a-zA-Z0-9,]+\}?|\([^()]*\)|\^\{-1\}", "", text)) is None


def is_variable(text: str) -> bool:
    """One letter, with or without an index or an argument."""
    return _VARIABLE.fullmatch(text) is not None


def is_assignment(value: Value) -> bool:
    """x = 5"""
    sides = value.parts
    return value.kind == "equation" and len(sides) == 2 and sides[0].text != "" and is_name(sides[0].text)
