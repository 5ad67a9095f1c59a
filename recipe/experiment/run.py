"""Makes the runs of design.yaml: one command, stopped and started at will.

    python -m recipe.experiment.run -o DIR               those that are missing, one process a core
    python -m recipe.experiment.run -o DIR --collect     writes runs.parquet and steps.parquet from DIR

DIR holds a log for each run that has ended; a run that was stopped starts again. Which learning rate is best is known
once the runs that choose it have ended, so the list of runs grows while they are made.
"""

import argparse
import json
import multiprocessing
import os
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("VERL_PLATFORM", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas
from tqdm import tqdm

from recipe.experiment.design import Plan, PlannedRun

HERE = Path(__file__).parent
RUNS, STEPS = HERE / "runs.parquet", HERE / "steps.parquet"
REWARD, KL = "critic/score/mean", "rollout/kl"
STORED = {  # columns of both tables, and verl's metric
    "reward": REWARD,
    "entropy": "rollout/entropy",
    "kl": KL,
    "c_low": "actor/bapo/c_low",
    "c_high": "actor/bapo/c_high",
    "rho": "actor/bapo/rho",
    "rho_start": "actor/bapo/rho_start",
    "target_met": "actor/bapo/target_met",
    "positive_clipped": "actor/bapo/positive_clipped",
    "negative_clipped": "actor/bapo/negative_clipped",
    "grad_norm": "actor/grad_norm",
}


def log_of(directory: Path, run: PlannedRun) -> Path:
    return directory / f"{run.name}.jsonl"


def read_log(path: Path) -> pandas.DataFrame:
    """A row a step with the columns of STORED."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [{name: record["data"].get(metric) for name, metric in STORED.items()} for record in records]
    return pandas.DataFrame(rows, index=pandas.Index([record["step"] for record in records], name="step"))


def summary(run: PlannedRun, log: pandas.DataFrame, last: int) -> dict:
    """A row of runs.parquet: what the run was, and the means of its steps."""
    what = {"regime": run.regime, "method": run.method, "lr": run.lr, "seed": run.seed}
    end = log.tail(last)
    ends = {"area": log["reward"].mean(), "end": end["reward"].mean(), "entropy_end": end["entropy"].mean()}
    return what | ends | log.drop(columns="reward").mean().to_dict()


def summaries(plan: Plan, runs: list[PlannedRun], directory: Path) -> pandas.DataFrame:
    """Those of the runs that have ended."""
    ended = [run for run in runs if log_of(directory, run).exists()]
    last = plan.design["outcomes"]["last"]
    rows = [summary(run, read_log(log_of(directory, run)), last) for run in ended]
    return pandas.DataFrame(rows, columns=None if rows else ["regime", "method", "lr", "seed", "area"])


def start_worker(niceness: int) -> None:
    os.nice(niceness)
    import torch

    torch.set_num_threads(1)


def make(job: tuple[PlannedRun, Path, Path | None]) -> str:
    run, directory, pause = job
    from recipe.experiment import trainer

    while pause is not None and pause.exists():
        time.sleep(5)
    trainer.train(trainer.Setting(**run.setting), log_of(directory, run))
    return run.name


def collect(plan: Plan, directory: Path) -> None:
    """runs.parquet has a row a run, steps.parquet the means over the seeds that judge."""
    runs = plan.all_runs(lambda known: summaries(plan, known, directory))
    summaries(plan, runs, directory).to_parquet(RUNS)
    keys = ["regime", "method", "lr", "step"]
    logs = [
        read_log(log_of(directory, run)).reset_index().assign(**{key: asdict(run)[key] for key in keys[:3]})
        for run in runs
        if run.judges and log_of(directory, run).exists()
    ]
    groups = pandas.concat(logs).groupby(keys)
    table = groups.mean()
    table["reward_lowest"], table["reward_highest"] = groups["reward"].min(), groups["reward"].max()
    table = table.astype("float32").round(4)
    table["seeds"] = groups.size()
    table.reset_index().to_parquet(STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: all cores)")
    parser.add_argument("--nice", type=int, default=0, help="niceness of the processes")
    parser.add_argument("--pause", type=Path, metavar="FILE", help="begin no run while FILE exists")
    parser.add_argument("--collect", action="store_true", help="write the tables and train nothing")
    arguments = parser.parse_args()
    plan, directory = Plan.read(), arguments.output
    if arguments.collect:
        collect(plan, directory)
        return
    directory.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, start_worker, (arguments.nice,)) as pool:
        for stage in plan.stages(lambda known: summaries(plan, known, directory)):
            jobs = [(run, directory, arguments.pause) for run in stage if not log_of(directory, run).exists()]
            bar = tqdm(pool.imap_unordered(make, jobs), total=len(jobs), unit="run", mininterval=30)
            for name in bar:
                bar.set_postfix_str(name, refresh=False)


if __name__ == "__main__":
    main()
