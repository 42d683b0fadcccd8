"""The records that mailcow wants in DNS, beside what is there. Pure; dns.mail judges by it, `cowgate dns-plan` prints it."""

import ipaddress
import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.probes import caa, dmarc, spf
from cowgate.probes.caa import AUTHORITY

if TYPE_CHECKING:
    from cowgate.probes.values import Lookup, Records


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


class Entry(NamedTuple):
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


def entries(records: "Records") -> tuple[Entry, ...]:
    """Every record of the host name, of its addresses and of the mail domains, in the order in which one would paste them."""
    found = [*_host(records), *_reverse(records)]
    for domain in records.domains:
        found += _domain(records, domain)
    found += _caa(records)
    for domain in records.domains:
        found += _services(records, domain)
    return _alone(found)


def _alone(found: list[Entry]) -> tuple[Entry, ...]:
    """A name with a CNAME has no other record (RFC 1034 §3.6.2), or no name server takes the zone: what is wrong with CAA at
    such a name is said of the CNAME, which takes its place."""
    aliases = {entry.name for entry in found if entry.type == "CNAME"}
    caa_there = {entry.name: entry for entry in found if entry.type == "CAA" and entry.name in aliases}
    kept = []
    for entry in found:
        beside = caa_there.get(entry.name)
        if entry is beside:
            continue
        if entry.type == "CNAME" and beside is not None and beside.state == "wrong":
            note = f"its CAA {beside.note}; the CNAME stands alone at its name, so that the host name's CAA counts"
            entry = entry._replace(state="wrong", note=note)
        kept.append(entry)
    return tuple(kept)


def _state(lookup: "Lookup", good: bool) -> str:
    if lookup.outcome in ("timeout", "failed"):
        return "unknown"
    return "ok" if good else ("wrong" if lookup.values else "missing")


def _note(lookup: "Lookup", good: bool) -> str:
    if lookup.outcome in ("timeout", "failed"):
        return lookup.detail or "no answer"
    if good:
        return ""
    return f"is {', '.join(lookup.values)}" if lookup.values else "missing"


def _entry(lookup: "Lookup", value: str, good: bool, group: str = "mail") -> Entry:
    return Entry(lookup.name, lookup.type, value, _state(lookup, good), _note(lookup, good), group)


def _host(records: "Records") -> Iterator[Entry]:
    for known in records.public:
        lookup = records.find(records.hostname, "AAAA" if known.family == "ipv6" else "A")
        yield _entry(lookup, known.address, _has_address(lookup, known.address), "host")


def _has_address(lookup: "Lookup", address: str) -> bool:

    return any(ipaddress.ip_address(value) == ipaddress.ip_address(address) for value in lookup.values)


def _reverse(records: "Records") -> Iterator[Entry]:
    for known in records.public:
        lookup = records.find(reverse_name(known.address), "PTR")
        good = records.hostname in [value.lower() for value in lookup.values]
        yield _entry(lookup, f"{records.hostname}.", good, "reverse")


def _domain(records: "Records", domain: str) -> Iterator[Entry]:
    yield _mx(records, domain)
    for service in ("autodiscover", "autoconfig"):
        yield _client_name(records, f"{service}.{domain}")
    yield _spf(records, domain)
    yield _dmarc(records, domain)
    if records.dkim:
        yield _dkim(records, f"{records.dkim}._domainkey.{domain}")


def _mx(records: "Records", domain: str) -> Entry:
    mx = records.find(domain, "MX")
    ours = [value for value in mx.values if _is_ours(records, value.split()[-1])]
    value = f"{ours[0]}." if ours else f"10 {records.hostname}."
    for found in ours:
        name = found.split()[-1]
        alias = records.find(name, "CNAME").values
        if alias:
            note = f"{name} is an alias (CNAME) of {alias[0].rstrip('.')}, and an MX must not name one (RFC 2181 §10.3)"
            return Entry(domain, "MX", f"10 {records.hostname}.", "wrong", note)
    return _entry(mx, value, bool(ours))


DMARC = '"v=DMARC1; p=quarantine"'


def _dmarc(records: "Records", domain: str) -> Entry:
    """The record of the domain itself, or else that of its organisational domain (RFC 7489 §6.6.3). Where the public suffix
    list is not there: the nearest one further up, which is how its successor finds it (the tree walk of DMARCbis)."""
    own = f"_dmarc.{domain}"
    registered = records.registered.get(domain)
    above = (registered,) if registered else parents(domain)
    for name in (domain, *(parent for parent in above if parent != domain)):
        lookup = records.find(f"_dmarc.{name}", "TXT")
        found = [text for text in lookup.values if dmarc.is_dmarc(text)]
        if lookup.outcome in ("timeout", "failed") and lookup.detail != "not asked":
            return Entry(own, "TXT", DMARC, "unknown", lookup.detail or "no answer")
        if len(found) > 1:
            return Entry(
                own, "TXT", DMARC, "wrong", f"{len(found)} records at _dmarc.{name} begin with v=DMARC1, so none counts"
            )
        if found:
            fault = dmarc.fault(found[0])
            where = "" if name == domain else f" (at _dmarc.{name})"
            return Entry(own, "TXT", DMARC if fault else quoted(found[0]), "wrong" if fault else "ok", fault and fault + where)
    other = [text for text in records.find(own, "TXT").values if "dmarc" in text.lower()]
    return Entry(own, "TXT", DMARC, "missing", f"{other[0]!r} is no DMARC record" if other else "missing")


def parents(domain: str) -> tuple[str, ...]:
    """The domains above, nearest first; not the top level alone."""
    labels = domain.split(".")
    return tuple(".".join(labels[n:]) for n in range(1, len(labels) - 1))


def _is_ours(records: "Records", name: str) -> bool:
    """Whether a mail exchanger is this machine: by its name, or by its address."""
    if name.lower().rstrip(".") == records.hostname:
        return True
    values = [*records.find(name, "A").values, *records.find(name, "AAAA").values]
    return any(value == known.address for value in values for known in records.public)


def _client_name(records: "Records", name: str) -> Entry:
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


def quoted(text: str) -> str:
    """A text as character-strings of a zone file (RFC 1035 §5.1): quoted, escaped, in pieces of at most 255 bytes."""
    pieces = [text[at : at + 255] for at in range(0, len(text), 255)] or [""]
    return " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)


def _dkim(records: "Records", name: str) -> Entry:
    lookup = records.find(name, "TXT")
    value = '"v=DKIM1; k=rsa; t=s; s=email; p=..." (the key that mailcow shows after the install)'

    if lookup.outcome in ("timeout", "failed"):
        return _entry(lookup, value, False)
    keys = [match.group(1) for text in lookup.values if (match := re.search(r"(?:^|;)\s*p=([^;]*)", text))]
    if keys and not any(key.strip() for key in keys):
        return Entry(name, "TXT", value, "wrong", "the key is empty, which means: revoked")
    return Entry(name, "TXT", quoted(lookup.values[0]), "ok") if keys else Entry(name, "TXT", value, "missing", "missing")


# -- SPF (RFC 7208) ------------------------------------------------------------------------------------------------------

SPF = '"v=spf1 mx a -all"'


def _spf(records: "Records", domain: str) -> Entry:
    lookup = records.find(domain, "TXT")
    found = [text for text in lookup.values if spf.is_spf(text)]
    if lookup.outcome in ("timeout", "failed"):
        return _entry(lookup, SPF, False)
    if len(found) > 1:
        return Entry(domain, "TXT", SPF, "wrong", f"{len(found)} records begin with v=spf1, so none counts")
    if not found:
        other = [text for text in lookup.values if text.lower().startswith("v=spf")]
        return Entry(domain, "TXT", SPF, "missing", f"{other[0]!r} is no SPF record" if other else "missing")
    fault = spf_fault(found[0], domain, records) or _receivers_say(records, domain, found[0])
    return Entry(domain, "TXT", SPF if fault else quoted(found[0]), "wrong" if fault else "ok", fault)


def _receivers_say(records: "Records", domain: str, text: str) -> str:
    """What a receiver would hold against it, by the library that evaluates the record with all its includes."""
    mine = [result for result in records.spf if result.domain == domain]
    broken = next((result for result in mine if result.result == "permerror"), None)
    if broken:
        return f"{text!r} is an error to receivers ({broken.detail})"
    left = [result for result in mine if result.result in ("fail", "softfail", "neutral", "none")]
    return f"{text!r} does not allow {', '.join(f'{result.address} ({result.result})' for result in left)}" if left else ""


def shape_only(records: "Records") -> tuple[str, ...]:
    """Domains whose SPF record points to others, and was not evaluated with them."""
    judged = {result.domain for result in records.spf if result.result != "temperror"}
    found = []
    for domain in records.domains:
        texts = [text for text in records.find(domain, "TXT").values if spf.is_spf(text)]
        if len(texts) == 1 and domain not in judged and not _malformed(texts[0]) and spf.asks_further(texts[0]):
            found.append(domain)
    return tuple(found)


def _malformed(text: str) -> str:
    try:
        spf.parse(text)
    except spf.Malformed as error:
        return str(error)
    return ""


def spf_fault(text: str, domain: str, records: "Records") -> str:
    """What is wrong with an SPF record, as far as it can be told without following includes; "" for nothing."""
    malformed = _malformed(text)
    if malformed:
        return f"{text!r} is an error to receivers: {malformed}"
    terms, redirect = spf.parse(text)
    if any(term.kind == "include" and term.argument.lower().rstrip(".") == domain for term in terms) or redirect == domain:
        return f"{text!r} is an error to receivers: it includes itself"
    if spf.everybody(text):
        return f"{text!r} lets everybody send"
    left = [
        known.address
        for known in records.public
        if spf.allows(text, partial(_matches, address=known.address, domain=domain, records=records)) is False
    ]
    return f"{text!r} does not allow {', '.join(left)}" if left else ""


def _matches(term: spf.Term, address: str, domain: str, records: "Records") -> Optional[bool]:
    """Whether a mechanism matches an address; None where that is not known."""
    if term.kind in ("ip4", "ip6"):
        return _in_network(address, term.argument)
    if term.kind in ("include", "exists", "ptr") or "%" in term.argument:
        return None
    name = term.argument.lower().rstrip(".") or domain
    length = term.six if ":" in address else term.four
    suffix = "" if length is None else f"/{length}"
    if term.kind == "a":
        return _in_records(records, name, address, suffix)
    mx = records.find(name, "MX")
    if mx.outcome not in ("ok", "none"):
        return None
    names = [value.split()[-1] for value in mx.values]
    found = [True if _is_named(records, name, address) else _in_records(records, name, address, suffix) for name in names]
    return True if True in found else None if None in found else False


def _is_named(records: "Records", name: str, address: str) -> bool:
    """Whether an exchanger is the host name itself, which has this address (dns.address judges whether DNS says so)."""
    return name.lower().rstrip(".") == records.hostname and any(known.address == address for known in records.public)


def _in_records(records: "Records", name: str, address: str, length: str) -> Optional[bool]:
    """Whether an address of this name is this one, or in the same network of this length ("/24", "": the address alone). A
    name that was not asked for, or that got no answer, is given the benefit of the doubt."""
    lookup = records.find(name, "AAAA" if ":" in address else "A")
    if lookup.outcome in ("failed", "timeout"):
        return None
    return any(_in_network(address, f"{value}{length}") for value in lookup.values)


def _in_network(address: str, network: str) -> bool:

    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


# -- CAA (RFC 8659) and SRV ----------------------------------------------------------------------------------------------


def _caa(records: "Records") -> Iterator[Entry]:
    """One entry where CAA keeps Let's Encrypt from issuing for a name that mailcow wants a certificate for (the host name, and
    autodiscover and autoconfig of each domain), an optional one otherwise."""
    value = f'0 issue "{AUTHORITY}"'
    seen = set()
    services = [f"{service}.{domain}" for domain in records.domains for service in ("autodiscover", "autoconfig")]
    for name in dict.fromkeys((records.hostname, *records.domains, *services)):
        lookup = nearest_caa(records, name)
        if lookup is None or lookup.name in seen or (name in services and not lookup.values):
            continue
        seen.add(lookup.name)
        fault = caa.fault(lookup.values)
        if lookup.outcome in ("timeout", "failed"):
            yield Entry(name, "CAA", value, "unknown", lookup.detail)
        elif fault:
            yield Entry(lookup.name, "CAA", value, "wrong", f"is {'; '.join(lookup.values)}, so {fault}")
        else:
            yield Entry(lookup.name, "CAA", value, "ok" if lookup.values else "optional")


def nearest_caa(records: "Records", name: str) -> Optional["Lookup"]:
    """The CAA records that count for a name: the first found on the way up; None where none was asked for."""
    labels = name.split(".")
    asked = [lookup for n in range(len(labels)) if (lookup := records.find(".".join(labels[n:]), "CAA")).detail != "not asked"]
    for lookup in asked:
        if lookup.outcome != "none":
            return lookup
    return asked[0] if asked else None


def _services(records: "Records", domain: str) -> Iterator[Entry]:
    for name, port in SERVICES:
        yield Entry(f"{name}.{domain}", "SRV", f"0 1 {port} {records.hostname}.", "optional", group="service")
