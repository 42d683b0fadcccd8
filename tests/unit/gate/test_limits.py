"""Each limit of the gate has a case on each side, and each word of its answer is read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cowgate.gate import contract, evidence
from cowgate.gate.command import main
from tests.unit.gate.tree import BOOTTIME, HONEST, REPORT, STATE, WALL, Tree, whole

DAYS_30 = 30 * 24 * 3600.0  # the longest age that a policy may ask for


def test_a_file_may_have_just_under_8_mib(tmp_path: Path) -> None:
    read = evidence.Evidence()
    read.links, read.files = {}, {}
    large = tmp_path / "large"
    large.write_bytes(b" " * (8 * 1024 * 1024 - 1))
    assert len(evidence._read(str(large), read)) == 8 * 1024 * 1024 - 1
    with large.open("ab") as file:
        file.write(b" ")
    with pytest.raises(contract.Shut, match="is larger than 8388608 bytes") as shut:
        evidence._read(str(large), read)
    assert str(shut.value) == shut.value.sentence


@pytest.mark.parametrize(("age", "opens"), [(DAYS_30 - 1, True), (DAYS_30, True), (DAYS_30 + 1, False)])
def test_the_longest_age_that_counts(tree: Tree, age: float, opens: bool) -> None:
    tree.publish(whole({**HONEST, "validity": {**HONEST["validity"], "until": BOOTTIME + age, "waivers_until": None}}))
    assert tree.decide().open is opens


@pytest.mark.parametrize(("back", "opens"), [(299.5, True), (300.0, True), (300.5, False)])
def test_how_far_a_clock_may_be_put_back(tree: Tree, back: float, opens: bool) -> None:
    assert tree.decide(wall=WALL - back).open is opens


def test_what_an_error_says_of_a_file(tree: Tree) -> None:
    """The system names the file that cannot be opened, and none where reading fails."""
    report = tree.root / REPORT
    report.unlink()
    report.mkdir()
    assert tree.decide().sentence == f"/{STATE}: Is a directory"
    tree.reset()
    (tree.root / STATE).rename(tree.root / "away")
    (tree.root / STATE).write_bytes(b"")
    assert tree.decide().sentence == f"/{REPORT}: Not a directory"


def test_digests_are_made_over_one_form() -> None:
    """They are in reports that are out there: neither the form nor the seal's version changes by accident."""
    assert contract.canonical({"b": 1, "a": [2, "é"]}) == '{"a":[2,"\\u00e9"],"b":1}'
    seal = contract.seal_of(HONEST, "0" * 64, {})
    assert seal["version"] == 2


def test_a_mailcow_conf_is_there_or_not(tmp_path: Path) -> None:
    assert contract.conf_of(str(tmp_path / "none")) == {"path": str(tmp_path / "none"), "there": False}
    assert contract.conf_of(str(tmp_path))["there"] is True


# -- the answer ------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr(evidence.time, "time", lambda: WALL + 10)
    monkeypatch.setattr(evidence.time, "clock_gettime", lambda _clock: BOOTTIME + 10)
    return tree


def answer(tree: Tree, *arguments: str) -> int:
    with tree.inside():
        return main(arguments)


@pytest.mark.parametrize("asked", ["whole", "alone"])
def test_the_launcher_gets_a_word_and_an_end(
    fresh: Tree, asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COWGATE_ANSWER", asked)
    assert answer(fresh) == 0
    assert capsys.readouterr().out == "open: the machine is ready\ncowgate gate: open end"
    monkeypatch.setenv("COWGATE_ANSWER", asked)
    assert answer(fresh, "--help") == 0
    assert capsys.readouterr().out.endswith("\ncowgate gate: help end")
    (fresh.root / REPORT).unlink()
    monkeypatch.setenv("COWGATE_ANSWER", asked)
    assert answer(fresh) == 3
    assert capsys.readouterr().out == "cowgate gate: shut end"


def test_asked_alone_it_does_not_become_the_command(
    fresh: Tree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COWGATE_ANSWER", "alone")
    assert answer(fresh, "--", sys.executable, "-c", "raise SystemExit(41)") == 0
    assert capsys.readouterr().out == "cowgate gate: open end"


def test_nobody_else_gets_an_end(fresh: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(fresh, "--format", "text") == 0
    assert capsys.readouterr().out == "open: the machine is ready\n"
    assert answer(fresh, "--format", "json") == 0
    told = capsys.readouterr().out
    assert told.endswith("}\n") and json.loads(told)["open"] is True


@pytest.mark.parametrize("arguments", [("--form", "json"), ("--state", "/x"), ("--hel",)])
def test_options_are_not_cut_short(arguments: tuple[str, ...]) -> None:
    assert main(arguments) == 2
