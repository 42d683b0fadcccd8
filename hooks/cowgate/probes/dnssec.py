"""DNS as mailcow's own resolver does it: asking the root servers, and following signatures from the trust anchor down.

Needs dnspython, and python3-cryptography for the signatures. Without the first nothing here can be imported.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from cowgate.probes.values import Signatures

if TYPE_CHECKING:
    from cowgate.machine.net import Net

UDP_PAYLOAD = 1232  # bytes; the EDNS size that resolvers use since DNS flag day 2020, unbound's default too

SERVERS_TRIED = 3


class NoAnswer(Exception):
    """No server of a zone answered."""


class Broken(Exception):
    """A zone's signatures do not hold. `clock`: they would at another time."""

    def __init__(self, zone: str, why: str, *, clock: bool = False) -> None:
        super().__init__(f"zone {zone}: {why}")
        self.zone, self.clock = zone, clock


@dataclass(frozen=True)
class Asker:
    """Sends questions with EDNS and the DNSSEC OK bit, at most `seconds` each."""

    net: Net
    seconds: float
    port: int = 53

    def ask(self, address: str, name: str, kind: str, *, tcp: bool = False, recursion: bool = False) -> dns.message.Message:
        """The answer; a truncated one is asked for again over TCP. Raises OSError, NoAnswer for what is no DNS answer."""
        query = dns.message.make_query(name, kind, use_edns=0, payload=UDP_PAYLOAD, want_dnssec=True)
        if not recursion:
            query.flags &= ~dns.flags.RD
        wire = query.to_wire()
        data = self._over_tcp(address, wire) if tcp else self.net.datagram(address, self.port, wire, self.seconds)
        try:
            reply = dns.message.from_wire(data, ignore_trailing=True)
        except Exception as error:  # what comes from the network may make dnspython raise more than its own exceptions
            raise NoAnswer(f"{address} sent something that is not DNS: {error}") from None
        if not query.is_response(reply):
            raise NoAnswer(f"{address} answered another question")
        if reply.flags & dns.flags.TC and not tcp:
            return self.ask(address, name, kind, tcp=True, recursion=recursion)
        return reply

    def _over_tcp(self, address: str, wire: bytes) -> bytes:
        with self.net.connect(address, self.port, self.seconds) as sock:
            sock.sendall(struct.pack("!H", len(wire)) + wire)
            (length,) = struct.unpack("!H", _exactly(sock, 2))
            return _exactly(sock, length)


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

    def prove(self, zone: str) -> None:
        """Raises Broken where a signature on the way, or of the zone itself, does not hold; NoAnswer where nobody answers."""
        target = dns.name.from_text(zone)
        here = dns.name.root
        self._prove_keys(here)
        for depth in range(2, len(target.labels) + 1):
            child = dns.name.Name(target.labels[-depth:])
            self._delegate(here, child)
            self._prove_keys(child)
            here = child

    def _ask(self, zone: Any, name: Any, kind: str) -> dns.message.Message:
        trouble = "no server known"
        for address in self.servers[zone][:SERVERS_TRIED]:
            if time.monotonic() > self.until:
                raise NoAnswer("out of time")
            try:
                reply = self.asker.ask(address, name.to_text(), kind)
            except (OSError, NoAnswer) as error:
                trouble = f"{address}: {error}"
                continue
            if reply.rcode() == dns.rcode.NOERROR:
                return reply
            trouble = f"{address}: {dns.rcode.to_text(reply.rcode())}"
        raise NoAnswer(f"the servers of {zone} do not answer ({trouble})")

    def _prove_keys(self, zone: Any) -> None:
        import dns.dnssec

        if zone in self.keys:
            return
        reply = self._ask(zone, zone, "DNSKEY")
        keys, signatures = _pick(reply.answer, zone, dns.rdatatype.DNSKEY)
        if keys is None or signatures is None:
            raise Broken(str(zone), "its keys come without signatures")
        trusted = [key for key in keys if any(_matches(zone, key, digest) for digest in self.delegations[zone])]
        if not trusted:
            raise Broken(str(zone), "none of its keys is the one that the zone above names")
        anchored = dns.rdataset.from_rdata_list(keys.ttl, trusted)
        self._verify(zone, keys, signatures, {zone: anchored})
        self.keys[zone] = dns.rdataset.from_rdata_list(keys.ttl, list(keys))

    def _delegate(self, zone: Any, child: Any) -> None:
        if child in self.delegations:
            return
        reply = self._ask(zone, child, "DS")
        digests, signatures = _pick(reply.answer, child, dns.rdatatype.DS)
        if digests is None or signatures is None:
            raise Broken(str(child), "its delegation is not signed")
        self._verify(zone, digests, signatures, {zone: self.keys[zone]})
        referral = self._ask(zone, child, "NS")
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
            return sorted(usable, key=lambda address: ":" in address)
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


def examine(walk: Walk, signed: Sequence[str], bogus: Sequence[str]) -> Signatures:
    """Whether the signed zones validate and the broken ones are refused. Never raises for what a network can do."""
    try:
        for zone in signed:
            walk.prove(zone)
    except Broken as error:
        return Signatures(chain=str(error), clock=error.clock)
    except NoAnswer as error:
        return Signatures(chain=str(error))
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
