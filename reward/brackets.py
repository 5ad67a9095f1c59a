"""Brackets of a text, and what separates its parts outside all of them."""

import re
from itertools import accumulate

_OPEN, _CLOSE = "([{", ")]}"
_BRACKET = r"\\[a-zA-Z]+|\\.|[(\[{)\]}]"


def split(text: str, separators: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parts between separators (a regular expression) that stand outside all brackets, and the separators."""
    parts, marks, depth, start = [], [], 0, 0
    for token in re.finditer(rf"(?P<cut>{separators})|{_BRACKET}", text, re.S):
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
    marks = [token[-1] for token in re.findall(_BRACKET, text, re.S)]
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
