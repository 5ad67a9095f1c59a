"""recipe/evaluation/: statistics by hand, resuming with a stand-in for verl, and the real thing.

What this file does not exercise: a GPU, a real model, a model whose template opens `<think>`.
"""

import asyncio
import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
import transformers
from omegaconf import OmegaConf
from verl import DataProto
from verl.utils.import_utils import load_extern_object

from recipe.common import REWARD, UserError, as_markdown, row_for_verl, waiting_bar
from recipe.evaluation import evaluate, scores
from recipe.evaluation.length_reward_manager import LengthRewardManager
from recipe.evaluation.scores import Sample
from tests.pipeline.processes import TIME_LIMIT, run_to_the_end
from tests.recipe.vllm_server import served

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipe"


# --------------------------------------------------------------------------------------------------------------------
# Statistics
# --------------------------------------------------------------------------------------------------------------------


def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample():
    for correct, k in itertools.product(range(6), range(1, 6)):
        subsets = list(itertools.combinations([True] * correct + [False] * (5 - correct), k))
        assert scores.pass_at_k([(correct, 5)], k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def votes(*pairs):
    return [Sample("p", correct, vote, "correct" if correct else "wrong", 1, False) for vote, correct in pairs]


def test_majority_by_hand():
    # 7 has two votes, 8 one: 7 is taken.
    assert scores.majority(votes(("7", True), ("7", True), ("8", False))) == 1
    assert scores.majority(votes(("7", False), ("7", False), ("8", True))) == 0
    # Two votes each: one of two leaders is right.
    assert scores.majority(votes(("7", True), ("7", True), ("8", False), ("8", False))) == 1 / 2
    # No answer, though most frequent, does not vote; with no vote at all there is nothing right.
    assert scores.majority(votes((None, False), (None, False), ("7", True))) == 1
    assert scores.majority(votes((None, False))) == 0


def test_interval_against_its_normal_limit():
    # 100 problems, half always right: only problems vary, sd = sqrt(.25 / 100) = .05, so .5 +- 1.96 * .05
    assert scores.interval([(8, 8)] * 50 + [(0, 8)] * 50) == pytest.approx((0.402, 0.598), abs=0.01)
    # 4 of 16 to each: only samples vary, sd = sqrt(.25 * .75 / 16 / 100) = .0108, so .25 +- .0212
    assert scores.interval([(4, 16)] * 100) == pytest.approx((0.2288, 0.2712), abs=0.0014)
    # Half 8 of 16, half none: both, variance (.25^2 + .25 / 16 / 2) / 100, sd = .0265, so .25 +- .0520
    both = [(8, 16)] * 50 + [(0, 16)] * 50
    assert scores.interval(both) == pytest.approx((0.198, 0.302), abs=0.0018)
    assert scores.interval(both) == scores.interval(both)


def test_statistics_of_two_problems_by_hand():
    samples = [
        Sample("a", True, "7", "correct", 10, False),
        Sample("a", False, "8", "wrong", 20, False),
        Sample("b", False, None, "no_answer", 48, True),
        Sample("b", False, "9", "wrong", 2, False),
    ]
    result = scores.statistics(samples)
    assert (result["problems"], result["samples"]) == (2, 2)
    assert result["average"] == pytest.approx((1 / 2 + 0) / 2)
    assert result["pass_at_k"] == pytest.approx({"1": 1 / 4, "2": (1 + 0) / 2})
    assert result["majority"] == pytest.approx((1 / 2 + 0) / 2)  # a: a tie, b: 9
    assert result["tokens"] == pytest.approx((10 + 20 + 48 + 2) / 4)
    assert result["cut_off"] == pytest.approx(1 / 4)
    assert result["reasons"] == pytest.approx({"correct": 1 / 4, "no_answer": 1 / 4, "wrong": 1 / 2})


def test_pass_at_k_is_reported_up_to_n_whatever_n_is():
    samples = [Sample("a", i == 0, "1", "wrong", 1, False) for i in range(6)]
    assert list(scores.statistics(samples)["pass_at_k"]) == ["1", "2", "4", "6"]


# --------------------------------------------------------------------------------------------------------------------
# Published numbers and tables
# --------------------------------------------------------------------------------------------------------------------


def test_the_readme_quotes_the_numbers_that_runs_are_put_beside():
    page = "\n".join(page.read_text() for page in (ROOT / "README.md", RECIPE / "README.md") if page.exists())
    rows = re.findall(r"^\| paper: (.+?) \| ([\d.]+) \| ([\d.]+) \|", page, re.MULTILINE)
    quoted = {name: (float(aime24), float(aime25)) for name, aime24, aime25 in rows if name in scores.PUBLISHED}
    assert quoted == {"DeepSeek-R1-Distill-Qwen-7B": tuple(scores.PUBLISHED["DeepSeek-R1-Distill-Qwen-7B"].values())}


def test_a_published_row_is_found_by_the_models_name_and_only_by_it():
    assert scores.published("Skywork/Skywork-OR1-7B", "aime24") == 70.2
    assert scores.published("/models/deepseek-r1-distill-qwen-7b", "aime25") == 38.4
    assert scores.published("/models/DeepSeek-R1-Distill-Qwen-7B-bapo", "aime24") is None
    assert scores.published("Qwen/Qwen3-32B", "math500") is None
    assert scores.published("o3-mini-medium", "aime24") == 79.6 and scores.published("o3-mini", "aime24") is None


def test_the_tables():
    samples = [Sample("a", True, "7", "correct", 10, False), Sample("b", False, "8", "wrong", 21, True)]
    results = {"aime24": {**scores.statistics(samples), "published": 54.2}}
    (row,) = scores.score_table(results)
    assert row == {
        "data set": "aime24", "problems": "2", "n": "1", "avg@n": "50.0", "95%": "0.0 to 100.0", "published": "54.2",
        "pass@n": "50.0", "maj@n": "50.0", "mean tokens": "16", "cut off": "50.0",
    }  # fmt: skip
    assert as_markdown([{"x": "a", "y": "1"}]) == "| x | y |\n| --- | --- |\n| a | 1 |"
    results["math500"] = {"reasons": {"error": 1.0}}
    aime24, math500 = scores.reason_table(results)
    assert aime24 == {"data set": "aime24", "correct": "50.0", "wrong": "50.0", "error": "0.0"}
    assert math500 == {"data set": "math500", "correct": "0.0", "wrong": "0.0", "error": "100.0"}


# --------------------------------------------------------------------------------------------------------------------
# Generations: kept, complete, judged again
# --------------------------------------------------------------------------------------------------------------------

# A stand-in for verl: problems `a`, `b`, two samples each, of which LOST are missing; then it fails if told to.
STAND_IN = """
    import json, sys
    lost, fails = int(sys.argv[1]), int(sys.argv[2])
    answers = [("a", 0, "5"), ("a", 1, "6"), ("b", 0, "5"), ("b", 1, "5")][: 4 - lost]
    with open("0.jsonl", "w") as dump:
        for problem, sample, answer in answers:
            line = {"input": "2+3=?", "output": f"\\\\boxed{{{answer}}}", "gts": "5", "uid": f"{problem}_{sample}_0"}
            dump.write(json.dumps(line | {"response_tokens": 9, "cut_off": 0}) + "\\n")
    print("a word of verl's")
    sys.exit(fails)
"""
COMMON = {"model": "m", "samples": 2, "temperature": 1.0, "top_p": 1.0, "top_k": -1, "max_response_tokens": 48}


@pytest.fixture
def data(tmp_path):
    """A test set of two rows, of which only the number and the bytes matter here."""
    path = tmp_path / "tiny.parquet"
    datasets.Dataset.from_list([{"x": 1}, {"x": 2}]).to_parquet(path)
    return path


@pytest.fixture
def verl(monkeypatch):
    """Runs the stand-in; `settings` is what composing would give, `started` counts the runs."""

    class Verl:
        settings, started, lost, fails = dict(COMMON), 0, 0, 0

        def command(self, *_):
            self.started += 1
            return [sys.executable, "-c", textwrap.dedent(STAND_IN), str(self.lost), str(self.fails)]

    stand_in = Verl()
    monkeypatch.setattr(evaluate, "command", stand_in.command)
    monkeypatch.setattr(evaluate, "compose", lambda overrides: stand_in.settings)
    return stand_in


def test_a_set_that_is_there_is_not_generated_again_and_the_tables_are_the_same(data, verl, tmp_path, capsys):
    output = tmp_path / "out"
    evaluate.evaluate(output, [data], [])
    results = json.loads((output / "results.json").read_text())
    # a: 1 of 2, b: 2 of 2
    assert results["tiny"]["average"] == pytest.approx((1 / 2 + 1) / 2)
    assert results["tiny"]["reasons"] == pytest.approx({"correct": 3 / 4, "wrong": 1 / 4})
    assert "| tiny | 2 | 2 | 75.0 |" in (output / "results.md").read_text()

    for again in ([data], []):
        evaluate.evaluate(output, again, [])
        assert json.loads((output / "results.json").read_text()) == results
    assert verl.started == 1
    assert "tiny: generated before" in capsys.readouterr().out


def test_lines_end_where_json_lines_end(tmp_path):
    """verl's dump keeps U+2028 and its like as they are, and Python's splitlines would cut an answer there."""
    (tmp_path / "settings.json").write_text(json.dumps({"problems": 1, "samples": 1}))
    row = {"uid": "a_0_0", "output": "a\u2028b\u2029c\u0085 \\boxed{5}"}
    (tmp_path / "generations.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n")
    assert evaluate.read_generations(tmp_path) == [row]


@pytest.mark.parametrize(("answer", "vote"), [("5", "5"), ("x+" * 600 + "1", None), ("", None)])
def test_what_could_not_be_read_does_not_vote(answer, vote):
    row = {"input": "?", "output": f"\\boxed{{{answer}}}", "gts": "5", "uid": "a_0_0"}
    sample = evaluate.grade(row | {"response_tokens": 9, "cut_off": 0}, evaluate.load_reward())
    assert sample.vote == vote


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("lost", "has 3 answers to 2 problems, not 2 to each of 2"),
        ("fails", "(?s)a word.*exit code 1; the whole log: "),
    ],
)
def test_what_is_not_complete_is_never_counted_and_generated_anew(how, expected, data, verl, tmp_path):
    output = tmp_path / "out"
    setattr(verl, how, 1)
    with pytest.raises(UserError, match=expected):
        evaluate.evaluate(output, [data], [])
    with pytest.raises(UserError, match="holds no generations"):
        evaluate.evaluate(output, [], [])

    setattr(verl, how, 0)
    (output / ".tiny-unfinished" / "0.jsonl").write_text("half a li")
    evaluate.evaluate(output, [data], [])
    assert verl.started == 2 and sorted(p.name for p in output.iterdir()) == ["results.json", "results.md", "tiny"]


def test_generations_of_another_run_are_refused_and_stay(data, verl, tmp_path):
    output = tmp_path / "out"
    evaluate.evaluate(output, [data], [])
    verl.settings = COMMON | {"temperature": 0.6}
    with pytest.raises(UserError, match="generated with temperature=1.0, not 0.6: choose another -o"):
        evaluate.evaluate(output, [data], [])
    verl.settings = dict(COMMON)
    datasets.Dataset.from_list([{"x": 1}, {"x": 3}]).to_parquet(data)
    with pytest.raises(UserError, match="generated with data_sha256="):
        evaluate.evaluate(output, [data], [])
    assert verl.started == 1 and len(evaluate.read_generations(output / "tiny")) == 4


def test_waiting_for_hours_does_not_fill_a_log(capsys):
    with waiting_bar(100, "answer") as bar:
        for _ in range(100):
            bar.update(1)
    assert capsys.readouterr().err.count("\r") == 2 and bar.n == 100  # at the start and at the end


def test_progress_is_the_answers_of_all_reward_workers_whatever_the_log_says(tmp_path):
    """The managers are verl's with our count, without their tokenizers; nothing is logged."""
    config = OmegaConf.create({"trainer": {"validation_data_dir": str(tmp_path)}})
    managers = [LengthRewardManager(config, SimpleNamespace(all_special_ids=[]), None) for _ in range(2)]
    assert evaluate.answers_so_far(tmp_path) == 0
    for manager, answers in zip(managers, (3, 2), strict=True):
        for _ in range(answers):
            manager.count()
    assert evaluate.answers_so_far(tmp_path) == 3 + 2


def test_a_data_file_that_is_not_there_is_a_sentence(verl, tmp_path):
    with pytest.raises(UserError, match="aime24.parquet is not there: recipe.data.prepare_data makes"):
        evaluate.evaluate(tmp_path, [tmp_path / "aime24.parquet"], [])


@pytest.mark.parametrize(
    ("prompt", "answer", "end", "expected"),
    [
        ("2+3=?<think>\n", "so \\boxed{5}", False, Sample("p", False, None, "no_answer", 0, True)),
        ("2+3=?<think>\n", "so </think>\\boxed{5}", True, Sample("p", True, "5", "correct", 0, False)),
        ("2+3=?\n", "so \\boxed{5}", False, Sample("p", True, "5", "correct", 0, True)),
    ],
)
def test_verl_and_the_tables_have_one_verdict_where_a_prompt_opens_the_thoughts(
    prompt, answer, end, expected, tmp_path
):
    """Of the reward manager with the demo's tokenizer, as verl calls it, and of the line that verl dumps."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(RECIPE / "tiny_task" / "base" / "model")
    prompt_ids, ids = tokenizer(prompt).input_ids, tokenizer(answer).input_ids + [tokenizer.eos_token_id] * end
    mask = torch.ones(1, len(prompt_ids) + len(ids), dtype=torch.long)
    tensors = {"prompts": torch.tensor([prompt_ids]), "responses": torch.tensor([ids]), "attention_mask": mask}
    row = row_for_verl("sums", [], "5")
    data = DataProto.from_dict(tensors, {name: np.array([value], dtype=object) for name, value in row.items()})
    config = OmegaConf.create({"trainer": {"validation_data_dir": str(tmp_path)}})

    async def judged():
        score = load_extern_object(str(REWARD), "compute_score")
        return await LengthRewardManager(config, tokenizer, score).run_single(data)

    said = asyncio.run(judged())["reward_extra_info"]
    dumped = {"input": prompt, "output": answer, "gts": "5", "uid": "p_0_0", **said}
    assert (said["acc"], said["reason"]) == (expected.correct, expected.reason)
    assert evaluate.grade(dumped, evaluate.load_reward()) == dataclasses.replace(expected, tokens=len(ids))


# --------------------------------------------------------------------------------------------------------------------
# verl
# --------------------------------------------------------------------------------------------------------------------


def test_evaluate_yaml_is_verls_config_with_the_papers_samples():
    settings = evaluate.compose(["actor_rollout_ref.model.path=m", "data.max_response_length=100"])
    assert settings == {
        "model": "m", "samples": 16, "temperature": 0.6, "top_p": 0.95, "top_k": -1,
        "max_prompt_tokens": 2048, "max_response_tokens": 100, "chat_template_arguments": {},
    }  # fmt: skip


@pytest.mark.pipeline
@pytest.mark.timeout(2 * TIME_LIMIT)
def test_the_script_evaluates_a_model_and_does_not_generate_twice(tmp_path):
    """The demo's base model, of whose answers some are right, some wrong, and some cut off."""
    base = ROOT / "recipe" / "tiny_task" / "base"
    datasets.Dataset.from_parquet(str(base / "test.parquet")).select(range(24)).to_parquet(tmp_path / "few.parquet")

    def overrides_of(n, temperature):
        sampling = "actor_rollout_ref.rollout.val_kwargs"
        lengths = ["data.max_prompt_length=16", "data.max_response_length=20"]
        return [f"{sampling}.n={n}", f"{sampling}.temperature={temperature}", *lengths]

    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "VERL_PLATFORM": "cpu",
        "HF_HUB_OFFLINE": "1", "DATA_SETS": "few", "NGPUS_PER_NODE": "1",
        "MODEL_PATH": str(base / "model"), "DATA_DIR": str(tmp_path), "OUTPUT_DIR": str(tmp_path / "out"),
    }  # fmt: skip
    script = ["bash", str(ROOT / "examples" / "evaluate.sh"), "+platform=cpu"]
    run_to_the_end([*script, *overrides_of(4, 1.0)], environment, tmp_path)
    dump = tmp_path / "out" / "few" / "generations.jsonl"
    rows = [json.loads(line) for line in dump.read_text().splitlines()]
    result = json.loads((tmp_path / "out" / "results.json").read_text())["few"]
    assert len(rows) == 24 * 4 and (result["problems"], result["samples"]) == (24, 4)
    # Graded again, the answers are worth what verl's own validation made of them.
    assert result["average"] == pytest.approx(np.mean([row["acc"] for row in rows]))
    # An answer that was cut off has all of its tokens, and no box; one that ended by itself ends with its box.
    assert {row["response_tokens"] for row in rows if row["cut_off"]} == {20}
    assert all("}" in row["output"] and row["response_tokens"] <= 20 for row in rows if not row["cut_off"])
    assert result["cut_off"] == pytest.approx(np.mean([row["cut_off"] for row in rows]))

    written, tables = dump.stat().st_mtime_ns, (tmp_path / "out" / "results.md").read_text()
    run_to_the_end([*script, *overrides_of(4, 1.0)], environment, tmp_path)
    assert "few: generated before" in (tmp_path / "output.log").read_text()
    assert dump.stat().st_mtime_ns == written and (tmp_path / "out" / "results.md").read_text() == tables

    # Asked through vLLM's own server with the same sampling, the model is worth the same: the intervals of 4 and 16
    # samples overlap.
    with served(base / "model", "base", tmp_path / "server.log") as url:
        asked = [sys.executable, "-m", "recipe.evaluation.evaluate", "-o", str(tmp_path / "asked"), "--endpoint", url]
        asked += ["--model", "base", "--data", str(tmp_path / "few.parquet"), "--", *overrides_of(16, 1.0)]
        subprocess.run(asked, cwd=ROOT, check=True, timeout=TIME_LIMIT)
    online = json.loads((tmp_path / "asked" / "results.json").read_text())["few"]
    for name, one in ("verl's validation", result), ("vLLM's server", online):
        print(f"{name}: avg@{one['samples']} {one['average']:.3f}, {one['interval']}, {one['tokens']:.2f} tokens")
    assert (online["problems"], online["samples"]) == (24, 16) and 0 < online["average"] < 1
    assert online["interval"][0] <= result["interval"][1] and result["interval"][0] <= online["interval"][1]
    assert online["tokens"] == pytest.approx(result["tokens"], abs=2)
