"""remedies.txt names each branch of each row's remedies, and what shows that it does what it says: a new branch needs a line.

The branches are those that the cases reach; tests/lab/remedies.py makes their names.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from cowgate.engine.evaluate import judge_all
from cowgate.model import Phase, Remedy
from cowgate.requirements.catalogue import all_requirements
from tests.boot import test_disk_remedies, test_kernel_remedies
from tests.distros import test_alpine_remedies, test_el_remedies
from tests.lab.remedies import Fault, branch
from tests.scenarios import test_docker_remedies, test_probe_remedies, test_remedies
from tests.unit.conftest import healthy_facts, policy_of

ROOT = Path(__file__).resolve().parents[3]
LIST = Path(__file__).with_name("remedies.txt")
CASES = Path(__file__).parent / "cases"
# What plants faults out of a table of its own.
GROUPS = {
    module: [fault for group in module.GROUPS.values() for faults in group.rounds for fault in faults]
    for module in (test_remedies, test_docker_remedies, test_disk_remedies, test_kernel_remedies)
}
TABLES = {module: module.PLANTED for module in (test_alpine_remedies, test_el_remedies, test_probe_remedies)}
PLANTED: dict[ModuleType, Sequence[Fault]] = {**GROUPS, **TABLES}
KINDS = ("rebooted", "executed", "edit", "person", "open")
# What only shows something, or opens a file for a person.
SHOWS = (
    *(
        "cat",
        "chronyc",
        "df",
        "dmesg",
        "docker compose config",
        "docker plugin",
        "docker ps",
        "docker volume",
        "dockerd",
        "du",
    ),
    *("cowgate check", "cowgate dns-plan", "cowgate firewall-plan", "cowgate seal", "du", "env", "findmnt", "getent", "grep"),
    *("ip", "ip route", "ip route show", "ip show", "iptables", "journalctl", "ls", "lsblk", "nano", "nft", "ping", "ss"),
    *("systemctl cat", "systemctl status", "tail", "xfs_info"),
)


class Line(NamedTuple):
    """`shown` is a test for `rebooted` and `executed`, else the reason."""

    branch: str
    kind: str
    shown: str


def lines() -> list[Line]:
    texts = [text for text in LIST.read_text().splitlines() if text and not text.startswith("#")]
    return [Line(*(part.strip() for part in text.split("|"))) for text in texts]


@cache
def reached() -> dict[str, list[Remedy]]:
    """The branches that the cases reach, with the remedies."""
    found: dict[str, list[Remedy]] = defaultdict(list)
    for row in all_requirements():
        for path in sorted((CASES / row.id).glob("*.json")):
            case = json.loads(path.read_text())
            facts, policy = healthy_facts(case.get("facts")), policy_of(case.get("policy"))
            (judged,) = judge_all([row], facts, policy, Phase(case.get("phase", "boot")), date(2026, 1, 1))
            remedy = judged.verdict.remedy
            if remedy is not None:
                found[branch(row.id, remedy.text, remedy.commands)].append(remedy)
    return dict(found)


def test_each_branch_has_a_line() -> None:
    listed = [line.branch for line in lines()]
    assert sorted(listed) == sorted(set(listed)), "twice"
    assert sorted(set(reached()) - set(listed)) == [], "branches without a line in remedies.txt"
    assert sorted(set(listed) - set(reached())) == [], "lines of branches that no case reaches"


def test_the_tests_that_are_named_are_there() -> None:
    for line in lines():
        assert line.kind in KINDS and line.shown, line
        if line.kind in ("rebooted", "executed"):
            file, _, name = line.shown.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text(), line


def test_what_is_planted_is_listed_as_such() -> None:
    rebooted = {line.branch: line.shown for line in lines() if line.kind == "rebooted"}
    for module, faults in PLANTED.items():
        file = str(Path(module.__file__ or "").relative_to(ROOT))
        planted = {fault.branch for fault in faults}
        assert planted <= set(rebooted)
        assert {name for name, shown in rebooted.items() if shown.startswith(f"{file}::")} <= planted


def test_where_a_person_must_act_nothing_is_done() -> None:
    """The commands only show something, and the text does not begin with what cowgate does."""
    for line in lines():
        does = line.branch.partition(" ")[2]
        if line.kind == "person":
            assert does.startswith("- ") or set(does.split(", ")) <= set(SHOWS), line
            texts = [remedy.text.removeprefix("run ") for remedy in reached()[line.branch]]
            assert not [text for text in texts if text.startswith("`cowgate run`")], line
