"""A run's curves from verl's JSON-lines log (`trainer.logger=[console,file]`, `VERL_FILE_LOGGER_PATH`).

    python -m bapo_verl.figures RUN.jsonl [RUN2.jsonl ...] -o DIR

writes DIR/run.png: reward, entropy, the positive share before and after the search, and the bounds, over steps; with
several runs, one over another. It prints the path. A metric that a log lacks is named and its curve left out; a last
line cut short, as a killed run leaves it, is skipped with a warning.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # a figure is a file, also where there is no screen

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

# Title and the metrics drawn in it, each with the word its curve carries.
PANELS = [
    ("reward", {"critic/score/mean": ""}),
    ("entropy of the policy", {"actor/entropy": ""}),
    ("positive share of the loss", {"actor/bapo/rho": "chosen bounds", "actor/bapo/rho_start": "(a-, a+)"}),
    ("upper bound c_high", {"actor/bapo/c_high": ""}),
    ("lower bound c_low", {"actor/bapo/c_low": ""}),
    ("gradient norm", {"actor/grad_norm": ""}),
]
STYLES = ["-", ":"]


def read_run(path: Path) -> list[tuple[int, dict]]:
    """The (step, metrics) of a log, in its order.

    Raises:
        ValueError: for a line that is not JSON, other than the last.
    """
    lines = path.read_text().splitlines()
    run = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(f"{path}:{number} is not a line of verl's file logger: {line[:80]!r}") from None
            warnings.warn(f"{path}: the last line is cut short (a killed run?) and skipped", stacklevel=2)
            break
        run.append((record["step"], record["data"]))
    return run


def series(run: list[tuple[int, dict]], metric: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric, where it was logged."""
    points = [(step, data[metric]) for step, data in run if metric in data]
    return [step for step, _ in points], [value for _, value in points]


def draw(runs: dict[str, list[tuple[int, dict]]], output: Path) -> Path:
    """Draw PANELS of the named runs into `output`/run.png."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 5.6), layout="constrained")
    for panel, (title, metrics) in zip(axes.flat, PANELS, strict=True):
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.25, linewidth=0.5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        for color, (name, run) in enumerate(runs.items()):
            for style, (metric, word) in zip(STYLES, metrics.items(), strict=False):
                steps, values = series(run, metric)
                if not steps:
                    warnings.warn(f"{name} has no {metric}", stacklevel=2)
                    continue
                label = ", ".join(text for text in (name if len(runs) > 1 else "", word) if text)
                panel.plot(steps, values, style, color=f"C{color}", linewidth=1.6, label=label or None)
        if panel.get_legend_handles_labels()[1]:
            panel.legend(fontsize=8, frameon=False)
    for panel in axes[-1]:
        panel.set_xlabel("step", fontsize=9)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "run.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.jsonl")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    missing = [str(path) for path in arguments.runs if not path.is_file()]
    if missing:
        sys.exit(f"no such log: {', '.join(missing)}")
    print(draw({path.stem: read_run(path) for path in arguments.runs}, arguments.output))


if __name__ == "__main__":
    main()
