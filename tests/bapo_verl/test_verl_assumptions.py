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
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import verl
from verl.single_controller.ray.base import ResourcePoolManager
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla
from verl.trainer.ppo.v1 import replay_buffer
from verl.utils.device import get_device_name, get_vendor
from verl.utils.metric import AggregationType, Metric
from verl.utils.tracking import FileLogger
from verl.workers.config import FSDPActorConfig
from verl.workers.engine import BaseEngine, EngineRegistry

from bapo_verl.clipping import LOG_RATIO_LIMIT
from bapo_verl.cpu.logical_cpus import CPUS_PER_RANK
from bapo_verl.driver_check import TESTED
from bapo_verl.figures import read_run
from bapo_verl.policy_loss import compute_policy_loss_bapo
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


# ------------------------------------------------------------------------------------------------ the loss


@used_by("bapo_verl/engine.py")
def test_the_loss_function_is_a_partial_with_the_actors_config():
    """The engine reads `loss_function.keywords["config"]` and passes another one."""
    text = source("verl.workers.engine_workers")
    made = re.findall(r"self\.loss_fn = partial\(\s*(\w+), (config=actor_config)", text)
    assert made == [("distillation_ppo_loss", "config=actor_config"), ("ppo_loss", "config=actor_config")]


@used_by("bapo_verl/driver_check.py", "bapo_verl/docs/entry_points.md")
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


@used_by("bapo_verl/clipping.py")
def test_verl_clamps_the_log_ratio_where_the_search_does():
    def kl(log_ratio: float) -> float:
        one = torch.ones(1, 1)
        return compute_policy_loss_vanilla(0 * one, log_ratio * one, one, one, config=actor())[1]["actor/ppo_kl"]

    assert kl(LOG_RATIO_LIMIT + 5) == kl(LOG_RATIO_LIMIT) == -LOG_RATIO_LIMIT != kl(LOG_RATIO_LIMIT - 1)


def actor() -> FSDPActorConfig:
    return FSDPActorConfig(strategy="fsdp2", rollout_n=1, ppo_micro_batch_size_per_gpu=1)


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


# ------------------------------------------------------------------------------------------------ without accelerator


@used_by("bapo_verl/cpu/logical_cpus.py")
def test_what_holds_a_logical_cpu():
    assert ResourcePoolManager.max_colocate_count == CPUS_PER_RANK
    for module, actor_class in {
        "transfer_queue.controller": "TransferQueueController",
        "transfer_queue.storage.simple_storage": "SimpleStorageUnit",
    }.items():
        assert f"@ray.remote(num_cpus=1)\nclass {actor_class}:" in Path(find_spec(module).origin).read_text()


@used_by("bapo_verl/cpu/__init__.py")
def test_the_variables_that_the_cpu_package_sets_are_read():
    root = Path(find_spec("vllm").submodule_search_locations[0])
    assert 'os.getenv("VLLM_CPU_OMP_THREADS_BIND", "auto")' in (root / "envs.py").read_text()
    assert 'os.environ.get("TQ_NUM_THREADS", 8)' in Path(find_spec("transfer_queue.client").origin).read_text()


# ------------------------------------------------------------------------------------------------ logs and recipes


@used_by("bapo_verl/figures.py")
def test_figures_read_what_verls_file_logger_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "run.jsonl"))
    logger = FileLogger("project", "run")
    logger.log({"actor/bapo/rho": 0.4}, step=3)
    logger.finish()
    assert read_run(tmp_path / "run.jsonl") == [(3, {"actor/bapo/rho": 0.4})]


@used_by("recipe/demo/quick_sampler.py")
def test_the_replay_buffer_polls_every_two_seconds_and_has_no_key_for_it():
    parameters = inspect.signature(replay_buffer.ReplayBuffer.__init__).parameters
    assert parameters["poll_interval"].default == 2.0
    sampler = composed().trainer.v1.sampler
    assert "poll_interval" not in sampler and {"path", "name"} <= sampler.custom_sampler.keys()
