r"""Every token of an answer counts: a right answer with one token less is wrong, unless the token is in a short table.

In one process and without the pool, so that thousands of answers take seconds.
"""

import random
import re

from tests.reward.cases import CASES
from tests.reward.loaded import grade, sibling

algebra, compare, extract, identity = map(sibling, ("algebra", "compare", "extract", "identity"))
units, words = sibling("units"), sibling("words")
COUNT, SEED = 1000, 0
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[a-zA-Z]+|\S")
FREE = re.compile(  # what may be left out: grouping, spaces, sizes, punctuation at the end, signs of a product, zeros
    r"[{}$~.:,;\x00\u200b&\u3001\u4e00-\u9fff]|\\[,;:! ()\[\]$\\]|\\(?:left|right|[bB]igg?[lr]?|q?quad|displaystyle"
    r"|(?:math|text)(?:bf|rm|normal)|mbox|text|boxed|fbox|underline|begin|end|hat|vec|therefore|Rightarrow|color|large"
    r"|hspace|d?frac|mu|cdot|times)|\*|0|all|any|an|The|limit|percent"
)
SAME_VALUE = {  # one token less, and by mathematics or a rule the same
    "+7", "+12", "-1i", "|{-6}|", "|-10|", "2,2", r"\{1,2,2\}", "42=x", r"6\cdot1^{100}", r"(2,+\infty)", "P(2,3)",
    r"\frac{5!}{3!2!}", r"(-\infty,+\infty)", r"20 \text{ cubic units}", "60km/h", r"60\text{ km/h}",
    r"60 \text{ km}/\text{h}", r"\text{all real numbers } x \text{ except } 3", r"50\text{ mm}=5\text{ cm}",
    r"\text{all real numbers } x \text{ such that } x\ne 3", r"\frac13\approx0.333", r"\frac{1}{3} \approx 0.33",
    r"\text{(A) }42", r"2.314814814815 \times 10^{-3}", "-0.5235987755982988",
}  # fmt: skip


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
    named = re.match(r".*(?:=|\\approx|\\equiv|\\to)", behind, re.S)  # what stands before the last = is a name
    known = units.is_unit_or_thing(word) or words.without_introduction(word + " ") == ""
    return bool(FREE.fullmatch(token) or named or known)


def one_token_less():
    """(gold, right answer, the answer with one token less)."""
    for gold, response, right, _ in CASES:
        boxes = extract.last_boxes(response, 100)
        if right and boxes and len(boxes) == 1 and not sibling("parse").read(gold).choice:
            for token in _TOKEN.finditer(boxes[0]):
                before, behind = boxes[0][: token.start()], boxes[0][token.end() :]
                if not is_free(token.group(), behind):
                    yield gold, boxes[0], f"{before} {behind}" if token.group().isalpha() else before + behind


def test_a_right_answer_with_one_token_less_is_wrong():
    shorter = list(one_token_less())
    assert len(shorter) > COUNT
    sample = [case for case in random.Random(SEED).sample(shorter, COUNT) if case[1] not in SAME_VALUE]
    assert [case for case in sample if accepted(case[0], case[2])] == []
