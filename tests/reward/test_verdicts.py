r"""Verdicts: our cases, math-verify's, the shared failing ones; beside every scorer that verl has."""

import json
import re
from pathlib import Path

import pytest

from tests.reward.cases import BY_RULE, CASES, REPORTED
from tests.reward.loaded import score

ALL = CASES + BY_RULE + REPORTED


@pytest.mark.parametrize("gold, response, right, why", ALL, ids=[f"{i}-{case[3]}" for i, case in enumerate(ALL)])
def test_case(gold, response, right, why):
    verdict = score(gold, response)
    assert verdict["acc"] == right, f"{why}: pred {verdict['pred']!r}, reason {verdict['reason']}"
    assert verdict["reason"] not in ("error", "timed_out")


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


def _published():
    cases = json.loads((Path(__file__).parent / "math_verify_cases.json").read_text())
    return [case for case in cases if not case["gold"].startswith(UNBOXED_GOLD)]


@pytest.mark.parametrize("case", _published(), ids=lambda case: case["test"].split("::")[1])
def test_math_verifys_own_cases(case):
    differs = (case["gold"], case["response"]) in OTHERWISE
    assert score(case["gold"], case["response"])["acc"] == (case["equal"] != differs)


def _mv_verdict(gold, text, anchored):
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)] if anchored else None
    settings = {"extraction_config": config, "extraction_mode": "first_match"} if anchored else {}
    expected = parse("\\boxed{" + gold + "}", **settings)
    return bool(verify(expected, parse(text, **settings)))


def _last_box(text):
    from verl.utils.reward_score.math_reward import last_boxed_only_string

    return last_boxed_only_string(text.rsplit("</think>", 1)[-1]) or ""


def _other_scorers():
    from verl.utils.reward_score import math_dapo, math_reward, math_verify, prime_math

    return {
        "verl math_verify": lambda gold, text: math_verify._verify_in_subprocess("\\boxed{" + gold + "}", text) > 0,
        "TRL / open-r1 style": lambda gold, text: _mv_verdict(gold, text, anchored=True),
        "last box, then math-verify": lambda gold, text: _mv_verdict(gold, _last_box(text), anchored=False),
        "verl math_dapo": lambda gold, text: bool(math_dapo.compute_score(text, gold)["acc"]),
        "verl math_reward": lambda gold, text: math_reward.compute_score(text, gold) > 0,
        "verl prime_math": lambda gold, text: bool(prime_math.compute_score(text, gold)[0]),
    }


def _says_yes(scorer, gold, text):
    try:
        return scorer(gold, text)
    except Exception:  # several of them raise; in training that is a lost answer, here it is a no
        return False


@pytest.mark.slow
def test_fewer_mistakes_than_every_scorer_of_verl(capfd):
    """On our own cases, so a lower bound of the effort and no proof: the table is printed with -s."""
    # One string per gold is all the others know; astronomic numbers, large powers of letters, and sums and products to
    # a letter would take them minutes.
    slow = re.compile(r"\{10\^\{10\}\}|\^\{6[01]\}|\\(?:sum|prod)_\{[a-z]=[01]\}\^\{n")
    cases = [c for c in CASES if not c[0].startswith('["') and not slow.search(c[0] + c[1])]
    table = {"ours": [(score(gold, text)["acc"] == 1, right) for gold, text, right, _ in cases]}
    for name, scorer in _other_scorers().items():
        table[name] = [(_says_yes(scorer, gold, text), right) for gold, text, right, _ in cases]
    mistakes = {
        name: (sum(yes and not right for yes, right in rows), sum(right and not yes for yes, right in rows))
        for name, rows in table.items()
    }
    with capfd.disabled():
        print(f"\n{'scorer':28} {'false positives':>16} {'false negatives':>16}   ({len(cases)} cases)")
        for name, (positive, negative) in mistakes.items():
            print(f"{name:28} {positive:16} {negative:16}")
    ours = mistakes.pop("ours")
    for name, (positive, negative) in mistakes.items():
        assert ours[0] < positive and ours[1] < negative, name
