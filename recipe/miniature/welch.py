"""The statistics of the miniature: pure functions of numbers.

Two arms are compared by their difference of means with Welch's interval, many comparisons are corrected by Holm, and a
verdict is drawn against a margin: a difference whose whole interval lies within it is none that matters.
"""

import math
from statistics import mean, variance
from typing import NamedTuple

from mpmath import betainc


class Difference(NamedTuple):
    """mean(ours) - mean(theirs), its 95% interval, and the two-sided p of Welch's t."""

    value: float
    low: float
    high: float
    p: float


def t_tail(t: float, freedom: float) -> float:
    """P(|T| >= t) for Student's t: the regularised incomplete beta I_x(n / 2, 1 / 2), x = n / (n + t^2), n = freedom.

    >>> round(t_tail(2.262157, 9), 6)
    0.05
    """
    return float(betainc(freedom / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True))


def t_quantile(freedom: float, level: float = 0.95) -> float:
    """The t with P(|T| >= t) = 1 - level, by bisection.

    >>> round(t_quantile(9), 4), round(t_quantile(38), 4)
    (2.2622, 2.0244)
    """
    low, high = 0.0, 1e3
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > 1 - level else (low, middle)
    return high


def welch(ours: list[float], theirs: list[float]) -> Difference:
    """Welch's t for two arms of seeds, at least two each.

        d = mean(x) - mean(y)     s^2 = var(x)/n + var(y)/m
        freedom = s^4 / ((var(x)/n)^2 / (n - 1) + (var(y)/m)^2 / (m - 1))

    Raises:
        ValueError: an arm with fewer than two seeds.
    """
    if min(len(ours), len(theirs)) < 2:
        raise ValueError(f"a difference needs two seeds of each arm, got {len(ours)} and {len(theirs)}")
    value = mean(ours) - mean(theirs)
    a, b = variance(ours) / len(ours), variance(theirs) / len(theirs)
    error = math.sqrt(a + b)
    if error == 0:
        return Difference(value, value, value, float(value == 0))
    freedom = (a + b) ** 2 / (a**2 / (len(ours) - 1) + b**2 / (len(theirs) - 1))
    reach = t_quantile(freedom) * error
    return Difference(value, value - reach, value + reach, t_tail(value / error, freedom))


def share_difference(ours: int, of_ours: int, theirs: int, of_theirs: int) -> Difference:
    """Two shares, such as those of seeds that collapsed: Newcombe's interval, Fisher's exact p."""
    value = ours / of_ours - theirs / of_theirs
    (a_low, a_high), (b_low, b_high) = wilson(ours, of_ours), wilson(theirs, of_theirs)
    low = value - math.hypot(ours / of_ours - a_low, b_high - theirs / of_theirs)
    high = value + math.hypot(a_high - ours / of_ours, theirs / of_theirs - b_low)
    return Difference(value, low, high, fisher(ours, of_ours, theirs, of_theirs))


def wilson(successes: int, number: int) -> tuple[float, float]:
    """The 95% score interval of a share.

    >>> [round(bound, 3) for bound in wilson(0, 20)]
    [0.0, 0.161]
    """
    z = 1.959964
    centre = (successes + z * z / 2) / (number + z * z)
    reach = z / (number + z * z) * math.sqrt(successes * (number - successes) / number + z * z / 4)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def fisher(ours: int, of_ours: int, theirs: int, of_theirs: int) -> float:
    """Fisher's exact two-sided p: of all tables with these margins, those no likelier than this one."""
    both, total = ours + theirs, of_ours + of_theirs

    def weight(k: int) -> int:
        return math.comb(of_ours, k) * math.comb(of_theirs, both - k)

    tables = range(max(0, both - of_theirs), min(of_ours, both) + 1)
    return sum(weight(k) for k in tables if weight(k) <= weight(ours)) / math.comb(total, both)


def holm(ps: list[float]) -> list[float]:
    """Holm's adjusted p of each: the i-th smallest of m times m - i + 1, never below a smaller one's, at most 1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[i]))
        adjusted[i] = largest
    return adjusted


def mean_interval(values: list[float], less: float) -> Difference:
    """The mean of at least two seeds less a fixed value, with Student's interval and p."""
    error, value = math.sqrt(variance(values) / len(values)), mean(values) - less
    if error == 0:
        return Difference(value, value, value, float(value == 0))
    reach = t_quantile(len(values) - 1) * error
    return Difference(value, value - reach, value + reach, t_tail(value / error, len(values) - 1))


def verdict(difference: Difference, adjusted: float, margin: float, expected: str) -> str:
    """What a difference says of a claim: that it was to be `higher`, `lower`, or `none`.

    A sign counts at 5% after correction. Without one, the interval may exclude a difference of `margin`: on both sides,
    or on the side that was expected. Otherwise the claim is open.
    """
    if adjusted < 0.05:
        return "supported" if expected == ("higher" if difference.value > 0 else "lower") else "contradicted"
    excluded = {"higher": difference.high < margin, "lower": difference.low > -margin}
    if all(excluded.values()):
        return "supported" if expected == "none" else f"no difference larger than {margin:g}"
    if excluded.get(expected):
        return f"not {expected} by {margin:g}"
    return "open"


def seeds_needed(ours: list[float], theirs: list[float], margin: float) -> int:
    """Seeds an arm for a 95% interval of half the width `margin`, from the spread of a pilot."""
    spread = variance(ours) + variance(theirs)
    number = max(2, math.ceil(1.959964**2 * spread / margin**2))
    while t_quantile(2 * number - 2) * math.sqrt(spread / number) > margin:
        number += 1
    return number
