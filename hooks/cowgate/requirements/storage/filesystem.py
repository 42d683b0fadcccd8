"""storage.filesystem: Docker's data is on a local filesystem that supports its storage driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.docker.shared import LOG, LOOK
from cowgate.requirements.resources.shared import images_of, silent
from cowgate.requirements.system.shared import with_openrc

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

# MariaDB loses data or does not start on these (mailcow#2184), and overlay2 does not work on them.
REMOTE = {
    "nfs": "a network filesystem",
    "nfs4": "a network filesystem",
    "cifs": "a network filesystem",
    "smb3": "a network filesystem",
    "9p": "a directory of the host, shared into this machine",
    "virtiofs": "a directory of the host, shared into this machine",
    "tmpfs": "memory, and empty after a restart",
    "ramfs": "memory, and empty after a restart",
    "overlay": "an overlay, on which Docker cannot create its own",
}


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Not NFS, CIFS, 9p, FUSE or memory; xfs with ftype=1; and not Docker's driver vfs, which copies whole images."""
    data = facts.disks.value.data_root
    expected = "a local filesystem (ext4, xfs with ftype=1, btrfs, zfs), and not the driver vfs"
    evidence = {f"{data.mount} ({data.source})": f"{data.fstype}, holds {data.path}"}
    images = images_of(facts)
    for what, setting, place in (
        ("data", '"data-root" in /etc/docker/daemon.json', data),
        ("images", "`root` in /etc/containerd/config.toml", images or data),
    ):
        kind = "a FUSE filesystem" if place.fstype.split(".")[0] in ("fuse", "fuseblk") else REMOTE.get(place.fstype)
        if kind:
            return failed(
                f"{place.path}, with Docker's {what}, is on {place.mount}, whose filesystem is {place.fstype}: {kind}",
                remedy=f"put it on a local ext4 or xfs filesystem: mount one there, or set {setting}",
                commands=(("findmnt", "-T", place.path),),
                expected=expected,
                observed=place.fstype,
                evidence=evidence,
            )
    for place in (data, images or data):
        if place.reason:
            return silent(place)
    if data.ftype == 0:
        return failed(
            f"the xfs on {data.mount} ({data.source}) was made with ftype=0: Docker falls back to the driver vfs, which "
            "copies every image as a whole and needs more than 20 GB for mailcow",
            remedy='put Docker\'s data on another filesystem ("data-root" in /etc/docker/daemon.json), or make this one again '
            "with `mkfs.xfs -f -n ftype=1`, from a rescue system where it holds the system: all that is on it is lost",
            commands=(("xfs_info", data.mount),),
            expected=expected,
            observed="xfs, ftype=0",
            evidence=evidence,
        )
    driver = facts.docker.value.driver if facts.docker.state == "value" else ""
    if driver == "vfs":
        return failed(
            "Docker uses the storage driver vfs, which copies every image as a whole and needs more than 20 GB for mailcow",
            remedy='remove "storage-driver": "vfs" from /etc/docker/daemon.json, or look in '
            f"{LOG if with_openrc(facts) else 'the journal'} for the reason",
            commands=(LOOK if with_openrc(facts) else ("journalctl", "-u", "docker", "--no-pager", "-n", "50"),),
            expected=expected,
            observed="vfs",
            evidence={**evidence, "docker info": "driver vfs"},
        )
    return passed(
        f"{data.fstype} on {data.source}" + (f", driver {driver}" if driver else ""), expected=expected, evidence=evidence
    )


ROW = Requirement(
    id="storage.filesystem",
    title="Docker's data is on a local filesystem that supports its storage driver",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("disks", "docker"),
    wants=("services",),
    judge=judge,
)
