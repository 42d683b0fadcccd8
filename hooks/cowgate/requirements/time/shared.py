"""What the rows of time have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, Command, InstallPackages, Link, RemoveFile, UnitState
from cowgate.facts.timesources import BUSYBOX_CONF
from cowgate.model import Verdict, failed
from cowgate.requirements.system.shared import install, manager_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.services import Unit
    from cowgate.facts.timesources import Chrony, Ntpd

# daemon -> the names its unit has on one distribution or another
DAEMONS = {
    "systemd-timesyncd": ("systemd-timesyncd.service",),
    "chrony": ("chrony.service", "chronyd.service"),
    "ntpd": ("ntpsec.service", "ntp.service", "ntpd.service", "openntpd.service", "ntpd-rs.service"),
}

# manager -> the package of a time daemon
PACKAGES = {"apt": "systemd-timesyncd", "dnf": "chrony", "apk": "chrony"}


def daemon_in_use(facts: Facts) -> tuple[str, Unit | None]:
    """The time daemon and its unit: the one that runs, else one that starts at boot, else one that is installed; else ""."""
    sources = facts.timesources.value
    installed = {
        "systemd-timesyncd": sources.timesyncd is not None,
        "chrony": sources.chrony is not None,
        "ntpd": sources.ntpd is not None,
    }
    found: list[tuple[int, str, Unit | None]] = []
    for name, there in installed.items():
        if there:
            unit = _unit(facts, name)
            rank = 3 if unit is None else 0 if unit.running else 1 if unit.starts else 2
            found.append((rank, name, unit))
    if not found:
        return "", None
    _, name, unit = min(found, key=lambda candidate: candidate[0])
    return name, unit


def _unit(facts: Facts, daemon: str) -> Unit | None:
    units = [unit for name in DAEMONS[daemon] for unit in [facts.services.value.unit(name)] if unit is not None]
    return next((unit for unit in units if unit.running), units[0] if units else None)


def is_on(facts: Facts) -> bool | None:
    """Whether a time daemon runs: by its unit, else by what timedatectl says; None where neither tells."""
    _, unit = daemon_in_use(facts)
    return unit.running if unit is not None and facts.services.value.live else facts.clock.value.ntp


def no_daemon(facts: Facts, expected: str) -> Verdict:
    package = PACKAGES.get(manager_of(facts), "chrony")
    return failed(
        "no time daemon is installed: nothing keeps the clock right",
        remedy=f"install {package}",
        commands=install(facts, package),
        expected=expected,
        observed="none of systemd-timesyncd, chrony, ntpsec, ntp, openntpd, ntpd-rs",
    )


def servers_in_use(facts: Facts) -> tuple[str, ...]:
    """The names of the servers that the daemon in use has, the fallback where it has no others."""
    daemon, _ = daemon_in_use(facts)
    sources = facts.timesources.value
    if daemon == "systemd-timesyncd" and sources.timesyncd:
        timesyncd = sources.timesyncd
        return (*timesyncd.network, *(s.name for s in timesyncd.servers)) or timesyncd.fallback
    other: Chrony | Ntpd | None = sources.chrony if daemon == "chrony" else sources.ntpd
    ours = sources.chrony.ours if daemon == "chrony" and sources.chrony else ()
    return tuple(s.name for s in (*(other.sources if other else ()), *ours))


def is_busybox(facts: Facts) -> bool:
    """Whether the daemon in use is BusyBox's ntpd: it keeps the clock, and never tells the kernel that it is right."""
    daemon, _ = daemon_in_use(facts)
    ntpd = facts.timesources.value.ntpd
    return daemon == "ntpd" and ntpd is not None and ntpd.path == BUSYBOX_CONF


def put_chrony_in_place(facts: Facts) -> Iterator[Change]:
    """chrony instead of BusyBox's ntpd: whether the clock is right can then be told."""
    yield InstallPackages("apk", ("chrony",))
    unit = facts.services.value.unit("ntpd.service")
    if unit is not None and unit.running:
        yield Command(("rc-service", "ntpd", "stop"), why="chrony takes its place", undo=("rc-service", "ntpd", "start"))
    for link in unit.links if unit is not None else ():
        yield RemoveFile(link)
    yield from switch_on_daemon(facts, "chronyd.service")


def again(service: str) -> tuple[str, ...]:
    """What starts a service of OpenRC's that does not run; `start` does nothing for one that died: it is held for started."""
    return ("rc-service", service, "restart")


def switch_on_daemon(facts: Facts, unit: str) -> Iterator[Change]:
    if facts.services.value.manager != "openrc":
        yield UnitState(unit, running=True, enabled=True, masked=False)
        return
    service = unit.partition(".")[0]
    there = facts.services.value.unit(unit)
    if there is None or not there.starts:  # in any runlevel: in a second one it would be twice
        yield Link(f"/etc/runlevels/default/{service}", f"/etc/init.d/{service}")
    yield Command(
        again(service),
        why=f"{service} does not run, so nothing keeps the clock right",
        undo=("rc-service", service, "stop"),
        check=("rc-service", "--quiet", service, "status"),
    )
