r"""Answers graded by hand: (gold, what the model wrote, whether it is right, why).

A string without `\boxed`, `\fbox` or a think tag stands for `... is $\boxed{string}$.`; everything else is the whole
response. The verdicts follow mathematics first and the rules in reward/compare.py where mathematics leaves a choice.
Most forms come from what was measured to go wrong in verl's scorers and math-verify (issues named in the reasons).
"""

import json
from pathlib import Path

from tests.reward.cases_conditions import CONNECTIVES, RESTATED
from tests.reward.cases_forms import COLLECTIONS, HOLES, RESPONSES, WORDS
from tests.reward.cases_notation import NOTATION
from tests.reward.cases_units import UNITS
from tests.reward.cases_values import EXPRESSIONS, INTEGERS, NUMBERS


def as_response(text: str) -> str:
    """The whole response a case stands for."""
    whole = any(mark in text for mark in ("\\boxed", "\\fbox", "think>"))
    return text if whole else f"Therefore the answer is $\\boxed{{{text}}}$."


REPORTED = [  # found by others in an earlier version of this grader
    (case["gold"], case["response"], case["want"], "reported")
    for case in map(json.loads, (Path(__file__).parent / "reported_cases.jsonl").read_text().splitlines())
]
CASES = [
    (gold, as_response(text), right, why)
    for group in (INTEGERS, NUMBERS, EXPRESSIONS, COLLECTIONS, WORDS, HOLES)
    for gold, text, right, why in group
] + RESPONSES
BY_RULE = [
    (gold, as_response(text), right, name)
    for name, group in (("units", UNITS), ("conditions", CONNECTIVES), ("restated", RESTATED), ("notation", NOTATION))
    for gold, *both in group
    for right, texts in zip((True, False), both, strict=True)
    for text in texts
]
