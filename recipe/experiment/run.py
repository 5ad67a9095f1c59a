"""Makes the runs of design.yaml: one command, stopped and started at will.

    python -m recipe.experiment.run -o DIR               those that are missing, one process a core
    python -m recipe.experiment.run -o DIR --collect     writes evaluations.parquet and updates.parquet from DIR

DIR holds a log for each run that has ended; a run that was stopped starts again. Which learning rate is best is known
once the runs that choose it have ended, so the list of runs grows while they are made.
"""

import argparse
import json
import multiprocessing
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("VERL_PLATFORM", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas
from tqdm import tqdm

from recipe.experiment.analysis import summarize
from recipe.experiment.design import Plan, PlannedRun

HERE = Path(__file__).parent
EVALUATIONS, UPDATES = HERE / "evaluations.parquet", HERE / "updates.parquet"
KEYS = ["method", "lr", "seed", "step"]
UPDATE_COLUMNS = {  # of updates.parquet, and the metric in each
    "c_low": "actor/bapo/c_low",
    "c_high": "actor/bapo/c_high",
    "rho": "actor/bapo/rho",
    "rho_start": "actor/bapo/rho_start",
    "pg_clipfrac": "actor/pg_clipfrac",
    "unlike_grpo": "unlike_grpo",
}


def log_of(directory: Path, run: PlannedRun) -> Path:
    return directory / f"{run.name}.jsonl"


def read_logs(runs: list[PlannedRun], directory: Path) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """The evaluations and the updates of the runs that have ended, a row each."""
    evaluations, updates = [], []
    for run in runs:
        path = log_of(directory, run)
        for record in map(json.loads, path.read_text().splitlines() if path.exists() else []):
            key = dict(zip(KEYS, (run.method, run.lr, run.seed, record["step"]), strict=True))
            if "evaluation" in record:
                evaluations.append(key | record["evaluation"])
            updates += [key | {c: update.get(m) for c, m in UPDATE_COLUMNS.items()} for update in record["updates"]]
    return (
        pandas.DataFrame(evaluations, columns=[*KEYS, "reward", "pass_at_8", "entropy"]),
        pandas.DataFrame(updates, columns=[*KEYS, *UPDATE_COLUMNS]),
    )


def summaries(plan: Plan, runs: list[PlannedRun], directory: Path) -> pandas.DataFrame:
    return summarize(*read_logs(runs, directory), plan.design["outcomes"])


def make(run: PlannedRun, directory: Path) -> str:
    """Train one run, in a process of its own, which alone imports torch and verl."""
    from recipe.experiment import trainer

    trainer.train(trainer.Setting(**run.setting), log_of(directory, run))
    return run.name


def collect(plan: Plan, directory: Path) -> None:
    runs = plan.all_runs(lambda known: summaries(plan, known, directory))
    for table, path in zip(read_logs(runs, directory), (EVALUATIONS, UPDATES), strict=True):
        columns = [name for name in table if name not in KEYS]
        table[columns] = table[columns].astype("float32").round(4)
        table.to_parquet(path, compression="zstd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: all cores)")
    parser.add_argument("--collect", action="store_true", help="write the tables and train nothing")
    arguments = parser.parse_args()
    plan, directory = Plan(), arguments.output
    if arguments.collect:
        collect(plan, directory)
        return
    directory.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for stage in plan.stages(lambda known: summaries(plan, known, directory)):
            missing = [run for run in stage if not log_of(directory, run).exists()]
            made = pool.imap_unordered(partial(make, directory=directory), missing)
            bar = tqdm(made, total=len(missing), unit="run", mininterval=30)
            for name in bar:
                bar.set_postfix_str(name, refresh=False)


if __name__ == "__main__":
    main()
