"""What becomes of rows that are not met: whose repair it is, and which of them follow from another."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cowgate.engine.evaluate import Evaluation, judge_all
from cowgate.engine.outlook import Outlook, outlook
from cowgate.engine.results import Failure
from cowgate.model import Phase
from cowgate.report.document import NO_MACHINE, build
from cowgate.report.render import closing, text
from cowgate.report.render.closing import Situation
from cowgate.report.render.sorting import headline, sort
from cowgate.requirements.catalogue import all_requirements
from cowgate.requirements.consequences import BEHIND
from tests.unit.conftest import healthy_facts, policy_of

CASES = Path(__file__).parent / "requirements" / "cases"
NO_DOCKER: dict[str, Any] = json.loads((CASES / "docker.engine" / "fail-none.json").read_text())["facts"]
CONTAINER: dict[str, Any] = json.loads((CASES / "platform.virtualization" / "fail-lxc.json").read_text())["facts"]
HOST = {"hostname": "mail.cowgate-test.net"}


def evaluated(patch: dict[str, Any], phase: Phase = Phase.AUDIT, policy: dict[str, Any] | None = None) -> Evaluation:
    rows = judge_all(all_requirements(), healthy_facts(patch), policy_of({**HOST, **(policy or {})}), phase, date(2026, 1, 1))
    return Evaluation(healthy_facts(patch), rows, phase, 0.0, 0.0)


def told(patch: dict[str, Any], *, policy: dict[str, Any] | None = None, **options: Any) -> dict[str, Outlook]:
    return dict(outlook(evaluated(patch, policy=policy), policy_of({**HOST, **(policy or {})}), **options))


def test_a_healthy_machine_has_none() -> None:
    assert told({}) == {}


def test_a_missing_docker_is_one_problem() -> None:
    found = told(NO_DOCKER)
    assert found["docker.engine"] == Outlook("run")
    assert len(found) > 2
    assert {one.cause for id, one in found.items() if id != "docker.engine"} == {"docker.engine"}


def test_what_nobody_installs_is_the_readers() -> None:
    found = told(NO_DOCKER, policy={"docker": "none"})
    assert found["docker.engine"].repair == "manual"
    assert told(NO_DOCKER, policy={"fix": {"enabled": False}})["docker.engine"].repair == "manual"


def test_a_fix_that_failed_or_did_not_help_is_told_as_such() -> None:
    assert told(NO_DOCKER, failures=[Failure("docker.engine", "", "no")])["docker.engine"].repair == "failed"
    assert told(NO_DOCKER, tried=["docker.engine"])["docker.engine"].repair == "failed"
    assert told(NO_DOCKER, tried=["resources.swap"])["docker.engine"].repair == "run"


def test_what_blocks_is_never_behind_what_does_not() -> None:
    policy = {"docker": "auto"}
    evaluation = evaluated({**NO_DOCKER, "mailcow": {"unreadable": "no"}}, policy=policy)
    blocking = {row.requirement.id for row in evaluation.rows if row.blocks}
    for id, one in outlook(evaluation, policy_of({**HOST, **(policy or {})})).items():
        assert not one.cause or id not in blocking or one.cause in blocking


def test_rows_that_want_the_very_same_done_are_one_problem() -> None:
    found = told(json.loads((CASES / "egress.icmp" / "unknown-not-root.json").read_text())["facts"])
    assert found["egress.dns"].cause == "egress.registries" and found["egress.registries"].cause == ""


def test_what_may_be_behind_a_row_is_a_row_and_makes_no_circle() -> None:
    known = {row.id for row in all_requirements()}
    assert set(BEHIND) | {id for ids in BEHIND.values() for id in ids} <= known

    def chain(id: str, seen: tuple[str, ...]) -> None:
        assert id not in seen, seen
        for cause in BEHIND.get(id, ()):
            chain(cause, (*seen, id))

    for id in BEHIND:
        chain(id, ())


# -- the three lines of the end --------------------------------------------------------------------------------------


def report(patch: dict[str, Any], phase: Phase = Phase.AUDIT, **options: Any) -> dict[str, Any]:
    evaluation = evaluated(patch, phase)
    return build(evaluation, policy_of(HOST), NO_MACHINE, outlook=outlook(evaluation, policy_of(HOST)), **options)


def test_the_summary_says_whose_the_repairs_are_and_counts_every_block() -> None:
    """Seven rows of a missing Docker are one cause: somebody who reads "7 are yours" would look for seven."""
    document = report({**NO_DOCKER, **CONTAINER})
    verdict, tally, following = closing.lines(document, Situation(sudo=True))
    rows = sort(document)
    assert verdict == headline(document)
    assert tally == "2 causes: 1 will be repaired by `sudo cowgate run`, 1 is yours to do"
    follow = closing.folded(rows)
    assert len(rows.blocked) + len(rows.warned) == 2 + sum(map(len, follow.values())) > 4
    assert following == "Next: sudo cowgate run"


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (Situation(), "Next, to open the gate: cowgate run"),
        (Situation(sudo=True), "Next, to open the gate: sudo cowgate run"),
        (Situation(command="hooks/cowgate.sh"), "Next, to open the gate: hooks/cowgate.sh run"),
        (Situation(part=True), "Next: cowgate check"),
        (Situation(replay=True), "Next, on that machine: cowgate run"),
        (Situation(run=True, open=True), "Next: cowgate install"),
        (Situation(run=True, open=True, mailcow=True), "Next: cowgate status"),
        (Situation(run=True, open=False), "Next, to open the gate: cowgate run"),
    ],
)
def test_after_a_machine_on_which_nothing_blocks(situation: Situation, expected: str) -> None:
    assert closing.next_step(report({}), situation) == expected


def test_after_a_run_that_left_something_to_do_it_is_run_again() -> None:
    document = report(CONTAINER, Phase.BOOT)
    assert closing.next_step(document, Situation(run=True)) == "Next, when that is done: cowgate run"
    assert closing.next_step(document, Situation()) == "Next, when that is done: cowgate check"


def test_after_a_build_it_is_sealed() -> None:
    document = report({}, Phase.BUILD)
    assert closing.next_step(document, Situation(root="/tree")) == "Next: cowgate seal --root /tree"


def test_a_block_names_its_consequences_and_who_repairs_it() -> None:
    shown = text.render(report(NO_DOCKER))
    assert shown.count("\n  docker.") == 1, shown
    assert "\n    Mended with it: docker.compose, docker.daemon_json" in shown
    assert "\n    Repair: `cowgate run` does it\n" in shown and "Yours to do" not in shown
    verbose = text.render(report(NO_DOCKER), detail=text.Detail.VERBOSE)
    assert "Mended with it: docker.compose: " in verbose and "By hand: " in verbose
    quiet = text.render(report(NO_DOCKER), detail=text.Detail.QUIET)
    assert quiet.count("\n") == 3 and shown.endswith(quiet)


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_words_are_whole_at_every_width(width: int) -> None:
    document = report({**NO_DOCKER, "probes": {"offline": "not asked: --offline"}, "records": {"offline": "not asked"}})
    narrow, wide = text.render(document, width=width), text.render(document, width=100)
    assert narrow.split() == wide.split()
    for line in narrow.splitlines():
        assert len(line) <= max(width, 40) or len(line.split()) == 1 or line.startswith(("      ", "    more: ")), line
