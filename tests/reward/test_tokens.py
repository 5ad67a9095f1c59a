r"""Every token of an answer counts: a right answer with one token less is wrong, unless the token is in a short table.

In one process and without the pool, so that thousands of answers take seconds.
"""

import random
import re

from tests.reward.cases import CASES
from tests.reward.loaded import grade, sibling

algebra, compare, extract, identity = map(sibling, ("algebra", "compare", "extract", "identity"))
units, words = sibling("units"), sibling("words")
COUNT, SEED = 1500, 0
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[a-zA-Z]+|\S")
FREE = re.compile(  # what says nothing
    r"[{}$~.:,;\x00\u200b&]|\\[,;:! ()\[\]$]|[A-Za-z]?\\?text|\\(?:left|right|[bB]igg?[lr]?|q?quad|displaystyle|large|hspace|d?frac"
    r"|(?:math|text)(?:bf|rm|normal)|mbox|text|boxed|fbox|underline|begin|end|hat|vec|therefore|Rightarrow|color)"
    r"|\\(?:cdot|times)|\*|0"
)
SAME_VALUE = [  # a token less, and by mathematics the same
    "+7",
    "|{-6}|",
    "2,2",
]


def accepted(gold: str, box: str) -> bool:
    case = grade.grade_by_structure(f"\\boxed{{{box}}}", gold, grade.Options())
    if case.reason:
        return case.reason == "correct"
    try:
        return any(compare.equal(each, case.request["answer"], algebra.Algebra()) for each in case.request["golds"])
    except identity.TooLargeError:
        return False


def is_free(token: str, behind: str) -> bool:
    word = token.strip("\\")
    named = re.match(r"[^,;]*?(?:=|\\approx|\\equiv|\\to|:)", behind)  # what stands before = is a name
    known = units.is_unit_or_thing(word) or words.without_introduction(word + " ") == "" or word in "percent degrees"
    return bool(FREE.fullmatch(token) or named or known)


def one_token_less():
    """(gold, right answer, the answer with one token less)."""
    for gold, response, right, _ in CASES:
        boxes = extract.last_boxes(response, 100)
        if right and boxes and len(boxes) == 1 and not sibling("parse").read(str(gold)).choice:
            for token in _TOKEN.finditer(boxes[0]):
                before, behind = boxes[0][: token.start()], boxes[0][token.end() :]
                if not is_free(token.group(), behind):
                    yield gold, boxes[0], f"{before} {behind}" if token.group().isalpha() else before + behind


def test_a_right_answer_with_one_token_less_is_wrong():
    shorter = list(one_token_less())
    assert len(shorter) > 2 * COUNT
    sample = [case for case in random.Random(SEED).sample(shorter, COUNT) if case[1] not in SAME_VALUE]
    assert [case for case in sample if accepted(case[0], case[2])] == []
