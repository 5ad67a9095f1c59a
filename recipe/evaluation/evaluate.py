"""Samples a checkpoint on test sets through verl's own validation, grades the answers, and prints the tables.

    python -m recipe.evaluation.evaluate -o DIR --data aime24.parquet ... -- actor_rollout_ref.model.path=MODEL ...
    python -m recipe.evaluation.evaluate -o DIR --data ... --endpoint URL --model NAME        asks a served model
    python -m recipe.evaluation.evaluate -o DIR        grades again what DIR holds, and generates nothing

What follows `--` are verl's keys, over those of recipe/config/evaluate.yaml; MODEL is a Hugging Face checkpoint,
merged if it is one of verl's (`python -m verl.model_merger merge`). examples/evaluate.sh is this command with its
paths. A served model gets the same prompts, samples and sampling; `val_kwargs.temperature=null` sends no temperature
to one that takes none.

For each test set DIR/NAME/ keeps `generations.jsonl` (verl's dump: one answer a line), `settings.json` (what it was
made with) and `train.log`. It is there as a whole or not at all: a set that is there is skipped, one that was
interrupted is generated anew, and of a served model only the answers that are missing. If model, data or sampling are
not those of settings.json, it is an error.

DIR/results.json and results.md have avg@n with its 95% interval, pass@k, maj@n, the mean length in tokens, the share
of answers that were cut off, and the share of each verdict; scores.py defines each of them. The grader is
reward/math_reward.py; where a prompt ends in `<think>`, an answer that never closes it is no answer.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow.parquet
from tqdm import tqdm

from recipe.common import (
    REWARD,
    Run,
    UserError,
    as_markdown,
    interrupt_on_signals,
    load_reward,
    waiting_bar,
    write_together,
)
from recipe.evaluation import endpoint
from recipe.evaluation.scores import Sample, published, reason_table, score_table, statistics

CONFIG = Path(__file__).resolve().parents[1] / "config"
SETTINGS = {  # what decides the answers, by verl's key; the hardware does not
    "model": "actor_rollout_ref.model.path",
    "samples": "actor_rollout_ref.rollout.val_kwargs.n",
    "temperature": "actor_rollout_ref.rollout.val_kwargs.temperature",
    "top_p": "actor_rollout_ref.rollout.val_kwargs.top_p",
    "top_k": "actor_rollout_ref.rollout.val_kwargs.top_k",
    "max_prompt_tokens": "data.max_prompt_length",
    "max_response_tokens": "data.max_response_length",
    "chat_template_arguments": "data.apply_chat_template_kwargs",
}


def compose(overrides: list[str]) -> dict:
    """The settings of a run with these overrides, composed as verl will compose them."""
    import hydra
    import verl  # noqa: F401, makes the groups of verl's plug-ins known to Hydra
    from omegaconf import OmegaConf

    with hydra.initialize_config_dir(str(CONFIG), version_base=None):
        config = hydra.compose("evaluate", overrides)
    values = {name: OmegaConf.select(config, key) for name, key in SETTINGS.items()}
    return {name: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for name, v in values.items()}


def settings_of(data: Path, common: dict) -> dict:
    """What a finished directory of this test set must have been made with."""
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    return {**common, "data_sha256": digest, "problems": pyarrow.parquet.read_metadata(data).num_rows}


def check_finished(directory: Path, settings: dict) -> None:
    """A finished directory is taken as it is, or refused: never mixed, never removed.

    Raises:
        UserError: if it was made with other settings.
    """
    made_with = json.loads((directory / "settings.json").read_text())
    for name, value in settings.items():
        if made_with.get(name) != value:
            raise UserError(
                f"{directory} was generated with {name}={made_with.get(name)}, not {value}: "
                "choose another -o, or remove that directory"
            )


def override(key: str, path: Path | str) -> str:
    """`key=path` in Hydra's grammar, whatever characters the path has."""
    quoted = str(path).replace("'", r"\'")
    return f"{key}='{quoted}'"


def command(data: Path, dump: Path, overrides: list[str]) -> list[str]:
    """verl's trainer, which with evaluate.yaml does one validation."""
    return [
        *(sys.executable, "-m", "verl.trainer.main_ppo", "--config-dir", str(CONFIG), "--config-name", "evaluate"),
        override("data.val_files", data),
        override("trainer.validation_data_dir", dump),
        override("reward.custom_reward_function.path", REWARD),
        override("reward.reward_manager.module.path", Path(__file__).with_name("length_reward_manager.py").resolve()),
        *overrides,
    ]


def answers_so_far(directory: Path) -> int:
    """Answers scored up to now: each reward worker adds a byte for each to its file (length_reward_manager.py)."""
    return sum(counter.stat().st_size for counter in directory.glob(".answered-*"))


def follow(run: Run, name: str, total: int) -> None:
    """A bar of the answers until the run ends."""
    with waiting_bar(total, "answer", f"{name}: starting Ray, FSDP and vLLM") as bar:
        while run.alive():
            done = answers_so_far(run.log.parent)
            if done:
                bar.set_description(name, refresh=False)
            bar.update(done - bar.n)
            time.sleep(1)
        if run.process.returncode == 0:
            bar.update(total - bar.n)


def generate(name: str, data: Path, output: Path, settings: dict, overrides: list[str]) -> None:
    """One run of verl; output/name appears when its dump is complete.

    Raises:
        UserError: if verl failed or lost an answer.
    """
    unfinished = output / f".{name}-unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)  # what an interrupted run left
    unfinished.mkdir(parents=True)
    run = Run(command(data, unfinished, overrides), unfinished)
    print(f"{name}: {settings['problems']} problems x {settings['samples']} samples; log: {run.log}", flush=True)
    try:
        follow(run, name, settings["problems"] * settings["samples"])
    finally:
        run.end()
    if run.process.returncode:
        raise UserError(run.failure())
    for counter in unfinished.glob(".answered-*"):
        counter.unlink()
    (unfinished / "0.jsonl").rename(unfinished / "generations.jsonl")
    (unfinished / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    read_generations(unfinished)
    unfinished.rename(output / name)


def ask(name: str, data: Path, output: Path, settings: dict, concurrency: int) -> None:
    """`generate` from a server: goes on with the answers of an interrupted run of the same settings.

    Raises:
        UserError: if those are of other settings, or the server refuses.
    """
    unfinished = output / f".{name}-asked"
    if unfinished.exists():
        check_finished(unfinished, settings)
    unfinished.mkdir(parents=True, exist_ok=True)
    (unfinished / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    endpoint.generate(name, data, unfinished, settings, concurrency)
    read_generations(unfinished)
    unfinished.rename(output / name)


def problem_of(row: dict) -> str:
    """verl names an answer PROBLEM_SAMPLE_TURN."""
    return row["uid"].rsplit("_", 2)[0]


def read_generations(directory: Path) -> list[dict]:
    """The answers of one test set, all of them.

    Raises:
        UserError: if any is missing.
    """
    settings = json.loads((directory / "settings.json").read_text())
    with open(directory / "generations.jsonl") as lines:  # splitlines would cut at U+2028 too, which JSON keeps
        rows = [json.loads(line) for line in lines]
    per_problem = Counter(map(problem_of, rows))
    if len(per_problem) != settings["problems"] or set(per_problem.values()) != {settings["samples"]}:
        raise UserError(
            f"{directory / 'generations.jsonl'} has {len(rows)} answers to {len(per_problem)} problems, not "
            f"{settings['samples']} to each of {settings['problems']}: train.log beside it may say why verl lost some"
        )
    return rows


def grade(row: dict, reward) -> Sample:
    """The verdict on one line of the dump, as the reward manager asked for it."""
    from recipe.evaluation.length_reward_manager import opens_thoughts  # imports verl

    verdict = reward.compute_score_sync("", row["output"], row["gts"], thinking=opens_thoughts(row["input"]))
    return Sample(
        problem=problem_of(row),
        correct=bool(verdict["acc"]),
        vote=None if verdict["reason"] in ("no_answer", "over_length", "error") else verdict["pred"],
        reason=verdict["reason"],
        tokens=row["response_tokens"],
        cut_off=bool(row["cut_off"]),
    )


def score(directory: Path, reward) -> dict:
    """Grade one finished directory."""
    settings = json.loads((directory / "settings.json").read_text())
    effort = settings.get("reasoning_effort")
    rows = read_generations(directory)
    with ThreadPoolExecutor(2) as threads:  # as many as the grader has workers
        verdicts = threads.map(lambda row: grade(row, reward), rows)
        samples = list(tqdm(verdicts, total=len(rows), desc=f"{directory.name}: grading", unit="answer"))
    return {
        "settings": settings,
        **statistics(samples),
        "published": published("-".join(filter(None, (settings["model"], effort))), directory.name),
    }


def captions(results: dict[str, dict]) -> list[str]:
    """What the tables cannot say in their cells."""
    lines = []
    for name, result in results.items():
        settings = result["settings"]
        line = "{}: {model}, temperature {temperature}, top_p {top_p}, top_k {top_k}, {max_response_tokens} tokens"
        line += ", reasoning effort {reasoning_effort}, {endpoint}" if "endpoint" in settings else ""
        lines.append(line.format(name, **settings))
    if any(result["published"] is not None for result in results.values()):
        lines.append("published: avg@16, arXiv 2510.18927, Table 1, which does not state its sampling")
    return lines


def report(results: dict[str, dict]) -> str:
    """The tables and what explains them, as Markdown."""
    scores, verdicts = as_markdown(score_table(results)), as_markdown(reason_table(results))
    return "\n\n".join([scores, *captions(results), "verdicts, in percent", verdicts]) + "\n"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--data", type=Path, nargs="*", default=[], metavar="NAME.parquet", help="of recipe.data.prepare_data"
    )
    parser.add_argument("--endpoint", metavar="URL", help="of an OpenAI-compatible server; key: OPENAI_API_KEY")
    parser.add_argument("--model", metavar="NAME", help="that the server knows it by")
    parser.add_argument("--reasoning-effort", metavar="EFFORT", help="where the served model takes one: medium")
    parser.add_argument("--concurrency", type=int, default=16, metavar="N", help="requests at a time (16)")
    parser.add_argument("overrides", nargs="*", metavar="-- KEY=VALUE", help="verl's keys")
    args = parser.parse_args()
    if (args.endpoint is None) != (args.model is None):
        parser.error("--endpoint and --model go together")
    if args.concurrency < 1:
        parser.error(f"--concurrency must be at least 1, got {args.concurrency}")
    return args


def evaluate(output: Path, data: list[Path], overrides: list[str], served: dict | None = None, concurrency=16) -> None:
    """`served` has the `endpoint`, `model` and `reasoning_effort` of a served model."""
    for path in data:
        if not path.is_file():
            raise UserError(f"--data {path} is not there: recipe.data.prepare_data makes it")
    if served:
        endpoint.check_url(served["endpoint"])
        overrides = [override("actor_rollout_ref.model.path", served["model"]), *overrides]
    common = {**compose(overrides), **(served or {})} if data else {}
    for path in data:
        settings = settings_of(path, common)
        if (output / path.stem).exists():
            check_finished(output / path.stem, settings)
            print(f"{path.stem}: generated before, in {output / path.stem}", flush=True)
        elif served:
            ask(path.stem, path, output, settings, concurrency)
        else:
            generate(path.stem, path.resolve(), output, settings, overrides)

    finished = sorted(path.parent for path in output.glob("[!.]*/generations.jsonl"))
    if not finished:
        raise UserError(f"-o {output} holds no generations, and no --data names what to generate")
    reward = load_reward()
    results = {directory.name: score(directory, reward) for directory in finished}
    page, numbers = report(results), json.dumps(results, indent=2) + "\n"
    texts = {output / "results.md": page, output / "results.json": numbers}
    write_together({path: partial(Path.write_text, data=text) for path, text in texts.items()})
    print("\n" + page)
    print(f"also in {output}/results.md and results.json")


def main() -> None:
    args = parse_args()
    interrupt_on_signals()
    try:
        served = args.endpoint and {
            "endpoint": args.endpoint,
            "model": args.model,
            "reasoning_effort": args.reasoning_effort,
        }
        evaluate(args.output.resolve(), args.data, args.overrides, served, args.concurrency)
    except (UserError, OSError) as error:  # OSError: the disk is full, or DIR cannot be written
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted: the same command generates what is missing", flush=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
