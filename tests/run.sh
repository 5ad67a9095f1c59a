#!/usr/bin/env bash
# Every test, in the environment of the demo (made if it is not there). Arguments go to pytest.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

source "$ROOT/examples/cpu_environment.sh"
make_environment "$ROOT"

cd "$ROOT"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
exec "$PYTHON" -m pytest "$@"
