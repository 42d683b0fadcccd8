"""Whatever a machine calls its units, interfaces, containers, users, mount points and files: nothing of it is obeyed.

One name after the other of every case is made hostile: a terminal would act on it, and so would a shell.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from cowgate.engine.evaluate import judge_all
from cowgate.errors import UsageError
from cowgate.model import Phase
from cowgate.report.document import row_of
from cowgate.report.render.remedy import shell_lines
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import healthy_facts, policy_of
from tests.unit.requirements.test_cases import FILES

SHELL = "$(touch /tmp/x);`id`'\"&"
HOSTILE = f"x\x1b[2J\u202e\nREADY {SHELL}\r\x9b"
OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u202e]")


def leaves(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of each text in a document, and of each key: those of a mapping may be names as well."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, (*path, key))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from leaves(value, (*path, number))
    elif isinstance(document, str):
        yield path


def spoiled(document: Any, path: tuple[Any, ...]) -> Any:
    document = copy.deepcopy(document)
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] += HOSTILE
    return document


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


ROWS = sorted({path.parent.name for path in FILES})


@pytest.mark.parametrize("id", ROWS)
def test_no_name_of_a_machine_is_obeyed(id: str) -> None:
    (requirement,) = (one for one in all_requirements() if one.id == id)
    seen: set[tuple[Any, ...]] = set()
    for file in (file for file in FILES if file.parent.name == id):
        case = json.loads(file.read_text())
        for path in leaves(case.get("facts") or {}):
            kind = (file.stem.split("-")[0], *("#" if isinstance(name, int) else name for name in path))
            if kind in seen:
                continue
            try:
                facts = healthy_facts(spoiled(case["facts"], path))
            except UsageError:
                continue  # an address, a number, one of a few words: it can hold no name
            seen.add(kind)
            phase = Phase(case.get("phase", "boot"))
            (row,) = judge_all([requirement], facts, policy_of(case.get("policy")), phase, date(2026, 1, 1))
            check(row_of(row), (file.name, path))


def check(entry: dict[str, Any], where: object) -> None:
    remedy = entry["remedy"]
    lines = [entry["evidence"].pop(source) for source in list(entry["evidence"])]  # what is quoted of a file has lines
    assert not [text for text in texts(entry) if OBEYED.search(text)], where
    assert not [text for text in lines if OBEYED.search(text.replace("\n", ""))], where
    if remedy is None:
        return
    for line, command in zip(shell_lines(remedy), remedy["commands"]):
        assert shlex.split(line) == command, where
        assert not (command[:2] == ["sh", "-c"] and SHELL in command[2]), ("a shell would run it", where)
    for told in re.findall(r"`[^`]*`", remedy["text"].replace(shlex.quote(SHELL), "")):
        assert "touch" not in told or told.startswith("`install_dir: "), ("to be pasted, and not quoted", where)
