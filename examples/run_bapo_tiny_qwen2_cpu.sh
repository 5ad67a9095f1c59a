#!/usr/bin/env bash
# BAPO on two CPU cores: stock verl, FSDP2 over gloo, vLLM rollouts, a Qwen2 of 0.8M parameters, four updates for each
# rollout batch. examples/demo.sh makes what this needs, runs it and shows what came out. Any of verl's keys can follow
# on the command line. The target is 0.5 and not the paper's 0.4 because all answers are of nearly one length here:
# positive tokens have about half of the loss by themselves, and 0.4 would be met nearly always.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python3}
TINY=${TINY:-${BAPO_HOME:-$HOME/.cache/bapo_verl}/tiny} # made by recipe/tiny.py
MODEL_PATH=${MODEL_PATH:-$TINY/model}
TRAIN_FILE=${TRAIN_FILE:-$TINY/train.parquet}
TEST_FILE=${TEST_FILE:-$TINY/test.parquet}
STEPS=${STEPS:-20}

export VERL_PLATFORM=cpu
export HF_HUB_OFFLINE=1 # everything is local: ask no hub

exec "$PYTHON" -m verl.trainer.main_ppo +platform=cpu +algorithm=bapo \
    algorithm.adv_estimator=grpo \
    data.train_files="$TRAIN_FILE" \
    data.val_files="$TEST_FILE" \
    data.train_batch_size=16 \
    data.max_prompt_length=96 \
    data.max_response_length=48 \
    actor_rollout_ref.model.path="$MODEL_PATH" \
    actor_rollout_ref.actor.policy_loss.target_contribution=0.5 \
    actor_rollout_ref.actor.optim.lr=1e-4 \
    actor_rollout_ref.actor.ppo_mini_batch_size=4 \
    actor_rollout_ref.actor.use_dynamic_bsz=True \
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=512 \
    actor_rollout_ref.rollout.n=8 \
    actor_rollout_ref.rollout.val_kwargs.n=4 \
    actor_rollout_ref.rollout.val_kwargs.do_sample=True \
    actor_rollout_ref.rollout.val_kwargs.temperature=1.0 \
    reward.custom_reward_function.path="$ROOT/reward/math_reward.py" \
    trainer.logger='[console,file]' \
    trainer.total_training_steps="$STEPS" \
    trainer.test_freq="$STEPS" \
    trainer.save_freq=-1 \
    trainer.resume_mode=disable \
    "$@"
