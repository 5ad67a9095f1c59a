r"""Reads an answer once, as a plain value: what kind of thing it is, its parts, its numbers, its unit.

kind        parts                                   example
scalar      (), with `tree`, `number`, `unit`       \frac{1}{2}, 2\pi, 5\text{ cm}
list, set   the elements                            1, 2 and \{1, 2\}
tuple       the coordinates, `marks` the brackets   (1, 2], P(2, 3)
matrix      rows of entries                         \begin{pmatrix} ...
named       the values, `marks` their names         x=1, y=2
equation    the sides, `marks` the signs            y = 2x + 3, 25 + 17 = 42
relation    the sides, `marks` the signs            a < b < c
reals       one formula (realsets.py)               x > 2, |x-1| < 2, all real numbers
ratio       its terms                               3:4, 2:30
based       (), `marks` the digits and the base     2516_8
empty       ()                                      \emptyset
words       (), `text` the words                    Evelyn, no solution, n is even
unread      (), compared as words                   x=1 or y=2
"""

import re
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from .expression import Tree, literal, read_scalar
from .latex import NUMBER_WORDS, one_line
from .units import MULTIPLES, Unit, read_counted, read_unit
from .words import choice, without_answer, without_introduction, without_label

ROUNDED_DIGITS = 6  # places and significant digits that a decimal needs to stand for another number


class Value(NamedTuple):
    """An answer or a part of one. `text` is its normalised LaTeX, `core` that of a scalar without unit and words."""

    kind: str
    text: str
    parts: tuple = ()
    marks: tuple = ()
    core: str = ""
    tree: Tree | None = None
    number: Fraction | None = None
    places: int | None = None  # of a decimal that may be a rounding
    unit: Unit | None = None
    name: str = ""  # of the letter that a set of reals is about
    choice: str = ""  # A, where the answer names one option


@lru_cache(maxsize=20000)
def read(raw: str) -> Value:
    r"""The value of a ground truth, or of the content of a box.

    >>> [read(raw).kind for raw in ("1,2", "(1,2]", "x=1, y=2", r"x>1\text{ and }x<2", r"\text{odd}", "2516_8")]
    ['list', 'tuple', 'named', 'reals', 'words', 'based']
    >>> read(r"5\text{ cm}").number, read(r"5\text{ cm}").unit.dimension, read("1,234").number
    (Fraction(5, 1), (('length', 1),), Fraction(1234, 1))
    """
    if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", raw):  # most of AIME: a shortcut
        number = Fraction(int(raw))
        return Value("scalar", str(number), core=str(number), tree=("num", number), number=number)
    return read_statement(one_line(without_label(raw)), alone=True)._replace(choice=choice(raw))


def vote(value: Value) -> str:
    """One string for equal answers, for verl's maj@k: rationals in lowest terms, without names and units."""
    if value.kind == "equation" and all(is_name(side.text) for side in value.parts[:-1]):
        value = value.parts[-1]
    return str(value.number) if value.number is not None else re.sub(r"\s*,\s*", ",", value.core or value.text)


# Brackets and separators

_OPEN, _CLOSE = "([{", ")]}"
_CONNECTIVE = r"[,;]|\\text\{(?:and|or)\}"
_EQUALS = r"\\(?:equiv|to|approx)(?![a-zA-Z])|(?<![<>:])="
_RELATION = r"\\(?:le|ge|ne|in|notin)(?![a-zA-Z])|<|>"


@lru_cache(maxsize=20000)
def split(text: str, separators: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parts between separators (a regular expression) that stand outside all brackets, and the separators."""
    parts, marks, depth, start = [], [], 0, 0
    for token in re.finditer(rf"(?P<cut>{separators})|\\[{{}}]|\\[a-zA-Z]+|\\.|[(\[{{]|[)\]}}]", text, re.S):
        mark = token.group()[-1]
        if token.group("cut") is not None:
            if depth == 0:
                parts.append(text[start : token.start()].strip())
                marks.append(token.group())
                start = token.end()
        elif token.group() in ("\\begin", "\\end"):
            depth += 1 if token.group() == "\\begin" else -1
        elif mark in _OPEN or mark in _CLOSE:
            depth += 1 if mark in _OPEN else -1
    return (*parts, text[start:].strip()), tuple(marks)


def balanced(text: str) -> bool:
    depths = [0, *_depths(text)]
    return min(depths) == 0 == depths[-1]


def _depths(text: str) -> list[int]:
    """The depth behind each bracket."""
    marks = [token[-1] for token in re.findall(r"\\[a-zA-Z]+|\\.|[(\[{)\]}]", text, re.S)]
    return list(accumulate((mark in _OPEN) - (mark in _CLOSE) for mark in marks))


def strip_outer(text: str) -> str:
    """Without the round brackets or braces around a whole scalar: (42), {42}; not (1,2)."""
    text = text.strip()
    while len(text) > 1 and text[0] + text[-1] in ("()", "{}"):
        inner = text[1:-1]
        if not balanced(inner) or split(inner, "[,;]")[1]:
            return text
        text = inner.strip()
    return text


def nesting(text: str) -> int:
    r"""How deep brackets or exponents go, redundant brackets around the whole left out.

    >>> nesting(r"\frac{1}{1+\frac{1}{2}}"), nesting("((((42))))"), nesting("2^2^2^2")
    (2, 0, 3)
    """
    towers = re.findall(r"(?:\^\s?[0-9a-zA-Z]\s?)+", text)
    return max([0, *_depths(strip_outer(text)), *(tower.count("^") for tower in towers)])


_NAME = re.compile(  # unambiguous, or a mismatch at the end would take exponential time
    r"(?:[a-zA-Z]|\\[a-zA-Z]+(?![a-zA-Z])"
    r"|_(?:\{(?:[a-zA-Z0-9,]+|\\(?:text|mathrm)\{[a-zA-Z ]*\})\}|[a-zA-Z0-9]+(?![a-zA-Z0-9]))"
    r"|[+\-*/|'^:]|\([a-zA-Z0-9,\s+\-]*\)|\s|[{}])*"
)
_LOOSE_DIGIT = re.compile(r"(?:^|[^_0-9{(^])[0-9]")
_VARIABLE = re.compile(r"[a-zA-Z](?:_\{?[a-zA-Z0-9]+\}?)?(?:\([a-zA-Z]\))?|\\(?:alpha|beta|theta|lambda|phi)")


def is_name(text: str) -> bool:
    """Whether a text names a value in an equation: x, x_1, f(x), m+n, AB, \\angle ABC, P(A), or nothing."""
    text = text.replace("^{-1}", "")
    return _NAME.fullmatch(text) is not None and _LOOSE_DIGIT.search(text) is None


def is_simple_name(text: str) -> bool:
    """Whether a name is one quantity; 2x+z = 1 and x+y = 1 are equations."""
    return re.search(r"[0-9+\-*/^]", re.sub(r"_\{?[a-zA-Z0-9,]+\}?|\([^()]*\)|\^\{-1\}", "", text)) is None


def is_variable(text: str) -> bool:
    """One letter, with or without an index or an argument."""
    return _VARIABLE.fullmatch(text) is not None


# Statements with connectives

_GROUPED = re.compile(  # 1,234 and x = $1,234
    r"((?:[^,;()]*(?:=|\\approx))?[+-]?[$\u20ac\u00a3\u00a5]?)([1-9][0-9]{0,2}(?:,[0-9]{3})+)((?:\.[0-9]+)?[^,;()\[\]]*)"
)
_WHOLE_NUMBER = re.compile(r"(?:\\text\{(?:for|where)(?: all| any)?\})?([a-z])\s?\\in\s?\\mathbb\{([ZN])\}")
_DECIMAL_COMMA = re.compile(r"([+-]?0|[+-]?[1-9][0-9]{3,}),([0-9]+)")


def read_statement(text: str, alone: bool = False) -> Value:
    """An answer or a condition, whose parts may be joined by commas, "and" and "or"."""
    text = strip_outer(_without_introduction(text))
    if grouped := _GROUPED.fullmatch(text):  # 1,234 is a number; a ground truth that is a list makes it one
        before, digits, behind = grouped.groups()
        value = read_one(before + digits.replace(",", "") + behind, alone)
        return value if before + behind else value._replace(parts=tuple(map(read_one, text.split(","))))
    parts, marks = split(text, _CONNECTIVE)
    if not marks or not re.sub(r"\\text\{[^{}]*\}|[,;.\s]", "", text):
        return read_one(text, alone)
    if decimal := _DECIMAL_COMMA.fullmatch(text):  # 0,5 is a list; a ground truth that is a number makes it 0.5
        other = read_one(".".join(decimal.groups()))
        return other._replace(kind="list", text=text, parts=tuple(map(read_one, parts)), core="", tree=None)
    joints = {mark[6:-1] for mark in marks if mark[0] == "\\"} or {","}
    parts = [part for part in parts if part]
    if len(parts) > 1 and (whole := _WHOLE_NUMBER.fullmatch(parts[-1])) and whole.group(1) in parts[-2]:
        name, numbers = whole.groups()
        if not split(parts[-2], _RELATION)[1] and (numbers == "Z" or f"_{name}=" in parts[-2]):
            parts.pop()  # k\pi, k \in \mathbb{Z}, and the index of a sequence; the n of 0 \le n < 5 is none
    return read_joined(text, parts, joints, alone)


def read_joined(text: str, parts: list[str], joints: set[str], alone: bool) -> Value:
    """Conditions on one letter as a set of reals, named values, or else a list."""
    if len(parts) < 2:
        return read_one(parts[0] if parts else "", alone)
    values = [read_one(part) for part in parts]
    if any(value.kind == "reals" for value in values):
        return _joined_conditions(text, values, joints)
    if any(value.kind == "words" for value in values):
        return Value("words", text)
    names = [value.parts[0].text if _is_assignment(value) else "" for value in values]
    if all(map(is_variable, names)) and len(set(names)) > 1:
        if len(set(names)) < len(names) or "or" in joints:
            return Value("unread", text)  # x=1, y=2, x=3, y=4 and "x=1 or y=2": no list of values
        return Value("named", text, tuple(value.parts[-1] for value in values), tuple(names))
    if names[0] and set(names[1:]) <= {"", names[0]}:  # x=1, x=2 and x=1, 2
        values = [value.parts[-1] if name else value for name, value in zip(names, values, strict=True)]
    return list_of(text, values, joints=joints)


def list_of(text: str, values, kind: str = "list", joints: set[str] = frozenset()) -> Value:
    """A list, or a set or points, its elements once; both signs of \\pm written out. A list of equal ones is one."""
    elements = [one for value in values for one in (value.parts if value.kind == "list" else (value,))]
    distinct = {(e.number, e.unit) if e.number is not None else e.text.replace(" ", ""): e for e in elements}
    if len(distinct) == 1 and kind == "list":
        return elements[0]
    once = kind == "set" or all(element.kind == "tuple" for element in elements)  # a solution that is named twice
    return Value(kind, text, tuple(distinct.values() if once else elements), tuple(joints))


def _is_assignment(value: Value) -> bool:
    return (
        value.kind == "equation"
        and len(value.parts) == 2
        and value.parts[0].text != ""
        and is_name(value.parts[0].text)
    )


def _joined_conditions(text: str, values: list[Value], joints: set[str]) -> Value:
    """Conditions joined by "and", "or" or commas: realsets.py decides what a comma means."""
    first = values[0]
    listed = ("scalar", "equation") if "\\text" in first.text else ("scalar",)  # x \ne 2, x = 3 are two conditions
    if first.marks == ("except",) and all(value.kind in listed for value in values[1:]):
        outside = [("not", formula_of(value)) for value in values[1:]]  # all reals except 3 and 5
        formula = ("and", first.parts[0], *outside) if all(part[1] for part in outside) else None
    else:
        formulas = [formula_of(value) if value.kind != "scalar" else None for value in values]
        formula = (min(joints, key="and or ,".index), *formulas) if all(formulas) and len(joints) == 1 else None
    names = {value.name for value in values} - {""}
    if formula is None or len(names) > 1:
        return Value("unread", text)
    return Value("reals", text, (formula,), name="".join(names))


# One thing


def read_one(text: str, alone: bool = False) -> Value:
    """What stands between two connectives. `alone`: nothing stands beside it, so that it may count things."""
    text = strip_outer(text)
    for reader in (_words, _domain, _set, _relation, _equation, _union, _tuple, _both_signs, _matrix):
        if (value := reader(text)) is not None:
            return value
    return read_quantity(text, alone)


_NOT_WORDS = re.compile(r"\\text\{(?P<words>[^{}]*)\}|[\s,.;:!?'\-]")


def _words(text: str) -> Value | None:
    if _NOT_WORDS.sub("", text) or (text and "\\text" not in text):
        return None
    words = _NOT_WORDS.sub(lambda m: m.group("words") or m.group(), text).strip()
    if words.lower() in NUMBER_WORDS:
        return read_quantity(str(NUMBER_WORDS[words.lower()]))
    if _REALS_IN_WORDS.fullmatch(text):
        return None
    if re.fullmatch(r"(?i)(?:the )?(?:empty|null) set", words):
        return Value("empty", text)
    return Value("words", without_answer(words))


def _mixed(text: str) -> Value:
    """Words with mathematics in them."""
    return Value("words", without_answer(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)))


_REALS_IN_WORDS = re.compile(  # all real numbers; what they leave out follows
    r"(?i)(?:[a-z]\s?(?:\\in\s?)?)?\\text\{(?:is |can be )?(?:the )?(?:set of )?(?:(?:all|any|every) )?"
    r"(?P<sign>|positive |negative |non-?negative |non-?zero )reals?(?: numbers?)?(?: [a-z])?"
    r"(?: (?:(?P<except>except(?: for| when)?|excluding|other than|but not|besides)|where|such that|with)"
    r"(?: the (?:numbers?|points?|values?))?(?= *\}.))?\s*\.?\}(?P<rest>.*)",
    re.S,
)


def _domain(text: str) -> Value | None:
    """All real numbers, in words, with what they leave out: "all real numbers except 3"."""
    joined = re.sub(r"\}\s?([a-z])\s?\\text\{", r" \1 ", text)  # all real numbers x except
    match = _REALS_IN_WORDS.fullmatch(joined)
    if match is None:
        return None
    zero = read_quantity("0")
    signs = {"": ("and",), "positive": half(">", zero), "negative": half("<", zero),
             "nonnegative": half("\\ge", zero), "nonzero": ("not", point(zero))}  # fmt: skip
    formula = signs[match["sign"].lower().replace("-", "").strip()]
    rest = match["rest"].strip()
    if not rest or is_variable(rest):
        return Value("reals", text, (formula,))
    outside = read_one(rest)
    if outside.kind == "reals" and not match["except"]:  # such that x \ne 3
        return Value("reals", text, (("and", formula, outside.parts[0]),), name=outside.name)
    excluded = formula_of(outside) if match["except"] or re.match(r"\\ne(?![a-z])", rest) else None
    return Value("reals", text, (("and", formula, ("not", excluded)),), ("except",)) if excluded else None


def half(sign: str, bound: Value) -> tuple:
    """The formula of x > bound, or of another sign."""
    if bound.core.endswith("\\infty"):
        return ("and",)
    return ("low" if sign in (">", "\\ge") else "high", sign in ("\\ge", "\\le"), bound)


def point(value: Value) -> tuple:
    return ("and", half("\\ge", value), half("\\le", value))


def formula_of(value: Value) -> tuple | None:
    """The formula of a value that is a set of reals, or that is one real number x=1; None for any other."""
    if value.kind == "reals":
        return value.parts[0]
    if value.kind == "tuple" and len(value.parts) == 2 and "point" not in value.marks:
        (left, right), (low, high) = value.marks[0], value.parts
        turned = low.core == "\\infty" or high.core == "-\\infty"
        return (
            None
            if turned
            else ("and", half("\\ge" if left == "[" else ">", low), half("\\le" if right == "]" else "<", high))
        )
    if value.kind in ("set", "list"):
        formulas = [formula_of(part) if part.kind in ("scalar", "tuple") else None for part in value.parts]
        return ("or", *formulas) if all(formulas) and "and" not in value.marks else None
    if _is_assignment(value):
        value = value.parts[1]
    return point(value) if value.kind == "scalar" else None


_BUILDER = re.compile(r"\\\{([a-zA-Z])(?:\s?\\in\s?(\\mathbb\{R\}))?\s?[|:]\s?(.+)\\\}", re.S)  # \{x|x>1\}


def _set(text: str) -> Value | None:
    if text == "\\emptyset":
        return Value("empty", text)
    if text == "\\mathbb{R}":
        return Value("reals", text, (("and",),))
    if not (text.startswith("\\{") and text.endswith("\\}") and balanced(text[2:-2])):
        return None
    if builder := _BUILDER.fullmatch(text):
        condition = read_statement(builder.group(3))
        return condition._replace(text=text) if condition.kind == "reals" else Value("unread", text)
    parts = [part for part in split(text[2:-2], _CONNECTIVE)[0] if part]
    return list_of(text, map(read_one, parts), "set")


_FLIPPED = {">": "<", "\\ge": "\\le", "<": ">", "\\le": "\\ge", "\\ne": "\\ne"}
_UNKNOWN = re.compile(r"(?P<minus>-?)(?P<letter>[a-zA-Z])|\|(?P<inside>[a-zA-Z])(?:(?P<sign>[+-])(?P<shift>[^|]+))?\|")


def _relation(text: str) -> Value | None:
    """x > a, a < x \\le b, |x - a| < b, x \\ne a and x \\in S as sets of reals; other relations as their sides."""
    sides, marks = split(text, _RELATION)
    if not marks:
        return None
    unknowns = [_UNKNOWN.fullmatch(side) or is_variable(side) for side in sides]
    at = 1 if len(sides) == 3 else 0 if unknowns[0] else 1
    formulas = []
    if len(sides) < 4 and unknowns[at] and (len(sides) == 3 or not unknowns[1 - at]):
        unknown = _UNKNOWN.fullmatch(sides[at])
        for index, mark in enumerate(marks):
            sign, other = (mark, sides[index + 1]) if index == at else (_FLIPPED.get(mark, ""), sides[index])
            formulas.append(_condition(unknown, sign, read_one(other)))
    if not formulas or not all(formulas):
        return Value("relation", text, tuple(map(read_one, sides)), marks)
    name = (unknown["letter"] or unknown["inside"]) if unknown else sides[at]
    formula = formulas[0] if len(formulas) == 1 else ("and", *formulas)
    return Value("reals", text, (formula,), ("except",) if marks == ("\\ne",) else (), name=name)


def _condition(unknown: re.Match | None, sign: str, other: Value) -> tuple | None:
    """The formula of one unknown, one sign and what stands behind it; None where it is none."""
    plain = unknown is None or unknown["letter"]
    if sign in ("\\in", "\\ne"):
        formula = formula_of(other) if plain and (sign == "\\ne" or other.kind != "scalar") else None
        return ("not", formula) if formula and sign == "\\ne" else formula
    if sign not in _FLIPPED or other.kind != "scalar":
        return None
    if plain and not (unknown and unknown["minus"]):
        return half(sign, other)
    if other.tree is None:
        return None
    if plain:  # -x > -1
        return half(_FLIPPED[sign], _scalar_of(("-", other.tree)))
    center = read_quantity(unknown["shift"] or "0").tree
    if center is None:
        return None
    center = ("-", center) if unknown["sign"] == "+" else center
    low, high = _scalar_of(("+", center, ("-", other.tree))), _scalar_of(("+", center, other.tree))
    if sign in ("<", "\\le"):  # |x - a| < b
        return ("and", half(_FLIPPED[sign], low), half(sign, high))
    return ("or", half(_FLIPPED[sign], low), half(sign, high))


def _scalar_of(tree: Tree) -> Value:
    number = literal(tree)
    return Value("scalar", str(number or tree), core=str(number or tree), tree=tree, number=number)


_DENIED = re.compile(  # a name that says more than a name
    r"(?i)\\text\{[^{}]*(?:\b(?:not?|never|cannot|unless|if|except|false|wrong|than|without|least|most|twice|half|double"
    r"|triple)\b|n't)"
)


def _equation(text: str) -> Value | None:
    sides, marks = split(text, _EQUALS)
    if not marks:
        return None
    if _DENIED.search(sides[0]):
        return _mixed(text)
    if marks[0] == "\\approx" and is_name(sides[0]):
        marks = ("=", *marks[1:])  # x \approx 42
    values = tuple(read_one(side, alone=index == len(sides) - 1) for index, side in enumerate(sides))
    if [value.kind for value in values] == ["tuple", "tuple"] and len(values[0].parts) == len(values[1].parts):
        names = tuple(part.text for part in values[0].parts)
        if all(map(is_variable, names)):  # (x,y) = (2,3)
            return Value("named", text, values[1].parts, names, core="tuple")
    if values[-1].kind == "list" and is_name(sides[0]):  # x = 1 \pm 2
        return values[-1]
    return Value("equation", text, values, marks)


_SET_OPERATIONS = ((r"\\cup(?![a-zA-Z])", "or"), (r"\\cap(?![a-zA-Z])", "and"),
                   (r"\\setminus(?![a-zA-Z])|(?<=\})-(?=\\\{)", "-"))  # fmt: skip


def _union(text: str) -> Value | None:
    """Unions, intersections and differences of intervals and sets."""
    for mark, connective in _SET_OPERATIONS:
        parts, marks = split(text, mark)
        values = [read_one(part) for part in parts] if marks else []
        formulas = [formula_of(value) if value.kind != "scalar" else None for value in values]
        if connective == "-":
            formulas = [("not", formula) if formula and index else formula for index, formula in enumerate(formulas)]
        if formulas:
            return (
                Value("reals", text, (("or" if connective == "or" else "and", *formulas),)) if all(formulas) else None
            )
    return None


_BRACKETS = {"][": "()", "](": "()", "[[": "[)", "]]": "(]", ")(": "()"}  # ]0,1[ as the French write it


def _tuple(text: str) -> Value | None:
    named = re.fullmatch(r"[A-Z](?:_[0-9])?(\(.*\))", text, re.S)
    bare = named.group(1) if named else text
    if len(bare) < 3 or bare[0] not in "([]" or bare[-1] not in ")][" or not balanced(bare[1:-1]):
        return None
    parts, marks = split(bare[1:-1], "[,;]")
    if not marks:
        return None
    brackets = bare[0] + bare[-1]
    marks = (_BRACKETS.get(brackets, brackets), *(["point"] if named else []))
    return Value("tuple", text, tuple(map(read_one, parts)), marks)


def _both_signs(text: str) -> Value | None:
    r"""1 \pm \sqrt{2} is two answers. Several signs in one element are left to math-verify."""
    if len(re.findall(r"\\pm(?![a-zA-Z])", text)) != 1 or "\\mp" in text:
        return None
    return list_of(text, [read_quantity(re.sub(r"\\pm(?![a-zA-Z])\s?", sign, text).removeprefix("+")) for sign in "+-"])


_MATRIX = re.compile(r"(.*?)\\begin\{([pbB]?)matrix\}((?:(?!\\begin).)*)\\end\{\2matrix\}", re.S)


def _matrix(text: str) -> Value | None:
    """Rows of entries, each times the factor before the matrix."""
    match = _MATRIX.fullmatch(text)
    if match is None or (match.group(1) and (factor := read_scalar(match.group(1).removesuffix("\\cdot"))) is None):
        return None
    rows = [[read_quantity(entry) for entry in row.split("&")] for row in match.group(3).split(r"\\") if row.strip()]
    if match.group(1):
        if any(entry.tree is None for row in rows for entry in row):
            return None
        rows = [[_times(factor, entry) for entry in row] for row in rows]
    return Value("matrix", text, tuple(map(tuple, rows)))


def _times(factor: Tree, value: Value) -> Value:
    tree = ("*", factor, value.tree)
    return value._replace(text=f"{factor}{value.text}", tree=tree, number=literal(tree), places=None)


# Numbers and expressions with their units

_TEXT = r"\\text\{[^{}]*\}"
_TAIL = re.compile(
    rf"(?:{_TEXT}(?:\^\{{?-?[0-9]\}}?)?|(?<=[}}0-9])(?:/|\\cdot)(?=\\text)|\^\\circ\s?(?:[CF](?![a-zA-Z]))?|\\%)+$"
)
_CURRENCY = "$\u20ac\u00a3\u00a5\u20b9\u00a2"
_MODULUS = re.compile(r"\(?\\(?:pmod\{?|bmod|mod)\s?([0-9a-z]+)\}?\)?$")
_BASED = re.compile(r"\(?([0-9][0-9A-Za-z]*)\)?_\{?([0-9]{1,2})\}?")
_MIXED = re.compile(r"([+-]?)([0-9]+)(\\frac\{[0-9]+\}\{[0-9]+\})")
_DECIMAL = re.compile(r"[+-]?([0-9]*)\.([0-9]+)(?:(?:[eE]|(?:\\times|\\cdot|\*)10\^)\{?([+-]?[0-9]{1,3})\}?)?")
_TEMPERATURE = re.compile(r"(?i)(?:\u00b0|degrees?)\s*(c|f)(?:elsius|ahrenheit)?(?![a-z])")
_AFTER = re.compile(r"(?i)\s*(?:in total|in all|altogether|total|only|approximately|approx\.?|exactly|old)\s*\.?$")


def read_quantity(text: str, alone: bool = False) -> Value:
    """A number or an expression, with its unit, modulus or base; words where others are left beside it."""
    body, unit, scale = _without_unit(_without_introduction(text), alone)
    core = strip_outer(body)
    if "\\text" in core or not core or unit is _UNREAD:
        return _mixed(text)
    based = _BASED.fullmatch(core)
    if based and based.group(2) == "10":
        core = based.group(1)
    elif based:
        return Value("based", text, marks=(based.group(1).lstrip("0"), based.group(2)))
    terms, colons = split(core, ":")
    if colons and all(terms) and scale == 1 and (unit is None or unit.dimension[0][0] in ("am", "pm")):
        return Value("ratio", text, tuple(read_quantity(term) for term in terms), unit=unit)
    if "^\\circ" in core and not _TRIGONOMETRIC.search(core):
        core, unit = re.sub(r"\^\\circ\s?", "", core), unit or read_unit("\u00b0")
    mixed = _MIXED.fullmatch(core)
    tree = read_scalar("{}({}+{})".format(*mixed.groups()) if mixed else core)
    number = literal(tree) if tree else None
    if tree and scale != 1:
        tree, number = ("*", ("num", scale), tree), number * scale if number is not None else None
    return Value("scalar", text, core=core, tree=tree, number=number, places=_places(core), unit=unit)


_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|pi)")


def _without_introduction(text: str) -> str:
    """Without the words before a value that say nothing about it."""
    while word := re.match(r"\\text\{([^{}]*)\}(?=.)", text):
        if without_introduction(word.group(1) + " ").strip(" :,.="):
            break
        text = text[word.end() :].lstrip(" :,=")
    return text


_UNREAD = Unit(Fraction(0), ())  # words that are no unit


def _without_unit(body: str, alone: bool) -> tuple[str, Unit | None, Fraction]:
    """The body without its unit, the unit (`_UNREAD` for words that are none), and the multiple in words: 3 million."""
    if modulus := _MODULUS.search(body):
        if "\\pmod" in modulus.group():
            return body[: modulus.start()], Unit(Fraction(1), ((f"mod {modulus.group(1)}", 1),)), Fraction(1)
    words = ""
    if money := re.match(rf"([+-]?)([{_CURRENCY}])", body):
        body, words = money.group(1) + body[money.end() :], money.group(2)
    if body and body[-1] in _CURRENCY:
        body, words = body[:-1], words or body[-1]
    if (tail := _TAIL.search(body)) and not (tail.group() == "^\\circ" and _TRIGONOMETRIC.search(body)):
        said = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", tail.group()).replace("^\\circ", "\u00b0").replace("\\%", "%")
        said = _TEMPERATURE.sub(lambda m: "\u00b0" + m.group(1).upper(), said)
        body, words = body[: tail.start()], f"{said} {words}".strip()
    words = _AFTER.sub("", re.sub(r"\s+", " ", words)).strip(" .:,")
    words = re.sub(r"^\(([^()]*)\)$", r"\1", words)
    scale = Fraction(1)
    while match := re.match(r"([A-Za-z]+|[\u4e00-\u9fff])(?:\s|$|(?=[\u4e00-\u9fff]))", words):
        word = match.group(1)
        multiple = MULTIPLES.get(word) or MULTIPLES.get(word.removesuffix("s"))
        if multiple is None:
            break
        scale, words = scale * multiple, words[match.end() :]
    whole = re.fullmatch(r"\(?[0-9]+\)?", body) is not None
    if not words or (whole and words in ("st", "nd", "rd", "th")):
        return body, None, scale
    words = re.sub(rf"^(.+) [{_CURRENCY}]$", r"\1", words)  # $2.5 million dollars
    unit = read_unit(words) or (read_counted(words) if alone and whole else None)
    return body, unit or _UNREAD, scale


def _places(core: str) -> int | None:
    """Places behind the point of a decimal that has enough of them, and of digits, to be a rounding."""
    match = _DECIMAL.fullmatch(core)
    if match is None:
        return None
    places = len(match.group(2)) - int(match.group(3) or 0)
    digits = len((match.group(1) + match.group(2)).lstrip("0"))
    return places if min(places, digits) >= ROUNDED_DIGITS else None
