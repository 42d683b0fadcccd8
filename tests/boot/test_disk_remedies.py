"""Remedies for disks and swap, done as they are printed on emulated machines whose root is a logical volume: each fault is
planted, each command executed as it stands; the rows pass then, and after the one reboot of the machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.remedies import Fault, branch, mend, passing, rows
from tests.lab.volumes import VolumeMachine

HOOKS = str(Path(__file__).resolve().parents[2] / "hooks")
COWGATE = "/root/hooks/cowgate.sh"
SLOW = 1800.0  # seconds; everything is emulated
POLICY = "probes: {enabled: false}\n"
DATA = "/var/lib/docker"
# One volume on a disk of its own: name of the group and the disk, size, file system, mount point and options.
MOUNTED = """\
pvcreate -q {disk}
vgcreate -q {group} {disk}
lvcreate -q -y -L {size} -n all {group}
mkfs.{kind} {quiet} /dev/{group}/all
mkdir -p {mount}
echo '/dev/{group}/all {mount} {kind} defaults 0 2' >> /etc/fstab
systemctl daemon-reload
mount {mount}
"""
OPTIONS = "sed -i 's#^\\(/dev/{group}/all .*\\) {old} 0 2$#\\1 {new} 0 2#' /etc/fstab; systemctl daemon-reload\n"
# Docker's data on xfs, full but for 50 MB: what these can hold it counts as free inodes, but it is bytes that are missing.
FULL = f"""\
systemctl stop docker.socket docker.service
{MOUNTED.format(disk="/dev/vdb", group="data", size="19G", kind="xfs", quiet="-q", mount=DATA)}
fallocate -l $(($(df --output=avail -B1 {DATA} | tail -1) - 50000000)) {DATA}/much
systemctl start docker.service
"""
# The install directory's file system is smaller than the row wants it.
NARROW = MOUNTED.format(disk="/dev/vdc", group="more", size="800M", kind="ext3", quiet="-q", mount="/opt")
NOEXEC = OPTIONS.format(group="more", old="defaults", new="defaults,noexec") + "mount -o remount,noexec /opt\n"
# Whoever may mount it runs nothing there: `user` alone means noexec as well (mount(8)).
USER = OPTIONS.format(group="more", old="[^ ]*", new="user") + "umount /opt; mount /opt\n"
NOFAIL = OPTIONS.format(group="data", old="defaults", new="defaults,nofail")
# containerd starts before Docker, and keeps its images where Docker leaves them to it.
IMAGES = f"""\
systemctl stop docker.socket docker.service containerd.service
{MOUNTED.format(disk="/dev/vdd", group="images", size="1G", kind="ext4", quiet="-q", mount="/var/lib/containerd")}
{OPTIONS.format(group="images", old="defaults", new="defaults,nofail")}
systemctl start containerd.service docker.service
"""
# LVM does not enlarge a volume that has a snapshot and is in use.
SNAPSHOT = f"""\
{MOUNTED.format(disk="/dev/vde", group="odd", size="800M", kind="ext4", quiet="-q", mount="/srv")}
lvcreate -q -y -s -L 100M -n look odd/all
echo 'install_dir: /srv/mailcow' >> /etc/cowgate/policy.yaml
"""
GROW, SWAP = "resources.disk lvextend", "resources.swap install, dd, mkswap, swapon, sh"
GROW_BTRFS, SWAP_BTRFS = "resources.disk lvextend, btrfs", "resources.swap install, chattr, dd, mkswap, swapon, sh"
RUNS, WAITS = "resources.disk sed, mount", "resources.disk mkdir, sh, systemctl daemon-reload"


class Group(NamedTuple):
    """The faults of one machine: in each round at most one of a row; the rows pass after the last round's reboot."""

    tree: str
    root: str
    disk: str
    rounds: tuple[tuple[Fault, ...], ...]
    others: tuple[str, ...] = ()


ROOM = 10  # GiB of the root's volume: an installer that leaves half of the disk to whoever wants it
PLAIN = ((Fault(GROW, "true", "is too small"), Fault(SWAP, "true", "no swap")),)
# Where files are compressed, as some installers have it, a swap file is not.
COMPRESS = "mount -o remount,compress-force=zstd /"
BTRFS = ((Fault(GROW_BTRFS, "true", "is too small"), Fault(SWAP_BTRFS, COMPRESS, "no swap")),)
GROUPS = {
    # a disk that is sold as 20 GB is enough, once its volume group is used
    "ext4": Group(
        "trixie-disks",
        "ext4",
        "20000000000",
        (
            *PLAIN,
            (Fault(GROW, FULL, f"{DATA} (/dev/mapper/data-all) has"),),
            (Fault(GROW, NARROW, "/opt (/dev/mapper/more-all) has"),),
            (Fault(RUNS, NOEXEC, "/opt (/dev/mapper/more-all) is mounted noexec"),),
            (Fault(RUNS, USER, "/opt (/dev/mapper/more-all) is mounted noexec"),),
            (Fault(WAITS, NOFAIL, f"mounts {DATA} with nofail"),),
            (Fault(WAITS, IMAGES, "mounts /var/lib/containerd with nofail"),),
        ),
        ("35G", "4G", "2G", "4G"),
    ),
    "btrfs": Group("trixie-disks", "btrfs", "20000000000", BTRFS),
    # LVM 2.03.11 and util-linux 2.36; and ext3 has no fallocate
    "old-ext3": Group("bullseye-disks", "ext3", "20000000000", PLAIN),
}


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="two emulated boots take minutes; tests/run --long has them")
@pytest.mark.parametrize("name", GROUPS)
def test_what_is_printed_mends_and_lasts(name: str) -> None:
    group, problems = GROUPS[name], list[str]()
    files = {"/etc/cowgate/policy.yaml": POLICY}
    with VolumeMachine(group.tree, group.root, room=ROOM, disk=group.disk, others=group.others, files=files) as machine:
        machine.wait(SLOW)
        machine.put_python(HOOKS, "/root/hooks")
        for faults in group.rounds:
            mend(machine, COWGATE, faults, problems)
        if name == "ext4":
            snapshot(machine, problems)
        machine.reboot()
        machine.wait(SLOW)
        ids = [fault.row for faults in group.rounds for fault in faults]
        passing(machine, COWGATE, ids, "after the reboot", problems)
        if name == "ext4":
            problems += waited(machine)
    assert problems == []


def snapshot(machine: VolumeMachine, problems: list[str]) -> None:
    """What `lvextend` would refuse is for a person; without the snapshot it is printed."""
    machine.run(["sh", "-ec", SNAPSHOT], check=True)
    remedy = rows(machine, COWGATE, ["resources.disk"])["resources.disk"]["remedy"]
    said = branch("resources.disk", remedy["text"], remedy["commands"])
    problems += [] if said == "resources.disk du" else [f"with a snapshot: {said}"]
    mend(machine, COWGATE, (Fault(GROW, "lvremove -q -y odd/look", "/srv (/dev/mapper/odd-all) has"),), problems)


def waited(machine: VolumeMachine) -> list[str]:
    """What is wrong where Docker and containerd did not start after their disks, and only with them."""
    wrong = []
    for service, directory in (("docker", "docker"), ("containerd", "containerd"), ("docker", "containerd")):
        show = ["systemctl", "show", f"{service}.service", "--property", "After,Requires,ActiveState"]
        told = dict(line.split("=", 1) for line in machine.run(show, check=True).stdout.splitlines())
        unit = f"var-lib-{directory}.mount"
        wrong += [f"{unit} is not in {name} of {service}" for name in ("After", "Requires") if unit not in told[name].split()]
        wrong += [] if told["ActiveState"] == "active" else [f"{service} is {told['ActiveState']}"]
    return wrong
