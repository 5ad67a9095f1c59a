r"""The structure of an answer: its parts between brackets, commas and signs of equality."""

import re
from dataclasses import dataclass
from functools import lru_cache

_OPEN, _CLOSE = "([{", ")]}"
EQUALS = r"\\(?:equiv|to)(?![a-zA-Z])|(?<![<>:])="


@lru_cache(maxsize=20000)
def split(text: str, separators: str) -> tuple[str, ...]:
    """Parts between separators (a regular expression) that stand outside all brackets."""
    parts, depth, start = [], 0, 0
    for token in re.finditer(rf"(?P<cut>{separators})|\\[{{}}]|\\[a-zA-Z]+|\\.|[(\[{{]|[)\]}}]", text, re.S):
        mark = token.group()[-1]
        if token.group("cut") is not None:
            if depth == 0:
                parts.append(text[start : token.start()])
                start = token.end()
        elif token.group() in ("\\begin", "\\end"):
            depth += 1 if token.group() == "\\begin" else -1
        elif mark in _OPEN:
            depth += 1
        elif mark in _CLOSE:
            depth -= 1
    parts.append(text[start:])
    return tuple(part.strip() for part in parts)


def strip_outer(text: str) -> str:
    """Without the round brackets or braces around a whole scalar: (42), {42}; not (1,2)."""
    text = text.strip()
    while len(text) > 1 and text[0] + text[-1] in ("()", "{}"):
        inner = text[1:-1]
        if not balanced(inner) or len(split(inner, "[,;]")) > 1:
            return text
        text = inner.strip()
    return text


def balanced(text: str) -> bool:
    depth = 0
    for token in re.finditer(r"\\[a-zA-Z]+|\\[{}]|\\.|[(\[{)\]}]", text, re.S):
        mark = token.group()[-1]
        depth += (mark in _OPEN) - (mark in _CLOSE)
        if depth < 0:
            return False
    return depth == 0


def sides(text: str) -> tuple[str, ...]:
    """The sides of an equation, or of a chain of them."""
    return split(text, EQUALS)


_NAME = re.compile(  # unambiguous, or a mismatch at the end would take exponential time
    r"(?:[a-zA-Z]|\\[a-zA-Z]+(?![a-zA-Z])|_(?:\{(?:[a-zA-Z0-9,]+|\\text\{[a-zA-Z ]*\})\}|[a-zA-Z0-9]+(?![a-zA-Z0-9]))"
    r"|[+\-*/|'^:]|\([a-zA-Z0-9,\s+\-]*\)|\s|[{}])*"
)
_LOOSE_DIGIT = re.compile(r"(?:^|[^_0-9{(^])[0-9]")


def is_name(text: str) -> bool:
    """Whether a text names a value in an equation: x, x_1, f(x), m+n, AB, \\angle ABC, P(A), or nothing."""
    return _NAME.fullmatch(text) is not None and _LOOSE_DIGIT.search(text) is None


def is_simple_name(text: str) -> bool:
    """Whether a name is one quantity; 2x+z = 1 and x+y = 1 are equations."""
    return re.search(r"[0-9+\-*/^]", re.sub(r"_\{?[a-zA-Z0-9,]+\}?|\([^()]*\)", "", text)) is None


_VARIABLE = re.compile(r"[a-zA-Z](?:_\{?[a-zA-Z0-9]+\}?)?(?:\([a-zA-Z]\))?|\\(?:alpha|beta|theta|lambda|phi)")


def is_variable(text: str) -> bool:
    """One letter, with or without an index or an argument."""
    return _VARIABLE.fullmatch(text) is not None


def nesting(text: str) -> int:
    r"""How deep brackets or exponents go, redundant brackets around the whole left out.

    >>> nesting(r"\frac{1}{1+\frac{1}{2}}"), nesting("((((42))))"), nesting("2^2^2^2")
    (2, 0, 3)
    """
    depth = deepest = 0
    for mark in re.findall(r"[(\[{)\]}]", strip_outer(text)):
        depth += 1 if mark in _OPEN else -1
        deepest = max(deepest, depth)
    towers = re.findall(r"(?:\^\s?[0-9a-zA-Z]\s?)+", text)
    return max([deepest, *(tower.count("^") for tower in towers)])


@dataclass(frozen=True)
class Shape:
    """`kind`: "scalar", "list", "set", or the brackets of a tuple or interval: "()", "(]", "[)", "[]"."""

    kind: str
    parts: tuple[str, ...]


_BRACKETS = {"][": "()", "](": "()", "[[": "[)", "]]": "(]"}  # ]0,1[ as the French write it


def shape(text: str) -> Shape:
    r"""Kind and elements of an answer. The caller has to distinguish a number such as 1,234 from a list.

    >>> shape("1,2").kind, shape(r"\{1,2\}").kind, shape("(1,2]"), shape("(x+1)^2").kind
    ('list', 'set', Shape(kind='(]', parts=('1', '2')), 'scalar')
    """
    bare = strip_outer(text)
    if bare.startswith("\\{") and bare.endswith("\\}") and balanced(bare[2:-2]):
        return Shape("set", tuple(part for part in split(bare[2:-2], "[,;]") if part))
    parts = tuple(part for part in split(bare, "[,;]") if part) or ("",)
    if len(parts) > 1:
        return Shape("list", parts)
    only = parts[0]
    if re.match(r"[(\[\]]", only) and only[-1:] in tuple(")][") and len(only) > 2 and balanced(only[1:-1]):
        inner = split(only[1:-1], "[,;]")
        if len(inner) > 1:
            brackets = only[0] + only[-1]
            return Shape(_BRACKETS.get(brackets, brackets), inner)
    return Shape("scalar", (only,))
