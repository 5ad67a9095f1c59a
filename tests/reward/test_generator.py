r"""The grader against generated answers: no wrong one accepted, every equal form accepted.

What these tests do NOT show: that there is no other hole. wrong_answers.py and equal_forms.py say how each pair is
proved.
"""

import hashlib
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.reward.corpus import corpus
from tests.reward.equal_forms import equal_pairs
from tests.reward.loaded import ROOT, compute_score_sync
from tests.reward.wrong_answers import wrong_pairs


def graded(pairs):
    with ThreadPoolExecutor(2) as threads:  # as many as there are workers
        grade = lambda pair: compute_score_sync("", f"\\boxed{{{pair.answer}}}", pair.gold)  # noqa: E731
        return [verdict["reason"] for verdict in threads.map(grade, pairs)]


@pytest.mark.slow
def test_corpus_and_pairs_are_as_many_as_the_issue_asks_for():
    assert len(corpus()) >= 400 and len(wrong_pairs()) >= 10_000 and len(equal_pairs()) >= 10_000
    assert len({gold.kind for gold in corpus()}) >= 12


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_wrong_answer_is_accepted(capfd):
    reasons = graded(wrong_pairs())
    with capfd.disabled():
        print(f"\n{len(reasons)} wrong answers to {len(corpus())} golds: {dict(Counter(reasons))}")
    assert [pair for pair, reason in zip(wrong_pairs(), reasons, strict=True) if reason == "correct"] == []
    assert not {"error", "timed_out"} & set(reasons)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_equal_form_is_accepted(capfd):
    """The share that math-verify accepts is in the README: it takes half an hour to measure."""
    reasons = graded(equal_pairs())
    with capfd.disabled():
        print(f"\n{len(reasons)} equal forms: {dict(Counter(reasons))}")
    assert [pair for pair, reason in zip(equal_pairs(), reasons, strict=True) if reason != "correct"] == []


@pytest.mark.slow
def test_the_generator_is_seeded():
    """Another process, which hashes strings otherwise, makes the same."""
    code = "import tests.reward.equal_forms as g, hashlib as h;"
    code += "print(h.sha256(repr(g.equal_pairs()).encode()).hexdigest())"
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert other.stdout.strip() == hashlib.sha256(repr(equal_pairs()).encode()).hexdigest()
