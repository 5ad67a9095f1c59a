"""Reads a number or an expression with its unit, its modulus or its base."""

import re
from fractions import Fraction

from .brackets import split, strip_outer
from .expression import literal, read_scalar
from .units import MULTIPLES, Unit, read_counted, read_unit
from .value import Value
from .words import without_answer, without_introduction

FLOAT_DIGITS = 14  # significant digits of a floating-point number that are free of noise
ROUNDED_DIGITS = 6  # places and significant digits that a decimal needs to stand for another number
CURRENCY = "$\u20ac\u00a3\u00a5\u20b9\u00a2"
_TEXT = r"\\text\{[^{}]*\}"
_TAIL = re.compile(
    rf"(?:{_TEXT}(?:\^\{{?-?[0-9]\}}?)?|(?<=[}}0-9])(?:/|\\cdot)(?=\\text)|\^\\circ\s?(?:[CF](?![a-zA-Z]))?|\\%)+$"
)
_RESIDUE = re.compile(r"\(?\\pmod\{?\s?([0-9a-z]+)\}?\)?$")
_BASED = re.compile(r"(?:\(([0-9][0-9A-Za-z]*)\)|([0-9][0-9A-Za-z]*))_\{?([0-9]{1,2})\}?")
_MIXED = re.compile(r"([+-]?)([0-9]+)(\\frac\{[0-9]+\}\{[0-9]+\})")
_DECIMAL = re.compile(r"[+-]?([0-9]*)\.([0-9]+)(?:(?:[eE]|(?:\\times|\\cdot|\*)10\^)\{?([+-]?[0-9]{1,3})\}?)?")
_MULTIPLE = re.compile(r"([A-Za-z]+|[\u4e00-\u9fff])(?:\s|$|(?=[\u4e00-\u9fff]))")  # million, \u4e07
_TEMPERATURE = re.compile(r"(?i)(?:\u00b0|degrees?)\s*(c|f)(?:elsius|ahrenheit)?(?![a-z])")
_AFTER = re.compile(r"(?i)\s*(?:in total|in all|altogether|total|only|approximately|approx\.?|exactly|old)\s*\.?$")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|pi)")


def read_quantity(text: str, alone: bool = False) -> Value:
    r"""A number or an expression; words where some are left. `alone`: nothing stands beside it, so it may count things.

    >>> value = read_quantity(r"2\text{ km}")
    >>> value.number, value.unit.factor, read_quantity("2516_8").base, read_quantity("3:4").kind
    (Fraction(2, 1), Fraction(1000, 1), '8', 'ratio')
    """
    body, unit, scale = _without_unit(after_introduction(text), alone)
    core = strip_outer(body)
    if "\\text" in core or not core or unit is _UNREAD:
        return with_words(text)
    if based := _BASED.fullmatch(core):
        core, base = based.group(1) or based.group(2), based.group(3)
        if base != "10":
            return Value("based", text, core=core.lstrip("0"), base=base)
    terms, colons = split(core, ":")
    if colons and all(terms) and scale == 1 and (unit is None or unit.dimension[0][0] in ("am", "pm")):
        return Value("ratio", text, tuple(map(read_quantity, terms)), unit=unit)
    if "^\\circ" in core and not _TRIGONOMETRIC.search(core):
        core, unit = re.sub(r"\^\\circ\s?", "", core), unit or read_unit("\u00b0")
    mixed = _MIXED.fullmatch(core)
    tree = read_scalar("{}({}+{})".format(*mixed.groups()) if mixed else core)
    if tree and scale != 1:
        tree = ("*", ("num", scale), tree)
    number = literal(tree) if tree else None
    return Value("scalar", text, core=core, tree=tree, number=number, places=_places(core), unit=unit)


def after_introduction(text: str) -> str:
    """Without the words before a value that say nothing about it."""
    while word := re.match(r"\\text\{([^{}]*)\}(?=.)", text):
        if without_introduction(word.group(1) + " ").strip(" :,.="):
            break
        text = text[word.end() :].lstrip(" :,=")
    return text


def with_words(text: str) -> Value:
    """Words with mathematics in them."""
    return Value("words", without_answer(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)))


_UNREAD = Unit(Fraction(0), ())  # words that are no unit


def _without_unit(body: str, alone: bool) -> tuple[str, Unit | None, Fraction]:
    """The body without its unit, the unit (`_UNREAD` for words that are none), and the multiple in words: 3 million."""
    if residue := _RESIDUE.search(body):
        return body[: residue.start()], Unit(Fraction(1), ((f"mod {residue.group(1)}", 1),)), Fraction(1)
    body, words = _without_words(body)
    scale, whole = Fraction(1), re.fullmatch(r"\(?[0-9]+\)?", body) is not None
    if whole:
        words = re.sub(r"^(?:st|nd|rd|th)\b(?! (?:root|power)) ?", "", words)
    while not read_unit(words) and (match := _MULTIPLE.match(words)):
        word = match.group(1)
        multiple = MULTIPLES.get(word) or MULTIPLES.get(word.removesuffix("s"))
        if multiple is None:
            break
        scale, words = scale * multiple, words[match.end() :]
    if not words:
        return body, None, scale
    if twice := re.fullmatch(rf"(.+) ([{CURRENCY}])", words):  # $2.5 million dollars, $5 per hour; not $5 euros
        more, sign = twice.groups()
        words = more if read_unit(more) == read_unit(sign) else f"{sign} {more}" if more[:3] == "per" else ""
    unit = read_unit(words) or (read_counted(words) if alone and whole else None)
    return body, unit or _UNREAD, scale


def _without_words(body: str) -> tuple[str, str]:
    """The body without the currency before it and the words behind it, and those."""
    words, body = "", re.sub(r"\((\\text\{[^{}]*\}(?:\^\{?[0-9]\}?)?)\)$", r"\1", body)  # 30 (cm^2)
    if money := re.match(rf"([+-]?)([{CURRENCY}]|\\text\{{(?:USD|US\$)\}}(?=[0-9]))", body):
        body, words = money.group(1) + body[money.end() :], money.group(2)[:1].replace("\\", "$")
    elif body and body[-1] in CURRENCY:
        body, words = body[:-1], body[-1]
    if (tail := _TAIL.search(body)) and not (tail.group() == "^\\circ" and _TRIGONOMETRIC.search(body)):
        said = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", tail.group()).replace("^\\circ", "\u00b0").replace("\\%", "%")
        said = _TEMPERATURE.sub(lambda m: "\u00b0" + m.group(1).upper(), said)
        body, words = body[: tail.start()], f"{said} {words}".strip()
    words = _AFTER.sub("", re.sub(r"\s+", " ", words)).strip(" .:,")
    words = re.sub(r"^([a-z]+) of [a-z]+$", r"\1", words)  # 2 kg of rice
    return body, re.sub(r"^\(([^()]*)\)$", r"\1", words)


def _places(core: str) -> int | None:
    """Places behind the point of a decimal that has enough of them, and of digits, to be a rounding."""
    match = _DECIMAL.fullmatch(core)
    if match is None:
        return None
    places = len(match.group(2)) - int(match.group(3) or 0)
    digits = len((match.group(1) + match.group(2)).lstrip("0"))
    noise = max(0, digits - FLOAT_DIGITS)
    return places - noise if min(places, digits) >= ROUNDED_DIGITS else None
