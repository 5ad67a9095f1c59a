"""Reads a ground truth, or the content of a box, as a value: its statements, their connectives, its brackets."""

import re
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from .brackets import balanced, split, strip_outer
from .expression import Tree, literal, read_scalar
from .latex import NUMBER_WORDS, one_line
from .quantity import CURRENCY, after_introduction, read_quantity, with_words
from .realsets import EVERYTHING, FLIPPED, condition, formula_of, half, point, unknown_of
from .value import Value, is_assignment, is_name, is_variable, scalar_of
from .words import choice, without_answer, without_label

_CONNECTIVE = r"[,;]|\\text\{(?:and|or)\}"
_EQUALS = r"\\(?:equiv|to|approx)(?![a-zA-Z])|(?<![<>:])="
_RELATION = r"\\(?:le|ge|ne|in|notin)(?![a-zA-Z])|<|>"


CACHED_LENGTH = 128  # a longer text seldom comes twice, and its value is large


def read(raw: str) -> Value:
    r"""The value of a ground truth, or of the content of a box.

    >>> [read(raw).kind for raw in ("1,2", "(1,2]", "x=1, y=2", r"x>1\text{ and }x<2", r"\text{odd}", "2516_8")]
    ['list', 'tuple', 'named', 'reals', 'words', 'based']
    >>> read(r"5\text{ cm}").number, read(r"5\text{ cm}").unit.dimension, read("1,234").number
    (Fraction(5, 1), (('length', 1),), Fraction(1234, 1))
    """
    return _read(raw) if len(raw) <= CACHED_LENGTH else _read.__wrapped__(raw)


@lru_cache(maxsize=4000)
def _read(raw: str) -> Value:
    if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", raw):  # most of AIME: a shortcut
        number = Fraction(int(raw))
        return Value("scalar", str(number), core=str(number), tree=("num", number), number=number)
    return read_statement(one_line(without_label(raw)), alone=True)._replace(choice=choice(raw))


# Statements with connectives

_GROUPED = re.compile(  # 1,234 and x = $1,234
    rf"((?:[^,;()]*(?:=|\\approx))?[+-]?[{CURRENCY}]?)([1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+)((?:\.[0-9]+)?[^,;()\[\]]*)"
)
_INDEX = re.compile(  # k \in \mathbb{Z}
    r"(?:\\text\{(?:for|where)(?: all| any)?\})?([a-zA-Z])\s?\\in\s?\\mathbb\{([ZNR])\}(?:[\^_]\{?[*+]\}?)?"
)
_COMPOUND = re.compile(r"[0-9.]+\\text\{[a-zA-Z]+\}(?:(?:\\text\{and\})?(?:[0-9.]+\\text\{[a-zA-Z]+\}))+")  # 2 h 30 min
_DECIMAL_COMMA = re.compile(r"([+-]?0|[+-]?[1-9][0-9]{3,}),([0-9]+)")


def read_statement(text: str, alone: bool = False) -> Value:
    """An answer or a condition, whose parts may be joined by commas, "and" and "or"."""
    text = strip_outer(after_introduction(text))
    if grouped := _GROUPED.fullmatch(text):  # 1,234 is a number; a ground truth that is a list makes it one
        before, digits, behind = grouped.groups()
        value = read_one(before + digits.replace(",", "") + behind, alone)
        return value if before + behind else value._replace(other_reading=list_of(text, map(read_one, text.split(","))))
    if _COMPOUND.fullmatch(text) and (total := _compound(text)) is not None:
        return total
    parts, marks = split(text, _CONNECTIVE)
    if not marks or not re.sub(r"\\text\{[^{}]*\}|[,;.\s]", "", text):
        return read_one(text, alone)
    if decimal := _DECIMAL_COMMA.fullmatch(text):  # 0,5 is a list; a ground truth that is a number makes it 0.5
        return Value("list", text, tuple(map(read_one, parts)), other_reading=read_one(".".join(decimal.groups())))
    joints = frozenset(mark[6:-1] for mark in marks if mark[0] == "\\") or frozenset(",")
    parts = [part for part in parts if part]
    if len(parts) > 1 and (index := _INDEX.fullmatch(parts[-1])) and index.group(1) in parts[-2]:
        name, numbers = index.groups()
        known = {"Z": True, "N": f"_{name}=" in parts[-2], "R": parts[-2].endswith(f"+{name}")}  # a_n = 2n; + C
        if not split(parts[-2], _RELATION)[1] and known[numbers]:  # the n of 0 \le n < 5 is none
            family = read_joined(text, parts[:-1], joints, alone)
            return family._replace(letter=name) if numbers == "Z" else family
    return read_joined(text, parts, joints, alone)


def _compound(text: str) -> Value | None:
    """2 h 30 min, in its last unit; None where the units do not get smaller: those are several quantities."""
    values = [read_quantity(part) for part in re.findall(r"[0-9.]+\\text\{(?!and\})[a-zA-Z]+\}", text)]
    units = [value.unit for value in values]
    if None in units or None in [value.number for value in values] or len({unit.dimension for unit in units}) > 1:
        return None
    if any(larger.factor <= smaller.factor for larger, smaller in pairwise(units)):
        return None
    total = sum(value.number * unit.factor for value, unit in zip(values, units, strict=True)) / units[-1].factor
    return scalar_of(("num", total))._replace(text=text, unit=units[-1])


def read_joined(text: str, parts: list[str], joints: frozenset[str], alone: bool) -> Value:
    """Conditions on one letter as a set of reals, named values, or else a list."""
    if len(parts) < 2:
        return read_one(parts[0] if parts else "", alone)
    values = [read_one(part) for part in parts]
    if any(value.kind == "reals" for value in values):
        return _joined_conditions(text, values, joints)
    if any(value.kind == "words" for value in values):
        return Value("words", text)
    names = tuple(value.parts[0].text if is_assignment(value) else "" for value in values)
    if all(map(is_variable, names)) and len(set(names)) > 1:
        if len(set(names)) < len(names) or "or" in joints:
            return Value("unread", text)  # x=1, y=2, x=3, y=4 and "x=1 or y=2": no list of values
        return Value("named", text, tuple(value.parts[-1] for value in values), names=names)
    if names[0] and set(names[1:]) <= {"", names[0]}:  # x=1, x=2 and x=1, 2
        values = [value.parts[-1] if name else value for name, value in zip(names, values, strict=True)]
    return list_of(text, values, joints=joints)


def list_of(text: str, values, kind: str = "list", joints: frozenset[str] = frozenset()) -> Value:
    """A list, or a set or points, its elements once; both signs of \\pm written out. A list of equal ones is one."""
    elements = [one for value in values for one in (value.parts if value.kind == "list" else (value,))]
    distinct = {(e.number, e.unit) if e.number is not None else e.text.replace(" ", ""): e for e in elements}
    if len(distinct) == 1 and kind == "list":
        return elements[0]
    once = kind == "set" or all(element.kind == "tuple" for element in elements)  # a solution that is named twice
    return Value(kind, text, tuple(distinct.values() if once else elements), joints=joints)


def _joined_conditions(text: str, values: list[Value], joints: frozenset[str]) -> Value:
    """Conditions joined by "and", "or" or commas: realsets.py decides what a comma means."""
    first, *others = values
    listed = ("scalar", "equation") if "\\text" in first.text else ("scalar",)  # x \ne 2, x = 3 are two conditions
    if first.excludes and all(value.kind in listed for value in others):  # all reals except 3 and 5
        formulas = [first.formula, *(formula and ("not", formula) for formula in map(formula_of, others))]
        joints = {"and"}
    else:
        formulas = [formula_of(value) if value.kind != "scalar" else None for value in values]
    letters = {value.letter for value in values} - {""}
    if None in formulas or len(joints) > 1 or len(letters) > 1:
        return Value("unread", text)
    return Value("reals", text, formula=(*joints, *formulas), letter="".join(letters))


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
    words = re.sub(r"\s+", " ", _NOT_WORDS.sub(lambda m: f" {m['words']} " if m["words"] else m.group(), text)).strip()
    if words.lower() in NUMBER_WORDS:
        return read_quantity(str(NUMBER_WORDS[words.lower()]))
    if _REALS_IN_WORDS.fullmatch(text):
        return None
    if re.fullmatch(r"(?i)(?:the )?(?:empty|null) set", words):
        return Value("empty", text)
    return Value("words", without_answer(words))


_REALS_IN_WORDS = re.compile(  # all real numbers; what they leave out follows
    r"(?i)(?:[a-z]\s?(?:\\in\s?)?)?\\text\{(?:is |can be )?(?:the )?(?:set of )?(?:(?:all|any|every) )?"
    r"(?P<sign>|positive |negative |non-?negative |non-?zero )reals?(?: numbers?)?(?: [a-z])?"
    r"(?: (?:(?P<except>except(?: for| when)?|excluding|other than|but not|besides)|where|such that|with)"
    r"(?: the (?:numbers?|points?|values?))?(?= *\}.))?\s*\.?\}(?P<rest>.*)",
    re.S,
)
_ZERO = read_quantity("0")
_BY_SIGN = {"": EVERYTHING, "positive": half(">", _ZERO), "negative": half("<", _ZERO),
            "nonnegative": half("\\ge", _ZERO), "nonzero": ("not", point(_ZERO))}  # fmt: skip


def _domain(text: str) -> Value | None:
    """All real numbers, in words, with what they leave out: "all real numbers except 3"."""
    match = _REALS_IN_WORDS.fullmatch(re.sub(r"\}\s?([a-z])\s?\\text\{", r" \1 ", text))  # all real numbers x except
    if match is None:
        return None
    formula, rest = _BY_SIGN[match["sign"].lower().replace("-", "").strip()], match["rest"].strip()
    if not rest or is_variable(rest):
        return Value("reals", text, formula=formula)
    outside = read_one(rest)
    if outside.kind == "reals" and not match["except"]:  # such that x \ne 3
        return Value("reals", text, formula=("and", formula, outside.formula), letter=outside.letter)
    left_out = formula_of(outside) if match["except"] else None
    return Value("reals", text, formula=("and", formula, ("not", left_out)), excludes=True) if left_out else None


_BUILDER = re.compile(r"\\\{([a-zA-Z])(?:\s?\\in\s?(\\mathbb\{R\}))?\s?[|:]\s?(.+)\\\}", re.S)  # \{x|x>1\}

_FAMILY = re.compile(r"\\\{([^|:]+)[|:]\s?([a-z]\s?\\in\s?\\mathbb\{Z\})\\\}")  # \{k\pi : k \in \mathbb{Z}\}


def _set(text: str) -> Value | None:
    if text == "\\emptyset":
        return Value("empty", text)
    if text == "\\mathbb{R}":
        return Value("reals", text, formula=EVERYTHING)
    if not (text.startswith("\\{") and text.endswith("\\}") and balanced(text[2:-2])):
        return None
    if builder := _BUILDER.fullmatch(text):
        said = read_statement(builder.group(3))
        return said._replace(text=text) if said.kind == "reals" or said.letter else Value("unread", text)
    if family := _FAMILY.fullmatch(text):
        return read_statement(", ".join(family.groups()))._replace(text=text)
    parts = [part for part in split(text[2:-2], _CONNECTIVE)[0] if part]
    return list_of(text, map(read_one, parts), "set")


_LETTERS = re.compile(r"\([a-z](?:,\s?[a-z])+\)")  # (x,y) \in \{(1,2)\}


def _relation(text: str) -> Value | None:
    """x > a, a < x \\le b, |x - a| < b, x \\ne a and x \\in S as sets of reals; other relations as their sides."""
    sides, signs = split(text, _RELATION)
    if not signs:
        return None
    if signs == ("\\in",) and _LETTERS.fullmatch(sides[0]) and (points := read_one(sides[1])).kind == "set":
        return points
    unknowns = [unknown_of(side) or (side if is_variable(side) else "") for side in sides]
    at = 1 if len(sides) == 3 else 0 if unknowns[0] else 1
    formulas = [None]
    if len(sides) < 4 and unknowns[at] and (len(sides) == 3 or not unknowns[1 - at]):
        turned = [sign if i == at else FLIPPED.get(sign, "") for i, sign in enumerate(signs)]
        others = [read_one(side) for i, side in enumerate(sides) if i != at]
        formulas = [condition(sides[at], sign, other) for sign, other in zip(turned, others, strict=True)]
    if None in formulas:
        return Value("relation", text, tuple(map(read_one, sides)), signs=signs)
    formula = formulas[0] if len(formulas) == 1 else ("and", *formulas)
    return Value("reals", text, formula=formula, letter=unknowns[at], excludes=signs == ("\\ne",))


_DENIED = re.compile(  # a name that says more than a name
    r"(?i)\\text\{[^{}]*(?:\b(?:not?|never|cannot|unless|if|except|false|wrong|than|without|least|most|twice|half|double"
    r"|triple)\b|n't)"
)


def _equation(text: str) -> Value | None:
    sides, signs = split(text.removeprefix("\\ell:"), _EQUALS)
    if not signs:
        return None
    if _DENIED.search(re.sub(r"P\([^()]*\)", "", sides[0])):
        return with_words(text)
    if signs[0] == "\\approx" and is_name(sides[0]):
        signs = ("=", *signs[1:])  # x \approx 42
    values = tuple(read_one(side, alone=index == len(sides) - 1) for index, side in enumerate(sides))
    if [value.kind for value in values] == ["tuple", "tuple"] and len(values[0].parts) == len(values[1].parts):
        names = tuple(part.text for part in values[0].parts)
        if all(map(is_variable, names)):  # (x,y) = (2,3)
            return Value("named", text, values[1].parts, names=names, in_order=True)
    if values[-1].kind == "list" and is_name(sides[0]):  # x = 1 \pm 2
        return values[-1]
    return Value("equation", text, values, signs=signs)


_SET_OPERATIONS = ((r"\\cup(?![a-zA-Z])", "or"), (r"\\cap(?![a-zA-Z])", "and"),
                   (r"\\setminus(?![a-zA-Z])|(?<=\})-(?=\\\{)", "-"))  # fmt: skip


def _union(text: str) -> Value | None:
    """Unions, intersections and differences of intervals and sets."""
    for operation, connective in _SET_OPERATIONS:
        parts, marks = split(text, operation)
        if marks:
            values = [read_one(part) for part in parts]
            formulas = [formula_of(value) if value.kind != "scalar" else None for value in values]
            if None in formulas:
                return None
            if connective == "-":
                connective, formulas[1:] = "and", [("not", formula) for formula in formulas[1:]]
            return Value("reals", text, formula=(connective, *formulas))
    return None


_AS_ROUND = {"][": "()", "](": "()", "[[": "[)", "]]": "(]", ")(": "()"}  # ]0,1[ as the French write it


def _tuple(text: str) -> Value | None:
    named = re.fullmatch(r"[A-Z](?:_[0-9])?(\(.*\))", text, re.S)
    bare = named.group(1) if named else text
    if len(bare) < 3 or bare[0] not in "([]" or bare[-1] not in ")][" or not balanced(bare[1:-1]):
        return None
    parts, marks = split(bare[1:-1], "[,;]")
    if not marks:
        return None
    brackets = bare[0] + bare[-1]
    coordinates = tuple(map(read_one, parts))
    return Value("tuple", text, coordinates, brackets=_AS_ROUND.get(brackets, brackets), is_point=named is not None)


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
