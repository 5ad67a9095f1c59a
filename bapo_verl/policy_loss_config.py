"""What a user may set under `actor_rollout_ref.actor.policy_loss`, and every check of it.

verl makes this class from the YAML on the driver, before Ray starts, and again in every actor worker, before the worker
makes its engine. So a value that breaks a rule raises on the driver, and the loss and the engines are registered where
they are used. driver_check.py looks at the rest of the user's config.
"""

import math
from dataclasses import dataclass, fields

import ray
from verl.workers.config import PolicyLossConfig

from bapo_verl.keys import ACTOR, COPIES, KEY

WORDS = {
    "contribution": ("value", "gradient"),
    "token_weight": ("uniform", "rollout_prob"),
    "search_order": ("high_first", "low_first"),
    "search_scope": ("mini_batch", "micro_batch"),
}

MAX_STEPS = 10_000


@dataclass
class BapoPolicyLossConfig(PolicyLossConfig):
    """BAPO's parameters. Defaults: the paper's Sec. 5.1 (arXiv 2510.18927).

    Args:
        target_contribution: rho_0, the share of the loss that positive tokens must keep, in (0, 1).
        c_low_start, c_low_max, c_low_step: a-, b-, delta_2; ratios, not epsilons.
        c_high_start, c_high_max, c_high_step: a+, b+, delta_1; ratios, not epsilons.
        contribution: `value` (Eq. 8 as printed) or `gradient` (only tokens that the clip leaves alone).
        token_weight: `uniform`, or `rollout_prob` (the factor pi_rollout(y_t) of Eq. 8).
        search_order: `high_first` (Alg. 1) or `low_first` (the authors' code).
        search_scope: `mini_batch` (one search per optimizer step) or `micro_batch` (one per forward); over all ranks
            either way.

    The YAML copies these from other keys. They are not to be set here:
        bypass_mode: of `algorithm.rollout_correction`. Whether `old_log_probs`, the denominator of r, are the
            rollout's own or the trainer's.
        dynamic_context_parallel: of `actor_rollout_ref.actor.megatron`. Refused.

    Raises:
        ValueError: naming the key, the rule and the value.
    """

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
    bypass_mode: bool = False
    dynamic_context_parallel: bool = False

    def __post_init__(self):
        self._check_numbers()
        self._check_bound("c_low")
        self._check_bound("c_high")
        if not self.c_low_max < 1 < self.c_high_start:  # otherwise tokens with r = 1 are clipped
            raise ValueError(
                f"{KEY}.c_low_max must be below 1 and c_high_start above 1 (ratios, not epsilons), "
                f"got {self.c_low_max} and {self.c_high_start}"
            )
        for key, words in WORDS.items():
            if self[key] not in words:
                raise ValueError(f"{KEY}.{key} must be one of {', '.join(words)}, got {self[key]!r}")
        if self.loss_mode != "bapo":
            raise ValueError(
                f"{KEY}.loss_mode must be bapo with +algorithm=bapo, got {self.loss_mode!r}, which turns BAPO off: "
                "remove either the key or the flag. (+algorithm=grpo is verl's vanilla loss with BAPO's metrics. "
                "r = pi_theta / pi_rollout needs algorithm.rollout_correction.bypass_mode=True alone)"
            )
        if self.dynamic_context_parallel:
            raise ValueError(
                f"{ACTOR}.megatron.dynamic_context_parallel must be False with {KEY}.loss_mode=bapo, got True: it "
                "replicates samples unevenly over the ranks, so that sums over the optimizer batch would count some of "
                "them twice. Either use a fixed context_parallel_size, or remove +algorithm=bapo"
            )
        register_in_a_worker()

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
        if start < maximum and step > maximum - start + 1e-9:
            raise ValueError(f"{KEY}.{bound}_step must be at most {bound}_max - {bound}_start, got {step}")
        if start < maximum and (maximum - start) / step > MAX_STEPS:
            raise ValueError(f"{KEY}.{bound}_step must leave at most {MAX_STEPS} steps, got {step}")


def register_in_a_worker() -> None:
    """Register the loss and the engines, unless on the driver: stock verl imports no engine there, and some fail."""
    if ray.is_initialized():
        import bapo_verl.engine  # noqa: F401


# What a user may set, beside verl's own keys.
OWN_KEYS = {field.name for field in fields(BapoPolicyLossConfig)} - {field.name for field in fields(PolicyLossConfig)}
OWN_KEYS -= COPIES.keys()
