"""Metrics beside the bounds: ratio quantiles, the balance of positive and negative tokens, the change of entropy.

Pure functions on tensors, as in clipping.py. Values of single tokens are added up in the buckets that the search
already fills, and in a histogram of r_t. Both are additive over micro-batches and ranks. So the metrics need no forward
pass and no collective of their own.

Shapes: [n] the response tokens of a batch, without padding; B the number of buckets.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bapo_verl.clipping import (
    LOG_RATIO_LIMIT,
    Choice,
    ContributionSums,
    SearchPath,
    split_sides,
    sum_buckets,
)

# Each bin of the histogram is 1% of r wide and centred on a value, 1 among them: a quantile is right to half a percent.
_BIN = 0.01
_HALF = round(LOG_RATIO_LIMIT / _BIN)
BINS = 2 * _HALF + 1


class DiagnosisSums(NamedTuple):
    """Sums over the tokens of each bucket, float64 [B] each, and the histogram.

    pi: of r_t. The Entropy-Clip Rule speaks of tokens drawn from pi_theta. Ours were drawn from pi_rollout, so each
        counts r_t times (with `rollout_is_weights`, r_t w_t times).
    pi_log: of r_t log pi_theta.
    pi_amount: of r_t |A_t|.
    pi_log_amount: of r_t log pi_theta |A_t|.
    answers: an answer of k tokens is counted as 1/k in each of them.
    histogram: number of tokens by r_t, [BINS], evenly spaced in log r_t over verl's range of [-20, 20].
    """

    pi: Tensor
    pi_log: Tensor
    pi_amount: Tensor
    pi_log_amount: Tensor
    answers: Tensor
    histogram: Tensor


def diagnosis_sums(
    log_prob: Tensor,
    ratio: Tensor,
    advantages: Tensor,
    answers: Tensor,
    bucket: Tensor,
    path: SearchPath,
    is_weights: Tensor | None = None,
) -> DiagnosisSums:
    """The sums that `diagnose` needs beside `contribution_sums`. All tensors [n].

    answers: 1/k, as above.
    bucket: of `bucket_of`.
    """
    log_prob, pi, amount = log_prob.double(), ratio.double(), advantages.double().abs()
    if is_weights is not None:
        pi = pi * is_weights.double()
    pi_log = pi * log_prob
    columns = (pi, pi_log, pi * amount, pi_log * amount, answers.double())
    return DiagnosisSums(*(sum_buckets(bucket, column, path) for column in columns), ratio_histogram(ratio))


def ratio_histogram(ratio: Tensor) -> Tensor:
    """Number of tokens by r_t, float64 [BINS]."""
    bins = (ratio.double().log() / _BIN).round().clamp(-_HALF, _HALF).long() + _HALF
    return torch.bincount(bins, minlength=BINS).double()


def ratio_quantile(histogram: Tensor, q: float) -> float:
    """The q-quantile of r, accurate to half a percent: r <= it for a share q of the tokens. nan without tokens.

    >>> histogram = ratio_histogram(torch.tensor([1.0, 1.0, 1.0, 2.01]))
    >>> ratio_quantile(histogram, 0.75), ratio_quantile(histogram, 0.76)
    (1.0, 2.0137527074704766)
    """
    cumulated = histogram.cumsum(0)
    total = cumulated[-1].item()
    if total == 0:
        return math.nan
    first = (cumulated >= q * total).int().argmax().item()
    return math.exp((first - _HALF) * _BIN)


class Diagnosis(NamedTuple):
    """nan where a denominator is zero."""

    positive_tokens: float
    positive_clipped: float
    negative_clipped: float
    negative_tokens: float
    positive_length: float
    negative_length: float
    ratio_p01: float
    ratio_p50: float
    ratio_p99: float
    ratio_max: float
    log_prob: float
    clipped_log_prob: float
    entropy_change: float


def diagnose(sums: ContributionSums, values: DiagnosisSums, path: SearchPath, choice: Choice) -> Diagnosis:
    """Read the sums at the bounds that were chosen.

    `entropy_change` is the Entropy-Clip Rule (Eq. 6) for a step of size 1, with X_t = 1 for tokens that the clip
    leaves alone and 0 for the others, those of verl's dual clip among them:

        dH  ~  - Cov_{y ~ pi_theta} [ log pi_theta(y_t), A_t X_t ]

    `log_prob` is the mean of log pi_theta under the same sampling, `clipped_log_prob` that of the tokens with X_t = 0
    and A_t other than 0.

    Args:
        sums, values: of `contribution_sums` and `diagnosis_sums`, for the same tokens.
        path, choice: of the search on the same sums.
    """
    low, high = path.low[choice.steps], path.high[choice.steps]
    tokens, answers = split_sides(sums.tokens, path), split_sides(values.answers, path)

    def clipped(buckets: Tensor) -> Tensor:
        sides = split_sides(buckets, path)
        return sides.positive_clipped[high] + sides.negative_clipped[low] + sides.dual_clipped

    def signed_free(buckets: Tensor) -> Tensor:
        sides = split_sides(buckets, path)
        return sides.positive_free[high] - sides.negative_free[low]

    total, pi = sums.tokens.sum(), values.pi.sum()
    log_prob = values.pi_log.sum() / pi
    covariance = signed_free(values.pi_log_amount) / pi - log_prob * signed_free(values.pi_amount) / pi
    return Diagnosis(
        positive_tokens=(tokens.positive / total).item(),
        positive_clipped=(tokens.positive_clipped[high] / tokens.positive).item(),
        negative_clipped=(tokens.negative_clipped[low] / tokens.negative).item(),
        negative_tokens=(tokens.negative / total).item(),
        positive_length=(tokens.positive / answers.positive).item(),
        negative_length=(tokens.negative / answers.negative).item(),
        ratio_p01=ratio_quantile(values.histogram, 0.01),
        ratio_p50=ratio_quantile(values.histogram, 0.5),
        ratio_p99=ratio_quantile(values.histogram, 0.99),
        ratio_max=ratio_quantile(values.histogram, 1.0),
        log_prob=log_prob.item(),
        clipped_log_prob=(clipped(values.pi_log) / clipped(values.pi)).item(),
        entropy_change=-covariance.item(),
    )


# The metrics that follow from the sums: fields of Bounds, Choice and Diagnosis, in the order of the log, with readings.
_READINGS = {
    "c_low": "lower ratio bound in force, in [a-, b-]; above a- only once c_high is at b+ (high_first)",
    "c_high": "upper ratio bound in force, in [a+, b+]; at b+ for long: the target cannot be reached with these bounds",
    "rho": "positive share of the loss at the chosen bounds; below rho_0: the path ended first",
    "rho_start": "positive share at (a-, a+), what a fixed clip would have had; rho - rho_start is what the search "
    "changed, and can be negative",
    "rho_max": "largest positive share on the path, and of a step's updates (verl keeps the maximum); below rho_0: no "
    "update could reach the target; with one update a step, rho_max - rho_start is the window below rho_0 in which "
    "rho_start has to lie for a stop inside the path",
    "target_met": "1 if rho >= rho_0, else 0; its mean is the share of updates that reached the target",
    "steps": "steps taken along the search path; 0: the starting bounds reach rho_0, at its maximum: the path has "
    "ended",
    "positive_tokens": "share of response tokens with A > 0; far below one half: failed answers are longer or more "
    "numerous",
    "positive_clipped": "share of tokens with A > 0 that c_high clips, whose gradient is lost",
    "negative_clipped": "share of tokens with A < 0 that c_low clips, whose gradient is lost",
    "negative_tokens": "share of response tokens with A < 0; the tokens that are neither positive nor negative have A "
    "= 0 and no gradient",
    "positive_length": "mean tokens of an answer with A > 0",
    "negative_length": "mean tokens of an answer with A < 0; above positive_length, failed answers have more weight "
    "in a token mean",
    "ratio_p01": "1st percentile of r, to half a percent; far below 1: stale data, or rollout and actor disagree",
    "ratio_p50": "median of r; far from 1: rollout and actor disagree about most tokens",
    "ratio_p99": "99th percentile of r; above c_high: more than 1% of the tokens are beyond the upper bound",
    "ratio_max": "largest r; e^20, verl's limit, at every update: a broken weight sync",
    "log_prob": "mean of log pi_theta, weighted as if sampled from pi_theta: an estimate of the negative entropy, for "
    "runs without actor/entropy",
    "clipped_log_prob": "the same over the clipped tokens; far below log_prob: the clip drops improbable tokens (Fig. "
    "5)",
    "entropy_change": "Entropy-Clip Rule (Eq. 6) for a step of size 1, -Cov[log pi, A X] at the chosen bounds; below "
    "0: this update lowers entropy",
}

METRICS = {f"actor/bapo/{name}": reading for name, reading in _READINGS.items()} | {
    "actor/bapo/bypass_mode": "1: r = pi_theta / pi_rollout (bypass_mode); 0: r = pi_theta / pi_old, verl's default",
    "actor/bapo/redone": "share of updates whose forward and backward ran twice, because a token lay between the "
    "predicted and the exact bounds; not logged under micro_batch",
}


def metrics_of(choice: Choice, diagnosis: Diagnosis) -> dict[str, float]:
    """The metrics that follow from the sums, by logged name. One that is undefined is left out, as 0/0 is."""
    values = choice.bounds._asdict() | choice._asdict() | diagnosis._asdict()
    return {f"actor/bapo/{name}": float(values[name]) for name in _READINGS if math.isfinite(values[name])}
