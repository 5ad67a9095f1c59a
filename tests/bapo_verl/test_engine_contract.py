"""bapo_verl.engine against verl's contract for an engine, where the engine itself cannot run here.

The engine is a double. It stands for what a training engine of verl may do beyond FSDP's: pipeline stages, of which
only the last one calls the loss and the others return {}; ranks that hold the same sequences (tensor parallelism); a
list of modules, and one of them with an attribute `buffers` that is not torch's (Megatron); no data-parallel group
(TorchTitan without a data-parallel mesh); gradients that stay until `optimizer_zero_grad`; a buffer that each forward
moves. It is not TorchTitan: verl 0.9.1's TorchTitan engine has not run with BAPO. The processes and collectives are
real, over gloo: two replicas of two stages.
"""

import os
import tempfile
from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.distributed as dist
from verl.utils import tensordict_utils as tu
from verl.workers.engine import BaseEngine, EngineRegistry
from verl.workers.engine.utils import postprocess_batch_func, prepare_micro_batches

from bapo_verl.engine import BapoEngineMixin, register_engines, with_bapo
from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from tests.bapo_verl.engine_batch import (
    SEQUENCES,
    TARGET,
    VOCABULARY,
    actor_config,
    assert_algorithm_1,
    rank_data,
    recording_loss,
)
from tests.bapo_verl.ranks import run_ranks

WORLD, STAGES, MICRO = 4, 2, 4


class Stage(torch.nn.Module):
    """A table of logits, one for each token, as the whole model."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(2)
        self.logits = torch.nn.Parameter(0.3 * torch.randn(VOCABULARY, generator=g))
        self.register_buffer("forwards", torch.zeros(1))

    def forward(self, input_ids):
        self.forwards.add_(1)
        log_probs = self.logits.log_softmax(0)[input_ids.values().roll(-1)]
        return torch.nested.nested_tensor_from_jagged(log_probs, input_ids.offsets())


class Double(BaseEngine):
    def __init__(self, data_parallel_group=None):
        self.data_parallel_group = data_parallel_group
        self.module = [Stage()]
        self.module[0].buffers = ["not torch's"]
        self.calls = []
        self.error = 0.0  # of the log-probs of a forward alone, as where dropout is off in eval mode

    def is_last_stage(self):
        return dist.get_rank() % STAGES == STAGES - 1

    def is_mp_src_rank_with_outputs(self):
        return dist.get_rank() == STAGES - 1  # of the two last stages, the first

    def get_data_parallel_group(self):
        return self.data_parallel_group

    def optimizer_zero_grad(self):
        self.calls.append("zero_grad")
        self.module[0].logits.grad = None

    def optimizer_step(self):
        self.calls.append("step")
        return 0.0

    def eval_mode(self, **kwargs):
        return nullcontext()

    def forward_backward_batch(self, data, loss_function, forward_only=False):
        self.calls.append("forward" if forward_only else "forward_backward")
        tu.assign_non_tensor(data, batch_num_tokens=data["loss_mask"].sum().item(), dp_size=1)
        micro_batches, indices = prepare_micro_batches(data, dp_group=None)
        outputs = []
        for micro_batch in micro_batches:
            log_probs = self.module[0](micro_batch["input_ids"])
            log_probs = log_probs + self.error * forward_only
            if self.is_last_stage():
                loss, metrics = loss_function(model_output={"log_probs": log_probs}, data=micro_batch, dp_group=None)
                forward_only or loss.backward()
                outputs.append({"loss": loss.item(), "metrics": metrics})
        return postprocess_batch_func(outputs, indices, data) if self.is_last_stage() else {}


def update(rank, out, config, stopped_inside, error):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(WORLD))
    dist.init_process_group("gloo", init_method=f"file://{out}/init", rank=rank, world_size=WORLD)
    data = rank_data(0, 1, SEQUENCES // MICRO, dynamic=False, packed=False, tokens=0, flags={})
    last_stages = dist.new_group(range(STAGES - 1, WORLD, STAGES))
    engine = with_bapo(Double)(last_stages if config.get("search_scope") == "micro_batch" else None)
    engine.stopped_inside, engine.error = stopped_inside, error
    received = []
    loss = partial(recording_loss, received, config=actor_config(BapoPolicyLossConfig(**config)))
    output = engine.train_batch(data, loss)
    metrics = {key: float(value.aggregate()) for key, value in output.get("metrics", {}).items() if "bapo" in key}
    stage = engine.module[0]
    found = [output != {}, metrics, engine.calls, stage.logits.grad, stage.forwards.item(), received[-MICRO:]]
    torch.save(found, f"{out}/{rank}")
    dist.destroy_process_group()


def run(stopped_inside=False, error=0.0, **config):
    with tempfile.TemporaryDirectory() as tmp:
        return run_ranks(update, WORLD, tmp, (tmp, config, stopped_inside, error), limit=60)


RUN_ONCE = ["zero_grad", "forward_backward"]


@pytest.mark.parametrize(
    ("stopped_inside", "error", "before"),
    [
        (False, 0.0, RUN_ONCE),
        (True, 0.0, ["zero_grad", "forward"]),
        (True, -3.0, ["zero_grad", "forward", *RUN_ONCE]),
    ],
    ids=["redo", "forward first", "forward first that predicts wrongly"],
)
def test_stages_without_a_loss_run_as_often_as_the_others(stopped_inside, error, before):
    """All four ranks run twice, those that see no loss too, and what is left is one update with the exact bounds."""
    ranks = run(stopped_inside, error, target_contribution=TARGET)
    assert [calls for _, _, calls, *_ in ranks] == [before + RUN_ONCE + ["step"]] * WORLD
    assert [has_output for has_output, *_ in ranks] == [False, True] * 2
    c_low, c_high = (ranks[STAGES - 1][1][f"actor/bapo/{bound}"] for bound in ("c_low", "c_high"))
    fixed = dict(c_low_start=c_low, c_low_max=c_low, c_high_start=c_high, c_high_max=c_high)
    for (_, metrics, _, gradient, forwards, received), once in zip(ranks, run(**fixed), strict=True):
        assert once[2] == RUN_ONCE + ["step"]
        assert forwards == once[4] == MICRO
        if not metrics:
            assert gradient is None
            continue
        torch.testing.assert_close(gradient, once[3], rtol=0, atol=0)
        assert_algorithm_1(received, metrics)
        assert metrics["actor/bapo/steps"] > 0  # what is predicted, at r = 1, is the first point of the path
        assert metrics["actor/bapo/redone"] == (RUN_ONCE[-1] in before)


def test_the_search_of_each_forward_is_over_the_data_parallel_group():
    """Over all ranks it would hang, because the first stages have no loss."""
    ranks = run(search_scope="micro_batch")
    assert [bool(metrics) for _, metrics, *_ in ranks] == [False, True] * 2
    assert ranks[1][1] == ranks[3][1]


def test_the_vendor_that_the_environment_names_has_the_mixin(monkeypatch):
    monkeypatch.setenv("VERL_ENGINE_VENDOR", "another")
    register_engines()
    assert issubclass(EngineRegistry.get_engine_cls("language_model", "fsdp2"), BapoEngineMixin)
