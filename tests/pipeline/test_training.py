"""The real thing, end to end: Ray, vLLM, FSDP2, weight sync, the math reward, and verl's trainer with BAPO.

Each run starts the demo's own script. What this file does not exercise: a GPU, and a run long enough to learn.
"""

import contextlib
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
from tests.pipeline.rehearsals import BASE_TEMPLATE
from tests.pipeline.tiny_models import save_all

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "run_bapo_tiny_qwen2_cpu.sh"
PARTIAL_ROLLOUT = ROOT / "examples" / "run_bapo_tiny_qwen2_cpu_partial_rollout.sh"
BASE_MODEL = ROOT / "recipe" / "tiny_task" / "base" / "model"
PATH_STEPS = 36 + 15  # c_high from 1.2 to 3.0 in steps of 0.05, then c_low from 0.6 to 0.9 in steps of 0.02
BYPASS = "algorithm.rollout_correction.bypass_mode"
ACTOR = "actor_rollout_ref.actor"

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(2 * TIME_LIMIT)]


@contextlib.contextmanager
def started(directory, *overrides, script=SCRIPT, **variables):
    """The demo's watcher around a run of the demo's script; what is left of it at the end is killed."""
    watcher = [sys.executable, "-m", "recipe.demo.demo", "-o", str(directory), "--"]
    command = [*watcher, "bash", str(script), "trainer.val_before_train=False", "trainer.test_freq=-1", *overrides]
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)} | variables
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        for survivor in processes_in(directory):
            survivor.kill()
        process.wait()


def train(directory, *overrides, steps, script=SCRIPT):
    """The metrics of each step of a run that ends by itself, and what its watcher printed."""
    with started(directory, *overrides, script=script, STEPS=str(steps)) as process:
        printed, _ = process.communicate(timeout=TIME_LIMIT)
        assert process.returncode == 0, printed[-3000:]
        assert processes_in(directory) == []
    return [record["data"] for record in records(directory)], printed


def records(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def assert_bounds_in_range(step):
    assert 0.6 <= step["actor/bapo/c_low"] <= 0.9 and 1.2 <= step["actor/bapo/c_high"] <= 3.0


def assert_rollouts_are_from_the_trained_weights(steps):
    assert all(step["training/rollout_actor_probs_pearson_corr"] > 0.99 for step in steps)
    # The weights move, so that a rollout that kept the old ones would be seen.
    assert all(step["actor/grad_norm"] > 0 for step in steps)


def rollouts(directory):
    """verl's own way to train on the same answers again: the first run writes them, the others read them."""
    skip = "skip.rollout_tq"
    return [f"{skip}.enable=True", f"{skip}.dump_dir={directory}", f"{skip}.steps=[1,2]", f"{skip}.action=cache"]


# Two updates a step, on the whole batch each, so that what is searched does not depend on how ranks cut mini-batches.
# A large step and a target just above the share at the start, so that the search acts and stops inside the path.
SEARCH = ["contribution=gradient", "target_contribution=0.42"]
WHOLE_BATCH = [
    f"{BYPASS}=False",  # so that verl compares rollout and actor
    "data.train_batch_size=8",
    f"{ACTOR}.ppo_mini_batch_size=8",
    f"{ACTOR}.ppo_epochs=2",
    f"{ACTOR}.optim.lr=3e-3",
    *(f"{ACTOR}.policy_loss.{key}" for key in SEARCH),
]


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    """A run on one rank: its metrics, what its watcher printed, and the folder with its answers."""
    directory = tmp_path_factory.mktemp("ranks")
    answers = f"trainer.rollout_data_dir={directory}/answers"
    return *train(directory / "1", *WHOLE_BATCH, answers, *rollouts(directory / "dump"), steps=2), directory / "dump"


def test_the_pipeline_trains_with_bapo(one_rank):
    steps, printed, _ = one_rank
    assert len(steps) == 2
    assert_rollouts_are_from_the_trained_weights(steps)
    # Two updates on one batch: the policy leaves it.
    assert all(abs(step["actor/ppo_kl"]) > 1e-4 for step in steps)
    # A metric whose denominator is zero is omitted (no right answer in a batch), but not at every step.
    assert METRICS.keys() <= set().union(*steps)
    for step in steps:
        assert_bounds_in_range(step)
    assert any(step["actor/bapo/steps"] > 0 for step in steps)
    # The first of two updates, at r = 1, is never redone.
    assert all(step["actor/bapo/redone"] <= 1 / 2 and step["actor/bapo/bypass_mode"] == 0 for step in steps)

    # What a person sees: a line for each step, and a summary with files that are there.
    lines = [line.split() for line in printed.splitlines()]
    assert [line[0] for line in lines if line and line[0] in "123"] == ["1", "2"]
    for name in ("picture", "metrics", "log"):
        assert Path(next(line[1] for line in lines if line and line[0] == name)).is_file()


def test_the_forecast_from_the_answers_is_what_the_search_found(one_rank):
    """The first of a step's two updates is on the whole batch at r = 1, as the forecast has it; the log has their mean.

    The second moves rho_start by up to 0.07. An answer that was cut has no end token, which the forecast counts.
    """
    steps, _, dump = one_rank
    for number, step in enumerate(steps, 1):
        arguments = [dump.parent / "answers" / f"{number}.jsonl", "--mini-batch-size", "8", "--json", *SEARCH]
        command = [sys.executable, "-m", "bapo_verl.forecast", *arguments, "--tokenizer", BASE_MODEL]
        forecast = json.loads(subprocess.check_output([str(word) for word in command], cwd=ROOT))
        assert forecast["updates"] == 1 and forecast["bad_lines"] == 0
        assert -0.01 < forecast["length"]["failed"] - step["actor/bapo/negative_length"] < 1.01
        rho_start = forecast["rho_start"]["mean"]
        assert step["actor/bapo/rho_start"] == pytest.approx(rho_start, abs=0.04)
        end = forecast["presets"]["bapo"]["end"]
        if abs(rho_start - 0.42) > 0.02:  # else an end token decides
            assert (step["actor/bapo/steps"] >= PATH_STEPS / 2) == (end == 1.0)


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.rehearsal)])
def test_many_ranks_choose_the_bounds_of_one_rank_on_the_same_data(one_rank, tmp_path, ranks):
    """FSDP2 over 2 and 4 processes, each with a vLLM engine; dynamic batches, so uneven numbers of answers."""
    expected, _, dump = one_rank
    got, _ = train(tmp_path / "run", *WHOLE_BATCH, *rollouts(dump), f"trainer.n_gpus_per_node={ranks}", steps=2)
    for one, many in zip(expected, got, strict=True):
        for name in ("c_low", "c_high", "steps", "positive_tokens", "negative_tokens", "positive_length"):
            assert many[f"actor/bapo/{name}"] == pytest.approx(one[f"actor/bapo/{name}"], abs=1e-9), name
        for name in ("rho", "rho_start"):
            assert many[f"actor/bapo/{name}"] == pytest.approx(one[f"actor/bapo/{name}"], abs=1e-3), name


@pytest.mark.parametrize("bypass_mode", [True, pytest.param(False, marks=pytest.mark.rehearsal)])
def test_partial_rollout_trains_on_answers_that_span_model_versions(tmp_path, bypass_mode):
    steps, _ = train(tmp_path / "run", f"{BYPASS}={bypass_mode}", script=PARTIAL_ROLLOUT, steps=6)
    assert len(steps) == 6
    assert max(step["training/off_policy/trajectory_spans/max"] for step in steps) > 1
    assert max(step["training/off_policy/trajectory_staleness/max"] for step in steps) > 0
    # The bounds leave their start, the entropy curve is there, and the log says which ratio it is about. Not that steps
    # differ: c_high is a mean over two updates, and in six steps it has been 2.1, the mean of both ends, each time.
    assert max(step["actor/bapo/c_high"] for step in steps) > 1.2
    assert all(step["actor/entropy"] > 0 and step["actor/bapo/bypass_mode"] == bypass_mode for step in steps)


def test_a_killed_run_with_tied_embeddings_resumes_and_ctrl_c_leaves_no_process_behind(tmp_path):
    """SIGKILL after step 3 with a checkpoint at step 2: step 3 is made again, from the same problems."""
    save_all(tmp_path)
    settings = [
        f"{BYPASS}=False",
        f"actor_rollout_ref.model.custom_chat_template={BASE_TEMPLATE}",
        f"{ACTOR}.optim.lr=1e-3",
        "data.train_batch_size=8",
        f"trainer.default_local_dir={tmp_path}/checkpoints",
        "trainer.resume_mode=auto",
        "trainer.save_freq=2",
    ]
    files = {"MODEL_PATH": "llama", "TRAIN_FILE": "train.parquet", "TEST_FILE": "few.parquet"}
    variables = {name: str(tmp_path / file) for name, file in files.items()} | {"STEPS": "100"}

    def start(directory):
        return started(directory, *settings, f"trainer.rollout_data_dir={directory}/answers", **variables)

    killed, resumed = tmp_path / "killed", tmp_path / "resumed"
    with start(killed) as process:
        wait_for_steps(process, killed, 3)
    with start(resumed) as process:
        wait_for_steps(process, resumed, 2)
        names = {p.name() for p in processes_in(resumed)}
        assert {"raylet"} <= names and any("VLLM" in name for name in names)  # there is something to leave behind
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert "interrupted" in process.stdout.read()
        assert processes_in(resumed) == []

    before, after = records(killed)[:3], records(resumed)[:2]
    assert [record["step"] for record in before + after] == [1, 2, 3, 3, 4]
    steps = [record["data"] for record in before + after]
    assert_rollouts_are_from_the_trained_weights(steps)
    # The bounds are chosen at each update as ever: BAPO has no state to bring back.
    for step in steps:
        assert_bounds_in_range(step)
    problems = [
        sorted(json.loads(line)["input"] for line in (directory / "answers" / "3.jsonl").read_text().splitlines())
        for directory in (killed, resumed)
    ]
    assert problems[0] == problems[1] and len(problems[0]) == 64


def wait_for_steps(process, directory, steps):
    deadline = time.monotonic() + TIME_LIMIT
    log = directory / "metrics.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < steps:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
