"""Each launch script with the real Python and `--cfg job`, which prints the config and starts nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.examples.stubs import EXAMPLES

SCRIPTS = sorted(EXAMPLES.glob("run_*.sh"))


def dry_run(script, cwd, *overrides):
    paths = {name: f"/data/{name}" for name in ("TASK", "MODEL_PATH", "TRAIN_FILE", "TEST_FILE", "CKPTS_DIR")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # python3, and PYTHON of the scripts for the CPU
    environment = {**os.environ, **paths, "PATH": path, "PYTHON": sys.executable}
    if "separate_async" in script.name:
        environment["ROLLOUT_NNODES"] = "1"
    command = ["bash", str(script), *overrides, "--cfg", "job"]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.name)
def test_it_composes_with_its_algorithm_and_what_the_command_line_says_wins(script, tmp_path):
    config = dry_run(script, tmp_path, "trainer.total_training_steps=7", "trainer.experiment_name=mine")
    policy_loss = config["actor_rollout_ref"]["actor"]["policy_loss"]
    assert policy_loss["loss_mode"] == "bapo"
    fixed = {"run_grpo": 1.2, "run_clip_higher": 1.28}
    c_high = next((c for name, c in fixed.items() if script.name.startswith(name)), None)
    assert (policy_loss["c_high_start"] == policy_loss["c_high_max"]) == (c_high is not None)
    assert policy_loss["c_high_start"] == (c_high or 1.2)
    assert (config["trainer"]["total_training_steps"], config["trainer"]["experiment_name"]) == (7, "mine")
    assert Path(config["reward"]["custom_reward_function"]["path"]).is_file()


def test_a_python_that_verl_does_not_support_is_a_sentence(tmp_path):
    """A stand-in for python3.13: verl's own metadata would refuse it only after the download."""
    (tmp_path / "python3.13").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3.13").chmod(0o755)
    environment = {**os.environ, "BAPO_PYTHON": str(tmp_path / "python3.13"), "BAPO_HOME": str(tmp_path / "home")}
    done = subprocess.run(["bash", str(EXAMPLES / "demo.sh")], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("verl 0.9.1 needs Python 3.10, 3.11 or 3.12") and "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()
