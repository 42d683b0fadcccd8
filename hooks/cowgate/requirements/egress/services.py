"""egress.services: The other services that mailcow uses can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.egress.causes import cause_of
from cowgate.requirements.egress.shared import described, dropped_note, evidence_of, found_out

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Signatures, rule updates, certificates, abuse lists. UDP that nobody answers can only be sent, and says so."""
    probes = facts.probes.value
    found = found_out(probes, policy, phase, "egress.services")
    if isinstance(found, Verdict):
        return found
    broken = [result for result in found if not result.ok]
    sent = [f"{', '.join(result.working)} UDP {result.target.port}" for result in found if result.target.kind == "udp"]
    only_sent = f"; only sent, never answered: {'; '.join(sent)}" if sent else ""
    if not broken:
        note = dropped_note(policy, "egress.services")
        return passed(f"{len(found) - len(sent)} services answer{only_sent}{note}", evidence=evidence_of(found))
    cause = cause_of(facts, [answer for result in broken for answer in result.broken])
    affected = ", ".join(result.target.why for result in broken)
    return failed(
        f"{len(broken)} of {len(found)} cannot be reached ({described(broken)[0]}), which mailcow needs for:"
        f" {affected}{cause.clause}",
        remedy=cause.remedy,
        commands=cause.commands,
        expected="every documented service answers",
        observed=f"{len(found) - len(broken)} of {len(found)} work{only_sent}",
        evidence=evidence_of(found),
    )


ROW = Requirement(
    id="egress.services",
    title="The other services that mailcow uses can be reached",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("probes",),
    wants=("interfaces", "services"),
    judge=judge,
)
