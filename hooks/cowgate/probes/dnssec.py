"""DNS as mailcow's own resolver does it: asking the root servers, and following signatures from the trust anchor down.

Needs dnspython, and python3-cryptography for the signatures. Without the first nothing here can be imported.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from cowgate.machine.net import Unfinished, together
from cowgate.probes.text import NOT_IN_TIME
from cowgate.probes.values import Signatures

if TYPE_CHECKING:
    from cowgate.machine.net import Net

UDP_PAYLOAD = 1232  # bytes; the EDNS size that resolvers use since DNS flag day 2020, unbound's default too

SMALL_PAYLOAD = 512  # bytes; what a resolver falls back to where larger answers vanish (RFC 6891 §6.2.5)

SERVERS_TRIED = 3  # names of servers without glue

# Seconds between two servers that are asked the same, for all of their answers over UDP, and for those over TCP.
GAP, UDP_SECONDS, TCP_SECONDS = 0.4, 3.2, 2.0

QUESTIONS = 6  # datagrams for one question

TCP_TRIED = 4


class NoAnswer(Exception):
    """No server of a zone answered. `late`: because the common deadline passed."""

    def __init__(self, why: str, *, zone: str = "", late: bool = False) -> None:
        super().__init__(why)
        self.zone, self.late = zone, late


class Broken(Exception):
    """A zone's signatures do not hold. `clock`: they would at another time."""

    def __init__(self, zone: str, why: str, *, clock: bool = False) -> None:
        super().__init__(f"zone {zone}: {why}")
        self.zone, self.clock = zone, clock


class Asker(NamedTuple):
    """Sends questions with EDNS and the DNSSEC OK bit, at most `seconds` each."""

    net: "Net"
    seconds: float
    port: int = 53

    def ask(
        self,
        address: str,
        name: str,
        kind: str,
        *,
        tcp: bool = False,
        recursion: bool = False,
        payload: int = UDP_PAYLOAD,
        edns: bool = True,
    ) -> dns.message.Message:
        """The answer; a truncated one is asked for again over TCP. Raises OSError, NoAnswer for what is no DNS answer."""
        query = _query(name, kind, recursion=recursion, payload=payload, edns=edns)
        wire = query.to_wire()
        data = self._over_tcp(address, wire) if tcp else self.net.datagram(address, self.port, wire, self.seconds)
        reply = _reply(query, address, data)
        if reply.flags & dns.flags.TC and not tcp:
            return self.ask(address, name, kind, tcp=True, recursion=recursion, edns=edns)
        return reply

    def resolved(self, address: str, name: str, kind: str) -> dns.message.Message:
        """A resolver's answer. One that does not know EDNS answers FORMERR (RFC 6891 §7), and is asked again without it."""
        reply = self.ask(address, name, kind, recursion=True)
        if reply.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP):
            return self.ask(address, name, kind, recursion=True, edns=False)
        return reply

    def first(self, addresses: Sequence[str], name: str, kind: str, until: float) -> tuple[str, dns.message.Message, bool]:
        """(server, its answer, whether it came over UDP) of the first server that answers without an error.

        One server after the other is asked, a little apart, and all are listened to, so that neither a dead one nor a slow
        way costs its time-out. Where none answers over UDP (large answers vanish in some firewalls), some are asked over TCP.
        Raises NoAnswer.
        """
        query = _query(name, kind, recursion=False, payload=UDP_PAYLOAD, edns=True)
        order = (list(addresses) * QUESTIONS)[: max(QUESTIONS, len(addresses))] if addresses else []
        left = min(UDP_SECONDS, until - time.monotonic())
        trouble = "no answer" if addresses else "no server known"
        payloads = [(address, query.to_wire()) for address in order]
        for address, data in self.net.first_answer(payloads, self.port, GAP, left):
            try:
                reply = _reply(query, address, data)
                if reply.rcode() == dns.rcode.NOERROR:
                    truncated = bool(reply.flags & dns.flags.TC)
                    return address, self.ask(address, name, kind, tcp=True) if truncated else reply, True
                trouble = f"{address}: {dns.rcode.to_text(reply.rcode())}"
            except (OSError, NoAnswer) as error:
                trouble = f"{address}: {error}"
        address, found = self._first_over_tcp(addresses, name, kind, until)
        if found is None:
            raise NoAnswer(trouble, late=time.monotonic() >= until)
        return address, found, False

    def _first_over_tcp(
        self, addresses: Sequence[str], name: str, kind: str, until: float
    ) -> tuple[str, Optional[dns.message.Message]]:
        asker = self._replace(seconds=TCP_SECONDS / 2)
        tasks = {a: partial(asker.ask, a, name, kind, tcp=True) for a in addresses[:TCP_TRIED]}
        results = together(tasks, max(0.0, min(TCP_SECONDS, until - time.monotonic())))
        for address, found in results.items():
            if isinstance(found, dns.message.Message) and found.rcode() == dns.rcode.NOERROR:
                return address, found
        return "", None

    def _over_tcp(self, address: str, wire: bytes) -> bytes:
        with self.net.connect(address, self.port, self.seconds) as sock:
            sock.sendall(struct.pack("!H", len(wire)) + wire)
            (length,) = struct.unpack("!H", _exactly(sock, 2))
            return _exactly(sock, length)


def _query(name: str, kind: str, *, recursion: bool, payload: int, edns: bool) -> dns.message.Message:
    if edns:
        query = dns.message.make_query(name, kind, use_edns=0, payload=payload, want_dnssec=True)
    else:
        query = dns.message.make_query(name, kind)
    if not recursion:
        query.flags &= ~dns.flags.RD
    return query


def _reply(query: dns.message.Message, address: str, data: bytes) -> dns.message.Message:
    """The answer to this question. Raises NoAnswer for anything else."""
    try:
        reply = dns.message.from_wire(data, ignore_trailing=True)
    except Exception as error:  # what comes from the network may make dnspython raise more than its own exceptions
        raise NoAnswer(f"{address} sent something that is not DNS: {error}") from None
    if not query.is_response(reply):
        raise NoAnswer(f"{address} answered another question")
    return reply


def _exactly(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        chunk = sock.recv(length - len(data))
        if not chunk:
            raise ConnectionResetError(104, "connection closed in the middle of the answer")
        data += chunk
    return data


def judge_root_answer(reply: dns.message.Message) -> tuple[str, str]:
    """(outcome, detail) for a root server's answer to `. SOA`: its own, with EDNS, and signed."""
    if reply.flags & dns.flags.RA or not reply.flags & dns.flags.AA:
        return "hijacked", "a recursive resolver answers in place of the root server"
    if reply.rcode() != dns.rcode.NOERROR:
        return "answer", f"answers {dns.rcode.to_text(reply.rcode())}"
    if reply.edns < 0:
        return "answer", "answers without EDNS"
    if not any(rrset.rdtype == dns.rdatatype.RRSIG for rrset in reply.answer):
        return "unsigned", "answers without signatures although they were asked for"
    return "ok", ""


class Walk:
    """A small validating resolver: proves zones from the root's trust anchors down, remembering what it proved."""

    def __init__(
        self,
        asker: Asker,
        roots: Sequence[str],
        anchors: Iterable[str],
        now: float,
        until: float,
        resolve: Callable[[str], Sequence[str]],
    ) -> None:
        self.asker, self.now, self.until, self.resolve = asker, now, until, resolve
        root = dns.name.root
        self.servers: dict[Any, Sequence[str]] = {root: roots}
        self.delegations: dict[Any, list[Any]] = {root: [_digest(text) for text in anchors]}
        self.keys: dict[Any, Any] = {}
        self.by_tcp = False

    def prove(self, zone: str) -> None:
        """Raises Broken where a signature on the way, or of the zone itself, does not hold; NoAnswer where nobody answers."""
        target = dns.name.from_text(zone)
        here = dns.name.root
        for depth in range(2, len(target.labels) + 1):
            child = dns.name.Name(target.labels[-depth:])
            self._prove_and_delegate(here, child)
            here = child
        self._prove_keys(here)

    def _prove_and_delegate(self, zone: Any, child: Any) -> None:
        """The zone's keys and its delegation of the child: asked for at once, since a slow way is slow for each question."""
        wanted = {} if zone in self.keys else {"keys": partial(self._ask, zone, zone, "DNSKEY")}
        if child not in self.delegations:
            wanted["child"] = partial(self._ask, zone, child, "NS")
        found = together(wanted, max(0.0, self.until - time.monotonic()))
        for result in found.values():
            if isinstance(result, Unfinished):
                raise NoAnswer("out of time", zone=zone.to_text(), late=True)
            if isinstance(result, Exception):
                raise result
        if "keys" in found:
            self._trust(zone, found["keys"])
        if "child" in found:
            self._delegate(zone, child, found["child"])

    def _ask(self, zone: Any, name: Any, kind: str) -> dns.message.Message:
        servers = self.servers[zone]
        try:
            address, reply, over_udp = self.asker.first(servers, name.to_text(), kind, self.until)
        except NoAnswer as error:
            why = f"the servers of {zone} do not answer ({error})"
            raise NoAnswer(why, zone=zone.to_text(), late=error.late) from None
        self.by_tcp = self.by_tcp or not over_udp
        # Who answered is asked first from now on.
        self.servers[zone] = [address, *(server for server in servers if server != address)]
        return reply

    def _prove_keys(self, zone: Any) -> None:
        if zone not in self.keys:
            self._trust(zone, self._ask(zone, zone, "DNSKEY"))

    def _trust(self, zone: Any, reply: Any) -> None:
        keys, signatures = _pick(reply.answer, zone, dns.rdatatype.DNSKEY)
        if keys is None or signatures is None:
            raise Broken(str(zone), "its keys come without signatures")
        trusted = [key for key in keys if any(_matches(zone, key, digest) for digest in self.delegations[zone])]
        if not trusted:
            raise Broken(str(zone), "none of its keys is the one that the zone above names")
        anchored = dns.rdataset.from_rdata_list(keys.ttl, trusted)
        self._verify(zone, keys, signatures, {zone: anchored})
        self.keys[zone] = dns.rdataset.from_rdata_list(keys.ttl, list(keys))

    def _delegate(self, zone: Any, child: Any, referral: Any) -> None:
        """A referral carries the delegation signer and its signature (RFC 4035 §3.1.4.1); who serves both zones gives none."""
        digests, signatures = _pick([*referral.answer, *referral.authority], child, dns.rdatatype.DS)
        if digests is None or signatures is None:
            digests, signatures = _pick(self._ask(zone, child, "DS").answer, child, dns.rdatatype.DS)
        if digests is None or signatures is None:
            raise Broken(str(child), "its delegation is not signed")
        self._verify(zone, digests, signatures, {zone: self.keys[zone]})
        self.servers[child] = self._addresses(referral, child)
        self.delegations[child] = list(digests)

    def _addresses(self, referral: dns.message.Message, child: Any) -> Sequence[str]:
        """Addresses of the child's servers: glue of a family that this machine has, else by the machine's own resolvers."""
        sections = [*referral.answer, *referral.authority]
        names = [
            rdata.target for rrset in sections if rrset.name == child and rrset.rdtype == dns.rdatatype.NS for rdata in rrset
        ]
        glue = [
            rdata.address
            for rrset in referral.additional
            if rrset.name in names and rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
            for rdata in rrset
        ]
        usable = [address for address in glue if self.asker.net.source(address)]
        if usable:
            return spread(usable)
        found: list[str] = []
        for name in names[:SERVERS_TRIED]:
            found += self.resolve(name.to_text().rstrip("."))
        return found

    def _verify(self, zone: Any, rrset: Any, signatures: Any, keys: dict[Any, Any]) -> None:
        import dns.dnssec

        try:
            dns.dnssec.validate(rrset, signatures, keys, None, self.now)
        except dns.exception.DNSException as error:
            times = [(rdata.inception, rdata.expiration) for rdata in signatures]
            if all(not first <= self.now <= last for first, last in times):
                raise Broken(
                    str(zone), "by this machine's clock its signatures are outside of their time", clock=True
                ) from None
            raise Broken(str(zone), f"its signature does not hold ({error})") from None


def _pick(section: Iterable[Any], name: Any, kind: int) -> tuple[Any, Any]:
    """(the records, their signatures) of a name and type in a section; None for what is not there."""
    records = signatures = None
    for rrset in section:
        if rrset.name != name:
            continue
        if rrset.rdtype == kind:
            records = rrset
        elif rrset.rdtype == dns.rdatatype.RRSIG and rrset.covers == kind:
            signatures = rrset
    return records, signatures


def _digest(text: str) -> Any:
    import dns.rdata
    import dns.rdataclass

    return dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.DS, text)


def _matches(zone: Any, key: Any, digest: Any) -> bool:
    """Whether a DS record is of this key. Digest types other than SHA-256 and SHA-384 (2 and 4) do not count."""
    import dns.dnssec

    kinds = {2: "SHA256", 4: "SHA384"}
    if digest.digest_type not in kinds or digest.key_tag != dns.dnssec.key_id(key):
        return False
    return bool(dns.dnssec.make_ds(zone, key, kinds[digest.digest_type]).digest == digest.digest)


def spread(addresses: Iterable[str]) -> list[str]:
    """The families in turn, IPv4 first, so that one which leads nowhere does not use up the tries."""
    found = list(addresses)
    four = [address for address in found if ":" not in address]
    six = [address for address in found if ":" in address]
    return [address for pair in zip_longest(four, six) for address in pair if address]


def examine(walk: Walk, signed: Sequence[str], bogus: Sequence[str]) -> Signatures:
    """Whether the signed zones validate and the broken ones are refused. Never raises for what a network can do."""
    return _examine(walk, signed, bogus)._replace(by_tcp=walk.by_tcp)


def _examine(walk: Walk, signed: Sequence[str], bogus: Sequence[str]) -> Signatures:
    try:
        for zone in signed:
            walk.prove(zone)
    except Broken as error:
        return Signatures(chain=str(error), clock=error.clock)
    except NoAnswer as error:
        return Signatures(untested=NOT_IN_TIME) if error.late else Signatures(silent=error.zone, untested=str(error))
    except ImportError:
        return Signatures(untested="signatures were not verified: python3-cryptography is not installed")
    for zone in bogus:
        try:
            walk.prove(zone)
        except Broken as error:
            if error.zone.rstrip(".") != zone.rstrip("."):
                return Signatures(untested=f"{zone} could not be judged: {error}")
        except NoAnswer as error:
            return Signatures(untested=f"{zone} could not be asked for: {error}")
        else:
            return Signatures(bogus=f"{zone} has broken signatures on purpose, and yet it validates")
    return Signatures()
