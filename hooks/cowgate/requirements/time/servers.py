"""time.servers: The time daemon has time servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, EditFile, InstallPackages, RestartUnit, WriteFile
from cowgate.facts.timesources import OUR_CHRONY_FILE, OUR_DROPIN
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown, warned
from cowgate.policy.model import Time
from cowgate.requirements.fix import Fix
from cowgate.requirements.time.shared import PACKAGES, daemon_in_use, is_on, no_daemon, servers_in_use, switch_on_daemon

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.timesources import Chrony, Dead, Ntpd, Timesyncd
    from cowgate.policy.model import Policy


DROPIN_DIRECTORY = "/etc/systemd/timesyncd.conf.d"


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """By the daemon's own files; a fallback counts when it synchronizes. Settings that nobody reads are named."""
    daemon, _ = daemon_in_use(facts)
    expected = "servers for the time daemon in use"
    if not daemon:
        return no_daemon(facts, expected)
    sources = facts.timesources.value
    names = servers_in_use(facts)
    if daemon == "systemd-timesyncd" and sources.timesyncd:
        return _timesyncd_servers(sources.timesyncd, names, facts.clock.value.synchronized, phase, expected, policy)
    if not names:
        hidden = sources.chrony.unreadable if daemon == "chrony" and sources.chrony else ()
        if hidden:
            why = f"{', '.join(hidden)} cannot be read, so the servers of chrony are not known"
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
    timesyncd: Timesyncd, names: tuple[str, ...], synchronized: bool | None, phase: Phase, expected: str, policy: Policy
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
            remedy="name servers in a file of its own, then restart it",
            commands=(
                ("mkdir", "-p", DROPIN_DIRECTORY),
                ("sh", "-c", f"printf '[Time]\\nNTP={' '.join(policy.time.servers)}\\n' > {DROPIN_DIRECTORY}/60-ntp.conf"),
                restart,
            ),
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


BUILD_AND_LATER = (Phase.BUILD, Phase.BOOT, Phase.INSTALL)

COMMENT = "# Written by cowgate (time.servers); `cowgate undo` takes it back, `cowgate explain time.servers` says why."

# manager -> the unit of the daemon in PACKAGES
UNITS = {"apt": "systemd-timesyncd.service", "dnf": "chronyd.service", "apk": "chronyd.service"}


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """A drop-in or a source file where the daemon reads one, else a marked block. Without a daemon, one is installed."""
    daemon, unit = daemon_in_use(facts)
    sources = facts.timesources.value
    manager = facts.tools.value.manager
    if not daemon and manager:
        yield InstallPackages(manager, (PACKAGES[manager],))
        if manager == "apt":
            yield _dropin(policy.time.servers)
            yield RestartUnit(UNITS[manager], "new servers")
        yield from switch_on_daemon(facts, UNITS[manager])
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


ROW = Requirement(
    id="time.servers",
    title="The time daemon has time servers",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("timesources", "services", "clock", "tools"),
    judge=judge,
    fix="time.servers",
)

FIX = Fix(
    id="time.servers",
    title="give the time daemon servers",
    phases=BUILD_AND_LATER,
    repairs=("time.servers", "time.synchronization"),
    after=("system.tools",),
    plan=plan,
)
