"""Judging: one row for each requirement, whatever goes wrong in it, and what a waiver changes."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from cowgate.engine import evaluate
from cowgate.engine.evaluate import is_ready, judge_all
from cowgate.facts.collection import Facts
from cowgate.facts.fact import Fact
from cowgate.machine.host import Host
from cowgate.model import Level, Phase, Requirement, Status, Verdict, failed, passed, unknown
from cowgate.policy.model import Policy, Waiver
from cowgate.requirements.catalogue import all_requirements

TODAY = date(2026, 11, 22)


def judged(verdict: Verdict) -> Requirement:
    return Requirement("a.b", "a row", Level.REQUIRED, (Phase.BOOT, Phase.INSTALL), ("memory",), lambda *_: verdict)


BAD = judged(failed("too little", remedy="buy more"))
VALUE: Fact[Any] = Fact.of(SimpleNamespace())


def status(requirement: Requirement, fact: Fact[Any] = VALUE, phase: Phase = Phase.BOOT, **policy: Any) -> Verdict:
    (row,) = judge_all([requirement], Facts({"memory": fact}), Policy(**policy), phase, TODAY)
    return row.verdict


def test_row_that_belongs_to_another_phase_is_deferred_or_left_out() -> None:
    assert status(BAD, phase=Phase.BUILD).diagnosis == "decided at first boot"
    only_install = BAD._replace(phases=(Phase.INSTALL,))
    assert status(only_install).diagnosis == "decided right before the install"
    assert status(BAD, phase=Phase.AUDIT).status is Status.FAIL
    for phase, phases in ((Phase.EARLY, (Phase.BOOT,)), (Phase.BOOT, (Phase.BUILD,))):
        rows = judge_all([BAD._replace(phases=phases)], Facts({}), Policy(), phase, TODAY)
        assert rows == ()


@pytest.mark.parametrize(
    ("fact", "wanted", "said"),
    [
        (Fact.offline("no system runs"), Status.DEFERRED, "no system runs"),
        (Fact.unreadable("permission denied"), Status.UNKNOWN, "memory could not be read: permission denied"),
        (Fact.absent(), Status.FAIL, "too little"),
    ],
)
def test_what_can_not_be_asked_is_not_guessed(fact: Fact[Any], wanted: Status, said: str) -> None:
    verdict = status(BAD, fact)
    assert verdict.status is wanted
    assert said in verdict.diagnosis


def test_bug_in_a_row_is_unknown_and_blocks() -> None:
    broken = BAD._replace(judge=lambda *_: passed(str(1 // 0)))
    rows = judge_all([broken, BAD], Facts({"memory": VALUE}), Policy(), Phase.BOOT, TODAY)
    assert [row.verdict.status for row in rows] == [Status.UNKNOWN, Status.FAIL]
    assert "ZeroDivisionError" in rows[0].verdict.diagnosis
    assert rows[0].blocks and not is_ready(rows)


def test_advised_row_warns_unless_the_policy_raises_it() -> None:
    advised = BAD._replace(level=Level.ADVISED)
    assert status(advised).status is Status.WARN
    assert status(advised, require=("a.b",)).status is Status.FAIL


@pytest.mark.parametrize(
    ("waiver", "wanted"),
    [
        (Waiver("a.b", "known", None), Status.WAIVED),
        (Waiver("a.b", "known", TODAY), Status.WAIVED),
        (Waiver("a.b", "known", date(2026, 11, 21)), Status.FAIL),
        (Waiver("a.b", "", None), Status.FAIL),
        (Waiver("c.d", "known", None), Status.FAIL),
    ],
)
def test_waiver_counts_with_a_reason_and_until_its_date(waiver: Waiver, wanted: Status) -> None:
    verdict = status(BAD, waivers=(waiver,))
    assert verdict.status is wanted
    if wanted is Status.WAIVED:
        assert "known" in verdict.diagnosis and "too little" in verdict.diagnosis
        assert ("until 2026-11-22" in verdict.diagnosis) == (waiver.until is not None)


def test_what_passes_or_may_not_be_waived_stays() -> None:
    waivers = (Waiver("a.b", "known", None),)
    assert status(judged(passed("fine")), waivers=waivers).status is Status.PASS
    assert status(BAD._replace(waivable=False), waivers=waivers).status is Status.FAIL
    assert status(judged(unknown("no idea")), waivers=waivers).status is Status.WAIVED


def test_early_neither_psutil_nor_netifaces_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library is all there is then: neither the facts that rows need nor what they want may load them."""
    asked: list[str] = []

    def collect(_host: Host, _policy: Policy, names: list[str], **_: object) -> Facts:
        asked.extend(names)
        return Facts({})

    monkeypatch.setattr(evaluate, "collect", collect)
    evaluate.check(Host(), Policy(), Phase.EARLY, all_requirements(), now=0.0)
    assert "ifupdown" in asked
    assert not {"interfaces", "sockets", "disks", "memory", "cpu"} & set(asked)


def test_a_missing_module_has_a_remedy_of_its_own() -> None:
    told = status(BAD, Fact.unreadable("no psutil: `hooks/cowgate.sh --setup` gets it"))
    assert told.status is Status.UNKNOWN and told.remedy is not None and "--setup" in told.remedy.text
