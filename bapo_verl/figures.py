"""The paper's views of runs, from verl's JSON-lines logs (`trainer.logger=[console,file]`, `VERL_FILE_LOGGER_PATH`).

    python -m bapo_verl.figures RUN.jsonl [RUN2.jsonl ...] -o DIR

writes DIR/training.png (Fig. 8, 9: reward, entropy, gradient norm, bounds) and DIR/tokens.png (Fig. 4, 6: the shares of
positive and negative tokens, ratios, staleness), and prints their paths. Logs named NAME-seed0.jsonl, NAME-seed1.jsonl
are one curve, NAME: the mean over the seeds that have the step, with a band from the lowest to the highest.

A log may be joined from those of several starts (`cat`). Lines that are cut short, as a killed run leaves them, and
missing metrics are named in warnings. A log without any of the metrics is an error.

matplotlib is not one of the package's dependencies: pip install "bapo-verl[figures]" brings it.
"""

import argparse
import json
import math
import re
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, MaxNLocator
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("bapo_verl.figures needs matplotlib: pip install 'bapo-verl[figures]'") from error

Run = list[tuple[int, dict]]  # (step, metrics), as logged


class Curve(NamedTuple):
    """A metric and its label in the legend; with `complement`, one minus the metric."""

    metric: str
    label: str = ""
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
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]  # Okabe and Ito
STYLES = ["-", "--", ":", "-."]
LOOK = {"axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False, "font.size": 10}
LOOK |= {"axes.titlelocation": "left", "axes.formatter.useoffset": False, "legend.frameon": False}
METRICS = sorted({curve.metric for panels in FIGURES.values() for panel in panels for curve in panel.curves})


def read_run(path: Path) -> Run:
    """The (step, metrics) of a log, in its order. Warns of lines that hold no whole record, with their number.

    Where the log of a killed run was joined with that of the next start, the line that was cut short ends in a record.
    """
    run, broken = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        whole = _record(line)
        if record := whole or _record(line[line.rfind(b'{"step"') :]):
            run.append(record)
        if line.strip() and not whole:
            broken.append(f"line {number}: {line[:80].decode(errors='replace')}")
    if not run:
        found = f"but {broken[0]}" if broken else "it is empty"
        raise ValueError(f"{path} has no record of verl's file logger (trainer.logger=[console,file]), {found}")
    if broken:
        warnings.warn(f"{path}: skipped {len(broken)} lines that hold no whole record, first {broken[0]}", stacklevel=2)
    return run


def _record(line: bytes) -> tuple[int, dict] | None:
    """What verl writes for a step, `{"step": 1, "data": {...}}`; None for anything else."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    step, data = (record.get("step"), record.get("data")) if isinstance(record, dict) else (None, None)
    return (step, data) if isinstance(step, int) and isinstance(data, dict) else None


def series(run: Run, metric: str) -> pd.Series:
    """A metric by step, where it was logged; nan for what is not finite, which verl writes as null.

    Of a step logged twice, as where a run was resumed and its logs were joined, the later counts.
    """
    values = pd.Series({step: data[metric] for step, data in run if metric in data}, dtype=float)
    return values.replace([math.inf, -math.inf], math.nan)


def by_setting(runs: dict[str, Run]) -> dict[str, list[Run]]:
    """The runs of each setting: NAME-seed0 and NAME-seed1 are NAME, every other name is a setting of its own."""
    settings = defaultdict(list)
    for name, run in runs.items():
        settings[re.sub(r"(?<=.)-seed\d+$", "", name)].append(run)
    return dict(settings)


def draw_curve(axes: Axes, runs: list[Run], curve: Curve, color: str, style: str) -> bool:
    """Draw one curve of one setting: the mean of its runs and, for several, a band. Whether there was a value."""
    values = pd.concat([series(run, curve.metric) for run in runs], axis=1).sort_index()
    values = (1 - values if curve.complement else values).agg(["mean", "min", "max"], axis=1)
    known = values["mean"].notna()
    alone = known & ~known.shift(1, fill_value=False) & ~known.shift(-1, fill_value=False)  # no line shows these
    marks = {"marker": "o", "markersize": 3, "markevery": np.flatnonzero(alone).tolist()}
    axes.plot(values.index, values["mean"], style, color=color, **marks)
    if len(runs) > 1:
        axes.fill_between(values.index, values["min"], values["max"], color=color, alpha=0.15, linewidth=0)
    return known.any()


def draw_panel(axes: Axes, panel: Panel, settings: dict[str, list[Run]]) -> None:
    """Draw a panel: a color for each setting, a line style for each curve; "not logged" where there is no value."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    drawn = [
        draw_curve(axes, runs, curve, color, style)
        for curve, style in zip(panel.curves, STYLES, strict=False)
        for color, runs in zip(COLORS, settings.values(), strict=False)
    ]
    labels = [curve.label for curve in panel.curves] if any(drawn) else []
    if not labels:
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", va="center", fontsize=12, color="0.4")
        axes.set(xticks=[], yticks=[])
    if len(labels) > 1:  # between the title and the axes, so that it covers no curve
        handles = [Line2D([], [], color="0.3", linestyle=style) for style in STYLES[: len(labels)]]
        place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.98), "ncols": len(labels)}
        axes.legend(handles, labels, **place, handlelength=1.7, columnspacing=1.0)
    axes.set_title(panel.title, pad=24 if len(labels) > 1 else 8)


@matplotlib.rc_context(LOOK)
def draw_figure(panels: list[Panel], settings: dict[str, list[Run]]) -> Figure:
    """Six panels, under a legend of the settings where there is more than one run."""
    if len(settings) > len(COLORS):
        raise ValueError(f"a figure can tell {len(COLORS)} settings apart, got {len(settings)}: {', '.join(settings)}")
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 3)
    for place, panel in zip(axes.flat, panels, strict=True):
        draw_panel(place, panel, settings)
    for place in axes[1]:
        place.set_xlabel("step")
    seeds = any(len(runs) > 1 for runs in settings.values())
    if seeds or len(settings) > 1:
        labels = [f"{name} ({len(runs)} seeds)" if len(runs) > 1 else name for name, runs in settings.items()]
        labels = [label.replace("$", r"\$") for label in labels]  # else matplotlib reads mathematics between two
        handles = [Line2D([], [], color=color, linewidth=3) for color in COLORS[: len(labels)]]
        title = "line: mean over seeds, band: lowest to highest" if seeds else None
        columns = max(1, 110 // (max(map(len, labels)) + 6))  # what fits a line
        figure.legend(handles, labels, title=title, loc="outside upper center", ncols=columns)
    return figure


def check(name: str, run: Run) -> None:
    """Warn of each metric that a run lacks; a run without any is an error."""
    lacking = [metric for metric in METRICS if series(run, metric).isna().all()]
    if len(lacking) == len(METRICS):
        raise ValueError(f"{name} has no value of any metric that the figures show, such as {METRICS[0]}")
    for metric in lacking:
        warnings.warn(f"{name} has no value of {metric}", stacklevel=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.jsonl")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    paths, output = arguments.runs, arguments.output
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # a line, without our source
    names = [path.stem for path in paths]
    if len(set(names)) < len(paths):  # DIR/metrics.jsonl, DIR2/metrics.jsonl
        names = [str(path) for path in paths]
    try:
        runs = dict(zip(names, map(read_run, paths), strict=True))
        for name, run in runs.items():
            check(name, run)
        output.mkdir(parents=True, exist_ok=True)
        for name, panels in FIGURES.items():
            draw_figure(panels, by_setting(runs)).savefig(output / f"{name}.png", dpi=110)
            print(output / f"{name}.png")
    except (ValueError, OSError) as error:  # OSError: no such log, or DIR cannot be written
        sys.exit(str(error))


if __name__ == "__main__":
    main()
