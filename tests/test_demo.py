"""recipe/demo/ and recipe/process.py: a run that falls silent, and what the demo says at the end.

What this file does not exercise: the training itself, which is that of pipeline/.
"""

import json
import os

import demo
import pipeline
import process
import pytest
from tqdm import tqdm


@pytest.mark.parametrize(
    ("command", "error"), [(["true"], None), (["false"], "exit code 1"), (["sleep", "60"], "silent")]
)
def test_a_run_that_falls_silent_or_fails_is_named(command, error, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "SILENCE_SECONDS", 2)
    run = process.Run(command, tmp_path)
    try:
        said = pipeline.wait(run, tqdm(disable=True))
    finally:
        run.end()
    assert said is None if error is None else error in said and str(run.log) in said


def test_the_age_of_an_interrupted_runs_metrics_is_not_the_silence_of_the_next(tmp_path):
    old = tmp_path / "metrics.jsonl"
    old.write_text("{}\n")
    os.utime(old, (0, 0))
    run = process.Run(["sleep", "60"], tmp_path)
    try:
        assert not run.silent()
    finally:
        run.end()


def test_the_demo_says_that_a_run_fell_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "SILENCE_SECONDS", 2)
    run = process.Run(["sleep", "60"], tmp_path)
    try:
        with pytest.raises(SystemExit, match=f"memory.*{run.log}"):
            demo.follow(run)
    finally:
        run.end()


def step(reward, rho, rho_start, moves, c_low=0.75, c_high=2.1):
    data = {"critic/score/mean": reward, "actor/entropy": 1.5, "actor/grad_norm": 1.0, "actor/bapo/steps": moves}
    bounds = {"actor/bapo/c_low": c_low, "actor/bapo/c_high": c_high}
    return data | bounds | {"actor/bapo/rho": rho, "actor/bapo/rho_start": rho_start}


def test_the_last_lines_have_the_numbers_of_the_log(tmp_path, monkeypatch):
    """Means over two steps: rho (0.40 + 0.44) / 2, rho_start 0.39; the search moved in one of them; reward 0.5."""
    run = process.Run(["true"], tmp_path)
    run.process.wait()
    lines = [step(0.4, 0.40, 0.38, 0), step(0.6, 0.44, 0.40, 12)]
    run.metrics.write_text("".join(json.dumps({"step": i, "data": data}) + "\n" for i, data in enumerate(lines, 1)))
    others = [[(1, step(0.2, 0.4, 0.4, 0)), (2, step(0.4, 0.4, 0.4, 0))], [(1, step(0.6, 0.4, 0.4, 0))]]
    monkeypatch.setattr(demo, "stored", lambda arm, steps: others)
    text = demo.draw_and_summarize(run, tmp_path, "grpo")
    assert "moved the bounds in 1 of 2 steps, to 0.75 and 2.10 on average" in text
    assert "had 0.420 of the loss; at the start of the path they would have had 0.390" in text
    assert "Over the last 5 steps: reward 0.50, entropy 1.50." in text
    assert "In 2 stored runs of grpo: reward 0.30 to 0.60, entropy 1.50 to 1.50." in text
    assert (tmp_path / "training.png").is_file()


def test_the_stored_runs_are_those_of_the_arm_up_to_the_step():
    runs = demo.stored("grpo", 3)
    assert runs and all([step for step, _ in run] == [1, 2, 3] for run in runs)
    assert all(data["actor/bapo/c_high"] == pytest.approx(1.2) for run in runs for _, data in run)
