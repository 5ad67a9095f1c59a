"""Makes the paper's data sets into parquet files in verl's schema.

    python recipe/data/prepare_data.py skywork-7b aime24 aime25 math500 -o DIR
    python recipe/data/prepare_data.py math500 -o DIR --source PATH    a local copy: a parquet or JSON file, or a folder

Each NAME becomes DIR/NAME.parquet, as a whole or not at all, the same bytes from the same source.

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
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))  # recipe/, for what several of its folders share

from files import write_whole  # noqa: E402
from grader import load_reward  # noqa: E402

INSTRUCTION = (
    "Please reason step by step, and put your final answer within \\boxed{}."  # the words of R1-Distill's card
)
PROBLEM_COLUMNS = ("problem", "Problem", "question")
ANSWER_COLUMNS = ("answer", "Answer")
ID_COLUMNS = ("id", "ID", "unique_id")


class DataError(Exception):
    """A sentence for the user."""


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and how many rows are known to be in it."""

    hub: str
    split: str
    rows: int  # of the training split, or problems of the test set
    difficulty: str | None = None  # Skywork: the model that was measured
    kept: int | None = None  # Skywork: rows after the filter, a figure at second hand


SOURCES = {
    "skywork-7b": Source("Skywork/Skywork-OR1-RL-Data", "math", 105_055, "DeepSeek-R1-Distill-Qwen-7B", 48_500),
    "skywork-32b": Source("Skywork/Skywork-OR1-RL-Data", "math", 105_055, "DeepSeek-R1-Distill-Qwen-32B", 39_200),
    "aime24": Source("Maxwell-Jia/AIME_2024", "train", 30),
    "aime25": Source("math-ai/aime25", "test", 30),
    "math500": Source("HuggingFaceH4/MATH-500", "test", 500),
}


def say(what: str, count: int, note: str = "") -> None:
    print(f"  {what:<58}{count:>9,}  {note}".rstrip(), flush=True)


# --------------------------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------------------------


def load(source: Source, path: Path | None) -> Dataset:
    """The rows of a source, from the hub or a local copy.

    Raises:
        DataError: if there is no hub, or nothing to read at `path`.
    """
    if path is None:
        try:
            return load_dataset(source.hub, split=source.split)
        except ConnectionError as error:
            raise DataError(
                f"the Hugging Face hub cannot be reached for {source.hub} ({error}): "
                "bring a copy and name it by --source PATH"
            ) from error
    if path.is_dir():
        return load_dataset(str(path), split=source.split)
    formats = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}
    if path.suffix not in formats or not path.is_file():
        raise DataError(f"--source must be a folder or a .parquet, .json or .jsonl file that exists, got {path}")
    return load_dataset(formats[path.suffix], data_files=str(path), split="train")


def compared(name: str, count: int, is_copy: bool) -> str:
    """The count against the known one. A local copy may be a sample.

    Raises:
        DataError: if the hub's differs.
    """
    known = SOURCES[name].rows
    if count == known:
        return "as known"
    if is_copy:
        return f"WARNING: the whole has {known:,}"
    raise DataError(
        f"{name}: the hub's {SOURCES[name].hub} has {count:,} rows, not {known:,}: "
        "look at what has changed, then take a copy by --source"
    )


def first(names: tuple[str, ...], row: dict):
    """The value of the first of these columns that the row has, None if it has none."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def problem_of(row: dict) -> str | None:
    """The problem without anybody's instruction: a column of its own, or verl's `extra_info.raw_problem`."""
    return first(PROBLEM_COLUMNS, row) or (row.get("extra_info") or {}).get("raw_problem")


def answer_of(row: dict) -> str | None:
    """A column of its own, verl's ground truth, or a solution that is nothing but a box (math-ai/aime24)."""
    answer = first(ANSWER_COLUMNS, row)
    if answer is None:
        answer = (row.get("reward_model") or {}).get("ground_truth")
    if answer is None and (box := re.fullmatch(r"\s*\\boxed\{(.+)\}\s*", row.get("solution") or "")):
        answer = box[1]
    return None if answer is None else str(answer).strip()


def with_instruction(problem: str) -> str:
    """The problem with INSTRUCTION, unless it asks for a box itself."""
    return problem if "\\boxed" in problem else f"{problem}\n\n{INSTRUCTION}"


def row_for_verl(data_source: str, prompt: str, gold: str, **extra_info) -> dict:
    return {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": gold},
        "extra_info": extra_info,
    }


# --------------------------------------------------------------------------------------------------------------------
# Golds
# --------------------------------------------------------------------------------------------------------------------


def aime_gold(answer: str, found: Counter) -> str:
    r"""An AIME answer as an integer from 0 to 999; what had to go is counted in `found`.

    >>> found = Counter()
    >>> aime_gold("025", found), aime_gold("336^\\circ", found), aime_gold("70", found)
    ('25', '336', '70')
    >>> found["leading zeros"], found["degree signs"]
    (1, 1)

    Raises:
        DataError: if it is no such integer.
    """
    text = re.sub(r"\s*(\^\s*(\\circ|\{\s*\\circ\s*\})|\u00b0)$", "", answer.strip("$ "))
    if not re.fullmatch(r"\d{1,3}", text):
        raise DataError(f"an AIME answer must be an integer from 0 to 999, got {answer!r}")
    found["degree signs"] += text != answer.strip("$ ")
    found["leading zeros"] += text != str(int(text))
    return str(int(text))


def unreadable(golds: list[str], name: str) -> set[str]:
    """The golds that the grader cannot read."""
    reward = load_reward()
    different = sorted(set(golds))
    with ThreadPoolExecutor(2) as threads:  # as many as the grader has workers
        readable = threads.map(reward.can_parse, different)
        checked = tqdm(zip(different, readable, strict=True), total=len(different), desc=f"{name}: golds", unit="gold")
        return {gold for gold, fine in checked if not fine}


# --------------------------------------------------------------------------------------------------------------------
# Test sets
# --------------------------------------------------------------------------------------------------------------------


def without_repeats(rows: Dataset, name: str) -> dict[str, dict]:
    """Problem to row, in the order of the source.

    Raises:
        DataError: for a row without problem or answer, or a problem with two answers.
    """
    problems = {}
    for index, row in enumerate(rows):
        problem, answer = problem_of(row), answer_of(row)
        if not problem or not answer:
            raise DataError(
                f"{name}: row {index} needs a problem ({', '.join(PROBLEM_COLUMNS)} or extra_info.raw_problem) and an "
                f"answer ({', '.join(ANSWER_COLUMNS)}, reward_model.ground_truth or a boxed solution); its columns: "
                f"{', '.join(rows.column_names)}"
            )
        if answer_of(problems.setdefault(problem.strip(), row)) != answer:
            raise DataError(f"{name}: row {index} repeats a problem with another answer, {answer!r}: {problem[:80]!r}")
    return problems


def test_set(name: str, rows: Dataset, is_copy: bool) -> list[dict]:
    """Rows for verl of aime24, aime25 or math500.

    Raises:
        DataError: if the grader cannot read a gold, or the hub's copy has not as many problems as it is known to have.
    """
    problems, found = without_repeats(rows, name), Counter()
    made = []
    for index, (problem, row) in enumerate(problems.items()):
        gold = aime_gold(answer_of(row), found) if name.startswith("aime") else answer_of(row)
        identity = str(first(ID_COLUMNS, row) or index)
        made.append(row_for_verl(name, with_instruction(problem), gold, index=index, split="test", id=identity))
    say("repeated problems dropped", len(rows) - len(problems))
    if name.startswith("aime"):
        say("answers with leading zeros, made plain", found["leading zeros"])
        say("answers with a degree sign, made plain", found["degree signs"])
    say("prompts that asked for a box themselves", sum("\\boxed" in problem for problem in problems))
    say("problems", len(problems), compared(name, len(problems), is_copy))
    if bad := unreadable([row["reward_model"]["ground_truth"] for row in made], name):
        raise DataError(f"{name}: the grader cannot read {len(bad)} of the answers: {', '.join(sorted(bad))}")
    return made


# --------------------------------------------------------------------------------------------------------------------
# Skywork
# --------------------------------------------------------------------------------------------------------------------


def check_skywork_columns(rows: Dataset) -> None:
    needed = {"data_source", "prompt", "reward_model", "extra_info"}
    if missing := sorted(needed - set(rows.column_names)):
        raise DataError(f"Skywork's rows need {', '.join(missing)}; their columns: {', '.join(rows.column_names)}")


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
        DataError: if columns are missing, or the hub's copy has not as many rows as it is known to have.
    """
    check_skywork_columns(rows)
    source, model = SOURCES[name], SOURCES[name].difficulty
    say("rows", len(rows), compared(name, len(rows), is_copy))
    difficulties = [(extra["model_difficulty"] or {}).get(model) for extra in rows["extra_info"]]
    if None in difficulties:
        say(f"rows without a model_difficulty of {model}", difficulties.count(None), "left out")
    kept = [i for i, difficulty in enumerate(difficulties) if difficulty is not None and 1 <= difficulty <= 15]
    near = abs(len(kept) - source.kept) <= 0.01 * source.kept
    known = f"{source.kept:,} are said to be, at second hand"
    say(f"1 <= model_difficulty[{model}] <= 15", len(kept), known if near else f"WARNING: about {known}")

    chosen = rows.select(kept)
    golds = [reward_model["ground_truth"] for reward_model in chosen["reward_model"]]
    bad = unreadable(golds, name)
    say("rows whose gold the grader cannot read, left out", sum(gold in bad for gold in golds))
    asked = sum("\\boxed" in prompt[0]["content"] for prompt in chosen["prompt"])
    say("prompts that asked for a box themselves", asked)
    chosen = chosen.select([i for i, gold in enumerate(golds) if gold not in bad])
    made = chosen.map(lambda row: skywork_row(row, model), remove_columns=chosen.column_names, desc=f"{name}: rows")
    return made, bad


# --------------------------------------------------------------------------------------------------------------------
# Writing
# --------------------------------------------------------------------------------------------------------------------


def prepare(name: str, directory: Path, path: Path | None) -> None:
    """DIR/NAME.parquet, and DIR/NAME.left_out.json where golds were left out."""
    source, bad = SOURCES[name], set()
    output, left_out = directory / f"{name}.parquet", directory / f"{name}.left_out.json"
    print(f"{name}, from {path or f'{source.hub}, split {source.split}'}", flush=True)
    rows = load(source, path)
    if source.difficulty:
        made, bad = skywork(name, rows, path is not None)
    else:
        made = Dataset.from_list(test_set(name, rows, path is not None))
    write_whole(output, made.to_parquet)
    say("rows written", len(made), f"{output}")
    left_out.unlink(missing_ok=True)
    if bad:
        write_whole(left_out, lambda path: path.write_text(json.dumps(sorted(bad), indent=1) + "\n"))
        say("golds left out", len(bad), f"listed in {left_out}")


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
    if not args.force and (there := [str(path) for path in outputs if path.exists()]):
        sys.exit(f"{', '.join(there)} is there already: --force writes it anew")
    args.output.mkdir(parents=True, exist_ok=True)
    try:
        for name in args.names:
            prepare(name, args.output, args.source)
    except DataError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
