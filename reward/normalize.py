r"""Rewrites an answer as one line of LaTeX: `normalize` applies the rules of rules.py, and `canonical` also reduces
fractions.

Removed: delimiters, fonts, colours, alphabets, spacing, thousands separators, units, currency, labels and words around
numbers. Kept, because they carry meaning: percent signs, degrees, equations, the ", " that tells a list from 1,234.
Nothing is computed. Answers are at most some thousand characters here (grade.py), so these run on the event loop too.
"""

import re
from functools import lru_cache

from .rational import number, plain_integer
from .rules import CONTENT, SETTING, one_space
from .structure import is_name, sides


@lru_cache(maxsize=4000)
def unset(raw: str) -> str:
    r"""The text without its typesetting: delimiters, colours, fonts, alphabets. Texts are kept, as \text{...}."""
    text = one_space(raw)
    for rule in SETTING:
        text = rule(text)
    return text


@lru_cache(maxsize=4000)
def normalize(raw: str) -> str:
    r"""The form that is compared.

    >>> [normalize(s) for s in (r"$\dfrac12$", r"1\,234", r"42\text{ cm}", r"1\text{ and }2", "28 percent")]
    ['\\frac{1}{2}', '1234', '42', '1, 2', '28\\%']
    """
    text = unset(raw)
    for rule in CONTENT:
        text = rule(text)
    return text


@lru_cache(maxsize=20000)
def canonical(raw: str) -> str:
    r"""One string for equal answers, the vote for verl's maj@k: rationals in lowest terms, without names.

    >>> [canonical(s) for s in (r"$025$", r"1\,234", r"336^\circ", r"x = 2.50\text{ cm}", r"\text{(A) }42")]
    ['25', '1234', '336', '5/2', '42']
    """
    if (integer := plain_integer(raw)) is not None:
        return str(integer)
    text = normalize(raw)
    parts = sides(text)
    named = len(parts) > 1 and all(is_name(side) for side in parts[:-1])
    tail = parts[-1] if named else text
    value = number(tail)
    return str(value) if value is not None else re.sub(r"\s*,\s*", ",", tail)
