"""Makes the paper's data sets into parquet files in verl's schema.

    python -m recipe.data.prepare_data skywork-7b aime24 aime25 math500 -o DIR
    python -m recipe.data.prepare_data math500 -o DIR --source PATH

Each NAME becomes DIR/NAME.parquet, as a whole or not at all, the same bytes from the same source. PATH is a local copy:
a parquet or JSON file, or a folder.

skywork-7b, skywork-32b: Skywork-OR1-RL-Data, split math, with 1 <= model_difficulty[model] <= 15: the problems that the
R1-Distill of that size failed in some of 16 samples, not in all. aime24, aime25, math500: one row a problem.

Every prompt asks for a box, once: INSTRUCTION is added where the source does not ask itself. Every gold is read by the
grader, reward/math_reward.py. One that it cannot read is an error in a test set, which is not to shrink; a training row
is left out and listed in DIR/NAME.left_out.json. What was changed or dropped is printed with counts.
"""

import argparse
import json
import re
import signal
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetsError
from tqdm import tqdm

from recipe.common import UserError, load_reward, message, row_for_verl, write_together

INSTRUCTION = (
    "Please reason step by step, and put your final answer within \\boxed{}."  # the words of R1-Distill's card
)
PROBLEM_COLUMNS = ("problem", "Problem", "question")
ANSWER_COLUMNS = ("answer", "Answer")
ID_COLUMNS = ("id", "ID", "unique_id")
FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}  # of a local copy, and how `datasets` calls them
LFS_POINTER = b"version https://git-lfs.github.com/"


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and how many rows are known to be in it."""

    hub: str
    split: str
    rows: int  # of the training split, or problems of the test set
    difficulty: str | None = None  # Skywork: the model whose samples the problems are filtered by


SOURCES = {
    "skywork-7b": Source("Skywork/Skywork-OR1-RL-Data", "math", 105_055, "DeepSeek-R1-Distill-Qwen-7B"),
    "skywork-32b": Source("Skywork/Skywork-OR1-RL-Data", "math", 105_055, "DeepSeek-R1-Distill-Qwen-32B"),
    "aime24": Source("Maxwell-Jia/AIME_2024", "train", 30),
    "aime25": Source("math-ai/aime25", "test", 30),
    "math500": Source("HuggingFaceH4/MATH-500", "test", 500),
}


def print_count(what: str, count: int, note: str = "") -> None:
    print(f"  {what:<58}{count:>9,}  {note}".rstrip(), flush=True)


def check_copy(path: Path) -> None:
    """Look for what `datasets` has no clear message for.

    Raises:
        UserError: for a path of another kind, an empty file, a Git LFS pointer and text that is not UTF-8.
    """
    if not path.is_dir() and not (path.is_file() and path.suffix in FORMATS):
        raise UserError("--source must be a folder or a .parquet, .json or .jsonl file that exists")
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    for file in sorted(file for file in files if file.suffix in FORMATS):
        content = file.read_bytes()
        if not content:
            raise UserError(f"{file} is an empty file")
        if content.startswith(LFS_POINTER):
            raise UserError(f"{file} is a Git LFS pointer, not the data: run `git lfs pull` where it was cloned")
        if file.suffix != ".parquet":
            try:
                content.decode()
            except UnicodeDecodeError as error:
                raise UserError(f"{file} is not UTF-8: {error}") from error


def load(source: Source, path: Path | None) -> Dataset:
    """The rows of a source, from the hub or a local copy; at least one.

    Raises:
        UserError: if there is no hub, or no data set of that split at `path`.
    """
    if path is not None:
        check_copy(path)
    try:
        rows = _load(source, path)
    except ConnectionError as error:
        raise UserError(
            f"the Hugging Face hub cannot be reached for {source.hub} ({error}): "
            "bring a copy and name it by --source PATH"
        ) from error
    except (DatasetsError, ValueError, OSError) as error:  # DatasetsError says nothing without its cause
        raise UserError(f"it cannot be loaded: {' '.join(str(error.__cause__ or error).split())}") from error
    if not len(rows):
        raise UserError("it has 0 rows")
    return rows


def _load(source: Source, path: Path | None) -> Dataset:
    if path is None:
        return load_dataset(source.hub, split=source.split)
    if path.is_dir():
        return load_dataset(str(path), split=source.split)
    return load_dataset(FORMATS[path.suffix], data_files=str(path), split="train")


def check_count(name: str, count: int, is_copy: bool) -> str:
    """The count against the known one. A local copy may be a sample.

    Raises:
        UserError: if the hub's differs.
    """
    known = SOURCES[name].rows
    if count == known:
        return "as known"
    if is_copy:
        return f"WARNING: the whole has {known:,}"
    raise UserError(
        f"the hub's copy has {count:,} rows, not {known:,}: look at what has changed, then take a copy by --source"
    )


def nested_value(row: dict, *keys: str):
    """The value under nested keys; None where one of them is missing, null, or holds no fields.

    >>> [nested_value(row, "a", "b") for row in ({"a": {"b": 1}}, {"a": None}, {"a": "text"})]
    [1, None, None]
    """
    for key in keys:
        row = row.get(key) if isinstance(row, dict) else None
    return row


def first_value(names: tuple[str, ...], row: dict):
    """The value of the first of these columns that the row has, None if it has none."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def problem_of(row: dict) -> str | None:
    """The problem without anybody's instruction: a column of its own, or verl's `extra_info.raw_problem`."""
    problem = first_value(PROBLEM_COLUMNS, row)
    if problem is None:
        problem = nested_value(row, "extra_info", "raw_problem")
    return problem.strip() if isinstance(problem, str) else None


def answer_of(row: dict) -> str | None:
    """A column of its own, verl's ground truth, or a solution that is nothing but a box (math-ai/aime24)."""
    answer = first_value(ANSWER_COLUMNS, row)
    if answer is None:
        answer = nested_value(row, "reward_model", "ground_truth")
    if answer is None and (box := re.fullmatch(r"\s*\\boxed\{(.+)\}\s*", str(row.get("solution")))):
        answer = box[1]
    return None if answer is None else str(answer).strip()


def columns(row: dict) -> str:
    """The names of the columns that have a value."""
    return ", ".join(name for name, value in row.items() if value is not None)


def with_instruction(problem: str) -> list[dict]:
    """The prompt: the problem with INSTRUCTION, unless it asks for a box itself."""
    return [message("user", problem if "\\boxed" in problem else f"{problem}\n\n{INSTRUCTION}")]


def aime_gold(answer: str, changes: Counter) -> str | None:
    r"""An AIME answer as an integer from 0 to 999, None if it is no such integer; counts in `changes` what had to go.

    >>> changes = Counter()
    >>> [aime_gold(answer, changes) for answer in ("025", "336^\\circ", "70", "1000")]
    ['25', '336', '70', None]
    >>> changes["leading zeros"], changes["degree signs"]
    (1, 1)
    """
    text = re.sub(r"\s*(\^\s*(\\circ|\{\s*\\circ\s*\})|\u00b0)$", "", answer.strip("$ "))
    if not re.fullmatch(r"\d{1,3}", text):
        return None
    changes["degree signs"] += text != answer.strip("$ ")
    changes["leading zeros"] += text != str(int(text))
    return str(int(text))


def unreadable(golds: list[str], name: str) -> set[str]:
    """The golds that the grader cannot read."""
    reward = load_reward()
    different = sorted(set(golds))
    with ThreadPoolExecutor(2) as threads:  # as many as the grader has workers
        readable = threads.map(reward.can_parse, different)
        checked = tqdm(zip(different, readable, strict=True), total=len(different), desc=f"{name}: golds", unit="gold")
        return {gold for gold, fine in checked if not fine}


def without_repeats(rows: Dataset) -> dict[str, tuple[int, dict]]:
    """Problem to the number and the content of its first row, in the order of the source.

    Raises:
        UserError: for a row without problem or answer, or a problem with two answers.
    """
    problems = {}
    for number, row in enumerate(rows):
        problem, answer = problem_of(row), answer_of(row)
        if not problem or not answer:
            raise UserError(
                f"row {number} (the first is 0) needs a problem ({', '.join(PROBLEM_COLUMNS)} or "
                f"extra_info.raw_problem) and an answer ({', '.join(ANSWER_COLUMNS)}, reward_model.ground_truth or a "
                f"boxed solution); its columns: {columns(row)}"
            )
        before, other = problems.setdefault(problem, (number, row))
        if answer_of(other) != answer:
            raise UserError(
                f"rows {before} and {number} (the first is 0) are one problem with two answers, {answer_of(other)!r} "
                f"and {answer!r}: {problem[:80]!r}"
            )
    return problems


def test_set(name: str, rows: Dataset, is_copy: bool) -> list[dict]:
    """Rows for verl of aime24, aime25 or math500.

    Raises:
        UserError: if a row lacks something, if an answer is not one of AIME's or cannot be read by the grader, or if
            the hub's copy has not as many problems as it is known to have.
    """
    problems, changes = without_repeats(rows), Counter()
    made = []
    for index, (problem, (number, row)) in enumerate(problems.items()):
        gold = aime_gold(answer_of(row), changes) if name.startswith("aime") else answer_of(row)
        if gold is None:
            raise UserError(
                f"row {number} (the first is 0): an AIME answer must be an integer from 0 to 999, got "
                f"{answer_of(row)!r}"
            )
        identity = str(first_value(ID_COLUMNS, row) or index)
        made.append(row_for_verl(name, with_instruction(problem), gold, index=index, split="test", id=identity))
    print_count("repeated problems dropped", len(rows) - len(problems))
    if name.startswith("aime"):
        print_count("answers with leading zeros, made plain", changes["leading zeros"])
        print_count("answers with a degree sign, made plain", changes["degree signs"])
    print_count("prompts that asked for a box themselves", sum("\\boxed" in problem for problem in problems))
    print_count("problems", len(problems), check_count(name, len(problems), is_copy))
    if unread := unreadable([row["reward_model"]["ground_truth"] for row in made], name):
        raise UserError(f"the grader cannot read {len(unread)} of the answers: {', '.join(sorted(unread))}")
    return made


def check_skywork(rows: Dataset) -> None:
    """Every row has a prompt, a gold and an index.

    Raises:
        UserError: naming the first row that lacks one.
    """
    for number, row in enumerate(rows):
        prompt = row.get("prompt")
        texts = {
            "data_source": row.get("data_source"),
            "prompt[0].content": nested_value(prompt[0], "content") if isinstance(prompt, list) and prompt else None,
            "reward_model.ground_truth": nested_value(row, "reward_model", "ground_truth"),
        }
        missing = [name for name, text in texts.items() if not (isinstance(text, str) and text.strip())]
        missing += ["extra_info.index"] if nested_value(row, "extra_info", "index") is None else []
        if missing:
            raise UserError(f"row {number} (the first is 0) needs {', '.join(missing)}; its columns: {columns(row)}")


def skywork_row(row: dict, model: str) -> dict:
    extra = row["extra_info"]
    return row_for_verl(
        row["data_source"],
        with_instruction(row["prompt"][0]["content"]),
        row["reward_model"]["ground_truth"],
        index=extra["index"],
        split="train",
        difficulty=extra["model_difficulty"][model],
    )


def skywork(name: str, rows: Dataset, is_copy: bool) -> tuple[Dataset, set[str]]:
    """Rows for verl of the problems that the model solved in 1 to 15 of 16 samples, and the golds left out.

    Raises:
        UserError: if a row lacks something, if no row is left, or if the hub's copy has not as many rows as it is
            known to have.
    """
    check_skywork(rows)
    model = SOURCES[name].difficulty
    print_count("rows", len(rows), check_count(name, len(rows), is_copy))
    difficulties = [nested_value(extra, "model_difficulty", model) for extra in rows["extra_info"]]
    if None in difficulties:
        print_count(f"rows without a model_difficulty of {model}", difficulties.count(None), "left out")
    kept = [i for i, difficulty in enumerate(difficulties) if difficulty is not None and 1 <= difficulty <= 15]
    print_count(f"1 <= model_difficulty[{model}] <= 15", len(kept))

    chosen = rows.select(kept)
    golds = [reward_model["ground_truth"] for reward_model in chosen["reward_model"]]
    unread = unreadable(golds, name)
    print_count("rows whose gold the grader cannot read, left out", sum(gold in unread for gold in golds))
    asked = sum("\\boxed" in prompt[0]["content"] for prompt in chosen["prompt"])
    print_count("prompts that asked for a box themselves", asked)
    chosen = chosen.select([i for i, gold in enumerate(golds) if gold not in unread])
    if not len(chosen):
        raise UserError(f"no row is left with 1 <= model_difficulty[{model}] <= 15 and a gold that the grader can read")
    made = chosen.map(lambda row: skywork_row(row, model), remove_columns=chosen.column_names, desc=f"{name}: rows")
    return made, unread


def prepare(name: str, directory: Path, path: Path | None) -> None:
    """DIR/NAME.parquet, and DIR/NAME.left_out.json where golds were left out.

    Raises:
        UserError: a sentence that begins with the place of the source.
    """
    source = SOURCES[name]
    place = f"{name}, from {path or f'{source.hub}, split {source.split}'}"
    print(place, flush=True)
    try:
        made, unread = rows_for_verl(name, path)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    output, left_out = directory / f"{name}.parquet", directory / f"{name}.left_out.json"
    writers = {output: made.to_parquet}
    if unread:
        writers[left_out] = lambda temporary: temporary.write_text(json.dumps(sorted(unread), indent=1) + "\n")
    write_together(writers)
    print_count("rows written", len(made), f"{output}")
    if unread:
        print_count("golds left out", len(unread), f"listed in {left_out}")
    else:
        left_out.unlink(missing_ok=True)  # of an earlier run


def rows_for_verl(name: str, path: Path | None) -> tuple[Dataset, set[str]]:
    """The rows of a data set, and the golds that were left out."""
    rows = load(SOURCES[name], path)
    if SOURCES[name].difficulty:
        return skywork(name, rows, path is not None)
    return Dataset.from_list(test_set(name, rows, path is not None)), set()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=SOURCES, metavar="NAME", help=", ".join(SOURCES))
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--source", type=Path, metavar="PATH", help="a local copy, of one NAME")
    parser.add_argument("--force", action="store_true", help="write anew what is there")
    args = parser.parse_args()
    if args.source and len(args.names) > 1:
        parser.error(f"--source is a copy of one NAME, got {len(args.names)}: {' '.join(args.names)}")
    return args


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a terminated run, too, removes what it began
    outputs = [args.output / f"{name}.parquet" for name in args.names]
    if not args.force and (existing := [str(path) for path in outputs if path.exists()]):
        sys.exit(f"{', '.join(existing)} is there already: --force writes it anew")
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        for name in args.names:
            prepare(name, args.output, args.source)
    except (UserError, OSError) as error:  # OSError: the disk is full, or DIR cannot be written
        sys.exit(str(error))


if __name__ == "__main__":
    main()
