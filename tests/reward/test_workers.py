r"""Worker processes: limits, deaths, replacement. Not exercised: a machine under memory pressure."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.reward.loaded import ROOT, SLOW, SLOW_GOLD, compute_score, grade, request, score
from tests.reward.loaded import pool as workers

pytestmark = pytest.mark.slow


def test_a_quick_answer_does_not_wait_for_slow_ones_ahead():
    """One worker, three answers that take its whole second each: the fourth, of some milliseconds, is ready first."""
    slow, ready = (SLOW_GOLD, SLOW), []

    async def run(gold, text):
        ready.append((await compute_score("t", text, gold, time_limit=1.0, workers=1))["reason"])

    async def all_of(*pairs):
        await asyncio.gather(*(run(*pair) for pair in pairs))

    asyncio.run(all_of(slow, slow, slow, (r"\sqrt{8}", r"\boxed{2\sqrt{2}}")))
    assert ready == ["correct"] + ["timed_out"] * 3


def test_an_answer_on_which_two_workers_died_is_an_error_and_not_late(monkeypatch):
    """The death is simulated: an answer on which sympy crashes twice is not at hand."""

    class Dead:
        asked = 0

        def __init__(self, *_):
            pass

        def ask(self, *_):
            raise EOFError

        def kill(self):
            return -signal.SIGKILL

    monkeypatch.setattr(workers, "Worker", Dead)
    reply = workers.Pool(1, 5.0, 1024).submit(request("x", "y")).result()
    assert (reply["error"], reply["killed"]) == ("the worker died", 2) and "late" not in reply


def test_worker_killed_from_outside_costs_no_answer():
    pool = workers.Pool(1, 5.0, 1024)
    question = request(r"\sqrt{8}", r"2\sqrt{2}")
    assert pool.submit(question).result()["equal"]
    pool.threads.submit(lambda: os.kill(pool.mine.worker.process.pid, signal.SIGKILL)).result()
    reply = pool.submit(question).result()
    assert reply["equal"] and reply["killed"] == 1


def test_where_no_worker_can_be_started_the_answer_is_an_error_and_the_next_one_is_graded(monkeypatch):
    """A stand-in for a machine out of memory or processes: subprocess.Popen raises once the first worker is dead."""
    pool = workers.Pool(1, 1.0, 1024)
    question = request(r"\sqrt{8}", r"2\sqrt{2}")
    assert pool.submit(question).result()["equal"]
    with monkeypatch.context() as short:
        short.setattr(workers.subprocess, "Popen", Mock(side_effect=BlockingIOError))
        pool.threads.submit(lambda: os.kill(pool.mine.worker.process.pid, signal.SIGKILL)).result()
        reply = pool.submit(question).result(timeout=60)
        case = grade.Case()
        grade.finish(case, reply)
        assert (case.reason, reply["killed"]) == ("error", 1)
    assert pool.submit(question).result(timeout=60)["equal"]


@pytest.mark.parametrize("fault", ["raise ImportError('no antlr')", "raise SystemError('half installed')"])
def test_missing_or_broken_math_verify_is_said_once_and_counted_as_error(fault, tmp_path, monkeypatch, caplog):
    """A package that cannot be imported stands in front of the real one, for the workers alone."""
    (tmp_path / "math_verify.py").write_text(fault)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = {"memory_mb": 900 + len(fault)}  # a pool that no other test has started
    verdicts = [score(r"\sqrt{8}", r"\boxed{2\sqrt2}", **options) for _ in range(5)]
    assert [(verdict["reason"], verdict["worker_killed"]) for verdict in verdicts] == [("error", 0.0)] * 5
    assert score("42", r"\boxed{42}", **options)["reason"] == "correct"
    assert caplog.text.count("math-verify cannot be imported") == 1 and fault.split("'")[1] in caplog.text


def test_only_cpu_time_counts():
    """The worker stands still for four times the limit, as on a machine with much else to do."""
    pool = workers.Pool(1, 0.5, 1024)
    question = request(r"\sqrt{8}", r"2\sqrt{2}")
    assert pool.submit(question).result()["equal"]
    process = pool.threads.submit(lambda: pool.mine.worker.process).result()
    process.send_signal(signal.SIGSTOP)
    reply = pool.submit(question)
    time.sleep(2.0)
    process.send_signal(signal.SIGCONT)
    assert reply.result(timeout=60)["equal"]


def test_worker_that_uses_no_cpu_time_is_killed_too():
    pool = workers.Pool(1, 0.2, 1024)
    question = request(r"\sqrt{8}", r"2\sqrt{2}")
    assert pool.submit(question).result()["equal"]
    pool.threads.submit(lambda: os.kill(pool.mine.worker.process.pid, signal.SIGSTOP)).result()
    assert pool.submit(question).result(timeout=60)["late"]
    assert pool.submit(question).result(timeout=60)["equal"]


def test_worker_is_recycled(monkeypatch):
    monkeypatch.setattr(workers, "ANSWERS_PER_WORKER", 2)
    pool = workers.Pool(1, 5.0, 1024)
    question = request(r"\sqrt{8}", r"2\sqrt{2}")

    def pid():
        return pool.threads.submit(lambda: pool.mine.worker.process.pid).result()

    pool.submit(question).result()
    first = pid()
    pool.submit(question).result()
    assert pid() != first and pool.submit(question).result()["equal"]


def test_memory_limit_holds():
    worker = workers.Worker(512)
    limits = Path(f"/proc/{worker.process.pid}/limits")
    worker.ask(workers.encoded(request("x", "y")), 5.0)
    assert str(512 << 20) in next(line for line in limits.read_text().splitlines() if "address space" in line)
    worker.kill()


PARENT = """
import sys, time
sys.path.insert(0, {root!r})
from reward.math_reward import _sibling
pool, read = _sibling("pool").Pool(1, 600.0, 1024), _sibling("parse").read
future = pool.submit({{"golds": [read({gold!r})], "answer": read({slow!r})}})
while not hasattr(pool, "seen"):
    time.sleep(0.1)
    for child in __import__("psutil").Process().children():
        print(child.pid, flush=True); pool.seen = True
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's; elsewhere CPU time is the bound")
def test_no_orphan_after_sigkill_of_the_parent():
    code = PARENT.format(root=str(ROOT), gold=SLOW_GOLD, slow=SLOW[7:-1])
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(next(line for line in parent.stdout if line.strip().isdigit()))
    time.sleep(1.5)  # let it be busy
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_gmpy2_is_warned_about(monkeypatch, caplog):
    monkeypatch.setattr(workers.importlib.util, "find_spec", lambda name: name == "gmpy2")
    monkeypatch.setattr(workers, "_pools", {})
    caplog.set_level("WARNING", logger="math_reward")  # a package that another test imports may have raised the root's
    workers.pool_of(grade.Options())
    workers.pool_of(grade.Options())
    assert caplog.text.count("gmpy2 is installed") == 1
