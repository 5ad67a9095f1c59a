"""Answers sampled in process with a KV cache, by a copy of the policy, at temperature 1."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM


class Answers(NamedTuple):
    """A batch of B answers of at most T tokens to prompts of one length P.

    prompts: [B, P]. tokens, mask, log_probs, entropy: [B, T]; mask is 1 up to the end token, with it.
    all_log_probs: [B, T, V], log pi_rollout of every token where each was drawn.
    """

    prompts: Tensor
    tokens: Tensor
    mask: Tensor
    log_probs: Tensor
    entropy: Tensor
    all_log_probs: Tensor

    @property
    def lengths(self) -> Tensor:
        return self.mask.sum(1).long()


class Sampler:
    """A model of its own, so that it can hold older weights than the engine's."""

    def __init__(self, model: Path, max_tokens: int, end: int):
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self.max_tokens, self.end = max_tokens, end

    def load(self, weights: dict[str, Tensor]) -> None:
        self.model.load_state_dict(weights)

    @torch.no_grad()
    def sample(self, prompts: Tensor) -> Answers:
        """One answer to each prompt, [B, P]."""
        cache, ids = None, prompts
        running = torch.ones(len(prompts), dtype=torch.bool)
        tokens, mask, distributions = [], [], []
        while len(tokens) < self.max_tokens and running.any():
            output = self.model(input_ids=ids, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            distribution = output.logits[:, -1].log_softmax(-1)
            token = torch.multinomial(distribution.exp(), 1)[:, 0]
            tokens.append(token)
            mask.append(running)
            distributions.append(distribution)
            running = running & (token != self.end)
            ids = token[:, None]
        tokens, mask, distributions = torch.stack(tokens, 1), torch.stack(mask, 1), torch.stack(distributions, 1)
        return Answers(
            prompts=prompts,
            tokens=tokens,
            mask=mask.float(),
            log_probs=distributions.gather(-1, tokens[..., None])[..., 0],
            entropy=-(distributions.exp() * distributions).sum(-1),
            all_log_probs=distributions,
        )

    @torch.no_grad()
    def divergence(self, answers: Answers) -> dict[str, float]:
        """KL(pi_rollout || pi) over the answers' tokens, exactly: how far the weights are from those that sampled."""
        whole = torch.cat([answers.prompts, answers.tokens], 1)
        new = self.model(input_ids=whole).logits[:, answers.prompts.shape[1] - 1 : -1].log_softmax(-1)
        old = answers.all_log_probs
        divergence = (old.exp() * (old - new)).sum(-1)
        return {"rollout/kl": ((divergence * answers.mask).sum() / answers.mask.sum()).item()}
