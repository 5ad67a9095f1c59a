"""The runs of recipe/config: they compose, verl takes them, they say what the paper says. None is started here."""

import importlib.metadata
import re
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from torch._dynamo.testing import CompileCounter
from transformers import Qwen2Config
from verl.trainer.ppo.v1 import replay_buffer
from verl.utils.checkpoint.checkpoint_manager import BaseCheckpointManager
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.tensordict_utils import make_iterator
from verl.utils.torch_functional import entropy_from_logits, entropy_from_logits_with_chunking
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

from recipe import sizing
from tests.recipe.composing import CONFIG, ROOT, RUNS, UPDATES, accepted_by_verl, composed, flat

ALGORITHMS = ["bapo", "bapo_octothinker", "grpo", "clip_higher"]


@pytest.mark.parametrize("path", sorted(CONFIG.rglob("*.yaml")), ids=lambda p: p.stem)
def test_a_recipe_leaves_the_loss_to_the_flag(path):
    """The flag is merged after the file: what the file said of the loss would be lost."""
    assert OmegaConf.select(OmegaConf.load(path), "actor_rollout_ref.actor.policy_loss") is None


# Neither reads what the other sets, so that each of both meets each run once.
GRID = [(run, *pair) for run in RUNS for pair in zip(ALGORITHMS, UPDATES, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(("run", "algorithm", "updates"), GRID)
def test_every_algorithm_and_number_of_updates_is_accepted_by_verl(run, algorithm, updates):
    # The nodes for vLLM alone come with the script of separate_async; no other run reads them.
    flags = [f"+algorithm={algorithm}", f"updates_per_batch={updates}", "actor_rollout_ref.rollout.nnodes=1"]
    config = composed(run, *flags)
    accepted_by_verl(config)
    actor = config.actor_rollout_ref.actor
    assert config.data.train_batch_size == 256
    assert actor.ppo_epochs * config.data.train_batch_size / actor.ppo_mini_batch_size == UPDATES[updates]
    assert config.trainer.v1.separate_async.parameter_sync_step == UPDATES[updates]


PAPER = {  # shared/paper.md: Sec. 5.1, Table 1 (avg@16), Eq. 8 (the ratio's anchor), Fig. 12 (steps)
    "actor_rollout_ref.actor.optim.lr": 2e-6,
    "actor_rollout_ref.rollout.temperature": 0.6,
    "algorithm.adv_estimator": "grpo",
    "algorithm.rollout_correction.bypass_mode": True,
    "actor_rollout_ref.rollout.val_kwargs.n": 16,
    "actor_rollout_ref.actor.calculate_entropy": True,  # Fig. 2, 9
    "trainer.total_training_steps": 200,
}
# Fig. 11; Sec. 5.1, 64k and 8k
LENGTHS = {"r1_distill_qwen_7b_8k": 8192, "r1_distill": 32768, "bp_math": 65536, "octothinker": 8192}
SKYWORK = {  # not in the paper: Skywork-OR1's scripts
    "data.train_batch_size": 256,
    "actor_rollout_ref.rollout.n": 16,
    "data.max_prompt_length": 2048,
    "actor_rollout_ref.actor.use_dynamic_bsz": True,
    "actor_rollout_ref.actor.fsdp_config.param_offload": True,
    "actor_rollout_ref.actor.fsdp_config.optimizer_offload": True,
    "actor_rollout_ref.rollout.gpu_memory_utilization": 0.8,
}
VERL = {  # what the head of math.yaml says of verl's defaults
    "actor_rollout_ref.actor.use_kl_loss": False,
    "algorithm.use_kl_in_reward": False,
    "actor_rollout_ref.actor.entropy_coeff": 0,
    "actor_rollout_ref.model.use_fused_kernels": False,
    "actor_rollout_ref.actor.clip_ratio_c": 3.0,
    "actor_rollout_ref.actor.loss_agg_mode": "token-mean",
    "actor_rollout_ref.actor.optim.optimizer": "AdamW",
    "actor_rollout_ref.actor.optim.weight_decay": 0.01,
    "actor_rollout_ref.actor.optim.lr_scheduler_type": "constant",
    "actor_rollout_ref.actor.optim.lr_warmup_steps": -1,
    "actor_rollout_ref.actor.grad_clip": 1.0,
    "actor_rollout_ref.actor.ppo_epochs": 1,
}
# Not in the paper: math.yaml gives the reason. For its other reasons there are tests below.
REASONS = {"actor_rollout_ref.actor.fsdp_config.use_no_sync_for_gradient_accumulation": False}


@pytest.mark.parametrize("run", RUNS)
def test_the_values_are_those_of_their_sources(run):
    config = flat(composed(run))
    expected = PAPER | SKYWORK | VERL | REASONS
    assert {key: config[key] for key in expected} == expected
    assert config["data.max_response_length"] == next(n for name, n in LENGTHS.items() if run.startswith(name))
    # R1-Distill's chat template opens <think>. For BP-Math it depends on the model that takes its place.
    thinking = config.get("reward.custom_reward_function.reward_kwargs.thinking", False)
    assert thinking == run.startswith("r1_distill")


@pytest.mark.used_by("bapo_verl/docs/entry_points.md")
def test_without_shuffle_updates_are_on_answers_in_the_order_in_which_they_ended(monkeypatch):
    """Why the recipes set actor.shuffle, and why two runs with one seed train on different batches. When this fails,
    verl sorts a batch by its prompts, and they need not.

    TransferQueue is replaced by what verl has read from it: keys, each put there when its answer ended.
    """
    monkeypatch.setattr(replay_buffer.tq, "kv_clear", lambda **_: None)
    assert all(composed(run).actor_rollout_ref.actor.shuffle for run in RUNS)
    ended = ["p_1_0", "q_0_0", "p_0_0", "q_1_0"]
    buffer = object.__new__(replay_buffer.ReplayBuffer)
    batch = buffer._materialize_batch("train", ["p", "q"], {key: {} for key in ended})
    assert batch.keys == ended
    mini_batches = make_iterator(TensorDict({"answer": torch.arange(4)}, batch_size=4), mini_batch_size=2, epochs=1)
    assert [mini_batch["answer"].tolist() for mini_batch in mini_batches] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("run", RUNS)
def test_a_micro_batch_holds_the_longest_sequence_and_the_heads_divide(run):
    config = composed(run)
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    longest = config.data.max_prompt_length + config.data.max_response_length
    assert rollout.max_model_len == longest
    assert actor.ppo_max_token_len_per_gpu * actor.ulysses_sequence_parallel_size == longest
    assert 4 * actor.ppo_max_token_len_per_gpu > 24576  # sizing.py: the entropy needs less than the gradients
    shape = sizing.RUNS[re.sub("_partial_rollout|_separate_async", "", run)].shape
    assert shape.num_attention_heads % actor.ulysses_sequence_parallel_size == 0
    assert shape.num_key_value_heads % rollout.tensor_model_parallel_size == 0
    assert longest <= shape.max_position_embeddings


def test_a_model_with_fewer_positions_is_refused():
    """By verl's vLLM server, from its config. Without rollout.max_model_len it would cut answers off in silence."""
    config = composed(RUNS[0])
    longest = config.actor_rollout_ref.rollout.max_model_len
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)

    def start(positions):
        model = SimpleNamespace(hf_config=Qwen2Config(max_position_embeddings=positions))
        vLLMHttpServer._validate_configs(SimpleNamespace(config=rollout, model_config=model))

    start(longest)
    with pytest.raises(ValueError, match=rf"max_model_len \({longest}\) .* max_position_embeddings \({longest - 1}\)"):
        start(longest - 1)


def test_compiled_the_entropy_in_chunks_is_compiled_again_for_every_number_of_chunks():
    """Why the recipes do not compile it. When this fails, verl or torch no longer unrolls that loop, and they may."""
    actor = omega_conf_to_dataclass(composed(RUNS[0]).actor_rollout_ref.actor)
    assert actor.engine.entropy_from_logits_with_chunking and not actor.engine.use_torch_compile
    counts = {}
    for function in (entropy_from_logits, entropy_from_logits_with_chunking):
        torch._dynamo.reset()
        counter = CompileCounter()
        compiled = torch.compile(function, dynamic=True, backend=counter)  # as verl does, but for the backend
        for chunks in range(2, 7):
            compiled(torch.zeros(chunks, 3), **({"chunk_size": 1} if "chunking" in function.__name__ else {}))
        counts[function.__name__] = counter.frame_count
    assert counts == {"entropy_from_logits": 1, "entropy_from_logits_with_chunking": 5}


def test_two_checkpoints_at_most_are_on_the_disk_and_a_complete_one_always(tmp_path):
    """verl's rotation with the number of math.yaml."""
    keep = composed(RUNS[0]).trainer.max_actor_ckpt_to_keep
    manager = object.__new__(BaseCheckpointManager)
    manager.previous_saved_paths = []
    for step in range(20, 120, 20):
        manager.ensure_checkpoint_capacity(keep)
        assert len(list(tmp_path.iterdir())) == (0 if step == 20 else 1)
        (tmp_path / f"{step:03}").mkdir()
        manager.register_checkpoint(str(tmp_path / f"{step:03}"), keep)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["080", "100"]


YAML = [CONFIG / "math.yaml", *(CONFIG / f"{run}.yaml" for run in RUNS), *CONFIG.glob("updates_per_batch/*.yaml")]
SOURCE = re.compile(r"(Sec\.|Fig\.|Table|App\.|Eq\.|Alg\.) ?\d?|[Nn]ot in the paper")


# A comment, perhaps the name of the block that it is about, and values of one depth.
EXPLAINED = re.compile(r"((?: *#.*\n)+)(?: *[\w.]+:\n)?( *)([\w.]+: \S.*\n(?:\2[\w.]+: \S.*\n)*)")


@pytest.mark.parametrize("path", YAML, ids=lambda p: p.stem)
def test_every_value_has_its_source_above_it(path):
    text = path.read_text()
    assert [values for comment, _, values in EXPLAINED.findall(text) if not SOURCE.search(comment)] == []
    assert re.findall(r"^ *[\w.]+: \S.*", EXPLAINED.sub("", text), re.MULTILINE) == []


def test_the_flash_attn_of_the_requirements_is_the_one_of_verls_extra():
    requirements = (ROOT / "requirements.txt").read_text()
    (extra,) = [r for r in importlib.metadata.requires("verl") if r.startswith("flash-attn==")]
    version, name = re.fullmatch(r'flash-attn==(\S+); extra == "(flash-attn-cu(?:\d+)torch(?:\d+))"', extra).groups()
    assert f"pip install flash-attn=={version} " in requirements and name in requirements
    cuda, torch_version = re.search(r"cu(\d\d)\d*torch(\d+)", name).groups()
    assert f"is built for CUDA {cuda}," in requirements
    assert re.search(r"^torch==(.*)$", requirements, re.M)[1].replace(".", "").startswith(torch_version)
