"""One run of the experiment: sample answers, compute verl's GRPO advantages, update the policy by bapo_verl's loss.

All in one process, so that a run takes seconds. What decides the result is the package's and verl's own code: the
search and the loss of bapo_verl, verl's `vanilla` loss under it, verl's advantages and optimizer settings. Left out are
Ray, vLLM, FSDP and the queue between them. tests/recipe/test_trainer.py compares an update with verl's FSDP2 engine.
"""

import json
import random
from collections import deque
from dataclasses import dataclass, replace
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
# 20 of the 100, never trained on.
HELD_OUT = [problem for problem in all_problems() if (problem.a + 2 * problem.b) % 5 == 0]
TRAINING = [problem for problem in all_problems() if problem not in HELD_OUT]
EVALUATE_EVERY = 25  # steps
EVALUATION_ANSWERS = 8  # to each held-out problem
GRPO = Bounds(0.8, 1.2)


@dataclass
class Setting:
    """What a run is.

    lr: constant learning rate of AdamW.
    updates: optimizer steps on each rollout batch; its answers are seen `epochs` times in them (`actor.ppo_epochs`).
    versions: how many rollout batches old the weights are that sample; 0: current.
    policy_loss: keys of BapoPolicyLossConfig.
    """

    lr: float
    seed: int
    steps: int
    updates: int
    epochs: int
    versions: int
    policy_loss: dict
    prompts: int = 16
    answers: int = 8


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
def sample(model, prompts: Tensor, end: int) -> Rollout:
    """One answer to each prompt, at temperature 1. Answers that have ended leave the batch."""
    count, vocabulary = len(prompts), model.config.vocab_size
    tokens = torch.full((count, MAX_RESPONSE_TOKENS), end)
    mask = torch.zeros(count, MAX_RESPONSE_TOKENS)
    distributions = torch.zeros(count, MAX_RESPONSE_TOKENS, vocabulary)
    rows, cache, ids = torch.arange(count), None, prompts
    for position in range(MAX_RESPONSE_TOKENS):
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


class Policy:
    """A model with its optimizer and its loss."""

    def __init__(self, model, setting: Setting):
        self.model = model
        config = FSDPOptimizerConfig(lr=setting.lr, override_optimizer_config={"foreach": True})
        self.optimizer = build_optimizer(model.parameters(), config)
        self.clip_grad = config.clip_grad
        self.actor = FSDPActorConfig(strategy="fsdp2", rollout_n=setting.answers, ppo_micro_batch_size_per_gpu=1)
        self.search = Search(BapoPolicyLossConfig(**setting.policy_loss), self.actor.clip_ratio_c)

    def update(self, rollout: Rollout, advantages: Tensor) -> dict[str, float]:
        """One optimizer step on a mini-batch; advantages: [B, T]. Returns verl's and BAPO's metrics."""
        self.optimizer.zero_grad(set_to_none=False)
        self.actor.global_batch_info.update(dp_size=1, batch_num_tokens=rollout.mask.sum())
        trained = advantages[:, 0] != 0  # answers of groups that are all right or all wrong have no gradient
        metrics = self.backward(rollout.rows(trained), advantages[trained]) if trained.any() else {}
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad)
        self.optimizer.step()
        return metrics | {"actor/grad_norm": norm.item()}

    def backward(self, rollout: Rollout, advantages: Tensor) -> dict[str, float]:
        """Forward and backward, with the bounds that the search finds for these answers."""
        searched: dict[str, float] = {}

        def bounds_of(tokens: Tokens) -> Bounds:
            bounds, metrics = self.search.now(tokens)
            searched.update(metrics, unlike_grpo=clips_unlike(tokens, bounds, GRPO))
            return bounds

        log_prob = log_distributions(self.model, rollout).gather(-1, rollout.tokens[..., None])[..., 0]
        config = replace(self.actor, policy_loss=UpdateConfig(bounds_of=bounds_of))
        loss, metrics = compute_policy_loss_bapo(
            rollout.log_probs, log_prob, advantages, rollout.mask, "token-mean", config
        )
        loss.backward()
        return {key: float(value) for key, value in (metrics | searched).items()}


def clips_unlike(tokens: Tokens, one: Bounds, other: Bounds) -> bool:
    """Whether two pairs of bounds drop different tokens, that is, whether their gradients differ."""

    def clipped(bounds: Bounds) -> Tensor:
        positive = (tokens.advantages > 0) & (tokens.ratio >= bounds.c_high)
        return tokens.mask & (positive | (tokens.advantages < 0) & (tokens.ratio <= bounds.c_low))

    return not torch.equal(clipped(one), clipped(other))


class Run:
    """A run's state: the policy, the weights that sample, and the stream of problems."""

    def __init__(self, setting: Setting):
        self.setting = setting
        torch.manual_seed(setting.seed)
        self.rng = random.Random(setting.seed)
        self.tokenizer = AutoTokenizer.from_pretrained(BASE / "model")
        self.end = self.tokenizer.eos_token_id
        self.prompts = {problem: encode_prompt(self.tokenizer, problem) for problem in all_problems()}
        model, self.sampler = (AutoModelForCausalLM.from_pretrained(BASE / "model") for _ in range(2))
        self.policy = Policy(model, setting)
        self.versions = deque([self.weights()], maxlen=setting.versions + 1)  # the oldest samples
        self.pending: list = []

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.policy.model.state_dict().items()}

    def next_problems(self) -> list:
        """Each problem once before any comes again."""
        while len(self.pending) < self.setting.prompts:
            self.pending += self.rng.sample(TRAINING, len(TRAINING))
        batch, self.pending = self.pending[: self.setting.prompts], self.pending[self.setting.prompts :]
        return batch

    def rewards(self, rollout: Rollout, problems: list) -> Tensor:
        rows = [row[mask.bool()] for row, mask in zip(rollout.tokens, rollout.mask, strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return torch.tensor([float(is_right(text, problem)) for text, problem in zip(texts, problems, strict=True)])

    def sample(self, model, problems: list, answers: int) -> tuple[Rollout, Tensor]:
        """Answers to each problem, one problem after the other, and their rewards."""
        problems = [problem for problem in problems for _ in range(answers)]
        rollout = sample(model, torch.tensor([self.prompts[problem] for problem in problems]), self.end)
        return rollout, self.rewards(rollout, problems)

    def step(self) -> list[dict[str, float]]:
        """Sample a batch, make the updates on it, and return the metrics of each."""
        answers = self.setting.answers
        self.sampler.load_state_dict(self.versions[0])
        rollout, rewards = self.sample(self.sampler, self.next_problems(), answers)
        scores = torch.zeros_like(rollout.mask)
        scores[:, 0] = rewards
        groups = np.arange(len(rewards)) // answers
        advantages, _ = compute_grpo_outcome_advantage(scores, rollout.mask, groups)
        metrics = self.train(rollout, advantages)
        self.versions.append(self.weights())
        return metrics

    def evaluate(self) -> dict[str, float]:
        """The current weights on the held-out problems, with random numbers that are the same at every evaluation."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            rollout, rewards = self.sample(self.policy.model, HELD_OUT, EVALUATION_ANSWERS)
        solved = rewards.view(-1, EVALUATION_ANSWERS).any(1)
        entropy = -(rollout.distributions.exp() * rollout.distributions).sum(-1)  # nats; masked below
        return {
            "reward": rewards.mean().item(),
            "pass_at_8": solved.float().mean().item(),
            "entropy": ((entropy * rollout.mask).sum() / rollout.mask.sum()).item(),
        }

    def train(self, rollout: Rollout, advantages: Tensor) -> list[dict[str, float]]:
        """verl's mini-batches of shuffled answers (actor.shuffle=True), an update on each."""
        setting, answers = self.setting, len(advantages)
        size = answers * setting.epochs // setting.updates
        batches = [rows for _ in range(setting.epochs) for rows in torch.randperm(answers).split(size)]
        return [self.policy.update(rollout.rows(rows), advantages[rows]) for rows in batches]


def train(setting: Setting, output: Path) -> None:
    """One run, whole or not at all: `output` appears when it has ended, with a line for each step.

    A line has the metrics of each update, and every EVALUATE_EVERY steps, the start among them, an evaluation.
    """
    run, part = Run(setting), output.with_suffix(".part")
    with open(part, "w") as log:
        log.write(json.dumps({"step": 0, "updates": [], "evaluation": run.evaluate()}) + "\n")
        for step in range(1, setting.steps + 1):
            record = {"step": step, "updates": run.step()}
            if step % EVALUATE_EVERY == 0:
                record["evaluation"] = run.evaluate()
            log.write(json.dumps(record) + "\n")
    part.rename(output)
