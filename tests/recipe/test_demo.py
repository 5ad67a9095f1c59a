"""recipe/demo/ and recipe/common.py: a run that falls silent, and what the demo says at the end.

What this file does not exercise: the training itself, which tests/pipeline has.
"""

import os

import pandas
import pytest

from recipe import common
from recipe.demo import demo


def test_the_demo_says_that_a_run_fell_silent(tmp_path, monkeypatch):
    """The metrics of an interrupted run go: their age is not the silence of the next."""
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    os.utime(tmp_path / "metrics.jsonl", (0, 0))
    monkeypatch.setattr(common, "GRACE_SECONDS", 0)  # where the tests run in the background, sleep ignores Ctrl-C
    run = common.Run(["sleep", "60"], tmp_path)
    try:
        assert not run.silent()
        monkeypatch.setattr(common, "SILENCE_SECONDS", -1)
        with pytest.raises(SystemExit, match=f"memory.*{run.log}"):
            demo.follow(run)
    finally:
        run.end()
    assert run.process.returncode


def step(reward, rho, rho_start, moves, lr=2e-4):
    data = {"critic/score/mean": reward, "actor/entropy": 1.5, "actor/grad_norm": 1.0, "actor/bapo/steps": moves}
    bounds = {"actor/bapo/c_low": 0.75, "actor/bapo/c_high": 2.1}
    return data | bounds | {"actor/bapo/rho": rho, "actor/bapo/rho_start": rho_start, "actor/lr": lr}


def test_the_last_lines_have_the_numbers_of_the_log_and_of_the_stored_runs_at_its_learning_rate(tmp_path, monkeypatch):
    """Means over two steps: rho (0.40 + 0.44) / 2, rho_start 0.39; the search moved in one of them; reward 0.5.

    Stored, at this rate: reward (0.3 + 0.4) / 2 = 0.35, lowest (0.1 + 0.2) / 2, highest (0.5 + 0.7) / 2.
    """
    table = pandas.DataFrame(
        {
            "lr": [2e-4, 2e-4, 8e-4],
            "step": [1, 2, 2],
            "seeds": [5, 5, 3],
            "reward": [0.3, 0.4, 0.9],
            "reward_lowest": [0.1, 0.2, 0.9],
            "reward_highest": [0.5, 0.7, 0.9],
        }
    )
    table.to_parquet(tmp_path / "steps.parquet")
    monkeypatch.setattr(demo, "GRPO_RUNS", tmp_path / "steps.parquet")
    tested = {"val-core/tiny_task/acc/mean@1": 0.25}
    log = [(0, tested), (1, step(0.4, 0.40, 0.38, 0)), (2, step(0.6, 0.44, 0.40, 12) | {next(iter(tested)): 0.75})]
    grpo = demo.stored_grpo_runs(2e-4)
    text = demo.summary(pandas.DataFrame.from_dict(dict(log), orient="index"), grpo)
    expected = "0.250 before, 0.750 after|in 1 of 2 steps, to 0.75 and 2.10|0.420|0.390|0.50|In 5 stored|0.35"
    expected += "|0.15 to 0.60"
    assert [number for number in expected.split("|") if number not in text] == []
    demo.draw(log, grpo, tmp_path / "training.png")
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")


def test_the_demos_learning_rate_has_stored_runs(repository):
    """The number in the launch script against the stored table."""
    script = (repository / "examples" / "run_bapo_tiny_qwen2_cpu.sh").read_text()
    lr = float(script.partition("optim.lr=")[2].split()[0])
    rows = demo.stored_grpo_runs(lr)
    assert len(rows) == rows["step"].nunique() > 0
