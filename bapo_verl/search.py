"""From the tokens of an update to its bounds and metrics: the pure functions of clipping.py and diagnosis.py, applied.

The loss hands over the tokens of each forward (`Tokens`). After the last forward they are copied to the CPU, added up
there in float64, and summed over the ranks by one gather of 36 KB. Everything after the gather runs on the CPU, from
the same bits and in the same order on every rank. So all ranks choose the same bounds and redo an update or not
together, whatever their accelerators are.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch import Tensor
from verl.utils.device import get_device_id

from bapo_verl.clipping import (
    Choice,
    ContributionSums,
    SearchPath,
    candidates,
    choose_bounds,
    contribution_sums,
    probability_ratio,
    search_path,
    token_weight,
    tokens_between,
)
from bapo_verl.diagnosis import DiagnosisSums, diagnose, diagnosis_sums, measured
from bapo_verl.policy_loss_config import BapoPolicyLossConfig


class Tokens(NamedTuple):
    """What one forward of the loss had, [B, T] each, on its device. `mask` is False in the padding."""

    ratio: Tensor
    log_prob: Tensor
    old_log_prob: Tensor
    advantages: Tensor
    mask: Tensor
    is_weights: Tensor | None


class Sums(NamedTuple):
    """Sums over the tokens of an update. Additive over micro-batches and ranks."""

    contribution: ContributionSums
    diagnosis: DiagnosisSums


class Search:
    """The search of one run: the user's settings, and the path that they lay out.

    Args:
        config: the user's.
        clip_ratio_c: of the actor, for verl's dual clip.
    """

    def __init__(self, config: BapoPolicyLossConfig, clip_ratio_c: float):
        low = candidates(config.c_low_start, config.c_low_max, config.c_low_step)
        high = candidates(config.c_high_start, config.c_high_max, config.c_high_step)
        self.config = config
        self.path: SearchPath = search_path(low, high, config.search_order, clip_ratio_c)

    def predict(self, data: TensorDict) -> Choice:
        """What the search finds over all ranks at r = 1, without a model. `data`: this rank's part of the batch."""
        mask = _flat(data["response_mask"]).bool()
        advantages, old_log_prob = (_flat(data[key])[mask] for key in ("advantages", "old_log_probs"))
        is_weights = _flat(data["rollout_is_weights"])[mask] if "rollout_is_weights" in data else None
        weight = token_weight(old_log_prob, self.config.token_weight, is_weights)
        sums = contribution_sums(torch.ones_like(advantages), advantages, self.path, weight)
        return self.choose(ContributionSums(*add_ranks(sums)))

    def add_up(self, forwards: Iterable[Tokens], group: dist.ProcessGroup | None = None) -> Sums:
        """The sums of an update: over its forwards on this rank, and over the ranks of `group` (None: all).

        Ranks that share a sequence add equal sums, which changes no share. A rank without a loss, as in pipeline
        parallelism, adds nothing.
        """
        nothing = self._sums(Tokens(*[torch.zeros(0, 1)] * 4, torch.zeros(0, 1, dtype=torch.bool), None))
        parts = [(*contribution, *diagnosis) for contribution, diagnosis in map(self._sums, forwards)]
        total = [sum(columns) for columns in zip((*nothing.contribution, *nothing.diagnosis), *parts, strict=True)]
        total, fields = add_ranks(total, group), len(ContributionSums._fields)
        return Sums(ContributionSums(*total[:fields]), DiagnosisSums(*total[fields:]))

    def choose(self, sums: ContributionSums) -> Choice:
        """Algorithm 1 on the sums of a whole update."""
        return choose_bounds(sums, self.path, self.config.target_contribution, self.config.contribution)

    def metrics(self, choice: Choice, sums: Sums) -> dict[str, float]:
        """METRICS that follow from the sums. None where a token's ratio or advantage is not finite, as verl's loss."""
        if sums.contribution.contribution.isnan().any():
            return {}
        return measured(choice, diagnose(*sums, self.path, choice))

    def same_gradient(self, sums: Sums, one: Choice, other: Choice) -> bool:
        """Whether both choices clip the same tokens of the update.

        True where the sums are nan: verl's loss is not finite then, and it skips the update whatever the bounds are.
        """
        return not tokens_between(sums.contribution, self.path, one.steps, other.steps) > 0

    def _sums(self, tokens: Tokens) -> Sums:
        """The sums of one forward, on the CPU."""
        mask = tokens.mask.cpu()
        ratio, log_prob, old_log_prob, advantages = (x.cpu()[mask] for x in tokens[:4])
        is_weights = None if tokens.is_weights is None else tokens.is_weights.cpu()[mask]
        answers = (1 / mask.sum(-1, keepdim=True)).expand(mask.shape)[mask]
        weight = token_weight(old_log_prob, self.config.token_weight, is_weights)
        return Sums(
            contribution_sums(ratio, advantages, self.path, weight),
            diagnosis_sums(log_prob, ratio, advantages, answers, self.path, is_weights),
        )


def add_ranks(sums: Sequence[Tensor], group: dist.ProcessGroup | None = None) -> list[Tensor]:
    """Each of `sums`, float64 on the CPU, added up over the ranks of `group` (None: all), the same bits on every rank.

    Gathered as bytes, because not every accelerator has float64, and added one rank after the other, because a sum over
    a dimension may round differently on another CPU.
    """
    if not dist.is_initialized():
        return list(sums)
    packed = torch.cat(list(sums)).view(torch.uint8).to(get_device_id())
    ranks = [torch.empty_like(packed) for _ in range(dist.get_world_size(group))]
    dist.all_gather(ranks, packed, group=group)
    total = reduce(torch.add, torch.stack(ranks).cpu().view(torch.float64))
    return list(total.split([len(column) for column in sums]))


def _flat(tensor: Tensor) -> Tensor:
    """The values of a batch, nested or padded, in one dimension on the CPU."""
    return (torch.cat(tensor.unbind()) if tensor.is_nested else tensor.flatten()).cpu()


def tokens_of(
    log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, mask: Tensor, is_weights: Tensor | None
) -> Tokens:
    """The tokens of one forward. r_t is computed where the loss computes it, so that both see the same number."""
    log_prob = log_prob.detach()
    return Tokens(probability_ratio(log_prob, old_log_prob), log_prob, old_log_prob, advantages, mask, is_weights)
