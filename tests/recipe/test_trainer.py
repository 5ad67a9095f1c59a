"""recipe/experiment/trainer.py against verl's own engine: the same updates on the same answers.

Not exercised here: that vLLM samples from the same distribution as the trainer. The demo's pipeline shows it.
"""

import tempfile
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from verl.utils import tensordict_utils as tu
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import left_right_2_no_padding

from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from bapo_verl.search import Tokens
from recipe.experiment import trainer
from recipe.experiment.design import fixed
from tests.bapo_verl.engine_batch import actor_config, fsdp_engine

SETTING = dict(seed=3, steps=1, updates=4, epochs=2, versions=0, policy_loss={})


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
        yield
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def rollout():
    """32 answers of the base model to four problems, and advantages of both signs, with groups that have none."""
    run = trainer.Run(trainer.Setting(lr=0.0, prompts=4, **SETTING))
    answers, rewards = run.sample(run.sampler, run.next_problems(), 8)
    rewards[8:16] = 1.0  # a group that is all right
    groups = np.arange(32) // 8
    scores = torch.zeros_like(answers.mask)
    scores[:, 0] = rewards
    advantages, _ = trainer.compute_grpo_outcome_advantage(scores, answers.mask, groups)
    assert (advantages > 0).any() and (advantages < 0).any() and not advantages[8:16].any()
    return answers, advantages


def updated_by_verl(rollout, advantages, policy_loss, lr, updates):
    """Weights after updates of the engine that verl's registry has, on the same answers."""

    ids = torch.cat([rollout.prompts, rollout.tokens], 1)
    batch = dict(
        input_ids=ids,
        attention_mask=torch.cat([torch.ones_like(rollout.prompts), rollout.mask.long()], 1),
        position_ids=torch.arange(ids.shape[1]).expand_as(ids),
        prompts=rollout.prompts,
        responses=rollout.tokens,
        response_mask=rollout.mask.long(),
        old_log_probs=rollout.log_probs,
        advantages=advantages,
    )
    engine = fsdp_engine(trainer.BASE / "model", lr=lr, packed=False)
    actor = actor_config(BapoPolicyLossConfig(bypass_mode=True, **policy_loss))
    with engine.train_mode():
        for _ in range(updates):
            data = left_right_2_no_padding(TensorDict(batch, batch_size=[len(ids)]))
            tu.assign_non_tensor(
                data,
                use_remove_padding=False,
                use_dynamic_bsz=False,
                micro_batch_size_per_gpu=len(ids),
                global_batch_size=len(ids),
                temperature=1.0,
            )
            metrics = engine.train_batch(data, partial(ppo_loss, config=actor))["metrics"]
    weights, _ = engine.get_per_tensor_param()
    bounds = [float(metrics[f"actor/bapo/{name}"].aggregate()) for name in ("c_low", "c_high")]
    return {name: value.clone() for name, value in weights}, bounds


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy_loss", [fixed([0.8, 1.2]), {}, {"contribution": "gradient"}], ids=["fixed", "value", "gradient"]
)
def test_three_updates_are_those_of_verls_engine(world, rollout, policy_loss):
    """At a large learning rate, so that ratios leave every clip from the second update on."""
    answers, advantages = rollout
    setting = trainer.Setting(lr=3e-3, **SETTING | {"policy_loss": policy_loss})
    policy = trainer.Policy(AutoModelForCausalLM.from_pretrained(trainer.BASE / "model"), setting)
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    for _ in range(3):
        metrics = policy.update(answers, advantages)
    weights, bounds = updated_by_verl(answers, advantages, policy_loss, 3e-3, updates=3)
    # As vectors: Adam divides by the gradient's size, so where a gradient is rounding alone its step is arbitrary.
    moved = torch.cat([(value - before[name]).flatten() for name, value in policy.model.state_dict().items()])
    difference = torch.cat([(value - weights[name]).flatten() for name, value in policy.model.state_dict().items()])
    assert difference.norm() < 1e-2 * moved.norm()
    assert_close([metrics["actor/bapo/c_low"], metrics["actor/bapo/c_high"]], bounds)
    assert metrics["actor/pg_clipfrac"] > 0.01
    assert metrics["unlike_grpo"] == (policy_loss != fixed([0.8, 1.2]))


def test_bounds_clip_unlike_others_where_a_token_lies_between():
    """A positive token at 1.25 is clipped by 1.2 and not by 1.3; a negative one there is clipped by neither."""
    ratio, nothing, mask = torch.tensor([[1.25, 0.7]]), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    one, other = trainer.Bounds(0.8, 1.2), trainer.Bounds(0.8, 1.3)

    def unlike(advantages, mask=mask):
        return trainer.clips_unlike(Tokens(ratio, nothing, nothing, torch.tensor([advantages]), mask, None), one, other)

    assert unlike([1.0, -1.0])
    assert not unlike([-1.0, -1.0])
    assert not unlike([1.0, -1.0], torch.tensor([[False, True]]))


def test_an_evaluation_repeats_itself_and_leaves_the_training_alone():
    def first_step(evaluations):
        run = trainer.Run(trainer.Setting(lr=1e-3, prompts=2, **SETTING))
        found = [run.evaluate() for _ in range(evaluations)]
        assert all(one == found[0] for one in found)
        return run.step()

    assert first_step(0) == first_step(2)


def test_no_problem_of_the_evaluation_is_trained_on():
    assert len(trainer.HELD_OUT) == 20 and len(trainer.TRAINING) == 80
    assert not set(trainer.HELD_OUT) & set(trainer.TRAINING)
