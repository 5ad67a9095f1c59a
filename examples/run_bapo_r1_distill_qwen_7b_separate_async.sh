#!/usr/bin/env bash
# BAPO or a baseline | DeepSeek-R1-Distill-Qwen-7B | FSDP2, vLLM on nodes of its own | NVIDIA GPUs
#
# As run_bapo_r1_distill_qwen_7b_fsdp.sh with vLLM on ROLLOUT_NNODES more nodes. It composes and has not been run. The
# weights go over NCCL by cupy: pip install cupy-cuda12x (or 13x).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RECIPE=r1_distill_qwen_7b_separate_async # recipe/config/r1_distill_qwen_7b_separate_async.yaml

# ---- user-adjustable; paths.sh has TEST_FILE, CKPTS_DIR, EXPERIMENT_NAME and NGPUS_PER_NODE ----
ALGORITHM=${ALGORITHM:-bapo} # or another preset of bapo_verl/config/algorithm
UPDATES_PER_BATCH=${UPDATES_PER_BATCH:-4} # 1, 2, 4 or 8
MODEL_PATH=${MODEL_PATH:-deepseek-ai/DeepSeek-R1-Distill-Qwen-7B}
TRAIN_FILE=${TRAIN_FILE:-$HOME/data/skywork-7b.parquet}
NNODES=${NNODES:-4}
ROLLOUT_NNODES=${ROLLOUT_NNODES:?set ROLLOUT_NNODES to the number of nodes for vLLM, beside NNODES for the trainer}
# ---- end user-adjustable ----

source "$ROOT/examples/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$ROOT/recipe/config" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    actor_rollout_ref.rollout.nnodes="$ROLLOUT_NNODES" \
    "$@"
