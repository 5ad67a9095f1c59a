r"""Units: a table of names with their size and dimension, and the counted things that a bare number may carry.

Two quantities with units are equal if their dimensions agree and their values do after conversion: 5 km is 5000 m. A
unit that only one side writes is the one that was asked for and is dropped, unless it counts several (`SEVERAL`).
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

_TABLE = {  # dimension: names of one unit, and its size in the first unit of the dimension
    "length": [("m meter metre", 1), ("mm millimeter millimetre", "1/1000"), ("cm centimeter centimetre", "1/100"),
               ("km kilometer kilometre", 1000), ("in inch inches", "0.0254"), ("ft foot feet", "0.3048"),
               ("yd yard", "0.9144"), ("mi mile", "1609.344"), ("nm nanometer", "1e-9"), ("dm decimeter", "1/10"),
               ("\u00c5 angstrom", "1e-10"), ("pc parsec", "30856775814913673"),
               ("\u7c73", 1), ("\u5398\u7c73", "1/100"), ("\u6beb\u7c73", "1/1000"),
               ("Km \u5343\u7c73 \u516c\u91cc", 1000)],
    "mass": [("kg kilogram", 1), ("g gram", "1/1000"), ("mg milligram", "1e-6"), ("lb lbs pound", "0.45359237"),
             ("oz ounce", "0.028349523125"), ("ton tons", "907.18474"), ("tonne", 1000),
             ("\u5343\u514b \u516c\u65a4", 1), ("\u514b", "1/1000")],
    "time": [("s sec second", 1), ("ms millisecond", "1/1000"), ("min minute \u5206\u949f", 60),
             ("h hr hrs hour \u5c0f\u65f6", 3600), ("day \u5929", 86400), ("week", 604800), ("fortnight", 1209600)],
    "months": [("month", 1), ("year yr yrs", 12), ("decade", 120), ("century centuries", 1200)],
    "angle": [("\u00b0 deg degree", 1)], "radian": [("rad radian", 1)],
    "celsius": [("\u00b0C Celsius celsius", 1)], "fahrenheit": [("\u00b0F Fahrenheit fahrenheit", 1)],
    "kelvin": [("K kelvin", 1)],
    "dollar": [("$ dollar usd USD", 1), ("\u00a2 cent", "1/100")], "euro": [("\u20ac euro", 1)],
    "sterling": [("\u00a3 GBP", 1)], "yuan": [("\u00a5 yuan rmb RMB \u5143", 1)], "rupee": [("\u20b9 rupee Rs", 1)],
    "percent": [("%", 1)], "unit": [("unit", 1)], "pm": [("pm p.m p.m. PM", 1)], "am": [("am a.m a.m. AM", 1)],
    "length^2 mass time^-2": [("J joule", 1), ("kilojoule", 1000), ("kWh", 3600000), ("erg", "1e-7"), ("cal", "4.184"),
                              ("kcal", 4184), ("eV", "1.602176634e-19")],
    "length mass time^-2": [("N newton", 1)], "length^2 mass time^-3": [("W watt", 1)],
    "length^-1 mass time^-2": [("Pa pascal", 1), ("bar", 100000), ("atm", 101325), ("mmHg torr", "133.322")],
    "length^2 mass time^-3 current^-1": [("V volt", 1)], "current": [("A amp ampere", 1)],
    "current time": [("C coulomb", 1)], "length^2 mass time^-3 current^-2": [("\u03a9 ohm", 1)],
    "length^-2 mass^-1 time^4 current^2": [("F farad", 1)], "length^2 mass time^-2 current^-2": [("H henry", 1)],
    "mass time^-2 current^-1": [("T tesla", 1), ("gauss", "1/10000")],
    "length^2 mass time^-2 current^-1": [("Wb weber", 1)], "time^-1": [("Hz hertz", 1)], "rotation": [("rpm", 1)],
    "amount": [("mol mole", 1)], "amount length^-3": [("M", 1000)], "luminosity": [("lm lumen", 1)],
    "data": [("bit", 1), ("byte", 8)], "loudness": [("dB", 1)],
    "length^3": [("L l liter litre", "1/1000"), ("mL ml milliliter cc", "1e-6"), ("gallon gal", "0.003785411784")],
    "length time^-1": [("mph", "0.44704"), ("kph kmh kmph", "5/18"), ("knot", "463/900")],
}  # fmt: skip
_COUNTED = frozenset(
    """
    apple arrangement ball banana bead bean bill bird block book bottle box boy brick bug bus cake candy car card
    cat chair chicken child children class coin combination committee configuration cookie cow crate cup customer
    cycle diagonal digit divisor dog duck edge egg element employee equation face fish flower function game girl
    goal goat grape group guest handshake hat heart horse house inhabitant integer intersection kid leg letter line
    lion marble match member men method mile move name number orange orchestra ordering outcome page paper part path
    peach pear pen pencil penguin people permutation person pet piece pie player point pole polygon possibility
    possibilities problem question rabbit rectangle region ring root rope round route row seat selection sequence
    set shape sheep shirt side sock solution song spot stamp step stick sticker stone student subset team term test
    ticket tile time tournament toy tree triangle trip tuple turn value vertex vertices vote way widget window
    calorie grade trinket ticket inch plant seed leaf leaves rose tulip pumpkin melon cherry cherries lemon egg muffin
    donut cracker pizza slice sandwich cupcake gift present gem jewel bead necklace bracelet shoe jacket dress towel
    pillow blanket candle lamp bulb battery batteries phone computer laptop tablet photo picture poster letter envelope
    magazine newspaper chapter essay poem song movie video level round mission trophy trophies medal badge trip visit
    patient doctor nurse teacher pupil passenger driver soldier sailor dancer singer actor runner swimmer citizen
    resident neighbor friend cousin sibling brother sister daughter son parent baby babies puppy puppies kitten cow pig
    goose geese turkey hen rooster lamb fox wolf wolves bear deer monkey elephant tiger zebra giraffe snake frog turtle
    spider ant bee butterfly butterflies insect sheep fish whale shark dolphin seashell shell rock pebble log branch
    triangle square pentagon hexagon octagon cube sphere tetrahedron subgroup subsequence permutation string
    winner woman women word worker
    \u5206 \u5c81 \u9053 \u652f \u4e2a \u79cd \u4eba \u6b21 \u6761 \u53ea \u5757 \u5f20 \u672c \u4f4d \u540d
    \u9897 \u68f5 \u7ec4 \u9879 \u79cd\u65b9\u6cd5
""".split()
)  # things that are counted; numbers of several (pairs, dozens, nines) are not here
_ADJECTIVES = frozenset(
    "green red blue white black yellow different distinct possible ordered real integer total".split()
)
MULTIPLES = {
    "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12, "score": 20,
    "gross": 144, "lakh": 10**5, "crore": 10**7, 
    "\u5341": 10, "\u767e": 100, "\u5343": 1000, "\u4e07": 10**4, "\u4ebf": 10**8,
}  # fmt: skip
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
    for dimension, rows in _TABLE.items()
    for names, size in rows
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
