"""What the laboratory's runs say of the design's claims.

    python recipe/miniature/analysis.py            reads laboratory.parquet and design.yaml, prints the tables

Before anything is compared, every run is checked against the design: its bounds and its number of updates are those of
its arm.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import design
import numpy as np
import pandas
from run import RESULTS
from welch import Difference, holm, mean_interval, seeds_needed, share_difference, verdict, welch

REWARD, ENTROPY, KL = "critic/score/mean", "rollout/entropy", "rollout/kl"
LOW, HIGH = "actor/bapo/c_low", "actor/bapo/c_high"
DEFAULT_BOUNDS = {"c_low_start": 0.6, "c_low_max": 0.9, "c_high_start": 1.2, "c_high_max": 3.0}  # BAPO's
TOLERANCE = 1e-3  # the numbers are stored at four digits


def check(frame: pandas.DataFrame, plan: dict) -> None:
    """The log of each run against its arm.

    Raises:
        ValueError: naming run and step, what was logged, and what the design says.
    """
    for (arm, seed), run in frame.groupby(["arm", "seed"], sort=False):
        wanted = design.make_run(plan, arm, seed)
        if wanted.bounds:
            low, high = wanted.bounds
            ranges = {LOW: (low, low), HIGH: (high, high)}
        else:
            keys = DEFAULT_BOUNDS | wanted.policy_loss
            ranges = {LOW: (keys["c_low_start"], keys["c_low_max"]), HIGH: (keys["c_high_start"], keys["c_high_max"])}
        for key, default in (("updates", 1), ("epochs", 1), ("versions", 0)):
            ranges[f"training/{key}"] = (wanted.keys.get(key, default),) * 2
        for column, (low, high) in ranges.items():
            slack = TOLERANCE * max(1.0, abs(high))
            wrong = run[(run[column] < low - slack) | (run[column] > high + slack)]
            if len(wrong):
                step, value = int(wrong["step"].iloc[0]), wrong[column].iloc[0]
                raise ValueError(
                    f"{wanted.name}, step {step}: {column} is {value:g}, the design says "
                    + (f"{low:g}" if low == high else f"{low:g} to {high:g}")
                )
        if list(run["step"]) != list(range(1, wanted.keys["steps"] + 1)):
            raise ValueError(f"{wanted.name}: has {len(run)} steps, the design says 1 to {wanted.keys['steps']}")


def outcomes(frame: pandas.DataFrame, plan: dict) -> pandas.DataFrame:
    """One row a run: area under the reward curve (its mean), reward at the end, entropy at the end, collapsed, KL.

    "The end" is the last `last` steps; a run has collapsed whose reward there is below `collapse`.
    """
    rows = []
    for (arm, seed), run in frame.groupby(["arm", "seed"], sort=False):
        end = run.sort_values("step").tail(plan["outcomes"]["last"])
        reward = end[REWARD].mean()
        row = {"arm": arm, "seed": seed, "auc": run[REWARD].mean(), "end": reward, "entropy": end[ENTROPY].mean()}
        rows.append(row | {"collapsed": reward < plan["outcomes"]["collapse"], "kl": run[KL].mean()})
    return pandas.DataFrame(rows)


def compare(table: pandas.DataFrame, pair: list[str], outcome: str) -> Difference:
    """The first arm less the second."""
    ours, theirs = (table[table["arm"] == arm][outcome] for arm in pair)
    if outcome == "collapsed":
        return share_difference(int(ours.sum()), len(ours), int(theirs.sum()), len(theirs))
    return welch(ours.tolist(), theirs.tolist())


def verdicts(table: pandas.DataFrame, plan: dict) -> list[dict]:
    """A row for each claim whose arms have two seeds or more, with its difference, Holm's p over all, and verdict."""
    counts = table.groupby("arm").size()
    rows = [
        claim | {"seeds": tuple(int(counts[arm]) for arm in claim["pair"])}
        for claim in plan["claims"]
        if all(counts.get(arm, 0) >= 2 for arm in claim["pair"])
    ]
    differences = [compare(table, row["pair"], row["outcome"]) for row in rows]
    for row, difference, adjusted in zip(rows, differences, holm([d.p for d in differences]), strict=True):
        row["difference"], row["adjusted"] = difference, adjusted
        row["verdict"] = verdict(difference, adjusted, plan["margin"][row["outcome"]], row["expected"])
    return rows


def descriptions(frame: pandas.DataFrame) -> Iterator[tuple[str, str, Difference]]:
    """Claims about one arm: its name, the arm, and the mean over seeds against the value that would deny the claim."""

    def by_seed(arm: str, value) -> list[float]:
        return [value(run) for _, run in frame[frame["arm"] == arm].groupby("seed")]

    def entropy_rule(run: pandas.DataFrame) -> float:
        """Correlation of the predicted change with that of the entropy from this step's samples to the next one's."""
        run = run.sort_values("step")
        return np.corrcoef(run["actor/bapo/entropy_change"].iloc[:-1], run[ENTROPY].diff().iloc[1:])[0, 1]

    def share(run: pandas.DataFrame) -> float:
        return run["actor/bapo/rho_start"].mean()

    def length(run: pandas.DataFrame) -> float:
        return run["rollout/failed_length"].mean() / run["rollout/right_length"].mean()

    def clipped(run: pandas.DataFrame) -> float:
        return (run["actor/bapo/clipped_log_prob"] - run["actor/bapo/log_prob"]).mean()

    rule = "The Entropy-Clip Rule predicts the change of entropy (Eq. 6): correlation"
    for claim, arm, value, denies in (
        ("Negative tokens have most of the loss (Fig. 4): rho at r = 1 below 0.5", "on_policy", share, 0.5),
        ("Failed answers are longer (Fig. 6): their length over that of right ones above 1", "on_policy", length, 1.0),
        ("The clip drops improbable tokens (Fig. 5, 10): their log pi less that of all below 0", "grpo", clipped, 0.0),
        (f"{rule}, over one update", "on_policy", entropy_rule, 0.0),
        (f"{rule}, over 8 updates", "grpo", entropy_rule, 0.0),
    ):
        values = by_seed(arm, value)
        if len(values) > 1:
            yield claim, arm, mean_interval(values, denies)


def table_text(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def signed(difference: Difference) -> str:
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def probability(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def claims_text(rows: list[dict]) -> str:
    cells = [
        [row["claim"], f"{row['pair'][0]} less {row['pair'][1]}", row["outcome"], "{} and {}".format(*row["seeds"]),
         signed(row["difference"]), probability(row["adjusted"]), row["verdict"]]
        for row in rows
    ]  # fmt: skip
    return table_text(["claim", "arms", "outcome", "seeds", "difference (95%)", "p, Holm", "verdict"], cells)


def descriptions_text(frame: pandas.DataFrame) -> str:
    rows = []
    for claim, arm, mean in descriptions(frame):
        denied = mean.low <= 0 <= mean.high
        rows.append([claim, arm, signed(mean), "open" if denied else "holds"])
    return table_text(["claim", "arm", "less the value that denies it (95%)", "verdict"], rows)


def arms_text(table: pandas.DataFrame) -> str:
    rows = []
    for arm, runs in table.groupby("arm", sort=False):
        cells = [f"{runs[key].mean():.3f} ± {runs[key].std():.3f}" for key in ("auc", "end", "entropy")]
        rows.append([arm, str(len(runs)), *cells, f"{runs['collapsed'].mean():.2f}", f"{runs['kl'].mean():.3f}"])
    return table_text(["arm", "seeds", "auc", "end", "entropy", "collapsed", "KL of a step"], rows)


def search_text(frame: pandas.DataFrame) -> str:
    """Where the search of an update stopped, and what it gained, for every arm whose bounds move."""
    rows = []
    for arm, runs in frame.groupby("arm", sort=False):
        if runs["search/start"].mean() == 1:
            continue
        shares = [f"{runs[f'search/{place}'].mean():.3f}" for place in ("start", "inside", "end")]
        gain = (runs["actor/bapo/rho"] - runs["actor/bapo/rho_start"]).mean()
        met, redone = runs["actor/bapo/target_met"].mean(), runs["actor/bapo/redone"].mean()
        bounds = [f"{runs[column].mean():.3f}" for column in (LOW, HIGH)]
        rows.append([arm, *shares, *bounds, f"{gain:+.4f}", f"{met:.3f}", "-" if np.isnan(redone) else f"{redone:.4f}"])
    heads = ["arm", "at the start", "inside", "at the end", "c_low", "c_high", "rho gained", "target met", "redone"]
    return table_text(heads, rows)


def seeds_text(table: pandas.DataFrame, rows: list[dict], plan: dict) -> str:
    """How many seeds each open claim needs, by the spread seen so far."""
    cells = []
    for row in rows:
        if row["verdict"] == "open" and row["outcome"] != "collapsed":
            ours, theirs = (table[table["arm"] == arm][row["outcome"]].tolist() for arm in row["pair"])
            margin = plan["margin"][row["outcome"]]
            cells.append([row["claim"], str(seeds_needed(ours, theirs, margin))])
    return table_text(["open claim", "seeds an arm for an interval as wide as the margin"], cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS)
    frame, plan = pandas.read_parquet(parser.parse_args().results), design.read()
    check(frame, plan)
    table = outcomes(frame, plan)
    rows = verdicts(table, plan)
    texts = [claims_text(rows), descriptions_text(frame), arms_text(table), search_text(frame)]
    print(*texts, seeds_text(table, rows, plan), sep="\n\n")


if __name__ == "__main__":
    main()
