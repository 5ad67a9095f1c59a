#!/usr/bin/env bash
# Every test, in the environment of the demo (made if it is not there) and one on top of it. Arguments go to pytest.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

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
make_environment_of "$ROOT" engines install_engines \
    "$ROOT/tests/requirements-engines.txt" "$ROOT/requirements-cpu.txt" "$ROOT/pyproject.toml"
export ENGINES_PYTHON=$BAPO_HOME/engines/bin/python

cd "$ROOT"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
exec "$PYTHON" -m pytest "$@"
