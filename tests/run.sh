#!/usr/bin/env bash
# The tests, in the environment of the demo (made if it is not there). Other arguments go to pytest.
#
#     bash tests/run.sh          every test, with verl's other engines in a second environment (half an hour)
#     bash tests/run.sh fast     lint and the tests of FAST: math, loss, config, docs, grading (under three minutes)
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
FAST=(
    bapo_verl/clipping.py # doctests
    bapo_verl/diagnosis.py
    tests/bapo_verl/test_clipping.py
    tests/bapo_verl/test_config.py
    tests/bapo_verl/test_diagnosis.py
    tests/test_docs.py
    tests/bapo_verl/test_engine_contract.py
    tests/bapo_verl/test_figures.py
    tests/test_math_reward.py::test_case
    tests/test_math_reward.py::test_doctests
    tests/test_math_reward.py::test_every_rewriting_rule_has_an_example_that_fails_without_it
    tests/test_math_reward.py::test_math_verifys_own_cases
    tests/bapo_verl/test_packaging.py::test_the_requirements_bring_what_is_imported_and_pytests_plugins
    tests/bapo_verl/test_policy_loss.py
    tests/bapo_verl/test_verl_assumptions.py
)

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
    TESTS=("${FAST[@]}")
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
