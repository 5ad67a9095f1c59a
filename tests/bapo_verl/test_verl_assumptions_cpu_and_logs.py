"""As test_verl_assumptions.py: what the CPU platform, the figures and the recipes rely on."""

import inspect
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from verl.single_controller.ray.base import ResourcePoolManager
from verl.trainer.ppo.v1 import replay_buffer
from verl.utils.tracking import FileLogger

from bapo_verl.cpu.logical_cpus import CPUS_PER_RANK
from bapo_verl.figures import read_run
from tests.bapo_verl.verl_source import arguments, composed, source, used_by

# ------------------------------------------------------------------------------------------------ without accelerator


@used_by("bapo_verl/cpu/worker_extension.py")
def test_the_methods_of_verls_worker_extension_that_are_overridden():
    text = source("verl.workers.rollout.vllm_rollout.utils")
    method = partial(arguments, text, "vLLMColocateWorkerExtension")
    assert method("update_weights_from_ipc") == ["peft_config", "base_sync_done", "use_shm"]
    assert method("_update_weights") == ["weights", "peft_config", "base_sync_done"]
    assert method("_iter_all_models_with_config") == []
    assert "for model, model_config in self._iter_all_models_with_config():" in text  # after the last bucket


@used_by("bapo_verl/cpu/worker_extension.py")
def test_vllm_reloads_a_model_from_an_iterator():
    text = Path(find_spec("vllm").submodule_search_locations[0], "v1/worker/gpu_model_runner.py").read_text()
    assert arguments(text, "GPUModelRunner", "reload_weights")[:2] == ["weights_iterator", "weights_path"]


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


@used_by("bapo_verl/docs/entry_points.md")
def test_a_batch_has_the_answers_in_the_order_in_which_they_ended(monkeypatch):
    """The order of TransferQueue's keys, not that of the prompts: two runs with one seed train on different batches."""
    monkeypatch.setattr(replay_buffer, "tq", type("Queue", (), {"kv_clear": staticmethod(lambda **_: None)}))
    ended = {"second_0_0": {}, "first_1_0": {}, "other_0_0": {}, "first_0_0": {}}
    buffer = object.__new__(replay_buffer.ReplayBuffer)
    batch = buffer._materialize_batch("train", ["first", "second"], ended)
    assert batch.keys == ["second_0_0", "first_1_0", "first_0_0"]
