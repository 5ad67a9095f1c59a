"""bapo_verl.figures on logs as verl writes them, whole and cut short. What is drawn is read from matplotlib's artists.

What this file does not check: how the pictures look.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bapo_verl.diagnosis import METRICS as BAPO_METRICS
from bapo_verl.figures import COLORS, FIGURES, METRICS, by_setting, check, draw_figure, read_run, series


def make_run(steps=4, without=(), **values):
    """A run in which every metric is 0.5, but for reward and rho where given as a list, a value a step."""
    metric = {"reward": "critic/score/mean", "rho": "actor/bapo/rho"}
    run = [(step, {m: 0.5 for m in METRICS if m not in without}) for step in range(1, steps + 1)]
    for name, given in values.items():
        for (_, data), value in zip(run, given, strict=True):
            data[metric[name]] = value
    return run


def write_log(path, run):
    path.write_text("".join(json.dumps({"step": step, "data": data}) + "\n" for step, data in run))
    return path


def panels(runs, name="training"):
    """The figure, and its axes by title."""
    figure = draw_figure(FIGURES[name], by_setting(runs))
    return figure, {axes.get_title(loc="left"): axes for axes in figure.axes}


def words(legend):
    return [text.get_text() for text in legend.get_texts()]


def figures(*arguments, **environment):
    command = [sys.executable, "-m", "bapo_verl.figures", *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)


# What is drawn


def test_seeds_are_one_curve_with_a_band():
    # Step 1: only seed 7 has it; steps 2, 3: (0.1 + 0.3) / 2, (0.2 + 0.6) / 2; step 4: nan in one; step 5: nan in both.
    late = make_run(5, reward=[0, 0.1, 0.2, math.nan, None])[1:]
    runs = {"bapo-seed0": late, "bapo-seed7": make_run(5, reward=[0.9, 0.3, 0.6, 0.5, None])}
    figure, axes = panels(runs | {"grpo-seed0": make_run(5)})
    bapo, grpo = axes["reward"].lines
    np.testing.assert_allclose(bapo.get_xydata(), [(1, 0.9), (2, 0.2), (3, 0.4), (4, 0.5), (5, math.nan)])
    (band,) = axes["reward"].collections  # none for the single seed of grpo
    corners = {(round(x), round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(1, 0.9), (2, 0.1), (2, 0.3), (3, 0.2), (3, 0.6), (4, 0.5)}
    (legend,) = figure.legends
    assert words(legend) == ["bapo (2 seeds)", "grpo"]
    assert legend.get_title().get_text() == "line: mean over seeds, band: lowest to highest"


def test_names_that_differ_in_their_seed_are_one_setting():
    others = ["grpo", "bapo-seedless", "-seed1", "bapo-seed1-long"]
    settings = by_setting({name: [name] for name in ["bapo-seed0", "bapo-seed12", *others]})
    assert settings == {"bapo": [["bapo-seed0"], ["bapo-seed12"]]} | {name: [[name]] for name in others}


def test_settings_have_their_colors_and_curves_their_line_styles():
    figure, axes = panels({"bapo": make_run(), "grpo": make_run()}, "tokens")
    lines = axes["quantiles of r"].lines
    assert [line.get_color() for line in lines] == COLORS[:2] * 4
    assert [line.get_linestyle() for line in lines[::2]] == ["-", "--", ":", "-."]
    legend = axes["quantiles of r"].get_legend()
    assert words(legend) == ["max", "p99", "p50", "p01"]
    assert [line.get_linestyle() for line in legend.get_lines()] == ["-", "--", ":", "-."]
    assert axes["quantiles of r"].get_yscale() == "log"
    assert words(figure.legends[0]) == ["bapo", "grpo"] and not figure.legends[0].get_title().get_text()
    assert [line.get_color() for line in figure.legends[0].get_lines()] == COLORS[:2]


def test_the_shares_of_the_loss_add_to_one():
    _, axes = panels({"bapo": make_run(rho=[0.3, 0.4, 0.45, None])}, "tokens")
    positive, negative = axes["share of the loss"].lines
    np.testing.assert_allclose(positive.get_ydata(), [0.3, 0.4, 0.45, math.nan])
    np.testing.assert_allclose(negative.get_ydata(), [0.7, 0.6, 0.55, math.nan])


def test_one_run_is_a_line_whose_gaps_are_what_is_not_finite_and_a_point_between_two_is_seen(tmp_path):
    reward = [1.0, 2.0, math.nan, 4.0, None, math.inf]  # verl's logger writes null, Python's json NaN and Infinity
    figure, axes = panels({"run": read_run(write_log(tmp_path / "run.jsonl", make_run(6, reward=reward)))})
    assert not axes["reward"].collections and not axes["reward"].get_legend() and not figure.legends
    (line,) = axes["reward"].lines
    np.testing.assert_array_equal(line.get_ydata(), [1, 2, math.nan, 4, math.nan, math.nan])
    assert line.get_markevery() == [3] and line.get_marker() == "o"


def test_a_curve_has_the_steps_that_logged_it_and_of_a_step_logged_twice_the_later():
    run = [(1, {"a": 1.0}), (2, {"a": 2.0}), (2, {"a": 9.0}), (3, {}), (4, {"a": 4.0})]
    assert series(run, "a").to_dict() == {1: 1.0, 2: 9.0, 4: 4.0}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("steps", [1, 4])
def test_nothing_is_cut_off_or_covered(name, steps):
    long_names = [
        f"{setting}-with-a-very-long-name-seed{seed}" for setting in ("bapo", "grpo", "clip", "dapo") for seed in (0, 1)
    ]
    figure, axes = panels({run: make_run(steps) for run in long_names}, name)
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    for panel in axes.values():
        box = panel.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        title = panel._left_title.get_window_extent()
        for legend in [*figure.legends, *filter(None, [panel.get_legend()])]:
            extent = legend.get_window_extent()
            assert 0 <= extent.x0 and extent.x1 <= width and extent.y1 <= height
            text = [t.get_window_extent() for t in legend.get_texts()]
            assert not any(t.overlaps(panel.bbox) or t.overlaps(title) for t in text)
        assert all(label.get_text().isdigit() for label in panel.get_xticklabels() if label.get_text())


def test_metrics_of_bapo_are_those_that_the_loss_logs():
    assert {metric for metric in METRICS if metric.startswith("actor/bapo/")} <= BAPO_METRICS.keys()


# What is missing


def test_a_panel_that_no_run_can_fill_says_so():
    grpo = make_run(without=["actor/bapo/c_high"])
    _, axes = panels({"grpo": grpo, "dapo": grpo})
    assert [text.get_text() for text in axes["upper bound c_high"].texts] == ["not logged"]
    assert not axes["reward"].texts
    _, axes = panels({"grpo": grpo, "bapo": make_run()})
    assert not axes["upper bound c_high"].texts


@pytest.mark.parametrize(
    "content", ["", "\n\n", "step:1 - critic/score/mean:0.5\n", '{"step": "1", "data": {}}\n7\n[]\n']
)
def test_a_log_without_a_record_is_an_error(content, tmp_path):
    (tmp_path / "run.jsonl").write_text(content)
    with pytest.raises(ValueError, match="run.jsonl has no record of verl's file logger"):
        read_run(tmp_path / "run.jsonl")


@pytest.mark.parametrize("data", [{"timing_s/step": 2.0}, {"critic/score/mean": None}])
def test_a_run_without_one_of_the_metrics_is_an_error(data):
    with pytest.raises(ValueError, match="run has no value of any metric that the figures show"):
        check("run", [(1, data)])


@pytest.mark.parametrize("kept", [1, 10, 40, 200])
def test_a_record_after_a_line_cut_short_is_kept(tmp_path, kept):
    """As `cat` joins the log of a killed run with that of the run that resumed it. Blank lines are nothing."""
    killed, resumed = (write_log(tmp_path / name, make_run()).read_bytes() for name in "ab")
    last = killed.rindex(b"\n", 0, -1) + 1
    (tmp_path / "run.jsonl").write_bytes(killed[: last + kept] + resumed + b"\n \n")
    with pytest.warns(UserWarning, match="run.jsonl: skipped 1 lines that hold no whole record, first line 4: {"):
        run = read_run(tmp_path / "run.jsonl")
    assert [step for step, _ in run] == [1, 2, 3, 1, 2, 3, 4]
    assert run[3:] == make_run()


@pytest.mark.parametrize("name", ["a$b$", r"$\frac{", "_hidden", "a\\b_c^d"])
def test_a_name_is_printed_as_it_is(name):
    figure, _ = panels({name: make_run(), "b": make_run()})
    figure.draw_without_rendering()
    assert words(figure.legends[0]) == [name.replace("$", r"\$"), "b"]  # how matplotlib is told of a plain $


# The command


def test_without_matplotlib_the_extra_is_named(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError")
    done = figures("a.jsonl", "-o", ".", PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[2]}")
    assert done.returncode == 1 and "pip install 'bapo-verl[figures]'" in done.stderr.splitlines()[-1]


def test_what_cannot_be_drawn_is_a_sentence(tmp_path):
    logs = [write_log(tmp_path / f"run{i}.jsonl", make_run()) for i in range(8)]
    cases = {"can tell 7 settings apart, got 8: run0, run1": logs, "No such file.*nothing": [tmp_path / "nothing"]}
    for sentence, runs in cases.items():
        done = figures(*runs, "-o", tmp_path / "figures")
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1 and re.search(sentence, line)
    assert "run0.jsonl" in figures(logs[0], "-o", logs[0]).stderr.splitlines()[-1]


def test_the_command_draws_names_its_files_and_what_a_run_lacks(tmp_path):
    """On two logs of one name, as recipe/demo/demo.py writes them."""
    logs = []
    for name, given in [("bapo", {}), ("grpo", {"without": ["actor/bapo/rho"]}), ("null", {"rho": [None] * 4})]:
        (tmp_path / name).mkdir()
        logs.append(write_log(tmp_path / name / "metrics.jsonl", make_run(**given)))
    output = tmp_path / "new" / "figures"
    done = figures(*logs, "-o", output)
    assert done.stdout.splitlines() == [str(output / "training.png"), str(output / "tokens.png")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in output.iterdir())
    warned = [line for line in done.stderr.splitlines() if "warning" in line.lower()]
    assert warned == [f"warning: {log} has no value of actor/bapo/rho" for log in logs[1:]]
