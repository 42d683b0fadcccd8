"""egress.registries: GitHub and the image registries can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.probes.targets import MIRROR
from cowgate.requirements.egress.causes import cause_of
from cowgate.requirements.egress.judging import WORKS, Result, say_all, worst
from cowgate.requirements.egress.shared import BOOT_AND_INSTALL, all_dropped, described, dropped_note, evidence_of, found_out

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy
    from cowgate.probes.values import Answer, Probes


HUB = ("registry.hub", "registry.hub-auth", "registry.hub-cdn")
WHERE = "`registry-mirrors` of dockerd (/etc/docker/daemon.json)"


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """TLS with a verified certificate to the clone's host and to both registries with their blob hosts (mailcow PR#6332).
    A registry mirror that answers stands for Docker Hub: Docker asks it first."""
    probes = facts.probes.value
    found = found_out(probes, policy, phase, "egress.registries")
    if isinstance(found, Verdict):
        return found
    found = tuple(result for result in found if result.target.id != MIRROR)
    if not found:
        return all_dropped(policy, "egress.registries")
    mirrors, dead = _mirrors(probes)
    expected = "TLS with a trusted certificate to " + ", ".join(host for result in found for host in result.target.hosts)
    broken = [result for result in found if not result.ok]
    evidence = evidence_of(found) | _evidence(mirrors, dead)
    spared = [result for result in broken if result.target.id in HUB] if mirrors else []
    broken = [result for result in broken if result not in spared]
    if broken:
        return _unreachable(facts, broken, found, expected, dead, evidence)
    if dead:
        return _dead_mirror(dead, expected, evidence)
    observed = f"{len(found) - len(spared)} hosts answer{_by_proxy(probes)}{dropped_note(policy, 'egress.registries')}"
    if mirrors:
        observed += f"; images of Docker Hub come from the registry mirror {', '.join(mirrors)}"
        observed += f" (Docker Hub itself: {described(spared)[0]})" if spared else ""
    return passed(observed, expected=expected, evidence=evidence)


def _mirrors(probes: Probes) -> tuple[list[str], list[Answer]]:
    """(the registry mirrors that answer, the answers of those that do not)."""
    asked: dict[tuple[str, int], list[Answer]] = {}
    for answer in probes.answers:
        if answer.target == MIRROR:
            asked.setdefault((answer.host, answer.port), []).append(answer)
    working = [f"{host}:{port}" for (host, port), mine in asked.items() if any(a.outcome in WORKS for a in mine)]
    return working, [worst(mine) for (host, port), mine in asked.items() if f"{host}:{port}" not in working]


def _evidence(mirrors: list[str], dead: list[Answer]) -> dict[str, str]:
    told = "; ".join([*(f"{mirror} ok" for mirror in mirrors), *([say_all(dead)] if dead else [])])
    return {MIRROR: told} if told else {}


def _dead_mirror(dead: list[Answer], expected: str, evidence: dict[str, str]) -> Verdict:
    return warned(
        f"a registry mirror cannot be reached: {say_all(dead)}. Docker asks it first for each image of Docker Hub, and goes on"
        " without it only after it has failed",
        remedy=f"repair the mirror, or take it out of {WHERE} and restart Docker before mailcow runs on it",
        commands=(("cat", "/etc/docker/daemon.json"), ("cowgate", "check", "--only", "egress.registries")),
        expected=expected,
        evidence=evidence,
    )


def _by_proxy(probes: Probes) -> str:
    shown = sorted(set(probes.proxies.values()))
    return f", through {' and '.join(shown)}" if shown else ""


def _unreachable(
    facts: Facts,
    broken: list[Result],
    found: tuple[Result, ...],
    expected: str,
    dead: list[Answer],
    evidence: dict[str, str],
) -> Verdict:
    what, answers = described(broken)
    cause = cause_of(facts, answers)
    lag = max((sample.offset for sample in facts.probes.value.clock), key=abs, default=0.0)
    if any(answer.outcome == "clock" for answer in answers) and abs(lag) > 60:
        what += f"; this machine's clock is wrong by {abs(lag):.0f} s"
    hub = any(result.target.id in HUB for result in broken)
    mirror = f". The registry mirror cannot be reached either: {say_all(dead)}" if dead and hub else ""
    other = f"; or repair the registry mirror, named in {WHERE}" if mirror and len(broken) <= len(HUB) else ""
    return failed(
        f"{len(broken)} of {len(found)} cannot be reached: {what}{cause.clause}{mirror}",
        remedy=cause.remedy + other,
        commands=cause.commands,
        expected=expected,
        observed=f"{len(found) - len(broken)} of {len(found)} hosts answer",
        evidence=evidence,
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
