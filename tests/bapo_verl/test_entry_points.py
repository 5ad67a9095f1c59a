"""verl's other entry points: one_step_off_policy and fully_async_policy of verl.experimental.

What runs here is verl's own code from composition to the updated weights: the mains compose, the trainers are made and
walk through their steps from the rewards on, and their batches, padded to a rectangle, reach their own worker with
BAPO's engine, in gloo processes of one and two ranks. What does not run: Ray, vLLM, and the transfer of weights between
two pools of GPUs, for which verl wants NCCL.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import verl
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from verl.experimental.fully_async_policy.fully_async_trainer import FullyAsyncTrainer
from verl.experimental.one_step_off_policy.ray_trainer import OneStepOffRayTrainer
from verl.experimental.separation.engine_workers import DetachActorWorker
from verl.experimental.separation.utils import create_resource_pool_manager, create_role_worker_mapping
from verl.protocol import DataProto
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass

from tests.bapo_verl.engine_batch import SEQUENCES, UPDATES, VOCABULARY, save_tiny_model
from tests.bapo_verl.engine_runs import allow_fsdp1_on_cpu
from tests.bapo_verl.ranks import run_ranks

pytestmark = pytest.mark.slow

KEY = "actor_rollout_ref.actor.policy_loss"
STOCK = "hydra.searchpath=[pkg://verl.trainer.config]"
MAINS = {"one_step_off": "one_step_off_policy.main_ppo", "fully_async": "fully_async_policy.fully_async_main"}
CONFIGS = {"one_step_off": "one_step_off_ppo_trainer", "fully_async": "fully_async_ppo_trainer"}
PROMPT, RESPONSE = 5, 20
TIME_LIMIT = 120
METRICS = ("actor/bapo/", "actor/entropy", "actor/pg_loss", "actor/grad_norm")


# --------------------------------------------------------------------------------------------------------------------
# Composition
# --------------------------------------------------------------------------------------------------------------------


def command(entry, cwd, *arguments):
    """The user's command in a directory of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    line = [sys.executable, "-m", f"verl.experimental.{MAINS[entry]}", *arguments]
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("entry", MAINS)
def test_the_flag_composes_and_a_wrong_value_ends_the_command_on_the_driver(entry, tmp_path):
    """Neither of the mains calls verl's validate_config."""
    done = command(entry, tmp_path, "+algorithm=bapo", STOCK, f"{KEY}.target_contribution=1.5")
    assert done.returncode == 1 and f"{KEY}.target_contribution must be in (0, 1), got 1.5" in done.stderr
    assert "ray init kwargs" not in done.stdout and "Started a local Ray instance" not in done.stderr


@pytest.mark.used_by("bapo_verl/docs/entry_points.md")
def test_one_step_off_policy_itself_composes_only_where_verls_source_is(tmp_path):
    """Why the test above, and README, name the search path. When this fails, verl's YAML has it and they need not."""
    show = "--cfg", "job", "-p", KEY
    done = command("one_step_off", tmp_path, *show)
    assert done.returncode != 0 and "path=file://verl/trainer/config" in done.stderr
    assert command("one_step_off", Path(verl.__file__).parents[1], *show).returncode == 0


# --------------------------------------------------------------------------------------------------------------------
# Trainers and their worker
# --------------------------------------------------------------------------------------------------------------------


def composed(entry: str, model: str, *overrides: str) -> DictConfig:
    """The entry point's config, resolved as its task runner does first."""
    directory = Path(verl.__file__).parent / "experimental" / f"{entry}_policy" / "config"
    settings = [
        "+platform=cpu",
        f"actor_rollout_ref.model.path={model}",
        "+actor_rollout_ref.model.load_tokenizer=False",
        "actor_rollout_ref.hybrid_engine=False",  # verl's trainers here ask for it
        "actor_rollout_ref.rollout.checkpoint_engine.backend=naive",  # their nccl is for GPUs
        "actor_rollout_ref.rollout.n=2",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",  # 8 prompts, 16 answers: one update for a step
        "actor_rollout_ref.actor.use_dynamic_bsz=True",
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=80",
        "actor_rollout_ref.actor.optim.lr=0.001",
        "actor_rollout_ref.actor.optim.total_training_steps=3",
        "data.train_batch_size=8",
        "algorithm.adv_estimator=grpo",
        "algorithm.norm_adv_by_std_in_grpo=False",
        "trainer.balance_batch=False",
        f"{KEY}.target_contribution=0.285",  # a share that this batch can reach, with c_high inside its range
    ]
    with initialize_config_dir(str(directory), version_base=None):
        config = compose(CONFIGS[entry], overrides=[STOCK, "+algorithm=bapo", *settings, *overrides])
    OmegaConf.resolve(config)
    return config


def make_trainer(entry: str, config: DictConfig):
    """verl's trainer. FullyAsyncTrainer is a Ray actor: this is the class inside."""
    mapping, group = create_role_worker_mapping(config)
    arguments = dict(
        config=config,
        tokenizer=None,
        role_worker_mapping=mapping,
        resource_pool_manager=create_resource_pool_manager(config, list(mapping)),
        ray_worker_group_cls=group,
        device_name="cpu",
    )
    if entry == "fully_async":
        return FullyAsyncTrainer.__ray_metadata__.modified_class(**arguments)
    prompts = [{}] * SEQUENCES
    return OneStepOffRayTrainer(
        **arguments, train_dataset=prompts, val_dataset=prompts, train_sampler=range(SEQUENCES), collate_fn=list
    )


def rollout_batch() -> DataProto:
    """What verl's agent loop returns: prompts padded on the left, answers on the right; garbage where it may be.

    Eight prompts with two answers each, of which the first, of 3 to 10 tokens, earns 1 and the second, of 11 to 18
    tokens, -1: their advantages by GRPO, without its division by the standard deviation.
    """
    g = torch.Generator().manual_seed(1)
    prompts = torch.tensor([2 + i % 3 for i in range(SEQUENCES)])
    responses = torch.tensor([3 + i for i in range(SEQUENCES)])
    ids = torch.randint(1, VOCABULARY, (SEQUENCES, PROMPT + RESPONSE), generator=g)
    place = torch.arange(PROMPT + RESPONSE)
    attention = (place >= PROMPT - prompts[:, None]) & (place < PROMPT + responses[:, None])
    mask = attention[:, PROMPT:]
    scores = torch.zeros(SEQUENCES, RESPONSE)
    scores[range(SEQUENCES), responses - 1] = torch.tensor([1.0] * 8 + [-1.0] * 8)
    # About the log-probabilities of an untrained model, so that r is spread around 1.
    rollout_log_probs = -4.2 + 0.4 * torch.randn(SEQUENCES, RESPONSE, generator=g)
    return DataProto.from_dict(
        tensors=dict(
            input_ids=ids,
            prompts=ids[:, :PROMPT],
            responses=ids[:, PROMPT:],
            attention_mask=attention.long(),
            position_ids=(attention.cumsum(1) - 1).clamp(min=0),
            response_mask=mask.long(),
            rollout_log_probs=rollout_log_probs.where(mask, -99.0),
            rm_scores=scores,
        ),
        non_tensors={"uid": [f"prompt {i % 8}" for i in range(SEQUENCES)]},
        meta_info={"temperature": 1.0, "global_token_num": attention.sum(1).tolist()},
    )


def without_padding(data: TensorDict) -> TensorDict:
    """The same batch as verl's default trainer hands it over."""
    prompts = data["attention_mask"][:, :PROMPT].sum(1)
    responses = data["attention_mask"][:, PROMPT:].sum(1)
    data["prompts"] = nested([row[PROMPT - n :] for row, n in zip(data["prompts"], prompts, strict=True)])
    for key in ("responses", "response_mask", "loss_mask", "old_log_probs", "advantages", "rollout_is_weights"):
        if key in data:
            data[key] = nested([row[:n] for row, n in zip(data[key], responses, strict=True)])
    return data.exclude("attention_mask", "max_response_len")


def nested(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


class OneRank:
    """Stands in for Ray's worker group: every rank has the trainer, and its worker gets its part of the batch."""

    def __init__(self, worker: DetachActorWorker, rank: int, world: int, padded: bool):
        self.worker, self.rank, self.world, self.padded = worker, rank, world, padded

    def update_actor(self, data: TensorDict) -> TensorDict:
        data = tu.chunk_tensordict(data, self.world)[self.rank]
        return self.worker.update_actor(data if self.padded else without_padding(data))

    def save_model_to_cpu(self, n: int) -> None:
        """verl's, whose copy to the CPU is no copy where the weights are there already."""
        self.worker.save_model_to_cpu(n)
        saved, spec = self.worker.cpu_saved_models[n]
        self.worker.cpu_saved_models[n] = {name: (shard.clone(), s) for name, (shard, s) in saved.items()}, spec

    def __getattr__(self, name):
        return getattr(self.worker, name)


def steps(rank, world, out, entry, model, overrides, padded):
    """What each rank does: UPDATES steps of the trainer, from the rewards on, on the same batch."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    os.environ.update(DIST_INIT_METHOD=f"file://{out}/init", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world))
    allow_fsdp1_on_cpu()
    config = composed(entry, model, *overrides)
    trainer = make_trainer(entry, config)
    worker = DetachActorWorker(pickle.loads(pickle.dumps(config.actor_rollout_ref)), role="actor")  # as Ray does
    worker.init_model()
    trainer.actor_rollout_wg = OneRank(worker, rank, world, padded)
    history = []
    for number in range(UPDATES):
        trainer.metrics, trainer.timing_raw = {}, {}
        trainer.local_trigger_step = number + 1  # of fully_async: steps since its last transfer of weights
        batch = trainer._fit_compute_reward(rollout_batch())
        batch = trainer._fit_compute_log_prob(batch)
        batch = trainer._fit_compute_advantage(batch)
        trainer._fit_update_actor(batch)
        history.append({k: float(v) for k, v in trainer.metrics.items() if k.startswith(METRICS)})
    policy_loss = OmegaConf.to_container(config.actor_rollout_ref.actor.policy_loss)
    torch.save((history, policy_loss), f"{out}/{rank}")
    dist.destroy_process_group()


def run(entry, model, world=1, overrides=(), padded=True):
    """The metrics of each step, which all ranks agree on, and the trainer's policy_loss after the last."""
    with tempfile.TemporaryDirectory() as out:
        arguments = (world, out, entry, model, overrides, padded)
        found = run_ranks(steps, world, out, arguments, TIME_LIMIT)
    assert all(other == found[0] for other in found)
    return found[0]


def assert_same_steps(one, other):
    for got, expected in zip(one, other, strict=True):
        assert got.keys() == expected.keys()
        for name, value in expected.items():  # a quantile may be the next bin, half a percent on
            assert got[name] == pytest.approx(value, abs=0.03 if "ratio" in name else 1e-4), name


@pytest.fixture(scope="module")
def reference(model):
    """The batch without padding, as verl's default trainer hands it over."""
    return run("one_step_off", model, padded=False)[0]


def test_the_reference_is_a_fair_case(reference):
    """The search acts, stops inside the path, and every step moves the ratios."""
    assert 0 < reference[0]["actor/bapo/steps"] < 36
    assert len({step["actor/bapo/rho_start"] for step in reference}) == UPDATES
    assert all(step["actor/bapo/ratio_max"] > 1.2 for step in reference)


@pytest.mark.parametrize(("entry", "world"), [("one_step_off", 1), ("fully_async", 2)])
def test_a_padded_batch_has_the_bounds_of_the_same_batch_without_padding(model, reference, entry, world):
    """Under bypass_mode, which both have by default: bounds, metrics, entropy, loss and gradient, at every step.

    At each step the trainer writes verl's own loss into its config; the worker's copy, made before, stays BAPO's.
    """
    history, policy_loss = run(entry, model, world)
    assert_same_steps(history, reference)
    assert [step["actor/bapo/bypass_mode"] for step in history] == [1] * UPDATES
    assert policy_loss["loss_mode"] == "bypass_mode"
    with pytest.raises(Exception, match="loss_mode must be bapo"):  # who made the worker's config from it would hear it
        omega_conf_to_dataclass(OmegaConf.create(policy_loss))


def test_fully_async_with_old_log_probs_of_older_weights(model):
    """With bypass_mode=False verl restores the weights of its first step for them, unseen by the engine, and goes back.

    So r is 1 at the first step and moves away from it, on padded batches and on others, with importance weights too.
    """
    decoupled = "algorithm.rollout_correction.bypass_mode=False", "algorithm.rollout_correction.rollout_is=token"
    history, _ = run("fully_async", model, overrides=decoupled)
    assert_same_steps(history, run("fully_async", model, overrides=decoupled, padded=False)[0])
    assert [step["actor/bapo/bypass_mode"] for step in history] == [0] * UPDATES
    first, second, third = (step["actor/bapo/ratio_max"] for step in history)
    assert first == 1 and 1.01 < second < third


FUSED = "actor_rollout_ref.model.use_fused_kernels=True"


def test_fused_kernels_leave_bounds_and_entropy_as_they_are(model, reference, tmp_path):
    assert_same_steps(
        run("one_step_off", model, world=2, overrides=("actor_rollout_ref.actor.strategy=fsdp", FUSED))[0], reference
    )
    tied = save_tiny_model(tmp_path, tied=True)
    assert_same_steps(run("one_step_off", tied, overrides=(FUSED,))[0], run("one_step_off", tied)[0])


@pytest.mark.used_by("recipe/README.md")
def test_fused_kernels_stop_with_fsdp2_where_embeddings_are_not_tied(model):
    """Why recipe/config/math.yaml and recipe/README.md say so. When this fails, verl can, and they need not."""
    with pytest.raises(mp.ProcessRaisedException, match="got mixed torch.Tensor and DTensor"):
        run("one_step_off", model, overrides=(FUSED,))
