#!/bin/sh
# What a person reads after logging in: READY or BLOCKED, the first reason, and the command that tells more. login.sh [ROOT]
# Starts no Python and needs no rights. It looks at less than the gate does (never at who may write what), so it decides
# nothing; whatever it cannot read or does not understand is not called ready.
root=${1-}
LC_ALL=C
export LC_ALL
report=$root/var/lib/cowgate/readiness.json
boot=$(cat /proc/sys/kernel/random/boot_id) || exit 0
read -r uptime _ </proc/uptime
seal=$(cat "$root/var/lib/cowgate/seal.json" 2>/dev/null)

has() { case $seal in *"\"$1\": \"$2\""*) ;; *) return 1 ;; esac; }
has_none() { case $seal in *"\"$1\": null"*) ;; *) return 1 ;; esac; }

# The whole number of seconds that the seal gives, or nothing.
number() {
    rest=${seal#*\""$1"\": }
    rest=${rest%%[!0-9]*}
    printf '%s' "$rest"
}

# As gate.policy_digest: over names, lengths and bytes.
policy() {
    for file in "$root"/etc/cowgate/policy.yaml "$root"/etc/cowgate/policy.d/*.yaml; do
        [ ! -e "$file" ] || {
            printf '%s\0%d\0' "${file#"$root"}" "$(wc -c <"$file")"
            cat "$file"
        }
    done 2>/dev/null | sha256sum
}

why_shut() {
    if [ -z "$seal" ]; then
        echo "it was changed since, or the check was not sealed"
    elif ! has boot "$boot" || ! has report "$(sha256sum <"$report" | cut -c -64)"; then
        echo "the last report is not sealed"
    elif ! has policy "$(policy | cut -c -64)"; then
        echo "the policy was changed since the check"
    elif ! [ "${uptime%.*}" -lt "$(number valid_until)" ] 2>/dev/null; then
        echo "$old"
    elif ! has_none waivers_until && ! [ "$(date +%s)" -lt "$(number waivers_until)" ] 2>/dev/null; then
        echo "a waiver has run out"
    fi
}

# The first row that blocks (as gate.blockers has it) and how many more do. The report has one field in a line.
blocking() {
    awk '
function text() { s = $0; sub(/^[^:]*: "?/, "", s); sub(/"?,?$/, "", s); return s }
/^  "phase": / { phase = text() }
/^      "id": / { id = text(); later = 0 }
/^      "level": / { level = text() }
/^        "install",?$/ { later = 1 }
/^      "status": / { status = text() }
/^      "observed": / { said = text() }
/^      "diagnosis": / {
    if (text() != "") said = text()
    if (level == "advised" || status ~ /^(pass|warn|fixed|waived)$/ || (status == "deferred" && later && phase == "boot")) next
    if (!n++) first = id ": " said
}
END {
    gsub(/\\n/, " ", first); gsub(/\\"/, "\"", first); gsub(/\\\\/, "\\", first)
    if (n) print first (n > 1 ? " (and " n - 1 " more)" : "")
}' "$report"
}

tell() {
    printf 'cowgate: %s\n' "$1"
    printf '%s\n' "$2" | fold -s -w 90 | sed 's/^/    /'
}

more=/usr/local/sbin/cowgate
old="the check is too old"
if ! grep -q "^    \"boot\": \"$boot\"" "$report" 2>/dev/null; then
    tell "BLOCKED: not checked yet since this machine was started" "progress: journalctl -fu cowgate; to check now: $more run"
elif ! reason=$(blocking) || [ -n "$reason" ]; then
    tell "BLOCKED: this machine is not ready for mailcow" "$reason"
    echo "    what to do: $more report"
elif ! reason=$(why_shut) || [ -n "$reason" ]; then
    # The gate is for the install: a mail server that runs for weeks is not to be checked every day.
    [ "$reason" != "$old" ] || [ ! -e "$root/opt/mailcow-dockerized/mailcow.conf" ] || exit 0
    tell "BLOCKED: this machine has to be checked again" "$reason: $more run"
else
    tell "READY: this machine is ready for mailcow" "what was checked: $more report"
fi
