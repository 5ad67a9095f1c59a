"""recipe/experiment/: the design, its statistics by hand, and the page's tables against the data.

What this file does not exercise: a training run, whose update test_trainer.py compares with verl's engine.
"""

import copy
import math

import numpy as np
import pandas
import pytest
import torch
from pytest import approx

from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from bapo_verl.search import Search
from recipe.experiment import map, report
from recipe.experiment.analysis import Difference, Results, crossing, summarize, verdict, welch
from recipe.experiment.design import Plan, best_rate
from recipe.experiment.run import EVALUATIONS, UPDATES

PLAN = Plan()


@pytest.fixture(scope="module")
def results():
    return Results(pandas.read_parquet(EVALUATIONS), pandas.read_parquet(UPDATES), PLAN)


def test_the_seeds_that_choose_do_not_judge_and_the_looks_spend_five_percent():
    judging = [seed for look in PLAN.looks for seed in look["seeds"]]
    assert not set(PLAN.seeds) & set(judging) and len(judging) == len(set(judging))
    assert sum(look["alpha"] for look in PLAN.looks) == approx(0.05)


def test_each_claim_is_about_methods_of_the_design_and_an_outcome_with_a_margin():
    claims = PLAN.design["claims"]
    made = {(method, stage["at"]) for stage in PLAN.design["order"] for method in stage["methods"]}
    assert len(claims) <= 8 and {method for method, _ in made} == set(PLAN.methods)
    for claim in claims:
        assert {(method, claim["at"]) for method in claim["pair"]} <= made
        assert claim["outcome"] in PLAN.design["margin"]


def rows(method, rewards, seed=0):
    return [
        {"method": method, "lr": lr, "seed": seed, "reward": reward, "c_low": 0.7, "c_high": 2.014}
        for lr, reward in rewards.items()
    ]


def test_the_best_rate_is_that_of_the_highest_mean():
    """Rate 1: (0.5 + 0.9) / 2 = 0.7; rate 2: (0.8 + 0.7) / 2 = 0.75."""
    table = pandas.DataFrame(rows("grpo", {1.0: 0.5, 2.0: 0.8}) + rows("grpo", {1.0: 0.9, 2.0: 0.7}, seed=1))
    assert best_rate(table, "grpo") == 2.0


@pytest.mark.parametrize(("best", "more"), [(1e-4, 5e-5), (4e-4, 8e-4), (2e-4, None)])
def test_a_grid_grows_where_the_best_rate_is_at_its_end(best, more):
    grid = PLAN.design["rates"]
    table = pandas.DataFrame(rows("bapo", {rate: 0.8 if rate == best else 0.5 for rate in grid}))
    assert PLAN.rates("bapo", table) == approx(sorted([*grid, *([more] if more else [])]))


def test_the_plan_makes_the_first_look_in_its_order_before_the_second():
    """Runs "end" at once, each with reward 0.8 at 2e-4 and 0.5 elsewhere, so no grid grows."""

    def ended(runs):
        made = [row for run in runs for row in rows(run.method, {run.lr: 0.8 if run.lr == 2e-4 else 0.5}, run.seed)]
        return pandas.DataFrame(made, columns=None if made else ["method", "lr", "seed", "reward"])

    runs = PLAN.all_runs(ended)
    first, second = (look["seeds"] for look in PLAN.looks)
    judging = [run for run in runs if run.seed not in PLAN.seeds]
    assert len(runs) - len(judging) == len(PLAN.methods) * len(PLAN.design["rates"]) * len(PLAN.seeds)
    expected = [
        {(method, stage["at"] * 2e-4, seed) for method in stage["methods"] for seed in seeds}
        for seeds in (first, second)
        for stage in PLAN.design["order"]
    ]
    for stage in expected:
        assert {(run.method, run.lr, run.seed) for run in judging[: len(stage)]} == stage
        del judging[: len(stage)]
    assert not judging


def test_the_outcomes_of_a_run_by_hand():
    """Rewards .4, .6, .8, .6: the last two have mean .7; .7 is reached halfway from .6 (entropy 1.6) to .8 (1.2)."""
    run = dict(method="bapo", lr=1e-4, seed=0)
    evaluations = pandas.DataFrame(
        [run | dict(step=step, reward=reward, pass_at_8=1.0, entropy=entropy)
         for step, reward, entropy in [(0, 0.4, 2.0), (25, 0.6, 1.6), (50, 0.8, 1.2), (75, 0.6, 1.0)]]
    )  # fmt: skip
    bounds = [(0.6, 1.2), (0.9, 3.0), (0.6, 2.0), (0.9, 3.0)]
    updates = pandas.DataFrame([run | dict(step=1, c_low=low, c_high=high) for low, high in bounds])
    (row,) = summarize(evaluations, updates, {"last": 2, "matched": 0.7}).to_dict("records")
    assert (row["reward"], row["entropy"], row["entropy_matched"]) == approx((0.7, 1.1, 1.4))
    assert row["drop"] == approx(0.2)
    assert (row["at_start"], row["inside"], row["at_end"]) == approx((0.25, 0.25, 0.5))


def test_a_level_that_is_never_reached_has_no_crossing():
    assert math.isnan(crossing(np.array([0.4, 0.5]), np.array([0.0, 25.0]), 0.7))


def test_welch_by_hand():
    """Means 2 and 1, variances 1 and 1, three runs each: standard error sqrt(2/3), 4 degrees of freedom, t 2.776."""
    found = welch(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0]), 0.05)
    half = 2.776445 * math.sqrt(2 / 3)
    assert (found.value, found.low, found.high) == approx((1.0, 1.0 - half, 1.0 + half), abs=1e-5)


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.04, 0.06, 0.01, "higher"),
        (-0.06, -0.04, 0.01, "lower"),
        (0.01, 0.02, 0.01, "higher, by less than 0.03"),
        (-0.02, 0.02, 1.0, "no difference of 0.03 or more"),
        (0.04, 0.06, 0.025, "open"),
        (-0.05, 0.02, 1.0, "open"),
    ],
)
def test_verdicts(low, high, p, expected):
    assert verdict(Difference((low + high) / 2, low, high, p), p, 0.02, 0.03) == expected


def test_a_verdict_has_the_runs_of_complete_looks_alone(results):
    """GRPO has both looks and BAPO one run of the second. So 4 runs each count, with rewards 0.6 and 0.8 on average."""
    first, second = (look["seeds"] for look in PLAN.looks)
    rewards = {("grpo", seed): mean for seed, mean in zip(first, [0.5, 0.7, 0.5, 0.7], strict=True)}
    rewards |= {("bapo", seed): mean for seed, mean in zip(first, [0.7, 0.9, 0.7, 0.9], strict=True)}
    rewards |= {("grpo", seed): 9.0 for seed in second} | {("bapo", second[0]): 9.0}
    judged = [
        {"method": method, "lr": results.best_rate(method), "seed": seed, "reward": reward, "entropy_matched": reward}
        for (method, seed), reward in rewards.items()
    ]
    results = copy.copy(results)
    results.judged = pandas.DataFrame(judged)
    claim = next(claim for claim in results.claims() if claim["outcome"] == "reward" and claim["at"] == 1)
    assert claim["pair"] == ["bapo", "grpo"] and claim["runs"] == [4, 4] and claim["looks"] == PLAN.looks[:1]
    assert claim["difference"].value == approx(0.2)


def test_the_map_by_hand():
    """Positive tokens at r = 1 and 2, negative ones at 1, in equal parts: P = W+ (1 + min(2, c_high)) / 2 and N = W-.

    The target 0.4 asks for P >= 2/3 N. With W- = 1 that is W+ >= 0.606 at c_high = 1.2, and W+ >= 0.444 from 2 on.
    """
    search = Search(BapoPolicyLossConfig())
    ratios = map.LogRatios(torch.tensor([1.0, 2.0]).log(), torch.zeros(1))
    assert map.shares(search, ratios, [(0.7, 1.0), (0.5, 1.0), (0.4, 1.0), (0.3, 1.0)]) == approx([0.25, 0.25, 0.5])


def test_the_maps_clip_by_hand():
    """Half of the positive tokens and a third of the negative ones: (1/2 + 2 x 1/3) / 3 where failed ones are twice as
    long. log r = 0.1 is dropped from a factor of log(1.2) / 0.1 on."""
    ratios = map.LogRatios(torch.tensor([1.3, 1.0]).log(), torch.tensor([0.7, 1.0, 1.3]).log())
    assert ratios.dropped(1.0, 2.0) == approx(7 / 18)
    ratios = map.LogRatios(torch.tensor([0.1, 0.0]), torch.zeros(2))
    assert ratios.scaled_to_drop(0.2, 1.0).positive[0].item() == approx(math.log(1.2), rel=0.011)


def test_every_stored_run_is_of_the_design_and_had_its_bounds(results):
    """The logged bounds against the design's: fixed ones exactly, a search's within its path."""
    for method, group in results.updates.groupby("method"):
        low, high = results.plan.methods[method].get("bounds", [(0.6, 0.9), (1.2, 3.0)])
        for column, bounds in (("c_low", low), ("c_high", high)):
            assert group[column].dropna().between(np.min(bounds) - 1e-3, np.max(bounds) + 1e-3).all(), method


def test_the_tables_on_the_page_are_those_of_the_data(results):
    page = report.PAGE.read_text()
    assert report.fill(page, report.tables(results)) == page
    readme = report.README.read_text()
    assert report.fill(readme, {"result": report.result(results)}) == readme


def test_the_stored_results_are_small():
    assert EVALUATIONS.stat().st_size + UPDATES.stat().st_size < 1_000_000
