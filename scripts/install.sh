#!/bin/sh
# Makes .venv and installs the project into it, with the extras named, once for each pyproject.toml.
#   scripts/install.sh [test]
set -eu
cd "$(dirname "$0")/.."
extras="${1:-}"
stamp=".venv/installed${extras:+-$extras}"
log=.venv/install.log

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

runs_and_is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if command -v "$name" >/dev/null && runs_and_is_new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    found=$("${PYTHON:-python3}" --version 2>/dev/null || true)
    fail "Python 3.11 or later is needed, and was not found (${PYTHON:-python3} is: ${found:-missing}). Install it, or name it: make run PYTHON=/path/to/python3.11"
}

make_venv() {
    python=$(find_python)
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python has no venv module. Install it (Debian, Ubuntu: apt install python3-venv) and try again."
    printf 'Making a virtual environment in .venv with %s …\n' "$python"
    rm -rf .venv
    "$python" -m venv .venv
}

install() {
    printf 'Installing the packages (once; a minute or two) …\n'
    if .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 20 \
        --editable ".${extras:+[$extras]}" >"$log" 2>&1; then
        return
    fi
    if grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError|Network is unreachable|Max retries' "$log"; then
        fail "The package index cannot be reached, and the packages are not installed yet. Connect this machine to the network, or set PIP_INDEX_URL to a mirror."
    fi
    tail -n 25 "$log" >&2
    fail "The packages could not be installed; pip's last lines stand above, all of them in $log."
}

# Where it is with any extras, it is without, too.
is_installed() {
    [ -n "$extras" ] || set -- .venv/installed-*
    for each in "$stamp" "$@"; do
        if cmp -s pyproject.toml "$each"; then return; fi
    done
    return 1
}

if [ -d .venv ] && ! { [ -x .venv/bin/python ] && runs_and_is_new_enough .venv/bin/python; }; then
    printf 'The Python that .venv was made with is gone.\n'
    make_venv
fi
[ -d .venv ] || make_venv
if ! is_installed; then
    install
    cp pyproject.toml "$stamp"
fi
