"""`cowgate diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cowgate import cli
from cowgate.model import Measured, Status
from tests.unit.report.reports import report, row


def written(path: Path, document: dict[str, Any]) -> str:
    path.write_text(json.dumps(document))
    return str(path)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """A machine before and after: one row got worse, one better, one warns now, one is new, one is gone, a number changed."""
    free = (Measured("free", 5e9, "bytes"),), (Measured("free", 4e9, "bytes"),)
    before = report(
        row(Status.PASS, id="a.worse"),
        row(Status.FAIL, id="a.better", diagnosis="bad"),
        row(Status.PASS, id="a.warns"),
        row(Status.PASS, id="a.gone"),
        row(Status.PASS, id="a.same", measured=free[0]),
    )
    after = report(
        row(Status.FAIL, id="a.worse", diagnosis="port 25 is held by exim4"),
        row(Status.FIXED, id="a.better", observed="good"),
        row(Status.WARN, id="a.warns", diagnosis="odd"),
        row(Status.PASS, id="a.new"),
        row(Status.PASS, id="a.same", measured=free[1]),
    )
    return written(tmp_path / "a.json", before), written(tmp_path / "b.json", after)


def test_what_got_worse_is_named_and_blocks(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", *pair]) == 3
    assert capsys.readouterr().out.splitlines() == [
        "NOT READY: 1 requirement blocks -> NOT READY: 1 requirement blocks, 1 warning",
        "a.worse: pass -> fail: port 25 is held by exim4",
        "a.better: fail -> fixed: good",
        "a.warns: pass -> warn: odd",
        "a.new: not there -> pass",
        "a.gone: pass -> not there",
        "a.same.free: 5,000,000,000 -> 4,000,000,000 bytes",
    ]
    assert cli.main(["diff", *pair, "--format", "json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["blocks"], found["warns"]) == (["a.worse"], ["a.warns"])
    assert found["rows"][0] == {"id": "a.worse", "before": "pass", "after": "fail", "said": "port 25 is held by exim4"}


def test_what_got_better_does_not_block(pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", pair[0], pair[0]]) == 0
    assert capsys.readouterr().out == "No difference.\n"
    fine = written(tmp_path / "c.json", report(row(Status.PASS, id="a.better"), row(Status.WARN, id="a.warns", diagnosis="w")))
    assert cli.main(["diff", pair[0], fine]) == 0
    assert cli.main(["diff", pair[0], fine, "--strict"]) == 4


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 1}', '{"schema_version": 1, "phase": "boot", "rows": [5]}'])
def test_what_is_no_report(content: str, pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text(content)
    assert cli.main(["diff", pair[0], str(tmp_path / "x.json")]) == 2
    told = capsys.readouterr().err
    assert "internal error" not in told and "hint:" in told


def test_a_file_that_is_not_there(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", pair[0], "/nowhere.json"]) == 2
    assert "/nowhere.json does not exist" in capsys.readouterr().err
