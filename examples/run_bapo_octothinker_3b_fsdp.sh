#!/usr/bin/env bash
# BAPO or a baseline on OctoThinker-Llama3.2-3B-Long-Zero, 8k (Table 2). train.sh says which paths it wants,
# recipe/sizing.py how many GPUs; recipe/octothinker_3b.yaml has a word on data and chat template.
set -euo pipefail

export MODEL_PATH=${MODEL_PATH:?set MODEL_PATH to OctoThinker/OctoThinker-3B-Long-Zero, or where it lies}
export NNODES=${NNODES:-1}
ARM=${ARM:-bapo}
export ARM=${ARM/%bapo/bapo_octothinker} # bapo: with the bounds of App. A

exec bash "$(dirname "${BASH_SOURCE[0]}")/train.sh" octothinker_3b "$@"
