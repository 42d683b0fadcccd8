"""What the rows of egress have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Phase, Verdict, unknown
from cowgate.probes.targets import dropped
from cowgate.requirements.egress.judging import Result, not_asked, results, say_all

if TYPE_CHECKING:
    from cowgate.policy.model import Policy
    from cowgate.probes.values import Answer, Probes

BOOT_AND_INSTALL = (Phase.BOOT, Phase.INSTALL)


def all_dropped(policy: Policy, row: str) -> Verdict:
    names = ", ".join(dropped(policy, row))
    return unknown(
        f"the policy drops every probe of this row ({names})",
        remedy="remove one from the policy's probes.drop, or waive this row with a reason",
    )


def found_out(probes: Probes, policy: Policy, phase: Phase, row: str) -> tuple[Result, ...] | Verdict:
    """What the row's probes found, or the verdict of a row that was not asked."""
    if not probes.asked:
        return not_asked(probes.reason, phase)
    return results(probes, policy, row) or all_dropped(policy, row)


def evidence_of(found: tuple[Result, ...]) -> dict[str, str]:
    evidence = {}
    for result in found:
        told = [say_all(result.broken)] if result.broken else []
        if result.working:
            told.insert(0, f"{', '.join(result.working)} {'sent to' if result.target.kind == 'udp' else 'ok'}")
        evidence[result.target.id] = "; ".join(told) or "no default route"
    return evidence


def described(broken: list[Result]) -> tuple[str, list[Answer]]:
    """(what fails, the answers that say so)."""
    answers = [answer for result in broken for answer in result.broken]
    clauses = [say_all(answers)] if answers else []
    silent = [result.target.hosts[0] for result in broken if not result.broken]
    if silent:
        clauses.append(f"{', '.join(silent)}: there is no default route")
    return "; ".join(clauses), answers


def dropped_note(policy: Policy, row: str) -> str:
    names = dropped(policy, row)
    return f" (left out by policy: {', '.join(names)})" if names else ""
