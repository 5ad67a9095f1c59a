"""When bounds are chosen: predict, verify, redo, on every training engine of verl.

Algorithm 1 chooses the bounds "for each update with a batch", but verl hands the loss one micro-batch of one rank. The
engine sees the complete batch of every update:

1. Predict. At r = 1 the positive share follows from the advantages alone. The bounds for it cost no forward. They are
   the first or the last of the path. So where the last update stopped inside it, a forward without gradient predicts.
2. Verify. verl's own forward and backward run with these bounds, and the loss hands over its tokens on the way. Summed
   over all ranks they give the exact bounds: of the whole batch, under the weights that are about to move.
3. Redo. Where no token lies between the predicted and the exact bounds, both give the same gradient and the update is
   done. Otherwise the gradient is dropped, and forward and backward run again with the exact bounds.

So no setting that should only affect memory changes the gradient, and nothing but that hint is kept from one update to
the next: it decides how the bounds are predicted, and every prediction is verified.
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

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.checkpoint.checkpoint_manager import BaseCheckpointManager
from verl.utils.device import get_device_name, get_vendor
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig
from verl.workers.engine import BaseEngine, EngineRegistry

from bapo_verl.clipping import Bounds
from bapo_verl.entropy import without_entropy_graph
from bapo_verl.policy_loss import UpdateConfig
from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from bapo_verl.search import Search, Sums, Tokens

MODEL_TYPE = "language_model"


class BapoEngineMixin:
    """Placed before one of verl's engines in the MRO. With any loss but "bapo" the engine is unchanged.

    stopped_inside: whether the search of the last update stopped inside its path, so that this one's probably will: a
        hint, which changes how long an update takes and never its bounds or gradient. The same on every rank.
    """

    stopped_inside = False

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
        policy_loss, search = actor.policy_loss, Search(actor.policy_loss, actor.clip_ratio_c)
        run = partial(self._run, data, loss_function)
        if policy_loss.search_scope == "micro_batch":
            output, metrics = self._search_each_forward(search, run)
        else:
            output, metrics = self._predict_verify_redo(search, run, data, _is_trained(loss_function))
        if "metrics" in output:  # not on pipeline stages without a loss
            metrics["actor/bapo/bypass_mode"] = float(policy_loss.bypass_mode)
            output["metrics"].update({name: _metric(name, value) for name, value in metrics.items()})
            if policy_loss.bypass_mode and "actor/entropy_loss" in output["metrics"]:  # verl's trainers log none then
                output["metrics"]["actor/entropy"] = output["metrics"]["actor/entropy_loss"]
        return output

    def _predict_verify_redo(
        self, search: Search, run: Callable[[Callable], Any], data: TensorDict, is_trained: bool
    ) -> tuple[Any, dict[str, float]]:
        """Run one update with its exact bounds; return verl's output and METRICS."""
        buffers, random_state = [(b, b.clone()) for b in self._buffers()], BaseCheckpointManager.get_rng_state()

        def run_and_add_up(run: Callable[[Callable], Any], bounds: Bounds) -> tuple[Any, Sums]:
            forwards: list[Tokens] = []

            def collect(tokens: Tokens) -> Bounds:
                forwards.append(tokens)
                return bounds

            return run(collect), search.add_up(forwards)

        def rewind() -> None:
            self.optimizer_zero_grad()
            for buffer, before in buffers:
                buffer.copy_(before)  # such as Megatron's expert bias, which forward and backward move
            BaseCheckpointManager.load_rng_state(random_state)  # dropout drops the same again

        predicted = search.predict(data)
        if is_trained and self.stopped_inside:
            _, sums = run_and_add_up(partial(self._without_gradient, run), predicted.bounds)
            predicted = search.choose(sums.contribution)
            rewind()
        output, sums = run_and_add_up(run, predicted.bounds)
        exact = search.choose(sums.contribution)
        redo = is_trained and not search.same_gradient(sums, predicted, exact)
        if redo:
            rewind()
            output = run(lambda tokens: exact.bounds)
        self.stopped_inside = 0 < exact.steps < len(search.path.low) - 1
        return output, search.metrics(exact, sums) | {"actor/bapo/redone": float(redo)}

    def _search_each_forward(self, search: Search, run: Callable[[Callable], Any]) -> tuple[Any, dict[str, list]]:
        """Run one update, each forward with bounds of its own; return verl's output and METRICS of each forward."""
        metrics: dict[str, list[float]] = {}

        def search_now(tokens: Tokens) -> Bounds:
            bounds, found = search.now(tokens, self.get_data_parallel_group())
            for name, value in found.items():
                metrics.setdefault(name, []).append(value)
            return bounds

        return run(search_now), metrics

    def _run(
        self,
        data: TensorDict,
        loss_function: Callable,
        bounds_of: Callable[[Tokens], Bounds],
        forward_only: bool = False,
    ) -> Any:
        """The engine's own forward and backward, with the bounds of this update."""
        actor = replace(_bapo_actor(loss_function), policy_loss=UpdateConfig(bounds_of=bounds_of))
        loss_function = partial(loss_function, config=actor)
        if actor.entropy_coeff:
            return super().forward_backward_batch(data, loss_function, forward_only)
        with without_entropy_graph(self, loss_function) as loss_function:
            return super().forward_backward_batch(data, loss_function, forward_only)

    def _without_gradient(self, run: Callable, bounds_of: Callable[[Tokens], Bounds]) -> None:
        """A forward alone, in verl's eval mode: verl's activation offload breaks where train mode has no backward."""
        with self.eval_mode(disable_auto_offload=True), torch.no_grad():
            run(bounds_of, forward_only=True)
        self.mode = "train"
        for module in self._modules():
            module.train()

    def _modules(self) -> list[torch.nn.Module]:
        return self.module if isinstance(self.module, list) else [self.module]

    def _buffers(self) -> list[Tensor]:
        # Not `buffers()`: in Megatron's DistributedDataParallel that attribute holds the gradients.
        return [buffer for module in self._modules() for _, buffer in module.named_buffers()]


def _bapo_actor(loss_function: Callable) -> ActorConfig | None:
    """The actor's config where its loss is BAPO's; verl's loss function is `partial(ppo_loss, config=actor_config)`."""
    config = loss_function.keywords.get("config") if isinstance(loss_function, partial) else None
    return config if isinstance(getattr(config, "policy_loss", None), BapoPolicyLossConfig) else None


def _is_trained(loss_function: Callable) -> bool:
    """Whether the policy loss has a gradient: verl's distillation without task rewards computes it and drops it."""
    distillation = loss_function.keywords.get("distillation_config")
    return distillation is None or distillation.distillation_loss.use_task_rewards


def _metric(name: str, values: float | list[float]) -> Metric:
    metric = Metric(aggregation=AggregationType.MAX if name == "actor/bapo/ratio_max" else AggregationType.MEAN)
    metric.extend(values if isinstance(values, list) else [values])
    return metric


@functools.cache
def with_bapo(engine: type[BaseEngine]) -> type[BaseEngine]:
    """The engine's class with the mixin in front of it."""
    return type(f"Bapo{engine.__name__}", (BapoEngineMixin, engine), {})


def register_engines() -> None:
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


register_engines()  # on import: verl looks an engine up right after it has made the actor's config
