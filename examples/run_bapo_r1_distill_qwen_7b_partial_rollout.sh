#!/usr/bin/env bash
# run_bapo_r1_distill_qwen_7b_fsdp.sh with partial rollout (after Fig. 12): answers that are cut off go on with newer
# weights. training/off_policy/* of the metrics say how stale the data was.
set -euo pipefail

export MODEL_PATH=${MODEL_PATH:?set MODEL_PATH to deepseek-ai/DeepSeek-R1-Distill-Qwen-7B, or where it lies}
export NNODES=${NNODES:-8}
export STALENESS=${STALENESS:-1}

exec bash "$(dirname "${BASH_SOURCE[0]}")/train.sh" r1_distill_qwen_7b_partial_rollout "$@"
