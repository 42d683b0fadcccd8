"""Answers grouped by what they mean: which probe worked, and the sentence for one that did not. Pure."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.model import Phase, Verdict, deferred, unknown
from cowgate.probes.targets import TARGETS, Target, split, wanted
from cowgate.requirements.system.shared import set_clock

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.model import Commands
    from cowgate.policy.model import Policy
    from cowgate.probes.values import Answer, Probes

WORKS = ("ok", "sent")

TCP = ("https", "http", "tcp", "smtp", "smtps", "dns-tcp")  # kinds of probes

# An answer with one of these says nothing about the way to the host over that family.
ABSENT = ("no-address", "no-name")

FAMILY = {"ipv4": "IPv4", "ipv6": "IPv6", "proxy": "the proxy"}

# outcome -> (what to do, commands). Written for the person who has one machine and one evening.
REMEDIES: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "no-dns": (
        "the machine's own resolvers do not answer: repair the name servers that its network configuration sets",
        (("cat", "/etc/resolv.conf"), ("getent", "ahosts", "github.com")),
    ),
    "no-name": (
        "check the name servers in /etc/resolv.conf: they say that a name does not exist, although it does",
        (("cat", "/etc/resolv.conf"),),
    ),
    "no-address": (
        "the other side has no IPv6 address, so it takes IPv4, NAT64 with DNS64, or a proxy",
        (("ip", "-4", "route", "show", "default"),),
    ),
    "refused": ("let it out in the provider's firewall, which rejects it", (("cowgate", "firewall-plan"),)),
    "timeout": (
        "let it out in the firewall that drops it (the provider's, or one in front of this machine)",
        (("cowgate", "firewall-plan"),),
    ),
    "unreachable": ("repair the route to it", (("ip", "route"), ("ip", "-6", "route"))),
    "prohibited": (
        "this machine's own firewall stops it on the way out: allow it there",
        (("nft", "list", "ruleset"), ("iptables", "-S", "OUTPUT")),
    ),
    "cut": (
        "a firewall on the way that looks at the names in TLS (SNI) cuts the connection, or the other side does: ask"
        " who runs the"
        " firewall to let these names through; the same from a machine in another network tells which of the two it is",
        (),
    ),
    "tls": (
        "either something on the way intercepts TLS (then its certificate authority must be installed here), or the list of "
        "certificate authorities is missing or old: install the package ca-certificates again",
        (),
    ),
    "clock": ("set the clock first: certificates look out of date when it is wrong", ()),
    "not-tls": ("something on the way answers in its place: ask the provider for a connection without it", ()),
    "captive": ("something on the way answers in its place: log in to the network, or ask the provider", ()),
    "proxy": ("look at the proxy, which must let it pass and answer in time, or leave it out with no_proxy", (("env",),)),
    "not-permitted": ("run cowgate as root", (("sudo", "cowgate", "check"),)),
}

OTHERWISE = ("find out what answers there", ())


def not_asked(reason: str, phase: Phase) -> Verdict:
    """Where nothing was sent: deferred, but never in the install phase, which is the last one."""
    if phase is Phase.INSTALL:
        return unknown(reason, remedy="allow the probes (policy: probes.enabled), or waive this row with a reason")
    return deferred(reason)


class Result(NamedTuple):
    """One probe of a row: how many of its hosts work, and the answers of those that do not."""

    target: Target
    working: tuple[str, ...]
    broken: tuple["Answer", ...]

    @property
    def ok(self) -> bool:
        return len(self.working) >= self.target.need

    @property
    def untested(self) -> Optional[str]:
        """Why this probe could not be made here at all, or None."""
        reasons = [answer.detail for answer in self.broken if answer.outcome in ("untested", "not-permitted")]
        return reasons[0] if reasons and len(reasons) == len(self.broken) and not self.ok else None


def results(probes: "Probes", policy: "Policy", row: str) -> tuple[Result, ...]:
    """The row's probes that the policy lets out, in the order of the table."""
    return tuple(_result(target, probes.answers) for target in wanted(policy).values() if target.row == row and target.hosts)


def _result(target: Target, answers: Iterable["Answer"]) -> Result:
    mine = [answer for answer in answers if answer.target == target.id]
    working, broken = [], []
    for entry in target.hosts:
        name = split(entry, target.port)[0]
        of_host = [answer for answer in mine if answer.host == name]
        if any(answer.outcome in WORKS for answer in of_host):
            working.append(name)
        elif of_host:
            broken.append(worst(of_host))
    return Result(target, tuple(working), tuple(broken))


class Reach(NamedTuple):
    """One probe over one family: of its hosts that have such an address, those that work, and the answers of the others."""

    target: Target
    family: str
    working: tuple[str, ...]
    broken: tuple["Answer", ...]

    @property
    def hosts(self) -> int:
        return len(self.working) + len(self.broken)

    def enough(self, need: int) -> bool:
        """Whether `need` hosts work, or all of them where fewer have an address of this family."""
        return len(self.working) >= min(need, self.hosts)


def reach(probes: "Probes", target: Target, family: str) -> Reach:
    """What one probe saw over one family. A host without an address of it says nothing about the way."""
    mine = [a for a in probes.answers if a.target == target.id and a.family == family and a.outcome not in ABSENT]
    working = tuple(dict.fromkeys(answer.host for answer in mine if answer.outcome in WORKS))
    return Reach(target, family, working, tuple(answer for answer in mine if answer.host not in working))


def worst(answers: Iterable["Answer"]) -> "Answer":
    """Of one host's answers over both families, the one that tells most: not the one that only says `no address`."""
    return sorted(answers, key=lambda answer: (answer.outcome in ABSENT, answer.family != "ipv4"))[0]


def say(*answers: "Answer") -> str:
    """One clause for answers that mean the same: which hosts, over which family, what happened."""
    first = answers[0]
    over = f" over {FAMILY[first.family]}" if first.family in FAMILY and first.outcome not in ("no-dns", "no-name") else ""
    names = ", ".join(dict.fromkeys(_where(answer) for answer in answers))
    at = f" ({first.address})" if len(answers) == 1 and first.address and first.address != first.host else ""
    return f"{names}{over}{at}: {_MEANS.get(first.outcome, first.detail or first.outcome)}{_more(first)}"


def say_all(answers: Iterable["Answer"]) -> str:
    """All of them, those that mean the same in one clause."""
    groups: dict[tuple[str, str, str], list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.outcome, answer.family, _more(answer)), []).append(answer)
    return "; ".join(say(*group) for group in groups.values())


def _where(answer: "Answer") -> str:
    host = f"[{answer.host}]" if ":" in answer.host and answer.port else answer.host
    return f"{host}:{answer.port}" if answer.port else host


_MEANS = {
    "refused": "refused",
    "route": "barred by a route of this machine's own",
    "stalled": "the connection stands, and then stalls",
    "cut": "the TLS handshake is cut off",
    "status": "answers, but not as it should",
    "timeout": "no answer",
    "unreachable": "unreachable",
    "prohibited": "stopped by this machine's own firewall",
    "no-name": "the name does not exist",
    "no-address": "has no address of this family",
    "no-dns": "the machine's resolvers gave no answer for the name",
    "tls": "its certificate cannot be trusted",
    "clock": "its certificate is not valid at the time that this machine's clock shows",
    "not-tls": "answers something else than TLS",
    "captive": "somebody else answers",
    "proxy": "the proxy did not let it through",
    "hijacked": "somebody else answers",
    "unsigned": "no signatures",
}


def _more(answer: "Answer") -> str:
    if answer.outcome == "stalled":
        return f" at the {answer.stage}: {_size_of(answer)}"
    told = answer.outcome in _MEANS and answer.outcome not in ("timeout", "refused", "no-name", "no-address", "no-dns")
    return f" ({answer.detail})" if told and answer.detail else ""


def _size_of(answer: "Answer") -> str:
    """How much came before a stall, alike for hosts that differ by a few bytes."""
    if answer.received:
        return "a part of the answer came, and then no more"
    return "only the end of an answer came, without its beginning" if answer.gaps else "nothing came"


def remedy_for(facts: "Facts", answers: Iterable["Answer"]) -> tuple[str, "Commands"]:
    """What to do about the most telling of these failures."""
    outcomes = [answer.outcome for answer in answers]
    most = (outcome for outcome in REMEDIES if outcomes and outcomes.count(outcome) * 2 >= len(outcomes))
    outcome = next(most, outcomes[0] if outcomes else "")
    text, commands = REMEDIES.get(outcome, OTHERWISE)
    return text, set_clock(facts) if outcome == "clock" else commands


def broken_family(probes: "Probes") -> str:
    """`ipv6` (or `ipv4`) where the machine has a default route of it and, of three hosts or more, none takes a TCP connection
    over it although others do; else "". Answers to echo requests or over UDP do not make up for that: mail is TCP."""
    tcp = {target.id for target in TARGETS if target.kind in TCP}
    asked = [a for a in probes.answers if a.target in tcp and a.outcome not in (*ABSENT, "no-dns", "untested")]
    for family in ("ipv6", "ipv4"):
        seen = [answer for answer in asked if answer.family == family]
        hosts = {answer.host for answer in seen}
        others = any(a.outcome == "ok" and a.family not in (family, "proxy") for a in asked)
        if len(hosts) >= 3 and others and not any(answer.outcome == "ok" for answer in seen):
            return family
    return ""
