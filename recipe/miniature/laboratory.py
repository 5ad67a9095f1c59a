"""One run of the miniature in plain python: verl's engine, loss and advantages, and sampling in the same process.

    python recipe/miniature/laboratory.py TASK -o RUN.jsonl --updates 16 --lr 1e-3 --bounds 0.8 1.2 --seed 0

TASK is a folder that task.py made. Beside the real pipeline this leaves out Ray, vLLM and the queue between them, and
keeps what trains: the engine that verl's registry gives for `language_model`, `ppo_loss` with the actor's config,
verl's GRPO advantages and its mini-batches. RUN.jsonl is in the format of verl's file logger, under its names.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

os.environ.setdefault("VERL_PLATFORM", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import torch.distributed as dist
from sampler import Answers, Sampler
from task import MAX_RESPONSE_TOKENS, all_problems, encode_prompt, is_right
from tensordict import TensorDict
from torch import Tensor
from tqdm import tqdm
from transformers import AutoTokenizer
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import FSDPActorConfig, FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
from verl.workers.engine import EngineRegistry
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from bapo_verl.engine import BapoPolicyLossConfig  # this module registers the loss and the engines

FP32 = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}


@dataclass
class Setting:
    """What a run is.

    updates: optimizer steps on each rollout batch.
    epochs: passes over the batch that these make (actor.ppo_epochs); a mini-batch has answers * epochs / updates.
    versions: how many rollout batches old the weights are that sample; 0: they are current.
    random_rewards: the batch's rewards, dealt out anew to its answers.
    micro_batch: answers in a forward; 0: all of an update.
    policy_loss: keys of BapoPolicyLossConfig.
    """

    updates: int = 1
    epochs: int = 1
    lr: float = 1e-3
    seed: int = 0
    steps: int = 60
    prompts: int = 16
    answers: int = 8
    versions: int = 0
    random_rewards: bool = False
    micro_batch: int = 0
    policy_loss: dict = field(default_factory=dict)


def fixed(c_low: float, c_high: float) -> dict:
    """PPO-clip with these bounds: BAPO with nothing to search, verl's vanilla loss to the bit."""
    return dict(c_low_start=c_low, c_low_max=c_low, c_high_start=c_high, c_high_max=c_high)


def start() -> None:
    """Once in a process: one thread, and a world of one for verl's engine."""
    torch.set_num_threads(1)
    rendezvous = tempfile.NamedTemporaryFile(prefix="laboratory-").name
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=0, world_size=1)


def make_engine(model: str, lr: float):
    """The engine that verl's registry has, with the defaults of verl's optimizer."""
    engine = EngineRegistry.new(
        "language_model",
        "fsdp2",
        HFModelConfig(
            path=model,
            load_tokenizer=False,
            override_config={"attn_implementation": "sdpa"},
            use_remove_padding=False,
            enable_gradient_checkpointing=False,
        ),
        FSDPEngineConfig(strategy="fsdp2", mixed_precision=FP32, use_torch_compile=False),
        FSDPOptimizerConfig(lr=lr, total_training_steps=-1),
        None,
    )
    engine._build_model_optimizer()  # initialize() without a checkpoint manager
    return engine


def observed_ppo_loss(config, model_output: dict, data: TensorDict, dp_group=None) -> tuple[Tensor, dict]:
    """verl's `ppo_loss`, and the shares of tokens whose ratio lies beyond 0.8 and 1.2."""
    loss, metrics = ppo_loss(config, model_output, data, dp_group)
    log_prob = no_padding_2_padding(model_output["log_probs"], data).detach()
    padded = data.select("old_log_probs", "response_mask").to_padded_tensor()
    ratio = (log_prob - padded["old_log_probs"])[padded["response_mask"].bool()].exp()
    shares = {"below_0.8": (ratio < 0.8).float().mean().item(), "above_1.2": (ratio > 1.2).float().mean().item()}
    shares = {f"ratio/{name}": value for name, value in shares.items()}
    return loss, metrics | Metric.from_dict(shares, aggregation=AggregationType.MEAN)


def training_data(answers: Answers, advantages: Tensor) -> TensorDict:
    """What verl's trainer hands to its engine, without padding."""

    def nested(values: Tensor) -> Tensor:
        rows = [row[:n] for row, n in zip(values, answers.lengths.tolist(), strict=True)]
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)

    whole = torch.cat([answers.prompts, answers.tokens], 1)
    ids = [row[: answers.prompts.shape[1] + n] for row, n in zip(whole, answers.lengths.tolist(), strict=True)]
    mask = nested(answers.mask.long())
    tensors = dict(
        input_ids=torch.nested.as_nested_tensor(ids, layout=torch.jagged),
        position_ids=torch.nested.as_nested_tensor([torch.arange(len(x)) for x in ids], layout=torch.jagged),
        prompts=torch.nested.as_nested_tensor(list(answers.prompts), layout=torch.jagged),
        responses=nested(answers.tokens),
        response_mask=mask,
        loss_mask=mask,
        old_log_probs=nested(answers.log_probs),
        advantages=nested(advantages),
    )
    return TensorDict(tensors, batch_size=[len(ids)])


class Laboratory:
    """A run's state: engine, sampler, the weights it samples with, and the stream of problems."""

    def __init__(self, task: Path, setting: Setting):
        self.setting = setting
        torch.manual_seed(setting.seed)
        self.rng = random.Random(setting.seed)
        self.tokenizer = AutoTokenizer.from_pretrained(task / "model")
        self.prompts = {problem: encode_prompt(self.tokenizer, problem) for problem in all_problems()}
        self.sampler = Sampler(task / "model", MAX_RESPONSE_TOKENS, self.tokenizer.eos_token_id)
        self.policy_loss = BapoPolicyLossConfig(bypass_mode=True, **setting.policy_loss)
        actor = FSDPActorConfig(
            strategy="fsdp2",
            rollout_n=setting.answers,
            ppo_micro_batch_size_per_gpu=1,
            policy_loss=self.policy_loss,
        )
        self.loss = partial(observed_ppo_loss, config=actor)
        self.engine = make_engine(str(task / "model"), setting.lr)
        self.versions = deque([self.weights()], maxlen=setting.versions + 1)  # the oldest one samples
        self.pending: list = []

    def weights(self) -> dict[str, Tensor]:
        parameters, _ = self.engine.get_per_tensor_param()
        return {name: value.detach().clone() for name, value in parameters}

    def next_problems(self) -> list:
        """Each problem once before any comes again."""
        while len(self.pending) < self.setting.prompts:
            self.pending += self.rng.sample(all_problems(), len(all_problems()))
        batch, self.pending = self.pending[: self.setting.prompts], self.pending[self.setting.prompts :]
        return batch

    def rewards(self, answers: Answers, problems: list) -> Tensor:
        rows = [row[:n] for row, n in zip(answers.tokens, answers.lengths.tolist(), strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return torch.tensor([float(is_right(text, problem)) for text, problem in zip(texts, problems, strict=True)])

    def step(self) -> dict[str, float]:
        """Sample a batch, make the updates on it, and say what happened."""
        setting, started = self.setting, time.perf_counter()
        problems = [problem for problem in self.next_problems() for _ in range(setting.answers)]
        self.sampler.load(self.versions[0])
        answers = self.sampler.sample(torch.tensor([self.prompts[problem] for problem in problems]))
        rewards = self.rewards(answers, problems)
        learned = rewards[torch.randperm(len(rewards))] if setting.random_rewards else rewards
        sampled = time.perf_counter()
        scores = torch.zeros_like(answers.mask)
        scores[:, 0] = learned
        groups = np.arange(len(problems)) // setting.answers
        advantages, _ = compute_grpo_outcome_advantage(scores, answers.mask, groups)
        metrics = self.update(training_data(answers, advantages))
        updated = time.perf_counter()
        self.versions.append(self.weights())
        self.sampler.load(self.versions[-1])
        metrics |= self.sampler.divergence(answers) | describe(answers, rewards)
        metrics |= {f"training/{key}": float(getattr(setting, key)) for key in ("updates", "epochs", "versions")}
        seconds = {"gen": sampled - started, "update_actor": updated - sampled, "step": time.perf_counter() - started}
        return metrics | {f"timing_s/{name}": value for name, value in seconds.items()}

    def update(self, data: TensorDict) -> dict[str, float]:
        """verl's mini-batches, in an order that the seed decides (actor.shuffle=True); means over the updates."""
        size = len(data) * self.setting.epochs // self.setting.updates
        outputs = []
        with self.engine.train_mode():
            for batch in tu.make_iterator(
                data,
                size,
                epochs=self.setting.epochs,
                seed=self.rng.randrange(2**31),
                dataloader_kwargs={"shuffle": True},
            ):
                tu.assign_non_tensor(
                    batch,
                    use_remove_padding=False,
                    use_dynamic_bsz=False,
                    calculate_entropy=True,
                    micro_batch_size_per_gpu=self.setting.micro_batch or size,
                    global_batch_size=size,
                    temperature=1.0,
                )
                outputs.append(self.engine.train_batch(batch, self.loss)["metrics"])
        updates = [flat(output) for output in outputs]
        return means([update | where_it_stopped(update, self.policy_loss) for update in updates])


def flat(metrics: dict) -> dict[str, float]:
    """verl's metrics of one update, by the names of its log."""
    values = {key: float(value.aggregate() if isinstance(value, Metric) else value) for key, value in metrics.items()}
    values["actor/grad_norm"] = values.pop("grad_norm")
    return values


def where_it_stopped(metrics: dict[str, float], policy_loss: BapoPolicyLossConfig) -> dict[str, float]:
    """Whether the search of an update stopped at its path's start, at its end, or between: one of them is 1."""
    low, high = metrics["actor/bapo/c_low"], metrics["actor/bapo/c_high"]
    start = (low, high) == (policy_loss.c_low_start, policy_loss.c_high_start)
    end = not start and (low, high) == (policy_loss.c_low_max, policy_loss.c_high_max)
    return {"search/start": float(start), "search/inside": float(not start and not end), "search/end": float(end)}


def means(updates: list[dict[str, float]]) -> dict[str, float]:
    """verl's log has the mean over a step's updates; a metric that an update lacks is not counted there."""
    keys = {key for update in updates for key in update}
    return {key: float(np.mean([update[key] for update in updates if key in update])) for key in sorted(keys)}


def describe(answers: Answers, rewards: Tensor) -> dict[str, float]:
    """Accuracy, lengths of right and failed answers, and the entropy at which they were sampled."""
    lengths, right = answers.lengths.float(), rewards > 0
    values = {
        "critic/score/mean": rewards.mean(),
        "response_length/mean": lengths.mean(),
        "rollout/entropy": (answers.entropy * answers.mask).sum() / answers.mask.sum(),
    }
    if right.any():
        values["rollout/right_length"] = lengths[right].mean()
    if not right.all():
        values["rollout/failed_length"] = lengths[~right].mean()
    return {key: value.item() for key, value in values.items()}


def run(task: Path, setting: Setting, output: Path, bar: bool = True) -> None:
    """One run, whole or not at all: RUN.jsonl appears when it has ended."""
    laboratory = Laboratory(task, setting)
    part = output.with_suffix(".part")
    with (
        open(part, "w") as log,
        tqdm(total=setting.steps, desc=output.stem, disable=not bar, mininterval=2) as progress,
    ):
        for step in range(1, setting.steps + 1):
            data = laboratory.step()
            log.write(json.dumps({"step": step, "data": data}) + "\n")
            progress.set_postfix(reward=f"{data['critic/score/mean']:.2f}", refresh=False)
            progress.update()
    part.rename(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path, metavar="TASK")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN.jsonl")
    parser.add_argument("--bounds", type=float, nargs=2, metavar=("LOW", "HIGH"), help="fixed; without: BAPO")
    for name in ("updates", "epochs", "seed", "steps", "prompts", "answers", "versions"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Setting, name))
    parser.add_argument("--lr", type=float, default=Setting.lr)
    options = vars(parser.parse_args())
    task, output, bounds = (options.pop(name) for name in ("task", "output", "bounds"))
    start()
    run(task, Setting(**options, policy_loss=fixed(*bounds) if bounds else {}), output)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
