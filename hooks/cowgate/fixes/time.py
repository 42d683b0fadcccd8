"""Give the time daemon servers, and switch it on. A provider's own servers are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, Command, EditFile, InstallPackages, RestartUnit, UnitState, WriteFile
from cowgate.facts.timesources import OUR_CHRONY_FILE, OUR_DROPIN
from cowgate.fixes import fix
from cowgate.model import Phase
from cowgate.policy import Time
from cowgate.requirements.time import PACKAGES, daemon_in_use, is_on

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.facts.timesources import Chrony, Timesyncd
    from cowgate.policy import Policy

BUILD_AND_LATER = (Phase.BUILD, Phase.BOOT, Phase.INSTALL)
COMMENT = "# Written by cowgate (time.servers); `cowgate undo` takes it back, `cowgate explain time.servers` says why."
# manager -> the unit of the daemon in PACKAGES
UNITS = {"apt": "systemd-timesyncd.service", "dnf": "chronyd.service", "apk": "chronyd.service"}


@fix(
    "time.servers",
    title="give the time daemon servers",
    phases=BUILD_AND_LATER,
    repairs=("time.servers", "time.synchronization"),
    after=("system.tools",),
)
def set_servers(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """A drop-in or a source file where the daemon reads one, else a marked block. Without a daemon, one is installed."""
    daemon, unit = daemon_in_use(facts)
    sources = facts.timesources.value
    manager = facts.tools.value.manager
    if not daemon and manager:
        yield InstallPackages(manager, (PACKAGES[manager],))
        if manager == "apt":
            yield _dropin(policy.time.servers)
            yield RestartUnit(UNITS[manager], "new servers")
        yield from _switch_on(facts, UNITS[manager])
    if daemon == "systemd-timesyncd" and sources.timesyncd:
        servers = timesyncd_servers(sources.timesyncd, facts, policy, phase)
        if servers:
            yield _dropin(servers)
            yield RestartUnit("systemd-timesyncd.service", "new servers")
    if daemon == "chrony" and sources.chrony:
        servers = missing(tuple(source.name for source in sources.chrony.sources), facts, policy, phase)
        if servers:
            yield _chrony_file(sources.chrony, servers)
            yield RestartUnit(unit.name if unit else "chrony.service", "new servers")


def timesyncd_servers(timesyncd: Timesyncd, facts: Facts, policy: Policy, phase: Phase) -> tuple[str, ...]:
    """All servers that the drop-in names, for it replaces those before it; empty where none is needed."""
    kept = tuple(source.name for source in timesyncd.others)
    meant = tuple(server for dead in timesyncd.dead for server in dead.servers if server not in kept)
    wanted = tuple(dict.fromkeys((*kept, *meant)))
    known = (*wanted, *timesyncd.network)
    # the fallback is used only without any other, and is enough as long as it does
    does = timesyncd.fallback and not _unsynchronized(facts, phase)
    added = () if does and not known else missing(known, facts, policy, phase)
    return (*wanted, *added) if meant or added else ()


def missing(known: tuple[str, ...], facts: Facts, policy: Policy, phase: Phase) -> tuple[str, ...]:
    """The policy's servers, where those known are none, or do not do.

    A daemon that has run with them and not synchronized the clock gets more, beside them. One that does not run yet gets
    more only where the policy names its own: nobody knows yet what its own servers are worth.
    """
    chosen = policy.time.servers != Time().servers
    if known and not (_unsynchronized(facts, phase) and (chosen or is_on(facts))):
        return ()
    return tuple(server for server in policy.time.servers if server not in known)


def _unsynchronized(facts: Facts, phase: Phase) -> bool:
    # a build's clock says nothing about the machines made from the image
    return phase is not Phase.BUILD and facts.clock.value.synchronized is not True


def _dropin(servers: tuple[str, ...]) -> WriteFile:
    # the empty NTP= forgets what other files set: values of several files add up
    return WriteFile(OUR_DROPIN, f"{COMMENT}\n[Time]\nNTP=\nNTP={' '.join(servers)}\n")


def _chrony_file(chrony: Chrony, servers: tuple[str, ...]) -> Change:
    lines = tuple(_chrony_line(server) for server in servers)
    # what lies in /run is gone after the next boot
    directory = next((path for path in chrony.sourcedirs if path.startswith("/etc/")), None)
    if directory:
        return WriteFile(f"{directory}/{OUR_CHRONY_FILE}", "\n".join((COMMENT, *lines)) + "\n")
    return EditFile(chrony.path, "block.set", {"name": "time", "lines": list(lines)})


def _chrony_line(server: str) -> str:
    if "pool" not in server:
        return f"server {server} iburst"
    # a pool's name stands for four servers; two from each of several are enough (chrony.conf(5))
    return f"pool {server} iburst maxsources 2"


@fix(
    "time.synchronization",
    title="switch the time daemon on, and wait for the clock",
    after=("time.servers",),
)
def switch_on(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """The daemon that is there, unmasked, enabled and started. The engine then waits for the clock."""
    daemon, unit = daemon_in_use(facts)
    if daemon and unit is not None and is_on(facts) is False:
        if facts.clock.value.can_ntp and not unit.masked and not unit.starts:
            yield Command(
                ("timedatectl", "set-ntp", "true"),
                why=f"{unit.name} does not run, so nothing keeps the clock right",
                undo=("timedatectl", "set-ntp", "false"),
                check=("systemctl", "is-active", "--quiet", unit.name),
            )
        else:
            yield from _switch_on(facts, unit.name)


def _switch_on(facts: Facts, unit: str) -> Iterator[Change]:
    if facts.services.value.manager != "openrc":
        yield UnitState(unit, running=True, enabled=True, masked=False)
        return
    service = unit.partition(".")[0]
    yield Command(
        ("rc-update", "add", service, "default"),
        why=f"{service} must start at boot",
        undo=("rc-update", "del", service, "default"),
        check=("test", "-e", f"/etc/runlevels/default/{service}"),
    )
    yield Command(
        ("rc-service", service, "start"),
        why=f"{service} does not run, so nothing keeps the clock right",
        undo=("rc-service", service, "stop"),
        check=("rc-service", "--quiet", service, "status"),
    )
