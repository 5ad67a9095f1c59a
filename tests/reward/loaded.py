r"""The grader as verl loads it, by path; shared by the tests of this folder."""

from pathlib import Path

from verl.utils.import_utils import load_extern_object

ROOT = Path(__file__).resolve().parents[2]
REWARD = ROOT / "reward" / "math_reward.py"

compute_score = load_extern_object(str(REWARD), "compute_score")
compute_score_sync = load_extern_object(str(REWARD), "compute_score_sync")
sibling = load_extern_object(str(REWARD), "_sibling")
grade, pool = sibling("grade"), sibling("pool")

SLOW = r"\boxed{\int_0^{\infty} \frac{\sin^3 x \ln x}{x^2 e^x} dx}"  # no guard catches it: only the clock does
SLOW_GOLD = r"\int_0^{1} x^x dx"  # a ground truth with an operator, so that the answer above is computed


def score(gold, response, **options):
    return compute_score_sync("test", response, gold, **options)


def request(gold: str, answer: str) -> dict:
    """What a worker is asked."""
    read = sibling("parse").read
    return {"golds": [read(gold)], "answer": read(answer)}
