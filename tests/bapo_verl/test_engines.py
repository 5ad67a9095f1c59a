"""bapo_verl.engine on verl's other engines: real Megatron, veOmni and AutoModel on the CPU, over gloo.

Each must choose the bounds of the FSDP2 engine on the batch of test_engine.py, which says that this is a fair case: one
update is run twice, and two are predicted by a forward. The engines run in an environment of their own
(requirements-engines.txt, which tests/run.sh installs) and in processes of their own, because what they need to run
without a GPU is patched for the whole process (engines_on_cpu.py). What this file does not exercise: CUDA, bf16, packed
batches, context, sequence and expert parallelism, MoE, Megatron-Bridge; FSDP-Turbo, MindSpeed and TorchTitan, whose
packages do not run here.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from tests.bapo_verl import engine_runs
from tests.bapo_verl.engine_batch import SEQUENCES, SUMS, UPDATES, assert_algorithm_1

PYTHON = os.environ.get("ENGINES_PYTHON")
LIMIT = 150
MICRO = 2
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(
        not PYTHON, reason="ENGINES_PYTHON is not set: tests/run.sh makes the environment of requirements-engines.txt"
    ),
]


def run(directory, model, backend, world, **setting):
    """The histories of the ranks, as engines_on_cpu.py saves them."""
    out = directory / "out"
    out.mkdir()
    setting |= dict(backend=backend, world=world, micro=MICRO, model=model, out=str(out), limit=LIMIT - 30)
    (directory / "setting.json").write_text(json.dumps(setting))
    log = directory / "log"
    with log.open("w") as file:
        command = [PYTHON, "-m", "tests.bapo_verl.engines_on_cpu", str(directory / "setting.json")]
        environment = os.environ | {"VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}
        streams = dict(stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        process = subprocess.Popen(command, env=environment, **streams, start_new_session=True)
        try:
            code = process.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # the ranks too
            code = f"none after {LIMIT} s"
    if code:
        pytest.fail(f"{setting}: exit code {code}, the end of its log:\n{log.read_text()[-4000:]}")
    return [torch.load(out / str(rank)) for rank in range(world)]


@pytest.fixture(scope="module")
def reference(model):
    return engine_runs.run(model, micro=MICRO, packed=False)


TOLERANCES = SUMS | {"grad_norm": 1e-4}  # two updates on, Megatron has summed in another order


@pytest.mark.used_by("bapo_verl/engine.py")
@pytest.mark.parametrize(
    ("backend", "world", "setting"),
    [
        ("megatron", 2, dict(pp=2)),
        ("megatron", 4, dict(tp=2, pp=2)),
        ("megatron", 2, dict(distributed_optimizer=True)),
        ("veomni", 2, {}),
        ("automodel", 2, {}),
    ],
    ids=["megatron-pp2", "megatron-tp2-pp2", "megatron-dp2", "veomni-dp2", "automodel-dp2"],
)
def test_an_engine_chooses_the_bounds_of_fsdp2(tmp_path, model, reference, backend, world, setting):
    ranks = run(tmp_path, model, backend, world, **setting)
    sources = [rank for rank in ranks if rank["counts"]]  # one of the ranks that share a sequence
    replicas = world // (setting.get("tp", 1) * setting.get("pp", 1))
    assert len(sources) == replicas
    for number in range(UPDATES):
        expected = reference[number]
        runs = expected["forwards"] // (SEQUENCES // MICRO)
        micro_batches = SEQUENCES // replicas // MICRO
        assert [rank["updates"][number]["forwards"] for rank in ranks] == [runs * micro_batches] * world
        received = [part for rank in sources for part in rank["updates"][number]["received"][:micro_batches]]
        assert_algorithm_1(received, sources[0]["updates"][number]["metrics"])
        for rank in ranks:
            metrics = rank["updates"][number]["metrics"]
            if rank["counts"]:
                assert metrics.keys() == expected.keys() - engine_runs.COUNTS
            for key, value in metrics.items():
                name = key.rpartition("/")[2]
                assert value == pytest.approx(expected[key], abs=TOLERANCES.get(name, 1e-9)), (number, key)
