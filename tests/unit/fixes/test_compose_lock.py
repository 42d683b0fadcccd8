"""When the compose lock is put in and taken out."""

from __future__ import annotations

from typing import Any

import pytest

from cowgate.changes.values import EditFile
from cowgate.formats.editors import edit
from cowgate.requirements.mailcow.lock import LOCK_MESSAGE, lock_changes, unlock_changes
from tests.unit.conftest import healthy_facts, policy_of

PATH = "/opt/mailcow-dockerized/docker-compose.override.yml"
LOCK = [EditFile(PATH, "compose.lock", {"message": LOCK_MESSAGE})]
UNLOCK = [EditFile(PATH, "compose.unlock")]
PROJECT = {"name": "mailcowdockerized", "containers": 0, "volumes": 0}


def mailcow(**value: Any) -> dict[str, Any]:
    return {"mailcow": {"value": value}}


@pytest.mark.parametrize(
    ("patch", "locks", "unlocks"),
    [
        ({}, True, False),
        (mailcow(checkout=False, present=False), False, False),
        (mailcow(conf_state="ok", conf={}), True, False),  # an unfinished install
        (mailcow(conf_state="unreadable"), True, False),
        (mailcow(override={"state": "ok"}), True, False),
        (mailcow(override={"state": "refused"}), True, False),
        (mailcow(override={"state": "broken"}), False, False),
        (mailcow(override={"state": "unreadable"}), False, False),
        (mailcow(override={"state": "ok", "locked": True}), False, True),
        (mailcow(override={"state": "broken", "locked": True}), False, True),
        (mailcow(conf_state="ok", conf={}, override={"state": "ok", "locked": True}), False, True),
        ({"docker": {"value": {"projects": [{**PROJECT, "volumes": 12}]}}}, True, False),  # left-overs, without mailcow.conf
        ({"docker": {"value": {"projects": [{**PROJECT, "containers": 1}]}}}, False, False),
        ({"docker": {"value": {"projects": [PROJECT]}}}, True, False),
        ({"docker": {"value": {"projects": [{**PROJECT, "name": "other", "volumes": 1}]}}}, True, False),
        ({"docker": {"absent": "not installed"}}, True, False),
        ({"mailcow": {"unreadable": "/opt: Permission denied"}}, False, False),
    ],
)
def test_lock_and_unlock(patch: dict[str, Any], locks: bool, unlocks: bool) -> None:
    facts = healthy_facts(patch)
    assert list(lock_changes(facts, policy_of(None))) == (LOCK if locks else [])
    assert list(unlock_changes(facts, policy_of(None))) == (UNLOCK if unlocks else [])


def test_the_sentence_names_the_report() -> None:
    text = edit("compose.lock", None, LOCK[0].args)
    assert text is not None and "/var/lib/cowgate/readiness.json" in text and "'cowgate report'" in text
    assert edit("compose.unlock", text, {}) is None


def test_a_lock_that_was_taken_out_for_a_seal_that_failed_goes_back() -> None:
    facts = healthy_facts(mailcow(override={"state": "ok", "locked": True}))
    assert list(lock_changes(facts, policy_of(None), taken_out=True)) == LOCK
