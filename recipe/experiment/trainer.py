"""One run of the experiment: sample answers, compute verl's GRPO advantages, update the policy by bapo_verl's loss.

All in one process, so that a run takes seconds. What decides the result is the package's and verl's own code: the
search and the loss of bapo_verl, verl's `vanilla` loss under it, verl's advantages and optimizer settings. Left out are
Ray, vLLM, FSDP and the queue between them. tests/recipe/test_trainer.py compares an update with verl's FSDP2 engine.
"""

import json
import random
import time
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage
from verl.workers.config import FSDPActorConfig, FSDPOptimizerConfig
from verl.workers.config.optimizer import build_optimizer

from bapo_verl.clipping import Bounds
from bapo_verl.policy_loss import UpdateConfig, compute_policy_loss_bapo
from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from bapo_verl.search import Search, Tokens
from recipe.tiny_task.task import MAX_RESPONSE_TOKENS, all_problems, encode_prompt, is_right

BASE = Path(__file__).parents[1] / "tiny_task" / "base"


@dataclass
class Setting:
    """What a run is.

    lr: constant learning rate of AdamW.
    updates: optimizer steps on each rollout batch; its answers are seen `epochs` times in them (`actor.ppo_epochs`).
    versions: how many rollout batches old the weights are that sample; 0: current.
    micro_batch: answers in a forward, each with a search of its own; 0: one search for the whole mini-batch.
    policy_loss: keys of BapoPolicyLossConfig.
    """

    lr: float
    seed: int
    updates: int = 8
    epochs: int = 1
    steps: int = 24
    prompts: int = 16
    answers: int = 8
    versions: int = 0
    micro_batch: int = 0
    policy_loss: dict = field(default_factory=dict)


class Rollout(NamedTuple):
    """A batch of B answers of at most T tokens to prompts of P tokens.

    prompts: [B, P]. tokens, mask, log_probs: [B, T]; mask is 1 up to the end token, with it.
    distributions: [B, T, V], log pi_rollout of every token.
    """

    prompts: Tensor
    tokens: Tensor
    mask: Tensor
    log_probs: Tensor
    distributions: Tensor

    def rows(self, index: Tensor) -> "Rollout":
        return Rollout(*(x[index] for x in self))


def log_distributions(model, rollout: Rollout) -> Tensor:
    """log pi of every token where each token of the answers was drawn, [B, T, V]."""
    ids = torch.cat([rollout.prompts, rollout.tokens], 1)
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    return model.lm_head(hidden[:, rollout.prompts.shape[1] - 1 : -1]).log_softmax(-1)


@torch.no_grad()
def sample(model, prompts: Tensor, end: int, max_tokens: int = MAX_RESPONSE_TOKENS) -> Rollout:
    """One answer to each prompt, at temperature 1. Answers that have ended leave the batch."""
    count, vocabulary = len(prompts), model.config.vocab_size
    tokens = torch.full((count, max_tokens), end)
    mask = torch.zeros(count, max_tokens)
    distributions = torch.zeros(count, max_tokens, vocabulary)
    rows, cache, ids = torch.arange(count), None, prompts
    for position in range(max_tokens):
        output = model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache, distribution = output.past_key_values, output.logits[:, -1].log_softmax(-1)
        # Of independent exponential clocks, the first to ring is drawn with its rate as probability.
        token = (distribution.exp() / -torch.rand_like(distribution).log()).argmax(-1)
        tokens[rows, position], mask[rows, position], distributions[rows, position] = token, 1.0, distribution
        running = token != end
        if not running.any():
            break
        if not running.all():
            cache.batch_select_indices(running)
        rows, ids = rows[running], token[running, None]
    log_probs = distributions.gather(-1, tokens[..., None])[..., 0]
    return Rollout(prompts, tokens, mask, log_probs, distributions)


@torch.no_grad()
def divergence(model, rollout: Rollout) -> float:
    """KL(pi_rollout || pi), mean over the answers' tokens: how far the weights are from those that sampled."""
    old, new = rollout.distributions, log_distributions(model, rollout)
    return (((old.exp() * (old - new)).sum(-1) * rollout.mask).sum() / rollout.mask.sum()).item()


class Policy:
    """A model with its optimizer and its loss."""

    def __init__(self, model, setting: Setting):
        self.model, self.micro_batch = model, setting.micro_batch
        config = FSDPOptimizerConfig(lr=setting.lr, override_optimizer_config={"foreach": True})
        self.optimizer = build_optimizer(model.parameters(), config)
        self.clip_grad = config.clip_grad
        self.actor = FSDPActorConfig(strategy="fsdp2", rollout_n=setting.answers, ppo_micro_batch_size_per_gpu=1)
        self.search = Search(BapoPolicyLossConfig(**setting.policy_loss), self.actor.clip_ratio_c)

    def update(self, rollout: Rollout, advantages: Tensor) -> dict[str, float]:
        """One optimizer step on a mini-batch; advantages: [B, T]. Returns verl's and BAPO's metrics."""
        self.optimizer.zero_grad(set_to_none=False)
        self.actor.global_batch_info.update(dp_size=1, batch_num_tokens=rollout.mask.sum())
        found = [self.backward(rollout.rows(rows), advantages[rows]) for rows in self.forwards(advantages)]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad)
        self.optimizer.step()
        return means(found) | {"actor/grad_norm": norm.item()}

    def forwards(self, advantages: Tensor) -> list[Tensor]:
        """The rows of each forward. Answers of groups that are all right or all wrong have no gradient: left out."""
        rows = torch.arange(len(advantages)).split(self.micro_batch or len(advantages))
        rows = [part[advantages[part, 0] != 0] for part in rows]
        return [part for part in rows if len(part)]

    def backward(self, rollout: Rollout, advantages: Tensor) -> dict[str, float]:
        """Forward and backward, with the bounds that the search finds for these answers."""
        searched: dict[str, float] = {}

        def bounds_of(tokens: Tokens) -> Bounds:
            sums = self.search.add_up([tokens])
            choice = self.search.choose(sums.contribution)
            searched.update(self.search.metrics(choice, sums))
            return choice.bounds

        log_prob = log_distributions(self.model, rollout).gather(-1, rollout.tokens[..., None])[..., 0]
        config = replace(self.actor, policy_loss=UpdateConfig(bounds_of=bounds_of))
        loss, metrics = compute_policy_loss_bapo(
            rollout.log_probs, log_prob, advantages, rollout.mask, "token-mean", config
        )
        loss.backward()
        return {key: float(value) for key, value in (metrics | searched).items()}


def means(records: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric; a record that lacks one is not counted in it."""
    keys = dict.fromkeys(key for record in records for key in record)
    return {key: float(np.mean([record[key] for record in records if key in record])) for key in keys}


class Run:
    """A run's state: the policy, the weights that sample, and the stream of problems."""

    def __init__(self, setting: Setting, task: Path = BASE):
        self.setting = setting
        torch.manual_seed(setting.seed)
        self.rng = random.Random(setting.seed)
        self.tokenizer = AutoTokenizer.from_pretrained(task / "model")
        self.prompts = {problem: encode_prompt(self.tokenizer, problem) for problem in all_problems()}
        model, self.sampler = (AutoModelForCausalLM.from_pretrained(task / "model") for _ in range(2))
        self.policy = Policy(model, setting)
        self.versions = deque([self.weights()], maxlen=setting.versions + 1)  # the oldest samples
        self.pending: list = []

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.policy.model.state_dict().items()}

    def next_problems(self) -> list:
        """Each problem once before any comes again."""
        while len(self.pending) < self.setting.prompts:
            self.pending += self.rng.sample(all_problems(), len(all_problems()))
        batch, self.pending = self.pending[: self.setting.prompts], self.pending[self.setting.prompts :]
        return batch

    def rewards(self, rollout: Rollout, problems: list) -> Tensor:
        rows = [row[mask.bool()] for row, mask in zip(rollout.tokens, rollout.mask, strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return torch.tensor([float(is_right(text, problem)) for text, problem in zip(texts, problems, strict=True)])

    def step(self) -> dict[str, float]:
        """Sample a batch, make the updates on it, and say what happened."""
        problems = [problem for problem in self.next_problems() for _ in range(self.setting.answers)]
        prompts = torch.tensor([self.prompts[problem] for problem in problems])
        self.sampler.load_state_dict(self.versions[0])
        rollout = sample(self.sampler, prompts, self.tokenizer.eos_token_id)
        rewards = self.rewards(rollout, problems)
        scores = torch.zeros_like(rollout.mask)
        scores[:, 0] = rewards
        groups = np.arange(len(problems)) // self.setting.answers
        advantages, _ = compute_grpo_outcome_advantage(scores, rollout.mask, groups)
        metrics = self.train(rollout, advantages)
        self.versions.append(self.weights())
        part = torch.arange(0, len(problems), 4)  # a quarter of the answers to each problem
        metrics["rollout/kl"] = divergence(self.policy.model, rollout.rows(part))
        return metrics | describe(rollout, rewards)

    def train(self, rollout: Rollout, advantages: Tensor) -> dict[str, float]:
        """verl's mini-batches of shuffled answers (actor.shuffle=True); means over the updates."""
        setting, answers = self.setting, len(advantages)
        size = answers * setting.epochs // setting.updates
        batches = [rows for _ in range(setting.epochs) for rows in torch.randperm(answers).split(size)]
        return means([self.policy.update(rollout.rows(rows), advantages[rows]) for rows in batches])


def describe(rollout: Rollout, rewards: Tensor) -> dict[str, float]:
    """Accuracy, lengths of right and failed answers, and the entropy at which they were sampled, in nats a token."""
    lengths, right = rollout.mask.sum(1), rewards > 0
    entropy = -(rollout.distributions.exp() * rollout.distributions).sum(-1)  # masked below
    values = {
        "critic/score/mean": rewards.mean().item(),
        "rollout/entropy": ((entropy * rollout.mask).sum() / rollout.mask.sum()).item(),
    }
    if right.any():
        values["rollout/right_length"] = lengths[right].mean().item()
    if not right.all():
        values["rollout/failed_length"] = lengths[~right].mean().item()
    return values


def train(setting: Setting, output: Path) -> None:
    """One run, whole or not at all: `output`, in the format of verl's file logger, appears when it has ended."""
    run, part, started = Run(setting), output.with_suffix(".part"), time.perf_counter()
    with open(part, "w") as log:
        for step in range(1, setting.steps + 1):
            log.write(json.dumps({"step": step, "data": run.step()}) + "\n")
    seconds = time.perf_counter() - started
    output.with_suffix(".json").write_text(json.dumps(asdict(setting) | {"seconds": seconds}))
    part.rename(output)
