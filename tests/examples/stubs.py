"""Runs a launch script with stand-ins for python3, ray, srun and scontrol, which write down each call."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES, CONFIG = ROOT / "examples", ROOT / "recipe" / "config"
SCRIPTS = sorted(p for p in EXAMPLES.glob("run_bapo_*.sh") if "_cpu" not in p.name)  # for GPUs
VARIABLES = {
    "MODEL_PATH": "/models/one",
    "TRAIN_FILE": "/data/train.parquet",
    "TEST_FILE": "[/data/aime24.parquet,/data/aime25.parquet]",
    "CKPTS_DIR": "/runs",
}
OTHERS = "ALGORITHM UPDATES_PER_BATCH EXPERIMENT_NAME NNODES NGPUS_PER_NODE ROLLOUT_NNODES MASTER_ADDR RAY_AUTH_MODE"

# One line for each call, its variables and arguments behind NUL. A merge leaves its folder behind, as verl's does.
STAND_IN = """#!/usr/bin/env bash
name=${{0##*/}}
printf '%s\\0' "$name" "$@" >>{calls}
if [ "$name" = srun ]; then
    printf '%s\\0' "MASTER_ADDR=$MASTER_ADDR" "NNODES=$NNODES" "$RAY_AUTH_MODE ${{#RAY_AUTH_TOKEN}}" >>{calls}
fi
if [ "$name" = ray ]; then printf '%s\\0' "TIMEOUT=$RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT" >>{calls}; fi
echo >>{calls}
case $name in
    pgrep) exit "$PGREP" ;;
    scontrol) printf '%s\\n' $NODES ;;
    ray) case ${{RAY_STARTS-}}$1 in
        nosymmetric-run) ;; # Ray's own code is 0
        no*) exit 1 ;;
        symmetric-run) "${{@:7}}"; exit 1 ;; # what follows symmetric-run --address A --min-nodes N --
    esac ;;
    python3) case ${{2-}} in verl.model_merger) mkdir "${{@: -1}}" ;; esac ;;
esac
"""


def variables(script: Path | str, **changed: str) -> dict[str, str]:
    """What a training script needs in its environment."""
    rollout = {"ROLLOUT_NNODES": "2"} if "separate_async" in str(script) else {}
    return {**VARIABLES, **rollout, **changed}


class Stubs:
    """Commands that a script finds before the real ones; each call is a list, the command's name first."""

    def __init__(self, directory: Path, *names: str):
        self.directory, self.calls = directory, directory / "calls"
        (directory / "bin").mkdir()
        for name in names:
            (directory / "bin" / name).write_text(STAND_IN.format(calls=self.calls))
            (directory / "bin" / name).chmod(0o755)

    def run(self, script: Path | str, *arguments: str, cwd: Path | None = None, **environment: str | None):
        """The finished process, and the calls that it made. A variable that is None is unset."""
        self.calls.write_text("")
        clean = {k: v for k, v in os.environ.items() if k not in (*VARIABLES, *OTHERS.split())}
        home = {"HOME": str(self.directory)}  # without a token of Ray's
        path = f"{self.directory}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        given = {k: v for k, v in {**clean, **home, "PATH": path, **environment}.items() if v is not None}
        done = subprocess.run(["bash", str(EXAMPLES / script), *arguments], cwd=cwd or self.directory, env=given,
                              capture_output=True, text=True, timeout=120)  # fmt: skip
        return done, [line.split("\0")[:-1] for line in self.calls.read_text().splitlines()]


def overrides_of(call: list[str]) -> tuple[str, list[str]]:
    """The recipe and the overrides of `python3 -m verl.trainer.main_ppo ...`."""
    assert call[:6] == ["python3", "-m", "verl.trainer.main_ppo", "--config-dir", str(CONFIG), "--config-name"]
    return call[6], call[7:]
