"""Who lives where in the test internet: every host of the table of probes has an address of both families, or of one."""

from __future__ import annotations

import ipaddress

from cowgate.policy.model import Policy
from cowgate.probes.targets import TARGETS, split

HOST4, HOST6 = "203.0.113.10", "2001:db8:1::10"
ROUTER4, ROUTER6 = "203.0.113.1", "2001:db8:1::1"
RESOLVER4, RESOLVER6 = "198.18.0.53", "2001:db8:53::53"
MENDED4 = "198.18.0.54"  # a resolver that finds what was published during the test
ORG4, ORG6 = "199.19.56.1", "2001:500:e::1"
BOGUS4, BOGUS6 = "198.18.0.66", "2001:db8:53::66"
# Name servers that only a router's address translation leads to: another time's signatures, no signatures at all.
FUTURE4, FUTURE6 = "198.18.0.9", "2001:db8:53::9"
STRIPPED4, STRIPPED6 = "198.18.0.8", "2001:db8:53::8"
# As in the real world (2026): these have no IPv6.
WITHOUT_IPV6 = ("github.com", "ghcr.io")
SUBMISSION = "smtp.relay.example"
MIRROR = "mirror.example"  # a registry mirror
PROXY = "198.18.0.31"


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def hosts() -> tuple[str, ...]:
    """Every host that the table of probes and the default policy name, without ports."""
    found = [split(entry, target.port)[0] for target in TARGETS for entry in target.hosts]
    policy = Policy()
    found += [*policy.time.servers, *policy.probes.path_mtu_hosts, SUBMISSION, MIRROR]
    return tuple(dict.fromkeys(found))


def names() -> dict[str, tuple[str, str]]:
    """name -> (IPv4 address, IPv6 address or empty)."""
    zones = {entry for target in TARGETS if target.kind == "dnssec" for entry in target.hosts}
    found = {}
    for number, name in enumerate((n for n in hosts() if not is_address(n) and n not in zones), 10):
        found[name] = (f"198.51.100.{number}", "" if name in WITHOUT_IPV6 else f"2001:db8:100::{number}")
    return found


def addresses() -> tuple[str, ...]:
    """Every address that the internet's namespace has."""
    found = [address for pair in names().values() for address in pair if address]
    found += [entry for entry in hosts() if is_address(entry)]
    servers = (RESOLVER4, RESOLVER6, MENDED4, ORG4, ORG6, BOGUS4, BOGUS6, FUTURE4, FUTURE6, STRIPPED4, STRIPPED6, PROXY)
    return (*dict.fromkeys((*found, *servers)),)


def roots() -> tuple[str, ...]:
    """The root servers of the table of probes."""
    return next(target.hosts for target in TARGETS if target.id == "dns.root")


def time_servers() -> tuple[str, ...]:
    return tuple(address for name in Policy().time.servers for address in names()[name] if address)
