#!/usr/bin/env bash
# Partial rollout on two CPU cores: answers that are in flight when a batch is full are aborted and go on with newer
# weights, so that one answer mixes policies, as the log's training/off_policy/trajectory_spans shows. r is measured
# against the policies that wrote each token (bypass_mode), as in the paper.
#     python -m recipe.demo.demo -o DIR -- bash examples/run_bapo_tiny_qwen2_cpu_partial_rollout.sh
set -euo pipefail

# max_num_seqs is no multiple of the 8 answers to a problem, so that a full batch always finds some half written.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run_bapo_tiny_qwen2_cpu.sh" \
    trainer.v1.trainer_mode=colocate_async \
    trainer.v1.sampler.custom_sampler.name=QuickReplayBufferAsync \
    trainer.v1.colocate_async.num_warmup_batches=2 \
    data.train_batch_size=4 \
    actor_rollout_ref.actor.ppo_mini_batch_size=2 \
    actor_rollout_ref.rollout.max_num_seqs=12 \
    "$@"
