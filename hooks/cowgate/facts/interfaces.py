"""Interfaces, addresses with their lifetimes, routes, and how each default-route interface treats router advertisements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

# What the kernel reports for a lifetime without end (INFINITY_LIFE_TIME in linux/if_addr.h).
FOREVER = 4294967295


@dataclass(frozen=True)
class Interface:
    """One network interface. `kind` is the kernel's driver kind (bridge, veth, bond, vlan, tun, ...), loopback, or empty
    for a plain device; `up` is the administrator's switch, `carrier` whether the link works; `master` the bridge or bond
    it belongs to."""

    name: str
    mtu: int
    up: bool
    carrier: bool = True
    kind: str = ""
    master: str = ""


@dataclass(frozen=True)
class Address:
    """One address. `family` is 4 or 6. `flags` as iproute2 names them: deprecated, temporary, dynamic, mngtmpaddr,
    tentative, dadfailed, nodad, noprefixroute, ... `valid` and `preferred` are seconds left, FOREVER, or None where the
    source can not tell. `protocol` is who set it (kernel_ra, kernel_ll, ...), empty where the kernel does not say."""

    interface: str
    address: str
    prefix: int
    family: int
    scope: str = "global"
    flags: tuple[str, ...] = ()
    valid: Optional[int] = FOREVER
    preferred: Optional[int] = FOREVER
    protocol: str = ""


@dataclass(frozen=True)
class Route:
    """One route (one for each next hop). `family` is 4 or 6, `destination` is "default" or a prefix in CIDR form; an
    empty `gateway` means on link. `protocol` is ra for a route learned from an advertisement, and `expires` its seconds
    left. `type` is unicast, unreachable, blackhole, ... The kernel's local, broadcast and multicast routes are left out."""

    family: int
    destination: str
    interface: str = ""
    gateway: str = ""
    metric: int = 0
    mtu: Optional[int] = None
    protocol: str = ""
    table: str = "main"
    type: str = "unicast"
    source: str = ""
    expires: Optional[int] = None


@dataclass(frozen=True)
class Ipv6Settings:
    """What net.ipv6.conf.<interface>.* says; None where the kernel does not tell."""

    interface: str
    accept_ra: Optional[int] = None
    autoconf: Optional[int] = None
    forwarding: Optional[int] = None
    disable_ipv6: Optional[int] = None


@dataclass(frozen=True)
class Interfaces:
    """The network as the kernel has it now. `settings` are those of the interfaces that carry a default route.
    `ipv6` tells whether the kernel has IPv6 at all and it is not switched off (net.ipv6.conf.all.disable_ipv6).
    `source` is what was asked: "ip" (iproute2) or "proc" (kernel files; lifetimes are then partly unknown)."""

    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    settings: tuple[Ipv6Settings, ...] = ()
    ipv6: bool = True
    source: str = "ip"

    def default_routes(self, family: int) -> tuple[Route, ...]:
        """Usable default routes of the main table, best metric first."""
        found = [
            r
            for r in self.routes
            if r.family == family and r.destination == "default" and r.type == "unicast" and r.table == "main" and r.interface
        ]
        return tuple(sorted(found, key=lambda r: r.metric))

    def default_interfaces(self, family: int) -> tuple[str, ...]:
        """Names of the interfaces with a default route, best metric first, each once."""
        return tuple(dict.fromkeys(r.interface for r in self.default_routes(family)))

    def interface(self, name: str) -> Interface | None:
        return next((i for i in self.interfaces if i.name == name), None)

    def global_addresses(self, family: int, interface: str | None = None) -> tuple[Address, ...]:
        """Addresses of scope global (private ones and unique local ones too), of one interface or of all."""
        return tuple(
            a
            for a in self.addresses
            if a.family == family and a.scope == "global" and (interface is None or a.interface == interface)
        )
