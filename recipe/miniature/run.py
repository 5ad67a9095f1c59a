"""Makes the laboratory's runs that are missing: one command, one process a core, stopped and started at will.

    python recipe/miniature/run.py -o DIR                     all of them
    python recipe/miniature/run.py -o DIR --only 'bapo*' --jobs 1
    python recipe/miniature/run.py -o DIR --list              which are missing
    python recipe/miniature/run.py -o DIR --collect           adds DIR's runs to laboratory.parquet

DIR holds RUN.jsonl for each run that has ended. A run that was stopped starts again.
One that is in laboratory.parquet is not made again.
"""

import argparse
import fnmatch
import multiprocessing
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import design
import tables
from tqdm import tqdm

RESULTS = Path(__file__).with_name("laboratory.parquet")
BASE = Path(__file__).with_name("base")  # what task.py made


def path(directory: Path, run: design.Run) -> Path:
    return directory / f"{run.name}.jsonl"


def start_worker(niceness: int) -> None:
    """Once in each process: torch, verl and a world of one."""
    os.nice(niceness)
    import laboratory

    laboratory.start()


def train(job: tuple[design.Run, Path, Path | None]) -> str:
    run, directory, pause = job
    import laboratory

    while pause is not None and pause.exists():
        time.sleep(5)
    policy_loss = laboratory.fixed(*run.bounds) if run.bounds else run.policy_loss
    setting = laboratory.Setting(**run.keys, policy_loss=policy_loss)
    laboratory.run(BASE, setting, path(directory, run), bar=False)
    return run.name


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names of runs, as a shell pattern")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: all cores)")
    parser.add_argument("--nice", type=int, default=0, help="niceness of the processes")
    parser.add_argument("--pause", type=Path, metavar="FILE", help="begin no run while FILE exists")
    parser.add_argument("--list", action="store_true", help="name the missing runs and train nothing")
    parser.add_argument("--collect", action="store_true", help="write laboratory.parquet and train nothing")
    return parser.parse_args()


def main() -> None:
    arguments = parse_args()
    directory = arguments.output
    logs = {run: path(directory, run) for run in design.runs(design.read())}
    if arguments.collect:
        tables.write(tables.add_runs(RESULTS, logs), RESULTS)
        return
    missing = [run for run in tables.missing(RESULTS, logs) if fnmatch.fnmatch(run.name, arguments.only)]
    if arguments.list:
        print(*(run.name for run in missing), f"{len(missing)} missing", sep="\n")
        return
    directory.mkdir(parents=True, exist_ok=True)
    jobs = [(run, directory, arguments.pause) for run in missing]
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.jobs, start_worker, (arguments.nice,)) as pool:
        for name in (bar := tqdm(pool.imap_unordered(train, jobs), total=len(jobs), unit="run", mininterval=30)):
            bar.set_postfix_str(name, refresh=False)


if __name__ == "__main__":
    main()
