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
