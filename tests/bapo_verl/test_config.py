"""`+algorithm=bapo` as a user types it: what it adds to a GRPO command, from where, and what bad input says."""

import os
import subprocess
import sys
from importlib.resources import files

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import OmegaConf
from verl.utils.config import omega_conf_to_dataclass

from bapo_verl.policy_loss_config import BapoPolicyLossConfig

KEY = "actor_rollout_ref.actor.policy_loss"
GRPO = ["algorithm.adv_estimator=grpo", "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1"]
PRESETS = ["bapo", "bapo_octothinker", "bapo_authors", "bapo_authors_script"]  # published sets of values
BASELINES = ["grpo", "clip_higher"]
ALGORITHMS = files("bapo_verl.config.algorithm")


def composed(*overrides):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[*GRPO, *overrides])


def main_ppo(cwd, *arguments):
    """The user's command, in a directory of its own and without this checkout on the path."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VERL_PLATFORM")}
    command = [sys.executable, "-m", "verl.trainer.main_ppo", *GRPO, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


BYPASS = "algorithm.rollout_correction.bypass_mode=True"


def test_the_presets_are_these():
    found = {file.name.removesuffix(".yaml") for file in ALGORITHMS.iterdir() if file.name.endswith(".yaml")}
    assert found == {*PRESETS, *BASELINES}


@pytest.mark.parametrize("preset", [*PRESETS, *BASELINES])
def test_the_flag_changes_the_policy_loss_and_nothing_else(preset):
    flags = ([], [f"+algorithm={preset}"])
    without, with_flag = (OmegaConf.to_container(composed(*flag), resolve=True) for flag in flags)
    before, after = (c["actor_rollout_ref"]["actor"].pop("policy_loss") for c in (without, with_flag))
    assert with_flag == without
    # Of verl's own keys only these two change; the others are ours.
    assert {k for k in before if before[k] != after[k]} == {"_target_", "loss_mode"}


@pytest.mark.used_by("bapo_verl/config/algorithm/bapo.yaml")
def test_the_preset_bapo_is_the_dataclass():
    config = omega_conf_to_dataclass(composed("+algorithm=bapo").actor_rollout_ref.actor)
    assert config.policy_loss == BapoPolicyLossConfig()


def test_presets_have_the_numbers_of_their_sources():
    """Sec. 5.1 and App. A of the paper, the authors' YAML and their example script."""
    keys = [f"{bound}_{part}" for bound in ("c_low", "c_high") for part in ("start", "max", "step")]
    keys = ["target_contribution", *keys, "search_order", "search_scope"]
    policy_loss = {p: composed(f"+algorithm={p}").actor_rollout_ref.actor.policy_loss for p in PRESETS}
    assert {preset: [values[k] for k in keys] for preset, values in policy_loss.items()} == {
        "bapo": [0.4, 0.6, 0.9, 0.02, 1.2, 3.0, 0.05, "high_first", "mini_batch"],
        "bapo_octothinker": [0.45, 0.8, 0.9, 0.02, 1.2, 2.0, 0.05, "high_first", "mini_batch"],
        "bapo_authors": [0.5, 0.6, 0.8, 0.05, 1.2, 2.0, 0.05, "low_first", "micro_batch"],
        "bapo_authors_script": [1 / 3, 0.8, 0.95, 0.05, 1.2, 2.0, 0.1, "low_first", "micro_batch"],
    }


@pytest.mark.parametrize(("baseline", "c_high"), [("grpo", 1.2), ("clip_higher", 1.28)])
def test_a_baseline_is_bapo_with_bounds_that_do_not_move(baseline, c_high):
    """Fig. 11. That its loss is then verl's vanilla loss to the bit is in test_policy_loss.py."""
    bapo, values = (composed(f"+algorithm={p}").actor_rollout_ref.actor.policy_loss for p in ("bapo", baseline))
    ends = ["c_low_start", "c_low_max", "c_high_start", "c_high_max"]
    assert [values[key] for key in ends] == [0.8, 0.8, c_high, c_high]
    assert {key for key in bapo if values[key] != bapo[key]} <= set(ends)


@pytest.mark.parametrize("preset", [*PRESETS, *BASELINES])
@pytest.mark.parametrize(
    ("override", "bypass_mode"),
    [(None, False), (BYPASS, True), ("algorithm.rollout_correction=null", False), ("trainer.v1=null", False)],
)
def test_keys_that_are_copied_follow_their_original_and_live_without_it(preset, override, bypass_mode):
    overrides = [override] if override else []
    policy_loss = composed(f"+algorithm={preset}", *overrides).actor_rollout_ref.actor.policy_loss
    assert policy_loss.bypass_mode == bypass_mode
    assert policy_loss.dynamic_context_parallel is False


ENGINES = {
    "FSDP2": ["actor_rollout_ref.actor.strategy=fsdp2"],
    "FSDP-Turbo": ["actor_rollout_ref.actor.strategy=fsdp_turbo"],
    "Megatron": ["model_engine=megatron"],
    "TorchTitan": ["model_engine=torchtitan"],
    "veOmni": ["model_engine=veomni"],
}


@pytest.mark.used_by("bapo_verl/config/algorithm/bapo.yaml")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_flag_composes_with_every_engine_of_main_ppo(engine):
    """MindSpeed is verl's engine for model_engine=megatron on an NPU; for AutoModel verl has no config in main_ppo."""
    actor = composed("+algorithm=bapo", *ENGINES[engine]).actor_rollout_ref.actor
    assert type(omega_conf_to_dataclass(actor).policy_loss) is BapoPolicyLossConfig


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["+algorithm=bapo", f"{KEY}.taget_contribution=0.4"],
            "Could not override 'actor_rollout_ref.actor.policy_loss.taget_contribution'",
        ),
        (["algorithm=bapo"], r"To append to your default list use \+algorithm=bapo"),
        (["+algorithm=bappo"], r"Could not find 'algorithm/bappo'\n\nAvailable options in 'algorithm':\n\tbapo\n"),
    ],
)
def test_a_misspelt_key_or_flag_is_hydras_own_error(arguments, message):
    with pytest.raises(HydraException, match=message):
        composed(*arguments)


@pytest.mark.used_by("bapo_verl/policy_loss_config.py")
@pytest.mark.slow
def test_bad_input_is_an_error_on_the_driver_before_ray_starts(tmp_path):
    """The other errors, without a process each, are in test_driver_check.py and test_policy_loss.py."""
    done = main_ppo(tmp_path, "+algorithm=bapo", f"{KEY}.target_contribution=1.5")
    assert done.returncode != 0
    assert f"{KEY}.target_contribution must be in (0, 1), got 1.5" in done.stderr
    assert "ray init kwargs" not in done.stdout and "Started a local Ray instance" not in done.stderr


@pytest.mark.slow
def test_what_changes_nothing_is_a_warning_on_the_driver_and_the_run_goes_on(tmp_path):
    """Up to a wrong value behind the checks, so that Ray does not start."""
    wrong = ["actor_rollout_ref.actor.loss_agg_mode=no_such_mode", "actor_rollout_ref.actor.clip_ratio_high=0.28"]
    done = main_ppo(tmp_path, "+algorithm=bapo", *wrong)
    assert done.returncode != 0 and "no_such_mode" in done.stderr
    assert "not used with" in done.stdout and "clip_ratio_high=0.28" in done.stdout
    assert "engine is not available" not in done.stderr  # verl's engines are not imported, as by stock verl


@pytest.mark.used_by("bapo_verl/policy_loss_config.py")
@pytest.mark.slow
def test_a_worker_that_makes_the_config_registers_the_loss_and_the_engines():
    """In a process of its own, where nothing else has. Ray's answer is the only thing that is not real."""
    code = (
        "import sys, ray; from bapo_verl.policy_loss_config import BapoPolicyLossConfig\n"
        "BapoPolicyLossConfig(); print('bapo_verl.engine' in sys.modules)\n"
        "ray.is_initialized = lambda: True\n"
        "BapoPolicyLossConfig(); print('bapo_verl.engine' in sys.modules)\n"
        "from verl.trainer.ppo.core_algos import get_policy_loss_fn; print(get_policy_loss_fn('bapo').__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "True", "compute_policy_loss_bapo"], done.stderr


@pytest.mark.used_by("bapo_verl/plugin.py")
@pytest.mark.slow
def test_the_plugin_is_what_makes_the_flag_known(tmp_path, monkeypatch):
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "none")
    done = main_ppo(tmp_path, "+algorithm=bapo", "--cfg", "job")
    assert done.returncode != 0 and "Could not find 'algorithm/bapo'" in done.stderr
