"""The real thing, end to end: Ray, vLLM, FSDP2, weight sync, the math reward, and verl's trainer with BAPO.

Each run starts the demo's own script. What this file does not exercise: a GPU, and a run long enough to learn.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bapo_verl.policy_loss import METRICS

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "examples" / "run_bapo_tiny_qwen2_cpu.sh"
TIME_LIMIT = 420

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(2 * TIME_LIMIT)]


@pytest.fixture(scope="module", params=["untied", "tied"])
def tiny(request, tmp_path_factory):
    """The demo's model and data, barely warmed up, with embeddings of their own and with tied ones."""
    path = tmp_path_factory.mktemp("tiny") / request.param
    options = ["--tied"] if request.param == "tied" else []
    command = [sys.executable, str(ROOT / "recipe" / "tiny.py"), "-o", str(path), "--steps", "200", *options]
    subprocess.run(command, check=True, timeout=TIME_LIMIT)
    return path


def environment(tiny, **variables):
    return {**os.environ, "TINY": str(tiny), "PYTHON": sys.executable, "STEPS": "3", **variables}


def demo(directory, *overrides):
    """The demo's watcher around the demo's script."""
    watcher = [sys.executable, str(ROOT / "recipe" / "demo.py"), "-o", str(directory), "--"]
    return [
        *watcher,
        "bash",
        str(SCRIPT),
        "actor_rollout_ref.actor.optim.lr=1e-3",
        "trainer.val_before_train=False",
        *overrides,
    ]


def descendants_of_a_run(directory):
    """Processes that work in the run's directory: Ray's, verl's and vLLM's inherit it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_the_pipeline_trains_with_bapo(tiny, tmp_path):
    directory = tmp_path / "run"
    done = subprocess.run(demo(directory), env=environment(tiny), capture_output=True, text=True, timeout=TIME_LIMIT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    steps = [json.loads(line)["data"] for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == 3

    # The rollout samples from the weights that were just trained, at every step.
    assert all(step["training/rollout_actor_probs_pearson_corr"] > 0.99 for step in steps)
    # Several updates on one batch: the policy leaves it.
    assert all(abs(step["actor/ppo_kl"]) > 1e-4 for step in steps)
    # The weights move, so that a rollout that kept the old ones would be seen.
    assert all(step["actor/grad_norm"] > 0 for step in steps)
    # A share of nothing is left out (no right answer in a batch), but not at every step.
    assert METRICS.keys() <= set().union(*steps)
    for step in steps:
        assert 0.6 <= step["actor/bapo/c_low"] <= 0.9 and 1.2 <= step["actor/bapo/c_high"] <= 3.0
    assert any(step["actor/bapo/steps"] > 0 for step in steps)

    # What a person sees: a line for each step, a summary with files that are there, and no process left behind.
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line and line[0] in "123"] == ["1", "2", "3"]
    for name in ("picture", "metrics", "log"):
        assert Path(next(line[1] for line in lines if line and line[0] == name)).is_file()
    assert descendants_of_a_run(directory) == []


@pytest.mark.parametrize("tiny", ["untied"], indirect=True)
def test_ctrl_c_leaves_no_process_behind(tiny, tmp_path):
    directory = tmp_path / "run"
    process = subprocess.Popen(demo(directory, "trainer.total_training_steps=1000"), env=environment(tiny),
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    deadline = time.monotonic() + TIME_LIMIT
    while not (directory / "metrics.jsonl").exists() or not (directory / "metrics.jsonl").read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(1)
    names = {p.name() for p in descendants_of_a_run(directory)}
    assert {"raylet"} <= names and any("VLLM" in name for name in names)  # there is something to leave behind

    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "interrupted" in process.stdout.read()
    assert descendants_of_a_run(directory) == []
