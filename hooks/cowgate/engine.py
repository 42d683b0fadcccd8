"""Collect, judge, plan, apply, collect and judge once more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from cowgate.facts import Fact, Facts
from cowgate.model import Level, Phase, Remedy, Requirement, Row, Status, Verdict, deferred, unknown
from cowgate.policy import Policy

# Which rows of the catalogue are judged in a phase; the others are deferred, or (early) left out.
JUDGED_IN: dict[Phase, tuple[Phase, ...]] = {
    Phase.BUILD: (Phase.BUILD,),
    Phase.EARLY: (Phase.EARLY,),
    Phase.BOOT: (Phase.BOOT,),
    Phase.INSTALL: (Phase.BOOT, Phase.INSTALL),
    Phase.AUDIT: (Phase.BOOT, Phase.INSTALL),
}


def judge_all(requirements: Iterable[Requirement], facts: Facts, policy: Policy, phase: Phase, today: date) -> tuple[Row, ...]:
    """One row for each requirement, in order. Pure: the same facts, policy, phase and day give the same rows."""
    rows = []
    for requirement in requirements:
        if phase is Phase.EARLY and Phase.EARLY not in requirement.phases:
            continue
        level = Level.REQUIRED if requirement.id in policy.require else requirement.level
        verdict = _judge(requirement, facts, policy, phase)
        if verdict.status is Status.FAIL and level is Level.ADVISED:
            verdict = verdict.with_status(Status.WARN)
        rows.append(Row(requirement, level, _waive(requirement, verdict, policy, today)))
    return tuple(rows)


def _judge(requirement: Requirement, facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    if not set(JUDGED_IN[phase]) & set(requirement.phases):
        later = "at first boot" if Phase.BOOT in requirement.phases else "right before the install"
        return deferred(f"decided {later}")
    for name in requirement.needs:
        fact: Fact[object] = getattr(facts, name)
        if fact.state == "offline":
            return deferred(f"decided at first boot: {fact.reason}")
        if fact.state == "unreadable":
            return unknown(f"{name} could not be read: {fact.reason}", remedy="run `cowgate check` as root")
    try:
        return requirement.judge(facts, policy, phase)
    except Exception as error:  # a bug in one row must not hide the others, and must not open the gate
        return unknown(f"internal error in {requirement.id}: {type(error).__name__}: {error}")


def _waive(requirement: Requirement, verdict: Verdict, policy: Policy, today: date) -> Verdict:
    if verdict.status not in (Status.FAIL, Status.WARN, Status.UNKNOWN) or not requirement.waivable:
        return verdict
    for waiver in policy.waivers:
        if waiver.id == requirement.id and waiver.reason and (waiver.until is None or today <= waiver.until):
            until = f" until {waiver.until.isoformat()}" if waiver.until else ""
            why = f"{verdict.diagnosis} (waived{until}: {waiver.reason})"
            return Verdict(
                Status.WAIVED,
                verdict.expected,
                verdict.observed,
                why,
                verdict.remedy or Remedy(""),
                verdict.evidence,
            )
    return verdict


def is_ready(rows: Iterable[Row]) -> bool:
    """Whether no required row is fail or unknown."""
    return not any(row.blocks for row in rows)
