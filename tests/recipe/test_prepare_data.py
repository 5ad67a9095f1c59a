"""recipe/data/prepare_data.py on small files in the columns of each source, which these tests write.

What this file does not exercise: the hub itself, which cannot be reached from here, and the real files.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import pandas
import pyarrow.parquet
import pytest

from recipe import common
from recipe.data import prepare_data

ROOT = Path(__file__).resolve().parents[2]

MODEL_7B, MODEL_32B = "DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-R1-Distill-Qwen-32B"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache of `datasets` is per user; a test has its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def source_file(path, rows):
    """As the hub has them: parquet or JSON lines."""
    if path.suffix == ".parquet":
        pandas.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prepare(name, path, directory):
    """The rows that were written."""
    directory.mkdir(exist_ok=True)
    prepare_data.prepare(name, directory, path)
    return pyarrow.parquet.read_table(directory / f"{name}.parquet").to_pylist()


def golds(rows):
    return [row["reward_model"]["ground_truth"] for row in rows]


def printed_count(text, what):
    """The number at the end of the line that starts so."""
    line = next(line for line in text.splitlines() if line.strip().startswith(what))
    return int(line.strip()[len(what) :].split()[0].replace(",", ""))


def maxwell_jia(*answers):
    """Maxwell-Jia/AIME_2024."""
    return [
        {"ID": f"2024-I-{i}", "Problem": f"Find m+n, case {i}.", "Solution": "By symmetry.", "Answer": answer}
        for i, answer in enumerate(answers)
    ]


def math_ai(*answers):
    """math-ai/aime25."""
    return [{"problem": f"Find the area, case {i}.", "answer": a, "id": str(i)} for i, a in enumerate(answers)]


def skywork(difficulties, ground_truths=None, prompt="Find x, case {}."):
    """Skywork/Skywork-OR1-RL-Data, split math; a difficulty is (7B, 32B)."""
    ground_truths = ground_truths or ['["\\\\frac{1}{2}"]'] * len(difficulties)
    return [
        {
            "data_source": "train-math-deepscaler",
            "prompt": [{"content": prompt.format(i), "role": "user"}],
            "ability": "math",
            "reward_model": {"ground_truth": ground_truth, "style": "rule"},
            "extra_info": {"index": 100 + i, "model_difficulty": {MODEL_7B: easy, MODEL_32B: hard}},
        }
        for i, ((easy, hard), ground_truth) in enumerate(zip(difficulties, ground_truths, strict=True))
    ]


def test_aime24_is_verls_schema_with_one_instruction(tmp_path, capsys):
    answers = [204, "025", "336^\\circ", "007", "70", "0", "12^{\\circ}"]
    rows = prepare("aime24", source_file(tmp_path / "aime.parquet", maxwell_jia(*map(str, answers))), tmp_path / "out")
    assert rows[1] == {
        "data_source": "aime24",
        "prompt": [{"role": "user", "content": f"Find m+n, case 1.\n\n{prepare_data.INSTRUCTION}"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "25"},
        "extra_info": {"index": 1, "split": "test", "id": "2024-I-1"},
    }
    assert golds(rows) == ["204", "25", "336", "7", "70", "0", "12"]
    text = capsys.readouterr().out
    assert printed_count(text, "answers with leading zeros, made plain") == 2
    assert printed_count(text, "answers with a degree sign, made plain") == 2
    assert "WARNING: the whole has 30" in text


def test_a_copy_that_repeats_each_problem_32_times_is_one_row_a_problem(tmp_path, capsys):
    """verl's schema, as BytedTsinghua-SIA/AIME-2024: its own instruction in the prompt, the problem beside it."""
    rows = [
        {
            "data_source": "math_dapo",
            "prompt": [{"content": f"Solve. The last line is Answer: $Answer.\n\nProblem {i}", "role": "user"}],
            "ability": "MATH",
            "reward_model": {"ground_truth": str(i), "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": f"id-{i}", "raw_problem": f"Problem {i}"},
        }
        for i in range(3)
    ]
    made = prepare("aime24", source_file(tmp_path / "aime.parquet", rows * 32), tmp_path / "out")
    assert golds(made) == ["0", "1", "2"]
    assert made[2]["prompt"][0]["content"] == f"Problem 2\n\n{prepare_data.INSTRUCTION}"
    assert printed_count(capsys.readouterr().out, "repeated problems dropped") == 3 * 31


def test_a_solution_that_is_only_a_box_is_the_answer(tmp_path):
    """math-ai/aime24 has no answer column."""
    rows = [{"id": 60, "problem": "Find b.", "solution": "\\boxed{033}", "url": "https://example.org"}]
    assert golds(prepare("aime24", source_file(tmp_path / "a.parquet", rows), tmp_path / "out")) == ["33"]


MATH500 = [
    {
        "problem": "Convert the point $(0,3)$ to polar coordinates.",
        "answer": "\\left( 3, \\frac{\\pi}{2} \\right)",
        "unique_id": "test/precalculus/807.json",
    },
    {
        "problem": "Who? Put it in $\\boxed{}$.",
        "answer": "\\text{Evelyn}",
        "unique_id": "test/algebra/1.json",
    },
]


def test_math500_golds_stay_as_they_are_and_one_instruction_is_enough(tmp_path, capsys):
    rows = prepare("math500", source_file(tmp_path / "test.jsonl", MATH500), tmp_path / "out")
    assert golds(rows) == [row["answer"] for row in MATH500]
    assert rows[0]["prompt"][0]["content"].endswith(prepare_data.INSTRUCTION)
    assert rows[1]["prompt"][0]["content"] == MATH500[1]["problem"]
    assert rows[0]["extra_info"]["id"] == "test/precalculus/807.json"
    assert printed_count(capsys.readouterr().out, "prompts that asked for a box themselves") == 1


BROKEN = [  # what the second row of three of skywork's has instead, and what it then lacks
    ({"prompt": []}, "prompt[0].content"),
    ({"prompt": "Find x."}, "prompt[0].content"),
    ({"prompt": [{"role": "user", "content": None}]}, "prompt[0].content"),
    ({"reward_model": None}, "reward_model.ground_truth"),
    ({"reward_model": {"style": "rule", "ground_truth": None}}, "reward_model.ground_truth"),
    ({"data_source": None, "extra_info": {"index": None}}, "data_source, extra_info.index"),
]
BROKEN_PROBLEMS = [{"problem": None}, {"answer": None}, {"problem": " "}, {"problem": 7}]


def second(rows, other):
    return [rows[0], rows[1] | other, *rows[2:]]


@pytest.mark.parametrize(
    ("name", "rows", "sentence"),
    [
        *(("aime25", math_ai("1", answer), "integer from 0 to 999, got '") for answer in ("1000", "x", "-3", "2.5")),
        *(
            ("aime25", second(math_ai("1", "2"), other), "row 1 (the first is 0) needs a problem (problem, Problem")
            for other in BROKEN_PROBLEMS
        ),
        ("math500", [{"text": "Find x.", "answer": "1"}], "a boxed solution); its columns: text, answer"),
        (
            "aime25",
            second(math_ai("1", "2"), math_ai("1")[0] | {"answer": "2"}),
            "rows 0 and 1 (the first is 0) are one",
        ),
        ("math500", second(MATH500, {"answer": "\\frac{1}{"}), "cannot read 1 of the answers: \\frac{1}{"),
        *(
            ("skywork-7b", second(skywork([(8, 8)] * 3), other), f"row 1 (the first is 0) needs {lacks}; its columns: ")
            for other, lacks in BROKEN
        ),
        ("skywork-7b", skywork([(0, 8), (16, 8)]), "no row is left with 1 <= model_difficulty"),
        ("skywork-7b", skywork([(None, None)] * 2), "no row is left with 1 <= model_difficulty"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_row_and_nothing_is_written(name, rows, sentence, tmp_path):
    path = source_file(tmp_path / "rows.jsonl", rows)
    with pytest.raises(common.UserError, match=f"^{name}, from {path}: .*{re.escape(sentence)}"):
        prepare(name, path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_skywork_keeps_what_the_model_solved_in_1_to_15_of_16_samples(tmp_path, capsys):
    difficulties = [(0, 1), (1, 0), (15, 16), (16, 15), (None, 3)]
    path = source_file(tmp_path / "math.parquet", skywork(difficulties))
    rows = prepare("skywork-7b", path, tmp_path / "out")
    assert [row["extra_info"]["index"] for row in rows] == [101, 102]
    assert [row["extra_info"]["difficulty"] for row in rows] == [1, 15] and golds(rows) == ['["\\\\frac{1}{2}"]'] * 2
    assert rows[0]["data_source"] == "train-math-deepscaler"
    text = capsys.readouterr().out
    assert printed_count(text, "rows ") == 5 and "WARNING: the whole has 105,055" in text
    assert printed_count(text, f"rows without a model_difficulty of {MODEL_7B}") == 1
    assert printed_count(text, f"1 <= model_difficulty[{MODEL_7B}] <= 15") == 2

    rows = prepare("skywork-32b", path, tmp_path / "out")
    assert [row["extra_info"]["index"] for row in rows] == [100, 103, 104]


def test_a_training_row_whose_gold_the_grader_cannot_read_is_left_out_and_listed(tmp_path, capsys):
    unread = '["\\\\frac{1}{"]'
    path = source_file(tmp_path / "math.parquet", skywork([(8, 8)] * 3, ['["2"]', unread, '["3", "4"]']))
    assert golds(prepare("skywork-7b", path, tmp_path / "out")) == ['["2"]', '["3", "4"]']
    assert json.loads((tmp_path / "out" / "skywork-7b.left_out.json").read_text()) == [unread]
    assert printed_count(capsys.readouterr().out, "rows whose gold the grader cannot read, left out") == 1


@pytest.mark.parametrize("name", ["aime24", "skywork-7b"])
def test_the_hubs_copy_must_have_the_known_number_of_rows(name, tmp_path, monkeypatch):
    rows = maxwell_jia(1) if name == "aime24" else skywork([(8, 8)])
    asked = []

    def hub(*args, **kwargs):
        asked.append((args, kwargs))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(prepare_data, "load_dataset", hub)
    with pytest.raises(common.UserError, match="has 1 rows, not (30|105,055)"):
        prepare(name, None, tmp_path / "out")
    source = prepare_data.SOURCES[name]
    assert asked == [((source.hub,), {"split": source.split})]


def main(monkeypatch, *arguments) -> str | int | None:
    """What the command exits with, in this process."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["prepare_data.py", *map(str, arguments)])
    try:
        prepare_data.main()
    except SystemExit as error:
        return error.code


def test_twice_the_same_bytes_and_overwriting_needs_force(tmp_path, monkeypatch):
    path = source_file(tmp_path / "a.parquet", maxwell_jia(204, 113))
    arguments = ["aime24", "-o", tmp_path / "out", "--source", path]
    assert main(monkeypatch, *arguments) is None
    output = tmp_path / "out" / "aime24.parquet"
    before = output.read_bytes()
    assert main(monkeypatch, *arguments) == f"{output} is there already: --force writes it anew"
    output.write_bytes(b"old")
    assert main(monkeypatch, *arguments, "--force") is None and output.read_bytes() == before
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["aime24.parquet"]


def test_an_output_folder_that_cannot_be_made_is_a_sentence(tmp_path, monkeypatch):
    path = source_file(tmp_path / "a.parquet", maxwell_jia(204))
    said = main(monkeypatch, "aime24", "-o", path / "out", "--source", path)
    assert str(path) in said and "\n" not in said


def test_no_hub_is_a_sentence(tmp_path):
    command = [sys.executable, "-m", "recipe.data.prepare_data", "math500", "-o", str(tmp_path / "out")]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "hub cannot be reached for HuggingFaceH4/MATH-500" in done.stderr
    assert done.stderr.strip().endswith("bring a copy and name it by --source PATH")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_write_that_fails_leaves_what_was_there_and_renames_none_of_its_files(tmp_path):
    (tmp_path / "a").write_text("old")

    def half(temporary):
        temporary.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        common.write_together({tmp_path / "a": lambda path: path.write_text("new"), tmp_path / "b": half})
    assert list(tmp_path.iterdir()) == [tmp_path / "a"] and (tmp_path / "a").read_text() == "old"


ROW = '{"problem": "Find x.", "answer": "é1"}\n'


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", (ROW * 3)[:-10].encode(), "it cannot be loaded: .*in row 2"),
        ("a.jsonl", (ROW * 2).encode("latin-1"), "{path} is not UTF-8: .*byte 0xe9"),
        ("a.jsonl", b"\n \n", "it cannot be loaded: "),
        ("a.json", b"[{}, 7]", "it cannot be loaded: "),
        ("a.parquet", b"PAR1 and no more", "it cannot be loaded: "),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "{path} is a Git LFS pointer"),
        ("a.json", b"", "{path} is an empty file"),
    ],
)
@pytest.mark.parametrize("in_a_folder", [False, True])
def test_a_broken_copy_is_a_sentence_and_nothing_is_written(name, content, sentence, in_a_folder, tmp_path):
    path = tmp_path / "copy" / name
    path.parent.mkdir()
    path.write_bytes(content)
    expected = f"^aime25, from {tmp_path}.*: {sentence.format(path=path)}"
    with pytest.raises(common.UserError, match=expected) as raised:
        prepare("aime25", path.parent if in_a_folder else path, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_copy_of_another_format_is_a_sentence(tmp_path):
    (tmp_path / "a.csv").write_text("problem,answer\n")
    with pytest.raises(common.UserError, match="--source must be a folder or a .parquet"):
        prepare("aime25", tmp_path / "a.csv", tmp_path / "out")


def test_a_byte_order_mark_and_empty_lines_do_no_harm(tmp_path):
    path = source_file(tmp_path / "a.jsonl", math_ai("1", "2"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\n\n"))
    assert golds(prepare("aime25", path, tmp_path / "out")) == ["1", "2"]


def test_a_folder_is_the_hubs_repository_and_its_split_must_be_there(tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    with pytest.raises(common.UserError, match=f"{folder} doesn't contain any data files"):
        prepare("aime25", folder, tmp_path / "out")
    source_file(folder / "test.jsonl", math_ai("1", "2"))
    (folder / "dataset_infos.json").write_text("{\n}")  # not data
    assert golds(prepare("aime25", folder, tmp_path / "out")) == ["1", "2"]
    with pytest.raises(common.UserError, match="it cannot be loaded: Unknown split"):
        prepare("skywork-7b", folder, tmp_path / "out")
