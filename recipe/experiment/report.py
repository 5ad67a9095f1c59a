"""Tables and figures of README.md beside it, from runs.parquet and steps.parquet. Trains nothing.

python -m recipe.experiment.report      draws *.png, writes the tables of the page and a sentence of the root's README
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from recipe.experiment.analysis import Difference, Results
from recipe.experiment.design import MAIN, Plan
from recipe.experiment.run import RUNS

PAGE = Path(__file__).with_name("README.md")
README = PAGE.parents[2] / "README.md"
OUTCOMES = {
    "area": "reward at each one's own best rate",
    "equal_kl": "reward at equal KL of a step",
    "tolerance": "tolerance, octaves of the learning rate",
}
REGIMES = {
    "updates_8": "8 updates on a batch",
    "updates_1": "1 update",
    "updates_16": "16 updates",
    "updates_32": "32 updates",
    "versions_4": "batches 4 versions old",
    "versions_8": "batches 8 versions old",
    "long": "400 steps",
}
COLOURS = ["black", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "0.6"]
PANELS = {  # two of the curves' figures side by side
    "GRPO and BAPO": ["grpo", "bapo", "bapo_app_a", "bapo_rho_0.5", "bapo_gradient", "bapo_micro_batch"],
    "GRPO and bounds that nobody searched": [
        *("grpo", "clip_higher", "fixed_0.9_1.2", "fixed_0.9_1.1", "no_clip", "bapo_mean", "bapo_app_a_mean"),
    ],
}


def label(plan: Plan, method: str) -> str:
    return plan.methods[method]["label"]


def markdown(rows: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def interval(found: Difference) -> str:
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def claims_table(results: Results) -> str:
    rows = [["difference", "of", "regime", "95% interval", "p, Holm", "expected", "verdict"]]
    for claim in results.claims():
        if claim["outcome"] != "area":
            continue  # withdrawn: README.md says why
        first, second = (label(results.plan, name) for name in claim["pair"])
        p = "< 0.001" if claim["p"] < 0.001 else f"{claim['p']:.3f}"
        found = interval(claim["difference"])
        of, regime = OUTCOMES[claim["outcome"]], REGIMES[claim["regime"]]
        rows.append([f"{first} minus {second}", of, regime, found, p, claim["expected"], claim["verdict"]])
    return markdown(rows)


def result_sentence(results: Results) -> str:
    """The sentence of the repository's README."""
    ours, app_a = (interval(results.to_grpo(MAIN, method)) for method in ("bapo", "bapo_app_a"))
    text = (
        "[An experiment](recipe/experiment/README.md) with a tiny model tested **how fast** reward rises over 24 steps, "
        "with every method at its own best learning rate. The clip hardly acts there: it drops less than 1% of the "
        f"tokens. So the mean reward of BAPO minus that of GRPO, {ours} with the numbers of the paper's Sec. 5.1 and "
        f"{app_a} with those of its App. A (95% intervals; rewards are 0 or 1), says little about BAPO. Final reward, "
        "entropy, collapse and pass@k were not tested."
    )
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def mean_with_interval(values: np.ndarray) -> str:
    """The mean and the half width of its 95% interval (Student's t)."""
    return f"{values.mean():.3f} ± {stats.sem(values) * stats.t.ppf(0.975, len(values) - 1):.3f}"


def methods_table(results: Results) -> str:
    """A row for each method of the two main regimes, at its own best rate."""
    head = ["method", "bounds", "best rate", "seeds", "reward", "at the end", "entropy", "KL of a step"]
    rows = [head]
    for regime in (MAIN, "updates_1"):
        for method in results.plan.regimes[regime]["methods"]:
            rate = results.best_rate(regime, method)
            area, end, entropy, kl, low, high = (
                results.at_best(regime, method, column)
                for column in ("area", "end", "entropy_end", "kl", "c_low", "c_high")
            )
            bounds = f"[{low.mean():.2f}, {high.mean():.2f}]" if method != "no_clip" else "none"
            rows.append(
                [label(results.plan, method), bounds, f"{rate:g}", str(len(area)), mean_with_interval(area)]
                + [mean_with_interval(end), f"{entropy.mean():.2f}", f"{kl.mean():.4f}"]
            )
    return markdown(rows)


def regimes_table(results: Results) -> str:
    """The methods of the regimes with more off-policy data, at the rate that was chosen in each."""
    plan = results.plan
    rows = [["regime", "method", "best rate", "seeds", "reward", "minus GRPO (95%)", "KL of a step"]]
    for regime in ("updates_16", "updates_32", "versions_4", "versions_8"):
        for method in plan.names(regime, results.chosen):
            area, kl = (results.at_best(regime, method, column) for column in ("area", "kl"))
            difference = "" if method == "grpo" else interval(results.to_grpo(regime, method))
            rows.append(
                [REGIMES[regime], label(plan, method), f"{results.best_rate(regime, method):g}", str(len(area))]
                + [mean_with_interval(area), difference, f"{kl.mean():.4f}"]
            )
    return markdown(rows)


def draw_curves(axes: Axes, results: Results, methods: list[str], against: str) -> None:
    """Reward against learning rate or KL of a step: a line a method, a band from its lowest to its highest seed."""
    for method, colour in zip(methods, COLOURS, strict=False):
        curve = results.curve(MAIN, method)
        x = np.array(curve.rates) if against == "lr" else np.array([kl.mean() for kl in curve.kl])
        order = x.argsort()
        middle, low, high = (
            np.array([reduce(area) for area in curve.area])[order] for reduce in (np.mean, np.min, np.max)
        )
        axes.plot(x[order], middle, "o-", color=colour, label=label(results.plan, method), markersize=3)
        axes.fill_between(x[order], low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    if against == "lr":
        rates = results.plan.regimes[MAIN]["rates"]
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.minorticks_off()
    axes.legend(fontsize=7)
    axes.set_ylim(0.5, None)
    axes.grid(alpha=0.3)


def curves_figure(results: Results, against: str, name: str) -> Figure:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, (title, methods) in zip(figure.subplots(1, 2, sharey=True), PANELS.items(), strict=True):
        draw_curves(axes, results, methods, against)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(name)
    figure.axes[0].set_ylabel("reward, mean of the run")
    return figure


def figures(results: Results) -> Iterator[tuple[str, Figure]]:
    yield "learning_rate", curves_figure(results, "lr", "learning rate")


def tables(results: Results) -> dict[str, str]:
    return {"claims": claims_table(results), "methods": methods_table(results), "regimes": regimes_table(results)}


def fill(page: str, tables: dict[str, str]) -> str:
    """The page with each table between its markers, <!-- NAME --> and <!-- end of NAME -->."""
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        page = re.sub(pattern, lambda match, table=table: f"{match[1]}{table}\n{match[2]}", page, flags=re.S)
    return page


def main() -> None:
    results = Results(pandas.read_parquet(RUNS), Plan.read())
    for name, figure in figures(results):
        figure.savefig(PAGE.with_name(f"{name}.png"), dpi=90)
    PAGE.write_text(fill(PAGE.read_text(), tables(results)))
    README.write_text(fill(README.read_text(), {"result": result_sentence(results)}))


if __name__ == "__main__":
    main()
