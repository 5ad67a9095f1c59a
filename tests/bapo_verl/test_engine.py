"""bapo_verl.engine in real processes: verl's FSDP engine, a tiny Qwen2, gloo, 1, 2 and 4 ranks.

The bounds of an update must depend on the optimizer batch alone: not on how many ranks share it, how it is cut into
micro-batches, or whether it is packed. With numbers that are not finite an engine does what stock verl does. What this
file does not exercise: CUDA, bf16 (tests/gpu), Ray (tests/pipeline). `run` of engine_runs.py checks that all ranks log
the same.
"""

import math

import pytest
import torch.multiprocessing as mp

from bapo_verl.diagnosis import METRICS
from tests.bapo_verl.engine_batch import SUMS, UPDATES, VOCABULARY
from tests.bapo_verl.engine_runs import assert_same_bounds, run

pytestmark = pytest.mark.slow
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def reference(model):
    return run(model, micro=16)


def test_the_reference_searches_anew_at_every_update(reference):
    """The case is a fair one: the search acts, stops inside the path, and every update moves the ratios."""
    assert 0 < reference[1]["actor/bapo/steps"] < reference[0]["actor/bapo/steps"] < 36
    assert len({update["actor/bapo/rho_start"] for update in reference}) == UPDATES


@pytest.mark.parametrize(
    "setting",
    [
        dict(micro=1),
        dict(packed=False),
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
    assert [update["maxima"] for update in parts] == [["actor/bapo/ratio_max"]] * UPDATES
    assert parts[0]["actor/bapo/ratio_max"] == pytest.approx(whole[0]["actor/bapo/ratio_max"], abs=0.03)
    assert parts[0]["actor/bapo/rho_start"] != pytest.approx(whole[0]["actor/bapo/rho_start"], abs=1e-3)


@pytest.mark.parametrize(
    "setting",
    [
        {},
        dict(recompute=True),
        dict(recompute=True, restored=True),  # other weights since old_log_probs
        dict(policy_loss=dict(contribution="gradient")),
        dict(lora=4),
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
        assert update["forwards"] == update["micro_batches"] * (1 + update["actor/bapo/redone"]) + update["alone"]
        assert update["seen"] == update["micro_batches"]  # buffers that a forward moves have moved once
        assert update["maxima"] == ["actor/bapo/ratio_max"]
    assert [(update["actor/bapo/redone"], update["alone"]) for update in reference] == [(1, 0), (0, 1), (0, 1)]
    ended = run(model, policy_loss=dict(c_low_max=0.6, c_high_max=1.25))  # two points, and neither is inside
    assert ended[0]["actor/bapo/steps"] == 1 and not any(update["alone"] for update in ended)
    assert recomputed[0]["actor/bapo/redone"] == 0 and recomputed[0]["actor/bapo/ratio_max"] == 1


@pytest.mark.parametrize("setting", [{}, dict(strategy="fsdp", packed=False), dict(world=2), dict(world=4)], ids=str)
def test_a_forward_without_gradient_changes_how_often_an_update_runs_and_nothing_else(model, setting):
    without, first = (run(model, hint=hint, dynamic=True, **setting) for hint in (False, True))
    assert [update.pop("actor/bapo/redone") for update in without] == [1, 1, 0]
    assert [update.pop("actor/bapo/redone") for update in first] == [0, 0, 0]
    for one, other in zip(without, first, strict=True):
        assert (one.pop("alone"), other.pop("alone")) == (0, other["micro_batches"])
        one.pop("forwards"), other.pop("forwards")
        assert one == other  # bounds, metrics and the gradient's norm to the bit


@pytest.mark.used_by("bapo_verl/entropy.py")
def test_the_entropy_curve_is_there_where_verls_trainer_logs_none(model, reference):
    """With bypass_mode the update computes it where calculate_entropy asks for it, as stock verl does.

    It makes a graph over the vocabulary only for a coefficient. In padded batches verl makes one anyway; it is dropped
    before the backward.
    """
    bypass, asked = dict(bypass_mode=True), dict(calculate_entropy=True)
    history = run(model, policy_loss=bypass, flags=asked)
    # An untrained model is nearly uniform over its 64 tokens.
    assert [update["actor/entropy"] for update in history] == [pytest.approx(math.log(VOCABULARY), rel=0.02)] * UPDATES
    padded = run(model, policy_loss=bypass, packed=False, flags=asked)
    bonus = run(model, policy_loss=bypass, entropy_coeff=0.01, flags=asked)
    assert [update["entropy_graphs"] for update in history] == [0] * UPDATES
    with_gradient = [[update["forwards"] - update["alone"] for update in updates] for updates in (padded, bonus)]
    assert [update["entropy_graphs"] for update in padded] == with_gradient[0]
    assert [update["entropy_walks"] for update in history + padded] == [0] * UPDATES * 2
    assert [update["entropy_walks"] for update in bonus] == with_gradient[1]
    scope = dict(search_scope="micro_batch")
    for update in run(model, world=2, policy_loss=bypass | scope, agg="seq-mean-token-mean", flags=asked):
        assert update["actor/entropy"] == update["actor/entropy_loss"] and update["entropy_walks"] == 0
    # Not asked for it costs nothing: one tensor more of tokens times vocabulary.
    assert not any("actor/entropy" in update or update["entropy_graphs"] for update in reference)
    trainers = run(model, flags=asked)  # pi_old is the denominator of r
    assert not any("actor/entropy" in update for update in trainers)
    assert [update["actor/bapo/bypass_mode"] for update in history + trainers] == [1] * UPDATES + [0] * UPDATES


def test_bounds_under_distillation(model, reference):
    """verl's top-k distillation, whose loss function the engine also calls with logits, has the same bounds."""
    first = run(model, distill="topk", micro=16)[0]
    del first["grad_norm"]  # the teacher moves the weights elsewhere
    assert_same_bounds([first], [{name: reference[0][name] for name in first}])
    # verl calls no policy loss
    for update in run(model, distill="topk alone", flags=dict(distillation_only=True)):
        assert update["forwards"] == update["micro_batches"] and "actor/bapo/rho" not in update


def test_a_loss_that_distillation_drops_is_not_computed_twice(model, reference):
    """verl's policy-gradient distillation without task rewards calls the policy loss, and trains on its own alone."""
    first = run(model, distill="policy gradient alone", micro=16)[0]
    assert reference[0]["actor/bapo/redone"] == 1
    assert (first["forwards"], first["actor/bapo/redone"]) == (1, 0)
    assert first["actor/bapo/rho"] == pytest.approx(reference[0]["actor/bapo/rho"], abs=1e-4)


def test_ulysses_ranks_agree(model):
    """Two groups of two ranks that share a sequence: all four choose the same bounds, without a deadlock.

    A micro-batch may be twice as long as a rank's share: 24 tokens, where the longest sequence has 22.

    The log-probabilities themselves are not verl's here: its Ulysses attention is a patch of flash-attn, which needs
    CUDA; with sdpa each rank attends to its own part of a sequence only. So this is not compared with the reference.
    """
    history = run(model, world=4, sp=2, dynamic=True, tokens=12)
    assert len({update["actor/bapo/rho_start"] for update in history}) == UPDATES


@pytest.mark.used_by("bapo_verl/engine.py")
def test_gradients_of_several_calls_are_refused(model):
    with pytest.raises(mp.ProcessRaisedException, match="an optimizer batch, which is one train_batch call"):
        run(model, flags=dict(return_model_output=True))


def test_with_another_loss_the_engine_does_what_verls_does(model):
    history = run(model, stock=True)
    assert [(update["micro_batches"], update["forwards"]) for update in history] == [(8, 8)] * UPDATES
    assert not any(name.startswith("actor/bapo/") for update in history for name in update)


@pytest.mark.parametrize(
    ("setting", "is_trained", "scope"),
    [
        (dict(spoil=True, value=NAN), False, "mini_batch"),
        (dict(spoil=True, value=NAN), False, "micro_batch"),
        (dict(spoil=True, value=INF), True, "mini_batch"),  # verl clamps the log-ratio: r is e^20
        (dict(spoil=True, value=-INF), True, "micro_batch"),
        (dict(spoil_data="old_log_probs", value=NAN), True, "mini_batch"),  # no gradient from this token in verl's loss
        (dict(spoil_data="old_log_probs", value=-INF), True, "micro_batch"),
        (dict(spoil_data="advantages", value=NAN), False, "mini_batch"),
    ],
    ids=str,
)
def test_a_number_that_is_not_finite_on_one_rank(model, setting, is_trained, scope):
    """The update is skipped where stock verl skips it and made where stock verl makes it, and no rank hangs."""
    stock = run(model, world=2, stock=True, **setting)
    got = run(model, world=2, policy_loss=dict(search_scope=scope), **setting)
    for update in stock + got:
        assert update["moved"] == math.isfinite(update["grad_norm"]) == is_trained
    for update in got:
        assert {"actor/bapo/rho", "actor/bapo/c_high", "actor/bapo/ratio_max"} <= update.keys()
        assert all(math.isfinite(value) for name, value in update.items() if name in METRICS)
        runs = 1 + update.get("actor/bapo/redone", 0)
        assert update["forwards"] == update["micro_batches"] * runs + update["alone"]


@pytest.mark.parametrize("world", [1, 2])
def test_dropout_drops_the_same_in_a_redo(model, world):
    """So an update has the gradient of one run with its exact bounds, and leaves the random state of one run behind."""
    dropped = run(model, world=world, dropout=0.3)
    assert any(update["actor/bapo/redone"] for update in dropped)
    bounds = [(update["actor/bapo/c_low"], update["actor/bapo/c_high"]) for update in dropped]
    for one, other in zip(run(model, world=world, dropout=0.3, fixed=bounds), dropped, strict=True):
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)
    assert dropped[0]["grad_norm"] != pytest.approx(run(model, world=world)[0]["grad_norm"], rel=1e-2)
