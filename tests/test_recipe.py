"""The runs of recipe/ and the scripts that launch them: they compose, verl takes them, they say what the paper says.

The scripts run with a stand-in for Python (and for Ray and SLURM) that writes down what it was called with; Hydra and
verl then judge that here. test_examples.py runs each with the real Python and `--cfg job`. What no test here does:
start a run, on a GPU or on several nodes.
"""

import functools
import importlib.metadata
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import sizing
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from torch._dynamo.testing import CompileCounter
from transformers import Qwen2Config
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1 import get_trainer_cls, replay_buffer
from verl.utils.checkpoint.checkpoint_manager import BaseCheckpointManager
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.utils.import_utils import load_extern_object
from verl.utils.tensordict_utils import make_iterator
from verl.utils.torch_functional import entropy_from_logits, entropy_from_logits_with_chunking
from verl.workers.config import FSDPEngineConfig
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

ROOT = Path(__file__).resolve().parents[1]
RECIPE, EXAMPLES = ROOT / "recipe", ROOT / "examples"
CONFIG = RECIPE / "config"
PAGES = "\n".join(page.read_text() for page in (ROOT / "README.md", RECIPE / "README.md") if page.exists())

RUNS = sorted(p.stem for p in CONFIG.glob("*.yaml") if p.stem not in ("evaluate", "math"))
ALGORITHMS = ["bapo", "bapo_octothinker", "grpo", "clip_higher"]
UPDATES = {"1x": 1, "2x": 2, "4x": 4, "8x": 8}
SCRIPTS = sorted(p for p in EXAMPLES.glob("run_bapo_*.sh") if "tiny" not in p.name)
PATHS = {
    "MODEL_PATH": "/models/one",
    "TRAIN_FILE": "/data/train.parquet",
    "TEST_FILE": "[/data/aime24.parquet,/data/aime25.parquet]",
    "CKPTS_DIR": "/runs",
    "ROLLOUT_NNODES": "2",
}


@functools.cache
def composed(run: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG), version_base=None):
        return compose(run, overrides=["hydra.searchpath=[pkg://verl.trainer.config]", *overrides])


def flat(config: DictConfig) -> dict[str, object]:
    """Every leaf by its dotted key, resolved."""

    def leaves(node, prefix):
        for key, value in node.items():
            if isinstance(value, dict) and value:
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(leaves(OmegaConf.to_container(config, resolve=True), ""))


def accepted_by_verl(config: DictConfig) -> None:
    """What verl checks before Ray starts, and when it makes its trainer."""
    config = config.copy()
    validate_config(config, need_reference_policy(config), need_critic(config))
    get_trainer_cls(config.trainer.v1.trainer_mode)(config)


# --------------------------------------------------------------------------------------------------------------------
# Recipes
# --------------------------------------------------------------------------------------------------------------------


def default_algorithm(run: str) -> str:
    return "bapo_octothinker" if run == "octothinker_3b" else "bapo"


def test_the_root_of_hydra_holds_yaml_only():
    assert {p.suffix for p in CONFIG.rglob("*") if p.is_file()} == {".yaml"}
    assert {p.name for p in CONFIG.iterdir() if p.is_dir()} == {"updates_per_batch"}
    assert {p.stem for p in (CONFIG / "updates_per_batch").iterdir()} == set(UPDATES)


def test_what_is_shared_has_one_module():
    """recipe/ is a folder of scripts: no module is imported from the folder of another purpose."""
    for folder in ("data", "evaluation"):
        own = {p.stem for p in (RECIPE / folder).glob("*.py")}
        for path in (RECIPE / folder).glob("*.py"):
            imported = set(re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.M))
            assert not any((p.stem in imported - own) for p in RECIPE.glob("*/*.py")), path


@pytest.mark.parametrize("run", RUNS)
def test_a_recipe_leaves_the_loss_to_the_flag(run):
    """The flag is merged after the file: what the file said of the loss would be lost."""
    stock = "actor_rollout_ref.actor.policy_loss"
    assert {k: v for k, v in flat(composed(run)).items() if k.startswith(stock)} == {
        k: v for k, v in flat(composed("evaluate", "data.val_files=x")).items() if k.startswith(stock)
    }


# Every combination of one run; of the others each algorithm once and each number of updates once.
GRID = [("r1_distill_qwen_7b", algorithm, updates) for algorithm in ALGORITHMS for updates in UPDATES]
GRID += [(run, *pair) for run in RUNS if run != "r1_distill_qwen_7b" for pair in zip(ALGORITHMS, UPDATES, strict=True)]


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


@pytest.mark.parametrize("run", RUNS)
def test_two_algorithms_differ_in_the_loss_and_nothing_else(run):
    names = (default_algorithm(run), "grpo", "clip_higher")
    configs = {name: flat(composed(run, f"+algorithm={name}")) for name in names}
    loss = "actor_rollout_ref.actor.policy_loss"
    for name, config in configs.items():
        different = {k for k in {*config, *configs["grpo"]} if config.get(k) != configs["grpo"].get(k)}
        assert all(k.startswith(f"{loss}.") for k in different), name
        assert config[f"{loss}.loss_mode"] == "bapo"
    keys = [f"{loss}.{bound}_{end}" for bound in ("c_low", "c_high") for end in ("start", "max")]
    assert [configs["grpo"][k] for k in keys] == [0.8, 0.8, 1.2, 1.2]  # Fig. 11
    assert [configs["clip_higher"][k] for k in keys] == [0.8, 0.8, 1.28, 1.28]


PAPER = {  # shared/paper.md: Sec. 5.1, Table 1 (avg@16), Eq. 8 (the ratio's anchor), Fig. 12 (steps)
    "actor_rollout_ref.actor.optim.lr": 2e-6,
    "actor_rollout_ref.rollout.temperature": 0.6,
    "algorithm.adv_estimator": "grpo",
    "algorithm.rollout_correction.bypass_mode": True,
    "actor_rollout_ref.rollout.val_kwargs.n": 16,
    "trainer.total_training_steps": 200,
}
LENGTHS = {"r1_distill": 32768, "bp_math": 65536, "octothinker": 8192}  # Fig. 11; Sec. 5.1, 64k and 8k
BOUNDS = {  # rho_0, c_low, c_high
    "bapo": [0.4, 0.6, 0.9, 0.02, 1.2, 3.0, 0.05],
    "bapo_octothinker": [0.45, 0.8, 0.9, 0.02, 1.2, 2.0, 0.05],
}
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


@pytest.mark.parametrize("run", RUNS)
def test_the_values_are_those_of_their_sources(run):
    config = flat(composed(run))
    expected = {**PAPER, **SKYWORK, **VERL}
    assert {key: config[key] for key in expected} == expected
    assert config["data.max_response_length"] == next(n for name, n in LENGTHS.items() if run.startswith(name))
    loss = composed(run, f"+algorithm={default_algorithm(run)}").actor_rollout_ref.actor.policy_loss
    bounds = [loss[f"{c}_{what}"] for c in ("c_low", "c_high") for what in ("start", "max", "step")]
    assert [loss.target_contribution, *bounds] == BOUNDS[default_algorithm(run)]


@pytest.mark.parametrize("run", RUNS)
def test_an_answer_cut_off_in_its_thoughts_has_no_answer_where_the_template_opens_them(run):
    """As recipe/evaluation/evaluate.py grades it. For BP-Math it depends on the model that takes its place."""
    options = composed(run).reward.custom_reward_function.get("reward_kwargs", {})
    assert options == ({"thinking": True} if run.startswith("r1_distill") else {})
    compute_score = load_extern_object(str(ROOT / "reward" / "math_reward.py"), "compute_score_sync")
    verdict = compute_score("", r"so \boxed{5}? wait,", "5", **options)
    assert verdict["reason"] == ("no_answer" if options else "correct")


@pytest.mark.parametrize("run", [run for run in RUNS if "separate_async" not in run])  # its YAML says why
def test_updates_are_on_answers_of_every_length(run):
    assert composed(run).actor_rollout_ref.actor.shuffle


def test_without_shuffle_updates_are_on_answers_in_the_order_in_which_they_ended(monkeypatch):
    """Why the recipes set actor.shuffle. When this fails, verl sorts a batch by its prompts, and they need not.

    TransferQueue is replaced by what verl has read from it: keys, each put there when its answer ended. That answers of
    one length then share their updates is in the logs of recipe/miniature.
    """
    monkeypatch.setattr(replay_buffer.tq, "kv_clear", lambda **_: None)
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
    assert actor.ppo_max_token_len_per_gpu * actor.ulysses_sequence_parallel_size == longest
    assert 4 * actor.ppo_max_token_len_per_gpu > 24576  # sizing.py: the entropy needs less than the gradients
    shape = sizing.RUNS[re.sub("_partial_rollout|_separate_async", "", run)].shape
    assert shape.num_attention_heads % actor.ulysses_sequence_parallel_size == 0
    assert shape.num_key_value_heads % rollout.tensor_model_parallel_size == 0
    assert longest <= shape.max_position_embeddings


@pytest.mark.parametrize("run", RUNS)
def test_a_model_with_fewer_positions_is_refused(run):
    """By verl's vLLM server, from its config. Without rollout.max_model_len it would cut answers off in silence."""
    config = composed(run)
    longest = config.data.max_prompt_length + config.data.max_response_length
    assert config.actor_rollout_ref.rollout.max_model_len == longest
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)

    def start(positions):
        model = SimpleNamespace(hf_config=Qwen2Config(max_position_embeddings=positions))
        vLLMHttpServer._validate_configs(SimpleNamespace(config=rollout, model_config=model))

    start(longest)
    with pytest.raises(ValueError, match=rf"max_model_len \({longest}\) .* max_position_embeddings \({longest - 1}\)"):
        start(longest - 1)


def test_gradients_are_reduced_after_every_micro_batch_whichever_of_verls_defaults_holds():
    key = "use_no_sync_for_gradient_accumulation"
    assert FSDPEngineConfig()[key]  # its YAML has False
    assert OmegaConf.load(CONFIG / "math.yaml").actor_rollout_ref.actor.fsdp_config[key] is False
    assert not any(composed(run).actor_rollout_ref.actor.fsdp_config[key] for run in RUNS)


@pytest.mark.parametrize("run", RUNS)
def test_the_entropy_is_computed_in_chunks_and_not_compiled(run):
    actor = omega_conf_to_dataclass(composed(run).actor_rollout_ref.actor)
    assert actor.calculate_entropy and actor.engine.entropy_from_logits_with_chunking
    assert not actor.engine.use_torch_compile


def test_compiled_the_entropy_in_chunks_is_compiled_again_for_every_number_of_chunks():
    """Why the recipes do not compile it. When this fails, verl or torch no longer unrolls that loop, and they may."""
    counts = {}
    for function in (entropy_from_logits, entropy_from_logits_with_chunking):
        torch._dynamo.reset()
        counter = CompileCounter()
        compiled = torch.compile(function, dynamic=True, backend=counter)  # as verl does, but for the backend
        for chunks in range(2, 7):
            compiled(torch.zeros(chunks, 3), **({"chunk_size": 1} if "chunking" in function.__name__ else {}))
        counts[function.__name__] = counter.frame_count
    assert counts == {"entropy_from_logits": 1, "entropy_from_logits_with_chunking": 5}


@pytest.mark.parametrize("run", RUNS)
def test_two_checkpoints_at_most_are_on_the_disk_and_a_complete_one_always(run, tmp_path):
    """verl's rotation with the number of math.yaml."""
    keep = composed(run).trainer.max_actor_ckpt_to_keep
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


def comment_above(lines: list[str], number: int) -> str:
    """The comment of a key: above it, above the keys of its block that it follows, or above the name of the block."""
    indent = len(lines[number]) - len(lines[number].lstrip())
    number -= 1
    while re.match(rf" {{{indent}}}[\w.]+: \S", lines[number]):
        number -= 1
    if lines[number].endswith(":"):
        number -= 1
    comment = []
    while lines[number].lstrip().startswith("#"):
        comment.append(lines[number])
        number -= 1
    return "\n".join(comment)


@pytest.mark.parametrize("path", YAML, ids=lambda p: p.stem)
def test_every_value_has_its_source_above_it(path):
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r" *[\w.]+: \S", line):
            comment = comment_above(lines, number)
            assert comment, f"{path.name}:{number + 1} has no comment above it: {line}"
            assert SOURCE.search(comment), f"{path.name}:{number + 1} has no source: {line}"


def test_the_flash_attn_of_the_requirements_is_the_one_of_verls_extra():
    requirements = (ROOT / "requirements.txt").read_text()
    (extra,) = [r for r in importlib.metadata.requires("verl") if r.startswith("flash-attn==")]
    version, name = re.fullmatch(r'flash-attn==(\S+); extra == "(flash-attn-cu(?:\d+)torch(?:\d+))"', extra).groups()
    assert f"pip install flash-attn=={version} " in requirements and name in requirements
    cuda, torch_version = re.search(r"cu(\d\d)\d*torch(\d+)", name).groups()
    assert f"is built for CUDA {cuda}," in requirements
    assert re.search(r"^torch==(.*)$", requirements, re.M)[1].replace(".", "").startswith(torch_version)


# --------------------------------------------------------------------------------------------------------------------
# Scripts
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Runs a script with stand-ins for its commands; returns the argument lists they were called with."""
    stand_in = tmp_path / "bin" / "python3"
    stand_in.parent.mkdir()
    # One line for each call, arguments behind NUL. A merge leaves its folder behind, as verl's does.
    stand_in.write_text(
        "#!/usr/bin/env bash\n"
        'if [ "${0##*/}" = srun ]; then set -- "MASTER_ADDR=$MASTER_ADDR" "NNODES=$NNODES" "$@"; fi\n'
        f'printf "%s\\0" "${{0##*/}}" "$@" >>{tmp_path}/calls; echo >>{tmp_path}/calls\n'
        'if [ "${2-}" = verl.model_merger ]; then mkdir "${@: -1}"; fi\n'
        'if [ "${0##*/}" = scontrol ]; then printf "node1\\nnode2\\n"; fi\n'
    )
    stand_in.chmod(0o755)
    for name in ("ray", "srun", "scontrol"):
        (stand_in.parent / name).symlink_to(stand_in)

    def run(script, *arguments, **variables):
        (tmp_path / "calls").write_text("")
        clean = {
            k: v
            for k, v in os.environ.items()
            if k not in (*PATHS, "ALGORITHM", "UPDATES_PER_BATCH", "EXPERIMENT_NAME", "NNODES")
        }
        path = f"{stand_in.parent}:{os.environ['PATH']}"
        environment = {**clean, "PATH": path, **variables}
        command = ["bash", str(EXAMPLES / script), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        lines = (tmp_path / "calls").read_text().splitlines()
        return done, [line.split("\0")[:-1] for line in lines]

    return run


def overrides_of(call: list[str]) -> tuple[str, dict[str, str]]:
    """The recipe and the overrides of `python3 -m verl.trainer.main_ppo ...`."""
    assert call[:6] == ["python3", "-m", "verl.trainer.main_ppo", "--config-dir", str(CONFIG), "--config-name"]
    return call[6], dict(argument.split("=", 1) for argument in call[7:])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.name)
def test_a_script_gives_paths_and_node_counts_and_verl_accepts_them(script, calls):
    done, (call,) = calls(script, "trainer.test_freq=7", **PATHS, NGPUS_PER_NODE="4")
    assert done.returncode == 0, done.stderr
    run, overrides = overrides_of(call)
    name = script.stem.removeprefix("run_bapo_").removesuffix("_fsdp")
    assert run == name and re.fullmatch(r"[a-z0-9_]+_\d+b(_fsdp|_partial_rollout|_separate_async)", script.stem)
    config = composed(run, *(f"{key}={value}" for key, value in overrides.items()))
    accepted_by_verl(config)
    assert config.actor_rollout_ref.model.path == "/models/one"
    assert (config.data.train_files, list(config.data.val_files)) == (
        "/data/train.parquet",
        ["/data/aime24.parquet", "/data/aime25.parquet"],
    )
    assert Path(config.reward.custom_reward_function.path) == ROOT / "reward" / "math_reward.py"
    assert (config.trainer.n_gpus_per_node, config.trainer.test_freq) == (4, 7)
    # Without UPDATES_PER_BATCH it is the recipe as it stands, without ALGORITHM it is BAPO.
    assert flat(composed(run))["actor_rollout_ref.actor.ppo_mini_batch_size"] == (
        config.actor_rollout_ref.actor.ppo_mini_batch_size
    )
    assert overrides["+algorithm"] == default_algorithm(run)
    assert "python3 -m verl.trainer.main_ppo --config-dir" in script.read_text()
    assert '+algorithm="$ALGORITHM"' in script.read_text()  # in plain sight
    if run in sizing.RUNS:
        assert config.trainer.nnodes == sizing.RUNS[run].nodes


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.name)
def test_one_script_three_algorithms(script, calls):
    """The same command thrice: it differs in the flag, and in the folder so that none resumes another's checkpoint.

    Each is composed, with every number of updates.
    """
    seen = []
    for algorithm, updates in itertools.product(("bapo", "grpo", "clip_higher"), UPDATES.values()):
        _, (call,) = calls(script, **PATHS, ALGORITHM=algorithm, UPDATES_PER_BATCH=str(updates))
        run, overrides = overrides_of(call)
        composed(run, *call[7:])
        folder = overrides.pop("trainer.default_local_dir")
        assert overrides.pop("+algorithm") == algorithm
        assert overrides.pop("updates_per_batch") == f"{updates}x" and folder == f"/runs/{run}-{algorithm}-{updates}x"
        # The log of a resumed run is a new file: verl's logger overwrites the one it finds.
        assert overrides.pop("+ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_ROOT") == folder
        name = overrides.pop("trainer.experiment_name")
        assert re.fullmatch(rf"{run}-{algorithm}-{updates}x-\d{{8}}-\d{{6}}", name)
        seen.append(overrides)
    assert all(overrides == seen[0] for overrides in seen)


@pytest.mark.parametrize("algorithm", ["grpo", "clip_higher"])
def test_the_twin_of_a_baseline_is_the_script_with_its_algorithm(algorithm, calls):
    name = "r1_distill_qwen_7b_fsdp.sh"
    _, (call,) = calls(f"run_{algorithm}_{name}", "a=b", **PATHS, UPDATES_PER_BATCH="2")
    _, (same,) = calls(f"run_bapo_{name}", "a=b", **PATHS, UPDATES_PER_BATCH="2", ALGORITHM=algorithm)
    without_time = [[part for part in c if "experiment_name" not in part] for c in (call, same)]
    assert without_time[0] == without_time[1] and f"+algorithm={algorithm}" in call


MAX_8K = "data.max_response_length=8192"
LR = "actor_rollout_ref.actor.optim.lr=1e-6"


@pytest.mark.parametrize(
    ("arguments", "rest"),
    [
        ([], ""),
        ([MAX_8K], "-data.max_response_length_8192"),
        ([MAX_8K, LR], "-actor_rollout_ref.actor.optim.lr_1e_6-data.max_response_length_8192"),
        ([LR, MAX_8K], "-actor_rollout_ref.actor.optim.lr_1e_6-data.max_response_length_8192"),
        (["trainer.v1.trainer_mode=sync"], "-trainer.v1.trainer_mode_sync"),
        (["+data.new=[1, 2]"], "-+data.new__1__2_"),
        (["~data.seed"], "-_data.seed"),
        # verl's bookkeeping, and what is not an override at all
        (["trainer.total_training_steps=400", "trainer.save_freq=5", "+ray_kwargs.ray_init.address=auto"], ""),
        (["--cfg", "job", "--package=trainer"], ""),
    ],
)
def test_the_folder_has_everything_on_the_command_line_that_changes_the_run(arguments, rest, calls):
    _, (call,) = calls("run_bapo_r1_distill_qwen_7b_fsdp.sh", *arguments, **PATHS)
    assert f"trainer.default_local_dir=/runs/r1_distill_qwen_7b-bapo-4x{rest}" in call
    assert [c for c in call if c.startswith("trainer.experiment_name=r1_distill_qwen_7b-bapo-4x" + rest)]


def test_a_long_command_line_has_a_folder_of_its_own_with_a_name_that_fits(calls):
    folders = set()
    for lr in ("1e-6", "2e-6"):
        many = [f"actor_rollout_ref.actor.optim.key{i}={lr}" for i in range(20)]
        _, (call,) = calls("run_bapo_r1_distill_qwen_7b_separate_async.sh", *many, **PATHS)
        (folder,) = [c for c in call if c.startswith("trainer.default_local_dir=")]
        folders.add(folder)
        assert len(Path(folder).name) < 200
    assert len(folders) == 2


def test_a_run_can_be_resumed_under_its_name_with_other_overrides(calls):
    _, (call,) = calls("run_bapo_r1_distill_qwen_7b_fsdp.sh", "a=b", **PATHS, EXPERIMENT_NAME="mine")
    assert "trainer.default_local_dir=/runs/mine" in call


@pytest.mark.parametrize("variable", ["MODEL_PATH", "TRAIN_FILE", "CKPTS_DIR", "ROLLOUT_NNODES"])
def test_a_missing_path_is_a_sentence(variable, calls):
    """Public models and data have a default."""
    given = {k: v for k, v in PATHS.items() if k != variable}
    asynchronous = variable == "ROLLOUT_NNODES"
    run = "r1_distill_qwen_7b_separate_async" if asynchronous else "bp_math_7b_fsdp"
    done, called = calls(f"run_bapo_{run}.sh", **given)
    assert done.returncode != 0 and called == []
    assert f"{variable}: set {variable} to " in done.stderr


def test_several_nodes_are_one_command_on_each(calls):
    done, (call,) = calls("ray_cluster.sh", "run.sh", "a=b", MASTER_ADDR="10.0.0.1", NNODES="4", ROLLOUT_NNODES="2")
    assert done.returncode == 0, done.stderr
    assert call == "ray symmetric-run --address 10.0.0.1:6379 --min-nodes 6 -- bash run.sh a=b".split()


@pytest.mark.parametrize(("rollout", "trainer"), [({}, 6), ({"ROLLOUT_NNODES": "2"}, 4)])
def test_slurm_starts_it_on_each_node(rollout, trainer, calls):
    slurm = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "6", **rollout}
    done, (_, call) = calls("slurm.sbatch", "examples/run.sh", "a=b", **slurm)
    assert done.returncode == 0, done.stderr
    command = f"MASTER_ADDR=node1 NNODES={trainer} bash examples/ray_cluster.sh examples/run.sh a=b"
    assert call == ["srun", *command.split()]


def test_a_checkpoint_is_merged_once_and_evaluated(calls, tmp_path):
    step = tmp_path / "global_step_20"
    step.mkdir()
    variables = {"CHECKPOINT": str(step), "DATA_DIR": "/data", "OUTPUT_DIR": "/out"}
    done, (merge, evaluate) = calls("evaluate_checkpoint.sh", "a=b", **variables)
    assert done.returncode == 0, done.stderr
    assert merge[1:] == (
        f"-m verl.model_merger merge --backend fsdp --local_dir {step}/actor --target_dir {step}/merged.part".split()
    )
    assert evaluate[1:4] == [str(RECIPE / "evaluation" / "evaluate.py"), "-o", "/out"] and evaluate[-1] == "a=b"
    assert f"actor_rollout_ref.model.path={step}/merged" in evaluate
    assert composed("evaluate").actor_rollout_ref.rollout.val_kwargs.n == 16
    done, (evaluate,) = calls("evaluate_checkpoint.sh", **variables)
    assert evaluate[1] == str(RECIPE / "evaluation" / "evaluate.py")


def test_the_batch_script_is_valid_shell():
    assert subprocess.run(["bash", "-n", str(EXAMPLES / "slurm.sbatch")]).returncode == 0


# --------------------------------------------------------------------------------------------------------------------
# Sizing
# --------------------------------------------------------------------------------------------------------------------

H100 = sizing.Gpu(memory=80e9, flops=989e12, bandwidth=3.35e12)


@functools.cache
def measured(run: str) -> sizing.Model:
    return sizing.measure(sizing.RUNS[run].shape)


@pytest.mark.parametrize(
    ("run", "parameters"),
    # The published counts: Qwen2.5-7B 7.62B, Qwen2.5-32B 32.8B, Llama-3.2-3B 3.21B.
    [("r1_distill_qwen_7b", 7_615_616_512), ("r1_distill_qwen_32b", 32_763_876_352), ("octothinker_3b", 3_212_749_824)],
)
def test_the_shapes_are_the_models(run, parameters):
    assert measured(run).parameters == parameters


def test_update_memory_by_hand():
    memory = sizing.update_memory(measured("r1_distill_qwen_7b"), composed("r1_distill_qwen_7b"), gpus=16)
    assert memory["weights"] == memory["gradients"] == 4 * 7_615_616_512 / 16  # 1.90 GB
    assert memory["Adam"] == 8 * 7_615_616_512 / 16  # 3.81 GB
    # The output embedding, 152064 x 3584 = 544997376, is more than a layer.
    assert memory["gathered"] == 10 * 544_997_376
    assert memory["activations"] == 2 * 34_816 * 3584 * 28  # 6.99 GB
    assert memory["head"] == 8 * 34_816 * 152_064  # 42.35 GB, more than 2 * 34816 * (35840 + 75776)


def test_fused_kernels_would_save_the_logits():
    config = composed("r1_distill_qwen_7b").copy()
    config.actor_rollout_ref.model.use_fused_kernels = True
    memory = sizing.update_memory(measured("r1_distill_qwen_7b"), config, gpus=8)
    # 8 * 4 * 512 * 152064 + 4 * 152064 * 3584 = 4.67 GB is less than a layer, 2 * 34816 * (35840 + 75776)
    assert memory["head"] == 7_772_045_312
    # 16 * 7615616512 / 8 + 5.45 + 6.99 + 7.77 + 8 = 43.4 GB in the place of 78.0 GB
    assert sum(memory.values()) + sizing.RESERVED == pytest.approx(43.44e9, abs=5e6)
    assert "from 78 GB to 43" in PAGES
    short = config.copy()
    short.actor_rollout_ref.actor.ppo_max_token_len_per_gpu = 10_000
    assert sizing.update_memory(measured("r1_distill_qwen_7b"), short, gpus=8)["head"] == 4_671_406_080


def test_a_layer_counts_where_it_is_more_than_the_head():
    config = composed("r1_distill_qwen_7b").copy()
    model = measured("r1_distill_qwen_7b")._replace(config=sizing.shape(sizing.Qwen2Config, 64, 256, 2, 4, 2, 100))
    config.actor_rollout_ref.actor.ppo_max_token_len_per_gpu = 1000
    # 2 * 1000 * (640 + 1024) = 3328000 against 8 * 1000 * 100 = 800000
    assert sizing.update_memory(model, config, 8)["head"] == 3_328_000


def test_rollout_memory_by_hand():
    model, config = measured("r1_distill_qwen_32b"), composed("r1_distill_qwen_32b")
    # 0.8 * 80e9 - 2 * 32763876352 / 4 = 64e9 - 16381938176
    memory = sizing.rollout_memory(model, config, 32, H100)
    assert memory == {"vLLM": 16_381_938_176, "KV cache": 64e9 - 16_381_938_176, "staying": 0}
    # Keys and values in bf16: 2 * 2 * 64 layers * 8 heads * 128 = 262144 bytes a token, over 4 GPUs
    assert sizing.cached_tokens(model, config, H100) == pytest.approx(4 * (64e9 - 16_381_938_176) / 262_144)
    kept = config.copy()
    kept.actor_rollout_ref.actor.fsdp_config.optimizer_offload = False
    assert sizing.rollout_memory(model, kept, 32, H100)["staying"] == 8 * 32_763_876_352 / 32


def test_seconds_by_hand():
    run, config = "r1_distill_qwen_7b", composed("r1_distill_qwen_7b")
    # 4096 sequences of 12200 tokens. Weights outside of attention scores, with both embeddings: 28 * (3 * 3584 * 18944
    # + 3584 * (3584 + 512 + 512 + 3584)) + 2 * 152064 * 3584 = 7615283200; 6 FLOPs for each and each token, and
    # 6 * 12200^2 * 128 * 28 * 28 in the scores of a sequence.
    flops = 6 * 7_615_283_200 * 4096 * 12_200 + 4096 * 6 * 12_200**2 * 128 * 28 * 28
    seconds = sizing.update_seconds(measured(run), config, 64, H100, 12_000, mfu=0.25)
    assert seconds == pytest.approx(flops / (64 * 989e12 * 0.25))
    # 64 engines of 64 answers; the cache holds (64e9 - 15231233024) / 57344 = 850458 tokens, 69.7 answers of 12200: one
    # wave, 32768 steps. Caches: 64 answers * 12000 steps * (200 + 6000) tokens * 57344 bytes.
    traffic = 32_768 * 2 * 7_615_616_512 + 64 * 12_000 * 6200 * 57_344
    seconds = sizing.rollout_seconds(measured(run), config, 64, H100, 12_000)
    assert seconds == pytest.approx(traffic / (3.35e12 * 0.4))
    # 16 GPUs: 256 answers for an engine, in 256 / 69.7 = 3.67 waves.
    traffic = (32_768 + 12_000 * (256 / (48_768_766_976 / 57_344 / 12_200) - 1)) * 2 * 7_615_616_512
    seconds = sizing.rollout_seconds(measured(run), config, 16, H100, 12_000)
    assert seconds == pytest.approx((traffic + 256 * 12_000 * 6200 * 57_344) / (3.35e12 * 0.4))


def test_a_step_against_the_one_that_skywork_quotes():
    """Issue 21 of Skywork-OR1: 32B at 32k, 32 prompts of 16 answers, 32 GPUs: 1000 to 2000 seconds.

    Its step recomputes old_log_probs, one forward more than an update of ours: 4/3.
    """
    config = composed("r1_distill_qwen_32b").copy()
    config.data.train_batch_size = 32
    model, response = measured("r1_distill_qwen_32b"), sizing.RUNS["r1_distill_qwen_32b"].response
    seconds = sizing.rollout_seconds(model, config, 32, H100, response)
    seconds += 4 / 3 * sizing.update_seconds(model, config, 32, H100, response)
    assert f"to {round(seconds / sizing.SHARE, -1):.0f} (tests/test_recipe.py)" in sizing.__doc__
    assert 1000 <= seconds / sizing.SHARE <= 2000


@pytest.mark.parametrize("run", sizing.RUNS)
def test_the_recommended_cluster_is_enough(run):
    assert sizing.fits(measured(run), composed(run), sizing.RUNS[run].nodes * 8, H100)


def test_what_does_not_fit():
    model, config = measured("r1_distill_qwen_7b"), composed("r1_distill_qwen_7b")
    assert sizing.fits(model, config, 16, H100)
    # 8 GPUs: 16 * 7615616512 / 8 + 5.45 + 6.99 + 42.35 + 8 = 78.0 GB, nine tenths of 86.7 GB
    assert not sizing.fits(model, config, 8, H100)
    assert sizing.fits(model, config, 8, H100._replace(memory=86.8e9))
    assert not sizing.fits(model, config, 8, H100._replace(memory=86.6e9))
    assert not sizing.fits(model, config, 24, H100)  # 64 * 16 answers of an update over 24 ranks
    kept = config.copy()
    kept.actor_rollout_ref.actor.fsdp_config.update(param_offload=False, optimizer_offload=False)
    # While vLLM samples: 0.8 * 90 + 12 * 7.62 / 8 + 8 = 91.4 GB
    assert sizing.fits(model, config, 8, H100._replace(memory=90e9))
    assert not sizing.fits(model, kept, 8, H100._replace(memory=90e9))
    alone = composed("r1_distill_qwen_32b").copy()
    alone.actor_rollout_ref.rollout.tensor_model_parallel_size = 1  # 65.5 GB of weights in 0.8 * 80
    assert not sizing.fits(measured("r1_distill_qwen_32b"), alone, 32, H100)
    # Room for a sequence: 10 GB of cache are 174386 tokens of 57344 bytes.
    small = config.copy()
    small.actor_rollout_ref.rollout.gpu_memory_utilization = (10e9 + 2 * model.parameters) / H100.memory
    for longest, room in ((174_386, True), (174_387, False)):
        small.actor_rollout_ref.rollout.max_model_len = longest
        assert sizing.fits(model, small, 16, H100) == room


def test_the_table_is_printed_for_ones_own_cluster(capsys, monkeypatch, tmp_path):
    sizing.QWEN_7B.save_pretrained(tmp_path)
    own = "sizing.py r1_distill_qwen_32b --nodes 1 --gpu-memory 141 --model".split()
    monkeypatch.setattr(sys, "argv", [*own, str(tmp_path)])
    sizing.main()
    head, _, line, *_ = capsys.readouterr().out.splitlines()
    cells = dict(zip(head.strip("| ").split(" | "), line.strip("| ").split(" | "), strict=True))
    assert (cells["run"], cells["cluster"], cells["GPUs"]) == ("r1_distill_qwen_32b", "yours", "1 x 8")
    assert cells["weights"] == f"{4 * 7_615_616_512 / 8 / 1e9:.1f}"
    assert cells["checkpoint"] == "91"  # 12 * 7615616512 = 91.4 GB
    monkeypatch.setattr(sys, "argv", ["sizing.py", "r1"])
    with pytest.raises(SystemExit):
        sizing.main()
    assert "RECIPE must be one of octothinker_3b, r1_distill_qwen_7b" in capsys.readouterr().err


def test_the_page_has_the_sizes_of_the_script(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sizing.py"])
    sizing.main()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    head, rows = lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[2:] if len(line) == len(lines[0])]
    wanted = ["GPUs", "peak", "hours for 100 steps"]
    assert set(wanted) < set(head)
    expected = [
        [small["run"], small["tokens a step"], *(small[k] for k in wanted), *(large[k] for k in wanted)]
        for small, large in zip(rows[::2], rows[1::2], strict=True)
    ]
    lines = [line for line in PAGES.splitlines() if line.startswith(tuple(f"| {run} | " for run in sizing.RUNS))]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert table == expected
