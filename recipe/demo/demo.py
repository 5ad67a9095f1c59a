"""Runs a verl command so that a person can follow it, and shows what came out.

    python -m recipe.demo.demo -o DIR -- COMMAND ...

The command's output goes to DIR/train.log and verl's metrics to DIR/metrics.jsonl; the terminal shows one line a step,
and at the end a summary and DIR/training.png, with stored runs of GRPO at the same learning rate. However it
ends (Ctrl-C too), no process of the run is left behind.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import pandas
from tqdm import tqdm

from bapo_verl.figures import FIGURES, draw_figure, read_run
from recipe.common import SILENCE_SECONDS, Run, interrupt_on_signals

GRPO_RUNS = Path(__file__).with_name("grpo.parquet")  # of the experiment at commit 78b4995: the same 24 steps
REWARD = "critic/score/mean"
COLUMNS = {  # what a line of the terminal shows: verl's metric and its format
    "reward": (REWARD, ".3f"),
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
    cells = [format(data[metric], style) if metric in data else "-" for metric, style in COLUMNS.values()]
    widths = [max(7, len(name)) for name in COLUMNS]
    return "  ".join([f"{step:>5}", *map(str.rjust, cells, widths)])


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
                if REWARD in record["data"]:
                    tqdm.write(line(record["step"], record["data"]))
                status.set_description_str(f"step {record['step'] + 1}, in all")
            if not running:
                status.set_description_str("ended after")
                return
            if run.silent():
                sys.exit(
                    f"nothing logged for {SILENCE_SECONDS} s, so the run was ended: where memory is short Ray kills a "
                    f"worker, and verl waits for it forever; the whole log: {run.log}"
                )
            status.refresh()
            time.sleep(0.5)


def stored_grpo_runs(lr: float) -> pandas.DataFrame:
    """GRPO at this learning rate: a row a step, over its seeds; empty where there is none."""
    table = pandas.read_parquet(GRPO_RUNS)
    return table[abs(table["lr"] / lr - 1) < 1e-3].sort_values("step")


def draw(logged: list, grpo: pandas.DataFrame, path: Path) -> None:
    """The run, and behind its reward the mean of the stored ones, with a band from lowest to highest."""
    figure = draw_figure(FIGURES["training"], {"this run": [logged]})
    if len(grpo):
        reward = figure.axes[0]
        band = [grpo[column] for column in ("reward_lowest", "reward_highest")]
        reward.fill_between(grpo["step"], *band, color="0.85", zorder=0)
        reward.plot(grpo["step"], grpo["reward"], color="0.5", zorder=0, label="stored runs of GRPO")
        reward.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def summary(history: pandas.DataFrame, grpo: pandas.DataFrame) -> str:
    """Accuracy, what the bounds did, and the reward over the last five steps beside that of the stored runs."""
    accuracy = history.filter(regex="^val-core/.*/acc/mean@").stack()
    trained = history[history["actor/bapo/rho"].notna()]
    end, mean = trained.tail(5), trained.filter(like="actor/bapo/").mean()
    same = grpo[grpo["step"].isin(end.index)]
    comparison = (
        f"In {same['seeds'].iloc[0]} stored runs of GRPO at the same learning rate: {same['reward'].mean():.2f} "
        f"(from {same['reward_lowest'].mean():.2f} to {same['reward_highest'].mean():.2f} at a step)."
        if len(same)
        else "There are no stored runs of GRPO at this learning rate and these steps."
    )
    lines = [
        f"The search moved the bounds in {(trained['actor/bapo/steps'] > 0).sum()} of {len(trained)} steps, to "
        f"{mean['actor/bapo/c_low']:.2f} and {mean['actor/bapo/c_high']:.2f} on average.",
        f"Positive tokens had {mean['actor/bapo/rho']:.3f} of the loss; at the start of the path they would have had "
        f"{mean['actor/bapo/rho_start']:.3f}.",
        f"Reward over the last {len(end)} steps: {end[REWARD].mean():.2f}. {comparison}",
    ]
    if len(accuracy) > 1:
        lines.insert(0, f"Accuracy on the test set: {accuracy.iloc[0]:.3f} before, {accuracy.iloc[-1]:.3f} after.")
    return "\n".join(lines)


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
        sys.exit(run.failure())
    logged, picture = read_run(run.metrics), directory / "training.png"
    history = pandas.DataFrame.from_dict(dict(logged), orient="index")
    grpo = stored_grpo_runs(history["actor/lr"].dropna().iloc[-1])
    draw(logged, grpo, picture)
    print(f"\n{summary(history, grpo)}\npicture  {picture}\nmetrics  {run.metrics}\nlog      {run.log}")


if __name__ == "__main__":
    main()
