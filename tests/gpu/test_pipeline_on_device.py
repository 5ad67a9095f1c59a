"""The demo's pipeline on the device: Ray, vLLM, FSDP2, the sync of the weights, the math reward and verl's trainer.

The command is that of examples/run_bapo_tiny_qwen2_cpu.sh, without `+platform=cpu` on a GPU. What this file does not
exercise: a model of a real size, several GPUs, a run that learns.
"""

import importlib.util
import json
import math
import subprocess
import sys

import pytest
import yaml

from bapo_verl.diagnosis import METRICS
from tests.gpu.conftest import ROOT

TIME_LIMIT = 420
STEPS = 3
CORRELATION = "training/rollout_actor_probs_pearson_corr"

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(2 * TIME_LIMIT)]

KEYS = [
    "algorithm.rollout_correction.bypass_mode=False",  # with it verl does not compare rollout and actor
    "actor_rollout_ref.rollout.calculate_log_probs=True",
    "trainer.val_before_train=False",
    "trainer.test_freq=-1",
    f"trainer.total_training_steps={STEPS}",
]
ONE_GPU = [  # what `+platform=cpu` sets on the CPU
    "trainer.n_gpus_per_node=1",
    "trainer.nnodes=1",
    "actor_rollout_ref.actor.strategy=fsdp2",
    "actor_rollout_ref.rollout.name=vllm",
    "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
    "actor_rollout_ref.rollout.gpu_memory_utilization=0.3",
    "actor_rollout_ref.rollout.enforce_eager=True",  # graphs take a minute to capture
    "actor_rollout_ref.rollout.agent.num_workers=1",
    "reward.num_workers=1",
]
WITHOUT_FLASH_ATTN = ["+actor_rollout_ref.model.override_config.attn_implementation=sdpa"]


def command(device: str, environment: dict, directory) -> list[str]:
    """What the demo's script would run, with the keys of this test after its own."""
    printer = directory / "print"
    printer.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    printer.chmod(0o755)
    script = ["bash", str(ROOT / "examples" / "run_bapo_tiny_qwen2_cpu.sh")]
    said = subprocess.run(script, env=environment | {"PYTHON": str(printer)}, capture_output=True, check=True).stdout
    arguments = said.decode().split("\0")[:-1] + KEYS
    if device == "cuda":
        arguments.remove("+platform=cpu")
        arguments += ONE_GPU + ([] if importlib.util.find_spec("flash_attn") else WITHOUT_FLASH_ATTN)
    return [sys.executable, *arguments]


def test_the_gpus_command_composes(environment, tmp_path):
    """Every key is verl's, also where no GPU is there to run it."""
    composed = [*command("cuda", environment, tmp_path), "--cfg", "job"]
    done = subprocess.run(composed, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    config = yaml.safe_load(done.stdout)
    assert config["trainer"]["device"] == "cuda" and config["actor_rollout_ref"]["rollout"]["dtype"] == "bfloat16"
    assert config["actor_rollout_ref"]["actor"]["policy_loss"]["loss_mode"] == "bapo"


@pytest.mark.skipif(not importlib.util.find_spec("vllm"), reason="vLLM is not installed: the engine's tests ran alone")
def test_the_demos_pipeline_trains(device, environment, status, tmp_path):
    if device == "cpu":
        pytest.skip("tests/pipeline has it on the CPU")
    run = tmp_path / "run"
    watcher = [sys.executable, "-m", "recipe.demo.demo", "-o", str(run), "--"]
    process = subprocess.Popen(
        [*watcher, *command(device, environment, tmp_path)],
        env=environment | {"HF_HUB_OFFLINE": "1"},  # the model is in the repository
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed, _ = process.communicate(timeout=TIME_LIMIT)
    finally:
        process.terminate()  # past the limit: the watcher ends its run and all its processes
        process.wait()
    assert process.returncode == 0, printed[-3000:]
    steps = [json.loads(line)["data"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == STEPS
    for step in steps:
        assert METRICS.keys() <= step.keys()
        assert 0 < step["critic/score/mean"] < 1 and math.isfinite(step["actor/grad_norm"])
        assert 1.2 <= step["actor/bapo/c_high"] <= 3.0 and 0.6 <= step["actor/bapo/c_low"] <= 0.9
    correlations = [step[CORRELATION] for step in steps]
    assert min(correlations) > 0.95  # in bf16 vLLM's kernels round otherwise
    last = steps[-1]
    status(
        f"the demo's pipeline with vLLM, {STEPS} steps",
        f"reward {last['critic/score/mean']:.2f}, correlation of rollout and actor at least {min(correlations):.4f}, "
        f"{last['timing_s/step']:.1f} s a step, {last['actor/bapo/redone']:.0%} redone",
    )
