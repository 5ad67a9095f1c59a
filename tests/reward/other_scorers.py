"""The mistakes of other scorers on our older cases: the table of reward/README.md (three minutes).

python -m tests.reward.other_scorers
"""

import re
import signal
from unittest.mock import patch

from tests.reward.cases import OLDER

# One string per gold is all the others know; astronomic numbers, large powers of letters, and sums and products to a
# letter would take them minutes.
_SLOW = re.compile(r"\{10\^\{10\}\}|\^\{6[01]\}|\\(?:sum|prod)_\{[a-z]=[01]\}\^\{n")
ASKED = [case for case in OLDER if not case[0].startswith('["') and not _SLOW.search(case[0] + case[1])]


def _math_verify(gold, text, anchored):
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)] if anchored else None
    settings = {"extraction_config": config, "extraction_mode": "first_match"} if anchored else {}
    expected = parse("\\boxed{" + gold + "}", **settings)
    return bool(verify(expected, parse(text, **settings)))


def _last_box(text):
    from verl.utils.reward_score.math_reward import last_boxed_only_string

    return last_boxed_only_string(text.rsplit("</think>", 1)[-1]) or ""


def scorers() -> dict:
    from verl.utils.reward_score import math_dapo, math_reward, math_verify, prime_math

    return {
        "verl math_verify": lambda gold, text: math_verify._verify_in_subprocess("\\boxed{" + gold + "}", text) > 0,
        "TRL, open-r1 style": lambda gold, text: _math_verify(gold, text, anchored=True),
        "last box, then math-verify": lambda gold, text: _math_verify(gold, _last_box(text), anchored=False),
        "verl math_dapo": lambda gold, text: bool(math_dapo.compute_score(text, gold)["acc"]),
        "verl math_reward": lambda gold, text: math_reward.compute_score(text, gold) > 0,
        "verl prime_math": lambda gold, text: bool(prime_math.compute_score(text, gold)[0]),
    }


def says_yes(scorer, gold, text) -> bool:
    """math-verify's limits are put on CPU time here, so that a verdict does not depend on the load."""
    alarm = lambda seconds: signal.setitimer(signal.ITIMER_PROF, seconds)  # noqa: E731
    try:
        with patch.multiple(signal, SIGALRM=signal.SIGPROF, alarm=alarm):
            return scorer(gold, text)
    except Exception:  # several of them raise; in training that is a lost answer, here it is a no
        return False


def mistakes(scorer, cases) -> tuple[int, int]:
    """False positives and false negatives."""
    pairs = [(says_yes(scorer, *case[:2]), case[2]) for case in cases]
    return sum(yes and not right for yes, right in pairs), sum(right and not yes for yes, right in pairs)


if __name__ == "__main__":
    print(f"{len(ASKED)} cases")
    for name, scorer in scorers().items():
        print("| {} | {} | {} |".format(name, *mistakes(scorer, ASKED)), flush=True)
