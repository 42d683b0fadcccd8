"""The set that belongs to every requirement: the catalogue, its fixtures, its documentation, its remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from cowgate.engine.evaluate import judge_all
from cowgate.facts.collection import SOURCES
from cowgate.model import Level, Phase, Requirement, Status
from cowgate.policy.model import NEVER_WAIVABLE
from cowgate.report import catalogue
from cowgate.requirements.catalogue import all_fixes, all_requirements
from tests.unit.conftest import healthy_facts, policy_of

CASES = Path(__file__).parent / "requirements" / "cases"

# The catalogue, as it was agreed: id, level, and when it is decided (B image build, N early, F first boot, I install).
CATALOGUE = """
platform.architecture R BF
platform.virtualization R BF
platform.nas R BF
platform.os A BF
platform.kernel A F
platform.cpu_features A F
platform.page_size A F
resources.cpu R F
resources.memory R F
resources.swap R F
resources.disk R BF
resources.inotify A F
resources.overcommit A F
storage.filesystem R F
system.tools R BF
system.umask A FI
system.hostname R FI
system.timezone R FI
system.apparmor A F
system.selinux A F
time.synchronization R FI
time.servers R BF
time.offset A FI
network.ipv4 R F
network.ipv6_alias R NF
network.ipv6 A F
network.mtu R FI
network.subnets R FI
network.firewall R F
network.iptables A F
network.forwarding R FI
network.managers A F
ports.available R FI
services.conflicting R BF
docker.engine R BFI
docker.flavour R BF
docker.compose R BFI
docker.configuration R BFI
docker.daemon_json R FI
docker.rules R FI
docker.open_relay R FI
docker.storage A F
egress.registries R FI
egress.dns R FI
egress.icmp R FI
egress.smtp A F
egress.services A F
egress.asn A F
dns.address A FI
dns.reverse A FI
dns.mail A FI
mailcow.conf R I
mailcow.override R I
mailcow.leftovers R FI
mailcow.tree R I
image.hygiene R B
image.hook R BF
"""

# Rows that are agreed and not yet built. Must end empty.
LATER: set[str] = set()

LETTERS = {Phase.BUILD: "B", Phase.EARLY: "N", Phase.BOOT: "F", Phase.INSTALL: "I"}
ROWS = all_requirements()


def agreed() -> dict[str, tuple[str, str]]:
    return {id: (level, when) for id, level, when in (line.split() for line in CATALOGUE.split("\n") if line)}


def test_the_list_is_the_catalogue() -> None:
    assert {row.id for row in ROWS} == set(agreed()) - LATER
    assert set(agreed()) >= LATER
    assert len({row.id for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_level_and_phases_are_those_of_the_catalogue(row: Requirement) -> None:
    level, when = agreed()[row.id]
    assert row.level is (Level.REQUIRED if level == "R" else Level.ADVISED)
    assert "".join(letter for phase, letter in LETTERS.items() if phase in row.phases) == when


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_there_is_a_case_that_passes_and_one_that_does_not(row: Requirement) -> None:
    statuses = {path.stem.partition("-")[0] for path in (CASES / row.id).glob("*.json")}
    assert "pass" in statuses
    assert ("fail" if row.level is Level.REQUIRED else "warn") in statuses


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_what_does_not_pass_has_a_diagnosis_and_a_remedy(row: Requirement) -> None:
    for path in sorted((CASES / row.id).glob("*.json")):
        case = json.loads(path.read_text())
        judged = judge_all(
            [row],
            healthy_facts(case.get("facts")),
            policy_of(case.get("policy")),
            Phase(case.get("phase", "boot")),
            date(2026, 1, 1),
        )
        for found in judged:
            verdict = found.verdict
            if verdict.status in (Status.FAIL, Status.WARN):
                assert verdict.diagnosis and verdict.remedy and verdict.remedy.text, path.name
                assert all(command and all(isinstance(part, str) for part in command) for command in verdict.remedy.commands)
            if verdict.status in (Status.UNKNOWN, Status.DEFERRED):
                assert verdict.diagnosis, path.name
            if verdict.status is Status.PASS:
                assert verdict.observed, path.name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_there_is_a_section_that_explains_it(row: Requirement) -> None:
    section = catalogue.section(row.id)
    assert section is not None, f"there is no {row.docs}"
    assert section.startswith(f"# {row.id}\n")
    assert len(section.split()) >= 30
    assert (Path(__file__).parents[2] / row.docs).is_file()


def test_no_section_explains_what_does_not_exist() -> None:
    known = {row.id for row in ROWS}
    pages = Path(__file__).parents[2] / "hooks/cowgate/requirements"
    for path in pages.glob("*/*.md"):
        if path.name not in ("index.md", "index.de.md"):
            assert f"{path.parent.name}.{path.name.partition('.')[0]}" in known, path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_titles_needs_and_fixes_exist(row: Requirement) -> None:
    assert 10 <= len(row.title) <= 80 and not row.title.endswith(".")
    assert set(row.needs) | set(row.wants) <= set(SOURCES)
    assert row.fix is None or row.fix in {fix.id for fix in all_fixes()}
    assert row.waivable == (row.id not in NEVER_WAIVABLE)


def test_every_fix_repairs_rows_that_name_one() -> None:
    known = {row.id: row for row in ROWS}
    for fix in all_fixes():
        assert fix.title
        assert set(fix.repairs) <= set(known)
        assert any(known[id].fix == fix.id for id in fix.repairs), fix.id


def test_every_case_belongs_to_a_row() -> None:
    assert {path.name for path in CASES.iterdir()} <= {row.id for row in ROWS}


def test_an_empty_set_of_facts_gives_no_pass() -> None:
    """What nobody looked at is never taken for good."""
    from cowgate.facts.collection import Facts

    for row in judge_all(ROWS, Facts({}), policy_of(None), Phase.INSTALL, date(2026, 1, 1)):
        assert row.verdict.status in (Status.UNKNOWN, Status.DEFERRED), row.requirement.id


def test_the_order_is_the_catalogues_whichever_domain_was_imported_first() -> None:
    script = "import cowgate.requirements.mailcow.override, cowgate.requirements.docker.source\n"
    script += (
        "from cowgate.requirements.catalogue import all_requirements\nfrom cowgate.requirements.catalogue import all_fixes\n"
    )
    script += "print([r.id for r in all_requirements()], [f.id for f in all_fixes()])"
    plain = script.partition("\n")[2]
    printed = [
        subprocess.run(
            [sys.executable, "-c", text],
            cwd=Path(__file__).parents[2] / "hooks",
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for text in (script, plain)
    ]
    assert printed[0] == printed[1]
