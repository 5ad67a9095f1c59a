"""bapo_verl.diagnosis against hand-computed values, numpy and a vocabulary small enough to differentiate.

What this file does not exercise: the reduction over ranks (test_engine.py).
"""

import math

import numpy as np
import pytest
import torch

from bapo_verl.clipping import bucket_of, candidates, choose_bounds, contribution_sums, probability_ratio, search_path
from bapo_verl.diagnosis import diagnose, diagnosis_sums, ratio_histogram, ratio_quantile

FIXED = search_path([0.8], [1.2], "high_first")


def diagnosis(log_prob, old, advantages, mask, path=FIXED, is_weights=None, target=0.4):
    mask = mask.bool()
    log_prob, old, advantages = log_prob[mask], old[mask], advantages[mask]
    answers = (1 / mask.sum(-1, keepdim=True)).expand(mask.shape)[mask]
    is_weights = None if is_weights is None else is_weights[mask]
    ratio = probability_ratio(log_prob, old)
    sums = contribution_sums(ratio, advantages, path, is_weights)
    more = diagnosis_sums(log_prob, ratio, advantages, answers, bucket_of(ratio, advantages, path), path, is_weights)
    return diagnose(sums, more, path, choose_bounds(sums, path, target, "value"))


# Three answers of 3, 1 and 2 tokens with garbage behind them, A = 1, -1 and 0, bounds (0.8, 1.2):
#   answer  A    r         pi      unclipped
#     1     1   .5 1 2   .1 .4 .8   r < 1.2: the first two
#     2    -1   .5       .2         r > 0.8: none
#     3     0   1 1      .3 .6      X A = 0 either way
NAN = math.nan
PI = torch.tensor([[0.1, 0.4, 0.8], [0.2, NAN, NAN], [0.3, 0.6, NAN]])
R = torch.tensor([[0.5, 1.0, 2.0], [0.5, NAN, NAN], [1.0, 1.0, NAN]])
LOG_PROB, OLD = PI.log(), PI.log() - R.log()
ADVANTAGES = torch.tensor([[1.0, 1.0, 1.0], [-1.0, NAN, NAN], [0.0, 0.0, NAN]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]])


def test_shares_lengths_and_quantiles_by_hand():
    got = diagnosis(LOG_PROB, OLD, ADVANTAGES, MASK)
    assert got.negative_tokens == pytest.approx(1 / 6)
    assert got.positive_tokens == pytest.approx(3 / 6)
    assert got.positive_clipped == pytest.approx(1 / 3)  # r = 2
    assert got.negative_clipped == 1.0
    assert got.positive_length == pytest.approx(3)
    assert got.negative_length == pytest.approx(1)
    # r sorted: .5 .5 1 1 1 2.
    assert got.ratio_p01 == pytest.approx(0.5, rel=5e-3)
    assert got.ratio_p50 == 1.0
    assert got.ratio_p99 == pytest.approx(2.0, rel=5e-3)
    assert got.ratio_max == pytest.approx(2.0, rel=5e-3)


@pytest.mark.parametrize("is_weights", [None, torch.full((3, 3), 2.0)])
def test_entropy_change_by_hand(is_weights):
    """Each token counts r times; a common importance weight cancels in a mean."""
    r = np.array([0.5, 1.0, 2.0, 0.5, 1.0, 1.0])
    log_pi = np.log([0.1, 0.4, 0.8, 0.2, 0.3, 0.6])
    a_x = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    covariance = np.average(log_pi * a_x, weights=r) - np.average(log_pi, weights=r) * np.average(a_x, weights=r)
    got = diagnosis(LOG_PROB, OLD, ADVANTAGES, MASK, is_weights=is_weights)
    assert got.entropy_change == pytest.approx(-covariance, rel=1e-6)
    assert got.log_prob == pytest.approx(np.average(log_pi, weights=r), rel=1e-6)
    # Clipped: r = 2 with log .8 and r = .5 with log .2.
    assert got.clipped_log_prob == pytest.approx((2 * np.log(0.8) + 0.5 * np.log(0.2)) / 2.5, rel=1e-6)
    # The positive tokens left alone are the improbable ones, -2.3 and -0.9 against a mean of -1: entropy rises.
    assert got.entropy_change > 0


def test_entropy_change_counts_only_what_the_chosen_bounds_leave_alone():
    """At the bounds that the search found, not at its start: c_high moves to 2.4 and frees the token with r = 2."""
    moving = search_path(candidates(0.6, 0.6, 0.0), candidates(1.2, 2.4, 1.2), "high_first")
    got = diagnosis(LOG_PROB, OLD, ADVANTAGES, MASK, moving, target=0.9)
    free = diagnosis(LOG_PROB, OLD, ADVANTAGES, MASK, search_path([0.6], [2.4], "high_first"))
    assert got.entropy_change == pytest.approx(free.entropy_change)
    assert got.entropy_change < 0  # the probable positive token counts now


def test_entropy_change_is_the_derivative_of_entropy():
    """One softmax over five tokens, as in the rule's derivation: the logits move by eta A, dH/d eta = -Cov[log pi, A].

    The left side is differentiated by autograd; the right side is ours.
    """
    logits = torch.tensor([0.3, -1.0, 2.0, 0.0, 0.7], dtype=torch.float64)
    advantage = torch.tensor([1.0, -1.0, 0.5, 0.0, -2.0], dtype=torch.float64)
    eta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    pi = (logits + eta * advantage).softmax(0)
    (derivative,) = torch.autograd.grad(-(pi * pi.log()).sum(), eta)

    # Drawn uniformly, so that r = pi / (1/5) turns the sample into one of pi. r up to 3.5: nothing may be clipped.
    log_prob = logits.log_softmax(0)[None]
    wide = search_path([1e-6], [1e6], "high_first", clip_ratio_c=1e6)
    old = torch.full_like(log_prob, math.log(1 / 5))
    got = diagnosis(log_prob, old, advantage[None], torch.ones(1, 5), wide)
    assert got.entropy_change == pytest.approx(derivative.item(), rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_quantiles_agree_with_numpy_to_half_a_percent(seed):
    ratio = (torch.randn(1000, generator=torch.Generator().manual_seed(seed)) * 0.3).exp()
    for q in (0.01, 0.5, 0.99, 1.0):
        expected = np.quantile(ratio.numpy(), q, method="inverted_cdf")
        assert ratio_quantile(ratio_histogram(ratio), q) == pytest.approx(expected, rel=5.1e-3)


def test_ratios_beyond_verls_clamp_are_counted_at_its_ends():
    histogram = ratio_histogram(probability_ratio(torch.tensor([-500.0, 500.0]), torch.zeros(2)))
    assert ratio_quantile(histogram, 0.5) == pytest.approx(math.exp(-20))
    assert ratio_quantile(histogram, 1.0) == pytest.approx(math.exp(20))


def test_a_token_of_dual_clip_is_not_free():
    """r = 4 with A = -1: its loss does not move, so that no gradient and no change of entropy comes from it."""
    pi, r = torch.tensor([[0.5, 0.25]]), torch.tensor([[1.0, 4.0]])
    got = diagnosis(pi.log(), (pi / r).log(), torch.tensor([[-1.0, -1.0]]), torch.ones(1, 2))
    # Weights r: mean of log pi (1 log .5 + 4 log .25) / 5, of A X (1 * -1 + 4 * 0) / 5, of their product -log .5 / 5.
    mean = (math.log(0.5) + 4 * math.log(0.25)) / 5
    assert got.entropy_change == pytest.approx(-(-math.log(0.5) / 5 - mean * -1 / 5))
    assert got.clipped_log_prob == pytest.approx(math.log(0.25))
    assert got.negative_clipped == 0.0  # by c_low


def test_nothing_is_undefined_but_what_has_no_token():
    nothing = torch.zeros_like(MASK)
    assert all(math.isnan(value) for value in diagnosis(LOG_PROB, OLD, ADVANTAGES, nothing))
    positive = diagnosis(LOG_PROB, OLD, ADVANTAGES.abs(), MASK)._asdict()
    assert [name for name, value in positive.items() if math.isnan(value)] == ["negative_clipped", "negative_length"]


def test_an_answer_split_between_signs_counts_as_a_part_of_each():
    """Advantages of single tokens (GAE): 1 of 3 tokens positive, so a third of a positive answer of 3 tokens."""
    one = torch.ones(1, 3)
    got = diagnosis(one.log(), one.log(), torch.tensor([[1.0, -1.0, -1.0]]), one)
    assert got.positive_length == pytest.approx(3) and got.negative_length == pytest.approx(3)
