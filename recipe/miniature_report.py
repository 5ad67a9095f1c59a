"""Figures and tables of the miniature, from the logs in recipe/miniature/. Trains nothing.

python recipe/miniature_report.py       draws recipe/miniature/*.png and writes the tables of its README.md
"""

import math
import random
import re
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from miniature import LEARNING_RATE, RESULTS, Setting, design
from prepare_data import write_whole

from bapo_verl.figures import COLORS, FIGURES, RHO, Panel, Run, draw_figure, read_run, series

LAST = 10  # steps at the end of a run whose mean is its result
REWARD, ENTROPY, GRADIENT = "critic/score/mean", "actor/entropy", "actor/grad_norm"
Runs = dict[Setting, Run]


def load() -> Runs:
    """Every finished run of the design."""
    paths = {setting: RESULTS / f"{setting.name}.jsonl" for setting in design()}
    return {setting: read_run(path) for setting, path in paths.items() if path.exists()}


def tail(run: Run, metric: str) -> float:
    """Mean of the last LAST values."""
    return statistics.fmean(series(run, metric)[1][-LAST:])


def mean(run: Run, metric: str) -> float:
    return statistics.fmean(series(run, metric)[1])


def largest(run: Run, metric: str) -> float:
    return max(series(run, metric)[1])


def interval(values: list[float], draws: int = 10_000) -> tuple[float, float]:
    """95% percentile bootstrap of the mean over seeds, with a fixed seed of its own."""
    rng = random.Random(0)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(draws))
    return means[int(0.025 * draws)], means[int(0.975 * draws) - 1]


def with_interval(values: list[float]) -> str:
    average = f"{statistics.fmean(values):.3f}"
    return average if len(values) == 1 else "{} ({:.3f} to {:.3f})".format(average, *interval(values))


class Column(NamedTuple):
    head: str
    metric: str
    read: Callable[[Run, str], float]


COLUMNS = [
    Column("reward", REWARD, tail),
    Column("entropy", ENTROPY, tail),
    Column("largest gradient norm", GRADIENT, largest),
    Column("rho at start", f"{RHO}_start", tail),
    Column("rho", RHO, tail),
    Column("c_low", "actor/bapo/c_low", mean),
    Column("c_high", "actor/bapo/c_high", mean),
]


def table(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def by_setting(runs: Runs) -> dict[tuple, list[Run]]:
    groups = defaultdict(list)
    for setting, run in runs.items():
        groups[setting[:3]].append(run)
    return groups


def setting_table(runs: Runs) -> str:
    """One row for each arm, staleness and learning rate: means over seeds, with 95% intervals."""
    rows = [
        [
            arm,
            str(x),
            f"{lr:g}",
            str(len(group)),
            *(with_interval([c.read(r, c.metric) for r in group]) for c in COLUMNS),
        ]
        for (arm, x, lr), group in by_setting(runs).items()
    ]
    return table(["arm", "updates", "lr", "seeds", *(c.head for c in COLUMNS)], rows)


def run_table(runs: Runs) -> str:
    """Every run of the design, made or not."""
    rows = []
    for setting in design():
        values = [f"{c.read(runs[setting], c.metric):.3f}" for c in COLUMNS] if setting in runs else ["not run"]
        rows.append([setting.arm, str(setting.staleness), f"{setting.lr:g}", str(setting.seed), *values])
    width = 4 + len(COLUMNS)
    return table(
        ["arm", "updates", "lr", "seed", *(c.head for c in COLUMNS)], [r + [""] * (width - len(r)) for r in rows]
    )


class View(NamedTuple):
    """A figure: which runs, named how, in which panels."""

    keep: Callable[[Setting], bool]
    label: Callable[[Setting], str]
    panels: list[Panel]


reward, entropy, share, c_high, c_low, gradient = FIGURES["training"]
BASIC, SEARCH = [reward, entropy, gradient], [share, c_high, c_low]


def arms(*names: str):
    return lambda s: s.arm in names and s.staleness == 8 and s.lr == LEARNING_RATE


VIEWS = {
    "map": View(
        lambda s: s.arm == "grpo" and s.seed == 0 and s.staleness == 8, lambda s: f"8 updates, lr {s.lr:g}", BASIC
    ),
    "map_on_policy": View(
        lambda s: s.arm == "grpo" and s.seed == 0 and s.staleness == 1, lambda s: f"1 update, lr {s.lr:g}", BASIC
    ),
    "staleness": View(
        lambda s: s.arm == "grpo" and s.lr == LEARNING_RATE, lambda s: f"GRPO, {s.staleness} updates", BASIC
    ),
    "arms": View(arms("grpo", "clip_higher", "bapo", "bapo_gradient"), lambda s: s.arm, BASIC + SEARCH),
    "fixed": View(arms("grpo", "clip_higher", "fixed_high", "fixed_low"), lambda s: s.arm, BASIC),
    "target": View(arms("bapo_0.3", "bapo", "bapo_0.5", "bapo_gradient_0.5"), lambda s: s.arm, BASIC + SEARCH),
    "readings": View(arms("bapo", "bapo_gradient", "bapo_micro", "bapo_weight"), lambda s: s.arm, BASIC + SEARCH),
    "partial": View(arms("grpo_partial", "bapo_partial"), lambda s: s.arm, BASIC),
}


def entropy_changes(runs: Runs) -> tuple[list[float], list[float]]:
    """Of every step but the last: the change the rule predicts for a unit step, and the change that followed."""
    predicted, followed = [], []
    for run in runs.values():
        rule, entropy = (
            dict(zip(*series(run, metric), strict=True)) for metric in ("actor/bapo/entropy_change", ENTROPY)
        )
        for step in rule:
            if step + 1 in entropy and math.isfinite(rule[step]):
                predicted.append(rule[step])
                followed.append(entropy[step + 1] - entropy[step])
    return predicted, followed


def draw_entropy_rule(runs: Runs, path: Path) -> float:
    """The scatter; returns its correlation."""
    predicted, followed = entropy_changes(runs)
    correlation = statistics.correlation(predicted, followed)
    figure = Figure(figsize=(5.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.scatter(predicted, followed, s=6, alpha=0.4, color=COLORS[0], linewidths=0)
    axes.axhline(0, color="0.6", linewidth=0.6)
    axes.axvline(0, color="0.6", linewidth=0.6)
    axes.set_xlabel("-Cov[log pi, A X], mean over the step's updates", fontsize=10)
    axes.set_ylabel("change of entropy to the next step", fontsize=10)
    axes.set_title(f"Entropy-Clip Rule: {len(predicted)} steps, correlation {correlation:.2f}", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", nbins=6)
    figure.savefig(path, dpi=110)
    return correlation


def draw(runs: Runs) -> list[str]:
    """Draw each view that has something to compare; their names."""
    drawn = []
    for name, view in VIEWS.items():
        settings = defaultdict(list)
        for setting, run in sorted(runs.items(), key=lambda item: item[0].staleness):
            if view.keep(setting):
                settings[view.label(setting)].append(run)
        if len(settings) > 1:  # nothing to compare otherwise
            draw_figure(view.panels, settings).savefig(RESULTS / f"{name}.png", dpi=90)
            drawn.append(name)
    return drawn


def fill(page: str, name: str, text: str) -> str:
    """Replace what stands between the page's two marks of this name."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if start not in page or end not in page:
        raise ValueError(f"{RESULTS / 'README.md'} has no {start} ... {end}")
    return re.sub(f"{start}.*?{end}", lambda _: f"{start}\n{text}\n{end}", page, flags=re.DOTALL)


def main() -> None:
    runs = load()
    warnings.simplefilter("ignore")  # a metric that an arm does not log leaves its panel empty
    drawn = draw(runs)
    correlation = draw_entropy_rule(runs, RESULTS / "entropy_rule.png")
    page = (RESULTS / "README.md").read_text()
    for name, text in (("settings", setting_table(runs)), ("runs", run_table(runs))):
        page = fill(page, name, text)
    write_whole(RESULTS / "README.md", lambda path: path.write_text(page))
    print(f"{len(runs)} of {len(design())} runs; {', '.join(drawn)}; Entropy-Clip Rule: correlation {correlation:.3f}")


if __name__ == "__main__":
    main()
