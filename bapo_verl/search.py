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
    Bounds,
    Choice,
    ContributionSums,
    SearchPath,
    bucket_of,
    candidates,
    choose_bounds,
    contribution_sums,
    probability_ratio,
    search_path,
    token_weight,
    tokens_between,
)
from bapo_verl.diagnosis import DiagnosisSums, diagnose, diagnosis_sums, metrics_of
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

    @property
    def columns(self) -> list[Tensor]:
        """All sums, one after the other."""
        return [*self.contribution, *self.diagnosis]

    @classmethod
    def of(cls, columns: list[Tensor]) -> "Sums":
        """The inverse of `columns`."""
        fields = len(ContributionSums._fields)
        return cls(ContributionSums(*columns[:fields]), DiagnosisSums(*columns[fields:]))


class Search:
    """The search of one run: the user's settings, and the path that they lay out.

    Args:
        config: the user's.
        clip_ratio_c: the actor's, for verl's dual clip; 3.0 is verl's default.
    """

    def __init__(self, config: BapoPolicyLossConfig, clip_ratio_c: float = 3.0):
        low = candidates(config.c_low_start, config.c_low_max, config.c_low_step)
        high = candidates(config.c_high_start, config.c_high_max, config.c_high_step)
        self.config = config
        self.path: SearchPath = search_path(low, high, config.search_order, clip_ratio_c)

    def predict(self, data: TensorDict) -> Choice:
        """What the search finds over all ranks at r = 1, without a model. `data`: this rank's part of the batch.

        No bound clips there, so rho is the same at every point of the path: the choice is the first point if
        rho reaches the target, else the last. Bounds inside the path are never predicted, and mostly cost a redo.
        """
        mask, advantages, old = (_flat(data[key]) for key in ("response_mask", "advantages", "old_log_probs"))
        weight = token_weight(old, self.config.token_weight, _flat(data.get("rollout_is_weights")))
        ratio = torch.where(old.isnan(), torch.nan, 1.0)
        counted = _counted(mask.bool(), ratio, advantages, weight)
        ratio, advantages, weight = (_take(x, counted) for x in (ratio, advantages, weight))
        return self.choose(ContributionSums(*add_ranks(contribution_sums(ratio, advantages, self.path, weight))))

    def add_up(self, forwards: Iterable[Tokens], group: dist.ProcessGroup | None = None) -> Sums:
        """The sums of an update: over its forwards on this rank, and over the ranks of `group` (None: all).

        Ranks that share a sequence add equal sums, which changes no share. A rank without a loss, as in pipeline
        parallelism, adds nothing.
        """
        parts = [self._sums(tokens).columns for tokens in (_no_tokens(), *forwards)]
        of_this_rank = [sum(column) for column in zip(*parts, strict=True)]
        return Sums.of(add_ranks(of_this_rank, group))

    def now(self, tokens: Tokens, group: dist.ProcessGroup | None = None) -> tuple[Bounds, dict[str, float]]:
        """The bounds and METRICS of one forward on its own, over the ranks of `group` (None: all)."""
        sums = self.add_up([tokens], group)
        choice = self.choose(sums.contribution)
        return choice.bounds, self.metrics(choice, sums)

    def choose(self, sums: ContributionSums) -> Choice:
        """Algorithm 1 on the sums of a whole update."""
        return choose_bounds(sums, self.path, self.config.target_contribution, self.config.contribution)

    def metrics(self, choice: Choice, sums: Sums) -> dict[str, float]:
        """METRICS that follow from the sums."""
        return metrics_of(choice, diagnose(*sums, self.path, choice))

    def same_gradient(self, sums: Sums, one: Choice, other: Choice) -> bool:
        """Whether both choices clip the same tokens of the update."""
        return tokens_between(sums.contribution, self.path, one.steps, other.steps) == 0

    def _sums(self, tokens: Tokens) -> Sums:
        """The sums of one forward, on the CPU."""
        ratio, log_prob, old, advantages, mask, is_weights = (None if x is None else x.cpu() for x in tokens)
        answers = (1 / mask.sum(-1, keepdim=True)).expand(mask.shape)
        weight = token_weight(old, self.config.token_weight, is_weights)
        counted = _counted(mask, ratio, advantages, weight)
        ratio, log_prob, advantages, answers = (_take(x, counted) for x in (ratio, log_prob, advantages, answers))
        weight, is_weights = (_take(x, counted) for x in (weight, is_weights))
        bucket = bucket_of(ratio, advantages, self.path)
        return Sums(
            contribution_sums(ratio, advantages, self.path, weight, bucket),
            diagnosis_sums(log_prob, ratio, advantages, answers, bucket, self.path, is_weights),
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


def _no_tokens() -> Tokens:
    empty = torch.zeros(0, 1)
    return Tokens(empty, empty, empty, empty, mask=empty.bool(), is_weights=None)


def _flat(tensor: Tensor | None) -> Tensor | None:
    """The values of a batch, nested or padded, in one dimension on the CPU."""
    if tensor is not None:
        return (torch.cat(tensor.unbind()) if tensor.is_nested else tensor.flatten()).cpu()


def _counted(mask: Tensor, ratio: Tensor, advantages: Tensor, weight: Tensor | None) -> Tensor:
    """The indices of the response tokens whose contribution is finite, [n].

    verl's loss is nan with any other. If its gradient is nan as well, verl skips the update. If it is not, as with a
    nan in `old_log_probs`, verl trains on the others, which are those that are counted here.
    """
    contribution = ratio * advantages if weight is None else ratio * advantages * weight
    return (mask & contribution.isfinite()).flatten().nonzero()[:, 0]


def _take(tensor: Tensor | None, index: Tensor) -> Tensor | None:
    return None if tensor is None else tensor.take(index)


def tokens_of(
    log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, mask: Tensor, is_weights: Tensor | None
) -> Tokens:
    """The tokens of one forward. r_t is computed where the loss computes it, so that both see the same number."""
    log_prob = log_prob.detach()
    return Tokens(probability_ratio(log_prob, old_log_prob), log_prob, old_log_prob, advantages, mask, is_weights)
