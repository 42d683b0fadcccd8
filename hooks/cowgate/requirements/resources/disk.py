"""resources.disk: The disk has at least 20 GB, with enough free space for mailcow."""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Measured, Phase, Requirement, Status, Verdict, deferred, failed, passed, warned
from cowgate.requirements.resources.shared import GIB, gib, images_of, silent
from cowgate.requirements.system.shared import with_openrc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cowgate.facts.collection import Facts
    from cowgate.facts.disks import Filesystem
    from cowgate.policy.model import Policy

# "20 GiB without mail": 20 GB as sold are 18.6 GiB, less boot partitions (EL: 1.2 GiB) and the filesystem's own 2 %.
DISK_SOLD = 20 * 10**9

DROP_IN = "/etc/systemd/system/{}.service.d"
DISK_MARK = ".docker-disk"  # lies on the disk, and not in the directory that it is mounted on

DISK_TOLERANCE = 0.90

# Free bytes on Docker's data root before the install: mailcow's images unpack to about 7 GiB, ClamAV's signatures and the
# databases take 1.5 GiB (an estimate). Later an update brings new images beside the old.
DISK_FREE = 10 * GIB

DISK_FREE_INSTALLED = 2 * GIB

# What `lvextend --resizefs` enlarges with the volume (fsadm(8)); of btrfs LVM 2.03.31 says that it is not supported.
GROWN_BY_LVM = ("ext2", "ext3", "ext4", "xfs")

# What is free for Docker of a byte that a filesystem grows by: ext4 keeps 1.6 % for inodes and 5 % for root.
GROWN_SHARE = 0.93

# The checkout with its history, and room for its configuration and certificates.
DISK_FREE_CHECKOUT = GIB


# What mailcow's images and a fresh install make of files (an estimate), and what an installed one has to have left.
INODES_FREE = 200_000

INODES_FREE_INSTALLED = 20_000


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The filesystem of Docker's data root, and those of the images and of the install directory where they are others."""
    disks = facts.disks.value
    wanted = _wanted(facts)
    verdict = next((found for fs, _, _ in wanted if (found := _read_only(fs))), None)
    verdict = verdict or next((silent(fs) for fs, _, _ in wanted if fs.reason), None)
    verdict = verdict or _small(disks.data_root, phase)
    verdict = verdict or next((found for fs, size, _ in wanted if (found := _full(fs, size))), None)
    # after the bytes: xfs counts as free inodes what its free bytes can hold
    verdict = verdict or next((found for fs, _, inodes in wanted if (found := _without_inodes(fs, inodes))), None)
    verdict = verdict or _noexec(facts) or _late(facts)
    if verdict is None:
        verdict = passed(f"{gib(disks.data_root.free)} free of {gib(disks.data_root.total)}")
    if verdict.status is Status.DEFERRED:
        return verdict
    return verdict._replace(expected=_expected(facts), evidence=_evidence(facts))


def _installed(facts: Facts) -> bool:
    return facts.mailcow.state == "value" and facts.mailcow.value.installed


def _wanted(facts: Facts) -> list[tuple[Filesystem, int, int]]:
    """Each filesystem once, with the bytes and the inodes that must be free on it."""
    disks, images = facts.disks.value, images_of(facts)
    there = _installed(facts)
    size, inodes = (DISK_FREE_INSTALLED, INODES_FREE_INSTALLED) if there else (DISK_FREE, INODES_FREE)
    wanted = [(disks.data_root, size, inodes)]
    if images and images.mount != disks.data_root.mount:
        wanted.append((images, size, inodes))
    if disks.install.mount not in [filesystem.mount for filesystem, _, _ in wanted]:
        wanted.append((disks.install, 0 if there else DISK_FREE_CHECKOUT, 0))
    return wanted


def _expected(facts: Facts) -> str:
    there = _installed(facts)
    checkout = "" if there else f" and {gib(DISK_FREE_CHECKOUT)} for the install directory"
    return f"20 GB as sold; {gib(DISK_FREE_INSTALLED if there else DISK_FREE)} free for Docker{checkout}"


def _evidence(facts: Facts) -> dict[str, str]:
    disks, images = facts.disks.value, images_of(facts)
    return {
        f"{fs.mount} ({fs.source}, {fs.fstype})": f"{fs.reason or f'{gib(fs.free)} free of {gib(fs.total)}'}, holds {fs.path}"
        for fs in (disks.install, *([images] if images else []), disks.data_root)
    }


def _read_only(place: Filesystem) -> Verdict | None:
    if not place.read_only:
        return None
    return failed(
        f"{place.mount} ({place.source}), which holds {place.path}, is mounted read-only: nothing can be written there",
        remedy="find the cause first: after a disk error the kernel itself does this. Otherwise remove `ro` from "
        f"its line in /etc/fstab and run `mount -o remount,rw {place.mount}`",
        commands=(("findmnt", place.mount), ("dmesg", "--level", "emerg,alert,crit,err")),
        observed="read-only",
    )


def _without_inodes(place: Filesystem, inodes: int) -> Verdict | None:
    if not place.inodes or place.inodes_free >= inodes:
        return None
    return failed(
        f"{place.mount} has {place.inodes_free} inodes free of {place.inodes}, but {place.path} needs {inodes}: "
        f"no more files can be created there, although there is free space",
        remedy=f"find the directory with most files on {place.mount}, and remove those that nobody needs",
        commands=(("du", "--inodes", "-xd", "3", place.mount), ("df", "-i", place.mount)),
        observed=f"{place.inodes_free} inodes free",
    )


def _small(place: Filesystem, phase: Phase) -> Verdict | None:
    if place.total >= DISK_SOLD * DISK_TOLERANCE:
        return None
    if phase is Phase.BUILD:
        return deferred(f"decided at first boot: the image has {gib(place.total)}, a machine made from it may have more")
    grow, commands = _grow(place, DISK_SOLD * DISK_TOLERANCE - place.total)
    look = (("lsblk", "-o", "NAME,SIZE,FSTYPE,MOUNTPOINT"), ("df", "-h", place.mount))
    return failed(
        f"{place.mount} ({place.source}) is too small for Docker's data ({place.path}): {gib(place.total)}",
        remedy=grow or f"use a disk of at least 20 GB, and let the partition and the filesystem of {place.mount} fill it",
        commands=commands or look,
        observed=gib(place.total),
    )


def _full(place: Filesystem, size: int) -> Verdict | None:
    if place.free >= size:
        return None
    grow, commands = _grow(place, size - place.free)
    return failed(
        f"{place.mount} ({place.source}) has {gib(place.free)} free of {gib(place.total)}, but {place.path} needs {gib(size)}",
        remedy=grow or f"remove what is not needed on {place.mount}, or enlarge it",
        commands=commands or (("du", "-xhd", "2", place.mount),),
        observed=f"{gib(place.free)} free",
    )


def _grow(place: Filesystem, missing: float) -> tuple[str, Commands]:
    """How a logical volume is enlarged, where its volume group has enough left; "" and nothing otherwise."""
    if place.group_free * GROWN_SHARE < missing or missing <= 0:
        return "", ()
    remedy = f"its LVM volume group has {gib(place.group_free)} left: give them to the volume and its filesystem"
    if place.fstype in GROWN_BY_LVM:
        return remedy, (("lvextend", "--resizefs", "-l", "+100%FREE", place.source),)
    if place.fstype == "btrfs":
        resize = ("btrfs", "filesystem", "resize", "max", place.mount)
        return remedy, (("lvextend", "-l", "+100%FREE", place.source), resize)
    return "", ()


def _octal(match: re.Match[str]) -> str:
    """A character as fstab(5) writes it."""
    return f"\\{ord(match.group()):03o}"


def _noexec(facts: Facts) -> Verdict | None:
    place = facts.disks.value.install
    if not place.noexec:
        return None
    # The name of a mount point is anybody's who may mount one: here it is one argument, and literal within the expression.
    literal = re.sub(r"[][\\.^$*+?(){}|/]", r"\\\g<0>", re.sub(r"[\s\\]", _octal, place.mount))
    # `user` and `users` mean noexec too, where no exec comes after them.
    after = r"s/^((\S+\s+){3}(\S*,)?users?(,\S*)?)(\s|$)/\1,exec\5/"
    drop = f"\\|^[^#]\\S*\\s+{literal}\\s|{{s/\\bnoexec\\b/exec/;{after};}}"
    return failed(
        f"{place.mount} ({place.source}) is mounted noexec, and the install runs scripts in {place.path}",
        remedy="allow programs to run from there, now and after the next boot"
        if place.fstab
        else f"remove noexec where {place.mount} is mounted (not in /etc/fstab), or set another install_dir in the policy",
        commands=(("sed", "-i", "-E", drop, "/etc/fstab"), ("mount", "-o", "remount,exec", place.mount))
        if place.fstab
        else (("grep", f" {place.mount} ", "/proc/mounts") if with_openrc(facts) else ("systemctl", "status", place.mount),),
        observed="noexec",
    )


def _late(facts: Facts) -> Verdict | None:
    disks, openrc = facts.disks.value, with_openrc(facts)
    waiting = {"docker": disks.late, "containerd": disks.late_containerd}
    mounts = " ".join(dict.fromkeys(disks.late + disks.late_containerd))
    if not mounts:
        return None
    who, without = ("Docker", "mailcow with empty volumes") if disks.late else ("containerd", "Docker without its images")
    return warned(
        f"/etc/fstab mounts {mounts} with nofail, and {who} does not wait for it: when the mount is late, {who} starts with "
        f"an empty data directory, and {without}",
        remedy="have Docker start only where a file of that disk is there" if openrc else f"make {who} wait for it",
        commands=_wait_with_openrc(disks.late) if openrc else _wait_for(waiting),
        observed=f"nofail on {mounts}",
    )


def _wait_for(waiting: Mapping[str, tuple[str, ...]]) -> Commands:
    """What keeps these services of systemd from starting before the mounts are there, or without them."""
    commands: list[tuple[str, ...]] = []
    for service, mounts in waiting.items():
        if mounts:
            directory = DROP_IN.format(service)
            line = quote(f"RequiresMountsFor={' '.join(_in_a_unit(mount) for mount in mounts)}")
            text = f"printf '%s\\n' '[Unit]' {line} >> {directory}/mounts.conf"
            commands += [("mkdir", "-p", directory), ("sh", "-c", text)]
    return (*commands, ("systemctl", "daemon-reload"))


def _wait_with_openrc(mounts: tuple[str, ...]) -> Commands:
    """OpenRC mounts once, in localmount; where that fails it starts no network, so it must not be made to fail."""
    marks = [f"{mount}/{DISK_MARK}" for mount in mounts]
    names = re.sub(r'[$`"\\]', r"\\\g<0>", " ".join(marks))  # a shell reads that file
    line = quote(f'required_files="$required_files {names}"')
    return (("touch", *marks), ("sh", "-c", f"printf '\\n%s\\n' {line} >> /etc/conf.d/docker"))


def _in_a_unit(path: str) -> str:
    """A path as a unit's list of paths takes it, see systemd.syntax(7)."""
    if re.fullmatch(r"[\w/.@:+-]+", path):
        return path
    escaped = re.sub(r'["\\]', r"\\\g<0>", path.replace("%", "%%")).replace("\n", "\\n")
    return f'"{escaped}"'


def measure(facts: Facts, policy: Policy) -> tuple[Measured, ...]:
    """Docker's data root and the install directory: what there is and what is free, and for the first what is needed."""
    disks = facts.disks.value
    return (
        Measured("total", disks.data_root.total, "bytes"),
        Measured("total_needed", DISK_SOLD, "bytes"),
        Measured("total_least", DISK_SOLD * DISK_TOLERANCE, "bytes"),
        Measured("free", disks.data_root.free, "bytes"),
        Measured("free_needed", DISK_FREE_INSTALLED if _installed(facts) else DISK_FREE, "bytes"),
        Measured("install_total", disks.install.total, "bytes"),
        Measured("install_free", disks.install.free, "bytes"),
    )


ROW = Requirement(
    id="resources.disk",
    title="The disk has at least 20 GB, with enough free space for mailcow",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("disks", "mailcow"),
    wants=("docker", "services"),
    judge=judge,
    measure=measure,
)
