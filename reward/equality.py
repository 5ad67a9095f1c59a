r"""Whether two answers are equal: `compare` takes them apart by structure, `literal` settles what needs no algebra.

`compare` reads lists, tuples, intervals and equations and hands what is left to `leaf`, one pair of scalars at a time.
With `leaf=literal` every number and every string is settled on the spot; the worker passes math-verify as the leaf.

The rules, where mathematics alone does not decide:
  1. Only the text after the last `</think>` counts; thinking that never closes has no answer.
  2. The answer is the last box with something in it; a last box that never closes is no answer. Boxes with nothing
     between them but commas, "or", "and", list marks are one answer: their list.
  3. A bare list and a set are unordered and equal; a tuple or an interval is ordered, its brackets count.
  4. A decimal equals an exact number if it is that number, or a correct rounding of a number that has no finite
     decimal, given to at least 6 places. 0.1000001 is not 1/10.
  5. Percent: 28% is 28/100, and also 28 (the question asked for percent). Degrees: 30^\circ is 30, and pi/6 where the
     other side has pi or the expression a trigonometric function.
  6. Units, currency, option labels "(B)" and words around a number are dropped; two different known units differ.
  7. A number in base b equals only the same digits in base b.
  8. Single letters keep their case; words do not. Three or more letters in a row are a word, not a product.
  9. Of a chain of equations the last side is the answer, and numbers along the chain must agree (41 = 42 is wrong).
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

from .spelling import COMMA_GROUPED, LABEL, is_words, plain, read, settle_text, unit

ROUNDED_PLACES = 6  # rule 4

_PLAIN_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,18})\s*")


def plain_integer(raw: str) -> int | None:
    """The integer that is all there is: most of AIME, and worth not reading any further."""
    match = _PLAIN_INTEGER.fullmatch(raw)
    return int(match.group(1)) if match else None


@lru_cache(maxsize=20000)
def normalize(raw: str) -> str:
    r"""The answer, written one way: the form that is compared, and the vote for verl's maj@k.

    Returns:
        A string without spaces, delimiters, units and decoration. Numbers that are rational are in lowest terms.

    >>> [normalize(s) for s in (r"$025$", r"1\,234", r"336^\circ", r"x = 2.50\text{ cm}", r"\text{(A) }42")]
    ['25', '1234', '336', '5/2', '42']
    """
    if (integer := plain_integer(raw)) is not None:
        return str(integer)
    text = read(raw)
    tail = _sides(text)[-1] if _equation_of_names(text) else text
    value = number(tail)
    if value is not None:
        return str(value)
    return re.sub(r"\s*,\s*", ",", tail)


def _equation_of_names(text: str) -> bool:
    sides = _sides(text)
    return len(sides) > 1 and all(_is_name(side) for side in sides[:-1])


# --------------------------------------------------------------------------------------------------------------------
# Numbers
# --------------------------------------------------------------------------------------------------------------------

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
    r"""The rational number that a normalised string writes, None if it is anything else. Percent signs count as none.

    >>> [str(number(s)) for s in ("042", "-0.50", r"1\frac{1}{2}", "7/14", r"4.2\times10^{1}", r"0.\overline{3}", "x")]
    ['42', '-1/2', '3/2', '1/2', '42', '1/3', 'None']
    """
    text = _strip_outer(text).replace(" ", "")
    if COMMA_GROUPED.fullmatch(text.lstrip("+-").split(".")[0]):
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


def _decimal_places(text: str) -> int | None:
    match = re.fullmatch(r"[+-]?[0-9]*\.([0-9]+)(?:\\%)?", text)
    return len(match.group(1)) if match else None


def _terminates(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def is_rounding(decimal: str, exact: Fraction) -> bool:
    """Whether a decimal is a correct rounding of `exact` to at least 6 places (rule 4)."""
    places = _decimal_places(decimal)
    value = number(decimal)
    if places is None or value is None or places < ROUNDED_PLACES:
        return False
    return abs(value - exact) * 10**places <= Fraction(1, 2)


def _equal_numbers(gold: str, answer: str) -> bool | None:
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


# --------------------------------------------------------------------------------------------------------------------
# Equality by structure
# --------------------------------------------------------------------------------------------------------------------

_OPEN, _CLOSE = "([{", ")]}"


@lru_cache(maxsize=20000)
def _split(text: str, separators: str) -> tuple[str, ...]:
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


def _strip_outer(text: str) -> str:
    """Without the round brackets or braces around a whole scalar: (42), {42}; not (1,2)."""
    text = text.strip()
    while len(text) > 1 and text[0] + text[-1] in ("()", "{}"):
        inner = text[1:-1]
        if not _balanced(inner) or len(_split(inner, "[,;]")) > 1:
            return text
        text = inner.strip()
    return text


def _balanced(text: str) -> bool:
    depth = 0
    for token in re.finditer(r"\\[a-zA-Z]+|\\[{}]|\\.|[(\[{)\]}]", text, re.S):
        mark = token.group()[-1]
        depth += (mark in _OPEN) - (mark in _CLOSE)
        if depth < 0:
            return False
    return depth == 0


_RELATION = r"\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|<|>"
_EQUALS = r"\\(?:equiv|to)(?![a-zA-Z])|(?<![<>:])="


def _sides(text: str) -> tuple[str, ...]:
    return _split(text, _EQUALS)


_NAME = re.compile(  # no text matches in two ways: else a wrong end costs time that doubles with every command
    r"(?:[a-zA-Z]|\\[a-zA-Z]+(?![a-zA-Z])|_(?:\{(?:[a-zA-Z0-9,]+|\\text\{[a-zA-Z ]*\})\}|[a-zA-Z0-9]+(?![a-zA-Z0-9]))"
    r"|[+\-*/|'^:]|\([a-zA-Z0-9,\s+\-]*\)|\s|[{}])*"
)
_LOOSE_DIGIT = re.compile(r"(?:^|[^_0-9{(^])[0-9]")


def _is_name(text: str) -> bool:
    """What an equation introduces a value by: x, x_1, f(x), m+n, AB, \\angle ABC, P(A), nothing."""
    return _NAME.fullmatch(text) is not None and _LOOSE_DIGIT.search(text) is None


def _pieces(text: str) -> tuple[str, tuple[str, ...]]:
    r"""Kind and elements: ("list"|"set"|"(]"|..., elements), or ("scalar", (text,)).

    >>> _pieces("1,2"), _pieces(r"\{1,2\}"), _pieces("(1,2]"), _pieces("(x+1)^2")
    (('list', ('1', '2')), ('set', ('1', '2')), ('(]', ('1', '2')), ('scalar', ('(x+1)^2',)))
    """
    text = _strip_outer(text)
    if number(text) is not None and not re.search(r",\s", text):
        return "scalar", (text,)
    if text.startswith("\\{") and text.endswith("\\}") and _balanced(text[2:-2]):
        return "set", _distinct(_split(text[2:-2], "[,;]"))
    parts = _distinct(_split(text, "[,;]")) or ("",)
    if len(parts) > 1:
        return "list", parts
    text = parts[0]
    opened = re.match(r"[(\[\]]", text)
    if opened and text[-1:] in tuple(")][") and len(text) > 2 and _balanced(text[1:-1]):
        inner = _split(text[1:-1], "[,;]")
        if len(inner) > 1:
            brackets = {"][": "()", "](": "()", "[[": "[)", "]]": "(]"}.get(text[0] + text[-1], text[0] + text[-1])
            return brackets, inner
    return "scalar", (text,)


def _distinct(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Set elements; naming one twice, as 1/4 and 0.25, adds nothing."""
    return tuple({number(part) or part.replace(" ", ""): part for part in reversed(parts) if part}.values())[::-1]


def _expand_plus_minus(parts: tuple[str, ...]) -> tuple[str, ...]:
    """1 \\pm \\sqrt{2} is two answers. Several signs in one element are left to math-verify."""
    out: list[str] = []
    for part in parts:
        signs = part.count("\\pm") + part.count("\\mp")
        name, _, value = part.rpartition("=")
        if signs == 1 and "\\pm" in value:
            plain = re.sub(r"^\+", "", re.sub(r"\\pm\s?", "+", value))
            out += [f"{name}={plain}" if name else plain]
            out += [(f"{name}=" if name else "") + re.sub(r"\\pm\s?", "-", value)]
        else:
            out.append(part)
    return tuple(out)


_INTERVAL_ENDS = {"<": "()", "\\le": "[]"}


def _as_interval(text: str) -> str | None:
    r"""x \ge 2 -> [2,\infty), 1 < x \le 3 -> (1,3], x \in I -> I; None if it is no such relation in one name.

    >>> _as_interval(r"x\ge 2"), _as_interval(r"1<x\le 3"), _as_interval("2>x")
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
    sides = list(_split(text, _RELATION))
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
    elif _is_variable(sides[0]):
        (name, high), low, left, right = sides, "-\\infty", "(", _INTERVAL_ENDS[marks[0]][1]
    else:
        (low, name), high, left, right = sides, "\\infty", _INTERVAL_ENDS[marks[0]][0], ")"
    if not _is_variable(name) or _is_variable(low) or _is_variable(high):
        return None
    return f"{left}{low},{high}{right}"


_VARIABLE = re.compile(r"[a-zA-Z](?:_\{?[a-zA-Z0-9]+\}?)?(?:\([a-zA-Z]\))?|\\(?:alpha|beta|theta|lambda|phi)")


def _is_variable(text: str) -> bool:
    return _VARIABLE.fullmatch(text) is not None


def _is_interval_like(text: str) -> bool:
    return _pieces(text)[0] in ("(]", "[)", "[]", "()") or "\\cup" in text or "\\infty" in text


_BUILDER = re.compile(r"\\\{[a-zA-Z](?:\s?\\in\s?\\mathbb\{R\})?\s?(?:\\mid(?![a-zA-Z])|[|:])\s?(.+)\\\}")  # \{x|x>1\}


def _as_set(text: str) -> str:
    """A union of intervals for "x<-1, x>3"; an interval for one relation; the text itself for anything else."""
    builder = _BUILDER.fullmatch(text)
    parts = [_as_interval(part) for part in _split(builder.group(1) if builder else text, "[,;]")]
    return "\\cup ".join(parts) if all(parts) else text


def _known_relation(text: str) -> bool:
    return _as_set(text) != text


Leaf = Callable[[str, str], bool | None]


def compare(gold: str, answer: str, leaf: Leaf) -> bool | None:
    r"""Whether two raw answers are equal, by structure down to pairs of scalars, which `leaf` decides.

    Args:
        gold: an acceptable answer, as the data has it.
        answer: what the model boxed; several boxes joined by ", ".
        leaf: (gold, answer) -> True, False, or None for "cannot say".

    Returns:
        True or False; None if it hangs on a pair for which `leaf` returned None.

    >>> compare(r"(1, \frac{1}{2})", "(1.0, 0.5)", literal), compare("1,2", r"\{2, 1\}", literal)
    (True, True)
    >>> compare("(1,2)", "1,2", literal), compare("42", "41, 42", literal), compare(r"\sqrt{8}", r"2\sqrt{2}", literal)
    (False, False, None)
    """
    if (expected := plain_integer(gold)) is not None and (integer := plain_integer(answer)) is not None:
        return expected == integer
    if (verdict := _equal_words(gold, answer)) is not None:
        return verdict
    units = unit(plain(gold)), unit(plain(answer))
    if units[0] and units[1] and units[0] != units[1] and number(normalize(gold)) is not None:
        return False
    return _equal(read(gold), read(answer), leaf)


@lru_cache(maxsize=4000)
def _choice(raw: str) -> str | None:
    """The letter of a multiple choice answer: A, (A), \\text{(A)}, "(A) 42", Option A."""
    text = plain(raw).strip()
    label = LABEL.match(text)
    if label:
        return label.group(1)
    text = re.sub(r"(?i)(?:the\s)?(?:option|choice|answer)\s*(?:is\b)?:?\s*", "", settle_text(text)).strip(" .")
    match = re.fullmatch(r"\(?\s*([A-Z])\s*\)?", text)
    return match.group(1) if match else None


def _words(raw: str) -> str:
    return re.sub(r"[^a-z0-9]", "", read(raw).lower())


def _equal_words(gold: str, answer: str) -> bool | None:
    """Verdict where the gold is a choice letter or words, None where it is mathematics."""
    if re.fullmatch(r"\(?[A-J]\)?", read(gold)) and (letter := _choice(answer)) is not None:
        return letter == re.sub(r"[()]", "", read(gold))
    gold_text, answer_text = read(gold), read(answer)
    if re.fullmatch(r"[A-Za-z]{3,}", gold_text) and re.fullmatch(r"[A-Za-z]{3,}", answer_text):
        named = "\\" in gold + answer or max(map(len, (gold_text, answer_text))) > 3
        return gold_text == answer_text or (named and gold_text.lower() == answer_text.lower())
    if is_words(gold_text) or is_words(answer_text):
        return _words(gold) == _words(answer)
    return None


def _equal(gold: str, answer: str, leaf: Leaf) -> bool | None:
    if gold == answer and gold:
        return True
    gold, answer = _drop_modulus(gold, answer)
    if (verdict := _equal_relations(gold, answer, leaf)) != "none":
        return verdict
    if "\\cup" in gold and "\\cup" in answer:
        union = tuple(_split(text, r"\\cup(?![a-zA-Z])") for text in (gold, answer))
        return True if _matched(*union, leaf) is True else leaf(gold, answer)
    return _equal_pieces(gold, answer, leaf)


def _equal_relations(gold: str, answer: str, leaf: Leaf) -> bool | None | str:
    """Inequalities as the intervals they describe; "none" where there is nothing to describe."""
    known = _known_relation(gold), _known_relation(answer)
    if not any(known):
        return "none"
    sets = _as_set(gold), _as_set(answer)
    if not all(known) and _is_interval_like(sets[0]) != _is_interval_like(sets[1]):
        return "none"
    names = {_variable_of(gold), _variable_of(answer)} - {None}
    return _equal(*sets, leaf) if len(names) < 2 else False


def _variable_of(text: str) -> str | None:
    names = set(re.findall(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])", text)) if _known_relation(text) else set()
    return min(names) if len(names) == 1 else None


def _drop_modulus(gold: str, answer: str) -> tuple[str, str]:
    pattern = r"\(?\\(?:pmod\{?|bmod)\s?([0-9a-z]+)\}?\)?$"
    moduli = re.search(pattern, gold), re.search(pattern, answer)
    if "\\pmod" not in gold + answer or (moduli[0] and moduli[1] and moduli[0].group(1) != moduli[1].group(1)):
        return gold, answer
    return re.sub(pattern, "", gold), re.sub(pattern, "", answer)


def _equal_pieces(gold: str, answer: str, leaf: Leaf) -> bool | None:
    (gold_kind, gold_parts), (kind, parts) = _pieces(gold), _pieces(answer)
    # 1,234 is a number unless the other side is a list; 0,5 is a decimal unless the gold is a list.
    if gold_kind == "scalar" and kind == "list" and re.fullmatch(r"[+-]?[0-9]+,[0-9]+", answer):
        kind, parts = "scalar", (answer.replace(",", "."),)
    elif {gold_kind, kind} == {"scalar", "list"}:
        if gold_kind == "scalar" and re.fullmatch(r"[0-9,]+,[0-9]+", gold):
            gold_kind, gold_parts = "list", tuple(gold.split(","))
        elif kind == "scalar" and re.fullmatch(r"[0-9]+,[0-9]+", gold):
            if number(answer) is not None and not re.fullmatch(r"[0-9,]+,[0-9]+", answer):
                gold_kind, gold_parts = "scalar", (gold.replace(",", "."),)
        if kind == "scalar" and gold_kind == "list" and re.fullmatch(r"[0-9,]+,[0-9]+", answer):
            kind, parts = "list", tuple(answer.split(","))
    if {gold_kind, kind} == {"()", "scalar"}:
        gold_parts = _coordinates(gold_parts[0]) if gold_kind == "scalar" else gold_parts
        parts = _coordinates(parts[0]) if kind == "scalar" else parts
        if len(gold_parts) > 1 and len(parts) > 1:
            gold_kind = kind = "()"
    unordered = ("scalar", "set", "list")
    if gold_kind in unordered and kind in unordered:
        gold_parts, parts = _expand_plus_minus(gold_parts), _expand_plus_minus(parts)
        if len(gold_parts) == len(parts) == 1:
            return _equal_sides(gold_parts[0], parts[0], leaf)
        return _matched(_without_shared_name(gold_parts), _without_shared_name(parts), leaf)
    if gold_kind == "scalar" or kind == "scalar":
        sides = _sides(gold if gold_kind == "scalar" else answer)
        if len(sides) > 1 and all(_is_name(side) for side in sides[:-1]):
            return _equal(sides[-1] if gold_kind == "scalar" else gold, sides[-1] if kind == "scalar" else answer, leaf)
        return leaf(gold, answer)  # a matrix or a union against a tuple
    if gold_kind != kind or len(gold_parts) != len(parts):
        return False
    return _all(_equal(g, a, leaf) for g, a in zip(gold_parts, parts, strict=True))


def _coordinates(text: str) -> tuple[str, ...]:
    """Entries of a matrix of one column or one row, or of a named point P(2,3): the tuple of its coordinates."""
    if re.fullmatch(r"[A-Z]\(.*\)", text) and _pieces(text[1:])[0] == "()":
        return _pieces(text[1:])[1]
    match = re.fullmatch(r"\\begin\{([pb]?)matrix\}(.*)\\end\{\1matrix\}", text, re.S)
    if match is None or (r"\\" in match.group(2).rstrip("\\ ") and "&" in match.group(2)):
        return (text,)
    return tuple(entry.strip() for entry in re.split(r"\\\\|&", match.group(2)) if entry.strip())


def _shared_name(parts: tuple[str, ...]) -> str | None:
    """x of "x=1,x=2" and of "x=1,2"; of "(x,y)=(1,2),(3,4)" the pair of names."""
    first = _sides(parts[0])
    if len(first) != 2 or not _is_name(first[0]) or not first[0]:
        return None
    names = {side[0] for part in parts[1:] if len(side := _sides(part)) == 2}
    return first[0] if names <= {first[0]} else None


def _without_shared_name(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_sides(part)[-1] for part in parts) if _shared_name(parts) else parts


def _all(verdicts) -> bool | None:
    unknown = False
    for verdict in verdicts:
        if verdict is False:
            return False
        unknown |= verdict is None
    return None if unknown else True


def _matched(gold: tuple[str, ...], answer: tuple[str, ...], leaf: Leaf) -> bool | None:
    """Whether the elements agree in some order. Equality is transitive: the first match of each is as good as any."""
    if len(gold) != len(answer):
        return False
    left, unknown = list(answer), False
    for element in gold:
        verdicts = []
        for index, candidate in enumerate(left):
            verdicts.append(_equal(element, candidate, leaf))
            if verdicts[-1] is True:
                del left[index]
                break
        else:
            if None not in verdicts:
                return False
            unknown = True
    return None if unknown else True


def _equal_sides(gold: str, answer: str, leaf: Leaf) -> bool | None:
    """Scalars and equations: which side of each is the value, and whether the chain is true in itself (rule 9)."""
    answer, gold = _without_estimate(answer, gold), _without_estimate(gold, "")
    gold_sides, sides = _sides(gold), _sides(answer)
    if len(gold_sides) > 1 and len(sides) > 1:
        return _equal_equations(gold_sides, sides, leaf)
    if len(gold_sides) > 1:  # x = 5 against 5; but an equation that is more than a name and a value is not its value
        named = _is_name(gold_sides[0]) and _simple_name(gold_sides[0])
        return _equal_scalars(gold_sides[-1], answer, leaf) if named else leaf(gold, answer)
    return _equal_chain(gold, sides, leaf) if len(sides) > 1 else _equal_scalars(gold, answer, leaf)


def _equal_equations(gold_sides: tuple[str, ...], sides: tuple[str, ...], leaf: Leaf) -> bool | None:
    names = gold_sides[0], sides[0]
    if all(map(_is_name, names)):
        if names[0] and names[0] == names[1]:
            return _equal_sides(gold_sides[-1], "=".join(sides), leaf)
        if all(map(_is_variable, names)) and any(number(side) is not None for side in sides):
            return False  # x = 5, y = 5
    return leaf("=".join(gold_sides), "=".join(sides))


def _equal_chain(gold: str, sides: tuple[str, ...], leaf: Leaf) -> bool | None:
    """A chain of equations against one value: its last side, and all constants along it have to be equal."""
    turned = _is_name(sides[-1]) and number(gold) is not None  # 42 = x
    values = [side for side in sides if not _is_name(side)] if turned else sides
    if not values:
        return leaf(gold, "=".join(sides))
    if any(_equal_numbers(values[-1], side) is False for side in values[:-1]):
        return False
    verdict = _equal_scalars(gold, values[-1], leaf)
    if not verdict:
        return verdict
    letters_in = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]").search
    computed = [side for side in values[:-1] if not _is_name(side) and not letters_in(side)]
    return _all(_equal_scalars(side, values[-1], leaf) for side in computed)


def _simple_name(text: str) -> bool:
    """A name that stands for the asked value; 2x+z = 1 and x+y = 1 are equations."""
    return re.search(r"[0-9+\-*/^]", re.sub(r"_\{?[a-zA-Z0-9,]+\}?|\([^()]*\)", "", text)) is None


def _without_estimate(answer: str, gold: str) -> str:
    r"""x \approx 42 says 42; \frac{1}{3} \approx 0.33 says 1/3, or 0.33 where a decimal is asked for."""
    parts = _split(answer, r"\\approx(?![a-zA-Z])")
    if len(parts) == 1:
        return answer
    exact = _sides(parts[0])[-1]
    if _is_name(exact) and not exact.startswith("\\pi"):
        return parts[-1]
    asked = _decimal_places(gold) is not None and number(exact) is None
    return parts[-1] if asked else parts[0]


_BASED = re.compile(r"\(?([0-9A-Za-z]+)\)?_\{?([0-9]{1,2}|\\text\{[a-z]+\})\}?")


def _equal_scalars(gold: str, answer: str, leaf: Leaf) -> bool | None:
    gold, answer = _strip_outer(gold), _strip_outer(answer)
    if gold == answer and gold:
        return True
    based = _BASED.fullmatch(gold), _BASED.fullmatch(answer)
    if (based[0] and gold[0].isdigit()) or (based[1] and answer[0].isdigit()):
        return _equal_based(gold, answer)
    gold, answer = _degrees(gold, answer), _degrees(answer, gold)
    if _pieces(gold)[0] != "scalar" or _pieces(answer)[0] != "scalar":
        return _equal_pieces(gold, answer, leaf)
    verdict = _equal_numbers(gold, answer)
    return leaf(gold, answer) if verdict is None else verdict


def _equal_based(gold: str, answer: str) -> bool:
    def digits_and_base(text: str) -> tuple[str, str]:
        match = _BASED.fullmatch(text)
        return (match.group(1).lstrip("0"), match.group(2)) if match else (text.lstrip("0"), "10")

    return digits_and_base(gold) == digits_and_base(answer)


def _degrees(text: str, other: str) -> str:
    if "^\\circ" not in text:
        return text
    radians = "\\pi" in other or re.search(r"\\(?:sin|cos|tan|cot|sec|csc)", text)
    if radians:
        return re.sub(r"([0-9.]+|\\frac\{[0-9]+\}\{[0-9]+\})\^\\circ\s?", r"(\\frac{\1\\pi}{180})", text)
    return re.sub(r"\^\\circ\s?", "", text)


def literal(gold: str, answer: str) -> bool | None:
    """The leaf that needs no algebra: numbers and equal strings; None for the rest."""
    return True if gold == answer and gold else _equal_numbers(gold, answer)


def as_list(boxes: list[str]) -> str:
    """Several boxes as the one list they make; a box that is repeated says nothing new."""
    distinct = {normalize(box): box for box in boxes}
    return ", ".join(distinct.values())


def nesting(text: str) -> int:
    r"""How deep brackets or exponents go, redundant brackets around the whole left out.

    >>> nesting(r"\frac{1}{1+\frac{1}{2}}"), nesting("((((42))))"), nesting("2^2^2^2")
    (2, 0, 3)
    """
    depth = deepest = 0
    for mark in re.findall(r"[(\[{)\]}]", _strip_outer(text)):
        depth += 1 if mark in _OPEN else -1
        deepest = max(deepest, depth)
    towers = re.findall(r"(?:\^\s?[0-9a-zA-Z]\s?)+", text)
    return max([deepest, *(tower.count("^") for tower in towers)])


def scalars(gold: str) -> list[str]:
    """What a gold is made of, down to what `leaf` would be asked about; nothing where it is words."""
    text = read(gold)
    if is_words(text) or re.fullmatch(r"\(?[A-Za-z]\)?", text):
        return []
    return _elements(text)


def _elements(text: str) -> list[str]:
    kind, parts = _pieces(text)
    if kind != "scalar":
        return [element for part in _expand_plus_minus(parts) for element in _elements(part)]
    return [text] if number(text) is None else []


def is_decimal(text: str) -> bool:
    """Whether a string is a number with decimals, written out."""
    return _decimal_places(text) is not None


def letters(text: str) -> list[str]:
    """The letters that stand for something, commands left out."""
    return re.findall(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text))


def readable(text: str) -> str:
    """The string that math-verify gets for one scalar: a percent sign breaks antlr 4.9.3, which verl's hydra forces."""
    return text.replace("\\%", "\\cdot\\frac{1}{100}")
