"""Restarts: once, at the end, only of what runs, not lost by a kill; what breaks its daemon is taken back."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from cowgate.changes.actions import action_for
from cowgate.changes.journal import Entry, Journal
from cowgate.changes.values import Change, Command, EditFile, InstallPackages, RestartUnit, Sysctl, WriteFile
from cowgate.engine import results, undo
from cowgate.engine.run import Work, make_all
from cowgate.errors import CommandFailed, CommandMissing
from cowgate.machine.state import StateDir
from cowgate.model import Phase
from cowgate.requirements.catalogue import all_fixes
from cowgate.requirements.fix import Fix
from tests.unit.conftest import healthy_facts, policy_of
from tests.unit.stage import Stage, quiet

BOOT = "proc/sys/kernel/random/boot_id"


class Daemons(Stage):
    """Units that start unless their configuration says `broken`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.running = {"chrony.service", "docker.service"}
        self.containers: Any = []
        self.dead_when_broken = False

    def run(self, argv: Any, **options: Any) -> Any:
        verb, unit = (argv[1], argv[2]) if argv[0] == "systemctl" and len(argv) > 2 else ("", "")
        # Restart=always: systemd tries again and again, and "activating" is all that is seen of a dead one
        state = "active" if unit in self.running else "activating" if self.dead_when_broken else "failed"
        self.answers["systemctl show"] = (
            0,
            f"ActiveState={state}\nUnitFileState=enabled\nLoadState=loaded\nFragmentPath=/x\n",
        )
        if verb in ("restart", "start"):
            self.running.discard(unit)
            if "broken" not in (self.read_or_none("/etc/conf") or ""):
                self.running.add(unit)
            elif self.dead_when_broken:
                super().run(argv, **options)
                raise CommandFailed(f"Job for {unit} failed")
        return super().run(argv, **options)

    def unix_http(self, path: str, target: str, **_options: Any) -> tuple[int, bytes]:
        assert (path, target) == ("/var/run/docker.sock", "/containers/json")
        if self.dead_when_broken and "docker.service" not in self.running:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return 200, self.containers if isinstance(self.containers, bytes) else json.dumps(self.containers).encode()

    @property
    def restarts(self) -> list[str]:
        return [line.split()[2] for line in self.ran if line.startswith("systemctl restart")]


@pytest.fixture
def host(tmp_path: Path) -> Daemons:
    for name in ("etc/systemd/system", "proc/sys/kernel/random", "proc/sys/vm"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / BOOT).write_text("first\n")
    (tmp_path / "etc/conf").write_text("as it was\n")
    daemons = Daemons(tmp_path)
    StateDir().ensure(daemons)
    return daemons


def journal_of(host: Stage) -> Journal:
    journal = Journal(host, StateDir())
    journal.begin(Phase.BOOT)
    return journal


def planned(id: str, *changes: Change, after: tuple[str, ...] = ()) -> results.PlannedFix:
    return results.PlannedFix(Fix(id, id, lambda *_: iter(()), (id,), (Phase.BOOT,), after), changes)


def make(host: Stage, *fixes: results.PlannedFix) -> Work:
    return make_all(host, journal_of(host), fixes, quiet)


def states(host: Stage) -> list[tuple[str, str]]:
    return [(entry.target, entry.state) for run in journal_of(host).runs() for entry in run.entries]


def test_unit_is_restarted_once_after_all_changes(host: Daemons) -> None:
    restart = RestartUnit("chrony.service", "new servers")
    work = make(host, planned("a", restart, WriteFile("/etc/a", "a")), planned("b", WriteFile("/etc/b", "b"), restart))
    assert host.restarts == ["chrony.service"]
    assert [entry.target for entry in work.applied] == ["/etc/a", "/etc/b", "chrony.service"]
    assert states(host) == [
        ("chrony.service", "done"), ("/etc/a", "done"), ("chrony.service", "void"), ("/etc/b", "done"),
    ]  # fmt: skip


def test_unit_that_does_not_run_is_not_started(host: Daemons) -> None:
    host.running.clear()
    work = make(host, planned("a", WriteFile("/etc/a", "a"), RestartUnit("chrony.service", "new servers")))
    assert host.restarts == []
    assert [entry.target for entry in work.applied] == ["/etc/a"]


@pytest.mark.parametrize("booted", [False, True])
def test_where_no_systemd_runs_nothing_is_restarted(host: Daemons, booted: bool) -> None:
    """In the sandbox of an image builder systemctl ends with an error, which is no reason to take the file back."""

    class Sandbox(Stage):
        def run(self, argv: Any, **options: Any) -> Any:
            self.answers[argv[0]] = (1, "")
            return super().run(argv, **options)

    sandbox = Sandbox(Path(host.root))
    if booted:
        (Path(host.root) / "run/systemd/system").mkdir(parents=True)
    work = make(sandbox, planned("a", WriteFile("/etc/a", "a"), RestartUnit("chrony.service", "new servers")))
    assert (bool(work.failures), sandbox.exists("/etc/a")) == (booted, not booted)


class Alpine(Daemons):
    """OpenRC: there is no systemctl, and one daemon runs."""

    def run(self, argv: Any, **options: Any) -> Any:
        if argv[0] == "systemctl":
            raise CommandMissing("systemctl is not installed")
        self.answers["rc-service --quiet"] = (0 if argv[2] == "chronyd" else 3, "")
        return Stage.run(self, argv, **options)


def test_openrc_restarts_what_runs(host: Daemons) -> None:
    (Path(host.root) / "run/openrc").mkdir(parents=True)
    (Path(host.root) / "run/openrc/softlevel").write_text("default\n")
    alpine = Alpine(Path(host.root))
    restarts = [RestartUnit("chronyd.service", "new servers"), RestartUnit("docker.service", "daemon.json")]
    work = make(alpine, planned("a", WriteFile("/etc/a", "a"), *restarts))
    assert work.failures == []
    assert [line for line in alpine.ran if line.endswith("restart")] == ["rc-service chronyd restart"]
    assert alpine.read("/etc/a") == "a"
    assert action_for(alpine, restarts[0]).describe({}) == "rc-service chronyd restart  # new servers\n"
    assert undo.undo(alpine, journal_of(alpine), progress=quiet).failures == ()
    assert [line for line in alpine.ran if line.endswith("restart")] == ["rc-service chronyd restart"] * 2


def test_nothing_changed_means_no_restart_unless_it_is_all_there_is(host: Daemons) -> None:
    restart = RestartUnit("chrony.service", "it still uses the old servers")
    make(host, planned("a", WriteFile("/etc/conf", "as it was\n"), restart))
    assert host.restarts == []
    make(host, planned("a", restart))
    assert host.restarts == ["chrony.service"]


def test_fix_that_failed_before_it_changed_anything_restarts_nothing(host: Daemons) -> None:
    (Path(host.root) / "etc/dir").mkdir()
    host.answers["false"] = (1, "")
    restart = RestartUnit("chrony.service", "new servers")
    work = make(host, planned("a", restart, Command(("false",), "test")))
    assert host.restarts == []
    assert [failure.fix for failure in work.failures] == ["a"]
    assert ("chrony.service", "void") in states(host)


def test_configuration_with_which_the_daemon_does_not_start_is_taken_back(host: Daemons) -> None:
    restart = RestartUnit("chrony.service", "new servers")
    work = make(
        host,
        planned("a", WriteFile("/etc/conf", "broken\n"), restart),
        planned("b", WriteFile("/etc/b", "b"), restart),
        planned("c", WriteFile("/etc/c", "c")),
    )
    assert host.read("/etc/conf") == "as it was\n"
    assert "chrony.service" in host.running
    assert [entry.target for entry in work.applied] == ["/etc/c"]
    (failure,) = work.failures
    assert "does not run any more after its restart" in failure.message
    assert len(host.restarts) == 2


def test_daemon_that_does_not_come_back_at_all_is_told(host: Daemons) -> None:
    (Path(host.root) / "etc/conf").write_text("broken already\n")
    work = make(host, planned("a", WriteFile("/etc/a", "a"), RestartUnit("chrony.service", "new servers")))
    assert [failure.target for failure in work.failures] == ["chrony.service"]
    assert work.failures[0].message.endswith("was put back, and chrony.service does not run with that either")
    assert not host.exists("/etc/a")


def test_docker_is_not_restarted_on_a_file_that_it_would_refuse(host: Daemons) -> None:
    """Looked at before: the file is put back, and the daemon runs on as it did."""
    (Path(host.root) / "etc/docker").mkdir()
    edit = EditFile("/etc/docker/daemon.json", "json.merge", {"values": {"graph": "/x"}})
    work = make(host, planned("a", edit, RestartUnit("docker.service", "daemon.json")))
    assert host.restarts == [] and not host.exists("/etc/docker/daemon.json")
    assert "Docker was not restarted, because it would not start again" in work.failures[0].message
    assert '"graph": dockerd has no such key (it is called data-root)' in work.failures[0].message


def test_docker_that_is_dead_is_started_again_with_what_was_put_back(host: Daemons) -> None:
    """Nobody answers on its socket then, and no container can be lost."""
    host.dead_when_broken = True
    work = make(host, planned("a", WriteFile("/etc/conf", "broken\n"), RestartUnit("docker.service", "daemon.json")))
    assert host.restarts == ["docker.service", "docker.service"] and "docker.service" in host.running
    assert host.read("/etc/conf") == "as it was\n"
    assert work.failures[0].message.endswith("was put back, and docker.service runs again")


def test_docker_under_a_container_keeps_its_new_configuration_and_runs_on(host: Daemons) -> None:
    host.containers = [{"Image": "ghcr.io/mailcow/nginx:1"}]
    work = make(host, planned("a", WriteFile("/etc/a", "a"), RestartUnit("docker.service", "daemon.json")))
    assert host.restarts == []
    assert host.read("/etc/a") == "a"
    assert "a container runs on it" in work.failures[0].message


@pytest.mark.parametrize("answer", [b'[{"Image": "ghcr.io/mail', {"message": "starting"}, [None]])
def test_docker_that_does_not_tell_its_containers_is_not_restarted(host: Daemons, answer: object) -> None:
    host.containers = answer  # cut off where the daemon ended in mid-answer; or not what was asked for
    work = make(host, planned("a", WriteFile("/etc/a", "a"), RestartUnit("docker.service", "daemon.json")))
    assert host.restarts == []
    assert "does not tell whether containers run" in work.failures[0].message


def test_restart_that_a_kill_prevented_is_made_up_for(host: Daemons) -> None:
    journal = journal_of(host)
    restart = RestartUnit("chrony.service", "new servers")
    journal.promise("a", restart)
    journal.promise("b", restart)
    journal.perform("a", WriteFile("/etc/a", "a"), quiet)
    notices = journal_of(host).recover(quiet)
    assert notices == ("chrony.service: restarted, which an interrupted run had left undone",)
    assert host.restarts == ["chrony.service"]
    assert states(host) == [("chrony.service", "done"), ("chrony.service", "void"), ("/etc/a", "done")]


def test_restart_that_a_kill_prevented_is_not_made_of_what_does_not_run(host: Daemons) -> None:
    journal = journal_of(host)
    journal.promise("a", RestartUnit("chrony.service", "new servers"))
    journal.perform("a", WriteFile("/etc/a", "a"), quiet)
    host.running.clear()
    assert journal_of(host).recover(quiet) == ()
    assert host.restarts == []


def test_undo_restarts_what_its_files_belong_to(host: Daemons) -> None:
    make(host, planned("a", WriteFile("/etc/a", "a"), RestartUnit("chrony.service", "new servers")))
    host.ran.clear()
    result = undo.undo(host, journal_of(host), progress=quiet)
    assert [entry.target for entry in result.undone] == ["/etc/a"]
    assert host.restarts == ["chrony.service"]
    assert states(host) == [("chrony.service", "undone"), ("/etc/a", "undone")]


def test_undo_whose_restart_fails_says_so_and_does_not_try_for_ever(host: Daemons) -> None:
    make(host, planned("a", WriteFile("/etc/a", "a"), RestartUnit("docker.service", "daemon.json")))
    host.containers = [{"Image": "ghcr.io/mailcow/nginx:1"}]
    result = undo.undo(host, journal_of(host), progress=quiet)
    assert not host.exists("/etc/a")
    assert ["a container runs on it" in failure.message for failure in result.failures] == [True]
    assert journal_of(host).recover(quiet) == ()


def test_restart_on_its_own_is_nothing_to_undo(host: Daemons) -> None:
    make(host, planned("a", RestartUnit("chrony.service", "to step the clock")))
    host.ran.clear()
    result = undo.undo(host, journal_of(host), progress=quiet)
    assert (result.undone, result.failures, host.restarts) == ((), (), [])
    assert journal_of(host).active() == ()


def set_state(host: Stage, entry: Entry, **changed: Any) -> None:
    path = Path(host.root) / f"var/lib/cowgate/journal/{entry.name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


class Kill(BaseException):
    """A kill, at a place of the test's choice."""


def killed(monkeypatch: pytest.MonkeyPatch, host: Stage, method: str, *, after: int = 0) -> None:
    """An undo that is killed when it calls this method of the journal, after so many calls that went well."""
    real = getattr(Journal, method)
    calls = iter(range(after))

    def kill(self: Journal, *args: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise Kill
        return real(self, *args, **options)

    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(Journal, method, kill)
        undo.undo(host, journal_of(host), progress=quiet)
    host.ran.clear()


LEFT_UNDONE = "chrony.service: restarted, which an interrupted undo had left undone"


def test_undo_that_is_killed_before_it_restarts_loses_no_restart(host: Daemons, monkeypatch: pytest.MonkeyPatch) -> None:
    make(host, planned("a", WriteFile("/etc/a", "a"), RestartUnit("chrony.service", "new servers")))
    killed(monkeypatch, host, "restart_again")
    assert not host.exists("/etc/a")
    assert journal_of(host).recover(quiet) == (LEFT_UNDONE,)
    assert host.restarts == ["chrony.service"]
    assert journal_of(host).active() == ()


def test_undo_that_is_killed_before_it_put_anything_back_restarts_nothing(
    host: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(host, planned("a", WriteFile("/etc/a", "a"), RestartUnit("chrony.service", "new servers")))
    killed(monkeypatch, host, "revert")
    assert journal_of(host).recover(quiet) == ()
    assert (host.exists("/etc/a"), host.restarts) == (True, [])
    assert [entry.target for entry in undo.undo(host, journal_of(host), progress=quiet).undone] == ["/etc/a"]
    assert host.restarts == ["chrony.service"]


def test_undo_that_is_killed_half_way_restarts_then_and_after_the_rest(host: Daemons, monkeypatch: pytest.MonkeyPatch) -> None:
    restart = RestartUnit("chrony.service", "new servers")
    make(host, planned("a", WriteFile("/etc/a", "a"), WriteFile("/etc/b", "b"), restart))
    killed(monkeypatch, host, "revert", after=1)
    assert (host.exists("/etc/a"), host.exists("/etc/b")) == (True, False)
    assert journal_of(host).recover(quiet) == (LEFT_UNDONE,)
    assert [entry.target for entry in undo.undo(host, journal_of(host), progress=quiet).undone] == ["/etc/a"]
    assert host.restarts == ["chrony.service"] * 2
    assert journal_of(host).active() == ()


def test_undo_on_a_full_disk_tells_it_and_goes_on(host: Daemons, monkeypatch: pytest.MonkeyPatch) -> None:
    make(host, planned("a", WriteFile("/etc/a", "a"), RestartUnit("chrony.service", "new servers")))
    write = host.write_atomic

    def full(path: str, data: bytes, **how: Any) -> None:
        if b"RestartUnit" in data:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write(path, data, **how)

    monkeypatch.setattr(host, "write_atomic", full)
    result = undo.undo(host, journal_of(host), progress=quiet)
    assert [entry.target for entry in result.undone] == ["/etc/a"]
    assert {failure.message.rpartition(": ")[2] for failure in result.failures} == {"No space left on device"}


def test_restart_that_two_fixes_share_is_repeated_when_either_is_put_back(host: Daemons) -> None:
    restart = RestartUnit("chrony.service", "new servers")
    make(host, planned("a", WriteFile("/etc/a", "a"), restart), planned("b", WriteFile("/etc/b", "b"), restart))
    (Path(host.root) / "etc/a").write_text("somebody else's\n")
    host.ran.clear()
    result = undo.undo(host, journal_of(host), progress=quiet)
    assert [failure.target for failure in result.failures] == ["/etc/a"]
    assert not host.exists("/etc/b")
    assert host.restarts == ["chrony.service"]


def test_command_that_can_not_be_rolled_back_does_not_stop_the_next_start(host: Daemons) -> None:
    journal = journal_of(host)
    entry = journal.perform("a", Command(("on",), "test", undo=("off",)), quiet)
    assert entry is not None
    set_state(host, entry, state="open")
    host.answers["off"] = (1, "")
    assert journal_of(host).recover(quiet) == ("on: off failed",)
    host.answers.clear()
    host.ran.clear()
    assert journal_of(host).recover(quiet) == ("on: rolled back, because a run was interrupted while changing it",)
    assert host.ran == ["off"]
    assert journal_of(host).recover(quiet) == ()


def test_command_without_a_check_is_undone(host: Daemons) -> None:
    make(host, planned("a", Command(("on",), "test", undo=("off",))))
    assert undo.undo(host, journal_of(host), progress=quiet).failures == ()
    assert host.ran == ["on", "off"]


def test_what_can_not_be_undone_stays_and_is_told_once(host: Daemons) -> None:
    host.answers["dpkg-query"] = (1, "")
    journal = journal_of(host)
    host.answers["dpkg-query"] = (0, "installed")
    entry = journal.perform("a", Command(("once",), "test"), quiet)
    assert entry is not None
    result = undo.undo(host, journal_of(host), progress=quiet)
    assert result.notices == ("this command cannot be undone: once",)
    assert undo.undo(host, journal_of(host), progress=quiet).notices == ()
    set_state(host, entry, state="open")
    assert journal_of(host).recover(quiet) == ("once: a run was interrupted here; this command cannot be undone: once",)
    assert journal_of(host).recover(quiet) == ()


def test_what_a_reboot_undid_is_not_undone_again(host: Daemons) -> None:
    (Path(host.root) / "proc/sys/vm/x").write_text("0\n")
    make(host, planned("a", Sysctl("vm.x", "1")))
    (Path(host.root) / BOOT).write_text("second\n")
    (Path(host.root) / "proc/sys/vm/x").write_text("5\n")
    result = undo.undo(host, journal_of(host), progress=quiet)
    assert result.failures == ()
    assert host.read("/proc/sys/vm/x") == "5\n"


def test_what_a_reboot_interrupted_is_not_rolled_back_over_what_the_new_boot_set(host: Daemons) -> None:
    value = Path(host.root) / "proc/sys/vm/x"
    value.write_text("0\n")
    journal = journal_of(host)
    for change in (Sysctl("vm.x", "1"), Command(("ip", "route"), "test", undo=("ip", "route", "back"), lasting=False)):
        entry = journal.perform("a", change, quiet)
        assert entry is not None
        set_state(host, entry, state="open")
    (Path(host.root) / BOOT).write_text("second\n")
    value.write_text("5\n")
    assert journal_of(host).recover(quiet) == ()
    assert (value.read_text(), host.ran) == ("5\n", ["ip route"])
    assert {state for _, state in states(host)} == {"undone"}


def test_command_whose_effect_ended_with_the_boot_is_not_undone_after_it(host: Daemons) -> None:
    make(host, planned("a", Command(("ip", "route", "replace"), "test", undo=("ip", "route", "back"), lasting=False)))
    (Path(host.root) / BOOT).write_text("second\n")
    assert undo.undo(host, journal_of(host), progress=quiet).failures == ()
    assert host.ran == ["ip route replace"]


def test_setting_that_a_file_of_ours_made_again_at_boot_is_undone(host: Daemons) -> None:
    value = Path(host.root) / "proc/sys/vm/x"
    value.write_text("0\n")
    make(host, planned("a", WriteFile("/etc/sysctl.d/60-cowgate-x.conf", "vm.x = 1\n"), Sysctl("vm.x", "1")))
    (Path(host.root) / BOOT).write_text("second\n")
    assert undo.undo(host, journal_of(host), progress=quiet).failures == ()
    assert value.read_text().strip() == "0"
    make(host, planned("a", Sysctl("vm.x", "1")))
    (Path(host.root) / BOOT).write_text("third\n")
    value.unlink()
    assert undo.undo(host, journal_of(host), progress=quiet).failures == ()


def test_setting_that_somebody_changed_since_is_a_conflict(host: Daemons) -> None:
    (Path(host.root) / "proc/sys/vm/x").write_text("0\n")
    make(host, planned("a", Sysctl("vm.x", "1")))
    (Path(host.root) / "proc/sys/vm/x").write_text("5\n")
    result = undo.undo(host, journal_of(host), progress=quiet)
    assert ["changed by somebody else" in failure.message for failure in result.failures] == [True]


def test_packages_that_stay_keep_their_repository(host: Daemons) -> None:
    host.answers["rpm -q"] = (1, "")
    host.answers["dnf install"] = (0, "")
    host.answers["systemctl enable"] = (1, "")
    real = host.run

    def run(argv: Any, **options: Any) -> Any:
        done = real(argv, **options)
        if argv[0] == "dnf":
            host.answers["rpm -q"] = (0, "")
        return done

    host.run = run  # type: ignore[method-assign]
    plan = planned(
        "a", WriteFile("/etc/repo", "x"), InstallPackages("dnf", ("docker-ce",)), Command(("systemctl", "enable"), "t")
    )
    work = make(host, plan._replace(fix=plan.fix._replace(whole=True)))
    assert [failure.target for failure in work.failures] == ["systemctl enable"]
    assert [entry.target for entry in work.applied] == ["/etc/repo", "docker-ce"]
    assert host.read("/etc/repo") == "x"


def test_line_in_fstab_goes_where_its_swap_file_can_not_be_made(host: Daemons) -> None:
    root = Path(host.root)
    (root / "proc/swaps").write_text("Filename Type Size Used Priority\n")
    (root / "proc/self").mkdir()
    (root / "proc/self/mountinfo").write_text("1 1 0:1 / / rw - btrfs /dev/vda1 rw\n")
    facts = healthy_facts({"memory": {"value": {"swaps": [], "swap_files": []}}})
    (swap,) = [fix for fix in all_fixes() if fix.id == "resources.swap"]
    work = make(host, results.PlannedFix(swap, tuple(swap.plan(facts, policy_of(None), Phase.BOOT))))
    assert [failure.target for failure in work.failures] == ["/swapfile"]
    assert not host.exists("/etc/fstab")


def test_people_are_told_beforehand_what_can_not_be_undone(host: Daemons) -> None:
    said: list[str] = []
    host.answers["dpkg-query"] = (1, "")
    work = make_all(host, journal_of(host), [planned("a", InstallPackages("apt", ("jq",)))], said.append)
    assert said[0] == "a: install jq (installed packages stay: jq)"
    assert ["to no effect" in failure.message for failure in work.failures] == [True]
