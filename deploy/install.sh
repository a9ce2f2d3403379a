#!/usr/bin/env bash
# Installs edge-agent as a service of systemd, upgrades it, and takes it away. For users: docs/install.md.
#
#   check → new release beside the old one → files in place → switch → READY → forget the old one
#             └────── whatever fails here: the journal is undone, newest entry first ──────┘
#
# Every change is written into a journal before it is made. So a failed download, Ctrl-C or a new version that
# does not become ready leave the former state, and what a power cut left is undone by the next call.
#
#   PREFIX/releases/VERSION-FINGERPRINT   one virtual environment each; more than one only during an upgrade
#   PREFIX/current                        the release that serves; bin, lib and pyvenv.cfg lead through it
#   PREFIX/manifest                       what else was put where, for the day it is taken away
set -euo pipefail
shopt -s inherit_errexit
umask 022

readonly service=edge-agent
readonly default_prefix=/opt/edge-agent
readonly models_folder=/usr/share/edge-agent/models
readonly settings_folder=/etc/edge-agent
readonly state_folders=("/var/lib/$service" "/var/cache/$service" "/run/$service")
readonly units=/usr/local/lib/systemd/system # leaves /etc to the owner's own changes (systemd.unit(5))
readonly needed_megabytes=500                # a release is 190 MB, pip unpacks as much beside it, models are 60
readonly ready_seconds=180                   # a slow board with three models, and some
readonly asked='64-bit Debian or Raspberry Pi OS 12 or 13, Ubuntu 22.04 or 24.04, JetPack 6 or later (x86-64, ARMv8), or 32-bit Raspberry Pi OS 12'

readonly lock=/run/edge-agent-install.lock

prefix=$default_prefix wheels='' models='' mode=install upgrade=false purge=false dry=false
open=false # whether there are changes to undo

usage() {
    cat <<'USAGE'
usage: install.sh [--wheels DIR] [--models DIR] [--prefix DIR] [--upgrade] [--dry-run]
       install.sh --uninstall [--purge] [--prefix DIR] [--dry-run]

Run it from a checkout, from an unpacked release, or from a folder that holds a wheel of edge-agent.
  --wheels DIR   take all packages from DIR, without network (deploy/deb/wheels.sh makes such a folder)
  --models DIR   install the model bundles of DIR; those beside this script where it is not given
  --prefix DIR   where the program goes (/opt/edge-agent)
  --upgrade      replace another version; settings and models stay, and the old version serves on
                 if the new one does not become ready
  --uninstall    take it away; settings and state stay
  --purge        with --uninstall: those too, and the user
  --dry-run      only tell what would be done
USAGE
}

say() { printf '%s\n' "$@"; }

die() { # MESSAGE [EXIT CODE]: one line with its remedy
    printf 'install.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

# ---- What machine this is. platform_problem is pure: values in, one line or nothing out.

at_least() { # VERSION MINIMUM
    [[ $(printf '%s\n%s\n' "$2" "$1" | sort --version-sort | head -n 1) == "$2" ]]
}

platform_problem() { # ID VERSION_ID MACHINE BITS GLIBC SYSTEMD PYTHON
    local id=$1 version=$2 machine=$3 bits=$4 glibc=$5 systemd=$6 python=$7
    case "$bits-$machine-$id-$version" in
        64-x86_64-debian-1[23] | 64-aarch64-debian-1[23]) ;;
        64-x86_64-ubuntu-2[24].04 | 64-aarch64-ubuntu-2[24].04) ;;
        # A 32-bit system may run on a 64-bit kernel, which then tells the machine.
        32-armv7l-raspbian-12 | 32-armv8l-raspbian-12 | 32-aarch64-raspbian-12) ;;
        *)
            say "${id:-unknown system} ${version:-without version}, $bits-bit, $machine is not supported; asked for: $asked"
            return
            ;;
    esac
    if ! at_least "$glibc" 2.34; then
        say "glibc ${glibc:-of no version} is too old; asked for: 2.34 or later"
    elif ! at_least "$systemd" 249; then
        say "systemd ${systemd:-of no version} is too old; asked for: 249 or later"
    elif [[ $bits == 32 && $python != 3.11 ]]; then
        say "Python ${python:-not found}; asked for on 32-bit: 3.11, the last with a runtime for it"
    elif ! [[ $python =~ ^3\.1[0-3]$ ]]; then
        say "Python ${python:-not found}; asked for: 3.10 to 3.13 (PYTHON=/path/to/python3.12 names another)"
    fi
}

release_of_system() { # ROOT → "ID VERSION_ID"
    (
        # shellcheck disable=SC1091  # the file of the machine, os-release(5): made to be read by shells
        [[ ! -r $1/etc/os-release ]] || . "$1/etc/os-release"
        say "${ID:-} ${VERSION_ID:-}"
    )
}

python_version() { "$python" -c 'import sys; print("{}.{}".format(*sys.version_info))' 2>/dev/null || true; }

glibc_version() { getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p' || true; }

systemd_version() { systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p' || true; }

platform_of() { # ROOT → the arguments of platform_problem, one a line
    local id version
    read -r id version < <(release_of_system "$1")
    printf '%s\n' "$id" "$version" "$(uname -m)" "$(getconf LONG_BIT)" "$(glibc_version)" "$(systemd_version)" \
        "$(python_version)"
}

free_megabytes() { # FOLDER, which need not exist yet
    local folder=$1
    while [[ ! -e $folder ]]; do folder=$(dirname "$folder"); done
    df --output=avail -m "$folder" | tail -n 1 | tr -d ' '
}

check_machine() {
    local values problem
    mapfile -t values < <(platform_of '')
    problem=$(platform_problem "${values[@]}")
    [[ -z $problem ]] || die "$problem" 2
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "Python cannot make virtual environments; remedy: apt install python3-venv"
}

check_space() {
    local free
    free=$(free_megabytes "$prefix")
    [[ $free -ge $needed_megabytes ]] ||
        die "$free MB are free for $prefix; asked for: $needed_megabytes MB; remedy: make room, or choose another --prefix"
}

check_rights() {
    [[ $prefix =~ ^(/[A-Za-z0-9._-]+)+$ && $prefix != */..* ]] || die "--prefix wants a plain absolute path, not $prefix" 2
    [[ -d $(dirname "$prefix") ]] || die "there is no folder $(dirname "$prefix") for --prefix; remedy: make it first" 2
    [[ $EUID == 0 || $dry == true ]] || die "this wants root; remedy: sudo $0"
    [[ -d /run/systemd/system ]] ||
        die "systemd does not run here (a container?); remedy: install on the host, or 'pip install' without a service"
    if dpkg-query -W -f '${Status}' edge-agent 2>/dev/null | grep -q '^install ok'; then
        die "edge-agent is installed as a Debian package; remedy: upgrade or remove it with apt"
    fi
    [[ ! -e $units/$service.service || -d $prefix/releases ]] ||
        die "edge-agent is installed, and not in $prefix; remedy: name its folder with --prefix" 2
    [[ ! -e $prefix || -d $prefix/releases || -z $(ls -A "$prefix") ]] ||
        die "$prefix was not made by this script; remedy: move it away, or choose another --prefix"
}

# ---- The journal: what to do to have the former state again.

journal_folder() { say "$prefix/.install"; }

journal() { # KIND ARGUMENT…: written, and on the disk, before the change is made
    local IFS=$'\t'
    mkdir -p "$(journal_folder)"
    printf '%s\n' "$*" >>"$(journal_folder)/journal"
    sync "$(journal_folder)/journal"
}

undo_entry() { # KIND ARGUMENT…
    case $1 in
        made) rm -rf "$2" ;;
        folder) rmdir "$2" 2>/dev/null ;;
        kept) [[ ! -e $3 && ! -L $3 ]] || { rm -rf "$2" && mv -T "$3" "$2"; } ;;
        user) remove_user "$2" ;;
        started) systemctl disable --now --quiet "$service" 2>/dev/null ;;
        former) take_up_former "$2" ;;
    esac
}

take_up_former() { # true|false: whether a former version served; after all its files are back
    systemctl daemon-reload
    [[ $1 == true && -e $(journal_folder)/switched ]] || return 0
    systemctl reset-failed --quiet "$service" 2>/dev/null
    timeout --foreground "$ready_seconds" systemctl restart "$service" ||
        printf 'install.sh: the former version does not start either; see: journalctl -u %s\n' "$service" >&2
}

undo() { # newest entry first, each as far as it goes
    local entry
    set +e
    while IFS=$'\t' read -ra entry; do undo_entry "${entry[@]}"; done < <(tac "$(journal_folder)/journal")
    rm -rf "$(journal_folder)"
    rmdir "$prefix/releases" "$prefix" 2>/dev/null
    set -e
}

undo_cut_off() { # what an earlier run could not finish nor undo
    [[ -e $(journal_folder)/journal ]] || return 0
    say "An earlier run was cut off; undoing what it did."
    undo
}

commit() { # the new state holds: what was kept for an undo goes
    local entry
    while IFS=$'\t' read -ra entry; do
        [[ ${entry[0]} != kept ]] || rm -rf "${entry[2]}"
    done <"$(journal_folder)/journal"
    rm -rf "$(journal_folder)"
}

leave() { # at every end of the script, whatever brought it about
    trap '' INT TERM HUP
    if [[ $open == true ]]; then
        undo
        say "Nothing was changed: the former state is there again." >&2
    fi
    rm -f "$lock"
}

# ---- Changes, each with its journal entry. With --dry-run they are only told.

make_folder() { # FOLDER
    [[ ! -d $1 ]] || return 0
    make_folder "$(dirname "$1")"
    journal folder "$1"
    mkdir "$1"
    printf 'folder\t%s\n' "$1" >>"$(journal_folder)/manifest"
}

keep() { # PATH: so that an undo brings it back, or takes the new one away
    local kept
    kept=$(dirname "$1")/.$(basename "$1").edge-agent-before
    if [[ -e $1 || -L $1 ]]; then
        rm -rf "$kept"
        [[ -d $1 && ! -L $1 ]] || cp -aT "$1" "$kept"
        journal kept "$1" "$kept"
        [[ ! -d $1 || -L $1 ]] || mv -T "$1" "$kept"
    else
        journal made "$1"
    fi
}

owned() { # KIND PATH: for the manifest
    [[ $dry == true ]] || printf '%s\t%s\n' "$1" "$2" >>"$(journal_folder)/manifest"
}

place() { # FROM TO MODE
    if ! cmp -s "$1" "$2"; then
        say "  $2"
        [[ $dry == false ]] || return 0
        make_folder "$(dirname "$2")"
        keep "$2"
        install -m "$3" "$1" "$2.edge-agent-new"
        mv -fT "$2.edge-agent-new" "$2"
    fi
    owned file "$2"
}

point() { # LINK TARGET: in one step, so that the link is never missing
    if [[ $(readlink "$1") != "$2" ]]; then
        say "  $1"
        [[ $dry == false ]] || return 0
        make_folder "$(dirname "$1")"
        keep "$1"
        ln -sfn "$2" "$1.edge-agent-new"
        mv -fT "$1.edge-agent-new" "$1"
    fi
    owned file "$1"
}

# ---- What is installed from.

find_source() {
    local folder
    source='' wheel='' unit_source='' settings_source=$here/config.toml script=$here/install.sh
    if [[ -z $wheels && -e $here/../pyproject.toml ]]; then
        source=$(cd "$here/.." && pwd)
    else
        wheel=$(find ${wheels:+"$wheels"} "$here" "$here/.." -maxdepth 1 -name 'edge_agent-*.whl' | sed 1q)
    fi
    [[ -z $wheels || -n $wheel ]] || die "$wheels holds no wheel of edge-agent; remedy: deploy/deb/wheels.sh makes such a folder" 2
    [[ -n $wheel || -n $source ]] || die "neither a checkout nor a wheel of edge-agent is beside this script; remedy: run it from there" 2
    for folder in "$here" "$here/.."; do
        [[ ! -e $folder/systemd/$service.service ]] || unit_source=$(cd "$folder/systemd" && pwd)
        [[ -n $models || ! -d $folder/models ]] || models=$(cd "$folder/models" && pwd)
    done
    [[ -n $unit_source ]] || die "systemd/$service.service is not beside this script; remedy: take the whole release" 2
}

version_of_source() {
    if [[ -n $wheel ]]; then
        basename "$wheel" | cut -d - -f 2
    else
        sed -n 's/^version = "\(.*\)"$/\1/p' "$source/pyproject.toml"
    fi
}

fingerprint() { # of all that goes into the virtual environment
    {
        "$python" -VV
        if [[ -n $wheel ]]; then
            sha256sum <"$wheel"
            [[ -z $wheels ]] || (cd "$wheels" && sha256sum -- *.whl)
        else
            cd "$source" && find edge_agent pyproject.toml -type f -not -path '*/__pycache__/*' -print0 |
                sort -z | xargs -0 sha256sum
        fi
    } | sha256sum | cut -c 1-8
}

# ---- The steps.

pip_install() { # ARGUMENT…
    local log=$release/pip.log word=() remedy='look at the network, or install from a folder of wheels: --wheels DIR'
    if [[ -n $wheels ]]; then
        word=(--no-index --find-links "$wheels")
        remedy='make that folder anew, for this machine and this Python, with deploy/deb/wheels.sh'
    fi
    # Temporary files beside the release: /tmp may be in memory, and small.
    if ! TMPDIR=$(journal_folder) "$release/bin/python" -m pip --disable-pip-version-check install --quiet \
        --no-cache-dir "${word[@]}" "$@" >"$log" 2>&1; then
        grep '.' "$log" | tail -n 1 >&2 || true
        die "the packages cannot be had; remedy: $remedy"
    fi
    rm "$log"
}

# On 32-bit the kernel's name for the machine may be that of a 64-bit one, and then the markers of the packages
# choose a runtime that has no 32-bit wheel. So they are judged here, for what it is: armv7l.
install_on_32_bit() {
    local names
    pip_install --no-deps "${wheel:-$source}"
    mapfile -t names < <("$release/bin/python" - <<'PYTHON'
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

for requirement in map(Requirement, requires("edge-agent") or []):
    if requirement.marker is None or requirement.marker.evaluate({"platform_machine": "armv7l", "extra": ""}):
        print(f"{requirement.name}{requirement.specifier}")
PYTHON
    )
    pip_install "${names[@]}"
}

make_release() {
    [[ ! -e $release/complete ]] || return 0
    say "  $release"
    [[ $dry == false ]] || return 0
    make_folder "$prefix/releases"
    journal made "$release"
    "$python" -m venv "$release" >/dev/null
    if [[ $(getconf LONG_BIT) == 32 ]]; then install_on_32_bit; else pip_install "${wheel:-$source}"; fi
    "$release/bin/edge-agentd" --version >/dev/null
    # Nothing is installed into a release later, and what is not there cannot be misused.
    "$release/bin/python" -m pip --quiet --disable-pip-version-check uninstall --yes pip setuptools >/dev/null 2>&1
    install -m 755 "$script" "$release/install.sh"
    touch "$release/complete"
}

place_models() {
    local bundle from to fresh
    for bundle in "$models"/*/bundle.json; do
        [[ -e $bundle ]] || continue
        from=$(dirname "$bundle") to=$models_folder/$(basename "$(dirname "$bundle")")
        if ! diff -rq "$from" "$to" >/dev/null 2>&1; then
            say "  $to"
            [[ $dry == false ]] || continue
            make_folder "$models_folder"
            fresh=$models_folder/.$(basename "$to").new # hidden: the daemon looks for models by itself
            journal made "$fresh"
            install -d -m 755 "$fresh"
            install -m 644 "$from"/* "$fresh"
            keep "$to"
            mv -T "$fresh" "$to"
        fi
        owned model "$to"
    done
}

place_unit() {
    local work kind
    work=$(mktemp)
    sed "s|$default_prefix|$prefix|g" "$unit_source/$service.service" >"$work"
    place "$work" "$units/$service.service" 644
    rm "$work"
    for kind in sysusers tmpfiles; do
        [[ ! -e $unit_source/$kind.d/$service.conf ]] ||
            place "$unit_source/$kind.d/$service.conf" "/usr/local/lib/$kind.d/$service.conf" 644
    done
}

place_settings() { # the owner's settings are never touched
    [[ ! -e $settings_folder/config.toml ]] || return 0
    say "  $settings_folder/config.toml"
    [[ $dry == false ]] || return 0
    make_folder "$settings_folder"
    journal made "$settings_folder/config.toml"
    install -m 644 "$settings_source" "$settings_folder/config.toml"
}

place_all() { # tells what is not in place yet, and without --dry-run puts it there
    make_release
    place_models
    place_unit
    place_settings
    point "$prefix/current" "releases/$(basename "$release")"
    point "$prefix/bin" current/bin
    point "$prefix/lib" current/lib
    point "$prefix/pyvenv.cfg" current/pyvenv.cfg
    point /usr/local/bin/edge-agent "$prefix/bin/edge-agent"
}

plan() { # → what is missing
    local dry=true
    place_all
}

users_of() { sed -n 's/^u!\{0,1\}[[:space:]]\{1,\}\([^[:space:]]*\).*/\1/p' "$1"; } # SYSUSERS FILE

remove_user() { # NAME
    if getent passwd "$1" >/dev/null; then userdel "$1" 2>/dev/null || true; fi
    if getent group "$1" >/dev/null; then groupdel "$1" 2>/dev/null || true; fi
}

make_user() {
    local file=/usr/local/lib/sysusers.d/$service.conf name
    [[ -e $file ]] || return 0
    while read -r name; do
        getent passwd "$name" >/dev/null || journal user "$name"
    done < <(users_of "$file")
    SYSTEMD_LOG_LEVEL=warning systemd-sysusers "$file"
}

remember_state() { # the folders that the service makes by itself at its first start
    local folder
    for folder in "${state_folders[@]}"; do
        [[ -e $folder ]] || journal made "$folder"
    done
}

# Type=notify: `systemctl start` comes back when the service has said READY, or has failed.
start_service() { # start|restart
    local since why
    since=$(date '+%Y-%m-%d %H:%M:%S')
    touch "$(journal_folder)/switched"
    timeout --foreground "$ready_seconds" systemctl "$1" "$service" 2>/dev/null && return
    why=$(systemctl show --value --property Result "$service")
    printf 'install.sh: edge-agent %s did not become ready (%s); the last that it said:\n' "$version" "$why" >&2
    journalctl --quiet _SYSTEMD_UNIT="$service.service" --since "$since" --output cat --lines 5 >&2 || true
    exit 1
}

write_manifest() { # with what former versions put in place
    local all
    all=$(journal_folder)/manifest
    [[ ! -e $prefix/manifest ]] || cat "$prefix/manifest" >>"$all"
    sort -u -o "$all" "$all"
    place "$all" "$prefix/manifest" 644 >/dev/null
}

switch_over() { # the service follows what is in place now
    make_user
    [[ ! -e /usr/local/lib/tmpfiles.d/$service.conf ]] ||
        systemd-tmpfiles --create "/usr/local/lib/tmpfiles.d/$service.conf"
    systemctl daemon-reload
    if [[ -z $former ]]; then
        remember_state
        journal started
        systemctl enable --quiet "$service"
        start_service start
    elif [[ $serves == true ]]; then
        start_service restart
    fi
}

forget_former() {
    local other
    for other in "$prefix"/releases/*; do
        [[ $other == "$release" ]] || rm -rf "$other"
    done
}

what_next() {
    if [[ -n $former && $serves == false ]]; then
        say "edge-agent $version is installed; the service is off, as it was: systemctl enable --now $service"
        return
    fi
    say "edge-agent $version is installed and ready."
    say "  settings      $settings_folder/config.toml, then: systemctl restart $service"
    say "  is all well?  edge-agent check --config $settings_folder/config.toml"
    say "  its log       journalctl -u $service"
    say "  ask it        edge-agent send --model home \"turn on the kitchen light\""
    say "  take it away  $prefix/current/install.sh --uninstall"
}

former_release() { [[ ! -L $prefix/current ]] || basename "$(readlink "$prefix/current")"; }

is_on() { systemctl is-enabled --quiet "$service" 2>/dev/null || systemctl is-active --quiet "$service"; }

install_or_upgrade() {
    local missing
    check_rights
    find_source
    check_machine
    [[ $dry == true ]] || undo_cut_off
    version=$(version_of_source)
    release=$prefix/releases/$version-$(fingerprint)
    former=$(former_release)
    serves=false
    if is_on; then serves=true; fi
    [[ -z $former || $former == "$(basename "$release")" || $upgrade == true ]] ||
        die "edge-agent ${former%-*} is there, and this $version differs from it; remedy: --upgrade replaces it" 2
    missing=$(plan)
    if [[ -z $missing ]]; then
        say "edge-agent $version is installed already; nothing was changed."
        [[ $serves == true ]] || say "The service is off: systemctl enable --now $service"
    elif [[ $dry == true ]]; then
        say "Would install edge-agent $version:" "$missing"
    else
        check_space
        make_it_so
    fi
}

make_it_so() {
    say "Installing edge-agent $version …"
    mkdir -p "$(journal_folder)"
    open=true
    journal former "$serves" # what an undo does last
    place_all
    write_manifest
    switch_over
    trap '' INT TERM HUP
    open=false
    commit
    forget_former
    what_next
}

uninstall() {
    check_rights
    [[ $dry == true ]] || undo_cut_off
    if [[ ! -e $prefix/manifest && $purge == false ]]; then
        say "edge-agent is not installed in $prefix; nothing was changed."
        return
    fi
    if [[ $dry == true ]]; then
        say "Would remove:"
        { [[ ! -e $prefix/manifest ]] || cut -f 2 "$prefix/manifest"; say "$prefix"; } | sed 's/^/  /'
        [[ $purge == false ]] || printf '  %s\n' "$settings_folder" "${state_folders[@]}"
        return
    fi
    trap '' INT TERM HUP # a half is the one thing that nobody wants
    systemctl disable --now --quiet "$service" 2>/dev/null || true
    systemctl reset-failed --quiet "$service" 2>/dev/null || true
    take_away
    systemctl daemon-reload
    if [[ $purge == true ]]; then
        say "edge-agent, its settings and its state are removed."
    else
        say "edge-agent is removed. Settings and state stay in $settings_folder and /var/lib/$service; --uninstall --purge removes them."
    fi
}

take_away() {
    local kind path users='' folders=() list=''
    [[ ! -e /usr/local/lib/sysusers.d/$service.conf ]] || users=$(users_of "/usr/local/lib/sysusers.d/$service.conf")
    [[ ! -e $prefix/manifest ]] || list=$(cat "$prefix/manifest")
    while IFS=$'\t' read -r kind path; do
        case $kind in
            file) rm -f "$path" ;;
            model) rm -rf "$path" ;;
            folder) folders+=("$path") ;;
        esac
    done <<<"$list"
    rm -rf "$prefix" "/var/cache/$service" "/run/$service"
    if [[ $purge == true ]]; then
        rm -rf "$settings_folder" "${state_folders[@]}" "/etc/systemd/system/$service.service.d"
        while read -r path; do [[ -z $path ]] || remove_user "$path"; done <<<"${users:-$service}"
    fi
    # Deepest first; a folder that holds anything else stays.
    for path in $(printf '%s\n' "${folders[@]}" | sort -r); do rmdir "$path" 2>/dev/null || true; done
}

read_options() {
    while (($#)); do
        case $1 in
            --wheels | --models | --prefix)
                [[ -n ${2:-} ]] || die "$1 wants a folder" 2
                [[ $1 == --prefix || -d $2 ]] || die "$1: there is no folder $2" 2
                case $1 in
                    --wheels) wheels=$(cd "$2" && pwd) ;;
                    --models) models=$(cd "$2" && pwd) ;;
                    --prefix) prefix=${2%/} ;;
                esac
                shift
                ;;
            --upgrade) upgrade=true ;;
            --uninstall) mode=uninstall ;;
            --purge) purge=true ;;
            --dry-run) dry=true ;;
            --help | -h) mode=help ;;
            *) die "unknown option $1; remedy: install.sh --help" 2 ;;
        esac
        shift
    done
    [[ $purge == false || $mode == uninstall ]] || die "--purge goes with --uninstall" 2
}

main() {
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    [[ ! -L $here ]] || prefix=$(dirname "$here") # the copy that an installation keeps of this script
    python=${PYTHON:-/usr/bin/python3}
    read_options "$@"
    cd / # the folder that one stands in may be the one that goes
    if [[ $mode == help ]]; then
        usage
        return
    fi
    if [[ $dry == false && $EUID == 0 ]]; then
        exec 9>"$lock"
        flock --nonblock 9 || die "another install.sh is at work; remedy: wait for it"
        trap leave EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
    fi
    if [[ $mode == uninstall ]]; then uninstall; else install_or_upgrade; fi
}

# Read whole before it runs, as it may remove itself; the tests read it only.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main "$@"
    exit
fi
