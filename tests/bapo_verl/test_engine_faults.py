"""What bapo_verl.engine does with numbers that are not finite, and with dropout: what stock verl does.

Real processes: verl's FSDP engine, a tiny Qwen2, gloo. `run` of engine_runs.py checks that all ranks log the same.
"""

import math

import pytest

from bapo_verl.diagnosis import METRICS
from tests.bapo_verl.engine_batch import save_tiny_model
from tests.bapo_verl.engine_runs import run

pytestmark = pytest.mark.slow
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


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
