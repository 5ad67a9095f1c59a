"""The pass over the whole optimizer batch, on verl's FSDP engine.

Algorithm 1 chooses the bounds "for each update with a batch", but verl hands the loss one micro-batch of one rank.
The engine sees the complete batch of every update: before verl's own forward and backward it runs the same
micro-batches once without gradient, adds up their contribution sums, reduces them over the data-parallel ranks, and
fixes the bounds for that update. So no setting that should only affect memory changes the loss, and the weights that
are measured are the weights that are updated, in later PPO epochs too.

Limits: FSDP and FSDP2 with verl's language-model head. verl's other engines are refused by `BapoPolicyLossConfig`.
"""

import os
from collections.abc import Callable
from functools import partial

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_name, get_vendor
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.utils.padding import no_padding_2_padding

from bapo_verl.policy_loss import STRATEGIES, BapoPolicyLossConfig, Update

# A vendor's engine goes before the device's, so this one takes over for the machine it runs on, and no other.
# The two variables are verl's own, and verl reads them before the device.
_DEVICE = os.getenv("VERL_ENGINE_DEVICE") or get_device_name()
_VENDOR = os.getenv("VERL_ENGINE_VENDOR") or get_vendor()


@EngineRegistry.register("language_model", backend=list(STRATEGIES), device=_DEVICE, vendor=_VENDOR)
class BapoFSDPEngine(FSDPEngineWithLMHead):
    """verl's FSDP engine; with any loss but "bapo" it does what verl's does."""

    def train_batch(self, data: TensorDict, loss_function: Callable) -> dict:
        """One update. Under `mini_batch` the bounds are chosen first, from all of `data` on all ranks."""
        policy_loss = _bapo_config(loss_function)
        if policy_loss is None:
            return super().train_batch(data, loss_function)
        group, choice = self.get_data_parallel_group(), None
        if policy_loss.search_scope == "mini_batch":
            choice = policy_loss.choose(self._sums(data, policy_loss), group)
        policy_loss.update = Update(group, choice)
        try:
            return super().train_batch(data, loss_function)
        finally:
            policy_loss.update = None

    def _sums(self, data: TensorDict, policy_loss: BapoPolicyLossConfig) -> Tensor:
        """Contribution sums of this rank's part of the optimizer batch, under the weights as they are."""
        parts: list[Tensor] = []

        def collect(model_output: dict, data: TensorDict, dp_group=None) -> tuple[Tensor, dict]:
            parts.append(_micro_batch_sums(model_output, data, policy_loss))
            return torch.zeros(()), {}

        data = data.copy()  # a shallow one, for the flag below: the entropy of this pass has no reader
        tu.assign_non_tensor(data, calculate_entropy=False)
        self.infer_batch(data, collect)
        return torch.stack(parts).sum(0)


def _micro_batch_sums(model_output: dict, data: TensorDict, policy_loss: BapoPolicyLossConfig) -> Tensor:
    """The tensors that verl's `ppo_loss` would hand to the policy loss, summed instead."""
    log_prob = no_padding_2_padding(model_output["log_probs"], data)
    fields = ["response_mask", "old_log_probs", "advantages"]
    if "rollout_is_weights" in data:
        fields.append("rollout_is_weights")
    data = data.select(*fields).to_padded_tensor()
    return policy_loss.sums(
        log_prob, data["old_log_probs"], data["advantages"], data["response_mask"], data.get("rollout_is_weights")
    )


def _bapo_config(loss_function: Callable) -> BapoPolicyLossConfig | None:
    """verl's loss function is `partial(ppo_loss, config=actor_config)`."""
    config = loss_function.keywords.get("config") if isinstance(loss_function, partial) else None
    policy_loss = getattr(config, "policy_loss", None)
    uses_bapo = isinstance(policy_loss, BapoPolicyLossConfig) and policy_loss.loss_mode == "bapo"
    return policy_loss if uses_bapo else None
