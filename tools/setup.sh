# Sourced by quickstart.sh and test.sh from the repository's root: sets PYTHON to one that has what is needed.
# The active Python serves if nothing is missing there; else .venv is made, or completed.  $@: extras of pyproject.toml.

setup_python() {
    local python missing
    for python in python3 .venv/bin/python; do
        if command -v "$python" >/dev/null && missing=$("$python" tools/requirements.py "$@" 2>/dev/null) &&
            [ -z "$missing" ]; then
            PYTHON=$python
            return
        fi
    done
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
            { echo "error: python3 is missing or older than 3.10; install Python 3.10 or newer" >&2; return 2; }
        python3 -m venv --clear .venv ||
            { echo "error: python3 cannot make a virtual environment; install its venv module" >&2; return 2; }
    fi
    PYTHON=.venv/bin/python
    missing=$("$PYTHON" tools/requirements.py "$@")
    echo "installing into .venv (once; several GB with torch's CUDA libraries): $(echo "$missing" | xargs)"
    echo "$missing" | xargs "$PYTHON" -m pip install -q --disable-pip-version-check
}
