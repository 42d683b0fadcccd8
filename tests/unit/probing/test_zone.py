"""What an SPF record says of this machine's addresses, as far as it can be told without asking for more."""

from __future__ import annotations

import pytest

from cowgate.probes.values import Lookup, PublicAddress, Records
from cowgate.probes.zone import entries, spf_fault

OURS = (PublicAddress("203.0.113.10", "ipv4", "interface"), PublicAddress("2001:db8:1::10", "ipv6", "interface"))
LOOKUPS = (
    Lookup("mail.example.org", "A", "ok", ("203.0.113.10",)),
    Lookup("mail.example.org", "AAAA", "ok", ("2001:db8:1::10",)),
    Lookup("example.org", "A", "ok", ("203.0.113.80",)),
    Lookup("example.org", "AAAA", "ok", ("2001:db8:1::80",)),
    Lookup("example.org", "MX", "ok", ("10 mail.example.org",)),
)
RECORDS = Records(True, hostname="mail.example.org", public=OURS, lookups=LOOKUPS)
BOTH = "does not allow 203.0.113.10, 2001:db8:1::10"


@pytest.mark.parametrize(
    ("terms", "fault"),
    [
        ("a:mail.example.org -all", ""),
        ("a -all", BOTH),
        ("a/24//64 -all", ""),
        ("a/24 -all", "does not allow 2001:db8:1::10"),
        ("a//64 -all", "does not allow 203.0.113.10"),
        ("a:example.org/24//64 -all", ""),
        ("a:example.org/28//120 -all", "does not allow 203.0.113.10"),
        ("a/rubbish -all", "is an error to receivers: `a/rubbish`: /rubbish is no prefix length"),
        ("-all mx", BOTH),
        ("-mx ?all", BOTH),
        ("mx -all", ""),
        ("ipv4:203.0.113.10 -all", "is an error to receivers: `ipv4:203.0.113.10` is no mechanism of SPF (`ip4` is meant)"),
        ("ip4:203.0.113.10/33 -all", "is an error to receivers: `ip4:203.0.113.10/33`: /33 is no prefix length"),
        ("ip4:203.0.113.10 ip6:2001:db8:1::10 -all", ""),
        ("include:example.org -all", "is an error to receivers: it includes itself"),
        ("redirect=example.org", "is an error to receivers: it includes itself"),
        ("include:_spf.example.net -all", ""),
        ("mx +all", "lets everybody send"),
        ("-all +all", BOTH),
        (
            " ".join(f"include:{n}.example.net" for n in range(11)),
            "is an error to receivers: it makes receivers look up 11 names, and more than 10 is an error",
        ),
        # nobody asked for these addresses: they may be ours
        ("a:other.example.net -all", ""),
        ("-a:other.example.net -all", BOTH),
    ],
)
def test_spf(terms: str, fault: str) -> None:
    found = spf_fault(f"v=spf1 {terms}", "example.org", RECORDS)
    assert found == (f"'v=spf1 {terms}' {fault}" if fault else "")


def test_spf_while_dns_is_silent() -> None:
    silent = Records(True, hostname="mail.example.org", public=OURS, lookups=(Lookup("example.org", "A", "timeout"),))
    assert spf_fault("v=spf1 a -all", "example.org", silent) == ""


def test_a_cname_stands_alone_at_its_name() -> None:
    """Pasted as it stands, BIND refuses a zone with "CNAME and other data" (RFC 1034 §3.6.2)."""
    name = "autodiscover.example.org"
    there = (Lookup(name, "A", "ok", ("203.0.113.10",)), Lookup(name, "CAA", "ok", ('128 tbs "unknown"',)))
    plan = entries(RECORDS._replace(domains=("example.org",), lookups=(*LOOKUPS, *there)))
    mine = [entry for entry in plan if entry.name == name]
    assert [(entry.type, entry.state) for entry in mine] == [("CNAME", "wrong")]
    assert "the property `tbs` is marked as critical" in mine[0].note
