#!/usr/bin/env bash
# BAPO or a baseline | the setting of BP-Math-32B | FSDP2, vLLM | NVIDIA GPUs
#
# Table 1, 64k. BP-Math's weights and data are not public: bring yours. paths.sh says how to use it, recipe/sizing.py
# how many GPUs it needs.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RECIPE=bp_math_32b # recipe/config/bp_math_32b.yaml

# ---- user-adjustable; paths.sh has TEST_FILE, CKPTS_DIR, EXPERIMENT_NAME and NGPUS_PER_NODE ----
ALGORITHM=${ALGORITHM:-bapo} # or another preset of bapo_verl/config/algorithm
UPDATES_PER_BATCH=${UPDATES_PER_BATCH:-4} # 1, 2, 4 or 8
MODEL_PATH=${MODEL_PATH:?set MODEL_PATH to a 32B of the shape of Qwen2.5, after long supervised training}
TRAIN_FILE=${TRAIN_FILE:?set TRAIN_FILE to the training parquet, which is not public}
NNODES=${NNODES:-32}
# ---- end user-adjustable ----

source "$ROOT/examples/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$ROOT/recipe/config" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    "$@"
