"""The paper's views of runs, from verl's JSON-lines logs (`trainer.logger=[console,file]`, `VERL_FILE_LOGGER_PATH`).

    python -m bapo_verl.figures RUN.jsonl [RUN2.jsonl ...] -o DIR

writes DIR/training.png (Fig. 8, 9: reward, entropy, gradient norm, bounds) and DIR/tokens.png (Fig. 4, 6: the shares of
positive and negative tokens, ratios, staleness), and prints their paths. Logs named NAME-seed0.jsonl, NAME-seed1.jsonl
are one curve, NAME: the mean over the seeds that have the step, with a band from the lowest to the highest.

A missing metric, an empty log and a truncated last line, as a killed run leaves it, are warnings and not errors.
"""

import argparse
import json
import math
import re
import statistics
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

Run = list[tuple[int, dict]]  # (step, metrics), as logged


class Curve(NamedTuple):
    """A metric and its label in the legend; with `complement`, one minus the metric."""

    metric: str
    word: str = ""
    complement: bool = False


class Panel(NamedTuple):
    title: str
    curves: list[Curve]
    log: bool = False


def signs(title: str, noun: str) -> Panel:
    """A panel of a metric that is logged for positive and for negative tokens."""
    return Panel(title, [Curve(f"actor/bapo/{sign}_{noun}", sign) for sign in ("positive", "negative")])


RHO = "actor/bapo/rho"
LAG = "training/off_policy/trajectory_staleness"
FIGURES = {
    "training": [
        Panel("reward", [Curve("critic/score/mean")]),
        Panel("entropy of the policy", [Curve("actor/entropy")]),
        Panel("positive share of the loss", [Curve(RHO, "chosen bounds"), Curve(f"{RHO}_start", "(a-, a+)")]),
        Panel("upper bound c_high", [Curve("actor/bapo/c_high")]),
        Panel("lower bound c_low", [Curve("actor/bapo/c_low")]),
        Panel("gradient norm", [Curve("actor/grad_norm")]),
    ],
    "tokens": [
        signs("share of the tokens", "tokens"),
        Panel("share of the loss", [Curve(RHO, "positive"), Curve(RHO, "negative", complement=True)]),
        signs("mean length of answers", "length"),
        Panel("quantiles of r", [Curve(f"actor/bapo/ratio_{q}", q) for q in ("max", "p99", "p50", "p01")], log=True),
        signs("share clipped", "clipped"),
        Panel("staleness, in versions", [Curve(f"{LAG}/mean", "newest token"), Curve(f"{LAG}_worst/mean", "oldest")]),
    ],
}
COLUMNS = 3
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]  # Okabe and Ito
STYLES = ["-", "--", ":", "-."]


def read_run(path: Path) -> Run:
    """The (step, metrics) of a log, in its order. Warns of a last line cut short, and of a log without a step.

    Raises:
        ValueError: for a line that verl did not write, other than the last.
    """
    lines = path.read_bytes().splitlines()
    run = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            run.append((record["step"], record["data"]))
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise ValueError(
                    f"{path}:{number} is not a line of verl's file logger: {line[:80].decode(errors='replace')}"
                ) from None
            warnings.warn(f"{path}: the last line is cut short (a killed run?) and skipped", stacklevel=2)
    if not run:
        warnings.warn(f"{path} is empty: no step was logged", stacklevel=2)
    return run


def series(run: Run, metric: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric, where it was logged; nan for what is not finite, which verl writes as null.

    Of a step logged twice, as where a run was resumed and its logs were joined, the later counts.
    """
    points = {step: data[metric] for step, data in run if metric in data}
    finite = [value if value is not None and math.isfinite(value) else math.nan for value in points.values()]
    return list(points), finite


def by_setting(runs: dict[str, Run]) -> dict[str, list[Run]]:
    """The runs of each setting: NAME-seed0 and NAME-seed1 are NAME, every other name is a setting of its own."""
    settings = defaultdict(list)
    for name, run in runs.items():
        settings[re.sub(r"(?<=.)-seed\d+$", "", name)].append(run)
    return dict(settings)


def over_seeds(runs: list[Run], curve: Curve) -> tuple[list[int], list[float], list[float], list[float]]:
    """Steps, and mean, lowest and highest over the runs that have the step; nan where none has a finite value."""
    points = defaultdict(list)
    for run in runs:
        for step, value in zip(*series(run, curve.metric), strict=True):
            points[step].append(1 - value if curve.complement else value)
    steps = sorted(points)
    values = [[value for value in points[step] if math.isfinite(value)] or [math.nan] for step in steps]
    return steps, [statistics.fmean(v) for v in values], [min(v) for v in values], [max(v) for v in values]


def draw_curve(axes: Axes, runs: list[Run], curve: Curve, color: str, style: str) -> bool:
    """Draw one curve of one setting, with a band for several runs; returns whether there was a finite value."""
    steps, mean, low, high = over_seeds(runs, curve)
    known = [False, *map(math.isfinite, mean), False]
    alone = [i for i in range(len(mean)) if known[i + 1] and not known[i] and not known[i + 2]]  # no line shows these
    axes.plot(steps, mean, style, color=color, linewidth=1.5, marker="o", markersize=3, markevery=alone)
    if len(runs) > 1:
        axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    return any(known)


def draw_panel(axes: Axes, panel: Panel, settings: dict[str, list[Run]]) -> None:
    """Draw a panel: a color for each setting, a line style for each curve; "not logged" where there is no value."""
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    else:
        axes.ticklabel_format(axis="y", useOffset=False)
    drawn = [
        draw_curve(axes, runs, curve, color, style)
        for curve, style in zip(panel.curves, STYLES, strict=False)
        for color, runs in zip(COLORS, settings.values(), strict=False)
    ]
    words = [curve.word for curve in panel.curves] if any(drawn) else []
    if not words:
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", va="center", fontsize=12, color="0.4")
        axes.set(xticks=[], yticks=[])
    if len(words) > 1:  # between the title and the axes, so that it covers no curve
        handles = [Line2D([], [], color="0.3", linestyle=style) for style in STYLES[: len(words)]]
        place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.98), "ncols": len(words)}
        axes.legend(handles, words, **place, fontsize=10, frameon=False, handlelength=1.7, columnspacing=1.0)
    axes.set_title(panel.title, fontsize=12, loc="left", pad=24 if len(words) > 1 else 8)


def draw_figure(panels: list[Panel], settings: dict[str, list[Run]]) -> Figure:
    """Any number of panels, three in a row, under a legend of the settings where there is more than one run.

    Raises:
        ValueError: for more settings than there are colors.
    """
    if len(settings) > len(COLORS):
        raise ValueError(f"a figure can tell {len(COLORS)} settings apart, got {len(settings)}: {', '.join(settings)}")
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(11, 3.2 * rows), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for place, panel in zip(axes, panels, strict=False):
        draw_panel(place, panel, settings)
    for place in axes[max(0, len(panels) - COLUMNS) : len(panels)]:  # the lowest panel of each column
        place.set_xlabel("step", fontsize=11)
    for place in axes[len(panels) :]:
        place.remove()
    labels = [f"{name} ({len(runs)} seeds)" if len(runs) > 1 else name for name, runs in settings.items()]
    title = "line: mean over seeds, band: lowest to highest" if labels != list(settings) else None
    if title or len(labels) > 1:
        handles = [Line2D([], [], color=color, linewidth=3) for color in COLORS[: len(labels)]]
        place = {"loc": "outside upper center", "ncols": max(1, 110 // (max(map(len, labels)) + 6))}  # what fits a line
        figure.legend(handles, labels, title=title, **place, fontsize=11, frameon=False)
    return figure


def draw(runs: dict[str, Run], output: Path) -> list[Path]:
    """Draw FIGURES of the named runs into the folder `output`; warns of each metric that a run lacks."""
    curves = [curve for panels in FIGURES.values() for panel in panels for curve in panel.curves]
    for name, run in runs.items():
        for metric in dict.fromkeys(curve.metric for curve in curves):  # each once, in order
            if run and not any(map(math.isfinite, series(run, metric)[1])):
                warnings.warn(f"{name} has no value of {metric}", stacklevel=2)
    output.mkdir(parents=True, exist_ok=True)
    paths = [output / f"{name}.png" for name in FIGURES]
    for path, panels in zip(paths, FIGURES.values(), strict=True):
        draw_figure(panels, by_setting(runs)).savefig(path, dpi=110)
    return paths


def names(paths: list[Path]) -> list[str]:
    """The names of the runs: those of the files, with their folders where two are the same (DIR/metrics.jsonl)."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path.with_suffix("")) for path in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.jsonl")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    missing = [str(path) for path in arguments.runs if not path.is_file()]
    if missing:
        sys.exit(f"no such log: {', '.join(missing)}")
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # a line, without our source
    runs = dict(zip(names(arguments.runs), map(read_run, arguments.runs), strict=True))
    print(*draw(runs, arguments.output), sep="\n")


if __name__ == "__main__":
    main()
