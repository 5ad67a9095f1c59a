#!/usr/bin/env bash
# BAPO or a baseline | DeepSeek-R1-Distill-Qwen-7B | FSDP2, vLLM | one node of 8 NVIDIA GPUs
#
# Sec. 5.1, 8k: answers whose length lets the 7B fit on one node.
set -euo pipefail

MODEL_PATH=${MODEL_PATH:-deepseek-ai/DeepSeek-R1-Distill-Qwen-7B}
TRAIN_FILE=${TRAIN_FILE:-~/data/skywork-7b.parquet}
NNODES=${NNODES:-1}
RECIPE=r1_distill_qwen_7b_8k
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$CONFIG_DIR" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
