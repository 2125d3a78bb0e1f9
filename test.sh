#!/usr/bin/env bash
# Installs what is missing, then runs the linter and the tests.  Arguments go to pytest: bash test.sh -m parity
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/setup.sh
setup_python test figures whitening video export encoders
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
exec "$PYTHON" -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope "$@"
