#!/usr/bin/env bash
# avg@16, pass@k and maj@16 of a checkpoint on AIME24, AIME25 and MATH-500, through verl's validation. Run again with
# the same paths, it takes the generations that are there. A 32B:
#     examples/evaluate.sh actor_rollout_ref.rollout.tensor_model_parallel_size=4
# Any of verl's keys can follow, those of the sampling too: actor_rollout_ref.rollout.val_kwargs.temperature=1.0
# `--cfg job` at the end prints the config and starts nothing.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MODEL_PATH=${MODEL_PATH:?set MODEL_PATH to a Hugging Face checkpoint, an absolute path or a hub id}
DATA_DIR=${DATA_DIR:?set DATA_DIR to the folder that recipe.data.prepare_data filled}
OUTPUT_DIR=${OUTPUT_DIR:?set OUTPUT_DIR to where generations and tables go}
DATA_SETS=${DATA_SETS:-aime24 aime25 math500}
NNODES=${NNODES:-1}
NGPUS_PER_NODE=${NGPUS_PER_NODE:-8}
source "$ROOT/examples/checks.sh"
number NNODES NGPUS_PER_NODE

files=()
for name in $DATA_SETS; do files+=("$DATA_DIR/$name.parquet"); done
overrides=(
    actor_rollout_ref.model.path="$(quoted "$MODEL_PATH")"
    trainer.nnodes="$NNODES"
    trainer.n_gpus_per_node="$NGPUS_PER_NODE"
    "$@"
)

if is_dry "$@"; then
    exec python3 -m verl.trainer.main_ppo --config-dir "$ROOT/recipe/config" --config-name evaluate \
        data.val_files="$(quoted "${files[0]}")" "${overrides[@]}"
fi
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
exec python3 -m recipe.evaluation.evaluate -o "$OUTPUT_DIR" --data "${files[@]}" -- "${overrides[@]}"
