"""slurm.sbatch and ray_cluster.sh with stand-ins for srun, scontrol and ray.

The stand-ins write down what they were called with; Python, getent and the network of this machine are real.
tests/pipeline/test_two_nodes.py starts the real Ray on two nodes, which wait for each other and end together.
"""

import importlib.util
import re
import socket
from pathlib import Path

import pytest

from tests.examples.stubs import EXAMPLES, ROOT, VARIABLES, Stubs, variables

R1_7B = "examples/run_bapo_r1_distill_qwen_7b_fsdp.sh"
SEPARATE = "examples/run_bapo_r1_distill_qwen_7b_separate_async.sh"
ELSEWHERE = "127.0.0.2"  # answers here, and is no address of this node to Ray


def own_address() -> str:
    """This machine's, of the interface towards a network that is kept for documentation."""
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.connect(("192.0.2.77", 1))
        return udp.getsockname()[0]


@pytest.fixture
def slurm(tmp_path):
    """sbatch runs a copy of its script, in the folder of the submission."""
    stubs = Stubs(tmp_path, "srun", "scontrol")
    copy = tmp_path / "slurm_script"
    copy.write_bytes((EXAMPLES / "slurm.sbatch").read_bytes())

    def run(*arguments, nodes="localhost", number=6, **environment):
        given = {"SLURM_JOB_NODELIST": "node[1-6]", "SLURM_JOB_NUM_NODES": str(number), "SLURM_CPUS_ON_NODE": "96"}
        return stubs.run(copy, *arguments, cwd=ROOT, NODES=nodes, **given, **environment)

    return run


@pytest.mark.parametrize(("rollout", "trainer"), [({}, 6), ({"ROLLOUT_NNODES": "2"}, 4)])
def test_slurm_starts_it_on_each_node_with_all_of_its_cpus(rollout, trainer, slurm):
    done, (scontrol, srun) = slurm(R1_7B, "a=b", **rollout)
    assert done.returncode == 0, done.stderr
    assert scontrol == ["scontrol", "show", "hostnames", "node[1-6]"]
    command = f"srun --kill-on-bad-exit=1 --cpus-per-task=96 bash examples/ray_cluster.sh {R1_7B} a=b"
    assert srun == [*command.split(), "MASTER_ADDR=127.0.0.1", f"NNODES={trainer}", "token 64"]


def test_the_head_is_this_node_as_the_last_node_sees_it(slurm):
    """An address of the interface towards it, whatever this node calls itself."""
    _, (_, srun) = slurm(R1_7B, nodes="first 192.0.2.77")
    assert f"MASTER_ADDR={own_address()}" in srun and not own_address().startswith("127.")


@pytest.mark.parametrize(
    ("arguments", "given", "rule"),
    [
        ([], {}, "the first argument must be a script, got nothing"),
        ([SEPARATE], {"ROLLOUT_NNODES": "6"}, "ROLLOUT_NNODES must leave a node to the trainer, got 6 of 6 nodes"),
    ],
)
def test_slurm_refuses_before_any_node_starts(arguments, given, rule, slurm):
    done, called = slurm(*arguments, **given)
    assert (done.returncode, done.stderr, called) == (1, rule + "\n", [])


# --------------------------------------------------------------------------------------------------------------------
# Ray
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path):
    """A node on which python3, hence a script's dry run, is a stand-in as well."""
    stubs = Stubs(tmp_path, "ray", "python3")

    def run(*arguments, **environment):
        return stubs.run("ray_cluster.sh", *arguments, cwd=ROOT, **VARIABLES, **environment)

    return run


def test_the_head_tries_the_script_and_starts_ray(node):
    given = {k: v for k, v in variables(SEPARATE).items() if k not in VARIABLES}
    done, (dry, ray, run) = node(SEPARATE, "a=b", MASTER_ADDR=own_address(), NNODES="4", **given)
    assert done.returncode == 0, done.stderr
    assert dry[:3] == ["python3", "-m", "verl.trainer.main_ppo"] and dry[-3:] == ["a=b", "--cfg", "job"]
    assert run[:3] == dry[:3] and run[-1] == "a=b"
    assert ray[:7] == ["ray", *f"symmetric-run --address {own_address()}:6379 --min-nodes 6 --".split()]
    assert ray[-3:] == [SEPARATE, "a=b", "TIMEOUT=600"]


def test_a_head_where_ray_does_not_start_fails_though_ray_returns_0(node):
    done, _ = node(R1_7B, MASTER_ADDR=own_address(), NNODES="2", RAY_STARTS="no")
    rule = "the script did not run to its end: Ray did not start, for the reason above, or was interrupted\n"
    assert (done.returncode, done.stderr) == (1, rule)


def test_a_port_that_is_taken_is_a_sentence(worker):
    """The script's port is a free one here, and the address is the head's: it is loopback, on one node."""
    run, port = worker
    with socket.create_server(("127.0.0.1", port)):
        done, called = run(MASTER_ADDR="127.0.0.1", NNODES="1")
    rule = f"port {port} of the head 127.0.0.1 is taken, perhaps by a Ray that `ray stop` ends\n"
    assert (done.returncode, done.stderr, called) == (1, rule, [])


def test_the_jobs_code_is_the_heads(node, tmp_path):
    script = tmp_path / "job.sh"
    script.write_text('[ "${*: -1}" = job ] || exit 7\n')  # its dry run passes
    done, _ = node(str(script), MASTER_ADDR=own_address(), NNODES="2")
    assert (done.returncode, done.stderr) == (7, "")


def test_one_node_may_be_loopback_under_the_name_that_ray_takes_for_its_own(node):
    for address in ("localhost", "127.0.1.1"):  # Debian's name of itself
        _, (_, ray, _) = node(R1_7B, MASTER_ADDR=address, NNODES="1")
        assert ray[3] == "127.0.0.1:6379"


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"NNODES": "many"}, "NNODES must be a whole number above 0, got many"),
        ({"RAY_TMPDIR": "/no/folder"}, "TMPDIR must be a folder that can be written and has room, got /no/folder"),
        (
            {"RAY_TMPDIR": "/" + 39 * "x"},
            f"TMPDIR must have at most 39 characters, or Ray's sockets do not fit, got 40: /{39 * 'x'}",
        ),
        (
            {"RAY_AUTH_TOKEN": "x"},
            "Ray has a token on this node: set RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN on all nodes, or "
            "RAY_AUTH_MODE=disabled in a network that you trust",
        ),
        ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE=token needs the same RAY_AUTH_TOKEN on all nodes"),
        ({"MASTER_ADDR": "10.0.0.1:6379"}, "MASTER_ADDR must be an address without a port, got 10.0.0.1:6379"),
        ({"MASTER_ADDR": "no.such.name.invalid"}, "MASTER_ADDR must have an IPv4 address, got no.such.name.invalid"),
        (
            {"MASTER_ADDR": "localhost"},
            "MASTER_ADDR must be an address that the other nodes reach, got localhost, which is 127.0.0.1 here",
        ),
    ],
)
def test_a_node_refuses_before_ray_starts(given, rule, node):
    done, called = node(R1_7B, **{"MASTER_ADDR": "10.0.0.1", "NNODES": "2"} | given)
    assert (done.returncode, done.stderr, called) == (1, rule + "\n", [])


def test_no_script_is_a_sentence(node):
    done, called = node(MASTER_ADDR="10.0.0.1", NNODES="2")
    assert (done.stderr, called) == ("the first argument must be a script, got nothing\n", [])


def test_what_the_script_refuses_it_refuses_before_the_other_nodes_are_waited_for(node):
    """Left over in a shell: with two nodes more, the head would wait for them until its limit."""
    done, called = node(R1_7B, MASTER_ADDR=own_address(), NNODES="2", ROLLOUT_NNODES="2")
    assert done.returncode == 1 and called == []
    assert "ROLLOUT_NNODES is for run_bapo_*_separate_async.sh alone" in done.stderr


def test_a_token_of_an_earlier_run_is_found(node, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("token")
    done, called = node(R1_7B, MASTER_ADDR="10.0.0.1", NNODES="2")
    assert done.returncode == 1 and called == [] and done.stderr.startswith("Ray has a token on this node: ")
    done, called = node(R1_7B, MASTER_ADDR=own_address(), NNODES="2", RAY_AUTH_MODE="disabled")
    assert done.returncode == 0 and called, done.stderr


@pytest.fixture
def worker(tmp_path):
    """As `node`, for a head at an address of this machine that is none of its own in `hostname -I`."""
    stubs = Stubs(tmp_path, "ray", "hostname", "pgrep")
    script = tmp_path / "ray_cluster.sh"
    # The address is loopback, which the script refuses for two nodes, so one node it is; and the port is a free one.
    with socket.socket() as free:
        free.bind((ELSEWHERE, 0))
        port = free.getsockname()[1]
    text = (EXAMPLES / "ray_cluster.sh").read_text().replace("6379", str(port)).replace("127.*", "127.1.*")
    script.write_text(text)
    (tmp_path / "checks.sh").write_bytes((EXAMPLES / "checks.sh").read_bytes())

    def run(limit="60", **changed):
        given = {"MASTER_ADDR": ELSEWHERE, "NNODES": "2", "RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT": limit}
        done, calls = stubs.run(script, R1_7B, cwd=ROOT, **{"PGREP": "1"} | given | changed)
        return done, [call[1] for call in calls if call[0] == "ray"]

    return run, port


def test_a_worker_on_which_ray_does_not_start_fails(worker):
    run, port = worker
    with socket.create_server((ELSEWHERE, port)):  # the head
        done, called = run(RAY_STARTS="no")
    assert called == ["start", "stop"]
    assert (done.returncode, done.stderr) == (1, "Ray did not start, for the reason above\n")


def test_a_head_that_does_not_come_is_a_sentence(worker):
    run, port = worker
    done, called = run("1")
    assert done.returncode == 1 and called == []
    assert re.fullmatch(rf"the head {ELSEWHERE} has not opened port {port} within \d+ seconds\n", done.stderr)


def test_a_worker_with_a_ray_of_its_own_is_a_sentence(worker):
    done, called = worker[0](PGREP="0")
    assert (done.returncode, done.stderr, called) == (1, "a Ray runs on this node: `ray stop` ends it\n", [])


def test_rays_symmetric_run_is_as_ray_cluster_has_it():
    """Fails when the script can lose its wait and its checks: when Ray's own do the same."""
    source = Path(importlib.util.find_spec("ray.scripts.symmetric_run").origin).read_text()
    assert 'env_integer("RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT", 30)' in source
    assert "my_ips = [ip for ip in my_ips if not is_localhost(ip)]" in source
