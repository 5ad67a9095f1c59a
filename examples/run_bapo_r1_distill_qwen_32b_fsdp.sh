#!/usr/bin/env bash
# BAPO or a baseline | DeepSeek-R1-Distill-Qwen-32B | FSDP2, vLLM | NVIDIA GPUs
#
# As run_bapo_r1_distill_qwen_7b_fsdp.sh, with the larger model and its data.
set -euo pipefail

MODEL_PATH=${MODEL_PATH:-deepseek-ai/DeepSeek-R1-Distill-Qwen-32B}
TRAIN_FILE=${TRAIN_FILE:-~/data/skywork-32b.parquet}
NNODES=${NNODES:-32}
RECIPE=r1_distill_qwen_32b
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$CONFIG_DIR" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
