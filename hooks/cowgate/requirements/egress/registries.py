"""egress.registries: GitHub and the image registries can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.egress.causes import cause_of
from cowgate.requirements.egress.judging import Result
from cowgate.requirements.egress.shared import BOOT_AND_INSTALL, described, dropped_note, evidence_of, found_out

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy
    from cowgate.probes.values import Probes


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """TLS with a verified certificate to the clone's host and to both registries with their blob hosts (mailcow PR#6332)."""
    probes = facts.probes.value
    found = found_out(probes, policy, phase, "egress.registries")
    if isinstance(found, Verdict):
        return found
    expected = "TLS with a trusted certificate to " + ", ".join(host for result in found for host in result.target.hosts)
    broken = [result for result in found if not result.ok]
    if broken:
        return _unreachable(facts, broken, found, expected)
    observed = f"{len(found)} hosts answer{_by_proxy(probes)}{dropped_note(policy, 'egress.registries')}"
    return passed(observed, expected=expected, evidence=evidence_of(found))


def _by_proxy(probes: Probes) -> str:
    shown = sorted(set(probes.proxies.values()))
    return f", through {' and '.join(shown)}" if shown else ""


def _unreachable(facts: Facts, broken: list[Result], found: tuple[Result, ...], expected: str) -> Verdict:
    what, answers = described(broken)
    cause = cause_of(facts, answers)
    lag = max((sample.offset for sample in facts.probes.value.clock), key=abs, default=0.0)
    if any(answer.outcome == "clock" for answer in answers) and abs(lag) > 60:
        what += f"; this machine's clock is wrong by {abs(lag):.0f} s"
    return failed(
        f"{len(broken)} of {len(found)} cannot be reached: {what}{cause.clause}",
        remedy=cause.remedy,
        commands=cause.commands,
        expected=expected,
        observed=f"{len(found) - len(broken)} of {len(found)} hosts answer",
        evidence=evidence_of(found),
    )


ROW = Requirement(
    id="egress.registries",
    title="GitHub and the image registries can be reached",
    level=Level.REQUIRED,
    phases=BOOT_AND_INSTALL,
    needs=("probes",),
    wants=("interfaces", "services"),
    judge=judge,
)
