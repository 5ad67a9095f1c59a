# Sourced by the training scripts, after the variables of their own: checks the variables, names the run and fills
# PATHS, the overrides that all of them share. README.md lists the variables.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CONFIG_DIR=$ROOT/recipe/config
source "$ROOT/examples/checks.sh"

ALGORITHM=${ALGORITHM:-bapo}
UPDATES_PER_BATCH=${UPDATES_PER_BATCH:-4}
NGPUS_PER_NODE=${NGPUS_PER_NODE:-8}
TEST_FILE=${TEST_FILE:-["$(quoted ~/data/aime24.parquet),$(quoted ~/data/aime25.parquet)"]}
CKPTS_DIR=${CKPTS_DIR:?set CKPTS_DIR to a folder for checkpoints and metrics, an absolute path}

number NNODES NGPUS_PER_NODE
[[ -f $CONFIG_DIR/updates_per_batch/${UPDATES_PER_BATCH}x.yaml ]] ||
    stop "UPDATES_PER_BATCH must be 1, 2, 4 or 8, got $UPDATES_PER_BATCH"
[[ $CKPTS_DIR == /* ]] || stop "CKPTS_DIR must be an absolute path, got $CKPTS_DIR"
if [[ $RECIPE == *_separate_async ]]; then
    number ROLLOUT_NNODES
elif [[ ${ROLLOUT_NNODES-} ]]; then
    stop "ROLLOUT_NNODES is for run_bapo_*_separate_async.sh alone, got $ROLLOUT_NNODES: unset it"
fi

# The run's folder is CKPTS_DIR/EXPERIMENT_NAME. Its name has every override of the command line, so that no run resumes
# the checkpoint of another, but not trainer.* (except trainer.v1.*), ray_kwargs.* and hydra.*.
changes=
while read -r override; do
    changes+=-$override
done < <(printf '%s\n' "$@" |
    sed -E '/^[^-].*=|^~/!d; /^\+*trainer\.v1\./!{/^\+*(trainer|ray_kwargs|hydra)\./d}' |
    LC_ALL=C sort | tr -c 'A-Za-z0-9._+\n' _)
if [ ${#changes} -gt 120 ]; then changes=-$(printf %s "$changes" | cksum | tr ' ' _); fi # names have 255 bytes at most
EXPERIMENT_NAME=${EXPERIMENT_NAME:-$RECIPE-$ALGORITHM-${UPDATES_PER_BATCH}x$changes}
folder=$(quoted "$CKPTS_DIR/$EXPERIMENT_NAME")

# A list, [a.parquet,b.parquet], is Hydra's own grammar and stays as it is.
[[ $TRAIN_FILE == \[*\] ]] || TRAIN_FILE=$(quoted "$TRAIN_FILE")
[[ $TEST_FILE == \[*\] ]] || TEST_FILE=$(quoted "$TEST_FILE")

# The metrics' folder goes through Ray: on several nodes it is not this shell's environment that reaches the trainer.
PATHS=(
    data.train_files="$TRAIN_FILE"
    data.val_files="$TEST_FILE"
    actor_rollout_ref.model.path="$(quoted "$MODEL_PATH")"
    reward.custom_reward_function.path="$(quoted "$ROOT/reward/math_reward.py")"
    trainer.nnodes="$NNODES"
    trainer.n_gpus_per_node="$NGPUS_PER_NODE"
    trainer.default_local_dir="$folder"
    trainer.experiment_name="$(quoted "$EXPERIMENT_NAME-$(date +%Y%m%d-%H%M%S)")"
    +ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_ROOT="$folder"
)
