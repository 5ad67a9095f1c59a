"""recipe/experiment/: the design, its statistics by hand, and the page's tables against the data.

What this file does not exercise: a training run, whose update test_trainer.py compares with verl's engine.
"""

import math

import numpy as np
import pandas
import pytest
from pytest import approx

from recipe.experiment import report
from recipe.experiment.analysis import Curve, Difference, Results, at_equal_kl, bootstrapped, tolerance, verdict, welch
from recipe.experiment.design import MAIN, Plan, best_rate
from recipe.experiment.run import RUNS, STEPS

PLAN = Plan.read()


@pytest.fixture(scope="module")
def results():
    return Results(pandas.read_parquet(RUNS), PLAN)


def curve(rates, area, kl=None):
    return Curve(
        rates, [np.full(len(x), k) for k, x in zip(kl or rates, area, strict=True)], [np.array(x) for x in area]
    )


def test_the_seeds_that_choose_do_not_judge():
    judging = [
        seed for rounds in PLAN.seeds.values() if isinstance(rounds, dict) for part in rounds.values() for seed in part
    ]
    assert not set(PLAN.seeds["choose"]) & set(judging)


def test_each_claim_is_about_methods_that_its_regime_has_and_an_outcome_with_a_margin():
    claims = PLAN.design["claims"]
    assert len(claims) <= 12
    for claim in claims:
        assert set(claim["pair"]) <= set(PLAN.regimes[claim["regime"]]["methods"])
        assert claim["outcome"] in PLAN.design["margin"]


def rows(method, areas, seed=0, regime=MAIN):
    return [
        {"regime": regime, "method": method, "lr": lr, "seed": seed, "area": area, "c_low": 0.7, "c_high": 2.014}
        for lr, area in areas.items()
    ]


def test_the_best_rate_is_that_of_the_highest_mean():
    """Rate 1: (0.5 + 0.9) / 2 = 0.7; rate 2: (0.8 + 0.7) / 2 = 0.75."""
    table = pandas.DataFrame(rows("grpo", {1.0: 0.5, 2.0: 0.8}) + rows("grpo", {1.0: 0.9, 2.0: 0.7}, seed=1))
    assert best_rate(table, MAIN, "grpo") == 2.0


@pytest.mark.parametrize(("best", "more"), [(5e-5, 2.5e-5), (8e-4, 1.6e-3), (2e-4, None)])
def test_a_grid_grows_where_the_best_rate_is_at_its_end(best, more):
    grid = PLAN.regimes[MAIN]["rates"]
    table = pandas.DataFrame(rows("bapo", {rate: 0.8 if rate == best else 0.5 for rate in grid}))
    assert PLAN.rates(MAIN, "bapo", table) == approx(sorted([*grid, *([more] if more else [])]))


def test_a_mean_has_the_bounds_of_the_other_at_its_best_rate_and_that_rate_with_its_neighbours():
    grid = PLAN.regimes[MAIN]["rates"]
    table = pandas.DataFrame(rows("bapo", {rate: 0.8 if rate == 2e-4 else 0.5 for rate in grid}))
    assert PLAN.bounds("bapo_mean", table) == [0.7, 2.01]
    assert PLAN.rates(MAIN, "bapo_mean", table) == approx([1e-4, 2e-4, 4e-4])


def test_tolerance_by_hand():
    """Best 0.8 at rate 4, so 0.75 is enough: half an octave below 4 (0.7 at 2), 0.05/0.2 of one above (0.6 at 8)."""
    assert tolerance(curve([1.0, 2.0, 4.0, 8.0], [[0.76], [0.7], [0.8], [0.6]]), 0.05) == approx(0.5 + 0.25)


def test_tolerance_ends_with_the_grid():
    assert tolerance(curve([1.0, 2.0, 4.0], [[0.8], [0.79], [0.78]]), 0.05) == approx(2.0)


def test_equal_kl_by_hand():
    """The second has KL 0.02 at its rate number 1. The first has 0.01 and 0.04: halfway in ln KL, so area 0.65."""
    first = curve([1.0, 2.0], [[0.7], [0.6]], kl=[0.01, 0.04])
    second = curve([1.0, 2.0], [[0.5], [0.6]], kl=[0.005, 0.02])
    assert at_equal_kl(first, second, 1) == approx(0.65 - 0.6)


def test_a_bootstrap_of_equal_seeds_has_no_width_and_one_of_others_covers_the_mean():
    same = bootstrapped([curve([1.0], [[0.5, 0.5]])], lambda one: one.area[0].mean())
    assert (same.value, same.low, same.high) == approx((0.5, 0.5, 0.5))
    spread = bootstrapped([curve([1.0], [[0.4, 0.5, 0.6]])], lambda one: one.area[0].mean())
    assert 0.4 <= spread.low < 0.5 < spread.high <= 0.6


def test_welch_by_hand():
    """Means 2 and 1, variances 1 and 1, three runs each: standard error sqrt(2/3), 4 degrees of freedom, t 2.776."""
    found = welch(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0]))
    half = 2.776445 * math.sqrt(2 / 3)
    assert (found.value, found.low, found.high) == approx((1.0, 1.0 - half, 1.0 + half), abs=1e-5)


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.04, 0.06, 0.01, "higher"),
        (-0.06, -0.04, 0.01, "lower"),
        (0.01, 0.02, 0.01, "higher, by less than 0.03"),
        (-0.02, 0.02, 1.0, "no difference of 0.03 or more"),
        (-0.05, 0.02, 1.0, "not higher by 0.03 or more"),
        (-0.02, 0.05, 1.0, "not lower by 0.03 or more"),
        (-0.05, 0.05, 1.0, "open"),
    ],
)
def test_verdicts(low, high, p, expected):
    assert verdict(Difference((low + high) / 2, low, high, p), p, 0.03) == expected


def test_every_stored_run_is_of_the_design_and_had_its_bounds(results):
    """The log's bounds against the design's: fixed ones exactly, a search's within its path."""
    for (regime, method), group in results.runs.groupby(["regime", "method"]):
        assert method in PLAN.names(regime, results.chosen)
        bounds = PLAN.bounds(method, results.chosen)
        own = PLAN.methods[method].get("policy_loss", {})
        low = [bounds[0]] * 2 if bounds else [own.get("c_low_start", 0.6), own.get("c_low_max", 0.9)]
        high = [bounds[1]] * 2 if bounds else [own.get("c_high_start", 1.2), own.get("c_high_max", 3.0)]
        assert group["c_low"].between(low[0] - 1e-6, low[1] + 1e-6).all(), method
        assert group["c_high"].between(high[0] - 1e-6, high[1] + 1e-6).all(), method


def test_every_best_rate_is_inside_its_grid(results):
    for regime, method in results.chosen.groupby(["regime", "method"]).groups:
        rates = results.chosen[(results.chosen["regime"] == regime) & (results.chosen["method"] == method)]["lr"]
        assert rates.min() < best_rate(results.chosen, regime, method) < rates.max(), (regime, method)


def test_the_tables_on_the_page_are_those_of_the_data(results):
    page = report.PAGE.read_text()
    assert report.fill(page, report.tables(results)) == page
    readme = report.README.read_text()
    assert report.fill(readme, {"result": report.result_sentence(results)}) == readme


def test_the_stored_results_are_small():
    assert RUNS.stat().st_size + STEPS.stat().st_size < 1_000_000
