"""What the laboratory's runs say of the design's comparisons.

    python recipe/miniature/analysis.py            reads laboratory.parquet and design.yaml, prints two tables

Before anything is compared, every run is checked against the design: its bounds and its staleness are those of its arm.
"""

import argparse
from pathlib import Path

import design
import numpy as np
import pandas
from run import RESULTS
from welch import Difference, holm, seeds_needed, share_difference, verdict, welch

REWARD, ENTROPY = "critic/score/mean", "rollout/entropy"
LOW, HIGH = "actor/bapo/c_low", "actor/bapo/c_high"
PATH_START = {"c_low_start": 0.6, "c_low_max": 0.9, "c_high_start": 1.2, "c_high_max": 3.0}  # BAPO's defaults
TOLERANCE = 1e-5  # of float32, in which the numbers are stored


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
            keys = PATH_START | wanted.policy_loss
            ranges = {LOW: (keys["c_low_start"], keys["c_low_max"]), HIGH: (keys["c_high_start"], keys["c_high_max"])}
        ranges["training/updates"] = (wanted.keys["updates"],) * 2
        ranges["training/epochs"] = (wanted.keys.get("epochs", 1),) * 2
        ranges["training/versions"] = (wanted.keys.get("versions", 0),) * 2
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
    """One row a run: area under the reward curve (its mean), reward at the end, entropy at the end, collapsed.

    "The end" is the last `last` steps; a run has collapsed whose reward there is below `collapse`.
    """
    rows = []
    for (arm, seed), run in frame.groupby(["arm", "seed"], sort=False):
        end = run.sort_values("step").tail(plan["outcomes"]["last"])
        reward = end[REWARD].mean()
        row = {"arm": arm, "seed": seed, "auc": run[REWARD].mean(), "end": reward, "entropy": end[ENTROPY].mean()}
        rows.append(row | {"collapsed": reward < plan["outcomes"]["collapse"], "kl": run["rollout/kl"].mean()})
    return pandas.DataFrame(rows)


def compare(table: pandas.DataFrame, pair: list[str], outcome: str) -> Difference:
    """The first arm less the second."""
    ours, theirs = (table[table["arm"] == arm][outcome] for arm in pair)
    if outcome == "collapsed":
        return share_difference(int(ours.sum()), len(ours), int(theirs.sum()), len(theirs))
    return welch(ours.tolist(), theirs.tolist())


def verdicts(table: pandas.DataFrame, plan: dict) -> list[dict]:
    """One row for each primary comparison and outcome; Holm over all of them."""
    counts = table.groupby("arm").size()
    pairs = [pair for pair in plan["comparisons"] if all(counts.get(arm, 0) >= 2 for arm in pair)]
    rows = []
    for pair in pairs:
        for outcome in plan["outcomes"]["primary"]:
            rows.append(
                {"ours": pair[0], "theirs": pair[1], "outcome": outcome} | compare(table, pair, outcome)._asdict()
            )
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        difference = Difference(*(row[key] for key in Difference._fields))
        row["adjusted"] = adjusted
        row["verdict"] = verdict(difference, adjusted, plan["margin"][row["outcome"]])
    return rows


def arms_text(table: pandas.DataFrame) -> str:
    lines = ["| arm | seeds | auc | end | entropy | collapsed | KL |", "|---|---|---|---|---|---|---|"]
    for arm, runs in table.groupby("arm", sort=False):
        cells = [f"{runs[key].mean():.3f} +- {runs[key].std():.3f}" for key in ("auc", "end", "entropy")]
        lines.append(
            f"| {arm} | {len(runs)} | {' | '.join(cells)} | {runs['collapsed'].mean():.2f} | {runs['kl'].mean():.4f} |"
        )
    return "\n".join(lines)


def verdicts_text(rows: list[dict]) -> str:
    lines = ["| comparison | outcome | difference (95%) | p, Holm | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['ours']} less {row['theirs']} | {row['outcome']} | {row['value']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f}) | {row['adjusted']:.3f} | {row['verdict']} |"
        )
    return "\n".join(lines)


def seeds_text(table: pandas.DataFrame, plan: dict) -> str:
    """How many seeds each comparison needs, by the spread seen so far."""
    counts, lines = table.groupby("arm").size(), []
    for pair in plan["comparisons"]:
        if all(counts.get(arm, 0) >= 3 for arm in pair):
            ours, theirs = (table[table["arm"] == arm]["end"].tolist() for arm in pair)
            lines.append(f"{pair[0]} less {pair[1]}: {seeds_needed(ours, theirs, plan['margin']['end'])}")
    return "seeds an arm for an interval of the reward at the end as wide as the margin:\n" + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS)
    frame, plan = pandas.read_parquet(parser.parse_args().results), design.read()
    check(frame, plan)
    table = outcomes(frame, plan)
    print(arms_text(table), verdicts_text(verdicts(table, plan)), seeds_text(table, plan), sep="\n\n")


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
