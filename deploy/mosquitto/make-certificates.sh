#!/usr/bin/env bash
# Makes a certificate authority for a fleet, and certificates of it for the broker, devices and programs.
#
# All keys are made here, with mode 0600, and nothing that exists is overwritten. Keep FOLDER on a machine of
# its own: whoever has ca.key can be any device.
set -euo pipefail
umask 077

usage() {
    cat >&2 <<'USAGE'
usage: make-certificates.sh FOLDER ca
       make-certificates.sh FOLDER broker NAME…    host names and addresses by which clients call the broker
       make-certificates.sh FOLDER device ID       letters, digits, _ and -; equal to the setting device.id
       make-certificates.sh FOLDER client NAME     a program, person or site, with a dot: app.crm
       make-certificates.sh FOLDER revoke NAME     withdraws a device's or client's certificate
DAYS=… sets how long a certificate is valid (825 by default, 7300 for the authority).
USAGE
    exit 2
}

fail() {
    printf 'make-certificates.sh: %s\n' "$1" >&2
    exit 1
}

refuse_overwriting() {
    local file
    for file in "$@"; do
        [[ ! -e $file ]] || fail "$file is there already; nothing was changed"
    done
}

new_key() {
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null ||
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

# Moves what was made into place only when all of it is there.
sign() { # NAME COMMON_NAME EXTENSIONS
    local name=$1 common_name=$2 extensions=$3 work
    [[ -f $folder/ca.key ]] || fail "no authority in $folder yet: make-certificates.sh $folder ca"
    refuse_overwriting "$folder/$name.key" "$folder/$name.pem"
    work=$(mktemp -d "$folder/.new.XXXXXX")
    # shellcheck disable=SC2064  # the folder of now is meant
    trap "rm -rf '$work'" EXIT
    new_key "$work/key"
    printf '%s\n' "$extensions" >"$work/extensions"
    openssl req -new -key "$work/key" -subj "/CN=$common_name" -out "$work/request"
    openssl x509 -req -in "$work/request" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" \
        -set_serial "0x$(openssl rand -hex 16 | sed 's/^./7/')" -sha256 -days "${DAYS:-825}" \
        -extfile "$work/extensions" -out "$work/pem" 2>/dev/null || fail "the certificate could not be signed"
    mv -n "$work/key" "$folder/$name.key"
    mv -n "$work/pem" "$folder/$name.pem"
    printf 'made %s.key and %s.pem\n' "$folder/$name" "$folder/$name"
}

make_ca() {
    refuse_overwriting "$folder/ca.key" "$folder/ca.pem" "$folder/revoked.pem" "$folder/index"
    mkdir -p "$folder"
    new_key "$folder/ca.key"
    openssl req -x509 -key "$folder/ca.key" -sha256 -days "${DAYS:-7300}" -subj "/CN=edge-agent fleet" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -out "$folder/ca.pem"
    : >"$folder/index"
    write_revoked
    printf 'made %s and an empty %s\n' "$folder/ca.pem" "$folder/revoked.pem"
}

make_broker() {
    (($# >= 1)) || usage
    local names="" name
    for name in "$@"; do
        [[ $name =~ ^[A-Za-z0-9.:-]{1,64}$ ]] || fail "not a host name or address: $name"
        if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then names+=",IP:$name"; else names+=",DNS:$name"; fi
    done
    sign broker "$1" "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=${names#,}"
}

make_client() {
    sign "$1" "$1" "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=clientAuth"
}

openssl_ca() {
    openssl ca -batch -config <(printf '%s\n' "[ca]" "default_ca=own" "[own]" "database=$folder/index" \
        "default_md=sha256" "unique_subject=no" "default_crl_days=7300" \
        "certificate=$folder/ca.pem" "private_key=$folder/ca.key") "$@"
}

write_revoked() {
    openssl_ca -gencrl -out "$folder/.revoked.new" 2>/dev/null || fail "the list could not be signed"
    mv "$folder/.revoked.new" "$folder/revoked.pem"
}

revoke() {
    local serial
    [[ -f $folder/$1.pem ]] || fail "no certificate $folder/$1.pem"
    openssl_ca -revoke "$folder/$1.pem" 2>/dev/null || fail "$1 is withdrawn already, or not of this authority"
    write_revoked
    serial=$(openssl x509 -in "$folder/$1.pem" -noout -serial)
    mv "$folder/$1.pem" "$folder/$1.revoked-${serial#serial=}.pem"
    rm -f "$folder/$1.key"
    printf 'withdrew %s; copy %s to the broker and restart it\n' "$1" "$folder/revoked.pem"
}

(($# >= 2)) || usage
folder=$1 what=$2
shift 2
case $what in
    ca) (($# == 0)) || usage; make_ca ;;
    broker) make_broker "$@" ;;
    device)
        (($# == 1)) || usage
        [[ $1 =~ ^[A-Za-z0-9_-]{1,64}$ ]] || fail "a device id has letters, digits, _ and - only: $1"
        [[ $1 != ca && $1 != broker ]] || fail "the name $1 is taken"
        make_client "$1" ;;
    client)
        (($# == 1)) || usage
        [[ $1 =~ ^[A-Za-z0-9_-]+\.[A-Za-z0-9._-]+$ && ${#1} -le 64 ]] ||
            fail "a program's name has a dot, so that no device can bear it: app.$1"
        make_client "$1" ;;
    revoke) (($# == 1)) || usage; revoke "$1" ;;
    *) usage ;;
esac
