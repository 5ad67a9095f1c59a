"""The policy loss "bapo" and its configuration: BAPO behind verl's contract.

Importing this module registers the loss, and the config names a class of it as `_target_`. verl turns the config into
dataclasses on the driver, before Ray starts, and again in every actor worker, before the engine is built; so every
process that needs the loss has it, and bad values raise on the driver.

BAPO's objective is PPO's with bounds chosen anew for each update. So the loss is verl's own `vanilla` loss given
those bounds: dual clip (`clip_ratio_c`), importance weights, aggregation and verl's metrics are verl's code.
"""

import functools
import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla, register_policy_loss
from verl.workers.config import ActorConfig, PolicyLossConfig

from bapo_verl.clipping import (
    SearchPath,
    candidates,
    choose_bounds,
    contribution_sums,
    probability_ratio,
    search_path,
    token_weight,
)
from bapo_verl.diagnosis import BINS, ROWS, diagnose, ratio_histogram, token_rows

KEY = "actor_rollout_ref.actor.policy_loss"

WORDS = {
    "contribution": ("value", "gradient"),
    "token_weight": ("uniform", "rollout_prob"),
    "search_order": ("high_first", "low_first"),
    "search_scope": ("mini_batch", "micro_batch"),
}

STRATEGIES = ("fsdp", "fsdp2")

MAX_STEPS = 10_000

# Every metric that BAPO adds to verl's log, with its reading. One value per update, the mean of its forwards' under
# micro_batch; a share of nothing is left out.
METRICS = {
    "actor/bapo/c_low": "lower ratio bound in force, in [a-, b-]; above a- only once c_high is at b+ (high_first)",
    "actor/bapo/c_high": "upper ratio bound in force, in [a+, b+]; at b+ for long: the target cannot be reached "
    "with these bounds",
    "actor/bapo/rho": "positive share of the loss at the chosen bounds; below rho_0: the path ended first",
    "actor/bapo/rho_start": "positive share at (a-, a+), what a fixed clip would have had; rho - rho_start is what "
    "the search gained",
    "actor/bapo/target_met": "1 if rho >= rho_0, else 0; its mean is the share of updates that were balanced",
    "actor/bapo/steps": "moves along the path; 0: no need to act, the last: nothing left to do",
    "actor/bapo/positive_tokens": "share of response tokens with A > 0; far below one half: failed answers are longer "
    "or more numerous",
    "actor/bapo/positive_clipped": "share of tokens with A > 0 that c_high clips, whose gradient is lost",
    "actor/bapo/negative_clipped": "share of tokens with A < 0 that c_low clips, whose gradient is lost",
    "actor/bapo/negative_tokens": "share of response tokens with A < 0; with positive_tokens the rest has A = 0 and "
    "teaches nothing",
    "actor/bapo/positive_length": "mean tokens of an answer with A > 0",
    "actor/bapo/negative_length": "mean tokens of an answer with A < 0; if larger, failures weigh more than they are",
    "actor/bapo/ratio_p01": "1% of the tokens have an r below; r to half a percent; far below 1: stale data, or "
    "rollout and actor disagree",
    "actor/bapo/ratio_p50": "median of r; not 1: rollout and actor disagree about every token",
    "actor/bapo/ratio_p99": "1% of the tokens have an r above; beyond c_high the clip acts on more than 1% of them",
    "actor/bapo/ratio_max": "largest r; constant at e^20: a broken weight sync",
    "actor/bapo/log_prob": "mean of log pi_theta over tokens drawn from pi_theta: minus their entropy",
    "actor/bapo/clipped_log_prob": "the same over the tokens that the clip drops; far below log_prob: it drops the "
    "improbable ones (Fig. 5)",
    "actor/bapo/entropy_change": "Entropy-Clip Rule (Eq. 6) for a step of size 1, -Cov[log pi, A X] at the chosen "
    "bounds; below 0: this update lowers entropy",
    "actor/bapo/rollout_anchor": "1: r = pi_theta / pi_rollout (bypass_mode); 0: r = pi_theta / pi_old, verl's default",
    "actor/bapo/pass_saved": "1 where the pass before the update was not needed, as the trainer computed old_log_probs "
    "with these very weights: r is 1 but for rounding, and is taken as 1; not logged under micro_batch, which makes no "
    "pass",
}


class Bounds(NamedTuple):
    """The bounds in force and what is logged about them, in floats that are the same on every rank."""

    c_low: float
    c_high: float
    metrics: dict[str, float]


@dataclass
class Update:
    """What the engine knows of the update in progress and the loss does not: verl hands the loss one micro-batch.

    group: the data-parallel process group, over which sums are added.
    bounds: those of the whole update (`mini_batch`), or None where each forward searches (`micro_batch`).
    """

    group: dist.ProcessGroup | None
    bounds: Bounds | None


@dataclass
class BapoPolicyLossConfig(PolicyLossConfig):
    """What a user may tune, under `actor_rollout_ref.actor.policy_loss`. Defaults: the paper's Sec. 5.1.

    Args:
        target_contribution: rho_0, the share of the loss that positive tokens must keep, in (0, 1).
        c_low_start, c_low_max, c_low_step: a-, b-, delta_2; ratios, not epsilons.
        c_high_start, c_high_max, c_high_step: a+, b+, delta_1; ratios, not epsilons.
        contribution: `value` (Eq. 8 as printed) or `gradient` (only tokens that the clip leaves alone).
        token_weight: `uniform`, or `rollout_prob` (the factor pi_rollout(y_t) of Eq. 8).
        search_order: `high_first` (Alg. 1) or `low_first` (the authors' code).
        search_scope: `mini_batch` (one search per optimizer step, over all ranks) or `micro_batch` (one per forward,
            over all ranks).
        strategy: not to be set: the YAML copies `actor_rollout_ref.actor.strategy` here, so that an engine that
            BAPO does not know is refused before Ray starts.
        rollout_anchor: not to be set: the YAML copies `algorithm.rollout_correction.bypass_mode` here. Whether
            `old_log_probs`, the denominator of r, are the rollout's own or the trainer's.
        trainer_mode: not to be set: the YAML copies `trainer.v1.trainer_mode` here. `separate_async` swaps weights
            unseen by the engine, which must then not rely on having seen them.

    Raises:
        ValueError: naming the key, the rule and the value.
    """

    _mutable_fields = PolicyLossConfig._mutable_fields | {"update"}

    loss_mode: str = "bapo"
    target_contribution: float = 0.4
    c_low_start: float = 0.6
    c_low_max: float = 0.9
    c_low_step: float = 0.02
    c_high_start: float = 1.2
    c_high_max: float = 3.0
    c_high_step: float = 0.05
    contribution: str = "value"
    token_weight: str = "uniform"
    search_order: str = "high_first"
    search_scope: str = "mini_batch"
    strategy: str = "fsdp"
    rollout_anchor: bool = False
    trainer_mode: str = "sync"
    # Set by the engine around an update, as verl sets ActorConfig.global_batch_info.
    update: Update | None = field(default=None, init=False, repr=False)

    def __post_init__(self):
        self._check_numbers()
        self._check_bound("c_low")
        self._check_bound("c_high")
        if not self.c_low_max < 1 < self.c_high_start:  # else a side is clipped at r = 1, before anything has moved
            raise ValueError(
                f"{KEY}.c_low_max must be below 1 and c_high_start above 1 (ratios, not epsilons), "
                f"got {self.c_low_max} and {self.c_high_start}"
            )
        for key, words in WORDS.items():
            if self[key] not in words:
                raise ValueError(f"{KEY}.{key} must be one of {', '.join(words)}, got {self[key]!r}")
        if self.strategy not in STRATEGIES:
            raise ValueError(
                f"actor_rollout_ref.actor.strategy must be one of {', '.join(STRATEGIES)} with {KEY}.loss_mode=bapo, "
                f"got {self.strategy!r}: BAPO has no engine for it that could search over the whole optimizer batch. "
                "Either train with model_engine=dp actor_rollout_ref.actor.strategy=fsdp2, or leave +algorithm=bapo "
                "away and fix the bounds by actor_rollout_ref.actor.clip_ratio_low and clip_ratio_high"
            )
        if self.loss_mode == "bypass_mode":
            raise ValueError(
                f"{KEY}.loss_mode must be bapo with {KEY}._target_=bapo_verl.policy_loss.BapoPolicyLossConfig, got "
                "'bypass_mode': verl's bypass loss would replace BAPO's. What anchors r at pi_rollout is "
                "algorithm.rollout_correction.bypass_mode=True alone"
            )
        # Importing the engine registers it with verl. Here, so that whoever has this config has the engine.
        import bapo_verl.engine  # noqa: F401

    def _check_numbers(self):
        keys = ["target_contribution"] + [
            f"{b}_{part}" for b in ("c_low", "c_high") for part in ("start", "max", "step")
        ]
        for key in keys:
            value = self[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{KEY}.{key} must be a finite number, got {value!r}")
        if not 0 < self.target_contribution < 1:
            raise ValueError(f"{KEY}.target_contribution must be in (0, 1), got {self.target_contribution}")

    def _check_bound(self, bound: str):
        start, maximum, step = self[f"{bound}_start"], self[f"{bound}_max"], self[f"{bound}_step"]
        if not 0 <= start <= maximum:
            raise ValueError(
                f"{KEY}.{bound}_start must be in [0, {bound}_max], got {bound}_start={start} and {bound}_max={maximum}"
            )
        if start < maximum and step <= 0:
            raise ValueError(f"{KEY}.{bound}_step must be > 0 where {bound}_start < {bound}_max, got {step}")
        if start < maximum and (maximum - start) / step > MAX_STEPS:
            raise ValueError(f"{KEY}.{bound}_step must leave at most {MAX_STEPS} steps, got {step}")

    @property
    def bounds_move(self) -> bool:
        """Whether there is anything to choose: with start = max for both bounds there is not."""
        return self.c_low_start < self.c_low_max or self.c_high_start < self.c_high_max

    def path(self, device: torch.device | str) -> SearchPath:
        """The points of the search, on the device of the tokens."""
        low = (self.c_low_start, self.c_low_max, self.c_low_step)
        high = (self.c_high_start, self.c_high_max, self.c_high_step)
        return _path(low, high, self.search_order, device)

    def sums(self, log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, mask: Tensor, is_weights) -> Tensor:
        """What one forward adds to the search and to the diagnosis, in one tensor that only need be added up.

        All arguments [B, T] (`is_weights`: `rollout_is_weights` or None). Returns float64
        [(3 + ROWS) (L + H + 3) + BINS]: `contribution_sums` with `token_rows`, and `ratio_histogram`.
        """
        log_prob = log_prob.detach()
        ratio = probability_ratio(log_prob, old_log_prob)
        weight = token_weight(old_log_prob, mask, self.token_weight, is_weights)
        rows = token_rows(log_prob, ratio, advantages, mask, is_weights)
        sums = contribution_sums(ratio, advantages, mask, self.path(log_prob.device), weight, rows)
        return torch.cat([sums.flatten(), ratio_histogram(log_prob, old_log_prob, mask)])

    def choose(self, sums: Tensor, group: dist.ProcessGroup | None) -> Bounds:
        """Add the sums over the data-parallel ranks and search: the one collective and the one host sync.

        Every rank of `group` (None: every rank there is) must call this equally often.

        Returns:
            `Bounds`, the same on every rank.
        """
        if dist.is_initialized():
            dist.all_reduce(sums, group=group)
        path = self.path(sums.device)
        sums, histogram = sums[:-BINS].view(3 + ROWS, -1), sums[-BINS:]
        choice = choose_bounds(sums, path, self.target_contribution, self.contribution)
        found = choice._asdict() | diagnose(sums, histogram, path, choice)._asdict()
        values = dict(zip(found, torch.stack([*found.values()]).tolist(), strict=True))
        values["rollout_anchor"] = float(self.rollout_anchor)
        # nan: a share of nothing, left out.
        metrics = {f"actor/bapo/{name}": value for name, value in values.items() if not math.isnan(value)}
        return Bounds(values["c_low"], values["c_high"], metrics)


@functools.cache  # copying the candidates to a GPU once, not in every forward
def _path(low: tuple, high: tuple, order: str, device: torch.device | str) -> SearchPath:
    return search_path(candidates(*low), candidates(*high), order, device)


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
    """The clipped surrogate of Algorithm 1, with bounds in force for this update (arXiv 2510.18927, Sec. 4.2).

        L = - agg_t  min( r_t A_t, clip(r_t, c_low, c_high) A_t )

    `agg_t` is verl's `agg_loss`; with its token and batch counts of the global batch, gradients averaged over the
    data-parallel ranks are those of the global mean. With `start = max` this is PPO-clip.

    Args:
        old_log_prob, log_prob, advantages, response_mask: [B, T]; what stands in the padding never matters.
        loss_agg_mode: verl's.
        config: the actor's, with `policy_loss` a `BapoPolicyLossConfig`.
        rollout_is_weights: [B, T] or None; multiply a token's loss and its contribution.

    Returns:
        The loss, and floats that verl averages over micro-batches and ranks: verl's own clip metrics of this
        micro-batch, and METRICS, which under `mini_batch` are the same for the whole update.

    Raises:
        RuntimeError: under `mini_batch`, when the engine has not searched the optimizer batch for bounds that move.
    """
    policy_loss, mask = config.policy_loss, response_mask.bool()
    old_log_prob, log_prob, advantages = (torch.where(mask, x, 0.0) for x in (old_log_prob, log_prob, advantages))
    if rollout_is_weights is not None:
        rollout_is_weights = torch.where(mask, rollout_is_weights, 0.0)

    bounds = policy_loss.update.bounds if policy_loss.update else None
    if bounds is None:
        if policy_loss.search_scope == "mini_batch" and policy_loss.bounds_move:
            raise RuntimeError(
                f"{KEY}.search_scope=mini_batch: the bounds of this update were never chosen, because the actor's "
                "engine is not bapo_verl.engine.BapoFSDPEngine; is an engine of another package registered for it?"
            )
        sums = policy_loss.sums(log_prob, old_log_prob, advantages, mask, rollout_is_weights)
        bounds = policy_loss.choose(sums, policy_loss.update.group if policy_loss.update else None)

    loss, metrics = compute_policy_loss_vanilla(
        old_log_prob,
        log_prob,
        advantages,
        response_mask,
        loss_agg_mode,
        replace(config, clip_ratio_low=1 - bounds.c_low, clip_ratio_high=bounds.c_high - 1),
        rollout_is_weights,
    )
    return loss, metrics | bounds.metrics
