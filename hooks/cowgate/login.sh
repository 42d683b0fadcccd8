#!/bin/sh
# What a person reads after logging in: READY or BLOCKED, the reason, and the command that tells more. login.sh [COMMAND]
# The gate is asked, and answers everybody: nothing is decided here, and nothing is kept that could outlive a boot or a policy.
command=${1-/usr/local/sbin/cowgate}
LC_ALL=C
export LC_ALL
[ -x "$command" ] || exit 0

tell() {
    printf 'cowgate: %s\n' "$1"
    printf '%s\n' "$2" | fold -s -w 90 | sed 's/^/    /'
}

said=$("$command" gate 2>&1)
code=$?
said=$(printf '%s' "$said" | head -n 1)
if [ "$code" -eq 0 ] && [ "${said#open: }" != "$said" ]; then
    tell "READY: this machine is ready for mailcow" "what was checked: $command report"
elif [ "$code" -ne 3 ]; then
    tell "BLOCKED: the gate cannot be asked" "$said"
else
    # The gate is for the install: a mail server that runs for weeks need not be checked every day.
    case $said in *"too old"*) [ ! -e /opt/mailcow-dockerized/mailcow.conf ] || exit 0 ;; esac
    tell "BLOCKED: this machine is not ready for mailcow" "${said#shut: }"
fi
