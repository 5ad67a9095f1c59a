"""Equation 8 and Algorithm 1 of BAPO (arXiv 2510.18927) as pure functions on tensors.

The search asks, for each point (c_low, c_high) of one path, which share of the loss comes from tokens with a
positive advantage. That share needs only sums over tokens sorted into buckets by their ratio r_t, and bucket sums
add up over micro-batches and over ranks. So one pass over the tokens answers every point of the path:

    contribution_sums (per forward, add them up)  ->  choose_bounds

No collective, no config object, no host sync in here: tensors in, tensors out, on one device.

Shapes: [*] the shape of a batch of response tokens, usually [B, T]; L, H the numbers of candidates for c_low and
c_high; n = L + H - 1 the number of points on the path.
"""

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
    low, high: index of each point's bounds among the candidates, int64 [n].
    edges: of the buckets for sign(A_t) r_t, float64 [L + 2 + H]: the negated c_low, a gap for A_t = 0, the c_high.
    """

    c_low: Tensor
    c_high: Tensor
    low: Tensor
    high: Tensor
    edges: Tensor


def search_path(c_low: list[float], c_high: list[float], order: str, device: torch.device | str = "cpu") -> SearchPath:
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
    edges = [-c for c in reversed(c_low)] + [-_NO_RATIO, _NO_RATIO] + c_high
    return SearchPath(
        torch.tensor(c_low, dtype=torch.float64, device=device),
        torch.tensor(c_high, dtype=torch.float64, device=device),
        torch.tensor(low, device=device),
        torch.tensor(high, device=device),
        torch.tensor(edges, dtype=torch.float64, device=device),
    )


def probability_ratio(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """r_t = pi_theta(y_t) / pi_rollout(y_t), [*].

    The log-ratio is clamped to [-20, 20] as in every loss of verl, so that search and loss see the same r_t.
    """
    return (log_prob - old_log_prob).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def contribution_sums(
    ratio: Tensor,
    advantages: Tensor,
    mask: Tensor,
    path: SearchPath,
    weight: Tensor | None = None,
    more: tuple[Tensor, ...] = (),
) -> Tensor:
    """Sums over tokens from which rho follows for every point of the path (Eq. 8).

    Tokens are sorted into buckets by sign(A_t) r_t, that is, along one line: tokens with A_t < 0 from the largest ratio
    to the smallest, tokens with A_t = 0, which belong to neither side, tokens with A_t > 0 from the smallest ratio to
    the largest. A token that lies exactly on a bound is clipped by it, as in the paper's Eq. 7.

    Args:
        ratio: r_t, [*], any float dtype.
        advantages: A_t, [*].
        mask: 1 for response tokens, 0 for padding, [*]. Values in the padding are ignored.
        path: whose candidates are the edges of the buckets.
        weight: w_t >= 0, [*]; None for 1. Eq. 8 has pi_rollout(y_t) here: see `token_weight`.
        more: further numbers of each token to add up, [*] each, 0 in the padding.

    Returns:
        float64 [3 + len(more), L + H + 3]: sum of w_t r_t |A_t|, sum of w_t |A_t|, number of tokens and sums of `more`
        in each bucket. Additive: the sums of a batch are the sum of the sums of any split of it.
    """
    mask = mask.bool()
    ratio = torch.where(mask, ratio, 1.0).double()
    advantages = torch.where(mask, advantages, 0.0).double()
    amount = advantages.abs()
    if weight is not None:
        amount = amount * torch.where(mask, weight, 0.0).double()
    bucket = torch.bucketize(ratio * advantages.sign(), path.edges, right=True).flatten()
    columns = (ratio * amount, amount, mask, *more)
    sums = ratio.new_zeros(len(columns), len(path.edges) + 1)
    for row, column in zip(sums, columns, strict=True):
        row.scatter_add_(0, bucket, column.double().flatten())
    return sums


def token_weight(
    old_log_prob: Tensor, mask: Tensor, kind: str, rollout_is_weights: Tensor | None = None
) -> Tensor | None:
    """The weight w_t of a token's contribution, [*], or None where every weight is 1.

    `uniform`: 1. The tokens were sampled from pi_rollout, so a plain sum over them already estimates the expectation
    under it. `rollout_prob`: the factor pi_rollout(y_t) of Eq. 8 as printed, read as a second weight. Either is
    multiplied by `rollout_is_weights` where verl passes them, because the loss is.
    """
    if kind == "uniform":
        return rollout_is_weights
    if kind != "rollout_prob":
        raise ValueError(f"kind must be uniform or rollout_prob, got {kind!r}")
    weight = torch.where(mask.bool(), old_log_prob, 0.0).exp()
    return weight if rollout_is_weights is None else weight * rollout_is_weights


def positive_share(sums: Tensor, path: SearchPath, contribution: str) -> Tensor:
    """rho at every point of the path, float64 [n] (Eq. 8, read as a share: P / (P + N)).

        value:     P = sum_{A>0} w A min(r, c_high)        N = sum_{A<0} w |A| max(r, c_low)
        gradient:  P = sum_{A>0, r<c_high} w A r           N = sum_{A<0, r>c_low} w |A| r

    `value` is Eq. 8 as printed; `gradient` counts only what the clip leaves alone, which is what the loss's gradient
    is made of (verl's dual clip aside). nan where P + N = 0.

    >>> path = search_path([0.6, 0.7, 0.8, 0.9], [1.2], "high_first")
    >>> ratio, advantages = torch.tensor([1.5, 0.5, 1.0]), torch.tensor([1.0, -1.0, -1.0])
    >>> sums = contribution_sums(ratio, advantages, torch.ones(3), path)
    >>> positive_share(sums, path, "value")  # raising c_low lowers it
    tensor([0.4286, 0.4138, 0.4000, 0.3871], dtype=torch.float64)
    """
    sides = split_sides(sums, path)
    if contribution == "value":
        p = sides.positive_free[0] + path.c_high * sides.positive_clipped[1]
        n = sides.negative_free[0] + path.c_low * sides.negative_clipped[1]
    elif contribution == "gradient":
        p, n = sides.positive_free[0], sides.negative_free[0]
    else:
        raise ValueError(f"contribution must be value or gradient, got {contribution!r}")
    p, n = p[path.high], n[path.low]
    return p / (p + n)


class Choice(NamedTuple):
    """What the search found; each a 0-dim float64 tensor, nan where its denominator is zero."""

    c_low: Tensor
    c_high: Tensor
    rho: Tensor
    rho_start: Tensor
    target_met: Tensor
    steps: Tensor
    positive_tokens: Tensor
    positive_clipped: Tensor
    negative_clipped: Tensor


def choose_bounds(sums: Tensor, path: SearchPath, target: float, contribution: str) -> Choice:
    """Algorithm 1: the first point of the path at which rho >= target (rho_0), or the path's end.

    Where no token carries an advantage there is nothing to balance and the bounds stay at their start. Where some do
    but the clip leaves nothing of either side (possible with `gradient`), rho is undefined and the search goes on.
    """
    rho = positive_share(sums, path, contribution)
    met = rho >= target
    first = torch.where(met.any(), met.int().argmax(), len(rho) - 1)
    sides = split_sides(sums, path)
    positive, negative = sides.positive, sides.negative
    nothing = positive[1] + negative[1] == 0
    point = torch.where(nothing, 0, first)
    low, high = path.low.take(point), path.high.take(point)  # tensor[0-dim tensor] would sync with the host
    return Choice(
        c_low=path.c_low.take(low),
        c_high=path.c_high.take(high),
        rho=rho.take(point),
        rho_start=rho[0],
        target_met=torch.where(nothing, torch.nan, met.take(point).double()),
        steps=point.double(),
        positive_tokens=positive[2] / sums[2].sum(),
        positive_clipped=sides.positive_clipped[2].take(high) / positive[2],
        negative_clipped=sides.negative_clipped[2].take(low) / negative[2],
    )


def tokens_between(sums: Tensor, path: SearchPath, one: tuple[float, float], other: tuple[float, float]) -> Tensor:
    """Number of tokens that one pair of bounds clips and the other does not, float64 [].

    Tokens with A_t > 0 and r_t between the two c_high, and tokens with A_t < 0 and r_t between the two c_low. Where
    there is none, the clipped surrogate has the same gradient under both.

    Args:
        sums: of `contribution_sums`.
        one, other: (c_low, c_high), two points of the path.

    >>> path = search_path([0.6, 0.7], [1.2, 1.3, 1.4], "high_first")
    >>> ratio, advantages = torch.tensor([1.25, 1.35, 0.65]), torch.tensor([1.0, 1.0, -1.0])
    >>> sums = contribution_sums(ratio, advantages, torch.ones(3), path)
    >>> tokens_between(sums, path, (0.6, 1.2), (0.6, 1.3)), tokens_between(sums, path, (0.6, 1.2), (0.7, 1.4))
    (tensor(1., dtype=torch.float64), tensor(3., dtype=torch.float64))
    """
    sides = split_sides(sums, path)
    sums_of_bound = (path.c_low, sides.negative_clipped[2]), (path.c_high, sides.positive_clipped[2])
    counts = [
        counts.index_select(0, torch.searchsorted(candidates, candidates.new_tensor(pair))).diff().abs().sum()
        for (candidates, counts), pair in zip(sums_of_bound, zip(one, other, strict=True), strict=True)
    ]
    return counts[0] + counts[1]


class Sides(NamedTuple):
    """Sums over the tokens that each candidate leaves alone, and over those it clips: [rows, H] and [rows, L]."""

    positive_free: Tensor
    positive_clipped: Tensor
    negative_free: Tensor
    negative_clipped: Tensor

    @property
    def positive(self) -> Tensor:
        """Sums over all tokens with A_t > 0, [rows]: at any candidate, those it leaves alone and those it clips."""
        return (self.positive_free + self.positive_clipped)[:, 0]

    @property
    def negative(self) -> Tensor:
        """Sums over all tokens with A_t < 0, [rows]."""
        return (self.negative_free + self.negative_clipped)[:, 0]


def split_sides(sums: Tensor, path: SearchPath) -> Sides:
    """Read `contribution_sums` along the candidates of both bounds."""
    # Cumulated from both ends: total - cumsum would leave rounding where there is no token.
    rows_negative = len(path.c_low) + 1
    negative, positive = sums[:, :rows_negative].flip(1), sums[:, rows_negative + 1 :]
    return Sides(_up_to(positive), _after(positive), _after(negative), _up_to(negative))


def _up_to(buckets: Tensor) -> Tensor:
    """Column i: the sum of the buckets below candidate i."""
    return buckets.cumsum(1)[:, :-1]


def _after(buckets: Tensor) -> Tensor:
    """Column i: the sum of the buckets above candidate i."""
    return buckets.flip(1).cumsum(1).flip(1)[:, 1:]
