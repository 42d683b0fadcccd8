"""egress.dns: mailcow's own DNS resolver will work (port 53 to the root servers, DNSSEC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown, warned
from cowgate.probes.text import NOT_IN_TIME
from cowgate.requirements.egress.judging import Result, not_asked, remedy_for, results, say
from cowgate.requirements.egress.shared import BOOT_AND_INSTALL, all_dropped, described, dropped_note, evidence_of
from cowgate.requirements.system.shared import install, manager_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

AGAIN = (("cowgate", "check", "--only", "egress.dns"),)

# package manager -> dnspython and what it checks signatures with
DNSPYTHON = {
    "apt": ("python3-dnspython", "python3-cryptography"),
    "dnf": ("python3-dns", "python3-cryptography"),
    "apk": ("py3-dnspython", "py3-cryptography"),
}


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """UDP and TCP 53 to root servers with signed answers, nobody answering in their place, signatures that hold."""
    probes = facts.probes.value
    if not probes.asked:
        return not_asked(probes.reason, phase)
    found = tuple(result for result in results(probes, policy, "egress.dns") if result.target.kind != "dnssec")
    if not found and probes.signatures is None:
        return all_dropped(policy, "egress.dns")
    untested = next((result.untested for result in found if result.untested), None)
    if untested:
        commands = install(facts, *DNSPYTHON.get(manager_of(facts), ()))
        return unknown(f"port 53 could not be probed: {untested}", remedy="install dnspython", commands=commands)
    hijacked = [answer for result in found for answer in result.broken if answer.outcome == "hijacked"]
    if hijacked:
        return failed(
            f"port 53 is intercepted: {say(hijacked[0])}. mailcow's resolver asks the root servers itself and validates",
            remedy="ask the provider (or whoever runs the router) not to redirect port 53 for this machine",
            expected="root servers answer for themselves",
            evidence=evidence_of(found),
        )
    broken = [result for result in found if not result.ok]
    if broken:
        return _port_53(broken, found)
    return _signatures(facts, found, policy)


def _port_53(broken: list[Result], found: tuple[Result, ...]) -> Verdict:
    kinds = {result.target.kind for result in broken}
    which = "UDP and TCP" if len(kinds) > 1 else ("TCP" if "dns-tcp" in kinds else "UDP")
    what, answers = described(broken)
    text, commands = remedy_for(answers)
    return failed(
        f"{which} port 53 to the root servers does not work: {what}; mailcow's resolver, and with it mailcow, will not start",
        remedy=text,
        commands=commands,
        expected="answers with EDNS and signatures from the root servers, over UDP and over TCP",
        evidence=evidence_of(found),
    )


def _signatures(facts: Facts, found: tuple[Result, ...], policy: Policy) -> Verdict:
    seen = facts.probes.value.signatures
    expected = "signatures hold from the root down, and a zone with broken ones is refused"
    evidence = evidence_of(found)
    if seen and seen.chain:
        return failed(
            f"DNSSEC does not validate: {seen.chain}",
            remedy="set the clock" if seen.clock else "have whatever changes DNS answers on the way taken out",
            commands=(("timedatectl", "set-ntp", "true"),) if seen.clock else (),
            expected=expected,
            evidence=evidence,
        )
    if seen and seen.bogus:
        return failed(
            f"DNS answers are changed on the way: {seen.bogus}",
            remedy="have whatever changes DNS answers on the way taken out",
            expected=expected,
            evidence=evidence,
        )
    if seen and seen.untested == NOT_IN_TIME:  # nothing was proven, neither good nor bad
        text = "ask again, where the network is slow with a later probes.deadline in the policy"
        return unknown(f"whether DNSSEC validates is not known: {seen.untested}", remedy=text, commands=AGAIN)
    if seen and seen.untested:
        return warned(
            f"the root servers answer, but {seen.untested}",
            remedy="install what is missing, or ask again later",
            commands=install(facts, *DNSPYTHON.get(manager_of(facts), ())) if "python3" in seen.untested else AGAIN,
            expected=expected,
            evidence=evidence,
        )
    note = dropped_note(policy, "egress.dns")
    return passed(f"root servers answer over UDP and TCP, signatures hold{note}", expected=expected, evidence=evidence)


ROW = Requirement(
    id="egress.dns",
    title="mailcow's own DNS resolver will work (port 53 to the root servers, DNSSEC)",
    level=Level.REQUIRED,
    phases=BOOT_AND_INSTALL,
    needs=("probes",),
    wants=("tools",),
    judge=judge,
)
