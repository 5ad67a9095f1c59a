"""The scripts for GPUs, run to the end on the CPU with their own recipes, and their checkpoints merged and evaluated.

rehearsals.yaml says what is set otherwise and why; test_rehearsal_config.py holds the rest to the recipes. Not reached:
a GPU, bf16, flash-attn, CUDA graphs, sleep mode, NCCL (so separate_async's transfer of weights), sequence and tensor
parallelism, a real model. More than one node: test_two_nodes.py.
"""

import json
import os
import sys

import pytest

from tests.examples.stubs import EXAMPLES
from tests.pipeline.processes import run_to_the_end
from tests.pipeline.rehearsals import SCRIPTS, overrides, script_of, values
from tests.pipeline.tiny_models import save_all

IN_THE_GATE = "bp_math_7b_fsdp"  # two ranks; the others are marked `rehearsal`, which tests/run.sh runs by that name
NAMES = [name if name == IN_THE_GATE else pytest.param(name, marks=pytest.mark.rehearsal) for name in SCRIPTS]

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny")
    save_all(directory)
    return directory


def environment(**variables) -> dict[str, str]:
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "VERL_PLATFORM": "cpu", "HF_HUB_OFFLINE": "1", "NNODES": "1", **variables}


@pytest.mark.parametrize("name", NAMES)
def test_a_script_trains_saves_and_its_checkpoint_is_evaluated(name, tiny, tmp_path):
    ranks, checkpoints = SCRIPTS[name]["ranks"], tmp_path / "checkpoints"
    run_to_the_end(
        ["bash", str(script_of(name)), *overrides(name)],
        environment(
            MODEL_PATH=str(tiny / SCRIPTS[name]["model"]), TRAIN_FILE=str(tiny / "train.parquet"),
            TEST_FILE=str(tiny / "few.parquet"), CKPTS_DIR=str(checkpoints), EXPERIMENT_NAME="run",
            NGPUS_PER_NODE=str(ranks),
        ),
        tmp_path,
    )  # fmt: skip
    (log,) = (checkpoints / "run" / "metrics").glob("run-*.jsonl")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    steps = {record["step"]: record["data"] for record in records if "actor/bapo/rho" in record["data"]}
    assert set(steps) == {1, 2}
    updates = values(name)["data.train_batch_size"] / values(name)["actor_rollout_ref.actor.ppo_mini_batch_size"]
    for step, data in steps.items():
        shown = {key: round(data[key], 4) for key in ("actor/bapo/rho", "actor/bapo/c_high", "actor/grad_norm")}
        print(f"{name} ({ranks} rank, {updates:g} updates) step {step}: {shown}")
        assert 0 <= data["actor/bapo/rho_start"] <= data["actor/bapo/rho"] + 1e-6 <= 1 + 1e-6
        assert data["actor/grad_norm"] > 0 and data["actor/entropy"] > 0 and data["actor/bapo/bypass_mode"] == 1
        assert 0 < data["critic/score/mean"] < 1 and data["response_length/max"] > 48
    # verl validates before the first step and after the last, on 16 answers to each problem.
    assert {record["step"] for record in records if any("mean@16" in key for key in record["data"])} == {0, 2}

    step = checkpoints / "run" / "global_step_2"
    assert len([*step.glob("actor/model_world_size_*")]) == ranks
    run_to_the_end(
        ["bash", str(EXAMPLES / "evaluate_checkpoint.sh"), "+platform=cpu"],
        environment(
            CHECKPOINT=str(step), DATA_DIR=str(tiny), DATA_SETS="few", OUTPUT_DIR=str(tmp_path / "evaluation"),
            NGPUS_PER_NODE="1",
        ),
        tmp_path,
    )  # fmt: skip
    result = json.loads((tmp_path / "evaluation" / "results.json").read_text())["few"]
    assert (result["problems"], result["samples"]) == (4, 16) and 0 < result["average"] < 1
    assert result["settings"]["model"] == str(step / "merged")
