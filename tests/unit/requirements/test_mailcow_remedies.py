"""Remedies that must not open what the gate keeps shut."""

from __future__ import annotations

from typing import Any

import pytest

from cowgate.requirements.mailcow.shared import recreate_commands
from tests.unit.conftest import healthy_facts

CONTAINERS = {"docker": {"value": {"projects": [{"name": "mailcowdockerized", "containers": 18, "volumes": 0}]}}}


@pytest.mark.parametrize(
    ("facts", "words"),
    [({}, ["down"]), (CONTAINERS, ["down", "-d"])],
)
def test_nothing_but_the_install_starts_mailcow_first(facts: dict[str, Any], words: list[str]) -> None:
    assert [command[-1] for command in recreate_commands(healthy_facts(facts))] == words
