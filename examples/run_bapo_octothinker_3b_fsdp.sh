#!/usr/bin/env bash
# BAPO or a baseline | OctoThinker-Llama3.2-3B-Long-Zero | FSDP2, vLLM | NVIDIA GPUs
#
# Table 2, 8k, with the bounds of App. A. recipe/config/octothinker_3b.yaml says more on data and chat template.
set -euo pipefail

ALGORITHM=${ALGORITHM:-bapo_octothinker}
MODEL_PATH=${MODEL_PATH:-OctoThinker/OctoThinker-3B-Long-Zero}
TRAIN_FILE=${TRAIN_FILE:?set TRAIN_FILE to the training parquet, for instance of MATH}
NNODES=${NNODES:-1}
RECIPE=octothinker_3b
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$CONFIG_DIR" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
