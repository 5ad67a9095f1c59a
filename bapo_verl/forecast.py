"""What BAPO's search would do on the answers of a run that exists, without a GPU and before a training.

    python -m bapo_verl.forecast DUMP... --mini-batch-size N [--tokenizer PATH] [PRESET...] [KEY=VALUE...]

DUMP is what verl writes with `trainer.rollout_data_dir=DUMP`, under any algorithm: the folder, or files of it. At r = 1
rho depends on the answers' lengths and advantages alone, and it is the same at every point of the search path: the
search stays at the path's start where rho_start reaches the target, and goes to its end where it does not. In training
updates whose rho_start lies just below the target stop in between: few with contribution=value, up to all with
`gradient` (the map in README.md).

The advantages are GRPO's, with answers to the same input within a step as one group. PRESET is one of
bapo_verl/config/algorithm (all of BAPO's without one), KEY one of BAPO's under actor_rollout_ref.actor.policy_loss.
Presets that search each micro-batch (search_scope) see fewer answers at once, so they scatter more than this says.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage
from verl.utils.tokenizer import hf_tokenizer

from bapo_verl.clipping import contribution_sums
from bapo_verl.keys import COPIES, KEY
from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from bapo_verl.search import Search

PRESETS = ("bapo", "bapo_octothinker", "bapo_authors", "bapo_authors_script")
FEW_CLIPPED = 0.01  # README.md, "Is it for your run?"
CLIPPED = "actor/pg_clipfrac"

# The length of each output.
Lengths = Callable[[list[str]], list[int]]
Configs = dict[str, BapoPolicyLossConfig]


def read_records(path: Path) -> list[Any]:
    """What each line of a file holds, blank ones left out; None for a line that is no JSON."""
    records = []
    for line in filter(bytes.strip, path.read_bytes().splitlines()):
        try:
            records.append(json.loads(line))
        except ValueError:
            records.append(None)
    return records


def is_answer(record: Any) -> bool:
    """Whether it is what verl dumps of an answer: input, output, step and a score that is finite."""
    types = {"input": str, "output": str, "step": int, "score": int | float}
    return (
        isinstance(record, dict)
        and all(isinstance(record.get(key), kind) for key, kind in types.items())
        and math.isfinite(record["score"])
    )


def dump_files(dumps: list[Path]) -> list[Path]:
    """The files of the dumps.

    Raises:
        ValueError: for a folder without one.
    """
    files = []
    for dump in dumps:
        found = sorted(dump.glob("*.jsonl")) if dump.is_dir() else [dump]
        if not found:
            raise ValueError(f"{dump} has no file of verl's trainer.rollout_data_dir (STEP.jsonl)")
        files += found
    return files


def read_answers(files: list[Path], lengths: Lengths) -> tuple[pandas.DataFrame, int]:
    """A row for each answer, with its `file` and `length`, and the number of lines that hold none.

    Raises:
        ValueError: for a file without an answer.
    """
    parts, bad = [], 0
    for file in files:
        records = read_records(file)
        answers = [record for record in records if is_answer(record)]
        if not answers:
            what = "holds no answer as verl dumps it" if records else "is empty"
            raise ValueError(
                f"{file} {what}: needed is a file of trainer.rollout_data_dir (input, output, score, step)"
            )
        part = pandas.DataFrame(answers, columns=["input", "step", "score"])
        parts.append(part.assign(file=str(file), length=lengths([answer["output"] for answer in answers])))
        bad += len(records) - len(answers)
    return pandas.concat(parts, ignore_index=True), bad


def lengths_by(tokenizer: str | None) -> Lengths:
    """Counts an answer's tokens, and one for the end, which verl's dump leaves out; characters without a tokenizer."""
    if tokenizer is None:
        return lambda outputs: [len(output) for output in outputs]
    encode = hf_tokenizer(tokenizer)
    return lambda outputs: [len(ids) + 1 for ids in encode(outputs, add_special_tokens=False)["input_ids"]]


def add_advantages(answers: pandas.DataFrame) -> pandas.DataFrame:
    """The answers with the numbers of their `batch` (step) and `group`, and their `advantage` by verl's GRPO."""
    batch = answers.groupby(["file", "step"]).ngroup()
    group = answers.groupby(["file", "step", "input"]).ngroup()
    scores = torch.tensor(answers["score"].to_numpy(dtype=float)).unsqueeze(1)  # [answers, 1], as if of one token
    advantages, _ = compute_grpo_outcome_advantage(scores, torch.ones_like(scores), group.to_numpy())
    return answers.assign(batch=batch, group=group, advantage=advantages.squeeze(1).numpy())


def mini_batches(answers: pandas.DataFrame, prompts: int, shuffle: bool) -> Iterator[pandas.DataFrame]:
    """The updates of one epoch over each step's answers, cut into `prompts` times the answers to a prompt, as by verl.

    Not shuffled, verl takes answers in the order in which they ended; the dump has another order, so the shorter counts
    as the earlier. A step that does not divide, as with bad lines, is cut into parts of nearly this size.

    Raises:
        ValueError: where no step has that many prompts.
    """
    random = np.random.default_rng(0)
    most = int(answers.groupby("batch")["group"].nunique().max())
    if not 0 < prompts <= most:
        raise ValueError(
            f"--mini-batch-size must be in [1, {most}], the prompts of the dump's largest step, got {prompts}"
        )
    size = prompts * answers["group"].value_counts().mode().max()
    for _, batch in answers.groupby("batch"):
        order = random.permutation(len(batch)) if shuffle else batch["length"].argsort(kind="stable").to_numpy()
        for part in np.array_split(order, max(1, round(len(batch) / size))):
            yield batch.iloc[part]


def preset_config(preset: str, keys: list[str]) -> BapoPolicyLossConfig:
    """A preset of bapo_verl/config/algorithm, with the user's keys.

    Raises:
        ValueError: for a value that breaks a rule, and for token_weight=rollout_prob.
        HydraException: for an unknown preset or key.
    """
    with initialize_config_module("bapo_verl.config", version_base=None):
        overrides = [f"{KEY}.{key.removeprefix(f'{KEY}.')}" for key in keys]
        values = compose(overrides=[f"+algorithm={preset}", *overrides]).actor_rollout_ref.actor.policy_loss
    own = [key for key in values if key not in {"_target_", *COPIES}]
    config = BapoPolicyLossConfig(**OmegaConf.masked_copy(values, own))
    if config.token_weight != "uniform":
        raise ValueError(
            f"token_weight must be uniform for a forecast, got {config.token_weight}: a dump has no log-probs"
        )
    return config


def choices(updates: list[pandas.DataFrame], config: BapoPolicyLossConfig) -> pandas.DataFrame:
    """For each update rho_start, and whether the search is at the path's start or end, at r = 1 (Eq. 8, Algorithm 1).

    An answer is one token whose weight is its length: at r = 1 rho is the share of length x |A| with A > 0.
    """
    search = Search(config)
    last = len(search.path.low) - 1
    rows = []
    for update in updates:
        advantages, lengths = (torch.tensor(update[key].to_numpy(dtype=float)) for key in ("advantage", "length"))
        sums = contribution_sums(torch.ones_like(advantages), advantages, search.path, lengths)
        choice = search.choose(sums)
        rows.append({"rho_start": choice.rho_start, "start": choice.steps == 0, "end": choice.steps == last})
    return pandas.DataFrame(rows)


def summary(answers: pandas.DataFrame, found: dict[str, pandas.DataFrame], configs: Configs) -> dict[str, Any]:
    """The numbers of the forecast from the `choices` of each preset. nan where there is nothing to average."""
    right, groups = answers["score"] > 0, answers.groupby("group")["advantage"]
    rho_start = next(iter(found.values()))["rho_start"]
    quantiles = {f"p{q:02}": rho_start.quantile(q / 100) for q in (5, 25, 50, 75, 95)}
    return {
        "steps": answers["batch"].nunique(),
        "answers": len(answers),
        "length": {"right": answers["length"][right].mean(), "failed": answers["length"][~right].mean()},
        "groups": len(groups),
        "groups_with_gradient": int((groups.max() != groups.min()).sum()),
        "updates": len(rho_start),
        "rho_start": {"mean": rho_start.mean(), "std": rho_start.std(), **quantiles},
        "presets": {
            name: {"target": configs[name].target_contribution, "start": f["start"].mean(), "end": f["end"].mean()}
            for name, f in found.items()
        },
    }


def clipped_share(log: Path) -> float:
    """The mean of actor/pg_clipfrac over the steps of a log of verl's file logger.

    Raises:
        ValueError: for a log without it.
    """
    data = [record.get("data") for record in read_records(log) if isinstance(record, dict)]
    values = [d[CLIPPED] for d in data if isinstance(d, dict) and isinstance(d.get(CLIPPED), int | float)]
    if not values:
        raise ValueError(
            f"{log} has no {CLIPPED}: needed is a log of verl's file logger (trainer.logger=[console,file])"
        )
    return float(np.mean(values))


def report(result: dict[str, Any]) -> Iterator[str]:
    """The lines for a reader."""
    length, unit, rho = result["length"], result["unit"], result["rho_start"]
    if result["bad_lines"]:
        yield f"{result['bad_lines']} lines hold no answer as verl dumps it and are left out"
    if unit == "characters":
        yield "lengths are in characters: --tokenizer PATH counts tokens, which is what training counts"
    yield f"{result['answers']} answers of {result['steps']} steps"
    yield f"mean length in {unit}: right {length['right']:.1f} (L+), failed {length['failed']:.1f} (L-)"
    yield f"groups with a gradient: {result['groups_with_gradient']} of {result['groups']}"
    yield f"rho_start over {result['updates']} updates: mean {rho['mean']:.3f}, standard deviation {rho['std']:.3f}"
    yield "  quantiles: " + ", ".join(f"{name} {rho[name]:.3f}" for name in rho if name.startswith("p"))
    yield ""
    yield f"{'preset':<20} {'target':>6} {'start':>6} {'end':>6}   (share of updates at the path's start and end)"
    for name, preset in result["presets"].items():
        yield f"{name:<20} {preset['target']:>6.3f} {preset['start']:>6.1%} {preset['end']:>6.1%}"
    share, place = result.get("pg_clipfrac"), f"L-/L+ {length['failed'] / length['right']:.2f}"
    yield ""
    if share is None:
        yield f"on the map of README.md: {place}; --metrics LOG adds the other coordinate, {CLIPPED}"
        return
    yield f"on the map of README.md: {place}, pg_clipfrac {share:.4f}"
    if share < FEW_CLIPPED:
        yield f"below {FEW_CLIPPED} the clip drops few tokens and all bounds train alike, whatever the shares above"
    else:
        yield f"not below {FEW_CLIPPED}: the clip drops enough tokens for the bounds to matter"


def draw(answers: pandas.DataFrame, rho_start: pandas.Series, configs: Configs, unit: str, path: Path) -> None:
    """Histograms of the lengths of right and failed answers, and of rho_start with the presets' targets."""
    from matplotlib.figure import Figure  # the extra "figures" brings it

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    lengths, shares = figure.subplots(1, 2)
    right = answers["score"] > 0
    bins = np.histogram_bin_edges(answers["length"], 20)
    for name, chosen, color in (("right", right, "#0072B2"), ("failed", ~right, "#D55E00")):
        lengths.hist(answers["length"][chosen], bins, histtype="step", color=color, label=name, linewidth=1.5)
    lengths.set(xlabel=f"length in {unit}", ylabel="answers")
    shares.hist(rho_start.dropna(), 30, color="0.7")
    for (name, config), style in zip(configs.items(), ("-", "--", "-.", ":") * len(configs), strict=False):
        shares.axvline(config.target_contribution, color="k", linestyle=style, label=f"target of {name}")
    shares.set(xlabel="rho_start; left of its target an update is at the path's end", ylabel="updates")
    for axes in (lengths, shares):
        axes.legend(fontsize=9)
    figure.savefig(path, dpi=110)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dumps", nargs="+", metavar="DUMP, PRESET or KEY=VALUE")
    parser.add_argument(
        "--mini-batch-size",
        type=int,
        required=True,
        metavar="N",
        help="in prompts, as verl's actor_rollout_ref.actor.ppo_mini_batch_size: an update has N x rollout.n answers",
    )
    parser.add_argument("--tokenizer", metavar="PATH", help="of the model; without one, lengths are in characters")
    parser.add_argument(
        "--no-shuffle",
        action="store_true",
        help="actor_rollout_ref.actor.shuffle=False, verl's default: updates from the shortest answers to the longest",
    )
    parser.add_argument("--metrics", type=Path, metavar="LOG", help=f"of +algorithm=grpo: adds {CLIPPED}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", type=Path, metavar="PICTURE")
    parsed = parser.parse_intermixed_args(arguments)
    words, parsed.dumps, parsed.presets, parsed.keys = parsed.dumps, [], [], []
    for word in words:
        name = word.removeprefix("+algorithm=")
        if Path(word).exists():
            parsed.dumps.append(Path(word))
        elif name != word or name in PRESETS:
            parsed.presets.append(name)
        elif "=" in word:
            parsed.keys.append(word)
        else:
            sys.exit(f"{word} is no file or folder, none of {', '.join(PRESETS)} and no KEY=VALUE")
    if not parsed.dumps:
        sys.exit("no DUMP is given: a file or folder of verl's trainer.rollout_data_dir")
    parsed.presets = parsed.presets or (["bapo"] if parsed.keys else PRESETS)
    return parsed


def main() -> None:
    arguments = parse()
    try:
        configs = {preset: preset_config(preset, arguments.keys) for preset in arguments.presets}
        answers, bad = read_answers(dump_files(arguments.dumps), lengths_by(arguments.tokenizer))
        answers = add_advantages(answers)
        updates = list(mini_batches(answers, arguments.mini_batch_size, not arguments.no_shuffle))
        found = {preset: choices(updates, config) for preset, config in configs.items()}
        result = summary(answers, found, configs)
        result |= {"bad_lines": bad, "unit": "tokens" if arguments.tokenizer else "characters"}
        if arguments.metrics:
            result["pg_clipfrac"] = clipped_share(arguments.metrics)
        if arguments.output:
            draw(answers, next(iter(found.values()))["rho_start"], configs, result["unit"], arguments.output)
    except (ValueError, OSError, HydraException, ModuleNotFoundError) as error:  # the last: no matplotlib
        sys.exit(str(error))
    if arguments.json:
        print(pandas.Series(result).to_json(double_precision=15))  # which writes null for nan
    else:
        print("\n".join(report(result)))


if __name__ == "__main__":
    main()
