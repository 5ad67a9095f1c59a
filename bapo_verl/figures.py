"""The paper's views of runs, from verl's JSON-lines logs (`trainer.logger=[console,file]`, `VERL_FILE_LOGGER_PATH`).

    python -m bapo_verl.figures RUN.jsonl [RUN2.jsonl ...] -o DIR

writes DIR/training.png (Fig. 8, 9: reward, entropy, gradient norm, bounds) and DIR/tokens.png (Fig. 4, 6: the shares of
positive and negative tokens, ratios, staleness), and prints their paths. Logs named NAME-seed0.jsonl, NAME-seed1.jsonl
are one curve, NAME: the mean over the seeds that have the step, with a band from the lowest to the highest.

A log may be joined from those of several starts (`cat`). Lines that are cut short, as a killed run leaves them, values
that are not numbers and missing metrics are counted in warnings. A log without any of the metrics is an error.

matplotlib is not one of the package's dependencies: pip install "bapo-verl[figures]" brings it.
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

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, MaxNLocator
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    missing = "bapo_verl.figures needs matplotlib: pip install 'bapo-verl[figures]'"
    raise (SystemExit if __name__ == "__main__" else ModuleNotFoundError)(missing) from None

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
METRICS = tuple(
    dict.fromkeys(curve.metric for panels in FIGURES.values() for panel in panels for curve in panel.curves)
)
LARGEST = 1e100  # an axis whose ends differ by more than a float holds cannot be drawn


def read_run(path: Path) -> Run:
    """The (step, metrics) of a log, in its order. Warns of lines that hold no whole record, with their number.

    Where a run was killed while it wrote and the logs of its starts were joined, the line that was cut short ends in
    the first record of the next start. That record is kept.

    Raises:
        ValueError: for a log without a single record.
    """
    run, broken = [], []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        whole = _record(line)
        if record := whole or _record(line[line.rfind(b'{"step"') :]):
            run.append(record)
        if line.strip() and not whole:
            broken.append(number)
    if broken:
        first = lines[broken[0] - 1][:80].decode(errors="replace")
        what = f"{len(broken)} of {len(lines)} lines hold what is no whole record of verl's, skipped; the first is line"
        if not run:
            raise ValueError(f"{path} has no record of verl's file logger (trainer.logger=[console,file]): {first}")
        warnings.warn(f"{path}: {what} {broken[0]}: {first}", stacklevel=2)
    if not run:
        raise ValueError(f"{path} is empty: no step was logged")
    return run


def _record(line: bytes) -> tuple[int, dict] | None:
    """What verl writes for a step, `{"step": 1, "data": {...}}`; None for anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step, data = (record.get("step"), record.get("data")) if isinstance(record, dict) else (None, None)
    return (step, data) if isinstance(step, int) and abs(step) <= LARGEST and isinstance(data, dict) else None


def number(value) -> float:
    """The value as it is drawn; nan where it is null or not finite, no number, or beyond LARGEST."""
    return value if isinstance(value, int | float) and abs(value) <= LARGEST else math.nan


def unusable(run: Run, metric: str) -> list[int]:
    """The steps at which a metric is text, a list or beyond LARGEST. null, nan and infinity are meant as gaps."""
    values = [(step, data[metric]) for step, data in run if data.get(metric) is not None]
    return [
        step
        for step, value in values
        if math.isnan(number(value)) and (not isinstance(value, float) or math.isfinite(value))
    ]


def series(run: Run, metric: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric, where it was logged; nan for what cannot be drawn, such as verl's null.

    Of a step logged twice, as where a run was resumed and its logs were joined, the later counts.
    """
    points = {step: number(data[metric]) for step, data in run if metric in data}
    return list(points), list(points.values())


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
    labels = [_plain(label) for label in labels]
    if title or len(labels) > 1:
        handles = [Line2D([], [], color=color, linewidth=3) for color in COLORS[: len(labels)]]
        place = {"loc": "outside upper center", "ncols": max(1, 110 // (max(map(len, labels)) + 6))}  # what fits a line
        figure.legend(handles, labels, title=title, **place, fontsize=11, frameon=False)
    return figure


def _plain(label: str) -> str:
    """A label that matplotlib prints as it is, without mathematics between two $."""
    return label.replace("$", r"\$")


def check(name: str, run: Run) -> None:
    """Warn of each metric that a run lacks, and of values that cannot be drawn.

    Raises:
        ValueError: for a run without one of METRICS.
    """
    lacking = [metric for metric in METRICS if not any(map(math.isfinite, series(run, metric)[1]))]
    if len(lacking) == len(METRICS):
        raise ValueError(f"{name} has no value of any metric that the figures show, such as {METRICS[0]}")
    for metric in METRICS:
        if steps := unusable(run, metric):
            values = f"{len(steps)} values of {metric} that are no numbers or beyond {LARGEST:g}"
            warnings.warn(f"{name} has {values}, the first at step {steps[0]}", stacklevel=3)
    for metric in lacking:
        warnings.warn(f"{name} has no value of {metric}", stacklevel=3)


def draw(runs: dict[str, Run], output: Path) -> list[Path]:
    """Draw FIGURES of the named runs into the folder `output`, after a `check` of each.

    Raises:
        ValueError: for a run without one of METRICS, or more settings than there are colors.
    """
    for name, run in runs.items():
        check(name, run)
    output.mkdir(parents=True, exist_ok=True)
    paths = [output / f"{name}.png" for name in FIGURES]
    for path, panels in zip(paths, FIGURES.values(), strict=True):
        draw_figure(panels, by_setting(runs)).savefig(path, dpi=110)
    return paths


def names(paths: list[Path]) -> list[str]:
    """The names of the runs: those of the files, with their folders where two are the same (DIR/metrics.jsonl)."""
    for named in ([path.stem for path in paths], [str(path.with_suffix("")) for path in paths]):
        if len(set(named)) == len(paths):
            return named
    return [str(path) for path in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.jsonl")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    missing = [str(path) for path in arguments.runs if not path.is_file()]
    if missing:
        sys.exit(f"no such log: {', '.join(missing)}")
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # a line, without our source
    try:
        runs = dict(zip(names(arguments.runs), map(read_run, arguments.runs), strict=True))
        print(*draw(runs, arguments.output), sep="\n")
    except (ValueError, OSError) as error:  # OSError: DIR cannot be written
        sys.exit(str(error))


if __name__ == "__main__":
    main()
