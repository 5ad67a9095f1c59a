r"""The grader against generated answers: no wrong one accepted, every equal form accepted.

What these tests do NOT show: that there is no other hole. wrong_answers.py and equal_forms.py say how each pair is
proved.
"""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.reward.corpus import corpus
from tests.reward.equal_forms import equal_pairs
from tests.reward.loaded import ROOT, compute_score_sync
from tests.reward.wrong_answers import wrong_pairs

EVERY = 5  # `python -m tests.reward.generator` grades all


def graded(pairs):
    with ThreadPoolExecutor(2) as threads:  # as many as there are workers
        grade = lambda pair: compute_score_sync("", f"\\boxed{{{pair.answer}}}", pair.gold)  # noqa: E731
        return [verdict["reason"] for verdict in threads.map(grade, pairs)]


@pytest.mark.slow
def test_no_wrong_answer_and_every_equal_form_is_accepted():
    """A fifth of the pairs, of all golds. That they are as many as the page says shows that the generator is seeded."""
    page = (ROOT / "reward" / "README.md").read_text()
    (row,) = re.findall(r"^\| all \|.*", page, re.MULTILINE)
    _, _, wrong, accepted, _, forms, share, *_ = [cell.strip() for cell in row.split("|")]
    assert (wrong, accepted, forms, share) == (f"{len(wrong_pairs()):,}", "0", f"{len(equal_pairs()):,}", "100%")
    assert f"{len(corpus())} ground truths" in page
    for pairs, expected in ((wrong_pairs()[::EVERY], {"wrong", "over_length"}), (equal_pairs()[::EVERY], {"correct"})):
        assert [pair for pair, reason in zip(pairs, graded(pairs), strict=True) if reason not in expected] == []
