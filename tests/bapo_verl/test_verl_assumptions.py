"""Details of verl 0.9.1 (and of its vLLM, TransferQueue) that bapo_verl/ relies on and verl does not promise.

CONTRIBUTING.md says how to move to another version. Each test says what is relied on, and its mark `used_by` in which
of our files. Where it fails, verl has changed it: read verl's new code, change our file, then the test. What needs more
than a look at verl is tested in other files, under the same mark: `pytest -m used_by` runs all of them. Several fail
when a workaround is no longer needed, so that it can be deleted. What recipe/ needs of verl is tested in tests/recipe/.
"""

import ast
import inspect
import logging
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
import verl
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla
from verl.utils.checkpoint.checkpoint_manager import BaseCheckpointManager
from verl.utils.device import get_device_name, get_vendor
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import FSDPActorConfig
from verl.workers.engine import BaseEngine, EngineRegistry

from bapo_verl.clipping import LOG_RATIO_LIMIT
from bapo_verl.driver_check import CLIP_RATIO, TESTED
from bapo_verl.policy_loss import compute_policy_loss_bapo
from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from tests.bapo_verl.verl_source import arguments, composed, engine_source, functions, source, used_by

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ["automodel", "fsdp", "megatron", "mindspeed", "torchtitan", "veomni"]  # folders of verl.workers.engine


# ------------------------------------------------------------------------------------------------ the list itself


def test_verl_is_the_version_that_this_list_was_read_in():
    assert verl.__version__ in TESTED


def test_the_files_that_the_marks_name_exist(request):
    marks = [mark for item in request.session.items for mark in item.iter_markers("used_by")]
    assert [file for mark in marks for file in mark.args if not (ROOT / file).is_file()] == []


# ------------------------------------------------------------------------------------------------ plugin and config


@used_by("bapo_verl/plugin.py")
def test_verl_loads_the_entry_points_verl_plugins_and_hides_their_errors():
    """So plugin.py holds only what fails loudly elsewhere."""
    text = source("verl.__init__")
    assert '_entry_points(group="verl.plugins")' in text
    assert re.search(r"_ep\.load\(\)\s+except Exception as _e:\s+logging\.getLogger\(__name__\)\.debug\(", text)
    assert {entry.value for entry in entry_points(group="verl.plugins")} >= {"bapo_verl.plugin"}
    assert logging.getLogger("verl").getEffectiveLevel() > logging.DEBUG


@used_by("bapo_verl/policy_loss_config.py")
def test_a_config_is_a_mapping_of_its_fields():
    """`self[key]` needs it."""
    config = BapoPolicyLossConfig()
    assert isinstance(config, Mapping)
    assert dict(config) == {field.name: getattr(config, field.name) for field in fields(config)}


@used_by("bapo_verl/driver_check.py")
def test_the_actors_clip_ratios_have_the_default_that_is_not_warned_about():
    actor = composed().actor_rollout_ref.actor
    assert {actor.clip_ratio, actor.clip_ratio_low, actor.clip_ratio_high} == {CLIP_RATIO}


@used_by("bapo_verl/config/algorithm/bapo.yaml")
def test_the_keys_that_the_preset_copies_are_verls():
    """`oc.select` would turn a renamed key into False without a word."""
    assert composed().algorithm.rollout_correction.bypass_mode is False
    megatron = composed("model_engine=megatron").actor_rollout_ref.actor.megatron
    assert megatron.dynamic_context_parallel is False


@used_by("bapo_verl/config/algorithm/bapo.yaml", "bapo_verl/engine.py")
def test_a_worker_makes_the_actors_config_before_its_engine():
    """Importing the config's module registers the mixin, which must come before `EngineRegistry.new`."""
    text = source("verl.workers.engine_workers")
    assert 0 < text.index("omega_conf_to_dataclass(self.config.actor)") < text.index("self.actor_worker_cls(config=")


# ------------------------------------------------------------------------------------------------ the loss


@used_by("bapo_verl/engine.py")
def test_the_loss_function_is_a_partial_with_the_actors_config():
    """The engine reads `loss_function.keywords["config"]` and passes another one."""
    text = source("verl.workers.engine_workers")
    made = re.findall(r"self\.loss_fn = partial\(\s*(\w+), (config=actor_config)", text)
    assert made == [("distillation_ppo_loss", "config=actor_config"), ("ppo_loss", "config=actor_config")]


@used_by("bapo_verl/driver_check.py")
def test_the_keys_that_the_driver_looks_at_are_verls():
    config = composed()
    assert {"rollout_is", "rollout_rs", "bypass_mode"} <= config.algorithm.rollout_correction.keys()
    assert "enabled" in config.distillation and "use_task_rewards" in config.distillation.distillation_loss


@used_by("bapo_verl/driver_check.py", "bapo_verl/README.md")
def test_no_trainer_makes_importance_weights_under_bypass_mode():
    for module in ("verl.trainer.ppo.v1.trainer_base", "verl.trainer.ppo.ray_trainer"):
        text = source(module)
        assert text.count("compute_rollout_correction_and_add_to_batch(") == 1, module
        assert "and not bypass_recomputing_logprobs" in text, module


@used_by("bapo_verl/policy_loss.py")
def test_a_policy_loss_has_the_arguments_of_verls_vanilla_loss():
    ours, theirs = (inspect.signature(f).parameters for f in (compute_policy_loss_bapo, compute_policy_loss_vanilla))
    assert list(ours) == list(theirs)
    assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]


@used_by("bapo_verl/search.py", "bapo_verl/engine.py")
def test_the_loss_reads_the_fields_that_the_engine_sums_before_the_update():
    text = source("verl.workers.utils.losses")
    ppo_loss = text[text.index("def ppo_loss(") : text.index("def value_loss(")]
    assert 'fields = ["response_mask", "old_log_probs", "advantages"]' in ppo_loss
    assert 'fields.append("rollout_is_weights")' in ppo_loss.replace("'", '"')
    assert 'model_output.get("entropy", None)' in ppo_loss and 'metrics["actor/entropy_loss"]' in ppo_loss


@used_by("bapo_verl/clipping.py")
def test_verl_clamps_the_log_ratio_where_the_search_does():
    def kl(log_ratio: float) -> float:
        one = torch.ones(1, 1)
        return compute_policy_loss_vanilla(0 * one, log_ratio * one, one, one, config=actor())[1]["actor/ppo_kl"]

    assert kl(LOG_RATIO_LIMIT + 5) == kl(LOG_RATIO_LIMIT) == -LOG_RATIO_LIMIT != kl(LOG_RATIO_LIMIT - 1)


def actor() -> FSDPActorConfig:
    return FSDPActorConfig(strategy="fsdp2", rollout_n=1, ppo_micro_batch_size_per_gpu=1)


@used_by("bapo_verl/engine.py")
def test_distillation_without_task_rewards_computes_the_policy_loss_and_drops_it():
    text = source("verl.trainer.distillation.losses")
    assert "policy_loss, policy_metrics = ppo_loss(config, model_output, data, dp_group)" in text
    assert re.search(r"if not distillation_loss_config.use_task_rewards:\s+policy_loss = 0.0", text)
    workers = source("verl.workers.engine_workers")
    assert "distillation_ppo_loss, config=actor_config, distillation_config=distillation_config" in workers


@used_by("bapo_verl/engine.py")
def test_the_random_state_of_torch_goes_back_with_verls_own_functions():
    state = BaseCheckpointManager.get_rng_state()
    drawn = torch.rand(3)
    BaseCheckpointManager.load_rng_state(state)
    assert torch.equal(torch.rand(3), drawn)


@used_by("bapo_verl/policy_loss.py", "bapo_verl/engine.py")
def test_a_replaced_actor_config_keeps_the_counts_of_the_global_batch():
    """verl's loss writes them into the config before it calls the policy loss, which replaces the clip ratios."""
    config = actor()
    config.global_batch_info["dp_size"] = 2
    assert replace(config, clip_ratio_low=0.1).global_batch_info == {"dp_size": 2}


@used_by("bapo_verl/engine.py")
def test_a_metric_is_reduced_by_its_own_rule():
    values = {kind: Metric(value=1.0, aggregation=getattr(AggregationType, kind)) for kind in ("MEAN", "MAX")}
    for metric in values.values():
        metric.append(3.0)
    assert [metric.aggregate() for metric in values.values()] == [2.0, 3.0]
    assert "Metric.aggregate_dp(val)" in source("verl.workers.engine_workers")  # over the ranks


# ------------------------------------------------------------------------------------------------ the engines


@used_by("bapo_verl/engine.py")
def test_verl_has_no_other_engines():
    folder = Path(verl.__file__).parent / "workers" / "engine"
    assert sorted(path.parent.name for path in folder.glob("*/transformer_impl.py")) == ENGINES


@used_by("bapo_verl/engine.py")
def test_train_batch_and_infer_batch_are_the_base_classs_alone():
    """So that one override of `forward_backward_batch` reaches every engine."""
    base = source("verl.workers.engine.base")
    owners = {
        owner
        for text in [base, *map(engine_source, ENGINES)]
        for owner, method in functions(text)
        if method.name in ("train_batch", "infer_batch")
    }
    assert owners == {"BaseEngine"}


class Recorder(BaseEngine):
    def __init__(self):
        self.calls = []

    def optimizer_zero_grad(self):
        self.calls.append("zero_grad")

    def optimizer_step(self):
        self.calls.append("step")

    def forward_backward_batch(self, data, loss_function, forward_only=False):
        self.calls.append(("forward_backward", forward_only, torch.is_grad_enabled()))
        return {"metrics": {}}

    def is_mp_src_rank_with_outputs(self):
        return True


@used_by("bapo_verl/engine.py")
def test_train_batch_is_zero_grad_forward_backward_step():
    engine = Recorder()
    engine.train_batch({}, None)
    engine.infer_batch({}, None)
    assert engine.calls == ["zero_grad", ("forward_backward", False, True), "step", ("forward_backward", True, False)]


@used_by("bapo_verl/engine.py")
@pytest.mark.parametrize("name", [name for name in ENGINES if name != "mindspeed"])  # a subclass of Megatron's
def test_an_engine_has_the_method_that_is_overridden_and_a_module(name):
    text = engine_source(name)
    owner = next(owner for owner, method in functions(text) if method.name == "forward_backward_batch")
    assert arguments(text, owner, "forward_backward_batch") == ["data", "loss_function", "forward_only"]
    assert re.search(r"^\s+self\.module = ", text, re.M)
    assert {"get_data_parallel_group", "optimizer_zero_grad"} <= vars(BaseEngine).keys()


@used_by("bapo_verl/entropy.py")
@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_calls_the_loss_function_by_keywords(name):
    calls = [
        node
        for node in ast.walk(ast.parse(engine_source(name)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "loss_function"
    ]
    assert all(not call.args and "model_output" in [k.arg for k in call.keywords] for call in calls)
    assert calls or name in ("mindspeed", "veomni")  # which inherit forward_step of Megatron's and FSDP's


@used_by("bapo_verl/entropy.py", "bapo_verl/engine.py")
def test_the_engines_that_compute_the_entropy_by_an_attribute_are_these_four():
    having = [name for name in ENGINES if "self.compute_entropy_from_logits = " in engine_source(name)]
    assert having == ["automodel", "fsdp", "torchtitan", "veomni"]
    reading = [name for name in ENGINES if 'key="calculate_entropy"' in engine_source(name)]
    assert reading == ["automodel", "fsdp", "megatron", "torchtitan"]  # veomni: FSDP's


@used_by("bapo_verl/engine.py")
def test_the_registry_is_a_dictionary_that_looks_up_device_and_vendor_before_the_device(monkeypatch):
    """bapo_verl.engine registers its classes under (device, vendor), and reads the two variables as verl does."""
    monkeypatch.delenv("VERL_ENGINE_DEVICE", raising=False)
    device, vendor = get_device_name(), get_vendor()
    classes = {device: "of the device", (device, vendor): "of the vendor", ("npu", "another"): "named"}
    monkeypatch.setitem(EngineRegistry._engines["language_model"], "test", classes)
    assert EngineRegistry.get_engine_cls("language_model", "test") == "of the vendor"
    monkeypatch.setenv("VERL_ENGINE_DEVICE", "npu")
    with pytest.raises(ValueError, match="No engine registered"):
        EngineRegistry.get_engine_cls("language_model", "test")
    monkeypatch.setenv("VERL_ENGINE_VENDOR", "another")
    assert EngineRegistry.get_engine_cls("language_model", "test") == "named"
