"""The examples in the docstrings of recipe/."""

import doctest
import importlib

import pytest

from tests.recipe.composing import ROOT

FILES = [path.relative_to(ROOT) for path in (ROOT / "recipe").rglob("*.py") if ">>>" in path.read_text()]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_docstrings_examples(file):
    result = doctest.testmod(importlib.import_module(".".join(file.with_suffix("").parts)))
    assert result.failed == 0 and result.attempted > 0
