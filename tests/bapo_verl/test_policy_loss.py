"""The loss "bapo" and its config: verl's vanilla loss for the same bounds, hand-computed values, bad input.

What this file does not exercise: the engine (test_engine.py) and the composed config (test_config.py).
"""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla, get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from bapo_verl.diagnosis import METRICS
from bapo_verl.policy_loss import UpdateConfig
from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from bapo_verl.search import Search

AGG_MODES = ["token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]


CLIP_RATIO_C = 3.5


def actor(**kwargs):
    config = FSDPActorConfig(strategy="fsdp2", rollout_n=1, ppo_micro_batch_size_per_gpu=1, **kwargs)
    config.global_batch_info.update(dp_size=2, batch_num_tokens=77, global_batch_size=16, loss_scale_factor=None)
    return config


def batch(seed=0, shape=(8, 16)):
    g = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(shape, generator=g)
    log_prob = old + 0.6 * torch.randn(shape, generator=g)
    advantages = torch.randn(shape[0], 1, generator=g).expand(shape).clone()
    mask = (torch.rand(shape, generator=g) < 0.8).int()
    return dict(old_log_prob=old, log_prob=log_prob, advantages=advantages, response_mask=mask)


def loss_and_gradient(function, config, data, **kwargs):
    data = {**data, "log_prob": data["log_prob"].clone().requires_grad_()}
    loss, metrics = function(**data, config=config, **kwargs)
    loss.backward()
    return loss.detach(), data["log_prob"].grad, metrics


def bapo(*, config=None, settings=None, **data):
    """The loss "bapo" in a forward that searches for its own bounds, and METRICS beside verl's own."""
    config, search = config or actor(), Search(settings or BapoPolicyLossConfig(), CLIP_RATIO_C)
    searched = {}

    def bounds_of(tokens):
        bounds, metrics = search.now(tokens)
        searched.update(metrics)
        assert not any(tensor.requires_grad for tensor in tokens if tensor is not None)  # no graph outlives the forward
        return bounds

    update = replace(config, policy_loss=UpdateConfig(bounds_of=bounds_of), clip_ratio_c=CLIP_RATIO_C)
    before = replace(update)
    loss, metrics = get_policy_loss_fn("bapo")(config=update, **data)
    assert update == before  # the clip is that of a copy
    return loss, metrics | searched


@pytest.mark.parametrize("agg_mode", AGG_MODES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bounds", [(0.8, 1.2), (0.6, 3.0), (0.9, 1.28)])
def test_fixed_bounds_equal_verls_vanilla_loss_and_gradient_to_the_bit(bounds, weighted, agg_mode):
    low, high = bounds
    fixed = BapoPolicyLossConfig(c_low_start=low, c_low_max=low, c_high_start=high, c_high_max=high)
    data = batch()
    kwargs = dict(loss_agg_mode=agg_mode, rollout_is_weights=torch.rand(8, 16) if weighted else None)
    vanilla = actor(clip_ratio_low=1 - low, clip_ratio_high=high - 1, clip_ratio_c=CLIP_RATIO_C)
    expected = loss_and_gradient(compute_policy_loss_vanilla, vanilla, data, **kwargs)
    got = loss_and_gradient(partial(bapo, settings=fixed), actor(), data, **kwargs)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])
    assert got[2].items() >= expected[2].items()


def test_loss_and_gradient_by_hand_at_bounds_that_the_search_moved():
    # c_high: 1.2, 1.6, 2.0. One positive token r = 2, A = 1; one negative r = 1, A = -3; garbage behind them.
    # rho = 1.2/4.2 = .286, 1.6/4.6 = .348, 2/5 = .4 >= .35 at the third point: c_high = 2.0, c_low = 0.6.
    # L = -(min(2, 2) * 1 + max(1, .6) * -3) / 2 tokens = -(2 - 3) / 2 = 0.5.
    # dL/dlog_prob: r A / 2 with a minus: 3 * 1 / 2 = 1.5 for the negative. The positive one lies exactly on the bound,
    # where torch halves: maximum() gives each of two equal branches one half, and clamp() passes the gradient on its
    # edge, so -2/2 * (1/2 + 1/2) = -1.
    settings = BapoPolicyLossConfig(target_contribution=0.35, c_high_start=1.2, c_high_max=2.0, c_high_step=0.4)
    data = dict(
        old_log_prob=torch.tensor([[-2.0, -1.0, math.nan]]),
        log_prob=torch.tensor([[-2.0 + math.log(2.0), -1.0, math.inf]]),
        advantages=torch.tensor([[1.0, -3.0, math.nan]]),
        response_mask=torch.tensor([[1, 1, 0]]),
    )
    config = actor()
    config.global_batch_info.clear()
    loss, gradient, metrics = loss_and_gradient(partial(bapo, settings=settings), config, data)
    torch.testing.assert_close(loss, torch.tensor(0.5))
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 1.5, 0.0]]))
    assert metrics["actor/bapo/c_high"] == 2.0
    assert metrics["actor/bapo/c_low"] == 0.6
    assert metrics["actor/bapo/rho"] == pytest.approx(0.4)
    assert metrics["actor/bapo/rho_start"] == pytest.approx(1.2 / 4.2)
    assert metrics["actor/bapo/steps"] == 2


@pytest.mark.parametrize("agg_mode", AGG_MODES)
def test_garbage_in_the_padding_changes_neither_loss_nor_gradient_nor_a_metric(agg_mode):
    data = batch()
    mask = data["response_mask"].bool()
    weights = torch.rand(8, 16)

    def run(garbage):
        dirty = {k: v if k == "response_mask" else torch.where(mask, v, garbage) for k, v in data.items()}
        is_weights = torch.where(mask, weights, garbage)
        return loss_and_gradient(bapo, actor(), dirty, rollout_is_weights=is_weights, loss_agg_mode=agg_mode)

    clean, dirty = run(0.0), run(math.nan)
    assert torch.equal(clean[0], dirty[0])
    assert torch.equal(clean[1], dirty[1])
    assert clean[2] == dirty[2]


@pytest.mark.parametrize(
    ("settings", "more", "share"),
    [
        ({}, {}, 1 / 3),  # A = 1, -1, -1
        (dict(token_weight="rollout_prob"), {}, 0.5),  # 0.5 / (0.5 + 0.25 + 0.25)
        ({}, dict(rollout_is_weights=[2.0, 0.5, 0.5, 9.0]), 2 / 3),
        ({}, dict(old_log_probs=[-1.0, math.nan, -1.0, -1.0]), 0.5),  # one of the negative tokens is not counted
    ],
)
def test_the_prediction_by_hand(settings, more, share):
    """At r = 1; the fourth token is padding."""
    columns = dict(response_mask=[1, 1, 1, 0], advantages=[1.0, -1.0, -1.0, 5.0])
    columns |= dict(old_log_probs=[math.log(p) for p in (0.5, 0.25, 0.25, 1.0)]) | more
    data = TensorDict({key: torch.tensor([column]) for key, column in columns.items()}, batch_size=[1])
    assert Search(BapoPolicyLossConfig(**settings), CLIP_RATIO_C).predict(data).rho_start == pytest.approx(share)


def test_metrics_are_those_of_the_table():
    *_, metrics = loss_and_gradient(bapo, actor(), batch())
    engines = {"actor/bapo/redone", "actor/bapo/bypass_mode"}
    assert set(metrics) == (set(METRICS) - engines) | {"actor/pg_clipfrac", "actor/ppo_kl", "actor/pg_clipfrac_lower"}
    assert all(isinstance(value, float) for value in metrics.values())


@pytest.mark.parametrize("empty", ["response_mask", "advantages"])
def test_a_micro_batch_without_response_tokens_or_advantages_keeps_the_bounds_at_their_start(empty):
    data = batch()
    data[empty] = torch.zeros_like(data[empty])
    loss, gradient, metrics = loss_and_gradient(bapo, actor(), data)
    assert loss == 0 and not gradient.any()
    assert (metrics["actor/bapo/c_low"], metrics["actor/bapo/c_high"], metrics["actor/bapo/steps"]) == (0.6, 1.2, 0)
    assert "actor/bapo/rho" not in metrics and "actor/bapo/target_met" not in metrics
    assert all(math.isfinite(value) for value in metrics.values())


def test_weights_multiply_the_contribution_as_they_multiply_the_loss():
    """Weight 2 on every positive token is the same as a doubled advantage there."""
    data = batch()
    positive = data["advantages"] > 0
    weighted = loss_and_gradient(bapo, actor(), data, rollout_is_weights=torch.where(positive, 2.0, 1.0))
    data["advantages"] = torch.where(positive, 2.0, 1.0) * data["advantages"]
    doubled = loss_and_gradient(bapo, actor(), data)
    torch.testing.assert_close(weighted[0], doubled[0])
    # The Entropy-Clip Rule's means are over tokens: there a weight is one, and an advantage is not.
    for name in ("entropy_change", "log_prob", "clipped_log_prob"):
        assert weighted[2].pop(f"actor/bapo/{name}") != doubled[2].pop(f"actor/bapo/{name}")
    assert weighted[2] == doubled[2]


@pytest.mark.parametrize("where", ["log_prob", "old_log_prob"])
@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf])
def test_a_log_prob_that_is_not_finite_is_in_the_loss_what_it_is_in_verls(where, garbage):
    """One in 128. verl clamps an infinite log-ratio to 20, and so r is e^20 or e^-20 here; nan is not counted."""
    data = batch()
    data["response_mask"][:] = 1
    data[where][1, 2] = garbage
    fixed = BapoPolicyLossConfig(c_low_start=0.8, c_low_max=0.8, c_high_start=1.2, c_high_max=1.2)
    vanilla = actor(clip_ratio_low=1 - 0.8, clip_ratio_high=1.2 - 1, clip_ratio_c=CLIP_RATIO_C)
    expected = loss_and_gradient(compute_policy_loss_vanilla, vanilla, data)
    *got, metrics = loss_and_gradient(partial(bapo, settings=fixed), actor(), data)
    torch.testing.assert_close(got, list(expected[:2]), rtol=0, atol=0, equal_nan=True)
    ours = {name.rpartition("/")[2]: value for name, value in metrics.items() if name in METRICS}
    assert all(math.isfinite(value) for value in ours.values())
    left_out = {name.rpartition("/")[2] for name in METRICS} - ours.keys() - {"redone", "bypass_mode"}
    infinite = (
        {"log_prob", "clipped_log_prob", "entropy_change"} if where == "log_prob" and math.isinf(garbage) else set()
    )
    assert left_out <= infinite and ("log_prob" in left_out) == bool(infinite)
    if math.isnan(garbage):
        data["response_mask"][1, 2] = 0
        assert (
            loss_and_gradient(partial(bapo, settings=fixed), actor(), data)[2].items()
            >= {f"actor/bapo/{name}": value for name, value in ours.items() if not name.endswith("length")}.items()
        )
    loss_and_gradient(bapo, actor(), data)  # the search acts: no error


def test_an_engine_without_the_mixin_is_an_error_and_not_another_scope():
    with pytest.raises(RuntimeError, match="has not chosen bounds for this update.*no BapoEngineMixin"):
        get_policy_loss_fn("bapo")(**batch(), config=actor(policy_loss=BapoPolicyLossConfig()))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(target_contribution=0.0), r"target_contribution must be in \(0, 1\), got 0.0"),
        (dict(target_contribution=1.0), r"target_contribution must be in \(0, 1\), got 1.0"),
        (dict(target_contribution=math.nan), "target_contribution must be a finite number, got nan"),
        (dict(c_low_start=0.95), r"c_low_start must be in \[0, c_low_max\], got c_low_start=0.95 and c_low_max=0.9"),
        (dict(c_high_start=3.5), r"c_high_start must be in \[0, c_high_max\], got c_high_start=3.5"),
        (dict(c_low_step=0.0), "c_low_step must be > 0 where c_low_start < c_low_max, got 0.0"),
        (dict(c_high_step=-0.05), "c_high_step must be > 0 where c_high_start < c_high_max, got -0.05"),
        (dict(c_high_step=1e-9), "c_high_step must leave at most 10000 steps, got 1e-09"),
        (dict(c_low_max=1.1), r"c_low_max must be below 1 and c_high_start above 1 .*, got 1.1 and 1.2"),
        (dict(c_low_start=0.95, c_low_max=1.0), "c_low_max must be below 1 .*, got 1.0 and 1.2"),
        (dict(c_high_start=1.0), "c_low_max must be below 1 and c_high_start above 1 .*, got 0.9 and 1.0"),
        # verl's clip_ratio_low and clip_ratio_high
        (dict(c_low_start=0.2, c_low_max=0.2, c_high_start=0.28, c_high_max=0.28), "c_low_max .* not epsilons"),
        (dict(contribution="both"), "contribution must be one of value, gradient, got 'both'"),
        (dict(token_weight="x"), "token_weight must be one of uniform, rollout_prob, got 'x'"),
        (dict(search_order="x"), "search_order must be one of high_first, low_first, got 'x'"),
        (dict(search_scope="x"), "search_scope must be one of mini_batch, micro_batch, got 'x'"),
        (dict(loss_mode="gspo"), "loss_mode must be bapo with .algorithm=bapo, got 'gspo', which turns BAPO off"),
    ],
)
def test_bad_input_names_the_key_the_rule_and_the_value(bad, message):
    with pytest.raises(ValueError, match=r"actor_rollout_ref\.actor\.policy_loss\." + message):
        BapoPolicyLossConfig(**bad)


def test_a_step_of_zero_is_fine_where_the_bound_does_not_move():
    assert Search(BapoPolicyLossConfig(c_low_max=0.6, c_low_step=0), CLIP_RATIO_C).path.c_low.tolist() == [0.6]
