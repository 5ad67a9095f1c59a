r"""Words of answers: which are known without \text, which may stand before a value, which are the answer."""

import re
from functools import lru_cache

from .units import MULTIPLES, is_unit_or_thing

WORD = r"(?:[ap]\.\s?m\.(?![a-z])|[A-Za-z]+(?:'[a-z]+)?(?:\.(?=\s?[a-z]))?|[\u4e00-\u9fff]+)"

# What may stand before a value and says nothing about it.
_INTRODUCTIONS = """
    so thus hence therefore the final answer result value is are equals equal to about approximately approx roughly
    option choice we get have there it total area volume length distance probability perimeter only exactly correct
    solution solutions ans \u5171 \u5171\u6709 \u4e00\u5171 \u4e00\u5171\u6709 \u603b\u5171 \u603b\u5171\u6709
    \u7ea6 \u6709 \u7b54\u6848 \u7b54\u6848\u662f \u7b54\u6848\u4e3a \u7b54
""".split()
_ANY_INTRODUCTION = "|".join(sorted(_INTRODUCTIONS, key=len, reverse=True))
_INTRODUCTION = re.compile(
    rf"(?i)\s*(?:(?:a total of|(?:sum|number|maximum|minimum)\s*(?:is|:|=)|{_ANY_INTRODUCTION})(?![a-z])[\s,:.=]*)+"
)
_OTHER_WORDS = frozenset("""
    and or not no yes all every the has per square sq cubic squared cubed except real reals numbers integers such
    that for other than any positive negative nonnegative nonzero solution exist exists does dne undefined none
    infinitely many th st nd rd if mod odd even true false between either both neither nor but of at least most more
    less one two three four old
""".split())  # fmt: skip


@lru_cache(maxsize=4000)
def is_known(word: str) -> bool:
    """Whether letters outside of \\text are a word and no product: a unit of two letters or more, a word of four."""
    if not word.isascii():
        return True
    word = word if "m." in word else word.rstrip(".")
    low = word.lower()
    if len(word) == 2 and word.isupper():
        return word in ("AM", "PM")  # AB is a side
    if len(word) == 2 and not word.islower():
        return word in ("kJ", "mL", "Hz")  # mA, Pa: units only in \text
    return len(word) > 1 and (
        is_unit_or_thing(word) or low in _OTHER_WORDS or low in _INTRODUCTIONS
        or low.removesuffix("s") in MULTIPLES or "." in word
        or (len(word) > 3 and re.search("[aeiouy]", low) is not None and word[1:].islower() and not word.isupper())
    )  # fmt: skip


def without_introduction(text: str) -> str:
    """The text behind "The answer is", "There are", "about"; the text itself where it starts otherwise."""
    match = _INTRODUCTION.match(text)
    return text[match.end() :] if match else text


def without_answer(text: str) -> str:
    """The words behind "Answer:"."""
    return re.sub(r"(?i)^\s*(?:the )?(?:final )?answer(?: is)?\s*:?\s*(?=\S)", "", text)


LABEL = re.compile(  # the letter of an option before its value
    r"^\s*(?:\\(?:text|textbf|mathrm|mathbf|textrm|mbox)\s?\{)?\s*(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s*:?\s*)?"
    r"(?:\(?([A-J])[).:](?![0-9])|\(?([a-j])(?:[).](?=[\s$}\\]|$)(?!\\cdot|\\times)))\s*\}?\s*"
)
_UNSURE = re.compile(  # what follows a letter and is not the text of its option
    r"(?i)^\W*(?:(?:is|was|or|and|not?|nor|wrong|incorrect|false|alternatively|instead|but|option|choice|answer)\b"
    r"|[a-j]\W*$|(?:[a-z]\s+){3})"
)
_WITH_CONTENT = re.compile(r"([A-J])\s*(?=[(\uff08].*[)\uff09]$)")  # B (a=1)
_ANOTHER_LABEL = re.compile(r"\([A-Ja-j]\)|(?<![A-Za-z0-9\\])[A-J](?![A-Za-z0-9])")


def without_label(raw: str) -> str:
    """Without the "(A)" before an answer; "(A)(B)" is two answers, and f: a name."""
    label = LABEL.match(raw)
    rest = raw[label.end() :].strip(" .}") if label else ""
    return raw[label.end() :] if rest and not _ANOTHER_LABEL.search(rest) and not _UNSURE.search(rest) else raw


def choice(raw: str) -> str:
    r"""The letter of a multiple choice answer: A, (A), \text{(A)}, "(A) 42", Option A; empty where it names two.

    >>> choice("(A)"), choice(r"\textbf{(B)}\ 42"), choice("A or B"), choice("Option C")
    ('A', 'B', '', 'C')
    """
    bare = (
        re.sub(r"\\(?:text|mathrm|textbf|mathbf|textrm|mbox)\s?\{([^{}]*)\}", r" \1 ", raw)
        .replace("\\ ", " ")
        .strip(" $.")
    )
    if label := LABEL.match(bare) or _WITH_CONTENT.match(bare):
        letter, rest = label.group(1) or label.group(2).upper(), bare[label.end() :]
        others = {other.strip("()").upper() for other in _ANOTHER_LABEL.findall(rest)} - {letter}
        return "" if others or _UNSURE.search(rest) else letter
    bare = re.sub(r"(?i)(?:the\s)?(?:correct\s)?(?:option|choice|answer)\s*(?:is\b)?:?\s*", "", bare).strip(" .")
    match = re.fullmatch(r"\(?\s*([A-Z])\s*\)?|\(([a-e])\)", bare)
    return (match.group(1) or match.group(2).upper()) if match else ""


def choices(text: str) -> str:
    r"""The letters or circled numbers of several options, in order: ACD, A, C, D and ③①; empty for anything else."""
    bare = re.sub(r"\\text\{(?:and)?|[\s,;{}()\u3001]|\band\b", "", text)
    return "".join(sorted(bare)) if re.fullmatch(r"(?!.*(.).*\1)(?:[A-H]+|[\u2460-\u2473]+)", bare) else ""


_PHRASES = {  # sayings with one meaning
    "no solution": r"(?:there (?:is|are) |(?:(?:the )?(?:equation|system) )?has )?no (?:real )?(?:solutions?|roots?)"
                   r"(?: exists?)?|\u65e0\u89e3",
    "does not exist": r"(?:the )?(?:limit )?(?:does not|doesn't) exist|dne|\u4e0d\u5b58\u5728",
    "infinitely many": r"(?:there are )?(?:infinitely many|infinite)(?: solutions)?|\u65e0\u7a77\u591a(?:\u4e2a)?",
    "yes": r"yes|\u662f", "no": r"no|\u5426",
}  # fmt: skip
_PHRASES = [(re.compile(pattern), meaning) for meaning, pattern in _PHRASES.items()]


def phrase(text: str) -> str:
    """Words with the sayings of one meaning in one form, without case and punctuation."""
    bare = _lower(re.sub(r"[\s~]+", " ", text).strip(" .?,"))
    bare = re.sub(r"^(?:an?|the) ", "", bare)
    return next((meaning for pattern, meaning in _PHRASES if pattern.fullmatch(bare)), bare)


def same_words(gold: str, answer: str) -> bool:
    """Equality of words, or of words with mathematics in them; single letters keep their case."""
    if all(re.fullmatch("[A-Za-z]{3}", text) and text.lower() not in ("yes", "odd") for text in (gold, answer)):
        return gold == answer or (gold[1:] == answer[1:] and gold.lower() == answer.lower())
    return _said(gold) == _said(answer) or phrase(gold) == phrase(answer)


def _said(text: str) -> str:
    return re.sub(r"[\s?'~]|\.(?![0-9])|(?<![0-9a-zA-Z)])!|\\[,;:! ]", "", _lower(text))


def _lower(text: str) -> str:
    """Words in lower case. Beside a number mW and MW are two units, so there short ones keep their case."""
    short = 4 if re.search("[0-9]", text) else 2
    return re.sub(rf"[A-Za-z]{{{short},}}", lambda m: m.group().lower(), text)
