#!/usr/bin/env bash
# Makes a folder of wheels, edge-agent's own and all that it needs, for a machine without network.
#
# Architecture and Python may differ from this machine's: pip fetches by platform tags. It judges environment
# markers by the Python that runs it, though, so that one has to be of the same minor version as the target's.
set -euo pipefail
umask 022
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

wheels_usage() {
    cat <<'USAGE'
usage: wheels.sh FOLDER [--arch amd64|arm64|armhf] [--complete]

FOLDER is made, or filled up. --arch is this machine's where it is not given. --complete puts install.sh, the
unit, the example settings and the models beside a folder `wheels`, so that the whole can be carried on a stick:
  sudo FOLDER/install.sh --wheels FOLDER/wheels
PYTHON=python3.12 names the Python to fetch for (python3 where it is not given).
USAGE
}

fail() { # MESSAGE
    printf 'wheels.sh: %s\n' "$1" >&2
    exit 1
}

# glibc 2.34 is what the oldest supported system brings (DESIGN, "Platforms"); a wheel for an older one runs too.
platforms() { # ARCH → pip options
    local machine tag version
    version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
    case $1 in
        amd64) machine=x86_64 ;;
        arm64) machine=aarch64 ;;
        armhf) machine=armv7l ;;
        *) fail "--arch is amd64, arm64 or armhf, not $1" ;;
    esac
    printf '%s\n' --only-binary=:all: --implementation cp --python-version "$version"
    printf -- '--abi\n%s\n' "cp${version/./}" abi3 none
    for tag in manylinux_2_34 manylinux_2_31 manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014; do
        printf -- '--platform\n%s_%s\n' "$tag" "$machine"
    done
}

# 32-bit ARM: pip would judge `platform_machine` by this machine, so the markers are judged here. NumPy and
# psutil have no wheel for it in the index; where Debian's packages bring them, they are left out (WITHOUT).
requirements_of() { # WHEEL MACHINE WITHOUT… → one requirement a line
    "$python" - "$@" <<'PYTHON'
import email.parser, sys, zipfile
from pip._vendor.packaging.requirements import Requirement

wheel, machine, *without = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.parser.Parser().parsestr(archive.read(name).decode())
for line in metadata.get_all("Requires-Dist", []):
    requirement = Requirement(line)
    fits = requirement.marker is None or requirement.marker.evaluate({"platform_machine": machine, "extra": ""})
    if fits and requirement.name not in without:
        print(f"{requirement.name}{requirement.specifier}")
PYTHON
}

fetch() { # WHEELS ARCH
    local wheel options=() wanted=()
    wheel=$(ls "$1"/edge_agent-*.whl)
    mapfile -t options < <(platforms "$2")
    if [[ $2 == armhf ]]; then
        mapfile -t wanted < <(requirements_of "$wheel" armv7l numpy psutil tflite-runtime)
        "${pip[@]}" download --quiet --no-deps --dest "$1" "${options[@]}" 'tflite-runtime>=2.14,<2.15'
    else
        wanted=("$wheel")
    fi
    "${pip[@]}" download --quiet --dest "$1" --find-links "$1" "${options[@]}" "${wanted[@]}"
}

make_wheels() {
    local folder='' arch='' complete=false wheels
    arch=$(dpkg --print-architecture)
    while (($#)); do
        case $1 in
            --arch) arch=${2:?--arch wants a value}; shift ;;
            --complete) complete=true ;;
            --help | -h) wheels_usage; return ;;
            -*) wheels_usage >&2; exit 2 ;;
            *) folder=$1 ;;
        esac
        shift
    done
    [[ -n $folder ]] || { wheels_usage >&2; exit 2; }
    python=${PYTHON:-python3}
    pip=("$python" -m pip --disable-pip-version-check)
    wheels=$folder
    [[ $complete == false ]] || wheels=$folder/wheels
    mkdir -p "$wheels"
    rm -f "$wheels"/edge_agent-*.whl
    "${pip[@]}" wheel --quiet --no-deps --wheel-dir "$wheels" "$repository"
    fetch "$wheels" "$arch"
    if [[ $complete == true ]]; then
        cp "$repository"/deploy/{install.sh,config.toml} "$folder"
        cp -rT "$repository/systemd" "$folder/systemd"
        mkdir -p "$folder/models"
        for bundle in "$repository"/models/*/bundle.json; do
            cp -r "$(dirname "$bundle")" "$folder/models"
        done
    fi
    printf '%s wheels, %s, in %s\n' "$(find "$wheels" -name '*.whl' | wc -l)" "$(du -sh "$folder" | cut -f1)" "$folder"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then make_wheels "$@"; fi
