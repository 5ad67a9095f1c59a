#!/usr/bin/env bash
# avg@16 of a checkpoint of a run: merges FSDP's shards to Hugging Face's format beside them, once, and evaluates that.
#     CHECKPOINT=$CKPTS_DIR/r1_distill_qwen_7b-bapo-4x/global_step_200 DATA_DIR=... OUTPUT_DIR=... \
#         examples/evaluate_checkpoint.sh
# evaluate.sh says what DATA_DIR and OUTPUT_DIR are, and what can follow.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CHECKPOINT=${CHECKPOINT:?set CHECKPOINT to a folder global_step_N of a run}
source "$ROOT/examples/checks.sh"
[[ -d $CHECKPOINT/actor ]] || stop "CHECKPOINT must be a folder global_step_N with a folder actor in it, got $CHECKPOINT"
CHECKPOINT=$(realpath "$CHECKPOINT")
export MODEL_PATH=$CHECKPOINT/merged

if [[ ! -e $MODEL_PATH ]] && ! is_dry "$@"; then
    python3 -m verl.model_merger merge --backend fsdp --local_dir "$CHECKPOINT/actor" --target_dir "$MODEL_PATH.part"
    mv "$MODEL_PATH.part" "$MODEL_PATH" # whole or not at all
fi
exec bash "$ROOT/examples/evaluate.sh" "$@"
