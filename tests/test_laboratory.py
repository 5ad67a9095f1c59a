"""recipe/miniature/: the task, the laboratory's step with verl's engine, the design, the statistics, the gates.

What this file does not exercise: the warm-up's result and whole runs, which the gates judge on the stored results, and
agreement with the real pipeline.
"""

import asyncio
import importlib.util
import math
import random
from pathlib import Path

import analysis
import design
import gates
import laboratory
import pandas
import pipeline
import pytest
import report
import tables
import task
import torch
import torch.distributed as dist
import welch
import yaml
from run import RESULTS as LABORATORY
from sampler import Sampler

ROOT = Path(__file__).resolve().parents[1]

# --- the task


def test_a_solution_jumps_from_the_first_number_and_ends_where_it_meets_the_sum():
    rng = random.Random(0)
    for problem in task.all_problems():
        path, box, end = task.solution(problem, rng).partition(task.BOX)
        places = [problem.a, *map(int, path.split())]
        assert all(abs(b - a) <= task.LARGEST_JUMP for a, b in zip(places, places[1:], strict=False))
        assert problem.sum not in places[:-1]
        assert end == (f" {problem.sum}}}" if box else "") and (places[-1] == problem.sum) == bool(box)


def test_jumps_go_towards_the_sum_as_often_as_they_say():
    """From 15 to 25, before it has been passed: a binomial share of 0.57, here of 2,000 first jumps."""
    rng, problem = random.Random(0), task.Problem(15, 10)
    first = [int(task.solution(problem, rng).split()[0]) > 15 for _ in range(2000)]
    assert sum(first) / 2000 == pytest.approx(task.TOWARDS, abs=3 * 0.011)  # sqrt(0.57 * 0.43 / 2000) = 0.011


def test_prompts_are_of_one_length_and_a_jump_is_a_token():
    tokenizer = task.make_tokenizer()
    assert len({len(task.encode_prompt(tokenizer, problem)) for problem in task.all_problems()}) == 1
    text = " 12 9 -3 19\\boxed{ 19}"
    tokens = tokenizer.encode(text, add_special_tokens=False)
    assert len(tokens) == 4 + 3 and tokenizer.decode(tokens) == text


@pytest.mark.parametrize(
    "answer, right",
    [
        (" 15 19\\boxed{ 19}", True),
        (" 15 19", False),
        (" 15 19\\boxed{ 19", False),
        ("\\boxed{ 18}", False),
        ("\\boxed{ 19}\\boxed{ 18}", False),
        ("\\boxed{ 18}\\boxed{ 19}", False),
        ("\\boxed{ 18} 15\\boxed{ 19}", True),
        ("\\boxed{}", False),
    ],
)
def test_the_laboratory_grades_as_the_math_reward(answer, right):
    spec = importlib.util.spec_from_file_location("math_reward_for_task", ROOT / "reward" / "math_reward.py")
    reward = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reward)
    assert task.is_right(answer, task.Problem(12, 7)) is right
    assert asyncio.run(reward.compute_score("miniature", answer, "19"))["score"] == float(right)


# --- the laboratory


@pytest.fixture(scope="module")
def task_directory(tmp_path_factory):
    """The model without a warm-up."""
    directory = tmp_path_factory.mktemp("task")
    torch.manual_seed(0)
    tokenizer = task.make_tokenizer()
    tokenizer.save_pretrained(directory / "model")
    task.make_model(tokenizer, hidden=24, layers=1).save_pretrained(directory / "model")
    return directory


@pytest.fixture(scope="module")
def world():
    laboratory.start()
    yield
    dist.destroy_process_group()


def steps(directory, number=2, **keys):
    """An untrained model is never right: what it is rewarded for is written here, every second answer."""
    setting = laboratory.Setting(prompts=4, answers=4, lr=3e-3, **keys)
    lab = laboratory.Laboratory(directory, setting)
    lab.rewards = lambda answers, problems: torch.arange(len(problems)) % 2.0
    return [lab.step() for _ in range(number)], lab


def test_the_sampler_says_the_probabilities_it_sampled_with(task_directory, world):
    """With a cache as without: KL of the same weights is 0, and the log-probabilities are those of a whole forward."""
    tokenizer = task.make_tokenizer()
    sampler = Sampler(task_directory / "model", 9, tokenizer.eos_token_id)
    prompts = torch.tensor([task.encode_prompt(tokenizer, p) for p in task.all_problems()[:6]])
    answers = sampler.sample(prompts)
    assert sampler.divergence(answers)["rollout/kl"] == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        logits = sampler.model(input_ids=torch.cat([answers.prompts, answers.tokens], 1)).logits
    whole = logits[:, prompts.shape[1] - 1 : -1].log_softmax(-1).gather(-1, answers.tokens[..., None])[..., 0]
    torch.testing.assert_close(answers.log_probs, whole, atol=1e-4, rtol=1e-4)


def test_one_update_is_on_policy_and_several_are_not(task_directory, world):
    (one, *_), _ = steps(task_directory, updates=1, policy_loss=laboratory.fixed(0.8, 1.2))
    assert one["actor/bapo/ratio_max"] == pytest.approx(1, abs=0.02) and one["ratio/above_1.2"] == 0
    (four, *_), _ = steps(task_directory, updates=4, policy_loss=laboratory.fixed(0.8, 1.2))
    assert four["actor/bapo/ratio_max"] > 1.02
    assert (one["actor/bapo/c_low"], one["actor/bapo/c_high"]) == (0.8, 1.2)
    assert one["rollout/kl"] > 0 and one["actor/entropy"] == pytest.approx(one["rollout/entropy"], rel=1e-3)


def test_the_engine_is_bapos_and_its_bounds_move(task_directory, world):
    """A target that no share reaches: the search runs to the end of its path."""
    (step, *_), lab = steps(task_directory, updates=2, policy_loss=dict(target_contribution=0.99))
    assert type(lab.engine).__name__ == "BapoFSDPEngineWithLMHead"
    assert (step["actor/bapo/c_low"], step["actor/bapo/c_high"]) == pytest.approx((0.9, 3.0))
    assert "actor/bapo/redone" in step
    assert (step["search/start"], step["search/inside"], step["search/end"]) == (0, 0, 1)


def test_epochs_share_the_updates(task_directory, world):
    """Four updates in two epochs are on eight of the sixteen answers each, and the same number of optimizer steps."""
    (step, *_), lab = steps(task_directory, updates=4, epochs=2, policy_loss=laboratory.fixed(0.8, 1.2))
    sizes = []
    train_batch = lab.engine.train_batch
    lab.engine.train_batch = lambda batch, loss: sizes.append(len(batch)) or train_batch(batch, loss)
    lab.step()
    assert sizes == [8, 8, 8, 8] and (step["training/updates"], step["training/epochs"]) == (4, 2)


def test_old_weights_sample_when_versions_are_asked_for(task_directory, world):
    """One version old: at the first step all weights are the base model's, at the second the update has moved on."""
    (first, second), lab = steps(task_directory, updates=1, versions=1, policy_loss=laboratory.fixed(0.8, 1.2))
    assert first["actor/bapo/ratio_max"] == pytest.approx(1, abs=0.02)
    assert second["actor/bapo/ratio_max"] > 1.02


def test_a_seed_decides_a_run(task_directory, world):
    def rewards_and_norms(seed):
        history, _ = steps(task_directory, updates=2, seed=seed, policy_loss=laboratory.fixed(0.8, 1.2))
        return [(step["response_length/mean"], step["actor/grad_norm"]) for step in history]

    assert rewards_and_norms(0) == rewards_and_norms(0) != rewards_and_norms(1)


# --- statistics, by hand


def test_welch_by_hand():
    """x = 1, 2, 3 and y = 2, 4: means 2 and 3, var/n = 1/3 and 2/2; s^2 = 4/3.

    freedom = (4/3)^2 / ((1/3)^2 / 2 + 1^2 / 1) = (16/9) / (19/18) = 32/19.
    """
    d = welch.welch([1, 2, 3], [2, 4])
    assert d.value == -1
    reach = welch.t_quantile(32 / 19) * math.sqrt(4 / 3)
    assert (d.low, d.high) == pytest.approx((-1 - reach, -1 + reach))


@pytest.mark.parametrize("freedom, t", [(1, 12.7062), (2, 4.3027), (10, 2.2281), (30, 2.0423)])
def test_quantiles_are_those_of_the_printed_table(freedom, t):
    assert welch.t_quantile(freedom) == pytest.approx(t, abs=1e-4)
    assert welch.t_tail(t, freedom) == pytest.approx(0.05, abs=1e-5)


def test_equal_arms_without_spread_do_not_differ():
    assert welch.welch([0.5, 0.5], [0.5, 0.5]) == (0, 0, 0, 1)
    assert welch.welch([0.6, 0.6], [0.5, 0.5]).p == 0


def test_one_seed_is_no_arm():
    with pytest.raises(ValueError, match="two seeds of each arm, got 1 and 2"):
        welch.welch([1.0], [1.0, 2.0])


def test_fisher_by_hand():
    """3 of 3 against 0 of 3: one table of C(6, 3) = 20 on either side: 2/20."""
    assert welch.fisher(3, 3, 0, 3) == pytest.approx(0.1)
    assert welch.fisher(1, 3, 1, 3) == 1


def test_the_share_interval_holds_its_value_and_stays_in_range():
    """Newcombe's own example: 56/70 less 48/80: 0.2 (0.0524 to 0.3339)."""
    d = welch.share_difference(56, 70, 48, 80)
    assert (d.value, d.low, d.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_holm_never_lets_a_larger_p_go_below_a_smaller_one():
    assert welch.holm([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert welch.holm([0.9, 0.8]) == [1, 1]


@pytest.mark.parametrize(
    "interval, adjusted, expected, word",
    [
        ((0.10, 0.05, 0.15), 0.01, "higher", "supported"),
        ((0.10, 0.05, 0.15), 0.01, "lower", "contradicted"),
        ((0.10, 0.05, 0.15), 0.01, "none", "contradicted"),
        ((-0.10, -0.15, -0.05), 0.01, "lower", "supported"),
        ((0.01, -0.02, 0.029), 0.6, "higher", "no difference larger than 0.03"),
        ((0.01, -0.02, 0.029), 0.6, "none", "supported"),
        ((0.01, -0.02, 0.031), 0.6, "none", "open"),
        ((0.10, 0.01, 0.19), 0.06, "higher", "open"),
        ((-0.02, -0.05, 0.01), 0.6, "higher", "not higher by 0.03"),
        ((-0.02, -0.05, 0.01), 0.6, "lower", "open"),
        ((-0.02, -0.05, 0.01), 0.6, "none", "open"),
        ((0.02, -0.01, 0.05), 0.6, "lower", "not lower by 0.03"),
        ((0.00, -0.05, 0.05), 0.6, "higher", "open"),
    ],
)
def test_verdicts(interval, adjusted, expected, word):
    assert welch.verdict(welch.Difference(*interval, p=0.0), adjusted, 0.03, expected) == word


def test_the_interval_of_a_mean_by_hand():
    """1, 2, 3 less 1: mean 1, variance 1, error sqrt(1/3), t(2) = 4.3027: 1 -+ 2.484."""
    mean = welch.mean_interval([1, 2, 3], 1)
    assert (mean.value, mean.low, mean.high) == pytest.approx((1, 1 - 2.4842, 1 + 2.4842), abs=1e-3)


def test_seeds_needed_makes_the_interval_as_wide_as_the_margin():
    """Both arms with variance 0.0025: 2 * 0.0025 / n * t^2 <= 0.03^2 from n = 23, where t(44) = 2.0154."""
    spread = [0.45, 0.55, 0.5, 0.5, 0.5 + 0.05 * 2**0.5, 0.5 - 0.05 * 2**0.5]
    scaled = [0.5 + (x - 0.5) * math.sqrt(0.0025 / 0.003) for x in spread]
    n = welch.seeds_needed(scaled, scaled, 0.03)
    assert welch.t_quantile(2 * n - 2) * math.sqrt(2 * 0.0025 / n) <= 0.03
    assert welch.t_quantile(2 * n - 4) * math.sqrt(2 * 0.0025 / (n - 1)) > 0.03


# --- design, check, gates

PLAN = {
    "seeds": 3,
    "more_seeds": {},
    "shared": {"steps": 4, "updates": 8, "epochs": 2},
    "arms": {
        "on_policy": {"updates": 1, "epochs": 1, "bounds": [0.8, 1.2]},
        "grpo": {"bounds": [0.8, 1.2]},
        "no_clip": {"bounds": [0.0, 1000.0]},
        "bapo": {},
        "bapo_c_low_fixed": {"policy_loss": {"c_low_max": 0.6}},
    },
    "outcomes": {"names": ["end", "collapsed"], "last": 2, "collapse": 0.2},
    "margin": {"end": 0.03, "collapsed": 0.1},
    "claims": [
        {"claim": "one", "pair": ["bapo", "grpo"], "outcome": "end", "expected": "higher"},
        {"claim": "two", "pair": ["bapo_c_low_fixed", "grpo"], "outcome": "end", "expected": "higher"},
        {"claim": "three", "pair": ["bapo", "grpo"], "outcome": "collapsed", "expected": "lower"},
    ],
    "gates": {"on_policy": "on_policy", "clipped": "grpo", "unclipped": "no_clip"},
}
REWARDS = {"on_policy": 0.85, "grpo": 0.6, "no_clip": 0.1, "bapo": 0.7, "bapo_c_low_fixed": 0.6}


def frame():
    """Four steps a run: the first two at 0.4, the last two at the arm's reward, a seed 0.01 apart from the next."""
    rows = []
    for run in design.runs(PLAN):
        low, high = run.bounds or (0.6, 2.0)
        for step in range(1, 5):
            reward = 0.4 if step < 3 else REWARDS[run.arm] + 0.01 * run.seed
            rows.append(
                {
                    "arm": run.arm,
                    "seed": run.seed,
                    "step": step,
                    "critic/score/mean": reward,
                    "rollout/entropy": 0.5,
                    "rollout/kl": 0.1,
                    "rollout/right_length": 10.0,
                    "rollout/failed_length": 17.0,
                    "actor/bapo/rho_start": 0.35,
                    "actor/bapo/c_low": low,
                    "actor/bapo/c_high": high,
                    "ratio/below_0.8": 0.05,
                    "ratio/above_1.2": 0.03,
                    "training/updates": float(run.keys["updates"]),
                    "training/epochs": float(run.keys["epochs"]),
                    "training/versions": 0.0,
                }
            )
    return pandas.DataFrame(rows)


def test_the_check_passes_what_the_design_says():
    analysis.check(frame(), PLAN)


def test_the_analysis_notices_an_arm_with_its_bounds_swapped():
    swapped = frame()
    one = (swapped["arm"] == "grpo") & (swapped["seed"] == 1)
    swapped.loc[one, ["actor/bapo/c_low", "actor/bapo/c_high"]] = [0.6, 1.28]
    with pytest.raises(ValueError, match="grpo-seed1, step 1: actor/bapo/c_low is 0.6, the design says 0.8"):
        analysis.check(swapped, PLAN)


@pytest.mark.parametrize(
    "arm, column, value, message",
    [
        ("bapo", "actor/bapo/c_high", 3.05, "bapo-seed0, step 1: actor/bapo/c_high is 3.05, the design says 1.2 to 3"),
        ("bapo_c_low_fixed", "actor/bapo/c_low", 0.62, "c_low is 0.62, the design says 0.6"),
        ("grpo", "training/updates", 1.0, "training/updates is 1, the design says 8"),
        ("grpo", "training/versions", 2.0, "training/versions is 2, the design says 0"),
    ],
)
def test_the_check_notices(arm, column, value, message):
    wrong = frame()
    wrong.loc[wrong["arm"] == arm, column] = value
    with pytest.raises(ValueError, match=message):
        analysis.check(wrong, PLAN)


def test_the_check_notices_a_run_cut_short():
    whole = frame()
    with pytest.raises(ValueError, match="bapo-seed2: has 3 steps"):
        analysis.check(whole.drop(whole[(whole["arm"] == "bapo") & (whole["seed"] == 2)].index[-1]), PLAN)


def test_outcomes_by_hand():
    """grpo, seed 2: (0.4 + 0.4 + 0.62 + 0.62) / 4 = 0.51; its end is 0.62. no_clip ends below 0.2."""
    table = analysis.outcomes(frame(), PLAN).set_index(["arm", "seed"])
    assert table.loc[("grpo", 2), ["auc", "end"]].tolist() == pytest.approx([0.51, 0.62])
    assert table["collapsed"].groupby("arm").sum().to_dict() == {
        "bapo": 0, "bapo_c_low_fixed": 0, "grpo": 0, "no_clip": 3, "on_policy": 0,
    }  # fmt: skip


def test_verdicts_of_hand_made_arms():
    """bapo is 0.1 above grpo at a spread of 0.01; the other arm equals it; three seeds say little of a share."""
    rows = {row["claim"]: row for row in analysis.verdicts(analysis.outcomes(frame(), PLAN), PLAN)}
    assert rows["one"]["difference"].value == pytest.approx(0.1) and rows["one"]["verdict"] == "supported"
    assert rows["two"]["verdict"] == "no difference larger than 0.03"
    assert rows["three"]["verdict"] == "open" and rows["three"]["seeds"] == (3, 3)


def test_swapped_arms_turn_a_verdict_around():
    """The rewards of bapo and grpo exchanged, with their bounds: what was supported is contradicted."""
    swapped = frame()
    swapped["arm"] = swapped["arm"].replace({"bapo": "grpo", "grpo": "bapo"})
    rows = {row["claim"]: row for row in analysis.verdicts(analysis.outcomes(swapped, PLAN), PLAN)}
    assert rows["one"]["verdict"] == "contradicted"
    with pytest.raises(ValueError, match="c_low is 0.6, the design says 0.8"):
        analysis.check(swapped, PLAN)


def test_gates_pass_and_each_fails_alone():
    assert all(gate.passed for gate in gates.gates(frame(), PLAN))
    for arm, column, value in (
        ("on_policy", "critic/score/mean", 0.6),
        ("on_policy", "rollout/failed_length", 15.0),
        ("on_policy", "rollout/entropy", 0.2),
        ("on_policy", "actor/bapo/rho_start", 0.45),
        ("grpo", "ratio/below_0.8", 0.01),
        ("grpo", "ratio/above_1.2", 0.01),
        ("no_clip", "critic/score/mean", 0.5),
        ("grpo", "critic/score/mean", 0.84),
    ):
        broken = frame()
        broken.loc[broken["arm"] == arm, column] = value
        assert any(not gate.passed for gate in gates.gates(broken, PLAN)), (arm, column)


def test_the_committed_design_names_what_it_compares():
    plan = design.read()
    for claim in plan["claims"]:
        assert set(claim["pair"]) <= set(plan["arms"]) and claim["outcome"] in plan["outcomes"]["names"], claim
        assert claim["expected"] in ("higher", "lower", "none")
    assert set(plan["gates"].values()) <= set(plan["arms"])
    assert set(plan["outcomes"]["names"]) == set(plan["margin"])
    names = [run.name for run in design.runs(plan)]
    more = sum(seeds - plan["seeds"] for seeds in plan["more_seeds"].values())
    assert len(set(names)) == len(names) == plan["seeds"] * len(plan["arms"]) + more
    assert plan["more_seeds"].keys() <= plan["arms"].keys()
    for run in design.runs(plan):
        policy_loss = laboratory.fixed(*run.bounds) if run.bounds else run.policy_loss
        setting = laboratory.Setting(**run.keys, policy_loss=policy_loss)
        laboratory.BapoPolicyLossConfig(**setting.policy_loss)
        assert setting.prompts * setting.answers * setting.epochs % setting.updates == 0


# --- the page


@pytest.fixture(scope="module")
def stored():
    laboratory_runs = tables.read(LABORATORY)
    return laboratory_runs, pandas.concat([laboratory_runs, tables.read(pipeline.RESULTS)], ignore_index=True)


def test_every_stored_run_is_one_of_the_design(stored):
    assert analysis.DEFAULT_BOUNDS.items() <= dict(laboratory.BapoPolicyLossConfig()).items()
    analysis.check(stored[0], design.read())


def test_the_arm_of_app_a_has_the_numbers_of_its_preset():
    preset = yaml.safe_load((ROOT / "bapo_verl/config/algorithm/bapo_octothinker.yaml").read_text())
    del preset["defaults"]
    arm = design.read()["arms"]["bapo_octothinker"]["policy_loss"]
    assert laboratory.BapoPolicyLossConfig(**arm) == laboratory.BapoPolicyLossConfig(**preset)


def test_the_pages_have_the_numbers_of_the_stored_runs(stored):
    for path, marked in report.texts(*stored, design.read()).items():
        page = path.read_text()
        for name, text in marked.items():
            assert report.fill(page, name, text) == page, name


# What the words of both pages rest on: the verdicts that they must not contradict.
NOT_SUPPORTED = [
    ("bapo", "grpo"),
    ("bapo_x4", "grpo_x4"),
    ("bapo_x16", "grpo_x16"),
    ("bapo", "clip_higher"),
    ("bapo", "fixed_mean"),
    ("bapo", "fixed_end"),
    ("bapo_gradient", "bapo"),
]
SUPPORTED = [
    ("grpo", "on_policy", "end"),
    ("grpo", "on_policy", "entropy"),
    ("no_clip", "grpo", "collapsed"),
    ("low_0.5", "grpo", "end"),
    ("bapo_octothinker", "grpo", "end"),
    ("bapo", "bapo_c_low_fixed", "end"),
]


def test_the_words_of_the_pages_are_those_of_the_verdicts(stored):
    """A failure asks for another look at "What follows" on the miniature's page, and at "Evidence" in README.md."""
    plan = design.read()
    table = analysis.outcomes(stored[0], plan)
    verdicts = {(*row["pair"], row["outcome"]): row["verdict"] for row in analysis.verdicts(table, plan)}
    assert [pair for pair in NOT_SUPPORTED if verdicts[(*pair, "end")] == "supported"] == []
    assert {verdicts[claim] for claim in SUPPORTED} == {"supported"}
    assert verdicts["bapo_old", "grpo_old", "end"] == "contradicted"
    assert verdicts["bapo_micro_batch", "bapo", "end"] == verdicts["bapo_0.5", "bapo", "end"] == "contradicted"
    for pair in (["bapo_micro_batch", "bapo"], ["bapo_0.5", "bapo"], ["bapo_micro_batch", "fixed_mean"]):
        assert analysis.compare(table, pair, "end").low > 0
    assert [pair for pair, word in verdicts.items() if word == "open"] == [
        ("bapo_octothinker", "octothinker_mean", "end"),
        ("bapo_0.3", "bapo", "end"),
        ("random_low_0.5", "random_grpo", "entropy"),
    ]
    assert verdicts["bapo_gradient", "bapo", "end"] != "contradicted"
    assert all(verdicts["bapo", "grpo", key].startswith("no difference") for key in ("auc", "entropy", "collapsed"))
    by_c_low = ["fixed_end", "grpo", "fixed_start", "low_0.5", "no_clip"]  # 0.9, 0.8, 0.6, 0.5, 0
    means = table.groupby("arm")[["end", "kl"]].mean().loc[by_c_low]
    assert means["end"].is_monotonic_decreasing and means["kl"].is_monotonic_increasing


def test_the_page_shows_every_figure_and_there_are_at_most_twelve():
    page, figures = report.PAGE.read_text(), {path.name for path in report.HERE.glob("*.png")}
    assert {name for name in figures if f"({name})" not in page} == set() and len(figures) <= 12


def test_a_page_without_its_marks_is_an_error():
    assert report.fill("a <!-- x -->old<!-- end of x --> b", "x", "new") == "a <!-- x -->\nnew\n<!-- end of x --> b"
    with pytest.raises(ValueError, match="has no <!-- x -->"):
        report.fill("a", "x", "new")


def test_a_run_that_is_stored_or_has_a_log_is_not_made_again_and_the_others_are_added(tmp_path):
    path = tmp_path / "runs.parquet"
    first, second, third = runs = [design.Run("a", seed, {}, None, {}) for seed in range(3)]
    logs = {run: tmp_path / f"{run.name}.jsonl" for run in runs}
    logs[first].write_text('{"step": 1, "data": {"x": 0.123456, "y": null}}\n')
    tables.write(tables.add_runs(path, logs), path)
    logs[first].unlink()
    logs[second].write_text('{"step": 1, "data": {"x": 2}}\n')
    assert tables.missing(path, logs) == [third]
    frame = tables.add_runs(path, logs)
    assert frame["seed"].tolist() == [0, 1] and frame["x"].tolist() == pytest.approx([0.1235, 2])
    assert math.isnan(frame["y"][0])
    with pytest.raises(ValueError, match=r"runs that the design does not: \[\('a', 0\)\]"):
        tables.add_runs(path, {second: logs[second], third: logs[third]})


def test_pipeline_runs_have_their_seed_and_their_arms_keys():
    plan = design.read()
    first = design.pipeline_runs(plan)[0]
    assert first.arm == "pipeline_grpo" and "data.seed=0" in pipeline.overrides(plan, first)
    assert "actor_rollout_ref.actor.policy_loss.c_low_max=0.8" in pipeline.overrides(plan, first)
