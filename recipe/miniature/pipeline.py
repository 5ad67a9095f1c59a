"""Makes the runs of the design's `pipeline` section: the same task in the real pipeline, one run after another.

    python recipe/miniature/pipeline.py -o DIR                those that are missing; Ctrl-C and again: goes on
    python recipe/miniature/pipeline.py -o DIR --list         which are missing
    python recipe/miniature/pipeline.py -o DIR --collect      adds DIR's runs to pipeline.parquet

Each is examples/run_bapo_tiny_qwen2_cpu.sh (Ray, vLLM, FSDP2, the math reward) with the overrides of its arm. DIR/NAME
has its whole log. One that is in pipeline.parquet is not made again.
"""

import argparse
import fnmatch
import os
import sys
import time
from pathlib import Path

import design
from tables import add_runs, missing, write
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "recipe"))  # for what several of its folders share

from process import SILENCE_SECONDS, Run, interrupt_on_signals, waiting_bar  # noqa: E402

RESULTS = Path(__file__).with_name("pipeline.parquet")
SCRIPT = ROOT / "examples" / "run_bapo_tiny_qwen2_cpu.sh"


def overrides(plan: dict, run: design.Run) -> list[str]:
    """verl's keys of a run: its seed, and those of its arm."""
    seeds = ("data.seed", "actor_rollout_ref.rollout.seed", "actor_rollout_ref.actor.data_loader_seed")
    own = plan["pipeline"]["arms"][run.arm]
    return [*(f"{key}={run.seed}" for key in seeds), "trainer.val_before_train=False", "trainer.test_freq=-1", *own]


def log(directory: Path, run: design.Run) -> Path:
    """The metrics of a run that has ended."""
    return directory / run.name / "ended.jsonl"


def wait(run: Run, bar: tqdm) -> str | None:
    """Until the run ends. What went wrong, if something did."""
    while run.alive():
        if run.silent():
            return f"silent for {SILENCE_SECONDS} s and ended, see {run.log}"
        time.sleep(1)
        bar.update(0)
    return f"exit code {run.process.returncode}, see {run.log}" if run.process.returncode else None


def train(plan: dict, runs: list[design.Run], output: Path) -> None:
    """Make the runs. One that fails is named at the end, and the others go on."""
    os.environ.update(PYTHON=sys.executable, STEPS=str(plan["pipeline"]["steps"]))
    failed = []
    with waiting_bar(len(runs), "run") as bar:
        for run in runs:
            bar.set_postfix_str(run.name)
            directory = output / run.name
            directory.mkdir(parents=True, exist_ok=True)
            process = Run(["bash", str(SCRIPT), *overrides(plan, run)], directory)
            try:
                error = wait(process, bar)
            finally:
                process.end()
            if error:
                failed.append(f"{run.name}: {error}")
            else:
                process.metrics.rename(log(output, run))
            bar.update()
    if failed:
        sys.exit("\n".join(failed))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names of runs, as a shell pattern")
    parser.add_argument("--list", action="store_true", help="name the missing runs and train nothing")
    parser.add_argument("--collect", action="store_true", help="write pipeline.parquet and train nothing")
    return parser.parse_args()


def main() -> None:
    arguments, plan = parse_args(), design.read()
    output = arguments.output.resolve()
    logs = {run: log(output, run) for run in design.pipeline_runs(plan)}
    if arguments.collect:
        write(add_runs(RESULTS, logs), RESULTS)
        return
    runs = [run for run in missing(RESULTS, logs) if fnmatch.fnmatch(run.name, arguments.only)]
    if arguments.list:
        print(*(run.name for run in runs), f"{len(runs)} missing", sep="\n")
        return
    interrupt_on_signals()
    try:
        train(plan, runs, output)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
