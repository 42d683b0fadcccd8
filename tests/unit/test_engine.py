"""The engine: look, plan, repair in order, look again; a dry run changes nothing, a failure stops only what depends on it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cowgate.changes.journal import Journal
from cowgate.changes.values import (
    Change,
    Command,
    EditFile,
    InstallPackages,
    RemoveFile,
    RestartUnit,
    Sysctl,
    UnitState,
    WriteFile,
)
from cowgate.engine import evaluate, results
from cowgate.engine import plan as plan_module
from cowgate.engine import run as run_module
from cowgate.engine import undo as undo_module
from cowgate.errors import FixError, UsageError
from cowgate.facts.collection import Facts
from cowgate.facts.docker import Docker, Project
from cowgate.facts.fact import Fact
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.model import Level, Phase, Requirement, Status, Verdict, failed, passed, warned
from cowgate.policy.model import Policy
from cowgate.requirements.fix import Fix
from tests.unit.conftest import policy_of
from tests.unit.stage import Stage
from tests.unit.treehash import tree_listing

ALL_PHASES = (Phase.BUILD, Phase.BOOT, Phase.INSTALL)


class Machine:
    """An offline tree, and rows that are met when a file of their name holds `good`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        (root / "etc").mkdir()
        self.host = Host(str(root))
        self.state = StateDir()
        self.state.ensure(self.host)
        self.fixes: list[Fix] = []
        self.requirements: list[Requirement] = []
        self.mailcow: Fact[Any] = Fact.of(
            SimpleNamespace(installed=False, begun=False, project_name="mc", install_dir="/m", real_dir="")
        )
        self.docker: Fact[Any] = Fact.absent()
        self.said: list[str] = []
        monkeypatch.setattr(plan_module, "all_fixes", lambda: tuple(self.fixes))
        monkeypatch.setattr(run_module, "all_fixes", lambda: tuple(self.fixes))
        monkeypatch.setattr(evaluate, "collect", self._collect)

    def _collect(self, host: Host, _policy: Policy, names: list[str], **_: object) -> Facts:
        always = ("mailcow", "docker", "tools")
        assert set(always) <= set(names)
        texts = {name: host.read_or_none(f"/etc/{name}") for name in names if name not in always}
        return Facts(
            {
                "mailcow": self.mailcow,
                "docker": self.docker,
                "tools": Fact.absent(),
                **{name: Fact.of(SimpleNamespace(text=text)) for name, text in texts.items()},
            }
        )

    def row(self, name: str, *changes: Change, after: tuple[str, ...] = (), level: Level = Level.REQUIRED, **how: Any) -> None:
        """A requirement and its fix; without changes the fix writes `good`."""

        def judge(facts: Facts, _policy: Policy, _phase: Phase) -> Verdict:
            text = getattr(facts, name).value.text
            if text == "better\n":
                return warned("only better", remedy="make it good")
            return passed("good") if text == "good\n" else failed(f"{name} is bad", remedy=f"write good to {name}")

        def plan(_facts: Facts, _policy: Policy, _phase: Phase) -> Iterator[Change]:
            if how.get("error"):
                raise how["error"]
            yield from changes or (WriteFile(f"/etc/{name}", "good\n"),)

        phases = how.get("phases", ALL_PHASES)
        self.requirements.append(Requirement(name, name, level, phases, (name,), judge, name))
        self.fixes.append(Fix(name, name, plan, (name,), phases, after, whole=how.get("whole", False)))

    def journal(self) -> Journal:
        return Journal(self.host, self.state)

    def run(self, phase: Phase = Phase.BUILD, policy: dict[str, Any] | None = None, **how: Any) -> results.RunResult:
        return run_module.run(
            self.host, policy_of(policy), phase, self.requirements, self.journal(), progress=self.said.append, **how
        )

    def undo(self, run_id: str | None = None) -> results.UndoResult:
        return undo_module.undo(self.host, self.journal(), run_id, progress=self.said.append)

    def text(self, name: str) -> str | None:
        path = self.root / "etc" / name
        return path.read_text() if path.exists() else None


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def statuses(result: results.RunResult) -> dict[str, str]:
    return {row.requirement.id: row.verdict.status.value for row in result.evaluation.rows}


def test_repaired_row_is_fixed_and_carries_its_changes(machine: Machine) -> None:
    machine.row("a")
    machine.row("b")
    (machine.root / "etc/b").write_text("good\n")
    machine.root.chmod(0o755)  # everybody may read what lies there, so the report may show it
    result = machine.run()
    assert statuses(result) == {"a": "fixed", "b": "pass"}
    assert result.evaluation.ready
    (change,) = result.evaluation.rows[0].verdict.changes
    assert change["target"] == "/etc/a"
    assert change["before"] == ""
    assert len(change["after"]) == 64
    assert change["diff"].splitlines()[-1] == "+good"
    assert result.evaluation.rows[0].verdict.diagnosis == "a is bad"
    assert machine.said == ["a: write /etc/a"]


def test_second_run_changes_nothing(machine: Machine) -> None:
    machine.row("a")
    machine.run()
    before = tree_listing(machine.root)
    result = machine.run()
    assert (result.applied, result.planned) == ((), ())
    assert statuses(result) == {"a": "pass"}
    assert tree_listing(machine.root) == before


def test_dry_run_shows_the_diff_and_touches_nothing(machine: Machine) -> None:
    machine.row("a", WriteFile("/etc/a", "half\n"), WriteFile("/etc/a", "good\n"))
    (machine.root / "etc/a").write_text("bad\n")
    before = tree_listing(machine.root)
    result = machine.run(dry_run=True)
    assert tree_listing(machine.root) == before
    (planned,) = result.planned
    assert planned.texts == (
        "--- /etc/a\n+++ /etc/a\n@@ -1 +1 @@\n-bad\n+half\n",
        "--- /etc/a\n+++ /etc/a\n@@ -1 +1 @@\n-half\n+good\n",
    )
    assert result.applied == ()
    real = machine.run()
    assert [entry.change for entry in real.applied] == list(planned.changes)


def test_fixed_is_only_said_when_the_second_look_agrees(machine: Machine) -> None:
    machine.row("a", WriteFile("/etc/elsewhere", "good\n"))
    machine.row("b", WriteFile("/etc/b", "better\n"))
    result = machine.run()
    assert statuses(result) == {"a": "fail", "b": "warn"}
    assert [entry.target for entry in result.applied] == ["/etc/elsewhere", "/etc/b"]


def test_failure_stops_what_must_follow_and_nothing_else(machine: Machine) -> None:
    machine.row("a", RemoveFile("/etc"))
    machine.row("b", after=("a",))
    machine.row("c", after=("b",))
    machine.row("d")
    machine.row("e", error=FixError("cannot be decided", hint="decide it"))
    machine.row("f", after=("e",))
    machine.row("g", error=ValueError("a bug"))
    result = machine.run()
    assert statuses(result) == {"a": "fail", "b": "fail", "c": "fail", "d": "fixed", "e": "fail", "f": "fail", "g": "fail"}
    told = {failure.fix: failure.message for failure in result.failures}
    assert "neither a file nor a link" in told["a"]
    assert told["b"] == "not tried, because a failed"
    assert told["c"] == "not tried, because b failed"
    assert told["e"] == "cannot be decided"
    assert told["f"] == "not tried, because e failed"
    assert told["g"] == "internal error: ValueError: a bug"


def test_the_network_is_waited_for_once(tmp_path: Path) -> None:
    """Each fix with packages tried anew and waited anew: six and a half minutes on a machine without any network."""
    stage = Stage(tmp_path)
    stage.answers = {"dpkg-query": (1, ""), "apt-get": (100, "E: Temporary failure resolving 'deb.debian.org'")}
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("1\n")
    state = StateDir()
    state.ensure(stage)
    work = run_module.Work(stage, Journal(stage, state), [].append, ())
    for name in ("jq", "git", "chrony"):
        fix = Fix(name, f"install {name}", plan=lambda *_: iter(()), repairs=(name,))
        work.make(results.PlannedFix(fix, (InstallPackages("apt", (name,)),)))
    told = {failure.fix: failure.message for failure in work.failures}
    assert "the package sources cannot be reached" in told["jq"]
    assert told["git"] == "git not installed: jq waited for the network already, in vain"
    assert sum(line.startswith("apt-get") for line in stage.ran) == 7, "one fix tried four times, the others not at all"


def test_fix_that_can_not_be_finished_is_not_begun(machine: Machine) -> None:
    machine.row("a", WriteFile("/etc/a", "good\n"), EditFile("/etc/json", "json.merge", {"nonsense": 1}))
    result = machine.run()
    assert machine.text("a") is None
    assert [failure.fix for failure in result.failures] == ["a"]


def test_fix_without_the_facts_it_needs_is_no_internal_error(machine: Machine) -> None:
    machine.row("a", error=None)
    machine.requirements[0] = machine.requirements[0]._replace(judge=lambda *_: failed("bad", remedy="mend it"))
    machine.fixes[0] = machine.fixes[0]._replace(plan=lambda facts, *_: iter([facts.docker.value]))
    machine.docker = Fact.unreadable("no answer within 20 s")
    (failure,) = machine.run().failures
    assert failure.message == "not planned, because a fact that it needs is unreadable: no answer within 20 s"


def test_half_of_a_whole_fix_is_taken_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    write = machine.host.write_atomic

    def full(path: str, data: bytes, **how: Any) -> None:
        if path == "/etc/full":
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write(path, data, **how)

    monkeypatch.setattr(machine.host, "write_atomic", full)
    machine.row("a", WriteFile("/etc/a", "good\n"), WriteFile("/etc/full", "x"))
    machine.row("b", WriteFile("/etc/b", "good\n"), WriteFile("/etc/full", "x"), whole=True)
    result = machine.run()
    assert (machine.text("a"), machine.text("b")) == ("good\n", None)
    assert [entry.target for entry in result.applied] == ["/etc/a"]
    assert [failure.fix for failure in result.failures] == ["a", "b"]


@pytest.mark.parametrize(
    ("policy", "phase", "said"),
    [
        ({"fix": {"enabled": False}}, Phase.BUILD, "fix.enabled: false"),
        ({"fix": {"skip": ["a"]}}, Phase.BUILD, ""),
        ({}, Phase.AUDIT, "an audit changes nothing"),
        ({}, Phase.BOOT, ""),
    ],
)
def test_what_the_policy_or_the_phase_forbids_is_not_fixed(
    machine: Machine, policy: dict[str, Any], phase: Phase, said: str
) -> None:
    machine.row("a", phases=(Phase.BUILD, Phase.INSTALL))
    result = machine.run(phase, policy)
    assert machine.text("a") is None
    assert result.applied == ()
    assert said in " ".join(result.notices)


@pytest.mark.parametrize(
    "fact",
    [
        Fact.of(SimpleNamespace(installed=True, begun=False, project_name="mc", install_dir="/m", real_dir="")),
        Fact.unreadable("no answer"),
    ],
)
def test_installed_mailcow_is_left_alone_unless_asked_by_hand(machine: Machine, fact: Fact[Any]) -> None:
    machine.row("a")
    machine.mailcow = fact
    result = machine.run(Phase.BOOT)
    assert machine.text("a") is None
    assert "mailcow is installed" in result.notices[0]
    result = machine.run(Phase.BOOT, by_hand=True)
    assert statuses(result) == {"a": "fixed"}


def test_offline_tree_gets_files_only_and_is_told_so(machine: Machine) -> None:
    machine.row(
        "a",
        WriteFile("/etc/a", "good\n"),
        UnitState("exim4.service", running=False, masked=True),
        Sysctl("vm.overcommit_memory", "1"),
        RestartUnit("x.service", "it reads /etc/a"),
    )
    result = machine.run()
    assert statuses(result) == {"a": "fixed"}
    (notice,) = result.notices
    assert "exim4.service: put off until the first boot" in notice
    assert [entry.target for entry in result.applied] == ["/etc/a"]
    assert machine.undo().failures == ()


def test_check_judges_recorded_facts_at_a_given_time(machine: Machine) -> None:
    machine.row("a")
    facts = Facts({"a": Fact.of(SimpleNamespace(text="good\n"))})
    evaluation = evaluate.check(machine.host, Policy(), Phase.BUILD, machine.requirements, facts=facts, now=86400.0)
    assert (evaluation.started, evaluation.finished, evaluation.ready, evaluation.live) == (86400.0, 86400.0, True, False)


def test_interrupted_run_is_cleared_up_first_but_not_by_a_dry_run(machine: Machine) -> None:
    machine.row("a")
    run = machine.root / "var/lib/cowgate/journal/0001"
    run.mkdir()
    machine.run(dry_run=True)
    assert run.exists()
    machine.run()
    assert [r.id for r in machine.journal().runs()] == ["0001"]


def test_undo_puts_everything_back_and_shuts_the_gate(machine: Machine) -> None:
    machine.row("a")
    machine.row("b")
    (machine.root / "etc/b").write_text("bad\n")
    before = tree_listing(machine.root / "etc")
    machine.run()
    machine.host.write_atomic(machine.state.seal_path, b"{}")
    result = machine.undo()
    assert [entry.target for entry in result.undone] == ["/etc/b", "/etc/a"]
    assert (result.failures, result.notices) == ((), ())
    assert tree_listing(machine.root / "etc") == before
    assert not machine.host.exists(machine.state.seal_path)
    assert machine.undo().undone == ()


def test_undo_of_one_run(machine: Machine) -> None:
    machine.row("a")
    machine.run()
    machine.row("b")
    machine.run()
    assert [entry.target for entry in machine.undo("2").undone] == ["/etc/b"]
    assert machine.text("a") == "good\n"
    machine.host.write_atomic(machine.state.seal_path, b"{}")
    with pytest.raises(UsageError, match="no run 9"):
        machine.undo("9")
    assert machine.host.exists(machine.state.seal_path)


def test_undo_tries_all_and_reports_the_conflict(machine: Machine) -> None:
    machine.row("a")
    machine.row("b")
    machine.run()
    (machine.root / "etc/b").write_text("theirs\n")
    result = machine.undo()
    assert [entry.target for entry in result.undone] == ["/etc/a"]
    assert [(failure.fix, failure.target) for failure in result.failures] == [("b", "/etc/b")]
    assert machine.text("b") == "theirs\n"


@pytest.mark.parametrize("installed", [True, False])
def test_undo_does_not_lock_a_live_mail_server(machine: Machine, installed: bool) -> None:
    override, theirs = "/opt/mailcow-dockerized/docker-compose.override.yml", "services: {a: {image: b}}\n"
    path = machine.root / override[1:]
    path.parent.mkdir(parents=True)
    for change in (EditFile(override, "compose.lock", {"message": "not ready"}), EditFile(override, "compose.unlock")):
        journal = machine.journal()
        journal.begin(Phase.BOOT)
        assert journal.perform("compose.lock", change, machine.said.append)
        if change.args:
            path.write_text(path.read_text() + theirs)  # somebody goes on with the file while it is locked
    assert path.read_text().endswith(theirs) and "x-cowgate" not in path.read_text()
    if installed:
        (path.parent / "mailcow.conf").write_text("MAILCOW_HOSTNAME=mail.example.org\n")
    result = machine.undo("2")
    assert [entry.target for entry in result.undone] == [override]
    assert ("x-cowgate" in path.read_text()) is not installed
    assert path.read_text().endswith(theirs)
    assert machine.undo("2").undone == ()
    assert [failure.target for failure in machine.undo().failures] == [override]


def test_status_of_a_row_that_was_never_bad_stays(machine: Machine) -> None:
    machine.row("a", level=Level.ADVISED)
    result = machine.run(policy={"fix": {"skip": ["a"]}})
    assert [row.verdict.status for row in result.evaluation.rows] == [Status.WARN]


@pytest.mark.parametrize(
    ("phase", "change", "waited"),
    [
        (Phase.BOOT, WriteFile("/etc/elsewhere", "x"), True),
        (Phase.INSTALL, WriteFile("/etc/elsewhere", "x"), True),
        (Phase.BUILD, WriteFile("/etc/elsewhere", "x"), False),
        (Phase.BOOT, RemoveFile("/etc"), False),
    ],
)
def test_clock_gets_its_time_to_synchronize_before_the_second_look(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, phase: Phase, change: Change, waited: bool
) -> None:
    limits = []

    def wait(host: Host, limit: float, _progress: Any) -> bool:
        limits.append(limit)
        host.write_atomic("/etc/time.synchronization", b"good\n")
        return True

    monkeypatch.setattr("cowgate.engine.run.wait_for_sync", wait)
    machine.host = Stage(machine.root)
    machine.row("time.synchronization", change)
    (machine.root / "proc/sys/kernel/random").mkdir(parents=True)
    (machine.root / "proc/sys/kernel/random/boot_id").write_text("x\n")
    result = machine.run(phase, {"time": {"wait": 7}})
    assert limits == ([7] if waited else [])
    assert result.evaluation.ready == waited
    machine.run(phase, {"time": {"wait": 7}}, dry_run=True)
    assert limits == ([7] if waited else [])


def test_containers_of_mailcow_count_as_installed(machine: Machine) -> None:
    machine.row("a")
    machine.docker = Fact.of(Docker(running=True, projects=(Project("mc", containers=3),)))
    assert machine.run(Phase.BOOT).applied == ()
    machine.docker = Fact.of(Docker(running=True, projects=(Project("mc"),)))
    assert len(machine.run(Phase.BOOT).applied) == 1


def test_a_fix_that_failed_and_was_taken_back_is_looked_after(machine: Machine) -> None:
    """What it broke on its way, a daemon that did not come back say, must not pass by the look that was before it."""

    class Breaks(Stage):
        def run(self, argv: Any, **options: Any) -> Any:
            self.write_atomic("/etc/b", b"dead\n")
            return super().run(argv, **options)

    machine.host = Breaks(machine.root)
    machine.host.answers["systemctl restart"] = (1, "")
    machine.row("a", Command(("systemctl", "restart", "b"), "it needs a"), level=Level.ADVISED)
    machine.row("b")
    (machine.root / "proc/sys/kernel/random").mkdir(parents=True)
    (machine.root / "proc/sys/kernel/random/boot_id").write_text("x\n")
    (machine.root / "etc/b").write_text("good\n")
    result = machine.run()
    assert result.applied == ()
    assert [failure.fix for failure in result.failures] == ["a"]
    assert statuses(result) == {"a": "warn", "b": "fail"}
