#!/usr/bin/env bash
# BAPO or a baseline | DeepSeek-R1-Distill-Qwen-32B | FSDP2, vLLM | NVIDIA GPUs
#
# 32k. paths.sh says how to use it, recipe/sizing.py how many GPUs it needs.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RECIPE=r1_distill_qwen_32b # recipe/config/r1_distill_qwen_32b.yaml

# ---- user-adjustable; paths.sh has TEST_FILE, CKPTS_DIR, EXPERIMENT_NAME and NGPUS_PER_NODE ----
ALGORITHM=${ALGORITHM:-bapo} # or another preset of bapo_verl/config/algorithm
UPDATES_PER_BATCH=${UPDATES_PER_BATCH:-4} # 1, 2, 4 or 8
MODEL_PATH=${MODEL_PATH:-deepseek-ai/DeepSeek-R1-Distill-Qwen-32B}
TRAIN_FILE=${TRAIN_FILE:-$HOME/data/skywork-32b.parquet}
NNODES=${NNODES:-32}
# ---- end user-adjustable ----

source "$ROOT/examples/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$ROOT/recipe/config" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
