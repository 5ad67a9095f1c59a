#!/usr/bin/env bash
# A run on several nodes: the same command on each of them. Ray makes the node of MASTER_ADDR its head, waits for the
# others and runs the script there; when that ends, Ray is stopped on all nodes (so: one such run at a time on a node).
#     MASTER_ADDR=10.0.0.1 NNODES=8 examples/ray_cluster.sh examples/run_bapo_r1_distill_qwen_7b_fsdp.sh ...
# NNODES is the trainer's; run_..._separate_async.sh wants ROLLOUT_NNODES more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

MASTER_ADDR=${MASTER_ADDR:?set MASTER_ADDR to the address of one of the nodes, the same on all of them}
export NNODES=${NNODES:?set NNODES to the number of nodes}
# Seconds in which the nodes must have come; Ray's 30 are few where they start one after another.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-600}

[[ -f ${1-} ]] || stop "the first argument must be a script, got ${1-nothing}"
[[ $MASTER_ADDR != *:* ]] || stop "MASTER_ADDR must be an address without a port, got $MASTER_ADDR"
number NNODES RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT ${ROLLOUT_NNODES:+ROLLOUT_NNODES}
nodes=$((NNODES + ${ROLLOUT_NNODES:-0}))
address=$MASTER_ADDR
# getent finds no address, not even a numeric one, where the machine has loopback alone.
[[ $address =~ ^[0-9]+(\.[0-9]+){3}$ ]] || address=$(getent ahostsv4 "$MASTER_ADDR" | sed -n '1s/ .*//p') ||
    stop "MASTER_ADDR must have an IPv4 address, got $MASTER_ADDR"

# Debian gives a node's own name the address 127.0.1.1, and Ray would take the head for a worker.
[[ $address != 127.* || $nodes == 1 ]] ||
    stop "MASTER_ADDR must be an address that the other nodes reach, got $MASTER_ADDR, which is $address here"
address=${address/#127.*/127.0.0.1} # the only one of them that Ray takes for this node

# Ray's sockets are in TMPDIR/ray/session_.../sockets/plasma_store, and a socket's path has 107 bytes at most.
folder=${RAY_TMPDIR:-${TMPDIR:-/tmp}}
((${#folder} <= 39)) || stop "TMPDIR must have at most 39 characters, or Ray's sockets do not fit, got ${#folder}: $folder"
writable "$folder" || stop "TMPDIR must be a folder that can be written and has room, got $folder"

# A head that finds a token lets in the nodes that send it, and those send none without RAY_AUTH_MODE=token.
token=${RAY_AUTH_TOKEN-}${RAY_AUTH_TOKEN_PATH-}
[[ $token || ! -s ~/.ray/auth_token ]] || token=~/.ray/auth_token
[[ ${RAY_AUTH_MODE-} || $nodes == 1 || ! $token ]] || stop "Ray has a token on this node: set RAY_AUTH_MODE=token" \
    "and the same RAY_AUTH_TOKEN on all nodes, or RAY_AUTH_MODE=disabled in a network that you trust"
[[ ${RAY_AUTH_MODE-} != token || $token ]] || stop "RAY_AUTH_MODE=token needs the same RAY_AUTH_TOKEN on all nodes"

open() {
    timeout 5 bash -c "exec 3<>/dev/tcp/$address/6379" 2>/dev/null
}

if [[ " $(hostname -I) 127.0.0.1 " == *" $address "* ]]; then
    ! open || stop "port 6379 of the head $MASTER_ADDR is taken, perhaps by a Ray that \`ray stop\` ends"
    bash "$@" --cfg job >/dev/null # what the script refuses, it refuses before the nodes are waited for

    # Ray's own code is 0 where it did not start or was interrupted, and sometimes 1 where the script's is not.
    code=$(mktemp -p "$folder")
    trap 'rm -f "$code"' EXIT
    ray symmetric-run --address "$address:6379" --min-nodes "$nodes" -- \
        bash -c 'RAY_ADDRESS=auto bash "$@"; echo $? >"$0"' "$code" "$@" || true
    [[ -s $code ]] || stop "the script did not run to its end: Ray did not start, for the reason above, or was interrupted"
    exit "$(<"$code")"
else
    ! pgrep -x raylet >/dev/null || stop "a Ray runs on this node: \`ray stop\` ends it"
    # Ray's own client gives up after 40 seconds where the head's port is closed.
    until open; do
        ((SECONDS < RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT)) ||
            stop "the head $MASTER_ADDR has not opened port 6379 within $SECONDS seconds"
        sleep 2
    done
    # Not symmetric-run, which returns 0 where Ray did not start, and waits a minute for a head that has ended.
    trap 'ray stop >/dev/null' EXIT
    ray start --address "$address:6379" || stop "Ray did not start, for the reason above"
    for ((closed = 0; closed < 3; closed++)); do
        sleep 2
        ! open || closed=-1
    done
fi
