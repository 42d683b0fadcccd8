"""Every file cases/<fix id>/<name>.json is a test: facts (a patch on the healthy machine), policy, phase, changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cowgate import codec
from cowgate.model import Phase
from cowgate.requirements.catalogue import all_fixes
from tests.unit.conftest import healthy_facts, policy_of

CASES = Path(__file__).parent / "cases"
FILES = sorted(CASES.glob("*/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_case(path: Path) -> None:
    case = json.loads(path.read_text())
    assert set(case) <= {"facts", "policy", "phase", "changes", "why"}, "unknown key in the case file"
    (fix,) = [f for f in all_fixes() if f.id == path.parent.name]
    facts = healthy_facts(case.get("facts"))
    planned = fix.plan(facts, policy_of(case.get("policy")), Phase(case.get("phase", "boot")))
    assert [{type(change).__name__: codec.encode(change)} for change in planned] == case["changes"]
