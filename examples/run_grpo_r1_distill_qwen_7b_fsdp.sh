#!/usr/bin/env bash
# GRPO, clip [0.8, 1.2] | otherwise run_bapo_r1_distill_qwen_7b_fsdp.sh: the baseline of Fig. 11, with BAPO's metrics
ALGORITHM=grpo exec bash "$(dirname "${BASH_SOURCE[0]}")/run_bapo_r1_distill_qwen_7b_fsdp.sh" "$@"
