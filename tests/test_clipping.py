"""bapo_verl.clipping against hand-computed values, a literal transcription of Algorithm 1, and its own promises."""

import math
import random
from dataclasses import replace

import oracle
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

PAPER = oracle.Setting()
PRESETS = {
    "bapo": PAPER,
    "bapo_octothinker": replace(PAPER, target=0.45, c_low=("0.8", "0.9", "0.02"), c_high=("1.2", "2.0", "0.05")),
    "bapo_authors": replace(
        PAPER, target=0.5, c_low=("0.6", "0.8", "0.05"), c_high=("1.2", "2.0", "0.05"), order="low_first"
    ),
}


def path_of(setting, device="cpu"):
    low, high = ([float(x) for x in bound] for bound in (setting.c_low, setting.c_high))
    return search_path(candidates(*low), candidates(*high), setting.order, device)


def search(ratio, advantages, mask, setting, weight=None):
    path = path_of(setting)
    sums = contribution_sums(ratio, advantages, mask, path, weight)
    return choose_bounds(sums, path, setting.target, setting.contribution)


# Four tokens and a padded one full of garbage. c_low = 0.8, c_high = 1.2:
#   token    r     A    value: |min(rA, clip(r) A)|   gradient: r|A| where the clip leaves it
#     1     2.0    1    1.2 * 1 = 1.2                 clipped
#     2     0.5    3    0.5 * 3 = 1.5                 0.5 * 3 = 1.5
#     3     0.5   -2    0.8 * 2 = 1.6                 clipped
#     4     2.0   -1    2.0 * 1 = 2.0                 2.0 * 1 = 2.0
RATIO = torch.tensor([[2.0, 0.5, 0.5, 2.0, math.nan]])
ADVANTAGES = torch.tensor([[1.0, 3.0, -2.0, -1.0, math.inf]])
MASK = torch.tensor([[1, 1, 1, 1, 0]])
WEIGHT = torch.tensor([[0.5, 1.0, 0.25, 1.0, math.nan]])


@pytest.mark.parametrize(
    ("contribution", "weight", "expected"),
    [
        ("value", None, (1.2 + 1.5) / (1.2 + 1.5 + 1.6 + 2.0)),
        ("gradient", None, 1.5 / (1.5 + 2.0)),
        # Weights 0.5, 1, 0.25, 1: 0.5*1.2 = 0.6, 1.5, 0.25*1.6 = 0.4, 2.0.
        ("value", WEIGHT, (0.6 + 1.5) / (0.6 + 1.5 + 0.4 + 2.0)),
        ("gradient", WEIGHT, 1.5 / (1.5 + 2.0)),
    ],
)
def test_share_matches_hand_computation(contribution, weight, expected):
    path = search_path([0.8], [1.2], "high_first")
    sums = contribution_sums(RATIO, ADVANTAGES, MASK, path, weight)
    torch.testing.assert_close(positive_share(sums, path, contribution), torch.tensor([expected], dtype=torch.float64))


def test_sums_are_the_buckets_by_hand():
    path = search_path([0.8], [1.2], "high_first")
    # The buckets along the line sign(A) r: token 4 (A < 0, r > 0.8), token 3 (A < 0, r <= 0.8), none with A = 0,
    # token 2 (A > 0, r < 1.2), token 1 (A > 0, r >= 1.2). The padded token is in none.
    expected = torch.tensor(
        [
            [2.0 * 1.0, 0.5 * 2.0, 0.0, 0.5 * 3.0, 2.0 * 1.0],  # r |A|
            [1.0, 2.0, 0.0, 3.0, 1.0],  # |A|
            [1, 1, 0, 1, 1],  # tokens
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(contribution_sums(RATIO, ADVANTAGES, MASK, path), expected)


def test_search_stops_at_the_first_point_that_meets_the_target():
    # One positive token, r = 2, A = 1: P = min(2, c_high). One negative, r = 1, A = -3: N = 3 max(1, c_low) = 3. Two
    # with A = 0, which count as tokens and for nothing else.
    # rho = c_high / (c_high + 3): 1.2/4.2 = .286, 1.4/4.4 = .318, 1.6/4.6 = .348, 1.8/4.8 = .375, 2/5 = .4.
    setting = replace(PAPER, c_high=("1.2", "3.0", "0.2"))
    advantages = torch.tensor([1.0, -3.0, 0.0, 0.0])
    choice = search(torch.tensor([2.0, 1.0, 5.0, 0.1]), advantages, torch.ones(4), setting)
    assert choice.c_high.item() == 2.0
    assert choice.c_low.item() == 0.6
    assert choice.steps.item() == 4
    assert choice.rho.item() == pytest.approx(0.4)
    assert choice.rho_start.item() == pytest.approx(1.2 / 4.2)
    assert choice.target_met.item() == 1
    assert choice.positive_tokens.item() == 0.25
    assert choice.positive_clipped.item() == 1.0  # r = 2 lies on c_high = 2: no gradient there (Eq. 7: r < c_high)
    assert choice.negative_clipped.item() == 0.0


def test_gradient_share_needs_c_low_when_only_clipping_negatives_helps():
    # r < 1.2 for the positive token: c_high changes nothing. P = 0.5. Negatives r = .7 and r = 1: N = .7 + 1 = 1.7
    # until c_low >= .7 removes the first: .5/2.2 = .227, then .5/1.5 = .333 >= .3. Point 36 is c_high = b+ = 3.0; c_low
    # = 0.6 + 5 * 0.02 = 0.7 is point 36 + 5.
    setting = replace(PAPER, target=0.3, contribution="gradient")
    choice = search(
        torch.tensor([0.5, 0.7, 1.0], dtype=torch.float64), torch.tensor([1.0, -1.0, -1.0]), torch.ones(3), setting
    )
    assert (choice.c_low.item(), choice.c_high.item(), choice.steps.item()) == (0.7, 3.0, 41)
    assert choice.rho.item() == pytest.approx(0.5 / 1.5)
    assert choice.negative_clipped.item() == 0.5


def test_paper_path_has_37_and_15_points_and_ends_on_both_bounds():
    path = path_of(PAPER)
    assert len(path.high) == 37 + 15
    assert (path.c_low[-1].item(), path.c_high[-1].item()) == (0.9, 3.0)
    points = list(zip(path.low.tolist(), path.high.tolist(), strict=True))
    assert points[:2] == [(0, 0), (0, 1)] and points[36:38] == [(0, 36), (1, 36)] and points[-1] == (15, 36)
    points = [(i, j) for i, j in zip(*path_of(replace(PAPER, order="low_first"))[2:4], strict=True)]
    assert points[15:17] == [(15, 0), (15, 1)] and len(points) == 52


def test_a_step_that_does_not_divide_the_span_stops_below_the_maximum():
    assert candidates(0.6, 0.9, 0.2) == [0.6, 0.8]


@pytest.mark.parametrize("contribution", ["value", "gradient"])
@pytest.mark.parametrize("order", ["high_first", "low_first"])
@pytest.mark.parametrize("preset", PRESETS)
def test_random_batches_agree_with_the_literal_algorithm(preset, order, contribution):
    """500 batches of each of the 12 settings, with ties, one-sided and empty batches among them."""
    setting = replace(PRESETS[preset], order=order, contribution=contribution)
    rng = random.Random(f"{preset} {order} {contribution}")
    bounds = path_of(setting).c_low.tolist() + path_of(setting).c_high.tolist()
    for _ in range(500):
        size = rng.randint(1, 24)
        spread = rng.choice([0.02, 0.3, 1.0])
        ratio = [rng.choice(bounds) if rng.random() < 0.3 else math.exp(rng.gauss(0, spread)) for _ in range(size)]
        signs = rng.choice([(-1, 1), (-1, 1), (-1, 1), (-1, 0, 1), (1,), (-1,), (0,)])
        advantages = [rng.choice(signs) * rng.choice([1.0, 0.25, rng.random()]) for _ in range(size)]
        weight = [rng.choice([1.0, rng.random()]) for _ in range(size)]
        mask = [int(rng.random() < rng.choice([0.0, 0.7, 1.0])) for _ in range(size)]
        tokens = [t for t, m in zip(zip(ratio, advantages, weight, strict=True), mask, strict=True) if m]

        c_low, c_high, rho, moves = oracle.algorithm_1(tokens, setting)
        choice = search(*(torch.tensor(x, dtype=torch.float64) for x in (ratio, advantages)), torch.tensor(mask),
                        setting, torch.tensor(weight, dtype=torch.float64))  # fmt: skip
        assert (choice.c_low.item(), choice.c_high.item(), choice.steps.item()) == (c_low, c_high, moves)
        assert choice.rho.item() == pytest.approx(rho, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("advantages", "bounds", "rho"),
    [
        ([1.0, 2.0], (0.6, 1.2), 1.0),  # all positive: the target is met at the start
        ([-1.0, -2.0], (0.9, 3.0), 0.0),  # all negative: nothing helps, the path ends
        ([0.0, 0.0], (0.6, 1.2), math.nan),  # no advantage: nothing to balance
    ],
)
def test_one_sided_batches(advantages, bounds, rho):
    choice = search(torch.ones(2), torch.tensor(advantages), torch.ones(2), PAPER)
    assert (choice.c_low.item(), choice.c_high.item()) == bounds
    assert choice.rho.item() == pytest.approx(rho, nan_ok=True)


def test_an_empty_mask_leaves_the_bounds_at_their_start_and_every_share_undefined():
    garbage = torch.full((2, 3), math.nan)
    choice = search(garbage, garbage, torch.zeros(2, 3), PAPER)
    assert (choice.c_low.item(), choice.c_high.item(), choice.steps.item()) == (0.6, 1.2, 0)
    assert all(math.isnan(x) for x in choice[2:5] + choice[6:])


def random_batch(seed, shape=(8, 64), dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    old = -torch.rand(shape, generator=g) * 3
    log_prob = old + 0.4 * torch.randn(shape, generator=g)
    advantages = torch.randn(shape[0], 1, generator=g).expand(shape)
    mask = (torch.rand(shape, generator=g) < 0.8).int()
    return log_prob.to(dtype), old.to(dtype), advantages.to(dtype), mask


@pytest.mark.parametrize("seed", range(20))
def test_sums_of_any_split_add_up_to_the_sums_of_the_batch(seed):
    log_prob, old, advantages, mask = random_batch(seed)
    path = path_of(PAPER)
    ratio = probability_ratio(log_prob, old)
    whole = contribution_sums(ratio, advantages, mask, path)
    cut = 1 + seed % 7
    parts = [contribution_sums(*part, path) for part in zip(*(x.split(cut) for x in (ratio, advantages, mask)))]  # noqa: B905
    torch.testing.assert_close(sum(parts), whole, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("seed", range(20))
def test_raising_a_bound_moves_rho_as_the_readme_says(seed):
    """c_high raises rho in both readings; c_low raises it with `gradient` and can only lower it with `value`."""
    log_prob, old, advantages, mask = random_batch(seed)
    path = path_of(PAPER)
    sums = contribution_sums(probability_ratio(log_prob, old), advantages, mask, path)
    value, gradient = (positive_share(sums, path, c).diff() for c in ("value", "gradient"))
    assert (value[:36] >= -1e-12).all() and (value[36:] <= 1e-12).all()
    assert (gradient >= -1e-12).all()
    assert value[:36].max() > 0 and value[36:].min() < 0 and gradient[36:].max() > 0


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf])
def test_what_stands_in_the_padding_never_matters(garbage):
    log_prob, old, advantages, mask = random_batch(0)
    path = path_of(PAPER)
    weight = token_weight(old, mask, "rollout_prob", torch.rand_like(old))

    def sums(*tensors):
        log_prob, old, advantages, weight = (torch.where(mask.bool(), t, fill) for t, fill in tensors)
        return contribution_sums(probability_ratio(log_prob, old), advantages, mask, path, weight)

    clean = sums(*((t, 0.0) for t in (log_prob, old, advantages, weight)))
    dirty = sums(*((t, garbage) for t in (log_prob, old, advantages, weight)))
    assert torch.equal(clean, dirty)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_dtype_goes_in_and_float64_comes_out(dtype):
    log_prob, old, advantages, mask = random_batch(1, dtype=dtype)
    path = path_of(PAPER)
    ratio = probability_ratio(log_prob, old)
    sums = contribution_sums(ratio, advantages, mask, path, token_weight(old, mask, "rollout_prob"))
    assert sums.dtype == torch.float64
    # Summed in float64: 512 tokens of a half type would lose digits that the exact sum of the same ratios has.
    exact = math.fsum((ratio.double() * advantages.double().abs() * old.exp().double() * mask).flatten().tolist())
    assert sums[0].sum().item() == pytest.approx(exact, rel=1e-12)


def test_log_ratios_are_clamped_as_in_verls_losses():
    ratio = probability_ratio(torch.tensor([0.0, -500.0]), torch.tensor([-500.0, 0.0]))
    torch.testing.assert_close(ratio, torch.tensor([20.0, -20.0]).exp())


def test_token_weights_by_hand():
    old, mask = torch.tensor([math.log(0.5), math.log(0.25), math.nan]), torch.tensor([1, 1, 0])
    is_weights = torch.tensor([2.0, 4.0, 1.0])
    assert token_weight(old, mask, "uniform") is None
    assert token_weight(old, mask, "uniform", is_weights) is is_weights
    torch.testing.assert_close(token_weight(old, mask, "rollout_prob")[:2], torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(token_weight(old, mask, "rollout_prob", is_weights)[:2], torch.tensor([1.0, 1.0]))


def test_nothing_in_the_search_waits_for_the_host():
    """Tensors on torch's `meta` device have no values: whatever reads one (`.item()`, a mask as an index) raises.

    Stands in for counting CUDA syncs, which needs a GPU: see examples/benchmark.py.
    """
    path = path_of(PAPER, "meta")
    tensor = torch.ones(4, 8, device="meta")
    ratio = probability_ratio(tensor, tensor)
    sums = contribution_sums(ratio, tensor, tensor, path, token_weight(tensor, tensor, "rollout_prob"))
    choice = choose_bounds(sums, path, 0.4, "gradient")
    assert all(x.shape == () for x in choice)
    with pytest.raises(RuntimeError):
        choice.rho.item()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: search_path([0.6], [1.2], "both"), "order must be"),
        (lambda: token_weight(torch.zeros(1), torch.ones(1), "none"), "kind must be"),
        (lambda: positive_share(torch.zeros(3, 5), search_path([0.6], [1.2], "high_first"), "x"), "contribution must"),
    ],
)
def test_an_unknown_word_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("seed", range(50))
def test_tokens_between_are_those_that_one_pair_clips_and_the_other_does_not(seed):
    g = torch.Generator().manual_seed(seed)
    log_ratio, advantages = 0.4 * torch.randn(4, 8, generator=g), torch.randn(4, 8, generator=g)
    ratio, mask = log_ratio.exp(), torch.rand(4, 8, generator=g) < 0.8
    path = path_of(PAPER)
    one, other = ((path.c_low[i].item(), path.c_high[j].item()) for i, j in torch.randint(16, (2, 2), generator=g))

    def clipped(bounds):
        c_low, c_high = bounds
        return mask & torch.where(advantages > 0, ratio >= c_high, ratio <= c_low)

    sums = contribution_sums(torch.where(mask, ratio, math.nan), advantages, mask, path)
    assert tokens_between(sums, path, one, other) == (clipped(one) != clipped(other)).sum()
