#!/usr/bin/env bash
# BAPO or a baseline | the setting of BP-Math-32B | FSDP2, vLLM | NVIDIA GPUs
#
# Table 1, 64k. BP-Math's weights and data are not public: bring yours.
set -euo pipefail

MODEL_PATH=${MODEL_PATH:?set MODEL_PATH to a 32B of the shape of Qwen2.5, after long supervised training}
TRAIN_FILE=${TRAIN_FILE:?set TRAIN_FILE to the training parquet, which is not public}
NNODES=${NNODES:-32}
RECIPE=bp_math_32b
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$CONFIG_DIR" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
