r"""reward/: results, reasons, and that no answer can stop the grader.

The grader is loaded as verl loads it, by path. What these tests do NOT exercise: several nodes, a machine under memory
pressure, the whole training pipeline (tests/bapo_verl/test_cpu.py does).
"""

import asyncio
import doctest
import json
import logging
import multiprocessing
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cloudpickle
import numpy as np
import pytest
from reward_cases import CASES
from verl.utils.import_utils import load_extern_object

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / "reward" / "math_reward.py"

compute_score = load_extern_object(str(REWARD), "compute_score")
compute_score_sync = load_extern_object(str(REWARD), "compute_score_sync")
sibling = load_extern_object(str(REWARD), "_sibling")
grade, workers = sibling("grade"), sibling("pool")


SLOW = r"\boxed{\int_0^{\infty} \frac{\sin^3 x \ln x}{x^2 e^x} dx}"  # no guard catches it: only the clock does


def score(gold, response, **options):
    return compute_score_sync("test", response, gold, **options)


# --------------------------------------------------------------------------------------------------------------------
# Verdicts
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gold, response, right, why", CASES, ids=[f"{i}-{case[3]}" for i, case in enumerate(CASES)])
def test_case(gold, response, right, why):
    verdict = score(gold, response)
    assert verdict["acc"] == right, f"{why}: pred {verdict['pred']!r}, reason {verdict['reason']}"
    assert verdict["reason"] not in ("error", "timed_out")


RULES = [(part, index) for part in ("SETTING", "CONTENT") for index in range(len(getattr(sibling("rules"), part)))]


@pytest.mark.parametrize("part, index", RULES)
def test_every_rewriting_rule_has_an_example_that_fails_without_it(part, index, monkeypatch):
    """Without math-verify, which knows some of the rules too, but takes 20 times as long."""
    normalize, rules = sibling("normalize"), getattr(sibling("rules"), part)
    example = rules[index]

    def verdict():
        for cached in (normalize.unset, normalize.normalize, normalize.canonical):
            cached.cache_clear()
        return bool(grade.compare.compare(example.gold, example.answer, sibling("scalars").by_value))

    assert verdict() == example.equal
    monkeypatch.setattr(normalize, part, rules[:index] + rules[index + 1 :])
    assert verdict() != example.equal
    monkeypatch.undo()
    verdict()  # leaves no cache of the shorter list


# math-verify 0.9.0's own tests, as data (Apache-2.0, Hugging Face): of its 274 (gold, prediction, verdict) cases the
# distinct 199 whose prediction is, or can be put, in a box and whose gold is one expression. Left out: answers found in
# prose, which a boxed-answer grader does not look for, and tests of its extraction settings. These we grade
# otherwise, each by a rule of reward/compare.py:
OTHERWISE = {
    ("x = 11", r"\boxed{x = 5+5+1 = 7 =11}"): "rule 9: 7 = 11 is false",
    ("x = 1/3", r"\boxed{x = 5+5+1 = 1/3 \approx 11}"): "rule 9: 5+5+1 = 1/3 is false",
    ("z = 1 + 1 = 2", r"\boxed{z = 3+3 = 2}"): "rule 9: 3+3 = 2 is false",
    (r"(\begin{pmatrix}\frac{1}{3}\\ \frac{1}{5} \end{pmatrix})", r"\boxed{\begin{pmatrix}0.33\\0.2 \end{pmatrix}}"):
        "rule 4: their test sets a precision of two places",
    (r"(\frac{3}{5},\frac{8}{3}]", r"\boxed{(0.6,2.6667]}"): "rule 4: their test sets a precision of two places",
    ("(1,3)", r"\boxed{{1,3}}"): "rule 3: a set is no pair or interval",
    (r"x \in [-2,7]", r"\boxed{-2 \\le x \\le 7}"): "a line break and the letters l, e",
    (r"\\boxed{35 cm} ++++++ \\boxed{4}", r"\boxed{{35 cm,4}}"): "the gold is a text with two boxes",
    ("p=5,q=2;p=7,q=2", r"\boxed{(5,2),(7,2)}"): "pairs for two unknowns that the gold names one by one",
    (r"1 - \frac{1}{\mathrm{e}}", r"\boxed{1 + \frac{1}{\mathrm{e}}}"): "their test records a false positive",
}  # fmt: skip
UNBOXED_GOLD = ("10455", "less than or equal")  # the gold of the first has dollars in prose, of the second is prose


def _published():
    cases = json.loads((ROOT / "tests" / "math_verify_cases.json").read_text())
    return [case for case in cases if not case["gold"].startswith(UNBOXED_GOLD)]


@pytest.mark.parametrize("case", _published(), ids=lambda case: case["test"].split("::")[1])
def test_math_verifys_own_cases(case):
    differs = (case["gold"], case["response"]) in OTHERWISE
    assert score(case["gold"], case["response"])["acc"] == (case["equal"] != differs)


def _mv_verdict(gold, text, anchored):
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)] if anchored else None
    settings = {"extraction_config": config, "extraction_mode": "first_match"} if anchored else {}
    expected = parse("\\boxed{" + gold + "}", **settings)
    return bool(verify(expected, parse(text, **settings)))


def _last_box(text):
    from verl.utils.reward_score.math_reward import last_boxed_only_string

    return last_boxed_only_string(text.rsplit("</think>", 1)[-1]) or ""


def _other_scorers():
    from verl.utils.reward_score import math_dapo, math_reward, math_verify, prime_math

    return {
        "verl math_verify": lambda gold, text: math_verify._verify_in_subprocess("\\boxed{" + gold + "}", text) > 0,
        "TRL / open-r1 style": lambda gold, text: _mv_verdict(gold, text, anchored=True),
        "last box, then math-verify": lambda gold, text: _mv_verdict(gold, _last_box(text), anchored=False),
        "verl math_dapo": lambda gold, text: bool(math_dapo.compute_score(text, gold)["acc"]),
        "verl math_reward": lambda gold, text: math_reward.compute_score(text, gold) > 0,
        "verl prime_math": lambda gold, text: bool(prime_math.compute_score(text, gold)[0]),
    }


def _says_yes(scorer, gold, text):
    try:
        return scorer(gold, text)
    except Exception:  # several of them raise; in training that is a lost answer, here it is a no
        return False


def test_fewer_mistakes_than_every_scorer_of_verl(capfd):
    """On our own cases, so a lower bound of the effort and no proof: the table is printed with -s."""
    # One string per gold is all the others know; astronomic numbers, large powers of letters, and sums and products to
    # a letter would take them minutes.
    slow = re.compile(r"\{10\^\{10\}\}|\^\{6[01]\}|\\(?:sum|prod)_\{[a-z]=[01]\}\^\{n")
    cases = [c for c in CASES if not c[0].startswith('["') and not slow.search(c[0] + c[1])]
    table = {"ours": [(score(gold, text)["acc"] == 1, right) for gold, text, right, _ in cases]}
    for name, scorer in _other_scorers().items():
        table[name] = [(_says_yes(scorer, gold, text), right) for gold, text, right, _ in cases]
    mistakes = {
        name: (sum(yes and not right for yes, right in rows), sum(right and not yes for yes, right in rows))
        for name, rows in table.items()
    }
    with capfd.disabled():
        print(f"\n{'scorer':28} {'false positives':>16} {'false negatives':>16}   ({len(cases)} cases)")
        for name, (positive, negative) in mistakes.items():
            print(f"{name:28} {positive:16} {negative:16}")
    ours = mistakes.pop("ours")
    for name, (positive, negative) in mistakes.items():
        assert ours[0] < positive and ours[1] < negative, name


# --------------------------------------------------------------------------------------------------------------------
# Reasons and keys
# --------------------------------------------------------------------------------------------------------------------

BY_REASON = {
    "correct": ("42", r"\boxed{42}", {}),
    "wrong": ("42", r"\boxed{41}", {}),
    "no_answer": ("42", "42", {}),
    "timed_out": ("42", SLOW, {"time_limit": 0.5}),
    "over_length": ("42", r"\boxed{" + "1" * 2000 + "}", {}),
    "error": (r"\sqrt{2}", r"\boxed{\sqrt{3}}", {}),
}


@pytest.mark.parametrize("reason", BY_REASON)
def test_each_reason_and_the_same_keys(reason, monkeypatch):
    if reason == "error":  # nothing known causes one: break the reader
        monkeypatch.setattr(grade.compare, "compare", lambda *args: 1 / 0)
    gold, response, options = BY_REASON[reason]
    verdict = score(gold, response, **options)
    assert verdict["reason"] == reason
    assert tuple(verdict) == grade.KEYS and "reward" not in verdict
    assert [key for key in verdict if key.startswith("reason_") and verdict[key] == 1.0] == [f"reason_{reason}"]
    assert verdict["score"] == verdict["acc"] == (reason == "correct")
    assert verdict["worker_killed"] == (reason == "timed_out")
    for key, value in verdict.items():
        assert isinstance(value, str if key in ("pred", "reason") else float), key


@pytest.mark.parametrize(
    "response", [None, 7, b"\\boxed{42}", "", "\x00", "\\boxed{\ud800}", "\\boxed{\x00}", "\\boxed{,}", "\\boxed{=}"]
)
@pytest.mark.parametrize("gold", ["42", "", None, [], ["42"], np.array(["42"], dtype=object), "[", '["', 42, 4.5])
def test_never_raises(response, gold):
    verdict = score(gold, response)
    assert tuple(verdict) == grade.KEYS and verdict["acc"] == 0
    verdict["pred"].encode("utf-8")  # verl writes it to a file


@pytest.mark.parametrize(
    "gold", [42, 42.0, ["41", "42"], ("42",), np.array(["42"], dtype=object), np.int64(42), " 42 "]
)
def test_golds_of_other_types(gold):
    assert score(gold, r"\boxed{42}")["acc"] == 1


def test_pred_is_one_vote_per_value():
    forms = [r"\boxed{\frac{1}{2}}", r"\boxed{0.50}", r"\boxed{x = 1/2}", r"\boxed{\tfrac12 \text{ cm}}", r"\boxed{.5}"]
    assert {score("7", form)["pred"] for form in forms} == {"1/2"}


def test_verls_validation_takes_the_dict():
    from verl.trainer.ppo.metric_utils import process_validation_metrics

    verdicts = [score("42", r"\boxed{42}"), score("42", r"\boxed{042}"), score("42", r"\boxed{41}"), score("42", "42")]
    columns = {key: [verdict[key] for verdict in verdicts] for key in verdicts[0]}
    metrics = process_validation_metrics(["aime"] * 4, ["problem"] * 4, columns)["aime"]
    assert metrics["acc"]["mean@4"] == 0.5
    assert metrics["reason_no_answer"]["mean@4"] == 0.25
    assert any(name.startswith("maj@4") for name in metrics["acc"])


def test_unparsed_gold_is_counted_and_compared_as_a_string():
    gold = r"\{x \mid x \clubsuit\}"
    assert score(gold, r"\boxed{\{x \mid x \clubsuit \}}")["acc"] == 1
    verdict = score(gold, r"\boxed{\sqrt{2}}")
    assert (verdict["reason"], verdict["gold_unparsed"]) == ("wrong", 1.0)
    assert not grade.can_parse(gold)
    assert all(
        map(grade.can_parse, ("42", r"\frac{\sqrt{3}}{2}", r"\text{Evelyn}", "(1,2)", '["1", "x^2"]', r"1\pm\sqrt{2}"))
    )


# --------------------------------------------------------------------------------------------------------------------
# Options
# --------------------------------------------------------------------------------------------------------------------


def test_thinking_option():
    assert score("42", r"no end of thought \boxed{42}")["acc"] == 1
    assert score("42", r"no end of thought \boxed{42}", thinking=True)["reason"] == "no_answer"
    assert score("42", r"thought</think>\boxed{42}", thinking=True)["acc"] == 1


def test_unboxed_option():
    assert score("42", "Hence the answer is $42$.")["reason"] == "no_answer"
    assert score("42", "Hence the answer is $42$.", allow_unboxed=True)["acc"] == 1
    assert score("42", r"The answer is 42. \boxed{41", allow_unboxed=True)["acc"] == 0


def test_overlong_penalty():
    # DAPO: over = 950 - (1000 - 100) = 50 characters of a buffer of 100, times 0.5
    options = {"overlong_buffer_chars": 100, "max_response_chars": 1000, "overlong_penalty": 0.5}
    verdict = score("42", r"\boxed{42}".rjust(950), **options)
    assert (verdict["score"], verdict["acc"]) == (0.75, 1.0)


def test_bad_option_names_its_key():
    with pytest.raises(ValueError, match=r"reward_kwargs.time_limit must be at least 0.1, got 0"):
        score("42", r"\boxed{42}", time_limit=0)


def test_unknown_option_is_an_error_and_verls_own_are_not():
    with pytest.raises(ValueError, match=r"reward_kwargs.time_limt is no option; there are .*time_limit"):
        score("42", r"\boxed{42}", time_limt=[3])
    assert score("42", r"\boxed{42}", reward_router_address="x", reward_model_tokenizer=[])["acc"] == 1


def test_alarm_is_loud_and_once(caplog):
    counters = grade.Counters()
    with caplog.at_level(logging.ERROR):
        for i in range(300):
            reason = "timed_out" if i % 10 == 0 else "correct"
            counters.add(grade.Case(reason=reason, seconds=0.001 * i), grade.Options())
    assert len(caplog.records) == 1 and "alarm_share=0.05" in caplog.text
    assert "timed_out=0.100" in counters.report() and "correct=0.900" in counters.report()


def test_report_comes_now_and_then(capfd, monkeypatch):
    monkeypatch.setattr(grade, "REPORT_EVERY", 3)
    counters = grade.Counters()
    for _ in range(4):
        counters.add(grade.Case(reason="correct", seconds=0.25), grade.Options())
    assert capfd.readouterr().out.count("[math_reward] 3 answers") == 1
    assert "p50=250.00 p99=250.0" in counters.report()


# --------------------------------------------------------------------------------------------------------------------
# Hostile answers
# --------------------------------------------------------------------------------------------------------------------

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
    for gold in ("42", "x^2+1"):
        verdict = score(gold, HOSTILE[name], time_limit=2.0)
        assert verdict["acc"] == 0 and verdict["reason"] != "error"


@pytest.mark.parametrize("name", ["tower", "factorial", "nested factorial", "binomial", "sum", "matrix power"])
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


def _mixed():
    """200 normal answers and 16 hostile ones spread among them; the slow integral twice."""
    hostile = [*(h for name, h in HOSTILE.items() if name != "a megabyte of text"), SLOW]
    hostile = hostile[:: len(hostile) // 14][:14] + [SLOW, SLOW]
    work = [NORMAL[i % 4] for i in range(200)]
    for k, bad in enumerate(hostile):
        work.insert(13 * k, ("42", bad, 0))
    assert len(work) == 216
    return work


def _all_right(work, verdicts):
    wrong = [(w[0], w[1][:50], dict(v)) for w, v in zip(work, verdicts, strict=True) if v["acc"] != w[2]]
    assert not wrong


def test_hostile_among_normal_in_an_event_loop_that_keeps_turning():
    work, gaps = _mixed(), []

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
    _all_right(work, asyncio.run(run()))
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
    work, start = _mixed(), time.monotonic()
    verdicts = [None] * len(work)

    def some(first):
        for i in range(first, len(work), 8):
            verdicts[i] = score(work[i][0], work[i][1], time_limit=2.0)

    threads = [threading.Thread(target=some, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _all_right(work, verdicts)
    assert time.monotonic() - start < 60


def test_waiting_in_the_queue_does_not_count():
    """One worker, three answers that take its whole second each: the fourth waits three seconds for its turn."""

    async def run():
        slow = [compute_score("t", SLOW, "42", time_limit=1.0, workers=1) for _ in range(3)]
        return await asyncio.gather(
            *slow, compute_score("t", r"\boxed{2\sqrt{2}}", r"\sqrt{8}", time_limit=1.0, workers=1)
        )

    verdicts = asyncio.run(run())
    assert [verdict["reason"] for verdict in verdicts] == ["timed_out"] * 3 + ["correct"]


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
    reply = workers.Pool(1, 5.0, 1024).submit({"gold": "x"}).result()
    assert (reply["error"], reply["killed"]) == ("the worker died", 2) and "late" not in reply


def test_worker_killed_from_outside_costs_no_answer():
    pool = workers.Pool(1, 5.0, 1024)
    request = {"golds": [r"\sqrt{8}"], "answer": r"2\sqrt{2}"}
    assert pool.submit(request).result()["equal"]
    pool.threads.submit(lambda: os.kill(pool.mine.worker.process.pid, signal.SIGKILL)).result()
    reply = pool.submit(request).result()
    assert reply["equal"] and reply["killed"] == 1


def test_where_no_worker_can_be_started_the_answer_is_an_error_and_the_next_one_is_graded(monkeypatch):
    """A stand-in for a machine out of memory or processes: subprocess.Popen raises once the first worker is dead."""
    pool = workers.Pool(1, 1.0, 1024)
    request = {"golds": [r"\sqrt{8}"], "answer": r"2\sqrt{2}"}
    assert pool.submit(request).result()["equal"]
    with monkeypatch.context() as short:
        short.setattr(workers.subprocess, "Popen", Mock(side_effect=BlockingIOError))
        pool.threads.submit(lambda: os.kill(pool.mine.worker.process.pid, signal.SIGKILL)).result()
        reply = pool.submit(request).result(timeout=60)
        case = grade.Case()
        grade.finish(case, reply)
        assert (case.reason, reply["killed"]) == ("error", 1)
    assert pool.submit(request).result(timeout=60)["equal"]


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


def test_worker_that_uses_no_cpu_time_is_killed_too():
    pool = workers.Pool(1, 1.0, 1024)
    request = {"golds": [r"\sqrt{8}"], "answer": r"2\sqrt{2}"}
    assert pool.submit(request).result()["equal"]
    pool.threads.submit(lambda: os.kill(pool.mine.worker.process.pid, signal.SIGSTOP)).result()
    assert pool.submit(request).result(timeout=60)["late"]
    assert pool.submit(request).result(timeout=60)["equal"]


def test_worker_is_recycled(monkeypatch):
    monkeypatch.setattr(workers, "ANSWERS_PER_WORKER", 2)
    pool = workers.Pool(1, 5.0, 1024)
    request = {"golds": [r"\sqrt{8}"], "answer": r"2\sqrt{2}"}

    def pid():
        return pool.threads.submit(lambda: pool.mine.worker.process.pid).result()

    pool.submit(request).result()
    first = pid()
    pool.submit(request).result()
    assert pid() != first and pool.submit(request).result()["equal"]


def test_memory_limit_holds():
    worker = workers.Worker(5.0, 512)
    limits = Path(f"/proc/{worker.process.pid}/limits")
    worker.ask(b'{"gold": "x"}', 30)
    assert str(512 << 20) in next(line for line in limits.read_text().splitlines() if "address space" in line)
    worker.kill()


PARENT = """
import sys, threading, time
from verl.utils.import_utils import load_extern_object
workers = load_extern_object({path!r}, "_sibling")("pool")
pool = workers.Pool(1, 600.0, 1024)
future = pool.submit({{"golds": ["42"], "answer": {slow!r}}})
while not hasattr(pool, "seen"):
    time.sleep(0.1)
    for child in __import__("psutil").Process().children():
        print(child.pid, flush=True); pool.seen = True
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's; elsewhere CPU time is the bound")
def test_no_orphan_after_sigkill_of_the_parent():
    code = PARENT.format(path=str(REWARD), slow=SLOW[7:-1])
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
    workers.pool_of(1, 5.0, 1024)
    workers.pool_of(1, 5.0, 1024)
    assert caplog.text.count("gmpy2 is installed") == 1


# --------------------------------------------------------------------------------------------------------------------
# As verl calls it
# --------------------------------------------------------------------------------------------------------------------


def test_survives_being_sent_to_another_process():
    """The `remote` manager sends the function by value; results travel by pickle."""
    code = (
        "import sys, cloudpickle; f = cloudpickle.load(sys.stdin.buffer);"
        r"print(f('t', r'\boxed{2\sqrt2}', r'\sqrt 8')['reason'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=cloudpickle.dumps(compute_score_sync), capture_output=True
    )
    assert done.stdout.decode().strip() == "correct", done.stderr.decode()
    assert type(pickle.loads(pickle.dumps(score("42", r"\boxed{42}")))) is dict


def test_imported_as_a_module(tmp_path):
    code = r"import reward.math_reward as m; print(m.compute_score_sync('t', r'\boxed{2\sqrt2}', r'\sqrt 8')['reason'])"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "correct", done.stderr


def test_the_entry_point_of_main_eval_returns_a_float():
    compute_score_float = load_extern_object(str(REWARD), "compute_score_float")
    scores = [compute_score_float("t", response, "42") for response in (r"\boxed{42}", r"\boxed{41}")]
    assert scores == [1.0, 0.0] and {type(score) for score in scores} == {float}


@pytest.fixture(scope="module")
def ray_cluster():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    yield ray
    ray.shutdown()


def test_in_a_ray_actor(ray_cluster):
    """As a RewardLoopWorker holds it: loaded by path in an actor with async methods."""
    path = str(REWARD)

    class Actor:
        def __init__(self):
            self.compute_score = load_extern_object(path, "compute_score")

        async def score_all(self, work):
            return await asyncio.gather(
                *(self.compute_score("t", text, gold, time_limit=2.0) for gold, text, _ in work)
            )

    work, start = _mixed(), time.monotonic()
    actor = ray_cluster.remote(Actor).options(num_cpus=0).remote()
    _all_right(work, ray_cluster.get(actor.score_all.remote(work)))
    assert time.monotonic() - start < 90


def _reward_config(name, **kwargs):
    from omegaconf import OmegaConf

    function = {"path": str(REWARD), "name": name, "reward_kwargs": kwargs}
    return OmegaConf.create({
        "reward": {"custom_reward_function": function, "num_workers": 1, "reward_kwargs": {}},
        "trainer": {"experiment_name": "test"},
    })  # fmt: skip


class Tokenizer:
    def decode(self, ids, skip_special_tokens):
        return "".join(chr(i) for i in ids)


def _batch(gold, text):
    import torch
    from verl import DataProto

    ids = torch.tensor([[ord(char) for char in text]])
    batch = DataProto.from_dict(
        tensors={"responses": ids, "attention_mask": torch.ones_like(ids)},
        non_tensors={
            "data_source": np.array(["aime"], dtype=object),
            "reward_model": np.array([{"ground_truth": gold}], dtype=object),
            "extra_info": np.array([{}], dtype=object),
        },
    )
    return batch


@pytest.mark.parametrize("manager", ["naive", "dapo", "gdpo", "rate_limited", "remote"])
def test_reward_managers(manager, ray_cluster):
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
    from verl.trainer.ppo.reward import get_custom_reward_fn

    config = _reward_config("compute_score_sync" if manager == "remote" else "compute_score", time_limit=4.0)

    async def run():
        reward = get_reward_manager_cls(manager)(config, Tokenizer(), get_custom_reward_fn(config))
        return [await reward.run_single(_batch(r"\sqrt{8}", text)) for text in (r"\boxed{2\sqrt2}", r"\boxed{3}")]

    right, wrong = asyncio.run(run())
    assert (right["reward_score"], wrong["reward_score"]) == (1.0, 0.0)
    assert right["reward_extra_info"]["reason"] == "correct" and wrong["reward_extra_info"]["reason_wrong"] == 1.0


def test_main_eval(ray_cluster):
    from verl.trainer.main_eval import process_item

    config = _reward_config("compute_score_float")
    responses = [r"\boxed{2\sqrt2}", r"\boxed{3}", r"\boxed{\sqrt8}", ""]
    source, mean = ray_cluster.get(process_item.remote(config, "aime", responses, {"ground_truth": r"\sqrt{8}"}))
    assert (source, mean) == ("aime", 0.5)


# --------------------------------------------------------------------------------------------------------------------
# Documentation
# --------------------------------------------------------------------------------------------------------------------


DOCTESTS = "grade extract normalize rational structure relations expression scalars compare".split()


@pytest.mark.parametrize("name", DOCTESTS)
def test_doctests(name):
    result = doctest.testmod(sibling(name))
    assert result.attempted > 0 and result.failed == 0


def test_options_are_documented():
    names = {field for field in grade.Options.__dataclass_fields__}
    assert all(f"{name}:" in grade.Options.__doc__ for name in names)
    assert SimpleNamespace(**vars(grade.Options()))  # every option has a default
