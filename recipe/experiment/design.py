"""Reads design.yaml: which runs there are to make, and which learning rate is each method's best."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas
import yaml

DESIGN = Path(__file__).with_name("design.yaml")

# Rows with method, lr, seed and the outcomes of the runs among a list that have ended.
Summaries = Callable[[list["PlannedRun"]], pandas.DataFrame]


@dataclass(frozen=True)
class PlannedRun:
    """One run. `setting`: keyword arguments of trainer.Setting."""

    method: str
    lr: float
    seed: int
    setting: dict = field(hash=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.method}-lr{self.lr:g}-seed{self.seed}"


def fixed(bounds: list[float]) -> dict:
    """PPO-clip with these bounds: BAPO with nothing to search, verl's vanilla loss to the bit."""
    low, high = bounds
    return dict(c_low_start=low, c_low_max=low, c_high_start=high, c_high_max=high)


class Plan:
    """The design. `chosen`, in its methods, are the summaries of the runs that choose the learning rates."""

    def __init__(self):
        self.design = design = yaml.safe_load(DESIGN.read_text())
        self.methods, self.seeds, self.looks = design["methods"], design["seeds"], design["looks"]

    def run(self, method: str, lr: float, seed: int) -> PlannedRun:
        own = self.methods[method]
        policy_loss = fixed(own["bounds"]) if "bounds" in own else own["policy_loss"]
        return PlannedRun(method, lr, seed, self.design["shared"] | dict(lr=lr, seed=seed, policy_loss=policy_loss))

    def rates(self, method: str, chosen: pandas.DataFrame) -> list[float]:
        """The grid of a method, with the next rate where its best so far is at an end."""
        own = chosen[chosen["method"] == method]["lr"]
        rates = sorted({*self.design["rates"], *own})
        best = best_rate(chosen, method)
        if best == rates[0]:
            return [best / 2, *rates]
        return [*rates, best * 2] if best == rates[-1] else rates

    def stages(self, summaries: Summaries) -> Iterator[list[PlannedRun]]:
        """Lists of runs, each of which may depend on the results of those before it: design.yaml, `order`."""
        chosen = summaries([])
        for look in self.looks:
            for stage in self.design["order"]:
                if unknown := [method for method in stage["methods"] if method not in set(chosen["method"])]:
                    chosen = yield from self.choose(unknown, chosen, summaries)
                yield self.judging(stage["methods"], stage["at"], chosen, look["seeds"])

    def choose(self, methods: list[str], before: pandas.DataFrame, summaries: Summaries) -> Iterator[list[PlannedRun]]:
        """The runs that choose the rates of these methods, and those of grids that had to grow."""
        chosen = before
        while True:
            runs = [
                self.run(method, lr, seed)
                for method in methods
                for seed in self.seeds
                for lr in self.rates(method, chosen)
            ]
            yield runs
            grown = pandas.concat([before, summaries(runs)])
            if len(grown) == len(chosen):
                return chosen
            chosen = grown

    def judging(self, methods: list[str], at: int, chosen: pandas.DataFrame, seeds: list[int]) -> list[PlannedRun]:
        """Runs at a factor on each method's best rate."""
        rates = {method: best_rate(chosen, method) for method in methods}
        return [
            self.run(method, at * rate, seed) for seed in seeds for method, rate in rates.items() if rate is not None
        ]

    def all_runs(self, summaries: Summaries) -> list[PlannedRun]:
        return list(dict.fromkeys(run for stage in self.stages(summaries) for run in stage))


def best_rate(chosen: pandas.DataFrame, method: str) -> float | None:
    """The rate with the most reward at the end in the runs that choose; None before there are any."""
    rows = chosen[chosen["method"] == method]
    return float(rows.groupby("lr")["reward"].mean().idxmax()) if len(rows) else None
