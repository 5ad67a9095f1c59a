"""The paper's claims as a controlled experiment on two CPU cores: stock verl, FSDP2, vLLM, a Qwen2 of 0.8M parameters.

    python recipe/miniature.py --list                 every run of the design, and whether it is there
    python recipe/miniature.py -o DIR                 makes those that are not; Ctrl-C and again: goes on
    python recipe/miniature.py -o DIR --only 'grpo-*' some of them

A run that has ended leaves recipe/miniature/NAME.jsonl, verl's log reduced to what is drawn and said of it; its whole
log is DIR/NAME. recipe/miniature_report.py makes the figures and the tables of these files, without training.

The task: a+b*c by a model that was taught a slip in half of its worked solutions (recipe/tiny.py), so that it answers
two in five right, and has something to unlearn. Every setting has the same rollout batch, 16 problems of 8 answers,
each problem once in a run: the mean reward of a step is the accuracy on problems that the run has not trained on yet
(the warm-up has), sampled at temperature 1. Staleness is the number of updates made on it. r is measured against the
rollout (bypass_mode).
"""

import argparse
import fnmatch
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from files import write_whole
from process import SILENCE_SECONDS, Run, interrupt_on_signals, waiting_bar
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "recipe" / "miniature"
STEPS, BATCH = 40, 16
LEARNING_RATE = 3e-4  # by the map: one update a batch learns, eight lose what they learned, and nothing dies at once

POLICY_LOSS = "actor_rollout_ref.actor.policy_loss"


def fixed(c_low: float, c_high: float) -> list[str]:
    """PPO-clip with these bounds, by BAPO with nothing to search: the same loss to the bit, and the same metrics."""
    bounds = {"c_low_start": c_low, "c_low_max": c_low, "c_high_start": c_high, "c_high_max": c_high}
    return [f"{POLICY_LOSS}.{key}={value}" for key, value in bounds.items()]


def bapo(**keys) -> list[str]:
    """BAPO with the paper's numbers, but for these keys."""
    return [f"{POLICY_LOSS}.{key}={value}" for key, value in {"target_contribution": 0.4, **keys}.items()]


NO_DUAL_CLIP = ["actor_rollout_ref.actor.clip_ratio_c=1e9"]
# verl 0.9.1 hands a batch over in the order in which its answers ended, so that an update is on answers of one length.
SHUFFLE = ["actor_rollout_ref.actor.shuffle=True"]
PARTIAL_ROLLOUT = [
    "trainer.v1.trainer_mode=colocate_async",
    "trainer.v1.colocate_async.num_warmup_batches=2",
    "trainer.v1.sampler.custom_sampler.name=QuickReplayBufferAsync",
    "actor_rollout_ref.rollout.max_num_seqs=60",  # no multiple of 8: a full batch finds answers half written
]
ARMS = {
    "grpo": fixed(0.8, 1.2),
    "clip_higher": fixed(0.8, 1.28),
    "fixed_high": fixed(0.8, 1.5),
    "fixed_low": fixed(0.5, 1.2),
    "bapo": bapo(),
    "bapo_gradient": bapo(contribution="gradient"),
    "bapo_micro": [*bapo(search_scope="micro_batch"), "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4"],
    "bapo_weight": bapo(token_weight="rollout_prob"),
    "bapo_0.3": bapo(target_contribution=0.3),
    "bapo_0.5": bapo(target_contribution=0.5),
    "bapo_c_low_fixed": bapo(c_low_max=0.6),
    "grpo_no_dual": fixed(0.8, 1.2) + NO_DUAL_CLIP,
    "bapo_no_dual": bapo() + NO_DUAL_CLIP,
    "grpo_shuffle": fixed(0.8, 1.2) + SHUFFLE,
    "bapo_shuffle": bapo() + SHUFFLE,
    "grpo_partial": fixed(0.8, 1.2) + PARTIAL_ROLLOUT,
    "bapo_partial": bapo() + PARTIAL_ROLLOUT,
}

# What a claim of the paper rests on: five seeds. The rest: three.
RESTED_ON = ["grpo", "clip_higher", "bapo", "bapo_gradient", "fixed_high", "fixed_low", "bapo_c_low_fixed"]
RESTED_ON += ["grpo_partial", "bapo_partial"]


class Setting(NamedTuple):
    """What a run is: `arm` of ARMS, updates per rollout batch, learning rate, seed."""

    arm: str
    staleness: int
    lr: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm}-x{self.staleness}-lr{self.lr:g}-seed{self.seed}"

    def overrides(self) -> list[str]:
        """verl's keys, beyond those that all runs share."""
        actor = "actor_rollout_ref.actor"
        answers = BATCH * 8 // self.staleness
        return [
            f"{actor}.ppo_mini_batch_size={BATCH // self.staleness}",
            f"{actor}.ppo_micro_batch_size_per_gpu={min(64, answers)}",
            f"{actor}.optim.lr={self.lr}",
            f"{actor}.data_loader_seed={self.seed}",
            f"data.seed={self.seed}",
            f"actor_rollout_ref.rollout.seed={self.seed}",
            *ARMS[self.arm],  # last: an arm may change what is above
        ]


SHARED = [
    "algorithm.rollout_correction.bypass_mode=True",
    f"data.train_batch_size={BATCH}",
    "data.max_prompt_length=32",
    "actor_rollout_ref.rollout.max_num_seqs=128",
    # Answers are of nearly one length: padded batches are twice as fast as packed ones here.
    "actor_rollout_ref.model.use_remove_padding=False",
    "actor_rollout_ref.actor.use_dynamic_bsz=False",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=64",
    f"trainer.v1.sampler.custom_sampler.path={ROOT / 'recipe' / 'quick_sampler.py'}",
    "trainer.v1.sampler.custom_sampler.name=QuickReplayBuffer",
    f"actor_rollout_ref.rollout.engine_kwargs.vllm.kv_cache_memory_bytes={2**28}",
    "trainer.val_before_train=False",
    "trainer.test_freq=-1",
]
KEPT = ["critic/score/mean", "actor/entropy", "actor/grad_norm", "actor/ppo_kl", "timing_s/step"]
KEPT += ["training/off_policy/trajectory_staleness/mean", "training/off_policy/trajectory_staleness_worst/mean"]


def design() -> list[Setting]:
    """Every run, the most telling first: the map of learning rates, then each seed of all arms."""
    chart = [Setting("grpo", x, lr, 0) for lr, x in itertools.product((1e-4, 2e-4, 3e-4, 5e-4), (1, 8))]
    chart += [Setting("grpo_shuffle", 8, lr, 0) for lr in (1e-4, 5e-4)]
    runs = []
    for seed in range(5):
        runs += [Setting(arm, 8, LEARNING_RATE, seed) for arm in RESTED_ON]
        runs += [Setting("grpo", 1, LEARNING_RATE, seed)]
        runs += [Setting(arm, x, LEARNING_RATE, seed) for x in (2, 4) for arm in ("grpo", "bapo")]
        if seed < 3:
            runs += [Setting(arm, 8, LEARNING_RATE, seed) for arm in ARMS if arm not in RESTED_ON]
    return list(dict.fromkeys(chart + runs))  # one place of the map is in the arms too


def four_digits(data: dict[str, float]) -> dict[str, float]:
    return {key: float(f"{value:.4g}") for key, value in data.items()}


def compact(log: Path) -> str:
    """verl's JSON lines with what is drawn and said of them, at four digits."""
    lines = []
    for line in log.read_text().splitlines():
        record = json.loads(line)
        kept = {k: v for k, v in record["data"].items() if k in KEPT or k.startswith("actor/bapo/")}
        kept = {k: v for k, v in kept.items() if v is not None}
        lines.append(json.dumps({"step": record["step"], "data": four_digits(kept)}, separators=(",", ":")))
    return "\n".join(lines) + "\n"


def make_model(output: Path) -> Path:
    """The model and data of every run, the demo's too, made once."""
    tiny = output / "tiny"
    command = [sys.executable, str(ROOT / "recipe" / "tiny.py"), "-o", str(tiny)]
    subprocess.run(command, check=True)
    return tiny


def start(setting: Setting, tiny: Path, output: Path) -> Run:
    number = len(list(output.glob(f"{setting.name}*")))  # earlier attempts keep their logs
    directory = output / (f"{setting.name}.{number}" if number else setting.name)
    directory.mkdir(parents=True)
    script = ROOT / "examples" / "run_bapo_tiny_qwen2_cpu.sh"
    os.environ.update(TINY=str(tiny), PYTHON=sys.executable, STEPS=str(STEPS))
    return Run(["bash", str(script), *SHARED, *setting.overrides()], directory)


def wait(run: Run, bar: tqdm) -> bool:
    """Until the run ends. False where it has fallen silent."""
    while run.alive():
        if run.silent():
            return False
        time.sleep(1)
        bar.update(0)
    return True


def train(settings: list[Setting], output: Path) -> None:
    """Make the runs that are missing, one after another. One that fails is named at the end; the others go on."""
    tiny = make_model(output)
    RESULTS.mkdir(exist_ok=True)
    failed = []
    with waiting_bar(len(settings), "run") as bar:
        for setting in settings:
            bar.set_postfix_str(setting.name)
            run = start(setting, tiny, output)
            try:
                ended = wait(run, bar)
            finally:
                run.end()
            if not ended:
                failed.append(f"{setting.name}: silent for {SILENCE_SECONDS} s and ended, see {run.log}")
            elif run.process.returncode:
                failed.append(f"{setting.name}: exit code {run.process.returncode}, see {run.log}")
            else:
                text = compact(run.metrics)
                write_whole(RESULTS / f"{setting.name}.jsonl", lambda path, text=text: path.write_text(text))
            bar.update()
    if failed:
        sys.exit("\n".join(failed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("miniature"), metavar="DIR")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names of runs, as a shell pattern")
    parser.add_argument("--list", action="store_true", help="name the runs and train nothing")
    arguments = parser.parse_args()
    settings = [setting for setting in design() if fnmatch.fnmatch(setting.name, arguments.only)]
    missing = [setting for setting in settings if not (RESULTS / f"{setting.name}.jsonl").exists()]
    if arguments.list:
        print(*(f"{'missing' if s in missing else 'there':<8}{s.name}" for s in settings), sep="\n")
        print(f"{len(settings)} runs, {len(missing)} missing")
        return
    interrupt_on_signals()
    try:
        train(missing, arguments.output.resolve())
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
