"""bapo_verl.engine in real processes: verl's FSDP engine, a tiny Qwen2, gloo, 1, 2 and 4 ranks.

The bounds of an update must depend on the optimizer batch alone: not on how many ranks share it, how it is cut into
micro-batches, or whether it is packed. What this file does not exercise: CUDA, bf16, Ray (pipeline/ has Ray).
"""

import math
import os
import tempfile
import time
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from engine_batch import SUMS, TARGET, UPDATES, VOCABULARY, rank_data, save_tiny_model
from ranks import run_ranks
from verl.trainer.distillation import distillation_ppo_loss
from verl.utils import tensordict_utils as tu
from verl.utils import torch_functional
from verl.utils.distributed import initialize_global_process_group_ray
from verl.utils.metric import AggregationType
from verl.workers.config import (
    DistillationConfig,
    DistillationLossConfig,
    FSDPActorConfig,
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
)
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding, response_to_nested

from bapo_verl.engine import BapoEngineMixin
from bapo_verl.policy_loss import batch_sums, find_bounds
from bapo_verl.policy_loss_config import BapoPolicyLossConfig

FP32 = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
TIME_LIMIT = 120
MAX = AggregationType.MAX


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def distillation(rewards: bool):
    loss = dict(loss_mode="forward_kl_topk", topk=2, use_policy_gradient=False, use_task_rewards=rewards)
    return DistillationConfig(distillation_loss=DistillationLossConfig(**loss))


def add_teacher(data):
    """What verl's teacher would: its two likeliest tokens at every position, with their log-probabilities."""
    offsets = data["input_ids"].offsets()
    size = (len(data["input_ids"].values()), 2)
    for key, values in (("teacher_ids", torch.tensor([3, 5])), ("teacher_logprobs", torch.tensor([-0.5, -1.0]))):
        data[key] = torch.nested.nested_tensor_from_jagged(values.expand(size).contiguous(), offsets)
    tu.assign_non_tensor(data, distillation_use_topk=True)


def allow_fsdp1_on_cpu():
    """torch's FSDP1 insists on a GPU where it broadcasts the weights of rank 0, as verl asks it to; gloo can do it."""
    from torch.distributed.fsdp import _init_utils

    _init_utils._check_module_states_for_sync_module_states = lambda module_states: None


def log_probs(engine, data):
    """Under the weights as they are, [B, T] with padding."""
    return no_padding_2_padding(engine.infer_batch(data.copy())["model_output"]["log_probs"], data)


def search_before_the_update(engine, data, policy_loss):
    """What BAPO must find: Algorithm 1 on the whole optimizer batch under the weights that are about to move."""
    batch = data.select("response_mask", "old_log_probs", "advantages").to_padded_tensor()
    tensors = batch["old_log_probs"], batch["advantages"], batch["response_mask"], None
    return find_bounds(policy_loss, batch_sums(policy_loss, log_probs(engine, data), *tensors))[1]


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
    strategy, lora = setting.get("strategy", "fsdp2"), setting.get("lora", 0)
    if strategy == "fsdp":
        allow_fsdp1_on_cpu()
    packed, sp = setting.get("packed", True), setting.get("sp", 1)
    policy_loss = BapoPolicyLossConfig(target_contribution=TARGET, **policy_loss)
    actor = FSDPActorConfig(
        strategy=strategy,
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        policy_loss=policy_loss,
        loss_agg_mode=setting.get("agg", "token-mean"),
        entropy_coeff=setting.get("entropy_coeff", 0),
    )
    loss_function = partial(ppo_loss, config=actor)
    torch_functional.entropy_from_logits = Counted.of(torch_functional.entropy_from_logits)  # in this process
    if setting.get("distill"):
        loss_function = partial(
            distillation_ppo_loss, config=actor, distillation_config=distillation(setting["distill"] != "only")
        )
    engine = EngineRegistry.new(
        "language_model",
        strategy,
        HFModelConfig(
            path=model,
            load_tokenizer=False,
            override_config={"attn_implementation": "sdpa"},
            use_remove_padding=packed,
            lora_rank=lora,
            enable_gradient_checkpointing=False,
        ),
        FSDPEngineConfig(
            strategy=strategy, mixed_precision=FP32, use_torch_compile=False, ulysses_sequence_parallel_size=sp
        ),
        FSDPOptimizerConfig(lr=0.001, total_training_steps=UPDATES),
        None,
    )
    assert isinstance(engine, BapoEngineMixin) and isinstance(engine, FSDPEngineWithLMHead)
    engine._build_model_optimizer()  # initialize() without a checkpoint manager
    seen, without_gradient = torch.zeros(1), torch.zeros(1)

    def before_a_forward(*_):
        seen.add_(1)  # moves a buffer, as Megatron's engine moves its expert bias
        without_gradient.add_(not torch.is_grad_enabled())

    engine.module.register_buffer("seen", seen)
    engine.module.register_forward_pre_hook(before_a_forward)
    compute_entropy = engine.compute_entropy_from_logits
    dp = world // sp
    if setting.get("asleep") == rank:
        time.sleep(TIME_LIMIT)
    with engine.train_mode():
        history = []
        for _ in range(UPDATES):
            cut = setting.get("micro", 2), setting.get("dynamic", False), packed, setting.get("tokens", 40)
            data = rank_data(rank // sp, dp, *cut, setting.get("flags", {}))
            if setting.get("distill"):
                add_teacher(data)
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
            without_gradient.zero_()
            with mock.patch.object(engine, "forward_step", wraps=engine.forward_step) as forward:
                output = engine.train_batch(data, loss_function)
            assert actor.policy_loss is policy_loss  # an update leaves nothing on the user's config
            assert engine.compute_entropy_from_logits is compute_entropy  # nor on the engine
            metrics = {
                k: float(v.aggregate())
                for k, v in output["metrics"].items()
                if k.startswith(("actor/bapo/", "actor/entropy"))
            }
            entropy = {"entropy_graphs": Counted.graphs, "entropy_walks": Counted.walks}
            counts = {"forwards": forward.call_count, **entropy, "searched": expected}
            counts |= {"seen": seen.item() - before, "without_gradient": without_gradient.item()}
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
        limit, what = setting.get("limit", TIME_LIMIT), f"{world} ranks with {setting}"
        histories = run_ranks(updates, world, tmp, arguments, limit, what)
    # All but the entropy, which verl averages over the ranks later, and what one of several ranks holds.
    common = [
        [{k: v for k, v in update.items() if not k.startswith(("actor/entropy", "grad_norm"))} for update in rank]
        for rank in histories
    ]
    assert all(rank == common[0] for rank in common), common
    return histories[0]


@pytest.fixture(scope="module")
def reference(model):
    return run(model, micro=16)


ENTROPY = {"entropy_graphs", "entropy_walks"}
COUNTS = {"micro_batches", "forwards", *ENTROPY, "searched", "seen", "without_gradient", "maxima"}


def assert_same_bounds(got, expected):
    for one, other in zip(got, expected, strict=True):
        for key in other.keys() - COUNTS:
            assert one[key] == pytest.approx(other[key], abs=SUMS.get(key.rpartition("/")[2], 1e-9)), key


def test_the_reference_searches_anew_at_every_update(reference):
    """The case is a fair one: the search acts, stops inside the path, and every update moves the ratios."""
    assert 0 < reference[1]["actor/bapo/steps"] < reference[0]["actor/bapo/steps"] < 36
    assert len({update["actor/bapo/rho_start"] for update in reference}) == UPDATES


@pytest.mark.parametrize(
    "setting",
    [
        dict(micro=1),
        dict(micro=4),
        dict(dynamic=True),
        dict(packed=False),
        dict(packed=False, dynamic=True),
        dict(strategy="fsdp"),
        dict(world=2),
        dict(world=2, strategy="fsdp", dynamic=True),
        dict(world=4, micro=1),
        dict(world=4, dynamic=True, packed=False),
    ],
    ids=str,
)
def test_bounds_depend_on_the_optimizer_batch_alone(model, reference, setting):
    """With 2 and 4 ranks the last ones hold no positive token at all, and dynamic batches are uneven."""
    got = run(model, **setting)
    if setting.get("dynamic"):
        assert got[0]["micro_batches"] > 1
    assert_same_bounds(got, reference)


def test_micro_batch_scope_reduces_over_the_ranks(model):
    """Every rank finds the same bounds, those of the forward and not of the optimizer batch."""
    two = run(model, world=2, policy_loss=dict(search_scope="micro_batch"), micro=8)
    whole = run(model, micro=16, policy_loss=dict(search_scope="micro_batch"))
    assert_same_bounds(two, whole)
    assert [update["forwards"] for update in two] == [update["micro_batches"] for update in two] == [1] * UPDATES
    parts = run(model, micro=4, policy_loss=dict(search_scope="micro_batch"))
    assert parts[0]["actor/bapo/rho_start"] != pytest.approx(whole[0]["actor/bapo/rho_start"], abs=1e-3)


@pytest.mark.parametrize(
    "setting",
    [
        {},
        dict(recompute=True),
        dict(recompute=True, restored=True),  # other weights since old_log_probs
        dict(policy_loss=dict(contribution="gradient")),
    ],
    ids=str,
)
def test_bounds_and_metrics_are_those_of_a_search_before_the_update(model, setting):
    """A forward of its own before each update, under the same weights, finds what the update itself found."""
    for update in run(model, search=True, **setting):
        for name, value in update["searched"].items():
            assert update[name] == pytest.approx(value, abs=SUMS.get(name.rpartition("/")[2], 1e-9)), name


@pytest.mark.parametrize("setting", [dict(world=2), dict(micro=1, dynamic=True)], ids=str)
def test_the_gradient_is_that_of_the_exact_bounds(model, reference, setting):
    """With bounds fixed at those that BAPO found, every update has the same gradient, redone or not."""
    bounds = [(update["actor/bapo/c_low"], update["actor/bapo/c_high"]) for update in reference]
    fixed = run(model, fixed=bounds, **setting)
    assert [update["forwards"] for update in fixed] == [update["micro_batches"] for update in fixed]
    for one, other in zip(fixed, reference, strict=True):
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)


def test_an_update_is_redone_only_where_a_token_lies_between_the_predicted_and_the_exact_bounds(model, reference):
    """At r = 1, after verl has recomputed old_log_probs, the predicted bounds are the exact ones: one run is enough."""
    recomputed = run(model, world=2, dynamic=True, recompute=True)
    for update in [*reference, *recomputed]:
        assert update["forwards"] == update["micro_batches"] * (1 + update["actor/bapo/redone"])
        assert update["without_gradient"] == 0  # verl's activation offload allows no such forward in train mode
        assert update["seen"] == update["micro_batches"]  # buffers that a forward moves have moved once
        assert update["maxima"] == ["actor/bapo/ratio_max"]
    assert [update["actor/bapo/redone"] for update in reference] == [1, 1, 0]
    assert recomputed[0]["actor/bapo/redone"] == 0 and recomputed[0]["actor/bapo/ratio_max"] == 1


def test_the_entropy_curve_is_there_where_verls_trainer_logs_none(model):
    """With bypass_mode the update computes it, and makes a graph over the vocabulary only for a coefficient.

    In padded batches verl makes one anyway; it is dropped before the backward.
    """
    bypass = dict(bypass_mode=True)
    history = run(model, policy_loss=bypass)
    # An untrained model is nearly uniform over its 64 tokens.
    assert [update["actor/entropy"] for update in history] == [pytest.approx(math.log(VOCABULARY), rel=0.02)] * UPDATES
    padded = run(model, policy_loss=bypass, packed=False)
    assert [update["entropy_graphs"] for update in history] == [0] * UPDATES
    assert [update["entropy_graphs"] for update in padded] == [update["forwards"] for update in padded]
    assert [update["entropy_walks"] for update in history + padded] == [0] * UPDATES * 2
    bonus = run(model, policy_loss=bypass, entropy_coeff=0.01, flags=dict(calculate_entropy=True))
    assert [update["entropy_walks"] for update in bonus] == [update["forwards"] for update in bonus]
    micro = run(model, world=2, policy_loss=bypass | dict(search_scope="micro_batch"), agg="seq-mean-token-mean")
    for update in micro:
        assert update["actor/entropy"] == update["actor/entropy_loss"] and update["entropy_walks"] == 0
    trainers = run(model, flags=dict(calculate_entropy=True))  # pi_old is the denominator of r
    assert not any("actor/entropy" in update for update in trainers)
    assert [update["actor/bapo/bypass_mode"] for update in history + trainers] == [1] * UPDATES + [0] * UPDATES


def test_bounds_under_distillation(model, reference):
    """verl's top-k distillation, whose loss function the engine also calls with logits, has the same bounds."""
    first = run(model, distill=True, micro=16)[0]
    del first["grad_norm"]  # the teacher moves the weights elsewhere
    assert_same_bounds([first], [{name: reference[0][name] for name in first}])
    for update in run(model, distill="only", flags=dict(distillation_only=True)):  # verl calls no policy loss
        assert update["forwards"] == update["micro_batches"] and "actor/bapo/rho" not in update


def test_lora(model):
    history = run(model, world=2, lora=4)
    assert len({update["actor/bapo/rho_start"] for update in history}) == UPDATES


def test_ulysses_ranks_agree(model):
    """Two groups of two ranks that share a sequence: all four choose the same bounds, without a deadlock.

    A micro-batch may be twice as long as a rank's share: 24 tokens, where the longest sequence has 22.

    The log-probabilities themselves are not verl's here: its Ulysses attention is a patch of flash-attn, which needs
    CUDA; with sdpa each rank attends to its own part of a sequence only. So this is not compared with the reference.
    """
    history = run(model, world=4, sp=2, dynamic=True, tokens=12)
    assert len({update["actor/bapo/rho_start"] for update in history}) == UPDATES


def test_a_rank_that_differs_is_noticed(model, monkeypatch):
    """The check above can fail: without BAPO's collective (verl's stay) each rank chooses bounds of its own."""
    monkeypatch.setattr("bapo_verl.policy_loss.dist", mock.Mock(is_initialized=lambda: False))
    with pytest.raises(AssertionError, match="rho_start"):
        run(model, world=2, policy_loss=dict(search_scope="micro_batch"))


def test_a_hang_is_named(model):
    """A rank that never comes: what the others wait in is in the failure."""
    with pytest.raises(pytest.fail.Exception, match=r"rank 0 in all_gather \(.*\) called by add_ranks"):
        run(model, world=2, asleep=1, limit=60)


def test_gradients_of_several_calls_are_refused(model):
    with pytest.raises(mp.ProcessRaisedException, match="an optimizer batch, which is one train_batch call"):
        run(model, flags=dict(return_model_output=True))


def test_with_another_loss_the_engine_does_what_verls_does(model):
    history = run(model, policy_loss=dict(loss_mode="vanilla"))
    assert [(update["micro_batches"], update["forwards"]) for update in history] == [(8, 8)] * UPDATES
    assert not any(name.startswith("actor/bapo/") for update in history for name in update)
