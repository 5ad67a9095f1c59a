"""bapo_verl.forecast on dumps as verl writes them. tests/pipeline/test_training.py has a real run's."""

import json
from pathlib import Path

import pytest

from bapo_verl.driver_check import KEY
from bapo_verl.forecast import main

MODEL = Path(__file__).parents[2] / "recipe" / "tiny_task" / "base" / "model"

# GRPO's |A| in a group is |score - mean| / std, the std with n - 1 below. Lengths are in characters.
# "half": scores 1, 1, 0, 0, so std = sqrt(4 x 0.25 / 3) = 0.57735 and each |A| = 0.5 / 0.57735 = 0.86603.
#         rho = (2 + 4) / (2 + 4 + 6 + 8) = 0.3
# "one": scores 1, 0, 0, 0, so std = sqrt((0.5625 + 3 x 0.0625) / 3) = 0.5 and |A| = 1.5, 0.5, 0.5, 0.5.
#         rho = 6 x 1.5 / (6 x 1.5 + (2 + 2 + 2) x 0.5) = 9 / 12 = 0.75
# Both as one mini-batch: (6 x 0.86603 + 9) / (20 x 0.86603 + 12) = 14.19615 / 29.32051 = 0.48417
HALF = [("half", 2, 1.0), ("half", 4, 1.0), ("half", 6, 0.0), ("half", 8, 0.0)]
ONE = [("one", 6, 1.0), ("one", 2, 0.0), ("one", 2, 0.0), ("one", 2, 0.0)]
NO_GRADIENT = [("none", 50, 0.0), ("none", 50, 0.0), ("none", 50, 0.0), ("none", 50, 0.0)]


def write(path, answers, step=1):
    """A file of verl's trainer.rollout_data_dir."""
    path.parent.mkdir(exist_ok=True)
    lines = [
        {"input": prompt, "output": "7" * length, "gts": "1", "score": score, "step": step}
        for prompt, length, score in answers
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def dump(tmp_path):
    """A group a step: 0.3 and 0.75."""
    write(tmp_path / "dump" / "1.jsonl", HALF, step=1)
    write(tmp_path / "dump" / "2.jsonl", ONE, step=2)
    return tmp_path / "dump"


@pytest.fixture
def run(monkeypatch, capsys):
    def printed(*arguments):
        monkeypatch.setattr("sys.argv", ["forecast", *map(str, arguments)])
        main()
        return capsys.readouterr().out

    return printed


def test_each_update_is_at_the_start_or_the_end_of_each_presets_path(run, dump):
    result = json.loads(run(dump, "--mini-batch-size", 1, "--json"))
    assert result["updates"] == 2 and result["rho_start"]["mean"] == pytest.approx((0.3 + 0.75) / 2, abs=1e-5)
    shares = {name: (p["target"], p["start"], p["end"]) for name, p in result["presets"].items()}
    # 0.3 is below each target, 0.75 above.
    targets = {"bapo": 0.4, "bapo_octothinker": 0.45, "bapo_authors": 0.5, "bapo_authors_script": 1 / 3}
    assert shares == {name: pytest.approx((target, 0.5, 0.5)) for name, target in targets.items()}
    assert result["length"] == pytest.approx({"right": (2 + 4 + 6) / 3, "failed": (6 + 8 + 2 + 2 + 2) / 5})
    assert (result["groups"], result["groups_with_gradient"], result["bad_lines"]) == (2, 2, 0)


@pytest.mark.parametrize("key", ["target_contribution=0.8", f"{KEY}.target_contribution=0.8"])
def test_keys_change_the_preset(run, dump, key):
    presets = json.loads(run(dump, "--mini-batch-size", 1, "--json", key))["presets"]
    assert presets == {"bapo": {"target": 0.8, "start": 0.0, "end": 1.0}}  # 0.3 and 0.75 are both below
    octothinker = json.loads(run(dump, "--mini-batch-size", 1, "--json", "+algorithm=bapo_octothinker"))["presets"]
    assert octothinker == {"bapo_octothinker": {"target": 0.45, "start": 0.5, "end": 0.5}}


def test_a_mini_batch_is_of_prompts_and_a_group_without_a_gradient_counts_nothing(run, tmp_path):
    path = write(tmp_path / "1.jsonl", HALF + ONE + NO_GRADIENT)
    result = json.loads(run(path, "--mini-batch-size", 3, "--json", "bapo"))
    assert result["updates"] == 1 and result["rho_start"]["mean"] == pytest.approx(0.48417, abs=1e-5)
    assert result["presets"]["bapo"] == {"target": 0.4, "start": 1.0, "end": 0.0}
    assert (result["groups"], result["groups_with_gradient"]) == (3, 2)
    result = json.loads(run(path, "--mini-batch-size", 1, "--json"))
    assert result["updates"] == 3  # 12 answers, 4 to a prompt


def test_without_shuffling_the_shortest_answers_come_first(run, tmp_path):
    # The 4 shortest of 8: lengths 2, 2, 2, 2 of A = 0.86603 and three of -0.5; then 4, 6, 6, 8.
    #   1.73205 / (1.73205 + 3 x 2 x 0.5) = 0.36603
    #   (4 x 0.86603 + 6 x 1.5) / (4 x 0.86603 + 9 + (6 + 8) x 0.86603) = 12.46410 / 24.58846 = 0.50691
    path = write(tmp_path / "1.jsonl", HALF + ONE)
    result = json.loads(run(path, "--mini-batch-size", 1, "--json", "--no-shuffle"))
    assert result["rho_start"]["mean"] == pytest.approx((0.36603 + 0.50691) / 2, abs=1e-5)


def test_no_gradient_at_all_is_null_in_json(run, tmp_path):
    result = json.loads(run(write(tmp_path / "1.jsonl", NO_GRADIENT), "--mini-batch-size", 1, "--json", "bapo"))
    assert result["rho_start"]["mean"] is None and result["presets"]["bapo"]["start"] == 1.0


def test_a_tokenizer_counts_tokens_and_the_end_token(run, dump):
    # The demo's knows single characters: one token each, and one more for the end.
    #   (3 + 5) / (3 + 5 + 7 + 9) = 0.33333 and 7 x 1.5 / (7 x 1.5 + 3 x 3 x 0.5) = 0.7
    result = json.loads(run(dump, "--mini-batch-size", 1, "--json", "--tokenizer", MODEL))
    assert result["unit"] == "tokens" and result["length"]["right"] == (3 + 5 + 7) / 3
    assert result["rho_start"]["mean"] == pytest.approx((1 / 3 + 0.7) / 2, abs=1e-5)


def test_lines_that_are_no_answer_are_counted(run, dump):
    bad = [b'{"input": "half", "outp', b"\xff\x00", b"[]", b'{"input": "a", "output": "b", "score": NaN, "step": 1}']
    with open(dump / "1.jsonl", "ab") as file:
        file.write(b"\n".join([*bad, b"", b""]))
    result = json.loads(run(dump, "--mini-batch-size", 1, "--json"))
    assert result["bad_lines"] == 4 and result["rho_start"]["mean"] == pytest.approx(0.525, abs=1e-5)
    assert "4 lines hold no answer" in run(dump, "--mini-batch-size", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ('{"step": 1, "data": {}}\n', "holds no answer as verl dumps it"), ("a,b\n", "holds no answer")],
)
def test_an_empty_or_foreign_file_is_one_sentence(run, tmp_path, content, message):
    path = tmp_path / "file.jsonl"
    path.write_text(content)
    with pytest.raises(SystemExit, match=message) as error:
        run(path, "--mini-batch-size", 1)
    assert "\n" not in error.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-dump"], "no-such-dump is no file or folder"),
        (["target_contribution=2"], r"target_contribution must be in \(0, 1\), got 2"),
        (["token_weight=rollout_prob"], "a dump has no log-probs"),
        (["rho_0=0.4"], "rho_0"),
        (["+algorithm=ppo"], "ppo"),
        (["--mini-batch-size", "2"], r"--mini-batch-size must be in \[1, 1\]"),
        (["--mini-batch-size", "0"], "got 0"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it(run, dump, arguments, message):
    with pytest.raises(SystemExit, match=message):
        run(dump, "--mini-batch-size", 1, *arguments)


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [((0.004, 0.008), "pg_clipfrac 0.0060\nbelow 0.01"), ((0.02, 0.04), "pg_clipfrac 0.0300\nnot below 0.01")],
)
def test_a_metrics_log_says_whether_the_bounds_matter(run, dump, tmp_path, shares, sentence):
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(json.dumps({"step": 1, "data": {"actor/pg_clipfrac": share}}) + "\n" for share in shares))
    assert sentence in run(dump, "--mini-batch-size", 1, "--metrics", log)
    with pytest.raises(SystemExit, match="has no actor/pg_clipfrac"):
        run(dump, "--mini-batch-size", 1, "--metrics", dump / "1.jsonl")


def test_the_text_says_what_is_counted_and_o_draws(run, dump, tmp_path):
    text = run(dump, "--mini-batch-size", 1, "-o", tmp_path / "forecast.png")
    assert "lengths are in characters" in text and "rho_start over 2 updates: mean 0.525" in text
    assert "right 4.0 (L+), failed 4.0 (L-)" in text and "README.md: L-/L+ 1.00;" in text
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")
