"""What BAPO costs: ratios, measured side by side in one run, as medians over repeats.

python examples/benchmark.py              the search, and the loss with its search, on one core (a minute)
python examples/benchmark.py --pipeline   also `update_actor` in the real pipeline, with BAPO and with verl's vanilla
                                          loss (needs the demo's model: run examples/demo.sh first; six minutes)
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["VERL_PLATFORM"] = "cpu"

import torch
from tqdm import tqdm
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from bapo_verl.clipping import contribution_sums, probability_ratio
from bapo_verl.policy_loss import BapoPolicyLossConfig

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (16, 8192)
REPEATS = 25


def batch() -> dict:
    """16 answers of 8192 tokens, half of them wrong, with ratios as spread as in stale data."""
    g = torch.Generator().manual_seed(0)
    old = -2 * torch.rand(SHAPE, generator=g)
    advantages = torch.where(torch.arange(SHAPE[0]) % 2 == 0, 1.0, -1.0)[:, None].expand(SHAPE).contiguous()
    log_prob = old + 0.2 * torch.randn(SHAPE, generator=g)
    return dict(old_log_prob=old, log_prob=log_prob, advantages=advantages, response_mask=torch.ones(SHAPE))


def equation_8(ratio, advantages, mask, low: float, high: float) -> torch.Tensor:
    """Eq. 8 as printed, in float64 as our sums are."""
    ratio, advantages, mask = ratio.double(), advantages.double(), mask.double()
    positive = torch.minimum(ratio * advantages, ratio.clamp(0, high) * advantages) * (advantages > 0) * mask
    every = torch.minimum(ratio * advantages, ratio.clamp(low, high) * advantages) * mask
    return positive.sum().abs() / every.abs().sum()


def literal_search(ratio, advantages, mask, path, target: float) -> tuple[float, float]:
    """Algorithm 1 as printed: Eq. 8 over all tokens at each point of the path, a host sync at each."""
    for low, high in zip(path.c_low[path.low].tolist(), path.c_high[path.high].tolist(), strict=True):
        if equation_8(ratio, advantages, mask, low, high).item() >= target:
            break
    return low, high


def keep_freed_memory() -> None:
    """Else glibc hands every tensor's pages back, and what is measured of both sides is page faults."""
    m_trim_threshold, m_mmap_threshold = -1, -3
    for parameter in (m_trim_threshold, m_mmap_threshold):
        ctypes.CDLL(None).mallopt(parameter, 1 << 30)


def medians(**functions) -> dict[str, float]:
    """CPU milliseconds of each on one core, taken in turns so that all share the machine's moods."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in tqdm(range(REPEATS), desc=" against ".join(functions), leave=False):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(t) for name, t in times.items()}


def benchmark_search() -> None:
    data, target = batch(), 0.99  # out of reach, so that the loop visits all 52 points
    config = BapoPolicyLossConfig(target_contribution=target)
    path, mask = config.path("cpu"), data["response_mask"]
    ratio = probability_ratio(data["log_prob"], data["old_log_prob"])

    def literal():
        return literal_search(ratio, data["advantages"], mask, path, target)

    def sums():
        return config.choose(contribution_sums(ratio, data["advantages"], mask, path), None)[:2]

    assert literal() == sums()
    t = medians(literal=literal, sums=sums)
    print(
        f"search, {SHAPE[0]} x {SHAPE[1]} tokens, one core: literal loop {t['literal']:.1f} ms, bucket sums "
        f"{t['sums']:.1f} ms: {t['literal'] / t['sums']:.1f} times faster"
    )


def benchmark_loss() -> None:
    data = batch()
    actor = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        policy_loss=BapoPolicyLossConfig(search_scope="micro_batch"),
    )

    def forward_and_backward(name):
        log_prob = data["log_prob"].clone().requires_grad_()
        loss, _ = get_policy_loss_fn(name)(**{**data, "log_prob": log_prob}, config=actor)
        loss.backward()

    t = medians(vanilla=lambda: forward_and_backward("vanilla"), bapo=lambda: forward_and_backward("bapo"))
    print(
        f"loss with search, forward and backward, same tokens: vanilla {t['vanilla']:.1f} ms, bapo "
        f"{t['bapo']:.1f} ms: {t['bapo'] / t['vanilla']:.2f} times vanilla"
    )


def update_actor_seconds(*overrides: str) -> float:
    """Median of verl's `timing_s/update_actor` over the steps after the first."""
    with tempfile.TemporaryDirectory() as out:
        script = ROOT / "examples" / "run_bapo_tiny_qwen2_cpu.sh"
        settings = ["trainer.total_training_steps=8", "trainer.val_before_train=False", "trainer.test_freq=-1"]
        env = {**os.environ, "VERL_FILE_LOGGER_PATH": f"{out}/metrics.jsonl", "PYTHON": sys.executable}
        with open(f"{out}/log", "w") as log:
            command = ["bash", str(script), *settings, *overrides]
            subprocess.run(command, env=env, stdout=log, stderr=log, check=True, timeout=600)
        steps = [json.loads(line)["data"] for line in open(f"{out}/metrics.jsonl")]
    return statistics.median(step["timing_s/update_actor"] for step in steps[1:])


def benchmark_pipeline() -> None:
    key = "actor_rollout_ref.actor.policy_loss.loss_mode"
    arms = {name: f"{key}={name}" for name in ("vanilla", "bapo")}
    t = {name: update_actor_seconds(override) for name, override in tqdm(arms.items(), desc="real runs")}
    print(
        f"update_actor in the real pipeline: vanilla {t['vanilla']:.2f} s, bapo (mini_batch) {t['bapo']:.2f} s: "
        f"{t['bapo'] / t['vanilla']:.2f} times vanilla; one forward more beside a forward and a backward of twice "
        "its FLOPs is 4/3 = 1.33 in theory, 5/4 = 1.25 with gradient checkpointing (which verl turns on)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", action="store_true")
    torch.set_num_threads(1)
    keep_freed_memory()
    arguments = parser.parse_args()
    benchmark_search()
    benchmark_loss()
    if arguments.pipeline:
        benchmark_pipeline()
