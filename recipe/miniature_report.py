"""Figures and tables of the miniature, from the logs in recipe/miniature/. Trains nothing.

python recipe/miniature_report.py       draws recipe/miniature/*.png and writes the tables of its README.md
"""

import itertools
import json
import random
import re
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from files import write_whole
from matplotlib.figure import Figure
from miniature import LEARNING_RATE, RESULTS, Setting, design

from bapo_verl.figures import COLORS, FIGURES, RHO, Curve, Panel, Run, draw_figure, read_run, series

LAST = 10  # steps at the end of a run whose mean is its result
REWARD, ENTROPY, GRADIENT = "critic/score/mean", "actor/entropy", "actor/grad_norm"
ENTROPY_RULE = RESULTS / "entropy_rule.jsonl"
ZERO = [0.0]
ENTROPY_STEPS = {  # what was measured, and how its axis is named
    "gradient_step": ("a step along the gradient", "change of entropy / size of the step"),
    "adam_step": ("Adam's step", "change of entropy"),
}

Runs = dict[Setting, Run]
Kind = tuple[str, int]  # arm, updates


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


def interval(values: list[float], less: list[float] = ZERO, draws: int = 10_000) -> tuple[float, float]:
    """95% percentile bootstrap of the mean over seeds, less that of another arm, with a fixed seed of its own."""
    rng = random.Random(0)
    resample = [partial(rng.choices, seeds, k=len(seeds)) for seeds in (values, less)]
    means = sorted(statistics.fmean(resample[0]()) - statistics.fmean(resample[1]()) for _ in range(draws))
    return means[int(0.025 * draws)], means[int(0.975 * draws) - 1]


def with_interval(values: list[float], less: list[float] = ZERO) -> str:
    """The mean, less that of another arm. Of a single run, and of bounds that do not move, there is no interval."""
    average = f"{statistics.fmean(values) - statistics.fmean(less):.3f}"
    return average if len(set(values)) == 1 else "{} ({:.3f} to {:.3f})".format(average, *interval(values, less))


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


COMPARISONS: list[tuple[Kind, Kind]] = [
    (("grpo", 8), ("grpo", 1)),
    *(((arm, 8), ("grpo", 8)) for arm in ("clip_higher", "fixed_high", "fixed_low", "bapo", "bapo_gradient")),
    *((("bapo", x), ("grpo", x)) for x in (2, 4)),
    (("bapo_partial", 8), ("grpo_partial", 8)),
    (("bapo_shuffle", 8), ("grpo_shuffle", 8)),
    (("grpo_shuffle", 8), ("grpo", 8)),
    *(((arm, 8), ("bapo", 8)) for arm in ("bapo_gradient", "bapo_c_low_fixed", "bapo_micro", "bapo_weight")),
    *(((arm, 8), ("bapo", 8)) for arm in ("bapo_0.3", "bapo_0.5", "bapo_no_dual")),
    (("grpo_no_dual", 8), ("grpo", 8)),
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


def results(runs: Runs, kind: Kind, column: Column) -> list[float]:
    """One value for each seed."""
    return [column.read(runs[s], column.metric) for s in sorted(runs) if s[:3] == (*kind, LEARNING_RATE)]


def seed_correlation(runs: Runs) -> str:
    """Whether a seed is good or bad for every arm, so that differences should be taken seed by seed."""
    kinds = {s[:2] for s in runs if s.staleness == 8}
    rewards = [r for r in (results(runs, kind, COLUMNS[0]) for kind in sorted(kinds)) if len(r) == 5]
    pairs = [statistics.correlation(*pair) for pair in itertools.combinations(rewards, 2)]
    mean, low, high = (f"{round(value, 2) + 0.0:.2f}" for value in (statistics.fmean(pairs), min(pairs), max(pairs)))
    return (
        f"All arms saw the same problems in the same order, but seeds are no pairs: between two of the {len(rewards)} "
        f"arms with eight updates and five seeds the correlation of their rewards is {mean} on average, from {low} to "
        f"{high}. So the intervals resample the seeds of each arm by itself."
    )


def in_words(arm: str, staleness: int) -> str:
    return f"{arm}, {staleness} update{'s' * (staleness > 1)}"


def difference_table(runs: Runs) -> str:
    """One row for each of COMPARISONS: difference of the means over seeds, with 95% intervals."""
    columns = COLUMNS[:3]
    rows = []
    for arm, other in COMPARISONS:
        both = [(results(runs, arm, column), results(runs, other, column)) for column in columns]
        numbers = [str(len(seeds)) for seeds in both[0]]
        cells = [with_interval(*pair) if all(pair) else "not run" for pair in both]
        rows.append([in_words(*arm), in_words(*other), " and ".join(numbers), *cells])
    return table(["arm", "less", "seeds", *(c.head for c in columns)], rows)


def state(runs: Runs) -> str:
    """How much of the design is made."""
    made, planned = len(by_setting(runs)), len({s[:3] for s in design()})
    return (
        f"{len(runs)} of the design's {len(design())} runs are made, {made} of its {planned} settings with one seed or "
        'more. What is not made stands as "not run" in the tables.'
    )


TABLES = {
    "state": state,
    "settings": setting_table,
    "seeds": seed_correlation,
    "differences": difference_table,
    "runs": run_table,
}


class View(NamedTuple):
    """A figure: which runs, named how, in which panels."""

    keep: Callable[[Setting], bool]
    label: Callable[[Setting], str]
    panels: list[Panel]


reward, entropy, share, c_high, c_low, gradient = FIGURES["training"]
length = FIGURES["tokens"][2]
LOG_PROB = Panel(
    "mean of log pi", [Curve("actor/bapo/log_prob", "all tokens"), Curve("actor/bapo/clipped_log_prob", "clipped")]
)
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
        lambda s: s.arm == "grpo" and s.lr == LEARNING_RATE, lambda s: in_words("GRPO", s.staleness), BASIC
    ),
    "arms": View(arms("grpo", "clip_higher", "bapo", "bapo_gradient"), lambda s: s.arm, BASIC + SEARCH),
    "fixed": View(arms("grpo", "clip_higher", "fixed_high", "fixed_low"), lambda s: s.arm, BASIC),
    "target": View(arms("bapo_0.3", "bapo", "bapo_0.5"), lambda s: s.arm, BASIC + SEARCH),
    "readings": View(
        arms("bapo", "bapo_gradient", "bapo_c_low_fixed", "bapo_micro", "bapo_weight"), lambda s: s.arm, BASIC + SEARCH
    ),
    "dual_clip": View(arms("grpo", "grpo_no_dual", "bapo", "bapo_no_dual"), lambda s: s.arm, BASIC),
    "order": View(arms("grpo", "grpo_shuffle", "bapo", "bapo_shuffle"), lambda s: s.arm, [reward, length, share]),
    "partial": View(arms("grpo_partial", "bapo_partial"), lambda s: s.arm, BASIC),
    "tokens": View(
        lambda s: (s.arm, s.staleness) in {("grpo", 1), ("grpo", 8), ("bapo", 8)} and s.lr == LEARNING_RATE,
        lambda s: in_words(s.arm, s.staleness),
        [*FIGURES["tokens"][:5], LOG_PROB],
    ),
}


def draw_entropy_rule(path: Path) -> list[float]:
    """What recipe/entropy_rule.py measured against what the rule predicted; the correlations."""
    records = [json.loads(line) for line in ENTROPY_RULE.read_text().splitlines()]
    figure = Figure(figsize=(9, 4), layout="constrained")
    correlations = []
    for axes, (metric, (step, unit)) in zip(figure.subplots(1, 2), ENTROPY_STEPS.items(), strict=True):
        predicted, measured = ([record[key] for record in records] for key in ("predicted", metric))
        correlations.append(statistics.correlation(predicted, measured))
        axes.scatter(predicted, measured, s=8, alpha=0.4, color=COLORS[0], linewidths=0)
        axes.axhline(0, color="0.6", linewidth=0.6)
        axes.axvline(0, color="0.6", linewidth=0.6)
        axes.set_xlabel("predicted: -Cov[log pi, A X]", fontsize=10)
        axes.set_ylabel(unit, fontsize=10)
        axes.set_title(f"{step}, {len(records)} updates: correlation {correlations[-1]:.2f}", fontsize=11, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.locator_params(nbins=6)
    figure.savefig(path, dpi=100)
    return correlations


def draw_stalenesses(runs: Runs, path: Path) -> None:
    """Reward at the end against the number of updates on a batch, GRPO and BAPO (Fig. 11), with 95% intervals."""
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for arm, color, shift in (("grpo", COLORS[0], 0.98), ("bapo", COLORS[1], 1.02)):
        groups = {x: g for (name, x, lr), g in sorted(by_setting(runs).items()) if (name, lr) == (arm, LEARNING_RATE)}
        values = [[tail(run, REWARD) for run in group] for group in groups.values()]
        means = [statistics.fmean(v) for v in values]
        spread = [[abs(bound - m) for bound in interval(v)] for m, v in zip(means, values, strict=True)]
        places = [x * shift for x in groups]  # beside each other, not on top
        axes.errorbar(places, means, list(zip(*spread, strict=True)), color=color, marker="o", capsize=3, label=arm)
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    axes.set_xlabel("updates on each batch", fontsize=10)
    axes.set_ylabel(f"reward, last {LAST} steps", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


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
    draw_stalenesses(runs, RESULTS / "stalenesses.png")
    correlations = draw_entropy_rule(RESULTS / "entropy_rule.png")
    page = (RESULTS / "README.md").read_text()
    for name, make in TABLES.items():
        page = fill(page, name, make(runs))
    write_whole(RESULTS / "README.md", lambda path: path.write_text(page))
    print(f"{len(runs)} of {len(design())} runs; {', '.join(drawn)}; Entropy-Clip Rule: correlations", *correlations)


if __name__ == "__main__":
    main()
