#!/usr/bin/env bash
# Two steps of a training script on one node with short answers, before a long job: it shows that model, data, reward,
# vLLM, the weights' way into it and a checkpoint work here, not that the script's own lengths fit.
#     CKPTS_DIR=/shared/runs bash examples/smoke_test.sh examples/run_bapo_r1_distill_qwen_7b_fsdp.sh
# The lengths hang together: prompt and answer, 2048 + 2048, are max_model_len and fit into a micro-batch.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

[[ -f ${1-} ]] || stop "the first argument must be a script, got ${1-nothing}"
export NNODES=1 UPDATES_PER_BATCH=4 EXPERIMENT_NAME=smoke_test # never the folder of the run itself

exec bash "$1" \
    data.train_batch_size=32 \
    data.max_response_length=2048 \
    actor_rollout_ref.actor.ppo_mini_batch_size=8 \
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=4096 \
    actor_rollout_ref.rollout.max_model_len=4096 \
    trainer.total_training_steps=2 \
    trainer.resume_mode=disable \
    "${@:2}"
