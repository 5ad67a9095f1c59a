#!/usr/bin/env bash
# BAPO or a baseline | DeepSeek-R1-Distill-Qwen-7B | FSDP2, vLLM | NVIDIA GPUs
#
# Fig. 11, 32k: the paper's setting whose weights and data are public.
set -euo pipefail

MODEL_PATH=${MODEL_PATH:-deepseek-ai/DeepSeek-R1-Distill-Qwen-7B}
TRAIN_FILE=${TRAIN_FILE:-~/data/skywork-7b.parquet}
NNODES=${NNODES:-8}
RECIPE=r1_distill_qwen_7b
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$CONFIG_DIR" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
