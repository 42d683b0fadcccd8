"""Interfaces, addresses with their lifetimes, routes, and how each default-route interface treats router advertisements."""

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from cowgate.errors import CommandFailed, CommandMissing
from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.facts.ifupdown import Ifupdown
    from cowgate.machine.host import Host
    from cowgate.machine.modules import Links
    from cowgate.policy.model import Policy

# What the kernel reports for a lifetime without end (INFINITY_LIFE_TIME in linux/if_addr.h).
FOREVER = 4294967295

# Route types that are the kernel's own bookkeeping, not somebody's configuration.
_KERNEL_ROUTES = ("local", "broadcast", "multicast", "anycast")
# What iproute2 calls the flags of an address (linux/if_addr.h); the order is that of its JSON keys.
_ADDRESS_FLAGS = {
    0x01: "temporary",
    0x02: "nodad",
    0x08: "dadfailed",
    0x20: "deprecated",
    0x40: "tentative",
    0x100: "mngtmpaddr",
    0x200: "noprefixroute",
}
_PERMANENT = 0x80
# Scopes in /proc/net/if_inet6 (include/net/ipv6.h).
_SCOPES = {0x00: "global", 0x10: "host", 0x20: "link", 0x40: "site"}
_RTF_UP, _RTF_GATEWAY, _RTF_REJECT = 0x1, 0x2, 0x200  # linux/route.h
_RTF_ADDRCONF, _RTF_LOCAL = 0x40000, 0x80000000  # linux/ipv6_route.h: learned from a router advertisement; our address
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
ROUTES_LIMIT = 16 << 20  # bytes; 20,000 routes are 2.5 MB of ipv6_route
_SETTINGS = ("accept_ra", "autoconf", "forwarding", "disable_ipv6")


class Interface(NamedTuple):
    """One network interface. `kind` is the kernel's driver kind (bridge, veth, bond, vlan, tun, ...), loopback, or empty
    for a plain device; `up` is the administrator's switch, `carrier` whether the link works; `master` the bridge or bond
    it belongs to; `xdp` the program that sees each packet that comes in before every rule does."""

    name: str
    mtu: int
    up: bool
    carrier: bool = True
    kind: str = ""
    master: str = ""
    xdp: str = ""


class Address(NamedTuple):
    """One address. `family` is 4 or 6. `flags` as iproute2 names them: deprecated, temporary, dynamic, mngtmpaddr,
    tentative, dadfailed, nodad, noprefixroute, ... `valid` and `preferred` are seconds left, FOREVER, or None where the
    source cannot tell. `protocol` is who set it (kernel_ra, kernel_ll, ...), empty where the kernel does not say."""

    interface: str
    address: str
    prefix: int
    family: int
    scope: str = "global"
    flags: tuple[str, ...] = ()
    valid: Optional[int] = FOREVER
    preferred: Optional[int] = FOREVER
    protocol: str = ""


class Route(NamedTuple):
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


class Ipv6Settings(NamedTuple):
    """What net.ipv6.conf.<interface>.* says; None where the kernel does not tell."""

    interface: str
    accept_ra: Optional[int] = None
    autoconf: Optional[int] = None
    forwarding: Optional[int] = None
    disable_ipv6: Optional[int] = None


class Interfaces(NamedTuple):
    """The network as the kernel has it now. `settings` are those of all interfaces but loopback, and but veth without a
    default route. `ipv6` tells whether the kernel has IPv6 at all and it is not switched off (net.ipv6.conf.all.disable_ipv6).
    `source` is what was asked: "ip" (iproute2) or "proc" (kernel files; lifetimes are then partly unknown). `asks_ipv6` are
    files of systemd-networkd or netplan that ask for IPv6 by advertisement or DHCPv6. `disagreements` are sentences about
    what netifaces, where it is there, says otherwise."""

    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    settings: tuple[Ipv6Settings, ...] = ()
    ipv6: bool = True
    source: str = "ip"
    asks_ipv6: tuple[str, ...] = ()
    disagreements: tuple[str, ...] = ()
    ways: tuple[Route, ...] = ()

    def default_routes(self, family: int) -> tuple[Route, ...]:
        """Usable default routes of the main table, best metric first; where there is none, the way that the kernel itself
        gives to addresses far away (by a rule and another table, or by two halves, 0.0.0.0/1 and 128.0.0.0/1)."""
        found = [
            r
            for r in self.routes
            if r.family == family
            and r.destination == "default"
            and r.type == "unicast"
            and r.table in ("main", "default")
            and r.interface
        ]
        return tuple(sorted(found, key=lambda r: r.metric)) or tuple(way for way in self.ways if way.family == family)

    def default_interfaces(self, family: int) -> tuple[str, ...]:
        """Names of the interfaces with a default route, best metric first, each once."""
        return tuple(dict.fromkeys(r.interface for r in self.default_routes(family)))

    def interface(self, name: str) -> Optional[Interface]:
        return next((i for i in self.interfaces if i.name == name), None)

    def global_addresses(self, family: int, interface: Optional[str] = None) -> tuple[Address, ...]:
        """Addresses of scope global (private ones and unique local ones too), of one interface or of all."""
        return tuple(
            a
            for a in self.addresses
            if a.family == family and a.scope == "global" and (interface is None or a.interface == interface)
        )

    def setting(self, interface: str) -> Ipv6Settings:
        """The IPv6 settings of an interface; all None where they are not known."""
        return next((s for s in self.settings if s.interface == interface), Ipv6Settings(interface))


def collect(host: "Host", policy: "Policy") -> Fact[Interfaces]:
    """netifaces for interfaces, addresses and gateways, iproute2 in one process for what it does not tell (and for all where
    it is missing); where iproute2 is missing or too old for JSON, kernel files.

    Both look at a machine that moves: what differs is a disagreement only if a second look says the same.
    """
    host.demand_live("network interfaces")
    found, links = _look(host)
    differ = disagreements(found, links)
    if differ:
        found, links = _look(host)
        differ = tuple(word for word in disagreements(found, links) if word in differ)
    interfaces, addresses = _united(host, found, links)
    outward = _outward(found)
    named = [i.name for i in interfaces if i.kind not in ("loopback", "veth") or i.name in outward]
    settings = tuple(_settings(host, name) for name in named)
    off = host.read_or_none("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    ipv6 = off is not None and off.strip() == "0"
    asking = _asking_files(host)
    net = Interfaces(interfaces, addresses, found.routes, settings, ipv6, found.source, asking, differ)
    ways = tuple(way for family in (4, 6) if not net.default_routes(family) and (way := way_out(host, family)))
    return Fact.of(net._replace(ways=ways))


def _look(host: "Host") -> tuple[Interfaces, Optional["Links"]]:
    """What iproute2 or the kernel files say, and what netifaces says of the same links.

    It is asked about what leads outward first, and not about the hundreds of veth that a host of containers has.
    """
    try:
        # One process for all: two batch commands, each prints one JSON array. Without -4 or -6 both families are shown.
        out = host.run(["ip", "-d", "-j", "-batch", "-"], input="addr show\nroute show table all\n").out
        addresses, routes = parse_batch(out)
        found = Interfaces(parse_interfaces(addresses), parse_addresses(addresses), parse_routes(routes))
    except (CommandMissing, CommandFailed, ValueError):  # BusyBox has an `ip` that knows no JSON
        links = host.links()
        return _from_kernel_files(host, links), links
    outward = _outward(found)
    return found, host.links((*outward, *(i.name for i in found.interfaces if i.kind != "veth" and i.name not in outward)))


def _outward(found: Interfaces) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(route.interface for route in found.routes if route.destination == "default" and route.interface)
    )


# -- two sources ------------------------------------------------------------------------------------------------------


def disagreements(found: Interfaces, links: Optional["Links"]) -> tuple[str, ...]:
    """What netifaces says and the other source does not, or the other way round, each in one sentence, sorted."""
    if links is None:
        return ()
    other = {"ip": "iproute2", "proc": "the kernel"}[found.source]
    sentences: list[str] = []

    def compare(what: str, one: Iterable[str], two: Iterable[str]) -> None:
        one, two = set(one), set(two)
        sentences.extend(f"netifaces says {what} {word}, {other} does not" for word in one - two)
        sentences.extend(f"{other} says {what} {word}, netifaces does not" for word in two - one)

    compare("interface", links.names, (i.name for i in found.interfaces))
    compare(
        "address",
        (f"{address}/{prefix} on {link}" for link, address, prefix in links.addresses),
        (f"{a.address}/{a.prefix} on {a.interface}" for a in found.addresses if a.interface in links.asked),
    )
    # netifaces knows neither routes with several hops nor those without a gateway or of another family: one way only
    known = {(r.family, r.gateway, r.interface) for r in found.routes if r.destination == "default"}
    sentences += [
        f"netifaces says gateway {address} on {link}, {other} does not"
        for family, address, link in links.gateways
        if (family, address.partition("%")[0], link) not in known
    ]
    return tuple(sorted(sentences))


def _united(host: "Host", found: Interfaces, links: Optional["Links"]) -> tuple[tuple[Interface, ...], tuple[Address, ...]]:
    """The interfaces and addresses of both sources; what netifaces alone knows has neither flags nor lifetimes."""
    if links is None:
        return found.interfaces, found.addresses
    names = {i.name for i in found.interfaces}
    addresses = {(a.interface, a.address, a.prefix) for a in found.addresses}
    more = tuple(_interface(host, name) for name in sorted(links.names - names))
    return (*found.interfaces, *more), (*found.addresses, *map(_plain, sorted(links.addresses - addresses)))


def _plain(told: tuple[str, str, int]) -> Address:
    """An address of which nothing else is known than what netifaces and psutil tell."""
    link, address, prefix = told
    one = ipaddress.ip_address(address)
    scope = "host" if one.is_loopback else "link" if one.is_link_local else "global"
    return Address(link, address, prefix, one.version, scope, (), None, None)


# -- IPv6 that is configured, and not there yet -----------------------------------------------------------------------


def ipv6_to_come(net: Interfaces, config: Optional["Ifupdown"]) -> str:
    """What says that this machine will have IPv6 as soon as a router advertises it, or a DHCPv6 server answers; "" where
    nothing does, IPv6 is there already, or is switched off. Defaults of the kernel and of NetworkManager say nothing: every
    machine without IPv6 has them.
    """
    if not net.ipv6 or net.default_routes(6):
        return ""
    outward = net.default_interfaces(4)
    if any(net.setting(name).disable_ipv6 == 1 for name in outward):
        return ""
    for stanza in config.stanzas if config is not None and config.in_charge else ():
        if stanza.family == "inet6" and stanza.method in ("auto", "dhcp") and ":" not in stanza.interface:
            return f"{stanza.file} line {stanza.line}: iface {stanza.interface} inet6 {stanza.method}"
    accepting = next((name for name in outward if net.setting(name).accept_ra == 2), "")
    if accepting:
        return f"net.ipv6.conf.{accepting}.accept_ra is 2"
    return net.asks_ipv6[0] if net.asks_ipv6 else ""


def _asking_files(host: "Host") -> tuple[str, ...]:
    found = []
    for directory, ending, asks in (
        ("/etc/systemd/network", ".network", asks_networkd),
        ("/run/systemd/network", ".network", asks_networkd),
        ("/etc/netplan", ".yaml", asks_netplan),
    ):
        for name in host.listdir(directory):
            try:
                text = host.read(f"{directory}/{name}") if name.endswith(ending) else ""
            except OSError:  # netplan's files are root's alone
                continue
            if asks(text):
                found.append(f"{directory}/{name}")
    return tuple(found)


def asks_networkd(text: str) -> bool:
    """Whether a .network file (systemd.network(5)) asks for IPv6 in so many words. Docker's own links are not meant."""
    if re.search(r"(?m)^\s*(Name|Driver|Type)\s*=.*\b(veth|docker|br-)", text):
        return False
    wanted = r"(?mi)^\s*(DHCP\s*=\s*(yes|true|1|on|ipv6)|IPv6AcceptRA\s*=\s*(yes|true|1|on))\s*$"
    return re.search(wanted, text) is not None


def asks_netplan(text: str) -> bool:
    """Whether a file of netplan asks for IPv6 in so many words."""
    return re.search(r"(?mi)^\s*(dhcp6|accept-ra)\s*:\s*(true|yes|on)\s*$", text) is not None


# One address in each half of the address space, so that a route to the one half alone does not count.
_FAR = {4: ("1.1.1.1", "198.41.0.4"), 6: ("2001:503:ba3e::2:30",)}


def way_out(host: "Host", family: int) -> Optional[Route]:
    """The kernel's own way to addresses far away (`ip route get`), or None where there is none. Sends nothing."""
    ways = []
    for address in _FAR[family]:
        try:
            ways.append(parse_route_get(host.run(["ip", f"-{family}", "route", "get", address]).out, family))
        except (CommandMissing, CommandFailed):
            return None
    return ways[-1] if all(ways) else None


def parse_route_get(text: str, family: int) -> Optional[Route]:
    """The first line of `ip route get`: ADDRESS [via GATEWAY] dev LINK [table TABLE] [src ADDRESS]."""
    words = (text.splitlines() or [""])[0].split()
    named = dict(zip(words, words[1:]))
    if "dev" not in named or named["dev"] == "lo":
        return None
    return Route(
        family, "default", named["dev"], named.get("via", ""), table=named.get("table", "main"), source=named.get("src", "")
    )


def _settings(host: "Host", interface: str) -> Ipv6Settings:
    values: dict[str, Optional[int]] = {}
    for name in _SETTINGS:
        text = (host.read_or_none(f"/proc/sys/net/ipv6/conf/{interface}/{name}") or "").strip()
        values[name] = int(text) if text.lstrip("-").isdecimal() else None
    return Ipv6Settings(interface, **values)


# -- iproute2 ---------------------------------------------------------------------------------------------------------


def parse_batch(out: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The two JSON arrays that `ip -j -batch` printed, without the empty objects that iproute2 leaves for what it filters.

    Raises ValueError where the output is anything else.
    """
    arrays = []
    at = 0
    out = out.strip()
    decoder = json.JSONDecoder()
    while at < len(out):
        array, at = decoder.raw_decode(out, at)
        while out[at : at + 1].isspace():
            at += 1
        if not isinstance(array, list) or not all(isinstance(item, dict) for item in array):
            raise ValueError("ip printed no arrays of objects")
        arrays.append([item for item in array if item])
    if len(arrays) != 2:
        raise ValueError(f"ip printed {len(arrays)} JSON documents, not 2")
    return arrays[0], arrays[1]


def parse_interfaces(document: list[dict[str, Any]]) -> tuple[Interface, ...]:
    """The interfaces in `ip -j -d addr show`."""
    found = []
    for item in document:
        flags = item.get("flags", [])
        kind = "loopback" if "LOOPBACK" in flags else item.get("linkinfo", {}).get("info_kind", "")
        carrier = "NO-CARRIER" not in flags and "LOWER_UP" in flags
        master, xdp = item.get("master", ""), _program(item.get("xdp"))
        found.append(Interface(item["ifname"], item["mtu"], "UP" in flags, carrier, kind, master, xdp))
    return tuple(found)


def _program(xdp: Any) -> str:
    """Name, else number, of an attached XDP program; several (one in the driver, one of the kernel's own) have a list."""
    if not isinstance(xdp, dict):
        return ""
    attached = [xdp, *(one for one in xdp.get("attached", []) if isinstance(one, dict))]
    program: dict[str, Any] = next((one["prog"] for one in attached if isinstance(one.get("prog"), dict)), {})
    return str(program.get("name") or f"number {program.get('id', '?')}")


def parse_addresses(document: list[dict[str, Any]]) -> tuple[Address, ...]:
    """The addresses in `ip -j -d addr show`; IPv4 and IPv6 only."""
    found = []
    for item in document:
        for info in item.get("addr_info", []):
            family = {"inet": 4, "inet6": 6}.get(info.get("family"))
            if family is None or "local" not in info:  # a scope filter of iproute2 leaves empty objects behind
                continue
            flags = tuple(sorted(key for key, value in info.items() if value is True))
            found.append(
                Address(
                    item["ifname"],
                    info["local"],
                    info["prefixlen"],
                    family,
                    info.get("scope", "global"),
                    flags,
                    info.get("valid_life_time"),
                    info.get("preferred_life_time"),
                    info.get("protocol", ""),
                )
            )
    return tuple(found)


def parse_routes(document: list[dict[str, Any]]) -> tuple[Route, ...]:
    """The routes in `ip -j -d route show table all`, both families, one for each next hop."""
    return tuple(route for item in document if item.get("type") not in _KERNEL_ROUTES for route in _routes_of(item))


def _routes_of(item: dict[str, Any]) -> Iterator[Route]:
    # Without an address in it only the router preference (RFC 4191), which iproute2 prints for IPv6 alone, tells the family.
    family = 6 if ":" in item["dst"] or "pref" in item else 4
    mtus = [metric["mtu"] for metric in item.get("metrics", []) if "mtu" in metric]
    for hop in item.get("nexthops") or [item]:
        yield Route(
            family,
            _cidr(item["dst"], family),
            hop.get("dev", item.get("dev", "")),
            hop.get("gateway", "") or hop.get("via", {}).get("host", ""),
            item.get("metric", 0),
            mtus[0] if mtus else None,
            item.get("protocol", ""),
            str(item.get("table", "main")),
            item.get("type", "unicast"),
            item.get("prefsrc", ""),
            item.get("expires"),
        )


def _cidr(destination: str, family: int) -> str:
    if destination in ("0.0.0.0/0", "::/0"):
        return "default"
    if destination == "default" or "/" in destination:
        return destination
    return f"{destination}/{32 if family == 4 else 128}"


# -- kernel files -----------------------------------------------------------------------------------------------------


def _from_kernel_files(host: "Host", links: Optional["Links"]) -> Interfaces:
    """IPv4 addresses are in no file that names their interface: by netifaces, or psutil where that is missing or too slow."""
    interfaces = tuple(_interface(host, name) for name in host.listdir("/sys/class/net") if name != "bonding_masters")
    routes4 = parse_route4(host.read_or_none("/proc/net/route", ROUTES_LIMIT) or "")
    routes6 = parse_route6(host.read_or_none("/proc/net/ipv6_route", ROUTES_LIMIT) or "")
    if links is not None and links.asked >= links.names:
        told: Iterable[tuple[str, str, int]] = sorted(one for one in links.addresses if ":" not in one[1])
    else:
        told = host.addresses4()
    addresses6 = parse_if_inet6(host.read_or_none("/proc/net/if_inet6", ROUTES_LIMIT) or "")
    return Interfaces(interfaces, (*map(_plain, told), *addresses6), routes4 + routes6, source="proc")


def _interface(host: "Host", name: str) -> Interface:
    base = f"/sys/class/net/{name}"
    flags = int((host.read_or_none(f"{base}/flags") or "0").strip(), 16)
    mtu = int((host.read_or_none(f"{base}/mtu") or "0").strip())
    state = (host.read_or_none(f"{base}/operstate") or "").strip()
    kind = "loopback" if flags & _IFF_LOOPBACK else parse_uevent(host.read_or_none(f"{base}/uevent") or "")
    master = (host.readlink(f"{base}/master") or "").rpartition("/")[2]
    # Loopback and some virtual links have no idea of a carrier: "unknown".
    return Interface(name, mtu, bool(flags & _IFF_UP), state in ("up", "unknown"), kind, master)


def parse_uevent(text: str) -> str:
    """The kind of a link by its uevent file: DEVTYPE=bridge, vlan, bond, wlan, ...; empty for a plain device."""
    return next((line.partition("=")[2] for line in text.splitlines() if line.startswith("DEVTYPE=")), "")


def parse_if_inet6(text: str) -> tuple[Address, ...]:
    """/proc/net/if_inet6: address, index, prefix length, scope, flags, interface. A permanent address is valid forever; of
    the others the file does not tell the lifetimes. A permanent one that is deprecated has a preferred lifetime of 0."""
    found = []
    for line in text.splitlines():
        address, _, prefix, scope, flags, name = line.split()
        bits = int(flags, 16)
        names = [word for bit, word in _ADDRESS_FLAGS.items() if bits & bit]
        if not bits & _PERMANENT:
            names.append("dynamic")
        valid = FOREVER if bits & _PERMANENT else None
        preferred = 0 if "deprecated" in names else valid
        scope_name = _SCOPES.get(int(scope, 16) & 0xF0, "global")
        found.append(Address(name, _ipv6(address), int(prefix, 16), 6, scope_name, tuple(sorted(names)), valid, preferred))
    return tuple(found)


def parse_route4(text: str) -> tuple[Route, ...]:
    """/proc/net/route: hexadecimal, in the byte order of a little-endian machine (the only ones mailcow runs on). Its column
    MTU holds the advertised MSS and 40 (net/ipv4/fib_trie.c): the route's own MTU it does not tell."""
    found = []
    for line in text.splitlines()[1:]:
        name, destination, gateway, flags, _, _, metric, mask = line.split()[:8]
        bits = int(flags, 16)
        if not bits & _RTF_UP:
            continue
        via = _ipv4(gateway) if int(gateway, 16) else ""  # a gateway of the other family is shown as none
        cidr = _cidr(f"{_ipv4(destination)}/{bin(int(mask, 16)).count('1')}", 4)
        kind = "unreachable" if bits & _RTF_REJECT else "unicast"
        found.append(Route(4, cidr, "" if name == "*" else name, via, int(metric), type=kind))
    return tuple(found)


def parse_route6(text: str) -> tuple[Route, ...]:
    """/proc/net/ipv6_route. It holds the kernel's own routes too, and unreachable ones (not RTF_UP): both are left out."""
    found = []
    for line in text.splitlines():
        destination, length, _, _, gateway, metric, _, _, flags, name = line.split()
        bits = int(flags, 16)
        if not bits & _RTF_UP or bits & _RTF_LOCAL or destination.startswith("ff"):
            continue
        via = _ipv6(gateway) if bits & _RTF_GATEWAY else ""
        cidr = _cidr(f"{_ipv6(destination)}/{int(length, 16)}", 6)
        protocol = "ra" if bits & _RTF_ADDRCONF and bits & _RTF_GATEWAY else ""
        found.append(Route(6, cidr, name, via, int(metric, 16), None, protocol))
    return tuple(found)


def _ipv4(word: str) -> str:
    return ".".join(str(part) for part in reversed(bytes.fromhex(word)))


def _ipv6(word: str) -> str:

    return str(ipaddress.IPv6Address(int(word, 16)))
