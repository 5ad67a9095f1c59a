"""bapo_verl.figures on logs as verl writes them, whole and cut short."""

import json

import pytest

from bapo_verl.figures import PANELS, main, read_run, series

METRICS = [metric for _, metrics in PANELS for metric in metrics]


def write_log(path, steps=4, without=()):
    data = {metric: 0.5 for metric in METRICS if metric not in without}
    path.write_text("".join(json.dumps({"step": s, "data": data}) + "\n" for s in range(1, steps + 1)))
    return path


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["figures", *map(str, arguments)])
    main()


def test_runs_are_drawn_over_one_another(tmp_path, monkeypatch, capsys, recwarn):
    logs = [write_log(tmp_path / f"{name}.jsonl") for name in ("bapo", "grpo")]
    run_main(monkeypatch, *logs, "-o", tmp_path / "new" / "figures")
    picture = tmp_path / "new" / "figures" / "run.png"
    assert capsys.readouterr().out.strip() == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG") and not recwarn.list


def test_a_missing_metric_is_named(tmp_path, monkeypatch):
    log = write_log(tmp_path / "grpo.jsonl", without=["actor/bapo/rho"])
    with pytest.warns(UserWarning, match="grpo has no actor/bapo/rho$"):
        run_main(monkeypatch, log, "-o", tmp_path)


def test_a_last_line_cut_short_is_skipped_with_a_warning(tmp_path):
    log = write_log(tmp_path / "killed.jsonl")
    log.write_bytes(log.read_bytes()[:-20])
    with pytest.warns(UserWarning, match="last line is cut short"):
        run = read_run(log)
    assert [step for step, _ in run] == [1, 2, 3]


def test_another_broken_line_is_an_error_that_says_where(tmp_path):
    log = write_log(tmp_path / "run.jsonl")
    log.write_text("not json\n" + log.read_text())
    with pytest.raises(ValueError, match=r"run\.jsonl:1 is not a line of verl's file logger: 'not json'"):
        read_run(log)


def test_a_log_that_is_not_there_is_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="no such log: .*nothing.jsonl"):
        run_main(monkeypatch, tmp_path / "nothing.jsonl", "-o", tmp_path)


def test_a_series_skips_the_steps_that_do_not_have_it():
    assert series([(0, {"a": 1.0}), (1, {}), (2, {"a": 3.0})], "a") == ([0, 2], [1.0, 3.0])
