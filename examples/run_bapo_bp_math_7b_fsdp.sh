#!/usr/bin/env bash
# BAPO or a baseline in the setting of BP-Math-7B, 64k (Table 1). train.sh says which paths it wants, recipe/sizing.py
# how many GPUs. BP-Math's weights and data are not public: bring yours.
set -euo pipefail

export MODEL_PATH=${MODEL_PATH:?set MODEL_PATH to a 7B of the shape of Qwen2.5, after long supervised training}
export NNODES=${NNODES:-16}

exec bash "$(dirname "${BASH_SOURCE[0]}")/train.sh" bp_math_7b "$@"
