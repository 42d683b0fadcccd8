"""What psutil and netifaces say of the running machine: the only file that imports them. Reached through a Host.

Both are imported where they are called and not above: either may be missing, and the early phase asks neither.
"""

import ipaddress
import os
import socket
import time
import warnings
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, TypeVar

from cowgate.errors import CommandFailed, MissingModule
from cowgate.machine.net import Unfinished, together

if TYPE_CHECKING:
    from types import ModuleType

T = TypeVar("T")

ANSWER_SECONDS = 5.0  # for any one question to a module; 10,000 listeners take 0.2

FILE_SECONDS = 3.0  # for what a filesystem knows at once unless its server is gone

LINK_SECONDS = 1.0  # for the addresses of all links: netifaces reads those of the whole machine for each

# Before this one psutil asks pathconf(3) of every mount point, and holds Python's lock meanwhile: one dead mount stops the
# whole process, whatever thread it is asked in (measured with 5.8.0 and 5.9.4).
MOUNTS_FROM = (6, 0)


class Sizes(NamedTuple):
    """Memory and swap in bytes, as the kernel sums them up."""

    memory: int
    swap: int


class Processors(NamedTuple):
    """`online` says how many are. `most` is the highest frequency the platform allows, `now` the highest at this moment; in
    MHz, 0.0 where it does not tell."""

    online: int
    most: float = 0.0
    now: float = 0.0


class Mount(NamedTuple):
    """One mounted filesystem, as far as it is needed."""

    point: str
    fstype: str
    source: str


class Space(NamedTuple):
    """What a filesystem has, in bytes and inodes; `free` is what a user other than root can fill. `flags` as in statvfs(3)."""

    total: int
    free: int
    inodes: int = 0
    inodes_free: int = 0
    flags: int = 0


class Bound(NamedTuple):
    """A TCP socket that listens, or a UDP socket without a peer. `pid` and its file descriptor `fd` where they may be seen: of
    several processes that share a socket the newest."""

    protocol: str  # tcp or udp
    family: int  # 4 or 6
    address: str
    port: int
    pid: Optional[int] = None
    fd: int = -1


class Links(NamedTuple):
    """What netifaces says. A labelled address (eth0:0) is its link's, zones (%eth0) are left out.

    `addresses`: link, address, length of the prefix; those of `asked`, the links that there was time for. `gateways`: family,
    address, link, of default routes in any table.
    """

    names: frozenset[str]
    asked: frozenset[str]
    addresses: frozenset[tuple[str, str, int]]
    gateways: frozenset[tuple[int, str, str]]


class Late(CommandFailed):
    """There was no answer in time."""


def within(seconds: float, what: str, ask: Callable[[], T]) -> T:
    """The answer to a question that may hang. Raises Late when there is none in time (its thread is left behind)."""
    answer = together({what: ask}, seconds)[what]
    if isinstance(answer, Unfinished):
        raise Late(f"no answer within {seconds:.0f} s about {what}")
    if isinstance(answer, Exception):
        raise answer
    return answer


def hangs(ask: Callable[[], object]) -> bool:
    """Whether a question about files has no answer in time; an error is one."""
    return isinstance(together({"": ask}, FILE_SECONDS)[""], Unfinished)


def _psutil() -> "ModuleType":
    """Raises MissingModule."""
    try:
        import psutil  # here and not above: it may be missing
    except ImportError:
        raise MissingModule("psutil") from None
    # it warns of counters that a container's /proc lacks and that nobody here asks for
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="psutil")
    return psutil


def _ask(what: str, question: Callable[["ModuleType"], T]) -> T:
    """One question to psutil. Raises MissingModule, CommandFailed."""
    psutil = _psutil()
    try:
        return within(ANSWER_SECONDS, what, lambda: question(psutil))
    except (psutil.Error, OSError, RuntimeError, ValueError, KeyError) as error:
        raise CommandFailed(f"psutil could not tell {what}: {type(error).__name__}: {error}") from None


def sizes() -> Sizes:
    """Raises MissingModule, CommandFailed."""
    return _ask("memory", lambda psutil: Sizes(psutil.virtual_memory().total, psutil.swap_memory().total))


def processors() -> Processors:
    """Raises MissingModule, CommandFailed."""
    return _ask("the processors", lambda psutil: _with_frequency(psutil, psutil.cpu_count() or 0))


def _with_frequency(psutil: "ModuleType", count: int) -> Processors:
    try:
        found = psutil.cpu_freq(percpu=True) or []
    except (AttributeError, NotImplementedError, OSError, ValueError):  # how it says that the platform does not tell
        return Processors(count)
    return Processors(
        count,
        max((float(each.max or 0) for each in found), default=0.0),
        max((float(each.current or 0) for each in found), default=0.0),
    )


def mounts() -> Optional[tuple[Mount, ...]]:
    """In the order of the mount table; None where this psutil cannot be asked without touching what is mounted.

    Raises MissingModule, CommandFailed.
    """
    if tuple(_psutil().version_info[:2]) < MOUNTS_FROM:
        return None
    found = _ask("the mounts", lambda psutil: psutil.disk_partitions(all=True))
    # The C library does not decode the kernel's escape for #.
    return tuple(Mount(m.mountpoint.replace("\\043", "#"), m.fstype, m.device.replace("\\043", "#")) for m in found)


def space(path: str) -> Space:
    """Hangs as long as the filesystem does: whoever asks sets a limit. Raises MissingModule, OSError."""
    usage = _psutil().disk_usage(path)
    rest = os.statvfs(path)  # inodes and flags are not psutil's
    return Space(usage.total, usage.free, rest.f_files, rest.f_favail, rest.f_flag)


def bound_sockets() -> tuple[Bound, ...]:
    """Those of this network namespace. Raises MissingModule, CommandFailed.

    Late where a process has a deleted file open on a dead mount: psutil looks whether it is there again.
    """

    def question(psutil: "ModuleType") -> tuple[Bound, ...]:
        return tuple(
            _bound(one, tcp)
            for one in psutil.net_connections("inet")
            for tcp in (one.type == socket.SOCK_STREAM,)
            if one.laddr and (one.status == psutil.CONN_LISTEN if tcp else not one.raddr)
        )

    return _ask("listening sockets", question)


def _bound(one: Any, tcp: bool) -> Bound:
    address, family = one.laddr.ip, 4 if one.family == socket.AF_INET else 6
    if address.startswith("::ffff:") and "." in address:
        address, family = address[len("::ffff:") :], 4
    return Bound("tcp" if tcp else "udp", family, address, one.laddr.port, one.pid, one.fd)


def ancestors(pid: int) -> tuple[int, ...]:
    """The processes that a process descends from, the nearest first; as far as they are seen. Raises MissingModule."""
    psutil = _psutil()
    try:
        return tuple(parent.pid for parent in psutil.Process(pid).parents())
    except psutil.Error:  # it ended meanwhile
        return ()


def addresses4() -> tuple[tuple[str, str, int], ...]:
    """Link, address and length of the prefix of each IPv4 address. Raises MissingModule, CommandFailed."""
    found = _ask("the addresses", lambda psutil: psutil.net_if_addrs())
    return tuple(
        (name.partition(":")[0], entry.address, prefix_of_mask(entry.netmask or "255.255.255.255"))
        for name, entries in found.items()
        for entry in entries
        if entry.family == socket.AF_INET
    )


# -- netifaces ---------------------------------------------------------------------------------------------------------


def links(wanted: Optional[Collection[str]] = None) -> Optional[Links]:
    """What netifaces says, the addresses of the wanted links only (None: of all); None where it is missing or fails."""
    try:
        import netifaces  # here and not above: it may be missing, and is not packaged everywhere
    except ImportError:
        return None
    try:
        return within(ANSWER_SECONDS, "netifaces", lambda: _links(netifaces, wanted))
    except (CommandFailed, OSError, ValueError, KeyError):
        return None


def _links(netifaces: "ModuleType", wanted: Optional[Collection[str]]) -> Links:
    until = time.monotonic() + LINK_SECONDS
    labels: dict[str, list[str]] = {}
    for name in netifaces.interfaces():
        labels.setdefault(name.partition(":")[0], []).append(name)
    asked: set[str] = set()
    addresses: set[tuple[str, str, int]] = set()
    for link in labels if wanted is None else [name for name in wanted if name in labels]:
        found: set[tuple[str, str, int]] = set()
        for name in labels[link]:
            if time.monotonic() > until:
                break
            found |= _addresses(netifaces, link, name)
        else:
            asked.add(link)
            addresses |= found
    gateways = {
        (version, str(address), str(link))
        for version, family in ((4, netifaces.AF_INET), (6, netifaces.AF_INET6))
        for address, link, *_ in netifaces.gateways().get(family, [])
    }
    return Links(frozenset(labels), frozenset(asked), frozenset(addresses), frozenset(gateways))


def _addresses(netifaces: "ModuleType", link: str, name: str) -> set[tuple[str, str, int]]:
    try:
        told = netifaces.ifaddresses(name)
    except ValueError:  # it is gone
        return set()
    found = set()
    for family, whole in ((netifaces.AF_INET, 32), (netifaces.AF_INET6, 128)):
        for entry in told.get(family, []):
            mask = entry.get("netmask") or entry.get("mask")
            found.add((link, entry["addr"].partition("%")[0], prefix_of_mask(mask) if mask else whole))
    return found


def prefix_of_mask(mask: str) -> int:
    """The length of the prefix that a netmask means: dotted, in IPv6's form, or with the length after it."""
    if "/" in mask:
        return int(mask.rpartition("/")[2])
    return bin(int(ipaddress.ip_address(mask))).count("1")
