from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from cowgate.errors import OfflineError
from cowgate.facts.disks import (
    DATA_ROOT,
    Disks,
    collect,
    is_late,
    is_late_with_openrc,
    mount_of,
    parse_containerd_root,
    parse_mountinfo,
    parse_xfs_info,
)
from cowgate.formats import fstab
from cowgate.machine import modules
from cowgate.machine.host import Host
from cowgate.machine.modules import Mount, Space
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, directory, put, recorded

MOUNTS = "27 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n"


def value(host: Host, policy: Policy | None = None) -> Disks:
    return collect(host, policy or Policy()).value


def test_offline_tree(tmp_path: Path) -> None:
    with pytest.raises(OfflineError):
        collect(Host(str(tmp_path)), Policy())


@pytest.mark.parametrize("files", [{}, {"/proc/self/mountinfo": "30 29 0:5 / /proc rw - proc proc rw\n"}])
def test_chroot_of_an_image_build(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(OfflineError, match="chroot"):
        collect(Machine(tmp_path, files), Policy())


def test_this_machine() -> None:
    root = value(Host("/")).root
    space = os.statvfs("/")
    assert (root.mount, root.total) == ("/", space.f_blocks * space.f_frsize)


def test_nearest_parent_that_exists_is_measured(tmp_path: Path) -> None:
    directory(tmp_path, "/var/lib")
    host = Machine(tmp_path, {"/proc/self/mountinfo": MOUNTS})
    found = value(host)
    assert (found.data_root.path, found.data_root.measured) == ("/var/lib/docker", "/var/lib")
    assert (found.install.path, found.install.measured) == ("/opt/mailcow-dockerized", "/")
    assert sorted(host.asked) == ["/", "/", "/var/lib", "/var/lib"]
    space = os.statvfs(tmp_path)
    assert found.root.total == space.f_blocks * space.f_frsize
    assert abs(found.root.free - space.f_bavail * space.f_frsize) < 1 << 30


def test_links_are_followed_to_the_filesystem_that_holds_the_data(tmp_path: Path) -> None:
    mounts = MOUNTS + "40 27 254:16 / /data rw - xfs /dev/vdb1 rw\n"
    answers = {"xfs_info /data": recorded("disks", "xfs_info")}
    host = Machine(
        tmp_path, {"/proc/self/mountinfo": mounts, "/data/docker/x": "", "/var/lib/docker": "-> /data/docker"}, answers
    )
    data = value(host).data_root
    assert (data.measured, data.mount, data.fstype, data.source, data.ftype) == (
        "/data/docker",
        "/data",
        "xfs",
        "/dev/vdb1",
        1,
    )


def test_xfs_without_xfs_info(tmp_path: Path) -> None:
    host = Machine(tmp_path, {"/proc/self/mountinfo": MOUNTS.replace("ext4", "xfs")}, {"xfs_info /": None})
    assert value(host).root.ftype is None


class Tight(Machine):
    """Its filesystems have little left."""

    def space(self, path: str) -> Space:
        return super().space(path)._replace(free=5 * 10**9)


LVS = "lvs --readonly --noheadings --nosuffix --units b -o vg_free,lv_layout,lv_role /dev/mapper/vg-root"


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ("  9260000000 linear     public  \n", 9260000000),
        # what `lvextend` refuses while it is active, makes larger than its pool, or takes twice from the group
        ("  9260000000 linear     public,origin,thickorigin \n", 0),
        ("  9260000000 linear     public,snapshot,thicksnapshot \n", 0),
        ("  9260000000 thin,sparse public \n", 0),
        ("  9260000000 raid,raid1 public \n", 0),
        ("  9260000000 cache      public \n", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_what_a_volume_group_has_left_for_a_plain_volume(told: str | None, left: int, tmp_path: Path) -> None:
    files = {
        "/proc/self/mountinfo": MOUNTS.replace("/dev/vda1", "/dev/mapper/vg-root"),
        "/dev/mapper/vg-root": "-> ../dm-0",
        "/dev/dm-0": "",
        "/sys/class/block/dm-0/dm/uuid": "LVM-x",
    }
    assert value(Tight(tmp_path, files, {LVS: told})).data_root.group_free == left


def test_data_root_and_install_directory_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "/etc/docker/daemon.json", '{"data-root": "/srv/docker"}')
    found = value(Machine(tmp_path, {"/proc/self/mountinfo": MOUNTS}), Policy(install_dir="/srv/mailcow"))
    assert (found.data_root.path, found.install.path) == ("/srv/docker", "/srv/mailcow")


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("/usr/bin/dockerd\0-H\0fd://\0--data-root\0/mnt/nas\0", "/mnt/nas"),
        ("dockerd\0--data-root=/mnt/nas\0--debug\0", "/mnt/nas"),
        ("dockerd\0--debug\0", "/srv/docker"),
        ("dockerd\0--data-root\0", "/srv/docker"),
        ("tail\0--data-root\0/mnt/nas\0", "/srv/docker"),
        ("", "/srv/docker"),
    ],
)
def test_the_option_of_the_running_dockerd_comes_first(tmp_path: Path, command: str, path: str) -> None:
    put(tmp_path, "/etc/docker/daemon.json", '{"data-root": "/srv/docker"}')
    files = {"/proc/self/mountinfo": MOUNTS, "/run/docker.pid": "77", "/proc/77/cmdline": command}
    assert value(Machine(tmp_path, files)).data_root.path == path


def test_daemon_json_that_can_not_be_read_leaves_the_default(tmp_path: Path) -> None:
    directory(tmp_path, "/etc/docker/daemon.json")
    assert value(Machine(tmp_path, {"/proc/self/mountinfo": MOUNTS})).data_root.path == DATA_ROOT


def test_mountinfo() -> None:
    text = "31 27 0:28 / /a\\040b rw shared:1 master:2 - nfs4 srv:/x\\040y rw\nbroken\n1 - -\n" + MOUNTS
    assert parse_mountinfo(text) == (Mount("/a b", "nfs4", "srv:/x y"), Mount("/", "ext4", "/dev/vda1"))
    # what the kernel escapes (fs/proc_namespace.c, mangle)
    assert parse_mountinfo("1 2 0:1 / /\\011\\012\\040\\043\\134040 rw - tmpfs none rw")[0].point == "/\t\n #\\040"


def test_the_longest_mount_point_holds_a_path_and_of_two_the_last() -> None:
    mounts = tuple(Mount(point, kind, "") for point, kind in (("/", "a"), ("/var", "b"), ("/var", "c"), ("/var/lib", "d")))
    assert mount_of(mounts, "/variable").fstype == "a"
    assert mount_of(mounts, "/var").fstype == "c"
    assert mount_of(mounts, "/var/lib/docker").fstype == "d"


@pytest.mark.parametrize(
    ("text", "ftype"),
    [
        (recorded("disks", "xfs_info"), 1),
        (recorded("disks", "xfs_info").replace("ftype=1", "ftype=0"), 0),
        ("naming =version 2 bsize=4096\n", None),
    ],
)
def test_xfs_info(text: str, ftype: int | None) -> None:
    assert parse_xfs_info(text) == ftype


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "/var/lib/containerd"),
        ('#root = "/srv/no"\nversion = 3\n', "/var/lib/containerd"),
        ("version = 2\n  root = '/mnt/data/containerd' # here\n", "/mnt/data/containerd"),
        ('root = "relative"\n', "/var/lib/containerd"),
        ('[plugins."x"]\nroot = "/srv/no"\n', "/var/lib/containerd"),
        ("root = /srv/no\n", "/var/lib/containerd"),
    ],
)
def test_root_of_containerd(text: str, path: str) -> None:
    assert parse_containerd_root(text) == path


# -- psutil ------------------------------------------------------------------------------------------------------------


def test_the_mount_table_by_psutil(tmp_path: Path) -> None:
    """A psutil that can be asked counts, and the kernel's file is not read."""
    directory(tmp_path, "/var/lib/docker")
    host = Machine(tmp_path, {"/proc/self/mountinfo": MOUNTS})
    host.mounted = (Mount("/", "btrfs", "/dev/vda2"), Mount("/var/lib/docker", "ext4", "/dev/vdb"))
    found = value(host)
    assert (found.root.fstype, found.data_root.source) == ("btrfs", "/dev/vdb")


def test_the_mount_table_here_is_the_kernels() -> None:
    told = Host("/").mounts()
    read = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    if told is not None:  # psutil before 6.0
        assert [(m.point, m.fstype) for m in told] == [(m.point, m.fstype) for m in read]


class Dead(Machine):
    """A machine with a network filesystem whose server is gone: what asks for it waits."""

    def __init__(self, root: Path, point: str) -> None:
        mounts = MOUNTS + f"40 27 0:50 / {point} rw - nfs4 nas:/x rw\n"
        super().__init__(root, {"/proc/self/mountinfo": mounts, "/var/lib/docker/x": "", "/opt/mailcow-dockerized/x": ""})
        self.point, self.over = point, threading.Event()

    def space(self, path: str) -> Space:
        if path.startswith(self.point):
            self.over.wait(60)
        return super().space(path)


@pytest.mark.parametrize("point", ["/var/lib/docker", "/opt/mailcow-dockerized"])
def test_a_mount_that_hangs_costs_its_own_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    monkeypatch.setattr(modules, "FILE_SECONDS", 2.0)
    host = Dead(tmp_path, point)
    found = value(host)
    host.over.set()
    for filesystem in (found.data_root, found.install, found.root):
        hangs = filesystem.path == point
        assert filesystem.reason == ("no answer within 2 s" if hangs else "")
        assert (filesystem.total > 0) is not hangs
        assert filesystem.fstype == ("nfs4" if hangs else "ext4")


def test_a_filesystem_that_answers_with_an_error(tmp_path: Path) -> None:
    class Broken(Machine):
        def space(self, path: str) -> Space:
            if path.startswith("/var/lib/docker"):
                raise OSError(errno.ESTALE, "Stale file handle")
            return super().space(path)

    found = value(Broken(tmp_path, {"/proc/self/mountinfo": MOUNTS, "/var/lib/docker/x": ""}))
    assert found.data_root.reason == "OSError: [Errno 116] Stale file handle"
    assert (found.root.reason, found.install.reason) == ("", "")


def test_a_byte_order_mark_hides_no_data_root(tmp_path: Path) -> None:
    """dockerd skips it, and its data lies where the file says."""
    put(tmp_path, "/etc/docker/daemon.json", '\ufeff{"data-root": "/srv/docker"}')
    assert value(Machine(tmp_path, {"/proc/self/mountinfo": MOUNTS})).data_root.path == "/srv/docker"


def late(options: str, units: str = "", mount: str = "/srv") -> bool:
    lines = tuple(fields for line in (f"UUID=1 {mount} ext4 {options} 0 2",) if (fields := fstab.fields(line)))
    return is_late(lines[0][1] if lines else mount, lines, units)


@pytest.mark.parametrize(
    ("options", "units", "expected"),
    [
        ("nofail", "", True),
        ("defaults,nofail", "[Unit]\nAfter=network-online.target\n", True),
        ("defaults", "", False),
        ("nofail,x-systemd.before=docker.service", "", False),
        ("nofail,x-systemd.required-by=docker.service", "", False),
        ("nofail", "[Unit]\nRequiresMountsFor=/srv/docker\n", False),
        ("nofail", "[Unit]\nRequiresMountsFor=/srv\n", False),
        ("nofail", "[Unit]\nRequiresMountsFor=/srvother\n", True),
        ("nofail", "[Unit]\nAfter=srv.mount\n", False),
    ],
)
def test_a_mount_that_docker_does_not_wait_for(options: str, units: str, expected: bool) -> None:
    assert late(options, units) is expected
    assert not late(options, units, "/")


@pytest.mark.parametrize(
    ("options", "settings", "expected"),
    [
        ("nofail", "", True),
        ("defaults", "", False),
        ("nofail,x-systemd.before=docker.service", "", True),
        ("nofail", 'required_files="$required_files /srv/.docker-disk"\n', False),
        ("nofail", "required_dirs=/srv/docker\n", False),
        ("nofail", '# required_files="/srv/x"\nrequired_files="/srv /srvother/x"\n', True),
    ],
)
def test_a_mount_that_openrc_starts_docker_without(options: str, settings: str, expected: bool, tmp_path: Path) -> None:
    directory(tmp_path, "/srv/docker")
    put(tmp_path, "/etc/fstab", f"UUID=1 /srv ext4 {options} 0 2\n")
    put(tmp_path, "/etc/conf.d/docker", settings)
    put(tmp_path, "/etc/docker/daemon.json", '{"data-root": "/srv/docker"}')
    # A drop-in for systemd counts for nothing there.
    put(tmp_path, "/etc/systemd/system/docker.service.d/x.conf", "[Unit]\nRequiresMountsFor=/srv\n")
    put(tmp_path, "/run/openrc/softlevel", "default\n")
    mounts = MOUNTS + "28 27 254:2 / /srv rw - ext4 /dev/vdb rw\n"
    assert value(Machine(tmp_path, {"/proc/self/mountinfo": mounts})).late == (("/srv",) if expected else ())
    lines = ((("UUID=1", "/", "ext4", "nofail")),)
    assert not is_late_with_openrc("/", lines, "")


@pytest.mark.parametrize(
    ("service", "dropin", "options", "docker", "containerd"),
    [
        (True, "docker", "nofail", (), ("/srv",)),
        (True, "containerd", "nofail", ("/srv",), ()),
        (True, "containerd", "nofail,x-systemd.before=docker.service", (), ()),
        (True, "docker", "nofail,x-systemd.before=containerd.service", (), ()),
        (True, "docker", "defaults", (), ()),
        (False, "docker", "nofail", (), ()),  # dockerd starts one of its own
    ],
)
def test_a_mount_that_containerd_does_not_wait_for(
    service: bool, dropin: str, options: str, docker: tuple[str, ...], containerd: tuple[str, ...], tmp_path: Path
) -> None:
    files = {
        "/proc/self/mountinfo": MOUNTS + "28 27 254:2 / /srv rw - ext4 /dev/vdb rw\n",
        "/etc/fstab": f"UUID=1 /srv ext4 {options} 0 2\n",
        "/etc/containerd/config.toml": 'root = "/srv/containerd"\n',
        f"/etc/systemd/system/{dropin}.service.d/x.conf": "[Unit]\nRequiresMountsFor=/srv\n",
        "/usr/lib/systemd/system/docker.service": "[Unit]\n",
        **({"/usr/lib/systemd/system/containerd.service": "[Unit]\nAfter=local-fs.target\n"} if service else {}),
        "/srv/containerd/x": "",
    }
    found = value(Machine(tmp_path, files))
    assert (found.late, found.late_containerd) == (docker, containerd)


def test_the_unit_of_a_mount_is_named_as_systemd_escapes_it() -> None:
    assert not late("nofail", "After=mnt-my\\x2ddata.mount", "/mnt/my-data")
    assert not late("nofail", "After=mnt-my\\x20data.mount", "/mnt/my\\040data")


def test_flags_and_inodes_of_this_machine(tmp_path: Path) -> None:
    directory(tmp_path, "/var/lib/docker")
    put(tmp_path, "/etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n")
    found = value(Machine(tmp_path, {"/proc/self/mountinfo": MOUNTS})).data_root
    space = os.statvfs(tmp_path)
    assert (found.inodes, found.fstab, found.read_only) == (space.f_files, True, bool(space.f_flag & os.ST_RDONLY))
