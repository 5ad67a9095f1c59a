"""Tables and figures of README.md beside it, from evaluations.parquet and updates.parquet. Trains nothing.

python -m recipe.experiment.report      draws the figures, writes the tables and a paragraph of the root's README
"""

import re
import textwrap
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

from recipe.common import Table, as_markdown
from recipe.experiment.analysis import RUN, Difference, Results
from recipe.experiment.design import Plan
from recipe.experiment.run import EVALUATIONS, UPDATES

PAGE = Path(__file__).with_name("README.md")
README = PAGE.parents[2] / "README.md"
OUTCOMES = {"reward": "reward at the end", "entropy_matched": "entropy at reward 0.7"}
AT = {1: "at each one's best rate", 2: "at twice the best rate"}
COLORS = ["black", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"]


def label(results: Results, method: str) -> str:
    return results.plan.methods[method]["label"]


def interval(found: Difference | None) -> str:
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})" if found else "-"


def number(values: pandas.Series | np.ndarray, digits: int = 3) -> str:
    """The mean, and the standard deviation between seeds where there are two or more."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return "-"
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def claims_table(results: Results) -> Table:
    return [
        {
            "difference": " minus ".join(label(results, method) for method in claim["pair"]),
            "of": f"{OUTCOMES[claim['outcome']]}, {AT[claim['at']]}",
            "runs": " and ".join(map(str, claim["runs"])),
            "interval": interval(claim["difference"]),
            "expected": claim["expected"],
            "verdict": claim["verdict"],
        }
        for claim in results.claims()
    ]


def rates_table(results: Results) -> Table:
    """Reward, and pg_clipfrac in brackets, of the runs that choose."""
    rates = sorted(results.chosen["lr"].unique())
    rows = []
    for method in results.plan.methods:
        means = results.chosen[results.chosen["method"] == method].groupby("lr")[["reward", "pg_clipfrac"]].mean()
        cells = {rate: f"{reward:.3f} ({clipped:.3f})" for rate, reward, clipped in means.itertuples()}
        best = results.best_rate(method)
        marked = cells | ({best: f"**{cells[best]}**"} if best else {})
        rows.append({"method": label(results, method)} | {f"{rate:g}": marked.get(rate, "") for rate in rates})
    return rows


def methods_table(results: Results) -> Table:
    """The runs that judge, at each method's best rate and at twice that."""
    columns = {
        "reward": "reward",
        "pass@8": "pass_at_8",
        "entropy": "entropy",
        "entropy at reward 0.7": "entropy_matched",
        "drop": "drop",
        "`pg_clipfrac`": "pg_clipfrac",
    }
    rows = []
    for method, kind in results.plan.methods.items():
        for rate, group in results.judged[results.judged["method"] == method].groupby("lr"):
            collapsed = (group["drop"] > results.plan.design["outcomes"]["collapse"]).sum()
            stops = " / ".join(f"{group[name].mean():.0%}" for name in ("at_start", "inside", "at_end"))
            rows.append(
                {"method": kind["label"], "rate": f"{rate:g}", "runs": str(len(group))}
                | {title: number(group[column]) for title, column in columns.items()}
                | {"collapsed": f"{collapsed} of {len(group)}", "steps to 85%": number(results.steps_to(group), 0)}
                | {"start / inside / end": stops if "policy_loss" in kind else ""}
            )
    return rows


def wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def gate(results: Results) -> str:
    """What the gate asks for, and what was found."""
    found, least = results.gate(), results.plan.design["gate"]
    return (
        f"At GRPO's best learning rate, {results.best_rate('grpo'):g}, its clip drops {found['pg_clipfrac']:.1%} of "
        f"the tokens, and BAPO's gradient differs from GRPO's in {found['unlike_grpo']:.0%} of the updates: the "
        f"design's gate, {least['pg_clipfrac']:.0%} and {least['unlike_grpo']:.0%}, is "
        f"{'' if results.passed() else 'not '}passed."
    )


def state(results: Results) -> str:
    """The gate, how many runs there are, and how many claims have a look."""
    judged, claims = len(results.judged), results.claims()
    taken = sum(bool(claim["looks"]) for claim in claims)
    return (
        f"{gate(results)} {judged} runs judge {taken} of {len(claims)} claims; "
        f"{len(results.runs) - judged} others chose the learning rates."
    )


def result(results: Results) -> str:
    """For the repository's README: the state, and the claims against GRPO that have a look."""
    shared = results.plan.design["shared"]
    text = (
        "[An experiment](recipe/experiment/README.md) with a tiny model trains on batches that are "
        f"{shared['versions']} versions old and judges {shared['steps']} steps on problems that are not trained on. "
        + state(results)
    )
    if any(claim["looks"] for claim in results.claims()):
        text += " BAPO minus GRPO (open: neither a difference nor its absence is shown):"
    found = [
        f"- {label(results, claim['pair'][0])}, {OUTCOMES[claim['outcome']]}, {AT[claim['at']]}: "
        f"{interval(claim['difference'])}, {claim['verdict']}"
        for claim in results.claims()
        if claim["looks"] and claim["pair"][1] == "grpo"
    ]
    return "\n".join([wrapped(text), *([""] if found else []), *found])


def curves_figure(results: Results) -> Figure:
    """The evaluations of the runs that judge: a line a method, the mean of its seeds, and its runs as thin lines."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = [
        ("step", "reward", 1, "reward at the best rate"),
        ("step", "reward", 2, "reward at twice the best rate"),
        ("reward", "entropy", 1, "entropy in nats over reward, at the best rate"),
    ]
    for axes, (x, y, factor, title) in zip(figure.subplots(1, 3), panels, strict=True):
        for method, color in zip(results.plan.methods, COLORS, strict=True):
            runs = results.at(method, factor)[RUN]
            if not len(runs):
                continue
            curves = results.evaluations.merge(runs, on=RUN)
            for _, one in curves.groupby("seed"):
                axes.plot(one[x], one[y], color=color, linewidth=0.6, alpha=0.35)
            mean = curves.groupby("step", as_index=False)[["reward", "entropy"]].mean()
            name = f"{label(results, method)}, {factor * results.best_rate(method):g} ({len(runs)})"
            axes.plot(mean[x], mean[y], "o-", color=color, label=name, markersize=3)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(x)
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend(fontsize=7)
    return figure


def bounds_figure(results: Results) -> Figure:
    """c_high and c_low of every update of one run, over the run and against rho_start."""
    methods = [name for name in ("bapo", "bapo_gradient") if results.best_rate(name)]
    figure = Figure(figsize=(6 * len(methods), 4.6), layout="constrained")
    grid = figure.subplots(2, 2 * len(methods), sharey="row")
    for column, method in enumerate(methods):
        rate, seed = results.best_rate(method), results.plan.seeds[0]
        rows = results.updates[(results.updates["method"] == method) & (results.updates["seed"] == seed)]
        rows = rows[np.isclose(rows["lr"], rate)].reset_index(drop=True)
        for row, bound in enumerate(("c_high", "c_low")):
            over, against = grid[row, 2 * column], grid[row, 2 * column + 1]
            over.plot(rows.index + 1, rows[bound], ".", color=COLORS[column + 1], markersize=3)
            against.plot(rows["rho_start"], rows[bound], ".", color=COLORS[column + 1], markersize=3)
            against.axvline(0.4, color="0.5", linewidth=0.8)
            over.set_ylabel(bound)
            over.set_xlabel("update")
            against.set_xlabel("rho_start")
        grid[0, 2 * column].set_title(f"{label(results, method)}, every update of one run", fontsize=9)
        grid[0, 2 * column + 1].set_title("against rho_start, target 0.4", fontsize=9)
    return figure


def tables(results: Results) -> dict[str, str]:
    return {
        "state": wrapped(state(results)),
        "claims": as_markdown(claims_table(results)),
        "methods": as_markdown(methods_table(results)),
        "rates": as_markdown(rates_table(results)),
    }


def fill(page: str, tables: dict[str, str]) -> str:
    """The page with each table between its markers, <!-- NAME --> and <!-- end of NAME -->."""
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        page = re.sub(pattern, lambda match, table=table: f"{match[1]}{table}\n{match[2]}", page, flags=re.S)
    return page


def main() -> None:
    results = Results(pandas.read_parquet(EVALUATIONS), pandas.read_parquet(UPDATES), Plan())
    curves_figure(results).savefig(PAGE.with_name("curves.png"), dpi=90)
    bounds_figure(results).savefig(PAGE.with_name("bounds.png"), dpi=90)
    PAGE.write_text(fill(PAGE.read_text(), tables(results)))
    README.write_text(fill(README.read_text(), {"result": result(results)}))


if __name__ == "__main__":
    main()
