"""A network that comes up late turns fail into pass within the policy's patience; waiting costs no more than that."""

from __future__ import annotations

from datetime import date

import pytest

from cowgate.engine import settle as module
from cowgate.engine.evaluate import Evaluation, judge_all
from cowgate.facts.collection import Facts
from cowgate.facts.fact import Fact
from cowgate.machine.host import Host
from cowgate.model import Phase
from cowgate.policy.model import Policy
from cowgate.policy.model import Probes as ProbesPolicy
from cowgate.probes.values import Probes
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import healthy_facts, policy_of

ROWS = tuple(r for r in all_requirements() if r.id in ("egress.icmp", "egress.smtp", "system.umask"))


class Clockwork(Host):
    """A machine whose clock moves only when somebody sleeps."""

    def __init__(self, since_boot: float = 20.0) -> None:
        super().__init__()
        self.now_is, self.since_boot, self.slept = 1000.0, since_boot, [0.0][:0]

    def monotonic(self) -> float:
        return self.now_is

    def boottime(self) -> float:
        return self.since_boot + self.now_is - 1000.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_is += seconds


def evaluation(answers: bool, policy: Policy, *, asked: bool = True) -> Evaluation:
    facts = healthy_facts()
    probes = facts.probes.value
    probes = probes if answers else probes._replace(answers=(), asked=asked)
    facts = facts.updated(Facts({"probes": Fact.of(probes)}))
    return Evaluation(facts, judge_all(ROWS, facts, policy, Phase.BOOT, date(2026, 1, 1)), Phase.BOOT, 0.0, 1.0)


def network_comes_up(monkeypatch: pytest.MonkeyPatch, host: Clockwork, at: float) -> list[float]:
    """Probes are answered from `at` seconds on. Gives the moments at which they were asked."""
    asked: list[float] = []

    def collect(_host: Host, _policy: Policy, names: list[str]) -> Facts:
        assert names == ["probes", "records"]
        asked.append(host.now_is - 1000.0)
        up = host.now_is - 1000.0 >= at
        whole = healthy_facts().probes.value
        found: Probes = whole if up else whole._replace(answers=())
        return Facts({"probes": Fact.of(found)})

    monkeypatch.setattr(module, "collect", collect)
    return asked


def test_a_late_network_turns_fail_into_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    host, policy, said = Clockwork(), policy_of({}), [""][:0]
    network_comes_up(monkeypatch, host, at=12.0)
    before = evaluation(False, policy)
    assert [row.requirement.id for row in before.rows if row.blocks] == ["egress.icmp"]
    after = module.settle(host, policy, before, ROWS, said.append, chance=lambda: 0.0)
    assert not any(row.blocks for row in after.rows)
    assert host.slept == [1.0, 2.0, 4.0, 8.0]
    assert said[0] == "the network is not all there yet (egress.icmp); asking again for 60 s more"
    assert after.facts.system.state == "value"


def test_pauses_differ_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    host, policy = Clockwork(), policy_of({})
    network_comes_up(monkeypatch, host, at=3.0)
    module.settle(host, policy, evaluation(False, policy), ROWS, print, chance=lambda: 0.5)
    assert host.slept == [1.25, 2.5]


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    host, said = Clockwork(), [""][:0]
    policy = policy_of({})._replace(probes=ProbesPolicy(patience=10))
    network_comes_up(monkeypatch, host, at=1e9)
    after = module.settle(host, policy, evaluation(False, policy), ROWS, said.append, chance=lambda: 0.0)
    assert [row.requirement.id for row in after.rows if row.blocks] == ["egress.icmp"]
    assert sum(host.slept) == 10.0
    assert said[-1] == "no longer waiting for the network: egress.icmp did not come to pass"


@pytest.mark.parametrize(
    ("host", "answers", "asked"),
    [(Clockwork(), True, True), (Clockwork(since_boot=3600.0), False, True), (Clockwork(), False, False)],
    ids=["nothing to wait for", "booted long ago", "probes off"],
)
def test_does_not_wait_without_reason(host: Clockwork, answers: bool, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of({})
    monkeypatch.setattr(module, "collect", lambda *_: pytest.fail("asked again"))
    before = evaluation(answers, policy, asked=asked)
    assert module.settle(host, policy, before, ROWS, print) is before
    assert host.slept == []


def test_advised_rows_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    host, policy = Clockwork(), policy_of({})
    monkeypatch.setattr(module, "collect", lambda *_: pytest.fail("asked again"))
    before = evaluation(True, policy)
    mail = before.facts.probes.value._replace(answers=tuple(a for a in before.facts.probes.value.answers if a.port != 25))
    facts = before.facts.updated(Facts({"probes": Fact.of(mail)}))
    blocked = before._replace(facts=facts, rows=judge_all(ROWS, facts, policy, Phase.BOOT, date(2026, 1, 1)))
    assert [row.verdict.status.value for row in blocked.rows if row.requirement.id == "egress.smtp"] == ["warn"]
    module.settle(host, policy, blocked, ROWS, print)
    assert host.slept == []
