"""What the driver says of data and checkpoints before Ray starts, on real files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import verl  # noqa: F401  makes +platform=cpu known to Hydra
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from transformers import LlamaConfig

from bapo_verl.cpu.logical_cpus import LogicalCpuCheck
from bapo_verl.data_check import check_data
from bapo_verl.launch_check import LaunchCheck
from bapo_verl.one_run import sockets_of_others
from bapo_verl.resume_check import TRACKER, check_resume
from tests.pipeline.tiny_models import save_problems, tokenizer
from tests.recipe.composing import CONFIG


@pytest.fixture
def data(tmp_path):
    """20 rows to train on, 4 to test on."""
    files = {"train_files": tmp_path / "train.parquet", "val_files": tmp_path / "test.parquet"}
    for file, rows in zip(files.values(), (20, 4), strict=True):
        save_problems(file, rows)
    return files


def composed(data, *overrides):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", [*(f"data.{key}={path}" for key, path in data.items()), *overrides])


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.train_batch_size=20"],
        ["data.train_batch_size=8", "trainer.total_epochs=3", "trainer.total_training_steps=6"],  # 2 an epoch
        ["data.train_batch_size=20", "data.train_max_samples=-1"],
    ],
)
def test_rows_that_are_enough_pass(data, overrides):
    check_data(composed(data, *overrides))


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["data.train_batch_size=21"], r"data\.train_batch_size=21 must be at most the 20 rows"),
        (["data.train_batch_size=8", "data.train_max_samples=7"], "=8 must be at most the 7 rows"),
        (
            ["data.train_batch_size=8", "trainer.total_epochs=3", "trainer.total_training_steps=7"],
            r"total_training_steps=7 .* are 2 steps of data\.train_batch_size=8.* Set trainer\.total_epochs=4",
        ),
        (["data.prompt_key=question"], r"train\.parquet must have a column question \(data\.prompt_key\), got data_so"),
        (["data.train_files=/no/file.parquet"], r"data\.train_files: /no/file\.parquet is not there"),
        (["data.val_files=pyproject.toml.parquet"], r"data\.val_files: pyproject\.toml\.parquet is not there"),
    ],
)
def test_data_that_would_fail_after_minutes_is_one_sentence(data, overrides, rule):
    with pytest.raises(SystemExit, match=rule):
        check_data(composed(data, *overrides))


def test_a_file_that_is_cut_short_is_named(data):
    data["val_files"].write_bytes(data["val_files"].read_bytes()[:-100])
    with pytest.raises(SystemExit, match=r"val_files: .*test\.parquet is no whole parquet file"):
        check_data(composed(data, "data.train_batch_size=4"))


def test_a_data_set_of_the_users_own_is_not_judged(data):
    check_data(composed(data, "data.train_batch_size=99", "data.custom_cls.path=mine.py"))


# --------------------------------------------------------------------------------------------------------------------
# Checkpoints
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """The folder of a run with checkpoints of two ranks, after steps 20 and 40."""
    for step in (20, 40):
        actor = tmp_path / f"global_step_{step}" / "actor"
        actor.mkdir(parents=True)
        (actor.parent / "data.pt").write_text("state")
        for kind in ("model", "optim", "extra_state"):
            for rank in (0, 1):
                (actor / f"{kind}_world_size_2_rank_{rank}.pt").write_text("shard")
    (tmp_path / TRACKER).write_text("40")
    return tmp_path


def resume(run, mode="auto"):
    check_resume(OmegaConf.create({"trainer": {"default_local_dir": str(run), "resume_mode": mode}}))


def test_a_whole_checkpoint_and_a_first_start_pass(run, tmp_path):
    resume(run)
    resume(tmp_path / "new")


@pytest.mark.parametrize("text", ["", "4 0", "60"])
def test_a_tracker_that_names_no_checkpoint_is_a_sentence_with_the_newest_whole_one(run, text):
    (run / TRACKER).write_text(text)
    with pytest.raises(SystemExit, match=rf"says '{text}', which .* echo 40 >{re.escape(str(run / TRACKER))}$"):
        resume(run)
    resume(run, "disable")
    (run / TRACKER).write_text("40\n")  # what the sentence says
    resume(run)


@pytest.mark.parametrize(
    "lost", ["data.pt", "actor/model_world_size_2_rank_1.pt", "actor/optim_world_size_2_rank_0.pt"]
)
@pytest.mark.parametrize("how", [Path.unlink, lambda path: path.write_text("")], ids=["gone", "empty"])
def test_a_newest_checkpoint_that_is_not_whole_is_not_resumed(run, lost, how):
    how(run / "global_step_40" / lost)
    with pytest.raises(SystemExit, match="says '40', which is no whole checkpoint; .* echo 20 >"):
        resume(run)


def test_no_checkpoint_left_is_not_from_scratch_without_a_word(run):
    for step in (20, 40):
        (run / f"global_step_{step}").rename(run / f"moved_{step}")
    with pytest.raises(SystemExit, match=f"there is no other. To start from scratch remove {run}"):
        resume(run)


def test_a_tracker_that_is_gone_is_a_sentence_and_a_first_checkpoint_that_was_cut_off_is_none(run):
    (run / TRACKER).unlink()
    with pytest.raises(SystemExit, match="is not there; the newest whole one is global_step_40"):
        resume(run)
    for step in (20, 40):
        (run / f"global_step_{step}" / "data.pt").unlink()
    resume(run)


# --------------------------------------------------------------------------------------------------------------------
# All of it
# --------------------------------------------------------------------------------------------------------------------


def test_a_socket_of_another_user_is_found(tmp_path, monkeypatch):
    socket = tmp_path / "rl-colocate-zmq-01000000-replica-0-rank-0.sock"
    socket.touch()
    owner = socket.stat().st_uid
    for user, found in ((owner, []), (owner + 1, [socket])):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        assert sockets_of_others(tmp_path) == (found if user else [])


@pytest.mark.parametrize(
    ("file", "checks"),
    [
        (CONFIG / "math.yaml", [LaunchCheck]),
        (CONFIG / "evaluate.yaml", [LaunchCheck]),
        ("platform/cpu.yaml", [LaunchCheck, LogicalCpuCheck]),
    ],
)
def test_every_recipe_the_evaluation_and_the_platform_have_their_checks(file, checks):
    path = Path(sys.modules["bapo_verl.launch_check"].__file__).parent / "config" / file
    callbacks = [callback._target_ for callback in OmegaConf.load(path).hydra.callbacks.values()]
    assert sorted(callbacks) == sorted(f"{check.__module__}.{check.__name__}" for check in checks)


@pytest.mark.slow
def test_the_driver_says_it_in_one_sentence_before_ray_and_a_dry_run_goes_on(data, tmp_path):
    LlamaConfig(vocab_size=64).save_pretrained(tmp_path)
    tokenizer(None).save_pretrained(tmp_path)
    command = [sys.executable, "-m", "verl.trainer.main_ppo", "--config-dir", str(CONFIG), "--config-name"]
    command += ["octothinker_3b", f"actor_rollout_ref.model.path={tmp_path}", "data.train_batch_size=4"]
    command += ["trainer.total_epochs=40", *(f"data.{key}={path}" for key, path in data.items())]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and run.stdout == ""
    assert "no chat template" in run.stderr.splitlines()[-1] and "Traceback" not in run.stderr
    assert subprocess.run([*command, "--cfg", "job"], cwd=tmp_path, capture_output=True).returncode == 0
