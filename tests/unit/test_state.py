"""The state directory: made with the right modes, trusted, locked, and clear about what is wrong with it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cowgate.errors import BusyError, StateError, hint_for
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir


def modes(root: Path) -> dict[str, int]:
    return {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("var/lib/cowgate", "var/lib/cowgate/journal")}


def test_directories_are_made_and_their_modes_put_right(tmp_path: Path) -> None:
    host, state = Host(str(tmp_path)), StateDir()
    state.ensure(host)
    assert modes(tmp_path) == {"var/lib/cowgate": 0o755, "var/lib/cowgate/journal": 0o700}
    (tmp_path / "var/lib/cowgate").chmod(0o700)
    (tmp_path / "var/lib/cowgate/journal").chmod(0o755)
    state.ensure(host)
    assert modes(tmp_path) == {"var/lib/cowgate": 0o755, "var/lib/cowgate/journal": 0o700}


def test_places(tmp_path: Path) -> None:
    state = StateDir("/srv/state")
    assert state.report_path == "/srv/state/readiness.json"
    assert state.seal_path == "/srv/state/seal.json"
    state.ensure(Host(str(tmp_path)))
    assert (tmp_path / "srv/state/journal").is_dir()


def test_a_directory_above_that_others_can_write_is_told(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var").chmod(0o777)
    with pytest.raises(StateError, match=r"cannot be trusted: .*/var can be written by others") as caught:
        StateDir().ensure(Host(str(tmp_path)))
    assert "chmod go-w" in caught.value.hint


def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/cowgate").write_text("")
    with pytest.raises(StateError, match=r"Not a directory|File exists"):
        StateDir().ensure(Host(str(tmp_path)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_not_root_is_told(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir(mode=0o555)
    with pytest.raises(StateError, match="Permission denied") as caught:
        StateDir().ensure(Host(str(tmp_path)))
    assert caught.value.hint == "run it as root"


def test_second_run_is_kept_out(tmp_path: Path) -> None:
    host, state = Host(str(tmp_path)), StateDir()
    state.ensure(host)
    with state.lock(host):
        with pytest.raises(BusyError) as caught, state.lock(host):
            raise AssertionError("two runs at once")
        assert caught.value.exit_code == 75
    with state.lock(host):
        assert (tmp_path / "var/lib/cowgate/lock").exists()


def test_lock_without_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file"), StateDir().lock(Host(str(tmp_path))):
        raise AssertionError("a lock without a file")


def test_shut_takes_the_seal_away(tmp_path: Path) -> None:
    host, state = Host(str(tmp_path)), StateDir()
    state.ensure(host)
    host.write_atomic(state.seal_path, b"{}")
    state.shut(host)
    state.shut(host)
    assert not (tmp_path / "var/lib/cowgate/seal.json").exists()


def test_shut_says_when_it_can_not(tmp_path: Path) -> None:
    (tmp_path / "var/lib/cowgate/seal.json").mkdir(parents=True)
    with pytest.raises(StateError, match=r"seal\.json"):
        StateDir().shut(Host(str(tmp_path)))


def test_errors_of_the_system_have_a_next_step() -> None:
    assert "full" in hint_for(OSError(28, "No space left on device"))
    assert hint_for(OSError("no number")) == ""
