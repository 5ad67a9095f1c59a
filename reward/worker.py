"""A worker process, which may be killed: compares answers that need algebra, one JSON object per line (pool.py).

    -> {"golds": [...], "answer": "..."}    <- {"equal": bool, "unparsed": bool}, {"too_large": true}, {"error": why}
    -> {"gold": "..."}                      <- {"unparsed": bool}

Its first line is {"ready": true}, or {"broken": why} if math-verify cannot be imported. The limits here are the
kernel's: memory by RLIMIT_AS, CPU time by a profiling timer whose default action ends the process, whatever it is doing
and whether or not anyone still waits; the caller adds a wall clock.
"""

import ctypes
import json
import os
import resource
import signal
import sys

from . import compare
from .expression import read_scalar
from .scalars import TooLargeError, by_value


class Pair:
    """Compares one pair of scalars for `compare`, and records whether a gold could not be parsed."""

    def __init__(self, verify):
        self.verify, self.unparsed = verify, False

    def __call__(self, gold: str, answer: str) -> bool:
        if (verdict := by_value(gold, answer)) is not None:
            return verdict
        gold_value, answer_value = self.verify.parsed(gold), self.verify.parsed(answer)
        self.unparsed |= gold_value is None
        if gold_value is None or answer_value is None or _differ_in_case(gold, answer):
            return False
        return self.verify.by_math_verify(gold, answer, gold_value, answer_value)


def _differ_in_case(gold: str, answer: str) -> bool:
    """2A against 2a: math-verify reads both as a."""
    letters = [compare.letters(text) for text in (gold, answer)]
    return letters[0] != letters[1] and {c.lower() for c in letters[0]} == {c.lower() for c in letters[1]}


def answer_request(request: dict, verify) -> dict:
    """The reply to one line."""
    if "gold" in request:
        unread = [scalar for scalar in compare.scalars(request["gold"]) if read_scalar(scalar) is None]
        return {"unparsed": any(verify.parsed(scalar) is None for scalar in unread)}
    unparsed = False
    for gold in request["golds"]:
        pair = Pair(verify)
        if compare.compare(gold, request["answer"], pair):
            return {"equal": True, "unparsed": False}
        unparsed |= pair.unparsed
    return {"equal": False, "unparsed": unparsed}


def main() -> None:
    """Answer lines from stdin until it closes. Arguments: CPU seconds per line, megabytes, parent's pid."""
    cpu_seconds, memory_mb, parent = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ends with its parent
    if os.getppid() != parent:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run; this process ends with its pipe
    sys.setrecursionlimit(3000)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not reach the pipe
    try:
        from . import verify  # sympy and math-verify: 0.4 s, and where they are missing the caller has to know
    except Exception as error:
        print(json.dumps({"broken": f"{type(error).__name__}: {error}"}), file=replies, flush=True)
        return
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            reply = answer_request(json.loads(line), verify)
        except TooLargeError:
            reply = {"too_large": True}
        except Exception as error:  # counted as "error" by the caller
            reply = {"error": type(error).__name__}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), file=replies, flush=True)
