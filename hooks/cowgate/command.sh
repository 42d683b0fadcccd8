#!/bin/sh
{ # In braces: a shell runs nothing of it before it has read all of it, and a file that was cut short is an error.
# The command `cowgate`, as it lies in /usr/local/sbin: small, replaced in one step, and outside of what it starts. A program that
# was emptied or cut short does nothing and ends with 0, which would be "open", or "ready". So a 0 of the gate counts only with the
# word and the end of the answer, which COWGATE_ANSWER asks for, and all other commands want a launcher that is whole.
set -eu
launcher=/opt/cowgate/hooks/cowgate.sh
case $0 in */cowgate/command.sh) launcher=${0%/cowgate/command.sh}/cowgate.sh ;; esac # a checkout's own
newline='
'

refuse() { printf 'cowgate: %s; install cowgate again\n' "$1" >&2; exit 3; }

if [ "${1-}" != gate ]; then
    [ "$(tail -n 1 "$launcher")" = "} # the end" ] || refuse "$launcher was cut short"
    exec "$launcher" "$@"
fi

# Before a guarded command the gate is asked alone: it becomes that command only here.
asked=whole
for word; do [ "$word" != -- ] || asked=alone; done
code=0
answer=$(COWGATE_ANSWER=$asked "$launcher" "$@") || code=$?
end=${answer##*"$newline"}
case $end in
"cowgate gate: "*" end") text=${answer%"$end"} ;;
*) text=$answer end= ;;
esac
case $asked:$code:$end in
"alone:0:cowgate gate: open end")
    while [ "$1" != -- ]; do shift; done
    shift
    umask 022 # a hardened shell's 077 would close to the containers what mailcow's scripts write
    COWGATE_READY=1 # opens the lock in docker-compose.override.yml for what runs behind the gate
    export COWGATE_READY
    exec "$@" ;;
alone:0:"cowgate gate: help end" | whole:*) printf '%s' "$text" ;;
esac
case $code:$end in
"0:cowgate gate: open end" | "0:cowgate gate: help end") exit 0 ;;
0:*) refuse "the gate gave no whole answer, so it is shut" ;;
*) exit "$code" ;;
esac
} # the end
