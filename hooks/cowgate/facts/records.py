"""What DNS says of this machine: its host name, the way back from its addresses, and the mail domains of the policy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Optional

from cowgate.facts.fact import Fact
from cowgate.facts.probes import FAR, LONGEST, MARGIN
from cowgate.formats import env
from cowgate.machine.net import Unfinished, together
from cowgate.probes import receiver, spf, targets
from cowgate.probes.private import is_private
from cowgate.probes.text import plain
from cowgate.probes.values import Lookup, PublicAddress, Records, SpfResult
from cowgate.probes.zone import parents, reverse_name

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy
    from cowgate.probes.targets import Target


OFF = "not asked: --offline, or the policy says probes.enabled: false"
STEP = 2.0  # seconds for one answer of one resolver
RESOLVERS_TRIED = 3  # as many as the C library takes (resolv.conf(5), MAXNS)
AT_ONCE = 40  # questions: a small resolver drops what comes too fast
FORWARD_LIMIT = 24  # questions about names that other people's records hold: their number is in the hands of others
TXT_LIMIT = 4096  # characters of a TXT record that are kept
HEADER_LIMIT = 16384  # bytes of an address service's whole answer
BODY_LIMIT = 1024  # bytes of an address service's answer


def collect(host: Host, policy: Policy) -> Fact[Records]:
    """What the machine's own resolvers say, all questions at once. A value on every live machine.

    The host name is that of mailcow.conf, which is what mailcow uses, else the policy's. Domains are the policy's
    dns.mail_domains, else what follows the first label of the host name.
    """
    host.demand_live("what DNS says of this machine")
    hostname = (_conf_hostname(host, policy) or policy.hostname).rstrip(".").lower()
    domains = tuple(d.rstrip(".").lower() for d in policy.dns.mail_domains) or default_domains(hostname)
    public, private = own_addresses(host, policy)
    nothing = Records(False, OFF, hostname, domains, public, private, dkim=policy.dns.dkim or None)
    if not policy.probes.enabled:
        return Fact.of(nothing)
    if "records.resolver" in policy.probes.drop:
        return Fact.of(nothing._replace(reason="not asked: the policy drops the probe records.resolver"))
    try:
        import dns.message  # noqa: F401 - whether it is there is all that is asked
    except ImportError:
        return Fact.of(nothing._replace(reason="python3-dnspython is not installed"))
    until = host.monotonic() + min(policy.probes.deadline, LONGEST) - MARGIN
    return Fact.of(_ask_all(host, policy, nothing, until))


def _conf_hostname(host: Host, policy: Policy) -> str:
    try:
        host.demand_answer(policy.install_dir)
    except OSError:  # what needs mailcow.conf says so; that DNS cannot be judged by it is no reason not to look
        return ""
    text = _read(host, f"{policy.install_dir}/mailcow.conf")
    if not text:
        return ""

    match = re.search(r"^MAILCOW_HOSTNAME=[\"']?([^\s\"'#]*)", text, re.MULTILINE)
    return match.group(1) if match else ""


def default_domains(hostname: str) -> tuple[str, ...]:
    """The domain a host name most likely serves: what follows its first label, if that has a dot itself."""
    domain = hostname.partition(".")[2]
    return (domain,) if "." in domain else ()


def _ask_all(host: Host, policy: Policy, known: Records, until: float) -> Records:
    learned = _look_up(host, policy, known.private, until)
    looked_up = tuple(PublicAddress(address, family_of(address), "lookup") for address in dict.fromkeys(learned.values()))
    public = (*known.public, *looked_up)
    resolvers = parse_resolv_conf(_read(host, "/etc/resolv.conf"))
    if "records.resolver" in policy.probes.hosts:
        resolvers = policy.probes.hosts["records.resolver"]
    questions = list(_questions(known.hostname, known.domains, policy.dns.dkim))
    questions += [(reverse_name(address.address), "PTR") for address in public]
    first = _lookup_all(host, resolvers, questions, until)
    names = {value for lookup in first if lookup.type == "PTR" for value in lookup.values}
    exchangers = {value.split()[-1] for lookup in first if lookup.type == "MX" for value in lookup.values}
    asked = {(lookup.name.lower(), lookup.type) for lookup in first}
    more = [(name, kind) for name in sorted(names | exchangers) for kind in ("A", "AAAA") if name and name != "."]
    more += [(name, "CNAME") for name in sorted(exchangers) if name and name != "."]
    second = _lookup_all(host, resolvers, [q for q in more[:FORWARD_LIMIT] if (q[0].lower(), q[1]) not in asked], until)
    known = known._replace(asked=True, reason="", public=public, lookups=(*first, *second))
    return known._replace(
        spf=_evaluated(host, known, resolvers, until),
        registered={domain: found for domain in known.domains if (found := receiver.registered(domain))},
    )


def _evaluated(host: Host, known: Records, resolvers: Sequence[str], until: float) -> tuple[SpfResult, ...]:
    """SPF of each domain that has one such record, for each public address, as receivers evaluate it."""
    domains = [d for d in known.domains if sum(map(spf.is_spf, known.find(d, "TXT").values)) == 1]
    seen = {(lookup.name.lower(), lookup.type): lookup for lookup in known.lookups}

    def ask(name: str, kind: str) -> Optional[Sequence[str]]:
        key = (name.rstrip(".").lower(), kind)
        if key not in seen:
            seen[key] = _lookup(host, resolvers, set(), key[0], kind, until)
        found = seen[key]
        return found.values if found.outcome in ("ok", "none") else None

    library = receiver.spf_library(ask) if domains else None
    if library is None:
        return ()
    tasks = {
        f"{domain} {address.address}": partial(receiver.evaluate, library, domain, address.address, known.hostname)
        for domain in domains
        for address in known.public
    }
    results = together(tasks, max(0.0, until - host.monotonic()))
    return tuple(result for result in results.values() if isinstance(result, SpfResult))


def _questions(hostname: str, domains: tuple[str, ...], dkim: str) -> Iterator[tuple[str, str]]:
    if hostname:
        for kind in ("A", "AAAA"):
            yield hostname, kind
        for name in caa_names(hostname):
            yield name, "CAA"
    for domain in domains:
        yield domain, "MX"
        yield domain, "CAA"
        yield domain, "A"
        yield domain, "AAAA"
        yield domain, "TXT"
        for name in (domain, *parents(domain)):
            yield f"_dmarc.{name}", "TXT"
        if dkim:
            yield f"{dkim}._domainkey.{domain}", "TXT"
        for service in ("autodiscover", "autoconfig"):
            for kind in ("A", "AAAA", "CAA"):
                yield f"{service}.{domain}", kind


def caa_names(name: str) -> tuple[str, ...]:
    """The names at which a certificate authority looks for CAA, nearest first (RFC 8659 §3); not the top level alone."""
    labels = name.split(".")
    return tuple(".".join(labels[n:]) for n in range(max(1, len(labels) - 1)))


def parse_resolv_conf(text: str) -> tuple[str, ...]:
    """The name servers that resolv.conf(5) names, at most three; the one on this machine where it names none."""

    found = re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE)
    return tuple(found[:3]) or ("127.0.0.1",)


def _lookup_all(
    host: Host, resolvers: Sequence[str], questions: Sequence[tuple[str, str]], until: float
) -> tuple[Lookup, ...]:
    wanted = list(dict.fromkeys(questions))
    found = []
    silent: set[str] = set()
    for first in range(0, len(wanted), AT_ONCE):
        batch = wanted[first : first + AT_ONCE]
        tasks = {f"{name} {kind}": partial(_lookup, host, resolvers, silent, name, kind, until) for name, kind in batch}
        results = together(tasks, max(0.0, until - host.monotonic()))
        for name, kind in batch:
            result = results[f"{name} {kind}"]
            found.append(result if isinstance(result, Lookup) else _unanswered(name, kind, result))
    return tuple(found)


def _unanswered(name: str, kind: str, error: Exception) -> Lookup:

    if isinstance(error, Unfinished):
        return Lookup(name, kind, "timeout", detail="no answer in time")
    return Lookup(name, kind, "failed", detail=plain(f"{type(error).__name__}: {error}"))


def _lookup(host: Host, resolvers: Sequence[str], silent: set[str], name: str, kind: str, until: float) -> Lookup:
    """The first answer of the resolvers in turn; one that was silent before is asked last."""
    from cowgate.probes.dnssec import Asker, NoAnswer  # here and not above: it needs dnspython, which may be missing

    asker = Asker(host.net, STEP)
    trouble = Lookup(name, kind, "failed", detail="no resolver")
    # Twice each: on a line that loses packets, question and answer may both be lost more than once.
    for resolver in sorted([*resolvers[:RESOLVERS_TRIED]] * 2, key=silent.__contains__):
        if host.monotonic() > until:
            break
        try:
            found = read_reply(name, kind, asker.resolved(resolver, name, kind))
        except (OSError, NoAnswer) as error:
            silent.add(resolver)
            trouble = Lookup(name, kind, "timeout", detail=f"{resolver}: {error}")
            continue
        if found.outcome != "failed":
            return found
        trouble = found
    return trouble


def read_reply(name: str, kind: str, reply: Any) -> Lookup:
    """A resolver's answer as a Lookup; aliases (CNAME) on the way are followed by the resolver."""
    import dns.rcode
    import dns.rdatatype

    code = reply.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Lookup(name, kind, "failed", detail=f"the resolver says {dns.rcode.to_text(code)}")
    wanted = dns.rdatatype.from_text(kind)
    records = [rdata for rrset in reply.answer if rrset.rdtype == wanted for rdata in rrset]
    values = tuple(sorted(_text_of(rdata, kind) for rdata in records))
    return Lookup(name, kind, "ok" if values else "none", values)


def _text_of(rdata: Any, kind: str) -> str:
    if kind == "TXT":
        return plain(b"".join(rdata.strings).decode("utf-8", "replace"), TXT_LIMIT)
    text = str(rdata.to_text())
    return text.rstrip(".") if kind in ("PTR", "MX") and not text.endswith(" .") else text


# -- public addresses ----------------------------------------------------------------------------------------------------


def own_addresses(host: Host, policy: Policy) -> tuple[tuple[PublicAddress, ...], tuple[str, ...]]:
    """(addresses that outgoing mail comes from, private ones): as the policy tells, else what mailcow.conf chooses
    (SNAT_TO_SOURCE, SNAT6_TO_SOURCE), else the source of each default route.

    Sends nothing.
    """
    stated = policy.probes.hosts.get("public.addresses", ())
    public = [PublicAddress(address, family_of(address), "policy") for address in stated]
    private = []
    for family, far in FAR.items():
        if any(known.family == family for known in public):
            continue
        chosen = _chosen_source(host, policy, family)
        source = chosen or host.net.source(far)
        if source is None:
            continue
        if is_private(source):
            private.append(source)
        else:
            public.append(PublicAddress(source, family, "mailcow.conf" if chosen else "interface"))
    return tuple(public), tuple(private)


def _chosen_source(host: Host, policy: Policy, family: str) -> str:
    """The address that mailcow.conf lets mail leave from, "" where it says nothing usable (mailcow.conf's row says so)."""
    entries, _ = env.parse(_read(host, f"{policy.install_dir}/mailcow.conf"))
    value = env.values(entries).get("SNAT6_TO_SOURCE" if family == "ipv6" else "SNAT_TO_SOURCE", "")
    try:
        address = str(ipaddress.ip_address(value))
    except ValueError:
        return ""
    return address if family_of(address) == family else ""


def family_of(address: str) -> str:
    """`ipv6` or `ipv4`."""
    return "ipv6" if ":" in address else "ipv4"


def _look_up(host: Host, policy: Policy, private: Sequence[str], until: float) -> dict[str, str]:
    """What the address services say, by service, where the policy lets them be asked and there is a private address."""

    target = targets.wanted(policy).get("records.address")

    if target is None or not private:
        return {}
    families = tuple(map(family_of, private))
    tasks = {entry: partial(_what_is_my_address, host, target, entry, families) for entry in target.hosts}
    results = together(tasks, max(0.0, min(until - host.monotonic(), 2 * STEP)))
    return {name: result for name, result in results.items() if isinstance(result, str) and result}


def _what_is_my_address(host: Host, target: Target, entry: str, families: Sequence[str]) -> str:
    name, port = targets.split(entry, target.port)
    for family in families:
        try:
            address = host.net.resolve(name, family, port)[0]
        except OSError:
            continue
        with host.net.connect(address, port, STEP) as sock:
            sock.sendall(f"GET / HTTP/1.0\r\nHost: {name}\r\nUser-Agent: cowgate\r\n\r\n".encode())
            body = b""
            while len(body) < HEADER_LIMIT and (chunk := sock.recv(4096)):
                body += chunk
        return parse_address_answer(body)
    return ""


def parse_address_answer(data: bytes) -> str:
    """The address in an address service's HTTP answer, or "" where there is none (a captive portal's page)."""
    text = data.partition(b"\r\n\r\n")[2][:BODY_LIMIT].decode("ascii", "replace").strip()

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _read(host: Host, path: str) -> str:
    try:
        return host.read_or_none(path) or ""
    except OSError:
        return ""
