# Sourced by paths.sh, ray_cluster.sh, slurm.sbatch and the evaluation: what they refuse, each with one sentence.

stop() {
    echo "$*" >&2
    exit 1
}

# number NAME...: each variable is a whole number above 0.
number() {
    local name
    for name in "$@"; do
        [[ ${!name} =~ ^[1-9][0-9]*$ ]] || stop "$name must be a whole number above 0, got ${!name}"
    done
}

# One value of Hydra's grammar, whatever it holds: = , ( ) ~ and spaces too.
quoted() {
    printf "'%s'" "${1//\'/\\\'}"
}

# is_dry ARGUMENT...: the script is to print its config and to start nothing.
is_dry() {
    [[ ${*: -2} == "--cfg job" ]]
}

# writable FOLDER: a megabyte can be written there.
writable() {
    local probe
    probe=$(mktemp -p "$1" 2>/dev/null) || return 1
    head -c 1M /dev/zero 2>/dev/null >"$probe" && rm "$probe" && return
    rm -f "$probe"
    return 1
}

export PYTHONUTF8=1 # the data's letters, in any locale

# SLURM may set both, and with both every worker of verl raises.
if [[ ${CUDA_VISIBLE_DEVICES-} && ${ROCR_VISIBLE_DEVICES-} ]]; then
    echo "ROCR_VISIBLE_DEVICES is unset: verl refuses it beside CUDA_VISIBLE_DEVICES" >&2
    unset ROCR_VISIBLE_DEVICES
fi
