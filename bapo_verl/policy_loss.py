"""The policy loss "bapo": verl's own `vanilla` loss with the bounds of the update.

BAPO's objective is PPO's, with bounds that are chosen anew for each update. Dual clip (`clip_ratio_c`), importance
weights, aggregation and verl's metrics are verl's code. This module adds the sums over tokens from which the bounds of
an update are found (`batch_sums`, `add_ranks`, `find_bounds`). engine.py decides when they are reduced and used.
"""

import functools
import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla, register_policy_loss
from verl.workers.config import ActorConfig

from bapo_verl.clipping import (
    SearchPath,
    candidates,
    choose_bounds,
    contribution_sums,
    probability_ratio,
    search_path,
    token_weight,
    tokens_between,
)
from bapo_verl.diagnosis import BINS, ROWS, diagnose, measured, ratio_histogram, token_rows
from bapo_verl.policy_loss_config import KEY, BapoPolicyLossConfig


class Bounds(NamedTuple):
    """c_low and c_high, as ratios."""

    c_low: float
    c_high: float


@dataclass
class UpdateConfig(BapoPolicyLossConfig):
    """The user's config for one update. The engine makes it, because verl passes the loss a micro-batch and a config.

    bounds: the bounds to clip with, or None where each forward searches for its own (`micro_batch`).
    sums: the list to which each forward appends its sums, where `bounds` are given.
    group: the ranks over which a forward that searches for its own bounds reduces its sums; None for all ranks.
    """

    bounds: Bounds | None = None
    sums: list[Tensor] = field(default_factory=list)
    group: dist.ProcessGroup | None = None


def path(config: BapoPolicyLossConfig, device: torch.device | str) -> SearchPath:
    """The points of the search, on the device of the tokens."""
    low = (config.c_low_start, config.c_low_max, config.c_low_step)
    high = (config.c_high_start, config.c_high_max, config.c_high_step)
    return _path(low, high, config.search_order, device)


@functools.cache  # copies the candidates to a GPU once, not in every forward
def _path(low: tuple, high: tuple, order: str, device: torch.device | str) -> SearchPath:
    return search_path(candidates(*low), candidates(*high), order, device)


def batch_sums(
    config: BapoPolicyLossConfig,
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    is_weights: Tensor | None,
) -> Tensor:
    """Sums over the tokens of one forward, from which the bounds and the metrics of an update are computed.

    All arguments [B, T] (`is_weights`: verl's `rollout_is_weights` or None). Returns float64
    [(3 + ROWS) (L + H + 3) + BINS]: `contribution_sums` with `token_rows`, and `ratio_histogram`. Additive.
    """
    log_prob = log_prob.detach()
    ratio = probability_ratio(log_prob, old_log_prob)
    weight = token_weight(old_log_prob, mask, config.token_weight, is_weights)
    rows = token_rows(log_prob, ratio, advantages, mask, is_weights)
    sums = contribution_sums(ratio, advantages, mask, path(config, log_prob.device), weight, rows)
    return torch.cat([sums.flatten(), ratio_histogram(log_prob, old_log_prob, mask)])


def no_sums(config: BapoPolicyLossConfig, device: torch.device | str) -> Tensor:
    """`batch_sums` of no token: zeros, float64 [(3 + ROWS) (L + H + 3) + BINS]."""
    size = (3 + ROWS) * (len(path(config, device).edges) + 1) + BINS
    return torch.zeros(size, dtype=torch.float64, device=device)


def add_ranks(sums: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The sum of `sums` over the ranks of `group` (None: all), with the same bits on every rank.

    Gathered and then added in the order of the ranks: HCCL, Ascend's backend, has no sum of float64.
    """
    if not dist.is_initialized():
        return sums
    ranks = [torch.empty_like(sums) for _ in range(dist.get_world_size(group))]
    dist.all_gather(ranks, sums, group=group)
    return torch.stack(ranks).sum(0)


def find_bounds(config: BapoPolicyLossConfig, sums: Tensor) -> tuple[Bounds, dict[str, float]]:
    """Algorithm 1 on the sums of a whole update, and METRICS at its result. The one host sync of a search.

    A metric whose denominator is zero is omitted.
    """
    points = path(config, sums.device)
    rows, histogram = _split(sums)
    choice = choose_bounds(rows, points, config.target_contribution, config.contribution)
    found = measured(choice, diagnose(rows, histogram, points, choice))
    c_low, c_high, *values = torch.stack([choice.c_low, choice.c_high, *found.values()]).tolist()
    metrics = {name: value for name, value in zip(found, values, strict=True) if not math.isnan(value)}
    return Bounds(c_low, c_high), metrics | {"actor/bapo/bypass_mode": float(config.bypass_mode)}


def same_gradient(config: BapoPolicyLossConfig, sums: Tensor, one: Bounds, other: Bounds) -> bool:
    """Whether both bounds clip the same tokens of the update, so that its gradient is the same under either."""
    return one == other or tokens_between(_split(sums)[0], path(config, sums.device), one, other).item() == 0


def _split(sums: Tensor) -> tuple[Tensor, Tensor]:
    """`contribution_sums` with `token_rows` [3 + ROWS, L + H + 3], and `ratio_histogram` [BINS]."""
    return sums[:-BINS].view(3 + ROWS, -1), sums[-BINS:]


@register_policy_loss("bapo")
def compute_policy_loss_bapo(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: ActorConfig | None = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """The clipped surrogate of Algorithm 1, with the bounds of this update (arXiv 2510.18927, Sec. 4.2).

        L = - agg_t  min( r_t A_t, clip(r_t, c_low, c_high) A_t )

    `agg_t` is verl's `agg_loss`; with its token and batch counts of the global batch, gradients averaged over the
    data-parallel ranks are those of the global mean. With `start = max` this is PPO-clip.

    Args:
        old_log_prob, log_prob, advantages, response_mask: [B, T]; values in the padding are ignored.
        loss_agg_mode: verl's.
        config: the actor's, with the engine's `UpdateConfig` as `policy_loss`.
        rollout_is_weights: [B, T] or None; multiply a token's loss and its contribution.

    Returns:
        The loss, and floats that verl averages over micro-batches and ranks: verl's own clip metrics of this
        micro-batch and, where this forward searched for its own bounds, METRICS.

    Raises:
        RuntimeError: where no engine has made an `UpdateConfig`.
    """
    update, mask = config.policy_loss, response_mask.bool()
    if not isinstance(update, UpdateConfig):
        raise RuntimeError(
            f"{KEY}.loss_mode=bapo: the actor's engine has not chosen bounds for this update. Either it has no "
            "BapoEngineMixin, because bapo_verl.engine was imported after the engine was made or before a package that "
            "registers engines of its own, or this verl no longer passes it functools.partial(ppo_loss, config=...)"
        )
    old_log_prob, log_prob, advantages = (torch.where(mask, x, 0.0) for x in (old_log_prob, log_prob, advantages))
    if rollout_is_weights is not None:
        rollout_is_weights = torch.where(mask, rollout_is_weights, 0.0)

    sums = batch_sums(update, log_prob, old_log_prob, advantages, mask, rollout_is_weights)
    if update.bounds is None:
        bounds, searched = find_bounds(update, add_ranks(sums, update.group))
    else:
        bounds, searched = update.bounds, {}
        update.sums.append(sums)

    loss, metrics = compute_policy_loss_vanilla(
        old_log_prob,
        log_prob,
        advantages,
        response_mask,
        loss_agg_mode,
        replace(config, clip_ratio_low=1 - bounds.c_low, clip_ratio_high=bounds.c_high - 1),
        rollout_is_weights,
    )
    return loss, metrics | searched
