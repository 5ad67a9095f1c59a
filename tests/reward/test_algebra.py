"""What math-verify is given to read: only text of which it keeps every token."""

import re

import pytest

from tests.reward.cases import CASES
from tests.reward.loaded import grade, score, sibling

algebra = sibling("algebra")
_TOKEN = re.compile(r"\\begin\{[a-z]+\}|\\end\{[a-z]+\}|\\[a-zA-Z]+|\\.|\S")
_REDUNDANT = {"\\cdot", "\\times", "*", "\\\\", "\\binom", *"(){}[]"}  # juxtaposed factors are a product too; {4}{2}


def changed(text):
    """Each text with one token less, or with another digit or letter."""
    for token in _TOKEN.finditer(text):
        written = token.group()
        if written in _REDUNDANT or written[:4] in ("\\beg", "\\end") or (written == "+" and token.start() == 0):
            continue
        new = str((int(written) + 3) % 10) if written.isdigit() else ("w" if written != "w" else "y")
        yield text[: token.start()] + (new if written.isalnum() else " ") + text[token.end() :]


def given_to_math_verify():
    parse, worker, extract = sibling("parse"), sibling("worker"), sibling("extract")
    boxes = [box for case in CASES for box in extract.last_boxes(case[1], 80) or []]
    golds = [gold for case in CASES for gold in extract.acceptable(case[0])]
    cores = {scalar.core for text in golds + boxes if len(text) < 80 for scalar in worker.scalars(parse.read(text))}
    skipped = re.compile(r"[0-9]{5}|\^.*\^|matrix|gcd|lcm")  # slow, and values that need not change
    return sorted(core for core in cores if algebra.is_kept(core) and not skipped.search(core))


@pytest.mark.slow
def test_every_token_of_what_math_verify_reads_is_in_its_value():
    texts = given_to_math_verify()
    assert len(texts) > 50
    lost = []
    for text in texts:
        if (value := algebra.parsed(text)) is not None:
            lost += [(text, other) for other in changed(text) if algebra.parsed(other) == value]
    assert lost == []


@pytest.mark.parametrize("text", [
    "10'", "x^{\\prime}", "\\phantom{7}", "(x^2+3x)|_{x=2}", "\\frac{x^3}{3}|_{x=1}", "101_2+11_2", "0.1_2", '5"',
    "1+\\ldots+3", "20\\ldots", "C)-\\frac{1}{4}", "5m+", "\\frac{1}{2}+\\frac{1}{2}\\sin", "x\\Rightarrow 2",
    "\\gcd(a,b)", "\u221a2",
])  # fmt: skip
def test_math_verify_is_not_given_what_it_drops(text):
    assert algebra.parsed(text) is None


@pytest.mark.parametrize("gold, answer", [
    ("10", "10'"), ("y", "y'"), ("7", "x|_{x=7}"), ("7", "\\phantom{7}"), ("f(x)", "f''(x)"), ("78", "7'8"),
    ("101_2+11_2", "101_3+11_3"), ("10", "(x^2+3x)|_{x=2}"),
])  # fmt: skip
def test_an_answer_with_a_part_that_math_verify_drops_is_wrong(gold, answer):
    assert score(gold, f"\\boxed{{{answer}}}")["reason"] == "wrong"


@pytest.mark.parametrize("gold", ["(2,\\infty)", "(-\\infty, 0]", "\\int_0^1 f(x) dx", "\\infty"])
def test_can_parse_is_true_for_what_has_a_value_and_no_tree(gold):
    assert grade.can_parse(gold)
