"""Equation 8 and Algorithm 1 of BAPO (arXiv 2510.18927) as pure functions on tensors.

The search asks, for each point (c_low, c_high) of one path, which share of the loss comes from tokens with a
positive advantage. That share needs only sums over tokens sorted into buckets by their ratio r_t, and bucket sums
add up over micro-batches and over ranks. So one pass over the tokens answers every point of the path:

    contribution_sums (per forward, add them up)  ->  choose_bounds

No collective and no config object in here. All tensors are on the CPU: search.py brings the tokens there.

Shapes: [n] the response tokens of a batch, without padding; L, H the numbers of candidates for c_low and c_high;
P = L + H - 1 the number of points on the path; B = L + H + 4 the number of buckets.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Tolerance in steps for rounding: (0.9 - 0.6) / 0.02 is 14.999999999999998 in floats.
_ROUNDING = 1e-9
# verl's: the log-ratio is clamped to [-20, 20].
LOG_RATIO_LIMIT = 20.0
# Below every ratio: the smallest is exp(-20), about 2e-9.
_NO_RATIO = 1e-12


def candidates(start: float, maximum: float, step: float) -> list[float]:
    """The values start, start + step, ... up to maximum, counted in integers (Algorithm 1's grid of one bound).

    Adding 0.02 fifteen times in floats would end one step short of 0.9.

    >>> candidates(0.6, 0.9, 0.02)[-1], len(candidates(0.6, 0.9, 0.02)), len(candidates(1.2, 3.0, 0.05))
    (0.9, 16, 37)
    >>> candidates(0.8, 0.8, 0.0)
    [0.8]
    """
    steps = int((maximum - start) / step + _ROUNDING) if maximum > start else 0
    return [round(start + i * step, 12) for i in range(steps + 1)]


class SearchPath(NamedTuple):
    """The points that Algorithm 1 may visit, in its order.

    c_low: candidates for the lower bound, float64 [L], rising from a- to b-.
    c_high: candidates for the upper bound, float64 [H], rising from a+ to b+.
    low, high: index of each point's bounds among the candidates, int64 [P].
    clip_ratio_c: verl's dual clip: the loss of a token with A_t < 0 stays at |A_t| clip_ratio_c for any larger r_t.
    edges: of the buckets for sign(A_t) r_t, float64 [B - 1]: -clip_ratio_c, the negated c_low, a gap for A_t = 0, the
        c_high.
    """

    c_low: Tensor
    c_high: Tensor
    low: Tensor
    high: Tensor
    clip_ratio_c: float
    edges: Tensor


def search_path(c_low: list[float], c_high: list[float], order: str, clip_ratio_c: float = 3.0) -> SearchPath:
    """Lay the candidates out on the one path that the search walks.

    `high_first` is Algorithm 1: c_high rises from a+ to b+, then c_low from a- to b-. `low_first`, the order of the
    authors' code, raises c_low first. With the paper's numbers the path has 37 + 15 = 52 points.

    >>> path = search_path([0.6, 0.7], [1.2, 1.3, 1.4], "high_first")
    >>> list(zip(path.low.tolist(), path.high.tolist()))
    [(0, 0), (0, 1), (0, 2), (1, 2)]
    """
    last_low, last_high = len(c_low) - 1, len(c_high) - 1
    if order == "high_first":
        points = [(0, j) for j in range(last_high + 1)] + [(i, last_high) for i in range(1, last_low + 1)]
    elif order == "low_first":
        points = [(i, 0) for i in range(last_low + 1)] + [(last_low, j) for j in range(1, last_high + 1)]
    else:
        raise ValueError(f"order must be high_first or low_first, got {order!r}")
    low, high = zip(*points, strict=True)
    clip_ratio_c = min(clip_ratio_c, math.exp(LOG_RATIO_LIMIT))  # no r is larger, and inf * 0 would be nan
    edges = [-clip_ratio_c] + [-c for c in reversed(c_low)] + [-_NO_RATIO, _NO_RATIO] + c_high
    return SearchPath(
        torch.tensor(c_low, dtype=torch.float64),
        torch.tensor(c_high, dtype=torch.float64),
        torch.tensor(low),
        torch.tensor(high),
        clip_ratio_c,
        torch.tensor(edges, dtype=torch.float64),
    )


def probability_ratio(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """r_t = pi_theta(y_t) / pi_rollout(y_t), of any shape and on any device.

    The log-ratio is clamped to [-20, 20] as in every loss of verl, so that search and loss see the same r_t.
    """
    return (log_prob - old_log_prob).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


class ContributionSums(NamedTuple):
    """Sums over the tokens of each bucket, float64 [B] each.

    contribution: of w_t r_t |A_t|.
    amount: of w_t |A_t|.
    tokens: their number.

    Additive: the sums of a batch are the sums of any split of it, added up.
    """

    contribution: Tensor
    amount: Tensor
    tokens: Tensor


def contribution_sums(
    ratio: Tensor,
    advantages: Tensor,
    path: SearchPath,
    weight: Tensor | None = None,
    bucket: Tensor | None = None,
) -> ContributionSums:
    """Sums over tokens from which rho follows for every point of the path (Eq. 8).

    Tokens are sorted into buckets by sign(A_t) r_t, that is, along one line: tokens with A_t < 0 from the largest ratio
    to the smallest, tokens with A_t = 0, which belong to neither side, tokens with A_t > 0 from the smallest ratio to
    the largest. A token that lies exactly on a bound is clipped by it, as in the paper's Eq. 7.

    Args:
        ratio: r_t, [n], any float dtype, finite.
        advantages: A_t, [n], finite.
        path: whose candidates are the edges of the buckets.
        weight: w_t >= 0, [n]; None for 1. Eq. 8 has pi_rollout(y_t) here: see `token_weight`.
        bucket: of `bucket_of`, where the caller has it already.
    """
    ratio, advantages = ratio.double(), advantages.double()
    amount = advantages.abs() if weight is None else advantages.abs() * weight.double()
    if bucket is None:
        bucket = bucket_of(ratio, advantages, path)
    columns = (ratio * amount, amount, torch.ones_like(amount))
    return ContributionSums(*(sum_buckets(bucket, column, path) for column in columns))


def bucket_of(ratio: Tensor, advantages: Tensor, path: SearchPath) -> Tensor:
    """The number of each token's bucket, int64 [n]."""
    return torch.bucketize(ratio.double() * advantages.sign(), path.edges, right=True)


def sum_buckets(bucket: Tensor, column: Tensor, path: SearchPath) -> Tensor:
    """The sum of a column, float64 [n], over the tokens of each bucket, float64 [B]."""
    return torch.bincount(bucket, weights=column, minlength=len(path.edges) + 1)


def token_weight(old_log_prob: Tensor, kind: str, rollout_is_weights: Tensor | None = None) -> Tensor | None:
    """The weight w_t of a token's contribution, [n], or None where every weight is 1.

    `uniform`: 1. The tokens were sampled from pi_rollout, so a plain sum over them already estimates the expectation
    under it. `rollout_prob`: the factor pi_rollout(y_t) of Eq. 8 as printed, read as a second weight. Either is
    multiplied by `rollout_is_weights` where verl passes them, because the loss is.
    """
    if kind == "uniform":
        return rollout_is_weights
    if kind != "rollout_prob":
        raise ValueError(f"kind must be uniform or rollout_prob, got {kind!r}")
    weight = old_log_prob.exp()
    return weight if rollout_is_weights is None else weight * rollout_is_weights


def positive_share(sums: ContributionSums, path: SearchPath, contribution: str) -> Tensor:
    """rho at every point of the path, float64 [P] (Eq. 8, read as a share: P / (P + N)).

        value:     P = sum_{A>0} w A min(r, c_high)        N = sum_{A<0} w |A| min(max(r, c_low), clip_ratio_c)
        gradient:  P = sum_{A>0, r<c_high} w A r           N = sum_{A<0, c_low<r<=clip_ratio_c} w |A| r

    `value` is Eq. 8 as printed, under verl's dual clip; `gradient` counts only what both clips leave alone, which is
    what the loss's gradient is made of. nan where P + N = 0.

    >>> path = search_path([0.6, 0.7, 0.8, 0.9], [1.2], "high_first")
    >>> ratio, advantages = torch.tensor([1.5, 0.5, 1.0]), torch.tensor([1.0, -1.0, -1.0])
    >>> sums = contribution_sums(ratio, advantages, path)
    >>> positive_share(sums, path, "value")  # raising c_low lowers it
    tensor([0.4286, 0.4138, 0.4000, 0.3871], dtype=torch.float64)
    """
    whole, amount = split_sides(sums.contribution, path), split_sides(sums.amount, path)
    p, n = whole.positive_free, whole.negative_free
    if contribution == "value":
        p = p + path.c_high * amount.positive_clipped
        n = n + path.c_low * amount.negative_clipped + path.clip_ratio_c * amount.dual_clipped
    elif contribution != "gradient":
        raise ValueError(f"contribution must be value or gradient, got {contribution!r}")
    p, n = p[path.high], n[path.low]
    return p / (p + n)


class Bounds(NamedTuple):
    """c_low and c_high, as ratios."""

    c_low: float
    c_high: float


class Choice(NamedTuple):
    """What the search found. Shares are nan where their denominator is zero.

    rho, rho_start, rho_max: at the chosen point, at the path's first, and the largest on the path.
    """

    bounds: Bounds
    rho: float
    rho_start: float
    rho_max: float
    target_met: float
    steps: int


def choose_bounds(sums: ContributionSums, path: SearchPath, target: float, contribution: str) -> Choice:
    """Algorithm 1: the first point of the path at which rho >= target (rho_0), or the path's end.

    Where no token carries an advantage there is nothing to balance and the bounds stay at their start. Where some do
    but the clip leaves nothing of either side (possible with `gradient`), rho is undefined and the search goes on.
    """
    rho = positive_share(sums, path, contribution)
    met = (rho >= target).tolist()
    amount = split_sides(sums.amount, path)
    if amount.positive + amount.negative > 0:
        point = met.index(True) if any(met) else len(met) - 1
        target_met = float(met[point])
    else:
        point, target_met = 0, math.nan
    bounds = Bounds(path.c_low[path.low[point]].item(), path.c_high[path.high[point]].item())
    largest = max(rho[~rho.isnan()].tolist(), default=math.nan)
    return Choice(bounds, rho[point].item(), rho[0].item(), largest, target_met, point)


def tokens_between(sums: ContributionSums, path: SearchPath, one: int, other: int) -> float:
    """Number of tokens that the bounds at one point of the path clip and those at another do not.

    Tokens with A_t > 0 and r_t between the two c_high, and tokens with A_t < 0 and r_t between the two c_low. Where
    there is none, the clipped surrogate has the same gradient under both.

    >>> path = search_path([0.6, 0.7], [1.2, 1.3, 1.4], "high_first")
    >>> ratio, advantages = torch.tensor([1.25, 1.35, 0.65]), torch.tensor([1.0, 1.0, -1.0])
    >>> sums = contribution_sums(ratio, advantages, path)
    >>> tokens_between(sums, path, 0, 1), tokens_between(sums, path, 0, 3)  # (.6, 1.2) and (.6, 1.3), and (.7, 1.4)
    (1.0, 3.0)
    """
    sides, both = split_sides(sums.tokens, path), torch.tensor([one, other])
    low, high = sides.negative_clipped[path.low[both]], sides.positive_clipped[path.high[both]]
    return (low.diff().abs() + high.diff().abs()).item()


class Sides(NamedTuple):
    """Sums over the tokens that each candidate leaves alone, and over those it clips, [H] and [L].

    dual_clipped: sum over the tokens with A_t < 0 and r_t > clip_ratio_c, [].
    """

    positive_free: Tensor
    positive_clipped: Tensor
    negative_free: Tensor
    negative_clipped: Tensor
    dual_clipped: Tensor

    @property
    def positive(self) -> Tensor:
        """Sum over all tokens with A_t > 0, []: at any candidate, those it leaves alone and those it clips."""
        return self.positive_free[0] + self.positive_clipped[0]

    @property
    def negative(self) -> Tensor:
        """Sum over all tokens with A_t < 0, []."""
        return self.negative_free[0] + self.negative_clipped[0] + self.dual_clipped


def split_sides(buckets: Tensor, path: SearchPath) -> Sides:
    """Read the sums of one quantity, [B], along the candidates of both bounds."""
    # In the order of path.edges: beyond the dual clip, A_t < 0 by falling ratio, A_t = 0, A_t > 0 by rising ratio.
    dual, negative, _, positive = buckets.split([1, len(path.c_low) + 1, 1, len(path.c_high) + 1])
    negative = negative.flip(0)
    return Sides(
        positive_free=_sum_below(positive),
        positive_clipped=_sum_above(positive),
        negative_free=_sum_above(negative),
        negative_clipped=_sum_below(negative),
        dual_clipped=dual[0],
    )


def _sum_below(buckets: Tensor) -> Tensor:
    """Element i: the sum of the buckets below candidate i."""
    return buckets.cumsum(0)[:-1]


def _sum_above(buckets: Tensor) -> Tensor:
    """Element i: the sum of the buckets above candidate i, cumulated from the end: total - cumsum would round."""
    return buckets.flip(0).cumsum(0).flip(0)[1:]
