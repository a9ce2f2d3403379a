#!/usr/bin/env bash
# Builds the Debian package: everything that runs under /opt/edge-agent, for one architecture and one Python.
# Why it is built like this and what is in it: README.md beside it.
set -euo pipefail
umask 022
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/deb/wheels.sh
. "$here/wheels.sh"

usage() {
    cat <<'USAGE'
usage: build.sh [--arch amd64|arm64|armhf] [--wheels DIR] [--out DIR] [--level N]

--arch is this machine's where it is not given, --out is dist. --wheels takes the packages from a folder that holds
exactly these, as wheels.sh makes it, and needs no network. PYTHON=python3.12 names the Python that the package is
for (python3 where it is not given); it must be here too, as byte code is compiled with it.
--level is that of zstd, 12 where it is not given.
USAGE
}

lay_out_program() { # ROOT ARCH WHEELS PYTHON-VERSION
    local home=$1/opt/edge-agent site options=() system=false module
    site=$home/lib/python$4/site-packages
    mkdir -p "$home/bin" "$site"
    mapfile -t options < <(platforms "$2")
    "${pip[@]}" install --quiet --no-index --no-deps --no-compile --target "$site" "${options[@]}" "$3"/*.whl
    rm -rf "${site:?}/bin"
    # Where and by what the wheels were installed here says nothing there, and differs from build to build.
    rm -f "$site"/*.dist-info/{RECORD,INSTALLER,REQUESTED,direct_url.json}
    # One process, one order, one seed: else what a module shares with those before it comes out differently.
    PYTHONHASHSEED=0 "$python" -m compileall -q --invalidation-mode unchecked-hash -s "$1" -p / "$site" >/dev/null
    [[ $2 != armhf ]] || system=true # NumPy and psutil are Debian's there
    printf 'home = /usr/bin\ninclude-system-site-packages = %s\nversion = %s\n' "$system" "$4" >"$home/pyvenv.cfg"
    ln -s "/usr/bin/python$4" "$home/bin/python$4"
    ln -s "python$4" "$home/bin/python3"
    ln -s "python$4" "$home/bin/python"
    for module in edge-agent:cli.main edge-agentd:service.agent; do
        printf '#!/opt/edge-agent/bin/python\nimport sys\nfrom edge_agent.%s import main\nsys.exit(main())\n' \
            "${module#*:}" >"$home/bin/${module%:*}"
        chmod 755 "$home/bin/${module%:*}"
    done
}

lay_out_system() { # ROOT
    local kind
    install -D -m 644 -t "$1/usr/lib/systemd/system" "$repository/systemd/edge-agent.service"
    for kind in sysusers.d tmpfiles.d; do
        [[ ! -e $repository/systemd/$kind/edge-agent.conf ]] ||
            install -D -m 644 -t "$1/usr/lib/$kind" "$repository/systemd/$kind/edge-agent.conf"
    done
    install -D -m 644 -t "$1/etc/edge-agent" "$repository/deploy/config.toml"
    install -D -m 644 "$repository/LICENSE" "$1/usr/share/doc/edge-agent/copyright"
    install -D -m 644 -t "$1/usr/share/doc/edge-agent" "$repository/CHANGELOG.md"
    mkdir -p "$1/usr/bin"
    ln -s /opt/edge-agent/bin/edge-agent "$1/usr/bin/edge-agent"
    make -s -C "$repository" install-models DESTDIR="$1" PREFIX=/usr >/dev/null
}

installed_kilobytes() { # ROOT: as deb-substvars(5) counts, so that no file system has a say in it
    find "$1" -path "$1/DEBIAN" -prune -o -printf '%y %s\n' |
        awk '{ kilobytes += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print kilobytes }'
}

write_control() { # ROOT ARCH PYTHON-VERSION VERSION
    local depends="python$3, libc6 (>= 2.34), libgcc-s1, libstdc++6, systemd (>= 249), passwd"
    [[ $2 != armhf ]] || depends+=", python3-numpy (>= 1:1.24), python3-numpy (<< 1:2), python3-psutil (>= 5.9)"
    mkdir "$1/DEBIAN"
    cat >"$1/DEBIAN/control" <<CONTROL
Package: edge-agent
Version: $4+python$3
Architecture: $2
Maintainer: The edge-agent authors
Section: net
Priority: optional
Installed-Size: $(installed_kilobytes "$1")
Depends: $depends
Recommends: mosquitto | mqtt-broker
Description: private language appliance: text in over MQTT, meaning out
 A daemon that takes sentences over MQTT, understands them with small language
 models that run on this machine, and answers in milliseconds. No cloud.
 .
 The Python packages that it needs are inside, for Python $3.
CONTROL
    echo /etc/edge-agent/config.toml >"$1/DEBIAN/conffiles"
    install -m 755 -t "$1/DEBIAN" "$here"/{preinst,postinst,prerm,postrm}
    (cd "$1" && find . -type f -not -path './DEBIAN/*' -not -path './etc/*' -printf '%P\0' |
        sort -z | xargs -0 md5sum) >"$1/DEBIAN/md5sums"
}

build() {
    local arch level=12 out=$repository/dist wheels='' work version python_version file
    arch=$(dpkg --print-architecture)
    while (($#)); do
        case $1 in
            --arch) arch=${2:?--arch wants a value}; shift ;;
            --wheels) wheels=${2:?--wheels wants a folder}; shift ;;
            --level) level=${2:?--level wants a number}; shift ;;
            --out) out=${2:?--out wants a folder}; shift ;;
            --help | -h) usage; return ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    python=${PYTHON:-python3}
    pip=("$python" -m pip --disable-pip-version-check)
    python_version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
    work=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder of now is meant
    trap "rm -rf '$work'" EXIT
    if [[ -z $wheels ]]; then
        wheels=$work/wheels
        make_wheels "$wheels" --arch "$arch" >/dev/null
    fi
    version=$(basename "$wheels"/edge_agent-*.whl | cut -d - -f 2)
    # Times in the package are those of the last commit, so that whoever builds it again has the same bytes.
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct 2>/dev/null || stat -c %Y "$repository/CHANGELOG.md")}
    export SOURCE_DATE_EPOCH
    mkdir -p "$work/root" "$out"
    lay_out_program "$work/root" "$arch" "$wheels" "$python_version"
    lay_out_system "$work/root"
    write_control "$work/root" "$arch" "$python_version" "$version"
    file=$out/edge-agent_$version+python${python_version}_$arch.deb
    dpkg-deb --root-owner-group -Zzstd "-z$level" --build "$work/root" "$file" >/dev/null
    printf '%s, %s, %s when installed\n' "$file" "$(du -h "$file" | cut -f1)" "$(du -sh --apparent-size "$work/root" | cut -f1)"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then build "$@"; fi
