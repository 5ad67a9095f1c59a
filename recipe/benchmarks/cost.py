"""What BAPO costs: ratios, measured side by side in one run, as medians over repeats.

    taskset -c 0 python -m recipe.benchmarks.cost

times the loss with its search, and updates on verl's engine with a tiny model (five minutes on a core).
"""

import ctypes
import os
import statistics
import tempfile
import time
from functools import partial

os.environ["VERL_PLATFORM"] = "cpu"

import torch
from tensordict import TensorDict
from tqdm import tqdm
from transformers import Qwen2Config, Qwen2ForCausalLM
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.utils import tensordict_utils as tu
from verl.utils.distributed import initialize_global_process_group_ray
from verl.workers.config import FSDPActorConfig, FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig, PolicyLossConfig
from verl.workers.engine import EngineRegistry
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding, response_to_nested

from bapo_verl.clipping import bucket_of, contribution_sums, probability_ratio
from bapo_verl.diagnosis import diagnosis_sums
from bapo_verl.engine import BapoPolicyLossConfig  # registers the engines
from bapo_verl.policy_loss import UpdateConfig
from bapo_verl.search import Search

SHAPE = (16, 8192)
REPEATS, PAIRS = 25, 9


def batch() -> dict:
    """16 answers of 8192 tokens, half of them wrong, with ratios as spread as in stale data."""
    g = torch.Generator().manual_seed(0)
    old = -2 * torch.rand(SHAPE, generator=g)
    advantages = torch.where(torch.arange(SHAPE[0]) % 2 == 0, 1.0, -1.0)[:, None].expand(SHAPE).contiguous()
    log_prob = old + 0.2 * torch.randn(SHAPE, generator=g)
    return dict(old_log_prob=old, log_prob=log_prob, advantages=advantages, response_mask=torch.ones(SHAPE))


def keep_freed_memory() -> None:
    """Otherwise glibc returns the pages of freed tensors, and page faults take most of the time."""
    m_trim_threshold, m_mmap_threshold = -1, -3
    for parameter in (m_trim_threshold, m_mmap_threshold):
        ctypes.CDLL(None).mallopt(parameter, 1 << 30)


def medians(**functions) -> dict[str, float]:
    """CPU milliseconds of each on one core, timed in turns, so that another load slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in tqdm(range(REPEATS), desc=" against ".join(functions), leave=False):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(t) for name, t in times.items()}


def benchmark_loss() -> None:
    data, search = batch(), Search(BapoPolicyLossConfig())
    actor = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        policy_loss=UpdateConfig(bounds_of=lambda tokens: search.now(tokens)[0]),  # the forward searches
    )

    def forward_and_backward(name):
        log_prob = data["log_prob"].clone().requires_grad_()
        loss, _ = get_policy_loss_fn(name)(**{**data, "log_prob": log_prob}, config=actor)
        loss.backward()

    t = medians(vanilla=lambda: forward_and_backward("vanilla"), bapo=lambda: forward_and_backward("bapo"))
    print(
        f"loss with search, forward and backward, {SHAPE[0]} x {SHAPE[1]} tokens: vanilla {t['vanilla']:.1f} ms, bapo "
        f"{t['bapo']:.1f} ms: {t['bapo'] / t['vanilla']:.2f} times vanilla"
    )


def benchmark_sums() -> None:
    data, search = batch(), Search(BapoPolicyLossConfig())
    answers = data["response_mask"] / data["response_mask"].sum(-1, keepdim=True)
    tensors = (data["log_prob"], data["old_log_prob"], data["advantages"], answers)
    log_prob, old, advantages, answers = (tensor.flatten() for tensor in tensors)
    ratio = probability_ratio(log_prob, old)
    bucket = bucket_of(ratio, advantages, search.path)

    t = medians(
        search=lambda: search.choose(contribution_sums(ratio, advantages, search.path)),
        metrics=lambda: diagnosis_sums(log_prob, ratio, advantages, answers, bucket, search.path),
    )
    print(f"of that the search {t['search']:.1f} ms and the sums of its metrics {t['metrics']:.1f} ms")


ANSWERS, PROMPT, ANSWER, VOCABULARY = 128, 16, 32, 256


def rollout_batch() -> TensorDict:
    """Answers of one length, half of them right, for verl's engine."""
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(VOCABULARY, (ANSWERS, PROMPT + ANSWER), generator=g)
    mask = torch.ones(ANSWERS, ANSWER, dtype=torch.long)
    advantages = torch.where(torch.arange(ANSWERS) % 2 == 0, 1.0, -1.0)[:, None].expand(ANSWERS, ANSWER)
    position_ids = torch.arange(PROMPT + ANSWER).expand_as(ids)
    columns = dict(input_ids=ids, prompts=ids[:, :PROMPT], responses=ids[:, PROMPT:], position_ids=position_ids)
    columns |= dict(response_mask=mask, loss_mask=mask, advantages=advantages)
    nested = {k: torch.nested.as_nested_tensor([*v.contiguous()], layout=torch.jagged) for k, v in columns.items()}
    data = TensorDict(nested, batch_size=[ANSWERS])
    flags = dict(use_remove_padding=True, use_dynamic_bsz=True, max_token_len_per_gpu=512, global_batch_size=ANSWERS)
    tu.assign_non_tensor(data, temperature=1.0, calculate_entropy=False, **flags)
    return data


def tiny_engine(directory: str):
    """verl's FSDP2 engine over gloo, one rank, with an untrained Qwen2 of the demo's size."""
    os.environ.update(RANK="0", WORLD_SIZE="1", DIST_INIT_METHOD=f"file://{directory}/init")
    initialize_global_process_group_ray()
    shape = dict(hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=VOCABULARY, num_key_value_heads=2, **shape))
    model.save_pretrained(f"{directory}/model")
    settings = dict(load_tokenizer=False, use_remove_padding=True, enable_gradient_checkpointing=False)
    settings["override_config"] = {"attn_implementation": "sdpa"}
    precision = dict.fromkeys(["param_dtype", "reduce_dtype", "buffer_dtype"], "fp32")
    engine = EngineRegistry.new(
        "language_model",
        "fsdp2",
        HFModelConfig(path=f"{directory}/model", **settings),
        FSDPEngineConfig(strategy="fsdp2", mixed_precision=precision, use_torch_compile=False),
        FSDPOptimizerConfig(lr=1e-6, total_training_steps=1),
        None,
    )
    engine._build_model_optimizer()  # initialize() without a checkpoint manager
    return engine


def set_old_log_probs(engine, data: TensorDict, spread: float, g: torch.Generator) -> None:
    """The model's own, so that r = 1, or with a spread of log r as in stale data."""
    log_prob = no_padding_2_padding(engine.infer_batch(data.copy())["model_output"]["log_probs"], data)
    log_prob += spread * torch.randn(log_prob.shape, generator=g)
    data["old_log_probs"] = response_to_nested(log_prob, data["response_mask"])


def train(engine, data: TensorDict, policy_loss: PolicyLossConfig, updates: int) -> tuple[float, list[dict]]:
    """CPU seconds of `updates` updates on a rollout batch, and the metrics of each."""
    actor = dict(strategy="fsdp2", rollout_n=1, ppo_micro_batch_size_per_gpu=1, policy_loss=policy_loss)
    loss = partial(ppo_loss, config=FSDPActorConfig(**actor))
    start = time.process_time()
    metrics = [engine.train_batch(part, loss)["metrics"] for part in tu.chunk_tensordict(data, updates)]
    return time.process_time() - start, metrics


def benchmark_updates(engine, data: TensorDict, case: str, spread: float, target: float, updates: int) -> None:
    """The same updates with verl's loss and with BAPO's, in turns."""
    ratios, logged, g = [], [], torch.Generator().manual_seed(0)
    for _ in tqdm(range(PAIRS), desc=f"{updates} updates", leave=False):
        set_old_log_probs(engine, data, spread, g)
        vanilla, _ = train(engine, data, PolicyLossConfig(), updates)
        set_old_log_probs(engine, data, spread, g)
        bapo, metrics = train(engine, data, BapoPolicyLossConfig(target_contribution=target), updates)
        ratios.append(bapo / vanilla)
        logged += metrics
    inside = statistics.mean(float(0 < m["actor/bapo/steps"].aggregate() < 51) for m in logged)
    redone = statistics.mean(m["actor/bapo/redone"].aggregate() for m in logged)
    print(
        f"{updates} updates on a rollout batch, old_log_probs {case}: {statistics.median(ratios):.2f} times vanilla, "
        f"{inside:.0%} stop inside the path, {redone:.0%} redone"
    )


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    benchmark_loss()
    benchmark_sums()
    with tempfile.TemporaryDirectory() as directory:
        engine, data = tiny_engine(directory), rollout_batch()
        with engine.train_mode():
            for updates in (1, 2, 4, 8):
                benchmark_updates(engine, data, "recomputed", 0.0, 0.4, updates)
            for updates in (1, 4):  # the target can be reached, and searches stop inside their paths
                benchmark_updates(engine, data, "stale", 0.4, 0.485, updates)


if __name__ == "__main__":
    main()
