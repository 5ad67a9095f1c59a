#!/usr/bin/env bash
# BAPO or a baseline on two CPU cores: stock verl, FSDP2 over gloo, vLLM rollouts, a Qwen2 of 0.3M parameters, and eight
# updates on each rollout batch. examples/demo.sh makes what this needs, runs it and shows what came
# out. Any of verl's keys can follow on the command line.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python3}
ALGORITHM=${ALGORITHM-bapo} # or another preset of bapo_verl/config/algorithm, or nothing: verl's own loss
TASK=${TASK:-$ROOT/recipe/tiny_task/base} # made by recipe/tiny_task/task.py
MODEL_PATH=${MODEL_PATH:-$TASK/model}
TRAIN_FILE=${TRAIN_FILE:-$TASK/train.parquet}
TEST_FILE=${TEST_FILE:-$TASK/test.parquet}
STEPS=${STEPS:-24}

export VERL_PLATFORM=cpu
export HF_HUB_OFFLINE=1 # everything is local: ask no hub

exec "$PYTHON" -m verl.trainer.main_ppo +platform=cpu ${ALGORITHM:++algorithm="$ALGORITHM"} \
    algorithm.adv_estimator=grpo \
    algorithm.rollout_correction.bypass_mode=True \
    data.train_files="$TRAIN_FILE" \
    data.val_files="$TEST_FILE" \
    data.train_batch_size=16 \
    data.max_prompt_length=16 \
    data.max_response_length=20 \
    actor_rollout_ref.model.path="$MODEL_PATH" \
    actor_rollout_ref.actor.optim.lr=4e-4 \
    actor_rollout_ref.actor.ppo_mini_batch_size=2 \
    actor_rollout_ref.actor.shuffle=True \
    actor_rollout_ref.actor.calculate_entropy=True \
    actor_rollout_ref.actor.use_dynamic_bsz=True \
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=2048 \
    actor_rollout_ref.rollout.n=8 \
    actor_rollout_ref.rollout.max_num_seqs=128 \
    actor_rollout_ref.rollout.val_kwargs.n=4 \
    actor_rollout_ref.rollout.val_kwargs.do_sample=True \
    actor_rollout_ref.rollout.val_kwargs.temperature=1.0 \
    reward.custom_reward_function.path="$ROOT/reward/math_reward.py" \
    trainer.v1.sampler.custom_sampler.path="$ROOT/recipe/demo/quick_sampler.py" \
    trainer.v1.sampler.custom_sampler.name=QuickReplayBuffer \
    trainer.logger='[console,file]' \
    trainer.total_training_steps="$STEPS" \
    trainer.test_freq="$STEPS" \
    trainer.save_freq=-1 \
    trainer.resume_mode=disable \
    "$@"
