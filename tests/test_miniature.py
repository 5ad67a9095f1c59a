"""recipe/miniature.py and its report: the design, what is kept of a log, and the page against the logs.

What this file does not exercise: the training itself, which is that of test_pipeline.py.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from verl.utils.config import omega_conf_to_dataclass

RECIPE = Path(__file__).resolve().parents[1] / "recipe"
sys.path.insert(0, str(RECIPE))

import miniature  # noqa: E402
import miniature_report as report  # noqa: E402
from miniature import ARMS, Setting, design  # noqa: E402


def test_the_design_has_five_seeds_where_a_claim_rests_and_three_elsewhere():
    runs = design()
    assert len(set(runs)) == len(runs)
    seeds = Counter((s.arm, s.staleness) for s in runs if s.lr == miniature.LEARNING_RATE)
    assert {arm for arm, _ in seeds} == set(ARMS)
    for key, number in seeds.items():
        rested_on = key in {("grpo", 1), *((arm, 8) for arm in ("grpo", "clip_higher", "bapo", "bapo_gradient"))}
        assert number == (5 if rested_on else 3), key


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_composes_and_is_a_valid_setting(arm):
    overrides = Setting(arm, 8, 2e-4, 3).overrides()
    with initialize_config_module("verl.trainer.config", version_base=None):
        flags = ["+platform=cpu", "+algorithm=bapo", "algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=8"]
        config = compose("ppo_trainer", overrides=[*flags, *miniature.SHARED, *overrides])
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert actor.ppo_mini_batch_size * 8 == miniature.BATCH and actor.optim.lr == 2e-4
    assert actor.policy_loss.bounds_move == arm.startswith("bapo") and actor.policy_loss.rollout_anchor
    assert (config.data.seed, config.actor_rollout_ref.rollout.seed, actor.data_loader_seed) == (3, 3, 3)


def test_a_log_is_kept_at_four_digits_without_what_nobody_draws(tmp_path):
    log = tmp_path / "metrics.jsonl"
    data = {"actor/bapo/rho": 0.123456, "actor/entropy": None, "critic/score/mean": 0.5, "perf/mfu/actor": 0.1}
    log.write_text(json.dumps({"step": 1, "data": data}) + "\n")
    assert miniature.compact(log) == '{"step":1,"data":{"actor/bapo/rho":0.1235,"critic/score/mean":0.5}}\n'


def run_with(reward, change=0.0):
    keys = {"actor/entropy": 1.0, "actor/grad_norm": 1.0, "actor/bapo/c_low": 0.6, "actor/bapo/c_high": 1.2}
    keys |= {"actor/bapo/rho": 0.4, "actor/bapo/rho_start": 0.4, "actor/bapo/entropy_change": 0.0}
    return [(step, keys | {"critic/score/mean": reward, "actor/entropy": 1 + change * step}) for step in range(1, 21)]


def test_a_result_is_the_mean_of_the_last_steps():
    run = [(step, {"critic/score/mean": float(step)}) for step in range(1, 21)]
    assert report.tail(run, "critic/score/mean") == sum(range(11, 21)) / 10


def test_an_interval_is_of_the_mean_over_seeds():
    assert report.interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    low, high = report.interval([0.0, 1.0])  # both 0 with probability 1/4, both 1 with 1/4
    assert (low, high) == (0.0, 1.0)
    assert report.with_interval([0.25]) == "0.250"
    assert report.with_interval([0.5, 0.5]) == "0.500 (0.500 to 0.500)"


def test_every_run_of_the_design_is_in_the_table_made_or_not():
    made = design()[0]
    rows = report.run_table({made: run_with(0.25)}).splitlines()[2:]
    assert len(rows) == len(design())
    assert "| 0.250 |" in rows[0] and all("not run" in row for row in rows[1:])


def test_the_change_of_entropy_that_followed_is_that_to_the_next_step():
    runs = {design()[0]: [(1, {"actor/entropy": 1.0, "actor/bapo/entropy_change": 0.5}), (2, {"actor/entropy": 0.75})]}
    assert report.entropy_changes(runs) == ([0.5], [-0.25])


def test_a_page_without_its_marks_is_an_error():
    assert report.fill("a <!-- x -->old<!-- end of x --> b", "x", "new") == "a <!-- x -->\nnew\n<!-- end of x --> b"
    with pytest.raises(ValueError, match="has no <!-- x -->"):
        report.fill("a", "x", "new")


def test_the_page_has_the_numbers_of_the_logs():
    runs, page = report.load(), (report.RESULTS / "README.md").read_text()
    assert report.setting_table(runs) in page and report.run_table(runs) in page
    kept = {path.stem for path in report.RESULTS.glob("*.jsonl")}
    assert kept == {setting.name for setting in runs}  # no run is left out of the table
    for figure in report.RESULTS.glob("*.png"):
        assert f"({figure.name})" in page


def test_views_draw_the_runs_they_name(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    runs = {setting: run_with(0.5) for setting in design()}
    assert report.draw(runs) == list(report.VIEWS)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(report.VIEWS)
    assert report.draw({}) == []
