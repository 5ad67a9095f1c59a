"""bapo_verl.figures on logs as verl writes them, whole and cut short. What is drawn is read from matplotlib's artists.

What this file does not check: how the pictures look.
"""

import json
import math
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from bapo_verl.diagnosis import METRICS as BAPO_METRICS
from bapo_verl.figures import (
    COLORS,
    FIGURES,
    LARGEST,
    METRICS,
    Curve,
    Panel,
    by_setting,
    check,
    draw,
    draw_figure,
    main,
    names,
    over_seeds,
    read_run,
    series,
)


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


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["figures", *map(str, arguments)])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back what main sets
    main()


# What is drawn


def test_one_run_is_a_line_without_band_or_legend():
    figure, axes = panels({"bapo": make_run(reward=[0.1, 0.2, 0.3, 0.4])})
    (line,) = axes["reward"].lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4])
    assert not axes["reward"].collections and not axes["reward"].get_legend() and not figure.legends


def test_seeds_are_one_curve_with_a_band():
    # Steps 1, 2: (0.1 + 0.3) / 2, (0.2 + 0.6) / 2; step 3: only seed 7 has it.
    runs = {"bapo-seed0": make_run(2, reward=[0.1, 0.2]), "bapo-seed7": make_run(3, reward=[0.3, 0.6, 0.9])}
    figure, axes = panels(runs | {"grpo-seed0": make_run(3)})
    bapo, grpo = axes["reward"].lines
    np.testing.assert_allclose(bapo.get_xydata(), [(1, 0.2), (2, 0.4), (3, 0.9)])
    (band,) = axes["reward"].collections  # none for the single seed of grpo
    corners = {(round(x), round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(1, 0.1), (1, 0.3), (2, 0.2), (2, 0.6), (3, 0.9)}
    assert tuple(band.get_facecolor()[0][:3]) == pytest.approx(
        tuple(int(COLORS[0][i : i + 2], 16) / 255 for i in (1, 3, 5))
    )
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


def test_more_settings_than_colors_are_refused():
    with pytest.raises(ValueError, match="can tell 7 settings apart, got 8: run0, run1"):
        panels({f"run{i}": make_run() for i in range(8)})


def test_the_shares_of_the_loss_add_to_one():
    _, axes = panels({"bapo": make_run(rho=[0.3, 0.4, 0.45, None])}, "tokens")
    positive, negative = axes["share of the loss"].lines
    np.testing.assert_allclose(positive.get_ydata(), [0.3, 0.4, 0.45, math.nan])
    np.testing.assert_allclose(negative.get_ydata(), [0.7, 0.6, 0.55, math.nan])


def test_what_is_not_finite_is_a_gap_and_a_point_between_gaps_is_seen(tmp_path):
    reward = [1.0, 2.0, math.nan, 4.0, None, math.inf]  # verl's logger writes null, Python's json NaN and Infinity
    _, axes = panels({"run": read_run(write_log(tmp_path / "run.jsonl", make_run(6, reward=reward)))})
    (line,) = axes["reward"].lines
    np.testing.assert_array_equal(line.get_ydata(), [1, 2, math.nan, 4, math.nan, math.nan])
    assert line.get_markevery() == [3] and line.get_marker() == "o"


def test_the_mean_over_seeds_leaves_out_what_is_not_finite():
    runs = [make_run(2, reward=[0.2, None]), make_run(2, reward=[math.nan, None])]
    steps, *values = over_seeds(runs, Curve("critic/score/mean"))
    assert steps == [1, 2]
    np.testing.assert_array_equal(values, [[0.2, math.nan]] * 3)


def test_steps_are_in_order_where_the_first_seed_starts_late():
    late, whole = make_run(3)[1:], make_run(3)
    assert over_seeds([late, whole], Curve("critic/score/mean"))[0] == [1, 2, 3]


@pytest.mark.parametrize("count", range(1, 8))
def test_any_number_of_panels_is_drawn(count):
    """Every panel has its axes, no other axes are left, and the lowest panel of each column names the steps."""
    panels = [Panel(f"panel {i}", [Curve("critic/score/mean")]) for i in range(count)]
    figure = draw_figure(panels, by_setting({"bapo": make_run()}))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [panel.title for panel in panels]
    labeled = [axes.get_title(loc="left") for axes in figure.axes if axes.get_xlabel() == "step"]
    assert labeled == [panel.title for panel in panels[-3:]]


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


def test_a_missing_metric_is_named_once_for_each_run(tmp_path):
    lacking = make_run(without=["actor/bapo/rho"])
    all_null = make_run(rho=[None] * 4)
    with pytest.warns(UserWarning) as record:
        draw({"bapo": make_run(), "grpo": lacking, "null": all_null}, tmp_path)
    assert [str(w.message) for w in record] == [f"{name} has no value of actor/bapo/rho" for name in ("grpo", "null")]


def test_a_panel_that_no_run_can_fill_says_so():
    grpo = make_run(without=["actor/bapo/c_high"])
    _, axes = panels({"grpo": grpo, "dapo": grpo})
    assert [text.get_text() for text in axes["upper bound c_high"].texts] == ["not logged"]
    assert not axes["reward"].texts
    _, axes = panels({"grpo": grpo, "bapo": make_run()})
    assert not axes["upper bound c_high"].texts


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty: no step was logged"),
        ("\n\n", "is empty: no step was logged"),
        ("step:1 - critic/score/mean:0.5\nTraining Progress\n", "has no record of verl's file logger"),
        ('{"step": "1", "data": {}}\n{"step": 1}\n7\n[]\n' + "[" * 10**5, "has no record of verl's file logger"),
        ('{"step": 1, "data": {"timing_s/step": 2.0}}\n', "has no value of any metric that the figures show"),
        ('{"step": 1, "data": {"critic/score/mean": null}}\n', "has no value of any metric that the figures show"),
        ('{"step": 1, "data": {"critic/score/mean": "text"}}\n', "has no value of any metric that the figures show"),
    ],
    ids=["empty", "blank", "a console log", "other JSON", "another metric", "null", "text"],
)
def test_a_log_without_one_metric_is_a_sentence_and_draws_nothing(content, sentence, tmp_path, monkeypatch):
    logs = [tmp_path / "other.jsonl", write_log(tmp_path / "bapo.jsonl", make_run())]
    logs[0].write_text(content)
    with pytest.raises(SystemExit, match=f"other.*{re.escape(sentence)}"):
        run_main(monkeypatch, *logs, "-o", tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_a_last_line_cut_short_is_skipped_with_a_warning(tmp_path):
    log = write_log(tmp_path / "killed.jsonl", make_run())
    log.write_bytes(log.read_bytes()[:-20])
    with pytest.warns(UserWarning, match=r"killed.jsonl: 1 of 4 lines hold what is no whole record.* line 4: {\"step"):
        run = read_run(log)
    assert [step for step, _ in run] == [1, 2, 3]


@pytest.mark.parametrize("kept", [1, 10, 40, 200])
def test_in_joined_logs_the_record_after_a_line_cut_short_is_kept(tmp_path, kept):
    """As `cat` joins the log of a killed run with that of the run that resumed it."""
    killed, resumed = (write_log(tmp_path / name, make_run()).read_bytes() for name in "ab")
    last = killed.rindex(b"\n", 0, -1) + 1
    (tmp_path / "run.jsonl").write_bytes(killed[: last + kept] + resumed)
    with pytest.warns(UserWarning, match="run.jsonl: 1 of 7 lines hold what is no whole record.* line 4: "):
        run = read_run(tmp_path / "run.jsonl")
    assert [step for step, _ in run] == [1, 2, 3, 1, 2, 3, 4]
    assert run[3:] == make_run()


def test_other_lines_are_counted_and_blank_ones_are_nothing(tmp_path):
    log = write_log(tmp_path / "run.jsonl", make_run(2))
    log.write_text("not json\n" + log.read_text().replace("\n", "\n \n\n") + '{"step": 1}\n7\n')
    with pytest.warns(UserWarning, match="3 of 9 lines hold what is no whole record.* line 1: not json$"):
        assert read_run(log) == make_run(2)
    log.write_text("\n" + "".join(json.dumps({"step": s, "data": d}) + "\n\n" for s, d in make_run(2)))
    assert read_run(log) == make_run(2)


@pytest.mark.parametrize("value", ["text", [1.0], {"a": 1}, 1e308, -1e308, 10**400], ids=lambda v: str(v)[:9])
def test_a_value_that_cannot_be_drawn_is_a_gap_and_counted(tmp_path, value):
    run = read_run(write_log(tmp_path / "run.jsonl", make_run(reward=[0.1, value, 0.3, value])))
    with pytest.warns(UserWarning) as record:
        check("run-seed0", run)
    panels({"run-seed0": run, "run-seed1": make_run()})[0].draw_without_rendering()
    said = f"run-seed0 has 2 values of critic/score/mean that are no numbers or beyond {LARGEST:g}, the first at step 2"
    assert [str(w.message) for w in record] == [said]
    np.testing.assert_array_equal(series(run, "critic/score/mean")[1], [0.1, math.nan, 0.3, math.nan])


def test_the_largest_value_is_drawn(tmp_path):
    draw({"run-seed0": make_run(2, reward=[LARGEST, -LARGEST]), "run-seed1": make_run()}, tmp_path)


@pytest.mark.parametrize("name", ["a$b$", "$", r"$\frac{", "_hidden", "a\\b_c^d", "100%"])
def test_a_name_is_printed_as_it_is(name):
    figure, _ = panels({name: make_run(), "b": make_run()})
    figure.draw_without_rendering()
    assert words(figure.legends[0]) == [name.replace("$", r"\$"), "b"]  # how matplotlib is told of a plain $


def test_eight_runs_and_a_folder_that_is_a_file_are_sentences(tmp_path, monkeypatch):
    logs = [write_log(tmp_path / f"run{i}.jsonl", make_run()) for i in range(8)]
    with pytest.raises(SystemExit, match="can tell 7 settings apart, got 8: run0, run1"):
        run_main(monkeypatch, *logs, "-o", tmp_path / "figures")
    with pytest.raises(SystemExit, match="run0.jsonl"):
        run_main(monkeypatch, logs[0], "-o", logs[0])


def test_a_log_that_is_not_there_is_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="no such log: .*nothing.jsonl"):
        run_main(monkeypatch, tmp_path / "nothing.jsonl", "-o", tmp_path)


def test_a_series_skips_the_steps_that_do_not_have_it():
    assert series([(0, {"a": 1.0}), (1, {}), (2, {"a": 3.0})], "a") == ([0, 2], [1.0, 3.0])


def test_a_series_has_nan_for_what_is_not_finite():
    run = [(step, {"a": value}) for step, value in enumerate([None, math.nan, math.inf, -math.inf])]
    np.testing.assert_array_equal(series(run, "a")[1], [math.nan] * 4)


def test_of_a_step_in_both_logs_of_a_resumed_run_the_later_counts():
    assert series([(1, {"a": 1.0}), (2, {"a": 2.0}), (2, {"a": 9.0}), (3, {"a": 3.0})], "a") == ([1, 2, 3], [1, 9, 3])


# The command


def test_runs_are_called_by_their_files_and_where_those_are_the_same_by_their_folders():
    assert names([Path("a/bapo.jsonl"), Path("b/grpo.jsonl")]) == ["bapo", "grpo"]
    assert names([Path("a/metrics.jsonl"), Path("b/metrics.jsonl")]) == ["a/metrics", "b/metrics"]


def test_runs_that_differ_in_nothing_but_the_end_of_their_names_are_told_apart():
    assert names([Path("a/run.jsonl"), Path("a/run.json")]) == ["a/run.jsonl", "a/run.json"]


def test_without_matplotlib_the_extra_is_named(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError(name='matplotlib')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    for how in (["-m", "bapo_verl.figures", "a.jsonl", "-o", "."], ["-c", "import bapo_verl.figures"]):
        done = subprocess.run([sys.executable, *how], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1 and "pip install 'bapo-verl[figures]'" in done.stderr.splitlines()[-1]
        assert ("Traceback" in done.stderr) == (how[0] == "-c")


def test_the_command_draws_and_names_its_files(tmp_path):
    """On two logs of one name, as recipe/demo/demo.py writes them."""
    logs = []
    for name, without in [("bapo", []), ("grpo", ["actor/bapo/rho"])]:
        (tmp_path / name).mkdir()
        logs.append(write_log(tmp_path / name / "metrics.jsonl", make_run(without=without)))
    output = tmp_path / "new" / "figures"
    command = [sys.executable, "-m", "bapo_verl.figures", *map(str, logs), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == [str(output / "training.png"), str(output / "tokens.png")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in output.iterdir())
    warned = [line for line in done.stderr.splitlines() if "warning" in line.lower()]
    assert warned == [f"warning: {tmp_path}/grpo/metrics has no value of actor/bapo/rho"]
