#!/bin/sh
# What a person reads after logging in: READY or BLOCKED, the reason, and the command that tells more. login.sh [COMMAND [STATE-DIR]]
# The gate is asked, and answers everybody: nothing is decided here, and nothing is kept that could outlive a boot or a policy.
command=${1-/usr/local/sbin/cowgate}
state_dir=${2-/var/lib/cowgate}
LC_ALL=C
export LC_ALL
[ -x "$command" ] || exit 0

tell() {
    printf 'cowgate: %s\n' "$1"
    printf '%s\n' "$2" | fold -s -w 90 | sed 's/^/    /'
}

# One field of a document of ours, which has one in a line: field FILE INDENT NAME
field() {
    sed -n "s/^$2\"$3\": \"\{0,1\}\(.*[^\",]\)\"\{0,1\},\{0,1\}\$/\1/p" "$1" 2>/dev/null | head -n 1
}

# An install that was begun, and the mailcow that runs: from then on readiness is not what a person asks for.
installed() {
    install=$state_dir/install.json
    status=$state_dir/status.json
    state=$(field "$install" '  ' state)
    case $state in
    '') return 1 ;;
    done) ;;
    *)
        said=$(field "$install" '    ' message)
        again=$(field "$install" '  ' next_try)
        again=${again%%.*}
        case $again in '' | *[!0-9]*) again= ;; *) again=", next try $(date -d "@$again" +%H:%M 2>/dev/null)" ;; esac
        if [ "$state" = running ] && [ -d "/proc/$(field "$install" '  ' process)" ]; then
            tell "the install of mailcow is under way" "progress: $command status"
        else
            tell "the install of mailcow is unfinished" "${said:-it was cut off}$again"
            echo "    what to do: $command status"
        fi
        return 0
        ;;
    esac
    if grep -q '^      "level": "unsound"' "$status" 2>/dev/null; then
        tell "mailcow runs, and is UNSOUND" "$(awk '/^      "text": / { s = $0; sub(/^[^:]*: "/, "", s); sub(/",?$/, "", s); print s; exit }' "$status")"
        echo "    what to do: $command status"
    else
        tell "mailcow runs" "how it is: $command status"
    fi
}

if installed; then
    exit 0
fi
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
    echo "    what to do: $command"
fi
