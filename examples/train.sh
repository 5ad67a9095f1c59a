#!/usr/bin/env bash
# One run of recipe/*.yaml; run_bapo_*.sh name the recipe, its model and its number of nodes. Here are the paths:
#     python recipe/prepare_data.py skywork-7b aime24 aime25 -o /shared/data
#     export MODEL_PATH=... CKPTS_DIR=/shared/runs TRAIN_FILE=/shared/data/skywork-7b.parquet
#     export TEST_FILE=[/shared/data/aime24.parquet,/shared/data/aime25.parquet]
#     for ARM in bapo grpo clip_higher; do ARM=$ARM STALENESS=4 examples/run_bapo_r1_distill_qwen_7b_fsdp.sh; done
# Each arm and staleness has a folder of its own in CKPTS_DIR; the same command again goes on from its last checkpoint,
# with a new file of metrics. Several nodes: ray_cluster.sh or slurm.sbatch, and folders that all of them see. Any of
# verl's keys can follow, and `--cfg job` last prints the config and starts nothing.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python3}
RECIPE=${1:?name a recipe first: train.sh r1_distill_qwen_7b}
MODEL_PATH=${MODEL_PATH:?set MODEL_PATH to a Hugging Face checkpoint, an absolute path or a hub id}
TRAIN_FILE=${TRAIN_FILE:?set TRAIN_FILE to the training parquet}
TEST_FILE=${TEST_FILE:?set TEST_FILE to the test parquet, or to [several,of,them]}
CKPTS_DIR=${CKPTS_DIR:?set CKPTS_DIR to a folder for checkpoints and metrics, an absolute path}
ARM=${ARM:-bapo}
STALENESS=${STALENESS:-4}
NNODES=${NNODES:-1}
N_GPUS_PER_NODE=${N_GPUS_PER_NODE:-8}
RUN=$RECIPE-$ARM-staleness$STALENESS

# The metrics' folder goes through Ray: on several nodes it is not this shell's environment that reaches the trainer.
exec "$PYTHON" -m verl.trainer.main_ppo --config-dir "$ROOT/recipe" --config-name "$RECIPE" \
    arm="$ARM" \
    staleness="${STALENESS}x" \
    data.train_files="$TRAIN_FILE" \
    data.val_files="$TEST_FILE" \
    actor_rollout_ref.model.path="$MODEL_PATH" \
    reward.custom_reward_function.path="$ROOT/reward/math_reward.py" \
    trainer.nnodes="$NNODES" \
    trainer.n_gpus_per_node="$N_GPUS_PER_NODE" \
    trainer.default_local_dir="$CKPTS_DIR/$RUN" \
    trainer.experiment_name="$RUN-$(date +%Y%m%d-%H%M%S)" \
    +ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_ROOT="$CKPTS_DIR/$RUN" \
    "${@:2}"
