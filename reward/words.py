r"""Words in answers: units, labels, introductions and choices. Which may be dropped, and which are the answer.

Beside a number, a text is dropped if it is a unit or a counted thing after it, or an introduction before it. It is kept
if it has a digit or a word for a number, an operation or a negation. Beside letters alone only units and introductions
are dropped.
"""

import re
from functools import lru_cache

_UNITS = {
    "m": "m|meter|metre", "cm": "cm|centimeter|centimetre", "mm": "mm|millimeter|millimetre",
    "km": "km|kilometer|kilometre", "in": "in|inch|inches", "ft": "ft|foot|feet", "yd": "yd|yard",
    "mi": "mi|mile", "kg": "kg|kilogram", "g": "g|gram", "mg": "mg|milligram", "lb": "lb|lbs|pound", "oz": "oz|ounce",
    "s": "s|sec|second", "min": "min|minute", "h": "h|hr|hrs|hour", "day": "day", "week": "week", "month": "month",
    "year": "year|yr", "dollar": "dollar|usd", "cent": "cent", "mph": "mph", "L": "L|liter|litre",
    "mL": "mL|ml|milliliter|millilitre", "gal": "gallon|gal", "degree": "degree|deg",
}  # fmt: skip
_UNIT_OF = {name: unit for unit, names in _UNITS.items() for name in names.split("|")}
_UNIT_OF |= {name + "s": unit for name, unit in list(_UNIT_OF.items()) if len(name) > 2}
_COUNTED = ("square|sq|cubic|per|units?|people|persons?|students?|ways|pairs?|apples?|points?|inhabitants|yuan|"
            "rupees|euros?|marbles?|balls?|coins?|books?|integers?|solutions?|numbers?|triangles?|sides?|"
            "times|radians?|rad|percent|percentage|pct|men|women|girls|boys|children|games?|edges|"
            "vertices")  # fmt: skip
# Without \text, only unambiguous words: "5m" is a product, "5 cm" a length.
BARE_UNIT = re.compile(
    r"(?<=[0-9})\s])\s*(?:(?:" + "|".join(sorted((u for u in _UNIT_OF if len(u) > 1), key=len, reverse=True)) + "|"
    + _COUNTED + r")(?![a-zA-Z])[./]?\s*)+(?:\^\s*\{?[23]\}?)?\s*$"
)  # fmt: skip
_UNIT_TEXT = re.compile(
    r"\s*(?:(?:" + "|".join(map(re.escape, sorted(_UNIT_OF, key=len, reverse=True))) + "|" + _COUNTED
    + r")(?![a-zA-Z])[./]?\s*)+", re.I,
)  # fmt: skip
_THINGS = re.compile(r"\s*(?:[a-zA-Z]+\s+)?[a-zA-Z]{2,}s\s*\.?\s*")  # widgets, green marbles
_MEANING = re.compile(  # words that change the value of a number or the meaning of a statement
    r"(?i)\b(?:not?|none|nor|neither|never|isn't|except|excluding|without|cannot|undefined|false|wrong|incorrect|but|"
    r"least|most|less|more|greater|fewer|up|over|under|than|above|below|between|or|and|either|both|of|for|if|all|any|"
    r"plus|minus|times\s+\w+|added|divided|multiplied|squares?|squared|cubes?|cubed|roots?|powers?|factorials?|inverse|"
    r"reciprocals?|negative|half|halves|thirds?|fourths?|quarters?|fifths?|sixths?|sevenths?|eighths?|ninths?|"
    r"tenths?|hundredths?|thousandths?|twice|thrice|doubles?|triples?|dozens?|score|gross|tens|hundreds?|thousands?|"
    r"millions?|billions?|trillions?|multiples?|divisors?|factors?|zero|one|two|three|four|five|six|seven|eight|nine|"
    r"ten|eleven|twelve|is|are|mod(?:ulo)?|even|odd|prime|percents?|percentage|logs?|minuses)\b"
)
_BEFORE = re.compile(
    r"(?i)\s*(?:(?:so|thus|hence|therefore|the|final|answer|result|value|is|equals?|about|approximately|approx|option|"
    r"choice|we|get|have|total|area|volume|length|distance|probability|number|sum|perimeter|maximum|minimum|only)\b"
    r"[\s,:.]*)+"
)
_ANSWER = re.compile(r"(?i)^\s*(?:the )?(?:final )?answer(?: is)?\s*:\s*")
_SEPARATOR = re.compile(r"(?i)\s*(?:,|;)?\s*(?:and|or|and/or)\s*,?\s*")
_TEXT = re.compile(r"\\text\{([^{}]*)\}\s*(?:\^\s*\{?\s*(-?[0-9])\s*\}?)?")
LABEL = re.compile(
    r"^\s*(?:\\text\{)?\s*(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s*:?\s*)?\(?([A-Ja-j])[).:](?![0-9])\s*\}?\s*"
)
_ANOTHER_LABEL = re.compile(r"\([A-Ja-j]\)|(?<![A-Za-z0-9\\])[A-J](?![A-Za-z0-9])")
_FUNCTION = re.compile(
    r"(?:sin|cos|tan|cot|sec|csc|log|ln|exp|lim|max|min|gcd|lcm|arcsin|arccos|arctan|sqrt|frac|pi|infty|deg)\b"
)


def unit(text: str) -> str | None:
    """The unit a plain answer carries, e.g. 'cm^2', if it is one of the known ones."""
    match = re.search(r"(?:\\text\{([^{}]*)\}|\b([a-zA-Z]+)) *(?:\^ *\{?([23])\}?)?\s*$", text)
    if not match:
        return None
    words = (match.group(1) or match.group(2) or "").strip(" .").split()
    power = match.group(3) or ""
    if words and words[0] in ("square", "sq", "sq.", "cubic"):
        power, words = ("3" if words[0] == "cubic" else "2"), words[1:]
    name = words[0] if len(words) == 1 else ""
    known = _UNIT_OF.get(name) or _UNIT_OF.get(name.lower())
    return f"{known}^{power}" if known and power else known


def texts_as_separators(text: str) -> str:
    r"""\text{ and } is a comma."""
    return _TEXT.sub(lambda m: " , " if _SEPARATOR.fullmatch(m.group(1)) else m.group(), text)


def drop_texts(text: str) -> str:
    """The answer without the texts that do not change it; other texts stay, as text or as the numbers in them."""
    rest = _TEXT.sub("", text)
    if re.search(r"[0-9]|\\[a-zA-Z]|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z])|[+*/^=]", rest) is None:
        return _ANSWER.sub("", re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text))  # the words are the answer
    letters_only = re.search(r"[0-9]|\\(?:frac|sqrt|pi|infty)", rest) is None

    def dropped(match: re.Match) -> str:
        content, before = match.group(1), _TEXT.sub("", text[: match.start()])
        if re.search(r"_\s?\{?\s?$", before):  # x_{\text{max}}: a part of the name
            return match.group()
        if re.search(r"[0-9]", content):
            return f" {content} "
        if not content.strip(" .,:;") or _UNIT_TEXT.fullmatch(content) and re.search(r"[0-9a-zA-Z)}]", before):
            return " "
        if match.group(2) or _MEANING.search(_BEFORE.sub("", content)):
            return match.group()
        if _BEFORE.fullmatch(content) or (content.rstrip().endswith(":") and not letters_only):
            return " "
        behind = re.search(r"[0-9a-zA-Z)}]", before) is not None
        return " " if behind and not letters_only and _THINGS.fullmatch(content) else match.group()

    return _TEXT.sub(dropped, text)


def drop_label(text: str) -> str:
    """Without the "(A)" before an answer; "(A)(B)" is two answers."""
    label = LABEL.match(text)
    rest = text[label.end() :].strip(" .}") if label else ""
    return text[label.end() :] if rest and not _ANOTHER_LABEL.search(rest) else text


@lru_cache(maxsize=4000)
def choice(text: str) -> str | None:
    """The letter of a multiple choice answer: A, (A), \\text{(A)}, "(A) 42", Option A; None where it names two."""
    bare = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip()
    label = LABEL.match(bare)
    if label:
        return None if _ANOTHER_LABEL.search(bare[label.end() :]) else label.group(1)
    bare = re.sub(r"(?i)(?:the\s)?(?:option|choice|answer)\s*(?:is\b)?:?\s*", "", bare).strip(" .")
    match = re.fullmatch(r"\(?\s*([A-Z])\s*\)?", bare)
    return match.group(1) if match else None


def is_words(text: str) -> bool:
    """Nothing but words: "Evelyn", "no solution"; not x, not xy, not sin x."""
    if not re.fullmatch(r"[A-Za-z .,'!?\-]*[A-Za-z]{3}[A-Za-z .,'!?\-]*", text):
        return text.lower() == "no"
    return _FUNCTION.match(text.strip()) is None


def has_text(text: str) -> bool:
    """Whether there are words other than in the index of a name."""
    return "\\text{" in re.sub(r"_\s?\{?\s?\\text\{[^{}]*\}", "", text)


def _said(text: str) -> str:
    """Words without case and punctuation; single letters keep their case, mathematics its signs and brackets."""
    text = re.sub(r"[A-Za-z]{2,}", lambda m: m.group().lower(), re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text))
    return re.sub(r"[\s.!?'~]|\\[,;:! ]", "", text)


def same_words(gold: str, answer: str) -> bool:
    """Equality of words, or of words with mathematics in them. Three letters may be a product, whose case counts."""
    if all(re.fullmatch("[A-Za-z]{3}", text) and text.lower() not in ("yes", "odd") for text in (gold, answer)):
        return gold == answer or (gold[1:] == answer[1:] and gold.lower() == answer.lower())
    if is_words(gold) and is_words(answer):
        return re.sub("[^a-z]", "", gold.lower()) == re.sub("[^a-z]", "", answer.lower())
    return _said(gold) == _said(answer)
