"""The pass over the whole optimizer batch, on verl's FSDP engine.

Algorithm 1 chooses the bounds "for each update with a batch", but verl hands the loss one micro-batch of one rank.
The engine sees the complete batch of every update: before verl's own forward and backward it runs the same
micro-batches once without gradient, adds up their contribution sums, reduces them over the data-parallel ranks, and
fixes the bounds for that update. So no setting that should only affect memory changes the loss, and the weights that
are measured are the weights that are updated, in later PPO epochs too.

Where the weights have not moved since the trainer computed old_log_probs with this engine (the first update on a
rollout batch, unless r is anchored at the rollout), r is 1 by construction, and the sums need no pass.

Limits: FSDP and FSDP2 with verl's language-model head. verl's other engines are refused by `BapoPolicyLossConfig`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id, get_device_name, get_vendor
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
        policy_loss = _bapo_config(loss_function)
        if policy_loss is None:
            return super().train_batch(data, loss_function)
        group, bounds = self.get_data_parallel_group(), None
        if policy_loss.search_scope == "mini_batch":
            # r is 1 by construction. `separate_async` restores other weights unseen by the engine.
            saved = current and not policy_loss.rollout_anchor and policy_loss.trainer_mode != "separate_async"
            bounds = policy_loss.choose(self._sums(data, policy_loss, saved), group)
            bounds.metrics["actor/bapo/pass_saved"] = float(saved)
        policy_loss.update = Update(group, bounds)
        try:
            output = super().train_batch(data, loss_function)
        finally:
            policy_loss.update = None
        if policy_loss.rollout_anchor and "actor/entropy_loss" in output.get("metrics", {}):
            # verl's trainer logs actor/entropy only where it recomputes old_log_probs.
            output["metrics"]["actor/entropy"] = output["metrics"]["actor/entropy_loss"]
        return output

    def _sums(self, data: TensorDict, policy_loss: BapoPolicyLossConfig, saved: bool) -> Tensor:
        """`policy_loss.sums` of this rank's part of the optimizer batch, under the weights as they are."""
        parts: list[Tensor] = []
        if saved:
            tu.assign_non_tensor(data, sp_size=self.ulysses_sequence_parallel_size)  # as verl does before it cuts
            for micro_batch in prepare_micro_batches(data)[0]:
                parts.append(_micro_batch_sums(micro_batch.to(get_device_id()), policy_loss))
            return torch.stack(parts).sum(0)

        def collect(model_output: dict, data: TensorDict, dp_group=None) -> tuple[Tensor, dict]:
            log_prob = no_padding_2_padding(model_output["log_probs"], data)
            parts.append(_micro_batch_sums(data, policy_loss, log_prob))
            return torch.zeros(()), {}

        data = data.copy()  # a shallow one, for the flag below: the entropy of this pass has no reader
        tu.assign_non_tensor(data, calculate_entropy=False)
        self.infer_batch(data, collect)
        return torch.stack(parts).sum(0)


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


def _bapo_config(loss_function: Callable) -> BapoPolicyLossConfig | None:
    """verl's loss function is `partial(ppo_loss, config=actor_config)`."""
    config = loss_function.keywords.get("config") if isinstance(loss_function, partial) else None
    policy_loss = getattr(config, "policy_loss", None)
    uses_bapo = isinstance(policy_loss, BapoPolicyLossConfig) and policy_loss.loss_mode == "bapo"
    return policy_loss if uses_bapo else None
