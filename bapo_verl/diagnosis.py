"""Metrics beside the bounds: ratio quantiles, the balance of positive and negative tokens, the change of entropy.

Pure functions on tensors, as in clipping.py. Values of single tokens are added up in the buckets that the search
already fills, and in a histogram of r_t. Both are additive over micro-batches and ranks. So the metrics need no forward
pass, collective or host sync of their own.

Shapes: [*] the shape of a batch of response tokens, here [B, T] with one answer in each row; L, H the numbers of
candidates for c_low and c_high.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bapo_verl.clipping import LOG_RATIO_LIMIT, Choice, SearchPath, split_sides

# Each bin of the histogram is 1% of r wide and centred on a value, 1 among them: a quantile is right to half a percent.
_BIN = 0.01
_HALF = round(LOG_RATIO_LIMIT / _BIN)
BINS = 2 * _HALF + 1

# Rows of `token_rows`, after the three of `contribution_sums`.
_PI, _PI_LOG, _PI_A, _PI_LOG_A, _ANSWERS = range(3, 8)
ROWS = 5


def token_rows(
    log_prob: Tensor, ratio: Tensor, advantages: Tensor, mask: Tensor, is_weights: Tensor | None
) -> tuple[Tensor, ...]:
    """The values of each token whose sums `diagnose` needs, ROWS times [B, T].

    The Entropy-Clip Rule speaks of tokens drawn from pi_theta. Ours were drawn from pi_rollout, so each counts
    r_t times (with `rollout_is_weights`, r_t w_t times). An answer of n tokens is counted as 1/n in each of them.
    """
    mask = mask.bool()
    pi = torch.where(mask, ratio if is_weights is None else ratio * is_weights, 0.0).double()
    log_prob = torch.where(mask, log_prob, 0.0).double()
    amount = torch.where(mask, advantages, 0.0).double().abs()
    answers = mask.double() / mask.sum(-1, keepdim=True).clamp(min=1)
    return pi, pi * log_prob, pi * amount, pi * log_prob * amount, answers


def ratio_histogram(log_prob: Tensor, old_log_prob: Tensor, mask: Tensor) -> Tensor:
    """Number of tokens by r_t, float64 [BINS], evenly spaced in log r_t over verl's range of [-20, 20]."""
    mask = mask.bool()
    log_ratio = torch.where(mask, log_prob - old_log_prob, 0.0).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    bins = (log_ratio / _BIN).round().long() + _HALF
    histogram = log_ratio.new_zeros(BINS, dtype=torch.float64)
    return histogram.scatter_add_(0, bins.flatten(), mask.double().flatten())


def ratio_quantile(histogram: Tensor, q: float) -> Tensor:
    """The q-quantile of r, accurate to half a percent: r <= it for a share q of the tokens. nan without tokens.

    >>> log_prob = torch.tensor([0.0, 0.0, 0.0, 0.7])
    >>> histogram = ratio_histogram(log_prob, torch.zeros(4), torch.ones(4))
    >>> ratio_quantile(histogram, 0.75), ratio_quantile(histogram, 0.76)
    (tensor(1., dtype=torch.float64), tensor(2.0138, dtype=torch.float64))
    """
    cumulated = histogram.cumsum(0)
    total = cumulated[-1]
    first = (cumulated >= q * total).int().argmax()
    return torch.where(total > 0, ((first - _HALF) * _BIN).double().exp(), torch.nan)


class Diagnosis(NamedTuple):
    """Each a 0-dim float64 tensor, nan where its denominator is zero."""

    negative_tokens: Tensor
    positive_length: Tensor
    negative_length: Tensor
    log_prob: Tensor
    clipped_log_prob: Tensor
    entropy_change: Tensor
    ratio_p01: Tensor
    ratio_p50: Tensor
    ratio_p99: Tensor
    ratio_max: Tensor


def diagnose(sums: Tensor, histogram: Tensor, path: SearchPath, choice: Choice) -> Diagnosis:
    """Read the sums at the bounds that were chosen.

    `entropy_change` is the Entropy-Clip Rule (Eq. 6) for a step of size 1, with X_t = 1 for tokens that the clip
    leaves alone and 0 for the others:

        dH  ~  - Cov_{y ~ pi_theta} [ log pi_theta(y_t), A_t X_t ]

    `log_prob` is the mean of log pi_theta under the same sampling, `clipped_log_prob` that of the tokens with X_t = 0.

    Args:
        sums: float64 [3 + ROWS, L + H + 3], `contribution_sums` with `token_rows`.
        histogram: float64 [BINS], `ratio_histogram`.
        path, choice: of the search on the same sums.
    """
    point, sides = choice.steps.long(), split_sides(sums, path)
    positive, negative = sides.positive, sides.negative
    low, high = path.low.take(point).reshape(1), path.high.take(point).reshape(1)
    free = (sides.positive_free.index_select(1, high) - sides.negative_free.index_select(1, low))[:, 0]
    clipped = (sides.positive_clipped.index_select(1, high) + sides.negative_clipped.index_select(1, low))[:, 0]
    total = sums.sum(1)
    covariance = free[_PI_LOG_A] / total[_PI] - (total[_PI_LOG] / total[_PI]) * (free[_PI_A] / total[_PI])
    return Diagnosis(
        negative_tokens=negative[2] / total[2],
        positive_length=positive[2] / positive[_ANSWERS],
        negative_length=negative[2] / negative[_ANSWERS],
        log_prob=total[_PI_LOG] / total[_PI],
        clipped_log_prob=clipped[_PI_LOG] / clipped[_PI],
        entropy_change=-covariance,
        ratio_p01=ratio_quantile(histogram, 0.01),
        ratio_p50=ratio_quantile(histogram, 0.5),
        ratio_p99=ratio_quantile(histogram, 0.99),
        ratio_max=ratio_quantile(histogram, 1.0),
    )


# The metrics that follow from the sums: fields of Choice and Diagnosis, in the order of the log, with their readings.
_READINGS = {
    "c_low": "lower ratio bound in force, in [a-, b-]; above a- only once c_high is at b+ (high_first)",
    "c_high": "upper ratio bound in force, in [a+, b+]; at b+ for long: the target cannot be reached with these bounds",
    "rho": "positive share of the loss at the chosen bounds; below rho_0: the path ended first",
    "rho_start": "positive share at (a-, a+), what a fixed clip would have had; rho - rho_start is what the search "
    "gained",
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


def measured(choice: Choice, diagnosis: Diagnosis) -> dict[str, Tensor]:
    """The metrics that follow from the sums, by logged name; each a 0-dim float64 tensor, nan where undefined."""
    values = choice._asdict() | diagnosis._asdict()
    return {f"actor/bapo/{name}": values[name] for name in _READINGS}
