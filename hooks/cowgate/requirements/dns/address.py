"""dns.address: The host name resolves to this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.probes.private import is_private, is_shared
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

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy
    from cowgate.probes.values import Records

TYPES = {"ipv4": "A", "ipv6": "AAAA"}

SHOWN = {"ipv4": "IPv4", "ipv6": "IPv6"}


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """A and, when mailcow has IPv6, AAAA of the host name are addresses of this machine, and nothing else is."""
    records = facts.records.value
    early = nothing_to_judge(records, phase) or silence(records, [(records.hostname, "A"), (records.hostname, "AAAA")])
    if early:
        return early
    shared = behind_carrier_nat(records)
    if shared:
        return _carrier_nat(records, shared)
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
        proxied = by_cloudflare(values)
        return failed(
            "; ".join(wrong),
            remedy=CLOUDFLARE
            if proxied
            else "set the records; if only internal resolvers give this answer, set the public address there as well",
            commands=PLAN,
            expected=expected,
            observed=observed,
        )
    return passed(f"{records.hostname} is {observed}", expected=expected)


def _carrier_nat(records: Records, shared: str) -> Verdict:
    seen = ", ".join(known.address for known in records.public if known.family == "ipv4")
    others = f"; {seen}, by which others see it, belongs to the provider's NAT and not to this machine" if seen else ""
    return failed(
        f"this machine has an address of carrier-grade NAT ({shared}, RFC 6598): many customers share one public IPv4 address,"
        f" so nobody can connect to this machine over IPv4, whatever the records say{others}",
        remedy=CARRIER_NAT,
        commands=PLAN,
        expected="a public IPv4 address of this machine",
        observed=shared,
    )


def _hidden(records: Records, family: str) -> bool:
    """Whether the machine has only a private address of a family, and its public one was not learned."""
    private = any((":" in known) == (family == "ipv6") for known in records.private)
    # behind NAT there is seldom one for IPv6: a unique local address alone means no public IPv6
    return private and family == "ipv4" and not any(known.family == family for known in records.public)


def _address_faults(facts: Facts, family: str) -> Iterator[str]:
    records = facts.records.value
    kind, name = TYPES[family], records.hostname
    values = {plainly(value) for value in records.find(name, kind).values}
    public = {plainly(known.address) for known in records.public if known.family == family}
    own = public | {plainly(a.address) for a in facts.interfaces.value.global_addresses(6 if family == "ipv6" else 4)}
    if family == "ipv6" and not facts.mailcow.value.ipv6:
        if values:
            yield f"{name} has AAAA {', '.join(sorted(values))}, but mailcow.conf turns IPv6 off (ENABLE_IPV6=false)"
        return
    proxied = set(by_cloudflare(values - own))
    if proxied:
        yield (
            f"{name} has {kind} {', '.join(sorted(proxied))}, addresses of Cloudflare's proxy: it passes on web pages only, so"
            " nobody reaches SMTP and IMAP under this name"
        )
        values -= proxied
        if not values:
            return
    inside = {value for value in values if is_private(value)}
    if inside:
        known = f", and not the public {' or '.join(sorted(public))}" if public else ""
        yield (
            f"{name} has {kind} {', '.join(sorted(inside))} by this machine's resolvers, a"
            f" {'shared' if any(map(is_shared, inside)) else 'private'} address{known}:"
            " others cannot"
            " reach it. Where the resolvers answer differently inside and outside (split horizon), `dig @9.9.9.9"
            f" {name} {kind}`"
            " shows what others see"
        )
    for value in sorted(values - own - inside):
        yield f"{name} has {kind} {value}, which is not an address of this machine"
    if public and not values:
        yield f"{name} has no {kind} record"
    elif public and not inside and not values & own:
        yield f"{name} has no {kind} {' or '.join(sorted(public))}"


ROW = Requirement(
    id="dns.address",
    title="The host name resolves to this machine",
    level=Level.ADVISED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("records", "interfaces", "mailcow"),
    judge=judge,
)
