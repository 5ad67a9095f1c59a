"""Reads design.yaml: which runs there are to make, and which learning rate is each method's best."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas
import yaml

DESIGN = Path(__file__).with_name("design.yaml")
MAIN = "updates_8"
MAIN_REGIMES = [MAIN, "updates_1"]

# Rows with regime, method, lr, seed and the outcomes of the runs among a list that have ended.
Summaries = Callable[[list["PlannedRun"]], pandas.DataFrame]


@dataclass(frozen=True)
class PlannedRun:
    """One run. `setting`: keyword arguments of trainer.Setting. `judges`: its seed is none of those that choose."""

    regime: str
    method: str
    lr: float
    seed: int
    judges: bool
    setting: dict = field(hash=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.regime}-{self.method}-lr{self.lr:g}-seed{self.seed}"


def fixed(bounds: list[float]) -> dict:
    """PPO-clip with these bounds: BAPO with nothing to search, verl's vanilla loss to the bit."""
    low, high = bounds
    return dict(c_low_start=low, c_low_max=low, c_high_start=high, c_high_max=high)


def rows_of(table: pandas.DataFrame, regime: str, method: str) -> pandas.DataFrame:
    return table[(table["regime"] == regime) & (table["method"] == method)]


def best_rate(table: pandas.DataFrame, regime: str, method: str) -> float | None:
    """The rate with the most reward in the runs of a method that choose; None before there are any."""
    rows = rows_of(table, regime, method)
    return float(rows.groupby("lr")["area"].mean().idxmax()) if len(rows) else None


class Plan:
    """The design, and what follows from the runs that choose."""

    def __init__(self, design: dict):
        self.design = design
        self.methods, self.regimes, self.seeds = design["methods"], design["regimes"], design["seeds"]

    @classmethod
    def read(cls) -> "Plan":
        return cls(yaml.safe_load(DESIGN.read_text()))

    def run(self, regime: str, method: str, lr: float, seed: int, chosen: pandas.DataFrame) -> PlannedRun:
        own = self.methods[method]
        keys = self.design["shared"] | self.regimes[regime]["keys"] | {"lr": lr, "seed": seed}
        if "micro_batch" in own:
            keys["micro_batch"] = own["micro_batch"]
        bounds = self.bounds(method, chosen)
        keys["policy_loss"] = fixed(bounds) if bounds else own["policy_loss"]
        return PlannedRun(regime, method, lr, seed, seed not in self.seeds["choose"], keys)

    def bounds(self, method: str, chosen: pandas.DataFrame) -> list[float] | None:
        """Of a method with fixed ones, to two digits."""
        own = self.methods[method]
        if "mean_of" not in own:
            return own.get("bounds")
        rate = best_rate(chosen, MAIN, own["mean_of"])
        rows = rows_of(chosen, MAIN, own["mean_of"])
        rows = rows[rows["lr"] == rate]
        return [round(float(rows[bound].mean()), 2) for bound in ("c_low", "c_high")]

    def names(self, regime: str, chosen: pandas.DataFrame) -> list[str]:
        """A regime's methods, with best_fixed by its name."""
        return [self.best_fixed(chosen) if name == "best_fixed" else name for name in self.regimes[regime]["methods"]]

    def best_fixed(self, chosen: pandas.DataFrame) -> str:
        rows = chosen[(chosen["regime"] == MAIN) & ~chosen["method"].isin(["grpo", "no_clip"])]
        rows = rows[[bool({"bounds", "mean_of"} & set(self.methods[name])) for name in rows["method"]]]
        return rows.groupby(["method", "lr"])["area"].mean().idxmax()[0]

    def rates(self, regime: str, method: str, chosen: pandas.DataFrame) -> list[float]:
        """The grid of a method, with the next rate where its best so far is at an end."""
        source = self.methods[method].get("mean_of")
        if source and regime == MAIN:
            best = best_rate(chosen, MAIN, source)
            rates = [best / 2, best, best * 2]
        else:
            rates = list(self.regimes[regime]["rates"])
        rates = sorted({*rates, *rows_of(chosen, regime, method)["lr"]})
        best = best_rate(chosen, regime, method)
        if best == rates[0]:
            rates.insert(0, best / 2)
        elif best == rates[-1]:
            rates.append(best * 2)
        return rates

    def choosing(self, regimes: list[str], chosen: pandas.DataFrame, means: bool) -> list[PlannedRun]:
        """The runs that choose learning rates: of methods with mean_of in the main regime, or of the others."""
        return [
            self.run(regime, method, lr, seed, chosen)
            for regime in regimes
            for seed in self.seeds["choose" if regime in MAIN_REGIMES else "choose_hard"]
            for method in self.names(regime, chosen)
            if (regime == MAIN and "mean_of" in self.methods[method]) == means
            for lr in self.rates(regime, method, chosen)
        ]

    def judging(self, regimes: list[str], chosen: pandas.DataFrame, seeds: list[int]) -> list[PlannedRun]:
        """Runs at the rate that was chosen for the method in the regime (for the long ones: in the main one)."""
        rates = {
            (regime, method): best_rate(chosen, MAIN if regime == "long" else regime, method)
            for regime in regimes
            for method in self.names(regime, chosen)
        }
        return [self.run(*key, rate, seed, chosen) for seed in seeds for key, rate in rates.items() if rate is not None]

    def curves(self, chosen: pandas.DataFrame, seeds: list[int]) -> list[PlannedRun]:
        return [
            self.run(MAIN, method, lr, seed, chosen)
            for seed in seeds
            for method in self.names(MAIN, chosen)
            for lr in self.rates(MAIN, method, chosen)
        ]

    def stages(self, summaries: Summaries) -> Iterator[list[PlannedRun]]:
        """Lists of runs, each of which may depend on the results of those before it."""
        chosen = summaries([])
        hard = [regime for regime in self.regimes if regime not in (*MAIN_REGIMES, "long")]
        for regimes, means in ((MAIN_REGIMES, False), ([MAIN], True)):
            chosen = yield from self.choose(regimes, chosen, means, summaries)
        for turn in ("first", "more"):
            yield self.curves(chosen, self.seeds["curve"][turn])
            yield self.judging(MAIN_REGIMES, chosen, self.seeds["best"][turn])
            if turn == "first":
                chosen = yield from self.choose(hard, chosen, False, summaries)
            yield self.judging(hard, chosen, self.seeds["hard"][turn])
            yield self.judging(["long"], chosen, self.seeds["long"][turn])

    def choose(
        self, regimes: list[str], before: pandas.DataFrame, means: bool, summaries: Summaries
    ) -> Iterator[list[PlannedRun]]:
        """The runs that choose the rates of these regimes, and those of grids that had to grow."""
        chosen = before
        while True:
            runs = self.choosing(regimes, chosen, means)
            yield runs
            grown = pandas.concat([before, summaries(runs)])
            if len(grown) == len(chosen):
                return chosen
            chosen = grown

    def all_runs(self, summaries: Summaries) -> list[PlannedRun]:
        return list(dict.fromkeys(run for stage in self.stages(summaries) for run in stage))
