"""What is behind failures of probes: the one cause that explains them, what to do about it, and the commands. Pure."""

import ipaddress
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional, Union

from cowgate.requirements.egress.judging import ABSENT, FAMILY, remedy_for

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.interfaces import Route
    from cowgate.model import Commands
    from cowgate.probes.values import Answer, Probes

# Fewer hosts that do not answer may be a coincidence.
ENOUGH_HOSTS = 3

# No answer at all: neither a refusal nor a word, so nothing on the other side was reached.
SILENT = ("timeout", "unreachable")

# Busy, or in trouble of its own, for now (RFC 9110 §15.6, RFC 6585).
FOR_NOW = (429, 500, 502, 503, 504)


class Cause(NamedTuple):
    """`text` is a clause for the diagnosis, "" where the answers have said it all. `whole`: nothing gets out at all."""

    remedy: str
    commands: "Commands" = ()
    text: str = ""
    whole: bool = False

    @property
    def clause(self) -> str:
        return f". {self.text}" if self.text else ""


def cause_of(facts: "Facts", answers: Sequence["Answer"]) -> Cause:
    """The cause of these failures, the most certain one first."""
    if not answers:
        return NO_ROUTE
    looks: tuple[Callable[[Facts, Sequence[Answer]], Optional[Cause]], ...] = (
        _from_hosts_file,
        _from_search_domain,
        _own_route,
        _stalled,
        _dead_family,
        _status,
    )
    for look in looks:
        found = look(facts, answers)
        if found is not None:
            return found
    text, commands = remedy_for(facts, answers)
    return Cause(text, commands)


NO_ROUTE = Cause(
    "give the machine a default route: an address and a gateway in the provider's console and in its network configuration",
    (("cowgate", "check", "--only", "network.ipv4"), ("ip", "route"), ("ip", "-6", "route")),
)


def _named(answers: Sequence["Answer"]) -> str:
    return ", ".join(dict.fromkeys(answer.host for answer in answers))


def _most(some: Sequence["Answer"], answers: Sequence["Answer"]) -> bool:
    return len(some) * 2 >= len(answers) > 0


def _from_hosts_file(facts: "Facts", answers: Sequence["Answer"]) -> Optional[Cause]:
    mine = [answer for answer in answers if answer.origin.endswith("/etc/hosts")]
    if not _most(mine, answers):
        return None
    lines = sorted({answer.origin.split()[1] for answer in mine})
    return Cause(
        f"take {_named(mine)} out of /etc/hosts: the commands make each line a comment. A line with other names on it"
        " is better"
        " edited by hand",
        tuple(("sed", "-i", f"{line}s/^/# /", "/etc/hosts") for line in lines),
        f"The address of {_named(mine)} is not from DNS, but from line {', '.join(lines)} of /etc/hosts",
    )


def _from_search_domain(facts: "Facts", answers: Sequence["Answer"]) -> Optional[Cause]:
    mine = [answer for answer in answers if answer.origin and not answer.origin.endswith("/etc/hosts")]
    if not _most(mine, answers):
        return None
    return Cause(
        "take the search domain out of /etc/resolv.conf, and out of what writes that file (DHCP, netplan,"
        " systemd-resolved), or"
        " its wildcard record out of its zone",
        (("sed", "-i", "-E", "/^[[:space:]]*(search|domain)[[:space:]]/d", "/etc/resolv.conf"),),
        f"{_named(mine)} got the address of another name: the search domain in /etc/resolv.conf has a wildcard record",
    )


def _own_route(facts: "Facts", answers: Sequence["Answer"]) -> Optional[Cause]:
    mine = [answer for answer in answers if answer.outcome == "route"]
    if not _most(mine, answers):
        return None
    found = [route for answer in mine if (route := _covering(facts, answer))]
    routes = list(dict.fromkeys((route.type, route.destination, route.family) for route in found))
    if not routes:
        return Cause("take the route out that bars the way", (("ip", "route"), ("ip", "-6", "route"), ("ip", "rule")))
    named = ", ".join(f"{kind} {destination}" for kind, destination, _ in routes)
    return Cause(
        "delete the route, and take it out of what sets it (the network configuration, fail2ban, a script), or it comes back",
        tuple(("ip", f"-{family}", "route", "del", kind, destination) for kind, destination, family in routes),
        f"A route of this machine's own bars the way: {named}",
    )


def _covering(facts: "Facts", answer: "Answer") -> Optional["Route"]:
    """The route that bars the way to the address of an answer."""
    net = facts.interfaces.content
    if net is None or not answer.address:
        return None
    address = ipaddress.ip_address(answer.address.partition("%")[0])
    bars = [
        (network.prefixlen, route)
        for route in net.routes
        if route.type == answer.detail
        and route.family == address.version
        and address in (network := _network(route.destination, route.family))
    ]
    return max(bars, key=lambda bar: bar[0])[1] if bars else None


def _network(destination: str, family: int) -> Union[ipaddress.IPv4Network, ipaddress.IPv6Network]:
    everything = "0.0.0.0/0" if family == 4 else "::/0"
    return ipaddress.ip_network(everything if destination == "default" else destination, strict=False)


# -- connections that stand, and stall ---------------------------------------------------------------------------------


def _stalled(facts: "Facts", answers: Sequence["Answer"]) -> Optional[Cause]:
    mine = [answer for answer in answers if answer.outcome == "stalled"]
    if not _most(mine, answers):
        return None
    probes, family = facts.probes.value, mine[0].family
    mtu = probes.black_hole(family)
    if mtu is not None:
        return _black_hole(facts, family, mtu)
    measured = max((path.mtu or 0 for path in probes.path_mtu if path.family == family and not path.gateway), default=0)
    if not measured and not probes.carried(family) and any(answer.gaps for answer in mine):
        return _hole_unmeasured(facts, family)
    if family == "proxy":
        return Cause(
            "look at the proxy, and at its own way out: it makes the connection and then passes nothing on", (("env",),)
        )
    full = max(measured, probes.carried(family))
    why = f" Packets of {full} bytes get through, so it is not their size." if full else ""
    return Cause(
        f"ask who runs the firewall or the proxy on the way to let {_named(mine)} through without holding the connections."
        " Whether it is the other side: the same command from a machine in another network tells",
        (("openssl", "s_client", "-connect", f"{mine[0].host}:{mine[0].port}"),),
        f"Something takes the connections, and then passes on nothing or too little.{why}",
    )


def _black_hole(facts: "Facts", family: str, mtu: int) -> Cause:
    link = _link_of(facts, family)
    return Cause(
        f"set the MTU of {link} to {mtu}: now with the command, and for the next boot in the network configuration"
        f" (ifupdown: `mtu {mtu}` in its stanza; netplan: `mtu: {mtu}`; systemd-networkd: `MTUBytes={mtu}` under [Link];"
        f" NetworkManager: `802-3-ethernet.mtu {mtu}`). Then network.mtu sets mailcow's network. The real repair is up"
        " to whoever"
        " runs the way out: to let ICMP `fragmentation needed` and `packet too big` through",
        (("ip", "link", "set", "dev", link, "mtu", str(mtu)),),
        f"Packets of more than {mtu} bytes vanish on the way over {FAMILY[family]}, without the ICMP message that should tell"
        " (a black hole of the path MTU): connections are made, and then stall. No firewall has to let anything out for this",
    )


def _hole_unmeasured(facts: "Facts", family: str) -> Cause:
    link = _link_of(facts, family)
    return Cause(
        f"lower the MTU of {link} (1280 gets through everywhere) and ask again; where that helps, put it into the network"
        " configuration",
        (("ip", "link", "set", "dev", link, "mtu", "1280"), ("cowgate", "check", "--only", "egress.registries")),
        "Only the ends of answers came, without the full-sized packets before them: those vanish on the way (a black hole of"
        " the path MTU). How large packets may be could not be measured, since echo requests are not answered",
    )


def _link_of(facts: "Facts", family: str) -> str:
    net = facts.interfaces.content
    links = net.default_interfaces(6 if family == "ipv6" else 4) if net else ()
    return links[0] if links else "eth0"


# -- a family over which nothing answers -------------------------------------------------------------------------------


def is_dead(probes: "Probes", family: str) -> bool:
    """Whether nothing at all answers over a family: of three hosts or more all are silent."""
    told = [a for a in probes.answers if a.family == family and a.outcome not in (*ABSENT, "no-dns", "sent", "untested")]
    if any(answer.outcome not in SILENT for answer in told):
        return False
    if any(path.family == family and not path.gateway and path.mtu for path in probes.path_mtu):
        return False
    return len({answer.host for answer in told}) >= ENOUGH_HOSTS


def _dead_family(facts: "Facts", answers: Sequence["Answer"]) -> Optional[Cause]:
    probes = facts.probes.value
    for family in probes.families:
        mine = [a for a in answers if a.family == family and a.outcome in (*SILENT, "no-dns")]
        if _most(mine, answers) and is_dead(probes, family):
            return dead_cause(facts, family)
    return None


def dead_cause(facts: "Facts", family: str) -> Cause:
    """What to do where nothing answers over a family."""
    probes, number = facts.probes.value, 6 if family == "ipv6" else 4
    routes = facts.interfaces.content.default_routes(number) if facts.interfaces.content else ()
    ways = tuple(dict.fromkeys((route.interface, route.gateway) for route in routes))
    if len(ways) > 1:
        return _other_way(routes, family)
    silent = [path.target for path in probes.path_mtu if path.gateway and path.family == family and path.mtu is None]
    gateway = f", not even the gateway {silent[0]}" if silent else ", although the gateway does" if ways else ""
    return Cause(
        "repair the way out: the address, the gateway and the link, in the provider's console and in the machine's network"
        " configuration; where they are right, a firewall on the way drops everything, and the provider can tell",
        (("ip", f"-{number}", "addr"), ("ip", f"-{number}", "route"), ("ip", f"-{number}", "neigh")),
        f"Nothing outside answers over {FAMILY[family]}, neither on any port nor to echo requests{gateway}",
        whole=True,
    )


def _other_way(routes: Sequence["Route"], family: str) -> Cause:
    """Two default routes: nothing answers over the one that is used."""
    dead = routes[0]
    rest = next(route for route in routes if (route.interface, route.gateway) != (dead.interface, dead.gateway))
    delete = ["ip", "-6" if family == "ipv6" else "-4", "route", "del", "default"]
    delete += (["via", dead.gateway] if dead.gateway else []) + ["dev", dead.interface, "metric", str(dead.metric)]
    return Cause(
        f"take the dead default route away, now with the command and in the network configuration, so that {_way(rest)}"
        " is used;"
        " or repair what it leads to",
        (tuple(delete),),
        f"There are {len(routes)} default routes over {FAMILY[family]}, and nothing answers over the preferred one"
        f" ({_way(dead)},"
        f" metric {dead.metric})",
    )


def _way(route: "Route") -> str:
    return f"via {route.gateway} on {route.interface}" if route.gateway else f"on {route.interface}"


def _status(facts: "Facts", answers: Sequence["Answer"]) -> Optional[Cause]:
    mine = [answer for answer in answers if answer.outcome == "status"]
    if not _most(mine, answers):
        return None
    if any(answer.status in FOR_NOW for answer in mine):
        return Cause(
            "nothing is to be changed here: ask again later (the service's status page tells more)",
            (("cowgate", "check", "--only", "egress.registries"),),
            f"{_named(mine)} itself answers so, behind a trusted certificate: it has trouble of its own, or too many requests",
        )
    return Cause(
        f"ask the support of {_named(mine)} why it refuses this address, take another address, or name a mirror in the policy"
        " (probes.hosts)",
        (),
        f"{_named(mine)} itself answers so, behind a trusted certificate: it refuses requests from this address",
    )
