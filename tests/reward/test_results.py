r"""Results and options: reasons, keys, votes, counters; a call never raises for an answer."""

import doctest
import logging
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from tests.reward.loaded import SLOW, SLOW_GOLD, grade, score, sibling

BY_REASON = {
    "correct": ("42", r"\boxed{42}", {}),
    "wrong": ("42", r"\boxed{41}", {}),
    "no_answer": ("42", "42", {}),
    "timed_out": (SLOW_GOLD, SLOW, {"time_limit": 0.5}),
    "over_length": ("42", r"\boxed{" + "1" * 2000 + "}", {}),
    "error": (r"\sqrt{2}", r"\boxed{\sqrt{3}}", {}),
}


@pytest.mark.parametrize("reason", BY_REASON)
def test_each_reason_and_the_same_keys(reason, monkeypatch):
    if reason == "error":  # nothing known causes one: break the reader
        monkeypatch.setattr(grade, "equal", lambda *args: 1 / 0)
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


def test_the_values_that_are_kept_take_a_bounded_space():
    """As many as are kept at most, of the longest texts, take less than 64 MB. A longer text is not kept."""
    parse = sibling("parse")
    for longest in (lambda i: f"{i}," * 30, lambda i: f"{i}" + "x" * 115, lambda i: f"{i}" + "+x" * 58):
        parse._read.cache_clear()
        tracemalloc.start()
        for i in range(100, 140):
            assert len(longest(i)) <= parse.CACHED_LENGTH and parse.read(longest(i)) is parse.read(longest(i))
        assert tracemalloc.get_traced_memory()[0] / 40 * parse._read.cache_info().maxsize < 64e6
        tracemalloc.stop()
    kept = parse._read.cache_info().currsize
    parse.read("x+" * parse.CACHED_LENGTH + "1")
    assert parse._read.cache_info().currsize == kept


def test_pred_is_one_vote_per_value():
    forms = [r"\boxed{\frac{1}{2}}", r"\boxed{0.50}", r"\boxed{x = 1/2}", r"\boxed{\tfrac12 \text{ cm}}", r"\boxed{.5}"]
    assert {score("7", form)["pred"] for form in forms} == {"1/2"}


@pytest.mark.used_by("reward/grade.py")
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


def test_thinking_option():
    assert score("42", r"no end of thought \boxed{42}")["acc"] == 1
    assert score("42", r"no end of thought \boxed{42}", thinking=True)["reason"] == "no_answer"
    assert score("42", r"thought</think>\boxed{42}", thinking=True)["acc"] == 1


def test_unboxed_option():
    assert score("42", "Hence the answer is $42$.")["reason"] == "no_answer"
    assert score("42", "Hence the answer is $42$.", allow_unboxed=True)["acc"] == 1
    assert score("42", r"The answer is 42. \boxed{41", allow_unboxed=True)["acc"] == 0


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("time_limit", 0, "be at least 0.1, got 0"),
        ("time_limit", "5", "be of type float, got '5'"),
        ("workers", True, "be of type int, got True"),
        ("thinking", "False", "be of type bool, got 'False'"),
    ],
)
def test_a_bad_option_names_its_key(option, value, rule):
    with pytest.raises(ValueError, match=f"reward_kwargs.{option} must {rule}"):
        score("42", r"\boxed{42}", **{option: value})


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


DOCTESTS = "extract latex words units brackets quantity parse expression compare".split()


@pytest.mark.parametrize("name", DOCTESTS)
def test_doctests(name):
    result = doctest.testmod(sibling(name))
    assert result.attempted > 0 and result.failed == 0


def test_options_are_documented():
    names = {field for field in grade.Options.__dataclass_fields__}
    assert all(f"{name}:" in grade.Options.__doc__ for name in names)
    assert SimpleNamespace(**vars(grade.Options()))  # every option has a default
