"""Listening sockets and who holds them: by psutil, and out of /proc what it does not tell (unit, user, package).

No process is started unless a port of mailcow's is taken.
"""

import os
import re
import socket
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.errors import CowgateError
from cowgate.facts.fact import Fact
from cowgate.machine.modules import Bound, Late
from cowgate.probes.text import plain

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# What mailcow publishes by default (its docker-compose.yml); the package of a holder is looked up for these only.
MAILCOW_PORTS = (25, 80, 110, 143, 443, 465, 587, 993, 995, 4190, 19991, 13306, 7654)
TABLES = (("tcp", 4, "tcp"), ("tcp", 6, "tcp6"), ("udp", 4, "udp"), ("udp", 6, "udp6"))
LISTEN = {"tcp": "0A", "udp": "07"}  # TCP_LISTEN; a UDP socket without a peer has TCP_CLOSE (net/tcp_states.h)
TABLE_LIMIT = 16 << 20  # bytes; 150 bytes a connection
COMM_LENGTH = 15  # the kernel cuts command names here (TASK_COMM_LEN less one)
OURS = ("docker-proxy", "dockerd", "rootlesskit")  # their package says nothing about who wants the port


class Listener(NamedTuple):
    """One listening TCP socket, or bound UDP socket.

    `address` is as inet_ntop prints it; "0.0.0.0" and "::" are every address. `pid` and what follows from it are
    None or empty where only root may know; then `uid` is the user whose socket it is. `unit` is the systemd unit of
    the process, `package` the package of its program; the package is looked up only for ports that mailcow wants.
    """

    protocol: str  # tcp or udp
    family: int  # 4 or 6
    address: str
    port: int
    uid: Optional[int] = None
    pid: Optional[int] = None
    process: str = ""
    unit: str = ""
    package: str = ""


class Sockets(NamedTuple):
    """Every listener. `reason` says why some processes are not known ("" when all are)."""

    listeners: tuple[Listener, ...] = ()
    reason: str = ""
    dual_stack: bool = True  # net.ipv6.bindv6only is 0: a socket on :: may hold the IPv4 port too


def collect(host: "Host", policy: "Policy") -> Fact[Sockets]:
    """All listeners of this network namespace. Without root the processes of others stay unknown, and `reason` says so."""
    host.demand_live("listening sockets")
    late = ""
    try:
        bound = host.bound_sockets()
    except Late as error:  # what listens is known all the same, and not whose it is
        bound, late = tuple(Bound(*key) for key in _owners_of_sockets(host, LISTEN)), error.message
    wanted = {*MAILCOW_PORTS, *_configured_ports(host, policy)}
    owners = _owners_of_sockets(host, {one.protocol for one in bound if one.pid is None})
    programs: dict[int, tuple[str, str]] = {}
    listeners = [_describe(host, one, one.port in wanted, owners, programs) for one in sorted(set(bound), key=_order)]
    listeners = _with_packages(host, _with_socket_units(host, listeners, wanted), wanted)
    reason = ""
    if any(x.pid is None for x in listeners):
        seen = "only root may see" if host.euid() != 0 else "/proc does not show"
        reason = late or f"{seen} which process holds a socket"
    dual = (host.read_or_none("/proc/sys/net/ipv6/bindv6only") or "0").strip() == "0"
    return Fact.of(Sockets(tuple(dict.fromkeys(listeners)), reason, dual))


def _order(one: Bound) -> tuple[str, int, int, str, int]:
    return one.protocol, one.port, one.family, one.address, one.pid or 0


# -- the user of a socket --------------------------------------------------------------------------------------------


def _owners_of_sockets(host: "Host", protocols: Collection[str]) -> dict[tuple[str, int, str, int], int]:
    owners: dict[tuple[str, int, str, int], int] = {}
    for protocol, family, name in TABLES:
        if protocol in protocols:  # the kernel walks a table of its own size for each, however few sockets there are
            owners.update(parse_table(host.read_or_none(f"/proc/net/{name}", TABLE_LIMIT) or "", protocol, family))
    return owners


def parse_table(text: str, protocol: str, family: int) -> dict[tuple[str, int, str, int], int]:
    """The user of each listener in /proc/net/{tcp,tcp6,udp,udp6}, by protocol, family, address and port."""
    found = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or words[3] != LISTEN[protocol]:
            continue
        packed, _, port = words[1].rpartition(":")
        found[(protocol, *_address(family, packed_address(packed)), int(port, 16))] = int(words[7])
    return found


def _address(family: int, packed: bytes) -> tuple[int, str]:
    text = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    if text.startswith("::ffff:") and "." in text:
        return 4, text[len("::ffff:") :]
    return family, text


def packed_address(text: str) -> bytes:
    """An address as /proc/net prints it: 32-bit words in hexadecimal, each in the byte order of the machine."""
    words = [bytes.fromhex(text[i : i + 8]) for i in range(0, len(text), 8)]
    return b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)


# -- its process -----------------------------------------------------------------------------------------------------


def parse_cgroup(text: str) -> str:
    """The systemd unit in a /proc/PID/cgroup (v1, v2 or both), or OpenRC's service as services.Unit names it; "" for a
    process of neither."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers not in ("", "name=systemd"):
            continue
        for part in path.split("/"):
            if part.endswith((".service", ".scope")) and part != "init.scope":
                return part
            if part.startswith("openrc."):
                return f"{part[len('openrc.') :]}.service"
    return ""


def _describe(
    host: "Host",
    one: Bound,
    wanted: bool,
    owners: dict[tuple[str, int, str, int], int],
    programs: dict[int, tuple[str, str]],
) -> Listener:
    """The listener with its process; `programs` keeps the name and the unit of those that were looked at before."""
    key = (one.protocol, one.family, one.address, one.port)
    if one.pid is None:
        return Listener(*key, owners.get(key))
    pid = _oldest(host, one.pid, one.fd) if wanted else one.pid
    try:
        if pid not in programs:
            programs[pid] = _name(host, pid), parse_cgroup(host.read_or_none(f"/proc/{pid}/cgroup") or "")
    except OSError:  # it ended meanwhile
        return Listener(*key)
    process, unit = programs[pid]
    return Listener(*key, None, pid, process, unit)


def _oldest(host: "Host", pid: int, fd: int) -> int:
    """The server itself: of several processes that share a socket psutil names the newest, a worker or what it started.

    Never init where another has it too: systemd keeps the sockets that it hands over.
    """
    try:
        name = host.readlink(f"/proc/{pid}/fd/{fd}")
        for parent in host.ancestors(pid):
            if parent == 1 or name not in _sockets_of(host, parent):
                break
            pid = parent
    except OSError:  # one of them ended meanwhile
        return pid
    return pid


def _sockets_of(host: "Host", pid: int) -> set[Optional[str]]:
    return {host.readlink(f"/proc/{pid}/fd/{fd}") for fd in host.listdir(f"/proc/{pid}/fd")}


def _name(host: "Host", pid: int) -> str:
    """The name of a process, whole: psutil would complete it from the command line, where anybody writes what they like."""
    process = (host.read_or_none(f"/proc/{pid}/comm") or "").rstrip("\n")
    if len(process) == COMM_LENGTH:
        program = os.path.basename(_program(host, pid))
        process = program if program.startswith(process) else process
    # anybody may name a process anything: what comes after a line break in it would look like a line of ours
    return plain(process)


def _program(host: "Host", pid: int) -> str:
    """The path of a process's program, "" where it cannot be seen."""
    try:
        path = host.readlink(f"/proc/{pid}/exe") or ""
    except OSError:
        return ""
    return path[: -len(" (deleted)")] if path.endswith(" (deleted)") else path


def _configured_ports(host: "Host", policy: "Policy") -> set[int]:
    """The ports that mailcow.conf sets, where it is there: only which holders deserve a look-up depends on it."""
    try:
        host.demand_answer(policy.install_dir)
        text = host.read_or_none(f"{policy.install_dir}/mailcow.conf") or ""
    except OSError:
        return set()
    if not text:
        return set()

    return {int(port) for port in re.findall(r"(?m)^[A-Z]+_PORT=(?:\S*:)?(\d{1,5})\s*$", text)}


# -- sockets that systemd itself holds -------------------------------------------------------------------------------


def _with_socket_units(host: "Host", listeners: list[Listener], wanted: set[int]) -> list[Listener]:
    """Name the socket unit where nobody but init holds a port of mailcow's: its service starts with the first connection."""
    if not any(x.pid == 1 and x.port in wanted for x in listeners):
        return listeners
    try:
        shown = host.run(("systemctl", "show", "*.socket", "--property=Id,Listen"), timeout=5).out
    except CowgateError:
        return listeners
    units = parse_listen(shown)
    return [x._replace(unit=units.get((x.address, x.port), "")) if x.pid == 1 else x for x in listeners]


def parse_listen(text: str) -> dict[tuple[str, int], str]:
    """Address and port to socket unit, from `systemctl show '*.socket' --property=Id,Listen`."""

    units = {}
    for block in text.split("\n\n"):
        name = "".join(re.findall(r"(?m)^Id=(.+)$", block))
        for address, port in re.findall(r"(?m)^Listen=\[?([0-9a-fA-F:.]+?)\]?:(\d+) \(", block):
            units[address, int(port)] = name
    return units


# -- packages --------------------------------------------------------------------------------------------------------


def _with_packages(host: "Host", listeners: list[Listener], wanted: set[int]) -> list[Listener]:
    """Name the package of each program that holds one of the wanted ports: one call of the package manager at most."""
    asked = {x.pid for x in listeners if x.pid and x.pid > 1 and x.port in wanted and x.process not in OURS}
    programs = {pid: _program(host, pid) for pid in asked}
    owners = _owners(host, {path for path in programs.values() if path})
    return [x._replace(package=owners.get(programs.get(x.pid or 0, ""), "")) for x in listeners]


def _owners(host: "Host", paths: set[str]) -> dict[str, str]:
    """The package of each program, as far as the package manager knows it."""
    if not paths:
        return {}
    # With a merged /usr the package may have /sbin/x where the process runs /usr/sbin/x: ask for both.
    asked = sorted(paths | {path[4:] for path in paths if path.startswith("/usr/")})
    try:
        if host.which("dpkg"):
            found = parse_dpkg_search(host.run(("dpkg", "-S", *asked), timeout=10, ok=None).out)
        elif host.which("rpm"):
            names = "[%{=NAME}\t%{FILENAMES}\n]"
            found = parse_rpm_files(host.run(("rpm", "-qf", "--queryformat", names, *sorted(paths)), timeout=10, ok=None).out)
        else:
            found = parse_apk_owner(host.run(("apk", "info", "--who-owns", *asked), timeout=10, ok=None).out)
    except CowgateError:
        return {}
    return {path: found.get(path) or found.get(path[4:], "") for path in paths}


def parse_dpkg_search(text: str) -> dict[str, str]:
    """Path to package, from `dpkg -S`: "exim4-daemon-light: /usr/sbin/exim4" (diversions are other lines)."""
    found = {}
    for line in text.splitlines():
        packages, separator, path = line.partition(": ")
        if separator and path.startswith("/") and not packages.startswith("diversion "):
            found[path] = packages.split(",")[0].split(":")[0]
    return found


def parse_rpm_files(text: str) -> dict[str, str]:
    """Path to package, from lines of name, tab, path; what belongs to no package is said in lines without a tab."""
    return {path: name for name, tab, path in (line.partition("\t") for line in text.splitlines()) if tab}


def parse_apk_owner(text: str) -> dict[str, str]:
    """Path to package, from `apk info --who-owns`: "/usr/sbin/nginx is owned by nginx-1.26.3-r0"."""

    found = re.findall(r"(?m)^(/\S+) is owned by (\S+)-\d[^-\s]*-r\d+$", text)
    return dict(found)
