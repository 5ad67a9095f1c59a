#!/usr/bin/env bash
# run_bapo_r1_distill_qwen_7b_fsdp.sh with vLLM on ROLLOUT_NNODES nodes of its own beside the NNODES of the trainer.
# It composes; not run here. Its weights go over NCCL by cupy: pip install cupy-cuda12x (or 13x).
set -euo pipefail

export MODEL_PATH=${MODEL_PATH:?set MODEL_PATH to deepseek-ai/DeepSeek-R1-Distill-Qwen-7B, or where it lies}
export NNODES=${NNODES:-4}
ROLLOUT_NNODES=${ROLLOUT_NNODES:?set ROLLOUT_NNODES to the number of nodes for vLLM, beside NNODES for the trainer}

exec bash "$(dirname "${BASH_SOURCE[0]}")/train.sh" r1_distill_qwen_7b_separate_async \
    actor_rollout_ref.rollout.nnodes="$ROLLOUT_NNODES" "$@"
