"""What the runs say: the outcomes of each run, the gate, and each claim of design.yaml with its interval and verdict.

Tests and intervals are those of scipy and statsmodels.
"""

import math
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import pandas
from scipy import stats
from statsmodels.stats.multitest import multipletests

from recipe.experiment.design import Plan, best_rate

RUN = ["method", "lr", "seed"]


def summarize(evaluations: pandas.DataFrame, updates: pandas.DataFrame, outcomes: dict) -> pandas.DataFrame:
    """A row for each run: its outcomes, and the means of its updates."""
    rows = []
    for key, group in evaluations.groupby(RUN):
        curve = group.sort_values("step")
        reward = curve["reward"].to_numpy()
        end = curve[["reward", "pass_at_8", "entropy"]].tail(outcomes["last"]).mean().to_dict()
        matched = crossing(reward, curve["entropy"].to_numpy(), outcomes["matched"])
        drop = round(float(reward.max() - reward[-1]), 4)  # in float32, so that 0.85 to 0.75 is not more than 0.1
        rows.append(dict(zip(RUN, key, strict=True)) | end | {"entropy_matched": matched, "drop": drop})
    means = updates.assign(**ends_of_path(updates)).drop(columns="step").groupby(RUN, as_index=False).mean()
    return pandas.DataFrame(rows, columns=None if rows else RUN).merge(means, on=RUN)


def ends_of_path(updates: pandas.DataFrame) -> dict[str, pandas.Series]:
    """Whether the bounds of an update are the first of Sec. 5.1's path, the last, or between."""
    start = (updates["c_low"] < 0.605) & (updates["c_high"] < 1.205)
    end = (updates["c_low"] > 0.895) & (updates["c_high"] > 2.995)
    return {"at_start": start * 1.0, "inside": ~(start | end) * 1.0, "at_end": end * 1.0}


def crossing(reward: np.ndarray, values: np.ndarray, level: float) -> float:
    """The value where the reward first reaches a level, linear between evaluations; nan if it never does.

    >>> float(crossing(np.array([0.4, 0.6, 0.8]), np.array([0.0, 25.0, 50.0]), 0.75))
    43.75
    """
    reached = np.flatnonzero(reward >= level)
    if not len(reached):
        return math.nan
    after = reached[0]
    if after == 0:
        return values[0]
    share = (level - reward[after - 1]) / (reward[after] - reward[after - 1])
    return values[after - 1] + share * (values[after] - values[after - 1])


class Difference(NamedTuple):
    """First method minus second: the difference, its interval, and p of no difference."""

    value: float
    low: float
    high: float
    p: float


class Results:
    """The runs, read by the design."""

    def __init__(self, evaluations: pandas.DataFrame, updates: pandas.DataFrame, plan: Plan):
        self.plan, self.evaluations, self.updates = plan, evaluations, updates
        self.runs = summarize(evaluations, updates, plan.design["outcomes"])
        choosing = self.runs["seed"].isin(plan.seeds)
        self.chosen, self.judged = self.runs[choosing], self.runs[~choosing]

    def best_rate(self, method: str) -> float | None:
        return best_rate(self.chosen, method)

    def at(self, method: str, factor: float) -> pandas.DataFrame:
        """The runs that judge a method at its best rate times a factor."""
        rows = self.judged[self.judged["method"] == method]
        return rows[np.isclose(rows["lr"], factor * (self.best_rate(method) or math.nan))]

    def gate(self) -> dict[str, float]:
        """What the gate asks for, at GRPO's best rate, over all runs there are."""
        at_rate = self.runs[np.isclose(self.runs["lr"], self.best_rate("grpo"))]
        means = at_rate.groupby("method")[["pg_clipfrac", "unlike_grpo"]].mean()
        return {"pg_clipfrac": means["pg_clipfrac"]["grpo"], "unlike_grpo": means["unlike_grpo"]["bapo"]}

    def passed(self) -> bool:
        return all(self.gate()[key] >= least for key, least in self.plan.design["gate"].items())

    def steps_to(self, group: pandas.DataFrame) -> np.ndarray:
        """For each run of the group, the steps to `share` of the highest mean reward of a method that is judged."""
        level = self.plan.design["outcomes"]["share"] * self.judged.groupby(["method", "lr"])["reward"].mean().max()
        curves = self.evaluations.merge(group[RUN], on=RUN).sort_values("step").groupby(RUN)
        return np.array([crossing(c["reward"].to_numpy(), c["step"].to_numpy(), level) for _, c in curves])

    def looks(self, claim: dict) -> list[dict]:
        """Those for which both methods have all their runs, up to the first that is not complete."""
        made = [set(self.at(method, claim["at"])["seed"]) for method in claim["pair"]]
        return list(takewhile(lambda look: all(seeds.issuperset(look["seeds"]) for seeds in made), self.plan.looks))

    def claims(self) -> list[dict]:
        """Each claim with the runs of its looks, their difference and the verdict.

        p is corrected by Holm over all claims of the design. Before its first look a claim has no difference.
        """
        found = []
        for claim in self.plan.design["claims"]:
            looks = self.looks(claim)
            seeds = [seed for look in looks for seed in look["seeds"]]
            groups = [self.at(method, claim["at"]) for method in claim["pair"]]
            values = [rows[rows["seed"].isin(seeds)][claim["outcome"]].dropna().to_numpy() for rows in groups]
            difference = welch(*values, looks[-1]["alpha"]) if looks else None
            found.append(claim | {"runs": [len(x) for x in values], "looks": looks, "difference": difference})
        ps = [claim["difference"].p if claim["looks"] else 1.0 for claim in found]
        for claim, p in zip(found, multipletests(ps, method="holm")[1], strict=True):
            if not claim["looks"]:
                claim["verdict"] = "too few runs"
            elif not self.passed():
                claim["verdict"] = "none: the gate is not passed"
            else:
                margin = self.plan.design["margin"][claim["outcome"]]
                claim["verdict"] = verdict(claim["difference"], p, claim["looks"][-1]["alpha"], margin)
        return found


def welch(first: np.ndarray, second: np.ndarray, alpha: float) -> Difference:
    """Welch's t-test: means of two groups of runs whose variances may differ."""
    test = stats.ttest_ind(first, second, equal_var=False)
    interval = test.confidence_interval(1 - alpha)
    return Difference(first.mean() - second.mean(), interval.low, interval.high, test.pvalue)


def verdict(found: Difference, p: float, alpha: float, margin: float) -> str:
    """What a reader may conclude; p is corrected, and the interval is that of the look's alpha."""
    equivalent = -margin < found.low and found.high < margin
    if p < alpha:
        return ("higher" if found.value > 0 else "lower") + (f", by less than {margin:g}" if equivalent else "")
    return f"no difference of {margin:g} or more" if equivalent else "open"
