"""The two scripts beside mailcow's update.sh, and the timer that looks at the mailcow that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cowgate.errors import CowgateError
from cowgate.image.hook import PACKAGE_UNIT_DIR, UNIT_DIR, home_of, unit_text

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

MARK = "# Written by cowgate"
TIMER, SERVICE = "cowgate-status.timer", "cowgate-status.service"
UNIT_TIMEOUT = 60.0
# Alpine's crond runs what is executable there, in the same minutes as the timer.
PERIODIC = "/etc/periodic/15min"
JOB = f"{PERIODIC}/cowgate-status"
RUNLEVELS = "/etc/runlevels"

BEFORE = f"""\
#!/bin/sh
{MARK} (install.update_hooks in /etc/cowgate/policy.yaml).
# Stops an update that would break mailcow: a full disk, a Docker or a Compose that does not answer, a clock that is far off.
# Nothing else: DNS and the network are no reason to hold a security update up. update.sh does not look at our exit code,
# so it is stopped by a signal, and only where it is the one that started us.
[ -x /usr/local/sbin/cowgate ] || exit 0
/usr/local/sbin/cowgate status --before-update
[ $? = 3 ] || exit 0
case $(tr '\\0' ' ' < "/proc/$PPID/cmdline") in
*update.sh*)
    echo "cowgate: the update was stopped before it stopped mailcow" >&2
    kill -TERM "$PPID"
    ;;
esac
"""
AFTER = f"""\
#!/bin/sh
{MARK} (install.update_hooks in /etc/cowgate/policy.yaml).
# update.sh decides anew at every run whether mailcow has IPv6: what was right before may be an open relay now.
# Our exit code becomes that of update.sh: a warning is no failure.
[ -x /usr/local/sbin/cowgate ] || exit 0
/usr/local/sbin/cowgate status --after-update
code=$?
[ "$code" = 4 ] || exit "$code"
"""
AGAIN = f"""\
#!/bin/sh
{MARK} (install.status_timer in /etc/cowgate/policy.yaml).
[ ! -x /usr/local/sbin/cowgate ] || /usr/local/sbin/cowgate status --quiet
"""
HOOKS = {"pre_update_hook.sh": BEFORE, "post_update_hook.sh": AFTER}


def place(host: Host, policy: Policy, progress: Callable[[str], None]) -> None:
    """Put the hooks and the timer in place, as the policy wants it. A hook of the owner's is kept."""
    home = home_of(host)
    if policy.install.update_hooks:
        for name, by_hand in HOOKS.items():
            path, text = f"{policy.install_dir}/{name}", home.adapt(by_hand)
            before = host.read_or_none(path)
            if before is not None and MARK not in before:
                progress(f"{path} is there already and is kept; `cowgate status --{_option(name)}` can be called from it")
            elif before != text:
                host.write_atomic(path, text.encode("ascii"), mode=0o755)
    if not policy.install.status_timer:
        return
    if host.exists("/run/systemd/system"):
        try:
            _start_timer(host)
        except CowgateError as error:
            progress(f"{TIMER} was not started: {error.message}")
    elif host.exists(PERIODIC):
        host.write_atomic(JOB, home.adapt(AGAIN).encode("ascii"), mode=0o755)
        if not any("crond" in host.listdir(f"{RUNLEVELS}/{level}") for level in host.listdir(RUNLEVELS)):
            progress(f"{JOB} waits for crond, which no runlevel has: `rc-update add crond` and `rc-service crond start`")
    else:
        progress(
            "no timer looks at mailcow: there is neither systemd nor /etc/periodic; call `cowgate status` by one of yours"
        )


def _option(name: str) -> str:
    return "before-update" if name.startswith("pre") else "after-update"


def _start_timer(host: Host) -> None:
    for unit in (SERVICE, TIMER):
        if not any(host.exists(f"{directory}/{unit}") for directory in (UNIT_DIR, PACKAGE_UNIT_DIR)):
            host.write_atomic(f"{UNIT_DIR}/{unit}", unit_text(unit).encode(), mode=0o644)
    host.run(("systemctl", "daemon-reload"), timeout=UNIT_TIMEOUT)
    host.run(("systemctl", "add-wants", "timers.target", TIMER), timeout=UNIT_TIMEOUT)
    host.run(("systemctl", "start", TIMER), timeout=UNIT_TIMEOUT)
