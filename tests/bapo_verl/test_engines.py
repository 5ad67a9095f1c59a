"""bapo_verl.engine on verl's other engines: real Megatron, veOmni and AutoModel on the CPU, over gloo.

Each must choose the bounds of the FSDP2 engine on the batch of test_engine.py. They run in an environment of their own
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

from tests.bapo_verl.engine_batch import SEQUENCES, SUMS, TARGET, UPDATES, save_tiny_model
from tests.bapo_verl.oracle import Setting, algorithm_1

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


def run(directory, backend, world, **setting):
    """The histories of the ranks, as engines_on_cpu.py saves them."""
    model, out = save_tiny_model(directory / "model"), directory / "out"
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
def reference(tmp_path_factory):
    (rank,) = run(tmp_path_factory.mktemp("fsdp2"), "fsdp2", 1)
    return rank["updates"]


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
def test_an_engine_chooses_the_bounds_of_fsdp2(tmp_path, reference, backend, world, setting):
    ranks = run(tmp_path, backend, world, **setting)
    sources = [rank for rank in ranks if rank["counts"]]  # one of the ranks that share a sequence
    replicas = world // (setting.get("tp", 1) * setting.get("pp", 1))
    assert len(sources) == replicas
    for number in range(UPDATES):
        expected = reference[number]
        runs = expected["forwards"] // (SEQUENCES // MICRO)
        micro_batches = SEQUENCES // replicas // MICRO
        assert [rank["updates"][number]["forwards"] for rank in ranks] == [runs * micro_batches] * world
        received = [part for rank in sources for part in rank["updates"][number]["received"][:micro_batches]]
        assert_exact(torch.cat(received, 1), sources[0]["updates"][number]["metrics"])
        for rank in ranks:
            metrics = rank["updates"][number]["metrics"]
            if rank["counts"]:
                assert metrics.keys() == expected["metrics"].keys()
            for key, value in metrics.items():
                name = key.rpartition("/")[2]
                assert value == pytest.approx(expected["metrics"][key], abs=TOLERANCES.get(name, 1e-9)), (number, key)


def assert_exact(tokens, metrics):
    """Whatever an engine's dtype: the bounds are those of Algorithm 1 for the (r, A) that the loss received."""
    c_low, c_high, rho, steps = algorithm_1([(r, a, 1.0) for r, a in tokens.double().T.tolist()], Setting(TARGET))
    assert (metrics["actor/bapo/c_low"], metrics["actor/bapo/c_high"]) == pytest.approx((c_low, c_high))
    assert metrics["actor/bapo/steps"] == steps
    assert metrics["actor/bapo/rho"] == pytest.approx(rho, abs=1e-9)


def test_the_reference_redoes_and_predicts(reference):
    """The comparison is a fair one: one update is run twice, and two are predicted by a forward."""
    assert [update["forwards"] for update in reference] == [16, 16, 16]
    assert [update["metrics"]["actor/bapo/redone"] for update in reference] == [1, 0, 0]
    for update in reference:
        assert_exact(torch.cat(update["received"][:8], 1), update["metrics"])
