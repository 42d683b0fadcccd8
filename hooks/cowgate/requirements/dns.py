"""What DNS says of the machine: its name, the way back, and the records that mail needs."""

from __future__ import annotations

from cowgate.model import Level, Phase, Verdict, failed, passed, unknown
from cowgate.probing import providers, zone
from cowgate.probing.judging import not_asked
from cowgate.record import TYPE_CHECKING
from cowgate.requirements import requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cowgate.facts import Facts
    from cowgate.facts.records import Records
    from cowgate.policy import Policy

PLAN = (("cowgate", "dns-plan"),)
TYPES = {"ipv4": "A", "ipv6": "AAAA"}
SHOWN = {"ipv4": "IPv4", "ipv6": "IPv6"}


def _nothing_to_judge(records: Records, phase: Phase) -> Verdict | None:
    if not records.asked:
        return not_asked(records.reason, phase)
    if not records.hostname:
        return unknown("no host name is set for mailcow (see system.hostname)", remedy="set `hostname` in the policy")
    return None


def _silent(records: Records, questions: list[tuple[str, str]]) -> Verdict | None:
    """Unknown where the resolvers did not answer one of these questions."""
    for name, kind in questions:
        found = records.find(name, kind)
        if found.outcome in ("timeout", "failed"):
            return unknown(
                f"the resolvers gave no answer for {name} {kind}: {found.detail or found.outcome}",
                remedy="repair the name servers in /etc/resolv.conf, or ask again",
                commands=(("cat", "/etc/resolv.conf"),),
            )
    return None


@requirement(
    "dns.address",
    title="The host name points to this machine",
    level=Level.ADVISED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("records", "interfaces", "mailcow"),
)
def address(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """A and, when mailcow has IPv6, AAAA of the host name are addresses of this machine, and nothing else is."""
    records = facts.records.value
    early = _nothing_to_judge(records, phase) or _silent(records, [(records.hostname, "A"), (records.hostname, "AAAA")])
    if early:
        return early
    behind_nat = [family for family in TYPES if _hidden(records, family)]
    if behind_nat:
        family = behind_nat[0]
        return unknown(
            f"this machine has a private {SHOWN[family]} address ({', '.join(records.private)}), so its public one is unknown",
            remedy="set probes.address_lookup: true in the policy, or name the address in probes.hosts under public.addresses",
        )
    values = [value for kind in TYPES.values() for value in records.find(records.hostname, kind).values]
    wrong = [text for family in TYPES for text in _address_faults(facts, family)]
    if not values and not wrong:
        wrong = [
            f"{records.hostname} has no address record, and no public address of this machine is known that it should have"
        ]
    observed = ", ".join(values) or "no address"
    expected = ", ".join(known.address for known in records.public) or "an address of this machine"
    if wrong:
        return failed("; ".join(wrong), remedy="set the records", commands=PLAN, expected=expected, observed=observed)
    return passed(f"{records.hostname} is {observed}", expected=expected)


def _hidden(records: Records, family: str) -> bool:
    """Whether the machine has only a private address of a family, and its public one was not learned."""
    private = any((":" in known) == (family == "ipv6") for known in records.private)
    # behind NAT there is seldom one for IPv6: a unique local address alone means no public IPv6
    return private and family == "ipv4" and not any(known.family == family for known in records.public)


def _address_faults(facts: Facts, family: str) -> Iterator[str]:
    records = facts.records.value
    kind, name = TYPES[family], records.hostname
    values = {_plain(value) for value in records.find(name, kind).values}
    public = {_plain(known.address) for known in records.public if known.family == family}
    own = public | {_plain(a.address) for a in facts.interfaces.value.global_addresses(6 if family == "ipv6" else 4)}
    if family == "ipv6" and not facts.mailcow.value.ipv6:
        if values:
            yield f"{name} has AAAA {', '.join(sorted(values))}, but mailcow.conf turns IPv6 off (ENABLE_IPV6=false)"
        return
    for value in sorted(values - own):
        yield f"{name} has {kind} {value}, which is not an address of this machine"
    if public and not values:
        yield f"{name} has no {kind} record"
    elif public and not values & own:
        yield f"{name} has no {kind} {' or '.join(sorted(public))}"


def _plain(text: str) -> str:
    """An address in its one normal form, so that texts can be compared."""
    import ipaddress

    return str(ipaddress.ip_address(text))


@requirement(
    "dns.reverse",
    title="The machine's addresses point back to the host name",
    level=Level.ADVISED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("records", "probes"),
)
def reverse(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """PTR of each outgoing address is the host name, and the host name has that address (forward-confirmed)."""
    records = facts.records.value
    early = _nothing_to_judge(records, phase)
    if early:
        return early
    if not records.public:
        return unknown(
            "no public address of this machine is known",
            remedy="set probes.address_lookup: true in the policy, or name the address in probes.hosts under public.addresses",
        )
    early = _silent(records, [(zone.reverse_name(known.address), "PTR") for known in records.public])
    if early:
        return early
    wrong = [text for known in records.public for text in _reverse_faults(records, known.address)]
    expected = f"{records.hostname} for {', '.join(known.address for known in records.public)}"
    if not wrong:
        return passed(f"{len(records.public)} addresses point to {records.hostname}", expected=expected)
    probes = facts.probes.content
    provider = providers.find(policy.provider, probes.datasource, probes.vendor) if probes else None
    where = f" ({provider.name}: {provider.reverse})" if provider else ""
    return failed(
        "; ".join(wrong) + "; other mail servers will refuse mail from here",
        remedy=f"reverse DNS belongs to whoever gave you the address: set it at your provider{where}",
        commands=PLAN,
        expected=expected,
    )


def _reverse_faults(records: Records, address: str) -> Iterator[str]:
    names = [name.lower() for name in records.find(zone.reverse_name(address), "PTR").values]
    if not names:
        yield f"{address} has no PTR record"
        return
    if records.hostname not in names:
        yield f"PTR of {address} is {', '.join(names)}, not {records.hostname}"
        return
    kind = "AAAA" if ":" in address else "A"
    forward = records.find(records.hostname, kind)
    if forward.outcome in ("ok", "none") and _plain(address) not in {_plain(value) for value in forward.values}:
        yield f"{records.hostname} has no {kind} record for {address}, so its PTR is not confirmed"


@requirement(
    "dns.mail",
    title="The records that mail needs exist",
    level=Level.ADVISED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("records",),
)
def mail(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """MX, autodiscover, autoconfig, SPF, DMARC, DKIM if its selector is known, CAA that lets Let's Encrypt issue."""
    records = facts.records.value
    early = _nothing_to_judge(records, phase)
    if early:
        return early
    if not records.domains:
        return unknown("no mail domain is known", remedy="name them in the policy (dns.mail_domains)")
    early = _silent(records, [(domain, "MX") for domain in records.domains])
    if early:
        return early
    wanted = zone.entries(records)
    wrong = [entry for entry in wanted if entry.group == "mail" and entry.state in ("missing", "wrong")]
    if wrong:
        told = "; ".join(f"{entry.name} {entry.type}: {entry.note}" for entry in wrong)
        return failed(
            told,
            remedy="create or change these records: `cowgate dns-plan` prints them ready to paste",
            commands=PLAN,
            expected="; ".join(f"{entry.name} {entry.type} {entry.value}" for entry in wrong),
        )
    return passed(f"the records of {', '.join(records.domains)} are there")
