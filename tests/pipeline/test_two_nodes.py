"""ray_cluster.sh on two nodes: namespaces of this machine, with a network, processes, /tmp, /dev/shm and HOME each.

Not reached: two machines with their own clocks and disks, a network that loses packets, NCCL.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.pipeline.processes import TIME_LIMIT
from tests.pipeline.test_training import SCRIPT, WHOLE_BATCH, one_rank, rollouts  # noqa: F401  a fixture among them

ROOT = Path(__file__).resolve().parents[2]
TWO_NODES = "unshare --map-root-user --net --mount --pid --fork --kill-child --mount-proc bash".split()

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(3 * TIME_LIMIT)]


@contextlib.contextmanager
def started(folder: Path, *command: str, **variables: str):
    """The command on both nodes, with what it needs in its environment; at the end both are ended as a whole."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    cluster = {"MASTER_ADDR": "10.0.0.1", "NNODES": "2", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": 32 * "token"}
    kept = f"{folder.parent}:{ROOT}:{sys.prefix}:{sys.base_prefix}"
    script = str(Path(__file__).with_name("two_nodes.sh"))
    process = subprocess.Popen(
        [*TWO_NODES, script, str(folder), kept, *command], cwd=ROOT, text=True, stderr=subprocess.PIPE,
        env={**os.environ, **cluster, "PATH": path, "PYTHON": sys.executable, **variables},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def assert_ends(process: subprocess.Popen, folder: Path, head: int, worker: int) -> None:
    """With these exit codes."""
    _, said = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 0, said
    codes = [int((folder / f"{node}.code").read_text()) for node in (1, 2)]
    assert codes == [head, worker], tail(folder)


def tail(folder: Path) -> str:
    return (folder / "1.log").read_text(errors="replace")[-5000:]


def new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module", autouse=True)
def namespaces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nodes")
    if missing := [name for name in ("unshare", "ip") if not shutil.which(name)]:
        pytest.skip(f"two nodes need {missing[0]}")
    with started(folder, "true") as process:
        _, said = process.communicate(timeout=60)
    if process.returncode:
        pytest.skip(f"two nodes cannot be made here: {said.strip()}")


def test_a_cluster_forms_and_the_jobs_code_comes_back_from_the_head(tmp_path):
    folder, job = new(tmp_path / "run"), tmp_path / "job.sh"
    count = "import ray; ray.init(); print('alive:', sum(node['Alive'] for node in ray.nodes()))"
    job.write_text(f'[ "${{*: -1}}" != job ] || exit 0  # the dry run\npython3 -c "{count}"\nexit 7\n')
    with started(folder, "bash", "examples/ray_cluster.sh", str(job)) as process:
        assert_ends(process, folder, head=7, worker=0)
    assert "alive: 2\n" in (folder / "1.log").read_text()


def steps_in(metrics: Path) -> dict[int, dict]:
    lines = metrics.read_text().split("\n")[:-1] if metrics.exists() else ()
    return {record["step"]: record["data"] for record in map(json.loads, lines)}


@pytest.mark.rehearsal
def test_bapo_trains_on_two_nodes_and_goes_on_after_one_was_killed(one_rank, tmp_path):  # noqa: F811
    """One FSDP rank and one vLLM replica a node. Steps 1 and 2 have the answers of the run on one rank."""
    expected, _, dump = one_rank
    shared = new(tmp_path / "shared")
    shutil.copytree(dump, shared / "dump")

    settings = "trainer.nnodes=2 trainer.save_freq=1 trainer.resume_mode=auto trainer.val_before_train=False"
    command = ["bash", "examples/ray_cluster.sh", str(SCRIPT), *WHOLE_BATCH, *rollouts(shared / "dump")]
    command += [*settings.split(), "trainer.test_freq=-1", f"trainer.default_local_dir={shared}/checkpoints"]

    def run(name, steps):
        variables = {
            "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 8, "GPU": 1}), "VERL_PLATFORM": "cpu",
            "VERL_FILE_LOGGER_PATH": str(shared / f"{name}.jsonl"), "STEPS": str(steps),
            "GLOO_SOCKET_IFNAME": "eth0",  # both have this machine's name, which is no address of theirs
        }  # fmt: skip
        return started(new(tmp_path / name), *command, **variables)

    with run("killed", 100) as process:
        deadline = time.monotonic() + TIME_LIMIT
        while 3 not in steps_in(shared / "killed.jsonl"):
            assert process.poll() is None and time.monotonic() < deadline, tail(tmp_path / "killed")
            time.sleep(0.5)
        node = [p for p in psutil.Process(process.pid).children(recursive=True) if p.environ().get("NODE") == "2"]
        node[0].kill()  # the process whose end ends the node
        assert_ends(process, tmp_path / "killed", head=1, worker=137)
    with run("resumed", 4) as process:
        assert_ends(process, tmp_path / "resumed", head=0, worker=0)

    killed, resumed = steps_in(shared / "killed.jsonl"), steps_in(shared / "resumed.jsonl")
    assert min(resumed) in (3, 4) and max(resumed) == 4
    for step, one in enumerate(expected, 1):
        for name in ("c_low", "c_high", "steps", "positive_tokens", "negative_tokens"):
            assert killed[step][f"actor/bapo/{name}"] == pytest.approx(one[f"actor/bapo/{name}"], abs=1e-9), name
        for name in ("bapo/rho", "grad_norm"):
            print(f"step {step} {name}: {killed[step][f'actor/{name}']} on two nodes, {one[f'actor/{name}']} on one")
            assert killed[step][f"actor/{name}"] == pytest.approx(one[f"actor/{name}"], rel=1e-3), name
    # Inside the path: a step's two updates are not both at its start, one at each end, or both at its end.
    bounds = {tuple(round(one[f"actor/bapo/{name}"], 9) for name in ("c_low", "c_high")) for one in expected}
    assert bounds.isdisjoint({(0.6, 1.2), (0.75, 2.1), (0.9, 3.0)})
    for data in (killed[3], resumed[4]):  # sampled on both nodes from the trained weights
        assert data["training/rollout_actor_probs_pearson_corr"] > 0.99 and data["actor/grad_norm"] > 0
