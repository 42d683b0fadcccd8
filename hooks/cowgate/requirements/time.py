"""A clock that something keeps right: mail signatures, TOTP and DNSSEC fail without one."""

from __future__ import annotations

from cowgate.model import Level, Phase, Verdict, deferred, failed, passed, unknown, warned
from cowgate.record import TYPE_CHECKING
from cowgate.requirements import requirement
from cowgate.requirements.system import install, manager_of

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.facts.services import Unit
    from cowgate.facts.timesources import Chrony, Dead, Ntpd, Timesyncd
    from cowgate.policy import Policy

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


@requirement(
    "time.synchronization",
    title="A synchronized clock",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("clock", "timesources", "services", "tools"),
    fix="time.synchronization",
)
def synchronization(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """A time daemon runs, and the kernel holds the clock for synchronized."""
    clock = facts.clock.value
    expected = "a running time daemon, and a synchronized clock"
    if not clock.live:
        return deferred("decided at first boot: an offline tree has no clock")
    daemon, unit = daemon_in_use(facts)
    if not daemon:
        return _no_daemon(facts, expected)
    if clock.synchronized is None:
        return unknown(f"whether the clock is synchronized could not be found out: {clock.reason}")
    evidence = {clock.told_by: "synchronized" if clock.synchronized else "not synchronized"}
    if clock.tracking:
        evidence["chronyc tracking"] = f"{clock.tracking.source}, stratum {clock.tracking.stratum}, {clock.tracking.leap}"
    name = unit.name if unit else daemon
    on = is_on(facts)
    if on is False:
        masked = " and is masked" if unit is not None and unit.masked else ""
        return failed(
            f"the time daemon {name} is installed but does not run{masked}: nothing keeps the clock right",
            remedy="switch it on, and wait until `timedatectl show -p NTPSynchronized` says yes",
            commands=_switch_on(facts, name),
            expected=expected,
            observed="no time daemon runs",
            evidence=evidence,
        )
    if not clock.synchronized:
        servers = ", ".join(servers_in_use(facts)) or "no server"
        runs = f"{name} runs, but the clock is not synchronized"
        whether = f"the clock is not synchronized, and whether {name} runs could not be found out"
        return failed(
            f"{runs if on else whether} (its servers: {servers})",
            remedy="let UDP port 123 out to these servers, or name reachable ones as time.servers in the policy",
            commands=_explain(daemon),
            expected=expected,
            observed="not synchronized",
            evidence=evidence,
        )
    return passed(f"synchronized by {name}" if on else f"synchronized, {name} is there", expected=expected, evidence=evidence)


def _switch_on(facts: Facts, name: str) -> tuple[tuple[str, ...], ...]:
    if facts.services.value.manager == "openrc":
        service = name.partition(".")[0]
        return (("rc-update", "add", service, "default"), ("rc-service", service, "start"))
    if facts.clock.value.can_ntp:
        return (("timedatectl", "set-ntp", "true"),)
    return (("systemctl", "unmask", name), ("systemctl", "enable", "--now", name))


def _explain(daemon: str) -> tuple[tuple[str, ...], ...]:
    if daemon == "chrony":
        return (("chronyc", "-n", "sources"),)
    return (("journalctl", "-b", "-u", "systemd-timesyncd", "--no-pager"),) if daemon == "systemd-timesyncd" else ()


def _no_daemon(facts: Facts, expected: str) -> Verdict:
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


@requirement(
    "time.servers",
    title="Time servers that the daemon in use knows",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("timesources", "services", "clock", "tools"),
    fix="time.servers",
)
def servers(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """By the daemon's own files; a fallback counts when it synchronizes. Settings that nobody reads are named."""
    daemon, _ = daemon_in_use(facts)
    expected = "servers for the time daemon in use"
    if not daemon:
        return _no_daemon(facts, expected)
    sources = facts.timesources.value
    names = servers_in_use(facts)
    if daemon == "systemd-timesyncd" and sources.timesyncd:
        return _timesyncd_servers(sources.timesyncd, names, facts.clock.value.synchronized, phase, expected)
    if not names:
        hidden = sources.chrony.unreadable if daemon == "chrony" and sources.chrony else ()
        if hidden:
            why = f"{', '.join(hidden)} can not be read, so the servers of chrony are not known"
            return unknown(why, remedy="run `cowgate check` as root")
        configured: Chrony | Ntpd | None = sources.chrony if daemon == "chrony" else sources.ntpd
        return failed(
            f"{configured.path if configured else daemon} names no server: {daemon} has nothing to take the time from",
            remedy="name servers in it",
            expected=expected,
            observed="none",
        )
    return passed(f"{daemon}: {' '.join(names)}", expected=expected)


def _timesyncd_servers(
    timesyncd: Timesyncd, names: tuple[str, ...], synchronized: bool | None, phase: Phase, expected: str
) -> Verdict:
    dead = [item for item in timesyncd.dead if not set(item.servers) <= set(names)]
    own = bool(timesyncd.servers or timesyncd.network)
    works = own or (bool(timesyncd.fallback) and (synchronized is True or phase is Phase.BUILD))
    restart = ("systemctl", "restart", "systemd-timesyncd")
    if not works:
        fallback = f"its fallback ({' '.join(timesyncd.fallback)}) has not synchronized the clock"
        explained = "".join(f"; {explain(item)}" for item in timesyncd.dead)
        return failed(
            f"systemd-timesyncd has no servers of its own, and "
            f"{fallback if timesyncd.fallback else 'no fallback either'}{explained}",
            remedy="write NTP= with servers below [Time] in /etc/systemd/timesyncd.conf.d/60-cowgate.conf, then restart it",
            commands=(restart,),
            expected=expected,
            observed="none of its own",
            evidence=_where(timesyncd),
        )
    observed = f"systemd-timesyncd: {' '.join(names)}" + ("" if own else " (fallback)")
    if dead:
        return warned(
            "; ".join(explain(item) for item in dead),
            remedy="correct the file: the section is called [Time] in every language, and the key NTP=; then restart it",
            commands=(restart,),
            expected=expected,
            observed=observed,
            evidence=_where(timesyncd),
        )
    return passed(observed, expected=expected, evidence=_where(timesyncd))


def explain(dead: Dead) -> str:
    """One sentence about a setting that nobody reads."""
    servers = f" ({' '.join(dead.servers)})" if dead.servers else ""
    translated = ", a translation of [Time]" if dead.what in ("[Zeit]", "[Temps]", "[Tiempo]", "[Tempo]", "[Tijd]") else ""
    return f"{dead.path} line {dead.line}: {dead.what}{translated} is ignored by systemd-timesyncd{servers}"


def _where(timesyncd: Timesyncd) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in timesyncd.servers:
        found[source.path] = f"{found[source.path]} {source.name}" if source.path in found else source.name
    if timesyncd.network:
        found["the network (DHCP)"] = " ".join(timesyncd.network)
    if not found and timesyncd.fallback:
        found[timesyncd.fallback_path or "compiled in"] = " ".join(timesyncd.fallback)
    return found
