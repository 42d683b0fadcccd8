"""Questions to a scripted resolver, and what the facts say of its answers."""

from __future__ import annotations

import socket
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from cowgate.errors import OfflineError
from cowgate.facts import records
from cowgate.facts.collection import Facts
from cowgate.facts.records import collect
from cowgate.machine.host import Host
from cowgate.probes.values import Lookup, PublicAddress, Records
from tests.unit.conftest import policy_of
from tests.unit.probing.network import ScriptedHost, ScriptedNet

ZONE = {
    "mail.example.org A": ["203.0.113.10"],
    "example.org MX": ["10 mx.other.example.", "0 ."],
    "mx.other.example A": ["203.0.113.10"],
    "example.org TXT": ['"v=spf1 " "mx -all"'],
    "10.113.0.203.in-addr.arpa PTR": ["mail.example.org."],
    "example.org CAA": ['0 issue "letsencrypt.org"'],
}
RESOLV_CONF = {"/etc/resolv.conf": "search x\nnameserver 192.0.2.53\n  nameserver 192.0.2.54\n"}


def resolver(zone: dict[str, list[str]], rcode: int = dns.rcode.NOERROR) -> Any:
    def answer(wire: bytes) -> bytes:
        query = dns.message.from_wire(wire)
        assert query.flags & dns.flags.RD
        (question,) = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        reply.set_rcode(rcode)
        values = zone.get(f"{question.name.to_text(omit_final_dot=True)} {kind}")
        if values:
            reply.answer.append(dns.rrset.from_text_list(question.name, 300, "IN", kind, values))
        elif rcode == dns.rcode.NOERROR:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()

    return answer


def machine(zone: dict[str, list[str]] | None = None, files: dict[str, str] | None = None) -> ScriptedHost:
    net = ScriptedNet()
    net.udp["192.0.2.53", 53] = resolver(ZONE if zone is None else zone)
    return ScriptedHost(net, {**RESOLV_CONF, **(files or {})})


def collected(host: ScriptedHost, policy: dict[str, Any] | None = None) -> Records:
    fact = collect(host, policy_of(policy))
    assert Facts.from_json(Facts({"records": fact}).to_json()).records == fact
    return fact.value


def test_offline_tree() -> None:
    with pytest.raises(OfflineError):
        collect(Host("/proc/self/fdinfo"), policy_of({}))


def test_probes_off_asks_nothing_and_knows_its_addresses() -> None:
    host = machine()
    found = collected(host, {"probes": {"enabled": False}})
    assert (found.asked, found.lookups) == (False, ())
    assert found.public == (PublicAddress("203.0.113.10", "ipv4", "interface"),)
    assert host.scripted.log == []


def test_dropped_by_policy() -> None:
    host = machine()
    found = collected(host, {"probes": {"drop": ["records.resolver"]}})
    assert not found.asked and "records.resolver" in found.reason
    assert host.scripted.log == []


def test_without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dns.message", None)
    assert "dnspython" in collected(machine()).reason


def test_questions_and_answers() -> None:
    found = collected(machine(), {"dns": {"dkim": "sel"}})
    assert found.asked and found.dkim == "sel"
    assert found.domains == ("example.org",)
    assert found.find("MAIL.example.org", "A") == Lookup("mail.example.org", "A", "ok", ("203.0.113.10",))
    assert found.find("mail.example.org", "AAAA").outcome == "none"
    assert found.find("example.org", "MX").values == ("0 .", "10 mx.other.example")
    assert found.find("example.org", "TXT").values == ("v=spf1 mx -all",)
    assert found.find("example.org", "CAA").values == ('0 issue "letsencrypt.org"',)
    assert found.find("10.113.0.203.in-addr.arpa", "PTR").values == ("mail.example.org",)
    assert found.find("mx.other.example", "A").values == ("203.0.113.10",)
    assert found.find("sel._domainkey.example.org", "TXT").outcome == "none"
    assert found.find("never.example", "A") == Lookup("never.example", "A", "failed", detail="not asked")
    names = [(one.name, one.type) for one in found.lookups]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("said", ["", "other.example.org"])
def test_host_name_from_mailcow_conf_and_domains_from_policy(said: str) -> None:
    """mailcow uses its own file, whatever the policy says (system.hostname warns where they differ)."""
    conf = {"/srv/mailcow.conf": '# x\nMAILCOW_HOSTNAME="mx.Example.NET"  # here\nDBPASS=secret\n'}
    policy = {"hostname": said, "install_dir": "/srv", "dns": {"mail_domains": ["Example.COM.", "b.example"]}}
    found = collected(machine(files=conf), policy)
    assert (found.hostname, found.domains) == ("mx.example.net", ("example.com", "b.example"))
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("line", "address", "how"),
    [
        ("SNAT_TO_SOURCE=203.0.113.77", "203.0.113.77", "mailcow.conf"),
        ("SNAT_TO_SOURCE=n", "203.0.113.10", "interface"),
        ("#SNAT_TO_SOURCE=203.0.113.77", "203.0.113.10", "interface"),
        ("SNAT_TO_SOURCE=2001:db8::1", "203.0.113.10", "interface"),
    ],
)
def test_mailcow_conf_chooses_the_address_that_mail_leaves_from(line: str, address: str, how: str) -> None:
    found = collected(machine(files={"/srv/mailcow.conf": f"{line}\n"}), {"install_dir": "/srv"})
    assert found.public == (PublicAddress(address, "ipv4", how),)


@pytest.mark.parametrize("files", [{}, {"/opt/mailcow-dockerized/mailcow.conf": "EACCES"}])
def test_no_host_name(files: dict[str, str]) -> None:
    found = collected(machine(files=files), {"hostname": ""})
    assert (found.hostname, found.domains) == ("", ())


def test_a_host_name_of_two_labels_has_no_domain_of_its_own() -> None:
    assert collected(machine(), {"hostname": "example.org"}).domains == ()
    assert records.caa_names("org") == ("org",)
    assert records.caa_names("mail.example.org") == ("mail.example.org", "example.org")


def test_the_second_resolver_is_asked_where_the_first_is_silent_or_fails() -> None:
    host = machine()
    for first in (socket.timeout("timed out"), resolver({}, dns.rcode.SERVFAIL)):
        host.scripted.udp["192.0.2.53", 53] = first
        host.scripted.udp["192.0.2.54", 53] = resolver(ZONE)
        assert collected(host).find("mail.example.org", "A").outcome == "ok"


def test_no_resolver_answers() -> None:
    host = machine()
    host.scripted.udp.clear()
    silent = collected(host).find("mail.example.org", "A")
    assert (silent.outcome, silent.detail) == ("timeout", "192.0.2.54: timed out")
    host.scripted.udp["192.0.2.53", 53] = host.scripted.udp["192.0.2.54", 53] = resolver({}, dns.rcode.SERVFAIL)
    failed = collected(host).find("mail.example.org", "A")
    assert (failed.outcome, failed.detail) == ("failed", "the resolver says SERVFAIL")


def test_resolvers_of_the_policy() -> None:
    host = machine()
    host.scripted.udp["192.0.2.99", 53] = resolver({"mail.example.org A": ["192.0.2.7"]})
    found = collected(host, {"probes": {"hosts": {"records.resolver": ["192.0.2.99"]}}})
    assert found.find("mail.example.org", "A").values == ("192.0.2.7",)


def test_time_runs_out() -> None:
    host = machine()
    (cut,) = records._lookup_all(host, ["192.0.2.53"], [("a.example", "A")], host.monotonic() - 1)
    assert cut.outcome == "timeout"
    late = records._lookup(host, ["192.0.2.53"], set(), "a.example", "A", host.monotonic() - 1)
    assert (late.outcome, late.detail) == ("failed", "no resolver")


def test_a_name_that_dns_can_not_hold_is_no_silence() -> None:
    host = machine()
    (found,) = records._lookup_all(host, ["192.0.2.53"], [("a" * 70 + ".example", "A")], host.monotonic() + 5)
    assert found.outcome == "failed" and "LabelTooLong" in found.detail


def test_many_domains_are_asked_in_batches() -> None:
    domains = [f"d{n}.example" for n in range(40)]
    found = collected(machine(), {"dns": {"mail_domains": domains}})
    assert {one.name for one in found.lookups} >= set(domains)
    assert len(found.lookups) > 300


def test_parse_resolv_conf() -> None:
    assert records.parse_resolv_conf("nameserver 1.1.1.1\n#nameserver 2.2.2.2\nnameserver ::1\n") == ("1.1.1.1", "::1")
    assert records.parse_resolv_conf("") == ("127.0.0.1",)
    assert len(records.parse_resolv_conf("nameserver 1.1.1.1\n" * 5)) == 3


# -- public addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "private"),
    [("10.0.0.5", True), ("100.64.1.1", True), ("203.0.113.10", False), ("fd00::1", True), ("2001:db8::1", False)],
)
def test_is_private(address: str, private: bool) -> None:
    assert records.is_private(address) is private


def test_addresses_told_by_the_policy() -> None:
    host = machine()
    host.scripted.sources = {"ipv4": "10.0.0.5", "ipv6": "fd00::5"}
    found = collected(host, {"probes": {"hosts": {"public.addresses": ["203.0.113.10"]}}})
    assert found.public == (PublicAddress("203.0.113.10", "ipv4", "policy"),)
    assert found.private == ("fd00::5",)


def nat(answer: Any) -> ScriptedHost:
    host = machine()
    host.scripted.sources = {"ipv4": "10.0.0.5", "ipv6": None}
    for name in ("ip4.mailcow.email", "ip6.mailcow.email"):
        host.scripted.names[name] = ["192.0.2.80"]
    host.scripted.tcp["192.0.2.80", 80] = (lambda _: answer) if isinstance(answer, bytes) else answer
    return host


def test_nobody_is_asked_for_the_address_without_leave() -> None:
    found = collected(nat(b"HTTP/1.0 200 OK\r\n\r\n203.0.113.10\n"))
    assert (found.public, found.private) == ((), ("10.0.0.5",))


def test_address_services() -> None:
    found = collected(nat(b"HTTP/1.0 200 OK\r\n\r\n203.0.113.10\n"), {"probes": {"address_lookup": True}})
    assert found.public == (PublicAddress("203.0.113.10", "ipv4", "lookup"),)
    assert found.find("10.113.0.203.in-addr.arpa", "PTR").outcome == "ok"


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.0 200 OK\r\n\r\n<html>log in</html>", b"", ConnectionRefusedError(111, "refused")]
)
def test_address_services_that_do_not_tell(answer: Any) -> None:
    found = collected(nat(answer), {"probes": {"address_lookup": True}})
    assert found.public == ()


def test_address_services_without_a_name() -> None:
    host = nat(b"")
    host.scripted.names.clear()
    host.scripted.names["ip4.mailcow.email"] = host.scripted.names["ip6.mailcow.email"] = ["2001:db8::80"]
    assert collected(host, {"probes": {"address_lookup": True}}).public == ()


def test_public_machines_ask_no_address_service() -> None:
    host = machine()
    host.scripted.tcp["192.0.2.80", 80] = AssertionError("asked")
    found = collected(host, {"probes": {"address_lookup": True}})
    assert found.public and all(address.how != "lookup" for address in found.public)


def test_spf_is_evaluated_by_our_resolvers() -> None:
    pytest.importorskip("spf", reason="pyspf is not installed")
    host = machine()
    host.scripted.udp["192.0.2.53", 53] = resolver(
        {
            "mail.example.org A": ["203.0.113.10"],
            "example.org TXT": ['"v=spf1 include:_spf.example.net -all"'],
            "_spf.example.net TXT": ['"v=spf1 ip4:203.0.113.10 -all"'],
        }
    )
    found = collected(host)
    assert [(result.domain, result.address, result.result) for result in found.spf] == [
        ("example.org", "203.0.113.10", "pass")
    ]
