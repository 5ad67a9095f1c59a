#!/usr/bin/env bash
# BAPO or a baseline | DeepSeek-R1-Distill-Qwen-7B | FSDP2, vLLM, partial rollout | NVIDIA GPUs
#
# After Fig. 12: answers that are cut off go on with newer weights. training/off_policy/* of the metrics say how stale
# the data was. Otherwise as run_bapo_r1_distill_qwen_7b_fsdp.sh.
set -euo pipefail

UPDATES_PER_BATCH=${UPDATES_PER_BATCH:-1}
MODEL_PATH=${MODEL_PATH:-deepseek-ai/DeepSeek-R1-Distill-Qwen-7B}
TRAIN_FILE=${TRAIN_FILE:-~/data/skywork-7b.parquet}
NNODES=${NNODES:-8}
RECIPE=r1_distill_qwen_7b_partial_rollout
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$CONFIG_DIR" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
