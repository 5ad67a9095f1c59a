"""bapo_verl.clipping against hand-computed values, a literal transcription of Algorithm 1, and its own promises."""

import math
import random
from dataclasses import replace

import pytest
import torch

from bapo_verl.clipping import (
    candidates,
    choose_bounds,
    contribution_sums,
    positive_share,
    probability_ratio,
    search_path,
    token_weight,
    tokens_between,
)
from tests.bapo_verl import oracle

PAPER = oracle.Setting()
PRESETS = {
    "bapo": PAPER,
    "bapo_octothinker": replace(PAPER, target=0.45, c_low=("0.8", "0.9", "0.02"), c_high=("1.2", "2.0", "0.05")),
    "bapo_authors": replace(
        PAPER, target=0.5, c_low=("0.6", "0.8", "0.05"), c_high=("1.2", "2.0", "0.05"), order="low_first"
    ),
}


def path_of(setting):
    low, high = ([float(x) for x in bound] for bound in (setting.c_low, setting.c_high))
    return search_path(candidates(*low), candidates(*high), setting.order, setting.clip_ratio_c)


def search(ratio, advantages, setting, weight=None):
    path = path_of(setting)
    sums = contribution_sums(ratio, advantages, path, weight)
    return choose_bounds(sums, path, setting.target, setting.contribution)


# Five tokens. c_low = 0.8, c_high = 1.2, clip_ratio_c = 3:
#   token    r     A    value: |min(rA, clip(r) A)|   gradient: r|A| where the clip leaves it
#     1     2.0    1    1.2 * 1 = 1.2                 clipped
#     2     0.5    3    0.5 * 3 = 1.5                 0.5 * 3 = 1.5
#     3     0.5   -2    0.8 * 2 = 1.6                 clipped
#     4     2.0   -1    2.0 * 1 = 2.0                 2.0 * 1 = 2.0
#     5     7.0   -.5   3.0 * .5 = 1.5                dual clip: the loss is 1.5 for every r above 3
RATIO = torch.tensor([2.0, 0.5, 0.5, 2.0, 7.0])
ADVANTAGES = torch.tensor([1.0, 3.0, -2.0, -1.0, -0.5])
WEIGHT = torch.tensor([0.5, 1.0, 0.25, 1.0, 2.0])


@pytest.mark.parametrize(
    ("contribution", "weight", "expected"),
    [
        ("value", None, (1.2 + 1.5) / (1.2 + 1.5 + 1.6 + 2.0 + 1.5)),
        ("gradient", None, 1.5 / (1.5 + 2.0)),
        # Weights 0.5, 1, 0.25, 1, 2: 0.5*1.2 = 0.6, 1.5, 0.25*1.6 = 0.4, 2.0, 2*1.5 = 3.0.
        ("value", WEIGHT, (0.6 + 1.5) / (0.6 + 1.5 + 0.4 + 2.0 + 3.0)),
        ("gradient", WEIGHT, 1.5 / (1.5 + 2.0)),
    ],
)
def test_share_matches_hand_computation(contribution, weight, expected):
    path = search_path([0.8], [1.2], "high_first")
    sums = contribution_sums(RATIO, ADVANTAGES, path, weight)
    torch.testing.assert_close(positive_share(sums, path, contribution), torch.tensor([expected], dtype=torch.float64))


def test_search_stops_at_the_first_point_that_meets_the_target():
    # One positive token, r = 2, A = 1: P = min(2, c_high). One negative, r = 1, A = -3: N = 3 max(1, c_low) = 3. Two
    # with A = 0, which count as tokens and for nothing else.
    # rho = c_high / (c_high + 3): 1.2/4.2 = .286, 1.4/4.4 = .318, 1.6/4.6 = .348, 1.8/4.8 = .375, 2/5 = .4.
    setting = replace(PAPER, c_high=("1.2", "3.0", "0.2"))
    advantages = torch.tensor([1.0, -3.0, 0.0, 0.0])
    choice = search(torch.tensor([2.0, 1.0, 5.0, 0.1]), advantages, setting)
    assert choice.bounds == (0.6, 2.0)
    assert choice.steps == 4
    assert choice.rho == pytest.approx(0.4)
    assert choice.rho_start == pytest.approx(1.2 / 4.2)
    assert choice.rho_max == pytest.approx(0.4)  # at r = 2 it is not clipped any more, and c_low clips nothing
    assert choice.target_met == 1


def test_the_largest_share_lies_where_c_high_has_ended_and_c_low_has_not_moved():
    # r = 4 and A = 1: P = min(4, c_high). r = .5 and A = -8: N = 8 c_low. rho rises from 1.2 / (1.2 + 4.8) = .2 to
    # 3 / (3 + 4.8) = .385 at (.6, 3), and c_low lowers it to 3 / (3 + 7.2) = .294 at the end of the path.
    choice = search(torch.tensor([4.0, 0.5]), torch.tensor([1.0, -8.0]), PAPER)
    assert choice.bounds == (0.9, 3.0)
    assert (choice.rho_start, choice.rho) == pytest.approx((1.2 / 6, 3 / 10.2))
    assert choice.rho_max == pytest.approx(3 / 7.8)


def test_gradient_share_needs_c_low_when_only_clipping_negatives_helps():
    # r < 1.2 for the positive token: c_high changes nothing. P = 0.5. Negatives r = .7 and r = 1: N = .7 + 1 = 1.7
    # until c_low >= .7 removes the first: .5/2.2 = .227, then .5/1.5 = .333 >= .3. Point 36 is c_high = b+ = 3.0; c_low
    # = 0.6 + 5 * 0.02 = 0.7 is point 36 + 5.
    setting = replace(PAPER, target=0.3, contribution="gradient")
    choice = search(torch.tensor([0.5, 0.7, 1.0], dtype=torch.float64), torch.tensor([1.0, -1.0, -1.0]), setting)
    assert (choice.bounds, choice.steps) == ((0.7, 3.0), 41)
    assert choice.rho == pytest.approx(0.5 / 1.5)


@pytest.mark.parametrize("contribution", ["value", "gradient"])
def test_one_token_does_not_decide_alone(contribution):
    """Its loss is capped, by dual clip or by c_high, so that its contribution is, whatever its ratio."""
    ratio, advantages = torch.ones(1_000_001), torch.ones(1_000_001)
    advantages[:500_000] = -1.0
    for last in (-1.0, 1.0):
        advantages[-1], ratio[-1] = last, math.exp(20)
        choice = search(ratio, advantages, replace(PAPER, contribution=contribution))
        assert choice.rho == pytest.approx(0.5, abs=1e-5) and choice.steps == 0


def test_a_step_that_does_not_divide_the_span_stops_below_the_maximum():
    assert candidates(0.6, 0.9, 0.2) == [0.6, 0.8]


@pytest.mark.parametrize("contribution", ["value", "gradient"])
@pytest.mark.parametrize("order", ["high_first", "low_first"])
@pytest.mark.parametrize("preset", PRESETS)
def test_random_batches_agree_with_the_literal_algorithm(preset, order, contribution):
    """500 batches of each of the 12 settings, with ties, one-sided and empty batches among them."""
    setting = replace(PRESETS[preset], order=order, contribution=contribution)
    rng = random.Random(f"{preset} {order} {contribution}")
    bounds = [*path_of(setting).c_low.tolist(), *path_of(setting).c_high.tolist(), setting.clip_ratio_c]
    for _ in range(500):
        size = rng.randint(1, 24)
        spread = rng.choice([0.02, 0.3, 1.0, 3.0])
        ratio = [rng.choice(bounds) if rng.random() < 0.3 else math.exp(rng.gauss(0, spread)) for _ in range(size)]
        signs = rng.choice([(-1, 1), (-1, 1), (-1, 1), (-1, 0, 1), (1,), (-1,), (0,)])
        advantages = [rng.choice(signs) * rng.choice([1.0, 0.25, rng.random()]) for _ in range(size)]
        weight = [rng.choice([1.0, rng.random()]) for _ in range(size)]
        tokens = list(zip(ratio, advantages, weight, strict=True))[: rng.choice([0, size])]

        c_low, c_high, rho, moves = oracle.algorithm_1(tokens, setting)
        choice = search(*(torch.tensor([t[i] for t in tokens], dtype=torch.float64) for i in (0, 1)), setting,
                        torch.tensor([t[2] for t in tokens], dtype=torch.float64))  # fmt: skip
        assert (*choice.bounds, choice.steps) == (c_low, c_high, moves)
        assert choice.rho == pytest.approx(rho, rel=1e-12, nan_ok=True)


def test_without_tokens_the_bounds_stay_at_their_start_and_every_share_is_undefined():
    choice = search(torch.ones(0), torch.ones(0), PAPER)
    assert (choice.bounds, choice.steps) == ((0.6, 1.2), 0)
    assert all(math.isnan(x) for x in (choice.rho, choice.rho_start, choice.rho_max, choice.target_met))


def random_batch(seed, tokens=512, dtype=torch.float32):
    """(r, A, log pi_rollout)"""
    g = torch.Generator().manual_seed(seed)
    old = -torch.rand(tokens, generator=g) * 3
    log_prob = old + 0.4 * torch.randn(tokens, generator=g)
    advantages = torch.randn(tokens // 64, 1, generator=g).expand(-1, 64).flatten()
    ratio = probability_ratio(log_prob.to(dtype), old.to(dtype))
    return ratio, advantages.to(dtype), old.to(dtype)


@pytest.mark.parametrize("seed", range(20))
def test_sums_of_any_split_add_up_to_the_sums_of_the_batch(seed):
    ratio, advantages, old = random_batch(seed)
    path, cut = path_of(PAPER), 1 + 60 * (seed % 7)
    columns = (x.split(cut) for x in (ratio, advantages, old.exp()))
    parts = [contribution_sums(r, a, path, w) for r, a, w in zip(*columns, strict=True)]
    for whole, *columns in zip(contribution_sums(ratio, advantages, path, old.exp()), *parts, strict=True):
        torch.testing.assert_close(sum(columns), whole, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("seed", range(20))
def test_raising_a_bound_moves_rho_as_the_readme_says(seed):
    """c_high raises rho in both readings; c_low raises it with `gradient` and can only lower it with `value`."""
    ratio, advantages, _ = random_batch(seed)
    path = path_of(PAPER)
    sums = contribution_sums(ratio, advantages, path)
    value, gradient = (positive_share(sums, path, c).diff() for c in ("value", "gradient"))
    assert (value[:36] >= -1e-12).all() and (value[36:] <= 1e-12).all()
    assert (gradient >= -1e-12).all()
    assert value[:36].max() > 0 and value[36:].min() < 0 and gradient[36:].max() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_dtype_goes_in_and_float64_comes_out(dtype):
    ratio, advantages, old = random_batch(1, dtype=dtype)
    sums = contribution_sums(ratio, advantages, path_of(PAPER), token_weight(old, "rollout_prob"))
    assert sums.contribution.dtype == torch.float64
    # Summed in float64: 512 tokens of a half type would lose digits that the exact sum of the same ratios has.
    exact = math.fsum((ratio.double() * advantages.double().abs() * old.exp().double()).tolist())
    assert sums.contribution.sum().item() == pytest.approx(exact, rel=1e-12)


def test_token_weights_by_hand():
    old, is_weights = torch.tensor([math.log(0.5), math.log(0.25), -math.inf]), torch.tensor([2.0, 4.0, 1.0])
    assert token_weight(old, "uniform") is None
    assert token_weight(old, "uniform", is_weights) is is_weights
    torch.testing.assert_close(token_weight(old, "rollout_prob"), torch.tensor([0.5, 0.25, 0.0]))
    torch.testing.assert_close(token_weight(old, "rollout_prob", is_weights), torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: search_path([0.6], [1.2], "both"), "order must be"),
        (lambda: token_weight(torch.zeros(1), "none"), "kind must be"),
        (lambda: search(RATIO, ADVANTAGES, replace(PAPER, contribution="x")), "contribution must"),
    ],
)
def test_an_unknown_word_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("seed", range(50))
def test_tokens_between_are_those_that_one_pair_clips_and_the_other_does_not(seed):
    g = torch.Generator().manual_seed(seed)
    ratio, advantages = (0.4 * torch.randn(32, generator=g)).exp(), torch.randn(32, generator=g)
    path = path_of(PAPER)
    one, other = torch.randint(len(path.low), (2,), generator=g).tolist()

    def clipped(point):
        c_low, c_high = path.c_low[path.low[point]], path.c_high[path.high[point]]
        return torch.where(advantages > 0, ratio >= c_high, ratio <= c_low)

    sums = contribution_sums(ratio, advantages, path)
    assert tokens_between(sums, path, one, other) == (clipped(one) != clipped(other)).sum()
