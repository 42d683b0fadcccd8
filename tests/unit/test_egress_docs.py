"""The documentation lists everything that leaves the machine, and nothing else."""

from __future__ import annotations

import json
import re

from cowgate.probes.targets import SETTINGS, TARGETS, known_ids
from cowgate.report import catalogue
from tests.unit.conftest import HEALTHY

SCHEMA = HEALTHY.parents[3] / "hooks" / "cowgate" / "schemas" / "policy.schema.json"


def rows() -> dict[str, list[str]]:
    page = catalogue.section("egress")
    assert page is not None
    found = re.findall(r"^\| `([^`]+)` \|(.*)\|$", page, re.MULTILINE)
    return {id: [cell.strip() for cell in rest.split("|")] for id, rest in found}


def test_every_target_is_listed_and_nothing_else() -> None:
    assert list(rows()) == [target.id for target in TARGETS]


def test_each_line_says_what_the_table_of_probes_says() -> None:
    for target in TARGETS:
        row, hosts, port, level, why = rows()[target.id]
        assert row == target.row
        assert why == target.why
        assert level.startswith("required" if target.required else "advised")
        assert bool(target.when) == ("only" in level)
        assert str(target.port) in port if target.port else port == "ICMP echo"
        if target.hosts:
            assert hosts == ", ".join(target.hosts)
        else:
            assert any(word in hosts for word in ("policy", "resolv.conf", "daemon.json"))


def test_settings_are_explained() -> None:
    page = catalogue.section("egress") or ""
    for key, what in SETTINGS.items():
        assert f"* `{key}`: {what}." in page


def test_the_policy_schema_knows_the_same_names() -> None:
    probes = json.loads(SCHEMA.read_text())["properties"]["probes"]["properties"]
    assert probes["drop"]["items"]["enum"] == [target.id for target in TARGETS]
    assert probes["hosts"]["propertyNames"]["enum"] == list(known_ids())
