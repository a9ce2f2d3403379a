# What provision-device, push-model and fleet-status share; they read it.
# shellcheck shell=bash
#
# A folder goes to the device as one stream, into a folder of its own below /var/tmp. Only when all of it has arrived
# is its script `run` begun there, by root; however that ends, the folder is removed. So a lost connection leaves
# either nothing or what `run` makes of it, and `run` undoes what it cannot finish.

say() { printf '%s\n' "$@"; }

die() { # MESSAGE [EXIT CODE]: one line with its remedy
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit "${2:-1}"
}

# EDGE_AGENT_SSH="ssh -F file -p 2222" names another way in.
read -ra ssh_command <<<"${EDGE_AGENT_SSH:-ssh}"

over_ssh() { # HOST COMMAND: standard input goes with it
    [[ $1 != -* ]] || die "$1 is no host; remedy: --help" 2
    "${ssh_command[@]}" -o BatchMode=yes -o ConnectTimeout=10 -- "$1" "$2"
}

as_root() { # COMMAND → the same for root, whoever is let in, and by whatever shell
    local quote="'" command
    command="'${1//$quote/$quote\\$quote$quote}'"
    say "test \"\$(id -u)\" = 0 && exec bash -c $command; exec sudo -n bash -c $command"
}

# shellcheck disable=SC2016  # it is read on the device
readonly unpack_and_run='
set -eu
umask 077
work=$(mktemp -d /var/tmp/edge-agent.XXXXXX)
trap "rm -rf \"$work\"" EXIT
tar -C "$work" -xf - || { echo "the files did not all arrive; nothing was changed" >&2; exit 1; }
[ -e "$work/arrived" ] || { echo "the files did not all arrive; nothing was changed" >&2; exit 1; }
cd "$work"
# What is begun goes on when nobody listens any more.
drain() { trap "" PIPE; while IFS= read -r line; do printf "%s\n" "$line" 2>/dev/null || true; done; }
trap "" HUP
bash ./run </dev/null > >(drain) 2> >(drain >&2)
'

carry_and_run() { # HOST FOLDER: its files, and `run` among them
    local list
    list=$(cd "$2" && printf '%s\n' * | grep -vx arrived)
    touch "$2/arrived"
    # shellcheck disable=SC2086  # a name a word; "arrived" goes last, so that it tells that all did
    tar -C "$2" --dereference --owner=0 --group=0 -cf - $list arrived | over_ssh "$1" "$(as_root "$unpack_and_run")" && return
    local code=$?
    [[ $code != 255 ]] ||
        die "$1 cannot be reached by ssh, or the connection was lost; remedy: try ssh $1, then the same command again"
    return "$code"
}

work_folder() { # → a folder that goes when the script ends
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

need_value() { # OPTION VALUE…
    [[ $# -ge 2 && -n $2 ]] || die "$1 wants a value; remedy: --help" 2
}

need_file() { # OPTION FILE
    [[ -r $2 && ! -d $2 ]] || die "$1: $2 cannot be read" 2
}
