#!/usr/bin/env bash
# BAPO or a baseline on R1-Distill-Qwen-7B, 32k (Fig. 11): the paper's setting whose weights and data are public.
# train.sh says which paths it wants, recipe/sizing.py how many GPUs; TRAIN_FILE is prepare_data.py's skywork-7b.
set -euo pipefail

export MODEL_PATH=${MODEL_PATH:?set MODEL_PATH to deepseek-ai/DeepSeek-R1-Distill-Qwen-7B, or where it lies}
export NNODES=${NNODES:-8}

exec bash "$(dirname "${BASH_SOURCE[0]}")/train.sh" r1_distill_qwen_7b "$@"
