#!/usr/bin/env bash
# BAPO or a baseline | OctoThinker-Llama3.2-3B-Long-Zero | FSDP2, vLLM | NVIDIA GPUs
#
# Table 2, 8k, with the bounds of App. A. paths.sh says how to use it, recipe/sizing.py how many GPUs it needs;
# recipe/config/octothinker_3b.yaml says more on data and chat template.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RECIPE=octothinker_3b # recipe/config/octothinker_3b.yaml

# ---- user-adjustable; paths.sh has TEST_FILE, CKPTS_DIR, EXPERIMENT_NAME and NGPUS_PER_NODE ----
ALGORITHM=${ALGORITHM:-bapo_octothinker} # or another preset of bapo_verl/config/algorithm
UPDATES_PER_BATCH=${UPDATES_PER_BATCH:-4} # 1, 2, 4 or 8
MODEL_PATH=${MODEL_PATH:-OctoThinker/OctoThinker-3B-Long-Zero}
TRAIN_FILE=${TRAIN_FILE:?set TRAIN_FILE to the training parquet, for instance of MATH}
NNODES=${NNODES:-1}
# ---- end user-adjustable ----

source "$ROOT/examples/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$ROOT/recipe/config" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
