"""Runs a verl command so that a person can follow it, and shows what came out.

    python -m recipe.demo.demo -o DIR -- COMMAND ...

The command's output goes to DIR/train.log and verl's metrics to DIR/metrics.jsonl; the terminal shows one line a step,
and at the end a summary and DIR/training.png, with stored runs of GRPO at the same learning rate. However it
ends (Ctrl-C too), no process of the run is left behind.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import pandas
from tqdm import tqdm

from bapo_verl.figures import FIGURES, draw_figure, read_run
from recipe.common import SILENCE_SECONDS, Run, interrupt_on_signals

GRPO_RUNS = Path(__file__).with_name("grpo.parquet")  # of the experiment at commit 78b4995: the same 24 steps
REWARD, RATE = "critic/score/mean", "actor/lr"

COLUMNS = {  # what a line of the terminal shows: verl's metric and its format
    "reward": ("critic/score/mean", ".3f"),
    "entropy": ("actor/entropy", ".3f"),
    "rho at start": ("actor/bapo/rho_start", ".3f"),
    "rho": ("actor/bapo/rho", ".3f"),
    "c_low": ("actor/bapo/c_low", ".3f"),
    "c_high": ("actor/bapo/c_high", ".3f"),
    "seconds": ("timing_s/step", ".1f"),
}


def new_steps(path: Path, seen: int) -> list[dict]:
    """Complete lines of the metrics after the first `seen`."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines[seen:]]


def line(step: int, data: dict) -> str:
    cells = [f"{data[m]:>{len(n)}{f}}" if m in data else f"{'-':>{len(n)}}" for n, (m, f) in COLUMNS.items()]
    return "  ".join([f"{step:>5}", *(f"{c:>7}" for c in cells)])


def follow(run: Run) -> None:
    """Print a line for each step until the command ends."""
    seen = 0
    start = "starting Ray, FSDP and vLLM (about a minute)"
    with tqdm(bar_format="{desc} {elapsed}", desc=start, disable=None) as status:  # None: only on a terminal
        while True:
            running = run.alive()  # asked first, so that the last lines are read after the end
            for record in new_steps(run.metrics, seen):
                if seen == 0:
                    tqdm.write("  ".join(["\n step", *(f"{n:>7}" for n in COLUMNS)]))
                seen += 1
                if "critic/score/mean" in record["data"]:
                    tqdm.write(line(record["step"], record["data"]))
                status.set_description_str(f"step {record['step'] + 1}, in all")
            if not running:
                status.set_description_str("ended after")
                return
            if run.silent():
                sys.exit(
                    f"nothing logged for {SILENCE_SECONDS} s, so the run was ended: where memory is short Ray kills a "
                    f"worker, and verl waits for it for ever; the whole log: {run.log}"
                )
            status.refresh()
            time.sleep(0.5)


def stored_grpo_runs(lr: float) -> pandas.DataFrame:
    """GRPO at this learning rate: a row a step, over its seeds; empty where there is none."""
    table = pandas.read_parquet(GRPO_RUNS)
    return table[abs(table["lr"] / lr - 1) < 1e-3].sort_values("step")


def draw_beside(run: list, grpo: pandas.DataFrame, directory: Path) -> Path:
    """training.png: the run, and behind its reward the mean of the stored ones, with a band from lowest to highest."""
    figure, path = draw_figure(FIGURES["training"], {"this run": [run]}), directory / "training.png"
    if len(grpo):
        reward = figure.axes[0]
        band = [grpo[column] for column in ("reward_lowest", "reward_highest")]
        reward.fill_between(grpo["step"], *band, color="0.85", zorder=0)
        reward.plot(grpo["step"], grpo["reward"], color="0.5", zorder=0, label="stored runs of GRPO")
        reward.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    return path


def draw_and_summarize(run: Run, directory: Path) -> str:
    """What a reader wants to know first, from the logs; draws training.png on the way."""
    history = read_run(run.metrics)
    trained = [(step, data) for step, data in history if "actor/bapo/rho" in data]
    accuracy = [v for _, data in history for k, v in data.items() if k.startswith("val-core/") and "/acc/mean@" in k]
    grpo = stored_grpo_runs(trained[-1][1][RATE])
    rows = []
    if len(accuracy) > 1:
        rows.append(("accuracy on the test set", f"{accuracy[0]:.3f} before, {accuracy[-1]:.3f} after"))
    for name in ("rho_start", "rho", "c_low", "c_high"):
        values = [data[f"actor/bapo/{name}"] for _, data in trained]
        rows.append((name, f"mean {statistics.mean(values):.3f}, from {min(values):.3f} to {max(values):.3f}"))
    rows += [("picture", draw_beside(history, grpo, directory)), ("metrics", run.metrics), ("log", run.log)]
    return "\n".join([*(f"{name:<26}{value}" for name, value in rows), in_sentences(trained, grpo)])


def in_sentences(run: list, grpo: pandas.DataFrame, last: int = 5) -> str:
    """What the bounds did, and where the run ended beside the stored ones: means over its last steps."""
    names = ("c_low", "c_high", "rho", "rho_start")
    low, high, rho, rho_start = (statistics.fmean(data[f"actor/bapo/{name}"] for _, data in run) for name in names)
    moved = sum(data["actor/bapo/steps"] > 0 for _, data in run)
    steps = [step for step, _ in run][-last:]
    reward = statistics.fmean(data[REWARD] for _, data in run[-last:])
    same = grpo[grpo["step"].isin(steps)]
    comparison = (
        f"In {same['seeds'].iloc[0]} stored runs of GRPO at the same learning rate: {same['reward'].mean():.2f} "
        f"(from {same['reward_lowest'].mean():.2f} to {same['reward_highest'].mean():.2f} at a step)."
        if len(same)
        else f"There are no stored runs at learning rate {run[-1][1][RATE]:g} and step {steps[-1]}."
    )
    return (
        f"\nThe search moved the bounds in {moved} of {len(run)} steps, to {low:.2f} and {high:.2f} on average.\n"
        f"Positive tokens had {rho:.3f} of the loss; at the start of the path they would have had {rho_start:.3f}.\n"
        f"Reward over the last {len(steps)} steps: {reward:.2f}. {comparison}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("command", nargs="+", metavar="-- COMMAND")
    arguments = parser.parse_args()
    directory = arguments.output.resolve()
    directory.mkdir(parents=True)
    interrupt_on_signals()

    run = Run(arguments.command, directory)
    print(f"log: {run.log}", flush=True)
    try:
        follow(run)
    except KeyboardInterrupt:
        print("\ninterrupted: ending the run's processes", flush=True)
        sys.exit(130)
    finally:
        run.end()
    if run.process.returncode:
        tail = run.log.read_text(errors="replace").splitlines()[-15:]
        sys.exit(
            "\n".join([*tail, f"the run failed with exit code {run.process.returncode}; the whole log: {run.log}"])
        )
    print("\n" + draw_and_summarize(run, directory))


if __name__ == "__main__":
    main()
