"""time.synchronization: The clock is synchronized."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, Command
from cowgate.facts.timesources import REFCLOCK
from cowgate.model import Commands, Level, Phase, Requirement, Verdict, deferred, failed, passed, unknown
from cowgate.requirements.fix import Fix
from cowgate.requirements.services.shared import called, leave_runlevels
from cowgate.requirements.system.shared import manager_of
from cowgate.requirements.time.shared import (
    again,
    daemon_in_use,
    is_busybox,
    is_on,
    no_daemon,
    put_chrony_in_place,
    servers_in_use,
    switch_on_daemon,
)

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """A time daemon runs, and the kernel holds the clock for synchronized."""
    clock = facts.clock.value
    expected = "a running time daemon, and a synchronized clock"
    if not clock.live:
        return deferred("decided at first boot: an offline tree has no clock")
    daemon, unit = daemon_in_use(facts)
    if not daemon:
        return no_daemon(facts, expected)
    if not clock.synchronized and is_busybox(facts):
        return failed(
            "the time daemon is BusyBox's ntpd, which never tells the kernel whether the clock is right: it cannot be checked",
            remedy="replace it with chrony, and wait until `chronyc tracking` says Leap status: Normal",
            commands=_chrony_for_busybox(facts),
            expected=expected,
            observed="BusyBox's ntpd",
        )
    if clock.synchronized is None:
        return unknown(f"whether the clock is synchronized was not determined: {clock.reason}")
    evidence = {clock.told_by: "synchronized" if clock.synchronized else "not synchronized"}
    if clock.tracking:
        evidence["chronyc tracking"] = f"{clock.tracking.source}, stratum {clock.tracking.stratum}, {clock.tracking.leap}"
    name = unit.name if unit else daemon
    shown = called(name, facts.services.value.manager)
    on = is_on(facts)
    if on is False:
        masked = " and is masked" if unit is not None and unit.masked else ""
        return failed(
            f"the time daemon {shown} is installed but does not run{masked}: nothing keeps the clock right",
            remedy=f"switch it on, and wait until {_told_by(facts)}",
            commands=_switch_on(facts, name),
            expected=expected,
            observed="no time daemon runs",
            evidence=evidence,
        )
    if not clock.synchronized:
        names = servers_in_use(facts)
        servers = ", ".join(names) or "none"
        clocks = bool(names) and all(name.startswith(f"{REFCLOCK} ") for name in names)
        runs = f"{shown} runs, but the clock is not synchronized"
        whether = f"the clock is not synchronized; whether {shown} runs was not determined"
        return failed(
            f"{runs if on else whether} (its servers: {servers})",
            remedy="see whether chrony reads its reference clock (the hypervisor's, or a receiver), or name servers as well"
            if clocks
            else "let UDP port 123 out to these servers, or name reachable ones as time.servers in the policy",
            commands=_explain(daemon),
            expected=expected,
            observed="not synchronized",
            evidence=evidence,
        )
    return passed(
        f"synchronized by {shown}" if on else f"synchronized, {shown} is there", expected=expected, evidence=evidence
    )


def _chrony_for_busybox(facts: Facts) -> Commands:
    return (
        ("apk", "add", "chrony"),
        ("rc-service", "--ifstarted", "ntpd", "stop"),
        *leave_runlevels("ntpd", facts.services.value.unit("ntpd.service")),
        ("rc-update", "add", "chronyd", "default"),
        ("rc-service", "chronyd", "start"),
    )


def _told_by(facts: Facts) -> str:
    """Where a person sees that the clock is right, with what is there."""
    if facts.services.value.manager == "systemd":
        return "`timedatectl show -p NTPSynchronized` says yes"
    return "`chronyc tracking` says Leap status: Normal" if daemon_in_use(facts)[0] == "chrony" else "this row passes"


def _switch_on(facts: Facts, name: str) -> tuple[tuple[str, ...], ...]:
    if facts.services.value.manager == "openrc":
        service = name.partition(".")[0]
        unit = facts.services.value.unit(name)
        enable = () if unit is not None and unit.starts else (("rc-update", "add", service, "default"),)
        return (*enable, again(service))
    if facts.clock.value.can_ntp:
        return (("timedatectl", "set-ntp", "true"),)
    return (("systemctl", "unmask", name), ("systemctl", "enable", "--now", name))


def _explain(daemon: str) -> tuple[tuple[str, ...], ...]:
    if daemon == "chrony":
        return (("chronyc", "-n", "sources"),)
    return (("journalctl", "-b", "-u", "systemd-timesyncd", "--no-pager"),) if daemon == "systemd-timesyncd" else ()


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """The daemon that is there, unmasked, enabled and started. The engine then waits for the clock."""
    daemon, unit = daemon_in_use(facts)
    if is_busybox(facts) and not facts.clock.value.synchronized and manager_of(facts) == "apk":
        yield from put_chrony_in_place(facts)
    elif daemon and unit is not None and is_on(facts) is False:
        if facts.clock.value.can_ntp and not unit.masked and not unit.starts:
            yield Command(
                ("timedatectl", "set-ntp", "true"),
                why=f"{unit.name} does not run, so nothing keeps the clock right",
                undo=("timedatectl", "set-ntp", "false"),
                check=("systemctl", "is-active", "--quiet", unit.name),
            )
        else:
            yield from switch_on_daemon(facts, unit.name)


ROW = Requirement(
    id="time.synchronization",
    title="The clock is synchronized",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("clock", "timesources", "services", "tools"),
    judge=judge,
    fix="time.synchronization",
)

FIX = Fix(
    id="time.synchronization",
    title="switch the time daemon on, and wait for the clock",
    after=("time.servers",),
    repairs=("time.synchronization",),
    plan=plan,
)
