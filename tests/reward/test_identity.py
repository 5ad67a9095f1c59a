"""Absolute values against their one-sided forms, which agree on one side of a point c near zero or farther out."""

import pytest

from tests.reward.loaded import sibling

identical, read_scalar = sibling("identity").identical, sibling("expression").read_scalar
EQUAL = [("|{x}|", "\\sqrt{{({x})^2}}"), ("2\\ln|{x}|", "\\ln(({x})^2)")]
ONE_SIDED = [("{x}", "|{x}|"), ("{x}", "\\sqrt{{({x})^2}}"), ("-({x})", "|{x}|")]


@pytest.mark.parametrize("shifted", ["x", "x+2", "x-7", "x+20", "x-20", "xy"])
@pytest.mark.parametrize("form, other, same", [(*pair, pair in EQUAL) for pair in EQUAL + ONE_SIDED])
def test_an_absolute_value_is_not_its_one_sided_form(form, other, same, shifted):
    trees = [read_scalar(text.format(x=shifted)) for text in (form, other)]
    assert identical(*trees) is same
    assert identical(*trees[::-1]) is same
