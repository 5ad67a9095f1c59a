"""recipe/miniature.py and its report: the design, what is kept of a log, and the page against the logs.

What this file does not exercise: the training itself, which is that of test_pipeline.py.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from torch.distributions import Categorical
from tqdm import tqdm
from verl.utils.config import omega_conf_to_dataclass

RECIPE = Path(__file__).resolve().parents[1] / "recipe"
sys.path.insert(0, str(RECIPE))

import demo  # noqa: E402
import entropy_rule  # noqa: E402
import miniature  # noqa: E402
import miniature_report as report  # noqa: E402
import process  # noqa: E402
from miniature import ARMS, Setting, design  # noqa: E402
from tiny import make_model, make_tokenizer  # noqa: E402


def test_the_design_has_five_seeds_where_a_claim_rests_and_three_elsewhere():
    runs = design()
    assert len(set(runs)) == len(runs)
    seeds = Counter((s.arm, s.staleness) for s in runs if s.lr == miniature.LEARNING_RATE)
    assert {arm for arm, _ in seeds} == set(ARMS)
    no_claim = {"bapo_micro", "bapo_weight", "bapo_0.3", "bapo_0.5", "bapo_no_dual", "bapo_shuffle"}
    no_claim |= {"grpo_no_dual", "grpo_shuffle"}
    for (arm, staleness), number in seeds.items():
        assert number == (3 if arm in no_claim else 5), (arm, staleness)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_composes_and_is_a_valid_setting(arm):
    overrides = Setting(arm, 8, 2e-4, 3).overrides()
    with initialize_config_module("verl.trainer.config", version_base=None):
        flags = ["+platform=cpu", "+algorithm=bapo", "algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=8"]
        config = compose("ppo_trainer", overrides=[*flags, *miniature.SHARED, *overrides])
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert actor.ppo_mini_batch_size * 8 == miniature.BATCH and actor.optim.lr == 2e-4
    assert actor.policy_loss.bounds_move == arm.startswith("bapo") and actor.policy_loss.bypass_mode
    assert (config.data.seed, config.actor_rollout_ref.rollout.seed, actor.data_loader_seed) == (3, 3, 3)


def test_a_log_is_kept_at_four_digits_without_what_nobody_draws(tmp_path):
    log = tmp_path / "metrics.jsonl"
    data = {"actor/bapo/rho": 0.123456, "actor/entropy": None, "critic/score/mean": 0.5, "perf/mfu/actor": 0.1}
    log.write_text(json.dumps({"step": 1, "data": data}) + "\n")
    assert miniature.compact(log) == '{"step":1,"data":{"actor/bapo/rho":0.1235,"critic/score/mean":0.5}}\n'


@pytest.mark.parametrize(("command", "ended"), [(["true"], True), (["sleep", "60"], False)])
def test_a_run_that_falls_silent_is_not_waited_for(command, ended, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "SILENCE_SECONDS", 2)
    run = process.Run(command, tmp_path)
    try:
        assert miniature.wait(run, tqdm(disable=True)) == ended
    finally:
        run.end()


def test_the_demo_says_that_a_run_fell_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "SILENCE_SECONDS", 2)
    run = process.Run(["sleep", "60"], tmp_path)
    try:
        with pytest.raises(SystemExit, match=f"memory.*{run.log}"):
            demo.follow(run)
    finally:
        run.end()


def run_with(reward):
    keys = {"actor/entropy": 1.0, "actor/grad_norm": 1.0, "actor/bapo/c_low": 0.6, "actor/bapo/c_high": 1.2}
    keys |= {"actor/bapo/rho": 0.4, "actor/bapo/rho_start": 0.4}
    return [(step, keys | {"critic/score/mean": reward}) for step in range(1, 21)]


def test_a_result_is_the_mean_of_the_last_steps():
    run = [(step, {"critic/score/mean": float(step)}) for step in range(1, 21)]
    assert report.tail(run, "critic/score/mean") == sum(range(11, 21)) / 10


def test_an_interval_is_of_the_mean_over_seeds():
    assert report.interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    low, high = report.interval([0.0, 1.0])  # both 0 with probability 1/4, both 1 with 1/4
    assert (low, high) == (0.0, 1.0)
    assert report.with_interval([0.25]) == "0.250"
    assert report.with_interval([0.0, 1.0]) == "0.500 (0.000 to 1.000)"
    assert report.with_interval([0.5, 0.5]) == "0.500"  # bounds that do not move


def test_every_run_of_the_design_is_in_the_table_made_or_not():
    made = design()[0]
    rows = report.run_table({made: run_with(0.25)}).splitlines()[2:]
    assert len(rows) == len(design())
    assert "| 0.250 |" in rows[0] and all("not run" in row for row in rows[1:])


def runs_with(rewards):
    """Runs with eight updates on a batch, of these rewards by arm, for seeds 0, 1, 2, ..."""
    numbered = [(arm, seed, value) for arm, values in rewards.items() for seed, value in enumerate(values)]
    return {Setting(arm, 8, miniature.LEARNING_RATE, seed): run_with(value) for arm, seed, value in numbered}


def test_a_difference_is_of_means_over_the_seeds_of_each_arm():
    runs = runs_with({"bapo": [0.5, 0.75, 1.0], "grpo": [0.25, 0.5]})
    assert report.results(runs, ("bapo", 8), report.COLUMNS[0]) == [0.5, 0.75, 1.0]
    row = next(row for row in report.difference_table(runs).splitlines() if row.startswith("| bapo, 8 updates | grpo"))
    # 0.75 - 0.375. All seeds of bapo the lowest and all of grpo the highest has probability 1/27 * 1/4 < 2.5%, so the
    # interval's end is the next such sum: 0.5 + 0.25/3 - 0.5 = 0.083, and on the other side 1 - 0.25/3 - 0.25 = 0.667.
    assert "| 3 and 2 | 0.375 (0.083 to 0.667) |" in row


def test_seeds_are_pairs_where_arms_rise_and_fall_together():
    up, down = [0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.4, 0.3, 0.2, 0.1]
    assert "two of the 3 arms" in (
        text := report.seed_correlation(runs_with({"bapo": up, "grpo": up, "fixed_low": down}))
    )
    assert "is -0.33 on average, from -1.00 to 1.00" in text  # 1, -1, -1


def test_every_arm_is_compared_with_another():
    compared = {name for pair in report.COMPARISONS for name, _ in pair}
    assert compared == set(ARMS)


@pytest.fixture
def unsure():
    """An untrained model of the miniature's size, and two problems of eight random answers, one of them right."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, tied=False)
    batch = entropy_rule.sample(model, tokenizer, [(10, 2, 3), (11, 2, 3)])
    batch["advantages"] = torch.where(torch.arange(16) == 0, 2.0, -0.25)[:, None] * batch["response_mask"]
    return model, batch


def test_log_probs_and_entropy_are_of_the_answers_tokens(unsure):
    model, batch = unsure
    rows, length = batch["answers"].shape
    batch["response_mask"] = (torch.arange(length) < 3).float().expand(rows, length)  # the rest does not count
    log_prob, entropy = entropy_rule.log_prob_and_entropy(model, batch)
    policy = Categorical(logits=model(batch["ids"]).logits[:, -length - 1 : -1])
    torch.testing.assert_close(log_prob, policy.log_prob(batch["answers"]))
    torch.testing.assert_close(entropy, policy.entropy()[:, :3].mean())


def test_a_gradient_step_changes_entropy_by_its_directional_derivative_and_is_taken_back(unsure):
    """d/ds H(theta - s g) at 0 is - <dH/dtheta, g>, here by autograd."""
    model, batch = unsure
    _, entropy = entropy_rule.log_prob_and_entropy(model, batch)
    slope = torch.autograd.grad(entropy, [*model.parameters()])
    before = [p.clone() for p in model.parameters()]
    log_prob, _ = entropy_rule.log_prob_and_entropy(model, batch)
    (-(batch["advantages"] * log_prob).sum() / batch["response_mask"].sum()).backward()
    expected = -sum((h * p.grad).sum() for h, p in zip(slope, model.parameters(), strict=True)).item()
    measured = entropy_rule.change_along_gradient(model, batch, entropy.item())
    assert measured == pytest.approx(expected, rel=0.05)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_an_update_records_what_was_predicted_and_what_happened(unsure):
    model, batch = unsure
    _, before = entropy_rule.log_prob_and_entropy(model, batch)
    record = entropy_rule.update(model, torch.optim.AdamW(model.parameters(), lr=1e-3), batch)
    _, after = entropy_rule.log_prob_and_entropy(model, batch)
    assert record["entropy"] == before.item() and record["adam_step"] == pytest.approx((after - before).item())
    assert record["adam_step"] != 0 and record["reward"] == batch["reward"].mean()
    log_prob, pi = batch["old_log_prob"], batch["response_mask"]  # r = 1 at the first update
    mean = [(x * pi).sum() / pi.sum() for x in (log_prob * batch["advantages"], log_prob, batch["advantages"])]
    assert record["predicted"] == pytest.approx(-(mean[0] - mean[1] * mean[2]).item(), rel=1e-3)  # -Cov[log pi, A]


def test_a_page_without_its_marks_is_an_error():
    assert report.fill("a <!-- x -->old<!-- end of x --> b", "x", "new") == "a <!-- x -->\nnew\n<!-- end of x --> b"
    with pytest.raises(ValueError, match="has no <!-- x -->"):
        report.fill("a", "x", "new")


def test_the_page_has_the_numbers_of_the_logs():
    runs, page = report.load(), (report.RESULTS / "README.md").read_text()
    for make in report.TABLES.values():
        assert make(runs) in page
    kept = {path.stem for path in report.RESULTS.glob("*seed*.jsonl")}
    assert kept == {setting.name for setting in runs}  # no run is left out of the table
    for figure in report.RESULTS.glob("*.png"):
        assert f"({figure.name})" in page


def test_views_draw_the_runs_they_name(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    runs = {setting: run_with(0.5) for setting in design()}
    assert report.draw(runs) == list(report.VIEWS)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(report.VIEWS)
    assert report.draw({}) == []
