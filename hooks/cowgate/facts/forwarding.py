"""Forwarding of packets, and its table of connections, as the kernel has it and as the files of sysctl will set it."""

import re
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# sysctl.d(5): of files with one name the first directory's counts; all are applied in the order of their names.
DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
LAST = "/etc/sysctl.conf"  # procps reads it after them; Debian links it as 99-sysctl.conf
IPV4 = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding")
LINKS = "/proc/sys/net/ipv4/conf"
IPV6 = ("net.ipv6.conf.all.forwarding",)
TRACKED = ("net.netfilter.nf_conntrack_max", "net.nf_conntrack_max")


class Set(NamedTuple):
    """A line of a sysctl file."""

    path: str
    line: int
    value: str


class Forwarding(NamedTuple):
    """`ipv4` and `ipv6` are the kernel's switches (None: not told). `ipv4_set` and `ipv6_set` are the lines that win at
    boot. `closed` are links whose own switch for IPv4 is off, among them `default`, which new bridges get.
    `bridged`: what goes from port to port of a bridge passes the rules for forwarded packets, too (br_netfilter).
    `tracked` connections are in the kernel's table, which holds at most `tracked_max` (0: any number; None: nothing is
    tracked); `tracked_set` is the line that sets that."""

    ipv4: Optional[int] = None
    ipv6: Optional[int] = None
    ipv4_set: Optional[Set] = None
    ipv6_set: Optional[Set] = None
    closed: tuple[str, ...] = ()
    bridged: bool = False
    tracked: Optional[int] = None
    tracked_max: Optional[int] = None
    tracked_set: Optional[Set] = None


def collect(host: "Host", policy: "Policy") -> Fact[Forwarding]:
    """Always a value; in an offline tree what its files tell."""
    files = _files(host)
    ipv4, ipv6 = (_kernel(host, "/proc/sys/net/ipv4/ip_forward"), _kernel(host, "/proc/sys/net/ipv6/conf/all/forwarding"))
    return Fact.of(
        Forwarding(
            ipv4,
            ipv6,
            last_set(files, IPV4),
            last_set(files, IPV6),
            _closed(host),
            _bridged(host),
            tracked=_kernel(host, "/proc/sys/net/netfilter/nf_conntrack_count"),
            tracked_max=_kernel(host, "/proc/sys/net/netfilter/nf_conntrack_max"),
            tracked_set=last_set(files, TRACKED),
        )
    )


def _bridged(host: "Host") -> bool:
    return _kernel(host, "/proc/sys/net/bridge/bridge-nf-call-iptables") == 1


def _closed(host: "Host") -> tuple[str, ...]:
    """Each link has a switch of its own, which a program may turn off after ip_forward turned all on."""
    names = sorted(host.listdir(LINKS)) if host.live else []
    return tuple(name for name in names if name not in ("all", "lo") and _kernel(host, f"{LINKS}/{name}/forwarding") == 0)


def _kernel(host: "Host", path: str) -> Optional[int]:
    try:
        text = (host.read_or_none(path) or "").strip() if host.live else ""
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _files(host: "Host") -> list[tuple[str, str]]:
    """Path and text of the sysctl files, in the order in which they are applied."""
    paths: dict[str, str] = {}
    for directory in reversed(DIRECTORIES):
        paths.update({name: f"{directory}/{name}" for name in host.listdir(directory) if name.endswith(".conf")})
    found = []
    for path in (*(paths[name] for name in sorted(paths)), LAST):
        try:
            found.append((path, host.read_or_none(path) or ""))
        except OSError:  # a link that leads nowhere, or a file of root's alone
            continue
    return found


def last_set(files: list[tuple[str, str]], keys: tuple[str, ...]) -> Optional[Set]:
    """The line that sets one of the keys last; a dot may be written as a slash (sysctl.d(5))."""
    found = None
    for path, text in files:
        for number, line in enumerate(text.splitlines(), 1):
            match = re.fullmatch(r"\s*-?\s*([\w./-]+)\s*=\s*(\S*)\s*", line)
            if match and match[1].replace("/", ".") in keys:
                found = Set(path, number, match[2])
    return found
