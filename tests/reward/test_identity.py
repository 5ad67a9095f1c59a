"""Absolute values against their one-sided forms, which agree on one side of a point c near zero or farther out."""

import pytest

from tests.reward.loaded import sibling

identical, read_scalar = sibling("identity").identical, sibling("expression").read_scalar
EQUAL = [("|{x}|", "\\sqrt{{({x})^2}}"), ("2\\ln|{x}|", "\\ln(({x})^2)")]
ONE_SIDED = [("{x}", "|{x}|"), ("{x}", "\\sqrt{{({x})^2}}"), ("-({x})", "|{x}|")]
HALF = [("\\ln|{x}|", "\\ln({x})"), ("2\\ln|{x}|", "2\\ln({x})"), ("|{x}|", "\\sqrt{{{x}}}^2")]


@pytest.mark.parametrize("shifted", ["x", "x+2", "x-7", "x+20", "x-20", "x+50", "x-1000", "x+30000", "xy"])
@pytest.mark.parametrize("form, other, same", [(*pair, pair in EQUAL) for pair in EQUAL + ONE_SIDED])
def test_an_absolute_value_is_not_its_one_sided_form(form, other, same, shifted):
    trees = [read_scalar(text.format(x=shifted)) for text in (form, other)]
    assert identical(*trees) is same
    assert identical(*trees[::-1]) is same


@pytest.mark.parametrize("shifted", ["x", "x+2", "x-7", "xy"])
@pytest.mark.parametrize("gold, answer", HALF)
def test_an_answer_that_is_real_on_one_side_only_is_not_one_with_an_absolute_value(gold, answer, shifted):
    trees = [read_scalar(text.format(x=shifted)) for text in (gold, answer)]
    assert identical(*trees) is False


@pytest.mark.parametrize("gold, answer, same", [
    ("\\sqrt{-x^2-1}", "\\sqrt{-1-x^2}", True), ("\\sqrt{-x^2-1}", "\\sqrt{-x^2-2}", False),
    ("\\ln(x-1)-\\ln x", "\\ln\\frac{x-1}{x}", True),
])  # fmt: skip
def test_an_expression_that_is_real_nowhere_is_compared_at_its_complex_values(gold, answer, same):
    assert identical(read_scalar(gold), read_scalar(answer)) is same
