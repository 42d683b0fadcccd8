"""The records that mailcow wants in DNS, beside what is there. Pure; dns.mail judges by it, `cowgate dns-plan` prints it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cowgate.probes.values import Lookup, Records

AUTHORITY = "letsencrypt.org"

# Services that clients find by SRV records (RFC 6186, RFC 8314, RFC 6764): name -> port; 0 with target "." says: not offered.
SERVICES = (
    ("_autodiscover._tcp", 443),
    ("_caldavs._tcp", 443),
    ("_carddavs._tcp", 443),
    ("_imap._tcp", 143),
    ("_imaps._tcp", 993),
    ("_pop3._tcp", 110),
    ("_pop3s._tcp", 995),
    ("_sieve._tcp", 4190),
    ("_smtps._tcp", 465),
    ("_submission._tcp", 587),
    ("_submissions._tcp", 465),
)


@dataclass(frozen=True)
class Entry:
    """One record of the plan. `state`: ok, missing, wrong, unknown (not asked, or no answer), optional.

    `group` is host, mail, reverse or service; `note` says what is there instead.
    """

    name: str
    type: str
    value: str
    state: str
    note: str = ""
    group: str = "mail"


def reverse_name(address: str) -> str:
    """The name under which an address's PTR is found."""

    return ipaddress.ip_address(address).reverse_pointer


def entries(records: Records) -> tuple[Entry, ...]:
    """Every record of the host name, of its addresses and of the mail domains, in the order in which one would paste them."""
    found = [*_host(records), *_reverse(records)]
    for domain in records.domains:
        found += _domain(records, domain)
    found += _caa(records)
    for domain in records.domains:
        found += _services(records, domain)
    return tuple(found)


def _state(lookup: Lookup, good: bool) -> str:
    if lookup.outcome in ("timeout", "failed"):
        return "unknown"
    return "ok" if good else ("wrong" if lookup.values else "missing")


def _note(lookup: Lookup, good: bool) -> str:
    if lookup.outcome in ("timeout", "failed"):
        return lookup.detail or "no answer"
    if good:
        return ""
    return f"is {', '.join(lookup.values)}" if lookup.values else "missing"


def _entry(lookup: Lookup, value: str, good: bool, group: str = "mail") -> Entry:
    return Entry(lookup.name, lookup.type, value, _state(lookup, good), _note(lookup, good), group)


def _host(records: Records) -> Iterator[Entry]:
    for known in records.public:
        lookup = records.find(records.hostname, "AAAA" if known.family == "ipv6" else "A")
        yield _entry(lookup, known.address, _has_address(lookup, known.address), "host")


def _has_address(lookup: Lookup, address: str) -> bool:

    return any(ipaddress.ip_address(value) == ipaddress.ip_address(address) for value in lookup.values)


def _reverse(records: Records) -> Iterator[Entry]:
    for known in records.public:
        lookup = records.find(reverse_name(known.address), "PTR")
        good = records.hostname in [value.lower() for value in lookup.values]
        yield _entry(lookup, f"{records.hostname}.", good, "reverse")


def _domain(records: Records, domain: str) -> Iterator[Entry]:
    mx = records.find(domain, "MX")
    ours = [value for value in mx.values if _is_ours(records, value.split()[-1])]
    yield _entry(mx, f"{ours[0]}." if ours else f"10 {records.hostname}.", bool(ours))
    for service in ("autodiscover", "autoconfig"):
        yield _client_name(records, f"{service}.{domain}")
    yield _spf(records, domain)
    yield _text(records, f"_dmarc.{domain}", "v=DMARC1", '"v=DMARC1; p=quarantine"')
    if records.dkim:
        yield _dkim(records, f"{records.dkim}._domainkey.{domain}")


def _is_ours(records: Records, name: str) -> bool:
    """Whether a mail exchanger is this machine: by its name, or by its address."""
    if name.lower().rstrip(".") == records.hostname:
        return True
    values = [*records.find(name, "A").values, *records.find(name, "AAAA").values]
    return any(value == known.address for value in values for known in records.public)


def _client_name(records: Records, name: str) -> Entry:
    """autodiscover and autoconfig: whatever way, they must lead to the addresses of this machine or of the host name."""
    own = {known.address for known in records.public} | {
        value for kind in ("A", "AAAA") for value in records.find(records.hostname, kind).values
    }
    four, six = records.find(name, "A"), records.find(name, "AAAA")
    values = (*four.values, *six.values)
    good = bool(values) and set(values) <= own
    lookup = four if four.outcome not in ("ok", "none") or four.values else six
    note = _note(lookup, good) if not (lookup.outcome == "none" and not values) else "missing"
    return Entry(name, "CNAME", f"{records.hostname}.", _state(lookup, good), note)


def _text(records: Records, name: str, begins: str, value: str) -> Entry:
    lookup = records.find(name, "TXT")
    found = [text for text in lookup.values if text.replace(" ", "").lower().startswith(begins.lower())]
    if lookup.outcome in ("timeout", "failed"):
        return _entry(lookup, value, False)
    if len(found) > 1:
        return Entry(name, "TXT", value, "wrong", f"{len(found)} records begin with {begins}, so none counts")
    return Entry(name, "TXT", quoted(found[0]), "ok") if found else Entry(name, "TXT", value, "missing", "missing")


def quoted(text: str) -> str:
    """A text as character-strings of a zone file (RFC 1035 §5.1): quoted, escaped, in pieces of at most 255 bytes."""
    pieces = [text[at : at + 255] for at in range(0, len(text), 255)] or [""]
    return " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)


def _dkim(records: Records, name: str) -> Entry:
    lookup = records.find(name, "TXT")
    value = '"v=DKIM1; k=rsa; t=s; s=email; p=..." (the key that mailcow shows after the install)'

    if lookup.outcome in ("timeout", "failed"):
        return _entry(lookup, value, False)
    keys = [match.group(1) for text in lookup.values if (match := re.search(r"(?:^|;)\s*p=([^;]*)", text))]
    if keys and not any(key.strip() for key in keys):
        return Entry(name, "TXT", value, "wrong", "the key is empty, which means: revoked")
    return Entry(name, "TXT", quoted(lookup.values[0]), "ok") if keys else Entry(name, "TXT", value, "missing", "missing")


# -- SPF (RFC 7208) ------------------------------------------------------------------------------------------------------


def _spf(records: Records, domain: str) -> Entry:
    entry = _text(records, domain, "v=spf1", '"v=spf1 mx a -all"')
    if entry.state != "ok":
        return entry
    (text,) = [text for text in records.find(domain, "TXT").values if text.replace(" ", "").lower().startswith("v=spf1")]
    fault = spf_fault(text, domain, records)
    return Entry(entry.name, "TXT", '"v=spf1 mx a -all"', "wrong", fault) if fault else entry


def spf_fault(text: str, domain: str, records: Records) -> str:
    """What is wrong with an SPF record, as far as it can be told without following includes; "" for nothing."""
    terms = [term.lower() for term in text.split()[1:]]
    if "+all" in terms or "all" in terms:
        return f"{text!r} lets everybody send"
    if any(term.lstrip("+").startswith(("include:", "redirect=", "exists:", "ptr")) for term in terms):
        return ""
    left = [
        known.address for known in records.public if not any(_allows(term, known.address, domain, records) for term in terms)
    ]
    return f"{text!r} does not allow {', '.join(left)}" if left else ""


def _allows(term: str, address: str, domain: str, records: Records) -> bool:
    if term[:1] in "-~?":
        return False
    kind, _, argument = term.lstrip("+").partition(":")
    if kind in ("ip4", "ip6"):
        return _in_network(address, argument)
    name, slash, lengths = (argument or kind).partition("/")
    name = name if argument else domain
    kind = kind.partition("/")[0]
    if kind == "mx":
        mx = records.find(name, "MX")
        return mx.outcome != "ok" or any(_is_ours(records, value.split()[-1]) for value in mx.values)
    if kind == "a":
        four, dual, six = f"{slash}{lengths}".partition("//")
        return _in_records(records, name, address, f"{dual and '/'}{six}" if ":" in address else four)
    return False


def _in_records(records: Records, name: str, address: str, length: str) -> bool:
    """Whether an address of this name is this one, or in the same network of this length ("/24", "": the address alone). A
    name that was not asked for, or that got no answer, is given the benefit of the doubt."""
    lookup = records.find(name, "AAAA" if ":" in address else "A")
    if lookup.outcome in ("failed", "timeout"):
        return True
    return any(_in_network(address, f"{value}{length}") for value in lookup.values)


def _in_network(address: str, network: str) -> bool:

    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


# -- CAA (RFC 8659) and SRV ----------------------------------------------------------------------------------------------


def _caa(records: Records) -> Iterator[Entry]:
    """One entry where CAA keeps Let's Encrypt from issuing for the host name or a mail domain, an optional one otherwise."""
    value = f'0 issue "{AUTHORITY}"'
    seen = set()
    for name in dict.fromkeys((records.hostname, *records.domains)):
        lookup = nearest_caa(records, name)
        if lookup is None or lookup.name in seen:
            continue
        seen.add(lookup.name)
        if lookup.outcome in ("timeout", "failed"):
            yield Entry(name, "CAA", value, "unknown", lookup.detail)
        elif not caa_allows(lookup.values):
            yield Entry(lookup.name, "CAA", value, "wrong", f"is {'; '.join(lookup.values)}, so Let's Encrypt may not issue")
        else:
            yield Entry(lookup.name, "CAA", value, "ok" if lookup.values else "optional")


def nearest_caa(records: Records, name: str) -> Lookup | None:
    """The CAA records that count for a name: the first found on the way up; None where none was asked for."""
    labels = name.split(".")
    asked = [lookup for n in range(len(labels)) if (lookup := records.find(".".join(labels[n:]), "CAA")).detail != "not asked"]
    for lookup in asked:
        if lookup.outcome != "none":
            return lookup
    return asked[0] if asked else None


def caa_allows(values: tuple[str, ...]) -> bool:
    """Whether these CAA records let Let's Encrypt issue: no `issue` property at all, or one that names it."""
    issuers = []

    for value in values:
        match = re.fullmatch(r'\d+\s+issue\s+"?([^"]*)"?', value.strip(), re.IGNORECASE)
        if match:
            issuers.append(match.group(1).partition(";")[0].strip().lower())
    return not issuers or AUTHORITY in issuers


def _services(records: Records, domain: str) -> Iterator[Entry]:
    for name, port in SERVICES:
        yield Entry(f"{name}.{domain}", "SRV", f"0 1 {port} {records.hostname}.", "optional", group="service")
