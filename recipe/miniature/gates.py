"""Whether the regime is one in which bounds have something to hold: each gate with its value.

python recipe/miniature/gates.py               reads laboratory.parquet and design.yaml; exit code 1 where one fails
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import design
import pandas
from analysis import ENTROPY, REWARD, outcomes
from run import RESULTS


class Gate(NamedTuple):
    name: str
    value: str
    passed: bool


def at_start(runs: pandas.DataFrame, column: str) -> float:
    """The mean of the first step, which the base model samples."""
    return runs[runs["step"] == 1][column].mean()


def base_gates(on_policy: pandas.DataFrame, last: int) -> Iterator[Gate]:
    """Of the base model and the on-policy runs."""
    accuracy = at_start(on_policy, REWARD)
    yield Gate("accuracy at the start in 0.15 to 0.5", f"{accuracy:.3f}", 0.15 <= accuracy <= 0.5)
    ratio = at_start(on_policy, "rollout/failed_length") / at_start(on_policy, "rollout/right_length")
    yield Gate("failed answers at least 1.6 times as long as right ones", f"{ratio:.2f}", ratio >= 1.6)
    entropy = at_start(on_policy, ENTROPY)
    yield Gate("entropy at least 0.3 nats a token", f"{entropy:.3f}", entropy >= 0.3)
    share = on_policy["actor/bapo/rho_start"].mean()
    yield Gate("rho_start on policy at most 0.42", f"{share:.3f}", share <= 0.42)
    end = on_policy[on_policy["step"] > on_policy["step"].max() - last][REWARD].mean()
    yield Gate("on policy the run reaches 0.8", f"{end:.3f}", end >= 0.8)


def off_policy_gates(frame: pandas.DataFrame, table: pandas.DataFrame, arms: dict) -> Iterator[Gate]:
    """With several updates on a batch."""
    clipped = frame[frame["arm"] == arms["clipped"]]
    for column in ("ratio/below_0.8", "ratio/above_1.2"):
        share = clipped[column].mean()
        yield Gate(f"at least 2% of the tokens at {column}", f"{share:.3f}", share >= 0.02)
    unclipped = table[table["arm"] == arms["unclipped"]]["collapsed"].mean()
    yield Gate("without any clip at least half of the seeds collapse", f"{unclipped:.2f}", unclipped >= 0.5)
    end = {name: table[table["arm"] == arms[name]]["end"].mean() for name in ("on_policy", "clipped")}
    loss = end["on_policy"] - end["clipped"]
    dead = table[table["arm"] == arms["clipped"]]["collapsed"].mean()
    yield Gate(
        "with [0.8, 1.2] it loses 0.1 of the on-policy reward, or a quarter of its seeds",
        f"{loss:.3f} and {dead:.2f}",
        loss >= 0.1 or dead >= 0.25,
    )


def gates(frame: pandas.DataFrame, plan: dict) -> list[Gate]:
    arms, table = plan["gates"], outcomes(frame, plan)
    on_policy = frame[frame["arm"] == arms["on_policy"]]
    return [*base_gates(on_policy, plan["outcomes"]["last"]), *off_policy_gates(frame, table, arms)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS)
    found = gates(pandas.read_parquet(parser.parse_args().results), design.read())
    for gate in found:
        print(f"{'pass' if gate.passed else 'FAIL'}  {gate.name}: {gate.value}")
    sys.exit(0 if all(gate.passed for gate in found) else 1)


if __name__ == "__main__":
    main()
