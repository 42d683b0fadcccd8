"""dns.reverse: Reverse DNS of the machine's addresses is the host name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate import providers
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.probes import zone
from cowgate.probes.private import is_private
from cowgate.requirements.dns.shared import (
    CARRIER_NAT,
    CLOUDFLARE,
    PLAN,
    behind_carrier_nat,
    by_cloudflare,
    nothing_to_judge,
    plainly,
    silence,
)
from cowgate.requirements.mailcow.source import mail_source

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy
    from cowgate.probes.values import Records


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """PTR of each outgoing address is the host name, and the host name has that address (forward-confirmed)."""
    records = facts.records.value
    early = nothing_to_judge(records, phase)
    if early:
        return early
    shared = behind_carrier_nat(records)
    if shared:
        return _carrier_nat(records, shared)
    if not records.public:
        return unknown(
            "no public address of this machine is known",
            remedy="set probes.address_lookup: true in the policy, or name the address in probes.hosts under public.addresses",
        )
    early = silence(records, [(zone.reverse_name(known.address), "PTR") for known in records.public])
    if early:
        return early
    wrong = [text for known in records.public for text in _reverse_faults(records, known.address)]
    expected = f"{records.hostname} for {', '.join(known.address for known in records.public)}"
    if not wrong:
        return passed(f"{len(records.public)} addresses point to {records.hostname}", expected=expected)
    probes = facts.probes.content
    provider = providers.find(policy.provider, probes.datasource, probes.vendor) if probes else None
    where = f" ({provider.title}: {provider.reverse})" if provider and provider.reverse else ""
    at_provider = f"reverse DNS belongs to whoever gave you the address: set it at your provider{where}{_other_way(facts)}"
    forward = [value for kind in ("A", "AAAA") for value in records.find(records.hostname, kind).values]
    points_here = all(records.hostname in _names(records, known.address) for known in records.public)
    return failed(
        "; ".join(wrong) + "; other mail servers will refuse mail from here",
        remedy=CLOUDFLARE if points_here and by_cloudflare(forward) else at_provider,
        commands=PLAN,
        expected=expected,
    )


def _carrier_nat(records: Records, shared: str) -> Verdict:
    seen = ", ".join(known.address for known in records.public if known.family == "ipv4") or "one that is not known"
    return failed(
        f"mail leaves from the address of the provider's carrier-grade NAT ({seen}; this machine has {shared}, RFC 6598),"
        " which other customers have as well: its reverse DNS cannot be set for this machine, and other mail servers will"
        " refuse mail from here",
        remedy=f"{CARRIER_NAT}; until then send through a smarthost",
        commands=PLAN,
        expected=f"{records.hostname} for a public address of this machine",
        observed=shared,
    )


def _other_way(facts: Facts) -> str:
    """Where the machine has other public addresses, mail can leave from one of them instead."""
    if facts.interfaces.content is None:
        return ""
    ways = []
    for known in facts.records.value.public:
        source = mail_source(facts, 6 if known.family == "ipv6" else 4)
        others = [address for address in source.others if not is_private(address)] if source else []
        if source and others:
            ways.append(f"{source.key} in mailcow.conf lets it leave from {' or '.join(others)} instead of {known.address}")
    return f"; {'; '.join(ways)}" if ways else ""


def _names(records: Records, address: str) -> list[str]:
    return [name.lower() for name in records.find(zone.reverse_name(address), "PTR").values]


def _reverse_faults(records: Records, address: str) -> Iterator[str]:
    names = _names(records, address)
    if not names:
        yield f"{address} has no PTR record"
        return
    if records.hostname not in names:
        yield f"PTR of {address} is {', '.join(names)}, not {records.hostname}"
        return
    kind = "AAAA" if ":" in address else "A"
    forward = records.find(records.hostname, kind)
    if forward.outcome in ("ok", "none") and plainly(address) not in {plainly(value) for value in forward.values}:
        whose = ", Cloudflare's proxy" if by_cloudflare(forward.values) else ""
        instead = f" (this machine's resolvers say {', '.join(forward.values)}{whose})" if forward.values else ""
        yield f"{records.hostname} has no {kind} record for {address}{instead}, so its PTR is not confirmed"


ROW = Requirement(
    id="dns.reverse",
    title="Reverse DNS of the machine's addresses is the host name",
    level=Level.ADVISED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("records", "probes"),
    wants=("interfaces", "mailcow"),
    judge=judge,
)
