#!/usr/bin/env bash
# The tests, in the environment of the demo (made if it is not there). Other arguments go to pytest.
#
#     bash tests/run.sh          every test, with verl's other engines in a second environment (half an hour)
#     bash tests/run.sh fast     lint and the tests of FAST: math, loss, config, docs, grading (under three minutes)
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TESTS=()
FAST=(
    bapo_verl/clipping.py # doctests
    bapo_verl/diagnosis.py
    tests/test_clipping.py
    tests/test_config.py
    tests/test_diagnosis.py
    tests/test_docs.py
    tests/test_engine_contract.py
    tests/test_figures.py
    tests/reward/test_verdicts.py::test_case
    tests/reward/test_verdicts.py::test_math_verifys_own_cases
    tests/reward/test_results.py::test_doctests
    tests/test_packaging.py::test_requirements_txt_brings_what_is_imported_and_pytests_plugins
    tests/test_policy_loss.py
    tests/test_verl_assumptions.py
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
fi

cd "$ROOT"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
exec "$PYTHON" -m pytest ${TESTS[@]+"${TESTS[@]}"} "$@"
