"""Every file cases/<id>/<status>-<name>.json is a test: facts (a patch on the healthy machine), policy, phase, diagnosis."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from cowgate.engine.evaluate import judge_all
from cowgate.model import Phase
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import healthy_facts, policy_of

CASES = Path(__file__).parent / "cases"
FILES = sorted(CASES.glob("*/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_case(path: Path) -> None:
    case = json.loads(path.read_text())
    assert set(case) <= {"facts", "policy", "phase", "diagnosis", "remedy", "why"}, "unknown key in the case file"
    wanted = path.stem.split("-")[0]
    (requirement,) = [r for r in all_requirements() if r.id == path.parent.name]
    (row,) = judge_all(
        [requirement],
        healthy_facts(case.get("facts")),
        policy_of(case.get("policy")),
        Phase(case.get("phase", "boot")),
        date(2026, 1, 1),
    )
    verdict = row.verdict
    assert verdict.status.value == wanted, verdict
    assert case.get("diagnosis", "") in verdict.diagnosis
    if wanted in ("fail", "warn"):
        assert "diagnosis" in case, "a failing case names what the diagnosis must contain"
        assert verdict.diagnosis and verdict.remedy is not None and verdict.remedy.text
    if "remedy" in case:
        assert verdict.remedy is not None
        told = verdict.remedy.text + " " + " ".join(" ".join(c) for c in verdict.remedy.commands)
        assert case["remedy"] in told
