#!/usr/bin/env bash
# The tests, in the environment of the demo (made if it is not there). Other arguments go to pytest.
#
#     bash tests/run.sh          every test, with verl's other engines in a second environment (45 minutes)
#     bash tests/run.sh fast     lint and the tests that no marker calls slow (under three minutes)
#     bash tests/run.sh gpu      tests/gpu on one NVIDIA GPU, in the environment that is active: requirements.txt, or the
#                                shorter list of tests/gpu/requirements-engine.txt (under ten minutes)
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ "${1:-}" = gpu ]; then
    cd "$ROOT"
    export TEST_DEVICE=${TEST_DEVICE:-cuda}
    exec "${PYTHON:-python3}" -m pytest -o addopts="--strict-markers --import-mode=importlib -ra" \
        --disable-warnings tests/gpu "${@:2}" # no doctests: what verl imports may not be there
fi
TESTS=()
source "$ROOT/examples/cpu_environment.sh"
make_environment "$ROOT"

# On top of the first environment, whose packages and .pth files it reads: verl's other engines, for test_engines.py.
install_engines() {
    local site
    site='import sysconfig; print(sysconfig.get_path("purelib"))'
    echo "import site; site.addsitedir('$("$PYTHON" -c "$site")')" \
        >"$("$BAPO_HOME/engines/bin/python" -c "$site")/first_environment.pth" &&
        "$BAPO_HOME/engines/bin/python" -m pip install --disable-pip-version-check --no-deps \
            -r "$1/tests/requirements-engines.txt"
}
if [ "${1:-}" = fast ]; then
    shift
    TESTS=(-m "not slow and not pipeline and not engines")
else
    make_environment_of "$ROOT" engines install_engines \
        "$ROOT/tests/requirements-engines.txt" "$ROOT/requirements-cpu.txt" "$ROOT/pyproject.toml"
    export ENGINES_PYTHON=$BAPO_HOME/engines/bin/python
    export TEST_DEVICE=${TEST_DEVICE:-cpu} # tests/gpu, so that it is known to run when a GPU comes
fi

cd "$ROOT"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
exec "$PYTHON" -m pytest ${TESTS[@]+"${TESTS[@]}"} "$@"
