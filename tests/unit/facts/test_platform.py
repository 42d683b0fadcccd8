from __future__ import annotations

import struct
from pathlib import Path

import pytest

from cowgate.facts.platform import CONTAINERS, Elf, OsRelease, Platform, collect, parse_elf, parse_os_release
from cowgate.machine.host import Host
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, directory, put, recorded


def header(machine: int, bits: int, order: str = "<") -> bytes:
    """The first 20 bytes of an ELF program (elf(5))."""
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    return ident + struct.pack(f"{order}HH", 3, machine)


def value(host: Host) -> Platform:
    return collect(host, Policy()).value


@pytest.mark.parametrize(
    ("machine", "bits", "order", "name"),
    [
        (62, 64, "<", "x86_64"),
        (62, 32, "<", "x86_64"),
        (3, 32, "<", "i386"),
        (183, 64, "<", "aarch64"),
        (40, 32, "<", "arm"),
        (22, 64, ">", "s390x"),
        (9999, 64, "<", "ELF machine 9999"),
    ],
)
def test_elf_header(machine: int, bits: int, order: str, name: str) -> None:
    assert parse_elf("/bin/sh", header(machine, bits, order)) == Elf("/bin/sh", name, bits)


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\nexec true here\n", b"\x7fELF", header(62, 64)[:19]])
def test_no_elf_header(data: bytes) -> None:
    assert parse_elf("/bin/sh", data) is None


def test_userland_of_this_machine_is_found_behind_links() -> None:
    elf = value(Host("/")).elf
    assert elf is not None
    assert (elf.path, elf.bits) == ("/bin/sh", struct.calcsize("P") * 8)


def test_userland_of_a_tree_without_sh_is_told_by_the_next_program(tmp_path: Path) -> None:
    put(tmp_path, "/bin/sh", "-> nowhere")
    put(tmp_path, "/usr/bin/env", "#!/bin/true, a script\n")
    (tmp_path / "bin/busybox").write_bytes(header(183, 64) + bytes(100))
    platform = value(Host(str(tmp_path)))
    assert platform.elf == Elf("/bin/busybox", "aarch64", 64)
    assert (platform.live, platform.machine, platform.evidence, platform.chroot) == (False, None, (), None)


def test_empty_tree(tmp_path: Path) -> None:
    platform = value(Host(str(tmp_path)))
    assert (platform.elf, platform.os, platform.nas) == (None, None, None)
    assert len(platform.date) == len("2026-01-01")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("debian-13", OsRelease("debian", "13", "Debian GNU/Linux 13 (trixie)", "trixie")),
        ("alpine-3.22", OsRelease("alpine", "3.22.1", "Alpine Linux v3.22", "")),
        ("almalinux-9", OsRelease("almalinux", "9.6", "AlmaLinux 9.6 (Sage Margay)", "")),
    ],
)
def test_os_release(name: str, wanted: OsRelease) -> None:
    assert parse_os_release(recorded("platform", f"os-release.{name}")) == wanted


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ""),
        ("NAME='Single'", "Single"),
        ('NAME="quote \\" dollar \\$ backslash \\\\"', 'quote " dollar $ backslash \\'),
        ("# PRETTY_NAME=comment\nNAME=plain\nnonsense", "plain"),
        ('PRETTY_NAME=""\nNAME=other', "other"),
        ('NAME="', '"'),
    ],
)
def test_os_release_quoting(text: str, name: str) -> None:
    assert parse_os_release(text) == OsRelease(id="linux", name=name)


def test_os_release_in_usr_lib(tmp_path: Path) -> None:
    put(tmp_path, "/usr/lib/os-release", "ID=debian\n")
    platform = value(Host(str(tmp_path)))
    assert platform.os_path == "/usr/lib/os-release"
    assert platform.os is not None and platform.os.id == "debian"


@pytest.mark.parametrize(
    ("path", "name"),
    [("/etc.defaults/synoinfo.conf", "Synology DSM"), ("/etc/config/uLinux.conf", "QNAP QTS")],
)
def test_nas(tmp_path: Path, path: str, name: str) -> None:
    put(tmp_path, path, "")
    platform = value(Host(str(tmp_path)))
    assert (platform.nas, platform.nas_marker) == (name, path)


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("/proc/1/environ", "HOME=/\0container=lxc\0TERM=linux\0", "container=lxc"),
        ("/run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("/run/systemd/container", "", "is there"),
        ("/run/host/container-manager", "systemd-nspawn\n", "systemd-nspawn"),
        ("/.dockerenv", "", "is there"),
        ("/run/.containerenv", 'engine="podman-5.4.2"\n', "is there"),
        ("/proc/vz/version", "", "is there, and /proc/bc is not (OpenVZ, Virtuozzo)"),
        ("/proc/1/cgroup", "1:name=systemd:/docker/3f1e\n", "1:name=systemd:/docker/3f1e"),
        ("/proc/1/cgroup", "0::/lxc.payload.101/init.scope\n", "0::/lxc.payload.101/init.scope"),
        (
            "/proc/self/mountinfo",
            "544 527 0:57 /proc/cpuinfo /proc/cpuinfo rw,nosuid - fuse.lxcfs lxcfs rw,user_id=0\n",
            "lxcfs on /proc/cpuinfo",
        ),
        ("/proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n", "5.15.153.1-microsoft-standard-WSL2 (WSL)"),
        ("/proc/sys/kernel/osrelease", "4.4.0-19041-Microsoft\n", "4.4.0-19041-Microsoft (WSL)"),
    ],
)
def test_container_evidence(tmp_path: Path, path: str, text: str, says: str) -> None:
    found = value(Machine(tmp_path, {path: text}, {"systemd-detect-virt": "kvm\n"})).evidence
    (container,) = [item for item in found if item.container]
    assert path.startswith(container.source)
    assert container.says == says
    assert ("systemd-detect-virt", "kvm", False) in [(item.source, item.says, item.container) for item in found]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/proc/1/environ", "HOME=/\0TERM=linux\0not_container=1\0"),
        ("/proc/1/cgroup", "0::/init.scope\n"),
        ("/proc/1/cgroup", "12:pids:/\n1:name=systemd:/init.scope\n"),
        ("/proc/self/mountinfo", "90 28 0:49 / /var/lib/lxcfs rw,nosuid - fuse.lxcfs lxcfs rw\nbroken line\n"),
        ("/proc/sys/kernel/osrelease", "6.8.0-1021-azure\n"),
    ],
)
def test_the_machine_itself_is_no_container(tmp_path: Path, path: str, text: str) -> None:
    assert value(Machine(tmp_path, {path: text})).evidence == ()


def test_openvz_node_has_both(tmp_path: Path) -> None:
    assert value(Machine(tmp_path, {"/proc/vz/version": "", "/proc/bc/resources": ""})).evidence == ()


@pytest.mark.parametrize("name", CONTAINERS)
def test_detect_virt_names_containers(tmp_path: Path, name: str) -> None:
    (item,) = value(Machine(tmp_path, answers={"systemd-detect-virt": f"{name}\n"})).evidence
    assert (item.says, item.container) == (name, True)


@pytest.mark.parametrize("name", ["none", "kvm", "qemu", "vmware", "microsoft", "xen", "amazon", "oracle", "parallels"])
def test_detect_virt_names_machines(tmp_path: Path, name: str) -> None:
    (item,) = value(Machine(tmp_path, answers={"systemd-detect-virt": f"{name}\n"})).evidence
    assert (item.says, item.container) == (name, False)


def test_detect_virt_that_says_nothing_is_no_evidence(tmp_path: Path) -> None:
    assert value(Machine(tmp_path, answers={"systemd-detect-virt": "\n"})).evidence == ()


def test_detect_virt_that_hangs_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    platform = value(Machine(tmp_path, {"/.dockerenv": ""}, {"systemd-detect-virt": None}))
    assert platform.unreadable == ("systemd-detect-virt gave no answer within 5 s",)
    assert [item.source for item in platform.evidence] == ["/.dockerenv"]


def test_evidence_for_root_only_is_named(tmp_path: Path) -> None:
    class NotRoot(Machine):
        def read_bytes(self, path: str, limit: int = 1 << 20) -> bytes:
            if path == "/proc/1/environ":
                raise PermissionError(13, "Permission denied", path)
            return super().read_bytes(path, limit)

    platform = value(NotRoot(tmp_path, {"/proc/1/environ": "container=lxc"}))
    assert (platform.unreadable, platform.evidence) == (("/proc/1/environ",), ())


def test_dmi(tmp_path: Path) -> None:
    files = {"/sys/class/dmi/id/sys_vendor": "Hetzner\n", "/sys/class/dmi/id/product_name": "vServer\n"}
    assert [item.says for item in value(Machine(tmp_path, files)).evidence] == ["Hetzner", "vServer"]


def test_hypervisor_flag(tmp_path: Path) -> None:
    (item,) = value(Machine(tmp_path, {"/proc/cpuinfo": recorded("cpu", "xeon")})).evidence
    assert (item.source, item.says, item.container) == ("/proc/cpuinfo", "hypervisor", False)
    assert value(Machine(tmp_path, {"/proc/cpuinfo": recorded("cpu", "ampere")})).evidence == ()


def test_chroot(tmp_path: Path) -> None:
    assert value(Machine(tmp_path)).chroot is True, "without /proc"
    directory(tmp_path, "/proc/1")
    directory(tmp_path, "/proc/self")
    assert value(Machine(tmp_path)).chroot is None
    put(tmp_path, "/proc/1/root", "-> /")
    assert value(Machine(tmp_path)).chroot is False
    (tmp_path / "proc/1/root").unlink()
    directory(tmp_path, "/proc/1/root")
    assert value(Machine(tmp_path)).chroot is True
