"""The scripts: the command that each of them gives, what it refuses, and the folder of a run.

A stand-in for python3 writes down what it was called with; Hydra and verl then judge that here. tests/pipeline runs
some to the end.
"""

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recipe import sizing
from tests.bapo_verl.verl_source import composed as composed_by_verl
from tests.examples.stubs import EXAMPLES, ROOT, SCRIPTS, VARIABLES, Stubs, overrides_of, variables
from tests.recipe.composing import accepted_by_verl, composed, default_algorithm, differing, flat

R1_7B = "run_bapo_r1_distill_qwen_7b_fsdp.sh"
SEPARATE = "run_bapo_r1_distill_qwen_7b_separate_async.sh"
EVALUATION = {"DATA_DIR": "/data", "OUTPUT_DIR": "/out"}


@pytest.fixture
def stubs(tmp_path):
    return Stubs(tmp_path, "python3")


def by_key(overrides: list[str]) -> dict[str, str]:
    return dict(override.split("=", 1) for override in overrides)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.name)
def test_a_script_gives_paths_and_node_counts_and_verl_accepts_them(script, stubs):
    done, (call,) = stubs.run(script, "trainer.test_freq=7", **variables(script, NGPUS_PER_NODE="4"))
    assert done.returncode == 0, done.stderr
    run, overrides = overrides_of(call)
    name = script.stem.removeprefix("run_bapo_").removesuffix("_fsdp")
    assert run == name
    config = composed(run, *overrides)
    accepted_by_verl(config)
    assert config.actor_rollout_ref.model.path == "/models/one"
    assert config.data.train_files == "/data/train.parquet"
    assert list(config.data.val_files) == ["/data/aime24.parquet", "/data/aime25.parquet"]
    assert Path(config.reward.custom_reward_function.path) == ROOT / "reward" / "math_reward.py"
    assert (config.trainer.n_gpus_per_node, config.trainer.test_freq) == (4, 7)
    # Without UPDATES_PER_BATCH it is the recipe as it stands, without ALGORITHM it is BAPO.
    mini_batch = "actor_rollout_ref.actor.ppo_mini_batch_size"
    assert flat(composed(run))[mini_batch] == flat(config)[mini_batch]
    assert by_key(overrides)["+algorithm"] == default_algorithm(run)
    if run in sizing.RUNS:
        assert config.trainer.nnodes == sizing.RUNS[run].nodes


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.name)
def test_another_algorithm_is_the_same_command_in_a_folder_of_its_own(script, stubs):
    """tests/recipe/test_recipes.py composes every algorithm with every number of updates."""
    seen = []
    for algorithm, updates in ("bapo", "4"), ("grpo", "2"):
        _, (call,) = stubs.run(script, **variables(script, ALGORITHM=algorithm, UPDATES_PER_BATCH=updates))
        run, overrides = overrides_of(call)
        rest = by_key(overrides)
        name = f"{run}-{algorithm}-{updates}x"
        assert rest.pop("+algorithm") == algorithm and rest.pop("updates_per_batch") == f"{updates}x"
        assert rest.pop("trainer.default_local_dir") == f"'/runs/{name}'"
        # The log of a resumed run is a new file: verl's logger overwrites the one it finds.
        assert rest.pop("+ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_ROOT") == f"'/runs/{name}'"
        assert re.fullmatch(rf"'{name}-\d{{8}}-\d{{6}}'", rest.pop("trainer.experiment_name"))
        seen.append(rest)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("algorithm", ["grpo", "clip_higher"])
def test_the_twin_of_a_baseline_is_the_script_with_its_algorithm(algorithm, stubs):
    name = "r1_distill_qwen_7b_fsdp.sh"
    _, (call,) = stubs.run(f"run_{algorithm}_{name}", "a=b", **VARIABLES, UPDATES_PER_BATCH="2")
    _, (same,) = stubs.run(f"run_bapo_{name}", "a=b", **VARIABLES, UPDATES_PER_BATCH="2", ALGORITHM=algorithm)
    without_time = [[part for part in c if "experiment_name" not in part] for c in (call, same)]
    assert without_time[0] == without_time[1] and f"+algorithm={algorithm}" in call


# --------------------------------------------------------------------------------------------------------------------
# The run's folder
# --------------------------------------------------------------------------------------------------------------------

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
def test_the_folder_has_everything_on_the_command_line_that_changes_the_run(arguments, rest, stubs):
    _, (call,) = stubs.run(R1_7B, *arguments, **VARIABLES)
    assert f"trainer.default_local_dir='/runs/r1_distill_qwen_7b-bapo-4x{rest}'" in call
    assert [c for c in call if c.startswith("trainer.experiment_name='r1_distill_qwen_7b-bapo-4x" + rest)]


def test_a_long_command_line_has_a_folder_of_its_own_with_a_name_that_fits(stubs):
    folders = set()
    for lr in ("1e-6", "2e-6"):
        many = [f"actor_rollout_ref.actor.optim.key{i}={lr}" for i in range(20)]
        _, (call,) = stubs.run(SEPARATE, *many, **variables("separate_async"))
        (folder,) = [c for c in call if c.startswith("trainer.default_local_dir=")]
        folders.add(folder)
        assert len(Path(folder).name) < 200
    assert len(folders) == 2


# --------------------------------------------------------------------------------------------------------------------
# Variables
# --------------------------------------------------------------------------------------------------------------------

HARD = "/a=b, (c) [d] ~e 'f' {g}"  # every character that Hydra's grammar gives a meaning, but for $


def test_paths_may_hold_any_character(stubs):
    given = {name: f"{HARD}/{name}" for name in VARIABLES}
    done, (call,) = stubs.run(R1_7B, **given, EXPERIMENT_NAME="a=1,b")
    assert done.returncode == 0, done.stderr
    run, overrides = overrides_of(call)
    config = composed(run, *overrides)
    assert config.actor_rollout_ref.model.path == f"{HARD}/MODEL_PATH"
    assert (config.data.train_files, config.data.val_files) == (f"{HARD}/TRAIN_FILE", f"{HARD}/TEST_FILE")
    assert config.trainer.default_local_dir == f"{HARD}/CKPTS_DIR/a=1,b"
    assert config.ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_ROOT == f"{HARD}/CKPTS_DIR/a=1,b"


@pytest.mark.parametrize("home", ["/home/a=b", None])
def test_the_data_are_in_the_home_folder_by_default_also_where_home_is_unset(home, stubs):
    given = {name: value for name, value in VARIABLES.items() if name not in ("TRAIN_FILE", "TEST_FILE")}
    _, (call,) = stubs.run(R1_7B, **given, HOME=home)
    run, overrides = overrides_of(call)
    data, home = composed(run, *overrides).data, home or pwd.getpwuid(os.getuid()).pw_dir
    assert data.train_files == f"{home}/data/skywork-7b.parquet"
    assert list(data.val_files) == [f"{home}/data/{name}.parquet" for name in ("aime24", "aime25")]


@pytest.mark.parametrize(
    ("script", "variable"),
    [
        *(("run_bapo_bp_math_7b_fsdp.sh", name) for name in ("MODEL_PATH", "TRAIN_FILE", "CKPTS_DIR")),
        (SEPARATE, "ROLLOUT_NNODES"),
        *(("evaluate.sh", name) for name in ("MODEL_PATH", "DATA_DIR", "OUTPUT_DIR")),
    ],
)
def test_a_missing_variable_is_a_sentence(script, variable, stubs):
    """Public models and data have a default."""
    given = {k: v for k, v in (variables(script) | EVALUATION).items() if k != variable}
    done, called = stubs.run(script, **given)
    assert done.returncode != 0 and called == []
    assert f"{variable}: set {variable} to " in done.stderr


@pytest.mark.parametrize(
    ("script", "given", "rule"),
    [
        (R1_7B, {"CKPTS_DIR": "runs"}, "CKPTS_DIR must be an absolute path, got runs"),
        (R1_7B, {"NGPUS_PER_NODE": "8x"}, "NGPUS_PER_NODE must be a whole number above 0, got 8x"),
        (R1_7B, {"UPDATES_PER_BATCH": "4x"}, "UPDATES_PER_BATCH must be 1, 2, 4 or 8, got 4x"),
        # Left over in a shell from a run of separate_async.
        (R1_7B, {"ROLLOUT_NNODES": "2"}, "ROLLOUT_NNODES is for run_bapo_*_separate_async.sh alone, got 2: unset it"),
        (SEPARATE, {"ROLLOUT_NNODES": "0"}, "ROLLOUT_NNODES must be a whole number above 0, got 0"),
        ("evaluate.sh", {"NNODES": "0"}, "NNODES must be a whole number above 0, got 0"),
    ],
)
def test_a_wrong_variable_is_one_sentence(script, given, rule, stubs):
    done, called = stubs.run(script, **VARIABLES | EVALUATION | given)
    assert (done.returncode, done.stderr, called) == (1, rule + "\n", [])


def after_the_checks(command: str, **given: str) -> subprocess.CompletedProcess:
    script = f"source {EXAMPLES}/checks.sh; {command}"
    return subprocess.run(["bash", "-c", script], env=os.environ | given, capture_output=True, text=True)


@pytest.mark.parametrize(("cuda", "left"), [("0", "none"), ("", "0")])
def test_the_variable_of_rocm_that_verl_refuses_beside_cudas_is_unset(cuda, left):
    given = {"CUDA_VISIBLE_DEVICES": cuda, "ROCR_VISIBLE_DEVICES": "0"}
    done = after_the_checks("echo ${ROCR_VISIBLE_DEVICES-none}", **given)
    assert done.stdout == f"{left}\n" and done.stderr.startswith("ROCR_VISIBLE_DEVICES is unset") == (left == "none")


def test_data_are_utf8_where_the_locale_is_ascii(tmp_path):
    (tmp_path / "pi").write_bytes(b"\xcf\x80")
    read = f"python3 -c 'print(ascii(open(\"{tmp_path}/pi\").read()))'"
    done = after_the_checks(read, PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0")
    assert done.stdout == "'\\u03c0'\n", done.stderr


# --------------------------------------------------------------------------------------------------------------------
# Smoke test
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.name)
def test_the_smoke_test_is_the_run_with_short_lengths_that_fit_each_other(script, stubs):
    done, (call,) = stubs.run("smoke_test.sh", str(script), "trainer.save_freq=1", **variables(script))
    assert done.returncode == 0, done.stderr
    run, overrides = overrides_of(call)
    config = composed(run, *overrides)
    accepted_by_verl(config)
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    longest = config.data.max_prompt_length + config.data.max_response_length
    assert longest == rollout.max_model_len
    assert longest <= actor.ppo_max_token_len_per_gpu * actor.ulysses_sequence_parallel_size
    assert (config.trainer.nnodes, config.trainer.total_training_steps, config.trainer.save_freq) == (1, 2, 1)
    _, (call,) = stubs.run(script, **variables(script, NNODES="1", UPDATES_PER_BATCH="4"))
    may_differ = ("_length", "max_model_len", "max_token_len_per_gpu", "_batch_size", "experiment_name")
    for key in differing(config, composed(run, *overrides_of(call)[1])):
        assert key.startswith(("trainer.", "ray_kwargs.")) or key.endswith(may_differ), key


# --------------------------------------------------------------------------------------------------------------------
# Evaluation
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path):
    step = tmp_path / "a=b, (c)" / "global_step_20"
    (step / "actor").mkdir(parents=True)
    return step


def test_a_checkpoint_is_merged_once_and_evaluated(stubs, checkpoint):
    done, (merge, evaluate) = stubs.run("evaluate_checkpoint.sh", "a=b", CHECKPOINT=str(checkpoint), **EVALUATION)
    assert done.returncode == 0, done.stderr
    assert merge[1:-4] == "-m verl.model_merger merge --backend fsdp".split()
    assert merge[-4:] == ["--local_dir", f"{checkpoint}/actor", "--target_dir", f"{checkpoint}/merged.part"]
    assert evaluate[1:5] == ["-m", "recipe.evaluation.evaluate", "-o", "/out"] and evaluate[-1] == "a=b"
    assert f"actor_rollout_ref.model.path='{checkpoint}/merged'" in evaluate
    done, (evaluate,) = stubs.run("evaluate_checkpoint.sh", CHECKPOINT=str(checkpoint), **EVALUATION)
    assert evaluate[2] == "recipe.evaluation.evaluate"


def test_ray_cluster_tries_the_evaluation_before_it_merges_or_starts_anything(tmp_path, checkpoint):
    stubs, node = Stubs(tmp_path, "ray", "python3"), {"MASTER_ADDR": "127.0.0.1", "NNODES": "1", **EVALUATION}
    script, sampling = "examples/evaluate_checkpoint.sh", "actor_rollout_ref.rollout.val_kwargs.temperature=0.5"
    done, calls = stubs.run("ray_cluster.sh", script, sampling, cwd=ROOT, CHECKPOINT=str(checkpoint), **node)
    assert done.returncode == 0, done.stderr
    assert [call[0] if call[0] == "ray" else call[2] for call in calls] == [
        "verl.trainer.main_ppo", "ray", "verl.model_merger", "recipe.evaluation.evaluate",
    ]  # fmt: skip
    run, overrides = overrides_of(calls[0])
    assert overrides[-2:] == ["--cfg", "job"]
    config = composed(run, *overrides[:-2])
    assert config.actor_rollout_ref.model.path == f"{checkpoint}/merged"
    assert config.data.val_files == "/data/aime24.parquet"
    assert (config.actor_rollout_ref.rollout.val_kwargs.temperature, config.trainer.nnodes) == (0.5, 1)


def test_a_relative_checkpoint_is_made_absolute(stubs, checkpoint):
    _, (*_, evaluate) = stubs.run("evaluate_checkpoint.sh", CHECKPOINT="a=b, (c)/global_step_20", **EVALUATION)
    assert f"actor_rollout_ref.model.path='{checkpoint}/merged'" in evaluate


@pytest.mark.parametrize("folder", ["", "actor"])
def test_a_folder_that_is_no_checkpoint_is_a_sentence_and_nothing_is_made_in_it(folder, stubs, checkpoint):
    """Its run, or the shards themselves."""
    wrong = checkpoint / folder if folder else checkpoint.parent
    done, called = stubs.run("evaluate_checkpoint.sh", CHECKPOINT=str(wrong), **EVALUATION)
    rule = f"CHECKPOINT must be a folder global_step_N with a folder actor in it, got {wrong}\n"
    assert (done.returncode, done.stderr, called) == (1, rule, [])
    assert list(checkpoint.parent.rglob("merged*")) == []


# --------------------------------------------------------------------------------------------------------------------
# The real Python, and the scripts for the CPU
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_dry_run_prints_the_config_and_what_the_command_line_says_wins(tmp_path):
    environment = {**os.environ, **VARIABLES, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", str(EXAMPLES / R1_7B), "trainer.total_training_steps=7", "--cfg", "job"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(done.stdout)
    assert config["trainer"]["total_training_steps"] == 7
    assert config["actor_rollout_ref"]["actor"]["policy_loss"]["loss_mode"] == "bapo"


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("run_*_cpu*.sh")), ids=lambda script: script.name)
def test_a_script_for_the_cpu_composes(script, stubs):
    _, (call,) = stubs.run(script, "trainer.total_training_steps=7", **VARIABLES, TASK="/data", PYTHON="python3")
    assert call[:3] == ["python3", "-m", "verl.trainer.main_ppo"]
    config = composed_by_verl(*call[3:])
    assert (config.actor_rollout_ref.actor.policy_loss.loss_mode, config.trainer.total_training_steps) == ("bapo", 7)
    assert Path(config.reward.custom_reward_function.path).is_file()


def test_a_python_that_verl_does_not_support_is_a_sentence(tmp_path):
    """A stand-in for python3.13: verl's own metadata would refuse it only after the download."""
    (tmp_path / "python3.13").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3.13").chmod(0o755)
    environment = {**os.environ, "BAPO_PYTHON": str(tmp_path / "python3.13"), "BAPO_HOME": str(tmp_path / "home")}
    done = subprocess.run(["bash", str(EXAMPLES / "demo.sh")], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("verl 0.9.1 needs Python 3.10, 3.11 or 3.12") and "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()
