"""Updates on verl's FSDP engine over gloo, in one or several ranks, for the tests of bapo_verl.engine."""

import math
import os
import tempfile
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from verl.trainer.distillation import distillation_ppo_loss
from verl.utils import tensordict_utils as tu
from verl.utils import torch_functional
from verl.utils.distributed import initialize_global_process_group_ray
from verl.utils.metric import AggregationType
from verl.workers.config import DistillationConfig, DistillationLossConfig, PolicyLossConfig
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding, response_to_nested

from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from bapo_verl.search import Search, tokens_of
from tests.bapo_verl.engine_batch import SUMS, TARGET, UPDATES, actor_config, fsdp_engine, rank_data
from tests.bapo_verl.ranks import run_ranks

TIME_LIMIT = 120
MAX = AggregationType.MAX


# verl's distillation: its top-k loss with and without the policy loss, and the policy gradient that drops that loss.
DISTILLATION = {
    "topk": dict(loss_mode="forward_kl_topk", topk=2, use_policy_gradient=False, use_task_rewards=True),
    "topk alone": dict(loss_mode="forward_kl_topk", topk=2, use_policy_gradient=False, use_task_rewards=False),
    "policy gradient alone": dict(loss_mode="k1", use_policy_gradient=True, use_task_rewards=False),
}


def add_teacher(data, loss_mode):
    """What verl's teacher would: its likeliest tokens at every position, with their log-probabilities."""
    offsets, topk = data["input_ids"].offsets(), loss_mode == "forward_kl_topk"
    size = (len(data["input_ids"].values()), 1 + topk)
    for key, values in (("teacher_ids", [3, 5]), ("teacher_logprobs", [-0.5, -1.0])):
        values = torch.tensor(values[: 1 + topk]).expand(size).contiguous()
        data[key] = torch.nested.nested_tensor_from_jagged(values, offsets)
    tu.assign_non_tensor(data, distillation_use_topk=topk)


def spoiled_loss(function, value, **arguments):
    """The loss function, where one log-prob of the model in each micro-batch is another number."""
    output = arguments["model_output"]
    log_probs = output["log_probs"]
    last = torch.arange(len(log_probs.values())) == log_probs.offsets()[1] - 2  # of the first answer's last token
    if math.isnan(value):  # as from logits that are nan, whose gradient is nan whatever comes in
        values = log_probs.values() * torch.where(last, value, 1)
    else:
        values = log_probs.values() + torch.where(last, value, 0)
    output["log_probs"] = torch.nested.nested_tensor_from_jagged(values, log_probs.offsets())
    return function(**arguments)


def allow_fsdp1_on_cpu():
    """torch's FSDP1 insists on a GPU where it broadcasts the weights of rank 0, as verl asks it to; gloo can do it."""
    from torch.distributed.fsdp import _init_utils

    _init_utils._check_module_states_for_sync_module_states = lambda module_states: None


def log_probs(engine, data):
    """Under the weights as they are, [B, T] with padding."""
    return no_padding_2_padding(engine.infer_batch(data.copy())["model_output"]["log_probs"], data)


def search_before_the_update(engine, data, policy_loss):
    """What BAPO must find: Algorithm 1 on the whole optimizer batch under the weights that are about to move."""
    batch, search = (
        data.select("response_mask", "old_log_probs", "advantages").to_padded_tensor(),
        Search(policy_loss, 3),
    )
    tensors = batch["old_log_probs"], batch["advantages"], batch["response_mask"].bool(), None
    sums = search.add_up([tokens_of(log_probs(engine, data), *tensors)])
    return search.metrics(search.choose(sums.contribution), sums)


class Counted(torch.autograd.Function):
    """The identity; counts how often it is part of a graph, and how often a backward walks through it."""

    graphs = walks = 0

    @classmethod
    def of(cls, compute):
        def counted(*args):
            cls.graphs += torch.is_grad_enabled()
            return cls.apply(compute(*args))

        return counted

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Counted.walks += 1
        return gradient


def updates(rank, world, out, model, policy_loss, setting):
    """What each rank does: UPDATES updates on the same batch with a learning rate that moves r."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), DIST_INIT_METHOD=f"file://{out}/init")
    initialize_global_process_group_ray()
    strategy = setting.get("strategy", "fsdp2")
    if strategy == "fsdp":
        allow_fsdp1_on_cpu()
    packed, sp = setting.get("packed", True), setting.get("sp", 1)
    if setting.get("stock"):
        policy_loss = PolicyLossConfig()
    else:
        policy_loss = BapoPolicyLossConfig(target_contribution=TARGET, **policy_loss)
    actor = actor_config(
        policy_loss,
        strategy,
        loss_agg_mode=setting.get("agg", "token-mean"),
        entropy_coeff=setting.get("entropy_coeff", 0),
    )
    loss_function = partial(ppo_loss, config=actor)
    torch_functional.entropy_from_logits = Counted.of(torch_functional.entropy_from_logits)  # in this process
    if setting.get("distill"):
        distillation = DistillationConfig(distillation_loss=DistillationLossConfig(**DISTILLATION[setting["distill"]]))
        loss_function = partial(distillation_ppo_loss, config=actor, distillation_config=distillation)
    of_setting = {name: setting[name] for name in ("dropout", "lora") if name in setting}
    engine = fsdp_engine(model, strategy=strategy, packed=packed, ulysses=sp, **of_setting)
    assert isinstance(engine, FSDPEngineWithLMHead)
    seen, modes = torch.zeros(1), []

    def before_a_forward(module, _):
        seen.add_(1)  # moves a buffer, as Megatron's engine moves its expert bias
        modes.append((torch.is_grad_enabled(), module.training))

    engine.module.register_buffer("seen", seen)
    engine.module.register_forward_pre_hook(before_a_forward)
    compute_entropy = engine.compute_entropy_from_logits
    dp = world // sp
    with engine.train_mode():
        history = []
        for _ in range(UPDATES):
            cut = setting.get("micro", 2), setting.get("dynamic", False), packed, setting.get("tokens", 40)
            data = rank_data(rank // sp, dp, *cut, setting.get("flags", {}))
            if setting.get("distill"):
                add_teacher(data, DISTILLATION[setting["distill"]]["loss_mode"])
            if setting.get("spoil_data") and rank == world - 1:
                values = data[setting["spoil_data"]].values()
                values[5] = setting["value"]
            if setting.get("recompute") and not history:  # as verl's trainer before the first update on a batch
                data["old_log_probs"] = response_to_nested(log_probs(engine, data), data["response_mask"])
            if setting.get("restored") and not history:  # as fully_async_policy does, unseen by the engine
                with torch.no_grad():
                    for parameter in engine.module.parameters():
                        parameter.mul_(1.5)
            expected = search_before_the_update(engine, data, policy_loss) if setting.get("search") else {}
            if setting.get("fixed"):
                c_low, c_high = setting["fixed"][len(history)]
                fixed = dict(c_low_start=c_low, c_low_max=c_low, c_high_start=c_high, c_high_max=c_high)
                loss_function = partial(ppo_loss, config=replace(actor, policy_loss=BapoPolicyLossConfig(**fixed)))
            Counted.graphs, Counted.walks, before = 0, 0, seen.item()
            modes.clear()
            weights = [parameter.detach().clone() for parameter in engine.module.parameters()]
            function = loss_function
            if setting.get("spoil") and rank == world - 1:
                function = partial(spoiled_loss, loss_function.func, setting["value"], **loss_function.keywords)
            engine.stopped_inside = setting.get("hint", engine.stopped_inside)
            with mock.patch.object(engine, "forward_step", wraps=engine.forward_step) as forward:
                output = engine.train_batch(data, function)
            moved = not all(map(torch.equal, weights, (p.detach() for p in engine.module.parameters())))
            assert actor.policy_loss is policy_loss  # an update leaves nothing on the user's config
            assert engine.compute_entropy_from_logits is compute_entropy  # nor on the engine
            metrics = {
                k: float(v.aggregate())
                for k, v in output["metrics"].items()
                if k.startswith(("actor/bapo/", "actor/entropy"))
            }
            entropy = {"entropy_graphs": Counted.graphs, "entropy_walks": Counted.walks}
            counts = {"forwards": forward.call_count, **entropy, "searched": expected, "moved": moved}
            counts |= {"seen": seen.item() - before, "alone": modes.count((False, False))}
            assert set(modes) <= {(True, True), (False, False)}  # verl's activation offload breaks in others
            counts["maxima"] = [k for k, v in output["metrics"].items() if getattr(v, "aggregation", None) == MAX]
            # On the first of the ranks that share a sequence.
            gradient = (
                {"grad_norm": float(output["metrics"]["grad_norm"])} if engine.is_mp_src_rank_with_outputs() else {}
            )
            history.append(metrics | gradient | {"micro_batches": len(output["loss"])} | counts)
    torch.save(history, f"{out}/{rank}")
    dist.destroy_process_group()


def run(model, world=1, policy_loss=None, **setting):
    """The metrics of every update, which all ranks must agree on."""
    with tempfile.TemporaryDirectory() as tmp:
        arguments = (world, tmp, model, policy_loss or {}, setting)
        histories = run_ranks(updates, world, tmp, arguments, TIME_LIMIT)
    # All but the entropy, which verl averages over the ranks later, and what one of several ranks holds.
    common = [
        [{k: v for k, v in update.items() if not k.startswith(("actor/entropy", "grad_norm"))} for update in rank]
        for rank in histories
    ]
    assert all(rank == common[0] for rank in common), common
    return histories[0]


ENTROPY = {"entropy_graphs", "entropy_walks"}
COUNTS = {"micro_batches", "forwards", "moved", *ENTROPY, "searched", "seen", "alone", "maxima"}


def assert_same_bounds(got, expected):
    for one, other in zip(got, expected, strict=True):
        for key in other.keys() - COUNTS:
            assert one[key] == pytest.approx(other[key], abs=SUMS.get(key.rpartition("/")[2], 1e-9)), key
