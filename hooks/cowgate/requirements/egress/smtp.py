"""egress.smtp: Outgoing mail is not blocked (port 25 to other mail servers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate import providers
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.egress.shared import described, evidence_of, found_out

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy
    from cowgate.probes.values import Answer, Probes


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """A 220 greeting from two exchangers, and from the policy's submission server on 465. Names the provider's own block."""
    probes = facts.probes.value
    found = found_out(probes, policy, phase, "egress.smtp")
    if isinstance(found, Verdict):
        return found
    broken = [result for result in found if not result.ok]
    expected = "the greeting 220 on port 25 from two mail exchangers" + (
        f", and on port 465 from {policy.probes.submission}" if policy.probes.submission else ""
    )
    if not broken:
        return passed("mail servers greet", expected=expected, evidence=evidence_of(found))
    what, answers = described(broken)
    return failed(
        f"outgoing mail will stay in the queue: {what}",
        remedy=_lift(probes, policy, answers),
        commands=(),
        expected=expected,
        evidence=evidence_of(found),
    )


def _lift(probes: Probes, policy: Policy, answers: list[Answer]) -> str:
    smarthost = "or send through a smarthost: name it in the policy (probes.submission)"
    if any(answer.outcome == "prohibited" for answer in answers):
        return f"allow the port in this machine's own firewall; {smarthost}"
    provider = providers.find(policy.provider, probes.datasource, probes.vendor)
    if provider:
        return f"this machine is at {provider.name}: {provider.lifts}; {smarthost}"
    return f"most providers block port 25 until they are asked: ask yours to open it for this machine; {smarthost}"


ROW = Requirement(
    id="egress.smtp",
    title="Outgoing mail is not blocked (port 25 to other mail servers)",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("probes",),
    judge=judge,
)
