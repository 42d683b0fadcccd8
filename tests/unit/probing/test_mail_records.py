"""SPF, DMARC and CAA records judged as the standards do.

rfc7208.json: [record, whether it is a permanent error by its shape alone], from the openspf test suite for RFC 7208 (release
2014.04, Stuart D Gathman and others, BSD licence); what only DNS decides is left out. DMARC: RFC 7489 appendix B and §6.3;
CAA: RFC 8659 §4, RFC 8657 §4.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cowgate.probes import caa, dmarc, receiver, spf
from cowgate.probes.values import Lookup, PublicAddress, Records, SpfResult
from cowgate.probes.zone import entries, shape_only

VECTORS = json.loads((Path(__file__).parent / "rfc7208.json").read_text())


def is_error(text: str) -> bool:
    try:
        spf.parse(text)
    except spf.Malformed:
        return True
    return False


@pytest.mark.parametrize(("text", "error"), VECTORS, ids=range(len(VECTORS)))
def test_shape_as_the_test_suite_of_the_rfc(text: str, error: bool) -> None:
    assert is_error(text) == error


def test_enough_vectors() -> None:
    assert len(VECTORS) > 100
    assert 20 < sum(error for _, error in VECTORS) < len(VECTORS)


@pytest.mark.parametrize("text", ["v=spf10 mx -all", "v=spf1\tmx", "v=spf 1 mx", "spf1 mx", "v=spf2.0/pra mx"])
def test_what_is_no_spf_record(text: str) -> None:
    assert not spf.is_spf(text)


@pytest.mark.parametrize("text", ["v=spf1", "v=spf1 mx", "V=SPF1 -all"])
def test_what_is_one(text: str) -> None:
    assert spf.is_spf(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", ""),
        ("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@example.com", ""),
        (
            "v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net!10m; pct=25",
            "",
        ),
        ("v=DMARC1; p=reject; sp=none; adkim=s; aspf=s", ""),
        ("v=DMARC1;p=reject", ""),
        ("v = DMARC1 ; p = Reject", ""),
        ("v=DMARC1; p=rejekt", "p=rejekt is no policy (none, quarantine, reject are), so receivers ignore the record"),
        ("v=DMARC1; p=rejekt; rua=mailto:a@example.org", "so receivers take it for p=none"),
        ("v=DMARC1; rua=mailto:a@example.org", "has no policy (`p=`), so receivers take it for p=none"),
        ("v=DMARC1", "has no policy"),
        ("v=DMARC1; p=reject; sp=rejct", "sp=rejct is no policy"),
    ],
)
def test_dmarc(text: str, fault: str) -> None:
    assert dmarc.is_dmarc(text)
    found = dmarc.fault(text)
    assert fault in found and bool(fault) == bool(found)


@pytest.mark.parametrize(
    "text", ["v=DMARC10; p=reject", "v=dmarc1; p=reject", "p=reject; v=DMARC1", "v=DMARC2; p=none", "DMARC1"]
)
def test_what_is_no_dmarc_record(text: str) -> None:
    assert not dmarc.is_dmarc(text)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ((), ""),
        (('0 issue "letsencrypt.org"',), ""),
        (('0 issue "ca1.example.net"',), "may not issue"),
        (('0 issue "ca1.example.net"', '0 issue "letsencrypt.org"'), ""),
        (('0 issue ";"',), "may not issue"),
        (('0 issue "%%%%%"',), "may not issue"),
        (('0 issuewild "ca1.example.net"',), ""),
        (('0 iodef "mailto:security@example.com"',), ""),
        (('0 issue "letsencrypt.org; validationmethods=http-01"',), ""),
        (('0 issue "letsencrypt.org;validationmethods=dns-01,http-01"',), ""),
        (('0 issue "letsencrypt.org; validationmethods=dns-01"',), "validationmethods"),
        (('0 issue "letsencrypt.org; validationmethods=dns-01"', '0 issue "letsencrypt.org"'), ""),
        (('0 issue "letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/1"',), ""),
        (('128 tbs "Unknown"',), "marked as critical"),
        (('0 tbs "Unknown"',), ""),
        (('128 issue "letsencrypt.org"',), ""),
        (('0 ISSUE "LetsEncrypt.org"',), ""),
    ],
)
def test_caa(values: tuple[str, ...], fault: str) -> None:
    found = caa.fault(values)
    assert fault in found and bool(fault) == bool(found)


# -- the entries of dns.mail ----------------------------------------------------------------------------------------------

OURS = (PublicAddress("203.0.113.10", "ipv4", "interface"),)
GOOD = {
    ("mail.example.org", "A"): ("203.0.113.10",),
    ("sub.example.org", "MX"): ("10 mail.example.org",),
    ("sub.example.org", "TXT"): ("v=spf1 mx -all",),
    ("_dmarc.sub.example.org", "TXT"): ("v=DMARC1; p=reject",),
    ("autodiscover.sub.example.org", "A"): ("203.0.113.10",),
    ("autoconfig.sub.example.org", "A"): ("203.0.113.10",),
}


def records(changes: dict[tuple[str, str], tuple[str, ...]], **more: object) -> Records:
    asked = {**GOOD, **changes}
    for name in ("_dmarc.example.org", "sub.example.org", "autodiscover.sub.example.org", "mail.example.org"):
        for kind in ("TXT", "CAA", "AAAA"):
            asked.setdefault((name, kind), ())
    lookups = tuple(Lookup(name, kind, "ok" if values else "none", values) for (name, kind), values in asked.items())
    return Records(
        True,
        hostname="mail.example.org",
        domains=("sub.example.org",),
        public=OURS,
        lookups=lookups,
        **more,  # type: ignore[arg-type]
    )


def wrong(found: Records) -> list[str]:
    return [f"{e.name} {e.type} {e.note}" for e in entries(found) if e.group == "mail" and e.state in ("wrong", "missing")]


def test_good_records_have_no_fault() -> None:
    assert wrong(records({})) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({("_dmarc.sub.example.org", "TXT"): ()}, "_dmarc.sub.example.org TXT missing"),
        ({("_dmarc.sub.example.org", "TXT"): ("v=DMARC10; p=reject",)}, "is no DMARC record"),
        ({("sub.example.org", "TXT"): ("v=spf10 mx -all",)}, "is no SPF record"),
        ({("sub.example.org", "TXT"): ("v=spf1 mx", "v=spf1 a")}, "2 records begin with v=spf1"),
        ({("mail.example.org", "CNAME"): ("host.example.net.",)}, "an alias (CNAME) of host.example.net"),
        ({("autodiscover.sub.example.org", "CAA"): ('0 issue ";"',)}, "autodiscover.sub.example.org CNAME its CAA is 0 issue"),
        ({("sub.example.org", "CAA"): ('0 issue "letsencrypt.org; validationmethods=dns-01"',)}, "validationmethods"),
    ],
)
def test_faults(changes: dict[tuple[str, str], tuple[str, ...]], said: str) -> None:
    (found,) = wrong(records(changes))
    assert said in found


def test_dmarc_of_the_organisational_domain() -> None:
    above: dict[tuple[str, str], tuple[str, ...]] = {
        ("_dmarc.sub.example.org", "TXT"): (),
        ("_dmarc.example.org", "TXT"): ("v=DMARC1; p=reject",),
    }
    assert wrong(records(above)) == []
    assert wrong(records(above, registered={"sub.example.org": "example.org"})) == []
    # the list says that this is a domain of its own: what stands above belongs to somebody else
    assert len(wrong(records(above, registered={"sub.example.org": "sub.example.org"}))) == 1


def test_what_receivers_conclude_counts() -> None:
    include: dict[tuple[str, str], tuple[str, ...]] = {("sub.example.org", "TXT"): ("v=spf1 include:_spf.example.net -all",)}
    assert shape_only(records(include)) == ("sub.example.org",)
    denied = SpfResult("sub.example.org", "203.0.113.10", "fail")
    (said,) = wrong(records(include, spf=(denied,)))
    assert "does not allow 203.0.113.10 (fail)" in said
    broken = SpfResult("sub.example.org", "203.0.113.10", "permerror", "Too many DNS lookups")
    assert "Too many DNS lookups" in wrong(records(include, spf=(broken,)))[0]
    fine = records(include, spf=(SpfResult("sub.example.org", "203.0.113.10", "pass"),))
    assert wrong(fine) == [] and shape_only(fine) == ()


def test_the_library_asks_our_resolvers() -> None:
    pytest.importorskip("spf", reason="pyspf is not installed")
    zone = {
        ("example.org", "TXT"): ("v=spf1 include:_spf.example.net -all",),
        ("_spf.example.net", "TXT"): ("v=spf1 mx:example.org -all",),
        ("example.org", "MX"): ("10 mail.example.org",),
        ("mail.example.org", "A"): ("203.0.113.10",),
        ("loop.example.org", "TXT"): ("v=spf1 include:loop.example.org -all",),
        ("void.example.org", "TXT"): ("v=spf1 redirect=nowhere.example.org",),
    }
    library = receiver.spf_library(lambda name, kind: zone.get((name, kind), ()))
    for domain, address, result in (
        ("example.org", "203.0.113.10", "pass"),
        ("example.org", "203.0.113.11", "fail"),
        ("loop.example.org", "203.0.113.10", "permerror"),
        ("void.example.org", "203.0.113.10", "permerror"),
    ):
        assert receiver.evaluate(library, domain, address, "mail.example.org").result == result
    silent = receiver.spf_library(lambda *_: None)
    assert receiver.evaluate(silent, "example.org", "203.0.113.10", "mail.example.org").result == "temperror"


def test_without_the_libraries_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("spf", "publicsuffixlist", "publicsuffix2"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    assert receiver.spf_library(lambda *_: ()) is None
    assert receiver.registered("sub.example.co.uk") == ""


def test_the_public_suffix_list() -> None:
    pytest.importorskip("publicsuffixlist", reason="publicsuffixlist is not installed")
    assert receiver.registered("sub.example.co.uk") == "example.co.uk"
