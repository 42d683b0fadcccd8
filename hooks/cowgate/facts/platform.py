"""What kind of machine this is: architecture, virtualization with its evidence, NAS systems, the operating system."""

import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.errors import CommandFailed
from cowgate.facts.cpu import CPUINFO_LIMIT
from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# Programs that every system has and that are part of its userland, the first that is there tells.
USERLAND = ("/bin/sh", "/usr/bin/env", "/bin/busybox", "/sbin/init")
PROGRAM_LIMIT = 16 << 20  # bytes; bash is 1.4 MB, a static busybox 2 MB

# e_machine of the ELF header (elf(5)) -> what uname(2) calls it
ELF_MACHINES = {3: "i386", 8: "mips", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}

# What systemd-detect-virt(1) prints for containers (and WSL); every other answer is a virtual machine or bare metal.
CONTAINERS = (
    "openvz",
    "lxc",
    "lxc-libvirt",
    "systemd-nspawn",
    "docker",
    "podman",
    "rkt",
    "wsl",
    "proot",
    "pouch",
    "container-other",
)

# Parts of the cgroup path of PID 1 that only a container manager makes.
CGROUP_MARKS = ("/docker/", "/docker-", "/lxc/", "/lxc.payload", "/libpod", "/kubepods", "/crio-", "/machine.slice/")

# Marker files of NAS systems, which have os-release files of their own making or none.
NAS_MARKERS = {
    "/etc.defaults/synoinfo.conf": "Synology DSM",
    "/etc/synoinfo.conf": "Synology DSM",
    "/usr/syno/etc.defaults": "Synology DSM",
    "/etc/config/uLinux.conf": "QNAP QTS",
    "/etc/config/qpkg.conf": "QNAP QTS",
}


class Elf(NamedTuple):
    """The header of a program of this system: `machine` as uname(2) names it, `bits` 32 or 64."""

    path: str
    machine: str
    bits: int


class Evidence(NamedTuple):
    """One thing that tells about virtualization. `container`: it means a container, whatever the others say."""

    source: str
    says: str
    container: bool = False


class OsRelease(NamedTuple):
    """/etc/os-release (os-release(5)). Fields it does not have are ""."""

    id: str = ""
    version: str = ""
    name: str = ""
    codename: str = ""


class Platform(NamedTuple):
    """`machine` is the running kernel's word (None in an offline tree), `elf` the userland's.

    `chroot`: our root directory is not that of PID 1, or has no /proc (None where that may not be looked up). `evidence` is
    empty in an offline tree. `unreadable` names evidence that only root may see. `date` (UTC) is the day of collection, for
    the dates on which support for a release ends.
    """

    live: bool
    machine: Optional[str] = None
    elf: Optional[Elf] = None
    chroot: Optional[bool] = None
    evidence: tuple[Evidence, ...] = ()
    unreadable: tuple[str, ...] = ()
    nas: Optional[str] = None
    nas_marker: str = ""
    os: Optional[OsRelease] = None
    os_path: str = ""
    date: str = ""


def collect(host: "Host", policy: "Policy") -> Fact[Platform]:
    """Always a value: what cannot be told is None in it."""
    evidence, unreadable = _evidence(host) if host.live else ((), ())
    nas_marker = next((path for path in NAS_MARKERS if host.exists(path)), "")
    os_path = next((path for path in ("/etc/os-release", "/usr/lib/os-release") if host.exists(path)), "")
    return Fact.of(
        Platform(
            live=host.live,
            machine=host.uname().machine if host.live else None,
            elf=_userland(host),
            chroot=in_chroot(host) if host.live else None,
            evidence=evidence,
            unreadable=unreadable,
            nas=NAS_MARKERS.get(nas_marker),
            nas_marker=nas_marker,
            os=parse_os_release(host.read(os_path)) if os_path else None,
            os_path=os_path,
            date=time.strftime("%Y-%m-%d", time.gmtime(host.now())),
        )
    )


def _userland(host: "Host") -> Optional[Elf]:
    for path in USERLAND:
        try:
            elf = parse_elf(path, host.read_bytes(path, PROGRAM_LIMIT)[:20])
        except OSError:  # not there, or a link to nowhere: the next one tells
            continue
        if elf:
            return elf
    return None


def parse_elf(path: str, header: bytes) -> Optional[Elf]:
    """Machine and word size out of the first 20 bytes of a program; None where it is no ELF file (a script)."""
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    order = ">" if header[5] == 2 else "<"
    (machine,) = struct.unpack_from(f"{order}H", header, 18)
    return Elf(path, ELF_MACHINES.get(machine, f"ELF machine {machine}"), 64 if header[4] == 2 else 32)


def in_chroot(host: "Host") -> Optional[bool]:
    """Whether our root directory is not that of PID 1, or has no /proc; None where that may not be looked up."""
    if not host.exists("/proc/self"):  # a booted system always has /proc
        return True
    try:
        ours, theirs = host.stat("/"), host.stat("/proc/1/root")
    except OSError:  # only root may look at PID 1's root
        return None
    return (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino)


def _evidence(host: "Host") -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
    found: list[Evidence] = []
    unreadable: list[str] = []
    readers = (_detect_virt, _pid1_environ, _container_files, _openvz, _cgroup, _lxcfs, _kernel_release, _dmi, _cpu)
    for reader in readers:
        try:
            found += reader(host)
        except PermissionError as error:
            unreadable.append(str(error.filename))
        except CommandFailed as error:
            unreadable.append(error.message)
    return tuple(found), tuple(unreadable)


def _detect_virt(host: "Host") -> Iterator[Evidence]:
    if host.which("systemd-detect-virt"):
        # exit code 1 means "none"; it prints the innermost layer, a container before the machine around it
        says = host.run(["systemd-detect-virt"], timeout=5, ok=(0, 1)).out.strip()
        if says:
            yield Evidence("systemd-detect-virt", says, says in CONTAINERS)


def _pid1_environ(host: "Host") -> Iterator[Evidence]:
    for variable in (host.read_or_none("/proc/1/environ") or "").split("\0"):
        if variable.startswith("container="):
            yield Evidence("/proc/1/environ", variable, container=True)


def _container_files(host: "Host") -> Iterator[Evidence]:
    # The second is systemd's container interface: it is there without systemd inside too.
    for path in ("/run/systemd/container", "/run/host/container-manager"):
        name = host.read_or_none(path)
        if name is not None:
            yield Evidence(path, name.strip() or "is there", container=True)
    for path in ("/.dockerenv", "/run/.containerenv"):
        if host.exists(path):
            yield Evidence(path, "is there", container=True)


def _openvz(host: "Host") -> Iterator[Evidence]:
    # The OpenVZ and Virtuozzo kernels show /proc/vz everywhere, and /proc/bc on the machine itself only.
    if host.exists("/proc/vz") and not host.exists("/proc/bc"):
        yield Evidence("/proc/vz", "is there, and /proc/bc is not (OpenVZ, Virtuozzo)", container=True)


def _cgroup(host: "Host") -> Iterator[Evidence]:
    for line in (host.read_or_none("/proc/1/cgroup") or "").splitlines():
        if any(mark in line for mark in CGROUP_MARKS):
            yield Evidence("/proc/1/cgroup", line, container=True)
            return


def _lxcfs(host: "Host") -> Iterator[Evidence]:
    # LXC, Incus and Proxmox containers see lxcfs over files in /proc; the machine itself has it in /var/lib/lxcfs.
    for line in (host.read_or_none("/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.startswith("fuse.lxcfs ") and len(fields) > 4 and fields[4].startswith("/proc/"):
            yield Evidence("/proc/self/mountinfo", f"lxcfs on {fields[4]}", container=True)
            return


def _kernel_release(host: "Host") -> Iterator[Evidence]:
    release = (host.read_or_none("/proc/sys/kernel/osrelease") or "").strip()
    # the marks by which systemd's detect_wsl() knows it
    if "microsoft" in release.lower() or "WSL" in release:
        yield Evidence("/proc/sys/kernel/osrelease", f"{release} (WSL)", container=True)


def _dmi(host: "Host") -> Iterator[Evidence]:
    for name in ("sys_vendor", "product_name"):
        path = f"/sys/class/dmi/id/{name}"
        says = (host.read_or_none(path) or "").strip()
        if says:
            yield Evidence(path, says)


def _cpu(host: "Host") -> Iterator[Evidence]:
    for line in (host.read_or_none("/proc/cpuinfo", CPUINFO_LIMIT) or "").splitlines():
        if line.startswith("flags") and " hypervisor " in f"{line} ":
            yield Evidence("/proc/cpuinfo", "hypervisor")
            return


def parse_os_release(text: str) -> OsRelease:
    """The fields that identify a release. Quotes and backslashes as os-release(5) allows them."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            values[key] = _unquote(value)
    return OsRelease(
        id=values.get("ID", "linux"),  # the default that os-release(5) names
        version=values.get("VERSION_ID", ""),
        name=values.get("PRETTY_NAME", "") or values.get("NAME", ""),
        codename=values.get("VERSION_CODENAME", ""),
    )


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    plain, escaped = "", False
    for character in value:
        escaped = character == "\\" and not escaped
        if not escaped:
            plain += character
    return plain
