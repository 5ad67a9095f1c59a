"""Runs a verl command so that a person can follow it, and shows what came out.

    python recipe/demo.py -o DIR -- COMMAND ...

The command's output goes to DIR/train.log and verl's metrics to DIR/metrics.jsonl; the terminal shows one line a step,
and at the end a summary and DIR/training.png. However it ends (Ctrl-C too), no process of the run is left behind.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from process import SILENCE_SECONDS, Run, interrupt_on_signals
from tqdm import tqdm

from bapo_verl.figures import draw, read_run

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


def summary(run: Run, directory: Path) -> str:
    """What a reader wants to know first. Every number is read from the log."""
    history = read_run(run.metrics)
    trained = [data for _, data in history if "actor/bapo/rho" in data]
    accuracy = [v for _, data in history for k, v in data.items() if k.startswith("val-core/") and "/acc/mean@" in k]
    rows = []
    if len(accuracy) > 1:
        rows.append(("accuracy on the test set", f"{accuracy[0]:.3f} before, {accuracy[-1]:.3f} after"))
    for name in ("rho_start", "rho", "c_low", "c_high"):
        values = [data[f"actor/bapo/{name}"] for data in trained]
        if values:
            rows.append((name, f"mean {statistics.mean(values):.3f}, from {min(values):.3f} to {max(values):.3f}"))
    rows += [("picture", draw({"run": history}, directory)[0]), ("metrics", run.metrics), ("log", run.log)]
    return "\n".join(f"{name:<26}{value}" for name, value in rows)


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
    print("\n" + summary(run, directory))


if __name__ == "__main__":
    main()
