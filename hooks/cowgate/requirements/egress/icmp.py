"""egress.icmp: Ping works (mailcow's resolver needs it for its health check)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown, warned
from cowgate.requirements.egress.causes import cause_of
from cowgate.requirements.egress.judging import Result
from cowgate.requirements.egress.shared import BOOT_AND_INSTALL, described, evidence_of, found_out

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Echo to two of three (one may fail), or SKIP_UNBOUND_HEALTHCHECK=y in mailcow.conf (mailcow#5649, mailcow#6679)."""
    conf = facts.mailcow.content.conf if facts.mailcow.content else None
    if conf and conf.get("SKIP_UNBOUND_HEALTHCHECK", "") == "y":
        return passed("not needed: mailcow.conf has SKIP_UNBOUND_HEALTHCHECK=y")
    probes = facts.probes.value
    found = found_out(probes, policy, phase, "egress.icmp")
    if isinstance(found, Verdict):
        return found
    (result,) = found
    expected = f"echo replies from {result.target.need} of {', '.join(result.target.hosts)}"
    if result.ok:
        return passed(f"{', '.join(result.working)} answer", expected=expected, evidence=evidence_of(found))
    if result.untested:
        return unknown(f"echo requests could not be sent: {result.untested}", remedy="run `cowgate check` as root")
    return _no_echo(facts, result, policy, expected)


def _no_echo(facts: Facts, result: Result, policy: Policy, expected: str) -> Verdict:
    what, answers = described([result])
    cause = cause_of(facts, answers)
    diagnosis = (
        f"{what}; the health check of mailcow's resolver will fail, and postfix, clamd and acme then never start{cause.clause}"
    )
    observed = f"{len(result.working)} of {len(result.target.hosts)} answer"
    if policy.fix.skip_unbound_healthcheck:
        return warned(
            f"{diagnosis}, unless it is skipped, as the policy wants",
            remedy="the installer sets SKIP_UNBOUND_HEALTHCHECK=y; where mailcow.conf is there already, set it by hand",
            expected=expected,
            observed=observed,
            evidence=evidence_of((result,)),
        )
    skip = "; or set SKIP_UNBOUND_HEALTHCHECK=y in mailcow.conf (policy: fix.skip_unbound_healthcheck)"
    return failed(
        diagnosis,
        # Where nothing gets out at all, the rows of all probes have the one remedy, and are one block.
        remedy=cause.remedy if cause.whole else f"{cause.remedy}{skip}",
        commands=cause.commands if cause.whole else (*cause.commands, ("ping", "-c", "3", result.target.hosts[0])),
        expected=expected,
        observed=observed,
        evidence=evidence_of((result,)),
    )


ROW = Requirement(
    id="egress.icmp",
    title="Ping works (mailcow's resolver needs it for its health check)",
    level=Level.REQUIRED,
    phases=BOOT_AND_INSTALL,
    needs=("probes", "mailcow"),
    wants=("interfaces", "services"),
    judge=judge,
)
