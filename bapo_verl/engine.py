"""The pass over the whole optimizer batch, on verl's FSDP engine.

Algorithm 1 chooses the bounds "for each update with a batch", but verl hands the loss one micro-batch of one rank.
The engine sees the complete batch of every update: before verl's own forward and backward it runs the same
micro-batches once without gradient, adds up their contribution sums, reduces them over the data-parallel ranks, and
fixes the bounds for that update. So no setting that should only affect memory changes the loss, and the weights that
are measured are the weights that are updated, in later PPO epochs too.

Where the weights have not moved since the trainer computed old_log_probs with this engine (the first update on a
rollout batch, unless r is anchored at the rollout), r is 1 but for rounding, and the sums need no pass.

Where r is anchored at the rollout, verl's trainer logs no entropy, and the curve comes from the same pass: computed in
the update, verl would keep its graph over the whole vocabulary, whatever its coefficient. `micro_batch` has no pass and
pays that.

Limits: FSDP and FSDP2 with verl's language-model head. verl's other engines are refused by `BapoPolicyLossConfig`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.ppo.core_algos import agg_loss
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id, get_device_name, get_vendor
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.engine.utils import prepare_micro_batches
from verl.workers.utils.padding import no_padding_2_padding

from bapo_verl.policy_loss import STRATEGIES, BapoPolicyLossConfig, Update

# A vendor's engine goes before the device's, so this one takes over for the machine it runs on, and no other.
# The two variables are verl's own, and verl reads them before the device.
_DEVICE = os.getenv("VERL_ENGINE_DEVICE") or get_device_name()
_VENDOR = os.getenv("VERL_ENGINE_VENDOR") or get_vendor()


@EngineRegistry.register("language_model", backend=list(STRATEGIES), device=_DEVICE, vendor=_VENDOR)
class BapoFSDPEngine(FSDPEngineWithLMHead):
    """verl's FSDP engine; with any loss but "bapo" it does what verl's does."""

    # Whether the last log-probabilities that the trainer asked for are those of the policy's weights as they are.
    _log_probs_are_current = False

    def infer_batch(self, data: TensorDict, loss_function: Callable | None = None) -> dict:
        """verl's; without a loss function this is the trainer asking for log-probabilities."""
        output = super().infer_batch(data, loss_function)
        if loss_function is None:
            self._log_probs_are_current = True
        return output

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """verl's. Under it the engine computes the reference's log-probabilities, which are no news of the policy's."""
        before = self._log_probs_are_current
        with super().disable_adapter():
            yield
        self._log_probs_are_current = before

    def load_checkpoint(self, *args, **kwargs) -> None:
        """verl's."""
        self._log_probs_are_current = False
        super().load_checkpoint(*args, **kwargs)

    def train_batch(self, data: TensorDict, loss_function: Callable) -> dict:
        """One update. Under `mini_batch` the bounds are chosen first, from all of `data` on all ranks."""
        current, self._log_probs_are_current = self._log_probs_are_current, False  # about to move the weights
        actor = _bapo_actor(loss_function)
        if actor is None:
            return super().train_batch(data, loss_function)
        policy_loss = actor.policy_loss
        group, bounds, metrics = self.get_data_parallel_group(), None, {}
        if policy_loss.search_scope == "mini_batch":
            # `separate_async` restores other weights unseen by the engine.
            saved = current and not policy_loss.rollout_anchor and policy_loss.trainer_mode != "separate_async"
            sums, metrics = (self._sums_at_one(data, policy_loss), {}) if saved else self._sums(data, actor)
            bounds = policy_loss.choose(sums, group)
            bounds.metrics["actor/bapo/pass_saved"] = float(saved)
        elif policy_loss.rollout_anchor:
            tu.assign_non_tensor(data, calculate_entropy=True)
        policy_loss.update = Update(group, bounds)
        try:
            output = super().train_batch(data, loss_function)
        finally:
            policy_loss.update = None
        if policy_loss.rollout_anchor:
            entropy = metrics or output["metrics"]
            output["metrics"]["actor/entropy"] = entropy["actor/entropy_loss"]
        return output

    def _sums(self, data: TensorDict, actor: ActorConfig) -> tuple[Tensor, dict]:
        """`policy_loss.sums` of this rank's part of the optimizer batch, under the weights as they are.

        With r anchored at the rollout also the metric actor/entropy_loss, as verl's `ppo_loss` has it.
        """
        policy_loss, parts = actor.policy_loss, []

        def collect(model_output: dict, data: TensorDict, dp_group=None) -> tuple[Tensor, dict]:
            log_prob = no_padding_2_padding(model_output["log_probs"], data)
            parts.append(_micro_batch_sums(data, policy_loss, log_prob))
            return torch.zeros(()), _entropy(model_output, data, actor) if policy_loss.rollout_anchor else {}

        data = data.copy()  # a shallow one, for the flags below
        # No teacher in this pass: under distillation verl would hand `collect` logits.
        tu.assign_non_tensor(
            data, calculate_entropy=policy_loss.rollout_anchor, distillation_use_topk=False, distillation_only=False
        )
        metrics = self.infer_batch(data, collect)["metrics"]
        return torch.stack(parts).sum(0), metrics

    def _sums_at_one(self, data: TensorDict, policy_loss: BapoPolicyLossConfig) -> Tensor:
        """The same where r = 1, without a pass."""
        tu.assign_non_tensor(data, sp_size=self.ulysses_sequence_parallel_size)  # as verl does before it cuts
        micro_batches = prepare_micro_batches(data)[0]
        return torch.stack([_micro_batch_sums(part.to(get_device_id()), policy_loss) for part in micro_batches]).sum(0)


def _micro_batch_sums(data: TensorDict, policy_loss: BapoPolicyLossConfig, log_prob: Tensor | None = None) -> Tensor:
    """The tensors that verl's `ppo_loss` would hand to the policy loss, summed instead; log_prob None: r = 1."""
    fields = ["response_mask", "old_log_probs", "advantages"]
    if "rollout_is_weights" in data:
        fields.append("rollout_is_weights")
    data = data.select(*fields).to_padded_tensor()
    old_log_prob = data["old_log_probs"]
    return policy_loss.sums(
        old_log_prob if log_prob is None else log_prob,
        old_log_prob,
        data["advantages"],
        data["response_mask"],
        data.get("rollout_is_weights"),
    )


def _entropy(model_output: dict, data: TensorDict, actor: ActorConfig) -> dict[str, Metric]:
    """What verl's `ppo_loss` logs of the entropy: this micro-batch's share of its mean over the update."""
    entropy = agg_loss(
        loss_mat=no_padding_2_padding(model_output["entropy"], data),
        loss_mask=data["response_mask"].to_padded_tensor(0).bool(),
        loss_agg_mode=actor.loss_agg_mode,
        loss_scale_factor=actor.loss_scale_factor,
        **{key: data[key] for key in ("dp_size", "batch_num_tokens", "global_batch_size")},
    )
    return {"actor/entropy_loss": Metric(value=entropy, aggregation=AggregationType.SUM)}


def _bapo_actor(loss_function: Callable) -> ActorConfig | None:
    """The actor's config where its loss is BAPO's; verl's loss function is `partial(ppo_loss, config=actor_config)`."""
    config = loss_function.keywords.get("config") if isinstance(loss_function, partial) else None
    policy_loss = getattr(config, "policy_loss", None)
    uses_bapo = isinstance(policy_loss, BapoPolicyLossConfig) and policy_loss.loss_mode == "bapo"
    return config if uses_bapo else None
