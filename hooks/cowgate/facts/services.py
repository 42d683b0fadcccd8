"""The services that matter to mailcow: mail and web servers, firewalls, time daemons, Docker.

A running systemd is asked once for all of them. Where there is none to ask (an offline tree, a chroot, OpenRC) the same
follows from the files that the next boot will read; what a preset would do is not guessed.
"""

import re
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.facts.fact import Fact
from cowgate.facts.platform import in_chroot
from cowgate.servers import all_units

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

OTHER_UNITS = (
    "ufw.service",
    "firewalld.service",
    "nftables.service",
    "iptables.service",
    "ip6tables.service",
    "netfilter-persistent.service",
    "csf.service",
    "lfd.service",
    "shorewall.service",
    "shorewall6.service",
    "ferm.service",
    "systemd-networkd.service",
    "dhcpcd.service",
    "cowgate-docker-user.service",
    "docker.service",
    "docker.socket",
    "containerd.service",
    "snap.docker.dockerd.service",
    "podman.socket",
    "systemd-timesyncd.service",
    "chrony.service",
    "chronyd.service",
    "ntpsec.service",
    "ntp.service",
    "ntpd.service",
    "ntpd-rs.service",
    "openntpd.service",
)
# Services that only OpenRC has: what switches the swap areas of /etc/fstab on.
OPENRC_UNITS = ("swap.service",)
PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,FragmentPath"
# Where unit files are looked for, first found wins (systemd.unit(5)); /run is empty in an offline tree.
UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
# What generators and programs make while systemd runs; exim4.service of Debian 12 is in generator.late.
RUNTIME_DIRECTORIES = (
    "/run/systemd/system",
    "/run/systemd/transient",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
)
SYSV_LEVELS = ("/etc/rc2.d", "/etc/rc3.d", "/etc/rc4.d", "/etc/rc5.d")
RUNNING = ("active", "activating", "reloading", "refreshing")


class Unit(NamedTuple):
    """One unit (systemd) or service (OpenRC, here with .service behind its name) that exists on the machine.

    `active` and `sub` are systemd's ActiveState and SubState ("" where nothing could be asked), `file_state` its
    UnitFileState (enabled, disabled, static, masked, generated, ...). `starts` says whether it comes up at boot.
    `links` are the .wants and .requires links to it, known where the files were read; of an OpenRC service those in its
    runlevels.
    """

    name: str
    load: str = "loaded"
    active: str = ""
    sub: str = ""
    file_state: str = ""
    starts: bool = False
    masked: bool = False
    path: str = ""
    links: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        return self.active in RUNNING


class Services(NamedTuple):
    """`manager` is systemd, openrc or "" (neither found); `live` says whether run states were asked of a running one."""

    manager: str
    live: bool
    units: tuple[Unit, ...] = ()

    def unit(self, name: str) -> Optional[Unit]:
        """The unit of that name (with its .service or .socket ending), or None where the machine has none."""
        for unit in self.units:
            if unit.name == name:
                return unit
        return None


def collect(host: "Host", policy: "Policy") -> Fact[Services]:
    """All units of conflicts.SERVERS and OTHER_UNITS that exist. Always a value."""
    names = tuple(dict.fromkeys((*all_units(), *OTHER_UNITS)))
    # In a chroot with the builder's /run in it, systemctl would ask the builder's systemd, or nobody.
    if host.live and host.exists("/run/systemd/system") and not in_chroot(host):
        return Fact.of(Services("systemd", True, _units_of_systemd(host, names)))
    if host.exists("/sbin/openrc-run") or host.exists("/usr/sbin/openrc-run"):
        live = host.live and host.exists("/run/openrc/softlevel")
        states = parse_rc_status(host.run(("rc-status", "--servicelist"), timeout=10).out) if live else {}
        return Fact.of(Services("openrc", live, tuple(_openrc_units(host, names, states))))
    if host.exists("/usr/lib/systemd/systemd") or host.exists("/lib/systemd/systemd"):
        return Fact.of(Services("systemd", False, tuple(_units_from_files(host, names))))
    return Fact.of(Services("", False))


# -- a running systemd -----------------------------------------------------------------------------------------------


def _units_of_systemd(host: "Host", names: tuple[str, ...]) -> tuple[Unit, ...]:
    """One call for all units that have a file: to ask systemd for eighty that have none takes ten times as long."""
    there = _unit_files(host, (*UNIT_DIRECTORIES, *RUNTIME_DIRECTORIES), names)
    if not there:
        return ()
    # systemd loads what it is asked about: at a busy first boot 10 s were too few
    shown = host.run(("systemctl", "show", f"--property={PROPERTIES}", *there), timeout=30).out
    return _with_sysv(host, parse_show(shown))


def _unit_files(host: "Host", directories: tuple[str, ...], names: tuple[str, ...]) -> dict[str, str]:
    """The path of each unit that has a file or a link (also a mask, whose target an offline tree may not have)."""
    listed = [(directory, set(host.listdir(directory))) for directory in directories]
    paths = ((name, next((f"{d}/{name}" for d, there in listed if name in there), "")) for name in names)
    return {name: path for name, path in paths if path}


def parse_show(text: str) -> tuple[Unit, ...]:
    """The units that exist, from `systemctl show` of many; one that goes by two names comes once."""
    units: dict[str, Unit] = {}
    for block in text.split("\n\n"):
        value = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name, state = value.get("Id", ""), value.get("UnitFileState", "")
        masked = value.get("LoadState") == "masked" or state.startswith("masked")
        # A stopped unit without a file is only a name; a running one may have lost its file.
        if not name or (value.get("LoadState") == "not-found" and value.get("ActiveState") not in RUNNING):
            continue
        units[name] = Unit(
            name,
            value.get("LoadState", ""),
            value.get("ActiveState", ""),
            value.get("SubState", ""),
            state,
            starts=state == "enabled" and not masked,
            masked=masked,
            path=value.get("FragmentPath", ""),
        )
    return tuple(units.values())


def _with_sysv(host: "Host", units: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """For units made from an init script (Debian 12's exim4) systemd says "generated": the rc?.d links tell the rest."""
    if not any(unit.file_state == "generated" for unit in units):
        return units
    started = _sysv_started(host)
    return tuple(
        u._replace(starts=u.name.partition(".")[0] in started) if u.file_state == "generated" and not u.masked else u
        for u in units
    )


def _sysv_started(host: "Host") -> set[str]:
    """The init scripts that a runlevel for normal use starts."""
    found = set()
    for directory in SYSV_LEVELS:
        found |= {name[3:] for name in host.listdir(directory) if name[0] == "S" and name[1:3].isdecimal() and name[3:]}
    return {name for name in found if _has_program(host, name)}


def _has_program(host: "Host", script: str) -> bool:
    """Whether the program is there that an init script names: the script of a package that was removed, but not purged,
    stays behind, and does nothing."""
    text = host.read_or_none(f"/etc/init.d/{script}") or ""

    program = re.search(r"(?m)^DAEMON=[\"']?(/[\w./+-]+)[\"']?\s*$", text)
    return program is None or host.exists(program[1])


# -- the files of systemd --------------------------------------------------------------------------------------------


def _units_from_files(host: "Host", names: tuple[str, ...]) -> Iterator[Unit]:
    started = _sysv_started(host)
    wanted = _wanted_units(host)
    paths = _unit_files(host, UNIT_DIRECTORIES, names)
    for name in names:
        path = paths.get(name, "")
        script = name.endswith(".service") and host.exists(f"/etc/init.d/{name[: -len('.service')]}")
        if not path and not script:
            continue
        if path and _is_alias(host, path, names):
            continue
        if path and _is_masked(host, path):
            yield Unit(name, "masked", file_state="masked", masked=True, path=path)
        elif path:
            links = tuple(wanted.get(name, ()))
            yield Unit(name, file_state="enabled" if links else "disabled", starts=bool(links), path=path, links=links)
        else:
            yield Unit(name, file_state="generated", starts=name[: -len(".service")] in started)


def _wanted_units(host: "Host") -> dict[str, list[str]]:
    """The links in .wants and .requires directories by which another unit pulls one in, by the unit's name."""
    wanted: dict[str, list[str]] = {}
    for directory in UNIT_DIRECTORIES:
        for name in host.listdir(directory):
            if name.endswith((".wants", ".requires")):
                for unit in host.listdir(f"{directory}/{name}"):
                    wanted.setdefault(unit, []).append(f"{directory}/{name}/{unit}")
    return wanted


def _is_alias(host: "Host", path: str, names: tuple[str, ...]) -> bool:
    """Whether this is a link to another unit of the list (Debian's chronyd.service is chrony.service): counted there."""
    target = host.realpath(path).rpartition("/")[2]
    return target != path.rpartition("/")[2] and target in names


def _is_masked(host: "Host", path: str) -> bool:
    """A unit file that is a link to /dev/null, or empty, cannot be started (systemctl(1), mask)."""
    if host.readlink(path) is not None:
        return host.realpath(path) == "/dev/null"
    found = host.stat(path)
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


# -- OpenRC ----------------------------------------------------------------------------------------------------------


def _openrc_units(host: "Host", names: tuple[str, ...], states: dict[str, str]) -> Iterator[Unit]:
    """The known services that have an init script; one in any runlevel starts at boot."""
    levels: dict[str, list[str]] = {}
    for level in host.listdir("/etc/runlevels"):
        for service in host.listdir(f"/etc/runlevels/{level}"):
            levels.setdefault(service, []).append(f"/etc/runlevels/{level}/{service}")
    for name in (*names, *OPENRC_UNITS):
        service = name.partition(".")[0]
        if name.endswith(".service") and host.exists(f"/etc/init.d/{service}"):
            starts = service in levels
            active = {"started": "active", "starting": "activating"}.get(states.get(service, ""), "inactive" if states else "")
            links = tuple(levels.get(service, ()))
            yield Unit(name, active=active, file_state="enabled" if starts else "disabled", starts=starts, links=links)


def parse_rc_status(text: str) -> dict[str, str]:
    """Service to state, from `rc-status --servicelist`: " nginx        [  started  ]"."""

    return dict(re.findall(r"(?m)^\s*(\S+)\s+\[\s*(\w+)[^\]]*\]\s*$", text))
