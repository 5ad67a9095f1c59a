r"""Units: a table of names with their size and dimension, and the counted things that a bare number may carry.

units.tsv has the names of a unit and its size in the first unit of its dimension, and the things; numbers of several
(pairs, dozens, nines) are none. Two quantities with units are equal if their dimensions agree and their values do after
conversion: 5 km is 5000 m. A unit that only one side writes is the one that was asked for and is dropped, unless it
counts several (`SEVERAL`).
"""

import re
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_LINES = (Path(__file__).parent / "units.tsv").read_text(encoding="utf-8").splitlines()[1:]
_ROWS = [line.split("\t") for line in _LINES]
_COUNTED = frozenset(" ".join(names for kind, _, names in _ROWS if kind == "counted").split())
_ADJECTIVES = frozenset(" ".join(names for kind, _, names in _ROWS if kind == "adjective").split())
MULTIPLES = {names: int(size) for kind, size, names in _ROWS if kind == "multiple"}
SEVERAL = frozenset("decade century centuries fortnight".split())  # units that a bare ground truth does not accept


class Unit(NamedTuple):
    """A unit of size `factor` in its dimension; `plain` where a number without a unit may stand for it."""

    factor: Fraction
    dimension: tuple[tuple[str, int], ...]
    plain: bool = True


def _dimension(text: str) -> tuple[tuple[str, int], ...]:
    return tuple((base, int(power or 1)) for base, _, power in (part.partition("^") for part in text.split()))


_UNITS = {
    name: (Fraction(size), _dimension(dimension))
    for dimension, size, names in _ROWS
    if dimension not in ("counted", "adjective", "multiple")
    for name in names.split()
}
_PREFIXES = {"p": "1e-12", "n": "1e-9", "\u03bc": "1e-6", "m": "1e-3", "c": "1e-2", "k": 1000, "M": 10**6, "G": 10**9}
_UNITS = {
    prefix + name: (Fraction(size) * _UNITS[name][0], _UNITS[name][1])
    for name in "m s g J N W eV Pa V A C \u03a9 F H T Hz bit byte".split()
    for prefix, size in _PREFIXES.items()
} | _UNITS  # written names such as min and pm come before prefixes
_TOKEN = re.compile(
    r"\s*(?:(?P<power>\^\{?-?[0-9]\}?)|(?P<mark>[/*.]|\\cdot|\\times)|(?P<word>[aApP]\.\s?[mM]\.?|[^\s/^*.\\]+)\.?)"
)


def _singular(word: str, known) -> str | None:
    """The form of a word, as written, in lower case or without its plural, that is one of `known`."""
    forms = (word, word.lower()) if len(word) > 2 else (word,)
    return next(
        (
            end
            for form in forms
            for end in (form, form.removesuffix("s"), form.removesuffix("es"))
            if end in known and (end == form or (len(end) > 1 and end[1:].islower()))
        ),
        None,  # N s and mA s are no plurals
    )


def is_unit_or_thing(word: str) -> bool:
    return _singular(word, _UNITS) is not None or _singular(word, _COUNTED) is not None or word in _ADJECTIVES


@lru_cache(maxsize=2000)
def read_unit(text: str) -> Unit | None:
    r"""The unit that a text names, None if any word of it is no unit.

    >>> read_unit("km/h").factor, read_unit("sq. cm").dimension, read_unit("dozen"), read_unit("m/s^2").dimension[1][1]
    (Fraction(5, 18), (('length', 2),), None, -2)
    """
    text = re.sub(r"/\s*\(([^()]*)\)", lambda m: "/" + "/".join(re.split(r"[\s*]+|\\cdot", m.group(1).strip())), text)
    factor, powers, sign, power, at, plain = Fraction(1), {}, 1, 1, 0, True
    last = None
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        at, word = match.end(), match.group("word")
        if match.group("power") or word in ("squared", "cubed"):
            if last is None:
                return None
            extra = {"squared": 2, "cubed": 3}.get(word) or int(match.group("power").strip("^{}"))
            factor, powers = _times(factor, powers, last[0], last[1] * (extra - 1))
            last = None
        elif match.group("mark") or word == "per":
            sign = -1 if word == "per" or match.group("mark") == "/" else sign
        elif word in ("square", "sq", "cubic", "cu"):
            power = 2 if word.startswith("sq") else 3
        elif (name := _singular(word, _UNITS)) is None:
            return None
        else:
            plain &= name not in SEVERAL
            found = _UNITS[name]
            last = (found, sign)
            factor, powers = _times(factor, powers, found, sign * power)
            sign, power = 1, 1
    dimension = tuple(sorted((base, n) for base, n in powers.items() if n))
    return Unit(factor, dimension, plain) if dimension else None


def _times(factor: Fraction, powers: dict, unit: tuple, power: int) -> tuple[Fraction, dict]:
    size, dimension = unit
    return factor * size**power, powers | {base: powers.get(base, 0) + n * power for base, n in dimension}


def read_counted(text: str) -> Unit | None:
    """Things counted: "apples", "green marbles"; other words are kept, and a bare number is no answer with them."""
    words = [word.lower() if len(word) > 3 else word for word in text.strip(" .").split()]
    if not words or len(words) > 3:
        return None
    if all(word in _ADJECTIVES for word in words[:-1]) and (thing := _singular(words[-1], _COUNTED)):
        return Unit(Fraction(1), ((" ".join([*words[:-1], thing]), 1),))
    if all(re.fullmatch(r"[a-z]{3,}", word) and word not in _OPERATIONS for word in words):
        return Unit(Fraction(1), ((" ".join(words).removesuffix("s"), 1),), plain=False)
    return None


_OPERATIONS = frozenset(  # words that make another number of one, or a statement
    """squared cubed factorial modulo mod more less each inverse exists than plus minus times over percent fewer and not
    the for with from other out any all only per nor but are was has have divided multiplied added half
    double""".split()
)
