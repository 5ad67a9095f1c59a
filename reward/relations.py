r"""Inequalities in one letter as the intervals that they describe."""

import re

from .structure import is_variable, shape, split

_RELATION = r"\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|<|>"
_INTERVAL_ENDS = {"<": "()", "\\le": "[]"}


def as_interval(text: str) -> str | None:
    r"""x \ge 2 -> [2,\infty), 1 < x \le 3 -> (1,3], x \in I -> I; None for any other text.

    >>> as_interval(r"x\ge 2"), as_interval(r"1<x\le 3"), as_interval("2>x")
    ('[2,\\infty)', '(1,3]', '(-\\infty,2)')
    """
    member = re.match(r"[a-zA-Z]\s?\\in(?![a-zA-Z])\s?", text)
    if member:
        return text[member.end() :]
    if excluded := re.fullmatch(r"[a-zA-Z]\s?\\ne\s?([^,;<>=]+)", text):
        return f"(-\\infty,{excluded.group(1)})\\cup ({excluded.group(1)},\\infty)"
    if bounded := re.fullmatch(r"\|[a-zA-Z]\|\s?(<|\\le)\s?([^,;<>=]+)", text):
        left, right = _INTERVAL_ENDS[bounded.group(1)]
        return f"{left}-{bounded.group(2)},{bounded.group(2)}{right}"
    marks = [mark.strip() for mark in re.findall(_RELATION, text)]
    sides = list(split(text, _RELATION))
    if not marks or len(sides) != len(marks) + 1 or len(marks) > 2:
        return None
    if marks[0] in (">", "\\ge"):  # read it from the right
        marks = [{">": "<", "\\ge": "\\le", "<": ">", "\\le": "\\ge"}[mark] for mark in reversed(marks)]
        sides.reverse()
    if any(mark in (">", "\\ge") for mark in marks):
        return None
    if len(marks) == 2:
        low, name, high = sides
        left, right = _INTERVAL_ENDS[marks[0]][0], _INTERVAL_ENDS[marks[1]][1]
    elif is_variable(sides[0]):
        (name, high), low, left, right = sides, "-\\infty", "(", _INTERVAL_ENDS[marks[0]][1]
    else:
        (low, name), high, left, right = sides, "\\infty", _INTERVAL_ENDS[marks[0]][0], ")"
    if not is_variable(name) or is_variable(low) or is_variable(high):
        return None
    return f"{left}{low},{high}{right}"


def is_interval_like(text: str) -> bool:
    return shape(text).kind in ("(]", "[)", "[]", "()") or "\\cup" in text or "\\infty" in text


_BUILDER = re.compile(r"\\\{[a-zA-Z](?:\s?\\in\s?\\mathbb\{R\})?\s?(?:\\mid(?![a-zA-Z])|[|:])\s?(.+)\\\}")  # \{x|x>1\}


def as_set(text: str) -> str:
    """A union of intervals for "x<-1, x>3"; an interval for one relation; the text itself for anything else."""
    builder = _BUILDER.fullmatch(text)
    parts = [as_interval(part) for part in split(builder.group(1) if builder else text, "[,;]")]
    return "\\cup ".join(parts) if all(parts) else text


def is_relation(text: str) -> bool:
    return as_set(text) != text


def letter_of(text: str) -> str | None:
    """The letter that a relation is about, None where there is none or more than one."""
    letters = set(re.findall(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])", text)) if is_relation(text) else set()
    return min(letters) if len(letters) == 1 else None
