"""A worker process, which may be killed: compares parsed answers that need algebra, one per line (pool.py).

    -> {"golds": [Value, ...], "answer": Value}    <- {"equal": bool, "unparsed": bool}
                                                      or {"too_large": true}, {"error": why}
    -> {"gold": Value}                             <- {"unparsed": bool}

A request is its CPU seconds and a pickle in base64 from the process that started this one, a reply a JSON object. The
first line back is {"ready": true}, or {"broken": why} if math-verify cannot be imported. The limits here are the
kernel's: memory by RLIMIT_AS, CPU time by a profiling timer whose default action ends the process, whatever it is doing
and whether or not anyone still waits; the caller adds a long wall clock.
"""

import ctypes
import json
import os
import pickle
import resource
import signal
import sys
from base64 import b64decode

from .compare import equal
from .identity import TooLargeError
from .value import Value


def answer_request(request: dict, algebra) -> dict:
    """The reply to one request."""
    compared = algebra.Algebra()
    if "gold" in request:
        for scalar in scalars(request["gold"]):
            compared.tree(scalar)
        return {"unparsed": bool(compared.unread)}
    same = any(equal(gold, request["answer"], compared) for gold in request["golds"])
    unread = {scalar.core for gold in request["golds"] for scalar in scalars(gold)} & compared.unread
    return {"equal": same, "unparsed": bool(unread) and not same}


def scalars(value: Value) -> list[Value]:
    """The scalars of a value whose trees are not known yet."""
    if value.kind == "scalar":
        return [value] if value.tree is None else []
    return [scalar for part in value.parts if isinstance(part, Value) for scalar in scalars(part)]


def main() -> None:
    """Answer lines from stdin until it closes. Arguments: megabytes, parent's pid."""
    memory_mb, parent = int(sys.argv[1]), int(sys.argv[2])
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
        from . import algebra  # sympy and math-verify: 0.4 s, and where they are missing the caller has to know
    except Exception as error:
        print(json.dumps({"broken": f"{type(error).__name__}: {error}"}), file=replies, flush=True)
        return
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin.buffer:
        cpu_seconds, request = line.split()
        signal.setitimer(signal.ITIMER_PROF, float(cpu_seconds))
        try:
            reply = answer_request(pickle.loads(b64decode(request)), algebra)
        except TooLargeError:
            reply = {"too_large": True}
        except Exception as error:  # counted as "error" by the caller
            reply = {"error": type(error).__name__}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), file=replies, flush=True)
