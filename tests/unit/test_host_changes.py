"""The changing half of the host: atomic, durable, careful about links, owners and strangers."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cowgate.errors import BusyError, OfflineError, UntrustedPath
from cowgate.machine.host import Host


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True, mode=0o755)
    return root


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_new_file_gets_the_mode_that_is_asked_for_whatever_the_umask(tree: Path) -> None:
    old = os.umask(0o077)
    try:
        Host(str(tree)).write_atomic("/etc/new", b"x", mode=0o644)
    finally:
        os.umask(old)
    assert (tree / "etc/new").read_bytes() == b"x"
    assert mode_of(tree / "etc/new") == 0o644
    assert os.listdir(tree / "etc") == ["new"]


def test_replacing_keeps_mode_owner_and_extended_attributes(tree: Path) -> None:
    path = tree / "etc/conf"
    path.write_text("old")
    path.chmod(0o640)
    os.setxattr(path, "user.label", b"mine")
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    owner = (path.stat().st_uid, path.stat().st_gid)
    Host(str(tree)).write_atomic("/etc/conf", b"new")
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o640
    assert (path.stat().st_uid, path.stat().st_gid) == owner
    assert os.getxattr(path, "user.label") == b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can set labels")
def test_selinux_label_stays_and_digests_of_the_content_do_not(tree: Path) -> None:
    path = tree / "etc/conf"
    path.write_text("old")
    os.setxattr(path, "security.selinux", b"system_u:object_r:etc_t:s0")
    Host(str(tree)).write_atomic("/etc/conf", b"new")
    assert os.getxattr(path, "security.selinux") == b"system_u:object_r:etc_t:s0"
    assert "security.ima" not in Host(str(tree)).xattrs("/etc/conf")


def test_link_stays_and_its_target_is_edited_inside_the_root(tree: Path) -> None:
    (tree / "srv").mkdir()
    (tree / "srv/real").write_text("old")
    (tree / "etc/link").symlink_to("/srv/real")
    Host(str(tree)).write_atomic("/etc/link", b"new")
    assert os.readlink(tree / "etc/link") == "/srv/real"
    assert (tree / "srv/real").read_text() == "new"


def test_link_that_leads_out_of_the_root_is_held_inside(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    (tree / "etc/link").symlink_to("../../outside")
    (tree / "etc/absolute").symlink_to(str(outside))
    host = Host(str(tree))
    host.write_atomic("/etc/link", b"inside")
    with pytest.raises(FileNotFoundError):
        host.write_atomic("/etc/absolute", b"inside")
    assert outside.read_text() == "untouched"
    assert (tree / "outside").read_text() == "inside"


def test_without_following_the_link_itself_is_replaced(tree: Path) -> None:
    (tree / "etc/real").write_text("old")
    (tree / "etc/link").symlink_to("real")
    Host(str(tree)).write_atomic("/etc/link", b"new", follow=False)
    assert not (tree / "etc/link").is_symlink()
    assert (tree / "etc/real").read_text() == "old"


def test_what_is_no_regular_file_is_refused(tree: Path) -> None:
    os.mkfifo(tree / "etc/fifo")
    with pytest.raises(OSError, match="not a regular file"):
        Host(str(tree)).write_atomic("/etc/fifo", b"x")


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_directory_that_others_can_write_is_refused(tree: Path, mode: int) -> None:
    (tree / "etc").chmod(mode)
    host = Host(str(tree))
    with pytest.raises(UntrustedPath, match="can be written by others") as caught:
        host.write_atomic("/etc/conf", b"x")
    # not of a directory that is everybody's by design: /tmp with its sticky bit
    assert "chmod go-w" in caught.value.hint or (
        mode & 0o1000 and "a directory that only root can change" in caught.value.hint
    )
    assert os.listdir(tree / "etc") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["directory", "link"])
def test_directory_or_link_of_another_user_is_refused(tree: Path, what: str) -> None:
    if what == "directory":
        os.chown(tree / "etc", 1234, 0)
    else:
        (tree / "etc/real").write_text("old")
        (tree / "etc/conf").symlink_to("real")
        os.chown(tree / "etc/conf", 1234, 0, follow_symlinks=False)
    with pytest.raises(UntrustedPath, match="belongs to user 1234"):
        Host(str(tree)).write_atomic("/etc/conf", b"x")


def test_a_directory_passed_through_on_the_way_of_a_link_is_examined(tree: Path) -> None:
    (tree / "open").mkdir()
    (tree / "open").chmod(0o777)
    (tree / "open/real").write_text("old")
    (tree / "etc/conf").symlink_to("../open/real")
    with pytest.raises(UntrustedPath, match="open"):
        Host(str(tree)).write_atomic("/etc/conf", b"x")


def test_failed_write_leaves_no_temporary_file(tree: Path) -> None:
    (tree / "etc/conf").mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        Host(str(tree)).write_atomic("/etc/conf", b"x")
    with pytest.raises(OSError):
        Host(str(tree)).write_atomic("/etc/other", b"x", xattrs={"nonsense": b"x"})
    assert os.listdir(tree / "etc") == ["conf"]


def test_remove_takes_the_link_and_not_its_target(tree: Path) -> None:
    (tree / "etc/real").write_text("kept")
    (tree / "etc/link").symlink_to("real")
    host = Host(str(tree))
    host.remove("/etc/link")
    host.remove("/etc/link")
    assert os.listdir(tree / "etc") == ["real"]


def test_symlink_replaces_in_one_step(tree: Path) -> None:
    (tree / "etc/localtime").symlink_to("old")
    Host(str(tree)).symlink("/etc/localtime", "/usr/share/zoneinfo/Europe/Berlin")
    assert os.readlink(tree / "etc/localtime") == "/usr/share/zoneinfo/Europe/Berlin"
    (tree / "etc/d").mkdir()
    with pytest.raises(OSError):
        Host(str(tree)).symlink("/etc/d", "x")
    assert sorted(os.listdir(tree / "etc")) == ["d", "localtime"]


def test_missing_directories_are_told_outermost_first(tree: Path) -> None:
    host = Host(str(tree))
    assert host.missing_directories("/etc/a/b/c") == ("/etc/a", "/etc/a/b")
    host.mkdir("/etc/a", 0o750)
    assert mode_of(tree / "etc/a") == 0o750
    assert host.missing_directories("/etc/a/b/c") == ("/etc/a/b",)


def test_rmdir_leaves_what_is_not_empty(tree: Path) -> None:
    host = Host(str(tree))
    (tree / "etc/d").mkdir()
    (tree / "etc/d/f").write_text("")
    host.rmdir("/etc/d")
    assert (tree / "etc/d/f").exists()
    host.remove("/etc/d/f")
    host.rmdir("/etc/d")
    host.rmdir("/etc/d")
    assert os.listdir(tree / "etc") == []


def test_sweep_takes_only_our_temporary_files(tree: Path) -> None:
    for name in (".cowgate-12-0.tmp", ".cowgate-12-1.tmp", "conf.tmp", ".cowgate-note"):
        (tree / "etc" / name).write_text("")
    host = Host(str(tree))
    assert sorted(host.sweep("/etc")) == [".cowgate-12-0.tmp", ".cowgate-12-1.tmp"]
    assert sorted(os.listdir(tree / "etc")) == [".cowgate-note", "conf.tmp"]
    assert host.sweep("/nowhere") == ()


def test_temporary_name_that_is_taken_is_passed_over(tree: Path) -> None:
    (tree / f"etc/.cowgate-{os.getpid()}-0.tmp").write_text("left by a run with the same pid")
    Host(str(tree)).write_atomic("/etc/conf", b"x")
    assert (tree / "etc/conf").read_bytes() == b"x"


def test_links_in_a_circle_are_an_error(tree: Path) -> None:
    (tree / "etc/a").symlink_to("b")
    (tree / "etc/b").symlink_to("a")
    with pytest.raises(OSError) as caught:
        Host(str(tree)).write_atomic("/etc/a", b"x")
    assert caught.value.errno == errno.ELOOP


def test_lock_is_exclusive_and_names_its_holder(tree: Path) -> None:
    host = Host(str(tree))
    with host.locked("/etc/lock"):
        with pytest.raises(BusyError, match=f"process {os.getpid()} holds") as caught, host.locked("/etc/lock"):
            raise AssertionError("the lock was given twice")
        assert caught.value.exit_code == 75
    assert mode_of(tree / "etc/lock") == 0o600
    with host.locked("/etc/lock"):
        assert (tree / "etc/lock").read_text() == f"{os.getpid()}\n"


def test_kernel_settings_and_swap_space_need_a_live_machine(tree: Path) -> None:
    host = Host(str(tree))
    for call in (lambda: host.write_kernel("/proc/sys/vm/x", "1"), lambda: host.allocate("/swapfile", 10)):
        with pytest.raises(OfflineError):
            call()


def test_record_lock_holder_is_named() -> None:
    import fcntl
    import subprocess
    import sys
    import tempfile

    with tempfile.NamedTemporaryFile() as lock:
        host = Host("/")
        assert host.record_lock_holder(lock.name) is None
        code = f"import fcntl,sys;f=open({lock.name!r},'r+');fcntl.lockf(f,fcntl.LOCK_EX);print(flush=True);sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline()
            assert host.record_lock_holder(lock.name) == child.pid
            child.communicate(b"")
        fcntl.lockf(lock, fcntl.LOCK_UN)
        assert host.record_lock_holder(lock.name + ".none") is None
