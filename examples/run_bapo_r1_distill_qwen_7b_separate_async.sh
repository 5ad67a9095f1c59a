#!/usr/bin/env bash
# BAPO or a baseline | DeepSeek-R1-Distill-Qwen-7B | FSDP2, vLLM on nodes of its own | NVIDIA GPUs
#
# As run_bapo_r1_distill_qwen_7b_fsdp.sh with vLLM on ROLLOUT_NNODES more nodes. It composes and has not been run. The
# weights go over NCCL by cupy: pip install cupy-cuda13x, for the CUDA of requirements.txt, whatever a message says.
set -euo pipefail

MODEL_PATH=${MODEL_PATH:-deepseek-ai/DeepSeek-R1-Distill-Qwen-7B}
TRAIN_FILE=${TRAIN_FILE:-~/data/skywork-7b.parquet}
NNODES=${NNODES:-4}
ROLLOUT_NNODES=${ROLLOUT_NNODES:?set ROLLOUT_NNODES to the number of nodes for vLLM, beside NNODES for the trainer}
RECIPE=r1_distill_qwen_7b_separate_async
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

exec python3 -m verl.trainer.main_ppo --config-dir "$CONFIG_DIR" --config-name "$RECIPE" \
    +algorithm="$ALGORITHM" \
    updates_per_batch="${UPDATES_PER_BATCH}x" \
    "${PATHS[@]}" \
    actor_rollout_ref.rollout.nnodes="$ROLLOUT_NNODES" \
    "$@"
