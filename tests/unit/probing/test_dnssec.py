"""Validation from a root down, on zones that this test signs itself; and what a root server's answer must be like."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataset
import dns.rdatatype
import dns.rrset
import pytest

from cowgate.probes import dnssec
from cowgate.probes.dnssec import Asker, NoAnswer, Walk, examine, judge_root_answer
from cowgate.probes.text import NOT_IN_TIME
from cowgate.probes.values import Signatures
from tests.unit.probing.network import ScriptedNet

ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")

if not hasattr(dns.dnssec, "make_dnskey"):
    pytest.skip("this dnspython can only verify; the worlds of tests/scenarios try it", allow_module_level=True)

NOW = time.time()
ROOT, ORG, BOGUS = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class Zone:
    """A zone with one key, and its answers."""

    def __init__(self, name: str, inception: float = -3600, expiration: float = 3600) -> None:
        self.name = dns.name.from_text(name)
        self.private = ed25519.Ed25519PrivateKey.generate()
        self.key = dns.dnssec.make_dnskey(self.private.public_key(), dns.dnssec.Algorithm.ED25519, flags=257)
        self.first, self.last = NOW + inception, NOW + expiration
        self.sets: list[dns.rrset.RRset] = [dns.rrset.from_rdata(self.name, 300, self.key)]
        self.unsigned: list[dns.rrset.RRset] = []
        self.additional: list[dns.rrset.RRset] = []

    @property
    def ds(self) -> Any:
        return dns.dnssec.make_ds(self.name, self.key, "SHA256")

    def add(self, name: str, kind: str, *values: str, signed: bool = True) -> None:
        rrset = dns.rrset.from_text_list(dns.name.from_text(name), 300, "IN", kind, list(values))
        (self.sets if signed else self.unsigned).append(rrset)

    def signature(self, rrset: dns.rrset.RRset) -> dns.rrset.RRset:
        rrsig = dns.dnssec.sign(rrset, self.private, self.name, self.key, inception=self.first, expiration=self.last)
        return dns.rrset.from_rdata(rrset.name, 300, rrsig)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        (question,) = query.question
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        for rrset in self.sets:
            if rrset.name == question.name and rrset.rdtype == question.rdtype:
                reply.answer += [rrset, self.signature(rrset)]
        for rrset in self.unsigned:
            if rrset.name == question.name and rrset.rdtype == question.rdtype:
                (reply.authority if rrset.rdtype == dns.rdatatype.NS else reply.answer).append(rrset)
        reply.additional += self.additional
        return reply


class Tree:
    """A root, org below it, and broken.org whose delegation names another key."""

    def __init__(self, **root: float) -> None:
        self.root, self.org, self.broken = Zone(".", **root), Zone("org"), Zone("broken.org")
        self.net = ScriptedNet()
        self.root.add(".", "SOA", "a. b. 1 2 3 4 5")
        self.root.add("org", "DS", self.org.ds.to_text())
        self.root.add("org", "NS", "ns.org.", signed=False)
        self.root.additional = [dns.rrset.from_text("ns.org.", 300, "IN", "A", ORG)]
        self.org.add("broken.org", "DS", Zone("broken.org").ds.to_text())
        self.org.add("broken.org", "NS", "ns.elsewhere.example.", signed=False)
        for address, zone in ((ROOT, self.root), (ORG, self.org), (BOGUS, self.broken)):
            self.serve(address, zone)

    def serve(self, address: str, zone: Zone) -> None:
        self.net.udp[address, 53] = lambda wire: zone.answer(dns.message.from_wire(wire)).to_wire()

    def walk(self, until: float = 60.0, resolve: Any = lambda _: [BOGUS]) -> Walk:
        asker = Asker(self.net, 1.0)  # type: ignore[arg-type]
        return Walk(asker, [ROOT], [self.root.ds.to_text()], NOW, time.monotonic() + until, resolve)


def test_the_chain_holds_and_the_broken_zone_is_refused() -> None:
    assert examine(Tree().walk(), ["org"], ["broken.org"]) == Signatures()


def test_what_is_proved_is_not_asked_again() -> None:
    tree = Tree()
    walk = tree.walk()
    walk.prove("org")
    asked = len(tree.net.log)
    walk.prove("org")
    assert len(tree.net.log) == asked


def test_another_root_is_not_believed() -> None:
    tree = Tree()
    tree.serve(ROOT, Zone("."))
    assert "none of its keys is the one" in examine(tree.walk(), ["org"], []).chain


def test_a_changed_record_breaks_the_chain() -> None:
    tree = Tree()
    genuine = tree.root.signature(next(s for s in tree.root.sets if s.rdtype == dns.rdatatype.DS))
    forged = dns.rrset.from_rdata(dns.name.from_text("org"), 300, Zone("org").ds)
    tree.root.sets = [s for s in tree.root.sets if s.rdtype != dns.rdatatype.DS]
    tree.root.unsigned += [forged, genuine]

    def answer(wire: bytes) -> bytes:
        query = dns.message.from_wire(wire)
        reply = tree.root.answer(query)
        if query.question[0].rdtype == dns.rdatatype.DS:
            reply.answer = [forged, genuine]
        return reply.to_wire()

    tree.net.udp[ROOT, 53] = answer
    found = examine(tree.walk(), ["org"], [])
    assert "zone .: its signature does not hold" in found.chain
    assert not found.clock


@pytest.mark.parametrize(("inception", "expiration"), [(86400, 172800), (-172800, -86400)])
def test_signatures_of_another_time_blame_the_clock(inception: float, expiration: float) -> None:
    found = examine(Tree(inception=inception, expiration=expiration).walk(), ["org"], [])
    assert found.clock
    assert "this machine's clock" in found.chain


def test_stripped_signatures() -> None:
    tree = Tree()
    bare = Zone(".")
    bare.key, bare.sets = tree.root.key, []
    bare.unsigned = [dns.rrset.from_rdata(bare.name, 300, tree.root.key)]
    tree.serve(ROOT, bare)
    assert "its keys come without signatures" in examine(tree.walk(), ["org"], []).chain


def test_unsigned_delegation() -> None:
    tree = Tree()
    tree.root.sets = [s for s in tree.root.sets if s.rdtype != dns.rdatatype.DS]
    assert "its delegation is not signed" in examine(tree.walk(), ["org"], []).chain


def test_a_bogus_zone_that_validates() -> None:
    tree = Tree()
    tree.org.sets = [s for s in tree.org.sets if s.rdtype != dns.rdatatype.DS]
    tree.org.add("broken.org", "DS", tree.broken.ds.to_text())
    assert "broken.org has broken signatures on purpose" in examine(tree.walk(), ["org"], ["broken.org"]).bogus


def test_a_bogus_zone_that_nobody_serves() -> None:
    found = examine(Tree().walk(resolve=lambda _: []), ["org"], ["broken.org"])
    assert found.untested == "broken.org could not be asked for: the servers of broken.org. do not answer (no server known)"
    tree = Tree()
    tree.net.udp[ORG, 53] = socket.timeout("timed out")
    found = examine(tree.walk(), [], ["broken.org"])
    assert found.untested.startswith("broken.org could not be asked for: the servers of org. do not answer")


def test_servers_that_refuse_are_not_taken_for_broken_zones() -> None:
    tree = Tree()

    def refuse(wire: bytes) -> bytes:
        reply = dns.message.make_response(dns.message.from_wire(wire))
        reply.set_rcode(dns.rcode.REFUSED)
        return reply.to_wire()

    tree.net.udp[BOGUS, 53] = refuse
    assert "(192.0.2.3: REFUSED)" in examine(tree.walk(), ["org"], ["broken.org"]).untested


def test_a_bogus_zone_below_a_broken_one_is_not_judged() -> None:
    tree = Tree()
    tree.serve(ORG, Zone("org"))
    assert examine(tree.walk(), [], ["broken.org"]).untested.startswith("broken.org could not be judged: zone org.")


def test_nobody_answers_and_time_runs_out() -> None:
    tree = Tree()
    assert examine(tree.walk(until=-1.0), ["org"], []).untested == NOT_IN_TIME
    tree.net.udp.clear()
    silent = examine(tree.walk(), ["org"], [])
    assert (silent.silent, silent.chain) == (".", "")
    assert "do not answer" in silent.untested


def test_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    def need(*_: Any) -> None:
        raise ImportError("DNSSEC validation requires python cryptography")

    monkeypatch.setattr(dns.dnssec, "validate", need)
    assert "python3-cryptography is not installed" in examine(Tree().walk(), ["org"], []).untested


def test_glue_of_a_missing_family_is_left_out() -> None:
    tree = Tree()
    tree.root.additional.insert(0, dns.rrset.from_text("ns.org.", 300, "IN", "AAAA", "2001:db8::2"))
    assert examine(tree.walk(), ["org"], []) == Signatures()


def test_digests_that_do_not_count() -> None:
    zone = Zone("org")
    (sha1,) = dns.rrset.from_text("org.", 300, "IN", "DS", f"{dns.dnssec.key_id(zone.key)} 15 1 {'AB' * 20}")
    (other,) = dns.rrset.from_text("org.", 300, "IN", "DS", f"1 15 2 {'AB' * 32}")
    assert not dnssec._matches(zone.name, zone.key, sha1)
    assert not dnssec._matches(zone.name, zone.key, other)
    assert dnssec._matches(zone.name, zone.key, dns.dnssec.make_ds(zone.name, zone.key, "SHA384"))


# -- one question --------------------------------------------------------------------------------------------------------


def reply_of(**changes: Any) -> dns.message.Message:
    tree = Tree()
    query = dns.message.make_query(".", "SOA", use_edns=0, want_dnssec=True)
    reply = tree.root.answer(query)
    reply.flags = (reply.flags | changes.get("set", 0)) & ~changes.get("clear", 0)
    if changes.get("edns") is False:
        reply.use_edns(False)
    if changes.get("unsigned"):
        reply.answer = reply.answer[:1]
    if "rcode" in changes:
        reply.set_rcode(changes["rcode"])
    return reply


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "ok"),
        ({"set": dns.flags.RA}, "hijacked"),
        ({"clear": dns.flags.AA}, "hijacked"),
        ({"rcode": 5}, "answer"),
        ({"edns": False}, "answer"),
        ({"unsigned": True}, "unsigned"),
    ],
)
def test_judge_root_answer(changes: dict[str, Any], outcome: str) -> None:
    found, detail = judge_root_answer(reply_of(**changes))
    assert found == outcome
    assert bool(detail) == (outcome != "ok")


def framed(zone: Zone) -> Any:
    def talk(sent: bytes) -> bytes:
        wire = zone.answer(dns.message.from_wire(sent[2:])).to_wire()
        return struct.pack("!H", len(wire)) + wire

    return talk


def test_truncated_answers_are_asked_for_over_tcp() -> None:
    tree = Tree()

    def truncated(wire: bytes) -> bytes:
        reply = dns.message.make_response(dns.message.from_wire(wire))
        reply.flags |= dns.flags.TC
        return reply.to_wire()

    tree.net.udp[ROOT, 53] = truncated
    tree.net.tcp[ROOT, 53] = framed(tree.root)
    reply = Asker(tree.net, 1.0).ask(ROOT, ".", "DNSKEY")  # type: ignore[arg-type]
    assert reply.answer


@pytest.mark.parametrize("data", [b"rubbish", b""])
def test_what_is_no_dns(data: bytes) -> None:
    net = ScriptedNet()
    net.udp[ROOT, 53] = lambda _: data
    with pytest.raises(NoAnswer, match="is not DNS"):
        Asker(net, 1.0).ask(ROOT, ".", "SOA")  # type: ignore[arg-type]


def test_an_answer_to_another_question() -> None:
    net = ScriptedNet()
    net.udp[ROOT, 53] = lambda _: dns.message.make_response(dns.message.make_query("other.", "A")).to_wire()
    with pytest.raises(NoAnswer, match="another question"):
        Asker(net, 1.0).ask(ROOT, ".", "SOA")  # type: ignore[arg-type]


def test_a_connection_that_ends_in_the_middle() -> None:
    net = ScriptedNet()
    net.tcp[ROOT, 53] = lambda _: b"\x00\x40short"
    with pytest.raises(ConnectionResetError):
        Asker(net, 1.0).ask(ROOT, ".", "SOA", tcp=True)  # type: ignore[arg-type]


def test_recursion_is_asked_for_only_of_resolvers() -> None:
    tree = Tree()
    asker = Asker(tree.net, 1.0)  # type: ignore[arg-type]
    asker.ask(ROOT, ".", "SOA")
    asker.ask(ROOT, ".", "SOA", recursion=True)
    flags = [dns.message.from_wire(wire).flags & dns.flags.RD for wire in tree.net.log]
    assert flags == [0, dns.flags.RD]


@pytest.mark.parametrize("kind", ["dns-udp", "dns-tcp"])
def test_the_probe_of_a_root_server(kind: str) -> None:
    from cowgate.probes.exchange import Probe
    from cowgate.probes.targets import Target
    from tests.unit.probing.network import ScriptedHost

    tree = Tree()
    tree.net.tcp[ROOT, 53] = framed(tree.root)
    target = Target("dns.root", "egress.dns", kind, (ROOT,), 53, "testing")
    assert Probe(ScriptedHost(tree.net), target, ROOT, 53, "ipv4").run().outcome == "ok"
