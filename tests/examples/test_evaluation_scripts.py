"""evaluate.sh and evaluate_checkpoint.sh with a stand-in for python3; tests/pipeline/test_rehearsal.py runs them."""

import pytest

from tests.examples.stubs import ROOT, Stubs, overrides_of
from tests.recipe.composing import composed

PATHS = {"DATA_DIR": "/data", "OUTPUT_DIR": "/out"}


@pytest.fixture
def stubs(tmp_path):
    return Stubs(tmp_path, "python3")


@pytest.fixture
def checkpoint(tmp_path):
    step = tmp_path / "a=b, (c)" / "global_step_20"
    (step / "actor").mkdir(parents=True)
    return step


def test_a_checkpoint_is_merged_once_and_evaluated(stubs, checkpoint):
    done, (merge, evaluate) = stubs.run("evaluate_checkpoint.sh", "a=b", CHECKPOINT=str(checkpoint), **PATHS)
    assert done.returncode == 0, done.stderr
    assert merge[1:-4] == "-m verl.model_merger merge --backend fsdp".split()
    assert merge[-4:] == ["--local_dir", f"{checkpoint}/actor", "--target_dir", f"{checkpoint}/merged.part"]
    assert evaluate[1:5] == ["-m", "recipe.evaluation.evaluate", "-o", "/out"] and evaluate[-1] == "a=b"
    assert f"actor_rollout_ref.model.path='{checkpoint}/merged'" in evaluate
    done, (evaluate,) = stubs.run("evaluate_checkpoint.sh", CHECKPOINT=str(checkpoint), **PATHS)
    assert evaluate[2] == "recipe.evaluation.evaluate"


def test_ray_cluster_tries_the_evaluation_before_it_merges_or_starts_anything(tmp_path, checkpoint):
    stubs, node = Stubs(tmp_path, "ray", "python3"), {"MASTER_ADDR": "127.0.0.1", "NNODES": "1", **PATHS}
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
    _, (*_, evaluate) = stubs.run("evaluate_checkpoint.sh", CHECKPOINT="a=b, (c)/global_step_20", **PATHS)
    assert f"actor_rollout_ref.model.path='{checkpoint}/merged'" in evaluate


@pytest.mark.parametrize("folder", ["", "actor"])
def test_a_folder_that_is_no_checkpoint_is_a_sentence_and_nothing_is_made_in_it(folder, stubs, checkpoint):
    """Its run, or the shards themselves."""
    wrong = checkpoint / folder if folder else checkpoint.parent
    done, called = stubs.run("evaluate_checkpoint.sh", CHECKPOINT=str(wrong), **PATHS)
    rule = f"CHECKPOINT must be a folder global_step_N with a folder actor in it, got {wrong}\n"
    assert (done.returncode, done.stderr, called) == (1, rule, [])
    assert list(checkpoint.parent.rglob("merged*")) == []


@pytest.mark.parametrize("variable", ["MODEL_PATH", "DATA_DIR", "OUTPUT_DIR"])
def test_a_missing_variable_is_a_sentence(variable, stubs):
    given = {key: value for key, value in {"MODEL_PATH": "m", **PATHS}.items() if key != variable}
    done, called = stubs.run("evaluate.sh", **given)
    assert done.returncode != 0 and called == [] and f"{variable}: set {variable} to " in done.stderr


def test_a_number_of_nodes_is_a_number(stubs):
    done, called = stubs.run("evaluate.sh", MODEL_PATH="m", NNODES="two", **PATHS)
    assert (done.stderr, called) == ("NNODES must be a whole number above 0, got two\n", [])
