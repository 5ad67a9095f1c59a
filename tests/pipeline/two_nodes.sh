#!/usr/bin/env bash
# Two nodes on one machine, each with its own network, processes, IPC, /dev/shm, /tmp and HOME, joined by a switch:
#     unshare --map-root-user --net --mount --pid --fork --kill-child --mount-proc bash two_nodes.sh FOLDER KEPT COMMAND...
# The command runs on both, 10.0.0.1 and 10.0.0.2, with NODE=1 or 2; FOLDER gets the output of each and its exit code.
# FOLDER and the folders KEPT (a:b) are the same on both, also where they are in /tmp.
set -euo pipefail
folder=$1
export FOLDER=$folder KEPT=$folder:$2
shift 2

for NODE in 1 2; do
    export NODE
    (
        code=0
        unshare --net --mount --ipc --pid --fork --kill-child --mount-proc bash -euo pipefail -c '
            export HOME=$FOLDER/home$NODE TMPDIR=/tmp
            tmp=$FOLDER/tmp$NODE
            mkdir "$HOME" "$tmp"
            mount -t tmpfs tmpfs /dev/shm
            for kept in ${KEPT//:/ }; do
                [[ $kept == /tmp/* ]] || continue
                mkdir -p "$tmp${kept#/tmp}"
                mount --bind "$kept" "$tmp${kept#/tmp}"
            done
            mount --rbind "$tmp" /tmp
            until ip link set eth0 up 2>/dev/null; do sleep 0.1; done
            ip link set lo up
            ip address add "10.0.0.$NODE/24" dev eth0
            "$@"' node "$@" >"$folder/$NODE.log" 2>&1 &
        echo $! >"$folder/$NODE.pid"
        wait $! || code=$?
        echo $code >"$folder/$NODE.code"
    ) &
done
until [[ -s $folder/1.pid && -s $folder/2.pid ]]; do sleep 0.1; done
sleep 0.2 # until unshare has made the namespaces
ip link add switch type bridge
ip link set switch up
for node in 1 2; do
    ip link add "port$node" type veth peer name eth0 netns "$(<"$folder/$node.pid")"
    ip link set "port$node" master switch up
done
wait
