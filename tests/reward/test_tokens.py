r"""Every token of an answer counts: a right answer with one token less is wrong, unless the token is in a short table.

In one process and without the pool, so that thousands of answers take seconds.
"""

import re

from tests.reward.cases import CASES
from tests.reward.loaded import grade, sibling

algebra, compare, extract, identity = map(sibling, ("algebra", "compare", "extract", "identity"))
units, words = sibling("units"), sibling("words")
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[a-zA-Z]+|\S")
FREE = re.compile(  # what may be left out: grouping, spaces, sizes, punctuation at the end, signs of a product, zeros
    r"[{}$~.:,;\x00\u200b&\u3001\u4e00-\u9fff*0/]|\\[,;:! ()\[\]$\\]|\\(?:left|right|[bB]igg?[lr]?|q?quad|displaystyle"
    r"|(?:math|text)(?:bf|rm|normal)|mbox|text|(?:f|frame)?box(?:ed)?|underline|begin|end|hat|vec|therefore|Rightarrow"
    r"|color|[lL]arge|hspace|d?frac|mu|cdot|times|AA|textdegree)|(?i:all|any|an|the|limit|percent|th|old|exist|and|dx)"
)
SAME_VALUE = {  # one token less, and by mathematics or a rule the same
    "+7", "+12", "-1i", "|{-6}|", "|-6|", "|-10|", "2,2", r"\{1,2,2\}", "42=x", r"6\cdot1^{100}", r"(2,+\infty)",
    r"\frac{5!}{3!2!}", r"(-\infty,+\infty)", r"+\infty", r"20 \text{ cubic units}", "P(2,3)", "Q(3,-1)", "12 sq. cm",
    r"\text{all real numbers } x \text{ except } 3", r"\text{all real numbers } x \text{ such that } x\ne 3",
    r"50\text{ mm}=5\text{ cm}", r"\text{(A) }42", r"\textbf{(B)}\ 42", "A=(1,2), B=(3,4)",
    r"2.314814814815 \times 10^{-3}", "-0.5235987755982988", "0.5925925925925924", r"3\,\mathbf{i}-1\,\mathbf{j}",
    r"\text{Total}=1,234", r"\text{Area}=20", r"\hspace{2mm}7", r"\hspace{2mm}204", r"42\,\mathrm{km}\,\mathrm{h}^{-1}",
    r"\text{area}=20\text{ cm}^2", r"2516\text{ (base 8)}",
    r"\begin{aligned}x&=1+2\\&=3\end{aligned}",
}  # fmt: skip


def accepted(gold: str, box: str) -> bool:
    case = grade.grade_by_structure(f"\\boxed{{{box}}}", gold, grade.Options())
    if case.reason:
        return case.reason == "correct"
    try:
        return any(compare.equal(each, case.request["answer"], algebra.Algebra()) for each in case.request["golds"])
    except identity.TooLargeError:
        return False


def is_free(token: str, before: str, behind: str) -> bool:
    """In the table, a unit, an introduction, a name before the last =, a digit of a rounding, or part of a modulus."""
    word = token.strip("\\")
    beside = re.match(r".*(?:=|\\approx|\\equiv|\\to)", behind, re.S) or re.search(r"\\approx|\\pmod|mod", before)
    known = units.is_unit_or_thing(word) or words.without_introduction(word + " ") == ""
    return bool(FREE.fullmatch(token) or beside or known)


def one_token_less():
    """(gold, right answer, the answer with one token less)."""
    for gold, response, right, _ in CASES:
        boxes = extract.last_boxes(response, 100)
        if right and boxes and len(boxes) == 1 and not sibling("parse").read(gold).choice:
            for token in _TOKEN.finditer(boxes[0]):
                before, behind = boxes[0][: token.start()], boxes[0][token.end() :]
                if not is_free(token.group(), before, behind):
                    yield gold, boxes[0], f"{before} {behind}" if token.group().isalpha() else before + behind


def test_a_right_answer_with_one_token_less_is_wrong():
    shorter = [case for case in one_token_less() if case[1] not in SAME_VALUE]
    assert len(shorter) > 3000
    assert [case for case in shorter if accepted(case[0], case[2])] == []
