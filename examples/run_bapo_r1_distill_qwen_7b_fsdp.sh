#!/usr/bin/env bash
# BAPO or a baseline | DeepSeek-R1-Distill-Qwen-7B | FSDP2, vLLM | NVIDIA GPUs
#
# Fig. 11, 32k: the paper's setting whose weights and data are public. paths.sh says how to use it, recipe/sizing.py how
# many GPUs it needs.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RECIPE=r1_distill_qwen_7b # recipe/config/r1_distill_qwen_7b.yaml

# ---- user-adjustable; paths.sh has TEST_FILE, CKPTS_DIR, EXPERIMENT_NAME and NGPUS_PER_NODE ----
ALGORITHM=${ALGORITHM:-bapo} # or another preset of bapo_verl/config/algorithm
UPDATES_PER_BATCH=${UPDATES_PER_BATCH:-4} # 1, 2, 4 or 8
MODEL_PATH=${MODEL_PATH:-deepseek-ai/DeepSeek-R1-Distill-Qwen-7B}
TRAIN_FILE=${TRAIN_FILE:-$HOME/data/skywork-7b.parquet}
NNODES=${NNODES:-8}
# ---- end user-adjustable ----

source "$ROOT/examples/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$ROOT/recipe/config" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
