"""What the rows of dns have in common."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cowgate.model import Phase, Verdict, unknown
from cowgate.probes.private import is_cloudflare, is_shared
from cowgate.requirements.egress.judging import not_asked

if TYPE_CHECKING:
    from cowgate.probes.values import Records

PLAN = (("cowgate", "dns-plan"),)
CLOUDFLARE = (
    "in Cloudflare's dashboard set the record to \"DNS only\" (the grey cloud), with this machine's own address; `cowgate"
    " dns-plan` prints the records"
)
CARRIER_NAT = (
    "ask the provider for a public IPv4 address of this machine's own. Only where it has one that is translated one to one:"
    " name it in probes.hosts under public.addresses"
)


def nothing_to_judge(records: Records, phase: Phase) -> Verdict | None:
    if not records.asked:
        return not_asked(records.reason, phase)
    if not records.hostname:
        return unknown("no host name is set for mailcow (see system.hostname)", remedy="set `hostname` in the policy")
    return None


def silence(records: Records, questions: list[tuple[str, str]]) -> Verdict | None:
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


def plainly(text: str) -> str:
    """An address in its one normal form, so that texts can be compared."""

    return str(ipaddress.ip_address(text))


def behind_carrier_nat(records: Records) -> str:
    """The IPv4 address of this machine that is one of carrier-grade NAT; "" where it has none, or the policy names a public
    one."""
    if any(known.family == "ipv4" and known.how != "lookup" for known in records.public):
        return ""
    return next((address for address in records.private if ":" not in address and is_shared(address)), "")


def by_cloudflare(values: Iterable[str]) -> list[str]:
    """Those of the addresses that are of Cloudflare's proxy."""
    return [value for value in values if is_cloudflare(value)]
