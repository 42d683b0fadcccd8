"""egress.smtp: Outgoing mail is not blocked (port 25 to other mail servers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate import providers
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.egress.causes import Cause, cause_of, dead_cause, is_dead
from cowgate.requirements.egress.judging import Reach, Result, broken_family, reach, say_all
from cowgate.requirements.egress.shared import described, evidence_of, found_out

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy
    from cowgate.probes.values import Answer, Probes

AGAIN = (("cowgate", "check", "--only", "egress.smtp"),)


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """A 220 greeting from two exchangers over IPv4 (most recipients have nothing else), from one over IPv6 where the machine
    has it, and from the policy's submission server on 465. Names the provider's own block."""
    probes = facts.probes.value
    found = found_out(probes, policy, phase, "egress.smtp")
    if isinstance(found, Verdict):
        return found
    expected = "the greeting 220 on port 25 from two mail exchangers over IPv4" + (
        f", and on port 465 from {policy.probes.submission}" if policy.probes.submission else ""
    )
    evidence = evidence_of(found)
    broken = [result for result in found if not result.ok]
    over4 = _over_ipv4(probes, found)
    if broken or over4:
        what, cause = _blocked(facts, policy, broken, over4)
        diagnosis = f"outgoing mail will stay in the queue: {what}{cause.clause}"
        return failed(diagnosis, remedy=cause.remedy, commands=cause.commands, expected=expected, evidence=evidence)
    over6 = _over_ipv6(probes, found)
    if over6:
        return warned(
            f"mail servers greet over IPv4, but not over IPv6 ({say_all(over6.broken)}): mail to servers with IPv6"
            " loses time on it",
            remedy="let TCP 25 out over IPv6 as well (a provider's block is often lifted for each family apart), or"
            " make postfix"
            " prefer IPv4: `smtp_address_preference = ipv4` in data/conf/postfix/extra.cf",
            commands=(("cowgate", "firewall-plan"),),
            expected=expected,
            evidence=evidence,
        )
    return passed("mail servers greet", expected=expected, evidence=evidence)


def _over_ipv4(probes: Probes, found: tuple[Result, ...]) -> Reach | None:
    """The exchangers over IPv4, where too few of them greet although the machine has IPv4."""
    for result in found:
        if result.target.kind == "smtp" and "ipv4" in probes.families:
            seen = reach(probes, result.target, "ipv4")
            return None if seen.enough(result.target.need) else seen
    return None


def _over_ipv6(probes: Probes, found: tuple[Result, ...]) -> Reach | None:
    """The exchangers over IPv6, where none of them greets; not where IPv6 as a whole is broken: network.ipv6 says that."""
    for result in found:
        if result.target.kind == "smtp" and {"ipv4", "ipv6"} <= set(probes.families) and broken_family(probes) != "ipv6":
            seen = reach(probes, result.target, "ipv6")
            return None if seen.enough(1) else seen
    return None


def _blocked(facts: Facts, policy: Policy, broken: list[Result], over4: Reach | None) -> tuple[str, Cause]:
    """(what fails, what is behind it)."""
    probes = facts.probes.value
    if over4 is None:
        what, answers = described(broken)
    else:
        others = [result for result in broken if result.target.kind != "smtp"]
        answers = [*over4.broken, *(answer for result in others for answer in result.broken)]
        what = say_all(answers)
        six = reach(probes, over4.target, "ipv6")
        if six.working:
            what += f". Over IPv6 {', '.join(six.working)} greet, but most recipients have IPv4 only"
        if is_dead(probes, "ipv4"):
            return what, dead_cause(facts, "ipv4")
    return what, _behind(facts, policy, answers)


def _behind(facts: Facts, policy: Policy, answers: list[Answer]) -> Cause:
    """Who answered, and how, tells whether the port is blocked at all."""
    spoken = [answer for answer in answers if answer.outcome == "answer" and answer.status is not None]
    if len(spoken) * 2 >= len(answers) > 0:
        return _refusal(spoken)
    silent = [answer for answer in answers if answer.outcome == "stalled" and answer.stage == "SMTP greeting"]
    if len(silent) * 2 >= len(answers) > 0:
        return Cause(
            "wait and ask again; `nc` shows whether a greeting comes after half a minute (a server that makes"
            " strangers wait) or"
            " never (a firewall that takes connections in the servers' place: ask who runs it)",
            (("nc", "-w", "60", silent[0].host, str(silent[0].port)),),
            "Port 25 is not closed: connections are made, and no greeting comes in time",
        )
    other = [answer for answer in answers if answer.outcome in ("route", "tls", "clock", "no-dns", "no-name") or answer.origin]
    if len(other) * 2 >= len(answers) > 0:
        return cause_of(facts, answers)
    return Cause(_lift(facts.probes.value, policy, answers)) if answers else cause_of(facts, answers)


def _refusal(spoken: list[Answer]) -> Cause:
    """Greetings that refuse: for now (4yz), or for good (5yz; RFC 5321 §4.2.1)."""
    texts = {answer.detail for answer in spoken}
    same = (
        ". All of them say the same words, so one machine may be answering in the place of all: then ask the provider"
        if len(texts) == 1 and len({answer.host for answer in spoken}) > 1
        else ""
    )
    if all((answer.status or 0) < 500 for answer in spoken):
        return Cause(
            "nothing has to be opened: ask again in an hour",
            AGAIN,
            f"Port 25 is open, and the servers put this machine off for now{same}",
        )
    return Cause(
        "read the text: it names the block list or the rule. Have this machine's address taken off that list, set its"
        " reverse DNS"
        " (dns.reverse), or take another address",
        (("cowgate", "check", "--only", "dns.reverse"), *AGAIN),
        f"Port 25 is open, but the servers refuse this machine's address{same}",
    )


def _lift(probes: Probes, policy: Policy, answers: list[Answer]) -> str:
    smarthost = "or send through a smarthost: name it in the policy (probes.submission)"
    if any(answer.outcome == "prohibited" for answer in answers):
        return f"allow the port in this machine's own firewall; {smarthost}"
    provider = providers.find(policy.provider, probes.datasource, probes.vendor)
    if provider and provider.lifts:
        return f"this machine is at {provider.title}: {provider.lifts}; {smarthost}"
    return f"most providers block port 25 until they are asked: ask yours to open it for this machine; {smarthost}"


ROW = Requirement(
    id="egress.smtp",
    title="Outgoing mail is not blocked (port 25 to other mail servers)",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("probes",),
    wants=("interfaces", "services"),
    judge=judge,
)
