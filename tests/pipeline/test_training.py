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

import pytest

from bapo_verl.diagnosis import METRICS
from tests.pipeline.processes import TIME_LIMIT, processes_in

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "run_bapo_tiny_qwen2_cpu.sh"
PARTIAL_ROLLOUT = ROOT / "examples" / "run_bapo_tiny_qwen2_cpu_partial_rollout.sh"
BYPASS = "algorithm.rollout_correction.bypass_mode"

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(2 * TIME_LIMIT)]


@pytest.fixture(scope="module", params=["untied", "tied"])
def task(request, tmp_path_factory):
    """The demo's task: the base model of the repository, and one with tied embeddings, warmed up for less long."""
    if request.param == "untied":
        return ROOT / "recipe" / "tiny_task" / "base"
    path = tmp_path_factory.mktemp("task") / request.param
    command = [sys.executable, "-m", "recipe.tiny_task.task", "-o", str(path)]
    subprocess.run([*command, "--tied", "--steps", "240"], check=True, timeout=TIME_LIMIT)
    return path


def environment(task, **variables):
    own = {"TASK": str(task), "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "STEPS": "3"}
    return os.environ | own | variables


def demo(directory, *overrides, script=SCRIPT):
    """The demo's watcher around the demo's script."""
    watcher = [sys.executable, "-m", "recipe.demo.demo", "-o", str(directory), "--"]
    settings = ["trainer.val_before_train=False", "trainer.test_freq=-1"]
    return [*watcher, "bash", str(script), *settings, *overrides]


def train(task, directory, *overrides, script=SCRIPT, steps=3):
    """The metrics of each step of a run that ends by itself, and what its watcher printed."""
    command, env = demo(directory, *overrides, script=script), environment(task, STEPS=str(steps))
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        printed, _ = process.communicate(timeout=TIME_LIMIT)
    finally:
        process.terminate()  # past the limit: the watcher ends its run, which the next test would meet
        process.wait()
    assert process.returncode == 0, printed[-3000:]
    return metrics(directory / "metrics.jsonl"), printed


def metrics(path):
    return [json.loads(line)["data"] for line in path.read_text().splitlines()]


def test_the_pipeline_trains_with_bapo(task, tmp_path):
    directory = tmp_path / "run"
    steps, printed = train(task, directory, f"{BYPASS}=False")  # so that verl compares rollout and actor
    assert len(steps) == 3

    # The rollout samples from the weights that were just trained, at every step.
    assert all(step["training/rollout_actor_probs_pearson_corr"] > 0.99 for step in steps)
    # Several updates on one batch: the policy leaves it.
    assert all(abs(step["actor/ppo_kl"]) > 1e-4 for step in steps)
    # The weights move, so that a rollout that kept the old ones would be seen.
    assert all(step["actor/grad_norm"] > 0 for step in steps)
    # A metric whose denominator is zero is omitted (no right answer in a batch), but not at every step.
    assert METRICS.keys() <= set().union(*steps)
    for step in steps:
        assert 0.6 <= step["actor/bapo/c_low"] <= 0.9 and 1.2 <= step["actor/bapo/c_high"] <= 3.0
    assert any(step["actor/bapo/steps"] > 0 for step in steps)
    # Eight updates on each rollout batch, of which the first, at r = 1, is never redone.
    assert all(step["actor/bapo/redone"] <= 7 / 8 and step["actor/bapo/bypass_mode"] == 0 for step in steps)

    # What a person sees: a line for each step, a summary with files that are there, and no process left behind.
    lines = [line.split() for line in printed.splitlines()]
    assert [line[0] for line in lines if line and line[0] in "123"] == ["1", "2", "3"]
    for name in ("picture", "metrics", "log"):
        assert Path(next(line[1] for line in lines if line and line[0] == name)).is_file()
    assert processes_in(directory) == []


@pytest.mark.parametrize("bypass_mode", [True, False])
@pytest.mark.parametrize("task", ["untied"], indirect=True)
def test_partial_rollout_trains_on_answers_that_span_model_versions(task, tmp_path, bypass_mode):
    steps, _ = train(task, tmp_path / "run", f"{BYPASS}={bypass_mode}", script=PARTIAL_ROLLOUT, steps=6)
    assert len(steps) == 6
    assert max(step["training/off_policy/trajectory_spans/max"] for step in steps) > 1
    assert max(step["training/off_policy/trajectory_staleness/max"] for step in steps) > 0
    # The bounds leave their start, the entropy curve is there, and the log says which ratio it is about. Not that steps
    # differ: c_high is a mean over two updates, and in six steps it has been 2.1, the mean of both ends, each time.
    assert max(step["actor/bapo/c_high"] for step in steps) > 1.2
    assert all(step["actor/entropy"] > 0 and step["actor/bapo/bypass_mode"] == bypass_mode for step in steps)


def rollouts(directory):
    """verl's own way to train on the same answers again: the first run writes them, the others read them."""
    skip = "skip.rollout_tq"
    return [f"{skip}.enable=True", f"{skip}.dump_dir={directory}", f"{skip}.steps=[1,2]", f"{skip}.action=cache"]


# Two updates a step, on the whole batch each, so that what is searched does not depend on how ranks cut mini-batches.
# A large step and a target just above the share at the start, so that the search acts and stops inside the path.
WHOLE_BATCH = ["data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=8"]
WHOLE_BATCH += ["actor_rollout_ref.actor.ppo_epochs=2", "actor_rollout_ref.actor.optim.lr=3e-3"]
WHOLE_BATCH += [
    f"actor_rollout_ref.actor.policy_loss.{key}" for key in ("contribution=gradient", "target_contribution=0.42")
]


@pytest.fixture(scope="module")
def one_rank(task, tmp_path_factory):
    """A run on one rank, and the folder with its answers."""
    directory = tmp_path_factory.mktemp("ranks")
    return train(task, directory / "1", *WHOLE_BATCH, *rollouts(directory / "dump"), steps=2)[0], directory / "dump"


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("task", ["untied"], indirect=True)
def test_many_ranks_choose_the_bounds_of_one_rank_on_the_same_data(task, one_rank, tmp_path, ranks):
    """FSDP2 over 2 and 4 processes, each with a vLLM engine; dynamic batches, so uneven numbers of answers."""
    expected, dump = one_rank
    overrides = [*WHOLE_BATCH, *rollouts(dump), f"trainer.n_gpus_per_node={ranks}"]
    got, _ = train(task, tmp_path / "run", *overrides, steps=2)
    for one, many in zip(expected, got, strict=True):
        for name in ("c_low", "c_high", "steps", "positive_tokens", "negative_tokens", "positive_length"):
            assert many[f"actor/bapo/{name}"] == pytest.approx(one[f"actor/bapo/{name}"], abs=1e-9), name
        for name in ("rho", "rho_start"):
            assert many[f"actor/bapo/{name}"] == pytest.approx(one[f"actor/bapo/{name}"], abs=1e-3), name
    assert any(step["actor/bapo/steps"] > 0 for step in expected)


@pytest.mark.parametrize("task", ["untied"], indirect=True)
def test_a_killed_run_resumes_with_the_same_steps_and_the_same_data(task, tmp_path):
    """SIGKILL after step 3 with a checkpoint at step 2: step 3 is made again, from the same problems."""
    settings = [f"trainer.default_local_dir={tmp_path}/checkpoints", "trainer.resume_mode=auto", "trainer.save_freq=2"]
    settings += ["data.train_batch_size=8", "trainer.total_training_steps=5"]

    def start(directory):
        command = demo(directory, *settings, f"trainer.rollout_data_dir={directory}/answers")
        return subprocess.Popen(command, env=environment(task), stdout=subprocess.PIPE, text=True)

    killed, resumed = tmp_path / "killed", tmp_path / "resumed"
    process = start(killed)
    wait_for_steps(process, killed, 3)
    process.kill()
    for survivor in processes_in(killed):
        survivor.kill()
    process.wait()
    process = start(resumed)
    output, _ = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 0, output[-3000:]

    before, after = (
        [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        for directory in (killed, resumed)
    )
    assert [record["step"] for record in after] == [3, 4, 5] and before[2]["step"] == 3
    problems = [
        sorted(json.loads(line)["input"] for line in (directory / "answers" / "3.jsonl").read_text().splitlines())
        for directory in (killed, resumed)
    ]
    assert problems[0] == problems[1] and len(problems[0]) == 64
    # The bounds are chosen at each update as ever: BAPO has no state to bring back.
    for record in after:
        assert 0.6 <= record["data"]["actor/bapo/c_low"] <= 0.9 and 1.2 <= record["data"]["actor/bapo/c_high"] <= 3.0


def wait_for_steps(process, directory, steps):
    deadline = time.monotonic() + TIME_LIMIT
    log = directory / "metrics.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < steps:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("task", ["untied"], indirect=True)
def test_ctrl_c_leaves_no_process_behind(task, tmp_path):
    directory = tmp_path / "run"
    process = subprocess.Popen(demo(directory, "trainer.total_training_steps=1000"), env=environment(task),
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    wait_for_steps(process, directory, 1)
    names = {p.name() for p in processes_in(directory)}
    assert {"raylet"} <= names and any("VLLM" in name for name in names)  # there is something to leave behind

    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "interrupted" in process.stdout.read()
    assert processes_in(directory) == []
