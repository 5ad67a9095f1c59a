r"""Hostile answers: no input stops the grader, fills the memory or holds up verl's event loop."""

import asyncio
import multiprocessing
import random
import threading
import time

import pytest

from tests.reward.loaded import SLOW, SLOW_GOLD, compute_score, grade, score

pytestmark = pytest.mark.slow

MB = 10**6
HOSTILE = {
    "tower": r"\boxed{9^{9^{9^9}}}",
    "factorial": r"\boxed{1000000000!}",
    "nested factorial": r"\boxed{((10!)!)!}",
    "binomial": r"\boxed{\binom{1000000000}{500000000}}",
    "sum": r"\boxed{\sum_{k=1}^{1000000000} \frac{1}{k}}",
    "nested fractions": r"\boxed{" + r"\frac{1}{" * 1000 + "1" + "}" * 1001,
    "nested brackets": r"\boxed{" + "(" * 100 + "x+1" + ")" * 100 + "}",
    "a million digits": r"\boxed{" + "1" * MB + "}",
    "a megabyte of text": "blah $x$ " * (MB // 9) + r"\boxed{41}",
    "a megabyte of braces": r"\boxed{" + "{" * MB,
    "boxes": r"\boxed{1}" * 100_000,
    "open boxes": r"\boxed{1" * 100_000,
    "empty boxes": r"\boxed{}" * 100_000,
    "boxes without a brace": r"\boxed " * 100_000,
    "boxes in boxes": r"\boxed{" * 20_000 + "1" + "}" * 20_000,
    "NUL": "\\boxed{\x00\ud800\u202e}",
    "odd Unicode": "\\boxed{\U0001d7d2\u0664\u0301\ufdfd}",
    "spaces": r"\boxed" + " " * MB + "{42}",
    "spaces inside": r"\boxed{4" + " " * 900 + "1}",
    "commas": r"\boxed{" + "," * 900 + "}",
    "signs": r"\boxed{" + r"\pm" * 300 + "1}",
    "exponents": r"\boxed{2" + "^2" * 300 + "}",
    "subscripts": r"\boxed{x" + "_{1" * 100 + "}" * 101,
    "thinks": "<think>" * 100_000,
    "integral": SLOW,
    "polynomial": r"\boxed{((x+1)^{99}+1)^{99}+y}",
    "matrix power": r"\boxed{\begin{pmatrix}1&2\\3&4\end{pmatrix}^{1000000000}}",
    "division by zero": r"\boxed{\frac{1}{0}}",
}
NORMAL = [
    ("25", r"\boxed{25}", 1),
    (r"\sqrt{8}", r"\boxed{2\sqrt{2}}", 1),
    ("7", r"\boxed{8}", 0),
    ("x^2-1", r"\boxed{(x-1)(x+1)}", 1),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answer_alone(name):
    for gold in ("42", "x^2+1", SLOW_GOLD if name == "integral" else r"\frac{x}{2}"):
        verdict = score(gold, HOSTILE[name], time_limit=2.0)
        assert verdict["acc"] == 0 and verdict["reason"] != "error"


@pytest.mark.parametrize("name", ["tower", "factorial", "nested factorial", "binomial"])
def test_numbers_too_large_are_refused_before_they_are_computed(name):
    verdict = score(r"\sqrt{2}", HOSTILE[name], time_limit=20.0)
    assert verdict["reason"] == "over_length" and verdict["worker_killed"] == 0


FRAGMENTS = [
    r"\alpha", r"\alpha\beta ", r"\sin x", "x_1", "x_{1", "x_{1}", "(a", "(a,", "(a)", "(A) ", "x=", r"x\in ", "= ",
    "5!", "sq. ", "pounds ", "cm ", "3 million ", "so ", "the answer is ", "and ", r"\text{ cm}", r"\text{",
    r"\mathrm{~km} / ", r"\text{ and }", "1,", "1.", "0.", r"1\,", r"\,", "~", " ", "\n", "<", r"x\le ", r"\pm",
    r"\pm 1", r"\cup ", r"\to ", r"\approx ", r"\pmod{3}", "{}", "{", "|", r"1^\circ ", "^", "2^", "_", "'", "- ",
    "1/", "12 ", "e", "E1", ":", "&", "$", "%", r"\%", "\\", r"\\", r"\left(", r"\frac{1", r"\frac{1}{2}",
    r"0.\overline{3}", r"\begin{pmatrix}", r"\boxed", "\u00b0",
]  # fmt: skip
ENDS = ["", "1", "2=1", "=", "}", ")", "x", r"\text{x}", " !"]


def grade_repetitions(grade):
    """Every fragment, and some pairs of them, repeated to the length that is read at most."""
    rng = random.Random(0)
    for fragment in FRAGMENTS + ["".join(rng.sample(FRAGMENTS, 2)) for _ in range(200)]:
        print(ascii(fragment), flush=True)
        for end in ENDS:
            answer = fragment * (980 // len(fragment)) + end
            grade.grade_by_structure(f"\\boxed{{{answer}}}", r"\sqrt{2}", grade.Options())


def test_no_repetition_holds_up_the_event_loop():
    """What is graded without a worker has no time limit. All of it takes seconds; the limit here is for a hang."""
    process = multiprocessing.get_context("fork").Process(target=grade_repetitions, args=(grade,))
    process.start()
    process.join(timeout=240)
    hangs = process.is_alive()
    process.kill()
    process.join()
    assert not hangs and process.exitcode == 0  # what was being read is the last line printed


def mixed():
    """200 normal answers and 16 hostile ones spread among them; the slow integral twice."""
    hostile = [*(h for name, h in HOSTILE.items() if name != "a megabyte of text"), SLOW]
    hostile = hostile[:: len(hostile) // 14][:14] + [SLOW, SLOW]
    work = [NORMAL[i % 4] for i in range(200)]
    for k, bad in enumerate(hostile):
        work.insert(13 * k, (SLOW_GOLD if bad == SLOW else "42", bad, 0))
    assert len(work) == 216
    return work


def all_right(work, verdicts):
    wrong = [(w[0], w[1][:50], dict(v)) for w, v in zip(work, verdicts, strict=True) if v["acc"] != w[2]]
    assert not wrong


def test_hostile_among_normal_in_an_event_loop_that_keeps_turning():
    work, gaps = mixed(), []

    async def heartbeat():
        while True:
            start = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - start)

    async def run():
        beat = asyncio.create_task(heartbeat())
        out = await asyncio.gather(*(compute_score("t", text, gold, {}, time_limit=2.0) for gold, text, _ in work))
        beat.cancel()
        return out

    start = time.monotonic()
    all_right(work, asyncio.run(run()))
    assert time.monotonic() - start < 60
    assert max(gaps) < 5  # no worker is waited for


def test_the_event_loop_turns_between_answers_that_arrive_at_once(monkeypatch):
    """20 answers at once: another task gets its turn at least 19 times before the last of them is graded."""
    turns, seen = 0, []
    original = grade.grade_by_structure
    monkeypatch.setattr(grade, "grade_by_structure", lambda *args: (seen.append(turns), original(*args))[1])

    async def run():
        nonlocal turns
        scores = asyncio.gather(*(compute_score("t", r"\boxed{42}", "42") for _ in range(20)))
        while not scores.done():
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(run())
    assert len(set(seen)) == 20


def test_hostile_among_normal_in_threads():
    work, start = mixed(), time.monotonic()
    verdicts = [None] * len(work)

    def some(first):
        for i in range(first, len(work), 8):
            verdicts[i] = score(work[i][0], work[i][1], time_limit=2.0)

    threads = [threading.Thread(target=some, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    all_right(work, verdicts)
    assert time.monotonic() - start < 60
