"""The cause behind failed probes: one line for each, judged from facts alone. tests/scenarios has the worlds they"
" come from."""

from __future__ import annotations

from datetime import date
from typing import Any, Optional

import pytest

from cowgate.engine.evaluate import judge_all
from cowgate.facts.collection import Facts
from cowgate.facts.fact import Fact
from cowgate.facts.interfaces import Route
from cowgate.model import Phase, Verdict
from cowgate.probes.text import SMALL_ONLY
from cowgate.probes.values import Answer, ClockSample, PathMtu, Probes, Signatures
from cowgate.requirements.catalogue import all_requirements
from cowgate.requirements.egress.causes import cause_of, dead_cause, is_dead
from tests.unit.conftest import healthy_facts, policy_of

GOOD = healthy_facts(None)


def judged(row: str, facts: Facts, policy: Optional[dict[str, Any]] = None) -> Verdict:
    (requirement,) = [r for r in all_requirements() if r.id == row]
    (found,) = judge_all([requirement], facts, policy_of(policy), Phase.BOOT, date(2026, 1, 1))
    return found.verdict


def with_answers(change: dict[tuple[str, str], dict[str, Any]], **more: Any) -> Facts:
    """Healthy facts; `change` maps (target, family) to what its answers are instead ("" as family: all)."""
    probes = GOOD.probes.value
    answers = []
    for answer in probes.answers:
        changed = change.get((answer.target, answer.family)) or change.get((answer.target, ""))
        answers.append(answer._replace(status=None, detail="", **changed) if changed and answer.outcome == "ok" else answer)
    return GOOD.updated(Facts({"probes": Fact.of(probes._replace(answers=tuple(answers), **more))}))


def told(verdict: Verdict) -> str:
    assert verdict.remedy is not None
    return " ".join([verdict.diagnosis, verdict.remedy.text, *(" ".join(words) for words in verdict.remedy.commands)])


REGISTRIES = (
    "registry.github",
    "registry.ghcr",
    "registry.ghcr-blobs",
    "registry.hub",
    "registry.hub-auth",
    "registry.hub-cdn",
)


def registries(**changed: Any) -> dict[tuple[str, str], dict[str, Any]]:
    return {(target, ""): changed for target in REGISTRIES}


def narrow(mtu: int, count: int = 2) -> tuple[PathMtu, ...]:
    return tuple(PathMtu(f"192.0.2.{n}", "ipv4", mtu, 1500, False, True) for n in range(count))


STALLED = registries(outcome="stalled", stage="TLS handshake")


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (registries(outcome="tls", origin="line 7 of /etc/hosts"), {}, "sed -i 7s/^/# / /etc/hosts"),
        (registries(outcome="tls", origin="a search domain of /etc/resolv.conf"), {}, "take the search domain out"),
        (STALLED, {"path_mtu": narrow(1400)}, "ip link set dev eth0 mtu 1400"),
        (STALLED, {"path_mtu": ()}, "Something takes the connections"),
        (
            registries(outcome="stalled", stage="TLS handshake", gaps=2, packet=0),
            {"path_mtu": ()},
            "Only the ends of answers came",
        ),
        (registries(outcome="stalled", stage="TLS handshake", family="proxy"), {"path_mtu": ()}, "look at the proxy"),
        (registries(outcome="cut", stage="TLS handshake"), {}, "looks at the names"),
        (registries(outcome="route"), {}, "take the route out"),
    ],
)
def test_registries(change: dict[tuple[str, str], dict[str, Any]], more: dict[str, Any], words: str) -> None:
    verdict = judged("egress.registries", with_answers(change, **more))
    assert verdict.status.value == "fail"
    assert words in told(verdict)


@pytest.mark.parametrize(("status", "words"), [(503, "ask again later"), (403, "it refuses requests from this address")])
def test_a_host_that_answers_by_itself(status: int, words: str) -> None:
    facts = with_answers({})
    probes = facts.probes.value
    answers = tuple(
        a._replace(outcome="status", status=status, detail=f"HTTP status {status}") if a.target == "registry.ghcr" else a
        for a in probes.answers
    )
    verdict = judged("egress.registries", facts.updated(Facts({"probes": Fact.of(probes._replace(answers=answers))})))
    assert words in told(verdict) and "log in" not in told(verdict)


@pytest.mark.parametrize("kind", ["prohibit", "unreachable", "blackhole"])
def test_the_route_that_bars_the_way_is_named(kind: str) -> None:
    net = GOOD.interfaces.value._replace(routes=(*GOOD.interfaces.value.routes, Route(4, "198.51.100.0/24", type=kind)))
    facts = GOOD.updated(Facts({"interfaces": Fact.of(net)}))
    answer = Answer("registry.github", "github.com", 443, "ipv4", "route", "198.51.100.7", kind)
    cause = cause_of(facts, [answer])
    assert cause.commands == (("ip", "-4", "route", "del", kind, "198.51.100.0/24"),)
    assert kind in cause.clause
    everything = net._replace(routes=(Route(4, "default", type=kind),))
    assert cause_of(GOOD.updated(Facts({"interfaces": Fact.of(everything)})), [answer]).commands[0][-1] == "default"


def silent_ipv4(*gateways: PathMtu) -> Probes:
    answers = tuple(Answer("icmp.echo", f"192.0.2.{n}", 0, "ipv4", "timeout") for n in range(3))
    return Probes(True, families=("ipv4",), answers=answers, path_mtu=gateways)


def test_a_family_over_which_nothing_answers() -> None:
    gone = silent_ipv4(PathMtu("203.0.113.1", "ipv4", None, gateway=True))
    facts = GOOD.updated(Facts({"probes": Fact.of(gone)}))
    assert is_dead(gone, "ipv4")
    assert "not even the gateway 203.0.113.1" in cause_of(facts, gone.answers).text
    beyond = silent_ipv4(PathMtu("203.0.113.1", "ipv4", 1500, gateway=True))
    assert "though the gateway does" in dead_cause(GOOD.updated(Facts({"probes": Fact.of(beyond)})), "ipv4").text
    assert not is_dead(gone._replace(path_mtu=(PathMtu("1.1.1.1", "ipv4", 1500),)), "ipv4")
    assert not is_dead(gone._replace(answers=gone.answers[:2]), "ipv4")


def test_two_default_routes_and_the_preferred_one_dead() -> None:
    routes = (Route(4, "default", "eth0", "203.0.113.77", 10), Route(4, "default", "eth0", "203.0.113.1", 100))
    net = GOOD.interfaces.value._replace(routes=routes)
    facts = GOOD.updated(Facts({"probes": Fact.of(silent_ipv4()), "interfaces": Fact.of(net)}))
    cause = cause_of(facts, facts.probes.value.answers)
    assert cause.commands == (
        (*["ip", "-4", "route", "del", "default", "via", "203.0.113.77", "dev", "eth0", "metric", "10"],),
    )
    assert "There are 2 default routes over IPv4" in cause.text


def test_nothing_to_ask_by() -> None:
    assert "default route" in cause_of(GOOD, []).remedy


# -- mail -----------------------------------------------------------------------------------------------------------------

EXCHANGERS = "smtp.exchangers"


@pytest.mark.parametrize(
    ("family", "changed", "status", "words"),
    [
        ("ipv4", {"outcome": "timeout"}, "warn", "most recipients have IPv4 only"),
        ("ipv6", {"outcome": "timeout"}, "warn", "greet over IPv4, but not over IPv6"),
        ("", {"outcome": "stalled", "stage": "SMTP greeting"}, "warn", "Port 25 is not closed"),
        ("", {"outcome": "prohibited"}, "warn", "this machine's own firewall"),
        ("", {"outcome": "route"}, "warn", "take the route out"),
    ],
)
def test_mail(family: str, changed: dict[str, Any], status: str, words: str) -> None:
    verdict = judged("egress.smtp", with_answers({(EXCHANGERS, family): changed}))
    assert verdict.status.value == status
    assert words in told(verdict)


@pytest.mark.parametrize(("code", "words"), [(421, "put this machine off for now"), (554, "refuse this machine's address")])
def test_greetings_that_refuse(code: int, words: str) -> None:
    probes = GOOD.probes.value
    answers = tuple(
        a._replace(outcome="answer", status=code, detail=f"greeting '{code} no' instead of 220")
        if a.target == EXCHANGERS
        else a
        for a in probes.answers
    )
    verdict = judged("egress.smtp", GOOD.updated(Facts({"probes": Fact.of(probes._replace(answers=answers))})))
    assert words in verdict.diagnosis
    assert "All of them say the same words" in verdict.diagnosis


# -- port 53 --------------------------------------------------------------------------------------------------------------

ROOTS = {("dns.root", "ipv4"): {"outcome": "timeout"}, ("dns.root-tcp", "ipv4"): {"outcome": "timeout"}}


@pytest.mark.parametrize(
    ("change", "seen", "status", "words"),
    [
        (ROOTS, Signatures(), "fail", "port 53 over IPv4 to the root servers does not work"),
        ({(k, "ipv6"): v for (k, _), v in ROOTS.items()}, Signatures(), "warn", "works over IPv4, but not over IPv6"),
        ({}, Signatures(silent="org.", untested="the servers of org. do not answer (no answer)"), "warn", "no zone below org"),
        ({}, Signatures(silent=".", untested="the servers of . do not answer (no answer)"), "unknown", "is not known"),
        ({}, Signatures(by_tcp=True), "warn", "only over TCP"),
    ],
)
def test_dns(change: dict[tuple[str, str], dict[str, Any]], seen: Signatures, status: str, words: str) -> None:
    verdict = judged("egress.dns", with_answers(change, signatures=seen))
    assert (verdict.status.value, words in told(verdict)) == (status, True), verdict


def test_only_small_answers() -> None:
    probes = GOOD.probes.value
    answers = tuple(a._replace(detail=SMALL_ONLY) if a.target == "dns.root" else a for a in probes.answers)
    verdict = judged("egress.dns", GOOD.updated(Facts({"probes": Fact.of(probes._replace(answers=answers))})))
    assert verdict.status.value == "warn" and "512 bytes" in verdict.diagnosis


# -- the path MTU ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "answers", "lowest", "hole"),
    [
        ((*narrow(1300, 1), PathMtu("9.9.9.9", "ipv4", 1500, 1500)), (), 1500, None),
        (narrow(1400, 2), (), 1400, 1400),
        (narrow(1300, 1), (), None, None),
        (narrow(1300, 1), (Answer("t", "h", 443, "ipv4", "stalled"),), 1300, 1300),
        (narrow(1000, 2), (Answer("t", "h", 443, "ipv4", "ok", packet=1500),), 1500, None),
        (narrow(1000, 2), (Answer("t", "h", 443, "ipv4", "ok", packet=1400),), None, None),
        ((PathMtu("1.1.1.1", "ipv4", 1400, 1500), PathMtu("2620:fe::fe", "ipv6", 1280, 1500)), (), 1280, None),
    ],
)
def test_path_mtu(paths: tuple[PathMtu, ...], answers: tuple[Answer, ...], lowest: Optional[int], hole: Optional[int]) -> None:
    probes = Probes(True, path_mtu=paths, answers=answers)
    assert (probes.lowest_path_mtu(), probes.black_hole("ipv4")) == (lowest, hole)


# -- the clock ------------------------------------------------------------------------------------------------------------


def clock(*offsets: tuple[str, float]) -> Facts:
    samples = tuple(ClockSample(f"{kind}{n}", kind, offset, 0.5) for n, (kind, offset) in enumerate(offsets))
    return GOOD.updated(Facts({"probes": Fact.of(GOOD.probes.value._replace(clock=samples))}))


@pytest.mark.parametrize(
    ("offsets", "status", "words"),
    [
        ((("sntp", 0.1), ("sntp", 3600.0), ("http", 0.2), ("http", -0.3)), "pass", "not believed"),
        ((("sntp", 0.1), ("sntp", 3600.0)), "unknown", "contradict each other"),
        ((("sntp", 3600.0), ("sntp", 3600.1), ("http", 3600.4)), "warn", "behind"),
        ((("http", 0.1), ("http", 0.2)), "pass", "web servers"),
    ],
)
def test_a_liar_is_outvoted(offsets: tuple[tuple[str, float], ...], status: str, words: str) -> None:
    verdict = judged("time.offset", clock(*offsets))
    assert verdict.status.value == status
    assert words in verdict.observed + verdict.diagnosis


# -- the name -------------------------------------------------------------------------------------------------------------


def test_a_private_address_is_not_the_public_one() -> None:
    records = GOOD.records.value
    inside = tuple(
        lookup._replace(values=("10.0.0.5",)) if (lookup.name, lookup.type) == (records.hostname, "A") else lookup
        for lookup in records.lookups
    )
    facts = GOOD.updated(Facts({"records": Fact.of(records._replace(lookups=inside))}))
    address, reverse = judged("dns.address", facts), judged("dns.reverse", facts)
    assert "a private address, and not the public" in address.diagnosis
    assert "(this machine's resolvers say 10.0.0.5)" in reverse.diagnosis
