"""resources.disk: at least 20 GB of disk, and room for mailcow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, deferred, failed, passed
from cowgate.requirements.resources.shared import GIB, gib, images_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

# "20 GiB without mail": 20 GB as sold are 18.6 GiB, less boot partitions (EL: 1.2 GiB) and the filesystem's own 2 %.
DISK_SOLD = 20 * 10**9

DISK_TOLERANCE = 0.90

# Free bytes on Docker's data root before the install: mailcow's images unpack to about 7 GiB, ClamAV's signatures and the
# databases take 1.5 GiB (an estimate). Later an update brings new images beside the old.
DISK_FREE = 10 * GIB

DISK_FREE_INSTALLED = 2 * GIB

# The checkout with its history, and room for its configuration and certificates.
DISK_FREE_CHECKOUT = GIB


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The filesystem of Docker's data root, and those of the images and of the install directory where they are others."""
    disks = facts.disks.value
    data_root, install, images = disks.data_root, disks.install, images_of(facts)
    mailcow_there = facts.mailcow.state == "value" and facts.mailcow.value.installed
    needed = DISK_FREE_INSTALLED if mailcow_there else DISK_FREE
    checkout = "" if mailcow_there else f" and {gib(DISK_FREE_CHECKOUT)} for the install directory"
    expected = f"20 GB as sold; {gib(needed)} free for Docker{checkout}"
    evidence = {
        f"{fs.mount} ({fs.source}, {fs.fstype})": f"{gib(fs.free)} free of {gib(fs.total)}, holds {fs.path}"
        for fs in (install, *([images] if images else []), data_root)
    }
    if data_root.total < DISK_SOLD * DISK_TOLERANCE:
        if phase is Phase.BUILD:
            return deferred(
                f"decided at first boot: the image has {gib(data_root.total)}, a machine made from it may have more"
            )
        return failed(
            f"{data_root.mount} ({data_root.source}) has {gib(data_root.total)} in all, for Docker's data ({data_root.path})",
            remedy=f"use a disk of at least 20 GB, and let the partition and the filesystem of {data_root.mount} fill it",
            commands=(("lsblk", "-o", "NAME,SIZE,FSTYPE,MOUNTPOINT"), ("df", "-h", data_root.mount)),
            expected=expected,
            observed=gib(data_root.total),
            evidence=evidence,
        )
    wanted = [(data_root, needed)]
    if images and images.mount != data_root.mount:
        wanted.append((images, needed))
    if not mailcow_there and install.mount not in [filesystem.mount for filesystem, _ in wanted]:
        wanted.append((install, DISK_FREE_CHECKOUT))
    for filesystem, size in wanted:
        if filesystem.free < size:
            return failed(
                f"{filesystem.mount} ({filesystem.source}) has {gib(filesystem.free)} free of {gib(filesystem.total)}, and "
                f"{gib(size)} are needed for {filesystem.path}",
                remedy=f"remove what is not needed on {filesystem.mount}, or enlarge it",
                commands=(("du", "-xhd", "2", filesystem.mount),),
                expected=expected,
                observed=f"{gib(filesystem.free)} free",
                evidence=evidence,
            )
    return passed(f"{gib(data_root.free)} free of {gib(data_root.total)}", expected=expected, evidence=evidence)


ROW = Requirement(
    id="resources.disk",
    title="At least 20 GB of disk, and room for mailcow",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("disks", "mailcow"),
    wants=("docker", "services"),
    judge=judge,
)
