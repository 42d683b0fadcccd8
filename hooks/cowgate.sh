#!/bin/sh
{ # In braces: a shell runs nothing of it before it has read all of it, and a file that was cut short is an error.
# The command: finds a Python for cowgate and starts it.
#
#   cowgate.sh COMMAND...             run cowgate (see cowgate.sh --help)
#   cowgate.sh --setup [COMMAND...]   first get what it needs: the distribution's packages, else a private environment in
#                                     /opt/cowgate/venv. Nothing is fetched when nothing is missing. With --dry-run
#                                     it is only told; on a terminal it asks, unless --yes is among the arguments.
#   cowgate.sh --parse-only COMMAND... only say what is wrong with the options
#   cowgate.sh --interpreter          print the Python that would be used
#
# Exit code 3 (blocked) when there is no Python: a machine that cannot be judged is not ready.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export PATH
venv=/opt/cowgate/venv
package=/usr/lib/cowgate
lock_seconds=300
asked_for=/var/lib/cowgate/setup
needed="yaml jsonschema psutil dns"
also=
quiet=no
options_of_run="--phase --root --policy --offline --only --skip --format --output --quiet --verbose --state-dir --dry-run --yes\
 --by-hand --strict --help"

# On a terminal broken between words.
say() {
    columns=
    if [ -t 2 ] && command -v fold >/dev/null; then columns=$(stty size <&2 2>/dev/null) || columns=; fi
    columns=${columns#* }
    case $columns in
    "" | 0 | *[!0-9]*) printf 'cowgate: %s\n' "$*" >&2 ;;
    *) printf 'cowgate: %s\n' "$*" | fold -s -w "$columns" >&2 ;;
    esac
}
tell() { [ "$quiet" = yes ] || say "$*"; } # how far it is: -q wants the verdict alone

# The version is read from the name that a link leads to, where there is one: starting Python to ask costs as much as the gate.
new_enough() {
    for minor in 9 10 11 12 13 14 15; do
        # shellcheck disable=SC3013  # -ef: not in POSIX, but in dash, ash, bash and ksh
        [ "$1" -ef "${1%/*}/python3.$minor" ] && return 0
    done
    "$1" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null
}

find_python() {
    python=$venv/bin/python
    [ -e "$venv/complete" ] && [ -x "$python" ] && return 0
    for name in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 \
        /usr/libexec/platform-python; do
        python=$(command -v "$name") && new_enough "$python" && return 0
    done
    python=
    return 1
}

# What is not there of these modules and of the rest, in words; nothing when all is there.
lacking() {
    if [ -z "$python" ]; then
        echo "Python 3.9"
    else
        "$python" -I -B -c 'from importlib.util import find_spec
from sys import argv
print(*[name for name in argv[1:] if find_spec(name) is None])' "$@"
    fi
    command -v ip >/dev/null || echo ip
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || echo certificates
}

# Package managers that run by themselves at first boot hold their lock for minutes.
patiently() {
    waited=0
    until output=$("$@" 2>&1 </dev/null); do
        case $output in
        *"Could not get lock"* | *"Unable to acquire"* | *"Unable to lock"*) ;;
        *) waited=$lock_seconds ;;
        esac
        [ "$waited" -lt "$lock_seconds" ] || {
            # Of another program's words only what a terminal prints, and no password of a proxy or a mirror.
            said=$(printf '%s\n' "$output" | LC_ALL=C tr -c '[:print:]\n' '?' | grep . | tail -n 1)
            say "$* failed: $(printf '%s\n' "$said" | sed 's#://[^ ]*@#://***@#g')"
            return 1
        }
        [ "$waited" -gt 0 ] || tell "another program is installing packages; waiting up to $lock_seconds s"
        sleep 5
        waited=$((waited + 5))
    done
}

# Names the distribution's packages, those that must be there and those that may.
name_packages() {
    may=
    for manager in apt-get dnf apk none; do command -v "$manager" >/dev/null && break; done
    case $manager in
    apt-get)
        must="python3 python3-yaml python3-jsonschema python3-psutil python3-dnspython iproute2 ca-certificates"
        may="python3-netifaces python3-cryptography python3-jinja2" ;;
    dnf)
        must="python3 python3-pyyaml python3-jsonschema python3-psutil python3-dns iproute ca-certificates"
        may="python3-cryptography python3-jinja2"
        # EL8's own Python is 3.6; the newer one has no packages of all modules.
        if grep -q '"platform:el8"' /etc/os-release; then must="python3.11 iproute ca-certificates" may=; fi ;;
    apk)
        must="python3 py3-yaml py3-jsonschema py3-psutil py3-dnspython iproute2 ca-certificates"
        may="py3-netifaces py3-cryptography py3-jinja2" ;;
    *) must= ;;
    esac
}

install_packages() {
    # The lists hold one word for each package: they are meant to be split.
    # shellcheck disable=SC2086
    case $manager in
    apt-get) patiently apt-get -q -y --no-install-recommends --no-upgrade install $1 ;;
    dnf) patiently dnf -q -y --setopt=install_weak_deps=False install $1 ;;
    apk) patiently apk -q add --wait "$lock_seconds" $1 ;;
    none) say "no package manager that cowgate knows (apt-get, dnf, apk)"; return 1 ;;
    esac
}

# In one go, else one by one: a package that the distribution lacks must not keep the others away.
get_packages() {
    reachable=yes
    export DEBIAN_FRONTEND=noninteractive
    [ "$manager" != apt-get ] || patiently apt-get -q -o APT::Update::Error-Mode=any update || reachable=no
    install_packages "$must" && return 0
    [ "$reachable" = yes ] || { say "the packages cannot be fetched: is there a network?"; return 1; }
    for package in $must; do install_packages "$package" || :; done
}

# For what the distribution has no packages: an environment of its own. The system's site-packages are never touched.
make_venv() {
    rm -rf "$venv"
    find_python || return 1  # not the one of an older environment, which is gone
    # Debian keeps what a new environment needs in a package of its own.
    [ "$manager" != apt-get ] || install_packages python3-venv || return 1
    "$python" -m venv "$venv" || return 1
    patiently "$venv/bin/python" -m pip install -q PyYAML jsonschema psutil dnspython || return 1
    # Optional: without the first /sys and ip give the same facts, without the second DNSSEC signatures are not verified, and
    # the third is for `--format html`.
    for package in netifaces-plus cryptography Jinja2; do "$venv/bin/python" -m pip install -q "$package" 2>/dev/null || :; done
    : >"$venv/complete"
}

# What stands before a command that needs root: a bare machine has no sudo, and needs none.
sudo_for() { [ "$(id -u)" = 0 ] || printf 'sudo '; }

asks() { [ "$yes" = no ] && [ "$dry_run" = no ] && [ -t 0 ] && [ -t 2 ]; }

may_install() {
    [ "$(id -u)" = 0 ] || { say "installing needs root: sudo $0 --setup"; return 1; }
    asks || return 0
    printf 'Install now? [y/N] ' >&2
    read -r answer
    case $answer in y* | Y*) ;; *) say "nothing was installed"; return 1 ;; esac
}

# For `cowgate undo --list`: packages stay, and the journal of changes begins only once there is a Python.
remember() {
    (umask 022 && mkdir -p "${asked_for%/*}" && echo "$(date -u +%Y-%m-%dT%H:%M:%SZ)  $manager: $must $may" >>"$asked_for") || :
}

# The modules are words that are meant to be split.
# shellcheck disable=SC2086
setup() {
    find_python || :
    missing=$(lacking $needed $also | xargs)
    if [ -n "$missing" ]; then
        parse "$@" || exit
        name_packages
        asks && quiet=no # who is asked has to know what for
        tell "missing on this machine: $missing"
        tell "to install with $manager: ${must:-nothing}${may:+ $may}; what is missing then goes into $venv"
        [ "$dry_run" = no ] || return 0
        may_install || return 1
        tell "installing with $manager: this can take minutes"
        get_packages || return 1
        for package in $may; do install_packages "$package" || :; done
        remember
        find_python || return 1
        if [ -n "$(lacking $needed)" ]; then
            make_venv || :
            find_python
            missing=$(lacking $needed | xargs)
            [ -z "$missing" ] || { say "still missing: $missing"; return 1; }
        fi
        missing=$(lacking $also | xargs)
        [ -z "$missing" ] || say "still missing, and needed by some commands only: $missing"
    fi
    # The installed copy gets its bytecode here, because it never writes any while it runs.
    if [ "$dry_run" = no ] && [ "$here" = /opt/cowgate/hooks ] && [ ! -d "$here/cowgate/__pycache__" ]; then
        "$python" -I -m compileall -q "$here/cowgate" || :
    fi
}

# A typing error is told at once, and not after the minutes in which packages are installed. Where no Python reads the options,
# those of `run` are known here, too.
parse() {
    case ${1-} in "" | -* | gate) return 0 ;; esac
    if find_python; then
        "$python" -IB "$program" --parse-only "$@"
        return
    fi
    [ "$1" = run ] || return 0
    for word; do
        case $word in --) return 0 ;; --*) ;; *) continue ;; esac
        case " $options_of_run " in
        *" ${word%%=*} "*) ;;
        *) say "unrecognized arguments: $word; run has $options_of_run"; return 2 ;;
        esac
    done
}

# A program that was cut short, or is empty, does nothing and ends with 0: which would be "open", or "ready".
whole() {
    case $(tail -n 1 "$1") in
    *"$2") ;;
    *) say "$1 was cut short; install cowgate again"; exit 3 ;;
    esac
}

self=$0
[ ! -L "$self" ] || self=$(readlink -f "$self")
case $self in /*) here=${self%/*} ;; */*) here=$PWD/${self%/*} ;; *) here=$PWD ;; esac

# A package of the distribution counts, and is upgraded with it; a copy that was put beside it by hand steps back.
if [ "$here" = /opt/cowgate/hooks ] && [ -x "$package/cowgate.sh" ]; then
    say "this copy in /opt/cowgate steps back: the package in $package is used"
    exec "$package/cowgate.sh" "$@"
fi

program=$here/cowgate/__main__.py
if [ "${1-}" = --parse-only ]; then
    shift
    parse "$@"
    exit
fi
if [ "${1-}" = --setup ]; then
    shift
    dry_run=no yes=no
    for word; do
        case $word in --dry-run) dry_run=yes ;; --yes) yes=yes ;; -q | --quiet) quiet=yes ;; --) break ;; esac
    done
    # Asked for by itself it gets what single commands need, too; the way to a first verdict does not wait for that.
    case ${1-} in "" | --dry-run | --yes) also=jinja2 ;; esac
    setup "$@" || failed=$?
    [ -z "$also" ] || exit "${failed-0}"
fi
find_python || { say "no Python 3.9 or newer on this machine; \`$(sudo_for)$0 --setup\` installs it"; exit 3; }
[ "${1-}" != --interpreter ] || { echo "$python"; exit 0; }
flags=-IB
if [ "${1-}" = gate ]; then
    # Only that one knows whom to believe; it asks here once more, for a word and an end.
    outer=$here/cowgate/command.sh
    [ -n "${COWGATE_ANSWER-}" ] || { whole "$outer" "} # the end"; exec /bin/sh "$outer" "$@"; }
    flags=-IBS # the gate needs no module that is not Python's own, and is asked often
fi
whole "$program" "sys.exit(main())"
exec "$python" "$flags" "$program" "$@"
exit 3
} # the end
