#!/usr/bin/env bash
# A run on several nodes: the same command on each of them. Ray makes the node of MASTER_ADDR its head, waits for the
# others and runs the script there; when that ends, Ray is stopped on all nodes (so: one such run at a time on a node).
#     MASTER_ADDR=10.0.0.1 NNODES=8 examples/ray_cluster.sh examples/run_bapo_r1_distill_qwen_7b_fsdp.sh ...
# NNODES is the trainer's; run_..._separate_async.sh wants ROLLOUT_NNODES more.
set -euo pipefail

MASTER_ADDR=${MASTER_ADDR:?set MASTER_ADDR to the address of one of the nodes, the same on all of them}
export NNODES=${NNODES:?set NNODES to the number of nodes}
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600 # seconds; Ray's 30 are few where nodes start one after another

exec ray symmetric-run --address "$MASTER_ADDR:6379" --min-nodes $((NNODES + ${ROLLOUT_NNODES:-0})) -- bash "$@"
