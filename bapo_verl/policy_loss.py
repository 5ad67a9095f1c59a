"""The policy loss "bapo": verl's own `vanilla` loss with the bounds of the update.

BAPO's objective is PPO's, with bounds that are chosen anew for each update. Dual clip (`clip_ratio_c`), importance
weights, aggregation and verl's metrics are verl's code. search.py finds the bounds, and engine.py decides when.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla, register_policy_loss
from verl.workers.config import ActorConfig, PolicyLossConfig

from bapo_verl.clipping import Bounds
from bapo_verl.keys import KEY
from bapo_verl.search import Tokens, tokens_of


@dataclass
class UpdateConfig(PolicyLossConfig):
    """`policy_loss` during one update, in place of the user's: verl passes a loss its tensors and a config, no more.

    bounds_of: gives the bounds to clip with, and takes the tokens of the forward, which the engine adds up.
    """

    loss_mode: str = "bapo"
    bounds_of: Callable[[Tokens], Bounds] | None = None


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
        The loss, and verl's own clip metrics of this micro-batch.

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
    bounds = update.bounds_of(tokens_of(log_prob, old_log_prob, advantages, mask, rollout_is_weights))
    return compute_policy_loss_vanilla(
        old_log_prob,
        log_prob,
        advantages,
        response_mask,
        loss_agg_mode,
        replace(config, clip_ratio_low=1 - bounds.c_low, clip_ratio_high=bounds.c_high - 1),
        rollout_is_weights,
    )
