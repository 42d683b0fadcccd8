"""What becomes of a packet between mailcow's containers and the network, by the kernel's own rules.

Three answers to each condition: it holds, it does not, or it cannot be told. A refusal is certain only where every condition
on the way to it holds; where one cannot be told, the refusal is possible, and the walk goes on. Docker's own chains are not
walked: what they accept is Docker's affair, and while mailcow does not run they do not accept its packets yet.
"""

import ipaddress
from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, Optional, Union

from cowgate.formats.packetfilter import ADDRESS_CHANGES, Chain, Match, Rule
from cowgate.quoting import Origin, quoted

BRIDGE = "br-mailcow"
OUTSIDE = "outside"  # any address of the internet
# Docker's own chains that decide about containers' packets; DOCKER-USER is the owner's.
DOCKER_CHAINS = ("DOCKER", "DOCKER-FORWARD", "DOCKER-ISOLATION-STAGE-1", "DOCKER-CT", "DOCKER-BRIDGE", "DOCKER-INGRESS")
DOCKER_TABLES = ("docker-bridges",)  # of engine 29 with firewall-backend nftables
CLIENT_PORTS = (32768, 60999)  # from which Linux connects (net.ipv4.ip_local_port_range)
SEGMENTS = (536, 9000)  # bytes that the first packet of TCP says that it takes (RFC 9293: 536 where it says nothing)
MAX_MARKS = 16
# Where Docker translates addresses; of the chains of nat none is asked after one that did.
DOCKERS_NAT = {"prerouting": -100, "postrouting": 100}
MAX_JUMPS = 16  # the kernel refuses deeper ones
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


class Packet(NamedTuple):
    """A packet of a connection: the first one, or what comes after it. `source` and `target` are a network, or OUTSIDE; `iif`
    and `oif` are links, "" where there is none (yet). Of `port` and `sport` 0 is the client's own. `origport` and `origdst`
    are what the client asked for, before Docker sent it to a container. `marks` are those that it may have; none where that
    cannot be told."""

    family: str  # ip or ip6
    iif: str
    oif: str
    source: str
    target: str
    port: int
    protocol: str = "tcp"
    origport: int = 0
    origdst: str = ""
    states: tuple[str, ...] = ("new",)
    local: bool = False  # its target is an address of this machine
    marks: tuple[int, ...] = (0,)
    sport: int = 0
    reply: bool = False
    flags: tuple[str, ...] = ("SYN",)  # of TCP


class Fate(NamedTuple):
    """What one rule, or a chain's policy, does to a packet: `verdict` is drop, reject, queue, a change of its address, or that
    there is none (notrack; accept, where it was asked what keeps the packet from Docker's own rules)."""

    verdict: str
    certain: bool
    chain: Chain
    rule: Optional[Rule]

    @property
    def text(self) -> str:
        """The rule as it is quoted."""
        if self.rule is None:
            return f"{self.chain.place}: policy drop"
        text = quoted(Origin.FILTER, self.rule.text).report
        return text if self.chain.source != "nft" else f"{self.chain.place}: {text}"


class Filters:
    """All chains of a machine. `network_made`: mailcow's network exists, so that Docker's rules for it are where they stay.
    `docker_walked`: what leads to Docker's chain DOCKER is followed rule by rule, too, instead of being Docker's affair.
    `apart`: Docker keeps its rules in tables of its own, and puts none into iptables' chains."""

    def __init__(
        self, chains: Iterable[Chain], *, network_made: bool = True, docker_walked: bool = False, apart: bool = False
    ) -> None:
        self.chains = tuple(c for c in chains if c.table not in DOCKER_TABLES)
        self.by_name = {(c.source == "legacy", c.family, c.table, c.name): c for c in self.chains}
        self.network_made, self.docker_walked, self.apart = network_made, docker_walked, apart
        self.marking = any(rule.verdict == "mark" for chain in self.chains for rule in chain.rules)

    def fates(self, packet: Packet, hook: str, kinds: tuple[str, ...] = ("filter", "route")) -> Iterator[Fate]:
        """Everything that refuses the packet or changes its address on its way through a hook, in the kernel's order."""
        families = (packet.family, "inet") if packet.family != "bridge" else ("bridge",)
        hooked = [c for c in self.chains if c.hook == hook and c.kind in kinds and c.family in families]
        if hook == "prerouting" and "filter" in kinds:
            hooked += [c for c in self.chains if c.hook == "ingress" and c.device.split(",").count(packet.iif)]
        elif hook == "egress":
            hooked = [c for c in self.chains if c.hook == hook and c.device.split(",").count(packet.oif)]
        for chain in sorted(hooked, key=lambda c: c.priority if c.hook != "ingress" else -1000):
            walk = _Walk(self, chain, self._as_zoned(chain, packet))
            yield from walk.fates()
            packet = packet._replace(marks=walk.packet.marks)

    def dropped_by_nat(self, packet: Packet, hook: str) -> Iterator[Fate]:
        """What nftables' chains of nat drop; after Docker's own only where that translated nothing."""
        for fate in self.fates(packet, hook, ("nat",)):
            first = fate.chain.priority < DOCKERS_NAT.get(hook, 0)
            if fate.verdict in ("drop", "reject", "queue"):
                yield fate if first else fate._replace(certain=False)
            if fate.certain and first:
                return

    def untranslated(self, packet: Packet) -> Iterator[Fate]:
        """What keeps a packet to a published port from Docker's DNAT: connection tracking is off for it, or a rule before
        Docker's lets it out of iptables' nat table. Docker's proxy listens on the port, and carries the connection then."""
        yield from (fate for fate in self.fates(packet, "prerouting") if fate.verdict == "notrack")
        for chain in self.chains:
            base = chain.table == "nat" and chain.hook == "prerouting" and chain.source != "nft"
            if base and chain.family == packet.family and any(rule.target == "DOCKER" for rule in chain.rules):
                walk = _Walk(self, chain, packet, passing=True)
                yield from (fate for fate in walk.fates() if fate.verdict == "accept")

    def marks_after(self, packet: Packet, hook: str) -> tuple[int, ...]:
        """The marks that the packet may have behind a hook; none where they cannot be told."""
        for chain in self.chains if self.marking else ():
            if chain.hook == hook and chain.kind in ("filter", "route") and chain.family in (packet.family, "inet"):
                walk = _Walk(self, chain, self._as_zoned(chain, packet))
                for _ in walk.fates():
                    continue
                packet = packet._replace(marks=walk.packet.marks)
        return packet.marks

    def _as_zoned(self, chain: Chain, packet: Packet) -> Packet:
        """firewalld does as its zones say: Docker puts each of its bridges into the zone of docker0 when it makes it."""
        if chain.table != "firewalld" or self.network_made:
            return packet
        iif, oif = ("docker0" if link == BRIDGE else link for link in (packet.iif, packet.oif))
        return packet._replace(iif=iif, oif=oif)

    def same_table(self, chain: Chain, name: str) -> Optional[Chain]:
        return self.by_name.get((chain.source == "legacy", chain.family, chain.table, name))


class _Walk:
    """One packet through one base chain and what it jumps to."""

    def __init__(self, filters: Filters, base: Chain, packet: Packet, *, passing: bool = False) -> None:
        self.filters, self.base, self.packet = filters, base, packet
        self.passing = passing  # tell what lets the packet go on before Docker's own rules have seen it
        self.doubt = False  # an earlier condition that could not be told may have ended the walk

    def fates(self) -> Iterator[Fate]:
        if self._is_dockers_forward() and not self._has_docker():
            return  # Docker puts its own rules before all of these when it starts
        ended = yield from self._chain(self.base, True, 0)
        if not ended and self.base.policy == "drop":
            yield Fate("drop", not self.doubt, self.base, None)

    def _is_dockers_forward(self) -> bool:
        if self.base.table != "filter" or self.base.name != "FORWARD" or self.base.family not in ("ip", "ip6"):
            return False
        if self.filters.apart:
            return False  # what Docker accepts in its own table a chain of another refuses all the same
        # the kernel asks iptables-legacy's tables and nftables' one after the other: Docker writes into one of them alone
        return not self._is_of_the_other_kind()

    def _is_of_the_other_kind(self) -> bool:
        legacy = self.base.source == "legacy"
        names = [(kind, family, "filter", "DOCKER") for kind in (legacy, not legacy) for family in ("ip", "ip6")]
        here, there = (any(name in self.filters.by_name for name in part) for part in (names[:2], names[2:]))
        return there and not here

    def _will_move(self, rule: Rule) -> bool:
        """Whether Docker will put its own rules before this one when it makes mailcow's network."""
        stays = ("DOCKER-USER", *DOCKER_CHAINS)
        return self._is_dockers_forward() and not self.filters.network_made and rule.target not in stays

    def _has_docker(self) -> bool:
        return any(rule.target in DOCKER_CHAINS for rule in self.base.rules)

    def _chain(self, chain: Chain, sure: bool, depth: int) -> Generator[Fate, None, Optional[bool]]:
        """Yields fates; returns whether the packet's way through the base chain ends here for certain."""
        for rule in chain.rules:
            holds = self._holds(rule)
            if holds is False:
                continue
            certain = sure and holds is True and not (depth == 0 and self._will_move(rule))
            if rule.verdict in ("jump", "goto"):
                ended = yield from self._jump(chain, rule, certain, depth)
                if ended and certain:
                    return True
                if rule.verdict == "goto" and certain:
                    return False if depth == 0 else None
            elif rule.verdict in ("accept", "return"):
                if self.passing and (rule.verdict == "accept" or depth == 0):
                    yield Fate("accept", certain and not self.doubt, chain, rule)
                if certain:
                    return True if rule.verdict == "accept" else (False if depth == 0 else None)
                self.doubt = True
            elif rule.verdict in ("drop", "reject", *ADDRESS_CHANGES):
                yield Fate(rule.verdict, certain and not self.doubt, chain, rule)
                if certain:
                    return True
            elif rule.verdict in ("notrack", "queue"):  # of a queue nobody knows what its program decides
                yield Fate(rule.verdict, rule.verdict == "notrack" and certain and not self.doubt, chain, rule)
            elif rule.verdict == "mark":
                self._mark(rule.target, certain and not self.doubt)
        return False if depth == 0 else None

    def _mark(self, change: str, certain: bool) -> None:
        value, _, mask = change.partition("/")
        try:
            changed = {(old & ~int(mask or "0xffffffff", 0)) ^ int(value, 0) for old in self.packet.marks}
        except ValueError:
            changed = set()
        found = changed if certain or not changed else {*self.packet.marks, *changed}
        self.packet = self.packet._replace(marks=tuple(sorted(found)) if len(found) <= MAX_MARKS else ())

    def _jump(self, chain: Chain, rule: Rule, certain: bool, depth: int) -> Generator[Fate, None, bool]:
        if chain.table == "filter" and (rule.target == "DOCKER" or self._is_dockers(rule.target)):
            return True  # Docker's decision
        if rule.target in DOCKER_CHAINS and chain.table == "nat":
            if self.passing:
                return True
            self.doubt = True  # what comes behind it counts only where Docker publishes nothing
            return False
        target = self.filters.same_table(chain, rule.target)
        if target is None or depth > MAX_JUMPS:
            return False
        ended = yield from self._chain(target, certain, depth + 1)
        return bool(ended)

    def _is_dockers(self, name: str) -> bool:
        return name in DOCKER_CHAINS and not self.filters.docker_walked

    def _holds(self, rule: Rule) -> Optional[bool]:
        """Whether all conditions of a rule hold; None where one cannot be told and none fails."""
        found: Optional[bool] = True
        for match in rule.matches:
            answer = matches(match, self.packet)
            if answer is False:
                return False
            found = None if answer is None else found
        return found


# -- conditions --------------------------------------------------------------------------------------------------------


def matches(match: Match, packet: Packet) -> Optional[bool]:
    """Whether a condition holds for the packet; None where that cannot be told."""
    test = _TESTS.get(match.what)
    if test is None:
        return None
    if len(match.values) == 1:
        found = test(match.values[0], packet)
        return found if found is None or not match.negated else not found
    answers = [test(value, packet) for value in match.values or ("",)]
    found = True if True in answers else None if None in answers or not answers else False
    return found if found is None or not match.negated else not found


def _on(pattern: str, link: str) -> Optional[bool]:
    if pattern.startswith("@") or pattern == "?":
        return None
    return link.startswith(pattern[:-1]) if pattern.endswith("*") else link == pattern


def _of_bridge(value: str, _: Packet) -> Optional[bool]:
    return _on(value, BRIDGE)  # only packets on mailcow's own bridge meet rules of the family bridge


def _iif(value: str, packet: Packet) -> Optional[bool]:
    return _on(value, packet.iif)


def _oif(value: str, packet: Packet) -> Optional[bool]:
    return _on(value, packet.oif)


def _address(value: str, where: str) -> Optional[bool]:
    """Whether an address, of which only the network is known, lies in what a rule names."""
    if value.startswith("@") or where == OUTSIDE:
        # An arbitrary client is in no list, and in a network only where that is (nearly) everything.
        return _of_anybody(value)
    return _inside(value, where)


@lru_cache(maxsize=1 << 16)
def _inside(value: str, where: str) -> Optional[bool]:
    try:
        first, _, last = value.partition("-")
        named = ipaddress.ip_network(first, strict=False)
        own = ipaddress.ip_network(where, strict=False)
    except ValueError:
        return None
    if last:
        return None
    if named.version != own.version or not named.overlaps(own):
        return False
    return True if named.supernet_of(own) else None  # type: ignore[arg-type]


def _of_anybody(value: str) -> Optional[bool]:
    if value.startswith("@"):
        return False
    length = value.partition("/")[2]
    if value in ("0.0.0.0/0", "::/0", "2000::/3") or length == "0":
        return True
    return None if length.isdecimal() and int(length) < 4 else False


def _source(value: str, packet: Packet) -> Optional[bool]:
    return _address(value, packet.source)


def _target(value: str, packet: Packet) -> Optional[bool]:
    return None if value.startswith("@") and packet.target != OUTSIDE else _address(value, packet.target)


def _protocol(value: str, packet: Packet) -> Optional[bool]:
    numbers = {"6": "tcp", "17": "udp", "1": "icmp", "58": "ipv6-icmp"}
    return numbers.get(value, value) in (packet.protocol, "all", "ip", "0")


def _port_of(value: str, port: int) -> Optional[bool]:
    first, dash, last = value.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        return _SERVICES.get(value) == port if value in _SERVICES else None
    return int(first) <= port <= int(last or first)


def _port(value: str, packet: Packet) -> Optional[bool]:
    return _port_of(value, packet.port) if packet.port else _of_clients(value)


def _original_port(value: str, packet: Packet) -> Optional[bool]:
    return _port_of(value, packet.origport or packet.port)


def _original_target(value: str, packet: Packet) -> Optional[bool]:
    return _address(value, packet.origdst or packet.target)


def _state(value: str, packet: Packet) -> Optional[bool]:
    return value.lower() in packet.states


def _status(value: str, packet: Packet) -> Optional[bool]:
    return value.lower() in packet.states if value.lower() == "dnat" else None


def _source_type(value: str, _: Packet) -> Optional[bool]:
    return {"local": False, "unicast": True, "broadcast": False, "multicast": False}.get(value.lower())


def _target_type(value: str, packet: Packet) -> Optional[bool]:
    return {"local": packet.local, "unicast": not packet.local, "broadcast": False, "multicast": False}.get(value.lower())


def _mark(value: str, packet: Packet) -> Optional[bool]:
    number, _, mask = value.partition("/")
    try:
        answers = {mark & int(mask or "0xffffffff", 0) == int(number, 0) for mark in packet.marks}
    except ValueError:
        return None
    return answers.pop() if len(answers) == 1 else None


def _family(value: str, packet: Packet) -> Optional[bool]:
    own = packet.family if packet.family != "bridge" else "ip6" if ":" in packet.source else "ip"
    return {"ipv4": "ip", "ipv6": "ip6", "2": "ip", "10": "ip6"}.get(value.lower(), value.lower()) == own


def _direction(value: str, packet: Packet) -> Optional[bool]:
    return {"original": not packet.reply, "reply": packet.reply}.get(value.lower())


def _policy(value: str, _: Packet) -> Optional[bool]:
    return value == "none"  # mailcow's packets are not IPsec's


def _flags(value: str, packet: Packet) -> Optional[bool]:
    """TCP flags as MASK/WANTED."""
    if packet.protocol != "tcp":
        return False
    mask, _, wanted = (part.upper() for part in value.partition("/"))
    flags = mask.split(",") if mask not in ("ALL", "") else ["FIN", "SYN", "RST", "PSH", "ACK", "URG"]
    return {f for f in wanted.split(",") if f not in ("NONE", "0", "0X0")} == set(packet.flags) & set(flags)


def _source_port(value: str, packet: Packet) -> Optional[bool]:
    return _port_of(value, packet.sport) if packet.sport else _of_clients(value)


def _of_clients(value: str) -> Optional[bool]:
    """Whether a port of a client, which may be any of many, is one of these."""
    if value.startswith("@") or value == "?":
        return None
    first, dash, last = value.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        return False
    low, high = CLIENT_PORTS
    if int(last or first) < low or int(first) > high:
        return False
    return (int(first) <= low and int(last or first) >= high) or (None if dash else False)


def _segment(value: str, packet: Packet) -> Optional[bool]:
    first, dash, last = value.partition("-")
    if packet.protocol != "tcp" or "SYN" not in packet.flags:
        return False
    if not first.isdecimal() or (dash and not last.isdecimal()):
        return None
    return False if int(last or first) < SEGMENTS[0] or int(first) > SEGMENTS[1] else None


def _packet_type(value: str, _: Packet) -> Optional[bool]:
    return value.lower() in ("host", "unicast")


def _never(_: str, __: Packet) -> Optional[bool]:
    return False


_TESTS = {
    "iif": _iif, "oif": _oif, "saddr": _source, "daddr": _target, "proto": _protocol, "dport": _port,
    "origport": _original_port, "origdst": _original_target, "state": _state, "status": _status, "srctype": _source_type,
    "dsttype": _target_type, "mark": _mark, "family": _family, "direction": _direction, "policy": _policy, "flags": _flags,
    "sport": _source_port, "pkttype": _packet_type, "bridge": _of_bridge, "never": _never,
    "mss": _segment,
}  # fmt: skip
_SERVICES: Mapping[str, int] = {
    "smtp": 25, "http": 80, "pop3": 110, "imap2": 143, "imap": 143, "https": 443, "submissions": 465, "ssmtp": 465,
    "submission": 587, "imaps": 993, "pop3s": 995, "sieve": 4190, "ssh": 22, "domain": 53,
}  # fmt: skip
