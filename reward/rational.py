r"""Exact rational numbers from their notation in answers, and the rule for decimals (rule 4)."""

import re
from fractions import Fraction
from functools import lru_cache

from .structure import strip_outer

ROUNDED_DIGITS = 6
_COMMA_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+")
_PLAIN_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,18})\s*")


def plain_integer(raw: str) -> int | None:
    """The value of an answer that is only an integer, as most of AIME: a shortcut."""
    match = _PLAIN_INTEGER.fullmatch(raw)
    return int(match.group(1)) if match else None


_INT = r"[0-9]{1,400}"
_NUMBER = re.compile(
    rf"""(?P<sign>[+-]?)(?:
      (?P<frac>(?P<whole>{_INT})?\\frac\{{(?P<fsign>[+-]?)(?P<num>{_INT}(?:\.{_INT})?)\}}\{{(?P<dsign>-?)(?P<den>{_INT}(?:\.{_INT})?)\}})
    | (?P<slash>\(?(?P<snum>{_INT})/(?P<sden>{_INT})\)?)
    | (?P<repeat>(?P<rint>[0-9]{{0,60}})\.(?P<rfix>[0-9]{{0,60}})\\(?:overline|bar|dot)\{{?(?P<rep>[0-9]{{1,60}})\}}?)
    | (?P<decimal>(?:{_INT}(?:\.[0-9]{{0,400}})?|\.{_INT}))
      (?:(?:[eE]|(?:\\times|\\cdot|\*)\s?10\^)\{{?(?P<exp>[+-]?[0-9]{{1,3}})\}}?)?
    )(?P<percent>\\%)?""",
    re.X,
)


@lru_cache(maxsize=20000)
def number(text: str) -> Fraction | None:
    r"""The rational number of a normalised string, None if it is anything else. A percent sign is ignored.

    >>> [str(number(s)) for s in ("042", "-0.50", r"1\frac{1}{2}", "7/14", r"4.2\times10^{1}", r"0.\overline{3}", "x")]
    ['42', '-1/2', '3/2', '1/2', '42', '1/3', 'None']
    """
    text = strip_outer(text).replace(" ", "")
    if _COMMA_GROUPED.fullmatch(text.lstrip("+-").split(".")[0]):
        text = text.replace(",", "")
    text = re.sub(r"\^\\circ$", "", text)
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    part = match.groupdict()
    if part["frac"]:
        if Fraction(part["den"]) == 0 or (part["whole"] and (part["fsign"] or part["dsign"])):
            return None
        value = Fraction(part["num"]) / Fraction(part["den"])
        value = -value if (part["fsign"] == "-") != (part["dsign"] == "-") else value
        value += int(part["whole"] or 0)
    elif part["slash"]:
        if int(part["sden"]) == 0:
            return None
        value = Fraction(int(part["snum"]), int(part["sden"]))
    elif part["repeat"]:
        head, cycle = part["rint"] + part["rfix"], part["rep"]
        nines = (10 ** len(cycle) - 1) * 10 ** len(part["rfix"])
        value = Fraction(int(head + cycle) - int(head or 0), nines)
    else:
        value = Fraction(part["decimal"].rstrip(".") or "0") * Fraction(10) ** int(part["exp"] or 0)
    return -value if part["sign"] == "-" else value


_DECIMAL = re.compile(
    r"[+-]?([0-9]*)\.([0-9]+)(?:(?:[eE]|(?:\\times|\\cdot|\*)\s?10\^)\{?([+-]?[0-9]{1,3})\}?)?(?:\\%)?"
)


def _places(text: str) -> tuple[int, int] | None:
    r"""Places behind the point and significant digits of a decimal; None for any other text.

    >>> _places("0.0012"), _places(r"2.50\times10^{-3}"), _places("1/2")
    ((4, 2), (5, 3), None)
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    digits = (match.group(1) + match.group(2)).lstrip("0")
    return len(match.group(2)) - int(match.group(3) or 0), len(digits)


def is_decimal(text: str) -> bool:
    """Whether a string is a number with decimals, written out."""
    return _places(text) is not None


def is_rounding(decimal: str, exact: Fraction) -> bool:
    """Whether a decimal is a correct rounding of `exact`, to at least 6 places and 6 significant digits (rule 4)."""
    places, value = _places(decimal), number(decimal)
    if places is None or value is None or min(places) < ROUNDED_DIGITS:
        return False
    return abs(value - exact) * 10 ** places[0] <= Fraction(1, 2)


def _terminates(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def equal_numbers(gold: str, answer: str) -> bool | None:
    """Whether two written rational numbers are equal; None where one is anything else."""
    gold_value, value = number(gold), number(answer)
    if gold_value is None or value is None:
        return None
    percents = gold.endswith("\\%"), answer.endswith("\\%")
    if gold_value == value or (percents[0] != percents[1] and _as_percent(gold_value, value, percents[0])):
        return True
    return (not _terminates(gold_value) and is_rounding(answer, gold_value)) or (
        not _terminates(value) and is_rounding(gold, value)
    )


def _as_percent(gold: Fraction, value: Fraction, gold_is_percent: bool) -> bool:
    return gold == value * 100 if gold_is_percent else gold * 100 == value
