"""egress.dns: mailcow's own DNS resolver will work (port 53 to the root servers, DNSSEC)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown, warned
from cowgate.probes.text import NOT_IN_TIME, SMALL_ONLY
from cowgate.requirements.egress.causes import cause_of
from cowgate.requirements.egress.judging import Reach, Result, broken_family, not_asked, reach, results, say, say_all
from cowgate.requirements.egress.shared import BOOT_AND_INSTALL, all_dropped, described, dropped_note, evidence_of
from cowgate.requirements.system.shared import install, manager_of, set_clock

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.model import Commands
    from cowgate.policy.model import Policy
    from cowgate.probes.values import Probes, Signatures

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
    over4 = [seen for seen in _reaches(probes, found, "ipv4") if not seen.enough(1)]
    broken = [result for result in found if not result.ok]
    if over4 or broken:
        return _port_53(facts, broken, over4, found)
    return _signatures(facts, found, policy)


def _reaches(probes: Probes, found: tuple[Result, ...], family: str) -> list[Reach]:
    """What the probes saw over one family, where the machine has it."""
    return [reach(probes, result.target, family) for result in found] if family in probes.families else []


def _port_53(facts: Facts, broken: list[Result], over4: list[Reach], found: tuple[Result, ...]) -> Verdict:
    kinds = {seen.target.kind for seen in over4} or {result.target.kind for result in broken}
    which = "UDP and TCP" if len(kinds) > 1 else ("TCP" if "dns-tcp" in kinds else "UDP")
    if over4:
        answers = [answer for seen in over4 for answer in seen.broken]
        what = say_all(answers)
    else:
        what, answers = described(broken)
    which += " port 53 over IPv4" if over4 and not broken else " port 53"
    cause = cause_of(facts, answers)
    alone = ". Over IPv6 it works, but many zones have name servers with IPv4 only" if over4 and not broken else ""
    return failed(
        f"{which} to the root servers does not work: {what}; mailcow's resolver, and with it mailcow, will not start"
        f"{alone}{cause.clause}",
        remedy=cause.remedy,
        commands=cause.commands,
        expected="answers with EDNS and signatures from the root servers, over UDP and over TCP",
        evidence=evidence_of(found),
    )


EXPECTED = "signatures hold from the root down, and a zone with broken ones is refused"


def _signatures(facts: Facts, found: tuple[Result, ...], policy: Policy) -> Verdict:
    seen = facts.probes.value.signatures
    evidence = evidence_of(found)
    if seen and seen.chain:
        return failed(
            f"DNSSEC does not validate: {seen.chain}",
            remedy="set the clock" if seen.clock else "find what changes DNS answers on the way, and have it removed",
            commands=set_clock(facts) if seen.clock else (),
            expected=EXPECTED,
            evidence=evidence,
        )
    if seen and seen.bogus:
        return failed(
            f"DNS answers are changed on the way: {seen.bogus}",
            remedy="find what changes DNS answers on the way, and have it removed",
            expected=EXPECTED,
            evidence=evidence,
        )
    if seen and (seen.untested == NOT_IN_TIME or seen.silent == "."):  # nothing was proven, neither good nor bad
        text = "check again; on a slow network set a longer probes.deadline in the policy"
        return unknown(f"whether DNSSEC validates is not known: {seen.untested}", remedy=text, commands=AGAIN)
    return _weakness(facts, found, seen, evidence) or passed(
        f"root servers answer over UDP and TCP, signatures hold{dropped_note(policy, 'egress.dns')}",
        expected=EXPECTED,
        evidence=evidence,
    )


def _weakness(
    facts: Facts, found: tuple[Result, ...], seen: Optional[Signatures], evidence: dict[str, str]
) -> Optional[Verdict]:
    """What slows mailcow's resolver down, or could not be seen, without keeping it from working."""
    probes = facts.probes.value
    if seen and seen.silent:
        zone = seen.silent.rstrip(".")
        return _warned(
            f"the root servers answer, but {seen.untested}, so no zone below {zone} can be resolved from here",
            f"ask whoever runs the firewall or the routes on the way why the name servers of {zone} cannot be reached:"
            " port 53 must"
            " be open to every address, not to some",
            (("dig", "+norecurse", "+dnssec", zone, "NS", "@198.41.0.4"), *AGAIN),
            evidence,
        )
    if seen and seen.untested:
        commands = install(facts, *DNSPYTHON.get(manager_of(facts), ())) if "python3" in seen.untested else AGAIN
        return _warned(
            f"the root servers answer, but {seen.untested}", "install what is missing, or ask again later", commands, evidence
        )
    if _small_only(probes, found) or (seen and seen.by_tcp):
        return _warned(
            "DNS answers of more than 512 bytes do not come over UDP, only over TCP: mailcow's resolver works, but each such"
            " answer costs it a time-out first",
            "let UDP from port 53 in at any size in the firewall on the way (an inspection of DNS that is limited to"
            " 512 bytes,"
            " or one that drops fragments), or switch that inspection off",
            (("cowgate", "firewall-plan"), *AGAIN),
            evidence,
        )
    over6 = [six for six in _reaches(probes, found, "ipv6") if six.hosts and not six.working]
    if over6 and "ipv4" in probes.families and broken_family(probes) != "ipv6":
        said = say_all([answer for six in over6 for answer in six.broken])
        return _warned(
            f"port 53 works over IPv4, but not over IPv6 ({said}): mailcow's resolver loses time on each server with IPv6",
            "let UDP and TCP port 53 out over IPv6 as well",
            (("cowgate", "firewall-plan"), *AGAIN),
            evidence,
        )
    return None


def _small_only(probes: Probes, found: tuple[Result, ...]) -> bool:
    """Whether no root server that answered over UDP got a large answer through."""
    udp = {result.target.id for result in found if result.target.kind == "dns-udp"}
    answered = [answer.detail for answer in probes.answers if answer.target in udp and answer.outcome == "ok"]
    return bool(answered) and all(detail == SMALL_ONLY for detail in answered)


def _warned(diagnosis: str, remedy: str, commands: Commands, evidence: dict[str, str]) -> Verdict:
    return warned(diagnosis, remedy=remedy, commands=commands, expected=EXPECTED, evidence=evidence)


ROW = Requirement(
    id="egress.dns",
    title="mailcow's own DNS resolver will work (port 53 to the root servers, DNSSEC)",
    level=Level.REQUIRED,
    phases=BOOT_AND_INSTALL,
    needs=("probes",),
    wants=("tools", "interfaces", "services"),
    judge=judge,
)
