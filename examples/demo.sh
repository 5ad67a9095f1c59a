#!/usr/bin/env bash
# The whole pipeline on a machine with no GPU: environment, tiny model and data, supervised warm-up, and then
# `python -m verl.trainer.main_ppo +algorithm=bapo` with FSDP2, vLLM rollouts and the math reward. A second run takes
# what the first has made. Any of verl's keys can follow: examples/demo.sh actor_rollout_ref.actor.optim.lr=3e-4
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

source "$ROOT/examples/cpu_environment.sh"
make_environment "$ROOT"
export PYTHON BAPO_HOME

"$PYTHON" "$ROOT/recipe/tiny.py" -o "$BAPO_HOME/tiny"
exec "$PYTHON" "$ROOT/recipe/demo.py" -o "$BAPO_HOME/runs/$(date +%Y%m%d-%H%M%S)" -- \
    bash "$ROOT/examples/run_bapo_tiny_qwen2_cpu.sh" "$@"
