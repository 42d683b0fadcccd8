"""dns.mail: The DNS records for mail exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.probes import zone
from cowgate.requirements.dns.shared import PLAN, nothing_to_judge, silence

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """MX, autodiscover, autoconfig, SPF, DMARC, DKIM if its selector is known, CAA that lets Let's Encrypt issue."""
    records = facts.records.value
    early = nothing_to_judge(records, phase)
    if early:
        return early
    if not records.domains:
        return unknown("no mail domain is known", remedy="name them in the policy (dns.mail_domains)")
    early = silence(records, [(domain, "MX") for domain in records.domains])
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
    shape = zone.shape_only(records)
    only = (
        f"; of the SPF records of {', '.join(shape)} only the shape was judged, not what they include (python3-spf does)"
        if shape
        else ""
    )
    return passed(f"the records of {', '.join(records.domains)} are there{only}")


ROW = Requirement(
    id="dns.mail",
    title="The DNS records for mail exist",
    level=Level.ADVISED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("records",),
    judge=judge,
)
