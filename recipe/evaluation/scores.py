"""What an evaluation reports: statistics of graded samples, the published numbers beside them, and tables.

Pure functions. c_i of n_i samples of problem i are correct.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from math import comb
from pathlib import PurePath

import numpy as np

from recipe.common import Table

RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Sample:
    """One graded answer. `vote` is the normalized answer, None where there is none."""

    problem: str
    correct: bool
    vote: str | None
    reason: str
    tokens: int
    cut_off: bool


def average(counts: list[tuple[int, int]]) -> float:
    """avg@n: mean over problems of c_i / n_i.

    >>> average([(1, 4), (3, 4)])
    0.5
    """
    return sum(correct / samples for correct, samples in counts) / len(counts)


def interval(counts: list[tuple[int, int]]) -> tuple[float, float]:
    """95% interval of avg@n: percentiles 2.5 and 97.5 of a two-level bootstrap with a fixed seed.

    Each of 10,000 resamples draws as many problems with replacement, and for each drawn problem its n_i samples with
    replacement, which is Binomial(n_i, c_i / n_i) / n_i. The observed c_i / n_i vary by sampling already, so that the
    second level counts that part twice: the interval errs on the wide side, by little once n is 16.
    """
    rng = np.random.default_rng(SEED)
    correct, samples = np.array(counts).T
    # In blocks of problems, so that a large set does not need resamples x problems numbers at once.
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    total = np.zeros(RESAMPLES)
    for i in range(len(counts)):
        total += rng.binomial(drawn[:, i] * samples[i], correct[i] / samples[i]) / samples[i]
    low, high = np.percentile(total / len(counts), [2.5, 97.5])
    return float(low), float(high)


def pass_at_k(counts: list[tuple[int, int]], k: int) -> float:
    """Unbiased pass@k (arXiv 2107.03374, Eq. 1): mean over problems of 1 - C(n - c, k) / C(n, k).

    >>> round(pass_at_k([(1, 4)], 2), 12)  # 1 - C(3, 2) / C(4, 2) = 1 - 3 / 6
    0.5
    """
    return sum(1 - comb(n - c, k) / comb(n, k) for c, n in counts) / len(counts)


def majority(samples: list[Sample]) -> float:
    """Whether the most frequent answer to one problem is correct.

    Samples without an answer do not vote. Of answers with equally many votes each is as likely to be taken, so that
    the result is the mean of their verdicts, in [0, 1]; without any vote it is 0.
    """
    votes = Counter(sample.vote for sample in samples if sample.vote is not None)
    leaders = [vote for vote, count in votes.items() if count == max(votes.values())]
    verdicts = [any(sample.correct for sample in samples if sample.vote == leader) for leader in leaders]
    return sum(verdicts) / len(verdicts) if verdicts else 0.0


def statistics(samples: list[Sample]) -> dict:
    """Everything that is reported of one data set. Shares are in [0, 1]; pass@k for k = 1, 2, 4, .. and n."""
    problems = defaultdict(list)
    for sample in samples:
        problems[sample.problem].append(sample)
    counts = [(sum(s.correct for s in group), len(group)) for group in problems.values()]
    n = min(group_size for _, group_size in counts)
    ks = sorted({n, *(2**power for power in range(n.bit_length()))})
    reasons = Counter(sample.reason for sample in samples)
    return {
        "problems": len(problems),
        "samples": n,
        "average": average(counts),
        "interval": interval(counts),
        "pass_at_k": {str(k): pass_at_k(counts, k) for k in ks},
        "majority": sum(majority(group) for group in problems.values()) / len(problems),
        "tokens": sum(sample.tokens for sample in samples) / len(samples),
        "cut_off": sum(sample.cut_off for sample in samples) / len(samples),
        "reasons": {reason: count / len(samples) for reason, count in sorted(reasons.items())},
    }


# arXiv 2510.18927, Table 1: avg@16 in percent, sampling not stated. Public weights by their name on the hub, served
# systems by MODEL-EFFORT.
PUBLISHED = {
    "DeepSeek-R1-Distill-Qwen-7B": {"aime24": 54.2, "aime25": 38.4},
    "Light-R1-7B-DS": {"aime24": 59.1, "aime25": 44.2},
    "AReaL-boba-RL-7B": {"aime24": 61.9, "aime25": 48.3},
    "AceReason-Nemotron-7B": {"aime24": 69.0, "aime25": 53.6},
    "Skywork-OR1-7B": {"aime24": 70.2, "aime25": 54.6},
    "DeepSeek-R1-Distill-Qwen-32B": {"aime24": 72.6, "aime25": 54.9},
    "QwQ-32B": {"aime24": 79.5, "aime25": 65.3},
    "Qwen3-32B": {"aime24": 81.4, "aime25": 72.9},
    "Skywork-OR1-32B": {"aime24": 82.2, "aime25": 73.3},
    "Qwen3-235B-A22B": {"aime24": 85.7, "aime25": 81.5},
    "DeepSeek-R1": {"aime24": 79.8, "aime25": 70.0},
    "o1-medium": {"aime24": 83.3, "aime25": 79.0},
    "o3-mini-medium": {"aime24": 79.6, "aime25": 76.7},
}


def published(model: str, data_set: str) -> float | None:
    """The published avg@16 of a model, in percent, by the name of its hub id, directory or cache folder.

    >>> published("Qwen/QwQ-32B", "aime24"), published("hub/models--Qwen--QwQ-32B/snapshots/97607", "aime25")
    (79.5, 65.3)
    >>> published("Qwen/QwQ-32B-Preview", "aime24")
    """
    names = {part.split("--")[-1].lower() for part in PurePath(model).parts}
    return next((row.get(data_set) for name, row in PUBLISHED.items() if name.lower() in names), None)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def score_table(results: dict[str, dict]) -> Table:
    """One row per data set; scores and shares in percent."""
    return [
        {
            "data set": name,
            "problems": str(result["problems"]),
            "n": str(result["samples"]),
            "avg@n": percent(result["average"]),
            "95%": " to ".join(map(percent, result["interval"])),
            "published": "-" if result["published"] is None else str(result["published"]),
            "pass@n": percent(result["pass_at_k"][str(result["samples"])]),
            "maj@n": percent(result["majority"]),
            "mean tokens": f"{result['tokens']:.0f}",
            "cut off": percent(result["cut_off"]),
        }
        for name, result in results.items()
    ]


def reason_table(results: dict[str, dict]) -> Table:
    """Share of each verdict that was given, in percent."""
    reasons = dict.fromkeys(reason for result in results.values() for reason in result["reasons"])
    return [
        {"data set": name, **{reason: percent(result["reasons"].get(reason, 0)) for reason in reasons}}
        for name, result in results.items()
    ]
