"""What the driver says about a composed config. That it says so before Ray is in test_config.py."""

import logging
from importlib.resources import files

import pytest
import verl
from hydra import compose, initialize_config_dir

from bapo_verl import driver_check
from bapo_verl.driver_check import DriverCheck
from bapo_verl.keys import ACTOR, CORRECTION, KEY
from tests.bapo_verl.test_config import BASELINES, BYPASS, GRPO, PRESETS, composed

CLIP = f"{ACTOR}.clip_ratio"
ROLLOUT = "actor_rollout_ref.rollout"
VERLS = files("verl.trainer.config")


def check(*overrides, config_name="ppo_trainer", directory=VERLS):
    """The callback with the config as Hydra hands it over."""
    with initialize_config_dir(str(directory), version_base=None):
        DriverCheck().on_job_start(compose(config_name, [*GRPO, *overrides], return_hydra_config=True))


def said(caplog, *overrides):
    """The warnings."""
    caplog.set_level(logging.WARNING)
    check(*overrides)
    return [record.getMessage() for record in caplog.records if record.name == "bapo_verl.driver_check"]


@pytest.mark.parametrize(
    "overrides",
    [
        *([f"algorithm={preset}"] for preset in PRESETS + BASELINES),
        *(
            ["algorithm=bapo", other]
            for other in (BYPASS, "algorithm.rollout_correction=null", "model_engine=megatron")
        ),
    ],
    ids=str,
)
def test_a_run_as_the_readme_has_it_hears_nothing(caplog, overrides):
    flag, *others = overrides
    assert said(caplog, f"+{flag}", *others) == []


def test_stock_verl_hears_nothing(caplog):
    assert said(caplog, f"{KEY}.loss_mode=gspo", f"{CLIP}_high=0.28", BYPASS, f"{CORRECTION}.rollout_is=token") == []


def test_a_config_of_another_application_is_left_alone():
    DriverCheck().on_job_start(composed()["data"])


@pytest.mark.parametrize(
    ("overrides", "key", "instead"),
    [
        (["+algorithm.target_contribution=0.5"], "algorithm.target_contribution", f"{KEY}.target_contribution=0.5"),
        (["+algorithm.bapo.c_high_max=2"], "algorithm.bapo.c_high_max", f"{KEY}.c_high_max=2"),
        (["+c_low_start=0.8"], "c_low_start", f"{KEY}.c_low_start=0.8"),
        ([f"+{ACTOR}.search_scope=micro_batch"], f"{ACTOR}.search_scope", f"{KEY}.search_scope=micro_batch"),
    ],
)
def test_a_key_at_the_wrong_place_is_refused(overrides, key, instead):
    with pytest.raises(SystemExit, match=f"^{key} has no effect: .* Set {instead} instead$"):
        check("+algorithm=bapo", *overrides)


@pytest.mark.parametrize(
    "key",
    [
        "reward.custom_reward_function.reward_kwargs.contribution",
        "reward_model.reward_kwargs.contribution",
        "trainer.v1.sampler.sampler_kwargs.token_weight",
        f"{ROLLOUT}.custom.contribution",
        f"{ROLLOUT}.engine_kwargs.vllm.token_weight",
    ],
)
def test_functions_of_the_users_own_have_keys_of_their_own(caplog, key):
    assert said(caplog, "+algorithm=bapo", f"++{key}=1") == []


FILE = "{target_contribution: 0.5, c_high_max: 2.0}"


def mine(tmp_path, defaults, policy_loss=FILE, group="", **more):
    """A run file of the user's, or a config group file that the run file does not name."""
    text = f"defaults: [{defaults}]\nactor_rollout_ref: {{actor: {{policy_loss: {policy_loss}}}}}\n"
    (tmp_path / group).mkdir(exist_ok=True)
    (tmp_path / group / "mine.yaml").write_text("# @package _global_\n" * bool(group) + text)
    return dict(directory=tmp_path, config_name="mine", **more)


STOCK = "hydra.searchpath=[pkg://verl.trainer.config]"


IN_BAPO = "target_contribution=0.5 by 0.4, c_high_max=2.0 by 3.0"


@pytest.mark.parametrize(
    ("defaults", "flags", "preset"),
    [
        ("ppo_trainer, _self_", ["+algorithm=bapo"], ("bapo", IN_BAPO)),
        ("ppo_trainer, _self_, {algorithm: bapo}", [], ("bapo", IN_BAPO)),
        (
            "ppo_trainer, _self_, {algorithm: bapo}",
            ["algorithm=bapo_authors_script"],
            ("bapo_authors_script", "target_contribution=0.5 by 0.33333.*"),
        ),
        ("ppo_trainer, _self_", ["+algorithm=bapo", f"{KEY}.c_low_max=0.8", "algorithm.gamma=0.9"], ("bapo", IN_BAPO)),
    ],
)
def test_a_value_of_a_file_that_the_preset_replaces_is_refused_with_the_way_that_keeps_it(
    tmp_path, defaults, flags, preset
):
    name, replaced = preset
    replaced = f"^{KEY}: .* replaces {replaced}. To keep a value"
    with pytest.raises(SystemExit, match=rf"{replaced}.*defaults: \[ppo_trainer, {{algorithm: {name}}}, _self_\]`, or"):
        check(STOCK, *flags, **mine(tmp_path, defaults))


def test_another_loss_in_a_file_is_refused_and_not_turned_into_bapo(tmp_path):
    with pytest.raises(SystemExit, match="loss_mode=gspo by bapo.*another loss_mode: remove the preset"):
        check(STOCK, "+algorithm=bapo", **mine(tmp_path, "ppo_trainer, _self_", "{loss_mode: gspo}"))


def test_a_value_of_a_config_group_file_is_refused_before_the_preset_and_taken_after_it(tmp_path, caplog):
    mine(tmp_path, "_self_", group="exp")
    stock = f"hydra.searchpath=[file://{tmp_path}]"
    with pytest.raises(SystemExit, match=r"target_contribution=0.5 by 0.4"):
        check(stock, "+exp=mine", "+algorithm=bapo")
    assert said(caplog, stock, "+algorithm=bapo", "+exp=mine") == []


@pytest.mark.parametrize(
    ("defaults", "flags", "policy_loss"),
    [
        ("ppo_trainer, {algorithm: bapo}, _self_", [], FILE),
        ("ppo_trainer, {algorithm: bapo}, _self_", ["algorithm=bapo_octothinker"], FILE),
        ("ppo_trainer, _self_", ["+algorithm=bapo", f"{KEY}.target_contribution=0.4", f"{KEY}.c_high_max=2.5"], FILE),
        ("ppo_trainer, _self_", ["+algorithm=bapo"], "{target_contribution: 0.4, loss_mode: bapo, clip_cov_lb: 1.0}"),
        ("ppo_trainer, _self_", ["+algorithm=bapo_octothinker"], "{target_contribution: 0.45}"),
    ],
    ids=["before the file", "another one before the file", "command line", "same values", "same value as the preset"],
)
def test_a_file_that_comes_after_the_preset_or_agrees_with_it_is_not_refused(tmp_path, defaults, flags, policy_loss):
    check(STOCK, *flags, **mine(tmp_path, defaults, policy_loss))


@pytest.mark.parametrize("value", ["null", "1", "0.5", "nan", "x"])
def test_a_dual_clip_that_verl_would_stop_at_in_the_first_update_is_refused(value):
    with pytest.raises(SystemExit, match=f"^{CLIP}_c must be a number above 1 .*, got"):
        check("+algorithm=bapo", f"{CLIP}_c={value}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{KEY}.c_high_start=0.2", "c_low_max must be below 1 and c_high_start above 1 .* got 0.9 and 0.2"),
        (f"{KEY}.loss_mode=vanilla", "loss_mode must be bapo"),
        (f"+{KEY}.c_hgh_max=2", "c_hgh_max is neither a key of verl's nor one of BAPO's, got 2"),
    ],
)
def test_the_policy_loss_is_checked_whether_the_entry_point_does_it_or_not(override, message):
    with pytest.raises(SystemExit, match=f"^{KEY}.{message}"):
        check("+algorithm=bapo", override)


def test_dynamic_context_parallelism_is_refused_with_the_two_ways_out():
    dcp = [f"{ACTOR}.megatron.dynamic_context_parallel=True", f"{ACTOR}.megatron.max_seqlen_per_dp_cp_rank=4096"]
    ways_out = r"must be False .* got True.*context_parallel_size, or remove \+algorithm=bapo"
    with pytest.raises(SystemExit, match=f"megatron.dynamic_context_parallel {ways_out}"):
        check("+algorithm=bapo", "model_engine=megatron", *dcp)


@pytest.mark.parametrize(
    ("overrides", "name", "original"),
    [
        ([f"{KEY}.bypass_mode=True"], "bypass_mode", f"{CORRECTION}.bypass_mode, which is False"),
        ([f"{KEY}.bypass_mode=False", BYPASS], "bypass_mode", f"{CORRECTION}.bypass_mode, which is True"),
        (
            [f"{KEY}.dynamic_context_parallel=True"],
            "dynamic_context_parallel",
            f"{ACTOR}.megatron.dynamic_context_parallel, which is False",
        ),
    ],
)
def test_a_copy_that_was_set_by_hand_is_refused(overrides, name, original):
    with pytest.raises(SystemExit, match=f"^{KEY}.{name} copies {original}"):
        check("+algorithm=bapo", *overrides)


def test_the_name_of_the_loss_without_the_flag_names_the_flag():
    with pytest.raises(SystemExit, match=r"loss_mode=bapo needs the flag: write \+algorithm=bapo"):
        check(f"{KEY}.loss_mode=bapo")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ([f"{CLIP}_low=0.1", f"{CLIP}_high=0.28"], f"{CLIP}_low=0.1, {CLIP}_high=0.28"),
        ([BYPASS, f"{CORRECTION}.rollout_is=token"], f"{CORRECTION}.rollout_is=token"),
        ([BYPASS, f"{CORRECTION}.rollout_rs=token_k1"], f"{CORRECTION}.rollout_rs=token_k1"),
        *(
            ([BYPASS, f"{CORRECTION}.{setting}"], f"{CORRECTION}.{setting}")
            for setting in ("loss_type=reinforce", "rollout_is_threshold=5.0", "rollout_is_batch_normalize=True")
        ),
        ([BYPASS, f"{ROLLOUT}.calculate_log_probs=False"], f"{CORRECTION}.bypass_mode is computed from"),
        (
            [f"{CORRECTION}.rollout_is=token", f"{ROLLOUT}.calculate_log_probs=False"],
            f"{CORRECTION}.rollout_is is computed from",
        ),
        *(
            ([f"{KEY}.{setting}"], f"{KEY}.{setting}")
            for setting in ("clip_cov_lb=2.0", "ppo_kl_coef=0.2", "dro_beta=1.0")
        ),
        ([f"{ACTOR}.tau_pos=2.0"], f"{ACTOR}.tau_pos=2.0"),
        (["+algorithm.bapo.rho=0.5", "+algorithm.clip_ratio_high=0.3"], "algorithm.bapo, algorithm.clip_ratio_high"),
        (["model_engine=torchtitan", "actor_rollout_ref.model.use_remove_padding=False"], "attention misses its end"),
        (
            ["model_engine=megatron", f"+{ACTOR}.megatron.override_transformer_config.attention_dropout=0.1"],
            "override_transformer_config.attention_dropout=0.1",
        ),
        (["data.train_batch_size=256", f"{ACTOR}.ppo_mini_batch_size=256"], "r = 1 for every token"),
        (
            ["distillation.enabled=True", "distillation.distillation_loss.use_task_rewards=False"],
            "use_task_rewards=False",
        ),
    ],
)
def test_what_changes_nothing_is_one_warning_that_names_it(caplog, overrides, named):
    (warning,) = said(caplog, "+algorithm=bapo", *overrides)
    assert named in warning


@pytest.mark.parametrize(
    "overrides",
    [
        [f"{CORRECTION}.rollout_is=token", f"{CORRECTION}.rollout_is_threshold=5.0"],
        ["data.train_batch_size=256", f"{ACTOR}.ppo_mini_batch_size=256", BYPASS],
        ["data.train_batch_size=256", f"{ACTOR}.ppo_mini_batch_size=256", f"{ACTOR}.ppo_epochs=2"],
    ],
)
def test_what_has_an_effect_is_no_warning(caplog, overrides):
    assert said(caplog, "+algorithm=bapo", *overrides) == []


def test_a_version_that_was_not_tested_is_one_warning(caplog, monkeypatch):
    assert verl.__version__ in driver_check.TESTED
    monkeypatch.setattr(verl, "__version__", "0.10.0.dev")
    (warning,) = said(caplog, "+algorithm=bapo")
    assert "0.10.0.dev" in warning and all(version in warning for version in driver_check.TESTED)
