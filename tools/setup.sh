# shellcheck shell=bash
# Sourced, from any folder: sets ROOT, the repository's root, and defines setup_python.
ROOT=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")

# Sets PYTHON to one that has what is needed: the active one if nothing is missing there; else .venv in the repository's
# root is made, or completed.  $@: extras of pyproject.toml.
# shellcheck disable=SC2120  # most callers want no extras
setup_python() {
    local python missing own=$ROOT/.venv/bin/python
    for python in python3 "$own"; do
        if command -v "$python" >/dev/null && missing=$("$python" "$ROOT/tools/requirements.py" "$@" 2>/dev/null) &&
            [ -z "$missing" ]; then
            PYTHON=$python
            return
        fi
    done
    if ! "$own" -m pip --version >/dev/null 2>&1; then
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
            { echo "error: python3 is missing or older than 3.10; install Python 3.10 or newer" >&2; return 2; }
        python3 -m venv --clear "$ROOT/.venv" ||
            { echo "error: python3 cannot make a virtual environment; install its venv module" >&2; return 2; }
    fi
    PYTHON=$own
    missing=$("$PYTHON" "$ROOT/tools/requirements.py" "$@")
    echo "installing into .venv (once; several GB with torch's CUDA libraries): $(echo "$missing" | xargs)"
    echo "$missing" | xargs "$PYTHON" -m pip install -q --disable-pip-version-check
}
