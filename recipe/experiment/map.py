"""The map of README.md, "Is it for your run?": where on its path the search stops, by lengths and by tokens clipped.

    python -m recipe.experiment.map      trains for half a minute, then draws map.png

A mini-batch has 512 answers: 64 groups of 8 with accuracies from Beta(2, 2) and log-normal lengths. Each sign's tokens
have the ratios of GRPO's updates in the experiment's regime at A > 0 or at A < 0, because training moves the two apart.
log r is scaled until [0.8, 1.2] drops a given share of the tokens.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from bapo_verl.clipping import ContributionSums, contribution_sums
from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from bapo_verl.search import Search, Tokens
from recipe.experiment import trainer
from recipe.experiment.design import Plan

PICTURE = Path(__file__).with_name("map.png")
GROUPS, ANSWERS, SIGMA = 64, 8, 0.5  # of a mini-batch; standard deviation of the log of a length
LENGTH_RATIOS = np.linspace(1.0, 2.0, 21)  # L-/L+, failed to right
CLIPPED = (0.005, 0.02, 0.05, 0.1)  # actor/pg_clipfrac of GRPO
STOPS = {"start: [0.6, 1.2]": "0.85", "inside the path": "#E69F00", "end: [0.9, 3.0]": "#0072B2"}
UPDATES = 200  # for each point of the map
RATE, STEPS, LAST_UPDATES = 2e-4, 48, 64  # of the run, and the updates at its end whose tokens are taken


class LogRatios(NamedTuple):
    """log r of tokens with A > 0 and of tokens with A < 0, [n] each, n apart."""

    positive: Tensor
    negative: Tensor

    def dropped(self, factor: float, length_ratio: float) -> float:
        """pg_clipfrac with log r times a factor, where there are as many right answers as failed ones."""
        positive = (factor * self.positive > np.log(1.2)).double().mean()
        negative = (factor * self.negative < np.log(0.8)).double().mean()
        return float((positive + length_ratio * negative) / (1 + length_ratio))

    def scaled_to_drop(self, share: float, length_ratio: float) -> "LogRatios":
        factor = next(f for f in np.geomspace(0.05, 20, 600) if self.dropped(f, length_ratio) >= share)
        return LogRatios(factor * self.positive, factor * self.negative)


class Recorder(Search):
    """A search that keeps the tokens it saw."""

    seen: tuple[Tokens, ...] = ()

    def now(self, tokens, group=None):
        self.seen += (tokens,)
        return super().now(tokens, group)


def ratios_of_a_run() -> LogRatios:
    """The log-ratios in the last updates of a run of GRPO, which it trains."""
    run = trainer.Run(trainer.Setting(**Plan().run("grpo", RATE, seed=0).setting))
    run.policy.search = recorder = Recorder(run.policy.search.config)
    for _ in range(STEPS):
        run.step()
    ratio, advantages = (
        torch.cat([getattr(tokens, name)[tokens.mask] for tokens in recorder.seen[-LAST_UPDATES:]])
        for name in ("ratio", "advantages")
    )
    return LogRatios(ratio[advantages > 0].log(), ratio[advantages < 0].log())


def amounts(random: np.random.Generator) -> tuple[float, float]:
    """Of a mini-batch with L- = L+: length x |A| summed over right and over failed answers, verl's GRPO advantages."""
    right = random.random(GROUPS * ANSWERS) < random.beta(2, 2, GROUPS).repeat(ANSWERS)
    scores = torch.tensor(right, dtype=torch.float64).unsqueeze(1)
    groups = np.arange(len(right)) // ANSWERS
    advantages = compute_grpo_outcome_advantage(scores, torch.ones_like(scores), groups)[0].squeeze(1).numpy()
    amount = random.lognormal(0, SIGMA, len(right)) * np.abs(advantages)
    return amount[right].sum(), amount[~right].sum()


def shares(search: Search, ratios: LogRatios, batches: list[tuple[float, float]]) -> np.ndarray:
    """Share of updates at the start of the path, inside it and at its end, [3]; each sign's amount has its ratios."""
    positive, negative = (
        contribution_sums(log_ratio.exp(), torch.full_like(log_ratio, sign / len(log_ratio)), search.path)
        for log_ratio, sign in zip(ratios, (1, -1), strict=True)
    )
    sums = (
        ContributionSums(*(right * p + failed * n for p, n in zip(positive, negative, strict=True)))
        for right, failed in batches
    )
    steps = np.array([search.choose(of_batch).steps for of_batch in sums])
    start, end = (steps == 0).mean(), (steps == len(search.path.low) - 1).mean()
    return np.array([start, 1 - start - end, end])


def draw(ratios: LogRatios) -> Figure:
    random = np.random.default_rng(0)
    batches = [amounts(random) for _ in range(UPDATES)]
    figure = Figure(figsize=(10, 4), layout="constrained")
    grid = figure.subplots(2, len(CLIPPED), sharex=True, sharey=True)
    for row, contribution in enumerate(("value", "gradient")):
        search = Search(BapoPolicyLossConfig(contribution=contribution))
        grid[row, 0].set_ylabel(f"{contribution}\nshare of updates")
        for axes, clipped in zip(grid[row], CLIPPED, strict=True):
            found = [
                shares(search, ratios.scaled_to_drop(clipped, x), [(right, x * failed) for right, failed in batches])
                for x in LENGTH_RATIOS
            ]
            axes.stackplot(LENGTH_RATIOS, np.transpose(found), labels=STOPS, colors=STOPS.values())
            axes.axvline(1.4, color="k", linestyle=":", label="the paper's Fig. 6")
            axes.set(xlim=(1, 2), ylim=(0, 1))
    for top, bottom, clipped in zip(*grid, CLIPPED, strict=True):
        top.set_title(f"pg_clipfrac {clipped:g}", fontsize=10)
        bottom.set_xlabel("length of failed to right, L-/L+", fontsize=9)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


if __name__ == "__main__":
    draw(ratios_of_a_run()).savefig(PICTURE, dpi=80)
