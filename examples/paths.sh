# Sourced by run_bapo_*.sh, not run: PATHS, the overrides that all of them share, and the name of the run's folder.
#     python -m recipe.data.prepare_data skywork-7b aime24 aime25 math500 -o ~/data
#     for ALGORITHM in bapo grpo clip_higher; do
#         ALGORITHM=$ALGORITHM CKPTS_DIR=~/runs bash examples/run_bapo_r1_distill_qwen_7b_fsdp.sh
#     done
# The same command again resumes from its last checkpoint, with a new file of metrics. Any of verl's keys can follow.
# `--cfg job` at the end prints the config and starts nothing. Several nodes: ray_cluster.sh or slurm.sbatch, with
# folders that all of them see.

# CKPTS_DIR/EXPERIMENT_NAME holds the checkpoints. The name has every override of the command line, so that no run
# resumes the checkpoint of another, but not trainer.* (except trainer.v1.*), ray_kwargs.* and hydra.*. Two things are
# left to you: for another MODEL_PATH or TRAIN_FILE choose another CKPTS_DIR; to resume with another override, for
# instance one that saves memory, set EXPERIMENT_NAME to the name of the folder.
changes=
while read -r override; do
    changes+=-$override
done < <(printf '%s\n' "$@" | sed -E '/^[^-].*=|^~/!d; /^\+*trainer\.v1\./!{/^\+*(trainer|ray_kwargs|hydra)\./d}' |
    LC_ALL=C sort | tr -c 'A-Za-z0-9._+\n' _)
if [ ${#changes} -gt 120 ]; then changes=-$(printf %s "$changes" | cksum | tr ' ' _); fi # names have 255 bytes at most

TEST_FILE=${TEST_FILE:-[$HOME/data/aime24.parquet,$HOME/data/aime25.parquet]}
CKPTS_DIR=${CKPTS_DIR:?set CKPTS_DIR to a folder for checkpoints and metrics, an absolute path}
EXPERIMENT_NAME=${EXPERIMENT_NAME:-$RECIPE-$ALGORITHM-${UPDATES_PER_BATCH}x$changes}
NGPUS_PER_NODE=${NGPUS_PER_NODE:-8}

# The metrics' folder goes through Ray: on several nodes it is not this shell's environment that reaches the trainer.
PATHS=(
    data.train_files="$TRAIN_FILE"
    data.val_files="$TEST_FILE"
    actor_rollout_ref.model.path="$MODEL_PATH"
    reward.custom_reward_function.path="$ROOT/reward/math_reward.py"
    trainer.nnodes="$NNODES"
    trainer.n_gpus_per_node="$NGPUS_PER_NODE"
    trainer.default_local_dir="$CKPTS_DIR/$EXPERIMENT_NAME"
    trainer.experiment_name="$EXPERIMENT_NAME-$(date +%Y%m%d-%H%M%S)"
    +ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_ROOT="$CKPTS_DIR/$EXPERIMENT_NAME"
)
