"""What the runs say: each claim of design.yaml with its difference, interval and verdict, and each method's curve.

Tests and intervals are those of scipy and statsmodels.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas
from scipy import stats
from statsmodels.stats.multitest import multipletests

from recipe.experiment.design import MAIN, Plan, best_rate, rows_of

RESAMPLES = 2000


class Difference(NamedTuple):
    """First method minus second: the difference, its 95% interval, and p of no difference."""

    value: float
    low: float
    high: float
    p: float


class Curve(NamedTuple):
    """A method's runs that judge, by learning rate. rates: rising, [R]. kl, area: an array of seeds for each rate."""

    rates: list[float]
    kl: list[np.ndarray]
    area: list[np.ndarray]


class Results:
    """The table of runs, read by the design."""

    def __init__(self, runs: pandas.DataFrame, plan: Plan):
        self.plan, self.margin = plan, plan.design["margin"]
        choosing = runs["seed"].isin(plan.seeds["choose"])
        self.runs, self.chosen, self.judged = runs, runs[choosing], runs[~choosing]

    def best_rate(self, regime: str, method: str) -> float:
        return best_rate(self.chosen, MAIN if regime == "long" else regime, method)

    def at_best(self, regime: str, method: str, column: str) -> np.ndarray:
        """A value of each run that judges, at the rate that was chosen."""
        rows = rows_of(self.judged, regime, method)
        return rows[rows["lr"] == self.best_rate(regime, method)][column].to_numpy()

    def curve(self, regime: str, method: str) -> Curve:
        rows = rows_of(self.judged, regime, method)
        groups = dict(list(rows.groupby("lr")))
        kl, area = ([groups[rate][column].to_numpy() for rate in sorted(groups)] for column in ("kl", "area"))
        return Curve(sorted(groups), kl, area)

    def tolerance(self, method: str) -> Difference:
        """In octaves, with its interval (p says nothing here)."""
        return bootstrapped([self.curve(MAIN, method)], lambda curve: tolerance(curve, self.within))

    def to_grpo(self, regime: str, method: str) -> Difference:
        return welch(*(self.at_best(regime, name, "area") for name in (method, "grpo")))

    @property
    def within(self) -> float:
        return self.plan.design["outcomes"]["within"]

    def difference(self, claim: dict) -> Difference:
        (first, second), regime = claim["pair"], claim["regime"]
        if claim["outcome"] == "area":
            return welch(self.at_best(regime, first, "area"), self.at_best(regime, second, "area"))
        curves = [self.curve(regime, name) for name in (first, second)]
        if claim["outcome"] == "tolerance":
            return bootstrapped(curves, lambda one, two: tolerance(one, self.within) - tolerance(two, self.within))
        best = curves[1].rates.index(self.best_rate(regime, second))
        return bootstrapped(curves, lambda one, two: at_equal_kl(one, two, best))

    def claims(self) -> list[dict]:
        """Each claim with its difference, its p corrected by Holm over all of them, and its verdict."""
        claims = self.plan.design["claims"]
        differences = [self.difference(claim) for claim in claims]
        corrected = multipletests([difference.p for difference in differences], method="holm")[1]
        return [
            claim | {"difference": found, "p": p, "verdict": verdict(found, p, self.margin[claim["outcome"]])}
            for claim, found, p in zip(claims, differences, corrected, strict=True)
        ]


def welch(first: np.ndarray, second: np.ndarray) -> Difference:
    """Welch's t-test: means of two groups of runs whose variances may differ."""
    test = stats.ttest_ind(first, second, equal_var=False)
    interval = test.confidence_interval(0.95)
    return Difference(first.mean() - second.mean(), interval.low, interval.high, test.pvalue)


def bootstrapped(curves: list[Curve], statistic: Callable[..., float]) -> Difference:
    """A function of curves, with scipy's bootstrap: the seeds of each rate of each curve are drawn anew."""
    samples = [np.arange(len(area)) for curve in curves for area in curve.area]

    def of_seeds(*drawn: np.ndarray) -> float:
        drawn = iter(drawn)
        return statistic(*(redrawn(curve, [next(drawn) for _ in curve.rates]) for curve in curves))

    found = stats.bootstrap(
        samples, of_seeds, vectorized=False, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )
    values, interval = found.bootstrap_distribution, found.confidence_interval
    tail = min((values <= 0).sum(), (values >= 0).sum()) + 1
    return Difference(statistic(*curves), interval.low, interval.high, min(1.0, 2 * tail / (len(values) + 1)))


def redrawn(curve: Curve, seeds: list[np.ndarray]) -> Curve:
    """The curve of these seeds, an array of indices for each rate."""
    kl, area = ([values[index] for values, index in zip(column, seeds, strict=True)] for column in curve[1:])
    return Curve(curve.rates, kl, area)


def means(values: list[np.ndarray]) -> np.ndarray:
    return np.array([value.mean() for value in values])


def tolerance(curve: Curve, within: float) -> float:
    """Octaves of the learning rate, around the best one, in which the area is within `within` of the best.

    >>> tolerance(Curve([1.0, 2.0, 4.0], [], [np.array([0.5]), np.array([0.75]), np.array([0.6875])]), 0.0625)
    1.25
    """
    octaves, area = np.log2(curve.rates), means(curve.area)
    least, best = area.max() - within, int(area.argmax())

    def edge(indices) -> float:
        for inner, outer in zip(indices, indices[1:], strict=False):
            if area[outer] < least:  # between these two the line crosses the least area
                share = (area[inner] - least) / (area[inner] - area[outer])
                return octaves[inner] + share * (octaves[outer] - octaves[inner])
        return octaves[indices[-1]]

    return float(edge(range(best, len(area))) - edge(range(best, -1, -1)))


def at_equal_kl(first: Curve, second: Curve, best: int) -> float:
    """Area of the first minus that of the second, at the KL of a step that the second has at its rate number `best`."""
    kl = math.log(second.kl[best].mean())
    own = np.log(means(first.kl))
    order = own.argsort()
    return float(np.interp(kl, own[order], means(first.area)[order]) - second.area[best].mean())


def verdict(found: Difference, p: float, margin: float) -> str:
    """What a reader may conclude; p is corrected."""
    equivalent = -margin < found.low and found.high < margin
    if p < 0.05:
        return ("higher" if found.value > 0 else "lower") + (f", by less than {margin:g}" if equivalent else "")
    if equivalent:
        return f"no difference of {margin:g} or more"
    if found.high < margin:
        return f"not higher by {margin:g} or more"
    if found.low > -margin:
        return f"not lower by {margin:g} or more"
    return "open"
