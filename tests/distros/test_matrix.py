"""Every cell of the matrix is booted, and a plain machine of it gets the verdicts that cells.py names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

import pytest

from tests.distros.cells import CELLS, Cell
from tests.lab.alpine import AlpineContainer
from tests.lab.container import Container

ROOT = Path(__file__).resolve().parents[2]
COWGATE = "/srv/hooks/cowgate.sh"
Machine = Union[Container, AlpineContainer]


@contextmanager
def booted(cell: Cell) -> Iterator[Machine]:
    copy = {str(ROOT / "hooks"): "/srv/hooks"}
    if cell.tree == "alpine":
        with AlpineContainer(copy=copy, files=cell.files, disguise=True) as machine:
            machine.wait()
            yield machine
    else:
        # docker: the disguise needs the rights, though there is none.
        seeded = {"user_data": None} if cell.files else {}  # with files of its own it needs no cloud-init
        with Container(cell.tree, copy=copy, files=cell.files, disguise=True, docker=True, **seeded) as container:
            container.wait()
            yield container


def looked_up(document: dict[str, Any], path: str) -> object:
    source, _, name = path.partition(".")
    found: object = document[source]["value"][name]
    return found


def kept_for_long(cell: Cell) -> pytest.MarkDecorator:
    """sid changes every day: what it breaks is not ours, so no change of ours may fail for it."""
    return pytest.mark.skipif(cell.tree == "sid" and "COWGATE_LONG" not in os.environ, reason="tests/run --long has sid")


@pytest.mark.parametrize("cell", [pytest.param(cell, marks=kept_for_long(cell), id=cell.name) for cell in CELLS])
def test_cell(cell: Cell, record_property: Any) -> None:
    with booted(cell) as machine:
        checked = machine.run([COWGATE, "check", "--offline", "--format", "json"], timeout=200)
        assert checked.returncode == 3, checked.stdout[-2000:] + checked.stderr
        rows = {row["id"]: row for row in json.loads(checked.stdout)["rows"]}
        facts = json.loads(machine.run([COWGATE, "facts", "--offline"], timeout=200).stdout)
        answers = {command: machine.run(command.split()).stdout for command in cell.asked}
    assert answers == dict(cell.asked), "the machine is not what the cell's name says"
    got = {id: rows[id]["status"] for id in cell.expected}
    for id, expected in cell.expected.items():
        record_property("matrix", f"{cell.name} | {id} | {expected} | {got[id]}")
    assert got == dict(cell.expected), {id: rows[id]["diagnosis"] or rows[id]["observed"] for id in got}
    for id, words in cell.said.items():
        assert words in json.dumps(rows[id]), rows[id]
    assert {path: looked_up(facts, path) for path in cell.facts} == dict(cell.facts)
