"""When bounds are chosen: predict, verify, redo, on every training engine of verl.

Algorithm 1 chooses the bounds "for each update with a batch", but verl hands the loss one micro-batch of one rank. The
engine sees the complete batch of every update:

1. Predict. At r = 1 the positive share follows from the advantages alone. The bounds for it cost no forward.
2. Verify. verl's own forward and backward run with these bounds, and the loss adds up its sums on the way. Reduced over
   all ranks they give the exact bounds: of the whole batch, under the weights that are about to move.
3. Redo. Where no token lies between the predicted and the exact bounds, both give the same gradient and the update is
   done. Otherwise the gradient is dropped, and forward and backward run again with the exact bounds.

So no setting that should only affect memory changes the gradient, and nothing is kept from one update to the next.
(Where the predicted bounds differ from the exact ones and nothing was run again, verl's actor/pg_loss is the value
under the predicted bounds.)

Every engine of verl for language models implements `forward_backward_batch` and inherits `train_batch`, which calls it
between `optimizer_zero_grad` and `optimizer_step`. So one mixin serves all of them.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id, get_device_name, get_vendor
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig
from verl.workers.engine import BaseEngine, EngineRegistry

from bapo_verl.entropy import without_entropy_graph
from bapo_verl.policy_loss import UpdateConfig, add_ranks, batch_sums, find_bounds, no_sums, same_gradient
from bapo_verl.policy_loss_config import BapoPolicyLossConfig

MODEL_TYPE = "language_model"


class BapoEngineMixin:
    """Placed before one of verl's engines in the MRO. With any loss but "bapo" the engine is unchanged."""

    def forward_backward_batch(self, data: TensorDict, loss_function: Callable, forward_only: bool = False) -> Any:
        """verl's method, with the bounds of the whole optimizer batch. A collective: every rank must call it."""
        actor = None if forward_only else _bapo_actor(loss_function)
        if actor is None:
            return super().forward_backward_batch(data, loss_function, forward_only=forward_only)
        if tu.get_non_tensor_data(data, key="return_model_output", default=False):
            raise NotImplementedError(
                "BAPO chooses bounds for an optimizer batch, which is one train_batch call; verl's Tinker worker "
                "accumulates gradients over several forward_backward_batch calls"
            )
        policy_loss = actor.policy_loss
        if policy_loss.bypass_mode:  # verl's trainers log no entropy then
            tu.assign_non_tensor(data, calculate_entropy=True)
        run = partial(self._run, data, loss_function)
        if policy_loss.search_scope == "micro_batch":
            output, metrics = run(UpdateConfig(**policy_loss, group=self.get_data_parallel_group())), {}
        else:
            output, metrics = self._predict_verify_redo(data, policy_loss, run)
        if "metrics" in output:  # not on pipeline stages without a loss
            output["metrics"].update({name: _metric(name, value) for name, value in metrics.items()})
            if policy_loss.bypass_mode and "actor/entropy_loss" in output["metrics"]:
                output["metrics"]["actor/entropy"] = output["metrics"]["actor/entropy_loss"]
        return output

    def _predict_verify_redo(
        self, data: TensorDict, policy_loss: BapoPolicyLossConfig, run: Callable[[UpdateConfig], Any]
    ) -> tuple[Any, dict[str, float]]:
        """Run one update with its exact bounds; return verl's output and METRICS."""
        predicted, _ = find_bounds(policy_loss, self._add_up([_sums_at_one(data, policy_loss)], policy_loss))
        buffers = [(buffer, buffer.clone()) for buffer in self._buffers()]
        update = UpdateConfig(**policy_loss, bounds=predicted)
        output = run(update)
        sums = self._add_up(update.sums, policy_loss)
        exact, metrics = find_bounds(policy_loss, sums)
        redo = not same_gradient(policy_loss, sums, predicted, exact)
        if redo:
            self.optimizer_zero_grad()
            for buffer, before in buffers:
                buffer.copy_(before)  # such as Megatron's expert bias, which forward and backward move
            output = run(UpdateConfig(**policy_loss, bounds=exact))
        return output, metrics | {"actor/bapo/redone": float(redo)}

    def _run(self, data: TensorDict, loss_function: Callable, update: UpdateConfig) -> Any:
        """The engine's own forward and backward, under the config of this update."""
        actor = replace(_bapo_actor(loss_function), policy_loss=update)
        loss_function = partial(loss_function, config=actor)
        if actor.entropy_coeff:
            return super().forward_backward_batch(data, loss_function, forward_only=False)
        with without_entropy_graph(self, loss_function) as loss_function:
            return super().forward_backward_batch(data, loss_function, forward_only=False)

    def _add_up(self, sums: list[Tensor], policy_loss: BapoPolicyLossConfig) -> Tensor:
        """Sum over micro-batches and all ranks. Ranks that share a sequence add equal sums, which changes no share."""
        return add_ranks(sum(sums, no_sums(policy_loss, get_device_id())))

    def _buffers(self) -> list[Tensor]:
        modules = self.module if isinstance(self.module, list) else [self.module]
        # Not `buffers()`: in Megatron's DistributedDataParallel that attribute holds the gradients.
        return [buffer for module in modules for _, buffer in module.named_buffers()]


def _bapo_actor(loss_function: Callable) -> ActorConfig | None:
    """The actor's config where its loss is BAPO's; verl's loss function is `partial(ppo_loss, config=actor_config)`."""
    config = loss_function.keywords.get("config") if isinstance(loss_function, partial) else None
    policy_loss = getattr(config, "policy_loss", None)
    uses_bapo = isinstance(policy_loss, BapoPolicyLossConfig) and policy_loss.loss_mode == "bapo"
    return config if uses_bapo else None


def _sums_at_one(data: TensorDict, policy_loss: BapoPolicyLossConfig) -> Tensor:
    """`batch_sums` of this rank's part of the optimizer batch at r = 1, which needs no model."""
    fields = ["response_mask", "old_log_probs", "advantages"]
    if "rollout_is_weights" in data:
        fields.append("rollout_is_weights")
    data = data.select(*fields).to(get_device_id()).to_padded_tensor()
    log_prob = data["old_log_probs"]
    weights = data.get("rollout_is_weights")
    return batch_sums(policy_loss, log_prob, log_prob, data["advantages"], data["response_mask"], weights)


def _metric(name: str, value: float) -> Metric:
    return Metric(value=value, aggregation=AggregationType.MAX if name.endswith("_max") else AggregationType.MEAN)


@functools.cache
def with_bapo(engine: type[BaseEngine]) -> type[BaseEngine]:
    """The engine's class with the mixin in front of it."""
    return type(f"Bapo{engine.__name__}", (BapoEngineMixin, engine), {})


def _register() -> None:
    """Put the mixin in front of every engine that verl has for language models on this device.

    verl looks an engine up by device and vendor before it looks by device alone, so the classes of other machines stay
    as they are. The two variables are verl's own, and verl reads them before the device.
    """
    key = os.getenv("VERL_ENGINE_DEVICE") or get_device_name(), os.getenv("VERL_ENGINE_VENDOR") or get_vendor()
    for backend, engines in EngineRegistry._engines[MODEL_TYPE].items():
        try:
            engine = EngineRegistry.get_engine_cls(MODEL_TYPE, backend)
        except ValueError:  # verl has this one for other devices only
            continue
        engines[key] = with_bapo(engine)


_register()
