"""Worker processes behind pipes, with limits on time and memory, killed and replaced when an answer exceeds them.

Why not a library's pool (pebble 5.2.3, tried): multiprocessing's spawn and forkserver run the parent's main module
again in the child. So under `python -m verl.trainer.main_ppo` a pebble worker imports verl (546 MB, 20 s on two busy
cores) and in a Ray actor ray (81 MB, 4.7 s), against 60 MB and 0.4 s here. Fork copies a process with many threads, and
functions of a file that verl loads by path cannot be pickled. A worker that is a script behind a pipe has none of these
problems. Queue, futures and threads are the standard library's ThreadPoolExecutor. Each of its threads owns one worker.
The limit is on the worker's CPU time for one answer, so that a verdict depends neither on the queue nor on the load.
"""

import importlib.util
import json
import logging
import os
import pickle
import select
import subprocess
import sys
import threading
import time
from base64 import b64encode
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from signal import SIGPROF

logger = logging.getLogger("math_reward")
_SCRIPT = Path(__file__).resolve().parent / "math_reward.py"  # run as a script it is a worker
ANSWERS_PER_WORKER = 5000  # sympy's caches grow to about 100 MB by then
QUICK_SECONDS = 0.5  # an answer that needs more than this starts again behind all that wait
WALL_PER_CPU = 10.0  # a worker that is stopped, or that swaps, uses no CPU time: the wall clock is the last resort
STARTUP_SECONDS = 120.0  # importing sympy takes 0.4 s; a machine that swaps may need this


class BrokenWorkerError(Exception):
    """No worker can work, because math-verify is missing or broken."""


def encoded(request: dict) -> bytes:
    """A request as one word."""
    return b64encode(pickle.dumps(request))


class Worker:
    """One process behind a pipe, in worker.py. Used by one thread only."""

    def __init__(self, memory_mb: int):
        script = [str(_SCRIPT), str(memory_mb), str(os.getpid())]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        self.process = subprocess.Popen([sys.executable, *script], **pipes)
        self.poll = select.poll()
        self.poll.register(self.process.stdout, select.POLLIN | select.POLLHUP)
        self.unread = b""
        self.asked = 0
        self.ready = False

    def ask(self, request: bytes, cpu_seconds: float) -> dict:
        """The reply to one request.

        Raises:
            TimeoutError: after WALL_PER_CPU * `cpu_seconds` without one, not counting the worker's start.
            BrokenWorkerError: if the worker cannot import math-verify.
            EOFError: if the worker has died, of SIGPROF if it used up its CPU time.
        """
        if not self.ready:
            if failure := self._read(STARTUP_SECONDS).get("broken"):
                raise BrokenWorkerError(failure)
            self.ready = True
        self.asked += 1
        try:
            self.process.stdin.write(b"%f %b\n" % (cpu_seconds, request))
        except BrokenPipeError as error:
            raise EOFError from error
        return self._read(WALL_PER_CPU * cpu_seconds)

    def _read(self, seconds: float) -> dict:
        deadline = time.monotonic() + seconds
        while b"\n" not in self.unread:
            if not self.poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                raise EOFError
            self.unread += chunk
        line, self.unread = self.unread.split(b"\n", 1)
        return json.loads(line)

    def kill(self) -> int:
        """End the process for good and return its exit status (negative: the signal that ended it)."""
        self.process.kill()
        status = self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        return status


class Pool:
    """`workers` threads, each with a worker process of its own that it starts, times, kills and replaces."""

    def __init__(self, workers: int, time_limit: float, memory_mb: int):
        self.time_limit, self.memory_mb = time_limit, memory_mb
        self.lock, self.broken = threading.Lock(), False
        self.mine = threading.local()
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="math-reward")

    def submit(self, request: dict) -> Future:
        """The reply, {"late": True} or {"error": why}, and the "seconds" and workers "killed" of the last attempt."""
        answered: Future = Future()
        answered.set_running_or_notify_cancel()
        self.threads.submit(self._attempt, encoded(request), min(QUICK_SECONDS, self.time_limit), answered)
        return answered

    def _attempt(self, request: bytes, cpu_seconds: float, answered: Future) -> None:
        """Answer within `cpu_seconds`, or go to the end of the queue and begin again with the whole limit."""
        try:
            reply = self._ask(request, cpu_seconds)
            if "late" in reply and cpu_seconds < self.time_limit:
                self.threads.submit(self._attempt, request, self.time_limit, answered)
            else:
                answered.set_result(reply)
        except BaseException as error:
            answered.set_exception(error)

    def _ask(self, request: bytes, cpu_seconds: float) -> dict:
        start, killed = time.monotonic(), 0
        if self.broken:
            return {"error": "math-verify", "seconds": 0.0, "killed": 0}
        reply = {"error": "the worker died"}
        for _ in range(2):  # once more if the worker was killed from outside, by the OOM killer
            try:
                worker = self._worker()
            except OSError:
                logger.exception("no worker could be started; an answer is counted as error")
                reply = {"error": "no worker"}
                break
            start = time.monotonic()
            try:
                reply = worker.ask(request, cpu_seconds)
                break
            except BrokenWorkerError as error:
                self._report_broken(str(error))
                reply = {"error": str(error)}
                self._drop()
                break
            except (TimeoutError, EOFError) as error:
                killed += 1
                if self._replace() == -SIGPROF or isinstance(error, TimeoutError):
                    reply = {"late": True}
                    break
        if hasattr(self.mine, "worker") and self.mine.worker.asked >= ANSWERS_PER_WORKER:
            self._replace()
        return reply | {"seconds": time.monotonic() - start, "killed": killed}

    def _worker(self) -> Worker:
        if not hasattr(self.mine, "worker"):
            self.mine.worker = Worker(self.memory_mb)
        return self.mine.worker

    def _report_broken(self, failure: str) -> None:
        with self.lock:
            first, self.broken = not self.broken, True
        if first:
            logger.error("math-verify cannot be imported by %s: answers that need it are counted as error. %s. "
                         "pip install math-verify", sys.executable, failure)  # fmt: skip

    def _drop(self) -> int:
        worker = self.mine.worker
        del self.mine.worker
        return worker.kill()

    def _replace(self) -> int:
        status = self._drop()
        with suppress(OSError):  # no memory or process is left for one: the next answer tries again
            self._worker()  # it starts while this thread waits for work
        return status


_pools: dict[tuple, Pool] = {}
_lock = threading.Lock()
os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


def pool_of(options) -> Pool:
    """The pool of this process with the limits of grade.Options, started when first asked for."""
    limits = (options.workers, options.time_limit, options.memory_mb)
    with _lock:
        if limits not in _pools:
            if importlib.util.find_spec("gmpy2"):
                logger.warning("gmpy2 is installed: sympy then computes past signals, and more answers time out")
            _pools[limits] = Pool(*limits)
        return _pools[limits]
