"""The journal: nothing without a trace, everything back, nothing of others overwritten, and all of it after a kill."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cowgate.changes.journal import Entry, Journal
from cowgate.changes.values import Change, EditFile, Link, RemoveFile, Sysctl, WriteFile
from cowgate.errors import ConflictError, CowgateError, FixError, StateError, UsageError
from cowgate.formats import editors as editors_module
from cowgate.formats.error import FormatError
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.model import Phase
from tests.unit.stage import Stage
from tests.unit.treehash import tree_listing

ALL: tuple[Change, ...] = (
    WriteFile("/etc/new.d/deep/drop-in.conf", "ours\n"),
    WriteFile("/etc/whole", "ours\n"),
    WriteFile("/etc/link", "through the link\n"),
    EditFile("/etc/edited", "test.add", {"line": "ours"}),
    EditFile("/etc/edited", "test.add", {"line": "too", "value": "ours"}),
    RemoveFile("/etc/gone"),
    RemoveFile("/etc/gone-link"),
    Link("/etc/localtime", "/usr/share/zoneinfo/UTC"),
    Link("/etc/whole-to-link", "elsewhere"),
    Link("/etc/new-links/a", "b"),
)


def quiet(text: str) -> None:
    assert text


def add(text: str | None, line: str, value: str = "") -> str:
    """A keyed edit: one line `key value` for each key."""
    wanted = f"{line} {value}".strip() + "\n"
    lines = [] if text is None else text.splitlines(keepends=True)
    keys = [entry.split()[0:1] for entry in lines]
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if [line] in keys:
        lines[keys.index([line])] = wanted
    else:
        lines.append(wanted)
    return "".join(lines)


@pytest.fixture(autouse=True)
def editors(monkeypatch: pytest.MonkeyPatch) -> None:
    real = editors_module.edit

    def edit(name: str, text: str | None, args: dict[str, Any]) -> str | None:
        if name == "test.refuse":
            raise FormatError("line 3 holds what cannot be read")
        return add(text, **args) if name == "test.add" else real(name, text, args)

    monkeypatch.setattr("cowgate.changes.edit_file.edit", edit)
    monkeypatch.setattr("cowgate.changes.journal.edit", edit)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "whole").write_bytes(b"the admin's \xff\r\n")
    (etc / "whole").chmod(0o640)
    os.setxattr(etc / "whole", "user.label", b"mine")
    (etc / "real").write_text("behind the link\n")
    (etc / "link").symlink_to("real")
    (etc / "edited").write_text("first\nlast without newline")
    (etc / "gone").write_text("to be removed\n")
    (etc / "gone").chmod(0o600)
    (etc / "gone-link").symlink_to("/nowhere")
    (etc / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    (etc / "whole-to-link").write_text("a file before\n")
    if os.geteuid() == 0:
        os.chown(etc / "gone", 12, 34)
        os.chown(etc / "localtime", 12, 34, follow_symlinks=False)
    return tmp_path


def journal_of(root: Path, seal: bool = False) -> Journal:
    host, state = Host(str(root)), StateDir()
    state.ensure(host)
    if seal:
        host.write_atomic(state.seal_path, b"{}")
    journal = Journal(host, state)
    journal.begin(Phase.BOOT)
    return journal


def perform(journal: Journal, changes: Sequence[Change]) -> list[Entry]:
    entries = [journal.perform("test.fix", change, quiet) for change in changes]
    assert None not in entries
    return [entry for entry in entries if entry]


def undo_all(journal: Journal) -> None:
    for entry in reversed(journal.active()):
        journal.revert(entry, quiet)


def store(root: Path, entry: Entry, **changed: Any) -> None:
    """Make the journal look as a kill would have left it."""
    path = root / f"var/lib/cowgate/journal/{entry.name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_undo_restores_every_byte_mode_owner_link_and_attribute(root: Path) -> None:
    before = tree_listing(root / "etc")
    journal = journal_of(root)
    perform(journal, ALL)
    assert (root / "etc/real").read_text() == "through the link\n"
    assert tree_listing(root / "etc") != before
    undo_all(journal_of(root))
    assert tree_listing(root / "etc") == before
    assert journal_of(root).active() == ()


def test_a_directory_with_a_longer_name_is_not_inside(root: Path) -> None:
    """What is remembered as ours for the undo is what lies above the file, not what its path only begins with."""
    changes = [WriteFile(f"/etc/{name}", "ours\n") for name in ("new.d/a", "new.d/b", "new.d-too/c")]
    entries = perform(journal_of(root), changes)
    assert [entry.record.prior["ours"] for entry in entries] == [[], ["/etc/new.d"], []]
    undo_all(journal_of(root))
    assert not (root / "etc/new.d").exists() and not (root / "etc/new.d-too").exists()


def test_what_is_no_file_has_no_directories(root: Path) -> None:
    (root / "proc/sys/vm").mkdir(parents=True)
    (root / "proc/sys/vm/overcommit_memory").write_text("0\n")
    (root / "proc/sys/kernel/random").mkdir(parents=True)
    (root / "proc/sys/kernel/random/boot_id").write_text("b1f5fd5c-5c1a-4b4f-9a3e-6c3f6a1f2d11\n")
    host, state = Stage(root), StateDir()
    state.ensure(host)
    journal = Journal(host, state)
    journal.begin(Phase.BOOT)
    (entry,) = perform(journal, [Sysctl("vm.overcommit_memory", "1")])
    assert (root / "proc/sys/vm/overcommit_memory").read_text() == "1"
    assert "ours" not in entry.record.prior


def test_lock_goes_out_of_a_file_that_somebody_broke(root: Path) -> None:
    perform(journal_of(root), [EditFile("/etc/compose.yml", "compose.lock", {"message": "not ready"})])
    path = root / "etc/compose.yml"
    path.write_text(path.read_text() + "services: [\n")
    (entry,) = perform(journal_of(root), [EditFile("/etc/compose.yml", "compose.unlock")])
    assert entry.state == "done"
    assert "x-cowgate" not in path.read_text() and path.read_text().endswith("services: [\n")


def test_second_time_there_is_nothing_to_do_and_no_run(root: Path) -> None:
    perform(journal_of(root), ALL[:4])
    journal = journal_of(root)
    assert [journal.perform("test.fix", change, quiet) for change in ALL[:4]] == [None] * 4
    assert [run.id for run in journal.runs()] == ["0001"]


def test_entries_tell_what_was_done_without_content(root: Path) -> None:
    journal = journal_of(root)
    (entry,) = perform(journal, [WriteFile("/etc/whole", "ours\n")])
    (run,) = journal_of(root).runs()
    assert (run.id, run.phase, run.entries) == ("0001", "boot", (entry,))
    change = entry.as_change()
    assert (change["kind"], change["target"], change["fix"]) == ("WriteFile", "/etc/whole", "test.fix")
    assert len(change["before"]) == len(change["after"]) == 64
    assert "ours" not in json.dumps(change)


def test_a_report_gets_the_diff_of_what_everybody_may_read_and_of_nothing_else(root: Path) -> None:
    """The report is world-readable: neither a file that is not, nor one behind a directory that is not, is quoted in it."""
    shown = WriteFile("/etc/seen", "SEEN\n")
    hidden = WriteFile("/etc/hidden", "HIDDEN\n", mode=0o600)
    behind = WriteFile("/etc/private/file", "BEHIND\n")
    assert root.stat().st_mode & 0o777 == 0o700
    (nobody_gets_there,) = perform(journal_of(root), [WriteFile("/etc/first", "FIRST\n")])
    assert "diff" not in nobody_gets_there.as_change()
    root.chmod(0o755)
    (root / "etc/private").mkdir(mode=0o700)
    changes = [entry.as_change() for entry in perform(journal_of(root), [shown, hidden, behind])]
    assert "+SEEN\n" in changes[0]["diff"] and changes[0]["diff"].startswith("--- /dev/null\n+++ /etc/seen\n")
    assert "HIDDEN" not in json.dumps(changes[1]) and "BEHIND" not in json.dumps(changes[2])
    (secret,) = perform(journal_of(root), [WriteFile("/etc/settings", "password = hunter2\n")])
    assert "hunter2" not in json.dumps(secret.as_change()) and "+password = ***" in secret.as_change()["diff"]
    (long,) = perform(journal_of(root), [WriteFile("/etc/long", "x\n" * 50_000)])
    assert len(long.as_change()["diff"]) < 21_000 and long.as_change()["diff"].endswith("... (cut off)\n")
    assert all(len(change["time"]) == 20 for change in changes)


def test_journal_and_backups_are_for_root_alone(root: Path) -> None:
    perform(journal_of(root), ALL)
    for path, (mode, *_rest) in tree_listing(root / "var/lib/cowgate").items():
        assert isinstance(mode, int)
        if path.startswith("journal"):
            assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), path


def test_gate_is_shut_before_the_first_change_and_only_then(root: Path) -> None:
    journal = journal_of(root, seal=True)
    seal = root / "var/lib/cowgate/seal.json"
    (root / "etc/whole").write_text("ours\n")
    assert journal.perform("test.fix", WriteFile("/etc/whole", "ours\n"), quiet) is None
    assert seal.exists()
    with pytest.raises(FixError, match="line 3"):
        journal.perform("test.fix", EditFile("/etc/whole", "test.refuse"), quiet)
    assert seal.exists()
    perform(journal, [RemoveFile("/etc/whole")])
    assert not seal.exists()


def test_gate_that_can_not_be_shut_stops_everything(root: Path) -> None:
    journal = journal_of(root)
    (root / "var/lib/cowgate/seal.json").mkdir()
    before = tree_listing(root / "etc")
    with pytest.raises(StateError):
        journal.perform("test.fix", WriteFile("/etc/whole", "ours\n"), quiet)
    assert tree_listing(root / "etc") == before


@pytest.mark.parametrize("what", ["content", "mode", "gone", "link"])
def test_file_that_somebody_changed_is_not_overwritten_by_undo(root: Path, what: str) -> None:
    before = tree_listing(root / "etc")
    perform(journal_of(root), [WriteFile("/etc/whole", "ours\n"), RemoveFile("/etc/gone")])
    path = root / "etc/whole"
    if what == "content":
        path.write_text("theirs\n")
    elif what == "mode":
        path.chmod(0o600)
    else:
        path.unlink()
        if what == "link":
            path.symlink_to("real")
    theirs = tree_listing(root / "etc")["whole"] if what != "gone" else None
    journal = journal_of(root)
    gone, whole = reversed(journal.active())
    journal.revert(gone, quiet)
    with pytest.raises(ConflictError, match="somebody else since cowgate changed it in run 0001") as caught:
        journal.revert(whole, quiet)
    assert caught.value.hint == "what was there before is kept in /var/lib/cowgate/journal/0001/0001.old"
    after = tree_listing(root / "etc")
    assert after.get("whole") == theirs
    assert after["gone"] == before["gone"]
    assert [entry.target for entry in journal.active()] == ["/etc/whole"]


def test_undo_of_what_somebody_put_back_already_is_no_conflict(root: Path) -> None:
    perform(journal_of(root), [Link("/etc/new-link", "x")])
    (root / "etc/new-link").unlink()
    undo_all(journal_of(root))
    assert journal_of(root).active() == ()


def test_directory_of_ours_goes_with_the_last_of_its_files_whatever_the_order(root: Path) -> None:
    before = tree_listing(root / "etc")
    journal = journal_of(root)
    perform(journal, [WriteFile("/etc/d/e/one", "1"), WriteFile("/etc/d/e/two", "2"), Link("/etc/d/three", "3")])
    for entry in journal.active():
        journal.revert(entry, quiet)
    assert tree_listing(root / "etc") == before


def test_directory_that_is_used_by_others_stays(root: Path) -> None:
    perform(journal_of(root), ALL[:1])
    (root / "etc/new.d/theirs").write_text("x")
    undo_all(journal_of(root))
    assert tree_listing(root / "etc/new.d").keys() == {"theirs"}


@pytest.mark.parametrize("kind", ["write", "remove", "link"])
def test_whole_file_that_somebody_changed_is_not_written_again(root: Path, kind: str) -> None:
    cases: dict[str, tuple[Change, Path]] = {
        "write": (WriteFile("/etc/whole", "ours\n"), root / "etc/whole"),
        "remove": (RemoveFile("/etc/gone"), root / "etc/gone"),
        "link": (Link("/etc/localtime", "UTC"), root / "etc/localtime"),
    }
    change, path = cases[kind]
    perform(journal_of(root), [change])
    path.unlink(missing_ok=True)
    path.write_text("theirs\n")
    with pytest.raises(ConflictError, match="left as it is"):
        journal_of(root).perform("test.fix", change, quiet)
    assert path.read_text() == "theirs\n"


def test_our_own_file_takes_a_new_policy(root: Path) -> None:
    perform(journal_of(root), [WriteFile("/etc/whole", "ours\n")])
    perform(journal_of(root), [WriteFile("/etc/whole", "ours, newer\n")])
    undo_all(journal_of(root))
    assert (root / "etc/whole").read_bytes() == b"the admin's \xff\r\n"


def edited(value: str = "", line: str = "mtu") -> EditFile:
    return EditFile("/etc/edited", "test.add", {"line": line, "value": value})


def test_keyed_edit_works_on_what_others_added(root: Path) -> None:
    perform(journal_of(root), [edited("1400")])
    path = root / "etc/edited"
    path.write_text("theirs\n" + path.read_text())
    assert journal_of(root).perform("test.fix", edited("1400"), quiet) is None
    perform(journal_of(root), [edited("1300")])
    assert path.read_text() == "theirs\nfirst\nlast without newline\nmtu 1300\n"


def test_keyed_edit_conflicts_when_our_own_line_was_changed(root: Path) -> None:
    path = root / "etc/edited"
    path.write_text("first\n")
    perform(journal_of(root), [edited("1400"), edited("x", "other")])
    path.write_text("first\nmtu 1450\nother x\n")
    for again in ("1400", "1300"):
        with pytest.raises(ConflictError):
            journal_of(root).perform("test.fix", edited(again), quiet)
    perform(journal_of(root), [edited("y", "other")])
    assert path.read_text() == "first\nmtu 1450\nother y\n"


def test_edit_of_what_a_program_renders_is_made_again(root: Path) -> None:
    change = EditFile("/etc/network/50-cloud-init", "interfaces.repair_alias", {"aliases": ["eth0:0"]}, rendered=True)
    rendered = "auto eth0\niface eth0 inet static\n    address 192.0.2.2/24\n\nauto eth0:0\niface eth0:0 inet6 static\n"
    file = root / "etc/network/50-cloud-init"
    file.parent.mkdir()
    for _ in range(2):  # at the first boot, and again after cloud-init wrote the file anew
        file.write_text(rendered)
        assert len(perform(journal_of(root), [change])) == 1
        assert "eth0:0" not in file.read_text()
    undo_all(journal_of(root))
    assert file.read_text() == rendered


def test_keyed_edit_follows_a_changed_policy(root: Path) -> None:
    path = root / "etc/edited"
    path.write_text("first\n")
    perform(journal_of(root), [edited("1400")])
    perform(journal_of(root), [edited("1300")])
    perform(journal_of(root), [edited("1400")])
    assert path.read_text() == "first\nmtu 1400\n"
    undo_all(journal_of(root))
    assert path.read_text() == "first\n"


def test_keyed_edit_of_a_file_that_was_made_anew_starts_again(root: Path) -> None:
    perform(journal_of(root), [edited("1400")])
    (root / "etc/edited").unlink()
    perform(journal_of(root), [edited("1400")])
    assert (root / "etc/edited").read_text() == "mtu 1400\n"


# -- after a kill ------------------------------------------------------------------------------------------------------


def test_open_change_is_rolled_back_at_the_next_start(root: Path) -> None:
    before = tree_listing(root / "etc")
    for change in ALL:
        journal = journal_of(root)
        (entry,) = perform(journal, [change])
        store(root, entry, state="open", after=None)
        (notice,) = journal_of(root, seal=True).recover(quiet)
        assert "rolled back" in notice
        assert not (root / "var/lib/cowgate/seal.json").exists()
        assert tree_listing(root / "etc") == before, change
        assert journal_of(root).recover(quiet) == ()


def test_open_change_that_was_not_yet_made_needs_nothing(root: Path) -> None:
    journal = journal_of(root)
    entries = perform(journal, [WriteFile("/etc/a/b", "x"), WriteFile("/etc/whole", "ours\n")])
    undo_all(journal)
    (root / "etc/a").mkdir()
    before = tree_listing(root / "etc")
    for entry in entries:
        store(root, entry, state="open", after=None)
    journal_of(root).recover(quiet)
    del before["a"]
    assert tree_listing(root / "etc") == before


def test_open_change_that_somebody_went_on_with_is_left(root: Path) -> None:
    (entry,) = perform(journal_of(root), [WriteFile("/etc/whole", "ours\n")])
    store(root, entry, state="open", after=None)
    (root / "etc/whole").write_text("theirs\n")
    (notice,) = journal_of(root).recover(quiet)
    assert "left as it is" in notice
    assert (root / "etc/whole").read_text() == "theirs\n"
    assert journal_of(root).recover(quiet) == ()


def test_finished_change_of_an_interrupted_run_stays(root: Path) -> None:
    perform(journal_of(root), [WriteFile("/etc/whole", "ours\n")])
    assert journal_of(root, seal=True).recover(quiet) == ()
    assert (root / "etc/whole").read_text() == "ours\n"
    assert (root / "var/lib/cowgate/seal.json").exists()


def test_interrupted_undo_is_finished(root: Path) -> None:
    before = tree_listing(root / "etc")
    entries = perform(journal_of(root), ALL)
    for entry in entries[-3:]:
        store(root, entry, state="undoing")
    notices = journal_of(root).recover(quiet)
    assert [notice.split(":")[0] for notice in notices] == ["/etc/new-links/a", "/etc/whole-to-link", "/etc/localtime"]
    undo_all(journal_of(root))
    assert tree_listing(root / "etc") == before


def test_temporary_files_are_swept_wherever_they_may_lie(root: Path) -> None:
    perform(journal_of(root), ALL[:1])
    lib = root / "var/lib/cowgate"
    for directory in (lib, lib / "journal", lib / "journal/0001", root / "etc/new.d/deep"):
        (directory / ".cowgate-4711-0.tmp").write_text("half")
    journal_of(root).recover(quiet)
    assert not [path for path in tree_listing(root) if path.endswith(".tmp")]


def test_directory_that_others_may_write_since_does_not_stop_the_next_run(root: Path) -> None:
    perform(journal_of(root), ALL[:1])
    (root / "etc/new.d/deep").chmod(0o777)
    assert journal_of(root).recover(quiet) == ()
    with pytest.raises(CowgateError, match="can be written by others"):
        undo_all(journal_of(root))


def test_run_that_was_killed_before_its_first_entry_leaves_nothing(root: Path) -> None:
    journal = journal_of(root)
    (root / "var/lib/cowgate/journal/0001").mkdir(mode=0o700)
    journal.recover(quiet)
    assert os.listdir(root / "var/lib/cowgate/journal") == []
    perform(journal, ALL[:1])
    assert journal.run_id == "0001"


def test_failed_change_is_rolled_back_at_once(root: Path) -> None:
    before = tree_listing(root / "etc")
    journal = journal_of(root)
    (root / "etc/real").chmod(0o777)
    (root / "etc/real").unlink()
    (root / "etc/real").mkdir()
    with pytest.raises((CowgateError, OSError)):
        journal.perform("test.fix", WriteFile("/etc/link", "x"), quiet)
    (root / "etc/real").rmdir()
    (root / "etc/real").write_text("behind the link\n")
    assert tree_listing(root / "etc") == before


# -- reading -----------------------------------------------------------------------------------------------------------


def test_runs_are_told_apart(root: Path) -> None:
    perform(journal_of(root), ALL[:1])
    perform(journal_of(root), ALL[1:3])
    journal = journal_of(root)
    assert [run.id for run in journal.runs()] == ["0001", "0002"]
    assert [entry.target for entry in journal.active("2")] == ["/etc/whole", "/etc/link"]
    with pytest.raises(UsageError, match="no run 7"):
        journal.active("7")


@pytest.mark.parametrize("content", ["{", "{}", '{"change": 3}'])
def test_journal_that_can_not_be_read_is_told(root: Path, content: str) -> None:
    (entry,) = perform(journal_of(root), ALL[:1])
    (root / f"var/lib/cowgate/journal/{entry.name}.json").write_text(content)
    with pytest.raises(StateError, match=r"0001/0001\.json"):
        journal_of(root).recover(quiet)
