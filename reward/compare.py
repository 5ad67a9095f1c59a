r"""Whether two answers are equal: their structure is compared here, and pairs of scalars by the argument `decide`.

The rules, where mathematics alone does not decide:
  1. Only the text after the last `</think>` counts; thinking that never closes has no answer.
  2. The answer is the content of the last non-empty \boxed{}. If the last one never closes there is no answer. Several
     with only commas, "or", "and" or list marks between them are one answer, a list.
  3. A bare list and a set are unordered and equal; a tuple or an interval is ordered, its brackets count. Named values
     such as x=2, y=3 are the tuple (2,3), in the order of their names.
  4. A decimal equals an exact number if it is that number, or a correct rounding of a number that has no finite
     decimal, given to at least 6 places and 6 significant digits. 0.1000001 is not 1/10.
  5. Percent: 28% is 28/100, and also 28 (the question asked for percent). Degrees: 30^\circ is 30, and pi/6 where the
     other side has pi or the expression a trigonometric function.
  6. Units, currency, option labels "(B)" and introductions beside a number are dropped (words.py); two different known
     units differ. Words that are left have to be the same on both sides.
  7. A number in base b equals only the same digits in base b.
  8. Single letters keep their case; words do not. Three or more letters in a row are a word, not a product.
  9. Of a chain of equations the last side is the answer, and numbers along the chain must agree (41 = 42 is wrong).

Every result is True, False, or None where it depends on a pair for which `decide` returned None.
"""

import re
from collections.abc import Callable, Iterable

from . import words
from .expression import names, read_scalar
from .normalize import canonical, normalize, unset
from .rational import equal_numbers, number, plain_integer
from .relations import as_set, is_interval_like, is_relation, letter_of
from .structure import Shape, is_name, is_simple_name, is_variable, shape, sides, split, strip_outer

Decide = Callable[[str, str], bool | None]


def compare(gold: str, answer: str, decide: Decide) -> bool | None:
    r"""Whether two raw answers are equal, by structure down to pairs of scalars.

    Args:
        gold: an acceptable answer, as the data has it.
        answer: the content of the model's \boxed{}; that of several joined by ", ".
        decide: (gold, answer) -> True, False, or None for "cannot say".

    >>> compare(r"(1, \frac{1}{2})", "(1.0, 0.5)", equal_numbers), compare("1,2", r"\{2, 1\}", equal_numbers)
    (True, True)
    >>> compare("(1,2)", "1,2", equal_numbers), compare("42", "41, 42", equal_numbers)
    (False, False)
    """
    if (expected := plain_integer(gold)) is not None and (integer := plain_integer(answer)) is not None:
        return expected == integer
    gold_text, answer_text = normalize(gold), normalize(answer)
    if re.fullmatch(r"\(?[A-J]\)?", gold_text) and (letter := words.choice(unset(answer))) is not None:
        return letter == gold_text.strip("()")
    if words.is_words(gold_text) or words.is_words(answer_text):
        return words.same_words(gold_text, answer_text)
    units = words.unit(unset(gold)), words.unit(unset(answer))
    if units[0] and units[1] and units[0] != units[1] and number(canonical(gold)) is not None:
        return False
    return _equal(gold_text, answer_text, decide)


def as_list(boxes: list[str]) -> str:
    """The contents of several \\boxed{} as one list, each once."""
    distinct = {canonical(box): box for box in boxes}
    return ", ".join(distinct.values())


def scalars(gold: str) -> list[str]:
    """The scalars of a gold about which `decide` would be asked; none where it is words."""
    text = normalize(gold)
    if words.is_words(text) or re.fullmatch(r"\(?[A-Za-z]\)?", text):
        return []
    return _elements(text)


def letters(text: str) -> set[str]:
    """The letters of a text that are not part of a command."""
    return set(re.findall(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text)))


def _elements(text: str) -> list[str]:
    found = _shape(text)
    if found.kind != "scalar":
        return [element for part in _both_signs(found.parts) for element in _elements(part)]
    return [text] if number(text) is None else []


def _equal(gold_text: str, answer_text: str, decide: Decide) -> bool | None:
    if gold_text == answer_text and gold_text:
        return True
    gold, answer = _without_modulus(gold_text, answer_text)
    if (named := _equal_assignments(gold, answer, decide)) is not None:
        return named
    if _are_relations(gold, answer):
        about = {letter_of(gold), letter_of(answer)} - {None}
        return _equal(as_set(gold), as_set(answer), decide) if len(about) < 2 else False
    if "\\cup" in gold and "\\cup" in answer:
        unions = tuple(split(text, r"\\cup(?![a-zA-Z])") for text in (gold, answer))
        return True if _matched(*unions, decide) is True else decide(gold, answer)
    return _equal_shapes(gold, answer, decide)


def _are_relations(gold: str, answer: str) -> bool:
    """Whether one is an inequality and the other one too, or an interval."""
    known = is_relation(gold), is_relation(answer)
    return all(known) or (any(known) and is_interval_like(as_set(gold)) == is_interval_like(as_set(answer)))


def _without_modulus(gold: str, answer: str) -> tuple[str, str]:
    pattern = r"\(?\\(?:pmod\{?|bmod|mod)\s?([0-9a-z]+)\}?\)?$"
    moduli = re.search(pattern, gold), re.search(pattern, answer)
    if "\\pmod" not in gold + answer or (moduli[0] and moduli[1] and moduli[0].group(1) != moduli[1].group(1)):
        return gold, answer
    return re.sub(pattern, "", gold), re.sub(pattern, "", answer)


def _assignments(text: str) -> dict[str, str]:
    """x=2, y=3 and (x,y)=(2,3) as {"x": "2", "y": "3"}; empty for anything else."""
    whole = sides(text)
    if len(whole) == 2 and _shape(whole[0]).kind == _shape(whole[1]).kind == "()":
        left, right = (_shape(side).parts for side in whole)
        pairs = list(zip(left, right, strict=True)) if len(left) == len(right) else []
    else:
        pairs = [sides(part) for part in split(text, "[,;]")]
    if len(pairs) < 2 or any(len(pair) != 2 or not is_variable(pair[0]) for pair in pairs):
        return {}
    return dict(pairs) if len({name for name, _ in pairs}) == len(pairs) else {}


def _equal_assignments(gold: str, answer: str, decide: Decide) -> bool | None:
    """Named values against the same names, or against a bare tuple; None where there are none."""
    if "=" not in gold + answer:
        return None
    named, shapes = [_assignments(text) for text in (gold, answer)], [_shape(text) for text in (gold, answer)]
    if all(named):
        same = named[0].keys() == named[1].keys()
        return same and _all(_equal(value, named[1][name], decide) for name, value in named[0].items())
    for values, other in ((named[0], shapes[1]), (named[1], shapes[0])):
        if values and other.kind == "()" and len(other.parts) == len(values):
            written = list(values) if "(" in (gold if values is named[0] else answer).split("=")[0] else sorted(values)
            listed = [values[name] for name in written]
            pairs = (
                zip(listed, other.parts, strict=True) if values is named[0] else zip(other.parts, listed, strict=True)
            )
            return _all(_equal(g, a, decide) for g, a in pairs)
    return None


_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_GROUPS = re.compile(r"[0-9,]+,[0-9]+")


def _shape(text: str) -> Shape:
    """Kind and elements; 1,234 is one number, and an element named twice is one element of a list or set."""
    if number(text) is not None and not re.search(r",\s", text):
        return Shape("scalar", (strip_outer(text),))
    found = shape(text)
    if found.kind not in ("list", "set"):
        return found
    distinct = {number(part) or part.replace(" ", ""): part for part in reversed(found.parts)}
    return Shape(found.kind if len(distinct) > 1 or found.kind == "set" else "scalar", tuple(distinct.values())[::-1])


def _shapes(gold: str, answer: str) -> tuple[Shape, Shape]:
    """Both shapes. 1,234 is a list if the other side is a list, and 0,5 is a decimal if the other side is a number."""
    left, right = _shape(gold), _shape(answer)
    if {left.kind, right.kind} == {"()", "scalar"}:
        return _coordinates(left), _coordinates(right)
    if {left.kind, right.kind} != {"scalar", "list"} or "\\pm" in gold + answer:
        return left, right
    if right.kind == "list":
        if _COMMA.fullmatch(answer):
            return left, Shape("scalar", (answer.replace(",", "."),))
        return (Shape("list", tuple(gold.split(","))) if _GROUPS.fullmatch(gold) else left), right
    if _GROUPS.fullmatch(answer):
        return left, Shape("list", tuple(answer.split(",")))
    if _COMMA.fullmatch(gold) and number(answer) is not None:
        return Shape("scalar", (gold.replace(",", "."),)), right
    return left, right


def _coordinates(found: Shape) -> Shape:
    """A matrix of one column or row, or a named point P(2,3), as the tuple of its entries."""
    text = found.parts[0]
    if found.kind != "scalar":
        return found
    if re.fullmatch(r"[A-Z]\(.*\)", text) and shape(text[1:]).kind == "()":
        return shape(text[1:])
    match = re.fullmatch(r"\\begin\{([pb]?)matrix\}(.*)\\end\{\1matrix\}", text, re.S)
    if match is None or (r"\\" in match.group(2).rstrip("\\ ") and "&" in match.group(2)):
        return found
    entries = tuple(entry.strip() for entry in re.split(r"\\\\|&", match.group(2)) if entry.strip())
    return Shape("()", entries) if len(entries) > 1 else found


def _both_signs(parts: tuple[str, ...]) -> tuple[str, ...]:
    r"""1 \pm \sqrt{2} is two answers. Several signs in one element are left to math-verify."""
    out: list[str] = []
    for part in parts:
        name, _, value = part.rpartition("=")
        if part.count("\\pm") + part.count("\\mp") == 1 and "\\pm" in value:
            prefix = f"{name}=" if name else ""
            out += [prefix + re.sub(r"\\pm\s?", sign, value).removeprefix("+") for sign in "+-"]
        else:
            out.append(part)
    return tuple(out)


def _equal_shapes(gold_text: str, answer_text: str, decide: Decide) -> bool | None:
    gold, answer = _shapes(gold_text, answer_text)
    unordered = ("scalar", "set", "list")
    if gold.kind in unordered and answer.kind in unordered:
        parts = _both_signs(gold.parts), _both_signs(answer.parts)
        if len(parts[0]) == len(parts[1]) == 1:
            return _equal_sides(parts[0][0], parts[1][0], decide)
        return _matched(*map(_without_shared_name, parts), decide)
    if "scalar" in (gold.kind, answer.kind):
        values = [_named_value(text) for text in (gold_text, answer_text)]
        if values != [gold_text, answer_text]:
            return _equal(*values, decide)
        return decide(gold_text, answer_text)  # a matrix or a union against a tuple
    if gold.kind != answer.kind or len(gold.parts) != len(answer.parts):
        return False
    return _all(_equal(g, a, decide) for g, a in zip(gold.parts, answer.parts, strict=True))


def _named_value(text: str) -> str:
    """The value of v = (1,2), or the text itself."""
    parts = sides(text)
    return parts[-1] if len(parts) > 1 and all(map(is_name, parts[:-1])) else text


def _without_shared_name(parts: tuple[str, ...]) -> tuple[str, ...]:
    """1, 2 for "x=1,x=2" and for "x=1,2"; for "(x,y)=(1,2),(3,4)" the pairs."""
    first = sides(parts[0])
    if len(first) != 2 or not is_name(first[0]) or not first[0]:
        return parts
    named = {side[0] for part in parts[1:] if len(side := sides(part)) == 2}
    return tuple(sides(part)[-1] for part in parts) if named <= {first[0]} else parts


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    unknown = False
    for verdict in verdicts:
        if verdict is False:
            return False
        unknown |= verdict is None
    return None if unknown else True


def _matched(gold: tuple[str, ...], answer: tuple[str, ...], decide: Decide) -> bool | None:
    """Whether the elements agree in some order. Equality is transitive: the first match of each is as good as any."""
    if len(gold) != len(answer):
        return False
    left, unknown = list(answer), False
    for element in gold:
        verdicts = []
        for index, candidate in enumerate(left):
            verdicts.append(_equal(element, candidate, decide))
            if verdicts[-1] is True:
                del left[index]
                break
        else:
            if None not in verdicts:
                return False
            unknown = True
    return None if unknown else True


def _equal_sides(gold: str, answer: str, decide: Decide) -> bool | None:
    """Compare scalars and equations: find the side that is the value, and check that a chain is consistent (rule 9)."""
    gold_sides, answer_sides = sides(gold), sides(answer)
    if len(gold_sides) > 1 and len(answer_sides) > 1:
        return _equal_equations(gold_sides, answer_sides, decide)
    if len(gold_sides) > 1:  # x = 5 equals 5, but 2x + z = 1 does not equal 1
        named = is_name(gold_sides[0]) and is_simple_name(gold_sides[0])
        return _equal_scalars(gold_sides[-1], answer, decide) if named else decide(gold, answer)
    return _equal_chain(gold, answer_sides, decide) if len(answer_sides) > 1 else _equal_scalars(gold, answer, decide)


def _equal_equations(gold: tuple[str, ...], answer: tuple[str, ...], decide: Decide) -> bool | None:
    first = gold[0], answer[0]
    if all(map(is_name, first)):
        if first[0] and first[0] == first[1]:
            return _equal_sides(gold[-1], "=".join(answer[1:]), decide)
        if all(map(is_variable, first)) and any(number(side) is not None for side in answer):
            return False  # x = 5, y = 5
    return decide("=".join(gold), "=".join(answer))


def _equal_chain(gold: str, chain: tuple[str, ...], decide: Decide) -> bool | None:
    """Compare one value with a chain of equations, whose last side and constants all have to equal it."""
    turned = is_name(chain[-1]) and number(gold) is not None  # 42 = x
    values = [side for side in chain if not is_name(side)] if turned else chain
    if not values:
        return decide(gold, "=".join(chain))
    if any(equal_numbers(values[-1], side) is False for side in values[:-1]):
        return False
    verdict = _equal_scalars(gold, values[-1], decide)
    if not verdict:
        return verdict
    return _all(_equal_scalars(side, values[-1], decide) for side in values[:-1] if _is_constant(side))


def _is_constant(side: str) -> bool:
    """Whether a side is a constant. The letter e alone may be a name."""
    if tree := read_scalar(side):
        return not names(tree) and side not in ("e", "i")
    return not is_name(side) and letters(side) <= {"e"}


_BASED = re.compile(r"\(?([0-9A-Za-z]+)\)?_\{?([0-9]{1,2}|\\text\{[a-z]+\})\}?")


def _equal_scalars(gold_text: str, answer_text: str, decide: Decide) -> bool | None:
    gold, answer = strip_outer(gold_text), strip_outer(answer_text)
    if gold == answer and gold:
        return True
    if words.has_text(gold) or words.has_text(answer):
        return words.same_words(gold, answer)
    if any(_BASED.fullmatch(text) and text[0].isdigit() for text in (gold, answer)):
        return _digits_and_base(gold) == _digits_and_base(answer)
    left, right = _without_degrees(gold, answer), _without_degrees(answer, gold)
    if _shape(left).kind != "scalar" or _shape(right).kind != "scalar":
        return _equal_shapes(left, right, decide)
    verdict = equal_numbers(left, right)
    return decide(left, right) if verdict is None else verdict


def _digits_and_base(text: str) -> tuple[str, str]:
    match = _BASED.fullmatch(text)
    return (match.group(1).lstrip("0"), match.group(2)) if match else (text.lstrip("0"), "10")


def _without_degrees(text: str, other: str) -> str:
    if "^\\circ" not in text:
        return text
    if "\\pi" in other or re.search(r"\\(?:sin|cos|tan|cot|sec|csc)", text):
        return re.sub(r"([0-9.]+|\\frac\{[0-9]+\}\{[0-9]+\})\^\\circ\s?", r"(\\frac{\1\\pi}{180})", text)
    return re.sub(r"\^\\circ\s?", "", text)
