"""What the rows of dns have in common."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from cowgate.model import Phase, Verdict, unknown
from cowgate.requirements.egress.judging import not_asked

if TYPE_CHECKING:
    from cowgate.probes.values import Records

PLAN = (("cowgate", "dns-plan"),)


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
