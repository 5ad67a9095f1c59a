"""BAPO in verl's FSDP2 engine on the device: bounds, redo, gradient, entropy, values that are not finite, and the cost.

The whole batch's bounds over several ranks are in test_engine.py, on the CPU. What this file does not exercise: more
than one GPU, flash-attn, CUDA graphs, offload, Megatron.
"""

import math

import pytest

from tests.bapo_verl.engine_batch import assert_algorithm_1

pytestmark = pytest.mark.slow
LAST_STEP = 51  # of the default path


@pytest.fixture(scope="module")
def bounds(case):
    return case("bounds")


def test_the_bounds_are_those_of_algorithm_1_for_what_the_loss_received(bounds, status):
    """Whatever the precision: the oracle has the (r, A) of the tokens as the loss had them."""
    updates = [*bounds["searched"], *bounds["recomputed"]]
    for update in updates:
        assert_algorithm_1(update["received"], update["metrics"])
    # A fair case: the search does not end at one place for all.
    assert len({update["metrics"]["actor/bapo/c_high"] for update in updates}) > 1
    status("bounds, against Algorithm 1 token by token", f"equal in {len(updates)} updates")


def test_an_update_runs_twice_where_the_prediction_was_wrong(bounds, status):
    """Once more, without a gradient, where the update before stopped inside its path."""
    updates, searches = [*bounds["searched"], *bounds["recomputed"]], bounds["setting"]["updates"]
    redone = [update["metrics"]["actor/bapo/redone"] for update in updates]
    for number, update in enumerate(updates):
        inside = number % searches and 0 < updates[number - 1]["metrics"]["actor/bapo/steps"] < LAST_STEP
        assert update["forwards"] == update["micro_batches"] * (1 + redone[number] + bool(inside))
    assert redone[0] == 1  # r is spread around 1
    assert redone[searches] == 0  # old_log_probs recomputed just before: r is 1 up to rounding
    assert bounds["recomputed"][0]["metrics"]["actor/bapo/ratio_max"] == pytest.approx(1, abs=0.1)
    status("redo", f"in {sum(redone):.0f} of {len(redone)} updates, none at r = 1")


def test_the_gradient_is_that_of_the_chosen_bounds(bounds, status):
    """The same three updates with the bounds given: the same gradient, whether the search ran twice or not."""
    norms = [[update["metrics"]["grad_norm"] for update in bounds[name]] for name in ("searched", "fixed")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)  # bf16, and a backward that adds up in any order
    assert [u["forwards"] for u in bounds["fixed"]] == [u["micro_batches"] for u in bounds["fixed"]]
    difference = max(abs(a / b - 1) for a, b in zip(*norms, strict=True))
    status("gradient norm, against the same bounds given", f"differs by {difference:.1e} at most")


def test_the_entropy_is_logged(bounds, status):
    """An untrained model is nearly uniform over its tokens."""
    vocabulary, updates = bounds["setting"]["vocabulary"], bounds["setting"]["updates"]
    entropies = [update["metrics"]["actor/entropy_loss"] for update in bounds["searched"]]
    assert entropies == [pytest.approx(math.log(vocabulary), rel=0.03)] * updates
    uniform = f"ln {vocabulary} = {math.log(vocabulary):.3f}"
    status("entropy", f"{entropies[0]:.3f}, where an untrained model has about {uniform}")


def test_values_that_are_not_finite_do_what_they_do_with_verls_loss(case, status):
    """Where verl skips the update with a gradient norm that is not finite BAPO skips it, and nothing raises."""
    results = case("not_finite")
    skipped = 0
    for (place, value, mode), update in results.items():
        if mode == "vanilla":
            bapo = results[place, value, "bapo"]
            assert bapo["moved"] == update["moved"] == math.isfinite(update["grad_norm"]), (place, value)
            assert math.isfinite(bapo["grad_norm"]) == math.isfinite(update["grad_norm"]), (place, value)
            skipped += not update["moved"]
    assert skipped
    status("nan and infinity in log-probs", f"as verl's vanilla loss: {skipped} of {len(results) // 2} updates skipped")


def test_what_an_update_costs(case, status):
    """A measurement, without a limit."""
    found = case("benchmark")
    ratio = found["seconds"]["bapo"] / found["seconds"]["vanilla"]
    memory = found["peak"]["bapo"] / found["peak"]["vanilla"]
    size = f"{found['parameters'] / 1e6:.0f}M parameters, {found['tokens']:,} tokens"
    status(
        f"an update of {size}",
        f"{ratio:.3f} times vanilla ({found['seconds']['vanilla']:.2f} s), {found['redone']:.0%} redone, peak memory "
        f"{memory:.3f} times ({found['peak']['vanilla'] / 1e9:.1f} GB)",
    )
