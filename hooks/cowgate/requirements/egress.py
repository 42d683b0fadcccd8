"""What must leave the machine for mailcow to be installed and to work."""

from __future__ import annotations

from cowgate.model import Level, Phase, Verdict, failed, passed, unknown, warned
from cowgate.probing import NOT_IN_TIME, providers
from cowgate.probing.judging import Result, not_asked, remedy_for, results, say, say_all
from cowgate.probing.targets import dropped
from cowgate.record import TYPE_CHECKING
from cowgate.requirements import requirement
from cowgate.requirements.system import install, manager_of

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.facts.probes import Answer, Probes
    from cowgate.policy import Policy

BOOT_AND_INSTALL = (Phase.BOOT, Phase.INSTALL)
AGAIN = (("cowgate", "check", "--only", "egress.dns"),)
# package manager -> dnspython and what it checks signatures with
DNSPYTHON = {
    "apt": ("python3-dnspython", "python3-cryptography"),
    "dnf": ("python3-dns", "python3-cryptography"),
    "apk": ("py3-dnspython", "py3-cryptography"),
}


def _all_dropped(policy: Policy, row: str) -> Verdict:
    names = ", ".join(dropped(policy, row))
    return unknown(
        f"the policy drops every probe of this row ({names})",
        remedy="take one out of the policy's probes.drop, or waive this row with a reason",
    )


def _found(probes: Probes, policy: Policy, phase: Phase, row: str) -> tuple[Result, ...] | Verdict:
    """What the row's probes found, or the verdict of a row that was not asked."""
    if not probes.asked:
        return not_asked(probes.reason, phase)
    return results(probes, policy, row) or _all_dropped(policy, row)


def _evidence(found: tuple[Result, ...]) -> dict[str, str]:
    evidence = {}
    for result in found:
        told = [say_all(result.broken)] if result.broken else []
        if result.working:
            told.insert(0, f"{', '.join(result.working)} {'sent to' if result.target.kind == 'udp' else 'ok'}")
        evidence[result.target.id] = "; ".join(told) or "no default route"
    return evidence


def _describe(broken: list[Result]) -> tuple[str, list[Answer]]:
    """(what fails, the answers that say so)."""
    answers = [answer for result in broken for answer in result.broken]
    clauses = [say_all(answers)] if answers else []
    silent = [result.target.hosts[0] for result in broken if not result.broken]
    if silent:
        clauses.append(f"{', '.join(silent)}: no default route to ask by")
    return "; ".join(clauses), answers


def _dropped_note(policy: Policy, row: str) -> str:
    names = dropped(policy, row)
    return f" (left out by policy: {', '.join(names)})" if names else ""


@requirement(
    "egress.registries",
    title="github.com and the image registries can be reached",
    level=Level.REQUIRED,
    phases=BOOT_AND_INSTALL,
    needs=("probes",),
)
def registries(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """TLS with a verified certificate to the clone's host and to both registries with their blob hosts (mailcow PR#6332)."""
    probes = facts.probes.value
    found = _found(probes, policy, phase, "egress.registries")
    if isinstance(found, Verdict):
        return found
    expected = "TLS with a trusted certificate to " + ", ".join(host for result in found for host in result.target.hosts)
    broken = [result for result in found if not result.ok]
    if broken:
        return _unreachable(probes, broken, found, expected)
    observed = f"{len(found)} hosts answer{_by_proxy(probes)}{_dropped_note(policy, 'egress.registries')}"
    return passed(observed, expected=expected, evidence=_evidence(found))


def _by_proxy(probes: Probes) -> str:
    shown = sorted(set(probes.proxies.values()))
    return f", through {' and '.join(shown)}" if shown else ""


def _unreachable(probes: Probes, broken: list[Result], found: tuple[Result, ...], expected: str) -> Verdict:
    what, answers = _describe(broken)
    text, commands = remedy_for(answers)
    lag = max((sample.offset for sample in probes.clock), key=abs, default=0.0)
    if any(answer.outcome == "clock" for answer in answers) and abs(lag) > 60:
        what += f"; this machine's clock is wrong by {abs(lag):.0f} s"
    return failed(
        f"{len(broken)} of {len(found)} can not be reached: {what}",
        remedy=text,
        commands=commands,
        expected=expected,
        observed=f"{len(found) - len(broken)} of {len(found)} hosts answer",
        evidence=_evidence(found),
    )


@requirement(
    "egress.dns",
    title="mailcow's own resolver will work: port 53 to the root servers, DNSSEC",
    level=Level.REQUIRED,
    phases=BOOT_AND_INSTALL,
    needs=("probes",),
    wants=("tools",),
)
def dns(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """UDP and TCP 53 to root servers with signed answers, nobody answering in their place, signatures that hold."""
    probes = facts.probes.value
    if not probes.asked:
        return not_asked(probes.reason, phase)
    found = tuple(result for result in results(probes, policy, "egress.dns") if result.target.kind != "dnssec")
    if not found and probes.signatures is None:
        return _all_dropped(policy, "egress.dns")
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
            evidence=_evidence(found),
        )
    broken = [result for result in found if not result.ok]
    if broken:
        return _port_53(broken, found)
    return _signatures(facts, found, policy)


def _port_53(broken: list[Result], found: tuple[Result, ...]) -> Verdict:
    kinds = {result.target.kind for result in broken}
    which = "UDP and TCP" if len(kinds) > 1 else ("TCP" if "dns-tcp" in kinds else "UDP")
    what, answers = _describe(broken)
    text, commands = remedy_for(answers)
    return failed(
        f"{which} port 53 to the root servers does not work: {what}; mailcow's resolver, and with it mailcow, will not start",
        remedy=text,
        commands=commands,
        expected="answers with EDNS and signatures from the root servers, over UDP and over TCP",
        evidence=_evidence(found),
    )


def _signatures(facts: Facts, found: tuple[Result, ...], policy: Policy) -> Verdict:
    seen = facts.probes.value.signatures
    expected = "signatures hold from the root down, and a zone with broken ones is refused"
    evidence = _evidence(found)
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
    note = _dropped_note(policy, "egress.dns")
    return passed(f"root servers answer over UDP and TCP, signatures hold{note}", expected=expected, evidence=evidence)


@requirement(
    "egress.icmp",
    title="Echo requests get out, as the health check of mailcow's resolver needs",
    level=Level.REQUIRED,
    phases=BOOT_AND_INSTALL,
    needs=("probes", "mailcow"),
)
def icmp(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Echo to two of three (one may fail), or SKIP_UNBOUND_HEALTHCHECK=y in mailcow.conf (mailcow#5649, mailcow#6679)."""
    conf = facts.mailcow.content.conf if facts.mailcow.content else None
    if conf and conf.get("SKIP_UNBOUND_HEALTHCHECK", "") == "y":
        return passed("not needed: mailcow.conf has SKIP_UNBOUND_HEALTHCHECK=y")
    probes = facts.probes.value
    found = _found(probes, policy, phase, "egress.icmp")
    if isinstance(found, Verdict):
        return found
    (result,) = found
    expected = f"echo replies from {result.target.need} of {', '.join(result.target.hosts)}"
    if result.ok:
        return passed(f"{', '.join(result.working)} answer", expected=expected, evidence=_evidence(found))
    if result.untested:
        return unknown(f"echo requests could not be sent: {result.untested}", remedy="run `cowgate check` as root")
    return _no_echo(result, policy, expected)


def _no_echo(result: Result, policy: Policy, expected: str) -> Verdict:
    what, answers = _describe([result])
    text, _ = remedy_for(answers)
    diagnosis = f"{what}; the health check of mailcow's resolver will fail, and postfix, clamd and acme then never start"
    observed = f"{len(result.working)} of {len(result.target.hosts)} answer"
    if policy.fix.skip_unbound_healthcheck:
        return warned(
            f"{diagnosis}, unless it is skipped, as the policy wants",
            remedy="the installer sets SKIP_UNBOUND_HEALTHCHECK=y; where mailcow.conf is there already, set it by hand",
            expected=expected,
            observed=observed,
            evidence=_evidence((result,)),
        )
    return failed(
        diagnosis,
        remedy=f"{text}; or set SKIP_UNBOUND_HEALTHCHECK=y in mailcow.conf (policy: fix.skip_unbound_healthcheck)",
        commands=(("ping", "-c", "3", result.target.hosts[0]),),
        expected=expected,
        observed=observed,
        evidence=_evidence((result,)),
    )


@requirement(
    "egress.smtp",
    title="Mail can leave: port 25 to other mail servers",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("probes",),
)
def smtp(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """A 220 greeting from two exchangers, and from the policy's submission server on 465. Names the provider's own block."""
    probes = facts.probes.value
    found = _found(probes, policy, phase, "egress.smtp")
    if isinstance(found, Verdict):
        return found
    broken = [result for result in found if not result.ok]
    expected = "the greeting 220 on port 25 from two mail exchangers" + (
        f", and on port 465 from {policy.probes.submission}" if policy.probes.submission else ""
    )
    if not broken:
        return passed("mail servers greet", expected=expected, evidence=_evidence(found))
    what, answers = _describe(broken)
    return failed(
        f"outgoing mail will stay in the queue: {what}",
        remedy=_lift(probes, policy, answers),
        commands=(),
        expected=expected,
        evidence=_evidence(found),
    )


def _lift(probes: Probes, policy: Policy, answers: list[Answer]) -> str:
    smarthost = "or send through a smarthost: name it in the policy (probes.submission)"
    if any(answer.outcome == "prohibited" for answer in answers):
        return f"allow the port in this machine's own firewall; {smarthost}"
    provider = providers.find(policy.provider, probes.datasource, probes.vendor)
    if provider:
        return f"this machine is at {provider.name}: {provider.lifts}; {smarthost}"
    return f"most providers block port 25 until they are asked: ask yours to open it for this machine; {smarthost}"


@requirement(
    "egress.services",
    title="The other services that mailcow talks to can be reached",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("probes",),
)
def services(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Signatures, rule updates, certificates, abuse lists. UDP that nobody answers can only be sent, and says so."""
    probes = facts.probes.value
    found = _found(probes, policy, phase, "egress.services")
    if isinstance(found, Verdict):
        return found
    broken = [result for result in found if not result.ok]
    sent = [f"{', '.join(result.working)} UDP {result.target.port}" for result in found if result.target.kind == "udp"]
    only_sent = f"; only sent, never answered: {'; '.join(sent)}" if sent else ""
    if not broken:
        note = _dropped_note(policy, "egress.services")
        return passed(f"{len(found) - len(sent)} services answer{only_sent}{note}", evidence=_evidence(found))
    text, commands = remedy_for([answer for result in broken for answer in result.broken])
    affected = ", ".join(result.target.why for result in broken)
    return failed(
        f"{len(broken)} of {len(found)} can not be reached ({_describe(broken)[0]}), which mailcow needs for: {affected}",
        remedy=text,
        commands=commands,
        expected="every documented service answers",
        observed=f"{len(found) - len(broken)} of {len(found)} work{only_sent}",
        evidence=_evidence(found),
    )


@requirement(
    "egress.asn",
    title="Spamhaus answers queries from this network",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("probes",),
)
def asn(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """mailcow's ASN check: 200 clean, 503 listed, 429 asked too often (mailcow PR#5295)."""
    probes = facts.probes.value
    found = _found(probes, policy, phase, "egress.asn")
    if isinstance(found, Verdict):
        return found
    (result,) = found
    statuses = [answer.status for answer in probes.answers if answer.target == "egress.asn" and answer.outcome == "ok"]
    if not statuses:
        return unknown(
            f"the ASN check could not be asked: {_describe([result])[0]}",
            remedy="repair what egress.services names, then ask again",
        )
    if 503 in statuses:
        return failed(
            "Spamhaus refuses queries from the network (AS) that this machine is in: its block lists will not work",
            remedy="get a free DQS key from Spamhaus and set SPAMHAUS_DQS_KEY in mailcow.conf; then waive this row",
            expected="HTTP status 200",
            observed="HTTP status 503",
        )
    if 200 not in statuses:
        return unknown("the ASN check was asked too often (HTTP status 429)", remedy="ask again in an hour")
    return passed("the network (AS) of this machine is not listed", expected="HTTP status 200")
