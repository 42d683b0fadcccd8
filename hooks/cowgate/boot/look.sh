#!/bin/sh
# On OpenRC, what cowgate.service and its timer are on systemd: checks, and while the machine or its install is blocked looks again,
# a clock that syncs late or records that appear being some reasons: look.sh SECONDS..., each counted from the end of the look before.
# After the last there is none; `rc-service cowgate restart` begins anew.
set -u
umask 022
cowgate=/usr/local/sbin/cowgate
# The proxy's variables, where there is one.
if [ -r /etc/environment ]; then
    set -a
    # shellcheck disable=SC1091
    . /etc/environment
    set +a
fi

wanted() { for level in /etc/runlevels/*/cowgate-install; do [ -L "$level" ] && return 0; done; return 1; }

# OpenRC starts what waited for us; that is not to be done twice at once.
install() {
    while rc-service cowgate-install status 2>&1 | grep -q starting; do sleep 5; done
    rc-service -q cowgate-install start
}

# Open is what the gate says, not what the check's exit code was; and in a word, as an empty file ends with 0 too.
open() { "$cowgate" gate | grep "^open: "; }

look() {
    open >/dev/null 2>&1 || "$cowgate" --setup run --phase boot --yes
    open || return
    IN_BACKGROUND=yes rc-service -q cowgate start || return
    ! wanted || install
}

until look; do
    [ $# -gt 0 ] || exit 3
    sleep "$1"
    shift
done
