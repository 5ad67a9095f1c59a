"""Grades one response: options, the result and its reason, counters.

Numbers, strings and their structure are compared in the calling process. What needs algebra goes to a worker (pool.py).
"""

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, fields
from functools import lru_cache
from weakref import WeakKeyDictionary

from . import extract
from .brackets import nesting
from .compare import NeedsAlgebraError, Numbers, equal
from .parse import read
from .pool import pool_of
from .value import vote

logger = logging.getLogger("math_reward")
FAILED = ("timed_out", "error")
REASONS = ("correct", "wrong", "no_answer", "timed_out", "error", "over_length")
KEYS = (
    "score", "acc", "pred", "reason", *(f"reason_{reason}" for reason in REASONS),
    "grading_seconds", "worker_killed", "gold_unparsed",
)  # fmt: skip
VERLS_OWN = {"reward_router_address", "reward_model_tokenizer"}  # passed by verl where it has a reward model
MAX_DEPTH = 40  # of brackets that are read at all
MAX_NESTING = 12  # brackets deeper than this cost math-verify's parser seconds each
REPORT_EVERY = 2000
WINDOW = 1000


@dataclass(frozen=True)
class Options:
    """The keys of `reward.custom_reward_function.reward_kwargs`.

    Args:
        workers: processes per caller (verl has 8 reward workers, each its own caller). Started when first needed.
        time_limit: seconds of a worker's CPU time for one answer, so that a verdict does not depend on the load.
        memory_mb: address space of one worker, in MiB.
        max_answer_chars: a longer answer is "over_length" (unless the gold is that long).
        allow_unboxed: whether "the answer is 42" counts where there is no \\boxed{} at all.
        thinking: True if the chat template opens `<think>` in the prompt: a response without `</think>` has no answer.
        alarm_share: share of timed_out and error among the last 1000 answers that is reported as an error, once.

    Raises:
        ValueError: for a value of another type or out of range, naming the key.
    """

    workers: int = 2
    time_limit: float = 5.0
    memory_mb: int = 1024
    max_answer_chars: int = 1000
    allow_unboxed: bool = False
    thinking: bool = False
    alarm_share: float = 0.05

    def __post_init__(self):
        for field in fields(self):
            value, flag = getattr(self, field.name), field.type is bool
            if isinstance(value, bool) != flag or not isinstance(value, int | field.type):
                raise ValueError(f"reward_kwargs.{field.name} must be of type {field.type.__name__}, got {value!r}")
        for key, low in (("workers", 1), ("time_limit", 0.1), ("memory_mb", 256), ("max_answer_chars", 1)):
            if getattr(self, key) < low:
                raise ValueError(f"reward_kwargs.{key} must be at least {low}, got {getattr(self, key)}")
        if not 0 < self.alarm_share <= 1:
            raise ValueError(f"reward_kwargs.alarm_share must be in (0, 1], got {self.alarm_share}")


_OPTION_NAMES = frozenset(field.name for field in fields(Options))


@lru_cache(maxsize=64)
def _options(known: frozenset, others: frozenset) -> Options:
    """The options of one run, checked once."""
    if unknown := sorted(others - VERLS_OWN):
        raise ValueError(f"reward_kwargs.{unknown[0]} is no option; there are {', '.join(sorted(_OPTION_NAMES))}")
    return Options(**dict(known))


def options_of(kwargs: dict) -> Options:
    """The options among the keyword arguments of a call, of which verl adds some of its own."""
    known = frozenset((key, value) for key, value in kwargs.items() if key in _OPTION_NAMES)
    return _options(known, frozenset(kwargs.keys() - _OPTION_NAMES))


@dataclass
class Case:
    """One answer while it is graded: `reason` is the result, and until it is set `request` goes to a worker."""

    pred: str = extract.NO_ANSWER
    reason: str | None = None
    request: dict | None = None
    seconds: float = 0.0
    killed: int = 0
    unparsed: bool = False


def grade_by_structure(response: str, ground_truth, options: Options) -> Case:
    """Grade what needs no algebra: no answer, too long, numbers, strings, and their structure."""
    text = extract.final_text(response, options.thinking)
    boxes = extract.last_boxes(text, options.max_answer_chars) if text else None
    if boxes is None and text and options.allow_unboxed and "\\boxed" not in text:
        boxes = [stated] if (stated := extract.unboxed_answer(text)) else None
    if boxes is None:
        return Case(reason="no_answer")
    golds = extract.acceptable(ground_truth)
    limit = max(options.max_answer_chars, 2 * max(map(len, golds), default=0))
    if sum(map(len, boxes)) > limit or len(boxes) >= extract.MAX_BOXES or max(map(nesting, boxes)) > MAX_DEPTH:
        return Case(pred=extract.OVER_LENGTH, reason="over_length")
    answer = read(as_list(boxes))
    if not (pred := vote(answer)):
        return Case(reason="no_answer")
    case, expected = Case(pred=pred), [read(gold) for gold in golds]
    try:
        case.reason = "correct" if any(equal(gold, answer, Numbers()) for gold in expected) else "wrong"
        case.unparsed = case.reason == "wrong" and any(gold.kind == "unread" for gold in expected)
    except NeedsAlgebraError:
        if nesting(answer.text) > MAX_NESTING:
            case.reason = "over_length"
        else:
            case.request = {"golds": expected, "answer": answer}
    return case


def as_list(boxes: list[str]) -> str:
    """The contents of several \\boxed{} as one list, each once."""
    return ", ".join({vote(read(box)): box for box in boxes}.values()) if len(boxes) > 1 else boxes[0]


def finish(case: Case, reply: dict) -> None:
    """Set the reason from a worker's reply."""
    case.killed, case.unparsed = reply["killed"], reply.get("unparsed", False)
    case.seconds += reply["seconds"]
    if "equal" in reply:
        case.reason = "correct" if reply["equal"] else "wrong"
    elif "late" in reply:
        case.reason = "timed_out"
    else:
        case.reason = "over_length" if "too_large" in reply else "error"


def verdict_of(case: Case) -> dict:
    """The dict that verl gets, always with the keys KEYS."""
    acc = float(case.reason == "correct")
    verdict = dict(score=acc, acc=acc, pred=case.pred, reason=case.reason)
    verdict.update({f"reason_{reason}": float(reason == case.reason) for reason in REASONS})
    verdict.update(grading_seconds=case.seconds, worker_killed=float(case.killed), gold_unparsed=float(case.unparsed))
    return verdict


def _begin(solution_str, ground_truth, kwargs: dict) -> tuple[Case, Options]:
    options = options_of(kwargs)
    response = solution_str if isinstance(solution_str, str) else ""
    start = time.perf_counter()
    try:
        case = grade_by_structure(response, ground_truth, options)
    except Exception:  # a bug costs this answer, is counted and logged; an exception would cost verl the whole group
        logger.exception("could not grade an answer; counted as error")
        case = Case(reason="error")
    case.seconds = time.perf_counter() - start
    return case, options


def _end(case: Case, options: Options, reply: dict | None = None) -> dict:
    if reply is not None:
        finish(case, reply)
    _counters.add(case, options)
    return verdict_of(case)


def grade(solution_str, ground_truth, **kwargs) -> dict:
    """Grade one answer, waiting for it in this thread."""
    case, options = _begin(solution_str, ground_truth, kwargs)
    return _end(case, options, None if case.reason else pool_of(options).submit(case.request).result())


_turns: WeakKeyDictionary = WeakKeyDictionary()  # event loop -> the lock by which it grades one answer per turn


async def grade_async(solution_str, ground_truth, **kwargs) -> dict:
    """Grade one answer; other tasks of the event loop run between two answers, and while a worker grades."""
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        await asyncio.sleep(0)
        case, options = _begin(solution_str, ground_truth, kwargs)
    if case.reason:
        return _end(case, options)
    return _end(case, options, await asyncio.wrap_future(pool_of(options).submit(case.request)))


def can_parse(ground_truth, **kwargs) -> bool:
    """Whether every acceptable answer can be parsed: a number, words, or what math-verify reads.

    For data preparation: any other gold can only be matched as a string.
    """
    options = options_of(kwargs)
    golds = [read(gold) for gold in extract.acceptable(ground_truth)]
    replies = [pool_of(options).submit({"gold": gold}).result() for gold in golds]
    return all(
        reply.get("unparsed") is False and gold.kind != "unread" for gold, reply in zip(golds, replies, strict=True)
    )


class Counters:
    """Statistics for the log: shares and times over the last 1000 answers of this process, and workers killed."""

    def __init__(self):
        self.lock = threading.Lock()
        self.recent: deque[tuple[str, float]] = deque(maxlen=WINDOW)
        self.answers = self.killed = self.unparsed = 0
        self.alarmed = False

    def add(self, case: Case, options: Options) -> None:
        """Count one answer; report every REPORT_EVERY answers, and log an error once if too many failed."""
        with self.lock:
            self.recent.append((case.reason, case.seconds))
            self.answers += 1
            self.killed += case.killed
            self.unparsed += case.unparsed
            report = self.report() if self.answers % REPORT_EVERY == 0 else None
            failed = 0
            if case.reason in FAILED and len(self.recent) >= 100 and not self.alarmed:
                failed = sum(reason in FAILED for reason, _ in self.recent)
            alarm = failed > options.alarm_share * len(self.recent)
            self.alarmed |= alarm
        if report:
            print(f"[math_reward] {report}", flush=True)  # as verl's own reward code: Ray brings it to the driver
        if alarm:
            logger.error("%d of the last %d answers timed out or failed, over alarm_share=%s: correct answers may be "
                         "scored 0. %s", failed, len(self.recent), options.alarm_share, self.report())  # fmt: skip

    def report(self) -> str:
        """Shares of the reasons, grading times, workers killed."""
        counts, seconds = Counter(reason for reason, _ in self.recent), sorted(seconds for _, seconds in self.recent)
        shares = " ".join(f"{reason}={counts[reason] / len(self.recent):.3f}" for reason in REASONS)
        p50, p99 = (seconds[int(share * (len(seconds) - 1))] * 1000 for share in (0.5, 0.99))
        return (f"{self.answers} answers, last {len(self.recent)}: {shares} grading_ms p50={p50:.2f} p99={p99:.1f}; "
                f"workers killed {self.killed}, golds unparsed {self.unparsed}")  # fmt: skip


_counters = Counters()
