"""Figures and tables of the miniature's page, from laboratory.parquet and pipeline.parquet. Trains nothing.

python recipe/miniature/report.py       draws *.png beside it and writes the tables of README.md, and one of the root's
"""

import re
from pathlib import Path

import analysis
import design
import gates
import pandas
import pipeline
import run
import tables
from matplotlib.figure import Figure
from welch import welch

from bapo_verl.figures import RHO, Curve, Panel, Run, draw_figure

HERE = Path(__file__).resolve().parent
PAGE, README = HERE / "README.md", HERE.parents[1] / "README.md"
# The claims that the repository's README shows.
HEADLINES = (
    ("grpo", "on_policy"),
    ("bapo", "grpo"),
    ("bapo_octothinker", "grpo"),
    ("bapo", "clip_higher"),
    ("bapo_old", "grpo_old"),
    ("bapo", "fixed_mean"),
    ("bapo_micro_batch", "bapo"),
)
BARS = {"start": "#56B4E9", "inside": "#009E73", "end": "#D55E00"}
VERDICTS = {"supported": "#009E73", "contradicted": "#D55E00", "open": "0.6"}

REWARD = Panel("reward", [Curve(analysis.REWARD)])
ENTROPY = Panel("entropy of the samples", [Curve(analysis.ENTROPY)])
KL = Panel("KL of a step", [Curve(analysis.KL)])
CLIPPED = Panel(
    "share of the tokens beyond", [Curve("ratio/below_0.8", "below 0.8"), Curve("ratio/above_1.2", "above 1.2")]
)
SHARE = Panel("positive share of the loss", [Curve(RHO, "chosen bounds"), Curve(f"{RHO}_start", "start of the path")])
C_HIGH, C_LOW = Panel("c_high", [Curve(analysis.HIGH)]), Panel("c_low", [Curve(analysis.LOW)])
NORM = Panel("gradient norm", [Curve("actor/grad_norm")])
POLICY_ENTROPY = Panel("entropy of the policy", [Curve("actor/entropy")])

# Columns of the tables of the real pipeline.
AGREEMENT = {
    "reward": analysis.REWARD,
    "entropy": "actor/entropy",
    "rho_start": f"{RHO}_start",
    "c_low": analysis.LOW,
    "c_high": analysis.HIGH,
    "grad norm": "actor/grad_norm",
}

# Figure: its panels and its arms, of both tables.
VIEWS: dict[str, tuple[list[Panel], list[str]]] = {
    "regime": ([REWARD, ENTROPY, CLIPPED], ["on_policy", "grpo", "no_clip"]),
    "bapo": ([REWARD, ENTROPY, NORM, SHARE, C_HIGH, C_LOW], ["grpo", "bapo", "bapo_gradient"]),
    "controls": ([REWARD, ENTROPY, KL], ["bapo", "fixed_mean", "fixed_start", "fixed_end", "bapo_c_low_fixed"]),
    "fixed": ([REWARD, ENTROPY, KL], ["grpo", "clip_higher", "high_1.5", "low_0.5", "no_clip"]),
    "updates": ([REWARD, ENTROPY, SHARE], ["grpo_x4", "bapo_x4", "grpo_x16", "bapo_x16"]),
    "old": ([REWARD, ENTROPY, SHARE], ["grpo_old", "bapo_old"]),
    "readings": ([REWARD, ENTROPY, C_HIGH], ["grpo", "bapo", "bapo_0.5", "bapo_octothinker", "bapo_micro_batch"]),
    "random": (
        [ENTROPY, KL, REWARD],
        ["random_grpo", "random_no_clip", "random_high_1.5", "random_low_0.5", "random_bapo"],
    ),
    "pipeline": (
        [REWARD, POLICY_ENTROPY, NORM, SHARE, C_HIGH, C_LOW],
        ["grpo", "pipeline_grpo", "bapo", "pipeline_bapo"],
    ),
    "partial": ([REWARD, POLICY_ENTROPY, C_HIGH], ["partial_grpo", "partial_bapo"]),
}


def settings(frame: pandas.DataFrame, arms: list[str], steps: int | None = None) -> dict[str, list[Run]]:
    """The arms' runs as bapo_verl.figures reads them; without those that have no run."""
    found = {arm: tables.runs(frame, arm, steps) for arm in arms}
    return {arm: runs for arm, runs in found.items() if runs}


def draw_views(frame: pandas.DataFrame, pipeline_steps: int) -> dict[str, Figure]:
    figures = {}
    for name, (panels, arms) in VIEWS.items():
        found = settings(frame, arms, pipeline_steps if name == "pipeline" else None)
        if found:
            figures[name] = draw_figure(panels, found)
    return figures


def draw_claims(rows: list[dict], margins: dict) -> Figure:
    """Each claim's difference with its 95% interval, over the margin of equivalence."""
    figure = Figure(figsize=(11, 0.34 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        difference, margin = row["difference"], margins[row["outcome"]]
        color = VERDICTS.get(row["verdict"], "#0072B2")
        axes.barh(place, 2 * margin, left=-margin, color="0.92", height=0.8)
        axes.plot([difference.low, difference.high], [place, place], color=color, linewidth=2.5)
        axes.plot(difference.value, place, "o", color=color, markersize=6)
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{row['claim']} [{row['outcome']}]" for row in reversed(rows)], fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("first arm less the second, 95% interval, over the margin (bar)")
    axes.set_title(
        "green: supported, red: contradicted, grey: open\n"
        "blue: a difference of the margin is excluded, at least on the expected side",
        fontsize=9,
    )
    return figure


def draw_search(frame: pandas.DataFrame) -> Figure:
    """For each arm whose bounds move, the shares of updates that stop at the start, inside, and at the end."""
    moving = [arm for arm, runs in frame.groupby("arm", sort=False) if runs["search/start"].mean() < 1]
    figure = Figure(figsize=(11, 0.4 * len(moving) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, arm in enumerate(reversed(moving)):
        left = 0.0
        for where, color in BARS.items():
            share = frame[frame["arm"] == arm][f"search/{where}"].mean()
            axes.barh(place, share, left=left, color=color, height=0.7, label=where if place == 0 else None)
            left += share
    axes.set_yticks(range(len(moving)), list(reversed(moving)))
    axes.set_xlabel("share of the updates whose search stops at its path's start, inside, at its end")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return figure


def gates_text(frame: pandas.DataFrame, plan: dict) -> str:
    rows = [[gate.name, gate.value, "pass" if gate.passed else "FAIL"] for gate in gates.gates(frame, plan)]
    return analysis.table_text(["gate", "value", ""], rows)


def state_text(frame: pandas.DataFrame, plan: dict) -> str:
    there, wanted = frame.groupby(["arm", "seed"]).ngroups, len(design.runs(plan))
    seconds = frame["timing_s/step"].sum()
    return (
        f"{there} of the design's {wanted} laboratory runs are made; they took {seconds / 3600:.1f} hours of a core, "
        f"{frame['timing_s/step'].median():.2f} s a step in the median, beside other work."
    )


def by_seed(frame: pandas.DataFrame, arm: str, columns: list[str]) -> pandas.DataFrame:
    """The mean of each run of an arm, one row a seed."""
    return frame[frame["arm"] == arm].groupby("seed")[columns].mean()


def means_row(arm: str, means: pandas.DataFrame) -> list[str]:
    cells = [f"{means[c].mean():.3f} ({means[c].min():.3f} to {means[c].max():.3f})" for c in means]
    return [arm, str(len(means)), *cells]


def agreement_text(frame: pandas.DataFrame, steps: int) -> str:
    """Laboratory and pipeline over the same steps, and the pipeline's mean less the laboratory's."""
    rows, columns = [], list(AGREEMENT.values())
    for arm in ("grpo", "bapo"):
        ours = by_seed(frame[frame["step"] <= steps], arm, columns)
        theirs = by_seed(frame, f"pipeline_{arm}", columns)
        rows += [means_row(arm, ours), means_row(f"pipeline_{arm}", theirs)]
        differences = [welch(theirs[column].tolist(), ours[column].tolist()) for column in columns]
        rows.append(["difference (95%)", "", *map(analysis.signed, differences)])
    return analysis.table_text(["arm", "seeds", *AGREEMENT], rows)


def partial_text(frame: pandas.DataFrame) -> str:
    """Partial rollout in the real pipeline."""
    columns = AGREEMENT | {"versions old": "training/off_policy/trajectory_staleness/mean"}
    rows = [means_row(arm, by_seed(frame, arm, list(columns.values()))) for arm in ("partial_grpo", "partial_bapo")]
    return analysis.table_text(["arm", "seeds", *columns], rows)


def evidence_text(rows: list[dict]) -> str:
    """The README's claims, on the reward at the end."""
    shown = [row for row in rows if tuple(row["pair"]) in HEADLINES and row["outcome"] == "end"]
    cells = [[row["claim"], analysis.signed(row["difference"]), row["verdict"]] for row in shown]
    return analysis.table_text(["claim", "difference (95%)", "verdict"], cells)


def fill(page: str, name: str, text: str) -> str:
    """The page with the text between its marks.

    Raises:
        ValueError: for a page without them.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if begin not in page or end not in page:
        raise ValueError(f"the page has no {begin} ... {end}")
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.S)


def texts(frame: pandas.DataFrame, both: pandas.DataFrame, plan: dict) -> dict[Path, dict[str, str]]:
    """What stands between the marks of each page, by their names."""
    table = analysis.outcomes(frame, plan)
    rows = analysis.verdicts(table, plan)
    own = {
        "state": state_text(frame, plan),
        "gates": gates_text(frame, plan),
        "claims": analysis.claims_text(rows),
        "descriptions": analysis.descriptions_text(frame),
        "arms": analysis.arms_text(table),
        "search": analysis.search_text(frame),
        "agreement": agreement_text(both, plan["pipeline"]["steps"]),
        "partial": partial_text(both),
        "seeds": analysis.seeds_text(table, rows, plan),
    }
    return {PAGE: own, README: {"evidence": evidence_text(rows)}}


def figures(frame: pandas.DataFrame, both: pandas.DataFrame, plan: dict) -> dict[str, Figure]:
    rows = analysis.verdicts(analysis.outcomes(frame, plan), plan)
    drawn = draw_views(both, plan["pipeline"]["steps"])
    return drawn | {"claims": draw_claims(rows, plan["margin"]), "search": draw_search(frame)}


def main() -> None:
    frame, plan = tables.read(run.RESULTS), design.read()
    analysis.check(frame, plan)
    both = pandas.concat([frame, tables.read(pipeline.RESULTS)], ignore_index=True)
    for name, figure in figures(frame, both, plan).items():
        figure.savefig(HERE / f"{name}.png", dpi=90)
    for path, marked in texts(frame, both, plan).items():
        page = path.read_text()
        for name, text in marked.items():
            page = fill(page, name, text)
        path.write_text(page)


if __name__ == "__main__":
    main()
