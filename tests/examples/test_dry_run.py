"""A launch script with the real Python and `--cfg job`, which starts nothing, and those for the CPU composed here.

test_scripts.py composes the others, tests/pipeline runs some to the end.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.bapo_verl.verl_source import composed
from tests.examples.stubs import EXAMPLES, Stubs

FOR_THE_CPU = sorted(EXAMPLES.glob("run_*_cpu*.sh"))
PATHS = {name: f"/data/{name}" for name in ("TASK", "MODEL_PATH", "TRAIN_FILE", "TEST_FILE", "CKPTS_DIR")}
GIVEN = ["trainer.total_training_steps=7", "trainer.experiment_name=mine"]


def assert_bapo_and_what_was_given(config):
    policy_loss, trainer = config["actor_rollout_ref"]["actor"]["policy_loss"], config["trainer"]
    assert (policy_loss["loss_mode"], policy_loss["c_high_start"], policy_loss["c_high_max"]) == ("bapo", 1.2, 3.0)
    assert (trainer["total_training_steps"], trainer["experiment_name"]) == (7, "mine")
    assert Path(config["reward"]["custom_reward_function"]["path"]).is_file()


@pytest.mark.slow
def test_it_composes_with_bapo_and_what_the_command_line_says_wins(tmp_path):
    environment = {**os.environ, **PATHS, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", str(EXAMPLES / "run_bapo_r1_distill_qwen_7b_fsdp.sh"), *GIVEN, "--cfg", "job"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_bapo_and_what_was_given(yaml.safe_load(done.stdout))


@pytest.mark.parametrize("script", FOR_THE_CPU, ids=lambda script: script.name)
def test_a_script_for_the_cpu_composes(script, tmp_path):
    _, (call,) = Stubs(tmp_path, "python3").run(script, *GIVEN, **{**PATHS, "PYTHON": "python3"})
    assert call[:3] == ["python3", "-m", "verl.trainer.main_ppo"]
    assert_bapo_and_what_was_given(composed(*call[3:]))


def test_a_python_that_verl_does_not_support_is_a_sentence(tmp_path):
    """A stand-in for python3.13: verl's own metadata would refuse it only after the download."""
    (tmp_path / "python3.13").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3.13").chmod(0o755)
    environment = {**os.environ, "BAPO_PYTHON": str(tmp_path / "python3.13"), "BAPO_HOME": str(tmp_path / "home")}
    done = subprocess.run(["bash", str(EXAMPLES / "demo.sh")], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("verl 0.9.1 needs Python 3.10, 3.11 or 3.12") and "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()
