"""`cowgate run` around the engine: what is published and sealed, and that whatever goes wrong leaves the gate shut.

The engine itself is replaced by its result (its own tests are elsewhere); files, lock, journal, report, seal and gate are
real, in a tree that is the root directory of the process.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
from typing import Any

import pytest

from cowgate import cli, schema
from cowgate.commands import run as run_command
from cowgate.commands import undo as undo_command
from cowgate.engine import results
from cowgate.engine.evaluate import Evaluation
from cowgate.engine.results import RunResult, UndoResult
from cowgate.facts.collection import Facts
from cowgate.facts.fact import Fact
from cowgate.facts.mailcow import Mailcow, Override
from cowgate.gate import contract, rules
from cowgate.machine import files as host_module
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.model import Level, Phase, Remedy, Status, Verdict
from cowgate.policy import file
from cowgate.report import document, publication
from cowgate.report.document import UNVALIDATED, ReportError
from cowgate.requirements.fix import Fix
from tests.unit.gate.tree import POLICY, POLICY_FILE, REPORT, SEAL, STATE, Tree, rows

SCHEMAS = {name: schema.schema(name) for name in ("readiness", "policy")}
OVERRIDE = "opt/mailcow-dockerized/docker-compose.override.yml"


class Machine:
    """The tree with a cowgate in it: run() is the command line, `rows` and `facts` what the engine will find."""

    def __init__(self, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree = tree
        self.rows = tuple(row for row in rows() if row.verdict.status is not Status.WAIVED)
        self.facts = Facts({})
        self.result: dict[str, Any] = {}
        (tree.root / "etc/cowgate/policy.d/10-zone.yaml").unlink()
        for path in (REPORT, SEAL):
            (tree.root / path).unlink()
        monkeypatch.setattr(file, "schema", SCHEMAS.__getitem__)
        monkeypatch.setattr(document, "schema", SCHEMAS.__getitem__)
        monkeypatch.setattr(run_command.engine, "run", self._engine)
        monkeypatch.setattr("sys.stdin", io.StringIO())
        file.validate(file.parse("warm", POLICY))

    def _engine(self, host: Host, _policy: Any, phase: Phase, *_: Any, dry_run: bool = False, **__: Any) -> RunResult:
        assert dry_run or self.result.get("partial") or not (self.tree.root / SEAL).exists() or not rules.decide().open
        now = time.time()
        conf = contract.conf_of("/opt/mailcow-dockerized/mailcow.conf")
        return RunResult(Evaluation(self.facts, self.rows, phase, now - 1, now, host.live, conf), **self.result)

    def run(self, *arguments: str) -> int:
        with self.tree.inside():
            return cli.main(["run", "--yes", *arguments])

    def open(self) -> bool:
        with self.tree.inside():
            return rules.decide().open

    def block(self) -> None:
        self.rows = tuple(row._replace(level=Level.REQUIRED) for row in self.rows)


@pytest.fixture
def machine(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tree, monkeypatch)


def published(machine: Machine) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((machine.tree.root / REPORT).read_bytes())
    return document


# -- the way it should go --------------------------------------------------------------------------------------------


def test_ready_is_published_sealed_and_open(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run() == 0
    out, err = capsys.readouterr()
    assert out.startswith("READY for mailcow")
    assert err == "cowgate: the gate is open: the machine is ready\n"
    assert machine.open()
    document = published(machine)
    assert document["complete"] and document["ready"] and document["phase"] == "boot"
    assert document["policy"]["files"] == [f"/{POLICY_FILE}"]
    for path in (REPORT, SEAL):
        status = (machine.tree.root / path).stat()
        assert (status.st_uid, status.st_mode & 0o7777) == (0, 0o644)


def test_blocked_is_published_and_shut(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run() == 0
    machine.block()
    assert machine.run() == 3
    assert not machine.open()
    assert not (machine.tree.root / SEAL).exists()
    assert published(machine)["ready"] is False
    assert "the gate is shut: the machine is not ready: platform.kernel" in capsys.readouterr().err


def test_quiet_keeps_the_verdict_alone(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three lines, and nothing of how far it is; but a gate that is not where the verdict lets one expect it is told."""
    monkeypatch.setattr(sys, "argv", ["cowgate"])  # the next step names it: pytest's own path may fill a line by itself
    assert machine.run("-q") == 0
    out, err = capsys.readouterr()
    assert out.startswith("READY for mailcow") and (len(out.splitlines()), err) == (3, "")
    with machine.tree.inside():
        assert cli.main(["report", "-q"]) == 0
        assert capsys.readouterr() == (out, "")
    (machine.tree.root / POLICY_FILE).write_bytes(b"hostname: mail.cowgate-test.org\n")
    with machine.tree.inside():
        assert cli.main(["report", "-q"]) == 3
    out, err = capsys.readouterr()
    assert out.startswith("READY for mailcow") and err.startswith("cowgate: the gate is shut: ")
    machine.block()
    assert machine.run("-q") == 3
    out, err = capsys.readouterr()
    assert out.startswith("NOT READY: ") and "platform.kernel" not in out and err == ""


def test_strict_warnings(machine: Machine) -> None:
    assert machine.run("--strict") == 4
    assert machine.open()


def test_the_install_phase_opens_too(machine: Machine) -> None:
    machine.rows = machine.rows[:1]
    assert machine.run("--phase", "install") == 0
    assert machine.open()


def test_a_build_is_published_and_never_sealed(machine: Machine) -> None:
    assert machine.run("--phase", "build") == 0, "nothing blocks the image"
    assert published(machine)["ready"] is False, "ready is said of a machine"
    assert not (machine.tree.root / SEAL).exists()


def test_json_goes_to_standard_output_alone(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run("--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == published(machine)


def test_early_is_a_line_per_verdict_and_publishes_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.tree.root / POLICY_FILE).write_bytes(b"hostnam: x\n")
    machine.rows = machine.rows[:1]
    assert machine.run("--phase", "early") == 0
    out, err = capsys.readouterr()
    assert out == "cowgate: platform.architecture: pass: enough\n"
    assert err.startswith("cowgate: the policy is not used: /etc/cowgate/policy.yaml, line 1")
    assert not (machine.tree.root / REPORT).exists()


def test_failures_are_in_the_notes_and_contradict_no_row(machine: Machine) -> None:
    """Beside a row that says fixed stands no "failed": and what a row that is not met says already is not said twice."""
    failures = [results.Failure(id, "/x", f"no {id}", "free some") for id in ("resources.swap", "platform.os", "time.offset")]
    told = machine.rows[0]._replace(requirement=machine.rows[0].requirement._replace(id="resources.inotify"))
    said = Verdict(Status.WARN, diagnosis="too few. The repair was tried: no room", remedy=Remedy("mend it"))
    machine.rows = (*machine.rows, told._replace(verdict=said, level=Level.ADVISED))
    failures.append(results.Failure("resources.inotify", "/x", "no room"))
    machine.result = {"failures": tuple(failures), "notices": ("so",)}
    assert machine.run() == 0
    assert published(machine)["notes"] == [
        "resources.swap is met now, although a step of its fix failed: no resources.swap (free some)",
        "the fix platform.os failed: no platform.os (free some)",
        "the fix time.offset failed: no time.offset (free some)",
        "so",
    ]


# -- what must not touch the published report ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option", ["--only=network.mtu", "--skip=network.mtu", "--policy=/other.yaml", "--offline", "--root=/sub"]
)
def test_less_than_a_complete_look_is_not_published(machine: Machine, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run() == 0
    before = {path: (machine.tree.root / path).read_bytes() for path in (REPORT, SEAL)}
    machine.tree.write("other.yaml", b"provider: x\n")
    (machine.tree.root / "sub").mkdir()
    machine.result = {"partial": True}
    machine.rows = machine.rows[:1]
    machine_run = machine.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "result", {})
        patch.setattr(
            run_command.engine,
            "run",
            lambda _h, _p, phase, *_, **__: RunResult(Evaluation(Facts({}), machine.rows, phase, 1.0, 2.0)),
        )
        assert machine_run(option) == 0
    told = capsys.readouterr().out
    assert "Check only: nothing was saved" in told and "Nothing blocks: 1 of " in told
    assert {path: (machine.tree.root / path).read_bytes() for path in before} == before
    assert machine.open()


def test_a_dry_run_leaves_everything(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run() == 0
    before = {path: (machine.tree.root / path).stat() for path in (REPORT, SEAL)}
    capsys.readouterr()
    assert machine.run("--dry-run") == 0
    told = capsys.readouterr().out
    assert told.startswith("Nothing would be changed.\n") and "\nNext: " in told
    assert {path: (machine.tree.root / path).stat() for path in before} == before
    assert machine.open()


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_policy_that_others_may_write_is_not_sealed(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.tree.root / POLICY_FILE).chmod(0o666)
    assert machine.run() == 3
    assert not (machine.tree.root / SEAL).exists()
    assert "/etc/cowgate/policy.yaml can be written by others than root" in capsys.readouterr().err


def test_a_refused_report_leaves_none_and_the_gate_shut(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.run() == 0

    def refuse(_: object) -> None:
        raise ReportError("the report does not fit its schema: rows")

    monkeypatch.setattr(publication, "validate", refuse)
    assert machine.run() == 1
    assert not (machine.tree.root / REPORT).exists() and not (machine.tree.root / SEAL).exists()
    assert not machine.open()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("name", [contract.REPORT, contract.SEAL])
def test_a_disk_that_refuses_leaves_the_gate_shut(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, number: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert machine.run() == 0
    write = Host.write_atomic

    def refusing(self: Host, path: str, *args: Any, **kwargs: Any) -> None:
        if path.endswith(name):
            raise OSError(number, os.strerror(number), path)
        write(self, path, *args, **kwargs)

    monkeypatch.setattr(Host, "write_atomic", refusing)
    capsys.readouterr()
    assert machine.run() == 1
    told = capsys.readouterr().err
    assert os.strerror(number) in told and "Traceback" not in told
    assert not (machine.tree.root / SEAL).exists()
    assert not machine.open()


def test_without_jsonschema_it_is_written_and_shut(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> None:
        raise ImportError("jsonschema")

    monkeypatch.setattr(publication, "validate", missing)
    assert machine.run() == 3
    assert published(machine)["notes"] == [UNVALIDATED]
    assert not machine.open()


def test_an_engine_that_breaks_leaves_the_gate_shut(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.run() == 0

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(run_command.engine, "run", broken)
    assert machine.run() == 1
    assert not machine.open()


def test_a_broken_policy_is_an_error_and_shuts(machine: Machine) -> None:
    assert machine.run() == 0
    (machine.tree.root / POLICY_FILE).write_bytes(POLICY + b"frob: x\n")
    assert machine.run() == 2
    assert not machine.open()


def test_two_at_once(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run() == 0
    with machine.tree.inside(), StateDir("/" + STATE).lock(Host()):
        assert cli.main(["run", "--yes"]) == 75
        assert cli.main(["undo"]) == 75
    assert "holds the lock" in capsys.readouterr().err
    assert machine.open(), "the second run touches nothing"


def test_a_state_directory_that_others_may_write(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.tree.root / "var/lib").chmod(0o777)
    assert machine.run() == 1
    assert "cannot be trusted" in capsys.readouterr().err
    assert not machine.open()


# -- the lock in the override ----------------------------------------------------------------------------------------


def checkout(machine: Machine, **options: Any) -> None:
    (machine.tree.root / OVERRIDE).parent.mkdir(parents=True, exist_ok=True)
    there = (machine.tree.root / OVERRIDE).exists()
    override = Override(state="ok" if there else "absent", locked=there)
    found = Mailcow("/opt/mailcow-dockerized", present=True, checkout=True, override=override, **options)
    machine.facts = Facts({"mailcow": Fact.of(found)})


def test_the_compose_lock_follows_the_gate(machine: Machine) -> None:
    override = machine.tree.root / OVERRIDE
    ready = machine.rows
    checkout(machine)
    machine.block()
    assert machine.run() == 3
    assert 'x-cowgate: "${COWGATE_READY:?' in override.read_text()
    checkout(machine)
    machine.rows = ready
    assert machine.run() == 0
    assert not override.exists()
    assert machine.open(), "taking the lock out does not shut the gate"


def test_no_lock_on_an_installed_mailcow_or_against_the_policy(machine: Machine) -> None:
    machine.block()
    checkout(machine, conf_state="ok", conf={})
    assert machine.run() == 3
    assert not (machine.tree.root / OVERRIDE).exists()
    checkout(machine)
    (machine.tree.root / POLICY_FILE).write_bytes(b"fix: {enabled: false}\n")
    assert machine.run() == 3
    assert not (machine.tree.root / OVERRIDE).exists()


def test_a_lock_that_can_not_be_placed_stops_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    checkout(machine)
    machine.block()
    (machine.tree.root / "opt").chmod(0o777)
    assert machine.run() == 3
    assert "the lock for Compose: " in capsys.readouterr().err
    assert published(machine)["ready"] is False


def test_a_seal_that_the_disk_refuses_leaves_the_sign_on_the_door(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = machine.rows
    checkout(machine)
    machine.block()
    assert machine.run() == 3
    checkout(machine)
    machine.rows = ready
    write, sync = Host.write_atomic, host_module._sync_directory

    def failing_late(self: Host, path: str, *args: Any, **kwargs: Any) -> None:
        """The file is renamed already when its directory cannot be brought to the disk."""

        def broken(real: str) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO), real)

        monkeypatch.setattr(host_module, "_sync_directory", broken if path.endswith(contract.SEAL) else sync)
        try:
            write(self, path, *args, **kwargs)
        finally:
            monkeypatch.setattr(host_module, "_sync_directory", sync)

    monkeypatch.setattr(Host, "write_atomic", failing_late)
    capsys.readouterr()
    assert machine.run() == 1
    told = capsys.readouterr()
    assert "READY" in told.out and os.strerror(errno.EIO) in told.err
    assert not machine.open()
    assert 'x-cowgate: "${COWGATE_READY:?' in (machine.tree.root / OVERRIDE).read_text()


# -- undo ------------------------------------------------------------------------------------------------------------


def test_undo_tells_what_it_did_and_shuts(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert machine.run() == 0
    checkout(machine)
    machine.block()
    assert machine.run() == 3
    capsys.readouterr()
    with machine.tree.inside():
        assert cli.main(["undo", "--list"]) == 0
        assert capsys.readouterr().out.startswith("run 1  ")
        assert cli.main(["undo", "9"]) == 2
        assert cli.main(["undo"]) == 0
    assert "1 change reverted, 0 failed; the gate is shut" in capsys.readouterr().err
    assert not (machine.tree.root / OVERRIDE).exists()
    failed = UndoResult((), (results.Failure("f", "/etc/x", "was changed", "do it by hand"),), ("a notice",))
    monkeypatch.setattr(undo_command.engine, "undo", lambda *_, **__: failed)
    with machine.tree.inside():
        assert cli.main(["undo"]) == 1
    told = capsys.readouterr().err
    assert "cowgate: a notice\ncowgate: not reverted: /etc/x: was changed (do it by hand)\n" in told


# -- asking ----------------------------------------------------------------------------------------------------------


class Terminal:
    """Standard input of a person who answers."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self.answer


@pytest.mark.parametrize(("answer", "made"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_on_a_terminal_it_shows_the_plan_and_asks(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, made: bool
) -> None:
    fix = Fix("resources.swap", "make a swap file", lambda *_: iter(()), ("resources.swap",), (Phase.BOOT,))
    machine.result = {"planned": (results.PlannedFix(fix, (), ("create /swapfile\n1 GiB",)),)}
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with machine.tree.inside():
        assert cli.main(["run"]) == 0
    told = capsys.readouterr().err
    assert "resources.swap: make a swap file\n    create /swapfile\n    1 GiB\n" in told
    assert told.count("[y/N]") == 1
    assert ("nothing was changed" in told) is not made
    assert (machine.tree.root / REPORT).exists() is made


def test_on_a_terminal_it_does_not_ask_when_nothing_is_to_do(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(""))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with machine.tree.inside():
        assert cli.main(["run"]) == 0
    assert "[y/N]" not in capsys.readouterr().err
    assert machine.open()
