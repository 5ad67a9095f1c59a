#!/usr/bin/env bash
# The whole pipeline on a machine with no GPU: an environment, and `python -m verl.trainer.main_ppo +algorithm=bapo` with
# FSDP2, vLLM rollouts and the math reward, on the base model of recipe/tiny_task. A second run takes the environment of
# the first. Any of verl's keys can follow: examples/demo.sh actor_rollout_ref.actor.optim.lr=3e-4
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

source "$ROOT/examples/cpu_environment.sh"
make_environment "$ROOT"
export PYTHON BAPO_HOME

PYTHONPATH=$ROOT exec "$PYTHON" -m recipe.demo.demo -o "$BAPO_HOME/runs/$(date +%Y%m%d-%H%M%S)" -- \
    bash "$ROOT/examples/run_bapo_tiny_qwen2_cpu.sh" "$@"
