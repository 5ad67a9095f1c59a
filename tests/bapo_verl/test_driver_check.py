"""What the driver says about a composed config. That it says so before Ray is in test_config.py."""

import logging

import pytest
import verl

from bapo_verl import driver_check
from bapo_verl.driver_check import ACTOR, CLIP_RATIO, CORRECTION, KEY, DriverCheck
from tests.bapo_verl.test_config import BASELINES, BYPASS, PRESETS, composed

CLIP = f"{ACTOR}.clip_ratio"


def said(caplog, *overrides):
    """The warnings."""
    caplog.set_level(logging.WARNING)
    DriverCheck().on_job_start(composed(*overrides))
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
        DriverCheck().on_job_start(composed("+algorithm=bapo", *overrides))


def test_functions_of_the_users_own_have_keys_of_their_own(caplog):
    assert said(caplog, "+algorithm=bapo", "+reward.custom_reward_function.reward_kwargs.contribution=1") == []


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
    with pytest.raises(SystemExit, match=f"^{KEY}.{name} is a copy of {original}"):
        DriverCheck().on_job_start(composed("+algorithm=bapo", *overrides))


def test_the_name_of_the_loss_without_the_flag_names_the_flag():
    with pytest.raises(SystemExit, match=r"loss_mode=bapo needs the flag: write \+algorithm=bapo"):
        DriverCheck().on_job_start(composed(f"{KEY}.loss_mode=bapo"))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ([f"{CLIP}_low=0.1", f"{CLIP}_high=0.28"], f"{CLIP}_low=0.1, {CLIP}_high=0.28"),
        ([BYPASS, f"{CORRECTION}.rollout_is=token"], f"{CORRECTION}.rollout_is=token"),
        ([BYPASS, f"{CORRECTION}.rollout_rs=token_k1"], f"{CORRECTION}.rollout_rs=token_k1"),
        (
            ["distillation.enabled=True", "distillation.distillation_loss.use_task_rewards=False"],
            "use_task_rewards=False",
        ),
    ],
)
def test_what_changes_nothing_is_one_warning_that_names_it(caplog, overrides, named):
    (warning,) = said(caplog, "+algorithm=bapo", *overrides)
    assert named in warning


def test_importance_weights_without_bypass_mode_are_used(caplog):
    assert said(caplog, "+algorithm=bapo", f"{CORRECTION}.rollout_is=token") == []


def test_a_version_that_was_not_tested_is_one_warning(caplog, monkeypatch):
    assert verl.__version__ in driver_check.TESTED
    monkeypatch.setattr(verl, "__version__", "0.10.0.dev")
    (warning,) = said(caplog, "+algorithm=bapo")
    assert "0.10.0.dev" in warning and all(version in warning for version in driver_check.TESTED)


def test_the_clip_ratio_that_is_not_warned_about_is_verls():
    actor = composed().actor_rollout_ref.actor
    assert {actor.clip_ratio, actor.clip_ratio_low, actor.clip_ratio_high} == {CLIP_RATIO}
