"""Runs a verl command so that a person can follow it, and shows what came out.

    python recipe/demo/demo.py -o DIR [--beside ARM] -- COMMAND ...

The command's output goes to DIR/train.log and verl's metrics to DIR/metrics.jsonl; the terminal shows one line a step,
and at the end a summary and DIR/training.png, with the miniature's runs of ARM beside it. However it ends (Ctrl-C too),
no process of the run is left behind.
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

RECIPE = Path(__file__).resolve().parents[1]
MINIATURE = RECIPE / "miniature"
sys.path += [str(RECIPE), str(MINIATURE)]  # for what several of its folders share, and to read the stored runs

import tables  # noqa: E402
from process import SILENCE_SECONDS, Run, interrupt_on_signals  # noqa: E402

STORED = MINIATURE / "laboratory.parquet"

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


def stored(arm: str, steps: int) -> list:
    """The miniature's runs of an arm, up to a step."""
    return tables.runs(pandas.read_parquet(STORED), arm, steps)


def last(run: list, metric: str, steps: int = 5) -> float:
    """Mean of a metric over the last steps of a run."""
    return statistics.fmean([data[metric] for _, data in run if metric in data][-steps:])


def draw_beside(run: list, others: list, arm: str, directory: Path) -> Path:
    """training.png: the run, and the arm's runs as a band from the lowest to the highest."""
    settings = {"this run": [run]} | ({f"{arm}, stored": others} if others else {})
    path = directory / "training.png"
    draw_figure(FIGURES["training"], settings).savefig(path, dpi=110)
    return path


def draw_and_summarize(run: Run, directory: Path, arm: str | None) -> str:
    """What a reader wants to know first, from the logs; draws training.png on the way."""
    history = read_run(run.metrics)
    trained = [(step, data) for step, data in history if "actor/bapo/rho" in data]
    accuracy = [v for _, data in history for k, v in data.items() if k.startswith("val-core/") and "/acc/mean@" in k]
    rows, others = [], stored(arm, trained[-1][0]) if arm and trained else []
    if len(accuracy) > 1:
        rows.append(("accuracy on the test set", f"{accuracy[0]:.3f} before, {accuracy[-1]:.3f} after"))
    for name in ("rho_start", "rho", "c_low", "c_high"):
        values = [data[f"actor/bapo/{name}"] for _, data in trained]
        if values:
            rows.append((name, f"mean {statistics.mean(values):.3f}, from {min(values):.3f} to {max(values):.3f}"))
    rows += [("picture", draw_beside(history, others, arm, directory)), ("metrics", run.metrics), ("log", run.log)]
    lines = [f"{name:<26}{value}" for name, value in rows]
    return "\n".join([*lines, *([in_a_sentence(trained, others, arm)] if others else [])])


def in_a_sentence(run: list, others: list, arm: str) -> str:
    """What the bounds did, and where the run ended beside the stored ones."""
    names = ("c_low", "c_high", "rho", "rho_start")
    low, high, rho, rho_start = (statistics.fmean(data[f"actor/bapo/{name}"] for _, data in run) for name in names)
    moved = sum(data["actor/bapo/steps"] > 0 for _, data in run)
    ours, theirs = [], []
    for name, metric in (("reward", "critic/score/mean"), ("entropy", "actor/entropy")):
        ends = [last(other, metric) for other in others]
        ours.append(f"{name} {last(run, metric):.2f}")
        theirs.append(f"{name} {min(ends):.2f} to {max(ends):.2f}")
    return (
        f"\nThe search moved the bounds in {moved} of {len(run)} steps, to {low:.2f} and {high:.2f} on average.\n"
        f"Positive tokens had {rho:.3f} of the loss; at the start of the path they would have had {rho_start:.3f}.\n"
        f"Over the last 5 steps: {', '.join(ours)}. In {len(others)} stored runs of {arm}: {', '.join(theirs)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--beside", metavar="ARM", help="an arm of recipe/miniature/laboratory.parquet to compare with")
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
    print("\n" + draw_and_summarize(run, directory, arguments.beside))


if __name__ == "__main__":
    main()
