r"""Verdicts: our cases, math-verify's, the shared failing ones; beside every scorer that verl has."""

import json
import random
from pathlib import Path

import pytest

from tests.reward import other_scorers
from tests.reward.cases import CASES
from tests.reward.loaded import score


@pytest.mark.parametrize("group", dict.fromkeys(case[3].partition(":")[0] for case in CASES))
def test_cases(group):
    verdicts = [(case, score(*case[:2])) for case in CASES if case[3].startswith(f"{group}:")]
    wrong = [(*case, verdict["pred"], verdict["reason"]) for case, verdict in verdicts if verdict["acc"] != case[2]]
    assert wrong == []
    assert not {"error", "timed_out"} & {verdict["reason"] for _, verdict in verdicts}


# math-verify 0.9.0's own tests, as data (Apache-2.0, Hugging Face): of its 274 (gold, prediction, verdict) cases the
# distinct 199 whose prediction is, or can be put, in a box and whose gold is one expression. Left out: answers found in
# prose, which a boxed-answer grader does not look for, and tests of its extraction settings. These we grade
# otherwise, each by a rule of reward/compare.py:
OTHERWISE = {
    ("x = 11", r"\boxed{x = 5+5+1 = 7 =11}"): "rule 9: 7 = 11 is false",
    ("x = 1/3", r"\boxed{x = 5+5+1 = 1/3 \approx 11}"): "rule 9: 5+5+1 = 1/3 is false",
    ("1/3", r"\boxed{x=1/3\approx1.3}"): "rule 9: 1.3 is no rounding of 1/3",
    ("1,22", r"\boxed{1.22}"): "1,22 is a list: only 0,5 and 1000,99 are decimals",
    ("z = 1 + 1 = 2", r"\boxed{z = 3+3 = 2}"): "rule 9: 3+3 = 2 is false",
    (r"(\begin{pmatrix}\frac{1}{3}\\ \frac{1}{5} \end{pmatrix})", r"\boxed{\begin{pmatrix}0.33\\0.2 \end{pmatrix}}"):
        "rule 4: their test sets a precision of two places",
    (r"(\frac{3}{5},\frac{8}{3}]", r"\boxed{(0.6,2.6667]}"): "rule 4: their test sets a precision of two places",
    ("(1,3)", r"\boxed{{1,3}}"): "rule 3: a set is no pair or interval",
    (r"\\boxed{35 cm} ++++++ \\boxed{4}", r"\boxed{{35 cm,4}}"): "the gold is a text with two boxes",
    (r"\boxed{1}\boxed{2}", r"$\boxed{1,2}$"): "the gold is a text with two boxes",
    ("p=5,q=2;p=7,q=2", r"\boxed{(5,2),(7,2)}"): "pairs for two unknowns that the gold names one by one",
    (r"1 - \frac{1}{\mathrm{e}}", r"\boxed{1 + \frac{1}{\mathrm{e}}}"): "their test records a false positive",
}  # fmt: skip
UNBOXED_GOLD = ("10455", "less than or equal")  # the gold of the first has dollars in prose, of the second is prose


def test_math_verifys_own_cases():
    cases = json.loads((Path(__file__).parent / "math_verify_cases.json").read_text())
    cases = [case for case in cases if not case["gold"].startswith(UNBOXED_GOLD)]
    otherwise = {(c["gold"], c["response"]) for c in cases if score(c["gold"], c["response"])["acc"] != c["equal"]}
    assert otherwise == set(OTHERWISE)


@pytest.mark.slow
def test_fewer_mistakes_than_every_other_scorer():
    """On a sample of our own cases, so no proof; `python -m tests.reward.other_scorers` asks about all."""
    sample = random.Random(0).sample(other_scorers.ASKED, 60)
    assert other_scorers.mistakes(lambda gold, text: score(gold, text)["acc"] == 1, sample) == (0, 0)
    for name, scorer in other_scorers.scorers().items():
        assert sum(other_scorers.mistakes(scorer, sample)) > 5, name
