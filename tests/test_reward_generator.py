r"""The grader against generated answers: no wrong one accepted, and no equal form lost that math-verify takes.

What these tests do NOT show: that there is no other hole. reward_generator.py says how each pair is proved.
"""

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from reward_generator import corpus, equal_pairs, math_verify_accepts, wrong_pairs
from verl.utils.import_utils import load_extern_object

ROOT = Path(__file__).resolve().parent.parent
compute_score_sync = load_extern_object(str(ROOT / "reward" / "math_reward.py"), "compute_score_sync")

# Equal forms that math-verify accepts and we do not, by gold and answer: why.
LOST = {}


def graded(pairs):
    with ThreadPoolExecutor(2) as threads:  # as many as there are workers
        grade = lambda pair: compute_score_sync("", f"\\boxed{{{pair.answer}}}", pair.gold)  # noqa: E731
        return [verdict["reason"] for verdict in threads.map(grade, pairs)]


def test_corpus_and_pairs_are_as_many_as_the_issue_asks_for():
    assert len(corpus()) >= 400 and len(wrong_pairs()) >= 10_000 and len(equal_pairs()) >= 10_000
    assert len({gold.kind for gold in corpus()}) >= 12


@pytest.mark.timeout(900, method="thread")  # math-verify takes SIGALRM
def test_no_wrong_answer_is_accepted(capfd):
    reasons = graded(wrong_pairs())
    with capfd.disabled():
        print(f"\n{len(reasons)} wrong answers to {len(corpus())} golds: {dict(Counter(reasons))}")
    assert [pair for pair, reason in zip(wrong_pairs(), reasons, strict=True) if reason == "correct"] == []
    assert not {"error", "timed_out"} & set(reasons)


@pytest.mark.timeout(900, method="thread")  # math-verify takes SIGALRM
def test_no_equal_form_is_lost_that_math_verify_accepts(capfd):
    """math-verify is asked only about the forms that we do not accept: about all of them it takes minutes."""
    reasons = graded(equal_pairs())
    lost = [pair for pair, reason in zip(equal_pairs(), reasons, strict=True) if reason != "correct"]
    with capfd.disabled():
        print(f"\n{len(reasons)} equal forms: {dict(Counter(reasons))}, not accepted by kind and change: "
              f"{dict(Counter((pair.kind, pair.change) for pair in lost))}")  # fmt: skip
    assert len(lost) < 0.02 * len(reasons)
    assert [p for p in lost if (p.gold, p.answer) not in LOST and math_verify_accepts(p.gold, p.answer)] == []
    assert "error" not in reasons


def test_the_generator_is_seeded():
    code = "import reward_generator as g, hashlib; print(hashlib.sha256(repr(g.wrong_pairs()).encode()).hexdigest())"
    run = [sys.executable, "-c", code]
    first, second = (
        subprocess.run(run, cwd=ROOT / "tests", capture_output=True, text=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    )
    assert first and first == second
