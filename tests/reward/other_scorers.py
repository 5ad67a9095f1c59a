"""What other scorers say to our cases. It takes them minutes, so it is stored; test_verdicts.py checks a sample of it.

python -m tests.reward.other_scorers           # the table of reward/README.md, from what is stored
python -m tests.reward.other_scorers --store   # asks them all again (three minutes)
"""

import hashlib
import json
import re
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

from tests.reward.cases import OLDER

STORED = Path(__file__).parent / "other_scorers.json"
# One string per gold is all the others know; astronomic numbers, large powers of letters, and sums and products to a
# letter would take them minutes.
_SLOW = re.compile(r"\{10\^\{10\}\}|\^\{6[01]\}|\\(?:sum|prod)_\{[a-z]=[01]\}\^\{n")
ASKED = [case for case in OLDER if not case[0].startswith('["') and not _SLOW.search(case[0] + case[1])]


def made_with() -> dict:
    """What the stored verdicts depend on: versions and cases."""
    cases = hashlib.sha256(repr([case[:2] for case in ASKED]).encode()).hexdigest()[:16]
    return {"verl": version("verl"), "math-verify": version("math-verify"), "cases": cases}


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
    """math-verify's limits are put on CPU time here: what is stored must not depend on the load."""
    alarm = lambda seconds: signal.setitimer(signal.ITIMER_PROF, seconds)  # noqa: E731
    try:
        with patch.multiple(signal, SIGALRM=signal.SIGPROF, alarm=alarm):
            return scorer(gold, text)
    except Exception:  # several of them raise; in training that is a lost answer, here it is a no
        return False


def table(stored: dict) -> list[str]:
    rights = [bool(case[2]) for case in ASKED]
    rows = []
    for name, said in stored["yes"].items():
        pairs = [(yes == "1", right) for yes, right in zip(said, rights, strict=True)]
        wrong, lost = sum(yes and not right for yes, right in pairs), sum(right and not yes for yes, right in pairs)
        rows.append(f"| {name} | {wrong} | {lost} |")
    return rows


if __name__ == "__main__":
    if "--store" in sys.argv:
        said = {name: "".join(str(int(says_yes(scorer, *case[:2]))) for case in ASKED)
                for name, scorer in scorers().items()}  # fmt: skip
        STORED.write_text(json.dumps(made_with() | {"yes": said}, indent=1) + "\n")
    print(f"{len(ASKED)} cases", *table(json.loads(STORED.read_text())), sep="\n")
